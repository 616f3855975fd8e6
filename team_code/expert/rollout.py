"""Forecasts of motion, compiled: up to 120 steps in every tick are too many for interpreted code, and for a handful of vehicles
calls of numpy cost more than what they compute.

The formulas are those of `driving.kinematics.BicycleModel` and `driving.control.expert`, written out for the compiler; a test
holds the two to one another.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from driving.control.expert import LateralPid, LongitudinalRegression
from driving.kinematics import BicycleModel

Array = NDArray[np.float64]

KMH_PER_MPS = 3.6


def roll_out(
    state: tuple[float, float, float, float],
    points: Array,
    speeds: Array,
    index: int,
    search_points: int,
    steps: int,
    lateral: LateralPid,
    longitudinal: LongitudinalRegression,
    bicycle: BicycleModel,
    brakes: bool = False,
) -> Array:
    """Poses of the ego after each step if it follows a route and meets no hazard.

    Args:
        state: x, y in metres, heading in radians, speed in m/s.
        points: (N, >=2) route, world, metres.
        speeds: (N,) speed that is aimed at, m/s, at each route point.
        index: Route point of the ego.
        search_points: Points ahead among which the nearest is searched after each step.
        steps: Number of steps T.
        lateral: Steering controller; it is left as it is.
        longitudinal: Speed controller.
        bicycle: Motion of the ego.
        brakes: Brake where the speed controller does; the published forecast keeps its speed instead.

    Returns:
        (T, 3) x, y, heading.
    """
    steer, pedals = lateral.config, longitudinal.config
    recent = np.zeros(steer.window)
    errors = lateral.errors
    recent[: len(errors)] = errors
    return _roll_out(
        (float(state[0]), float(state[1]), float(state[2]), float(state[3])),
        points,
        speeds,
        index,
        search_points,
        steps,
        recent,
        len(errors),
        (steer.kp, steer.ki, steer.kd),
        (steer.lookahead_gain, steer.lookahead_offset, steer.min_lookahead, steer.max_lookahead),
        (pedals.full_throttle_error, pedals.no_throttle_error, pedals.brake_ratio),
        pedals.coefficients,
        (bicycle.dt, bicycle.front_wheel_base, bicycle.rear_wheel_base, bicycle.steer_gain, bicycle.throttle_threshold),
        bicycle.throttle_coefficients,
        bicycle.brake_coefficients,
        brakes,
    )


def roll_out_others(
    bicycle: BicycleModel,
    xy: Array,
    yaw: Array,
    speed: Array,
    control: Array,
    steps: int,
    partial_brake: bool = True,
    gained: Array | None = None,
    gaining_s: float = 1.0,
) -> tuple[Array, Array, Array, Array]:
    """As `BicycleModel.roll_out_others`, to the last bit, for N vehicles and T steps.

    Returns:
        (T, N, 2) positions, (T, N) cosines and (T, N) sines of the headings, (T, N) speeds.
    """
    throttle, brake = control[:, 1], control[:, 2]
    if not partial_brake:
        brake = np.floor(brake)
    coasting = throttle * bicycle.throttle_acceleration
    acceleration = np.where(brake > 0, brake * bicycle.brake_acceleration, coasting)
    extra = np.zeros(len(yaw)) if gained is None else gained
    beta = bicycle.slip(control[:, 0])
    shape = steps, len(yaw)
    angles, travelled, speeds = np.empty((2, *shape)), np.empty(shape), np.empty(shape)
    _turn_others(
        yaw, speed, acceleration, extra, gaining_s, beta, np.sin(beta), bicycle.dt, bicycle.rear_wheel_base,
        angles, travelled, speeds,
    )  # fmt: skip
    cos, sin = np.cos(angles), np.sin(angles)
    places = np.empty((*shape, 2))
    _move_others(xy, travelled, cos[1], sin[1], places)
    return places, cos[0], sin[0], speeds


@njit(cache=True)
def _turn_others(yaw, speed, acceleration, gained, gaining_s, beta, sin_beta, dt, rear, angles, travelled, speeds):
    """Fill in headings after and directions of motion during every step, ways and speeds after it."""
    for n in range(len(yaw)):
        before, turned, now = yaw[n], 0.0, speed[n]
        for t in range(len(speeds)):
            way = now * dt
            turned += way / rear * sin_beta[n]
            travelled[t, n] = way
            angles[0, t, n] = yaw[n] + turned
            angles[1, t, n] = before + beta[n]
            before = angles[0, t, n]
            time = dt * (t + 1)
            now = max(speed[n] + time * acceleration[n] + min(time, gaining_s) * gained[n], 0.0)
            speeds[t, n] = now


@njit(cache=True)
def _move_others(xy, travelled, cos, sin, places):
    for n in range(len(xy)):
        dx = dy = 0.0
        for t in range(len(travelled)):
            dx += travelled[t, n] * cos[t, n]
            dy += travelled[t, n] * sin[t, n]
            places[t, n, 0], places[t, n, 1] = xy[n, 0] + dx, xy[n, 1] + dy


@njit(cache=True)
def _throttle(target_mps, speed_mps, limits, w):
    """As `LongitudinalRegression.extrapolate_throttle`."""
    target, current = target_mps * KMH_PER_MPS, speed_mps * KMH_PER_MPS
    error = target - current
    if error > limits[0]:
        return 1.0
    if error < limits[1] or target < 0.1 or current / target > limits[2]:
        return 0.0
    v, e = current / 100, max(error, 0.0) / 100
    throttle = w[0] * v + w[1] * v * v + w[2] * 100 * e + w[3] * e * e + w[4] * v * e + w[5] * v * v * e
    return min(max(throttle, 0.0), 1.0)


@njit(cache=True)
def _next_speed(speed, throttle, threshold, c):
    """As `BicycleModel.ego_speed` without brake."""
    t = min(max(throttle, 0.0), 1.0)
    if t < threshold:
        return max(0.0, speed)
    v = speed * KMH_PER_MPS
    after = c[0] * v + c[1] * v * v + c[2] * t + c[3] * t * t
    after += c[4] * v * t + c[5] * v * t * t + c[6] * v * v * t + c[7] * v * v * t * t
    return max(0.0, after / KMH_PER_MPS)


@njit(cache=True)
def _braked_speed(speed, c):
    """As `BicycleModel.ego_speed` under full brake."""
    v, power, after = speed * KMH_PER_MPS, 1.0, 0.0
    for k in range(len(c)):
        power *= v
        after += c[k] * power
    return max(0.0, after / KMH_PER_MPS)


@njit(cache=True)
def _steer(error, recent, count, gains):
    """As `LateralPid.step`: the steer value, and how many of the recent errors, oldest first, are filled now."""
    if count == recent.size:
        recent[:-1] = recent[1:]
        count -= 1
    recent[count] = error
    change = error - recent[count - 1] if count > 0 else 0.0
    count += 1
    total = 0.0
    for k in range(count):
        total += recent[k]
    return min(max(gains[0] * error + gains[2] * change + gains[1] * (total / count), -1.0), 1.0), count


@njit(cache=True)
def _nearest(points, index, end, x, y):
    """As `RoutePlanner.index_after`."""
    best, least = index, np.inf
    for k in range(index, min(end, len(points))):
        dx, dy = points[k, 0] - x, points[k, 1] - y
        squared = dx * dx + dy * dy
        if squared < least:
            best, least = k, squared
    return best


@njit(cache=True)
def _roll_out(
    state, points, speeds, index, search_points, steps, recent, count, gains, look, limits, weights, axles, powers,
    braked, brakes,
):  # fmt: skip
    x, y, yaw, speed = state
    dt, front, rear, steer_gain, threshold = axles
    ratio = rear / (front + rear)
    poses = np.empty((steps, 3))
    for i in range(steps):
        ahead = min(max(look[0] * speed * KMH_PER_MPS + look[1], look[2]), look[3])
        aim = index + int(min(ahead, float(len(points) - index - 1)))
        error = math.atan2(points[aim, 1] - y, points[aim, 0] - x) - yaw
        error = (error + math.pi) % (2 * math.pi) - math.pi
        steer, count = _steer(math.degrees(error) / 90.0, recent, count, gains)
        throttle = _throttle(speeds[index], speed, limits, weights)
        beta = math.atan(ratio * math.tan(steer_gain * steer))
        travelled = speed * dt
        x += travelled * math.cos(yaw + beta)
        y += travelled * math.sin(yaw + beta)
        yaw += travelled / rear * math.sin(beta)
        if brakes and speed > limits[2] * speeds[index]:
            speed = _braked_speed(speed, braked)
        else:
            speed = _next_speed(speed, throttle, threshold, powers)
        poses[i, 0], poses[i, 1], poses[i, 2] = x, y, yaw
        index = _nearest(points, index, index + search_points, x, y)
    return poses
