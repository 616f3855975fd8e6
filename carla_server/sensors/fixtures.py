"""What stands along the roads: houses, trees, lamps, furniture, barriers, signal posts and signs.

Every builder works in the object's own frame (x along its length, y across, z up, foot at the origin) and is given its
size; the caller turns it into place.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carla_server.sensors.atlas import BAYS, FACADES, TEXTURES
from carla_server.sensors.meshes import Mesh, blob, box, disc, frustum, join, mesh, polygon, quad, tube, two_sided
from carla_server.sensors.shading import GLOW, LAMP
from carla_server.sensors.shapes import AMBER, DARK, GREEN_LIGHT, RED_LIGHT, STEEL, Lamp, linear
from carla_server.sensors.views import Tag

Array = NDArray[np.float64]

STOREY = 3.2  # metres of one bay each way
WHITE = (1.0, 1.0, 1.0)
LEAF = {
    "maple": linear((92, 124, 56)),
    "birch": linear((122, 148, 76)),
    "plane": linear((98, 122, 64)),
    "linden": linear((80, 118, 58)),
    "pine": linear((52, 84, 56)),
    "bush": linear((84, 112, 58)),
}
BARK = linear((86, 70, 56))


def seed_of(*parts: object) -> int:
    """A number that depends on the parts' text alone."""
    return zlib.crc32("|".join(map(str, parts)).encode())


def _wall(a: Array, b: Array, low: float, high: float, tex: int, tag: int) -> Mesh:
    """A textured wall from a to b (x, y), its outside to the right of that direction."""
    length = float(np.hypot(*(b - a)))
    bays = max(1, round(length / STOREY))
    storeys = max(1, round((high - low) / STOREY))
    u, v = bays / BAYS, storeys / BAYS
    corners = [(*a, low), (*b, low), (*b, high), (*a, high)]
    return quad(corners, WHITE, tag, uv=[(0, 0), (u, 0), (u, v), (0, v)], tex=tex)


def _block(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], tex: int, roof: ArrayLike) -> Mesh:
    """Four walls and a flat roof."""
    ring = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
    rows = [_wall(ring[k], ring[(k + 1) % 4], z[0], z[1], tex, Tag.BUILDINGS) for k in range(4)]
    center = (sum(x) / 2, sum(y) / 2)
    for wall in rows:
        outside = ((wall.pos.mean(axis=1)[:, :2] - center) * wall.normals[:, :2]).sum(axis=1)
        if outside.mean() < 0:
            wall.pos, wall.uv = wall.pos[:, ::-1].copy(), wall.uv[:, ::-1].copy()
    top = [(x[0], y[0], z[1]), (x[1], y[0], z[1]), (x[1], y[1], z[1]), (x[0], y[1], z[1])]
    rows.append(polygon(top, roof, Tag.BUILDINGS))
    return join(rows)


def setback(height: float) -> float:
    """Height above which a house is narrower; its own height for lower houses."""
    return height if height <= 22.0 else 3.8 + 0.6 * (height - 4.4)


def building(length: float, width: float, height: float, style: str, seed: int) -> Mesh:
    """A house: shops at street level, storeys above, parapet, and plant on the roof."""
    rng = np.random.default_rng(seed)
    name = style if style in FACADES else list(FACADES)[seed % 5]
    tint = rng.uniform(0.80, 1.12)
    x, y = (-length / 2, length / 2), (-width / 2, width / 2)
    roof = np.array(linear((104, 102, 100))) * rng.uniform(0.6, 1.2)
    shop = height > 9.0 and name != "house"
    low = 3.8 if shop else 0.0
    top = height - 0.6
    rows = []
    if shop:
        rows.append(_block(x, y, (0.0, low), TEXTURES["shop"], roof))
    step = setback(height)
    if step < height:
        rows.append(_block(x, y, (low, step), TEXTURES[name], roof))
        inner = ((x[0] * 0.72, x[1] * 0.72), (y[0] * 0.72, y[1] * 0.72))
        rows.append(_block(*inner, (step, top), TEXTURES[name], roof))
        rows.append(
            box(
                (inner[0][0] - 0.2, inner[1][0] - 0.2, top),
                (inner[0][1] + 0.2, inner[1][1] + 0.2, height),
                roof * 1.2,
                Tag.BUILDINGS,
            )
        )
    else:
        rows.append(_block(x, y, (low, top), TEXTURES[name], roof))
        rows.append(box((x[0], y[0], top), (x[1], y[1], height), roof * 1.2, Tag.BUILDINGS))
    shape = join(rows)
    shape.rgb[shape.tex >= 0] *= tint * rng.uniform(0.94, 1.06, 3)
    return shape


