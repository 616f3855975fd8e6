"""Speed limit of every lane: from signs, carried along with traffic, or else from the road's type."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numba import njit

from carla_server.map import RoadMap, SignalKind, lookup
from carla_server.world.exits import turn_between
from carla_server.world.ground import Field, Ground
from carla_server.world.state import ActorRows, Turn

KMH_PER_MPH, KMH_PER_MPS = 1.609344, 3.6
#: Limits are looked up for every vehicle once in so many ticks.
PERIOD = 8
#: Signs and lights by which a town rules its traffic.
RULING = frozenset({SignalKind.TRAFFIC_LIGHT, SignalKind.STOP, SignalKind.YIELD, SignalKind.SPEED_LIMIT})
#: Where nothing rules: sideways pull in bends and slowing before them, m/s²; speed on crossings and elsewhere, km/h.
BEND_PULL, SLOWING, CROSSING_KMH, DEFAULT_KMH = 3.5, 1.5, 40.0, 50.0
#: A vehicle farther than this above or below a road is not on it, metres: scenarios hide theirs far below.
OFF_ROAD = 10.0


class SpeedLimits:
    """Limits of one town.

    Args:
        road_map: The network.
        ground: Its lookup grid.
    """

    def __init__(self, road_map: RoadMap, ground: Ground) -> None:
        self.field: Field = ground.field
        self.of_lane = lane_limits(road_map)
        self.lengths = np.array([lane.length for lane in road_map.lanes])
        self.ends = np.full((len(road_map.lanes), len(Turn)), np.inf)
        if not any(row.kind in RULING for row in road_map.signals.values()):
            self.of_lane, self.ends = advised_limits(road_map, self.of_lane)

    def at(self, x: float, y: float, z: float) -> float | None:
        """Limit at a point, km/h; None where nothing is posted."""
        lane = int(lane_at(self.field, x, y, z))
        limit = float(self.of_lane[lane]) if lane >= 0 else math.nan
        return None if math.isnan(limit) else limit

    def update(self, rows: ActorRows, vehicles: np.ndarray, places: np.ndarray, frame: int) -> None:
        """Write the limit of a part of the vehicles into the world state; over `PERIOD` frames all get their turn.

        Args:
            rows: The actor table.
            vehicles: Rows of all vehicles.
            places: (V, 2) where they are, as `places_at` gives it.
            frame: Ticks since the episode began.
        """
        tell_limits(
            *(frame % PERIOD, vehicles, places, rows.turn, self.lengths, self.ends, self.of_lane),
            rows.wire["speed_limit"],
        )


def advised_limits(road_map: RoadMap, posted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits for a town whose file has neither signs nor lights, so that bends and crossings are passed at their speed.

    Returns:
        (lanes,) km/h with the speeds of bends and crossings inside junctions, and (lanes, turns) m/s at which traffic
        that shows a `Turn` should leave each lane; infinite where nothing slows it.
    """
    crossings = {row.id: len({incoming for incoming, _ in row.connections}) > 2 for row in road_map.junctions.values()}
    own = np.where(np.isnan(posted), DEFAULT_KMH, posted) / KMH_PER_MPS
    inside = np.array([lane.junction >= 0 for lane in road_map.lanes])
    for lane in road_map.lanes:
        turn = np.abs(np.diff(np.unwrap(lane.yaw)))
        steps = np.hypot(*np.diff(lane.center[:, :2], axis=0).T)
        sharpest = float((turn / np.maximum(steps, 0.5)).max(initial=0.0))
        own[lane.index] = min(own[lane.index], math.sqrt(BEND_PULL / max(sharpest, 1e-6)))
        if crossings.get(lane.junction, False):
            own[lane.index] = min(own[lane.index], CROSSING_KMH / KMH_PER_MPS)
    lengths = np.array([lane.length for lane in road_map.lanes])
    entry = own.copy()
    ends = np.full(len(own), np.inf)
    queue = deque(range(len(own)))
    while queue:
        index = queue.popleft()
        after = road_map.lanes[index].successors
        end = max((entry[row] for row in after), default=np.inf)
        fastest = min(own[index], math.sqrt(end * end + 2.0 * SLOWING * lengths[index]))
        ends[index] = end
        if fastest < entry[index] - 1e-6:
            entry[index] = fastest
            queue.extend(road_map.lanes[index].predecessors)
    by_turn = np.repeat(ends[:, None], len(Turn), axis=1)
    for lane in road_map.lanes:
        fastest_by: dict[Turn, float] = {}
        for row in lane.successors if lane.junction < 0 else ():
            shown = _turn(road_map, lane.index, row)
            fastest_by[shown] = max(fastest_by.get(shown, 0.0), float(entry[row]))
        for shown, end in fastest_by.items():
            by_turn[lane.index, shown] = end
    return np.where(inside | ~np.isnan(posted), own * KMH_PER_MPS, posted), by_turn


def _turn(road_map: RoadMap, lane: int, after: int) -> Turn:
    """Turn that somebody shows who goes from a lane to one of its successors and on through the junction."""
    out, passed = after, {after}
    while road_map.lanes[out].junction >= 0 and road_map.lanes[out].successors:
        out = road_map.lanes[out].successors[0]
        if out in passed:
            break
        passed.add(out)
    return turn_between(road_map.lanes[lane].travel_center, road_map.lanes[out].travel_center)


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
def tell_limits(first, vehicles, places, turns, lengths, ends, of_lane, limits):
    """Write the limit of every `PERIOD`-th vehicle from the `first` on into `limits`, km/h.

    Args:
        first: Index of the first vehicle.
        vehicles: (V,) rows.
        places: (V, 2) lane, -1 off the network, and metres along it.
        turns: (rows,) `Turn` that each vehicle shows.
        lengths: (lanes,) metres.
        ends: (lanes, turns) m/s at which traffic that shows a turn should leave.
        of_lane: (lanes,) km/h or nan where nothing is posted.
        limits: Column of the world state.
    """
    for n in range(first, len(vehicles), PERIOD):
        lane = int(places[n, 0])
        if lane < 0 or math.isnan(of_lane[lane]):
            continue
        left = max(lengths[lane] - places[n, 1], 0.0)
        end = ends[lane, turns[vehicles[n]]]
        limits[vehicles[n]] = min(of_lane[lane], math.sqrt(end * end + 2.0 * SLOWING * left) * KMH_PER_MPS)


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
def places_at(field, starts, vehicles, motion, places):
    """Lane of each vehicle, -1 off the network, and metres from where traffic enters that lane, into `places` (V, 2).

    `starts` holds the road distance at which traffic enters each lane.
    """
    origin, shape, cells, members, quads, lane, height, rank, allowed = field[:9]
    reach = field[11]
    points = np.empty((len(vehicles), 3))
    for n in range(len(vehicles)):
        for axis in range(3):
            points[n, axis] = motion[vehicles[n], axis]
    found = np.empty((len(vehicles), 4))
    lookup.find_quads(origin, shape, cells, members, quads, lane, height, rank, allowed, points, found, 100.0)
    for n in range(len(vehicles)):
        q = int(found[n, 0])
        places[n, 0], places[n, 1] = -1.0, 0.0
        if q >= 0 and abs(points[n, 2] - found[n, 3]) < OFF_ROAD:
            s = reach[q, 0] * (1.0 - found[n, 1]) + reach[q, 1] * found[n, 1]
            places[n, 0], places[n, 1] = lane[q], abs(s - starts[lane[q]])
