"""Where vehicles go if they keep to their lanes.

A control held constant predicts a second or two; after that it is the road that decides where a car will be. Centre lines
are sampled once per lane and kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import carla
import numpy as np
from numba import njit
from numpy.typing import NDArray

from team_code.expert.route import bend_speeds
from team_code.expert.scene import ActorBatch

Array = NDArray[np.float64]
LaneKey = tuple[int, int, int]

STEP_M = 1.0
MAX_LANE_STEPS = 2000
REACH_M = 160.0
"""A path leads at least this far beyond the end of the lane it begins on."""

ON_PATH_M = 1.5
ALONG_COSINE = 0.9
"""Who is nearer than this to a path, and heads along it within 26 degrees, follows it."""

SEARCHED_POINTS = 40
MOVING_MPS = 0.5

BEND_ACCELERATION, BEND_DECELERATION, SLOWEST_BEND = 5.0, 3.0, 5.0
"""How others take bends: sideways acceleration and braking before them, m/s², and a speed that is always enough, m/s.

The Traffic Manager of CARLA allows 5.9 m/s² sideways (trafficmanager/MotionPlanStage.cpp), the scenarios' cars here 5."""

BEND_SPAN_M = 4.0
"""The curvature of a path is that over so much of it to either side, metres."""


@dataclass(frozen=True)
class LanePath:
    """The centre line of a lane and of those it leads into.

    Attributes:
        points: (N, 2) world, metres, about 1 m apart.
        yaws: (N,) headings, radians, unwrapped.
        along: (N,) arc length, metres.
        speeds: (N,) from which the bends that follow can be taken, m/s.
        end: Index of the last point on the first lane.
    """

    points: Array
    yaws: Array
    along: Array
    speeds: Array
    end: int

    @cached_property
    def directions(self) -> Array:
        """(N, 2) cosines and sines of the headings."""
        return np.stack([np.cos(self.yaws), np.sin(self.yaws)], axis=1)

    def nearest(self, xy: Array, begin: int, end: int) -> int:
        """Index of the point nearest to a place (2,) between two indices."""
        offset = self.points[begin:end] - xy
        return begin + int(np.argmin(np.einsum("nd,nd->n", offset, offset)))

    def place(self, along: Array, offset: float) -> tuple[Array, Array]:
        """(T, 2) places and (T,) headings at arc lengths (T,), ``offset`` metres to the right of the line."""
        x, y, yaw = poses = np.empty((3, len(along)))
        _interpolate(along, self.along, self.points, self.yaws, poses)
        return np.stack([x - offset * np.sin(yaw), y + offset * np.cos(yaw)], axis=1), yaw

    def advance(self, along: float, speed: float, time: Array) -> Array:
        """(T,) arc lengths after times (T,), seconds, from ``along`` on, at ``speed``, m/s, or slower where bends ask for it."""
        ways = np.empty(len(time))
        _advance(self.along, self.speeds, float(along), float(speed), float(speed**2), time, ways)
        return ways


@njit(cache=True)
def _between(x, low, high, at_low, at_high):
    """As `numpy.interp` between two nodes, to the last bit."""
    return at_low if x == low else (at_high - at_low) / (high - low) * (x - low) + at_low


@njit(cache=True)
def _interpolate(along, nodes, points, yaws, poses):
    """Fill in (3, T) x, y and heading at arc lengths (T,); beyond the ends those of the ends."""
    last = len(nodes) - 1
    for t in range(len(along)):
        k = np.searchsorted(nodes, along[t], side="right") - 1
        if k < 0 or k >= last:
            k = min(max(k, 0), last)
            poses[0, t], poses[1, t], poses[2, t] = points[k, 0], points[k, 1], yaws[k]
            continue
        low, high = nodes[k], nodes[k + 1]
        poses[0, t] = _between(along[t], low, high, points[k, 0], points[k + 1, 0])
        poses[1, t] = _between(along[t], low, high, points[k, 1], points[k + 1, 1])
        poses[2, t] = _between(along[t], low, high, yaws[k], yaws[k + 1])


