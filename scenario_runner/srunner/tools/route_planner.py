"""Routes over the lane graph of a `carla.Map`: A* on the map's topology, with a navigation command for every point.

The behaviour follows CARLA's global route planner (carla-simulator/carla, PythonAPI/carla/agents/navigation), which is not part
of the published client package: the same graph, the same commands at junctions, the same treatment of lane changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import carla
import networkx as nx
import numpy as np

from driving.commands import RoadOption

STRAIGHT_BELOW_DEG = 35.0
"""A junction path whose heading changes by less than this is driven straight on."""

LANE_CHANGE_POINTS = 5
"""How many points of the target lane a lane change skips."""

MAX_POINTS_PER_SEGMENT = 100_000
"""Bound for walks along one lane: broken maps can lead `next` in circles."""

Node = tuple[int, int, int]
LaneKey = tuple[int, int, int]
RoutePoint = tuple[Any, RoadOption]


class NoRouteError(ValueError):
    """There is no way from one place to another on this map."""


@dataclass
class Segment:
    """One edge of the lane graph.

    Attributes:
        entry, exit: Waypoints at both ends; equal for a lane change.
        path: Waypoints strictly between them, one resolution apart.
        option: LANEFOLLOW for a stretch of lane, CHANGELANELEFT or CHANGELANERIGHT for a lane change.
        in_junction: Whether the stretch lies in a junction.
    """

    entry: Any
    exit: Any
    path: list[Any] = field(default_factory=list)
    option: RoadOption = RoadOption.LANEFOLLOW
    in_junction: bool = False

    @property
    def points(self) -> list[Any]:
        """Entry, path and exit."""
        return [self.entry, *self.path, self.exit]


def node_of(location: Any) -> Node:
    """Lane ends that meet within half a metre are one node."""
    return round(location.x), round(location.y), round(location.z)


def lane_key(waypoint: Any) -> LaneKey:
    """Road, section and lane id of a waypoint."""
    return waypoint.road_id, waypoint.section_id, waypoint.lane_id


def _flat_heading(waypoint: Any) -> np.ndarray:
    forward = waypoint.transform.get_forward_vector()
    vector = np.array([forward.x, forward.y])
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _cross(a: np.ndarray, b: np.ndarray) -> float:
    """Signed area of two plane vectors; negative when ``b`` points to the left of ``a`` in CARLA's left-handed frame."""
    return float(a[0] * b[1] - a[1] * b[0])


def _closest_index(location: Any, waypoints: Sequence[Any]) -> int:
    distances = [location.distance(waypoint.transform.location) for waypoint in waypoints]
    return int(np.argmin(distances))


