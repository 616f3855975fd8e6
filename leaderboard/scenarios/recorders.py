"""What is noted while a route is driven: motion for the smoothness metric, the driven path for reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import carla

from driving.files import write_json
from leaderboard.autoagents.autonomous_agent import metric_info
from leaderboard.utils.statistics_manager import INFRACTION_KEYS
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
        write_json(self._folder / "metric_info.json", {str(step): info for step, info in steps.items()}, indent=4)
        self._lines_path.unlink()


class TraceRecorder:
    """The ego's path, four times per second."""

    COLUMNS = ("t", "x", "y", "yaw", "speed", "throttle", "brake", "steer")

    def __init__(self) -> None:
        self._rows: list[list[float]] = []

    def record(self, tick: int, game_time: float, ego: carla.Actor, control: carla.VehicleControl) -> None:
        """Note one tick; only every fifth is kept. Game time in seconds, yaw in degrees, speed in m/s."""
        if tick % TRACE_PERIOD_TICKS:
            return
        transform = CarlaDataProvider.get_transform(ego)
        speed = CarlaDataProvider.get_velocity(ego)
        row = (game_time, transform.location.x, transform.location.y, transform.rotation.yaw, speed)
        self._rows.append([round(float(v), 3) for v in (*row, control.throttle, control.brake, control.steer)])

    def write(self, path: Path, town: str, route: RoutePlan, events: Sequence[TrafficEvent]) -> None:
        """Write ``{"columns", "ticks": rows, "route": [[x, y, command]], "infractions": [...], "town"}``."""
        content: dict[str, Any] = {
            "town": town,
            "columns": list(self.COLUMNS),
            "ticks": self._rows,
            "route": [[round(t.location.x, 2), round(t.location.y, 2), int(command)] for t, command in route],
            "infractions": [infraction(event) for event in events if event.type in INFRACTION_KEYS],
        }
        write_json(path, content, indent=None)


def infraction(event: TrafficEvent) -> dict[str, Any]:
    """An event as JSON-ready data: ``kind`` (key of the results file), ``frame``, ``x``, ``y`` of the ego, ``message``."""
    place = event.ego_place
    return {
        "kind": INFRACTION_KEYS[event.type],
        "frame": event.frame,
        "x": None if place is None else round(place.x, 2),
        "y": None if place is None else round(place.y, 2),
        "message": event_message(event),
    }
