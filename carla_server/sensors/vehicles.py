"""Shapes of vehicles, built from a style row per kind of body and stretched over the actor's bounding box.

Lengthwise fractions run from 1 at the front bumper to -1 at the rear, heights from 0 on the road to 1 at the roof.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.meshes import Mesh, blob, box, disc, frustum, join, loft, mesh, quad, tube, two_sided
from carla_server.sensors.people import far_rider, rider
from carla_server.sensors.raster import PAINT
from carla_server.sensors.shading import GLASS, LAMP
from carla_server.sensors.shapes import (
    AMBER,
    BLUE_LIGHT,
    CHROME,
    DARK,
    GLASS_TINT,
    RED_LIGHT,
    RUBBER,
    STEEL,
    WHITE,
    WHITE_LIGHT,
    Joint,
    Lamp,
    Limb,
    Shape,
    both_sides,
    linear,
    patch,
)
from carla_server.sensors.views import Tag

Array = NDArray[np.float64]
Size = tuple[float, float, float]

MIRROR_SHARE = 0.90  # half width of the body against that of the box, which the mirrors reach
WHEEL_WIDTH = 0.22  # metres


@dataclass(frozen=True)
class CarStyle:
    """Side view of a car body.

    Attributes:
        hood: Height of the hood at the windscreen and at the nose.
        belt: Height where the side windows begin.
        tail: Height of the boot lid.
        screen: Lengthwise place of the windscreen's foot and of its upper edge.
        rear: Lengthwise place of the rear window's upper edge and of its foot.
        clearance: Height of the sill.
        wheel: Radius of the wheels against the height of the car.
        axles: Lengthwise place of front and rear axle.
        roof: Half width of the roof against that of the body.
    """

    hood: tuple[float, float] = (0.62, 0.50)
    belt: float = 0.64
    tail: float = 0.66
    screen: tuple[float, float] = (0.38, 0.06)
    rear: tuple[float, float] = (-0.46, -0.76)
    clearance: float = 0.13
    wheel: float = 0.225
    axles: tuple[float, float] = (0.60, -0.58)
    roof: float = 0.76


SEDAN = CarStyle()
HATCH = CarStyle(screen=(0.46, 0.14), rear=(-0.72, -0.96), tail=0.58, belt=0.60, hood=(0.60, 0.50), axles=(0.66, -0.66))
COUPE = CarStyle(screen=(0.30, 0.0), rear=(-0.36, -0.80), belt=0.68, hood=(0.64, 0.52), wheel=0.25)
SUV = CarStyle(
    screen=(0.46, 0.22),
    rear=(-0.78, -0.95),
    tail=0.58,
    belt=0.60,
    hood=(0.58, 0.50),
    clearance=0.15,
    wheel=0.21,
    roof=0.82,
)
OFFROAD = CarStyle(
    screen=(0.30, 0.22),
    rear=(-0.93, -0.98),
    tail=0.55,
    belt=0.58,
    hood=(0.57, 0.54),
    clearance=0.18,
    wheel=0.22,
    roof=0.92,
)
VAN = CarStyle(
    screen=(0.80, 0.52),
    rear=(-0.965, -0.985),
    tail=0.42,
    belt=0.50,
    hood=(0.48, 0.38),
    clearance=0.12,
    wheel=0.15,
    axles=(0.66, -0.58),
    roof=0.88,
)
MICROBUS = CarStyle(
    screen=(0.965, 0.86),
    rear=(-0.93, -0.97),
    tail=0.50,
    belt=0.54,
    hood=(0.53, 0.50),
    clearance=0.13,
    wheel=0.16,
    axles=(0.60, -0.56),
    roof=0.86,
)
WEDGE = CarStyle(
    screen=(0.62, 0.10),
    rear=(0.05, -0.97),
    tail=0.58,
    belt=0.57,
    hood=(0.54, 0.46),
    clearance=0.16,
    wheel=0.22,
    axles=(0.62, -0.60),
    roof=0.80,
)

# Matched in order against the blueprint id; the first hit decides.
CAR_STYLES: tuple[tuple[str, CarStyle], ...] = (
    ("cybertruck", WEDGE),
    ("sprinter", VAN),
    ("ambulance", VAN),
    ("volkswagen.t2", MICROBUS),
    ("wrangler", OFFROAD),
    ("patrol", SUV),
    ("etron", SUV),
    ("grandtourer", SUV),
    ("cooper", HATCH),
    ("micra", HATCH),
    ("microlino", HATCH),
    ("audi.a2", HATCH),
    ("c3", HATCH),
    ("leon", HATCH),
    ("prius", HATCH),
    ("audi.tt", COUPE),
    ("mustang", COUPE),
    ("coupe", COUPE),
)


def wheel(radius: float, width: float, tag: int) -> Mesh:
    """A wheel about the y axis, its outer face at y = 0 and the rest on the negative side."""
    tyre = tube((0, -width, 0), (0, 0, 0), radius, RUBBER, tag, sides=14)
    rim = disc((0, 0.006, 0), (0, 1, 0), 0.66 * radius, CHROME, tag, sides=10)
    rim.rgb[1::2] *= 0.28
    return join([tyre, rim])


def _wheels(style: CarStyle, ex: float, half: float, height: float, tag: int) -> list[Limb]:
    radius = style.wheel * height
    right = wheel(radius, WHEEL_WIDTH, tag)
    left = right.moved(np.diag([1.0, -1.0, 1.0]))
    rows = []
    for axle, joint in zip(style.axles, (Joint.STEER, Joint.ROLL)):
        rows.append(Limb(right, (axle * ex, half, radius), joint))
        rows.append(Limb(left, (axle * ex, -half, radius), joint))
    return rows


def _section(x: float, half: float, low: float, high: float) -> Array:
    """Ring of a body at one lengthwise place: narrow sill, widest at the doors, slightly narrower at the belt."""
    side = [
        (0.90 * half, low),
        (half, low + 0.28 * (high - low)),
        (0.99 * half, low + 0.66 * (high - low)),
        (0.91 * half, high),
    ]
    ring = [(x, y, z) for y, z in side] + [(x, -y, z) for y, z in reversed(side)]
    return np.array(ring)


def _lower_body(style: CarStyle, ex: float, half: float, height: float, tag: int) -> Mesh:
    stations = (
        (1.0, 0.84, style.clearance + 0.05, style.hood[1] - 0.06),
        (0.975, 0.93, style.clearance, style.hood[1]),
        (0.86, 0.99, style.clearance, 0.6 * style.hood[1] + 0.4 * style.hood[0]),
        (style.screen[0], 1.0, style.clearance, style.hood[0]),
        (min(0.2, style.screen[0] - 0.05), 1.0, style.clearance, style.belt),
        (max(-0.45, style.rear[1] + 0.1), 1.0, style.clearance, style.belt + 0.01),
        (style.rear[1], 0.995, style.clearance, style.tail),
        (min(-0.95, style.rear[1] - 0.012), 0.95, style.clearance, style.tail - 0.01),
        (-1.0, 0.88, style.clearance + 0.06, style.tail - 0.05),
    )
    rings = [_section(f * ex, w * half, low * height, high * height) for f, w, low, high in stations]
    return loft(rings, WHITE, tag, flags=PAINT)


def _cabin(style: CarStyle, ex: float, half: float, height: float, tag: int) -> tuple[Mesh, dict[str, Array]]:
    """Painted roof and pillars, and the four faces that windows go on (front, rear, right, left)."""
    low, edge, top = style.belt * height - 0.03, 0.955 * height, height
    foot, shoulder, roof = 0.93 * half, (style.roof + 0.06) * half, style.roof * half * 0.9
    a, b, c, d = (f * ex for f in (style.screen[0], style.screen[1], style.rear[0], style.rear[1]))

    def ring(front: float, back: float, w: float, z: float) -> Array:
        return np.array([(front, w, z), (back, w, z), (back, -w, z), (front, -w, z)])

    rings = [ring(a, d, foot, low), ring(b, c, shoulder, edge), ring(b - 0.12, c + 0.08, roof, top)]
    faces = {
        "front": np.array([rings[0][3], rings[0][0], rings[1][0], rings[1][3]]),
        "rear": np.array([rings[0][1], rings[0][2], rings[1][2], rings[1][1]]),
        "right": np.array([rings[0][0], rings[0][1], rings[1][1], rings[1][0]]),
        "left": np.array([rings[0][2], rings[0][3], rings[1][3], rings[1][2]]),
    }
    for name, face in faces.items():
        if (
            np.cross(face[1] - face[0], face[3] - face[0]) @ (face.mean(axis=0) - np.concatenate(rings).mean(axis=0))
            < 0
        ):
            faces[name] = face[[1, 0, 3, 2]]
    return loft(rings, WHITE, tag, flags=PAINT), faces


def _windows(faces: dict[str, Array], tag: int, panes: int) -> list[Mesh]:
    glass = {"kind": GLASS}
    rows = [
        patch(faces["front"], (0.05, 0.95), (0.10, 0.94), GLASS_TINT, tag, **glass),
        patch(faces["rear"], (0.08, 0.92), (0.14, 0.90), GLASS_TINT, tag, **glass),
    ]
    for side in ("right", "left"):
        edges = np.linspace(0.05, 0.95, panes + 1)
        for first, last in itertools.pairwise(edges):
            rows.append(patch(faces[side], (first + 0.012, last - 0.012), (0.14, 0.90), GLASS_TINT, tag, **glass))
    return rows


def _lamp(corners: list[tuple[float, float, float]], color: tuple[float, float, float], lamp: Lamp, tag: int) -> Mesh:
    return quad(corners, color, tag, kind=LAMP, part=int(lamp))


def _face(x: float, y: tuple[float, float], z: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Corners of a rectangle across the car, facing forward for x > 0 and backward otherwise."""
    corners = [(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])]
    return corners if x > 0 else corners[::-1]


