"""Family E: somebody steps onto the road in front of the ego."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import carla
from py_trees.behaviour import Behaviour

from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenarios.basic_scenario import ActorPlan, Draft, Plan, ScenarioType, Stage
from srunner.scenarios.obstacles import NEW_CAR
from srunner.scenarios.parameters import SIDE, number, text
from srunner.tools.places import (
    PlacementError,
    crosses_in_route,
    enters_in_route,
    forward,
    jump,
    lanes_towards,
    next_junction,
    shifted,
    side_lane,
    towards,
    yaw_difference_deg,
)
from srunner.traffic.requests import JunctionRequest

ATTEMPTS, ATTEMPT_STEP = 6, 0.4
"""A crossing actor without room is tried this often, each time so many metres farther on."""

ADULT_SPEED = 2.0
TURNING_SPEED = 1.8
AFTER = 40.0
"""The scenario ends when the ego has driven this far after the crossing, metres."""


def facing_road(side: str, angle_deg: float = 0.0) -> float:
    """Turn, degrees, from a lane's heading to somebody who stands at its ``side`` and looks across."""
    return 270.0 - angle_deg if side == "right" else 90.0 + angle_deg


def beside(
    waypoint: Any, direction: str, outward: float, along: float, up: float, angle_deg: float = 0.0
) -> carla.Transform:
    """A pose at the edge of the road that looks across it.

    Args:
        waypoint: Ego's lane.
        direction: Which edge.
        outward: Shift beyond the outermost lane, metres; none on a sidewalk.
        along: Shift along the lane, metres.
        up: Metres above ground.
        angle_deg: How far the look is turned against the straight way across.
    """
    lane, side = side_lane(waypoint, direction)
    on_sidewalk = lane.lane_type == carla.LaneType.Sidewalk
    facing = facing_road(side, angle_deg)
    return shifted(lane.transform, along, 0.0 if on_sidewalk else towards(side, outward), up, facing)


def crossed_slots(waypoint: Any, direction: str) -> tuple[carla.Location, ...]:
    """Parking places between a lane and the edge of the road."""
    lanes = [lane for lane, _ in lanes_towards(waypoint, direction)]
    return tuple(lane.transform.location for lane in lanes if lane.lane_type == carla.LaneType.Parking)


def reaction_s(base: float, angle_deg: float) -> float:
    """Time to the conflict at which the walker starts: slanted ways take longer."""
    return base + 0.1 * math.floor(angle_deg / 5)


def _walk(stage: Stage, part: str, speed: float, distance: float) -> Behaviour:
    return steps.WalkAhead(stage.state, stage.actors[part], speed, distance, distance / speed)


def _ways(stage: Stage, part: str, conflict: carla.Location) -> float:
    return float(stage.scenario.poses[part].location.distance(conflict))


def dynamic_object_crossing(draft: Draft) -> Plan:
    """A walker comes out from behind an object at the roadside."""
    direction, distance = draft.values["direction"], draft.values["distance"]
    model, angle = draft.values["blocker_model"], draft.values["crossing_angle"]
    if abs(angle) > 90:
        raise PlacementError(f"crossing_angle is at most 90 degrees, got {angle}")
    conflict = forward(draft.waypoint, distance)
    lane, side = side_lane(conflict, direction)
    turn = 0.0 if "vehicle" in model else 90.0
    outward = 0.0 if lane.lane_type == carla.LaneType.Sidewalk else towards(side, 1.5)

    def walker(poses: Mapping[str, carla.Transform], actors: Mapping[str, Any]) -> tuple[carla.Transform, ...]:
        at = poses["blocker"]
        onward = carla.Transform(at.location, lane.transform.rotation)
        length = actors["blocker"].bounding_box.extent.x + 0.5
        back = towards(side, 1.2) - outward if outward else 0.0
        return tuple(
            shifted(onward, length + ATTEMPT_STEP * i, back, 1.2, facing_road(side, angle)) for i in range(ATTEMPTS)
        )

    blocker = tuple(shifted(lane.transform, ATTEMPT_STEP * i, outward, 0.0, turn) for i in range(ATTEMPTS))
    actors = (
        ActorPlan("blocker", model, blocker, "scenario no lights", hand_brake="vehicle" in model),
        ActorPlan("walker", "walker.*", walker, is_walker=True),
    )
    place = conflict.transform.location

    def behaviour(stage: Stage) -> Behaviour:
        return steps.sequence(
            stage.ask(front_space=distance + 10.0),
            stage.reveal("walker"),
            conditions.time_to(stage.state, stage.ego, place, reaction_s(2.1, angle), 6.0),
            stage.ask(crossing=conflict),
            _walk(stage, "walker", ADULT_SPEED, 2 * _ways(stage, "walker", place)),
            stage.remove(),
            conditions.Drove(stage.state, stage.ego, AFTER),
        )

    return Plan(
        behaviour, actors, first="walker", direction=direction, places={"conflict": conflict.transform},
        slots=crossed_slots(conflict, direction),
    )  # fmt: skip