class GlobalRoutePlanner:
    """Plans lane-level routes on one map.

    Args:
        road_map: A `carla.Map`.
        resolution: Distance between route points, metres; 1 for routes, 2 for scenario behaviours.

    Raises:
        ValueError: If the resolution is not positive.
    """

    def __init__(self, road_map: Any, resolution: float = 2.0) -> None:
        if resolution <= 0:
            raise ValueError(f"expected a positive distance between route points in metres, got {resolution}")
        self.road_map = road_map
        self.resolution = resolution
        self.graph: nx.DiGraph = nx.DiGraph()
        self._edge_of_lane: dict[LaneKey, tuple[Node, Node]] = {}
        self._build_graph()
        self._link_loose_ends()
        self._link_lane_changes()

    def trace_route(self, origin: Any, destination: Any) -> list[RoutePoint]:
        """Waypoints from ``origin`` to ``destination`` with the command that holds at each.

        Args:
            origin, destination: `carla.Location`s; both are moved to the nearest driving lane.

        Returns:
            (waypoint, command) pairs about one resolution apart. Lane changes are jumps between lanes.

        Raises:
            NoRouteError: If the lane graph holds no way.
        """
        start, goal = self._edge_at(origin), self._edge_at(destination)
        try:
            edges = self._find_edges(start, goal, self._segment(start).in_junction and start != goal)
            if self._goal_is_behind(edges, origin, destination):
                edges = self._find_edges(start, goal, finish_first=True)
        except nx.NetworkXNoPath as error:
            raise NoRouteError(
                f"no route from ({origin.x:.1f}, {origin.y:.1f}) to ({destination.x:.1f}, {destination.y:.1f}) on map "
                f"{self.road_map.name}; check that both lie on connected driving lanes"
            ) from error
        return self._trace(edges, self._commands(edges), origin, destination)

    def _goal_is_behind(self, edges: Sequence[tuple[Node, Node]], origin: Any, destination: Any) -> bool:
        """Whether a path of nothing but lane changes ends beside the origin, with the goal behind it."""
        if any(self._segment(edge).option is RoadOption.LANEFOLLOW for edge in edges[:-1]):
            return False
        points = self._segment(edges[-1]).points
        return _closest_index(destination, points) < _closest_index(origin, points)

    def _find_edges(
        self, start: tuple[Node, Node], goal: tuple[Node, Node], finish_first: bool
    ) -> list[tuple[Node, Node]]:
        # Inside a junction the branch is decided already, and a goal behind the origin needs a way round: both finish
        # the first edge before the search begins.
        nodes = nx.astar_path(self.graph, start[int(finish_first)], goal[0], heuristic=math.dist, weight="length")
        prefix = [start] if finish_first else []
        return [*prefix, *pairwise(nodes), goal]

    def route_length(self, origin: Any, destination: Any) -> float:
        """Length of the planned route, metres."""
        points = [waypoint.transform.location for waypoint, _ in self.trace_route(origin, destination)]
        return sum(a.distance(b) for a, b in pairwise(points))

    def _segment(self, edge: tuple[Node, Node]) -> Segment:
        segment: Segment = self.graph.edges[edge]["segment"]
        return segment

    def _walk(self, start: Any, end: Any | None) -> list[Any]:
        """Waypoints one resolution apart after ``start``, until nearer than that to ``end`` or until the lane ends."""
        path: list[Any] = []
        current = start
        for _ in range(MAX_POINTS_PER_SEGMENT):
            if end is not None and current.transform.location.distance(end.transform.location) <= self.resolution:
                break
            following = current.next(self.resolution)
            if not following:
                break
            current = following[0]
            if end is None and lane_key(current) != lane_key(start):
                break
            path.append(current)
        if end is not None and path and path[-1].transform.location.distance(end.transform.location) <= 1e-3:
            path.pop()
        return path

    def _add(self, segment: Segment) -> tuple[Node, Node]:
        begin, end = node_of(segment.entry.transform.location), node_of(segment.exit.transform.location)
        for node, waypoint in ((begin, segment.entry), (end, segment.exit)):
            self.graph.add_node(node, waypoint=waypoint)
        length = (len(segment.path) + 1) * self.resolution
        self.graph.add_edge(begin, end, segment=segment, length=length)
        return begin, end

    def _build_graph(self) -> None:
        for entry, exit_ in self.road_map.get_topology():
            segment = Segment(entry, exit_, self._walk(entry, exit_), in_junction=entry.is_junction)
            self._edge_of_lane[lane_key(entry)] = self._add(segment)

    def _link_loose_ends(self) -> None:
        """Give lanes that lead out of the map an edge of their own, so that a destination may lie on them."""
        for _, exit_ in list(self.road_map.get_topology()):
            if lane_key(exit_) in self._edge_of_lane:
                continue
            path = self._walk(exit_, None)
            if len(path) > 1:
                segment = Segment(exit_, path[-1], path[:-1], in_junction=exit_.is_junction)
                self._edge_of_lane[lane_key(exit_)] = self._add(segment)

    def _link_lane_changes(self) -> None:
        sides = (
            (RoadOption.CHANGELANERIGHT, carla.LaneChange.Right, "right_lane_marking", "get_right_lane"),
            (RoadOption.CHANGELANELEFT, carla.LaneChange.Left, "left_lane_marking", "get_left_lane"),
        )
        for edge in list(self._edge_of_lane.values()):
            segment = self._segment(edge)
            if segment.in_junction:
                continue
            for option, permission, marking, neighbour in sides:
                target = self._lane_change_target(segment, permission, marking, neighbour)
                if target is not None and not self.graph.has_edge(edge[0], node_of(target.transform.location)):
                    jump = Segment(segment.entry, target, option=option)
                    self.graph.add_edge(edge[0], node_of(target.transform.location), segment=jump, length=0.0)

    def _lane_change_target(self, segment: Segment, permission: Any, marking: str, neighbour: str) -> Any | None:
        """Entry waypoint of the neighbouring stretch, where some point of this one permits the change."""
        for waypoint in segment.path:
            lane_marking = getattr(waypoint, marking)
            if lane_marking is None or not (int(lane_marking.lane_change) & int(permission)):
                continue
            target = getattr(waypoint, neighbour)()
            if target is None or target.lane_type != carla.LaneType.Driving or target.road_id != waypoint.road_id:
                continue
            if target.lane_id * waypoint.lane_id < 0:  # maps without centre markings would lead into oncoming traffic
                continue
            edge = self._edge_of_lane.get(lane_key(target))
            if edge is not None:
                return self._segment(edge).entry
        return None

    def _edge_at(self, location: Any) -> tuple[Node, Node]:
        waypoint = self.road_map.get_waypoint(location)
        edge = self._edge_of_lane.get(lane_key(waypoint)) if waypoint is not None else None
        if edge is None:
            raise NoRouteError(
                f"({location.x:.1f}, {location.y:.1f}) is not on a driving lane of map {self.road_map.name}"
            )
        return edge

    def _commands(self, edges: Sequence[tuple[Node, Node]]) -> list[RoadOption]:
        """One command per edge: a turn holds over all consecutive junction edges."""
        commands: list[RoadOption] = []
        for index, edge in enumerate(edges):
            segment = self._segment(edge)
            if segment.option is not RoadOption.LANEFOLLOW or not segment.in_junction or index == 0:
                commands.append(segment.option)
                continue
            before = self._segment(edges[index - 1])
            if before.in_junction and commands[-1] is not RoadOption.LANEFOLLOW:
                commands.append(commands[-1])
            elif before.option is RoadOption.LANEFOLLOW and not before.in_junction:
                commands.append(self._turn(edges, index))
            else:
                commands.append(RoadOption.LANEFOLLOW)
        return commands

    def _turn(self, edges: Sequence[tuple[Node, Node]], index: int) -> RoadOption:
        last = index
        while last + 1 < len(edges) and self._segment(edges[last + 1]).in_junction:
            last += 1
        heading = _flat_heading(self._segment(edges[index - 1]).exit)
        leaving = _flat_heading(self._segment(edges[last]).exit)
        if math.degrees(math.acos(np.clip(heading @ leaving, -1.0, 1.0))) < STRAIGHT_BELOW_DEG:
            return RoadOption.STRAIGHT
        others = [
            _cross(heading, _flat_heading(data["segment"].exit))
            for _, successor, data in self.graph.out_edges(edges[index][0], data=True)
            if successor != edges[index][1] and data["segment"].option is RoadOption.LANEFOLLOW
        ] or [0.0]
        cross = _cross(heading, leaving)
        if cross < min(others):
            return RoadOption.LEFT
        if cross > max(others):
            return RoadOption.RIGHT
        return RoadOption.LEFT if cross < 0 else RoadOption.RIGHT

    def _trace(
        self, edges: Sequence[tuple[Node, Node]], commands: Sequence[RoadOption], origin: Any, destination: Any
    ) -> list[RoutePoint]:
        current = self.road_map.get_waypoint(origin)
        goal = self.road_map.get_waypoint(destination)
        route: list[RoutePoint] = []
        for index, (edge, command) in enumerate(zip(edges, commands)):
            segment = self._segment(edge)
            if segment.option is not RoadOption.LANEFOLLOW:
                route.append((current, command))
                current = self._after_lane_change(segment, current)
                route.append((current, command))
                continue
            points = segment.points
            first = _closest_index(current.transform.location, points)
            for offset, waypoint in enumerate(points[first:]):
                current = waypoint
                route.append((current, command))
                if index == len(edges) - 1 and self._arrived(points, first + offset, goal, destination):
                    break
        return route

    def _after_lane_change(self, segment: Segment, current: Any) -> Any:
        edge = self._edge_of_lane[lane_key(segment.exit)]
        points = self._segment(edge).points
        index = _closest_index(current.transform.location, points) + LANE_CHANGE_POINTS
        return points[min(index, len(points) - 1)]

    def _arrived(self, points: Sequence[Any], index: int, goal: Any, destination: Any) -> bool:
        waypoint = points[index]
        if waypoint.transform.location.distance(destination) < 2 * self.resolution:
            return True
        if lane_key(waypoint) != lane_key(goal):
            return False
        return index >= _closest_index(goal.transform.location, points)


def interpolate_trajectory(
    road_map: Any, keypoints: Sequence[Any], hop_resolution: float = 1.0, planner: GlobalRoutePlanner | None = None
) -> list[tuple[Any, RoadOption]]:
    """Join the keypoints of a route file to a dense route.

    Args:
        road_map: A `carla.Map`.
        keypoints: `carla.Location`s in driving order, at least two.
        hop_resolution: Distance between points, metres.
        planner: A planner of that map and resolution to be used again; None builds one.

    Returns:
        (`carla.Transform`, command) pairs. Where two legs join, the point occurs twice, as in CARLA's leaderboard.

    Raises:
        ValueError: If there are fewer than two keypoints.
        NoRouteError: If two keypoints are not connected.
    """
    if len(keypoints) < 2:
        raise ValueError(f"a route needs at least two keypoints, got {len(keypoints)}")
    planner = planner or GlobalRoutePlanner(road_map, hop_resolution)
    return [(waypoint.transform, command) for waypoint, command in _legs(planner, keypoints)]


def _legs(planner: GlobalRoutePlanner, keypoints: Sequence[Any]) -> Iterator[RoutePoint]:
    for origin, destination in pairwise(keypoints):
        yield from planner.trace_route(origin, destination)
