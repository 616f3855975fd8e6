"""Height of the ground under any point, fast enough for every wheel of every vehicle on every tick.

Heights are sampled once on a square grid and interpolated between its corners. Where roads pass over one another a
corner has no single height; it is then looked up in the network each time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.map import RoadMap, lookup

#: Distance between grid corners, metres. Kerbs become ramps of this length.
SPACING = 0.5
#: Corner states besides a height: several heights, off the network.
AMBIGUOUS, NOTHING = 2.0e30, 3.0e30
#: A second height this far from the first makes a corner ambiguous, metres.
LEVEL_GAP = 1.0

#: A network in the form the kernels take: grid of lane quads, then corner heights and their origin.
Field = tuple


class Ground:
    """Ground of one town; `field` is what kernels take.

    Args:
        road_map: The network.
    """

    def __init__(self, road_map: RoadMap) -> None:
        grid = road_map.lane_grid
        low = np.asarray(grid.origin, dtype=np.float64)
        size = np.array(grid.shape) * lookup.CELL
        corners: NDArray[np.float64] = np.full(tuple((size / SPACING).astype(int) + 2), NOTHING)
        sample_heights(np.ascontiguousarray(grid.quads), grid.lane, grid.height, grid.rank, low, corners)
        self.field: Field = (
            *(grid.origin, grid.shape, grid.starts, grid.members, np.ascontiguousarray(grid.quads), grid.lane),
            *(grid.height, grid.rank, np.ones(len(road_map.lanes), np.bool_), corners, low),
            np.ascontiguousarray(grid.s),
        )

    def height(self, x: float, y: float, z: float) -> float:
        """Height of the ground at (x, y) nearest to `z`, metres; nan off the network."""
        return float(height_at(self.field, x, y, z))


@njit(cache=True)
def sample_heights(quads, lane, height, rank, low, corners):
    """Write the height of every corner that lies on a lane; where lanes overlap, the lowest rank decides."""
    best = np.full(corners.shape, 1_000_000, np.int64)
    for q in range(len(quads)):
        first = np.floor((np.array((quads[q, :, 0].min(), quads[q, :, 1].min())) - low) / SPACING)
        last = np.ceil((np.array((quads[q, :, 0].max(), quads[q, :, 1].max())) - low) / SPACING)
        for ix in range(max(int(first[0]), 0), min(int(last[0]) + 1, corners.shape[0])):
            for iy in range(max(int(first[1]), 0), min(int(last[1]) + 1, corners.shape[1])):
                x, y = low[0] + ix * SPACING, low[1] + iy * SPACING
                hit, along, across = lookup.inside_quad(quads, q, x, y)
                if not hit:
                    continue
                near = quads[q, 0, 2] * (1 - across) + quads[q, 1, 2] * across
                far = quads[q, 3, 2] * (1 - across) + quads[q, 2, 2] * across
                ground = near * (1 - along) + far * along + height[q]
                kept = corners[ix, iy]
                if kept == AMBIGUOUS or (kept != NOTHING and abs(kept - ground) > LEVEL_GAP):
                    corners[ix, iy] = AMBIGUOUS
                elif rank[q] < best[ix, iy]:
                    best[ix, iy] = rank[q]
                    corners[ix, iy] = ground


@njit(cache=True)
def network_height(field, x, y, z):
    """Height looked up among the lanes; nan off the network."""
    origin, shape, starts, members, quads, lane, height, rank, allowed = field[:9]
    points = np.empty((1, 3))
    points[0, 0], points[0, 1], points[0, 2] = x, y, z
    found = np.empty((1, 4))
    lookup.find_quads(origin, shape, starts, members, quads, lane, height, rank, allowed, points, found, 100.0)
    return found[0, 3] if found[0, 0] >= 0.0 else np.nan


@njit(cache=True)
def height_at(field, x, y, z):
    """Height of the ground at (x, y) nearest to `z`, metres; nan off the network or for a point that is not finite."""
    height = plain_height(field[9], field[10], x, y)
    return network_height(field, x, y, z) if height == AMBIGUOUS else height


@njit(cache=True)
def plain_height(corners, low, x, y):
    """Height of the ground at (x, y) by the grid alone, metres; nan off the network, `AMBIGUOUS` near stacked roads."""
    gx, gy = (x - low[0]) / SPACING, (y - low[1]) / SPACING
    # Written so that NaN falls through to "nothing".
    if not (gx >= 0.0 and gy >= 0.0 and gx < corners.shape[0] - 1 and gy < corners.shape[1] - 1):
        return np.nan
    ix, iy = int(gx), int(gy)
    fx, fy = gx - ix, gy - iy
    near, far = corners[ix, iy], corners[ix + 1, iy]
    near_right, far_right = corners[ix, iy + 1], corners[ix + 1, iy + 1]
    if near < AMBIGUOUS and far < AMBIGUOUS and near_right < AMBIGUOUS and far_right < AMBIGUOUS:
        start = near + fy * (near_right - near)
        return start + fx * (far + fy * (far_right - far) - start)
    total, weight = 0.0, 0.0
    for dx in range(2):
        for dy in range(2):
            height = corners[ix + dx, iy + dy]
            if height == AMBIGUOUS:
                return AMBIGUOUS
            share = (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy)
            if height != NOTHING:
                total += share * height
                weight += share
    return total / weight if weight > 1.0e-9 else np.nan
