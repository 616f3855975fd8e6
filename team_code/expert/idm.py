"""Speed after one tick by the Intelligent Driver Model (Treiber et al., 2000).

The published expert integrates the model over one tick with SciPy's adaptive Runge-Kutta 5(4). The same pair (Dormand and
Prince, 1980) with the same step control is written out here and compiled: it gives the same speeds and takes a fraction of
the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

_A = np.array(
    [
        [1 / 5, 0.0, 0.0, 0.0, 0.0, 0.0],
        [3 / 40, 9 / 40, 0.0, 0.0, 0.0, 0.0],
        [44 / 45, -56 / 15, 32 / 9, 0.0, 0.0, 0.0],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729, 0.0, 0.0],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656, 0.0],
        [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    ]
)
_C = np.array([1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0])
_ERROR = np.array([-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40])
_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 1e-3, 1e-6
_SAFETY, _MIN_FACTOR, _MAX_FACTOR, _ERROR_EXPONENT = 0.9, 0.2, 10.0, -1 / 5


@dataclass(frozen=True)
class IdmConfig:
    """Constants of the model.

    Attributes:
        acceleration: Largest acceleration, m/s².
        braking_fast, braking_slow: Comfortable deceleration above and below ``braking_threshold``, m/s².
        braking_threshold: m/s.
        exponent: Of the speed term.
        min_gap: Gap below which the model is not evaluated, metres.
        dt: Integration time, seconds.
    """

    acceleration: float = 24.0
    braking_fast: float = 3.72
    braking_slow: float = 8.7
    braking_threshold: float = 6.02
    exponent: float = 4.0
    min_gap: float = 0.1
    dt: float = 0.05


@dataclass(frozen=True)
class Obstacle:
    """Something to follow or to stop for.

    Attributes:
        distance: From the ego, metres; may be infinite.
        length: Taken off the distance, metres.
        speed: Of the obstacle along the road, m/s.
        standstill_gap: Gap kept at rest, metres.
        headway: Time gap, seconds.
    """

    distance: float
    length: float
    speed: float
    standstill_gap: float
    headway: float


class IntelligentDriver:
    """The model with its constants."""

    def __init__(self, config: IdmConfig | None = None) -> None:
        self.config = config or IdmConfig()

    def next_speed(self, desired_speed: float, ego_speed: float, obstacle: Obstacle) -> float:
        """Speed one tick later, m/s, not negative.

        Args:
            desired_speed: Speed on a free road, m/s, positive.
            ego_speed: Speed now, m/s.
            obstacle: What is ahead.

        Raises:
            ValueError: If the desired speed is not positive; the model divides by it.
        """
        if desired_speed <= 0:
            raise ValueError(f"the driver model needs a positive desired speed; got {desired_speed} m/s")
        c = self.config
        braking = c.braking_fast if ego_speed > c.braking_threshold else c.braking_slow
        interaction = 2.0 * math.sqrt(c.acceleration * braking)

        model = (
            float(desired_speed), float(obstacle.distance), float(obstacle.speed), float(obstacle.length),
            float(obstacle.standstill_gap), float(obstacle.headway), c.acceleration, interaction, c.exponent, c.min_gap,
        )  # fmt: skip
        return max(0.0, float(_integrate(float(ego_speed), c.dt, model)))


@njit(cache=True)
def _slope(t, x, v, model):
    """Change of way and speed per second."""
    desired, distance, lead_speed, length, standstill_gap, headway, acceleration, interaction, exponent, min_gap = model
    gap = max(min_gap, distance + t * lead_speed - x - length)
    wanted = standstill_gap + v * headway + v * (v - lead_speed) / interaction
    return v, acceleration * (1.0 - (v / desired) ** exponent - (wanted / gap) ** 2)


@njit(cache=True)
def _norm(a, b):
    return math.sqrt((a * a + b * b) / 2.0)


@njit(cache=True)
def _scale(value):
    return _ABSOLUTE_TOLERANCE + abs(value) * _RELATIVE_TOLERANCE


@njit(cache=True)
def _first_step(x, v, slope_x, slope_v, end, model):
    """Initial step of Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", section II.4."""
    sx, sv = _scale(x), _scale(v)
    d0, d1 = _norm(x / sx, v / sv), _norm(slope_x / sx, slope_v / sv)
    h0 = min(1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1, end)
    ahead_x, ahead_v = _slope(h0, x + h0 * slope_x, v + h0 * slope_v, model)
    d2 = _norm((ahead_x - slope_x) / sx, (ahead_v - slope_v) / sv) / h0
    h1 = max(1e-6, h0 * 1e-3) if d1 <= 1e-15 and d2 <= 1e-15 else (0.01 / max(d1, d2)) ** 0.2
    return min(100 * h0, h1, end)


@njit(cache=True)
def _attempt(t, x, v, h, slopes, model):
    """One Dormand-Prince step: the new state, and the error relative to the tolerance.

    The first row of ``slopes`` (7, 2) is the slope here, the others are filled in, the last with the slope there.
    """
    trial_x, trial_v = x, v
    for row in range(6):
        sum_x = sum_v = 0.0
        for k in range(row + 1):
            sum_x += _A[row, k] * slopes[k, 0]
            sum_v += _A[row, k] * slopes[k, 1]
        trial_x, trial_v = x + h * sum_x, v + h * sum_v
        slopes[row + 1, 0], slopes[row + 1, 1] = _slope(t + _C[row] * h, trial_x, trial_v, model)
    error_x = error_v = 0.0
    for k in range(7):
        error_x += _ERROR[k] * slopes[k, 0]
        error_v += _ERROR[k] * slopes[k, 1]
    error_x *= h / max(_scale(x), _scale(trial_x))
    error_v *= h / max(_scale(v), _scale(trial_v))
    return trial_x, trial_v, _norm(error_x, error_v)


@njit(cache=True)
def _integrate(speed, end, model):
    """Speed at time ``end`` from ``speed`` at time 0, with the default tolerances of `scipy.integrate.solve_ivp`.

    Like SciPy it ends early, with the last good state, when the step would fall below the resolution of the time.
    """
    t, x, v = 0.0, 0.0, speed
    slopes = np.empty((7, 2))
    slopes[0, 0], slopes[0, 1] = _slope(0.0, x, v, model)
    step = _first_step(x, v, slopes[0, 0], slopes[0, 1], end, model)
    while t < end:
        rejected = False
        while True:
            h = min(step, end - t)
            if h < 10 * np.spacing(t):
                return v
            new_x, new_v, error = _attempt(t, x, v, h, slopes, model)
            if error < 1.0:
                break
            # A step far too long for an obstacle at the bumper overflows; its error is no number then.
            step = h * (max(_MIN_FACTOR, _SAFETY * error**_ERROR_EXPONENT) if math.isfinite(error) else _MIN_FACTOR)
            rejected = True
        factor = _MAX_FACTOR if error == 0.0 else min(_MAX_FACTOR, _SAFETY * error**_ERROR_EXPONENT)
        step = h * (min(1.0, factor) if rejected else factor)
        t, x, v = t + h if h < end - t else end, new_x, new_v
        slopes[0] = slopes[6]
    return v
