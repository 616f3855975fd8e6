"""Family J: a vehicle beside the ego changes into its lane."""

from __future__ import annotations

from typing import Any

import numpy as np
from py_trees.behaviour import Behaviour

from driving.geometry import Array
from srunner.agents.path_agent import AgentOptions, lane_change_path, path_of
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenarios.basic_scenario import ActorPlan, Draft, Plan, ScenarioType, Stage
from srunner.scenarios.obstacles import NEW_CAR, kerb_offset
from srunner.scenarios.parameters import SIDE, number, place, text
from srunner.tools.places import (
    PlacementError,
    jump,
    leave_junction,
    next_junction,
    path_ahead,
    required_neighbour,
    shifted,
)
from srunner.traffic.requests import JunctionRequest

ROW_STEP = 11.0
ROW = ("behind_1", "behind_0", "adversary", "ahead_0", "ahead_1", "ahead_2")
"""Cars of the waiting row, the nearest to the ego first."""

LIT_CAR = {"base_type": "car", "has_lights": True, "special_type": ""}


def _onward(*parts: Array) -> Array:
    """One path of several, without the empty ones."""
    return np.concatenate([part for part in parts if len(part)])


def static_cut_in(draft: Draft) -> Plan:
    """Out of a row of standing cars in the next lane one pulls into the ego's."""
    direction, distance = draft.values["direction"], draft.values["distance"]
    own = [jump(draft.waypoint, distance + ROW_STEP * i) for i in range(len(ROW))]
    row = [required_neighbour(waypoint, direction) for waypoint in own]
    actors = tuple(
        ActorPlan(
            part,
            "vehicle.*",
            (shifted(lane.transform, up=0.2),),
            attributes=LIT_CAR,
            hidden=500.0,
            hand_brake=part != "adversary",
        )
        for part, lane in zip(ROW, row)
    )
    at = ROW.index("adversary")
    conflict, side_lane = own[at].transform, row[0]
    back = "left" if direction == "right" else "right"

    def change(stage: Stage) -> Array:
        # The agent of the original turns times into lengths with the adversary's own speed, zero here: it turns sharply.
        sharp = lane_change_path(row[at], back, stage.state.speed(stage.actors["adversary"]), (0.1, 3.0, 2.0))
        return _onward(sharp, path_of(path_ahead(jump(own[at], 10.0), 70.0, 5.0)))

    def behaviour(stage: Stage) -> Behaviour:
        adversary = stage.actors["adversary"]
        drive = steps.DrivePath(stage.state, adversary, lambda: change(stage), 60.0 / 3.6)
        return steps.sequence(
            stage.ask(front_space=distance + 66.0),
            stage.reveal(),
            conditions.time_to(stage.state, stage.ego, conflict.location, 2.7, 15.0),
            stage.ask(extra_space=30.0),
            stage.remove_lane(side_lane),
            steps.race(drive, steps.Idle(30.0)),
        )

    return Plan(
        behaviour, actors, first="adversary", direction=direction, places={"conflict": conflict}
    )  # fmt: skip


def parking_cut_in(draft: Draft) -> Plan:
    """A parked car pulls out in front of the ego, hidden by another parked car.

    Files name odd directions; all but ``left`` mean right, as in the original.
    """
    direction = "left" if draft.values["direction"] == "left" else "right"
    blocked, start = jump(draft.waypoint, 28.0), jump(draft.waypoint, 35.0)
    places = {part: required_neighbour(spot, direction) for part, spot in (("blocker", blocked), ("adversary", start))}
    roles = {"blocker": "scenario no lights", "adversary": "scenario"}
    actors = tuple(
        ActorPlan(
            part, "vehicle.*", (lane.transform,), roles[part], NEW_CAR, hand_brake=True,
            settle=kerb_offset(direction, lane.lane_width),
        )
        for part, lane in places.items()
    )  # fmt: skip
    path = path_of(path_ahead(start, 80.0, 2.0)[2:])

    def behaviour(stage: Stage) -> Behaviour:
        adversary = stage.actors["adversary"]
        options = AgentOptions(ignore_lights=True)
        return steps.sequence(
            stage.ask(front_space=45.0),
            conditions.time_to(stage.state, stage.ego, start.transform.location, 2.35, 10.0),
            stage.ask(extra_space=20.0),
            steps.race(
                steps.DrivePath(stage.state, adversary, lambda: path, 20.0 / 3.6, options),
                conditions.Drove(stage.state, adversary, 30.0),
            ),
        )

    slots = tuple(lane.transform.location for lane in places.values())
    return Plan(
        behaviour, actors, first="adversary", direction=direction, slots=slots, places={"conflict": start.transform}
    )


