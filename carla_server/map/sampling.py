"""Turns parsed roads into sampled lanes and markings in CARLA's world frame."""

from __future__ import annotations

import math

import numpy as np

from carla_server.map.opendrive import Array, Cubics, Geometry, RoadMark, XLane, XRoad, XSection
from carla_server.map.records import DEFAULT_KERB_HEIGHT, Lane, LaneKey, LaneMarking

#: Largest distance between a sampled polyline and the exact curve, metres.
SAG_TOLERANCE = 0.01
#: Longest distance between samples, metres.
LONGEST_STEP = 4.0
#: Shortest distance between samples, metres.
SHORTEST_STEP = 0.4


def step_for(piece: Geometry) -> float:
    """Sample distance for a piece of reference line such that chords stay within `SAG_TOLERANCE`."""
    if piece.shape == "line":
        return LONGEST_STEP
    if piece.shape in ("arc", "spiral"):
        curvature = max(abs(number) for number in piece.numbers)
        step = math.sqrt(8 * SAG_TOLERANCE / curvature) if curvature > 0 else LONGEST_STEP
        return min(max(step, SHORTEST_STEP), LONGEST_STEP)
    return 1.0


def stations(road: XRoad, start: float, end: float) -> Array:
    """Distances along the road at which a lane section from `start` to `end` is sampled, both ends included."""
    marks = [start, end]
    for piece in road.geometries:
        first, last = max(piece.s, start), min(piece.s + piece.length, end)
        if last - first > 1e-6:
            count = max(1, math.ceil((last - first) / step_for(piece)))
            marks.extend(np.linspace(first, last, count + 1).tolist())
    s = np.unique(np.round(np.array(marks), 6))
    s = s[(s >= start) & (s <= end)]
    s = np.concatenate(([start], s[(s > start + 1e-3) & (s < end - 1e-3)], [end]))
    return s if end > start else np.array([start, start + 1e-3])


class RoadSurface:
    """Maps road coordinates (s along, t to the left) to CARLA's world."""

    def __init__(self, road: XRoad) -> None:
        self.road = road

    def points(self, s: Array, t: Array) -> Array:
        """(N, 3) world points at distances `s` (N,) and lateral positions `t` (N,), metres, t to the left of s."""
        x, y, heading = self.road.reference_line(s)
        z = self.road.elevation(s)
        if not self.road.superelevation.is_zero:
            roll = self.road.superelevation(s)
            z = z + t * np.sin(roll)
        return np.stack((x - t * np.sin(heading), -(y + t * np.cos(heading)), z), axis=1)

    def yaw(self, s: Array) -> Array:
        """(N,) world heading of increasing s, radians."""
        return -self.road.reference_line(s)[2]


def section_ends(road: XRoad) -> list[tuple[float, float]]:
    """(start, end) of each lane section, metres."""
    starts = [section.s for section in road.sections]
    return list(zip(starts, [*starts[1:], road.length]))


def border_offsets(section: XSection, road: XRoad, s: Array) -> dict[int, Array]:
    """Lateral position t (N,) of the outer border of every lane of a section; lane 0 is the lane offset.

    The last of `s` counts as the section's last point: files may let the lane offset jump where the next one begins.
    """
    base = road.lane_offset(np.minimum(s, s[-1] - 1e-7))
    borders = {0: base}
    ds = s - section.s
    for sign in (1, -1):
        t = base
        for number in sorted((lane for lane in section.lanes if lane * sign > 0), key=abs):
            t = t + sign * np.maximum(section.lanes[number].width(ds), 0.0)
            borders[number] = t
    return borders


def _speed_at(road: XRoad, s: float) -> float:
    speed = math.nan
    for start, value in road.speeds_kmh:
        if start <= s + 1e-6:
            speed = value
    return speed


def _lane_height(lane: XLane) -> float:
    if lane.height is not None:
        return lane.height
    return DEFAULT_KERB_HEIGHT if lane.type == "sidewalk" else 0.0


def sample_lanes(roads: dict[int, XRoad]) -> list[Lane]:
    """All lanes but the centre ones, without links, in order of road, section, and lane id from left to right."""
    lanes: list[Lane] = []
    for road in roads.values():
        surface = RoadSurface(road)
        for number, (start, end) in enumerate(section_ends(road)):
            section = road.sections[number]
            s = stations(road, start, end)
            borders = border_offsets(section, road, s)
            heading = surface.yaw(s)
            for lane_id in sorted((key for key in section.lanes if key != 0), reverse=True):
                inner_t, outer_t = borders[lane_id - int(np.sign(lane_id))], borders[lane_id]
                forward = lane_id < 0
                lanes.append(
                    Lane(
                        key=LaneKey(road.id, number, lane_id),
                        index=len(lanes),
                        type=section.lanes[lane_id].type,
                        forward=forward,
                        junction=road.junction,
                        s=s,
                        center=surface.points(s, 0.5 * (inner_t + outer_t)),
                        inner=surface.points(s, inner_t),
                        outer=surface.points(s, outer_t),
                        width=np.abs(outer_t - inner_t),
                        height=_lane_height(section.lanes[lane_id]),
                        yaw=heading if forward else heading + math.pi,
                        speed_kmh=_speed_at(road, start),
                    )
                )
    return lanes


def sample_markings(roads: dict[int, XRoad]) -> list[LaneMarking]:
    """All road marks whose type is not none, cut where the next mark of the same lane begins."""
    markings = []
    for road in roads.values():
        surface = RoadSurface(road)
        for number, (start, end) in enumerate(section_ends(road)):
            section = road.sections[number]
            for lane in section.lanes.values():
                marks = sorted(lane.marks, key=lambda mark: mark.s_offset)
                cuts = [min(start + mark.s_offset, end) for mark in marks] + [end]
                for mark, first, last in zip(marks, cuts, cuts[1:]):
                    if mark.type != "none" and last - first > 1e-3:
                        key = LaneKey(road.id, number, lane.id)
                        markings.append(_marking(mark, key, surface, section, first, last))
    return markings


def _marking(
    mark: RoadMark, key: LaneKey, surface: RoadSurface, section: XSection, first: float, last: float
) -> LaneMarking:
    s = stations(surface.road, first, last)
    line = surface.points(s, border_offsets(section, surface.road, s)[key.lane])
    return LaneMarking(key, mark.type, mark.color, mark.width, mark.lane_change, line, surface.road.junction)


def constant(value: float) -> Cubics:
    """A polynomial that is `value` everywhere."""
    return Cubics([(0.0, value, 0.0, 0.0, 0.0)])
