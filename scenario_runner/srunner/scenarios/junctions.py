"""Families F, G and H: traffic through a junction the ego crosses, one car that takes the priority, a blocked exit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import carla
from py_trees.behaviour import Behaviour

from srunner.agents.path_agent import AgentOptions, path_of
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenariomanager.scenarioatomics.flows import Flow, FlowRule
from srunner.scenarios.basic_scenario import ActorPlan, Draft, Plan, ScenarioType, Stage
from srunner.scenarios.obstacles import POLICE_LIGHTS
from srunner.scenarios.parameters import interval, number, place, text
from srunner.tools.places import (
    MAX_WALK,
    PlacementError,
    after_junction,
    ahead_of,
    crosses_in_route,
    crossing_point,
    forward,
    from_direction,
    junction_ends,
    light_of,
    next_junction,
    same_direction_lanes,
    shifted,
    upstream,
    walk,
)
from srunner.traffic.requests import JunctionRequest

RED, GREEN = carla.TrafficLightState.Red, carla.TrafficLightState.Green
EGO_WAITS_S = 5.0
"""How long the ego's light is red when a signalised junction scenario starts."""


class LightPlan:
    """Lights of a junction, sorted by whom they serve.

    Args:
        lights: All lights of the junction.
        ego_entry: Where the ego enters.
        other_entry: Where the other traffic enters, None if nobody else gets green.
    """

    def __init__(self, lights: Sequence[Any], ego_entry: Any, other_entry: Any = None) -> None:
        self.lights = list(lights)
        self.ego = light_of(ego_entry, lights)
        self.other = light_of(other_entry, lights) if other_entry is not None else None

    def states(self, ego: Any, other: Any = RED) -> list[tuple[Any, Any]]:
        """State by light; all that serve neither ego nor the other traffic are red."""
        own, others = getattr(self.ego, "id", None), getattr(self.other, "id", None)
        return [(light, ego if light.id == own else other if light.id == others else RED) for light in self.lights]

    def waiting_ego(self) -> Behaviour:
        """Ego red for some seconds, then green together with the other traffic, until it is ended."""
        return steps.sequence(
            steps.FreezeLights(self.states(RED, GREEN), EGO_WAITS_S), steps.FreezeLights(self.states(GREEN, GREEN))
        )


def crossed(stage: Stage, junction_id: int | None = None) -> Behaviour:
    """Until the ego has crossed a junction (this one if an id is given)."""
    return conditions.CrossedJunction(stage.state, stage.ego, stage.context.map, junction_id)


def actor_flow(stage: Stage, draft: Draft, route: Sequence[Any], prefill: bool, in_junctions: bool) -> Behaviour:
    """Cars at constant ``flow_speed`` along a route, with gaps from ``source_dist_interval``."""
    fidelity = draft.fidelity
    options = AgentOptions(
        not fidelity.flows_brake, True, constant_velocity=True, heeds_bends=fidelity.flows_heed_bends
    )
    rule = FlowRule(
        draft.values["flow_speed"], draft.values["source_dist_interval"], prefill=prefill, prefill_junctions=in_junctions,
        options=options,
    )  # fmt: skip
    return Flow(stage.state, route, rule, stage.rng)


def flow_route(draft: Draft, source: Any, sink: Any) -> list[Any]:
    """Waypoints from source to sink, 2 m apart."""
    return [waypoint for waypoint, _ in draft.planner.trace_route(source.transform.location, sink.transform.location)]


