"""An agent as they were written for CARLA Leaderboard 1: the constructor takes the configuration only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import carla

from leaderboard.autoagents import autonomous_agent
from leaderboard.envs.sensor_interface import SensorData


def get_entry_point() -> str:
    return "FirstAgent"


class FirstAgent(autonomous_agent.AutonomousAgent):
    def __init__(self, path_to_conf_file: str):
        self.steps = 0
        super().__init__(path_to_conf_file)

    def setup(self, path_to_conf_file: str) -> None:
        self.track = autonomous_agent.Track.SENSORS
        self.told: dict[str, Any] = {"config": path_to_conf_file, "points_at_setup": len(self._global_plan)}

    def sensors(self) -> list[dict[str, Any]]:
        mount = {"x": 0.7, "y": 0.0, "z": 1.6, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
        return [
            {"type": "sensor.camera.rgb", "id": "Center", "width": 96, "height": 64, "fov": 100, **mount},
            {"type": "sensor.other.gnss", "id": "GPS", **mount},
            {"type": "sensor.speedometer", "id": "speed", "reading_frequency": 20},
        ]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        self.steps += 1
        self.told["keys"] = sorted(input_data)
        self.told["points"] = len(self._global_plan)
        speed = self.told["speed"] = input_data["speed"][1]["speed"]
        if self.steps == 60:
            raise RuntimeError("seen enough")
        return carla.VehicleControl(throttle=0.6 if speed < 6 else 0.0)

    def destroy(self) -> None:
        folder = Path(self.told["config"].split("+")[0])
        (folder / "told.json").write_text(json.dumps({**self.told, "steps": self.steps}))
