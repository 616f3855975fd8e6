"""Triangle meshes and the few solids everything visible is put together from.

A mesh lives in its own frame: x forward, y right, z up, metres. A triangle's outside is where the numeric cross product
of its first two edges points; closed solids are oriented so on construction. Colours are linear light, 0 to 1.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carla_server.sensors.raster import TWO_SIDED
from carla_server.sensors.shading import LIT
from carla_server.sensors.views import Tag

Array = NDArray[np.float64]
Color = tuple[float, float, float]
IDENTITY = np.eye(3)


@dataclass(eq=False)
class Mesh:
    """Triangles with what the kernels need to know of each.

    Attributes:
        pos: (T, 3, 3) corners, metres.
        rgb: (T, 3) albedo, or light where the kind shines by itself.
        kind: (T,) one of LIT, GROUND, LAMP, GLASS, GLOW.
        flags: (T,) bits TWO_SIDED and PAINT.
        part: (T,) lamp number, for LAMP.
        tex: (T,) texture number, -1 for none.
        uv: (T, 3, 2) texture coordinates; one unit is one repetition.
        tag: (T,) semantic tag.
        instance: (T,) instance number, 0 where the draw decides.
    """

    pos: NDArray[np.float32]
    rgb: NDArray[np.float32]
    kind: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    part: NDArray[np.uint8]
    tex: NDArray[np.int16]
    uv: NDArray[np.float32]
    tag: NDArray[np.uint8]
    instance: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.pos)

    @property
    def normals(self) -> NDArray[np.float32]:
        """(T, 3) unit outside normals."""
        cross = np.cross(self.pos[:, 1] - self.pos[:, 0], self.pos[:, 2] - self.pos[:, 0]).astype(np.float64)
        length = np.linalg.norm(cross, axis=1, keepdims=True)
        return (cross / np.maximum(length, 1e-12)).astype(np.float32)

    def moved(self, matrix: ArrayLike = IDENTITY, offset: ArrayLike = (0.0, 0.0, 0.0)) -> Mesh:
        """A copy with corners p mapped to matrix p + offset; a mirroring matrix keeps the outside outside."""
        matrix = np.asarray(matrix, dtype=np.float64)
        pos = self.pos @ matrix.T + np.asarray(offset)
        uv = self.uv
        if np.linalg.det(matrix) < 0:
            pos, uv = pos[:, ::-1], uv[:, ::-1]
        rest = {f.name: getattr(self, f.name) for f in fields(self)}
        rest |= {"pos": np.ascontiguousarray(pos, np.float32), "uv": np.ascontiguousarray(uv)}
        return Mesh(**rest)

    def taken(self, rows: NDArray[np.int64]) -> Mesh:
        """A copy with these triangles in this order."""
        return Mesh(**{f.name: np.ascontiguousarray(getattr(self, f.name)[rows]) for f in fields(self)})

    def fitted(self, low: ArrayLike, high: ArrayLike) -> Mesh:
        """A copy stretched so that it fills the box from `low` to `high` exactly."""
        mine_low, mine_high = self.pos.min(axis=(0, 1)), self.pos.max(axis=(0, 1))
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        scale = (high - low) / np.maximum(mine_high - mine_low, 1e-9)
        return self.moved(np.diag(scale), low - mine_low * scale)


def mesh(
    pos: ArrayLike,
    color: ArrayLike,
    tag: int = Tag.STATIC,
    *,
    kind: int = LIT,
    flags: int = 0,
    part: int = 0,
    tex: int = -1,
    uv: ArrayLike | None = None,
    instance: int = 0,
) -> Mesh:
    """A mesh of (T, 3, 3) triangles that share everything but their corners (and `color`, if it is (T, 3))."""
    points = np.asarray(pos, dtype=np.float32).reshape(-1, 3, 3)
    count = len(points)
    coordinates = np.zeros((count, 3, 2)) if uv is None else np.asarray(uv)
    return Mesh(
        pos=points,
        rgb=np.broadcast_to(np.asarray(color, np.float32), (count, 3)).copy(),
        kind=np.full(count, kind, np.uint8),
        flags=np.full(count, flags, np.uint8),
        part=np.full(count, part, np.uint8),
        tex=np.full(count, tex, np.int16),
        uv=coordinates.astype(np.float32),
        tag=np.full(count, int(tag), np.uint8),
        instance=np.full(count, instance, np.int32),
    )


def join(parts: Iterable[Mesh]) -> Mesh:
    """All triangles of several meshes in one."""
    rows = list(parts)
    if not rows:
        return mesh(np.zeros((0, 3, 3)), (0.0, 0.0, 0.0))
    return Mesh(**{f.name: np.concatenate([getattr(row, f.name) for row in rows]) for f in fields(Mesh)})


def outward(triangles: Array, center: ArrayLike) -> Array:
    """Turn triangles so that none faces a point inside the solid."""
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    inside = ((triangles.mean(axis=1) - np.asarray(center)) * cross).sum(axis=1) < 0
    triangles = triangles.copy()
    triangles[inside] = triangles[inside][:, ::-1]
    return triangles


def quad(corners: ArrayLike, color: ArrayLike, tag: int = Tag.STATIC, uv: ArrayLike | None = None, **rest: int) -> Mesh:
    """A flat four-cornered face; its outside follows the order of its corners, as for a triangle."""
    c = np.asarray(corners, dtype=np.float64)
    t = None if uv is None else np.asarray(uv, dtype=np.float64)
    return mesh(
        [c[[0, 1, 2]], c[[0, 2, 3]]], color, tag, uv=None if t is None else [t[[0, 1, 2]], t[[0, 2, 3]]], **rest
    )


_CUBE_FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def box(low: Sequence[float], high: Sequence[float], color: ArrayLike, tag: int = Tag.STATIC, **rest: int) -> Mesh:
    """An axis-aligned box."""
    return frustum(low, high, color, tag, None, **rest)


def frustum(
    low: Sequence[float],
    high: Sequence[float],
    color: ArrayLike,
    tag: int = Tag.STATIC,
    top: tuple[float, float, float, float] | None = None,
    **rest: int,
) -> Mesh:
    """A box whose upper face may differ: `top` is (x low, x high, y low, y high) there."""
    x0, x1, y0, y1 = (low[0], high[0], low[1], high[1]) if top is None else top
    corners = np.array(
        [[(low[0], high[0])[i], (low[1], high[1])[j], low[2]] for i in (0, 1) for j in (0, 1)]
        + [[(x0, x1)[i], (y0, y1)[j], high[2]] for i in (0, 1) for j in (0, 1)]
    )[[0, 4, 1, 5, 2, 6, 3, 7]]
    triangles = [corners[list(face)][pick] for face in _CUBE_FACES for pick in ([0, 1, 2], [0, 2, 3])]
    return mesh(outward(np.array(triangles), corners.mean(axis=0)), color, tag, **rest)


def tube(
    start: ArrayLike,
    end: ArrayLike,
    radius: float,
    color: ArrayLike,
    tag: int = Tag.STATIC,
    *,
    sides: int = 8,
    end_radius: float | None = None,
    caps: bool = True,
    **rest: int,
) -> Mesh:
    """A cylinder or cone between two points."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    axis = (b - a) / np.linalg.norm(b - a)
    side = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    angle = np.arange(sides) * (2 * np.pi / sides)
    ring = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other
    low = a + radius * ring
    high = b + (radius if end_radius is None else end_radius) * ring
    after = np.roll(np.arange(sides), -1)
    triangles = [np.stack([low, low[after], high[after]], 1), np.stack([low, high[after], high], 1)]
    if caps:
        triangles += [
            np.stack([np.broadcast_to(a, low.shape), low[after], low], 1),
            np.stack([np.broadcast_to(b, high.shape), high, high[after]], 1),
        ]
    solid = np.concatenate(triangles)
    area = np.linalg.norm(np.cross(solid[:, 1] - solid[:, 0], solid[:, 2] - solid[:, 0]), axis=1)
    return mesh(outward(solid[area > 1e-10], (a + b) / 2), color, tag, **rest)