def lit_windows(length: float, width: float, height: float, seed: int, full: float) -> Mesh:
    """Windows of a house that are lit at night, a little before its walls, up to where these rise in full width."""
    rng = np.random.default_rng(seed + 9)
    rows = []
    for axis, (run, off) in enumerate(((length, width / 2), (width, length / 2))):
        bays, storeys = max(1, round(run / STOREY)), max(1, round((height - 4.4) / STOREY))
        for side in (-1.0, 1.0):
            for i in range(bays):
                for j in range(storeys):
                    if rng.random() > 0.16:
                        continue
                    a, b = -run / 2 + (i + 0.3) * run / bays, -run / 2 + (i + 0.7) * run / bays
                    z0, z1 = 3.8 + (j + 0.25) * STOREY, 3.8 + (j + 0.75) * STOREY
                    if z1 > full - 1.0:
                        continue
                    at = side * (off + 0.03)
                    corners = [(a, at, z0), (b, at, z0), (b, at, z1), (a, at, z1)]
                    if axis == 1:
                        corners = [(y, x, z) for x, y, z in corners]
                    color = np.array([0.85, 0.62, 0.30]) * rng.uniform(0.5, 1.1)
                    rows.append(two_sided(quad(corners, color, Tag.BUILDINGS, kind=GLOW)))
    return join(rows)


def _leafy(shape: Mesh, name: str = "leaves", scale: float = 1.6) -> Mesh:
    """Lay a leaf pattern over a crown by position."""
    spread = np.abs(shape.normals[:, 0]) > np.abs(shape.normals[:, 1])
    side = np.where(spread[:, None], shape.pos[:, :, 1], shape.pos[:, :, 0])
    shape.uv = np.stack([side / scale, (shape.pos[:, :, 2] + 0.3 * side) / scale], -1).astype(np.float32)
    shape.tex[:] = TEXTURES[name]
    return shape


CROWN_LOW = 0.30  # share of a tree's height at which its crown begins
CROWNS = 8  # different crowns per kind
WHITE_BARK = linear((190, 186, 178))


@functools.lru_cache(maxsize=6 * CROWNS)
def _crown(conifer: bool, variant: int, detail: int) -> Mesh:
    """A white crown that fills the unit square from `CROWN_LOW` to 1, darker below: light falls in from above."""
    rng = np.random.default_rng(variant)
    tag, middle, tall = Tag.VEGETATION, (CROWN_LOW + 1.0) / 2, 1.0 - CROWN_LOW
    if conifer:
        tiers = ((0.0, 0.62, 0.5), (0.38, 0.82, 0.39), (0.6, 1.0, 0.26))
        rows = [
            tube((0, 0, low), (0, 0, high), r, WHITE, tag, sides=(4, 5, 9)[detail], end_radius=0.025)
            for low, high, r in tiers
        ]
    elif detail == 2:
        rows = [blob((0, 0, middle), (0.40, 0.40, 0.46 * tall), WHITE, tag, detail=2, rough=0.13, seed=variant)]
        for k in range(5):
            turn, size = 2 * np.pi * k / 5 + rng.uniform(0, 1), 0.5 * rng.uniform(0.34, 0.5)
            at = (0.275 * np.cos(turn), 0.275 * np.sin(turn), CROWN_LOW + (0.25 + 0.5 * rng.random()) * tall)
            color = np.ones(3) * rng.uniform(0.85, 1.15)
            rows.append(blob(at, (size, size, 0.28 * tall), color, tag, detail=1, rough=0.16, seed=variant + k))
    else:
        rows = [blob((0, 0, middle), (0.5, 0.5, tall / 2), WHITE, tag, detail=detail, rough=0.12, seed=variant)]
    crown = join(rows).fitted((-0.5, -0.5, CROWN_LOW), (0.5, 0.5, 1.0))
    share = (crown.pos.mean(axis=1)[:, 2] - CROWN_LOW) / tall
    crown.rgb *= (0.62 + 0.45 * share)[:, None].astype(np.float32)
    return crown


