"""The record about the road around the ego vehicle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import carla
import numpy as np

from driving.records import EgoInfoBox, LaneWidth
from team_code.recording.lanes import Lane, LaneBook, lane_widths

HAZARD_DISTANCES_M = (10, 15, 20, 40)
MIN_SHOULDER_WIDTH_M = 1.0


class LaneHazards:
    """Finds the first vehicle ahead on the ego lane.

    Args:
        book: Lane relations.
        extent_of: Half sizes of an actor, metres.
    """

    def __init__(self, book: LaneBook, extent_of: Callable[[carla.Actor], carla.Vector3D]) -> None:
        self._book, self._extent_of = book, extent_of

    def find(
        self, ego: carla.Vehicle, own: carla.Waypoint | None, vehicles: Sequence[carla.Vehicle]
    ) -> tuple[int, float] | None:
        """Id of, and bumper distance (metres) to, the nearest vehicle in front on the ego's lane ``own``; None inside
        junctions and on a free lane."""
        if own is None or own.is_junction:
            return None
        transform = ego.get_transform()
        forward, best = transform.get_forward_vector(), None
        road_id, lane_id = own.road_id, own.lane_id
        for vehicle in vehicles:
            place = vehicle.get_location()
            offset = place - transform.location
            if offset.x * forward.x + offset.y * forward.y <= 0:
                continue
            lane = self._book.map.get_waypoint(place)
            if lane is None or (lane.road_id, lane.lane_id) != (road_id, lane_id):
                continue
            gap = float(np.hypot(offset.x, offset.y)) - self._extent_of(ego).x - self._extent_of(vehicle).x
            if best is None or gap < best[1]:
                best = (vehicle.id, gap)
        return best


def ego_info_box(
    book: LaneBook,
    lane: carla.Waypoint,
    scenario: str,
    traffic_light_state: str,
    hazard: tuple[int, float] | None,
) -> EgoInfoBox:
    """The `ego_info` record for a lane position.

    Args:
        book: Lane relations.
        lane: Driving lane of the ego.
        scenario: Name to record.
        traffic_light_state: Of the light within 50 m.
        hazard: First vehicle ahead on the lane and its distance, metres.
    """
    section, following = book.cross_section(lane), book.after(lane)
    own = section.lanes[section.index[lane.lane_id]]
    left, right = section.beside(lane.lane_id)
    same = [other for other in section.lanes if other.is_driving and other.lane_id * lane.lane_id > 0]
    opposite = [other for other in section.lanes if other.is_driving and other.lane_id * lane.lane_id < 0]
    left_of_ego = [other for other in left if other.is_driving and other.lane_id * lane.lane_id > 0]
    return EgoInfoBox(
        scenario=scenario,
        traffic_light_state=traffic_light_state,
        distance_to_junction=book.distance_to_junction(lane),
        ego_lane_number=len(left_of_ego),
        road_id=lane.road_id,
        lane_id=lane.lane_id,
        is_in_junction=lane.is_junction,
        is_intersection=lane.is_intersection,
        junction_id=lane.junction_id,
        next_road_junction=following.junction_id >= 0,
        next_junction_id=following.junction_id,
        next_road_ids=list(following.roads),
        next_next_road_ids_ego=list(following.roads_after),
        ego_lane=LaneWidth(own.type, own.width),
        left_lanes=lane_widths(left),
        right_lanes=lane_widths(right),
        num_lanes_same_direction=len(same),
        num_lanes_opposite_direction=len(opposite),
        lane_change=int(lane.lane_change),
        lane_change_str=str(lane.lane_change),
        lane_type=int(lane.lane_type),
        lane_type_str=str(lane.lane_type),
        **_marking_keys("left", lane.left_lane_marking),
        **_marking_keys("right", lane.right_lane_marking),
        **_side_keys("left", left),
        **_side_keys("right", right),
        **_hazard_keys(hazard),
    )


def _marking_keys(side: str, marking: carla.LaneMarking | None) -> dict[str, Any]:
    colour = marking.color if marking is not None else carla.LaneMarkingColor.Other
    kind = marking.type if marking is not None else carla.LaneMarkingType.NONE
    return {
        f"{side}_lane_marking_color": int(colour),
        f"{side}_lane_marking_color_str": str(colour),
        f"{side}_lane_marking_type": int(kind),
        f"{side}_lane_marking_type_str": str(kind),
    }


def _side_keys(side: str, lanes: list[Lane]) -> dict[str, Any]:
    kinds = {lane.type for lane in lanes}
    wide_shoulder = any(lane.type == "Shoulder" and lane.width > MIN_SHOULDER_WIDTH_M for lane in lanes)
    return {
        f"shoulder_{side}": wide_shoulder,
        f"parking_{side}": "Parking" in kinds,
        f"sidewalk_{side}": "Sidewalk" in kinds,
        f"bike_lane_{side}": "Biking" in kinds,
    }


def _hazard_keys(hazard: tuple[int, float] | None) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for distance in HAZARD_DISTANCES_M:
        found = hazard is not None and hazard[1] < distance
        keys[f"hazard_detected_{distance}"] = found
        keys[f"affects_ego_{distance}"] = hazard[0] if found and hazard is not None else None
    return keys
