"""Everything of a town that never moves: its ground, and its triangles in chunks.

The ground is a surface per lane with open ground around; its colours come from the ground image. Triangles are sorted
into chunks by place, so that a view draws only what it may see.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap, nearest
from carla_server.sensors.ground import upper_roads
from carla_server.sensors.meshes import Mesh, join, mesh
from carla_server.sensors.raster import TWO_SIDED
from carla_server.sensors.shading import GROUND
from carla_server.sensors.town import Placement
from carla_server.sensors.views import Tag

Array = NDArray[np.float64]

DROP = 0.04  # metres that open ground lies below the lanes, so that lanes win the depth test
DECK = 1.0  # metres that a bridge is thick
HILLY_DROP = 0.08  # the same where ground and lanes are curved
LEVELS_APART = 3.0  # metres between heights that belong to different levels of road
SKIRT = 0.8  # metres that the outer edge of a road reaches down
CELL = 24.0  # metres along the side of a chunk
FAR_GROUND = 300.0  # metres of open ground around the town
FLAT_CELL, HILLY_CELL = 40.0, 12.0  # metres
WHITE = (1.0, 1.0, 1.0)


def _strip_triangles(first: Array, second: Array) -> Array:
    """(2 N - 2, 3, 3) triangles between two polylines, facing up."""
    a, b, c, d = first[:-1], first[1:], second[1:], second[:-1]
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    down = cross[:, 2] < 0
    triangles[down] = triangles[down][:, ::-1]
    return triangles


def lane_meshes(road_map: RoadMap) -> tuple[Mesh, Mesh]:
    """Carriageways, sidewalks and the undersides of bridges; and their low walls: kerb faces and outer skirts."""
    upper = upper_roads(road_map)
    level: tuple[list[Array], list[Array]] = ([], [])
    walls, below = [], []
    flat = is_flat(road_map)
    for lane in road_map.lanes:
        if len(lane.inner) < 2:
            continue
        lift = np.array([0.0, 0.0, lane.height])
        inner, outer = lane.inner + lift, lane.outer + lift
        above = lane.key.road in upper
        level[above].append(_strip_triangles(inner, outer))
        if lane.height > 0.01:
            walls.append(_wall_triangles(lane.inner, inner))
        drop = np.array([0.0, 0.0, DECK if above else SKIRT])
        if lane.height > 0.01 or not flat:
            walls.append(_wall_triangles(outer - drop, outer))
        if above:
            below.append(_strip_triangles(lane.inner - drop, lane.outer - drop)[:, ::-1])
    parts = [
        mesh(np.concatenate(rows), WHITE, Tag.ROADS, kind=GROUND, tex=image) for image, rows in enumerate(level) if rows
    ]
    if below:
        parts.append(mesh(np.concatenate(below), (0.30, 0.30, 0.29), Tag.BRIDGE))
    triangles = np.concatenate(walls) if walls else np.zeros((0, 3, 3))
    return join(parts), mesh(triangles, (0.36, 0.35, 0.33), Tag.SIDEWALKS, flags=TWO_SIDED)


def is_flat(road_map: RoadMap) -> bool:
    """Whether all roads of a town lie on one level."""
    heights = np.concatenate([lane.center[:, 2] for lane in road_map.lanes])
    return bool(np.ptp(heights) < 0.05)


def _wall_triangles(low: Array, high: Array) -> Array:
    a, b, c, d = low[:-1], low[1:], high[1:], high[:-1]
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def terrain_mesh(road_map: RoadMap) -> Mesh:
    """Open ground: level under flat towns, following the lowest road nearby elsewhere."""
    points = np.concatenate([np.concatenate([lane.inner, lane.outer]) for lane in road_map.lanes])
    low, high = points[:, :2].min(axis=0) - FAR_GROUND, points[:, :2].max(axis=0) + FAR_GROUND
    flat = is_flat(road_map)
    cell = FLAT_CELL if flat else HILLY_CELL
    xs, ys = (np.arange(low[k], high[k] + cell, cell) for k in (0, 1))
    gx, gy = np.meshgrid(xs, ys)
    if flat:
        gz = np.full(gx.shape, points[:, 2].min() - DROP)
    else:
        gz = _hill_heights(points, np.stack([gx.ravel(), gy.ravel()], 1), cell).reshape(gx.shape) - HILLY_DROP
    grid = np.stack([gx, gy, gz], -1)
    a, b, c, d = (
        grid[i : i - 1 or None, j : j - 1 or None].reshape(-1, 3) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))
    )
    return mesh(
        np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), WHITE, Tag.TERRAIN, kind=GROUND, tex=0
    )


def _hill_heights(points: Array, at: Array, cell: float) -> Array:
    """Height of open ground at (M, 2) grid points: level with the road edges (N, 3) around it.

    Between roads it is interpolated, away from all roads it fades to the town's middle height. Where roads pass above
    each other it follows the lowest.
    """
    from scipy.interpolate import LinearNDInterpolator  # slow to import, and only new towns are built

    tree = nearest.tree(points[:, :2])
    near, index = tree.query(at)
    thin = points[np.unique(np.round(points[:, :2] / 2.0).astype(np.int64), axis=0, return_index=True)[1]]
    heights = LinearNDInterpolator(thin[:, :2], thin[:, 2])(at)
    heights = np.where(np.isfinite(heights), heights, points[index, 2])
    for i in np.flatnonzero(near < 1.5 * cell):
        around = points[tree.query_ball_point(at[i], 1.5 * cell), 2]
        if np.ptp(around) > LEVELS_APART:
            heights[i] = around.min()
    fade = np.clip((near - 60.0) / 150.0, 0, 1)
    return heights * (1 - fade) + float(np.median(points[:, 2])) * fade


@dataclass(frozen=True, eq=False)
class Chunks:
    """Static triangles sorted into ranges that are drawn or skipped together.

    Attributes:
        shape: All triangles.
        starts, ends: (C,) int64 ranges.
        center, half: (C, 3) middle and half size of the bounds, metres.
        radius: (C,) half diagonal of the bounds, metres.
        pivot: (C, 2) middle of the square of the town a chunk belongs to; distances are measured to it, so that the
            near and the far version of a thing change over together.
        first, reach: (C,) distances between which a chunk is drawn, metres.
        night: (C,) whether only darkness shows it.
    """

    shape: Mesh
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    center: Array
    half: Array
    radius: Array
    pivot: Array
    first: Array
    reach: Array
    night: NDArray[np.bool_]


def chunked(parts: list[tuple[Mesh, Placement]], cell: float = CELL) -> Chunks:
    """Sort each part's triangles by the square of the town they lie in."""
    shapes, spans, low, high, pivot, rows = [], [], [], [], [], []
    at = 0
    for shape, placement in parts:
        # A thing stays whole: its triangles follow the square of its first one.
        anchor = shape.pos.mean(axis=1)[:, :2]
        _, first, back = np.unique(shape.instance, return_index=True, return_inverse=True)
        anchor = np.where((shape.instance > 0)[:, None], anchor[first][back], anchor)
        key = np.floor(anchor / cell).astype(np.int64)
        order = np.lexsort((key[:, 1], key[:, 0]))
        key = key[order]
        cuts = np.flatnonzero(np.any(np.diff(key, axis=0) != 0, axis=1)) + 1
        edges = np.concatenate([[0], cuts, [len(order)]])
        sorted_shape = shape.taken(order)
        shapes.append(sorted_shape)
        for a, b in itertools.pairwise(edges):
            spans.append((at + a, at + b))
            low.append(sorted_shape.pos[a:b].min(axis=(0, 1)))
            high.append(sorted_shape.pos[a:b].max(axis=(0, 1)))
            pivot.append((key[a] + 0.5) * cell)
            rows.append((placement.first, placement.reach, placement.night))
        at += len(shape)
    bottom, top = np.array(low, np.float64), np.array(high, np.float64)
    table = np.array(rows, np.float64)
    ranges = np.array(spans, np.int64)
    return Chunks(
        join(shapes),
        np.ascontiguousarray(ranges[:, 0]),
        np.ascontiguousarray(ranges[:, 1]),
        (bottom + top) / 2,
        (top - bottom) / 2,
        np.linalg.norm(top - bottom, axis=1) / 2,
        np.array(pivot, np.float64),
        table[:, 0],
        table[:, 1],
        table[:, 2] > 0,
    )
