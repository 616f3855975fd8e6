"""Height of the ground under any point, fast enough for every wheel of every vehicle on every tick.

Heights are sampled on a square grid when they are first needed and interpolated between its corners. Where roads pass
over one another a corner has no single height; it is then looked up in the network each time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.map import RoadMap, lookup

#: Distance between grid corners, metres. Kerbs become ramps of this length.
SPACING = 0.5
#: Corner states besides a height: not looked up yet, several heights, off the network.
UNKNOWN, AMBIGUOUS, NOTHING = 1.0e30, 2.0e30, 3.0e30
#: A second height this far from the first makes a corner ambiguous, metres.
LEVEL_GAP = 1.0
#: Above and below everything, metres.
SKY_Z, DEEP_Z = 1.0e4, -1.0e4

#: A network in the form the kernels take: grid of lane quads, then corner heights and their origin.
Field = tuple


class Ground:
    """Ground of one town; `field` is what kernels take.

    Args:
        road_map: The network.
    """

    def __init__(self, road_map: RoadMap) -> None:
        grid = road_map._grid
        low = grid.origin
        size = np.array(grid.shape) * lookup.CELL
        corners: NDArray[np.float64] = np.full(tuple((size / SPACING).astype(int) + 2), UNKNOWN)
        self.field: Field = (
            *(grid.origin, grid.shape, grid.starts, grid.members, np.ascontiguousarray(grid.quads), grid.lane),
            *(grid.height, grid.rank, np.ones(len(road_map.lanes), np.bool_), corners, low.astype(np.float64)),
        )

    def height(self, x: float, y: float, z: float) -> float:
        """Height of the ground at (x, y) nearest to `z`, metres; nan off the network."""
        return float(height_at(self.field, x, y, z))


@njit(cache=True)
def network_height(field, x, y, z):  # type: ignore[no-untyped-def]
    """Height looked up among the lanes; nan off the network."""
    origin, shape, starts, members, quads, lane, height, rank, allowed = field[:9]
    points = np.empty((1, 3))
    points[0, 0], points[0, 1], points[0, 2] = x, y, z
    found = np.empty((1, 4))
    lookup.find_quads(origin, shape, starts, members, quads, lane, height, rank, allowed, points, found, 100.0)
    return found[0, 3] if found[0, 0] >= 0.0 else np.nan


@njit(cache=True)
def corner_height(field, ix, iy):  # type: ignore[no-untyped-def]
    """Height, or state, of a grid corner; looked up on first use."""
    corners, low = field[9], field[10]
    kept = corners[ix, iy]
    if kept != UNKNOWN:
        return kept
    x, y = low[0] + ix * SPACING, low[1] + iy * SPACING
    top = network_height(field, x, y, SKY_Z)
    bottom = network_height(field, x, y, DEEP_Z)
    if np.isnan(top):
        kept = NOTHING
    elif abs(top - bottom) > LEVEL_GAP:
        kept = AMBIGUOUS
    else:
        kept = network_height(field, x, y, bottom)
    corners[ix, iy] = kept
    return kept


@njit(cache=True)
def height_at(field, x, y, z):  # type: ignore[no-untyped-def]
    """Height of the ground at (x, y) nearest to `z`, metres; nan off the network or for a point that is not finite."""
    corners, low = field[9], field[10]
    gx, gy = (x - low[0]) / SPACING, (y - low[1]) / SPACING
    # Written so that NaN falls through to "nothing".
    if not (gx >= 0.0 and gy >= 0.0 and gx < corners.shape[0] - 1 and gy < corners.shape[1] - 1):
        return np.nan
    ix, iy = int(gx), int(gy)
    fx, fy = gx - ix, gy - iy
    total, weight = 0.0, 0.0
    for dx in range(2):
        for dy in range(2):
            height = corner_height(field, ix + dx, iy + dy)
            if height == AMBIGUOUS:
                return network_height(field, x, y, z)
            share = (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy)
            if height != NOTHING:
                total += share * height
                weight += share
    return total / weight if weight > 1.0e-9 else np.nan
