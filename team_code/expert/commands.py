"""Target points and navigation commands as the recordings hold them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import carla
import numpy as np
from numpy.typing import NDArray

from driving.commands import RoadOption
from leaderboard.utils.route_manipulation import downsample_route
from team_code.route_planner import PlanPoint, RoutePlanner

PLAN_SPACING_M = 200.0


@dataclass(frozen=True)
class Navigation:
    """What a navigation system would say now.

    Attributes:
        target, next_target: (2,) world positions of the next two plan points, metres.
        command, next_command: Commands of the point just passed and of the one after.
    """

    target: NDArray[np.float64]
    next_target: NDArray[np.float64]
    command: int
    next_command: int


class CommandPlanner:
    """Follows the thinned plan and delays commands by one point, as the published recordings do.

    Args:
        dense_plan: (transform, command) pairs about 1 m apart.
    """

    def __init__(self, dense_plan: Sequence[tuple[carla.Transform, RoadOption]]) -> None:
        kept = downsample_route(list(dense_plan), PLAN_SPACING_M)
        points = []
        for index in kept:
            place, command = dense_plan[index][0].location, dense_plan[index][1]
            points.append(PlanPoint(np.array([place.x, place.y]), RoadOption(int(command))))
        self._planner = RoutePlanner(points)
        self._far = deque([int(RoadOption.LANEFOLLOW)] * 2, maxlen=2)
        self._next = deque([int(RoadOption.LANEFOLLOW)] * 2, maxlen=2)
        self._last_target: NDArray[np.float64] | None = None

    def step(self, xy: Sequence[float] | NDArray[np.float64]) -> Navigation:
        """Navigation at a world position (2,), metres."""
        target, following = self._planner.targets(xy)
        if self._last_target is None or bool(np.all(target.position != self._last_target)):
            self._last_target = target.position
            self._far.append(int(target.command))
            self._next.append(int(following.command))
        return Navigation(target.position, following.position, self._far[0], self._next[0])
