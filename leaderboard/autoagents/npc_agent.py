"""Drives along the route with the simulator's knowledge: keeps to the limit, waits at red lights and behind obstacles.

It is no expert (it never evades and knows no right of way); it shows that routes, lights and traffic work.
"""

from __future__ import annotations

import math
from typing import Any

import carla

from driving.geometry import to_ego
from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.autoagents.route_following import RouteFollower, pedals
from leaderboard.envs.sensor_interface import SensorData
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider

CRUISE_MPS = 8.0
CORRIDOR_HALF_WIDTH_M = 1.8
STANDSTILL_GAP_M = 6.0
COMFORT_BRAKE = 3.0
SIGHT_M = 35.0
FLAT = "debris"
"""Things with this in their name can be driven over."""


def get_entry_point() -> str:
    """Name of the agent's class."""
    return "NpcAgent"


class NpcAgent(AutonomousAgent):
    """A cautious privileged driver."""

    def setup(self, path_to_conf_file: str) -> None:
        self.track = Track.SENSORS
        self._follower = RouteFollower(self.org_dense_route_world_coord)

    def sensors(self) -> list[dict[str, Any]]:
        return [{"type": "sensor.speedometer", "id": "speed"}]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        assert self.hero_actor is not None
        ego = self.hero_actor
        speed = input_data["speed"][1]["speed"]
        limit = ego.get_speed_limit() / 3.6 or CRUISE_MPS
        target = min(CRUISE_MPS, limit, self._speed_for_obstacles(ego))
        if ego.is_at_traffic_light() and ego.get_traffic_light_state() != carla.TrafficLightState.Green:
            target = 0.0
        throttle, brake = pedals(speed, target)
        return carla.VehicleControl(
            throttle=throttle, steer=self._follower.steer(ego.get_transform(), speed), brake=brake
        )

    def _speed_for_obstacles(self, ego: carla.Vehicle) -> float:
        """Speed from which the ego can still stop behind what is in its corridor, m/s."""
        pose = ego.get_transform()
        here, yaw = (pose.location.x, pose.location.y), math.radians(pose.rotation.yaw)
        gap = SIGHT_M
        for actor in CarlaDataProvider.get_all_actors():
            is_solid = actor.type_id.startswith(("vehicle.", "walker.", "static.prop")) and FLAT not in actor.type_id
            if actor.id == ego.id or not is_solid:
                continue
            place = CarlaDataProvider.get_location(actor)
            forward, right = to_ego((place.x, place.y), here, yaw)
            if 0 < forward < SIGHT_M and abs(right) < CORRIDOR_HALF_WIDTH_M:
                gap = min(gap, forward - actor.bounding_box.extent.x - ego.bounding_box.extent.x)
        return math.sqrt(max(0.0, 2 * COMFORT_BRAKE * (gap - STANDSTILL_GAP_M / 2)))
