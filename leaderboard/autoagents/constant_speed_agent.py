"""Keeps its lane at a constant speed and looks at nothing else: a lower bound, and the quickest check of a whole evaluation.

The configuration text is the speed in m/s (default 6).
"""

from __future__ import annotations

from typing import Any

import carla

from leaderboard.autoagents.agent_text import split_save_name
from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.autoagents.route_following import RouteFollower, pedals
from leaderboard.envs.sensor_interface import SensorData

DEFAULT_SPEED_MPS = 6.0


def get_entry_point() -> str:
    """Name of the agent's class."""
    return "ConstantSpeedAgent"


class ConstantSpeedAgent(AutonomousAgent):
    """Follows the route blindly."""

    def setup(self, path_to_conf_file: str) -> None:
        text, _ = split_save_name(path_to_conf_file)
        try:
            self.target_speed = float(text) if text else DEFAULT_SPEED_MPS
        except ValueError as error:
            raise ValueError(f"the configuration must be a speed in m/s, got {text!r}") from error
        self.track = Track.SENSORS
        self._follower = RouteFollower(self.org_dense_route_world_coord)

    def sensors(self) -> list[dict[str, Any]]:
        return [{"type": "sensor.speedometer", "id": "speed"}]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        assert self.hero_actor is not None
        speed = input_data["speed"][1]["speed"]
        throttle, brake = pedals(speed, self.target_speed)
        steer = self._follower.steer(self.hero_actor.get_transform(), speed)
        return carla.VehicleControl(throttle=throttle, steer=steer, brake=brake)
