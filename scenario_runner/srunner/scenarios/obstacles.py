"""Family A: something stands in the ego's lane, and getting past needs a gap in the next lane or in the oncoming one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import carla
from py_trees.behaviour import Behaviour

from srunner.agents.path_agent import AgentOptions
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenariomanager.scenarioatomics.flows import FlowRule, LateFlow
from srunner.scenarios.basic_scenario import ActorPlan, Draft, Plan, ScenarioType, Settle, Stage
from srunner.scenarios.parameters import SIDE, interval, number
from srunner.tools.places import (
    beside_road,
    jump,
    neighbour,
    path_ahead,
    required_neighbour,
    shifted,
    towards,
    upstream,
    walk,
)

CAR = {"base_type": "car"}
NEW_CAR = {"base_type": "car", "generation": 2}
LIGHTS = carla.VehicleLightState
WARNING_LIGHTS = int(LIGHTS.RightBlinker) | int(LIGHTS.LeftBlinker) | int(LIGHTS.Position)
POLICE_LIGHTS = int(LIGHTS.Special1) | int(LIGHTS.Special2) | int(LIGHTS.Position)
CONE_ROW, CONE_ROW_STEP = 4, 2.0
CONES_ACROSS, CONE_ACROSS_STEP = 3, 1.0
REACTION_S = 5.0
"""How long the ego stands before an obstacle until the traffic makes room."""


def kerb_offset(side: str, lane_width: float) -> Settle:
    """Moves a parked car from the middle of its lane (width in metres) to ``side``, once the car's width is known."""

    def settle(actor: Any, pose: carla.Transform) -> carla.Transform:
        return shifted(pose, right=towards(side, (lane_width - actor.bounding_box.extent.y) / 4), up=0.05)

    return settle


def warning_sign(draft: Draft, model: str) -> ActorPlan:
    """The sign beside the road at the trigger."""
    pose = beside_road(draft.waypoint, draft.values["direction"])
    return ActorPlan("sign", model, (pose,), role="prop", physics=False)


def is_two_way(waypoint: Any, direction: str) -> bool:
    """Whether the lane on the free side of an obstacle is an oncoming one.

    Raises:
        PlacementError: If there is no lane on the free side.
    """
    free = "left" if direction == "right" else "right"
    return bool(required_neighbour(waypoint, free).lane_id * waypoint.lane_id < 0)


def oncoming_flow(stage: Stage, lane: Any, gap: tuple[float, float]) -> Behaviour:
    """Cars at the ego's speed limit past the obstacle on ``lane``, for as long as it runs."""

    def plan() -> tuple[list[Any], FlowRule]:
        limit_kmh = float(stage.ego.get_speed_limit())
        reach = 1.5 * limit_kmh + 30.0
        source = upstream(lane, reach, step=1.0)
        behind = source.transform.location.distance(lane.transform.location)
        route = []
        for waypoint in path_ahead(source, behind + reach, step=2.0):
            if waypoint.is_junction:
                break
            route.append(waypoint)
        options = AgentOptions(base_threshold=10.0, threshold_per_mps=1.6)
        return route, FlowRule(limit_kmh / 3.6, gap, options=options)

    return LateFlow(stage.state, plan, stage.rng)


def make_room(stage: Stage, draft: Draft, oncoming_lane: Any) -> Behaviour:
    """What the traffic does for an ego that waits: slow side lanes, or an oncoming stream with gaps."""
    if not draft.constants["two_way"]:
        return steps.sequence(stage.ask(speed_cap_kmh=draft.values["speed"]), steps.Forever())
    return steps.sequence(
        stage.hold_off(blackboard.WRONG_DIRECTION_SWITCH),
        stage.ask(opposite_off=True),
        oncoming_flow(stage, oncoming_lane, draft.values["frequency"]),
    )


def until_past(stage: Stage, end: carla.Transform, *also: Behaviour) -> Behaviour:
    """Run ``also`` until the ego has passed ``end`` or the scenario times out."""
    return steps.race(stage.timeout(), conditions.passed(stage.state, stage.ego, end), *also)


