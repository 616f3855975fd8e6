"""Following the sparse plan: which point is the target now, which comes next, what the navigation says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from driving.commands import RoadOption

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PlanPoint:
    """A point of the sparse plan.

    Attributes:
        position: (2,) metres, in one frame for the whole plan.
        command: What the plan says about the way to it.
    """

    position: Array
    command: RoadOption


class RoutePlanner:
    """Drops plan points that have been reached.

    The rule is the one published with SimLingo (`RenzKa/simlingo`, `team_code/nav_planner.py`): among the points within
    ``horizon_m`` along the plan, the farthest one that lies no more than ``reach_m`` from the ego counts as reached.

    Args:
        plan: At least one point.
        reach_m: Distance at which a point counts as reached, metres.
        horizon_m: How far along the plan points are considered, metres.

    Raises:
        ValueError: If the plan is empty.
    """

    def __init__(self, plan: Sequence[PlanPoint], reach_m: float = 7.5, horizon_m: float = 50.0) -> None:
        if not plan:
            raise ValueError("the route planner needs at least one plan point; the evaluator handed over an empty plan")
        self._plan = list(plan)
        self._reach_m = reach_m
        self._horizon_m = horizon_m

    def step(self, position: ArrayLike) -> list[PlanPoint]:
        """Drop reached points and return those that remain.

        The first is the last one passed; the second, if there is one, the target; the third the target after it.

        Args:
            position: (2,) ego position in the plan's frame, metres.
        """
        here = np.asarray(position, dtype=np.float64)
        if len(self._plan) <= 2:
            return self._plan
        reached, farthest, along = 0, 0.0, 0.0
        for index in range(1, len(self._plan)):
            if along > self._horizon_m:
                break
            along += float(np.linalg.norm(self._plan[index].position - self._plan[index - 1].position))
            distance = float(np.linalg.norm(self._plan[index].position - here))
            if farthest < distance <= self._reach_m:
                farthest, reached = distance, index
        self._plan = self._plan[min(reached, len(self._plan) - 2) :]
        return self._plan

    def targets(self, position: ArrayLike) -> tuple[PlanPoint, PlanPoint]:
        """The target and the one after it, after dropping what `step` drops; near the end both are the last point."""
        remaining = self.step(position)
        return remaining[min(1, len(remaining) - 1)], remaining[min(2, len(remaining) - 1)]