def parking_crossing_pedestrian(draft: Draft) -> Plan:
    """A walker comes out from in front of a parked car."""
    direction, distance, angle = draft.values["direction"], draft.values["distance"], draft.values["crossing_angle"]
    spot = jump(draft.waypoint, distance)
    aside = towards(direction, spot.lane_width)

    def beyond(actors: Mapping[str, Any]) -> Any:
        return jump(spot, actors["blocker"].bounding_box.extent.x + 0.5)

    def walker(_: Mapping[str, carla.Transform], actors: Mapping[str, Any]) -> tuple[carla.Transform, ...]:
        return (shifted(beyond(actors).transform, 0.0, aside, 1.2, facing_road(direction, angle)),)

    parked = shifted(spot.transform, right=aside, up=0.3)
    actors = (
        ActorPlan("blocker", "vehicle.*", (parked,), "scenario no lights", NEW_CAR, hand_brake=True),
        ActorPlan("walker", "walker.*", walker, is_walker=True),
    )

    def behaviour(stage: Stage) -> Behaviour:
        conflict = beyond(stage.actors).transform.location
        return steps.sequence(
            stage.ask(front_space=distance + 15.0),
            stage.reveal("walker"),
            conditions.time_to(stage.state, stage.ego, conflict, reaction_s(2.15, angle), 6.0),
            _walk(stage, "walker", ADULT_SPEED, 8.0),
            stage.remove(),
            conditions.Drove(stage.state, stage.ego, AFTER),
        )

    return Plan(
        behaviour, actors, first="walker", direction=direction, places={"conflict": spot.transform},
        slots=(parked.location, jump(spot, 4.0).transform.location),
    )  # fmt: skip


def turning_bicycle(draft: Draft) -> Plan:
    """After a turn a bicycle rides across the exit from the right."""
    exit_ = crosses_in_route(draft.trigger.location, draft.map, draft.route)
    conflict = forward(exit_, 11.0)
    poses = tuple(beside(conflict, "right", 1.5, ATTEMPT_STEP * i, 0.2) for i in range(ATTEMPTS))
    place = conflict.transform.location
    actors = (ActorPlan("bicycle", "vehicle.diamondback.century", poses, hand_brake=True),)

    def behaviour(stage: Stage) -> Behaviour:
        way = 2 * _ways(stage, "bicycle", place)
        return steps.sequence(
            conditions.time_to(stage.state, stage.ego, place, 1.8, 6.0),
            stage.ask(crossing=conflict),
            steps.ForceAhead(stage.state, stage.actors["bicycle"], TURNING_SPEED, way, way / TURNING_SPEED),
            stage.remove(),
            conditions.Drove(stage.state, stage.ego, AFTER),
        )

    return Plan(behaviour, actors, first="bicycle", places={"conflict": conflict.transform})


