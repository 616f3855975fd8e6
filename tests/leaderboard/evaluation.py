"""Whole evaluations on a server, for tests: run the evaluator, read what it wrote."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import carla

from leaderboard.leaderboard_evaluator import main
from leaderboard.utils.route_parser import default_weather
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration, WeatherKeypoint
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from srunner.tools.route_planner import GlobalRoutePlanner
from tests.leaderboard.scripted import mini_map
from tests.leaderboard.shared import REPOSITORY

AGENTS = Path(__file__).parent / "agents"
CONSTANT = REPOSITORY / "leaderboard" / "autoagents" / "constant_speed_agent.py"
NPC = REPOSITORY / "leaderboard" / "autoagents" / "npc_agent.py"
EXPERT = REPOSITORY / "team_code" / "autopilot.py"
SIGN_MARGIN_M = 10.0


@dataclass
class Evaluation:
    """Runs the evaluator on one server and reads what it wrote."""

    port: int
    routes: Path
    folder: Path

    def arguments(self, name: str, agent: Path, *options: str) -> list[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            traffic_port = probe.getsockname()[1]
        fixed = ["--host", "127.0.0.1", "--port", str(self.port), "--traffic-manager-port", str(traffic_port)]
        fixed += [
            "--routes",
            str(self.routes),
            "--agent",
            str(agent),
            "--checkpoint",
            str(self.folder / f"{name}.json"),
        ]
        return [*fixed, *(() if "--timeout" in options else ("--timeout", "60")), *options]

    def run(self, name: str, agent: Path, *options: str) -> int:
        return main(self.arguments(name, agent, *options))

    def results(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return content

    def records(self, name: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.results(name)["_checkpoint"]["records"]
        return records

    def manifest(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / f"{name}_manifest.json").read_text())
        return content

    def trace(self, name: str, route: str) -> bytes:
        return (self.folder / f"{name}_trace" / f"{route}.json").read_bytes()


class Places:
    """Routes on Mini01 with known properties, found on its map."""

    def __init__(self) -> None:
        self.map = mini_map()
        self.planner = GlobalRoutePlanner(self.map, 1.0)

    def straight(self, length_m: float) -> list[carla.Location]:
        """A piece of street without junction, and without a stop sign for its lane or just behind its end."""
        for start, _ in self.map.get_topology():
            if start.get_landmarks_of_type(length_m + SIGN_MARGIN_M, carla.LandmarkType.StopSign):
                continue
            points = start.next(1.0)
            while points[-1].next(1.0) and not points[-1].is_junction and len(points) <= length_m:
                points.append(points[-1].next(1.0)[0])
            if len(points) > length_m and not points[-1].is_junction and abs(start.lane_id) == 1:
                return [points[0].transform.location, points[-1].transform.location]
        raise AssertionError(f"the town has no street of {length_m} m")


def route(
    route_id: str, keypoints: list[carla.Location], *scenarios: ScenarioConfiguration
) -> RouteScenarioConfiguration:
    weather = [WeatherKeypoint(0.0, default_weather())]
    return RouteScenarioConfiguration(
        f"RouteScenario_{route_id}", route_id, "Mini01", keypoints, list(scenarios), weather
    )
