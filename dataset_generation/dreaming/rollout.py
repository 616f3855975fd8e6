"""The ego's future under a changed path and speed command: a kinematic bicycle with the expert's controllers.

Formulas and constants are those of `driving.kinematics` and `driving.control.expert`; the loop is compiled because a frame needs
about ten roll-outs of fifty steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

from driving.control.expert import LateralConfig, LongitudinalConfig
from driving.kinematics import BicycleModel

Array = NDArray[np.float64]

STEPS = 50
"""Simulation steps of a dream, 0.05 s each."""

STEPS_PER_WAYPOINT = 5

MODEL = BicycleModel()
LATERAL = LateralConfig()
LONGITUDINAL = LongitudinalConfig()

PATH_POINTS_PER_METRE = 10
"""The look-ahead is counted in points of 0.1 m; recorded routes have one point per metre."""


class SpeedCommand(IntEnum):
    """What decides on throttle and brake."""

    EXPERT = 0
    """The expert's recorded pedals."""
    EXPERT_WAYPOINTS = 1
    """Reach where the expert was half a second later."""
    SPEEDS = 2
    """A target speed for each step, m/s."""
    THROTTLE = 3
    """A throttle for each step, no brake."""
    PULSES = 4
    """Full brake in steps where the value is positive, else neither pedal."""


@dataclass(frozen=True)
class Start:
    """Where a roll-out begins: world position (m), heading (rad), speed (m/s) and the control held in the first step."""

    x: float
    y: float
    yaw: float
    speed: float
    steer: float
    throttle: float
    brake: float


@dataclass(frozen=True)
class Rollout:
    """States after each step: (50, 2) world positions, (50,) headings and speeds."""

    position: Array
    yaw: Array
    speed: Array


def roll_out(
    start: Start,
    expert_controls: Array,
    expert_positions: Array,
    path: Array,
    command: SpeedCommand,
    values: Array | None = None,
    brake_limit: float = np.inf,
) -> Rollout:
    """Drive the bicycle for 2.5 s.

    Args:
        start: First state.
        expert_controls: (50, 3) the expert's steer, throttle and brake at each step.
        expert_positions: (50, 2) its world positions.
        path: (N, 2) world points about 1 m apart that steering follows.
        command: What decides on the pedals.
        values: (50,) numbers of the command, where it has any.
        brake_limit: Largest deceleration, m/s². The fitted polynomial brakes at up to 20.
    """
    numbers = np.zeros(STEPS) if values is None else np.ascontiguousarray(values, dtype=np.float64)
    first = np.array([start.x, start.y, start.yaw, start.speed, start.steer, start.throttle, start.brake])
    states = _roll(
        first, expert_controls, expert_positions, np.ascontiguousarray(path), int(command), numbers, brake_limit
    )
    return Rollout(states[:, :2], states[:, 2], states[:, 3])


_RATIO = MODEL.rear_wheel_base / (MODEL.front_wheel_base + MODEL.rear_wheel_base)
_DT, _REAR, _GAIN, _LEAST_THROTTLE = MODEL.dt, MODEL.rear_wheel_base, MODEL.steer_gain, MODEL.throttle_threshold
_BRAKE = np.array(MODEL.brake_coefficients)
_THROTTLE = np.array(MODEL.throttle_coefficients)
_PEDAL = np.array(LONGITUDINAL.coefficients)
_FULL_ERROR, _BRAKE_RATIO, _LEAST_TARGET = (
    LONGITUDINAL.full_throttle_error, LONGITUDINAL.brake_ratio, LONGITUDINAL.min_target_speed,
)  # fmt: skip
_KP, _KI, _KD, _WINDOW = LATERAL.kp, LATERAL.ki, LATERAL.kd, LATERAL.window
_LOOK_GAIN, _LOOK_OFFSET, _LOOK_LOW, _LOOK_HIGH = (
    LATERAL.lookahead_gain, LATERAL.lookahead_offset, LATERAL.min_lookahead, LATERAL.max_lookahead,
)  # fmt: skip


@numba.njit(cache=True)
def _next_speed(speed: float, throttle: float, brake: float) -> float:
    """As `BicycleModel.ego_speed`."""
    k = speed * 3.6
    if brake > 0:
        after = 0.0
        for n in range(len(_BRAKE)):
            after += _BRAKE[n] * k ** (n + 1)
        return max(0.0, after / 3.6)
    u = min(max(throttle, 0.0), 1.0)
    if u < _LEAST_THROTTLE:
        return speed
    a = _THROTTLE
    after = a[0] * k + a[1] * k * k + a[2] * u + a[3] * u * u
    after += a[4] * k * u + a[5] * k * u * u + a[6] * k * k * u + a[7] * k * k * u * u
    return max(0.0, after / 3.6)


