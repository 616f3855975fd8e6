"""Which lane lies under a place, where that is beyond doubt, far quicker than the map can tell.

`carla.Map.get_waypoint` searches a tree of all lanes of the town and builds a waypoint. For cars it is mostly asked only to hear
that they are still where they were: on a road, metres from any other lane. There the nearest lane follows from a few points
of each lane; in junctions, between lanes and near the ends of roads the index says that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import carla
import numpy as np
from numba import njit

from driving.geometry import Array

STEP_M = 1.0
"""Distance between the points of a lane; less than that may be missing at its end, metres."""

CERTAIN_M = 2.0
"""Another lane must be so much farther off than the nearest: the distance of two points, and twice what the map's own chords of
a bend may be beside the lane (0.4 m), rounded up, metres."""

CELL_M = 8.0
"""Size of the cells in which points are kept; no lane farther off than this is looked at, metres."""

MAX_CHARACTERS = 10_000_000
"""Towns whose OpenDRIVE text is longer are not indexed: listing all their lanes would take longer than it saves."""


@dataclass(frozen=True)
class Lane:
    """A lane, which may run through several sections of its road.

    Attributes:
        road_id, lane_id: Its ids.
        is_junction: Whether its road belongs to a junction.
        width: Least width found along it, metres.
    """

    road_id: int
    lane_id: int
    is_junction: bool
    width: float

    @property
    def key(self) -> tuple[int, int]:
        """Road and lane id."""
        return self.road_id, self.lane_id

    @classmethod
    def of(cls, waypoint: carla.Waypoint) -> Lane:
        """The lane of a waypoint, as wide as it is there."""
        return cls(waypoint.road_id, waypoint.lane_id, waypoint.is_junction, waypoint.lane_width)


class LaneIndex:
    """The driving lanes of a town as points.

    Args:
        road_map: `carla.Map`.
    """

    def __init__(self, road_map: Any) -> None:
        waypoints = road_map.generate_waypoints(STEP_M) if len(road_map.to_opendrive()) <= MAX_CHARACTERS else []
        numbers: dict[tuple[int, int], int] = {}
        self._lanes: list[Lane] = []
        points, owners = [], []
        for waypoint in waypoints:
            lane, place = Lane.of(waypoint), waypoint.transform.location
            number = numbers.setdefault(lane.key, len(numbers))
            if number == len(self._lanes):
                self._lanes.append(lane)
            elif lane.width < self._lanes[number].width:
                self._lanes[number] = lane
            points.append((place.x, place.y, place.z))
            owners.append(number)
        self._table = _cells(np.array(points, dtype=np.float64).reshape(-1, 3), np.array(owners, dtype=np.int64))

    def at(self, location: carla.Location) -> Lane | None:
        """The lane that `carla.Map.get_waypoint` finds at a place (world frame, metres); None where it may be another."""
        number = _nearest(location.x, location.y, location.z, *self._table)
        return self._lanes[number] if number >= 0 else None


def _cells(points: Array, owners: Array) -> tuple[Array, Array, Array, Array]:
    """Points sorted by cell.

    Returns:
        (N, 3) points, (N,) number of the lane of each, (columns + 1, rows + 1) where the points of each cell begin in them,
        the cells one after the other, and (2,) corner of the first cell.
    """
    corner = points[:, :2].min(axis=0) - CELL_M if len(points) else np.zeros(2)
    cells = ((points[:, :2] - corner) // CELL_M).astype(np.int64)
    shape = cells.max(axis=0) + 2 if len(points) else np.array([1, 1])
    flat = cells[:, 0] * shape[1] + cells[:, 1]
    order = np.argsort(flat, kind="stable")
    begins = np.searchsorted(flat[order], np.arange(shape[0] * shape[1] + 1))
    padded = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    padded[:, :-1], padded[:, -1] = begins[:-1].reshape(shape), begins[shape[1] :: shape[1]]
    return points[order], owners[order], padded, corner


@njit(cache=True)
def _nearest(x: float, y: float, z: float, points: Array, owners: Array, begins: Array, corner: Array) -> int:
    """Number of the lane with the nearest point, -1 if another's is not farther off by `CERTAIN_M`."""
    column, row = int((x - corner[0]) // CELL_M), int((y - corner[1]) // CELL_M)
    if column < 1 or row < 1 or column >= begins.shape[0] - 1 or row >= begins.shape[1] - 2:
        return -1
    best, shortest = -1, CELL_M
    for i in range(column - 1, column + 2):
        for k in range(begins[i, row - 1], begins[i, row + 2]):
            distance = np.sqrt((points[k, 0] - x) ** 2 + (points[k, 1] - y) ** 2 + (points[k, 2] - z) ** 2)
            if distance < shortest:
                best, shortest = owners[k], distance
    if best < 0 or shortest > CELL_M - CERTAIN_M:
        return -1
    for i in range(column - 1, column + 2):
        for k in range(begins[i, row - 1], begins[i, row + 2]):
            if owners[k] != best:
                distance = np.sqrt((points[k, 0] - x) ** 2 + (points[k, 1] - y) ** 2 + (points[k, 2] - z) ** 2)
                if distance < shortest + CERTAIN_M:
                    return -1
    return best