def _lamps(ex: float, half: float, front: tuple[float, float], rear: tuple[float, float], tag: int) -> list[Mesh]:
    """Lamps on both ends; `front` and `rear` are the heights between which they lie, metres."""
    rows = []
    nose, tail = ex + 0.004, -ex - 0.004
    z0, z1 = front
    r0, r1 = rear
    mid = (r0 + r1) / 2
    for sign, blink in ((1, Lamp.RIGHT), (-1, Lamp.LEFT)):

        def span(a: float, b: float, s: int = sign) -> tuple[float, float]:
            low, high = sorted((s * a * half, s * b * half))
            return low, high

        rows += [
            _lamp(_face(nose, span(0.50, 0.74), (z0, z1)), WHITE_LIGHT, Lamp.HEAD, tag),
            _lamp(_face(nose, span(0.74, 0.83), (z0, z1)), AMBER, blink, tag),
            _lamp(_face(tail, span(0.50, 0.86), (mid, r1)), RED_LIGHT, Lamp.BRAKE, tag),
            _lamp(_face(tail, span(0.62, 0.86), (r0, mid)), AMBER, blink, tag),
            _lamp(_face(tail, span(0.50, 0.62), (r0, mid)), WHITE_LIGHT, Lamp.REVERSE, tag),
            _lamp(_face(tail, span(0.44, 0.50), (r0, r1)), (0.55, 0.02, 0.01), Lamp.TAIL, tag),
        ]
    return rows


