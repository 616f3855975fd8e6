"""From a town plan to OpenDRIVE text."""

from __future__ import annotations

import itertools

from carla_server.map.generator.crossings import build_connections, lanes_out, movements
from carla_server.map.generator.document import ControllerSpec, JunctionSpec, RoadSpec, document
from carla_server.map.generator.furnish import furnish
from carla_server.map.generator.plan import TownPlan
from carla_server.map.generator.regulation import Ids, regulate, speed_sign
from carla_server.map.generator.streets import arms_of, build_road, clearances
from carla_server.map.road_map import RoadMap

#: First ids of each kind. Junction ids must not equal road ids: CARLA's client looks successors up among roads first.
FIRST_CONNECTION, FIRST_JUNCTION, FIRST_CONTROLLER, FIRST_SIGNAL, FIRST_OBJECT = 200, 5000, 6000, 7000, 10000


def build_town(plan: TownPlan) -> str:
    """OpenDRIVE text of a town.

    Raises:
        ValueError: The description does not fit together; the message names the street or node.
    """
    ids = Ids(itertools.count(FIRST_SIGNAL), itertools.count(FIRST_OBJECT), itertools.count(FIRST_CONTROLLER))
    streets, roads, junctions, controllers = build_network(plan, ids)
    bare = RoadMap.from_xodr(_text(plan, roads, controllers, junctions), plan.name)
    furnish(plan, streets, bare, ids)
    return _text(plan, roads, controllers, junctions)


def build_network(
    plan: TownPlan, ids: Ids
) -> tuple[dict[str, RoadSpec], list[RoadSpec], list[JunctionSpec], list[ControllerSpec]]:
    """Streets by name, all roads, junctions and controllers of a plan, with signals but without furniture."""
    trims = clearances(plan)
    streets = {
        name: build_road(plan, street, number, (trims[name, False], trims[name, True]))
        for number, (name, street) in enumerate(plan.streets.items())
    }
    by_id = {road.id: road for road in streets.values()}
    roads, junctions, controllers = list(streets.values()), [], []
    for number, node in enumerate(plan.nodes.values()):
        arms = arms_of(plan, streets, node)
        junction, connecting = build_connections(node, movements(node, arms), _next_id(roads), FIRST_JUNCTION + number)
        roads.extend(connecting)
        rows = regulate(node, arms, by_id, ids)
        junction.controllers.extend(row.id for row in rows)
        controllers.extend(rows)
        junctions.append(junction)
        for arm in arms:
            side = ("junction", junction.id, "")
            if arm.at_end:
                by_id[arm.road].successor = side
            else:
                by_id[arm.road].predecessor = side
            if arm.street.signs and lanes_out(arm):
                by_id[arm.road].signals.append(speed_sign(arm, by_id[arm.road], next(ids.signals)))
    return streets, roads, junctions, controllers


def _next_id(roads: list[RoadSpec]) -> int:
    return max(FIRST_CONNECTION, max(road.id for road in roads) + 1)


def _text(
    plan: TownPlan, roads: list[RoadSpec], controllers: list[ControllerSpec], junctions: list[JunctionSpec]
) -> str:
    geo = (
        f"+proj=tmerc +lat_0={plan.latitude} +lon_0={plan.longitude} +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
    )
    return document(plan.name, geo, roads, controllers, junctions)
