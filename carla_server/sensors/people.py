"""Shapes of walkers and riders: jointed solids dressed by the blueprint's number."""

from __future__ import annotations

import zlib

import numpy as np

from carla_server.sensors.meshes import Mesh, blob, box, frustum, join, tube
from carla_server.sensors.shapes import Joint, Limb, Shape, linear
from carla_server.sensors.views import Tag

Size = tuple[float, float, float]

SKIN = tuple(linear(rgb) for rgb in ((232, 190, 160), (205, 150, 115), (160, 110, 80), (105, 70, 52)))
HAIR = tuple(linear(rgb) for rgb in ((40, 30, 24), (90, 62, 36), (150, 120, 70), (120, 118, 116), (24, 22, 22)))
TOPS = tuple(
    linear(rgb)
    for rgb in (
        (170, 40, 40),
        (40, 80, 150),
        (230, 230, 225),
        (60, 110, 70),
        (220, 170, 50),
        (90, 60, 120),
        (50, 52, 58),
        (200, 110, 60),
        (120, 150, 180),
    )
)
TROUSERS = tuple(linear(rgb) for rgb in ((40, 50, 80), (34, 34, 38), (110, 96, 76), (70, 74, 80), (60, 44, 36)))
SHOES = (0.02, 0.02, 0.022)


def _pick(options: tuple[Size, ...], seed: int, salt: int) -> Size:
    return options[zlib.crc32(f"{seed}:{salt}".encode()) % len(options)]


def walker_shape(type_id: str, extent: Size, child: bool) -> Shape:
    """A standing person whose feet are at -extent z and whose crown is at +extent z.

    Arms hang a little outside the capsule of CARLA's walkers, as theirs do.
    """
    seed = zlib.crc32(type_id.encode())
    skin, hair = _pick(SKIN, seed, 1), _pick(HAIR, seed, 2)
    top, trousers = _pick(TOPS, seed, 3), _pick(TROUSERS, seed, 4)
    tall = 2 * extent[2]
    feet = -extent[2]
    head = (0.115 if not child else 0.15) * tall / 2
    hip, shoulder = feet + 0.49 * tall, feet + 0.82 * tall
    wide = 0.105 * tall
    tag = Tag.PEDESTRIANS
    torso = join(
        [
            frustum(
                (-0.055 * tall, -0.8 * wide, hip - 0.02 * tall),
                (0.055 * tall, 0.8 * wide, shoulder),
                top,
                tag,
                (-0.05 * tall, 0.05 * tall, -wide, wide),
            ),
            tube((0, 0, shoulder - 0.01), (0, 0, shoulder + 0.06 * tall), 0.028 * tall, skin, tag, sides=6),
            blob((0.01, 0, feet + tall - head), (0.82 * head, 0.72 * head, head), skin, tag),
            blob((-0.02 * tall, 0, feet + tall - 0.80 * head), (0.74 * head, 0.78 * head, 0.80 * head), hair, tag),
        ]
    )
    leg, arm = _leg(tall, hip - feet, trousers), _arm(tall, top, skin)
    limbs = (
        Limb(torso),
        Limb(leg, (0.0, -0.45 * wide, hip), Joint.LEFT_LEG),
        Limb(leg, (0.0, 0.45 * wide, hip), Joint.RIGHT_LEG),
        Limb(arm, (0.0, -1.12 * wide, shoulder - 0.02 * tall), Joint.LEFT_ARM),
        Limb(arm, (0.0, 1.12 * wide, shoulder - 0.02 * tall), Joint.RIGHT_ARM),
    )
    return Shape(limbs, _far_walker(tall, wide, head, (skin, top, trousers), tag))


def _leg(tall: float, length: float, trousers: Size) -> Mesh:
    """A leg hanging from its hip."""
    knee, ankle, tag = (0.01, 0, -0.50 * length), (0, 0, -0.94 * length), Tag.PEDESTRIANS
    thick, calf, thin = 0.048 * tall, 0.036 * tall, 0.026 * tall
    return join(
        [
            tube((0, 0, 0.02), (0.01, 0, -0.52 * length), thick, trousers, tag, sides=6, end_radius=calf),
            tube(knee, ankle, calf, trousers, tag, sides=6, end_radius=thin),
            frustum((-0.03 * tall, -0.028 * tall, -length), (0.09 * tall, 0.028 * tall, -0.93 * length), SHOES, tag),
        ]
    )


