"""Whether a car could drive a dream: limits on its motion, and a report on how often they are broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
WINDOW_STEPS = 5
LEAST_MOVE_M = 0.05
TOLERANCE = 0.02


def measure(dream: Dream) -> dict[str, float]:
    """Largest values of a dream, names as in `Limits`; means over quarters of a second."""
    dt = BicycleModel().dt
    window = WINDOW_STEPS * dt
    speed = dream.speed[::WINDOW_STEPS]
    acceleration = np.diff(speed) / window
    steps = np.diff(dream.positions[::WINDOW_STEPS], axis=0)
    length = np.linalg.norm(steps, axis=1)
    heading = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    moving = (length[1:] > LEAST_MOVE_M) & (length[:-1] > LEAST_MOVE_M)
    between = np.maximum((length[1:] + length[:-1]) / 2, LEAST_MOVE_M)
    curvature = np.where(moving, np.abs(np.diff(heading)) / between, 0.0)
    return {
        "acceleration": float(max(acceleration.max(), 0.0)),
        "deceleration": float(max(-acceleration.min(), 0.0)),
        "lateral": float(np.max(curvature * speed[1:-1] ** 2)),
        "jerk": float(np.max(np.abs(np.diff(acceleration)) / window)),
        "curvature": float(np.max(curvature)),
    }


def violations(dream: Dream, allowance: Mapping[str, float], limits: Limits = LIMITS) -> list[str]:
    """Names of the limits that a dream breaks.

    Args:
        dream: The dream.
        allowance: What the expert needed in the same frame, from `measure`; the larger of it and the limit counts.
        limits: The limits.
    """
    return [
        name
        for name, value in measure(dream).items()
        if value > max(getattr(limits, name), allowance[name]) * (1 + TOLERANCE)
    ]
