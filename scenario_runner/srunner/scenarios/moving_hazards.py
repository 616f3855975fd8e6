"""Families B, C and D: bicycles in the ego's lane, oncoming traffic that cuts into it, an emergency vehicle from behind."""

from __future__ import annotations

from typing import Any

import carla
from py_trees.behaviour import Behaviour

from srunner.agents.path_agent import AgentOptions, path_of
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenariomanager.scenarioatomics.flows import FlowRule, LateFlow
from srunner.scenarios.basic_scenario import ActorPlan, Draft, Plan, ScenarioType, Stage
from srunner.scenarios.obstacles import POLICE_LIGHTS, REACTION_S
from srunner.scenarios.parameters import number
from srunner.tools.places import (
    PlacementError,
    jump,
    nearest_index,
    path_ahead,
    required_neighbour,
    shifted,
    walk,
)

BICYCLES = ("vehicle.bh.crossbike", "vehicle.diamondback.century", "vehicle.gazelle.omafiets")
BICYCLE_GAP = 9.0
BICYCLE_ASIDE = 0.55
"""How far right of the lane's middle they ride, as a share of half the lane."""

AFTER_OVERTAKING = 50.0


def _bicycle(part: str, waypoint: Any, rng: Any) -> ActorPlan:
    pose = shifted(waypoint.transform, right=BICYCLE_ASIDE * waypoint.lane_width / 2, up=0.2)
    return ActorPlan(part, rng.choice(BICYCLES), (pose,), attributes={"base_type": "bicycle"}, hand_brake=True)


def _ride(stage: Stage, draft: Draft, part: str, start: Any) -> Behaviour:
    """One bicycle rides to its target and stays there."""
    path = path_ahead(start, draft.values["bicycle_drive_distance"], 2.0)
    aside = BICYCLE_ASIDE * start.lane_width / 2
    rider = stage.actors[part]
    return steps.sequence(
        steps.DrivePath(stage.state, rider, lambda: path_of(path, aside), draft.values["bicycle_speed"] / 3.6),
        steps.Call("stop", lambda: rider.apply_control(carla.VehicleControl(hand_brake=True, brake=1.0))),
        steps.Forever(),
    )


def slow_bicycles(draft: Draft) -> Plan:
    """Two bicycles ride at the right of the ego's lane, slower than the traffic."""
    first = walk(draft.waypoint, draft.values["distance"])
    last = walk(first, BICYCLE_GAP)
    two_way = draft.constants["two_way"]
    actors = (_bicycle("bicycle_0", first, draft.rng), _bicycle("bicycle_1", last, draft.rng))

    def make_room(stage: Stage) -> Behaviour:
        if not two_way:
            return stage.ask(speed_cap_kmh=draft.values["speed"])
        return steps.sequence(
            stage.hold_off(blackboard.WRONG_DIRECTION_SWITCH), stage.ask(opposite_spacing=draft.values["frequency"])
        )

    def behaviour(stage: Stage) -> Behaviour:
        state, ego = stage.state, stage.ego
        overtaken = steps.sequence(
            conditions.overtook(state, ego, stage.actors["bicycle_1"]), conditions.Drove(state, ego, AFTER_OVERTAKING)
        )
        waiting = steps.sequence(
            conditions.near_actor(state, ego, stage.actors["bicycle_0"], 50.0), steps.Idle(REACTION_S), make_room(stage),
            steps.Forever(),
        )  # fmt: skip
        return steps.sequence(
            stage.ask(front_space=draft.values["distance"] + 29.0, extra_space=30.0),
            steps.race(
                stage.timeout(), overtaken, _ride(stage, draft, "bicycle_0", first), _ride(stage, draft, "bicycle_1", last),
                waiting,
            ),
        )  # fmt: skip

    return Plan(
        behaviour, actors, first="bicycle_0", last="bicycle_1", two_way=two_way,
        places={"obstacle": first.transform},
        numbers={key: draft.values[key] for key in ("bicycle_speed", "bicycle_drive_distance")},
    )  # fmt: skip


INVADING_GAP = (40.0, 40.0)
CONE_STEP = 5.0