def flow_through_junction(draft: Draft) -> Plan:
    """A stream crosses the ego's turn: oncoming for left turns, from the left for right turns."""
    constants, speed = draft.constants, draft.values["flow_speed"]
    is_left, signalised = constants["turn"] == "left", constants["signalised"]
    entry, junction = next_junction(draft.waypoint)
    candidates = from_direction(entry, junction_ends(junction)[0], "opposite" if is_left else "left")
    if not candidates:
        raise PlacementError(
            f"no traffic can come from {'the opposite side' if is_left else 'the left'} of the junction"
        )
    flow_entry = draft.rng.choice(candidates) if is_left else same_direction_lanes(candidates[0])[-1]
    lights = draft.lights_in(junction) if signalised else []
    if signalised and is_left and draft.world is not None and not lights:
        raise PlacementError("the junction has no traffic lights")
    source = upstream(flow_entry, constants["source_s"] * speed)
    sink_distance = constants["sink_s"] * speed
    sink = walk(after_junction(flow_entry, constants["flow_turn"]), sink_distance)
    route = flow_route(draft, source, sink)
    request = JunctionRequest(
        clear_junction=True, clear_entry=True, remove_entries=tuple(same_direction_lanes(source)),
        remove_exits=tuple(same_direction_lanes(sink)) if is_left else (), stop_entries=not signalised,
        extend_exit=sink_distance + 20.0,
    )  # fmt: skip

    def behaviour(stage: Stage) -> Behaviour:
        running = [
            steps.sequence(crossed(stage), conditions.Drove(stage.state, stage.ego, 10.0)),
            actor_flow(stage, draft, route, prefill=not is_left, in_junctions=False),
            stage.timeout(),
        ]
        if lights:
            running.append(LightPlan(lights, entry, flow_entry).waiting_ego())
        return steps.sequence(stage.ask(junction=request, opposite_off=is_left), steps.race(*running))

    places = {"source": source.transform, "sink": sink.transform, "entry": entry.transform}
    return Plan(behaviour, direction="left" if is_left else "right", places=places, numbers={"flow_speed": speed})


def _through_junction(waypoint: Any, beyond: float, step: float = 2.0) -> list[Any]:
    """Waypoints along a lane through the next junction and ``beyond`` metres past it.

    Raises:
        PlacementError: If the lane ends before.
    """
    path, was_inside, travelled = [waypoint], False, 0.0
    for _ in range(MAX_WALK):
        branches = path[-1].next(step)
        if not branches:
            raise PlacementError("the bicycle lane ends before it has crossed the junction")
        path.append(branches[0])
        was_inside = was_inside or branches[0].is_junction
        if was_inside and not branches[0].is_junction:
            travelled += step
        if travelled >= beyond:
            return path
    raise PlacementError("the bicycle lane crosses no junction")


def crossing_bicycles(draft: Draft) -> Plan:
    """Bicycles on their lane cross the road into which the ego turns."""
    start = draft.values["start_actor_flow"]
    lane = draft.map.get_waypoint(start, lane_type=carla.LaneType.Biking)
    if lane is None or lane.transform.location.distance(start) > 10.0:
        raise PlacementError(f"there is no bicycle lane within 10 m of ({start.x:.1f}, {start.y:.1f})")
    route = _through_junction(lane, 40.0)
    entry, junction = next_junction(draft.waypoint)
    lights = draft.lights_in(junction)
    request = JunctionRequest(clear_junction=True, clear_entry=True, stop_entries=True)

    def behaviour(stage: Stage) -> Behaviour:
        rule = FlowRule(
            draft.values["flow_speed"], draft.values["source_dist_interval"], "bicycle", "scenario no lights", prefill=True,
            prefill_junctions=True,
        )  # fmt: skip
        running = [Flow(stage.state, route, rule, stage.rng), stage.timeout(), crossed(stage)]
        if lights:
            plan = LightPlan(lights, entry)
            hold = steps.FreezeLights(plan.states(RED), EGO_WAITS_S)
            running.append(steps.sequence(hold, steps.FreezeLights(plan.states(GREEN))))
        return steps.sequence(stage.ask(junction=request), steps.race(*running))

    return Plan(behaviour, places={"source": route[0].transform, "sink": route[-1].transform})


VIOLATOR_SPEED_KMH = 60.0


def _ignored_priority(draft: Draft) -> tuple[Any, Any, Any, carla.Location]:
    """(ego's entry, the violator's start, its sink, where they meet)."""
    direction = draft.values["direction"]
    entry, junction = next_junction(draft.waypoint)
    candidates = from_direction(entry, junction_ends(junction)[0], direction)
    if not candidates:
        raise PlacementError(f"no traffic can come from the {direction} of the junction")
    start = upstream(candidates[0], 30.0, step=1.0)
    sink = walk(after_junction(candidates[0], 0), 10.0)
    conflict = crossing_point(entry.transform, candidates[0].transform)
    if conflict is None:
        raise PlacementError("the ways of the ego and the other car are parallel")
    return entry, start, sink, conflict


