"""An agent that misbehaves in the way its configuration names."""

from __future__ import annotations

import math
import sys
import time
from types import SimpleNamespace
from typing import Any

import carla

from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.envs.sensor_interface import SensorData


def get_entry_point() -> str:
    return "BrokenAgent"


class BrokenAgent(AutonomousAgent):
    def setup(self, path_to_conf_file: str) -> None:
        self.fault = path_to_conf_file.split("+")[0]
        self.track = Track.MAP if self.fault == "wrong_track" else Track.SENSORS
        self.steps = 0
        if self.fault == "setup":
            raise ValueError("setup failed on purpose")
        if self.fault == "setup_hangs":
            time.sleep(600)

    def sensors(self) -> list[dict[str, Any]]:
        if self.fault == "far_sensor":
            mount = {"x": 0.0, "y": 0.0, "z": 200.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
            return [{"type": "sensor.other.imu", "id": "imu", **mount}]
        return [{"type": "sensor.speedometer", "id": "speed"}]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        self.steps += 1
        if self.steps == 20:
            if self.fault in ("run_step", "destroy", "destroy_exits", "destroy_hangs"):
                raise ValueError("run_step failed on purpose")
            if self.fault == "hangs":
                time.sleep(600)
            if self.fault == "exits":
                sys.exit("run_step gives up on purpose")
            if self.fault == "no_control":
                return SimpleNamespace(throttle=0.4, steer=0.0, brake=0.0)  # type: ignore[return-value]
            if self.fault == "not_a_number":
                return carla.VehicleControl(throttle=0.4, steer=math.nan)
        return carla.VehicleControl(throttle=0.4)

    def destroy(self) -> None:
        if self.fault == "destroy":
            raise ValueError("destroy failed on purpose")
        if self.fault == "destroy_exits":
            sys.exit("destroy gives up on purpose")
        if self.fault == "destroy_hangs":
            time.sleep(600)
