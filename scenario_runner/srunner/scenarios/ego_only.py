"""Families K, L and M: no adversary of their own. The traffic, the lights or the ego's control change, the ego starts parked, or
it just drives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import carla
import numpy as np
from py_trees.behaviour import Behaviour

from srunner.agents.path_agent import path_of
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenarios.basic_scenario import ActorPlan, Draft, Plan, ScenarioType, Stage
from srunner.scenarios.junctions import EGO_WAITS_S, GREEN, RED, LightPlan, crossed
from srunner.scenarios.obstacles import NEW_CAR, kerb_offset
from srunner.scenarios.parameters import SIDE, number
from srunner.tools.places import (
    PlacementError,
    copy_transform,
    jump,
    next_junction,
    path_ahead,
    required_neighbour,
    shifted,
    walk,
)

DEBRIS_AT = (14.0, 48.0, 74.0)
"""Distances of the debris from the trigger, metres."""

THROTTLE_NOISE = (0.03, 0.01)
STEER_NOISE = (0.055, 0.015)
"""(size of the mean, standard deviation) of the noise on throttle and steer, in control units."""


def hard_break(draft: Draft) -> Plan:
    """All cars ahead brake to a halt for ten seconds."""

    def behaviour(stage: Stage) -> Behaviour:
        return steps.sequence(
            stage.ask(front_stopped=True),
            steps.Idle(10.0),
            stage.ask(front_stopped=False),
            conditions.Drove(stage.state, stage.ego, 15.0),
        )

    return Plan(behaviour)


def _lit_junction(draft: Draft) -> tuple[Any, Any, list[Any]]:
    """Where the ego enters the next junction, the junction, and its traffic lights, none in an offline check.

    Raises:
        PlacementError: If it has none.
    """
    entry, junction = next_junction(draft.waypoint)
    lights = draft.lights_in(junction)
    if draft.world is not None and not lights:
        raise PlacementError("the next junction has no traffic lights")
    return entry, junction, lights


def priority_at_junction(draft: Draft) -> Plan:
    """The ego's light stays green until it has crossed."""
    entry, junction, lights = _lit_junction(draft)

    def behaviour(stage: Stage) -> Behaviour:
        return steps.race(steps.FreezeLights(LightPlan(lights, entry).states(GREEN)), crossed(stage, junction.id))

    return Plan(behaviour, places={"entry": entry.transform})


def control_loss(draft: Draft) -> Plan:
    """Debris on the road disturbs throttle and steering while the ego drives over it."""
    spots: list[Any] = []
    for distance in DEBRIS_AT:
        spot = walk(draft.waypoint, distance)
        if not spots or spot.transform.location.distance(spots[-1].transform.location) > 2.0:
            spots.append(spot)
    end = walk(spots[-1], 36.0).transform
    actors = tuple(
        ActorPlan(f"debris_{i}", "static.prop.dirtdebris01", (spot.transform,), role="prop", physics=False)
        for i, spot in enumerate(spots)
    )

    def disturb(stage: Stage, location: carla.Location) -> Behaviour:
        throttle, steer = (stage.rng.choice((-1.0, 1.0)) for _ in range(2))
        noise = steps.ControlNoise(
            stage.ego, np.random.default_rng(stage.rng.getrandbits(64)),
            (throttle * THROTTLE_NOISE[0], THROTTLE_NOISE[1]), (steer * STEER_NOISE[0], STEER_NOISE[1]),
        )  # fmt: skip
        return steps.sequence(
            conditions.near(stage.state, stage.ego, location, 2.0),
            steps.race(noise, conditions.far(stage.state, stage.ego, location, 2.0)),
        )

    def behaviour(stage: Stage) -> Behaviour:
        all_spots = steps.sequence(*(disturb(stage, spot.transform.location) for spot in spots))
        return steps.race(
            steps.sequence(all_spots, conditions.passed(stage.state, stage.ego, end)),
            conditions.Drove(stage.state, stage.ego, 110.0),
        )

    return Plan(behaviour, actors, first="debris_0", last=actors[-1].part, places={"end": end})


