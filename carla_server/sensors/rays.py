"""Rays through drawn views: which pixel a ray falls on says what it meets, that triangle's plane says exactly where."""

from __future__ import annotations

from dataclasses import dataclass

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
        pixels: (K,) int32, the pixel that each of them passes.
        sights: (6, K) for each of them: column and row where it passes the image, pixels; its direction in the camera frame;
            the length of that.
    """

    to_body: Array
    rays: NDArray[np.int64]
    width: int
    height: int
    focal: float
    pixels: NDArray[np.int32]
    sights: Array


def _face(
    directions: NDArray[np.float32], to_body: Array, rays: NDArray[np.int64], width: int, height: int, focal: float
) -> Face:
    """The view that serves some rows of the rays."""
    pixels, sights = np.empty(len(rays), np.int32), np.empty((6, len(rays)))
    _aim(directions, rays, to_body, width, height, focal, pixels, sights)
    return Face(to_body, rays, width, height, focal, pixels, sights)


@njit(**JIT)
def _aim(directions, rays, to_body, width, height, focal, pixels, sights):
    """Where rays pass an image; see `Face`."""
    for i in range(rays.size):
        ray = rays[i]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        x = to_body[0, 0] * dx + to_body[1, 0] * dy + to_body[2, 0] * dz
        y = to_body[0, 1] * dx + to_body[1, 1] * dy + to_body[2, 1] * dz
        z = to_body[0, 2] * dx + to_body[1, 2] * dy + to_body[2, 2] * dz
        px = 0.5 * width + focal * y / x
        py = 0.5 * height - focal * z / x
        pixels[i] = min(max(int(py), 0), height - 1) * width + min(max(int(px), 0), width - 1)
        sights[0, i], sights[1, i] = px, py
        sights[2, i], sights[3, i], sights[4, i] = x, y, z
        sights[5, i] = np.sqrt(x * x + y * y + z * z)


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
                faces.append(_face(directions, turn, rays, 2 * HALF_FACE + 4, height, float(HALF_FACE)))
    for sign in (1.0, -1.0):
        rays = np.flatnonzero(~level & (z * sign > 0))
        if len(rays):
            turn = np.array([[0.0, 0.0, -sign], [0.0, 1.0, 0.0], [sign, 0.0, 0.0]])
            size = 2 * (int(HALF_FACE / STEEP) + 2)
            faces.append(_face(directions, turn, rays, size, size, float(HALF_FACE)))
    return faces


@njit(inline="always", **JIT)
def _along(w, px, py, x, length, a, b, c):
    """Metres along a ray to the triangle that its pixel shows; `w` is the inverse depth of the pixel's middle."""
    exact = a * px + b * py + c
    # At grazing edges the plane continued by half a pixel may run away; the pixel's own depth is then the better one.
    return length / (x * (w if exact < 0.5 * w or exact > 2.0 * w else exact))


@njit(**JIT)
def _reach(ibuf, zbuf, plane, pixels, sights, rays, max_range, distance):
    """Distances alone; see `_sample`."""
    for i in range(rays.size):
        n = ibuf[pixels[i]]
        if n < 0:
            continue
        a, b, c = plane[n, 0], plane[n, 1], plane[n, 2]
        along = _along(zbuf[pixels[i]], sights[0, i], sights[1, i], sights[2, i], sights[5, i], a, b, c)
        if along <= max_range:
            distance[rays[i]] = along


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
    pixels,
    sights,
    rows,
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
        n = ibuf[pixels[i]]
        if n < 0:
            continue
        ray = rows[i]
        x, y, z, length = sights[2, i], sights[3, i], sights[4, i], sights[5, i]
        a, b, c = plane[n, 0], plane[n, 1], plane[n, 2]
        along = _along(zbuf[pixels[i]], sights[0, i], sights[1, i], x, length, a, b, c)
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
        face.pixels,
        face.sights,
        face.rays,
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


def reach_face(seen: Seen, face: Face, max_range: float, distance: NDArray[np.float32]) -> None:
    """Fill the rows of `distance`, as of `RayHits`, that belong to a face's rays and hit something."""
    _reach(seen.ibuf, seen.zbuf, seen.plane, face.pixels, face.sights, face.rays, max_range, distance)
