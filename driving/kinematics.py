"""Kinematic bicycle models of the ego vehicle and of other vehicles, and travel-time estimates.

The bicycle constants and the ego speed polynomials are those published with "World on Rails" (Chen et al., 2021) for
the Lincoln MKZ at 20 steps per second; the acceleration polynomial of `minimum_travel_time` is the one of PDM-Lite
(`autonomousvision/carla_garage`, `team_code/autopilot.py`). All of them describe a flat road.

Poses are in CARLA's world frame: x east, y south, yaw in radians from x towards y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BicycleModel:
    """Constants of the kinematic bicycle.

    Attributes:
        dt: Step, seconds. The ego polynomials hold for this step only.
        front_wheel_base: Distance from the centre of mass to the front axle, metres.
        rear_wheel_base: Distance from the centre of mass to the rear axle, metres.
        steer_gain: Wheel angle at full steer, radians.
        brake_acceleration: Acceleration under full brake, m/s².
        throttle_acceleration: Acceleration at full throttle, m/s².
        throttle_coefficients: Ego speed after a throttle step from v, v², t, t², vt, vt², v²t, v²t² (v in km/h).
        brake_coefficients: Ego speed after a brake step from the powers 1 to 7 of the speed in km/h.
        throttle_threshold: Below this throttle the polynomial does not hold and the speed is kept.
    """

    dt: float = 0.05
    front_wheel_base: float = -0.090769015
    rear_wheel_base: float = 1.4178275
    steer_gain: float = 0.36848336
    brake_acceleration: float = -4.952399
    throttle_acceleration: float = 0.5633837
    throttle_coefficients: tuple[float, ...] = (
        9.63873001e-01, 4.37535692e-04, -3.80192912e-01, 1.74950069e00,
        9.16787414e-02, -7.05461530e-02, -1.05996152e-03, 6.71079346e-04,
    )  # fmt: skip
    brake_coefficients: tuple[float, ...] = (
        9.31711370e-03, 8.20967431e-02, -2.83832427e-03, 5.06587474e-05,
        -4.90357228e-07, 2.44419284e-09, -4.91381935e-12,
    )  # fmt: skip
    throttle_threshold: float = 0.3

    def slip(self, steer: ArrayLike) -> Array:
        """Angle between heading and motion, radians, for a steer value in [-1, 1] (any shape)."""
        ratio = self.rear_wheel_base / (self.front_wheel_base + self.rear_wheel_base)
        return np.arctan(ratio * np.tan(self.steer_gain * np.asarray(steer, dtype=np.float64)))

    def ego_speed(self, speed: float, throttle: float, brake: bool) -> float:
        """Ego speed, m/s, one step after ``speed`` m/s under throttle in [0, 1] or full brake; never negative."""
        v = speed * 3.6
        if brake:
            after = sum(c * v ** (n + 1) for n, c in enumerate(self.brake_coefficients))
            return max(0.0, after / 3.6)
        t = min(max(throttle, 0.0), 1.0)
        if t < self.throttle_threshold:
            return max(0.0, speed)
        c = self.throttle_coefficients
        after = c[0] * v + c[1] * v * v + c[2] * t + c[3] * t * t
        after += c[4] * v * t + c[5] * v * t * t + c[6] * v * v * t + c[7] * v * v * t * t
        return max(0.0, after / 3.6)

    def step_ego(
        self, x: float, y: float, yaw: float, speed: float, steer: float, throttle: float, brake: bool
    ) -> tuple[float, float, float, float]:
        """Predict the ego vehicle one step ahead.

        Args:
            x, y: World position, metres.
            yaw: Heading, radians.
            speed: Forward speed, m/s, not negative.
            steer: In [-1, 1], positive to the right.
            throttle: In [0, 1].
            brake: Full brake.

        Returns:
            x, y, yaw, speed after one step, same units.
        """
        ratio = self.rear_wheel_base / (self.front_wheel_base + self.rear_wheel_base)
        beta = math.atan(ratio * math.tan(self.steer_gain * steer))
        travelled = speed * self.dt
        return (
            x + travelled * math.cos(yaw + beta),
            y + travelled * math.sin(yaw + beta),
            yaw + travelled / self.rear_wheel_base * math.sin(beta),
            self.ego_speed(speed, throttle, brake),
        )

    def roll_out_others(
        self,
        xy: ArrayLike,
        yaw: ArrayLike,
        speed: ArrayLike,
        control: ArrayLike,
        steps: int,
        partial_brake: bool = True,
        gained: ArrayLike | None = None,
        gaining_s: float = 1.0,
    ) -> tuple[Array, Array, Array]:
        """Predict other vehicles that hold their control.

        Steering is constant, hence so is the slip angle, and the whole roll-out is a cumulative sum.

        Args:
            xy: (N, 2) world positions, metres.
            yaw: (N,) headings, radians.
            speed: (N,) forward speeds, m/s.
            control: (N, 3) steer in [-1, 1], throttle in [0, 1], brake in [0, 1].
            steps: Number of steps T.
            partial_brake: Brake in proportion to the pedal. The published expert casts the pedal to an integer, so that
                anything below 1 does not brake; False reproduces it.
            gained: (N,) accelerations seen, m/s², that last for ``gaining_s`` seconds on top of what the pedals do; the
                published throttle acceleration is far below that of a car that drives off.
            gaining_s: Seconds.

        Returns:
            (T, N, 2) positions, (T, N) headings and (T, N) speeds after steps 1 to T.
        """
        start = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        yaw0, v0 = np.asarray(yaw, dtype=np.float64), np.asarray(speed, dtype=np.float64)
        steer, throttle, brake = np.asarray(control, dtype=np.float64).reshape(-1, 3).T
        if not partial_brake:
            brake = np.floor(brake)
        coasting = throttle * self.throttle_acceleration
        acceleration = np.where(brake > 0, brake * self.brake_acceleration, coasting)
        time = self.dt * np.arange(steps + 1)[:, None]
        extra = 0.0 if gained is None else np.minimum(time, gaining_s) * np.asarray(gained, dtype=np.float64)
        speeds = np.maximum(v0 + time * acceleration + extra, 0.0)
        speeds[0] = v0
        travelled = speeds[:-1] * self.dt
        beta = self.slip(steer)
        turned = np.cumsum(travelled / self.rear_wheel_base * np.sin(beta), axis=0)
        yaws = yaw0 + turned
        before = np.concatenate([np.broadcast_to(yaw0, (1, len(yaw0))), yaws[:-1]]) if steps else yaws
        moves = np.stack([travelled * np.cos(before + beta), travelled * np.sin(before + beta)], axis=-1)
        return start + np.cumsum(moves, axis=0), yaws, speeds[1:]


def minimum_travel_time(distance: float, target_speed: float, speed: float, dt: float = 0.05) -> float:
    """Time to cover a distance at full throttle up to a target speed.

    The speed gain per step is PDM-Lite's cubic in v/120 km/h, fitted for the Lincoln MKZ at 20 Hz.

    Args:
        distance: Metres, not negative.
        target_speed: Speed that is not exceeded, m/s, positive.
        speed: Speed now, m/s.
        dt: Step, seconds.

    Returns:
        Seconds.

    Raises:
        ValueError: If the target speed is not positive, for then the distance is never covered.
    """
    if target_speed <= 0:
        raise ValueError(f"a travel time needs a positive target speed; got {target_speed} m/s")
    remaining, elapsed, v = distance, 0.0, speed
    while remaining >= v * dt:
        remaining -= v * dt
        elapsed += dt
        u = v / 120.0
        gain = max(0.0, 0.00904221 + 0.00733342 * u - 0.03744807 * u * u + 0.0235038 * u**3)
        v = min(max(120.0 * (u + gain), 0.0), target_speed)
    return elapsed + remaining / v