def parking_exit(draft: Draft) -> Plan:
    """The ego starts in a parking lane between two cars and has to find a gap in the traffic."""
    values, direction = draft.values, draft.values["direction"]
    parking = required_neighbour(draft.waypoint, direction)
    front = jump(parking, values["front_vehicle_distance"])
    behind = jump(parking, values["behind_vehicle_distance"], backwards=True)
    settle = kerb_offset(direction, parking.lane_width)
    route = path_ahead(draft.waypoint, 150.0, 2.0)

    def parked(part: str, waypoint: Any) -> ActorPlan:
        return ActorPlan(
            part, "vehicle.*", (waypoint.transform,), "scenario no lights", NEW_CAR, hand_brake=True, settle=settle
        )

    actors = (
        parked("front", front),
        parked("behind", behind),
        ActorPlan(
            "side", "vehicle.*", (draft.waypoint.transform,), attributes={"base_type": "car", "has_lights": True}
        ),
    )

    def prepare(stage: Stage) -> Callable[[], None]:
        before = copy_transform(stage.state.transform(stage.ego))
        stage.state.move(stage.ego, settle(stage.ego, shifted(parking.transform, up=0.2)))
        return lambda: stage.state.move(stage.ego, before)

    def behaviour(stage: Stage) -> Behaviour:
        side = stage.actors["side"]
        drive_off = steps.sequence(
            steps.race(
                steps.DrivePath(
                    stage.state, side, lambda: path_of(route), lambda: float(stage.ego.get_speed_limit()) / 3.6
                ),
                conditions.Drove(stage.state, side, 50.0),
            ),
            stage.remove("side"),
            steps.Forever(),
        )
        out = conditions.Drove(stage.state, stage.ego, 15.0 + values["front_vehicle_distance"])
        return steps.sequence(
            stage.ask(spawn_distance=values["flow_distance"]), steps.race(drive_off, out, stage.timeout())
        )

    slots = tuple(waypoint.transform.location for waypoint in (parking, front, behind))
    return Plan(
        behaviour, actors, first="front", last="behind", direction=direction, prepare=prepare, slots=slots,
        places={"start": parking.transform},
    )  # fmt: skip


def drive_on(draft: Draft) -> Plan:
    """The ego drives 200 m."""

    def behaviour(stage: Stage) -> Behaviour:
        return steps.race(conditions.Drove(stage.state, stage.ego, 200.0), stage.timeout())

    return Plan(behaviour)


def _cross(stage: Stage) -> Behaviour:
    return steps.sequence(crossed(stage), conditions.Drove(stage.state, stage.ego, 10.0))


def plain_turn(draft: Draft) -> Plan:
    """The ego crosses a junction."""
    return Plan(_cross)


def turn_at_light(draft: Draft) -> Plan:
    """The ego meets a red light that turns green, or a green one that turns red."""
    entry, _, lights = _lit_junction(draft)
    starts_red = draft.constants["starts"] == "red"

    def behaviour(stage: Stage) -> Behaviour:
        plan = LightPlan(lights, entry)
        if starts_red:
            return steps.race(_cross(stage), plan.waiting_ego())
        changing = steps.sequence(
            steps.FreezeLights(plan.states(GREEN), EGO_WAITS_S), steps.FreezeLights(plan.states(RED), EGO_WAITS_S)
        )
        if draft.fidelity.green_light_until_crossed:
            changing = steps.sequence(changing, steps.Forever())
        return steps.race(_cross(stage), changing)

    numbers = {} if starts_red else {"green_time": EGO_WAITS_S}
    return Plan(behaviour, places={"entry": entry.transform}, numbers=numbers)


TYPES = (
    ScenarioType("HardBreakRoute", hard_break),
    ScenarioType("PriorityAtJunction", priority_at_junction),
    ScenarioType("ControlLoss", control_loss),
    ScenarioType(
        "ParkingExit",
        parking_exit,
        (
            number("front_vehicle_distance", 20.0),
            number("behind_vehicle_distance", 10.0),
            SIDE,
            number("flow_distance", 25.0),
            number("speed", 60.0, "km/h"),
        ),
        ("timeout",),
    ),
    ScenarioType("SequentialLaneChange", drive_on, (), ("timeout",)),
    ScenarioType("T_Junction", drive_on, (), ("timeout",)),
    ScenarioType("VanillaNonSignalizedTurn", plain_turn, (), ("timeout",)),
    ScenarioType("VanillaNonSignalizedTurnEncounterStopsign", plain_turn, (), ("timeout",)),
    ScenarioType("VanillaSignalizedTurnEncounterGreenLight", turn_at_light, (), ("timeout",), {"starts": "green"}),
    ScenarioType("VanillaSignalizedTurnEncounterRedLight", turn_at_light, (), ("timeout",), {"starts": "red"}),
)
