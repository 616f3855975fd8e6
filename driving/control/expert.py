"""The two controllers of the expert: speed by a fitted throttle polynomial, steering by a PID on the heading error.

Constants are those published for PDM-Lite and SimLingo (`RenzKa/simlingo`, `team_code/config.py`); they were fitted on
the Lincoln MKZ in CARLA at 20 steps per second.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KMH_PER_MPS = 3.6


@dataclass(frozen=True)
class LongitudinalConfig:
    """Constants of the speed controller.

    Attributes:
        full_throttle_error: Speed error above which throttle is 1, km/h.
        no_throttle_error: Speed error below which the extrapolation gives 0, km/h.
        brake_ratio: Current over target speed above which the car brakes.
        min_target_speed: Smallest target that is tracked, m/s.
        coefficients: Throttle from V, V², 100E, E², VE, V²E with speed V and error E in units of 100 km/h.
    """

    full_throttle_error: float = 1.89
    no_throttle_error: float = -4.82
    brake_ratio: float = 1.031266635497984
    min_target_speed: float = 0.278
    coefficients: tuple[float, ...] = (
        1.1990342347353184, -0.8057602384167799, 1.710818710950062,
        0.921890257450335, 1.556497522998393, -0.7013479734904027,
    )  # fmt: skip


class LongitudinalRegression:
    """Throttle and brake that reach a target speed. Holds no state."""

    def __init__(self, config: LongitudinalConfig | None = None) -> None:
        self.config = config or LongitudinalConfig()

    def __call__(self, hazard: bool, target_speed: float, speed: float) -> tuple[float, bool]:
        """Control for one tick.

        Args:
            hazard: Stop at once.
            target_speed: m/s.
            speed: Speed now, m/s.

        Returns:
            Throttle in [0, 1] and whether to brake.
        """
        if hazard or target_speed < 1e-5:
            return 0.0, True
        target = max(target_speed, self.config.min_target_speed) * KMH_PER_MPS
        current = speed * KMH_PER_MPS
        error = target - current
        if error > self.config.full_throttle_error:
            return 1.0, False
        if current / target > self.config.brake_ratio:
            return 0.0, True
        return self._throttle(current, error), False

    def extrapolate_throttle(self, target_speed: float, speed: float) -> float:
        """Throttle in [0, 1] for a forecast, which never brakes; speeds in m/s."""
        target, current = target_speed * KMH_PER_MPS, speed * KMH_PER_MPS
        error = target - current
        if error > self.config.full_throttle_error:
            return 1.0
        if error < self.config.no_throttle_error or target < 0.1 or current / target > self.config.brake_ratio:
            return 0.0
        return self._throttle(current, error)

    def _throttle(self, current_kmh: float, error_kmh: float) -> float:
        v, e = current_kmh / 100, max(error_kmh, 0.0) / 100
        w = self.config.coefficients
        throttle = w[0] * v + w[1] * v * v + w[2] * 100 * e + w[3] * e * e + w[4] * v * e + w[5] * v * v * e
        return min(max(throttle, 0.0), 1.0)


@dataclass(frozen=True)
class LateralConfig:
    """Constants of the steering controller.

    Attributes:
        kp, ki, kd: Gains on the heading error, its mean over the window, and its change per tick.
        window: Number of errors in the mean.
        lookahead_gain, lookahead_offset: Look-ahead in route points from the speed in km/h.
        min_lookahead, max_lookahead: Bounds of the look-ahead, route points of 0.1 m.
    """

    kp: float = 3.118357247806046
    ki: float = 0.6406067986034124
    kd: float = 1.3782508892109167
    window: int = 6
    lookahead_gain: float = 0.9755321901954155
    lookahead_offset: float = 1.9152884533402488
    min_lookahead: float = 24.0
    max_lookahead: float = 105.0


class LateralPid:
    """Steering towards a point ahead on a route with 0.1 m spacing.

    The only state is the list of recent errors.
    """

    def __init__(self, config: LateralConfig | None = None) -> None:
        self.config = config or LateralConfig()
        self._errors: deque[float] = deque(maxlen=self.config.window)

    def lookahead_index(self, speed: float, num_points: int) -> int:
        """Index of the point steered at, for a speed in m/s and a route of ``num_points`` points."""
        c = self.config
        index = c.lookahead_gain * speed * KMH_PER_MPS + c.lookahead_offset
        return int(min(min(max(index, c.min_lookahead), c.max_lookahead), num_points - 1))

    def heading_error(self, route: Array, x: float, y: float, yaw: float, speed: float) -> float:
        """Angle to the look-ahead point in units of 90 degrees, positive to the right.

        Args:
            route: (N, >=2) world points ahead, 0.1 m apart.
            x, y: World position, metres.
            yaw: Heading, radians.
            speed: m/s.

        Raises:
            ValueError: If the route is empty.
        """
        if len(route) == 0:
            raise ValueError("steering needs at least one route point ahead; the route is empty")
        aim = route[self.lookahead_index(speed, len(route))]
        error = math.atan2(float(aim[1]) - y, float(aim[0]) - x) - yaw
        error = (error + math.pi) % (2 * math.pi) - math.pi
        return math.degrees(error) / 90.0

    def step(self, route: Array, x: float, y: float, yaw: float, speed: float) -> float:
        """Steer in [-1, 1] for one tick; arguments as in `heading_error`."""
        error = self.heading_error(route, x, y, yaw, speed)
        self._errors.append(error)
        derivative = error - self._errors[-2] if len(self._errors) > 1 else 0.0
        integral = sum(self._errors) / len(self._errors)
        c = self.config
        return min(max(c.kp * error + c.kd * derivative + c.ki * integral, -1.0), 1.0)

    @property
    def errors(self) -> tuple[float, ...]:
        """Recent heading errors in units of 90 degrees, the oldest first."""
        return tuple(self._errors)