def _trim(style: CarStyle, ex: float, ey: float, half: float, height: float, tag: int) -> list[Mesh]:
    """Grille, number plates, mirrors, wheel arches."""
    low = style.clearance * height
    nose = style.hood[1] * height
    rows = [
        quad(_face(ex + 0.003, (-0.42 * half, 0.42 * half), (low + 0.10, nose - 0.14)), DARK, tag),
        quad(_face(ex + 0.006, (-0.26, 0.26), (low + 0.13, low + 0.24)), (0.7, 0.7, 0.7), tag),
        quad(_face(-ex - 0.003, (-0.26, 0.26), (low + 0.20, low + 0.31)), (0.7, 0.7, 0.7), tag),
        quad(_face(-ex - 0.002, (-0.80 * half, 0.80 * half), (low + 0.07, low + 0.15)), DARK, tag),
    ]
    x = (style.screen[0] - 0.08) * ex
    z = style.belt * height
    rows.append(both_sides(box((x - 0.10, 0.93 * half, z - 0.02), (x + 0.06, ey, z + 0.13), WHITE, tag, flags=PAINT)))
    radius = style.wheel * height
    for axle in style.axles:
        arch = disc((axle * ex, half + 0.004, radius), (0, 1, 0), 1.16 * radius, DARK, tag, sides=12, span=(-25, 205))
        rows.append(both_sides(arch))
    return rows