@numba.njit(cache=True)
def _pedals(target: float, speed: float) -> tuple[float, float]:
    """As `LongitudinalRegression`."""
    if target < 1e-5:
        return 0.0, 1.0
    wanted = max(target, _LEAST_TARGET) * 3.6
    current = speed * 3.6
    error = wanted - current
    if error > _FULL_ERROR:
        return 1.0, 0.0
    if current / wanted > _BRAKE_RATIO:
        return 0.0, 1.0
    c, e = current / 100, max(error, 0.0) / 100
    w = _PEDAL
    throttle = w[0] * c + w[1] * c * c + w[2] * 100 * e + w[3] * e * e + w[4] * c * e + w[5] * c * c * e
    return min(max(throttle, 0.0), 1.0), 0.0


@numba.njit(cache=True)
def _closest(path: Array, x: float, y: float) -> int:
    best, best_distance = 0, np.inf
    for index in range(len(path)):
        distance = (path[index, 0] - x) ** 2 + (path[index, 1] - y) ** 2
        if distance < best_distance:
            best, best_distance = index, distance
    return best


@numba.njit(cache=True)
def _steer(path: Array, first: int, x: float, y: float, yaw: float, speed: float, errors: Array, count: int) -> float:
    """As `LateralPid` on ``path[first:]`` with points 1 m apart; ``errors`` holds all errors so far, this one is added."""
    look = min(max(_LOOK_GAIN * speed + _LOOK_OFFSET, _LOOK_LOW), _LOOK_HIGH) / PATH_POINTS_PER_METRE - 2
    aim = first + int(min(look, len(path) - first - 1))
    angle = np.arctan2(path[aim, 1] - y, path[aim, 0] - x) - yaw
    error = np.degrees((angle + np.pi) % (2 * np.pi) - np.pi) / 90.0
    errors[count] = error
    derivative = error - errors[count - 1] if count > 0 else 0.0
    low = max(0, count + 1 - _WINDOW)
    integral = np.sum(errors[low : count + 1]) / (count + 1 - low)
    return min(max(_KP * error + _KD * derivative + _KI * integral, -1.0), 1.0)


@numba.njit(cache=True)
def _roll(
    first: Array, controls: Array, positions: Array, path: Array, command: int, values: Array, brake_limit: float
) -> Array:
    states = np.empty((STEPS, 4))
    errors = np.empty(STEPS)
    x, y, yaw, speed, steer, throttle, brake = first[0], first[1], first[2], first[3], first[4], first[5], first[6]
    count, follows = 0, len(path) > 0
    for i in range(STEPS):
        beta = np.arctan(_RATIO * np.tan(_GAIN * steer))
        x += speed * np.cos(yaw + beta) * _DT
        y += speed * np.sin(yaw + beta) * _DT
        yaw += speed / _REAR * np.sin(beta) * _DT
        speed = max(_next_speed(speed, throttle, brake), speed - brake_limit * _DT)
        states[i, 0], states[i, 1], states[i, 2], states[i, 3] = x, y, yaw, speed
        steer, throttle, brake = controls[i, 0], controls[i, 1], controls[i, 2]
        if follows:
            ahead = _closest(path, x, y) + 1
            if ahead >= len(path):
                follows = False
            else:
                steer = _steer(path, ahead, x, y, yaw, speed, errors, count)
                count += 1
        if command == 1:
            if i + 3 * STEPS_PER_WAYPOINT < STEPS:
                goal = i + 2 * STEPS_PER_WAYPOINT
                distance = np.sqrt((positions[goal, 0] - x) ** 2 + (positions[goal, 1] - y) ** 2)
                throttle, brake = _pedals(2.0 * distance, speed)
        elif command == 2:
            throttle, brake = _pedals(values[i], speed)
        elif command == 3:
            throttle, brake = values[i], 0.0
        elif command == 4:
            throttle, brake = 0.0, 1.0 if values[i] > 0 else 0.0
    return states


@numba.njit(cache=True)
def reach(speed: float, steps: int) -> tuple[float, float]:
    """Distance covered in ``steps`` steps of 0.05 s from ``speed`` m/s under full brake and under full throttle, metres."""
    braked = driven = 0.0
    slow = fast = speed
    for _ in range(steps):
        braked += slow * _DT
        driven += fast * _DT
        slow = _next_speed(slow, 0.0, 1.0)
        fast = _next_speed(fast, 1.0, 0.0)
    return braked, driven
