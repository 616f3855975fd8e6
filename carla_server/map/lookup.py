"""Finds the lane under a point: quads of lane surface in a uniform grid, searched by compiled code.

Every lane is a strip of quads between consecutive samples. A query looks at the quads whose bounding boxes touch its
grid cell, so its cost does not depend on the size of the town.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.map.opendrive import Array
from carla_server.map.records import Lane

Ints = NDArray[np.int64]

#: Edge of a grid cell, metres.
CELL = 8.0


@dataclass(frozen=True, eq=False)
class LaneGrid:
    """Quads of all lanes, sorted into grid cells.

    Attributes:
        origin: (2,) corner of the grid, metres.
        shape: Cells along x and y.
        starts: (cells + 1,) where each cell's list begins in `members`.
        members: Quad numbers, cell after cell.
        quads: (Q, 4, 3) corners: inner and outer at the first sample, outer and inner at the second.
        lane: (Q,) lane index.
        s: (Q, 2) distance along the road at both ends.
        height: (Q,) kerb height, metres.
        rank: (Q,) order of preference of the lane's type, lower first.
    """

    origin: Array
    shape: tuple[int, int]
    starts: Ints
    members: Ints
    quads: Array
    lane: Ints
    s: Array
    height: Array
    rank: Ints


#: Which lane a point belongs to where lanes of several types overlap at one height (junctions): lowest first.
TYPE_RANK = {"driving": 0, "parking": 1, "biking": 1, "shoulder": 2, "sidewalk": 3}
OTHER_RANK = 4


def build_grid(lanes: Sequence[Lane]) -> LaneGrid:
    """Sort the quads of `lanes` into grid cells."""
    quads, owner, s, height, rank = [], [], [], [], []
    for lane in lanes:
        count = len(lane.s) - 1
        quads.append(np.stack((lane.inner[:-1], lane.outer[:-1], lane.outer[1:], lane.inner[1:]), axis=1))
        owner.append(np.full(count, lane.index))
        s.append(np.stack((lane.s[:-1], lane.s[1:]), axis=1))
        height.append(np.full(count, lane.height))
        rank.append(np.full(count, TYPE_RANK.get(lane.type, OTHER_RANK)))
    corners = np.concatenate(quads)
    low, high = corners[:, :, :2].min(axis=1), corners[:, :, :2].max(axis=1)
    origin = low.min(axis=0) - CELL
    shape = tuple((np.ceil((high.max(axis=0) - origin) / CELL).astype(int) + 1).tolist())
    starts, members = sort_into_cells(
        ((low - origin) // CELL).astype(int), ((high - origin) // CELL).astype(int), shape
    )
    return LaneGrid(
        origin=origin,
        shape=shape,
        starts=starts,
        members=members,
        quads=np.ascontiguousarray(corners),
        lane=np.concatenate(owner).astype(np.int64),
        s=np.concatenate(s),
        height=np.concatenate(height),
        rank=np.concatenate(rank).astype(np.int64),
    )


def sort_into_cells(low: Ints, high: Ints, shape: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Note things in every cell of a grid that they reach into.

    Args:
        low, high: (N, 2) first and last cell of each thing along x and y.
        shape: Cells along x and y.

    Returns:
        (cells + 1,) where each cell's things begin in the second array, cells counted along y first; their numbers.
    """
    cells: list[list[int]] = [[] for _ in range(shape[0] * shape[1])]
    for quad, ((x0, y0), (x1, y1)) in enumerate(zip(low.tolist(), high.tolist())):
        for ix in range(x0, x1 + 1):
            for iy in range(y0, y1 + 1):
                cells[ix * shape[1] + iy].append(quad)
    starts = np.zeros(len(cells) + 1, dtype=np.int64)
    starts[1:] = np.cumsum([len(cell) for cell in cells])
    members = np.fromiter((quad for cell in cells for quad in cell), dtype=np.int64, count=int(starts[-1]))
    return starts, members


