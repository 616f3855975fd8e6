"""Weather parameters to light: sun, sky, fog, wetness, darkness.

Light is linear, scaled so that 1.0 is the brightest a pixel can show. The numbers are chosen by eye, not measured: a
clear noon street lies in the middle of the range, overcast is flatter and a little darker, night is lit by lamps.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.ground import packed_palette, texel_gloss
from carla_server.sensors.views import WeatherView

Vector = NDArray[np.float64]

DOME = 256  # texels along the side of the sky image
STEP = 0.5  # percent or degrees; finer differences are not worth a new sky
STEPPED = (
    *("cloudiness", "precipitation", "precipitation_deposits", "wind_intensity", "sun_azimuth_angle"),
    *("sun_altitude_angle", "fog_density", "wetness", "dust_storm"),
)
DUSK_DEG, DAY_DEG = -6.0, 14.0  # sun altitudes between which night turns into day


@dataclass(frozen=True, eq=False)
class Lighting:
    """Everything about a weather that the kernels use.

    Attributes:
        to_sun: (3,) unit vector to the sun, world frame.
        sun: (3,) light of the sun on a surface facing it.
        sky: (3,) light from above on level ground.
        bounce: (3,) light from below.
        fog: (3,) colour that distance turns into.
        extinction: Fog per metre; what is left of a colour after x metres is exp(-extinction x).
        night: 0 by day to 1 in full darkness.
        wet: 0 dry to 1 standing water.
        rain: 0 to 1.
        wind: 0 to 1.
        dome: (DOME, DOME) uint32 packed sky, upper half octahedron.
        palette: (256,) uint32 ground palette under this weather.
    """

    to_sun: Vector
    sun: Vector
    sky: Vector
    bounce: Vector
    fog: Vector
    extinction: float
    night: float
    wet: float
    rain: float
    wind: float
    dome: NDArray[np.uint32]
    palette: NDArray[np.uint32]


def _smooth(value: float, low: float, high: float) -> float:
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _mix(a: Vector, b: Vector, share: float) -> Vector:
    return np.asarray(a) * (1 - share) + np.asarray(b) * share


@functools.lru_cache(maxsize=64)
def lighting(weather: WeatherView) -> Lighting:
    """Light for a weather, remembered: a weather that stays, or changes by less than half a point, costs nothing."""
    steps = (round(getattr(weather, name) / STEP) * STEP for name in STEPPED)
    return _lighting(dataclasses.replace(weather, **dict(zip(STEPPED, steps))))


@functools.lru_cache(maxsize=64)
def _lighting(weather: WeatherView) -> Lighting:
    altitude, azimuth = np.radians(weather.sun_altitude_angle), np.radians(weather.sun_azimuth_angle)
    to_sun = np.array([np.cos(altitude) * np.cos(azimuth), np.cos(altitude) * np.sin(azimuth), np.sin(altitude)])
    day = _smooth(weather.sun_altitude_angle, DUSK_DEG, DAY_DEG)
    high = _smooth(weather.sun_altitude_angle, 0.0, 40.0)
    cloud = min(max(weather.cloudiness / 100.0, 0.0), 1.0)
    rain = min(max(weather.precipitation / 100.0, 0.0), 1.0)
    haze = min(max(weather.fog_density / 100.0, 0.0), 1.0)
    dust = min(max(weather.dust_storm / 100.0, 0.0), 1.0)
    dry = (1 - 0.9 * min(weather.precipitation_deposits / 100.0, 1.0)) * (1 - 0.6 * min(weather.wetness / 100.0, 1.0))
    wet = 1.0 - max(dry, 0.0) * (1 - 0.35 * rain)

    warm = _mix(np.array([1.0, 0.52, 0.25]), np.array([1.0, 0.95, 0.86]), high)
    sun = 1.75 * _smooth(weather.sun_altitude_angle, -1.0, 25.0) * (1 - 0.93 * cloud**1.3) * (1 - 0.6 * haze) * warm
    clear_sky = _mix(np.array([0.42, 0.36, 0.36]), np.array([0.42, 0.53, 0.70]), high)
    gray_sky = np.array([0.62, 0.65, 0.69]) * (1 - 0.35 * rain)
    sky = 1.2 * day * _mix(clear_sky, gray_sky, max(cloud, haze)) + (1 - day) * np.array([0.020, 0.024, 0.036]) * (
        1 + 0.8 * cloud - 0.5 * rain
    )
    bounce = 0.42 * sky + 0.10 * sun * max(to_sun[2], 0.0)

    horizon = day * _mix(
        _mix(np.array([0.95, 0.62, 0.42]), np.array([0.72, 0.80, 0.90]), high),
        np.array([0.66, 0.69, 0.73]) * (1 - 0.3 * rain),
        max(cloud, haze) ** 0.8,
    )
    horizon = horizon + (1 - day) * np.array([0.016, 0.018, 0.026]) * (1 + 1.2 * haze + 0.8 * cloud)
    horizon = _mix(horizon, np.array([0.62, 0.45, 0.26]) * max(day, 0.05), dust)
    extinction = 0.0007 + 0.045 * haze**1.6 + 0.003 * rain + 0.03 * dust
    zenith = day * _mix(
        _mix(np.array([0.20, 0.24, 0.42]), np.array([0.10, 0.26, 0.62]), high),
        np.array([0.48, 0.52, 0.57]) * (1 - 0.35 * rain),
        cloud,
    )
    zenith = zenith + (1 - day) * np.array([0.004, 0.006, 0.014])
    dome = _dome(to_sun, sun, zenith, horizon, cloud, max(haze, dust), day)
    return Lighting(
        to_sun,
        sun,
        sky,
        bounce,
        horizon,
        extinction,
        1 - day,
        wet,
        rain,
        min(max(weather.wind_intensity / 100.0, 0.0), 1.0),
        dome,
        packed_palette(1.0 - np.float32(0.28 * wet) * np.minimum(texel_gloss() * 1.2, 1.0)),
    )


@functools.lru_cache(maxsize=1)
def _dome_directions() -> NDArray[np.float32]:
    """(DOME, DOME, 3) unit view direction of each texel of the sky image."""
    axis = np.linspace(-1, 1, DOME, dtype=np.float32)
    p, q = np.meshgrid(axis, axis)
    x, y = (p + q) / 2, (p - q) / 2
    z = np.maximum(1 - np.abs(x) - np.abs(y), 0)
    direction = np.stack([x, y, z], -1)
    return direction / np.linalg.norm(direction, axis=2, keepdims=True)


@functools.lru_cache(maxsize=1)
def _cloud_noise() -> NDArray[np.float32]:
    """(512, 512) repeating cloud pattern, 0 to 1."""
    rng = np.random.default_rng(11)
    total = np.zeros((512, 512), np.float32)
    for cells, weight in ((4, 1.0), (8, 0.7), (16, 0.45), (32, 0.28), (64, 0.16)):
        noise = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        big = cv2.resize(noise, None, fx=512 / cells, fy=512 / cells, interpolation=cv2.INTER_CUBIC)
        edge = 1024 // cells
        total += weight * big[edge : edge + 512, edge : edge + 512]
    rank = total.ravel().argsort().argsort().reshape(512, 512)
    return (rank / rank.max()).astype(np.float32)


def _dome(
    to_sun: Vector, sun: Vector, zenith: Vector, horizon: Vector, cloud: float, haze: float, day: float
) -> NDArray[np.uint32]:
    """Paint the sky image."""
    direction = _dome_directions()
    up = direction[..., 2:]
    color = zenith + (horizon - zenith) * (1 - up) ** 3.0
    toward = np.clip(direction @ to_sun.astype(np.float32), -1, 1)[..., None]
    veil = (1 - cloud) ** 0.7 * (1 - haze)
    color = color + sun * (0.18 * np.maximum(toward, 0) ** 8 + 0.5 * np.maximum(toward, 0) ** 96) * veil
    flat = direction[..., :2] / (up + 0.12) * np.float32(46.0)
    pattern = cv2.remap(
        _cloud_noise(), flat[..., 0] + 200, flat[..., 1] + 300, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    cover = np.clip((pattern - (1 - cloud) * 0.97) / 0.22, 0, 1)[..., None] * np.clip(up * 9, 0, 1)
    base = day * (0.55 + 0.4 * (1 - cloud)) * _mix(np.ones(3), sun / max(sun.max(), 1e-6), 0.35) + (1 - day) * 0.055
    shade = base * (0.74 + 0.26 * pattern[..., None]) + 0.12 * sun * np.maximum(toward, 0) ** 4
    color = color * (1 - 0.9 * cover) + 0.9 * cover * np.minimum(shade, 1.0)
    disc = np.clip((toward - 0.9990) / 0.0006, 0, 1) * veil * min(1.0, float(sun.max()))
    color = color * (1 - disc) + disc * np.array([1.0, 0.97, 0.90])
    color = color + (horizon - color) * np.clip(haze * 1.6, 0, 1) * (1 - up * 0.4)
    r, g, b = np.moveaxis((255 * np.sqrt(np.clip(color, 0, 1))).astype(np.uint32), 2, 0)
    return np.ascontiguousarray((r << 20) | (g << 10) | b)
