"""Drives along the route with the simulator's knowledge: keeps to the limit, waits at red lights and behind obstacles.

It is no expert (it never evades and knows no right of way); it shows that routes, lights and traffic work.
"""

from __future__ import annotations

import math

import carla

from driving.geometry import to_ego
from leaderboard.autoagents.route_following import RouteFollowingAgent
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


class NpcAgent(RouteFollowingAgent):
    """A cautious privileged driver."""

    def wanted_speed(self, ego: carla.Vehicle) -> float:
        if ego.is_at_traffic_light() and ego.get_traffic_light_state() != carla.TrafficLightState.Green:
            return 0.0
        limit = ego.get_speed_limit() / 3.6 or CRUISE_MPS
        return min(CRUISE_MPS, limit, self._speed_for_obstacles(ego))

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
