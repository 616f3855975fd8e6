"""The smallest agent: mounts one of each sensor, says what arrives, and never moves."""

from __future__ import annotations

from typing import Any

import carla

from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.envs.sensor_interface import SensorData


def get_entry_point() -> str:
    """Name of the agent's class."""
    return "DummyAgent"


class DummyAgent(AutonomousAgent):
    """Stands still and shows what an agent receives."""

    def setup(self, path_to_conf_file: str) -> None:
        self.track = Track.SENSORS
        self._has_told = False

    def sensors(self) -> list[dict[str, Any]]:
        mount = {"x": 0.7, "y": 0.0, "z": 1.6, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
        return [
            {"type": "sensor.camera.rgb", "id": "camera", "width": 320, "height": 160, "fov": 100, **mount},
            {"type": "sensor.other.gnss", "id": "gnss", **mount},
            {"type": "sensor.other.imu", "id": "imu", **mount},
            {"type": "sensor.speedometer", "id": "speed"},
        ]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        if not self._has_told:
            self._has_told = True
            for name, (frame, value) in input_data.items():
                print(f"frame {frame}: {name} delivers {getattr(value, 'shape', value)}", flush=True)
        return carla.VehicleControl()
