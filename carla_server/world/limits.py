"""Speed limit of every lane: from signs, carried along with traffic, or else from the road's type."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numba import njit

from carla_server.map import RoadMap, SignalKind, lookup
from carla_server.world.ground import Field, Ground
from carla_server.world.state import ActorRows

KMH_PER_MPH = 1.609344
#: Limits are looked up for every vehicle once in so many ticks.
PERIOD = 8


class SpeedLimits:
    """Limits of one town.

    Args:
        road_map: The network.
        ground: Its lookup grid.
    """

    def __init__(self, road_map: RoadMap, ground: Ground) -> None:
        self.field: Field = ground.field
        self.of_lane = lane_limits(road_map)

    def at(self, x: float, y: float, z: float) -> float | None:
        """Limit at a point, km/h; None where nothing is posted."""
        lane = int(lane_at(self.field, x, y, z))
        limit = float(self.of_lane[lane]) if lane >= 0 else math.nan
        return None if math.isnan(limit) else limit

    def update(self, rows: ActorRows, vehicles: np.ndarray, frame: int) -> None:
        """Write the limit of a part of the vehicles into the world state; over `PERIOD` frames all get their turn."""
        turn = vehicles[frame % PERIOD :: PERIOD]
        if len(turn):
            limits = np.empty(len(turn))
            limits_at(self.field, turn, rows.motion, self.of_lane, limits)
            known = ~np.isnan(limits)
            rows.wire["speed_limit"][turn[known]] = limits[known]


def lane_limits(road_map: RoadMap) -> np.ndarray:
    """(lanes,) km/h, nan where nothing is posted. A sign holds downstream of its lane until the next sign."""
    limits = np.array([lane.speed_kmh for lane in road_map.lanes], dtype=np.float64)
    posted: dict[int, float] = {}
    for signal in road_map.signals.values():
        if signal.kind is SignalKind.SPEED_LIMIT and math.isfinite(signal.value):
            value = signal.value * (KMH_PER_MPH if signal.unit == "mph" else 1.0)
            posted.update(dict.fromkeys(signal.lanes, value))
    carried = dict(posted)
    queue = deque(posted)
    while queue:
        lane = queue.popleft()
        for after in road_map.lanes[lane].successors:
            if after not in carried:
                carried[after] = carried[lane]
                queue.append(after)
    for lane, value in carried.items():
        limits[lane] = value
    return limits


@njit(cache=True)
def lane_at(field, x, y, z):
    """Lane under a point, -1 off the network."""
    origin, shape, starts, members, quads, lane, height, rank, allowed = field[:9]
    points = np.empty((1, 3))
    points[0, 0], points[0, 1], points[0, 2] = x, y, z
    found = np.empty((1, 4))
    lookup.find_quads(origin, shape, starts, members, quads, lane, height, rank, allowed, points, found, 100.0)
    return lane[int(found[0, 0])] if found[0, 0] >= 0.0 else -1


@njit(cache=True)
def limits_at(field, vehicles, motion, of_lane, limits):
    """Limit of each vehicle's lane, nan off the network, into `limits`."""
    for n in range(len(vehicles)):
        row = vehicles[n]
        lane = lane_at(field, motion[row, 0], motion[row, 1], motion[row, 2])
        limits[n] = of_lane[lane] if lane >= 0 else np.nan
