"""Lidars and radar as CARLA measures them: which rays a tick sends, what is dropped, and how points are packed.

Ray pattern, attenuation and drop-off follow `RayCastSemanticLidar.cpp`, `RayCastLidar.cpp` and `Radar.cpp` of
carla-simulator/carla.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.sensors.attributes import number, whole
from carla_server.sensors.poses import rotation
from carla_server.sensors.rays import Face, faces_for
from carla_server.sensors.scene import ActorView, Pose, Scene, WeatherView

Floats = NDArray[np.float32]
Velocity = tuple[float, float, float]

KEPT_FANS = 8
"""Directions of this many different sweeps are kept: a lidar that turns by a fraction of a circle per tick repeats itself."""


#: Ten of the largest lidars there are; the rays of many more do not fit into memory.
MOST_RAYS_PER_S, MOST_CHANNELS = 5.0e7, 4096


def _rate(attributes: Mapping[str, str], default: float) -> float:
    """Rays per second; none are allowed."""
    return max(number(attributes, "points_per_second", default, most=MOST_RAYS_PER_S), 0.0)


def _noise(attributes: Mapping[str, str]) -> np.random.Generator:
    return np.random.default_rng(whole(attributes, "noise_seed") & 0xFFFFFFFF)


class Fan:
    """Rays of one sweep.

    Attributes:
        rays: (C * P, 3) unit directions in the sensor frame, channel by channel from the uppermost.
        per_channel: P.
    """

    def __init__(self, rays: Floats, per_channel: int) -> None:
        self.rays, self.per_channel = rays, per_channel

    @cached_property
    def faces(self) -> list[Face]:
        """Views that together hold every ray."""
        return faces_for(self.rays)


class _Spinning:
    """The fan of rays that a lidar sends while it turns."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.channels = max(1, whole(attributes, "channels", 32, most=MOST_CHANNELS))
        self.range = number(attributes, "range", 10.0, above=0.0)
        self.points_per_second = _rate(attributes, 56000)
        self.frequency = number(attributes, "rotation_frequency", 10.0)
        self.horizontal_fov = number(attributes, "horizontal_fov", 360.0, above=0.0)
        upper, lower = number(attributes, "upper_fov", 10.0), number(attributes, "lower_fov", -30.0)
        step = (upper - lower) / (self.channels - 1) if self.channels > 1 else 0.0
        self.elevation = np.radians(upper - step * np.arange(self.channels))
        self.angle_deg = 0.0
        self._fans: dict[tuple[float, float], Fan] = {}

    def sweep(self, delta_s: float) -> Fan:
        """Rays of the next `delta_s` seconds; the lidar has then turned on."""
        per_channel = math.floor(self.points_per_second * delta_s / self.channels + 0.5)
        if per_channel == 0:
            return Fan(np.zeros((0, 3), np.float32), 0)
        key = (self.angle_deg, delta_s)
        turned = self.frequency * self.horizontal_fov * delta_s
        self.angle_deg = math.fmod(self.angle_deg + turned, self.horizontal_fov)
        if key not in self._fans:
            if len(self._fans) >= KEPT_FANS:
                self._fans.clear()
            self._fans[key] = Fan(self._rays(key[0], turned, per_channel), per_channel)
        return self._fans[key]

    def _rays(self, begin_deg: float, turned_deg: float, per_channel: int) -> Floats:
        fov = self.horizontal_fov
        azimuth = np.mod(begin_deg + turned_deg / per_channel * np.arange(per_channel), fov) - fov / 2
        yaw = np.radians(azimuth)[None, :]
        flat, rise = np.cos(self.elevation)[:, None], np.sin(self.elevation)[:, None]
        rays = np.empty((self.channels, per_channel, 3), np.float32)
        rays[..., 0], rays[..., 1], rays[..., 2] = flat * np.cos(yaw), flat * np.sin(yaw), rise
        return rays.reshape(-1, 3)

    def head(self, counts: NDArray[np.int64]) -> bytes:
        """Start of a payload: horizontal angle in radians, channels, points per channel."""
        angle = math.radians(self.angle_deg)
        return struct.pack("<fI", angle, self.channels) + counts.astype("<u4").tobytes()


