"""Where people walk in a town: sidewalks, crosswalks and, for those who dare, roads, cut into triangles.

Triangles of neighbouring areas share whole edges, so a path can be found from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from carla_server.map import nearest
from carla_server.map.records import Array, Lane
from carla_server.map.road_map import RoadMap

#: Room that walkers keep from the edge of what they walk on, metres.
MARGIN = 0.3
#: How far crosswalks are prolonged, so that they reach onto the sidewalks, metres.
OVERLAP = 0.8
#: Precision of the outlines, their longest edge, and the smallest piece kept: metres, metres, square metres.
SIMPLE, LONGEST_EDGE, SMALLEST = 0.05, 15.0, 0.02
#: Coordinates are rounded to this, so that neighbours have equal corners, metres.
GRID = 0.01
#: Roads farther than this from any sidewalk are no place for walkers, metres.
ROAD_REACH = 15.0
#: Lanes that lie over another one by more than this are left out, as outlines know no levels, metres.
LEVEL_GAP = 2.0
#: What of an OpenDRIVE road counts as road to a walker.
ROAD_TYPES = frozenset({"driving", "parking", "shoulder", "biking", "bidirectional", "stop"})


@dataclass(frozen=True, eq=False)
class Walkways:
    """Triangles that people walk on.

    Attributes:
        vertices: (V, 3) world points on the ground, metres.
        triangles: (T, 3) vertex numbers.
        kinds: (T,) 1 sidewalk, 2 crosswalk, 3 road.
    """

    vertices: Array
    triangles: NDArray[np.int64]
    kinds: NDArray[np.int64]


SIDEWALK, CROSSWALK, ROAD = 1, 2, 3


def walkways(road_map: RoadMap) -> Walkways | None:
    """Cut a town's walkable ground into triangles; None for a town without sidewalks."""
    sidewalks = [lane for lane in road_map.lanes if lane.type == "sidewalk" and lane.width.max() > 2 * MARGIN]
    if not sidewalks:
        return None
    pavement = shapely.simplify(shapely.union_all([_strip(lane) for lane in sidewalks]), SIMPLE)
    crossings = [
        shapely.buffer(shapely.Polygon(row.polygon[:, :2]), OVERLAP, join_style="mitre") for row in road_map.crosswalks
    ]
    both = shapely.union_all([pavement, *crossings])
    side = shapely.buffer(pavement, -MARGIN, join_style="mitre")
    walk = shapely.buffer(both, -MARGIN, join_style="mitre")
    road = shapely.buffer(_roads(road_map, both), -MARGIN, join_style="mitre")
    areas = {
        SIDEWALK: shapely.set_precision(side, GRID),
        CROSSWALK: shapely.difference(walk, side, grid_size=GRID),
        ROAD: shapely.difference(road, walk, grid_size=GRID),
    }
    return _cut(road_map, areas)


def _strip(lane: Lane) -> shapely.Geometry:
    return shapely.buffer(
        shapely.make_valid(shapely.Polygon(np.concatenate((lane.inner, lane.outer[::-1]))[:, :2])), 0.02
    )


def _roads(road_map: RoadMap, near: shapely.Geometry) -> shapely.Geometry:
    """Roads beside the sidewalks, and the sidewalks."""
    reach = shapely.buffer(near, ROAD_REACH)
    shapely.prepare(reach)
    strips = []
    for lane in road_map.lanes:
        if lane.type not in ROAD_TYPES or not shapely.intersects(reach, shapely.LineString(lane.center[:, :2])):
            continue
        x, y, z = lane.center[len(lane.center) // 2].tolist()
        found = road_map.locate(x, y, 1.0e4)
        if found is None or abs(found.z - z) < LEVEL_GAP:
            strips.append(_strip(lane))
    paved = [
        shapely.Polygon(ring[:, :2])
        for row in road_map.junctions.values()
        for ring in row.surface
        if shapely.intersects(reach, shapely.Point(ring[0, :2]))
    ]
    return shapely.simplify(shapely.union_all([near, *strips, *map(shapely.make_valid, paved)]), SIMPLE)


def _cut(road_map: RoadMap, areas: Mapping[int, shapely.Geometry]) -> Walkways:
    """Triangles of areas that do not overlap, with corners in common along their borders."""
    lines = shapely.union_all([shapely.boundary(area) for area in areas.values()], grid_size=GRID)
    faces = shapely.get_parts(shapely.polygonize([*shapely.get_parts(shapely.segmentize(lines, LONGEST_EDGE))]))
    faces = faces[shapely.area(faces) > SMALLEST]
    inner = shapely.point_on_surface(faces)
    number: dict[tuple[float, float], int] = {}
    triangles: list[list[int]] = []
    kinds: list[int] = []
    for kind, area in areas.items():
        shapely.prepare(area)
        for face in faces[shapely.contains(area, inner)]:
            for part in shapely.get_parts(shapely.constrained_delaunay_triangles(face)):
                corners = [tuple(point) for point in np.round(shapely.get_coordinates(part)[:3], 3).tolist()]
                triangles.append([number.setdefault(corner, len(number)) for corner in corners])
                kinds.append(kind)
    flat = np.array([*number], dtype=np.float64)
    return Walkways(_raised(road_map, flat), np.array(triangles), np.array(kinds))


def _raised(road_map: RoadMap, flat: Array) -> Array:
    """Points (N, 2) put on the ground; those off the network get the height of the nearest lane border."""
    points = np.column_stack((flat, np.zeros(len(flat))))
    borders = np.concatenate([row for lane in road_map.lanes for row in (lane.inner, lane.outer)])
    points[:, 2] = borders[nearest.tree(borders[:, :2]).query(flat)[1], 2]
    heights = road_map.ground_heights(points)
    points[:, 2] = np.where(np.isnan(heights), points[:, 2], heights)
    return points
