"""Signals, controllers, objects and crosswalks of a parsed network, placed in CARLA's world frame."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from carla_server.map.opendrive import Array, OpenDrive, XObject, XRoad, XSignal
from carla_server.map.records import Controller, Crosswalk, Lane, MapObject, Signal, SignalKind
from carla_server.map.sampling import RoadSurface

#: Lane types that traffic obeys signals on.
TRAFFIC_LANES = frozenset({"driving", "biking", "bidirectional", "entry", "exit", "onRamp", "offRamp"})


def _as_float(text: str | None, default: float) -> float:
    try:
        return default if text is None else float(text)
    except ValueError:
        return default


def place_controllers(network: OpenDrive) -> dict[str, Controller]:
    """Controllers by id; each knows the junction that names it."""
    junction_of = {key: junction.id for junction in network.junctions.values() for key in junction.controllers}
    return {
        key: Controller(key, row.name, row.sequence, tuple(dict.fromkeys(row.signals)), junction_of.get(key, -1))
        for key, row in network.controllers.items()
    }


def place_signals(network: OpenDrive, lanes: tuple[Lane, ...]) -> dict[str, Signal]:
    """Signals by id, each with the lanes it governs and the line where traffic stops for it."""
    finder = _LaneFinder(lanes)
    places: dict[str, list[tuple[XRoad, XSignal]]] = defaultdict(list)
    for road in network.roads.values():
        for entry in (*road.signals, *road.references):
            places[entry.id].append((road, entry))
    signals = {}
    for road in network.roads.values():
        for entry in road.signals:
            signals[entry.id] = _signal(road, entry, places[entry.id], finder, network)
    return signals


class _LaneFinder:
    """Lanes of a road at a distance along it."""

    def __init__(self, lanes: tuple[Lane, ...]) -> None:
        self.lanes = lanes
        self.of_road: dict[int, list[Lane]] = defaultdict(list)
        for lane in lanes:
            self.of_road[lane.key.road].append(lane)

    def at(self, road: int, s: float, lane_id: int) -> Lane | None:
        """The lane with this id in the section at distance `s`, None if there is none."""
        best = None
        for lane in self.of_road[road]:
            if lane.key.lane == lane_id and (best is None or lane.s[0] <= s + 1e-6):
                best = lane
        return best


def _valid_lane_ids(entry: XSignal, road: XRoad) -> list[int]:
    if not entry.lanes:
        wanted = {"+": (-1,), "-": (1,)}.get(entry.attributes.get("orientation", "none"), (-1, 1))
        ids = {lane for section in road.sections for lane in section.lanes}
        return sorted(lane for lane in ids if lane != 0 and int(math.copysign(1, lane)) in wanted)
    ids = set()
    for first, last in entry.lanes:
        ids.update(range(min(first, last), max(first, last) + 1))
    return sorted(ids - {0})


def _governed(
    places: list[tuple[XRoad, XSignal]], finder: _LaneFinder
) -> tuple[list[tuple[Lane, float]], list[tuple[Lane, float]]]:
    """(lane, distance) pairs where traffic must stop, outside junctions and, if it has no way in, inside."""
    outside, inside = [], []
    for road, entry in places:
        for lane_id in _valid_lane_ids(entry, road):
            lane = finder.at(road.id, entry.s, lane_id)
            if lane is None or lane.type not in TRAFFIC_LANES:
                continue
            if lane.junction < 0:
                outside.append((lane, float(np.clip(entry.s, lane.s[0], lane.s[-1]))))
                continue
            incoming = [finder.lanes[index] for index in lane.predecessors if finder.lanes[index].junction < 0]
            outside.extend((before, float(before.s[-1] if before.forward else before.s[0])) for before in incoming)
            if not incoming:
                inside.append((lane, float(lane.s[0] if lane.forward else lane.s[-1])))
    return outside, inside


def _signal(
    road: XRoad, entry: XSignal, places: list[tuple[XRoad, XSignal]], finder: _LaneFinder, network: OpenDrive
) -> Signal:
    text = entry.attributes
    surface, at = RoadSurface(road), np.array([entry.s])
    outside, inside = _governed(places, finder)
    governed = outside or inside
    line_s = [
        float(o.attributes["s"]) for o in road.objects if entry.stop_line and o.attributes["id"] == entry.stop_line
    ]
    governed = [(lane, line_s[0] if line_s and lane.key.road == road.id else s) for lane, s in governed]
    kind = next((row for row in SignalKind if row.value and row.value == text.get("type")), SignalKind.OTHER)
    left, right, stop_yaw, stop_lanes = _stop_line(governed)
    junctions = [place.junction for place, _ in places if place.junction >= 0]
    junctions = junctions or [_junction_ahead(network, lane) for lane, _ in governed]
    return Signal(
        id=entry.id,
        name=text.get("name", ""),
        kind=kind,
        type=text.get("type", ""),
        subtype=text.get("subtype", ""),
        value=_as_float(text.get("value"), math.nan),
        unit=text.get("unit", ""),
        road=road.id,
        s=entry.s,
        position=surface.points(at, np.array([entry.t]))[0],
        # As the client computes it: the orientation attribute plays no part.
        yaw=float(surface.yaw(at)[0]) - _as_float(text.get("hOffset"), 0.0),
        z_offset=_as_float(text.get("zOffset"), 0.0),
        height=_as_float(text.get("height"), 0.0),
        width=_as_float(text.get("width"), 0.0),
        arm_length=entry.arm_length,
        lanes=tuple(lane.index for lane in stop_lanes),
        stop_left=left,
        stop_right=right,
        stop_yaw=stop_yaw,
        junction=junctions[0] if junctions else -1,
    )


def _junction_ahead(network: OpenDrive, lane: Lane) -> int:
    road = network.roads[lane.key.road]
    link = road.successor if lane.forward else road.predecessor
    return link.id if link is not None and link.element == "junction" else -1


def _stop_line(governed: list[tuple[Lane, float]]) -> tuple[Array | None, Array | None, float, list[Lane]]:
    """Ends of the stop line over the governed lanes of the road that has most of them."""
    by_road: dict[tuple[int, bool], dict[int, tuple[Lane, float]]] = defaultdict(dict)
    for lane, s in governed:
        by_road[lane.key.road, lane.forward][lane.key.lane] = (lane, s)
    if not by_road:
        return None, None, 0.0, []
    rows = sorted(max(by_road.values(), key=len).values(), key=lambda row: abs(row[0].key.lane))
    lanes = [lane for lane, _ in rows]
    (first, s), last = rows[0], rows[-1][0]
    yaw = float(np.interp(s, first.s, np.unwrap(first.yaw)))
    return at_station(first, first.inner, s), at_station(last, last.outer, s), yaw, lanes


def at_station(lane: Lane, line: Array, s: float) -> Array:
    """(3,) point of one of the lane's polylines at distance `s` along its road."""
    return np.array([np.interp(s, lane.s, line[:, axis]) for axis in range(3)])