class SemanticLidar:
    """sensor.lidar.ray_cast_semantic: every hit, with incidence, object and tag."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._fan = _Spinning(attributes)

    def measure(
        self,
        scene: Scene,
        pose: Pose,
        velocity: Velocity,
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float,
        delta_s: float,
    ) -> bytes:
        """Payload of one tick; 24 bytes per point: x, y, z, cos of incidence, object id, tag."""
        fan = self._fan
        sweep = fan.sweep(delta_s)
        rays, per_channel = sweep.rays, sweep.per_channel
        hits = scene.cast(pose, rays, actors, fan.range, time_s, sweep.faces)
        keep = np.isfinite(hits.distance)
        counts = keep.reshape(fan.channels, per_channel).sum(axis=1) if per_channel else np.zeros(fan.channels, int)
        points = np.empty(int(keep.sum()), SEMANTIC_POINT)
        points["xyz"] = rays[keep] * hits.distance[keep, None]
        points["cosine"] = hits.cos_incidence[keep]
        points["object"] = hits.instance[keep]
        points["tag"] = hits.tag[keep]
        return fan.head(counts) + points.tobytes()


SEMANTIC_POINT = np.dtype([("xyz", "<f4", 3), ("cosine", "<f4"), ("object", "<u4"), ("tag", "<u4")])


@njit(cache=True, nogil=True)
def _lay_points(rays, rows, distance, intensity, per_channel, points, counts):
    """Points of some rows of the rays: place and intensity into `points` (N, 4); how many of each channel into `counts`."""
    for i in range(rows.size):
        row = rows[i]
        for k in range(3):
            points[i, k] = rays[row, k] * distance[i]
        points[i, 3] = intensity[i]
        counts[row // per_channel] += 1


class Lidar:
    """sensor.lidar.ray_cast: points with intensity, attenuated, thinned out and noisy as the attributes say."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._fan = _Spinning(attributes)
        self._attenuation = number(attributes, "atmosphere_attenuation_rate", 0.004)
        self._general = number(attributes, "dropoff_general_rate", 0.45)
        self._limit = number(attributes, "dropoff_intensity_limit", 0.8)
        self._zero = number(attributes, "dropoff_zero_intensity", 0.4)
        self._noise = number(attributes, "noise_stddev", 0.0)
        self._rng = _noise(attributes)

    def measure(
        self,
        scene: Scene,
        pose: Pose,
        velocity: Velocity,
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float,
        delta_s: float,
    ) -> bytes:
        """Payload of one tick; 16 bytes per point: x, y, z in the sensor frame, intensity."""
        fan = self._fan
        sweep = fan.sweep(delta_s)
        rays, per_channel = sweep.rays, sweep.per_channel
        sent = (
            np.flatnonzero(self._rng.random(len(rays)) >= self._general) if self._general > 0 else np.arange(len(rays))
        )
        distance = scene.reach(pose, len(rays), sweep.faces, actors, fan.range, time_s).take(sent)
        intensity = np.exp(-self._attenuation * distance)
        kept = np.flatnonzero(np.isfinite(distance) & self._survives(intensity))
        distance = distance.take(kept)
        if self._noise > 0:
            distance = distance + self._rng.normal(0.0, self._noise, len(distance)).astype(np.float32)
        points, counts = np.empty((len(kept), 4), np.float32), np.zeros(fan.channels, np.int64)
        _lay_points(rays, sent.take(kept), distance, intensity.take(kept), max(per_channel, 1), points, counts)
        return b"".join((fan.head(counts), points.data))

    def _survives(self, intensity: Floats) -> NDArray[np.bool_]:
        """Weak echoes get lost: at intensity 0 with probability `dropoff_zero_intensity`, above the limit never."""
        if self._limit <= 0:
            return np.ones(len(intensity), bool)
        chance = (1.0 - self._zero) + self._zero * intensity / self._limit
        return (intensity > self._limit) | (self._rng.random(len(intensity)) < chance)


class Radar:
    """sensor.other.radar: random rays in a cone, with the closing speed of what they meet."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._spread = tuple(
            math.tan(math.radians(number(attributes, name, 30.0)) / 2) for name in ("horizontal_fov", "vertical_fov")
        )
        self._range = number(attributes, "range", 100.0, above=0.0)
        self._points_per_second = _rate(attributes, 1500)
        self._rng = _noise(attributes)

    def measure(
        self,
        scene: Scene,
        pose: Pose,
        velocity: Velocity,
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float,
        delta_s: float,
    ) -> bytes:
        """Payload of one tick; 16 bytes per detection: velocity (m/s), azimuth, altitude (rad), depth (m)."""
        count = int(self._points_per_second * delta_s)
        radius, angle = self._rng.random(count), self._rng.random(count) * 2 * math.pi
        rays = np.ones((count, 3))
        rays[:, 1] = self._spread[0] * radius * np.cos(angle)
        rays[:, 2] = self._spread[1] * radius * np.sin(angle)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        hits = scene.cast(pose, rays.astype(np.float32), actors, self._range, time_s)
        keep = np.isfinite(hits.distance)
        rays, distance, instance = rays[keep], hits.distance[keep], hits.instance[keep]
        moving = {actor.id: actor.velocity for actor in actors}
        target = np.array([moving.get(number, (0.0, 0.0, 0.0)) for number in instance.tolist()]).reshape(-1, 3)
        closing = ((target - np.asarray(velocity)) * (rays @ rotation(*pose[3:]).T)).sum(axis=1)
        rows = np.empty((len(distance), 4), "<f4")
        rows[:, 0] = closing
        rows[:, 1] = np.arctan2(rays[:, 1], rays[:, 0])
        rows[:, 2] = np.arctan2(rays[:, 2], np.hypot(rays[:, 0], rays[:, 1]))
        rows[:, 3] = distance
        return rows.tobytes()
