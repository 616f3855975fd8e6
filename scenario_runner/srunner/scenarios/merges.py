"""Family I: streams of traffic between two given places, which the ego has to enter, leave or cross."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import carla
from py_trees.behaviour import Behaviour

from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenarios.basic_scenario import Draft, Plan, ScenarioType, Stage
from srunner.scenarios.junctions import GREEN, LightPlan, actor_flow, crossed, flow_route
from srunner.scenarios.parameters import interval, number, place
from srunner.tools.places import (
    MAX_WALK,
    PlacementError,
    crosses_in_route,
    enters_in_route,
    jump,
    junction_ends,
    next_junction,
    required_neighbour,
    same_direction_lanes,
)
from srunner.traffic.requests import JunctionRequest
from srunner.traffic.route_frame import lane_behind_junction, lane_of

ARRIVED_WITHIN = 2.0
"""The ego has merged when it is this near to the sink of the flow, metres."""

EXIT_SPACE = 20.0
"""Cars behind the junction keep at least this far from the sink, metres."""


def _ends(draft: Draft) -> tuple[Any, Any]:
    """The driving lanes nearest to the flow's given start and end."""
    start, end = draft.values["start_actor_flow"], draft.values["end_actor_flow"]
    return draft.map.get_waypoint(start), draft.map.get_waypoint(end)


def behind_junction(waypoint: Any) -> float:
    """How far a place lies behind the junction its lane comes from, metres; 0 if none is near."""
    current = waypoint
    for metres in range(MAX_WALK):
        branches = current.previous(1.0)
        if not branches:
            return 0.0
        if branches[0].is_junction:
            return float(metres)
        current = branches[0]
    return 0.0


def _reached(stage: Stage, lanes: Sequence[Any]) -> Behaviour:
    near = (conditions.near(stage.state, stage.ego, lane.transform.location, ARRIVED_WITHIN) for lane in lanes)
    return steps.race(*near, name="reached the sink")


def _run(stage: Stage, draft: Draft, routes: Sequence[Sequence[Any]], end: Behaviour, *also: Behaviour) -> Behaviour:
    """The flows until the ego has come through or the scenario times out."""
    prefill = draft.constants["prefill"]
    flows = (actor_flow(stage, draft, route, prefill=prefill, in_junctions=True) for route in routes)
    return steps.race(end, stage.timeout(), *flows, *also)


def _plan(draft: Draft, behaviour: Any, source: Any, sink: Any) -> Plan:
    places = {"source": source.transform, "sink": sink.transform}
    return Plan(behaviour, places=places, numbers={"flow_speed": draft.values["flow_speed"]})


def enter_all_lanes(draft: Draft) -> Plan:
    """The ego enters a road on which every lane carries a stream."""
    source, sink = _ends(draft)
    sources, sinks = same_direction_lanes(source), same_direction_lanes(sink)
    routes = [flow_route(draft, a, b) for a, b in zip(sources, sinks)]
    request = JunctionRequest(
        clear_junction=True, clear_entry=True, remove_entries=tuple(sources),
        extend_exit=EXIT_SPACE + behind_junction(sink),
    )  # fmt: skip

    def behaviour(stage: Stage) -> Behaviour:
        return steps.sequence(
            stage.ask(junction=request, sources_off=True), _run(stage, draft, routes, _reached(stage, sinks))
        )

    return _plan(draft, behaviour, source, sink)


def merge_into_one_lane(draft: Draft) -> Plan:
    """The ego merges into a stream on one lane behind the junction."""
    source, sink = _ends(draft)
    route = flow_route(draft, source, sink)
    request = JunctionRequest(
        clear_junction=True, clear_entry=True, remove_entries=(source,), extend_exit=EXIT_SPACE + behind_junction(sink)
    )

    def behaviour(stage: Stage) -> Behaviour:
        end = _reached(stage, same_direction_lanes(sink))
        return steps.sequence(stage.ask(junction=request, sources_off=True), _run(stage, draft, [route], end))

    return _plan(draft, behaviour, source, sink)


