"""Control of the driving model: steering along the predicted path, speed from the predicted waypoints.

Constants are those published with SimLingo (`RenzKa/simlingo`, `team_code/config_simlingo.py`). The steering controller is
the expert's, fed with the predicted path in the ego frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from driving.control.expert import LateralPid

Array = NDArray[np.float64]

ROUTE_STEP_M = 0.1
"""Spacing of the path that the steering controller expects, metres."""


@dataclass(frozen=True)
class SpeedConfig:
    """Constants of the speed controller.

    Attributes:
        kp, ki, kd: Gains on the speed error (m/s), its mean over the window, and its change per tick.
        window: Number of errors in the mean; the window starts filled with zeros.
        max_error: Largest error that is used, m/s.
        brake_speed: Desired speed below which the car brakes, m/s.
        brake_ratio: Current over desired speed above which it brakes.
        first, last: Waypoints whose distance gives the desired speed.
        seconds_between: Time between these two, seconds.
        departure_speed: A plan whose last second is at least that fast, m/s, leaves; see `Departure`. None knows no overdue
            departures, as published.
        standing_speed: Speed below which a car stands, m/s.
        plan_ticks: Ticks from the picture to the last waypoint.
    """

    kp: float = 1.75
    ki: float = 1.0
    kd: float = 2.0
    window: int = 20
    max_error: float = 1.0
    brake_speed: float = 0.4
    brake_ratio: float = 1.1
    first: int = 0
    last: int = 2
    seconds_between: float = 0.5
    departure_speed: float | None = None
    standing_speed: float = 0.1
    plan_ticks: int = 50


class SpeedPid:
    """Throttle from a speed error."""

    def __init__(self, config: SpeedConfig | None = None) -> None:
        self.config = config or SpeedConfig()
        self._errors: deque[float] = deque([0.0] * self.config.window, maxlen=self.config.window)

    def step(self, error: float) -> float:
        """Throttle in [0, 1] for an error in m/s; advances the window."""
        self._errors.append(error)
        integral = sum(self._errors) / len(self._errors)
        derivative = self._errors[-1] - self._errors[-2]
        output = self.config.kp * error + self.config.ki * integral + self.config.kd * derivative
        return float(np.clip(output, 0.0, 1.0))


def desired_speed(waypoints: ArrayLike, config: SpeedConfig | None = None) -> float:
    """Speed that the waypoints ask for between 0.25 s and 0.75 s, m/s.

    Args:
        waypoints: (>= 3, 2) ego-frame positions every 0.25 s, metres.
        config: Which waypoints are compared.
    """
    c = config or SpeedConfig()
    points = np.asarray(waypoints, dtype=np.float64)
    return float(np.linalg.norm(points[c.first] - points[c.last]) / c.seconds_between)


class Departure:
    """Notices departures that are overdue: a standing car whose plan of 2.5 s ago would have it moving by now.

    A model that sees no past may plan in every tick to leave in two seconds, and never leave.
    """

    def __init__(self, config: SpeedConfig) -> None:
        self.config = config
        self._planned: deque[bool] = deque(maxlen=config.plan_ticks + 1)

    def overdue_speed(self, waypoints: ArrayLike, speed: float) -> float:
        """Speed at the end of the plan, m/s, if a departure is overdue and the plan still leaves; otherwise 0.

        Args:
            waypoints: (>= 5, 2) ego-frame positions every 0.25 s, metres.
            speed: m/s.
        """
        wanted = self.config.departure_speed
        if wanted is None or speed >= self.config.standing_speed:
            self._planned.clear()
            return 0.0
        points = np.asarray(waypoints, dtype=np.float64)
        leaving = float(np.linalg.norm(points[-1] - points[-5]))
        self._planned.append(leaving >= wanted)
        is_overdue = len(self._planned) > self.config.plan_ticks and self._planned[0] and self._planned[-1]
        return leaving if is_overdue else 0.0


def densify_path(path: ArrayLike) -> Array:
    """Resample a predicted path every 0.1 m with a shape-preserving cubic.

    Args:
        path: (N, 2) ego-frame points, metres; the ego's own position is put in front.

    Returns:
        (M, 2) points at arc lengths 0.1, 0.2, … below the length of the path; the last predicted point when it is shorter.
    """
    points = np.concatenate([np.zeros((1, 2)), np.asarray(path, dtype=np.float64)])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    # The small slope keeps the abscissa strictly increasing where the model predicts the same point twice.
    arc = np.concatenate([[0.0], np.cumsum(steps)]) + 1e-4 * np.arange(len(points))
    samples = np.arange(ROUTE_STEP_M, arc[-1], ROUTE_STEP_M)
    if samples.size == 0:
        return points[-1:]
    return interpolate_monotone(arc, points, samples)


def interpolate_monotone(at: Array, values: Array, samples: Array) -> Array:
    """Piecewise cubic that overshoots nowhere (PCHIP; Fritsch and Butland, A Method for Constructing Local Monotone
    Piecewise Cubic Interpolants, 1984).

    Args:
        at: (N,) strictly increasing abscissae, at least two.
        values: (N, D) there.
        samples: (M,) abscissae between the first and the last.

    Returns:
        (M, D) values at the samples.
    """
    gaps = np.diff(at)[:, None]
    slopes = np.diff(values, axis=0) / gaps
    tangents = np.empty_like(values)
    if len(gaps) == 1:
        tangents[:] = slopes
    else:
        before, after = slopes[:-1], slopes[1:]
        agree = before * after > 0
        heavy_after, heavy_before = 2 * gaps[1:] + gaps[:-1], gaps[1:] + 2 * gaps[:-1]
        inverse = heavy_after / np.where(agree, before, 1.0) + heavy_before / np.where(agree, after, 1.0)
        tangents[1:-1] = np.where(agree, (heavy_after + heavy_before) / np.where(agree, inverse, 1.0), 0.0)
        tangents[0] = _end_tangent(gaps[0], gaps[1], slopes[0], slopes[1])
        tangents[-1] = _end_tangent(gaps[-1], gaps[-2], slopes[-1], slopes[-2])
    piece = np.clip(np.searchsorted(at, samples, side="right") - 1, 0, len(gaps) - 1)
    gap = gaps[piece]
    u = (samples - at[piece])[:, None] / gap
    start, end = values[piece], values[piece + 1]
    rise = u * u * (3 - 2 * u)
    bend = u * (1 - u) * gap * ((1 - u) * tangents[piece] - u * tangents[piece + 1])
    return np.asarray(start + rise * (end - start) + bend)


def _end_tangent(gap: Array, next_gap: Array, slope: Array, next_slope: Array) -> Array:
    """Tangent (D,) at an end: of a parabola through three points, bent back where it would overshoot."""
    tangent = ((2 * gap + next_gap) * slope - gap * next_slope) / (gap + next_gap)
    tangent = np.where(np.sign(tangent) == np.sign(slope), tangent, 0.0)
    overshoots = (np.sign(slope) != np.sign(next_slope)) & (np.abs(tangent) > 3 * np.abs(slope))
    return np.where(overshoots, 3 * slope, tangent)


class WaypointController:
    """Steer, throttle and brake from the model's two outputs. One instance drives one route."""

    def __init__(self, speed_config: SpeedConfig | None = None) -> None:
        self._speed = SpeedPid(speed_config)
        self._steering = LateralPid()
        self._departure = Departure(self._speed.config)

    def step(self, path: ArrayLike, waypoints: ArrayLike, speed: float) -> tuple[float, float, float]:
        """Control for one tick.

        Args:
            path: (20, 2) ego-frame path, 1 m apart.
            waypoints: (10, 2) ego-frame positions, 0.25 s apart.
            speed: m/s.

        Returns:
            steer in [-1, 1] rounded to three decimals, throttle in [0, 1], brake 0.0 or 1.0.

        Raises:
            ValueError: If a prediction is not finite.
        """
        if not (np.all(np.isfinite(path)) and np.all(np.isfinite(waypoints))):
            raise ValueError(
                "the model predicted a path or waypoints with values that are not finite; its weights are broken"
            )
        config = self._speed.config
        desired = max(desired_speed(waypoints, config), self._departure.overdue_speed(waypoints, speed))
        braking = desired < config.brake_speed or speed / desired > config.brake_ratio
        throttle = self._speed.step(float(np.clip(desired - speed, 0.0, config.max_error)))
        steer = self._steering.step(densify_path(path), 0.0, 0.0, 0.0, speed)
        return round(float(np.clip(steer, -1.0, 1.0)), 3), 0.0 if braking else throttle, float(braking)
