"""Steering along a route and holding a speed: enough for the bundled agents, not for a benchmark."""

from __future__ import annotations

import math

import carla

from driving.geometry import to_ego
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
