"""Navigation meshes: what Detour expects of a tile, checked on the bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from carla_server.map import RoadMap
from carla_server.map.walkways import walkways
from carla_server.wire import navmesh
from carla_server.wire.navmesh import Area, navigation_mesh
from carla_server.world.towns import OWN_TOWNS

SQUARE = np.array([(0.0, 0.0, 1.0), (4.0, 0.0, 1.0), (4.0, 4.0, 1.0), (0.0, 4.0, 1.0)])
HALVES = np.array([(0, 1, 2), (0, 3, 2)])


def polygons(data: bytes, count: int, vertices: int) -> np.ndarray:
    start = navmesh._SET.size + navmesh._TILE.size + navmesh._MESH.size + 12 * vertices
    return np.frombuffer(data, navmesh._POLY, count, offset=start)


def test_a_square_is_two_neighbours() -> None:
    data = navigation_mesh(SQUARE, HALVES, np.array([Area.SIDEWALK, Area.CROSSWALK]))
    magic, version, tiles = struct.unpack_from("<iii", data)
    assert (magic.to_bytes(4, "big"), version, tiles) == (b"MSET", 1, 1)
    reference, size = struct.unpack_from("<II", data, navmesh._SET.size)
    assert reference == 1 << 1
    assert len(data) == navmesh._SET.size + navmesh._TILE.size + size
    first, second = polygons(data, 2, 4)
    assert sorted(first["neighbours"][:3].tolist()) == [0, 0, 2]
    assert sorted(second["neighbours"][:3].tolist()) == [0, 0, 1]
    assert [int(row["flags"]) for row in (first, second)] == [2, 4]
    for row in (first, second):
        a, b, c = SQUARE[row["verts"][:3], :2]
        assert (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0] < 0.0


def test_every_branch_of_the_tree_holds_its_leaves() -> None:
    corners = np.random.default_rng(1).uniform(0.0, 50.0, (37, 3, 3)).astype(np.float32)
    nodes = navmesh._tree(corners, corners.min(axis=(0, 1)), 0.05)
    assert sorted(nodes["index"][nodes["index"] >= 0].tolist()) == list(range(37))
    for at, node in enumerate(nodes):
        if node["index"] < 0:
            inside = nodes[at + 1 : at - int(node["index"])]
            assert (inside["low"] >= node["low"]).all()
            assert (inside["high"] <= node["high"]).all()


def test_an_empty_mesh_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0 and 4"):
        navigation_mesh(SQUARE, HALVES[:0], np.empty(0, np.int64))


@pytest.mark.parametrize("town", ["Mini01", "Mini02"])
def test_one_can_walk_from_everywhere_to_everywhere_without_stepping_on_the_road(town: str) -> None:
    ways = walkways(RoadMap.load(OWN_TOWNS / f"{town}.xodr"))
    assert ways is not None
    neighbours = navmesh._neighbours(ways.triangles)
    safe = ways.kinds != Area.ROAD
    seen, stack = set(), [int(np.flatnonzero(safe)[0])]
    while stack:
        triangle = stack.pop()
        if triangle not in seen:
            seen.add(triangle)
            stack += [other for other in neighbours[triangle].tolist() if other >= 0 and safe[other]]
    assert len(seen) == safe.sum()


def test_a_town_without_sidewalks_has_no_mesh() -> None:
    assert walkways(RoadMap.load(OWN_TOWNS / "Mini03.xodr")) is None