def _doors(style: CarStyle, ex: float, half: float, height: float, tag: int) -> list[Limb]:
    """Door leaves that are drawn only while open, hinged at their front edge."""
    low, belt, top = style.clearance * height + 0.05, style.belt * height, 0.93 * height
    edges = [style.screen[0] - 0.04, (style.screen[0] + style.rear[0]) / 2 - 0.02, style.rear[0] - 0.02]
    limbs = []
    joints = ((Joint.DOOR_FR, Joint.DOOR_FL), (Joint.DOOR_RR, Joint.DOOR_RL))
    for k, (right, left) in enumerate(joints):
        length = (edges[k] - edges[k + 1]) * ex
        leaf = join(
            [
                box((-length, -0.06, low), (0, 0, belt), WHITE, tag, flags=PAINT),
                box((-length + 0.05, -0.05, belt), (-0.10, -0.03, top), GLASS_TINT, tag, kind=GLASS),
            ]
        )
        limbs.append(Limb(leaf, (edges[k] * ex, half, 0.0), right))
        limbs.append(Limb(leaf.moved(np.diag([1.0, -1.0, 1.0])), (edges[k] * ex, -half, 0.0), left))
    return limbs


def _light_bar(x: float, z: float, half: float, tag: int) -> Mesh:
    base = box((x - 0.14, -half, z - 0.13), (x + 0.14, half, z - 0.08), DARK, tag)
    red = box((x - 0.12, 0.05, z - 0.08), (x + 0.12, half, z), RED_LIGHT, tag, kind=LAMP, part=int(Lamp.RED))
    blue = box((x - 0.12, -half, z - 0.08), (x + 0.12, -0.05, z), BLUE_LIGHT, tag, kind=LAMP, part=int(Lamp.BLUE))
    return join([base, red, blue])


def car(style: CarStyle, extent: Size, tag: int, type_id: str = "") -> Shape:
    """A passenger car, van or microbus with its police, taxi and ambulance trims."""
    ex, ey, height = extent[0], extent[1], 2 * extent[2]
    roof_load = 0.13 if any(word in type_id for word in ("police", "ambulance", "crown")) else 0.0
    top = height - roof_load
    half = MIRROR_SHARE * ey
    cabin, faces = _cabin(style, ex - 0.01, half, top, tag)
    boxy = style in (VAN, MICROBUS)
    body = [_lower_body(style, ex - 0.01, half, top, tag), cabin]
    body += _windows(faces, tag, 3 if boxy or style is SUV else 2)
    body += _trim(style, ex - 0.01, ey, half, top, tag)
    lamps = (max(style.hood[1] - 0.15, style.clearance + 0.12) * top, (style.hood[1] - 0.05) * top)
    body += _lamps(ex - 0.006, half, lamps, ((style.tail - 0.20) * top, (style.tail - 0.055) * top), tag)
    stop = patch(faces["rear"], (0.4, 0.6), (0.91, 0.97), RED_LIGHT, tag, 0.01, kind=LAMP, part=int(Lamp.BRAKE))
    body.append(stop)
    body += _livery(type_id, style, ex, half, top, height, faces, tag)
    limbs = [Limb(join(body)), *_wheels(style, ex, 0.985 * half, top, tag), *_doors(style, ex, half, top, tag)]
    return Shape(tuple(limbs), _far_car(style, ex, ey, half, top, height, tag), _default_paint(type_id))


