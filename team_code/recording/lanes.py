"""Lane relations for the recorded boxes, looked up once per lane and kept.

Lanes of a road are listed from left to right as seen along negative lane ids, which is the driving direction of the right half
of a road in OpenDRIVE.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import carla

from driving.records import LaneWidth

LaneKey = tuple[int, int, int]
MAX_WALK_M = 400


@dataclass(frozen=True)
class Lane:
    """One lane of a cross-section."""

    lane_id: int
    type: str
    width: float

    @property
    def is_driving(self) -> bool:
        """Whether cars drive on it."""
        return self.type == "Driving"


@dataclass(frozen=True)
class NextLanes:
    """What follows a lane.

    Attributes:
        end_s: Road coordinate of the last waypoint of the lane, metres.
        roads: Ids of the roads it leads to.
        roads_after: Ids of the roads those lead to.
        junction_id: Junction it leads into, -1 without one.
    """

    end_s: float
    roads: tuple[int, ...]
    roads_after: tuple[int, ...]
    junction_id: int


@dataclass(frozen=True)
class CrossSection:
    """Lanes of a road from left to right along negative lane ids."""

    lanes: tuple[Lane, ...]
    index: dict[int, int] = field(default_factory=dict)

    def relative_lane(self, ego_lane: int, other_lane: int) -> int | None:
        """Driving lanes from the ego lane to another, positive to the right; None if either is unknown."""
        if ego_lane not in self.index or other_lane not in self.index:
            return None
        a, b = self.index[ego_lane], self.index[other_lane]
        between = self.lanes[min(a, b) + 1 : max(a, b)]
        steps = 0 if a == b else sum(lane.is_driving for lane in between) + 1
        to_right = (b > a) == (ego_lane < 0)
        return steps if to_right else -steps

    def beside(self, lane_id: int) -> tuple[list[Lane], list[Lane]]:
        """Lanes to the left and to the right of a lane, outwards, seen along its driving direction."""
        here = self.index[lane_id]
        left, right = list(self.lanes[:here])[::-1], list(self.lanes[here + 1 :])
        return (left, right) if lane_id < 0 else (right, left)


class LaneBook:
    """Answers questions about lanes; every lane is walked once.

    Args:
        world_map: Map of the town.
    """

    def __init__(self, world_map: carla.Map) -> None:
        self.map = world_map
        self._next: dict[LaneKey, NextLanes] = {}
        self._sections: dict[tuple[int, int], CrossSection] = {}

    def waypoint(self, location: carla.Location) -> carla.Waypoint | None:
        """Lane of any type under a location; None beside all lanes."""
        return self.map.get_waypoint(location, project_to_road=True, lane_type=carla.LaneType.Any)

    def after(self, waypoint: carla.Waypoint) -> NextLanes:
        """What follows the lane of a waypoint."""
        key = (waypoint.road_id, waypoint.section_id, waypoint.lane_id)
        if key not in self._next:
            self._next[key] = self._walk(waypoint)
        return self._next[key]

    def distance_to_junction(self, waypoint: carla.Waypoint) -> float | None:
        """0 inside a junction, metres to the end of the lane if it leads into one, else None."""
        if waypoint.is_junction:
            return 0.0
        following = self.after(waypoint)
        return None if following.junction_id < 0 else abs(following.end_s - waypoint.s)

    def _walk(self, waypoint: carla.Waypoint) -> NextLanes:
        last, following = _last_of_lane(waypoint)
        roads = tuple(dict.fromkeys(w.road_id for w in following))
        after = tuple(dict.fromkeys(w.road_id for first in following for w in _last_of_lane(first)[1]))
        junction = next((w.junction_id for w in following if w.is_junction), -1)
        return NextLanes(last.s, roads, after, junction)

    def cross_section(self, waypoint: carla.Waypoint) -> CrossSection:
        """All lanes beside a waypoint."""
        key = (waypoint.road_id, waypoint.section_id)
        if key not in self._sections:
            self._sections[key] = _read_cross_section(waypoint)
        return self._sections[key]


def _last_of_lane(waypoint: carla.Waypoint) -> tuple[carla.Waypoint, list[carla.Waypoint]]:
    """Last waypoint of a lane in 1 m steps, and the first ones of the lanes that follow."""
    last = waypoint
    for _ in range(MAX_WALK_M):
        following = last.next(1.0)
        if not following:
            return last, []
        if (following[0].road_id, following[0].lane_id) != (last.road_id, last.lane_id) or len(following) > 1:
            return last, list(following)
        last = following[0]
    return last, []


def _read_cross_section(waypoint: carla.Waypoint) -> CrossSection:
    def describe(w: carla.Waypoint) -> Lane:
        return Lane(w.lane_id, str(w.lane_type), w.lane_width)

    found = {waypoint.lane_id: describe(waypoint)}
    for outwards in (True, False):
        here: carla.Waypoint | None = waypoint
        while here is not None:
            same_side = here.lane_id * waypoint.lane_id > 0
            here = here.get_right_lane() if outwards or not same_side else here.get_left_lane()
            if here is None or here.road_id != waypoint.road_id or here.lane_id in found:
                break
            found[here.lane_id] = describe(here)
    lanes = tuple(found[lane_id] for lane_id in sorted(found, reverse=True))
    return CrossSection(lanes, {lane.lane_id: i for i, lane in enumerate(lanes)})


def lane_widths(lanes: list[Lane]) -> list[LaneWidth]:
    """Lanes in the form of the recorded files."""
    return [LaneWidth(lane.type, lane.width) for lane in lanes]
