"""Sensors that feel the motion of the actor that carries them: IMU and GNSS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgpack
import numpy as np

from carla_server.map import GeoReference
from carla_server.sensors.attributes import number
from carla_server.sensors.views import Pose

GRAVITY = 9.81
#: Radius of the sphere of the Mercator projection, metres.
EARTH_RADIUS = 6378137.0


@dataclass(frozen=True)
class MotionView:
    """Motion of a sensor at one moment.

    Attributes:
        pose: World pose of the sensor, metres and degrees.
        acceleration: World acceleration, m/s².
        angular_velocity: World angular velocity, deg/s.
        axes: Rows are the sensor's x, y and z axes in the world.
        gravity: What a resting accelerometer reads upwards, m/s².
    """

    pose: Pose
    acceleration: Sequence[float]
    angular_velocity: Sequence[float]
    axes: Sequence[Sequence[float]]
    gravity: float = GRAVITY


def to_geodetic(x: float, y: float, z: float, origin: GeoReference) -> tuple[float, float, float]:
    """Latitude and longitude in degrees and altitude in metres of a world point.

    Inverse of the Mercator formula that the CARLA leaderboard uses to turn routes into GPS; latitude grows towards -y.
    """
    scale = math.cos(math.radians(origin.latitude))
    mx = scale * math.radians(origin.longitude) * EARTH_RADIUS + x
    my = scale * EARTH_RADIUS * math.log(math.tan(math.radians(90.0 + origin.latitude) / 2.0)) - y
    longitude = math.degrees(mx / (EARTH_RADIUS * scale))
    latitude = math.degrees(2.0 * math.atan(math.exp(my / (EARTH_RADIUS * scale)))) - 90.0
    return latitude, longitude, z


class Imu:
    """sensor.other.imu: accelerometer (m/s², gravity included), gyroscope (rad/s), compass (rad, 0 towards -y)."""

    def __init__(self, attributes: Mapping[str, str], generator: np.random.Generator) -> None:
        self._generator = generator
        self._accelerometer = [number(attributes, f"noise_accel_stddev_{axis}") for axis in "xyz"]
        self._gyroscope = [number(attributes, f"noise_gyro_stddev_{axis}") for axis in "xyz"]
        self._drift = [number(attributes, f"noise_gyro_bias_{axis}") for axis in "xyz"]

    def measure(self, motion: MotionView) -> bytes:
        """Payload of one tick."""
        ax, ay, az = motion.acceleration
        felt = (ax, ay, az + motion.gravity)
        noise = self._generator.standard_normal(6).tolist()
        accelerometer, gyroscope = [], []
        for axis in range(3):
            unit = motion.axes[axis]
            push = unit[0] * felt[0] + unit[1] * felt[1] + unit[2] * felt[2]
            turn = sum(part * rate for part, rate in zip(unit, motion.angular_velocity))
            accelerometer.append(push + self._accelerometer[axis] * noise[axis])
            gyroscope.append(math.radians(turn) + self._gyroscope[axis] * noise[3 + axis] + self._drift[axis])
        compass = math.radians(motion.pose[4] + 90.0) % (2.0 * math.pi)
        return msgpack.packb([accelerometer, gyroscope, compass])


class Gnss:
    """sensor.other.gnss: latitude, longitude (degrees), altitude (metres)."""

    def __init__(self, attributes: Mapping[str, str], generator: np.random.Generator, origin: GeoReference) -> None:
        self._generator = generator
        self._origin = origin
        self._deviation = [number(attributes, f"noise_{axis}_stddev") for axis in ("lat", "lon", "alt")]
        self._bias = [number(attributes, f"noise_{axis}_bias") for axis in ("lat", "lon", "alt")]

    def measure(self, motion: MotionView) -> bytes:
        """Payload of one tick."""
        place = to_geodetic(*motion.pose[:3], self._origin)
        noise = self._generator.standard_normal(3).tolist()
        fix = [part + bias + size * n for part, bias, size, n in zip(place, self._bias, self._deviation, noise)]
        return msgpack.packb(fix)