@njit(cache=True)
def _advance(nodes, speeds, along, speed, squared, time, ways):
    """Fill in the arc lengths (T,) at ascending times (T,), see `LanePath.advance`: between nodes it goes at their mean speed."""
    here, now, elapsed = along, speed, 0.0
    t = 0
    for k in range(np.searchsorted(nodes, along, side="right"), len(nodes)):
        braking = math.sqrt(max(squared - 2 * BEND_DECELERATION * (nodes[k] - along), 0.0))
        after = min(speed, max(speeds[k], braking))
        arrival = elapsed + 2 * (nodes[k] - here) / (after + now)
        while t < len(time) and time[t] < arrival:
            ways[t] = _between(time[t], elapsed, arrival, here, nodes[k])
            t += 1
        if t == len(time):
            return
        here, now, elapsed = nodes[k], after, arrival
    for rest in range(t, len(time)):
        ways[rest] = here + (time[rest] - elapsed) * now


@njit(cache=True)
def _locate(points, yaws, directions, nodes, begin, end, x, y, yaw):
    """Nearest of some points to a place, whether a vehicle of that heading follows the path there, its arc length on the path
    and its offset to the right of it."""
    nearest, least = begin, np.inf
    for k in range(begin, min(end, len(points))):
        dx, dy = x - points[k, 0], y - points[k, 1]
        if dx * dx + dy * dy < least:
            nearest, least = k, dx * dx + dy * dy
    dx, dy = x - points[nearest, 0], y - points[nearest, 1]
    cos, sin = directions[nearest, 0], directions[nearest, 1]
    offset = dy * cos - dx * sin
    follows = abs(offset) < ON_PATH_M and math.cos(yaw - yaws[nearest]) > ALONG_COSINE
    return nearest, follows, nodes[nearest] + dx * cos + dy * sin, offset


@dataclass(frozen=True)
class _Follower:
    """A vehicle on a path: the nearest point, its arc length and its offset to the right, metres."""

    path: LanePath
    index: int
    along: float
    offset: float


