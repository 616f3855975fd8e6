"""Which lane continues into which: road links, section links and junction connections, in the direction of travel."""

from __future__ import annotations

import dataclasses

from carla_server.map.opendrive import OpenDrive, RoadLink, XConnection, XRoad
from carla_server.map.records import Lane, LaneKey


def linked_lanes(network: OpenDrive, lanes: list[Lane]) -> tuple[Lane, ...]:
    """The same lanes with neighbours, successors and predecessors filled in."""
    by_key = {lane.key: lane for lane in lanes}
    onward: dict[int, set[int]] = {lane.index: set() for lane in lanes}
    for before, after in _edges(network):
        if before in by_key and after in by_key:
            onward[by_key[before].index].add(by_key[after].index)
    backward: dict[int, set[int]] = {lane.index: set() for lane in lanes}
    for index, followers in onward.items():
        for follower in followers:
            backward[follower].add(index)
    return tuple(
        dataclasses.replace(
            lane,
            left=_neighbour(by_key, lane, towards_center=True),
            right=_neighbour(by_key, lane, towards_center=False),
            successors=tuple(sorted(onward[lane.index])),
            predecessors=tuple(sorted(backward[lane.index])),
        )
        for lane in lanes
    )


def _neighbour(by_key: dict[LaneKey, Lane], lane: Lane, towards_center: bool) -> int:
    sign = 1 if lane.key.lane > 0 else -1
    number = lane.key.lane - sign if towards_center else lane.key.lane + sign
    if number == 0:
        number = -sign
    other = by_key.get(lane.key._replace(lane=number))
    return -1 if other is None else other.index


def _edges(network: OpenDrive) -> list[tuple[LaneKey, LaneKey]]:
    edges: list[tuple[LaneKey, LaneKey]] = []
    for road in network.roads.values():
        edges.extend(_section_edges(road))
        edges.extend(_road_edges(network, road, road.successor, at_end=True))
        edges.extend(_road_edges(network, road, road.predecessor, at_end=False))
    for junction in network.junctions.values():
        for connection in junction.connections:
            edges.extend(_connection_edges(network, connection))
    return edges


def _travel_edge(leaving: LaneKey, entering: LaneKey, along: bool) -> tuple[LaneKey, LaneKey]:
    """Order a pair of touching lanes by travel: `along` tells whether traffic leaves the first one here."""
    return (leaving, entering) if along else (entering, leaving)


def _section_edges(road: XRoad) -> list[tuple[LaneKey, LaneKey]]:
    edges = []
    for number in range(len(road.sections) - 1):
        here, beyond = road.sections[number].lanes, road.sections[number + 1].lanes
        pairs = {(lane.id, lane.successor) for lane in here.values() if lane.successor is not None}
        pairs |= {(lane.predecessor, lane.id) for lane in beyond.values() if lane.predecessor is not None}
        for first, second in pairs:
            if first != 0 and second != 0:
                edges.append(
                    _travel_edge(LaneKey(road.id, number, first), LaneKey(road.id, number + 1, second), first < 0)
                )
    return edges


def _end_section(road: XRoad, contact: str) -> int:
    return 0 if contact == "start" else len(road.sections) - 1


def _road_edges(network: OpenDrive, road: XRoad, link: RoadLink | None, at_end: bool) -> list[tuple[LaneKey, LaneKey]]:
    if link is None or link.element != "road" or link.id not in network.roads:
        return []
    other = network.roads[link.id]
    here, there = (len(road.sections) - 1 if at_end else 0), _end_section(other, link.contact)
    edges = []
    for lane in road.sections[here].lanes.values():
        target = lane.successor if at_end else lane.predecessor
        if lane.id != 0 and target is not None and target != 0:
            along = (lane.id < 0) == at_end
            edges.append(_travel_edge(LaneKey(road.id, here, lane.id), LaneKey(other.id, there, target), along))
    return edges


def _connection_edges(network: OpenDrive, connection: XConnection) -> list[tuple[LaneKey, LaneKey]]:
    incoming, connecting = network.roads.get(connection.incoming), network.roads.get(connection.connecting)
    if incoming is None or connecting is None:
        return []
    link = connecting.predecessor if connection.contact == "start" else connecting.successor
    if link is None or link.id != incoming.id:
        return []
    section, entry = _end_section(incoming, link.contact), _end_section(connecting, connection.contact)
    edges = []
    for source, target in connection.lane_links:
        enters = (target < 0) == (connection.contact == "start")
        edges.append(_travel_edge(LaneKey(incoming.id, section, source), LaneKey(connecting.id, entry, target), enters))
    return edges