def _livery(
    type_id: str, style: CarStyle, ex: float, half: float, top: float, height: float, faces: dict[str, Array], tag: int
) -> list[Mesh]:
    """What tells services and special bodies apart."""
    rows: list[Mesh] = []
    middle = (style.screen[1] + style.rear[0]) / 2 * ex
    if "police" in type_id or "ambulance" in type_id:
        rows.append(_light_bar(middle if "police" in type_id else style.screen[1] * ex - 0.3, height, 0.62 * half, tag))
    if "crown" in type_id:
        rows.append(box((middle - 0.12, -0.3, top - 0.02), (middle + 0.12, 0.3, height), (0.9, 0.7, 0.1), tag))
    z0, z1 = 0.26 * top, 0.56 * top
    if "police" in type_id:
        door = [(0.34 * ex, half + 0.006, z0), (-0.42 * ex, half + 0.006, z0)]
        door += [(-0.42 * ex, half + 0.006, z1), (0.34 * ex, half + 0.006, z1)]
        rows.append(both_sides(quad(door[::-1], (0.85, 0.85, 0.85), tag)))
        rows[-1] = _outward_sides(rows[-1])
    if "ambulance" in type_id:
        stripe = [(0.9 * ex, half + 0.006, 0.34 * top), (-0.98 * ex, half + 0.006, 0.34 * top)]
        stripe += [(-0.98 * ex, half + 0.006, 0.42 * top), (0.9 * ex, half + 0.006, 0.42 * top)]
        rows.append(_outward_sides(both_sides(quad(stripe, (0.75, 0.04, 0.03), tag))))
        rows += [patch(faces[s], (0.45, 0.95), (0.10, 0.95), (0.85, 0.85, 0.85), tag, 0.012) for s in ("right", "left")]
        for s in ("right", "left"):
            rows.append(patch(faces[s], (0.66, 0.70), (0.25, 0.85), (0.75, 0.04, 0.03), tag, 0.02))
            rows.append(patch(faces[s], (0.60, 0.76), (0.47, 0.63), (0.75, 0.04, 0.03), tag, 0.02))
    elif "sprinter" in type_id:
        rows += [patch(faces[s], (0.36, 0.97), (0.06, 0.96), WHITE, tag, 0.012, flags=PAINT) for s in ("right", "left")]
    return rows


def _outward_sides(shape: Mesh) -> Mesh:
    """Turn side faces so that they look away from the middle plane."""
    inward = shape.normals[:, 1] * shape.pos.mean(axis=1)[:, 1] < 0
    shape.pos[inward] = shape.pos[inward][:, ::-1]
    return shape


def _far_car(style: CarStyle, ex: float, ey: float, half: float, top: float, height: float, tag: int) -> Mesh:
    """A car in some sixty triangles."""
    belt, low = style.belt * top, style.clearance * top
    a, b, c, d = (f * ex for f in (style.screen[0], style.screen[1], style.rear[0], style.rear[1]))
    foot, roof = 0.92 * half, style.roof * half
    body = frustum((-ex, -half, low), (ex, half, belt), WHITE, tag, (-0.98 * ex, 0.96 * ex, -foot, foot), flags=PAINT)
    ring = [
        np.array([(p, w, z), (q, w, z), (q, -w, z), (p, -w, z)])
        for p, q, w, z in ((a, d, foot, belt - 0.02), (b, c, roof, 0.97 * top))
    ]
    glass = loft(ring, GLASS_TINT, tag, kind=GLASS)
    lid = frustum((c, -roof, 0.95 * top), (b, roof, height), WHITE, tag, flags=PAINT)
    mirror = both_sides(box((a - 0.1 * ex, foot, belt), (a - 0.04 * ex, ey, belt + 0.13), WHITE, tag, flags=PAINT))
    radius = style.wheel * top
    tyres = _far_wheels(ex, 0.985 * half, radius, style.axles, tag)
    lamps = _lamps(
        ex,
        half,
        (low + 0.3 * (belt - low), low + 0.6 * (belt - low)),
        (low + 0.45 * (belt - low), low + 0.85 * (belt - low)),
        tag,
    )
    return join([body, glass, lid, mirror, *tyres, *lamps])


_PAINTS = (
    ("police", (30, 30, 34)),
    ("ambulance", (232, 232, 228)),
    ("firetruck", (196, 24, 18)),
    ("cybertruck", (170, 172, 176)),
    ("crown", (245, 200, 40)),
    ("carlacola", (206, 24, 28)),
    ("fusorosa", (224, 222, 214)),
)


def _default_paint(type_id: str) -> tuple[float, float, float]:
    for word, color in _PAINTS:
        if word in type_id:
            return linear(color)
    return linear((150, 152, 156))