def tree(length: float, width: float, height: float, kind: str, seed: int, detail: int) -> Mesh:
    """A tree that fills its box: trunk and a crown of rough balls; `detail` 0 to 2."""
    rng = np.random.default_rng(seed)
    color = np.array(LEAF.get(kind, LEAF["maple"])) * rng.uniform(0.75, 1.15) * 1.5
    conifer = kind == "pine"
    crown = _crown(conifer, seed % CROWNS, detail).moved(np.diag([length, width, height]))
    crown.rgb = (crown.rgb * color).astype(np.float32)
    foot, top = (0, 0, 0), (0, 0, 0.6 * height)
    bark = WHITE_BARK if kind == "birch" else BARK
    sides = (3, 4, 7)[detail]
    trunk = tube(foot, top, 0.021 * height, bark, Tag.VEGETATION, sides=sides, end_radius=0.012 * height, caps=False)
    return join([trunk, _leafy(crown, "needles" if conifer else "leaves")])


def bush(length: float, width: float, height: float, seed: int) -> Mesh:
    """A bush or, when long, a hedge that fills its box."""
    color = np.array(LEAF["bush"]) * 1.4
    if max(length, width) > 2.2 * min(length, width):
        body = frustum(
            (-length / 2, -width / 2, 0),
            (length / 2, width / 2, height),
            color,
            Tag.VEGETATION,
            (-0.48 * length, 0.48 * length, -0.42 * width, 0.42 * width),
        )
    else:
        # Most of a ball, cut off at the ground.
        center, radii = (0, 0, 0.3 * height), (length / 2, width / 2, 0.7 * height)
        body = blob(center, radii, color, Tag.VEGETATION, detail=1, rough=0.15, seed=seed)
        body.pos[..., 2] = np.maximum(body.pos[..., 2], 0.0)
        body = body.fitted((-length / 2, -width / 2, 0), (length / 2, width / 2, height))
    return _leafy(body, scale=0.8)


def street_lamp(height: float, reach: float) -> Mesh:
    """A lamp post whose arm reaches out along +y."""
    rows = [
        tube((0, 0, 0), (0, 0, height - 0.1), 0.09, STEEL, Tag.POLES, sides=7, end_radius=0.05),
        tube((0, 0, height - 0.15), (0, reach, height), 0.04, STEEL, Tag.POLES, sides=5),
        box((-0.12, reach - 0.35, height - 0.04), (0.12, reach + 0.25, height + 0.04), STEEL, Tag.POLES),
        quad(
            [
                (-0.1, reach - 0.3, height - 0.05),
                (-0.1, reach + 0.2, height - 0.05),
                (0.1, reach + 0.2, height - 0.05),
                (0.1, reach - 0.3, height - 0.05),
            ],
            (1.0, 0.9, 0.7),
            Tag.POLES,
            kind=GLOW,
        ),
    ]
    rows[-1] = two_sided(rows[-1])
    return join(rows)


def pole(height: float, radius: float = 0.07) -> Mesh:
    """A plain post."""
    return tube((0, 0, 0), (0, 0, height), radius, STEEL, Tag.POLES, sides=7)


def bench(length: float, width: float, height: float) -> Mesh:
    """A bench with its back on the -y side."""
    wood = linear((128, 92, 60))
    seat = 0.5 * height
    rows = [
        box((-length / 2, -width / 2, seat), (length / 2, width / 2, seat + 0.06), wood, Tag.STATIC),
        box((-length / 2, -width / 2, seat + 0.15), (length / 2, -0.38 * width, height), wood, Tag.STATIC),
    ]
    for x in (-0.42, 0.42):
        rows.append(
            box((x * length - 0.04, -0.45 * width, 0), (x * length + 0.04, 0.4 * width, seat), DARK, Tag.STATIC)
        )
    return join(rows)


def bin_(length: float, height: float) -> Mesh:
    """A litter bin."""
    green = linear((58, 76, 64))
    return join(
        [
            tube((0, 0, 0), (0, 0, 0.85 * height), 0.42 * length, green, Tag.STATIC, sides=9),
            tube(
                (0, 0, 0.85 * height), (0, 0, height), 0.5 * length, DARK, Tag.STATIC, sides=9, end_radius=0.25 * length
            ),
        ]
    )


