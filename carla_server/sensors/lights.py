"""Light on the ground around a camera: cast shadows by day, street lamps and headlights by night.

Two square maps with `CELLS` cells along a side lie before the camera: the share of the sun that reaches the ground, and
the strength of lamp light. Things that cast shadows are prisms (a footprint and a height); the shadow of a convex
footprint is the hull of the footprint and of the footprint pushed away from the sun.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.sensors.actors import Bodies
from carla_server.sensors.raster import JIT, ROWS, scan_rows
from carla_server.sensors.town import Town
from carla_server.sensors.views import Light
from carla_server.sensors.weather import Lighting

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

CELLS = 320
SCALE = 3.0  # cells per metre: the maps cover 107 m
AHEAD = 42.0  # metres that the maps' middle lies before the camera
LONGEST_SHADOW = 60.0  # metres
LAMP_RADIUS = 15.0  # metres on the ground that a street lamp lights
LAMP_STRENGTH = 0.42
BEAM_LENGTH, BEAM_HALF_ANGLE = 38.0, 0.42  # metres, radians
BEAM_STRENGTH = {Light.LOW_BEAM: 0.75, Light.HIGH_BEAM: 1.1}
FLAT_SHADOW = 0.25  # metres; lower things cast none


@dataclass(frozen=True, eq=False)
class Casters:
    """What throws shadows or light, as flat tables.

    Attributes:
        corners: (K, 8, 2) convex footprints, the last corner repeated to fill.
        tall: (K,) heights, metres.
        lamps: (L, 4) x, y, radius, strength.
        beams: (B, 6) x, y, direction x, y, length, strength.
    """

    corners: Array
    tall: Array
    lamps: Array
    beams: Array


def town_casters(town: Town) -> Casters:
    """The town's own."""
    corners = np.zeros((len(town.shadows), 8, 2))
    for k, (ring, _) in enumerate(town.shadows):
        corners[k] = ring[np.minimum(np.arange(8), len(ring) - 1)]
    lamps = np.array([(*row.position[:2], LAMP_RADIUS, LAMP_STRENGTH) for row in town.lamps]).reshape(-1, 4)
    return Casters(corners, np.array([tall for _, tall in town.shadows]), lamps, np.zeros((0, 6)))


def actor_casters(bodies: Bodies, eye: Array, reach: float, night: bool) -> Casters:
    """Shadows and headlights of the actors near a point."""
    shown, poses, extents = bodies.actors, bodies.poses, bodies.extents
    if not shown:
        return Casters(np.zeros((0, 8, 2)), np.zeros(0), np.zeros((0, 4)), np.zeros((0, 6)))
    near = np.abs(poses[:, :2] - eye[:2]).max(axis=1) < reach
    yaw = np.radians(poses[:, 4])
    ahead = np.stack([np.cos(yaw), np.sin(yaw)], 1)
    right = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    casts = np.flatnonzero(near & (2 * extents[:, 2] > FLAT_SHADOW))
    # A little narrower than the box: bodies are rounded.
    length, width = 0.95 * extents[casts, :1] * ahead[casts], 0.92 * extents[casts, 1:2] * right[casts]
    middle = poses[casts, :2]
    ring = [middle + length + width, middle - length + width, middle - length - width, middle + length - width]
    corners = np.stack(ring + [ring[3]] * 4, axis=1)
    beams = []
    for light, strength in BEAM_STRENGTH.items() if night else ():
        for k in np.flatnonzero(near).tolist():
            if shown[k].lights & light and shown[k].type_id.startswith("vehicle."):
                x, y = poses[k, :2] + extents[k, 0] * ahead[k]
                beams.append((x, y, *ahead[k], BEAM_LENGTH, strength))
    return Casters(corners, 2 * 0.92 * extents[casts, 2], np.zeros((0, 4)), np.array(beams).reshape(-1, 6))


@njit(**JIT)
def _sort(points, count):
    """Order the first `count` rows by x, then y, in place."""
    for i in range(1, count):
        x, y = points[i, 0], points[i, 1]
        j = i - 1
        while j >= 0 and (points[j, 0] > x or (points[j, 0] == x and points[j, 1] > y)):
            points[j + 1, 0], points[j + 1, 1] = points[j, 0], points[j, 1]
            j -= 1
        points[j + 1, 0], points[j + 1, 1] = x, y


@njit(**JIT)
def _hull(points, count, out):
    """Convex hull (monotone chain) of the first `count` rows of `points`, into columns 1 and 2 of `out`; returns its size."""
    _sort(points, count)
    size = 0
    for turn in range(2):
        start = size
        for i in range(count):
            k = i if turn == 0 else count - 1 - i
            x, y = points[k, 0], points[k, 1]
            while size - start >= 2 and (
                (out[size - 1, 1] - out[size - 2, 1]) * (y - out[size - 2, 2])
                - (out[size - 1, 2] - out[size - 2, 2]) * (x - out[size - 2, 1])
                <= 0
            ):
                size -= 1
            out[size, 1], out[size, 2] = x, y
            size += 1
        size -= 1
    return size