def _box_wheels(ex: float, half: float, radius: float, axles: tuple[float, ...], tag: int) -> list[Limb]:
    right = wheel(radius, 0.30, tag)
    left = right.moved(np.diag([1.0, -1.0, 1.0]))
    limbs = []
    for k, axle in enumerate(axles):
        joint = Joint.STEER if k == 0 else Joint.ROLL
        limbs += [Limb(right, (axle * ex, half, radius), joint), Limb(left, (axle * ex, -half, radius), joint)]
    return limbs


def _far_wheels(ex: float, half: float, radius: float, axles: tuple[float, ...], tag: int) -> list[Mesh]:
    return [
        box((f * ex - radius, s * half - 0.15, 0), (f * ex + radius, s * half + 0.15, 1.7 * radius), RUBBER, tag)
        for f in axles
        for s in (-1, 1)
    ]


def _side_quad(x: tuple[float, float], y: float, z: tuple[float, float], color: Size, tag: int, **rest: int) -> Mesh:
    """The same rectangle on both sides of a body of half width `y`."""
    corners = [(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])]
    return _outward_sides(both_sides(quad(corners, color, tag, **rest)))


def truck(extent: Size, tag: int, type_id: str) -> Shape:
    """A cab and a box behind it: delivery truck, lorry or fire engine."""
    ex, ey, height = extent[0], extent[1], 2 * extent[2]
    half = 0.94 * ey
    fire = "firetruck" in type_id
    radius = min(0.52, 0.17 * height + 0.08)
    sill, cab_top = 0.62 * radius, height * (0.80 if fire else 0.86) if ex > 3.4 else height * 0.80
    cab_back = ex - min(2.2, 0.62 * ex)
    cab = frustum(
        (cab_back, -half, sill),
        (ex - 0.02, half, cab_top),
        WHITE,
        tag,
        (cab_back, ex - 0.22, -0.94 * half, 0.94 * half),
        flags=PAINT,
    )
    cargo_low = 1.5 * radius
    side = WHITE if fire or "carlacola" in type_id else (0.62, 0.62, 0.60)
    paint = PAINT if fire or "carlacola" in type_id else 0
    cargo_top = height - (0.30 if fire else 0.0)
    cargo = box((-ex, -ey, cargo_low), (cab_back - 0.12, ey, cargo_top), side, tag, flags=paint)
    frame = box((-ex + 0.1, -0.6 * half, 0.7 * radius), (cab_back, 0.6 * half, cargo_low), DARK, tag)
    z0, z1 = 0.56 * cab_top, 0.92 * cab_top
    slope = [(ex - 0.115, -0.86 * half, z0), (ex - 0.115, 0.86 * half, z0)]
    slope += [(ex - 0.195, 0.82 * half, z1), (ex - 0.195, -0.82 * half, z1)]
    screen = quad(np.array(slope) + np.array([0.02, 0.0, 0.0]), GLASS_TINT, tag, kind=GLASS)
    panes = _side_quad((cab_back + 0.5, ex - 0.3), half + 0.004, (z0, z1), GLASS_TINT, tag, kind=GLASS)
    grille = quad(_face(ex + 0.002 - 0.02, (-0.6 * half, 0.6 * half), (sill + 0.2, 0.40 * cab_top)), DARK, tag)
    mirror = both_sides(box((ex - 0.3, 0.94 * half, z0), (ex - 0.2, ey, z1), DARK, tag))
    rows = [cab, cargo, frame, screen, panes, grille, mirror]
    rows += _lamps(ex - 0.012, half, (sill + 0.12, sill + 0.32), (cargo_low - 0.28, cargo_low - 0.06), tag)
    rows.append(box((-ex + 0.001, -half, cargo_low - 0.3), (-ex + 0.08, half, cargo_low), DARK, tag))
    band = (cargo_low + 0.42 * (height - cargo_low), cargo_low + 0.58 * (height - cargo_low))
    if "carlacola" in type_id:
        rows.append(_side_quad((-0.9 * ex, cab_back - 0.5), ey + 0.004, band, (0.85, 0.85, 0.85), tag))
    if fire:
        rows.append(_side_quad((-0.97 * ex, cab_back - 0.2), ey + 0.004, band, (0.85, 0.78, 0.2), tag))
        rows.append(_light_bar(ex - 0.6, cab_top + 0.13, 0.7 * half, tag))
        for y in (-0.35, 0.35):
            rows.append(box((-ex, y - 0.04, height - 0.16), (cab_back - 0.2, y + 0.04, height), CHROME, tag))
        for x in np.arange(-ex + 0.2, cab_back - 0.3, 0.45):
            rows.append(box((x, -0.35, height - 0.12), (x + 0.05, 0.35, height - 0.05), CHROME, tag))
    axles = (0.74, -0.62) if ex < 4.2 else (0.74, -0.52, -0.74)
    limbs = [Limb(join(rows)), *_box_wheels(ex, 0.97 * half, radius, axles, tag)]
    far = join([*(row for row in rows if len(row) < 30), *_far_wheels(ex, 0.97 * half, radius, axles, tag)])
    return Shape(tuple(limbs), far, _default_paint(type_id))


