"""What is noted while a route is driven: motion for the smoothness metric, the driven path for reports."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import carla

from driving.files import write_json
from leaderboard.autoagents.autonomous_agent import metric_info
from leaderboard.utils.statistics_manager import INFRACTION_KEYS
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.scenarioconfigs.scenario_configuration import RoutePlan
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.traffic_events import TrafficEvent, event_message

TRACE_PERIOD_TICKS = 5
"""Four times per second of game time."""


class MetricRecorder:
    """Writes ``metric_info.json``: step number to the ego's motion. Lines go to disk at once, the file is made at the end."""

    def __init__(self, folder: Path):
        """Args: folder: ``<root>/<save name>``, where Bench2Drive's tools look."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lines_path = folder / "metric_info.jsonl"
        self._lines: IO[str] = open(self._lines_path, "w", encoding="utf-8")  # noqa: SIM115 - open for a whole route
        self._step = 0

    def record(self, ego: carla.Actor) -> None:
        """Note one tick."""
        self._step += 1
        self._lines.write(json.dumps([self._step, metric_info(ego)]) + "\n")

    def close(self) -> None:
        """Make the file; harmless a second time."""
        if self._lines.closed:
            return
        self._lines.close()
        with open(self._lines_path, encoding="utf-8") as stream:
            steps = dict(json.loads(line) for line in stream)
        write_json(self._folder / "metric_info.json", {str(step): info for step, info in steps.items()}, indent=None)
        self._lines_path.unlink()


class TraceRecorder:
    """The ego's path, four times per second."""

    def __init__(self) -> None:
        self._frames: list[dict[str, float]] = []

    def record(self, tick: int, game_time: float, ego: carla.Actor, control: carla.VehicleControl) -> None:
        """Note one tick; only every fifth is kept."""
        if tick % TRACE_PERIOD_TICKS:
            return
        transform = CarlaDataProvider.get_transform(ego)
        frame = {
            "t": game_time,
            "x": transform.location.x,
            "y": transform.location.y,
            "yaw": math.radians(transform.rotation.yaw),
            "speed": CarlaDataProvider.get_velocity(ego),
            "steer": control.steer,
            "throttle": control.throttle,
            "brake": control.brake,
        }
        self._frames.append({key: round(float(value), 4) for key, value in frame.items()})

    def write(
        self, path: Path, config: RouteScenarioConfiguration, route: RoutePlan, events: Sequence[TrafficEvent]
    ) -> None:
        """Write what a report draws: ``route_id``, ``town``, ``route`` [[x, y]], ``frames`` (time in seconds, metres, yaw in
        radians, m/s, controls), ``events`` (kind, t, place of the ego, message), ``scenarios`` (type and place)."""
        triggers = [(scenario.type, scenario.trigger_points[0].location) for scenario in config.scenario_configs]
        content: dict[str, Any] = {
            "route_id": config.run_id,
            "town": config.town,
            "route": [[round(t.location.x, 2), round(t.location.y, 2)] for t, _ in route],
            "frames": self._frames,
            "events": [trace_event(event) for event in events if event.type in INFRACTION_KEYS],
            "scenarios": [{"type": name, "x": round(at.x, 2), "y": round(at.y, 2)} for name, at in triggers],
        }
        write_json(path, content, indent=None)


def trace_event(event: TrafficEvent) -> dict[str, Any]:
    """An event as JSON-ready data: ``kind`` (key of the results file), ``t``, ``x``, ``y`` of the ego, ``message``."""
    place = event.ego_place
    return {
        "kind": INFRACTION_KEYS[event.type],
        "t": round(event.time_s, 2),
        "x": None if place is None else round(place.x, 2),
        "y": None if place is None else round(place.y, 2),
        "message": event_message(event),
    }