CUT_IN_SHARE = 0.8
"""The adversary's speed while it cuts in, as a share of the ego's."""

SLOWEST_CUT_IN = 2.0
"""The adversary finishes its lane change even in front of an ego that stands, m/s."""

ARRIVAL_RADIUS = 5.0


def _behind_next_junction(waypoint: Any, beyond: float) -> Any:
    last, _ = next_junction(waypoint)
    branches = last.next(2.0)
    exit_ = leave_junction(branches[0]) if branches else None
    if exit_ is None:
        raise PlacementError("the junction ahead has no way out")
    return jump(exit_, beyond)


def highway_cut_in(draft: Draft) -> Plan:
    """A car from the entry lane arrives at the junction together with the ego and changes into its lane.

    If the ego passes the meeting point first the original waits for ever; here the scenario ends.
    """
    start = draft.map.get_waypoint(draft.values["other_actor_location"])
    target, ego_target = _behind_next_junction(start, 10.0), _behind_next_junction(draft.waypoint, 0.0)
    route = path_of([w for w, _ in draft.planner.trace_route(start.transform.location, target.transform.location)])
    actors = (
        ActorPlan("adversary", "vehicle.*", (shifted(start.transform, up=0.2),), attributes=LIT_CAR, hidden=100.0),
    )
    request = JunctionRequest(clear_junction=True, remove_entries=(start,), extend_exit=170.0)

    def behaviour(stage: Stage) -> Behaviour:
        state, ego, adversary = stage.state, stage.ego, stage.actors["adversary"]

        def arriving_speed() -> float:
            ego_way = state.location(ego).distance(ego_target.transform.location)
            own_way = state.location(adversary).distance(target.transform.location)
            seconds = ego_way / max(state.speed(ego), 0.1)
            return min(own_way / max(seconds, 0.1), 40.0)

        speed = 0.0

        def cut_in() -> Array:
            nonlocal speed  # taken once: an ego that follows at the same share would bring both to a halt
            speed = max(CUT_IN_SHARE * state.speed(ego), SLOWEST_CUT_IN)
            here = draft.map.get_waypoint(state.location(adversary))
            return lane_change_path(here, "left", state.speed(adversary), (0.3, 2.0, 3.0))

        options = AgentOptions(ignore_vehicles=True, ignore_lights=True, constant_velocity=True)
        arrive = steps.race(
            steps.DrivePath(state, adversary, lambda: route, arriving_speed, options),
            conditions.near(state, adversary, target.transform.location, ARRIVAL_RADIUS),
            conditions.passed(state, ego, ego_target.transform, within=30.0),
        )
        return steps.sequence(
            stage.ask(junction=request),
            stage.reveal(),
            arrive,
            steps.DrivePath(state, adversary, cut_in, lambda: speed),
        )

    return Plan(behaviour, actors, first="adversary", places={"source": start.transform, "conflict": target.transform})


TYPES = (
    ScenarioType("StaticCutIn", static_cut_in, (number("distance", 100.0), SIDE)),
    ScenarioType("ParkingCutIn", parking_cut_in, (text("direction", "right"),)),
    ScenarioType("HighwayCutIn", highway_cut_in, (place("other_actor_location"),)),
)