def _wait_at(stage: Stage, part: str, distance: float, then: Behaviour) -> Behaviour:
    return steps.sequence(
        conditions.near_actor(stage.state, stage.ego, stage.actors[part], distance), steps.Idle(REACTION_S), then
    )


def _oncoming_lane(draft: Draft, obstacle: Any) -> Any:
    return required_neighbour(obstacle, "left") if draft.constants["two_way"] else None


def accident(draft: Draft) -> Plan:
    """A police car and two crashed cars stand in the lane."""
    direction, distance = draft.values["direction"], draft.values["distance"]
    police = walk(draft.waypoint, distance)
    crash_1 = walk(police, 10.0)
    crash_2 = walk(crash_1, 6.0)
    oncoming = _oncoming_lane(draft, crash_2)
    end = walk(crash_2, 50.0).transform

    def aside(waypoint: Any) -> tuple[carla.Transform]:
        return (shifted(waypoint.transform, right=towards(direction, 0.6 * waypoint.lane_width / 2), up=0.2),)

    actors = (
        warning_sign(draft, "static.prop.warningaccident"),
        ActorPlan("police", "vehicle.dodge.charger_police_2020", aside(police), lights=POLICE_LIGHTS, hand_brake=True),
        ActorPlan("crash_1", "vehicle.*", aside(crash_1), "scenario no lights", NEW_CAR, hand_brake=True),
        ActorPlan("crash_2", "vehicle.*", aside(crash_2), "scenario no lights", NEW_CAR, hand_brake=True),
    )

    def behaviour(stage: Stage) -> Behaviour:
        room = make_room(stage, draft, oncoming)
        return steps.sequence(
            stage.ask(front_space=distance + 36.0), until_past(stage, end, _wait_at(stage, "crash_1", 50.0, room))
        )

    return Plan(
        behaviour, actors, first="police", last="crash_2", direction=direction,
        two_way=draft.constants["two_way"], places={"obstacle": police.transform, "end": end},
    )  # fmt: skip


def parked_obstacle(draft: Draft) -> Plan:
    """A broken-down car stands in the lane with its blinkers on."""
    direction, distance = draft.values["direction"], draft.values["distance"]
    spot = walk(draft.waypoint, distance)
    oncoming = _oncoming_lane(draft, spot)
    end = walk(spot, 50.0).transform
    pose = shifted(spot.transform, right=towards(direction, 0.7 * spot.lane_width / 2), up=0.2)
    actors = (
        warning_sign(draft, "static.prop.warningaccident"),
        ActorPlan(
            "car", "vehicle.*", (pose,), "scenario no lights", NEW_CAR, lights=WARNING_LIGHTS, hand_brake=True
        ),
    )  # fmt: skip

    def behaviour(stage: Stage) -> Behaviour:
        room = make_room(stage, draft, oncoming)
        return steps.sequence(
            stage.ask(front_space=distance + 20.0), until_past(stage, end, _wait_at(stage, "car", 50.0, room))
        )

    return Plan(
        behaviour, actors, first="car", direction=direction, two_way=is_two_way(spot, direction),
        places={"obstacle": pose, "end": end},
    )  # fmt: skip


def _construction_props(draft: Draft, site: Any) -> list[ActorPlan]:
    direction = draft.values["direction"]
    open_side = "left" if direction == "right" else "right"
    edge = towards(open_side, 0.85 * site.lane_width / 2)
    cones = [(CONE_ROW_STEP * i, edge) for i in range(CONE_ROW)]
    cones += [
        (CONE_ROW_STEP * (CONE_ROW - 1), edge + towards(direction, CONE_ACROSS_STEP * (i + 1)))
        for i in range(CONES_ACROSS)
    ]

    def prop(part: str, model: str, pose: carla.Transform) -> ActorPlan:
        return ActorPlan(part, model, (pose,), role="prop", hidden=200.0, physics=False)

    pose = site.transform
    return [
        prop("warning", "static.prop.trafficwarning", shifted(pose, forward=-5.0, turn_deg=180.0)),
        prop("debris", "static.prop.dirtdebris02", shifted(pose, forward=2.0, up=1.0)),
        *(
            prop(f"cone_{i}", "static.prop.constructioncone", shifted(pose, forward=along, right=right, up=0.1))
            for i, (along, right) in enumerate(cones)
        ),
    ]