def hydrant(length: float, height: float) -> Mesh:
    """A fire hydrant."""
    red = linear((186, 34, 28))
    return join(
        [
            tube((0, 0, 0), (0, 0, 0.8 * height), 0.36 * length, red, Tag.STATIC, sides=8),
            tube(
                (0, -0.5 * length, 0.55 * height),
                (0, 0.5 * length, 0.55 * height),
                0.16 * length,
                red,
                Tag.STATIC,
                sides=6,
            ),
            blob((0, 0, 0.8 * height), (0.36 * length, 0.36 * length, 0.2 * height), red, Tag.STATIC, detail=1),
        ]
    )


def shelter(length: float, width: float, height: float) -> Mesh:
    """A bus stop shelter, open on the +y side."""
    dark = linear((70, 76, 82))
    rows = [
        box((-length / 2, -width / 2, height - 0.12), (length / 2, width / 2, height), dark, Tag.STATIC),
        box(
            (-length / 2, -width / 2, 0.25),
            (length / 2, -width / 2 + 0.05, height - 0.12),
            linear((150, 176, 186)),
            Tag.STATIC,
        ),
        box(
            (-0.3 * length, -0.35 * width, 0.42), (0.3 * length, -0.05 * width, 0.5), linear((128, 92, 60)), Tag.STATIC
        ),
    ]
    for x in (-0.48, 0.48):
        for y in (-0.45, 0.45):
            rows.append(
                tube((x * length, y * width, 0), (x * length, y * width, height - 0.1), 0.04, dark, Tag.STATIC, sides=5)
            )
    return join(rows)


def guard_rail(length: float, height: float) -> Mesh:
    """A steel rail on posts."""
    rows = [
        box((-length / 2, -0.06, 0.55 * height), (length / 2, 0.06, height), linear((170, 174, 178)), Tag.GUARD_RAIL)
    ]
    for x in np.arange(-length / 2 + 0.3, length / 2, 3.0):
        rows.append(box((x - 0.06, -0.05, 0), (x + 0.06, 0.05, 0.9 * height), STEEL, Tag.GUARD_RAIL))
    return join(rows)


def fence(length: float, height: float) -> Mesh:
    """Two boards on posts."""
    wood = linear((150, 126, 96))
    rows = [
        box((-length / 2, -0.03, z * height - 0.08), (length / 2, 0.03, z * height), wood, Tag.FENCES)
        for z in (0.45, 0.95)
    ]
    for x in np.arange(-length / 2 + 0.05, length / 2 + 0.01, 2.0):
        rows.append(box((x - 0.05, -0.05, 0), (x + 0.05, 0.05, height), wood, Tag.FENCES))
    return join(rows)


def wall(length: float, width: float, height: float) -> Mesh:
    """A plain wall."""
    return box((-length / 2, -width / 2, 0), (length / 2, width / 2, height), linear((168, 162, 152)), Tag.WALLS)


SIGN_HALF = 0.40  # metres, default half width of a sign


def sign_board(texture: str, half: float, z: float, corners: int) -> Mesh:
    """A sign on its post, facing +x: a polygon with so many corners whose middle is `z` above the foot."""
    if corners == 3:
        angle = np.radians([-30.0, 210.0, 90.0]) + np.pi
    else:
        angle = 2 * np.pi * np.arange(corners) / corners + np.pi / corners
    rim = np.stack([np.full(corners, 0.06), np.cos(angle) * half, np.sin(angle) * half + z], 1)
    middle = np.array([0.06, 0.0, z])
    front, uvs = [], []
    for k in range(corners):
        a, b = rim[k], rim[(k + 1) % corners]
        front.append([middle, a, b])
        uvs.append([(0.5 + p[1] / (2 * half) * 0.98, 0.5 + (p[2] - z) / (2 * half) * 0.98) for p in (middle, a, b)])
    face = mesh(front, WHITE, Tag.TRAFFIC_SIGNS, tex=TEXTURES[texture], uv=uvs)
    inward = face.normals[:, 0] < 0
    face.pos[inward], face.uv[inward] = face.pos[inward][:, ::-1], face.uv[inward][:, ::-1]
    back = mesh(
        [
            [middle - (0.01, 0, 0), *pair]
            for pair in ([rim[(k + 1) % corners] - (0.01, 0, 0), rim[k] - (0.01, 0, 0)] for k in range(corners))
        ],
        STEEL,
        Tag.TRAFFIC_SIGNS,
    )
    outward = back.normals[:, 0] > 0
    back.pos[outward] = back.pos[outward][:, ::-1]
    return join([face, back, tube((0, 0, 0), (0, 0, z + 0.6 * half), 0.035, STEEL, Tag.POLES, sides=6)])


