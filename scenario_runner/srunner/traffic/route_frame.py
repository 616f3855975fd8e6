"""The route as a coordinate frame: arc length along it, lanes counted from it.

A *lane number* names one physical lane all along the route: the lane the route starts on is 0, lanes to its right are positive.
Where the route changes lanes its own number changes, the lanes' numbers do not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import carla
import numpy as np
from numba import njit
from numpy.typing import NDArray

from driving.commands import RoadOption
from driving.geometry import Array
from srunner.tools.places import (
    flat_distance,
    junction_ends,
    leave_junction,
    opposite_lanes,
    same_direction_lanes,
)

PASSED_WINDOW = 3
"""Points beyond the current one the ego may pass in a tick."""

SEARCH_BEHIND, SEARCH_AHEAD = 120, 200
"""Points behind and ahead of the ego among which a car's place on the route is searched."""

TYPICAL_LANE_WIDTH = 3.5
"""Metres; a step aside of this size is one lane."""

NARROWEST_LANE = 2.5
"""Lanes are counted as if none were narrower than this, metres."""

CHANGES = {RoadOption.CHANGELANELEFT: -1, RoadOption.CHANGELANERIGHT: 1}


@dataclass(slots=True)
class Place:
    """Where something is, as seen from the route.

    Attributes:
        along: Arc length, metres; negative before the start.
        right: Distance to the right of the route, metres.
        index: Nearest route point.
        lane: Number of the lane.
    """

    along: float
    right: float
    index: int
    lane: int


@dataclass(frozen=True)
class RouteJunction:
    """One crossing of a junction by the route.

    Attributes:
        first, last: Route points inside.
        start, end: Arc lengths of the borders, metres.
        entry, exit: The route's waypoints just before and behind.
        entries, exits: All driving lanes that lead in and out, outside the junction.
        id: Junction id of the map.
    """

    first: int
    last: int
    start: float
    end: float
    entry: Any
    exit: Any
    entries: tuple[Any, ...]
    exits: tuple[Any, ...]
    id: int

    @property
    def is_real(self) -> bool:
        """Whether traffic other than the ego's own road enters it."""
        own = {lane_of(lane) for lane in same_direction_lanes(self.entry)}
        return any(lane_of(entry) not in own for entry in self.entries)

    @cached_property
    def onward(self) -> frozenset[tuple[int, int]]:
        """Lanes of the route's direction behind the junction."""
        return frozenset(lane_of(lane) for lane in same_direction_lanes(self.exit))


def lane_of(waypoint: Any) -> tuple[int, int]:
    """Road and lane id."""
    return waypoint.road_id, waypoint.lane_id