def construction(draft: Draft) -> Plan:
    """A building site with cones closes the lane."""
    direction, distance = draft.values["direction"], draft.values["distance"]
    site = jump(draft.waypoint, distance)
    oncoming = _oncoming_lane(draft, site)
    end = walk(site, 50.0).transform
    props = _construction_props(draft, site)
    actors = (warning_sign(draft, "static.prop.warningconstruction"), *props)

    def behaviour(stage: Stage) -> Behaviour:
        room = make_room(stage, draft, oncoming)
        near = conditions.near(stage.state, stage.ego, site.transform.location, 30.0)
        return steps.sequence(
            stage.remove_lane(draft.waypoint),
            steps.sequence(*(stage.reveal(prop.part, physics=False) for prop in props), name="build the site"),
            until_past(stage, end, steps.sequence(near, steps.Idle(REACTION_S), room)),
        )

    return Plan(
        behaviour, actors, first="warning", last=props[-2].part, direction=direction,
        two_way=is_two_way(site, direction), places={"obstacle": site.transform, "end": end},
    )  # fmt: skip


def opening_door(draft: Draft) -> Plan:
    """A parked car opens its door into the lane."""
    direction, distance = draft.values["direction"], draft.values["distance"]
    front = jump(draft.waypoint, distance)
    parking = required_neighbour(front, direction)
    end = walk(front, 50.0).transform
    road_side = "left" if direction == "right" else "right"
    # The original's stream runs on the lane left of the parked car: the ego's own lane when cars park on the right.
    beside = required_neighbour(front if draft.fidelity.door_flow_oncoming else parking, "left")
    door = carla.VehicleDoor.FL if direction == "right" else carla.VehicleDoor.FR
    actors = (
        ActorPlan(
            "car", "vehicle.*", (parking.transform,), "scenario no lights", {"has_dynamic_doors": True, **CAR},
            hand_brake=True, settle=kerb_offset(road_side, parking.lane_width),
        ),
    )  # fmt: skip

    def behaviour(stage: Stage) -> Behaviour:
        opening = steps.sequence(
            conditions.time_to(stage.state, stage.ego, front.transform.location, 3.0, 10.0),
            steps.Call("open the door", lambda: stage.actors["car"].open_door(door)),
            stage.ask(back_stopped=True),
            steps.Idle(REACTION_S),
            stage.hold_off(blackboard.WRONG_DIRECTION_SWITCH),
            stage.ask(opposite_off=True),
            oncoming_flow(stage, beside, draft.values["frequency"]),
        )
        return steps.sequence(stage.ask(front_space=distance + 20.0), until_past(stage, end, opening))

    two_way = neighbour(front, road_side)
    return Plan(
        behaviour, actors, first="car", direction=direction,
        two_way=two_way is not None and two_way.lane_id * front.lane_id < 0,
        places={"obstacle": parking.transform, "end": end}, slots=(parking.transform.location,),
    )  # fmt: skip


def _rows(name: str, plan: Callable[[Draft], Plan], distance: float) -> tuple[ScenarioType, ScenarioType]:
    common = (number("distance", distance), SIDE, number("speed", 60.0, "km/h"))
    return (
        ScenarioType(name, plan, common, ("timeout",), {"two_way": False}),
        ScenarioType(
            f"{name}TwoWays", plan, (*common, interval("frequency", (20.0, 100.0))), ("timeout",), {"two_way": True}
        ),
    )  # fmt: skip


TYPES = (
    *_rows("Accident", accident, 120.0),
    *_rows("ParkedObstacle", parked_obstacle, 120.0),
    *_rows("ConstructionObstacle", construction, 100.0),
    ScenarioType(
        "VehicleOpensDoorTwoWays",
        opening_door,
        (number("distance", 50.0), SIDE, interval("frequency", (20.0, 100.0)), number("speed", 60.0, "km/h")),
        ("timeout",),
    ),
)
