"""Buildings, trees, lamps and street furniture along the streets."""

from __future__ import annotations

from carla_server.map.generator.document import RoadSpec
from carla_server.map.generator.plan import TownPlan
from carla_server.map.generator.regulation import Ids
from carla_server.map.road_map import RoadMap


def furnish(plan: TownPlan, streets: dict[str, RoadSpec], bare: RoadMap, ids: Ids) -> None:
    """Add objects to the roads of `streets`, clear of every lane and of each other."""