def taken_priority(draft: Draft) -> Plan:
    """An emergency vehicle crosses at speed although the ego has priority."""
    entry, start, sink, conflict = _ignored_priority(draft)
    signalised, (_, junction) = draft.constants["signalised"], next_junction(draft.waypoint)
    lights = draft.lights_in(junction) if signalised else []
    route = flow_route(draft, start, sink)
    speed = VIOLATOR_SPEED_KMH / 3.6
    pose = shifted(start.transform, up=0.1)
    actors = (
        ActorPlan(
            "adversary", "vehicle.*", (pose,), attributes={"special_type": "emergency", "base_type": "car"}, hidden=500.0,
            lights=POLICE_LIGHTS,
        ),
    )  # fmt: skip
    request = JunctionRequest(
        clear_junction=True,
        clear_entry=True,
        remove_entries=(start,),
        remove_exits=(sink,),
        stop_entries=not signalised,
    )

    def behaviour(stage: Stage) -> Behaviour:
        options = AgentOptions(ignore_vehicles=True, ignore_lights=True, constant_velocity=True, heeds_bends=False)
        rush = steps.race(
            steps.DrivePath(stage.state, stage.actors["adversary"], lambda: path_of(route), speed, options),
            steps.Idle(2.0 * len(route) / speed),  # waypoints are 2 m apart
        )
        leave = conditions.CrossedJunction(
            stage.state, stage.ego, stage.context.map, junction.id,
            already=lambda: ahead_of(entry.transform, stage.ego_location) > 0.0,
        )  # fmt: skip
        meet = steps.sequence(
            conditions.time_to(stage.state, stage.ego, conflict, 2.2, 12.0), rush, stage.remove(), leave
        )
        if lights:
            meet = steps.race(meet, steps.FreezeLights(LightPlan(lights, entry).states(GREEN)))
        return steps.sequence(stage.ask(junction=request), stage.reveal(), meet)

    return Plan(
        behaviour, actors, first="adversary", direction=draft.values["direction"],
        places={"source": start.transform, "sink": sink.transform, "conflict": carla.Transform(conflict)},
        slots=(start.transform.location,),
    )  # fmt: skip


def blocked_exit(draft: Draft) -> Plan:
    """A car stands just behind the junction the ego turns in, and leaves some seconds after the ego has come."""
    exit_ = crosses_in_route(draft.trigger.location, draft.map, draft.route)
    spot = forward(exit_, 5.0)
    actors = (
        ActorPlan(
            "car", "vehicle.*", (shifted(spot.transform, up=0.2),), attributes={"base_type": "car", "special_type": ""},
            hidden=200.0, lights=int(carla.VehicleLightState.Brake),
        ),
    )  # fmt: skip
    request = JunctionRequest(clear_junction=True, clear_entry=True, stop_entries=True)

    def behaviour(stage: Stage) -> Behaviour:
        car = stage.actors["car"]
        standing = steps.sequence(
            stage.reveal(),
            steps.Call("hand brake", lambda: car.apply_control(carla.VehicleControl(hand_brake=True, brake=1.0))),
            conditions.near(stage.state, stage.ego, spot.transform.location, 13.0),
            steps.Idle(10.0),
        )
        return steps.sequence(stage.ask(junction=request), steps.race(stage.timeout(), standing))

    return Plan(behaviour, actors, first="car", places={"obstacle": spot.transform})


FLOW = (number("flow_speed", 20.0, "m/s"), interval("source_dist_interval", (25.0, 50.0)))
LEFT = {"turn": "left", "source_s": 4.0, "sink_s": 2.5, "flow_turn": 0}
RIGHT = {"turn": "right", "source_s": 5.0, "sink_s": 3.0, "flow_turn": 0}
ENTER = {**LEFT, "flow_turn": 1}
PRIORITY = (text("direction", "right", ("left", "right", "opposite")),)
TYPES = (
    *(
        ScenarioType(
            f"{prefix}{name}", flow_through_junction, FLOW, ("timeout",), {**figures, "signalised": signalised}
        )
        for prefix, signalised in (("Signalized", True), ("NonSignalized", False))
        for name, figures in (
            ("JunctionLeftTurn", LEFT),
            ("JunctionLeftTurnEnterFlow", ENTER),
            ("JunctionRightTurn", RIGHT),
        )
    ),
    ScenarioType(
        "CrossingBicycleFlow",
        crossing_bicycles,
        (place("start_actor_flow"), number("flow_speed", 10.0, "m/s"), interval("source_dist_interval", (20.0, 50.0))),
        ("timeout",),
    ),
    ScenarioType("OppositeVehicleRunningRedLight", taken_priority, PRIORITY, (), {"signalised": True}),
    ScenarioType("OppositeVehicleTakingPriority", taken_priority, PRIORITY, (), {"signalised": False}),
    ScenarioType("BlockedIntersection", blocked_exit, (), ("timeout",)),
)