@njit(cache=True)
def inside_quad(quads, q, x, y):
    """Whether the point (x, y) lies in quad `q`, and if so how far along and across it, as fractions."""
    ax, ay = quads[q, 0, 0], quads[q, 0, 1]
    bx, by = quads[q, 1, 0], quads[q, 1, 1]
    cx, cy = quads[q, 2, 0], quads[q, 2, 1]
    dx, dy = quads[q, 3, 0], quads[q, 3, 1]
    # Signed distances (times edge length) to start, outer, end and inner edge; equal signs mean inside.
    start = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    outer = (cx - bx) * (y - by) - (cy - by) * (x - bx)
    end = (dx - cx) * (y - cy) - (dy - cy) * (x - cx)
    inner = (ax - dx) * (y - dy) - (ay - dy) * (x - dx)
    tiny = 1e-9
    positive = start >= -tiny and outer >= -tiny and end >= -tiny and inner >= -tiny
    negative = start <= tiny and outer <= tiny and end <= tiny and inner <= tiny
    if not (positive or negative):
        return False, 0.0, 0.0
    first, last = np.hypot(bx - ax, by - ay), np.hypot(dx - cx, dy - cy)
    along0 = abs(start) / first if first > tiny else 0.0
    along1 = abs(end) / last if last > tiny else 0.0
    if first <= tiny:
        along0 = np.hypot(x - ax, y - ay)
    if last <= tiny:
        along1 = np.hypot(x - cx, y - cy)
    across0 = abs(inner) / max(np.hypot(ax - dx, ay - dy), tiny)
    across1 = abs(outer) / max(np.hypot(cx - bx, cy - by), tiny)
    along = along0 / (along0 + along1) if along0 + along1 > tiny else 0.0
    across = across0 / (across0 + across1) if across0 + across1 > tiny else 0.5
    return True, along, across


@njit(cache=True)
def find_quads(origin, shape, starts, members, quads, lane, height, rank, allowed, points, found, z_weight):
    """Best quad under each point.

    Writes one row per point into `found` (N, 4): quad number or -1, fraction along, fraction across from the inner
    border, ground height. Candidates are compared by height difference beyond 0.5 m, then type rank, then by how
    near the middle of the lane the point is.
    """
    nx, ny = shape
    for row in range(points.shape[0]):
        x, y, z = points[row, 0], points[row, 1], points[row, 2]
        found[row, 0] = -1.0
        cell_x, cell_y = np.floor((x - origin[0]) / CELL), np.floor((y - origin[1]) / CELL)
        # Written so that NaN falls through to "nothing found".
        if not (cell_x >= 0 and cell_y >= 0 and cell_x < nx and cell_y < ny):
            continue
        cell = int(cell_x) * ny + int(cell_y)
        best = np.inf
        for m in range(starts[cell], starts[cell + 1]):
            q = members[m]
            if not allowed[lane[q]]:
                continue
            hit, along, across = inside_quad(quads, q, x, y)
            if not hit:
                continue
            near = quads[q, 0, 2] * (1 - across) + quads[q, 1, 2] * across
            far = quads[q, 3, 2] * (1 - across) + quads[q, 2, 2] * across
            ground = near * (1 - along) + far * along + height[q]
            above = abs(z - ground) - 0.5
            cost = z_weight * max(above, 0.0) + rank[q] + abs(across - 0.5)
            if cost < best:
                best = cost
                found[row, 0], found[row, 1], found[row, 2], found[row, 3] = q, along, across, ground


@njit(cache=True)
def nearest_quads(quads, lane, allowed, points, found):
    """Nearest point on any allowed lane's middle line, by brute force over all quads.

    Writes (quad, fraction along, distance in x and y) per point. For rare questions, not for every tick.
    """
    for row in range(points.shape[0]):
        x, y, z = points[row, 0], points[row, 1], points[row, 2]
        best = np.inf
        found[row, 0] = -1.0
        for q in range(quads.shape[0]):
            if not allowed[lane[q]]:
                continue
            ax, ay = 0.5 * (quads[q, 0, 0] + quads[q, 1, 0]), 0.5 * (quads[q, 0, 1] + quads[q, 1, 1])
            bx, by = 0.5 * (quads[q, 2, 0] + quads[q, 3, 0]), 0.5 * (quads[q, 2, 1] + quads[q, 3, 1])
            length2 = (bx - ax) ** 2 + (by - ay) ** 2
            along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2 if length2 > 1e-12 else 0.0
            along = min(max(along, 0.0), 1.0)
            distance2 = (ax + along * (bx - ax) - x) ** 2 + (ay + along * (by - ay) - y) ** 2
            dz = z - 0.25 * (quads[q, 0, 2] + quads[q, 1, 2] + quads[q, 2, 2] + quads[q, 3, 2])
            cost = distance2 + max(abs(dz) - 2.0, 0.0) ** 2
            if cost < best:
                best = cost
                found[row, 0], found[row, 1], found[row, 2] = q, along, np.sqrt(distance2)