class LaneFollowers:
    """Remembers which lane every vehicle follows.

    On its lane a vehicle is expected to take the straightest way through the next junction, and those of scenarios the way to
    where their stream ends; once it turns, the lane that it is on.

    Args:
        world_map: Map of the town.
    """

    def __init__(self, world_map: carla.Map) -> None:
        self._map = world_map
        self._paths: dict[tuple[LaneKey, bool], LanePath] = {}
        self._sinks: frozenset[tuple[float, float, float]] = frozenset()
        self._sink_lanes: frozenset[tuple[int, int]] = frozenset()
        self._followers: dict[int, _Follower] = {}

    def lead_to(self, sinks: Iterable[carla.Location]) -> None:
        """Say where the streams of the scenarios end, in the world."""
        places = frozenset((sink.x, sink.y, sink.z) for sink in sinks)
        if places == self._sinks:
            return
        waypoints = [self._map.get_waypoint(carla.Location(*place)) for place in places]
        self._sinks, self._sink_lanes = places, frozenset((w.road_id, w.lane_id) for w in waypoints if w is not None)
        self._paths = {key: path for key, path in self._paths.items() if not key[1]}

    def paths(self, vehicles: ActorBatch) -> list[tuple[LanePath, float, float] | None]:
        """For every vehicle the path it follows, its arc length on it and its offset to the right of it, metres.

        None for vehicles that stand, or that are not on a lane.
        """
        followers: dict[int, _Follower] = {}
        found: list[tuple[LanePath, float, float] | None] = []
        for i, (actor_id, speed) in enumerate(zip(vehicles.ids.tolist(), vehicles.speed.tolist())):
            if speed < MOVING_MPS:
                found.append(None)
                continue
            x, y, z = vehicles.xyz[i].tolist()
            yaw = float(vehicles.yaw[i])
            follower = self._still_on(self._followers.get(actor_id), x, y, yaw)
            follower = follower or self._look_up(x, y, z, yaw, _is_of_scenario(vehicles.actors[i]))
            if follower is None:
                found.append(None)
                continue
            followers[actor_id] = follower
            found.append((follower.path, follower.along, follower.offset))
        self._followers = followers
        return found

    def _still_on(self, follower: _Follower | None, x: float, y: float, yaw: float) -> _Follower | None:
        if follower is None:
            return None
        path, index = follower.path, follower.index
        found = _follow(path, index, index + SEARCHED_POINTS, x, y, yaw)
        ends_soon = found is not None and path.along[-1] - path.along[found.index] < REACH_M - SEARCHED_POINTS
        return None if ends_soon else found

    def _look_up(self, x: float, y: float, z: float, yaw: float, is_of_scenario: bool) -> _Follower | None:
        waypoint = self._map.get_waypoint(carla.Location(x, y, z))
        if waypoint is None:
            return None
        path = self.path_from(waypoint, is_of_scenario)
        return _follow(path, 0, path.end + SEARCHED_POINTS, x, y, yaw)

    def path_from(self, waypoint: carla.Waypoint, to_sink: bool = False) -> LanePath:
        """The whole lane of a waypoint and the straightest way on, or the way to where a stream ends."""
        to_sink &= bool(self._sink_lanes)
        key = _key(waypoint), to_sink
        if key not in self._paths:
            self._paths[key] = self._sample(waypoint, to_sink)
        return self._paths[key]

    def _sample(self, waypoint: carla.Waypoint, to_sink: bool) -> LanePath:
        walk = _rest_of_lane(_start_of_lane(waypoint))
        end, left = len(walk) - 1, int(REACH_M / STEP_M)
        while left > 0:
            branches = [_rest_of_lane(branch) for branch in walk[-1].next(STEP_M)]
            if not branches:
                break
            ways = [self._way_to_sink(b, left) if to_sink and len(branches) > 1 else np.inf for b in branches]
            chosen = min(zip(ways, branches), key=lambda pair: (pair[0], _turn(pair[1])))[1]
            walk += chosen[:left]
            left -= len(chosen)
        poses = [w.transform for w in walk]
        points = np.array([(pose.location.x, pose.location.y) for pose in poses])
        yaws = np.unwrap(np.radians([pose.rotation.yaw for pose in poses]))
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        speeds = bend_speeds(yaws, STEP_M, BEND_ACCELERATION, BEND_DECELERATION, int(BEND_SPAN_M / STEP_M))
        return LanePath(points, yaws, along, np.maximum(speeds, SLOWEST_BEND), end)

    def _way_to_sink(self, branch: list[carla.Waypoint], reach: int) -> float:
        """Steps from the beginning of a branch to the lane on which a stream ends; infinite if that is out of reach."""
        if any((w.road_id, w.lane_id) in self._sink_lanes for w in (branch[0], branch[-1])):
            return 0.0
        left = reach - len(branch)
        if left <= 0:
            return np.inf
        following = (_rest_of_lane(after)[:left] for after in branch[-1].next(STEP_M))
        return len(branch) + min((self._way_to_sink(lane, left) for lane in following), default=np.inf)


def _is_of_scenario(actor: carla.Actor) -> bool:
    return str(getattr(actor, "attributes", {}).get("role_name", "")).startswith("scenario")


def _key(waypoint: carla.Waypoint) -> LaneKey:
    return waypoint.road_id, waypoint.section_id, waypoint.lane_id


def _start_of_lane(waypoint: carla.Waypoint) -> carla.Waypoint:
    key = _key(waypoint)
    for _ in range(MAX_LANE_STEPS):
        before = [w for w in waypoint.previous(STEP_M) if _key(w) == key]
        if not before:
            break
        waypoint = before[0]
    return waypoint


def _rest_of_lane(waypoint: carla.Waypoint) -> list[carla.Waypoint]:
    key, walk = _key(waypoint), [waypoint]
    while len(walk) < MAX_LANE_STEPS:
        after = [w for w in walk[-1].next(STEP_M) if _key(w) == key]
        if not after:
            break
        walk.append(after[0])
    return walk


def _turn(walk: list[carla.Waypoint]) -> float:
    """How far a stretch of lane turns, degrees."""
    turned = walk[-1].transform.rotation.yaw - walk[0].transform.rotation.yaw
    return abs((turned + 180.0) % 360.0 - 180.0)


def _follow(path: LanePath, begin: int, end: int, x: float, y: float, yaw: float) -> _Follower | None:
    """A vehicle on a path, near one of its points between two indices; None if it is elsewhere or heads elsewhere."""
    index, follows, along, offset = _locate(path.points, path.yaws, path.directions, path.along, begin, end, x, y, yaw)
    return _Follower(path, index, along, offset) if follows else None
