"""An agent in the collection shape that writes down everything it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import carla

from leaderboard.autoagents import autonomous_agent_local
from leaderboard.envs.sensor_interface import SensorData


def get_entry_point() -> str:
    return "CollectionAgent"


class CollectionAgent(autonomous_agent_local.AutonomousAgent):
    def setup(self, path_to_conf_file: str, route_index: Any = None, traffic_manager: Any = None) -> None:
        self.path = Path(path_to_conf_file)
        self.told: dict[str, Any] = {"name": route_index, "traffic_manager": type(traffic_manager).__name__}
        self.told["constructed_with"] = self.route_index
        self.told["route_id"] = self.route_id
        self.frames: list[list[str]] = []

    def sensors(self) -> list[dict[str, Any]]:
        mount = {"x": 0.0, "y": 0.0, "z": 2.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
        camera = {"type": "sensor.camera.rgb", "id": "rgb", "width": 64, "height": 32, "fov": 90, "sensor_tick": 0.25}
        return [{**camera, **mount}, {"type": "sensor.other.imu", "id": "imu", **mount}]

    def run_step(self, input_data: SensorData, timestamp: float, sensors: Any = None) -> carla.VehicleControl:
        self.frames.append(sorted(input_data))
        self.told["sensors"] = [[name, actor.type_id] for name, actor in sensors]
        if len(self.frames) == 12:
            raise RuntimeError("seen enough")
        return carla.VehicleControl(throttle=0.3)

    def destroy(self, results: Any = None) -> None:
        self.told |= {"frames": self.frames, "record": vars(results)}
        self.path.write_text(json.dumps(self.told))