def merge_behind_junction(draft: Draft) -> Plan:
    """The ego comes from another junction and merges into a stream on one lane.

    Where the stream already runs through the first junction, nothing lies between: that is `merge_into_one_lane`.
    """
    source, sink = _ends(draft)
    route = flow_route(draft, source, sink)
    if next_junction(draft.waypoint)[1].id in {waypoint.junction_id for waypoint in route if waypoint.is_junction}:
        return merge_into_one_lane(draft)
    exit_ = jump(crosses_in_route(draft.trigger.location, draft.map, draft.route), 10.0)
    first = JunctionRequest(
        clear_entry=True, remove_entries=(source,), remove_exits=tuple(same_direction_lanes(exit_))
    )  # fmt: skip
    second = JunctionRequest(extend_exit=EXIT_SPACE + behind_junction(sink))

    def behaviour(stage: Stage) -> Behaviour:
        then = steps.sequence(crossed(stage), stage.ask(junction=second), steps.Forever())
        end = _reached(stage, same_direction_lanes(sink))
        return steps.sequence(stage.ask(junction=first, sources_off=True), _run(stage, draft, [route], end, then))

    return _plan(draft, behaviour, source, sink)


def highway_exit(draft: Draft) -> Plan:
    """The ego crosses a stream on the lane beside it to reach its exit. The lane is given back at the end.

    The stream heeds no lights: where its exit has some they are green for it, and so for the ego in it.
    """
    source, sink = _ends(draft)
    route = flow_route(draft, source, sink)
    inside = next((index for index, waypoint in enumerate(route) if waypoint.is_junction), None)
    junction_id = route[inside].junction_id if inside is not None else None
    lights = draft.lights_in(route[inside].get_junction()) if inside else []

    def behaviour(stage: Stage) -> Behaviour:
        also = [steps.FreezeLights(LightPlan(lights, route[inside - 1]).states(GREEN))] if inside and lights else []
        return steps.sequence(
            stage.remove_lane(source), _run(stage, draft, [route], crossed(stage, junction_id), *also)
        )

    return _plan(draft, behaviour, source, sink)


def _driving_left_of(waypoint: Any) -> Any:
    lane = required_neighbour(waypoint, "left")
    if lane.lane_type != carla.LaneType.Driving:
        raise PlacementError("the lane left of the route's exit is not a driving lane")
    return lane


def interurban(draft: Draft) -> Plan:
    """The ego turns left across a stream that leaves the interurban road."""
    source, sink = _ends(draft)
    route = flow_route(draft, source, sink)
    exit_ = crosses_in_route(draft.trigger.location, draft.map, draft.route)
    entry = enters_in_route(draft.trigger.location, draft.map, draft.route)
    other = jump(_driving_left_of(jump(exit_, 2.0)), 8.0)
    request = JunctionRequest(clear_entry=True, remove_entries=(entry, other, source))

    def behaviour(stage: Stage) -> Behaviour:
        return steps.sequence(
            stage.ask(junction=request, opposite_off=True), _run(stage, draft, [route], crossed(stage))
        )

    return _plan(draft, behaviour, source, sink)


def interurban_advanced(draft: Draft) -> Plan:
    """The ego turns left across one stream and merges into a second one."""
    source, sink = _ends(draft)
    back_source, back_sink = required_neighbour(sink, "left"), required_neighbour(source, "left")
    routes = [flow_route(draft, source, sink), flow_route(draft, back_source, back_sink)]
    entry, junction = next_junction(draft.waypoint)
    entries, exits = junction_ends(junction)
    own = {lane_of(lane) for lane in same_direction_lanes(entry)}
    kept_exit = lane_behind_junction(back_sink)
    request = JunctionRequest(
        clear_junction=True, clear_entry=True,
        remove_entries=tuple(lane for lane in entries if lane_of(lane) not in own),
        remove_exits=tuple(lane for lane in exits if lane_of(lane) != kept_exit),
        extend_exit=EXIT_SPACE + behind_junction(back_sink),
    )  # fmt: skip

    def behaviour(stage: Stage) -> Behaviour:
        end = conditions.passed(stage.state, stage.ego, back_sink.transform, within=10.0)
        asked = stage.ask(junction=request, sources_off=True, opposite_off=True)
        return steps.sequence(asked, _run(stage, draft, routes, end))

    return _plan(draft, behaviour, source, sink)


PARAMETERS = (
    place("start_actor_flow"),
    place("end_actor_flow"),
    number("flow_speed", 10.0, "m/s"),
    interval("source_dist_interval", (20.0, 50.0)),
)
ROWS = (
    ("EnterActorFlow", enter_all_lanes, True),
    ("EnterActorFlowV2", merge_behind_junction, True),
    ("MergerIntoSlowTraffic", merge_into_one_lane, True),
    ("MergerIntoSlowTrafficV2", merge_behind_junction, True),
    ("HighwayExit", highway_exit, True),
    ("InterurbanActorFlow", interurban, False),
    ("InterurbanAdvancedActorFlow", interurban_advanced, False),
)
TYPES = tuple(ScenarioType(name, plan, PARAMETERS, ("timeout",), {"prefill": prefill}) for name, plan, prefill in ROWS)
