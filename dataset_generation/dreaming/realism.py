"""Whether a car could drive a dream: limits on its motion, and a report on how often they are broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from driving.kinematics import BicycleModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dream:
    """One forecast.

    Attributes:
        waypoints: (10, 2) ego frame, metres, 0.25 s apart.
        yaw: (10,) relative to the ego now, radians.
        speed: (50,) m/s, one per simulation step.
        positions: (50, 2) ego frame, metres, one per simulation step.
    """

    waypoints: Array
    yaw: Array
    speed: Array
    positions: Array

    @cached_property
    def largest(self) -> dict[str, float]:
        """Its largest values, see `measure`."""
        return measure(self)

    @property
    def final_speed(self) -> float:
        """Speed at the end, m/s, one decimal."""
        return round(float(self.speed[-1]), 1)


@dataclass(frozen=True)
class Limits:
    """What a passenger car on a dry road can do.

    Attributes:
        acceleration: Largest forward acceleration, m/s².
        deceleration: Largest deceleration, m/s².
        lateral: Largest sideways acceleration, m/s².
        jerk: Largest change of the acceleration over a quarter of a second, m/s³.
        curvature: Largest curvature of the path, 1/m; a turning circle of 10 m.
    """

    acceleration: float = 8.0
    deceleration: float = 9.0
    lateral: float = 9.0
    jerk: float = 50.0
    curvature: float = 0.2


LIMITS = Limits()
LIMIT_NAMES = tuple(row.name for row in fields(Limits))
WINDOW_STEPS = 5
LEAST_MOVE_M = 0.05
TOLERANCE = 0.02


@numba.njit(cache=True)
def _largest_values(positions: Array, speed: Array, window: float) -> tuple[float, float, float, float, float]:
    """As `measure`, of (N, 2) positions and (N,) speeds ``window`` seconds apart, in the order of `Limits`."""
    highest = lowest = lateral = jerk = curvature = 0.0
    acceleration = length = heading = 0.0
    for step in range(len(positions) - 1):
        dx, dy = positions[step + 1, 0] - positions[step, 0], positions[step + 1, 1] - positions[step, 1]
        next_length, next_heading = np.sqrt(dx * dx + dy * dy), np.arctan2(dy, dx)
        next_acceleration = (speed[step + 1] - speed[step]) / window
        highest, lowest = max(highest, next_acceleration), min(lowest, next_acceleration)
        if step > 0:
            jerk = max(jerk, abs(next_acceleration - acceleration) / window)
            if length > LEAST_MOVE_M and next_length > LEAST_MOVE_M:
                turn = abs((next_heading - heading + np.pi) % (2 * np.pi) - np.pi)
                bend = turn / ((length + next_length) / 2)
                curvature, lateral = max(curvature, bend), max(lateral, bend * speed[step] ** 2)
        acceleration, length, heading = next_acceleration, next_length, next_heading
    return highest, abs(lowest), lateral, jerk, curvature


def measure(dream: Dream) -> dict[str, float]:
    """Largest values of a dream, names as in `Limits`; means over quarters of a second."""
    window = WINDOW_STEPS * BicycleModel.dt
    values = _largest_values(dream.positions[::WINDOW_STEPS], dream.speed[::WINDOW_STEPS], window)
    return dict(zip(LIMIT_NAMES, values, strict=True))


def violations(dream: Dream, allowance: Mapping[str, float], limits: Limits = LIMITS) -> list[str]:
    """Names of the limits that a dream breaks.

    Args:
        dream: The dream.
        allowance: What the expert needed in the same frame, from `measure`; the larger of it and the limit counts.
        limits: The limits.
    """
    return [
        name
        for name, value in dream.largest.items()
        if value > max(getattr(limits, name), allowance[name]) * (1 + TOLERANCE)
    ]