def place_objects(network: OpenDrive) -> tuple[MapObject, ...]:
    """All objects of all roads."""
    return tuple(_object(road, entry) for road in network.roads.values() for entry in road.objects)


def _object(road: XRoad, entry: XObject) -> MapObject:
    text = entry.attributes
    s, t = _as_float(text.get("s"), 0.0), _as_float(text.get("t"), 0.0)
    surface = RoadSurface(road)
    position = surface.points(np.array([s]), np.array([t]))[0]
    position[2] += _as_float(text.get("zOffset"), 0.0)
    yaw = float(surface.yaw(np.array([s]))[0]) - _as_float(text.get("hdg"), 0.0)
    return MapObject(
        id=text.get("id", ""),
        name=text.get("name", ""),
        type=text.get("type", "none"),
        subtype=text.get("subtype", ""),
        road=road.id,
        position=position,
        yaw=yaw,
        length=_as_float(text.get("length"), 0.0),
        width=_as_float(text.get("width"), 0.0),
        height=_as_float(text.get("height"), 0.0),
        outline=_outline(entry, position, yaw),
    )


def _outline(entry: XObject, position: Array, yaw: float) -> Array | None:
    """World corners of an outline; local u runs along the heading, v to its left."""
    if not entry.corners:
        return None
    corners = np.array(entry.corners)
    if len(corners) > 1 and np.allclose(corners[0], corners[-1]):
        corners = corners[:-1]
    cos, sin = math.cos(yaw), math.sin(yaw)
    u, v = corners[:, 0], -corners[:, 1]
    return np.stack(
        (position[0] + u * cos - v * sin, position[1] + u * sin + v * cos, position[2] + corners[:, 2]), axis=1
    )


def crosswalks_of(objects: tuple[MapObject, ...]) -> tuple[Crosswalk, ...]:
    """Objects of type crosswalk that have an outline."""
    return tuple(
        Crosswalk(row.id, row.road, row.outline)
        for row in objects
        if row.type == "crosswalk" and row.outline is not None
    )