@njit(**JIT)
def _fill_shadow(field, ring, count, left, right):
    """Darken the cells inside a convex polygon given in cell coordinates, as `scan_rows` takes it."""
    size = field.shape[0]
    first, end = scan_rows(ring, count, size, left, right)
    for row in range(first, end):
        a = max(0, int(np.ceil(max(left[row], -1.0) - 0.5)))
        b = min(size, int(np.ceil(min(right[row], size + 1.0) - 0.5)))
        for x in range(a, b):
            field[row, x] = 0.0


@njit(**JIT)
def _cast_shadows(field, corners, tall, corner, scale, push_x, push_y, longest):
    """Draw the shadows of prisms; (push_x, push_y) is the shadow of one metre of height, metres."""
    size = field.shape[0]
    points, ring = np.empty((16, 2)), np.zeros((20, 3))
    left, right = np.empty(size + ROWS), np.empty(size + ROWS)
    length = np.sqrt(push_x * push_x + push_y * push_y)
    for k in range(tall.size):
        height = min(tall[k], longest / max(length, 1e-6))
        sx, sy = push_x * height * scale, push_y * height * scale
        x, y = (corners[k, 0, 0] - corner[0]) * scale, (corners[k, 0, 1] - corner[1]) * scale
        reach = abs(sx) + abs(sy) + 30.0 * scale
        if x < -reach or y < -reach or x > size + reach or y > size + reach:
            continue
        for i in range(8):
            x, y = (corners[k, i, 0] - corner[0]) * scale, (corners[k, i, 1] - corner[1]) * scale
            points[i, 0], points[i, 1] = x, y
            points[8 + i, 0], points[8 + i, 1] = x + sx, y + sy
        count = _hull(points, 16, ring)
        _fill_shadow(field, ring, count, left, right)


@njit(**JIT)
def _add_lamps(field, lamps, corner, scale, gain):
    """Add round pools of light."""
    size = field.shape[0]
    for k in range(lamps.shape[0]):
        radius = lamps[k, 2] * scale
        x, y = (lamps[k, 0] - corner[0]) * scale, (lamps[k, 1] - corner[1]) * scale
        if x < -radius or y < -radius or x > size + radius or y > size + radius:
            continue
        strength, inv = gain * lamps[k, 3], 1.0 / (radius * radius)
        for row in range(max(0, int(y - radius)), min(size, int(y + radius) + 1)):
            for column in range(max(0, int(x - radius)), min(size, int(x + radius) + 1)):
                away = 1.0 - ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2) * inv
                if away > 0:
                    field[row, column] += strength * away * away


@njit(**JIT)
def _add_beams(field, beams, corner, scale, gain, half_angle):
    """Add cones of light."""
    size = field.shape[0]
    for k in range(beams.shape[0]):
        length = beams[k, 4] * scale
        x, y = (beams[k, 0] - corner[0]) * scale, (beams[k, 1] - corner[1]) * scale
        if x < -length or y < -length or x > size + length or y > size + length:
            continue
        strength = gain * beams[k, 5]
        for row in range(max(0, int(y - length)), min(size, int(y + length) + 1)):
            for column in range(max(0, int(x - length)), min(size, int(x + length) + 1)):
                dx, dy = column + 0.5 - x, row + 0.5 - y
                along = dx * beams[k, 2] + dy * beams[k, 3]
                if along <= 0 or along > length:
                    continue
                across = abs(dx * beams[k, 3] - dy * beams[k, 2])
                inside = 1.0 - across / (half_angle * along + 0.9 * scale)
                if inside > 0:
                    fade = 1.0 - along / length
                    field[row, column] += strength * fade * min(1.0, 2.0 * inside)


@dataclass(frozen=True, eq=False)
class LightMaps:
    """(2, CELLS, CELLS) share of sun and lamp light, the maps' corner (x, y) in metres, and whether they say anything."""

    fields: Floats
    corner: Array
    used: bool


def light_maps(eye: Array, ahead: Array, light: Lighting, town: Casters, actors: Casters) -> LightMaps:
    """Light on the ground before a camera at `eye` that looks along the horizontal direction `ahead`."""
    middle = eye[:2] + AHEAD * ahead[:2]
    corner = np.floor(middle * SCALE - CELLS / 2) / SCALE
    fields = np.empty((2, CELLS, CELLS), np.float32)
    fields[0] = 1.0
    fields[1] = 0.0
    sunny = float(light.sun.max()) > 0.06 and light.to_sun[2] > 0.02
    if sunny:
        push = -light.to_sun[:2] / light.to_sun[2]
        for casters in (town, actors):
            _cast_shadows(fields[0], casters.corners, casters.tall, corner, SCALE, push[0], push[1], LONGEST_SHADOW)
    elif len(actors.tall):
        # Under a grey sky or at night a car still keeps the light from the ground below it.
        _cast_shadows(fields[0], actors.corners, actors.tall, corner, SCALE, 0.0, 0.0, LONGEST_SHADOW)
    if light.night > 0.05:
        for casters in (town, actors):
            _add_lamps(fields[1], casters.lamps, corner, SCALE, light.night)
            _add_beams(fields[1], casters.beams, corner, SCALE, light.night, BEAM_HALF_ANGLE)
    return LightMaps(fields, corner, sunny or len(actors.tall) > 0 or light.night > 0.05)