def bus(extent: Size, tag: int, type_id: str) -> Shape:
    """A coach with a band of windows."""
    ex, ey, height = extent[0], extent[1], 2 * extent[2]
    half = 0.95 * ey
    radius = min(0.55, 0.14 * height)
    body = frustum(
        (-ex, -half, 0.6 * radius),
        (ex, half, height),
        WHITE,
        tag,
        (-0.99 * ex, 0.97 * ex, -0.92 * half, 0.92 * half),
        flags=PAINT,
    )
    z0, z1 = 0.50 * height, 0.80 * height
    at = half * (1 - 0.08 * 0.65) + 0.02
    rows = [body]
    edges = np.linspace(-0.94 * ex, 0.90 * ex, 8)
    for first, last in itertools.pairwise(edges):
        rows.append(_side_quad((first + 0.06, last - 0.06), at, (z0, z1), GLASS_TINT, tag, kind=GLASS))
    rows.append(
        _side_quad((-0.98 * ex, 0.96 * ex), half - 0.005, (0.34 * height, 0.40 * height), (0.05, 0.16, 0.42), tag)
    )
    rows.append(
        quad(
            _face(0.992 * ex, (-0.84 * half, 0.84 * half), (0.42 * height, 0.84 * height)), GLASS_TINT, tag, kind=GLASS
        )
    )
    rows.append(quad(_face(-0.998 * ex, (-0.7 * half, 0.7 * half), (z0, z1)), GLASS_TINT, tag, kind=GLASS))
    rows.append(quad(_face(0.988 * ex, (-0.6 * half, 0.6 * half), (0.87 * height, 0.95 * height)), AMBER, tag))
    rows.append(both_sides(box((0.9 * ex, 0.9 * half, 0.62 * height), (0.95 * ex, ey, 0.76 * height), DARK, tag)))
    rows += _lamps(ex, half, (0.20 * height, 0.26 * height), (0.26 * height, 0.38 * height), tag)
    limbs = [Limb(join(rows)), *_box_wheels(ex, half, radius, (0.62, -0.52), tag)]
    far = join([*rows, *_far_wheels(ex, half, radius, (0.62, -0.52), tag)])
    return Shape(tuple(limbs), far, _default_paint(type_id))