def turning_pedestrian(draft: Draft) -> Plan:
    """After a turn a walker crosses the exit: from the right after a left turn, else from the left."""
    entry = enters_in_route(draft.trigger.location, draft.map, draft.route)
    exit_ = crosses_in_route(draft.trigger.location, draft.map, draft.route)
    direction = "right" if yaw_difference_deg(exit_.transform, entry.transform) < 0 else "left"
    conflict = forward(exit_, 0.5)
    start = beside(conflict, direction, 1.5, 0.0, 1.2)
    far_side = beside(conflict, "left" if direction == "right" else "right", 1.5, 0.0, 1.2)
    width = start.location.distance(far_side.location)
    place = conflict.transform.location
    actors = (ActorPlan("walker", "walker.*", (start,), is_walker=True),)

    def behaviour(stage: Stage) -> Behaviour:
        return steps.sequence(
            stage.reveal("walker"),
            conditions.time_to(stage.state, stage.ego, place, 2.2, 6.0),
            stage.ask(crossing=conflict),
            _walk(stage, "walker", TURNING_SPEED, width),
            stage.remove(),
            conditions.Drove(stage.state, stage.ego, AFTER),
        )

    return Plan(behaviour, actors, first="walker", direction=direction, places={"conflict": conflict.transform})


GROUP = ((0.4, 1.5, 1.2), (1.0, 2.5, 1.2), (1.6, 0.5, 1.2))
"""Where the three walkers of a group stand: forward, right and up of the sidewalk point, metres."""


def pedestrian_crossing(draft: Draft) -> Plan:
    """Three walkers cross in front of a junction, each with a speed and delay of its own.

    The original's walkers wait for ever after crossing, so it never ends; here it ends when all are across and the ego
    has driven on.
    """
    conflict, _ = next_junction(draft.waypoint)
    lane, _ = side_lane(conflict, "right")
    if lane.lane_type != carla.LaneType.Sidewalk:
        raise PlacementError("there is no sidewalk on the right before the junction")
    poses = [shifted(lane.transform, *offset, turn_deg=270.0) for offset in GROUP]
    actors = tuple(ActorPlan(f"walker_{i}", "walker.*", (pose,), is_walker=True) for i, pose in enumerate(poses))
    place = conflict.transform.location
    draws = [(draft.rng.uniform(0.0, 1.5), draft.rng.uniform(1.3, 2.0)) for _ in GROUP]

    def one(stage: Stage, part: str, delay: float, speed: float) -> Behaviour:
        way = 2.3 * _ways(stage, part, place)
        return steps.sequence(steps.Idle(delay), _walk(stage, part, speed, way), stage.remove(part))

    def behaviour(stage: Stage) -> Behaviour:
        crossing = [one(stage, actor.part, *draw) for actor, draw in zip(actors, draws)]
        return steps.sequence(
            stage.ask(junction=JunctionRequest(clear_entry=True)),
            stage.reveal(),
            conditions.time_to(stage.state, stage.ego, place, 3.5, 12.0),
            steps.together(*crossing, conditions.Drove(stage.state, stage.ego, AFTER)),
        )

    return Plan(behaviour, actors, first="walker_0", last="walker_2", places={"conflict": conflict.transform})


ANGLE = number("crossing_angle", 0.0, "degrees")
TYPES = (
    ScenarioType(
        "DynamicObjectCrossing",
        dynamic_object_crossing,
        (number("distance", 12.0), SIDE, text("blocker_model", "static.prop.vendingmachine"), ANGLE),
    ),
    ScenarioType("ParkingCrossingPedestrian", parking_crossing_pedestrian, (number("distance", 12.0), SIDE, ANGLE)),
    ScenarioType("VehicleTurningRoute", turning_bicycle),
    ScenarioType("VehicleTurningRoutePedestrian", turning_pedestrian),
    ScenarioType("PedestrianCrossing", pedestrian_crossing),
)
