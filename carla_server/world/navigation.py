"""Files with navigation meshes, by which the client's walker controllers find their way."""

from __future__ import annotations

import hashlib
import logging
from functools import lru_cache

import shapely

from carla_server.map import RoadMap
from carla_server.map.walkways import walkways
from carla_server.wire.navmesh import navigation_mesh

log = logging.getLogger(__name__)

#: Grows when meshes of the same town come out differently: clients keep files by name.
REVISION = 1


def navigation_file(road_map: RoadMap) -> str | None:
    """Name under which clients ask for, and keep, a town's mesh; None for a town without sidewalks."""
    if all(lane.type != "sidewalk" for lane in road_map.lanes):
        return None
    digest = hashlib.sha256(f"{REVISION} {road_map.xodr}".encode(errors="surrogateescape")).hexdigest()
    return f"Carla/Maps/Nav/{road_map.name}-{digest[:12]}.bin"


@lru_cache(maxsize=2)
def navigation_data(road_map: RoadMap) -> bytes:
    """Content of a town's navigation file; empty where its sidewalks make no mesh, which the client takes as none."""
    try:
        ways = walkways(road_map)
        return b"" if ways is None else navigation_mesh(ways.vertices, ways.triangles, ways.kinds)
    except (shapely.errors.ShapelyError, ValueError) as error:
        log.warning("no navigation mesh for %s, walker controllers will stand still: %s", road_map.name, error)
        return b""