HEAD_SIZE = (0.30, 0.36, 1.05)  # depth, width, height of a light's housing, metres


def light_head() -> Mesh:
    """A three-lamp housing hanging at the origin (its middle), facing +x."""
    depth, wide, tall = HEAD_SIZE
    tag = Tag.TRAFFIC_LIGHT
    rows = [
        box((-depth / 2, -wide / 2, -tall / 2), (depth / 2 - 0.1, wide / 2, tall / 2), linear((34, 36, 34)), tag),
        quad(
            [
                (-depth / 2 + 0.12, -wide / 2 - 0.1, -tall / 2 - 0.1),
                (-depth / 2 + 0.12, wide / 2 + 0.1, -tall / 2 - 0.1),
                (-depth / 2 + 0.12, wide / 2 + 0.1, tall / 2 + 0.1),
                (-depth / 2 + 0.12, -wide / 2 - 0.1, tall / 2 + 0.1),
            ],
            (0.012, 0.012, 0.012),
            tag,
        ),
    ]
    rows[-1] = two_sided(rows[-1])
    for k, (color, lamp) in enumerate(
        ((RED_LIGHT, Lamp.SIGNAL_RED), (AMBER, Lamp.SIGNAL_YELLOW), (GREEN_LIGHT, Lamp.SIGNAL_GREEN))
    ):
        z = (1 - k) * tall / 3.1
        rows.append(disc((depth / 2 - 0.09, 0, z), (1, 0, 0), 0.135, color, tag, sides=12, kind=LAMP, part=int(lamp)))
        hood = box((depth / 2 - 0.1, -0.15, z + 0.135), (depth / 2 + 0.08, 0.15, z + 0.155), DARK, tag)
        rows.append(hood)
    return join(rows)


def light_post(height: float, arm: float) -> Mesh:
    """A post with an arm along +y at its top, `arm` metres long."""
    rows = [tube((0, 0, 0), (0, 0, height + 0.3), 0.10, STEEL, Tag.POLES, sides=8, end_radius=0.08)]
    if arm > 0.3:
        rows.append(tube((0, 0, height + 0.1), (0, arm, height + 0.1), 0.06, STEEL, Tag.POLES, sides=6))
    return join(rows)


Builder = Callable[[float, float, float, int], Mesh]
# What an OpenDRIVE object is built as: matched in order against "type name subtype", lower case.
FURNITURE: tuple[tuple[str, Builder, Tag], ...] = (
    ("bench", lambda x, w, h, s: bench(x, w, h), Tag.STATIC),
    ("bin", lambda x, w, h, s: bin_(x, h), Tag.STATIC),
    ("hydrant", lambda x, w, h, s: hydrant(x, h), Tag.STATIC),
    ("shelter", lambda x, w, h, s: shelter(x, w, h), Tag.STATIC),
    ("busstop", lambda x, w, h, s: shelter(x, w, h), Tag.STATIC),
    ("guardrail", lambda x, w, h, s: guard_rail(x, h), Tag.GUARD_RAIL),
    ("fence", lambda x, w, h, s: fence(x, h), Tag.FENCES),
    ("wall", lambda x, w, h, s: wall(x, max(w, 0.2), h), Tag.WALLS),
    ("barrier", lambda x, w, h, s: wall(x, max(w, 0.2), h), Tag.WALLS),
    ("bush", bush, Tag.VEGETATION),
    ("hedge", bush, Tag.VEGETATION),
    ("vegetation", bush, Tag.VEGETATION),
    ("pole", lambda x, w, h, s: pole(h), Tag.POLES),
)
