"""Planar geometry of the criteria."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import carla
import numpy as np


def angle_between_deg(a: carla.Vector3D, b: carla.Vector3D) -> float:
    """Angle between two vectors, degrees, 0 to 180."""
    lengths = math.hypot(a.x, a.y, a.z) * math.hypot(b.x, b.y, b.z)
    if lengths == 0:
        return 0.0
    return math.degrees(math.acos(max(-1.0, min(1.0, (a.x * b.x + a.y * b.y + a.z * b.z) / lengths))))


def segments_cross(first: tuple[carla.Location, carla.Location], second: tuple[carla.Location, carla.Location]) -> bool:
    """Whether two segments meet in the plane; touching counts."""

    def side(a: carla.Location, b: carla.Location, c: carla.Location) -> float:
        return float((b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x))

    (a, b), (c, d) = first, second
    return side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0


def box_contains(center: carla.Location, extent: Sequence[float], scale: float, point: carla.Location) -> bool:
    """Whether a point lies in a box along the world's axes with half sizes ``scale * extent`` (x, y)."""
    return abs(point.x - center.x) <= scale * extent[0] and abs(point.y - center.y) <= scale * extent[1]


@dataclass(frozen=True)
class StopLine:
    """Where one lane must stop for a light.

    Attributes:
        road_id, lane_id: The lane.
        forward: Driving direction at the line.
        ends: Left and right end, 0.6 lane widths from the lane's centre.
    """

    HALF_WIDTH_SHARE = 0.6

    road_id: int
    lane_id: int
    forward: carla.Vector3D
    ends: tuple[carla.Location, carla.Location]

    @classmethod
    def at(cls, waypoint: carla.Waypoint) -> StopLine:
        """The line across the lane of a waypoint."""
        center, right = waypoint.transform.location, waypoint.transform.get_right_vector()
        reach = cls.HALF_WIDTH_SHARE * waypoint.lane_width
        ends = (center - reach * right, center + reach * right)
        return cls(waypoint.road_id, waypoint.lane_id, waypoint.transform.get_forward_vector(), ends)


class TrafficLightLines:
    """A traffic light with the stop lines of the lanes it governs.

    The trigger box is sampled along its x axis, the lanes found there are followed to the junction's border
    (CARLA scenario_runner, atomic_criteria.py).

    Attributes:
        light: The traffic light.
        center: Centre of its trigger box, world frame, metres.
        lines: One per lane.
    """

    BOX_SHARE = 0.9
    SAMPLE_STEP_M = 1.0
    LANE_STEP_M = 0.5
    MAX_STEPS = 200

    def __init__(self, light: carla.TrafficLight, carla_map: carla.Map):
        self.light = light
        box, pose = light.trigger_volume, light.get_transform()
        self.center = pose.transform(box.location)
        yaw = math.radians(pose.rotation.yaw)
        reach = self.BOX_SHARE * box.extent.x
        lanes: list[carla.Waypoint] = []
        for x in np.arange(-reach, reach, self.SAMPLE_STEP_M):
            point = self.center + carla.Location(float(x) * math.cos(yaw), float(x) * math.sin(yaw), 0.0)
            waypoint = carla_map.get_waypoint(point)
            is_same = bool(lanes) and (lanes[-1].road_id, lanes[-1].lane_id) == (waypoint.road_id, waypoint.lane_id)
            if not is_same:
                lanes.append(waypoint)
        self.lines = [StopLine.at(self._junction_border(waypoint)) for waypoint in lanes]

    def _junction_border(self, waypoint: carla.Waypoint) -> carla.Waypoint:
        for _ in range(self.MAX_STEPS):
            following = waypoint.next(self.LANE_STEP_M)
            if waypoint.is_junction or not following or following[0].is_junction:
                break
            waypoint = following[0]
        return waypoint