def _arm(tall: float, sleeve: Size, skin: Size) -> Mesh:
    """An arm hanging from its shoulder."""
    reach, tag = 0.33 * tall, Tag.PEDESTRIANS
    return join(
        [
            tube((0, 0, 0), (0, 0, -0.52 * reach), 0.030 * tall, sleeve, tag, sides=6),
            tube((0, 0, -0.50 * reach), (0.03, 0, -0.92 * reach), 0.022 * tall, skin, tag, sides=6),
            blob((0.035, 0, -0.98 * reach), (0.022 * tall,) * 3, skin, tag, detail=0),
        ]
    )


def _far_walker(tall: float, wide: float, head: float, colors: tuple[Size, Size, Size], tag: int) -> Mesh:
    """A person in some seventy triangles, feet at -tall / 2."""
    skin, top, trousers = colors
    feet = -tall / 2
    hip, shoulder = feet + 0.47 * tall, feet + 0.82 * tall
    rows = [
        box((-0.05 * tall, -0.9 * wide, hip), (0.05 * tall, 0.9 * wide, shoulder), top, tag),
        blob((0.01, 0, feet + tall - head), (0.82 * head, 0.75 * head, head), skin, tag, detail=0),
    ]
    for side in (-1.0, 1.0):
        y = side * 0.45 * wide
        rows.append(box((-0.05 * tall, y - 0.04 * tall, feet), (0.06 * tall, y + 0.04 * tall, hip), trousers, tag))
        y = side * 1.12 * wide
        low, high = (-0.03 * tall, y - 0.028 * tall, hip - 0.02 * tall), (0.04 * tall, y + 0.028 * tall, shoulder)
        rows.append(box(low, high, top, tag))
    return join(rows)


def rider(seat: Size, grip: Size, pedal: Size, height: float) -> Mesh:
    """A person on two wheels: sits at `seat`, hands at (x, +-y, z) of `grip`, feet at `pedal`, crown at `height`."""
    tag = Tag.RIDER
    hip = np.array([seat[0], seat[1], seat[2] + 0.05])
    head = 0.125
    shoulder = np.array([seat[0] + 0.18, 0.0, height - 2.35 * head])
    top, trousers, skin, helmet = linear((196, 60, 40)), linear((44, 48, 60)), SKIN[1], linear((230, 230, 235))
    rows = [
        tube(hip, shoulder, 0.15, top, tag, sides=8, end_radius=0.17),
        blob(shoulder + np.array([0.04, 0.0, 0.16]), (0.10, 0.09, 0.12), skin, tag),
        blob((shoulder[0] + 0.03, 0, height - head), (0.135, 0.115, head), helmet, tag),
    ]
    for side in (-1.0, 1.0):
        upper = shoulder + np.array([0.0, 0.17 * side, -0.03])
        hand = np.array([grip[0], grip[1] * side, grip[2]])
        knee = np.array([seat[0] + 0.30, 0.13 * side, (seat[2] + pedal[2]) / 2 + 0.12])
        foot = np.array([pedal[0] + 0.04, 0.12 * side, max(pedal[2] - 0.12, 0.08)])
        rows += [
            tube(upper, hand, 0.05, top, tag, sides=6, end_radius=0.035),
            tube(hip + np.array([0.0, 0.08 * side, 0.0]), knee, 0.075, trousers, tag, sides=6, end_radius=0.055),
            tube(knee, foot, 0.055, trousers, tag, sides=6, end_radius=0.04),
            blob(foot + np.array([0.05, 0.0, 0.0]), (0.11, 0.045, 0.04), SHOES, tag, detail=0),
        ]
    return join(rows)


def far_rider(seat: Size, grip: Size, pedal: Size, height: float) -> Mesh:
    """The same in few triangles."""
    tag = Tag.RIDER
    top, trousers, helmet = linear((196, 60, 40)), linear((44, 48, 60)), linear((230, 230, 235))
    return join(
        [
            tube(seat, (seat[0] + 0.18, 0, height - 0.28), 0.17, top, tag, sides=5),
            tube((seat[0] + 0.18, 0, height - 0.36), (grip[0], 0, grip[2]), 0.14, top, tag, sides=4),
            blob((seat[0] + 0.2, 0, height - 0.125), (0.125, 0.115, 0.125), helmet, tag, detail=0),
            tube(seat, (seat[0] + 0.26, 0, pedal[2]), 0.16, trousers, tag, sides=4, end_radius=0.1),
        ]
    )