def disc(
    center: ArrayLike,
    normal: ArrayLike,
    radius: float,
    color: ArrayLike,
    tag: int = Tag.STATIC,
    *,
    sides: int = 12,
    span: tuple[float, float] = (0.0, 360.0),
    **rest: int,
) -> Mesh:
    """A flat disc, or the part of one between two angles (degrees from horizontal), facing `normal`."""
    axis = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    side = np.cross((0.0, 0.0, 1.0), axis) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    angle = np.radians(np.linspace(span[0], span[1], sides + 1))
    middle = np.asarray(center, dtype=np.float64)
    rim = middle + radius * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other)
    triangles = np.stack([np.broadcast_to(middle, rim[1:].shape), rim[:-1], rim[1:]], 1)
    return mesh(outward(triangles, middle - axis), color, tag, **rest)


def blob(
    center: ArrayLike,
    radii: ArrayLike,
    color: ArrayLike,
    tag: int = Tag.STATIC,
    *,
    detail: int = 1,
    rough: float = 0.0,
    seed: int = 0,
    **rest: int,
) -> Mesh:
    """An ellipsoid of 20 * 4**detail triangles whose corners are moved in and out by up to the share `rough`."""
    points, faces = _sphere(detail)
    shift = 1.0 + rough * np.random.default_rng(seed).uniform(-1, 1, (len(points), 1))
    corners = np.asarray(center) + points * shift * np.asarray(radii)
    return mesh(outward(corners[faces], center), color, tag, **rest)


