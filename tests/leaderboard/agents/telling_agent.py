"""Writes down the configuration it gets for each route, as Bench2Drive's agents read it, and gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track


def get_entry_point() -> str:
    return "TellingAgent"


class TellingAgent(AutonomousAgent):
    def setup(self, path_to_conf_file: str) -> None:
        self.track = Track.SENSORS
        with open(Path(path_to_conf_file.split("+")[0]), "a", encoding="utf-8") as stream:
            stream.write(f"{path_to_conf_file} {len(self._global_plan)} {len(self.org_dense_route_world_coord)}\n")

    def sensors(self) -> list[dict[str, Any]]:
        return [{"type": "sensor.speedometer", "id": "speed"}]
