"""Navigation mesh as the carla client loads it: the file format of Recast/Detour, one tile of triangles.

The layout follows Detour's public headers (`DetourNavMesh.h`, version 7) and the `MSET` container of Recast's sample
programs, which CARLA's client reads. Detour's axes are x, up, y of CARLA's world. Everything is little-endian.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SET_MAGIC, _SET_VERSION = int.from_bytes(b"TESM", "little"), 1
_TILE_MAGIC, _TILE_VERSION = int.from_bytes(b"VAND", "little"), 7
#: Number of the set and of the tile, then origin, tile width and depth, tiles, polygons.
_SET = struct.Struct("<iii5fii")
_TILE = struct.Struct("<II")
_MESH = struct.Struct("<iiiiiIiiiiiiiii" + "3f" + "3f" + "3f" + "f")
_POLY = np.dtype(
    [("link", "<u4"), ("verts", "<u2", 6), ("neighbours", "<u2", 6), ("flags", "<u2"), ("count", "u1"), ("area", "u1")]
)
_DETAIL = np.dtype(
    {
        "names": ["vert_base", "tri_base", "vert_count", "tri_count"],
        "formats": ["<u4", "<u4", "u1", "u1"],
        "offsets": [0, 4, 8, 9],
        "itemsize": 12,
    }
)
_NODE = np.dtype([("low", "<u2", 3), ("high", "<u2", 3), ("index", "<i4")])
_LINK_BYTES = 12

#: Most vertices and triangles that one tile can hold.
MAX_VERTICES, MAX_TRIANGLES = 0xFFFF, 0x7FFF
#: What walkers are made for: height, radius and climb, metres. CARLA's walkers have this height and radius.
WALKER_HEIGHT, WALKER_RADIUS, WALKER_CLIMB = 1.8, 0.3, 0.5


class Area(IntEnum):
    """What one may walk on; CARLA's numbers (`LibCarla/source/carla/nav/Navigation.h`)."""

    SIDEWALK = 1
    CROSSWALK = 2
    ROAD = 3

    @property
    def flag(self) -> int:
        """Bit by which path finding lets an area in or leaves it out."""
        return 1 << int(self)


def navigation_mesh(vertices: Floats, triangles: Ints, areas: Ints) -> bytes:
    """Content of a navigation file.

    Args:
        vertices: (V, 3) x, y, z in CARLA's world, metres.
        triangles: (T, 3) vertex numbers in any order of turning; triangles that share two vertices are neighbours.
        areas: (T,) `Area` of each triangle.

    Raises:
        ValueError: There are no triangles, or more than one tile holds.
    """
    if not 0 < len(triangles) <= MAX_TRIANGLES or len(vertices) > MAX_VERTICES:
        raise ValueError(
            f"a navigation mesh holds 1 to {MAX_TRIANGLES} triangles and {MAX_VERTICES} vertices, "
            f"got {len(triangles)} and {len(vertices)}"
        )
    points = vertices[:, [0, 2, 1]].astype("<f4")
    turned = _turned(vertices, triangles)
    low, high = points.min(axis=0) - WALKER_CLIMB, points.max(axis=0) + WALKER_HEIGHT
    neighbours = _neighbours(turned)
    polygons = np.zeros(len(turned), _POLY)
    polygons["verts"][:, :3] = turned
    polygons["neighbours"][:, :3] = neighbours + 1
    polygons["flags"] = [Area(area).flag for area in areas.tolist()]
    polygons["count"] = 3
    polygons["area"] = areas
    details = np.zeros(len(turned), _DETAIL)
    details["tri_base"] = np.arange(len(turned))
    details["tri_count"] = 1
    # Corner numbers, then a bit pair per edge that says it is an edge of the polygon.
    corners = np.tile(np.array([0, 1, 2, 0b010101], np.uint8), (len(turned), 1))
    cell = max(float((high - low).max()) / 60_000.0, 0.05)
    tree = _tree(points[turned], low, cell)
    links = int((neighbours >= 0).sum())
    head = _MESH.pack(
        *(_TILE_MAGIC, _TILE_VERSION, 0, 0, 0, 0, len(turned), len(points), links, len(turned), 0, len(turned)),
        *(len(tree), 0, len(turned), WALKER_HEIGHT, WALKER_RADIUS, WALKER_CLIMB),
        *(*low.tolist(), *high.tolist(), 1.0 / cell),
    )
    parts = (points, polygons, bytes(links * _LINK_BYTES), details, corners, tree)
    tile = head + b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)
    size = (high - low).tolist()
    bits = (len(turned) - 1).bit_length()
    front = _SET.pack(_SET_MAGIC, _SET_VERSION, 1, *low.tolist(), size[0] + 1.0, size[2] + 1.0, 1, len(turned))
    # Detour numbers tiles in the bits above those of the polygons.
    return front + _TILE.pack(1 << bits, len(tile)) + tile


def _turned(vertices: Floats, triangles: Ints) -> Ints:
    """Triangles in the order of turning that Detour expects: clockwise in x and CARLA's y as mathematicians draw them."""
    a, b, c = (vertices[triangles[:, corner], :2] for corner in range(3))
    ab, ac = b - a, c - a
    swap = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0] > 0.0
    turned = triangles.copy()
    turned[swap, 1], turned[swap, 2] = triangles[swap, 2], triangles[swap, 1]
    return turned


def _neighbours(triangles: Ints) -> Ints:
    """(T, 3) triangle across each edge (corner to next corner), -1 at the rim."""
    found = np.full(triangles.shape, -1, np.int64)
    open_edges: dict[tuple[int, int], tuple[int, int]] = {}
    for triangle, corners in enumerate(triangles.tolist()):
        for edge in range(3):
            first, second = corners[edge], corners[(edge + 1) % 3]
            key = (min(first, second), max(first, second))
            if key in open_edges:
                other, at = open_edges.pop(key)
                found[triangle, edge], found[other, at] = other, triangle
            else:
                open_edges[key] = triangle, edge
    return found


def _tree(corners: NDArray[np.float32], low: NDArray[np.float32], cell: float) -> NDArray[np.void]:
    """Bounding volume tree in depth-first order: leaves carry a triangle, the others how many nodes to skip, negative."""
    least = np.floor((corners.min(axis=1) - low) / cell).clip(0, 65_535).astype(np.int64)
    most = np.ceil((corners.max(axis=1) - low) / cell).clip(0, 65_535).astype(np.int64)
    nodes = np.zeros(2 * len(corners) - 1, _NODE)
    at = 0

    def add(items: Ints) -> None:
        nonlocal at
        here, at = at, at + 1
        nodes["low"][here], nodes["high"][here] = least[items].min(axis=0), most[items].max(axis=0)
        if len(items) == 1:
            nodes["index"][here] = items[0]
            return
        axis = int((nodes["high"][here].astype(int) - nodes["low"][here]).argmax())
        order = items[np.argsort(least[items, axis], kind="stable")]
        add(order[: len(order) // 2])
        add(order[len(order) // 2 :])
        nodes["index"][here] = here - at

    add(np.arange(len(corners)))
    return nodes
