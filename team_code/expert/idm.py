"""Speed after one tick by the Intelligent Driver Model (Treiber et al., 2000).

The published expert integrates the model over one tick with SciPy's adaptive Runge-Kutta 5(4). The same pair (Dormand and
Prince, 1980) with the same step control is written out here on plain floats: it gives the same speeds and takes a fraction
of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_ERROR = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 1e-3, 1e-6
_SAFETY, _MIN_FACTOR, _MAX_FACTOR, _ERROR_EXPONENT = 0.9, 0.2, 10.0, -1 / 5

State = tuple[float, float]


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

        def derivative(t: float, state: State) -> State:
            x, v = state
            gap = max(c.min_gap, obstacle.distance + t * obstacle.speed - x - obstacle.length)
            wanted = obstacle.standstill_gap + v * obstacle.headway + v * (v - obstacle.speed) / interaction
            return v, c.acceleration * (1.0 - (v / desired_speed) ** c.exponent - (wanted / gap) ** 2)

        return max(0.0, _integrate(derivative, (0.0, ego_speed), c.dt)[1])


def _norm(a: float, b: float) -> float:
    return math.sqrt((a * a + b * b) / 2.0)


def _scales(state: State) -> State:
    return (
        _ABSOLUTE_TOLERANCE + abs(state[0]) * _RELATIVE_TOLERANCE,
        _ABSOLUTE_TOLERANCE + abs(state[1]) * _RELATIVE_TOLERANCE,
    )


def _first_step(derivative, state: State, slope: State, end: float) -> float:
    """Initial step of Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", section II.4."""
    sx, sv = _scales(state)
    d0, d1 = _norm(state[0] / sx, state[1] / sv), _norm(slope[0] / sx, slope[1] / sv)
    h0 = min(1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1, end)
    ahead = derivative(h0, (state[0] + h0 * slope[0], state[1] + h0 * slope[1]))
    d2 = _norm((ahead[0] - slope[0]) / sx, (ahead[1] - slope[1]) / sv) / h0
    h1 = max(1e-6, h0 * 1e-3) if d1 <= 1e-15 and d2 <= 1e-15 else (0.01 / max(d1, d2)) ** 0.2
    return min(100 * h0, h1, end)


def _attempt(derivative, t: float, state: State, slope: State, h: float) -> tuple[State, State, float]:
    """One Dormand-Prince step: the new state, the slope there, and the error relative to the tolerance."""
    slopes = [slope]
    trial = state
    try:
        for row, c in zip(_A, _C, strict=True):
            trial = (
                state[0] + h * sum(a * k[0] for a, k in zip(row, slopes)),
                state[1] + h * sum(a * k[1] for a, k in zip(row, slopes)),
            )
            slopes.append(derivative(t + c * h, trial))
    except OverflowError:  # a step far too long for an obstacle at the bumper; the caller shortens it
        return state, slope, math.inf
    now, new = _scales(state), _scales(trial)
    error_x = h * sum(e * k[0] for e, k in zip(_ERROR, slopes)) / max(now[0], new[0])
    error_v = h * sum(e * k[1] for e, k in zip(_ERROR, slopes)) / max(now[1], new[1])
    return trial, slopes[-1], _norm(error_x, error_v)


def _integrate(derivative, state: State, end: float) -> State:
    """State at time ``end`` from ``state`` at time 0, with the default tolerances of `scipy.integrate.solve_ivp`.

    Like SciPy it ends early, with the last good state, when the step would fall below the resolution of the time.
    """
    t, slope = 0.0, derivative(0.0, state)
    step = _first_step(derivative, state, slope, end)
    while t < end:
        rejected = False
        while True:
            h = min(step, end - t)
            if h < 10 * math.ulp(t):
                return state
            new_state, new_slope, error = _attempt(derivative, t, state, slope, h)
            if error < 1.0:
                break
            step = h * max(_MIN_FACTOR, _SAFETY * error**_ERROR_EXPONENT)
            rejected = True
        factor = _MAX_FACTOR if error == 0.0 else min(_MAX_FACTOR, _SAFETY * error**_ERROR_EXPONENT)
        step = h * (min(1.0, factor) if rejected else factor)
        t, state, slope = t + h if h < end - t else end, new_state, new_slope
    return state
