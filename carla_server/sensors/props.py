"""Shapes of static props. A row per family; whatever has no row is a box of its size in a colour of its own."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable

import numpy as np

from carla_server.sensors.meshes import Mesh, blob, box, disc, frustum, join, quad, tube, two_sided
from carla_server.sensors.shading import LAMP
from carla_server.sensors.shapes import AMBER, DARK, STEEL, Lamp, Limb, Shape, linear
from carla_server.sensors.views import Tag

Size = tuple[float, float, float]
ORANGE = linear((235, 92, 20))
PALE = (0.80, 0.80, 0.78)
WOOD = linear((124, 88, 56))
TAG = Tag.DYNAMIC


def _cone(e: Size) -> Mesh:
    height = 2 * e[2]
    foot = box((-e[0], -e[1], 0), (e[0], e[1], 0.06 * height), ORANGE, TAG)
    rows = [foot]
    radius = 0.72 * min(e[0], e[1])
    bands = ((0.06, 0.36, ORANGE), (0.36, 0.52, PALE), (0.52, 0.68, ORANGE), (0.68, 0.82, PALE), (0.82, 1.0, ORANGE))
    for low, high, color in bands:
        rows.append(
            tube(
                (0, 0, low * height),
                (0, 0, high * height),
                radius * (1.02 - 0.86 * low),
                color,
                TAG,
                sides=10,
                end_radius=radius * (1.02 - 0.86 * high),
            )
        )
    return join(rows)


def _striped(x: float, y: tuple[float, float], z: tuple[float, float], count: int) -> list[Mesh]:
    """Orange and white blocks in a row along y."""
    edges = np.linspace(y[0], y[1], count + 1)
    return [
        box((-x, a, z[0]), (x, b, z[1]), ORANGE if k % 2 == 0 else PALE, TAG)
        for k, (a, b) in enumerate(itertools.pairwise(edges))
    ]


def _barrier(e: Size) -> Mesh:
    height = 2 * e[2]
    rows = _striped(0.03, (-e[1], e[1]), (0.62 * height, 0.92 * height), 6)
    rows += _striped(0.03, (-e[1], e[1]), (0.30 * height, 0.46 * height), 6)
    for y in (-0.8 * e[1], 0.8 * e[1]):
        for x in (-e[0], e[0]):
            rows.append(tube((x, y, 0), (0, y, 0.95 * height), 0.025, STEEL, TAG, sides=5))
    lamp = blob((0, -0.8 * e[1], 0.96 * height), (0.06, 0.06, 0.04 * height), AMBER, TAG, kind=LAMP, part=Lamp.LEFT)
    return join([*rows, lamp])


def _warning(e: Size) -> Mesh:
    """Trailer with an arrow board, as set before road works."""
    height = 2 * e[2]
    rows = _striped(e[0] * 0.12, (-e[1], e[1]), (0.16 * height, 0.34 * height), 8)
    rows.append(box((-e[0], -0.7 * e[1], 0.06 * height), (e[0], 0.7 * e[1], 0.14 * height), DARK, TAG))
    rows.append(box((-0.05, -0.9 * e[1], 0.38 * height), (0.05, 0.9 * e[1], height), (0.02, 0.02, 0.02), TAG))
    for y in (-0.8, 0.8):
        rows.append(
            tube((0, y * e[1] * 0.9, 0.1 * height), (0, y * e[1] * 0.9, 0.5 * height), 0.04, STEEL, TAG, sides=6)
        )
        rows.append(
            tube((0, y * e[1], 0.07 * height), (0, y * e[1] * 0.88, 0.07 * height), 0.07 * height, DARK, TAG, sides=10)
        )
    for side in (-1, 1):
        for y, z in ((-0.6, 0.69), (-0.35, 0.69), (-0.1, 0.69), (0.15, 0.69), (0.4, 0.69), (0.2, 0.83), (0.2, 0.55)):
            spot = disc(
                (side * 0.056, y * e[1], z * height),
                (side, 0, 0),
                0.055 * height,
                AMBER,
                TAG,
                sides=8,
                kind=LAMP,
                part=Lamp.LEFT,
            )
            rows.append(spot)
    return join(rows)


def _triangle_sign(e: Size) -> Mesh:
    """A warning triangle on a stand."""
    height = 2 * e[2]
    rows = []
    for side in (-1, 1):
        x = side * 0.02
        for scale, color, lift in ((1.0, linear((200, 30, 24)), 0.0), (0.66, linear((245, 205, 60)), 0.006)):
            low, high = height * (0.30 + 0.10 * (1 - scale)), height * (1.0 - 0.22 * (1 - scale))
            corners = np.array([(x, -scale * e[1], low), (x, scale * e[1], low), (x, 0, high)]) + np.array(
                [side * lift, 0.0, 0.0]
            )
            rows.append(two_sided(_triangle(corners, color)))
        bar = [(x * 1.6, -0.05, 0.52 * height), (x * 1.6, 0.05, 0.52 * height)]
        bar += [(x * 1.6, 0.05, 0.75 * height), (x * 1.6, -0.05, 0.75 * height)]
        rows.append(two_sided(quad(bar, DARK, TAG)))
    for y in (-0.7 * e[1], 0.7 * e[1]):
        for x in (-e[0], e[0]):
            rows.append(tube((x, y, 0), (0, 0.6 * y, 0.4 * height), 0.02, STEEL, TAG, sides=5))
    return join(rows)


def _triangle(corners: np.ndarray, color: Size) -> Mesh:
    return quad(np.concatenate([corners, corners[2:]]), color, TAG)


def _debris(e: Size) -> Mesh:
    rng = np.random.default_rng(3)
    rows = []
    for k in range(14):
        at = rng.uniform(-0.85, 0.85, 2) * (e[0], e[1])
        size = rng.uniform(0.35, 1.0) * min(2 * e[2], 0.16)
        color = linear((118, 102, 82)) if k % 3 else linear((84, 82, 80))
        rows.append(
            blob(
                (at[0], at[1], 0.3 * size),
                (1.6 * size, 1.3 * size, 0.7 * size),
                color,
                TAG,
                detail=0,
                rough=0.3,
                seed=k,
            )
        )
    rows.append(blob((0, 0, 0), (e[0], e[1], 0.5 * e[2]), linear((96, 82, 64)), TAG, detail=1, rough=0.15))
    return join(rows).fitted((-e[0], -e[1], 0), (e[0], e[1], 2 * e[2]))


def _container(e: Size) -> Mesh:
    color = linear((46, 92, 62))
    body = frustum(
        (-0.9 * e[0], -0.92 * e[1], 0.1), (0.9 * e[0], 0.92 * e[1], 1.7 * e[2]), color, TAG, (-e[0], e[0], -e[1], e[1])
    )
    lid = frustum(
        (-e[0], -e[1], 1.7 * e[2]),
        (e[0], e[1], 2 * e[2]),
        DARK,
        TAG,
        (-0.9 * e[0], 0.9 * e[0], -0.5 * e[1], 0.9 * e[1]),
    )
    feet = [
        box((x * e[0] - 0.08, y * e[1] - 0.08, 0), (x * e[0] + 0.08, y * e[1] + 0.08, 0.12), DARK, TAG)
        for x in (-0.8, 0.8)
        for y in (-0.8, 0.8)
    ]
    return join([body, lid, *feet])


def _vending(e: Size) -> Mesh:
    body = box((-e[0], -e[1], 0), (e[0], e[1], 2 * e[2]), linear((176, 28, 32)), TAG)
    x = e[0] + 0.004
    front = quad(
        [
            (x, -0.8 * e[1], 0.7 * e[2]),
            (x, 0.4 * e[1], 0.7 * e[2]),
            (x, 0.4 * e[1], 1.85 * e[2]),
            (x, -0.8 * e[1], 1.85 * e[2]),
        ],
        (0.5, 0.6, 0.7),
        TAG,
    )
    slot = quad(
        [
            (x, -0.7 * e[1], 0.2 * e[2]),
            (x, 0.3 * e[1], 0.2 * e[2]),
            (x, 0.3 * e[1], 0.45 * e[2]),
            (x, -0.7 * e[1], 0.45 * e[2]),
        ],
        DARK,
        TAG,
    )
    return join([body, front, slot])


def _bench(e: Size) -> Mesh:
    seat = 0.9 * e[2]
    rows = [box((-e[0], -e[1], seat), (0.6 * e[0], e[1], seat + 0.06), WOOD, TAG)]
    rows.append(box((-e[0], -e[1], seat + 0.12), (-0.8 * e[0], e[1], 2 * e[2]), WOOD, TAG))
    for y in (-0.85, 0.85):
        rows.append(box((-0.9 * e[0], y * e[1] - 0.04, 0), (0.5 * e[0], y * e[1] + 0.04, seat), DARK, TAG))
    return join(rows)


def _round(color: Size) -> Callable[[Size], Mesh]:
    def build(e: Size) -> Mesh:
        radius = min(e[0], e[1])
        rim = tube((0, 0, 1.86 * e[2]), (0, 0, 2 * e[2]), radius, DARK, TAG, sides=12)
        return join([tube((0, 0, 0), (0, 0, 1.86 * e[2]), 0.94 * radius, color, TAG, sides=12), rim])

    return build


def _sack(color: Size) -> Callable[[Size], Mesh]:
    return lambda e: blob((0, 0, e[2]), e, color, TAG, rough=0.12, seed=2).fitted(
        (-e[0], -e[1], 0), (e[0], e[1], 2 * e[2])
    )


def _table(e: Size) -> Mesh:
    rows = [box((-e[0], -e[1], 1.84 * e[2]), (e[0], e[1], 2 * e[2]), WOOD, TAG)]
    for x in (-0.85, 0.85):
        for y in (-0.85, 0.85):
            rows.append(tube((x * e[0], y * e[1], 0), (x * e[0], y * e[1], 1.85 * e[2]), 0.03, DARK, TAG, sides=5))
    return join(rows)


def _sign(e: Size) -> Mesh:
    board = box((-0.02, -e[1], 1.1 * e[2]), (0.02, e[1], 2 * e[2]), linear((30, 80, 160)), TAG)
    return join([board, tube((0, 0, 0), (0, 0, 1.1 * e[2]), 0.035, STEEL, TAG, sides=6)])


def _shelter(e: Size) -> Mesh:
    rows = [box((-e[0], -e[1], 1.9 * e[2]), (e[0], e[1], 2 * e[2]), linear((60, 64, 70)), TAG)]
    rows.append(box((-e[0], -e[1], 0.2), (-e[0] + 0.04, e[1], 1.9 * e[2]), (0.25, 0.32, 0.36), TAG))
    for x in (-0.96, 0.96):
        for y in (-0.96, 0.96):
            rows.append(tube((x * e[0], y * e[1], 0), (x * e[0], y * e[1], 1.9 * e[2]), 0.05, STEEL, TAG, sides=6))
    return join(rows)


def _pot(e: Size) -> Mesh:
    pot = tube((0, 0, 0), (0, 0, e[2]), 0.7 * e[0], linear((150, 84, 58)), TAG, sides=10, end_radius=0.9 * e[0])
    plant = blob((0, 0, 1.4 * e[2]), (e[0], e[1], 0.6 * e[2]), linear((70, 110, 52)), TAG, rough=0.2)
    return join([pot, plant])


# Matched in order against the part after "static.prop."; the first hit decides.
PROP_SHAPES: tuple[tuple[str, Callable[[Size], Mesh]], ...] = (
    ("constructioncone", _cone),
    ("trafficcone", _cone),
    ("trafficwarning", _warning),
    ("warning", _triangle_sign),
    ("barrier", _barrier),
    ("dirtdebris", _debris),
    ("garbage0", _debris),
    ("brokentile", _debris),
    ("container", _container),
    ("vendingmachine", _vending),
    ("atm", _vending),
    ("bench", _bench),
    ("barrel", _round(linear((60, 90, 150)))),
    ("trashcan", _round(linear((70, 76, 72)))),
    ("bin", _round(linear((64, 84, 70)))),
    ("mailbox", _round(linear((30, 60, 140)))),
    ("fountain", _round(linear((150, 148, 142)))),
    ("trampoline", _round(linear((40, 60, 120)))),
    ("trashbag", _sack(DARK)),
    ("plasticbag", _sack(PALE)),
    ("table", _table),
    ("swing", _shelter),
    ("pergola", _shelter),
    ("busstop", _shelter),
    ("kiosk", _shelter),
    ("streetsign", _sign),
    ("advertisement", _sign),
    ("plantpot", _pot),
)


def prop_shape(type_id: str, extent: Size) -> Shape:
    """The shape for a prop blueprint, filling a box of these half sizes that stands on the ground."""
    name = type_id.rsplit(".", 1)[-1]
    low, high = (-extent[0], -extent[1], 0.0), (extent[0], extent[1], 2 * extent[2])
    for word, build in PROP_SHAPES:
        if word in name:
            shape = build(extent).fitted(low, high)
            return Shape((Limb(shape),), shape)
    hue = np.random.default_rng(zlib.crc32(name.encode())).uniform(60, 190, 3)
    shape = box(low, high, linear((int(hue[0]), int(hue[1]), int(hue[2]))), TAG)
    return Shape((Limb(shape),), shape)