@functools.lru_cache(maxsize=4)
def _sphere(detail: int) -> tuple[Array, NDArray[np.int64]]:
    """Unit icosahedron, its faces divided `detail` times: points (P, 3) and faces (F, 3)."""
    g = (1 + 5**0.5) / 2
    points = [np.roll((0.0, s, t * g), k) for k in range(3) for s in (-1, 1) for t in (-1, 1)]
    unit = np.array(points) / np.hypot(1, g)
    near = np.linalg.norm(unit[:, None] - unit, axis=2) < 1.2
    faces: list[tuple[int, ...]] = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    for _ in range(detail):
        table: dict[tuple[int, int], int] = {}
        rows = list(unit)
        divided = []
        for i, j, k in faces:
            mids = []
            for a, b in ((i, j), (j, k), (k, i)):
                key = (min(a, b), max(a, b))
                if key not in table:
                    table[key] = len(rows)
                    rows.append((rows[a] + rows[b]) / np.linalg.norm(rows[a] + rows[b]))
                mids.append(table[key])
            divided += [(i, mids[0], mids[2]), (j, mids[1], mids[0]), (k, mids[2], mids[1]), tuple(mids)]
        unit, faces = np.array(rows), divided
    return unit, np.array(faces)


def loft(rings: Sequence[ArrayLike], color: ArrayLike, tag: int = Tag.STATIC, *, cap: bool = True, **rest: int) -> Mesh:
    """Skin over closed rings of equally many points (K, 3), with fans closing the first and the last."""
    layers = [np.asarray(ring, dtype=np.float64) for ring in rings]
    after = np.roll(np.arange(len(layers[0])), -1)
    triangles = []
    for low, high in itertools.pairwise(layers):
        triangles += [np.stack([low, low[after], high[after]], 1), np.stack([low, high[after], high], 1)]
    if cap:
        for ring in (layers[0], layers[-1]):
            middle = np.broadcast_to(ring.mean(axis=0), ring.shape)
            triangles.append(np.stack([middle, ring, ring[after]], 1))
    solid = np.concatenate(triangles)
    area = np.linalg.norm(np.cross(solid[:, 1] - solid[:, 0], solid[:, 2] - solid[:, 0]), axis=1)
    return mesh(outward(solid[area > 1e-9], np.concatenate(layers).mean(axis=0)), color, tag, **rest)


def two_sided(shape: Mesh) -> Mesh:
    """A copy visible and lit from both sides."""
    copy = shape.moved()
    copy.flags = copy.flags | np.uint8(TWO_SIDED)
    return copy


def polygon(corners: ArrayLike, color: ArrayLike, tag: int = Tag.STATIC, **rest: int) -> Mesh:
    """A flat convex face."""
    c = np.asarray(corners, dtype=np.float64)
    return mesh([c[[0, i, i + 1]] for i in range(1, len(c) - 1)], color, tag, **rest)