def two_wheeler(extent: Size, tag: int, type_id: str, motor: bool) -> Shape:
    """A bicycle or motorcycle with its rider."""
    ex, ey, height = extent[0], extent[1], 2 * extent[2]
    radius = min(0.36 if not motor else 0.32, 0.42 * ex)
    front, back = ex - radius, -ex + radius
    seat = (0.0 if motor else -0.08, 0.0, 0.46 * height if motor else 0.52 * height)
    bar_z = 0.60 * height if motor else 0.58 * height
    thick = 0.05 if motor else 0.022
    steering = (front - 0.22, 0.0, bar_z)
    crank = (0.0, 0.0, radius)
    rows = [
        tube((front, 0, radius), steering, thick, STEEL, tag, sides=6),
        tube(crank, steering, thick, WHITE, tag, sides=6, flags=PAINT),
        tube(crank, seat, thick, WHITE, tag, sides=6, flags=PAINT),
        tube((back, 0, radius), crank, thick, STEEL, tag, sides=6),
        tube((back, 0, radius), seat, thick, STEEL, tag, sides=6),
        tube((steering[0], -ey, bar_z), (steering[0], ey, bar_z), 0.018, DARK, tag, sides=6),
        box((seat[0] - 0.16, -0.08, seat[2] - 0.03), (seat[0] + 0.12, 0.08, seat[2] + 0.03), DARK, tag),
    ]
    if motor:
        rows += [
            blob((0.12, 0, 0.44 * height), (0.30, 0.15, 0.12), WHITE, tag, flags=PAINT),
            box((-0.24, -0.14, 0.16 * height), (0.24, 0.14, 0.34 * height), DARK, tag),
            blob((-0.36, 0, 0.48 * height), (0.30, 0.11, 0.07), WHITE, tag, flags=PAINT),
            quad(
                _face(front - 0.02, (-0.09, 0.09), (0.50 * height, 0.60 * height)),
                WHITE_LIGHT,
                tag,
                kind=LAMP,
                part=int(Lamp.HEAD),
            ),
            quad(
                _face(-0.68, (-0.09, 0.09), (0.47 * height, 0.53 * height)),
                RED_LIGHT,
                tag,
                kind=LAMP,
                part=int(Lamp.BRAKE),
            ),
        ]
    disk = join([_thin_wheel(radius, 0.10 if motor else 0.035, tag)])
    limbs = [
        Limb(join([*rows, rider(seat, (steering[0], 0.9 * ey, bar_z), crank, height)])),
        Limb(disk, (front, 0, radius), Joint.STEER),
        Limb(disk, (back, 0, radius), Joint.ROLL),
    ]
    frame = [row for row in rows if len(row) <= 12 or row.flags.any()]
    bar = tube((steering[0], -ey, bar_z), (steering[0], ey, bar_z), 0.03, DARK, tag, sides=3)
    discs = [
        two_sided(disc((x, 0, radius), (0, 1, 0), radius, (0.06, 0.06, 0.065), tag, sides=8)) for x in (front, back)
    ]
    far = join([*frame, bar, *discs, far_rider(seat, (steering[0], ey, bar_z), crank, height)])
    return Shape(tuple(limbs), far, linear((150, 40, 36)))


def _thin_wheel(radius: float, width: float, tag: int) -> Mesh:
    angle = np.linspace(0, 2 * np.pi, 17)
    ring = np.stack([np.cos(angle), np.zeros(17), np.sin(angle)], 1)
    outer, inner = radius * ring, 0.84 * radius * ring
    side = (0, width / 2, 0)
    rows = []
    for k in range(16):
        a, b, c, d = outer[k], outer[k + 1], inner[k + 1], inner[k]
        rows += [[a + side, b + side, c + side], [a + side, c + side, d + side]]
        rows += [[a - side, b - side, a + side], [b - side, b + side, a + side]]
        rows += [[a - side, c - side, b - side], [a - side, d - side, c - side]]
    spokes = [tube(inner[k], inner[k + 8], 0.008, STEEL, tag, sides=3, caps=False) for k in (0, 4)]
    return join([mesh(rows, RUBBER, tag, flags=1), *spokes])


def vehicle_shape(type_id: str, base_type: str, extent: Size) -> Shape:
    """The shape for a vehicle blueprint, filling a box of these half sizes that stands on the ground."""
    if base_type == "bicycle" or any(word in type_id for word in ("crossbike", "century", "omafiets")):
        return two_wheeler(extent, Tag.BICYCLE, type_id, motor=False)
    if base_type == "motorcycle" or any(word in type_id for word in ("harley", "kawasaki", "vespa", "yamaha")):
        return two_wheeler(extent, Tag.MOTORCYCLE, type_id, motor=True)
    if base_type == "bus" or "fusorosa" in type_id:
        return bus(extent, Tag.BUS, type_id)
    if any(word in type_id for word in ("carlacola", "hgv", "firetruck")):
        return truck(extent, Tag.TRUCK, type_id)
    style = next((row for word, row in CAR_STYLES if word in type_id), SEDAN)
    if base_type == "van" and style is SEDAN:
        style = VAN
    return car(style, extent, Tag.TRUCK if base_type == "truck" else Tag.CAR, type_id)