class RouteFrame:
    """A route on a map.

    Args:
        road_map: `carla.Map`.
        route: (pose, command) pairs about 1 m apart; repeated points are dropped.
    """

    def __init__(self, road_map: Any, route: Sequence[tuple[carla.Transform, RoadOption]]) -> None:
        kept = [route[0]]
        for point in route[1:]:
            if flat_distance(point[0].location, kept[-1][0].location) > 0.05:
                kept.append(point)
        self.map = road_map
        self.points = np.array([(pose.location.x, pose.location.y) for pose, _ in kept])
        self._locations = [pose.location for pose, _ in kept]
        yaws = np.radians([pose.rotation.yaw for pose, _ in kept])
        self.headings = np.stack([np.cos(yaws), np.sin(yaws)], axis=1)
        steps = np.hypot(*np.diff(self.points, axis=0).T) if len(kept) > 1 else np.empty(0)
        self.lengths = np.concatenate([[0.0], np.cumsum(steps)])
        self.lane_numbers = self._count_lane_changes([option for _, option in kept])
        self.index = 0
        self.waypoint = lru_cache(maxsize=None)(self._waypoint)
        self.lanes = lru_cache(maxsize=None)(self._lanes)
        self.opposite = lru_cache(maxsize=None)(self._opposite)
        self.junctions = self._find_junctions()
        # Whole stretches are searched as arrays, single points read as plain numbers, which is far quicker.
        self._xs, self._ys = np.ascontiguousarray(self.points[:, 0]), np.ascontiguousarray(self.points[:, 1])
        self._lengths: list[float] = self.lengths.tolist()
        widths = [max(self.waypoint(i).lane_width, NARROWEST_LANE) for i in range(len(kept))]
        columns = self._xs, self._ys, self.headings[:, 0], self.headings[:, 1], self.lengths, self.lane_numbers
        self._rows = [*zip(*(column.tolist() for column in columns), widths)]

    @property
    def length(self) -> float:
        """Length of the route, metres."""
        return self._lengths[-1]

    def length_at(self, index: int) -> float:
        """Arc length at a route point, metres."""
        return self._lengths[index]

    def advance(self, location: carla.Location) -> None:
        """Move the ego's index to the last point it has passed within a small window; it never goes back."""
        here_x, here_y = location.x, location.y
        for index in range(self.index + 1, min(self.index + PASSED_WINDOW + 1, len(self._rows))):
            x, y, heading_x, heading_y, *_ = self._rows[index]
            if (here_x - x) * heading_x + (here_y - y) * heading_y > 0:
                self.index = index

    def place(self, location: carla.Location) -> Place:
        """Where a location lies along the stretch of route around the ego."""
        return self.places([location])[0]

    def places(self, locations: Sequence[carla.Location]) -> list[Place]:
        """`place` of many locations at once."""
        if not locations:
            return []
        low, high = max(0, self.index - SEARCH_BEHIND), min(len(self.points), self.index + SEARCH_AHEAD)
        heres = [(location.x, location.y) for location in locations]
        nearest = _nearest_points(np.array(heres), self._xs, self._ys, low, high)
        return [self._place(x, y, index) for (x, y), index in zip(heres, nearest.tolist())]

    def _place(self, here_x: float, here_y: float, index: int) -> Place:
        x, y, heading_x, heading_y, length, number, width = self._rows[index]
        x, y = here_x - x, here_y - y
        right = heading_x * y - heading_y * x
        return Place(length + x * heading_x + y * heading_y, right, index, number + round(right / width))

    def index_at(self, along: float) -> int:
        """The route point at an arc length, clipped to the route."""
        return min(bisect_left(self._lengths, along), len(self._lengths) - 1)

    def lane_at(self, number: int, along: float) -> Any | None:
        """The driving lane of the ego's direction with this number at an arc length; None where there is none.

        Beyond the ends of the route the lane is followed on the map.
        """
        lane = self.lanes(self.index_at(along)).get(number)
        if lane is None:
            return None
        index = self.index_at(along)
        beyond = along - self._lengths[index]
        if along < 0:
            return next(iter(lane.previous(-along)), None)
        if along > self.length:
            return next(iter(lane.next(beyond)), None)
        return lane

    def junction_after(self, along: float) -> RouteJunction | None:
        """The first real junction whose end lies beyond an arc length."""
        return next((junction for junction in self.junctions if junction.end > along), None)

    def _waypoint(self, index: int) -> Any:
        return self.map.get_waypoint(self._locations[index])

    def _lanes(self, index: int) -> dict[int, Any]:
        """Same-direction driving lanes at a route point by number."""
        own = self.waypoint(index)
        row = same_direction_lanes(own)
        position = next(i for i, lane in enumerate(row) if lane.lane_id == own.lane_id)
        return {int(self.lane_numbers[index]) + i - position: lane for i, lane in enumerate(row)}

    def _opposite(self, index: int) -> list[Any]:
        """Oncoming driving lanes at a route point, from the centre outwards."""
        return opposite_lanes(self.waypoint(index))

    def _count_lane_changes(self, options: Sequence[RoadOption]) -> np.ndarray:
        """A lane change is a step aside between two points of which the second carries its command."""
        numbers = np.zeros(len(options), dtype=int)
        for index in range(1, len(options)):
            numbers[index] = numbers[index - 1]
            if options[index] in CHANGES:
                step, heading = self.points[index] - self.points[index - 1], self.headings[index - 1]
                right = heading[0] * step[1] - heading[1] * step[0]
                numbers[index] += CHANGES[options[index]] * round(abs(right) / TYPICAL_LANE_WIDTH)
        return numbers

    def _find_junctions(self) -> list[RouteJunction]:
        found: list[RouteJunction] = []
        inside = [self.waypoint(i).junction_id if self.waypoint(i).is_junction else -1 for i in range(len(self.points))]
        start = 0
        while start < len(inside):
            end = start
            while end + 1 < len(inside) and inside[end + 1] == inside[start]:
                end += 1
            if inside[start] >= 0:
                junction = self._junction(start, end)
                if junction is not None and junction.is_real:
                    found.append(junction)
            start = end + 1
        return found

    def _junction(self, first: int, last: int) -> RouteJunction | None:
        inside = self.waypoint(first)
        entry = self.waypoint(first - 1) if first > 0 else leave_junction(inside, backwards=True)
        exit_ = self.waypoint(last + 1) if last + 1 < len(self.points) else leave_junction(self.waypoint(last))
        if entry is None or exit_ is None:
            return None
        entries, exits = junction_ends(inside.get_junction())
        return RouteJunction(
            first, last, float(self.lengths[first]), float(self.lengths[last]), entry, exit_, tuple(entries),
            tuple(exits), inside.junction_id,
        )  # fmt: skip


@njit(cache=True)
def _nearest_points(places: Array, xs: Array, ys: Array, low: int, high: int) -> NDArray[np.int64]:
    """(N,) index of the first of the points ``low`` to ``high`` - 1 that are nearest to each of (N, 2) places."""
    nearest = np.empty(len(places), dtype=np.int64)
    for i in range(len(places)):
        best, shortest = low, np.inf
        for k in range(low, high):
            squared = (places[i, 0] - xs[k]) * (places[i, 0] - xs[k]) + (places[i, 1] - ys[k]) * (places[i, 1] - ys[k])
            if squared < shortest:
                best, shortest = k, squared
        nearest[i] = best
    return nearest


def lane_before_junction(waypoint: Any, limit: int = 300) -> tuple[int, int]:
    """Road and lane on which traffic from ``waypoint`` reaches the next junction."""
    return _last_lane(waypoint, lambda place: place.next(2.0), limit)


def lane_behind_junction(waypoint: Any, limit: int = 300) -> tuple[int, int]:
    """Road and lane on which traffic that reaches ``waypoint`` has left the last junction."""
    return _last_lane(waypoint, lambda place: place.previous(2.0), limit)


def _last_lane(waypoint: Any, step: Callable[[Any], Sequence[Any]], limit: int) -> tuple[int, int]:
    """Road and lane of the last place that steps reach before they enter a junction or find no road."""
    current = waypoint
    for _ in range(limit):
        branches = step(current)
        if not branches or branches[0].is_junction:
            break
        current = branches[0]
    return lane_of(current)
