"""Where the car is, from GNSS, compass and speedometer alone.

Positions are metres in the frame of the global plan: x east, y south. The Mercator formulas are CARLA's
(`carla-simulator/leaderboard`, `leaderboard/utils/route_manipulation.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from driving.geometry import wrap_angle

Array = NDArray[np.float64]

EARTH_RADIUS_M = 6378137.0


def _mercator_north(latitude_deg: float) -> float:
    """Mercator ordinate of a latitude on the unit sphere."""
    return math.log(math.tan((90.0 + latitude_deg) * math.pi / 360.0))


@dataclass(frozen=True)
class GeoReference:
    """Latitude and longitude of the map's origin, degrees."""

    latitude: float
    longitude: float

    def to_metres(self, latitude: float, longitude: float) -> Array:
        """(2,) position x east, y south of the origin, metres, for a latitude and longitude in degrees."""
        scale = math.cos(math.radians(self.latitude)) * EARTH_RADIUS_M
        x = scale * math.radians(longitude - self.longitude)
        y = scale * (_mercator_north(self.latitude) - _mercator_north(latitude))
        return np.array([x, y])


def estimate_reference(latitude: float, longitude: float, x: float, y: float) -> GeoReference:
    """Find the map's origin from one point known in both frames (the first point of the global plan).

    Args:
        latitude, longitude: Degrees.
        x, y: The same point in metres, x east, y south.

    Raises:
        ValueError: If no origin within a degree of latitude explains the point, so it cannot lie on a map of this scale.
    """

    def residual(origin_latitude: float) -> float:
        scale = math.cos(math.radians(origin_latitude)) * EARTH_RADIUS_M
        return scale * (_mercator_north(latitude) - _mercator_north(origin_latitude)) + y

    low, high = latitude - 1.0, latitude + 1.0
    if residual(low) * residual(high) > 0:
        raise ValueError(
            f"the first plan point cannot be both at latitude {latitude} and {y} m south of the origin; "
            "the plan's GPS and world coordinates do not belong together"
        )
    origin = float(brentq(residual, low, high, xtol=1e-13))
    return GeoReference(origin, longitude - math.degrees(x / (EARTH_RADIUS_M * math.cos(math.radians(origin)))))


def heading_from_compass(compass: float) -> float:
    """Heading in the world (0 along x, clockwise), radians, from the IMU's compass (0 north); NaN counts as north."""
    return float(wrap_angle((0.0 if math.isnan(compass) else compass) - math.pi / 2))


@dataclass(frozen=True)
class FilterConfig:
    """Constants of the position filter, as published with SimLingo.

    Attributes:
        front_wheelbase, rear_wheelbase: Distances of the axles from the reference point, metres.
        steer_gain: Front wheel angle per unit of steering, radians.
        brake_acceleration: m/s² for any brake.
        throttle_acceleration: m/s² per unit of throttle.
        initial_variance: Position variance at the start, m².
        process_variance: Added per tick, m².
        measurement_variance: Of the GNSS position, m².
        dt: Tick, seconds.
    """

    front_wheelbase: float = -0.090769015
    rear_wheelbase: float = 1.4178275
    steer_gain: float = 0.36848336
    brake_acceleration: float = -4.952399
    throttle_acceleration: float = 0.5633837
    initial_variance: float = 0.5
    process_variance: float = 1e-4
    measurement_variance: float = 0.5
    dt: float = 0.05


class PositionFilter:
    """Smooths the GNSS position with a kinematic bicycle, taking compass and speed as exact.

    It gives the published unscented Kalman filter's results in closed form. There, the compass and speed variances (1e-15) pin
    both to their measurements, and the sigma points are not redrawn between prediction and update, so the process noise does
    not enter the gain of the same tick.
    """

    def __init__(self, config: FilterConfig | None = None) -> None:
        self.config = config or FilterConfig()
        self.variance = self.config.initial_variance
        self._state: Array | None = None

    def step(self, position: ArrayLike, yaw: float, speed: float, steer: float, throttle: float, brake: float) -> Array:
        """Advance by one tick.

        Args:
            position: (2,) measured position, metres.
            yaw: Heading, radians.
            speed: m/s.
            steer, throttle, brake: Control applied during the last tick.

        Returns:
            (2,) filtered position, metres.
        """
        measured = np.asarray(position, dtype=np.float64)
        if self._state is None:
            self._state = np.array([measured[0], measured[1], yaw, speed])
        c = self.config
        predicted = self._predict(self._state, steer, throttle, brake)
        prior = predicted[:2] + self._exact_motion_correction(predicted, yaw, speed, steer)
        gain = self.variance / (self.variance + c.measurement_variance)
        estimate = prior + gain * (measured - prior)
        self.variance += c.process_variance - gain**2 * (self.variance + c.measurement_variance)
        self._state = np.array([estimate[0], estimate[1], yaw, speed])
        return estimate

    def _predict(self, state: Array, steer: float, throttle: float, brake: float) -> Array:
        c = self.config
        x, y, yaw, speed = state
        acceleration = c.brake_acceleration if brake else c.throttle_acceleration * throttle
        slip = self._slip(steer)
        return np.array(
            [
                x + speed * math.cos(yaw + slip) * c.dt,
                y + speed * math.sin(yaw + slip) * c.dt,
                yaw + speed / c.rear_wheelbase * math.sin(slip) * c.dt,
                max(speed + acceleration * c.dt, 0.0),
            ]
        )

    def _exact_motion_correction(self, predicted: Array, yaw: float, speed: float, steer: float) -> Array:
        """How far the prediction of the position moves once heading and speed at the end of the tick are known exactly."""
        assert self._state is not None
        c = self.config
        slip = self._slip(steer)
        heading = self._state[2] + slip
        speed_residual = speed - predicted[3]
        # A faster car also turns faster; what is left of the heading residual was there before the tick.
        yaw_residual = float(wrap_angle(yaw - predicted[2])) - math.sin(slip) / c.rear_wheelbase * c.dt * speed_residual
        along = np.array([math.cos(heading), math.sin(heading)])
        across = np.array([-along[1], along[0]])
        return np.asarray(c.dt * (along * speed_residual + across * self._state[3] * yaw_residual))

    def _slip(self, steer: float) -> float:
        c = self.config
        wheelbase = c.front_wheelbase + c.rear_wheelbase
        return math.atan(c.rear_wheelbase / wheelbase * math.tan(c.steer_gain * steer))
