"""Steering along a route and holding a speed: enough for the bundled agents, not for a benchmark."""

from __future__ import annotations

import math
from typing import Any

import carla

from driving.geometry import to_ego
from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.envs.sensor_interface import SensorData
from srunner.scenarioconfigs.scenario_configuration import RoutePlan

WHEELBASE_M = 2.9
MAX_STEER_RAD = math.radians(70.0)
MIN_LOOK_AHEAD_M = 4.0
LOOK_AHEAD_S = 0.7
SEARCH_POINTS = 20
SPEED_GAIN = 0.5


class RouteFollower:
    """Pure pursuit along a dense route."""

    def __init__(self, route: RoutePlan):
        self._points = [(t.location.x, t.location.y) for t, _ in route]
        self._index = 0

    def steer(self, pose: carla.Transform, speed: float) -> float:
        """Steering in [-1, 1] towards the route ``look ahead`` metres in front.

        Args:
            pose: Ego pose, world frame.
            speed: m/s.
        """
        here = (pose.location.x, pose.location.y)
        window = self._points[self._index : self._index + SEARCH_POINTS]
        distances = [math.dist(here, point) for point in window]
        self._index += distances.index(min(distances))
        reach = max(MIN_LOOK_AHEAD_M, LOOK_AHEAD_S * speed)
        target = next((p for p in self._points[self._index :] if math.dist(here, p) >= reach), self._points[-1])
        forward, right = to_ego(target, here, math.radians(pose.rotation.yaw))
        distance = math.hypot(forward, right)
        if distance < 0.5:
            return 0.0
        curvature = 2.0 * right / distance**2
        return max(-1.0, min(1.0, math.atan(WHEELBASE_M * curvature) / MAX_STEER_RAD))


def pedals(speed: float, target: float) -> tuple[float, float]:
    """Throttle and brake, each 0 to 1, that bring ``speed`` to ``target``, both m/s."""
    if target <= 0.0:
        return 0.0, 1.0
    command = SPEED_GAIN * (target - speed)
    return (min(command, 0.8), 0.0) if command >= 0 else (0.0, min(-command, 1.0))


class RouteFollowingAgent(AutonomousAgent):
    """Steers along its route; a subclass decides how fast."""

    def setup(self, path_to_conf_file: str) -> None:
        self.track = Track.SENSORS
        self._follower = RouteFollower(self.org_dense_route_world_coord)

    def sensors(self) -> list[dict[str, Any]]:
        return [{"type": "sensor.speedometer", "id": "speed"}]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        assert self.hero_actor is not None
        speed = input_data["speed"][1]["speed"]
        throttle, brake = pedals(speed, self.wanted_speed(self.hero_actor))
        steer = self._follower.steer(self.hero_actor.get_transform(), speed)
        return carla.VehicleControl(throttle=throttle, steer=steer, brake=brake)

    def wanted_speed(self, ego: carla.Vehicle) -> float:
        """How fast to drive now, m/s; 0 stops at once."""
        raise NotImplementedError(f"{type(self).__name__} does not override wanted_speed")