def invading_turn(draft: Draft) -> Plan:
    """Cones narrow the oncoming lane, so its traffic drives partly on the ego's."""
    distance = draft.values["distance"]
    end = jump(draft.waypoint, distance + 30.0)
    source, sink = required_neighbour(end, "left"), required_neighbour(draft.waypoint, "left")
    if source.lane_id * end.lane_id > 0:
        raise PlacementError("the lane on the left is not an oncoming one")
    offset = -(draft.values["offset"] + source.lane_width / 2 - 0.7)
    oncoming = [
        waypoint for waypoint, _ in draft.planner.trace_route(source.transform.location, sink.transform.location)
    ]
    line = path_ahead(jump(source, 10.0), 0.5 * distance, CONE_STEP)
    actors = tuple(
        ActorPlan(
            f"cone_{i}", "static.prop.constructioncone",
            (shifted(lane.transform, right=0.8 * lane.lane_width / 2, up=0.3),), role="prop", hidden=200.0, physics=False,
        )
        for i, lane in enumerate(line)
    )  # fmt: skip

    def behaviour(stage: Stage) -> Behaviour:
        def plan() -> tuple[list[Any], FlowRule]:
            options = AgentOptions(base_threshold=10.0, threshold_per_mps=2.0, offset=offset)
            return oncoming, FlowRule(float(stage.ego.get_speed_limit()) / 3.6, INVADING_GAP, options=options)

        nearest_first = [actor.part for actor in reversed(actors)]
        return steps.sequence(
            stage.remove_lane(draft.waypoint),
            stage.ask(opposite_off=True),
            stage.reveal(*nearest_first, physics=False),
            steps.race(
                LateFlow(stage.state, plan, stage.rng),
                conditions.passed(stage.state, stage.ego, end.transform, within=50.0),
                stage.timeout(),
            ),
        )

    return Plan(
        behaviour, actors, first=actors[-1].part, last=actors[0].part, direction="left", numbers={"offset": offset},
        places={"source": source.transform, "sink": sink.transform, "end": end.transform},
    )  # fmt: skip


def emergency_behind(draft: Draft) -> Plan:
    """An emergency vehicle comes up from behind and wants to pass."""
    start = jump(draft.waypoint, draft.values["distance"], backwards=True)
    index = nearest_index(draft.route, draft.trigger.location)
    approach = path_ahead(start, draft.values["distance"], 2.0)
    route = [*approach, *(pose for pose, _ in draft.route[index + 2 :: 2])]
    actors = (
        ActorPlan(
            "emergency", "vehicle.*", (shifted(start.transform, up=0.2),),
            attributes={"special_type": "emergency", "base_type": "car"}, hidden=500.0, lights=POLICE_LIGHTS,
        ),
    )  # fmt: skip
    increment = draft.fidelity.emergency_increment_kmh / 3.6

    def behaviour(stage: Stage) -> Behaviour:
        state, ego, emergency = stage.state, stage.ego, stage.actors["emergency"]
        options = AgentOptions(base_threshold=10.0, constant_velocity=True)
        chase = steps.DrivePath(state, emergency, lambda: path_of(route), lambda: state.speed(ego) + increment, options)
        return steps.sequence(
            stage.remove_lane(draft.waypoint),
            stage.reveal(),
            steps.race(
                steps.sequence(conditions.near_actor(state, ego, emergency, 50.0), steps.Idle(10.0)),
                steps.sequence(
                    conditions.overtook(state, emergency, ego, within=10.0), conditions.Drove(state, emergency, 50.0)
                ),
                chase,
            ),
        )

    return Plan(behaviour, actors, first="emergency", places={"source": start.transform})


BICYCLE_PARAMETERS = (
    number("distance", 100.0), number("bicycle_speed", 10.0, "km/h"), number("bicycle_drive_distance", 50.0),
)  # fmt: skip
TYPES = (
    ScenarioType(
        "HazardAtSideLane", slow_bicycles, (*BICYCLE_PARAMETERS, number("speed", 60.0, "km/h")), ("timeout",),
        {"two_way": False},
    ),
    ScenarioType(
        "HazardAtSideLaneTwoWays", slow_bicycles, (*BICYCLE_PARAMETERS, number("frequency", 100.0)), ("timeout",),
        {"two_way": True},
    ),
    ScenarioType("InvadingTurn", invading_turn, (number("distance", 100.0), number("offset", 0.25)), ("timeout",)),
    ScenarioType("YieldToEmergencyVehicle", emergency_behind, (number("distance", 140.0),), ("yield",)),
)  # fmt: skip
