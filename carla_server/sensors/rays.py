"""Rays through drawn views: which pixel a ray falls on says what it meets, that triangle's plane says exactly where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.sensors.ground import GroundImage, texel_tags
from carla_server.sensors.meshes import Mesh
from carla_server.sensors.raster import JIT
from carla_server.sensors.shading import GROUND, ground_tag
from carla_server.sensors.views import RayHits
from carla_server.sensors.visibility import Seen

Array = NDArray[np.float64]

HALF_FACE = 256  # pixels from the middle to the edge of a quarter turn: a fifth to a third of a degree each
STEEP = 2.0  # rays steeper than this slope go to the faces above and below
BINS = 72


@dataclass(frozen=True, eq=False)
class Face:
    """One drawn view of a ray bundle.

    Attributes:
        to_body: (3, 3) from the face's camera frame to the caster's frame.
        rays: (K,) int64 rows of the rays that it serves.
        width, height: Pixels.
        focal: Pixels.
    """

    to_body: Array
    rays: NDArray[np.int64]
    width: int
    height: int
    focal: float

    def among(self, kept: NDArray[np.int64], count: int) -> Face:
        """The same view for a bundle of which only the rows `kept` (M,), ascending, of `count` are sent."""
        row_of = np.full(count, -1, np.int64)
        row_of[kept] = np.arange(len(kept))
        rows = row_of[self.rays]
        return replace(self, rays=rows[rows >= 0])


def _about_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _first_azimuth(azimuth: Array) -> float:
    """Where a fan of rays begins: behind the widest empty sector, so that few faces are needed."""
    full = np.zeros(BINS, bool)
    full[((azimuth + np.pi) / (2 * np.pi) * BINS).astype(int) % BINS] = True
    if full.all():
        return -np.pi
    best, start = 0, 0
    for k in range(BINS):
        if full[k] and not full[k - 1]:
            empty = 0
            while not full[(k - 1 - empty) % BINS]:
                empty += 1
            if empty > best:
                best, start = empty, k
    return -np.pi + start * 2 * np.pi / BINS


def faces_for(directions: NDArray[np.float32]) -> list[Face]:
    """Views that together hold every ray.

    Args:
        directions: (N, 3) in the caster's frame.
    """
    x, y, z = (directions[:, k].astype(np.float64) for k in range(3))
    flat = np.hypot(x, y)
    level = np.abs(z) <= STEEP * flat
    faces = []
    if level.any():
        azimuth = np.arctan2(y, x)
        start = _first_azimuth(azimuth[level])
        quarter = np.where(level, (np.mod(azimuth - start, 2 * np.pi) // (np.pi / 2)).astype(int), -1)
        for k in range(4):
            rays = np.flatnonzero(quarter == k)
            if len(rays):
                turn = _about_z(start + (k + 0.5) * np.pi / 2)
                local = directions[rays] @ turn
                rise = float(np.abs(local[:, 2] / local[:, 0]).max())
                height = 2 * (int(np.ceil(rise * HALF_FACE)) + 2)
                faces.append(Face(turn, rays, 2 * HALF_FACE + 4, height, float(HALF_FACE)))
    for sign in (1.0, -1.0):
        rays = np.flatnonzero(~level & (z * sign > 0))
        if len(rays):
            turn = np.array([[0.0, 0.0, -sign], [0.0, 1.0, 0.0], [sign, 0.0, 0.0]])
            size = 2 * (int(HALF_FACE / STEEP) + 2)
            faces.append(Face(turn, rays, size, size, float(HALF_FACE)))
    return faces


@njit(**JIT)
def _sample(
    ibuf,
    zbuf,
    src,
    drw,
    plane,
    width,
    height,
    focal,
    rays,
    rows,
    to_body,
    to_world,
    eye,
    max_range,
    shape,
    draws,
    ground,
    distance,
    tag,
    instance,
    cosine,
):
    kind, tex, tags, instances = shape
    draw_tag, draw_instance = draws
    texels, levels, texel_tag = ground
    for i in range(rows.size):
        ray = rows[i]
        dx, dy, dz = rays[ray, 0], rays[ray, 1], rays[ray, 2]
        x = to_body[0, 0] * dx + to_body[1, 0] * dy + to_body[2, 0] * dz
        y = to_body[0, 1] * dx + to_body[1, 1] * dy + to_body[2, 1] * dz
        z = to_body[0, 2] * dx + to_body[1, 2] * dy + to_body[2, 2] * dz
        px = 0.5 * width + focal * y / x
        py = 0.5 * height - focal * z / x
        column = min(max(int(px), 0), width - 1)
        row = min(max(int(py), 0), height - 1)
        at = row * width + column
        n = ibuf[at]
        if n < 0:
            continue
        a, b, c = plane[n, 0], plane[n, 1], plane[n, 2]
        w = a * px + b * py + c
        seen = zbuf[at]
        # At grazing edges the plane continued by half a pixel may run away; the pixel's own depth is then the better one.
        if w < 0.5 * seen or w > 2.0 * seen:
            w = seen
        length = np.sqrt(x * x + y * y + z * z)
        along = length / (x * w)
        if along > max_range:
            continue
        t, d = src[n], drw[n]
        nx, ny, nz = c + a * 0.5 * width + b * 0.5 * height, a * focal, -b * focal
        norm = np.sqrt(nx * nx + ny * ny + nz * nz)
        value = draw_tag[d] if draw_tag[d] != 0 else tags[t]
        if kind[t] == GROUND:
            gx = eye[0] + along * (to_world[0, 0] * x + to_world[0, 1] * y + to_world[0, 2] * z) / length
            gy = eye[1] + along * (to_world[1, 0] * x + to_world[1, 1] * y + to_world[1, 2] * z) / length
            value = ground_tag(gx, gy, texels, levels[tex[t]], texel_tag)
        distance[ray] = along
        tag[ray] = value
        instance[ray] = draw_instance[d] if draw_instance[d] != 0 else instances[t]
        cosine[ray] = min(abs(nx * x + ny * y + nz * z) / (norm * length), 1.0)


def sample_face(
    seen: Seen,
    face: Face,
    shape: Mesh,
    ground: GroundImage,
    directions: NDArray[np.float32],
    max_range: float,
    hits: RayHits,
) -> None:
    """Fill the rows of `hits` that belong to a face's rays."""
    _sample(
        seen.ibuf,
        seen.zbuf,
        seen.src,
        seen.drw,
        seen.plane,
        face.width,
        face.height,
        face.focal,
        directions,
        face.rays,
        face.to_body,
        np.ascontiguousarray(seen.view.matrix[:, :3].T),
        seen.view.eye,
        max_range,
        (shape.kind, shape.tex, shape.tag, shape.instance),
        (seen.draws.tags, seen.draws.instances),
        (ground.texels, ground.levels, texel_tags()),
        hits.distance,
        hits.tag,
        hits.instance,
        hits.cos_incidence,
    )
