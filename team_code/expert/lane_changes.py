"""Lane changes that the plan, or an obstacle, asks for: where, how smoothly, and into which gap.

The plan moves over within a few metres. Here a change takes the time that a driver gives it, begins where there is room, is
put off while there is none, and the ego takes the speed of the traffic that it joins. The published expert follows the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import carla
import numpy as np
from numpy.typing import NDArray

from driving.commands import RoadOption
from team_code.expert.config import LaneChangeConfig
from team_code.expert.lanes import LaneFollowers, LanePath
from team_code.expert.planner import LANE_CHANGES, RoutePlanner
from team_code.expert.route import Route, blend
from team_code.expert.scene import EgoState, Scene

Array = NDArray[np.float64]

POINTS_PER_M = 10
SEARCHED_AROUND = 30
"""The lane of the plan changes within so many points of its lane-change commands."""

PLANNED_CHANGE_POINTS = 70
"""The plan is back in the middle of a lane so many points before and behind its own change."""

IN_LANE_M = 1.6
"""Who is nearer than this to the centre of a lane is on it."""

LEADER_DECELERATION = 7.0
"""With which others may stop at the end of a queue, m/s²."""

STEP_S = 0.25
STANDING_MPS = 0.5
REACTION_S = 1.0
"""After which others begin to brake for who moves over before them."""


@dataclass
class LaneChange:
    """One change between neighbouring lanes.

    Attributes:
        first, last: Route indices between which both lanes run side by side.
        left: Side of the new lane.
        old, new: (last - first, 3) centres of both lanes, metres.
        begin, end: Indices between which the route moves over.
        is_started: The ego has begun; nothing is put off any more.
        is_detour: The plan stays in its lane: only the current route moves over.
        waited: Ticks that the ego has stood without a gap.
    """

    first: int
    last: int
    left: bool
    old: Array
    new: Array
    begin: int
    end: int
    is_started: bool = False
    is_detour: bool = False
    waited: int = 0

    def points(self) -> Array:
        """(last - first, 3) the way from the old lane to the new one."""
        at = np.arange(self.first, self.last)
        share = blend(np.clip((at - self.begin) / max(self.end - self.begin, 1), 0.0, 1.0))[:, None]
        return (1 - share) * self.old + share * self.new


@dataclass(frozen=True)
class Neighbour:
    """A vehicle on the lane that the ego wants.

    Attributes:
        actor: Its actor.
        ahead: Metres from the ego's centre to its own along the lane.
        speed: m/s along the lane.
        half_length: Metres.
    """

    actor: carla.Actor
    ahead: float
    speed: float
    half_length: float


@dataclass(frozen=True)
class LaneChangeWish:
    """What a coming lane change asks of the speed.

    Attributes:
        at_most: m/s, infinite without a wish.
        at_least: The ego may drive as fast as this to keep up, m/s.
        actor: Who is in the way.
        distance: Metres to it.
    """

    at_most: float = float("inf")
    at_least: float = 0.0
    actor: carla.Actor | None = None
    distance: float | None = None


def find_lane_changes(
    route: Route, expected_speed: Sequence[float] | Array, config: LaneChangeConfig
) -> list[LaneChange]:
    """The changes of the plan, smoothed.

    Args:
        route: With the plan's own, sudden changes.
        expected_speed: (N,) m/s at every point.
        config: Constants.
    """
    found: list[LaneChange] = []
    for crossing, left in _crossings(route):
        after = found[-1].end if found else 0
        before = next((c for c, _ in _crossings(route) if c > crossing), len(route.points))
        first, olds, news = crossing, [], []
        while first > max(after, crossing - config.window) and (pair := _pair(route, first, left, True)) is not None:
            olds.append(pair[0])
            news.append(pair[1])
            first -= 1
        olds, news = olds[::-1], news[::-1]
        first += 1
        last = crossing + 1
        limit = min((crossing + before) // 2, crossing + config.window)
        while last < limit and (pair := _pair(route, last, left, False)) is not None:
            olds.append(pair[0])
            news.append(pair[1])
            last += 1
        if last - first < config.shortest or min(crossing - first, last - crossing) <= PLANNED_CHANGE_POINTS:
            continue
        length = int(np.clip(config.duration * POINTS_PER_M * expected_speed[crossing], config.shortest, last - first))
        begin = int(np.clip(crossing - length // 2, first, last - length))
        old, new = _both_lanes(route, first, crossing, np.array(news) - np.array(olds))
        found.append(LaneChange(first, last, left, old, new, begin, begin + length))
    return found


def _both_lanes(route: Route, first: int, crossing: int, across: Array) -> tuple[Array, Array]:
    """Centres (N, 3) of the old and the new lane from index ``first`` on, given the way (N, 3) from one to the other.

    Before and behind the plan's own change they are its points, or those moved across; within it smooth curves between.
    """
    from scipy.interpolate import CubicSpline  # slow to import, and few routes change lanes

    planned, index = route.original_points[first : first + len(across)], np.arange(len(across))
    kept = np.unique(np.append(index[::POINTS_PER_M], index[-1]))
    shift = np.stack([np.interp(index, kept, across[kept, k]) for k in range(3)], axis=1)
    is_outside = np.abs(index + first - crossing) > PLANNED_CHANGE_POINTS
    is_before = (index + first <= crossing)[:, None]
    lanes = []
    for lane in (np.where(is_before, planned, planned - shift), np.where(is_before, planned + shift, planned)):
        corners = index[is_outside][::POINTS_PER_M]
        smooth = CubicSpline(corners, lane[corners])(index)
        lanes.append(np.where(is_outside[:, None], lane, smooth))
    return lanes[0], lanes[1]


def _crossings(route: Route) -> list[tuple[int, bool]]:
    """(last index on the old lane, whether the change is to the left) of every change on the route."""
    asked = np.isin(route.original_commands, LANE_CHANGES)
    found = []
    for i in range(max(1, SEARCHED_AROUND), len(route.waypoints) - 1):
        a, b = route.waypoints[i], route.waypoints[i + 1]
        beside = (a.road_id, a.section_id) == (b.road_id, b.section_id) and a.lane_id != b.lane_id
        near = slice(max(0, i - SEARCHED_AROUND), i + SEARCHED_AROUND)
        if beside and a.lane_id * b.lane_id > 0 and asked[near].any():
            commands = route.original_commands[near]
            found.append((i, bool((commands == RoadOption.CHANGELANELEFT).any())))
    return found


def _pair(route: Route, index: int, left: bool, is_before: bool) -> tuple[Array, Array] | None:
    """Centres (3,) of the old and the new lane beside a route index; None where they do not run side by side."""
    own = route.waypoints[index]
    other = own.get_left_lane() if left == is_before else own.get_right_lane()
    if own.is_junction or other is None or other.lane_type != carla.LaneType.Driving or other.lane_id * own.lane_id < 0:
        return None
    here, there = (np.array([p.x, p.y, p.z]) for p in (own.transform.location, other.transform.location))
    return (here, there) if is_before else (there, here)


class LaneChanges:
    """Carries out the changes of the plan.

    Args:
        planner: Route to shape.
        lanes: Gives centre lines.
        config: Constants.
        world_map: Map of the town.
    """

    def __init__(
        self, planner: RoutePlanner, lanes: LaneFollowers, config: LaneChangeConfig, world_map: carla.Map
    ) -> None:
        self._planner, self._lanes, self._config, self._map = planner, lanes, config, world_map
        self._detours: list[LaneChange] = []
        self._approached: dict[tuple[int, int, int], LanePath] = {}
        self._changes = find_lane_changes(planner.route, planner.usual_speeds(), config)
        for change in self._changes:
            self._shape(change)

    def step(self, scene: Scene, cruise: float, speed_limit: float) -> LaneChangeWish:
        """Begin, or put off, the next change.

        Args:
            scene: The world now.
            cruise: Speed on a free road, m/s.
            speed_limit: m/s.
        """
        index = self._planner.index
        detour = _next(self._detours, index)
        if detour is not None and index >= detour.first:
            return self._attend(detour, scene, cruise, speed_limit)
        change = _next(self._changes, index)
        if change is None or index < change.first or self._is_deviated(change):
            return LaneChangeWish()
        return self._attend(change, scene, cruise, speed_limit)

    def add_detour(self, *changes: LaneChange) -> None:
        """Also attend changes that lead around an obstacle, and back."""
        self._detours.extend(changes)
        for change in changes:
            self._shape(change)

    def drop_detours(self) -> None:
        """Forget them: there is nothing to drive around any more."""
        self._detours.clear()

    def _attend(self, change: LaneChange, scene: Scene, cruise: float, speed_limit: float) -> LaneChangeWish:
        """Begin a change, or put it off; it must not have started."""
        index, ego, config = self._planner.index, scene.ego, self._config
        others = self._neighbours(change, scene)
        lead, early = (int(t * POINTS_PER_M * ego.speed) for t in (config.lead_time, config.early_time))
        if index < change.begin - (lead if others else 0):
            return LaneChangeWish()
        fastest = max(cruise, min(speed_limit, max((o.speed for o in others), default=0.0)))
        spare = np.clip((change.last - index) / config.window, 0.0, 1.0) if others else 0.0
        room = config.room + float(spare) * config.spare_time * ego.speed
        if self._has_gap(ego, others, cruise, fastest, room, self._courtesy(change)):
            if index >= change.begin - (early if others else 0):
                self._start(change, ego, others)
            return LaneChangeWish(at_least=fastest)
        change.waited += int(ego.speed < STANDING_MPS)
        return self._put_off(change, ego, others, fastest)

    def _courtesy(self, change: LaneChange) -> float:
        """Deceleration, m/s², that those behind are trusted with: they let in who has stood for a while."""
        return self._config.courtesy * float(np.clip(change.waited / self._config.courtesy_ticks - 0.5, 0.0, 1.0))

    def usual_length(self, speed: float) -> int:
        """Points over which the route moves over at a speed, m/s."""
        return max(self._config.shortest, int(self._config.duration * POINTS_PER_M * speed))

    def _start(self, change: LaneChange, ego: EgoState, others: list[Neighbour]) -> None:
        index = self._planner.index
        length = max(self._config.shortest, min(self.usual_length(ego.speed), self._points_to_stop(ego, others)))
        change.begin = index + SEARCHED_AROUND // 3
        change.end = min(change.begin + length, change.last)
        change.is_started = True
        self._shape(change)

    def _points_to_stop(self, ego: EgoState, others: list[Neighbour]) -> int:
        """Points after which the ego stands if who is ahead on the new lane stops: it should not stand across two lanes then."""
        leader = min((o for o in others if o.ahead > 0), key=lambda o: o.ahead, default=None)
        if leader is None:
            return self._config.window
        gap = leader.ahead - float(ego.extent[0]) - leader.half_length - self._config.room
        return int(POINTS_PER_M * (gap + max(leader.speed, 0.0) ** 2 / (2 * LEADER_DECELERATION)))

    def _put_off(self, change: LaneChange, ego: EgoState, others: list[Neighbour], fastest: float) -> LaneChangeWish:
        """Stay on the old lane, at a speed that brings the ego beside a gap; stop before the lanes part."""
        config, index = self._config, self._planner.index
        latest = change.last - config.shortest
        if change.begin < index + SEARCHED_AROUND and change.begin < latest:
            change.begin = min(index + 2 * SEARCHED_AROUND, latest)
            change.end = change.begin + max(config.shortest, change.end - change.begin)
            change.end = min(change.end, change.last)
            self._shape(change)
        room = max(0.0, (latest - index) / POINTS_PER_M - 1.0)
        last_call = float(np.sqrt(2 * config.deceleration * room)) if room > 0.5 else 0.0
        nearest = min(others, key=lambda o: abs(o.ahead))
        beside = _speed_beside_gap(ego, others, config)
        return LaneChangeWish(
            min(last_call, max(beside, config.slowest)), min(beside, fastest), nearest.actor, nearest.ahead
        )

    def _shape(self, change: LaneChange) -> None:
        if change.is_detour:
            self._planner.detour(change.first, change.points(), change.begin, change.end, change.left)
            return
        self._planner.reroute(change.first, change.points())
        side = RoadOption.CHANGELANELEFT if change.left else RoadOption.CHANGELANERIGHT
        route = self._planner.route
        for commands in (route.commands, route.original_commands):
            window = commands[change.first : change.last]
            window[np.isin(window, LANE_CHANGES)] = RoadOption.LANEFOLLOW
            commands[change.begin : change.end] = side

    def _is_deviated(self, change: LaneChange) -> bool:
        """Whether a scenario has bent the route here, which then is what counts."""
        route, span = self._planner.route, slice(max(self._planner.index, change.first), change.end)
        return bool(np.any(route.points[span] != route.original_points[span]))

    def _neighbours(self, change: LaneChange, scene: Scene) -> list[Neighbour]:
        """Vehicles on the new lane within sight."""
        index = min(max(self._planner.index, change.first), change.last - 1) - change.first
        place = change.new[index]
        path = self._lane_with_approach(place)
        here = path.along[path.nearest(place[:2], 0, len(path.points))]
        found = []
        vehicles, ego = scene.vehicles, scene.ego
        distance = np.linalg.norm(vehicles.xy - ego.xyz[:2], axis=1)
        for i in np.flatnonzero(distance < self._config.sight).tolist():
            k = path.nearest(vehicles.xy[i], 0, len(path.points))
            if np.linalg.norm(path.points[k] - vehicles.xy[i]) < IN_LANE_M and abs(vehicles.xyz[i, 2] - place[2]) < 4.0:
                speed = float(vehicles.speed[i] * np.cos(vehicles.yaw[i] - path.yaws[k]))
                ahead = float(path.along[k] - here)
                found.append(Neighbour(vehicles.actors[i], ahead, speed, float(vehicles.extent[i, 0])))
        return sorted(found, key=lambda o: o.ahead)

    def _lane_with_approach(self, place: Array) -> LanePath:
        """The lane nearest to a place (3,), with what leads into it as far as the ego looks."""
        waypoint = self._map.get_waypoint(carla.Location(*map(float, place)))
        key = waypoint.road_id, waypoint.section_id, waypoint.lane_id
        if key not in self._approached:
            self._approached[key] = with_approach(self._lanes.path_from(waypoint), waypoint, self._config.sight)
        return self._approached[key]

    def _has_gap(
        self, ego: EgoState, others: list[Neighbour], cruise: float, fastest: float, behind: float, courtesy: float
    ) -> bool:
        """Whether nobody on the new lane comes too near if the ego moves over now; ``behind`` metres stay free there."""
        config = self._config
        half = float(ego.extent[0])
        leader = min((o for o in others if o.ahead > 0), key=lambda o: o.ahead, default=None)
        wanted = fastest
        if leader is not None:
            room = leader.ahead - half - leader.half_length
            closing = max(0.0, ego.speed - leader.speed)
            if room < config.room + config.reaction * closing + closing**2 / (2 * config.deceleration):
                return False
            if room < config.room + config.reaction * fastest:
                wanted = min(fastest, max(leader.speed, 0.0))
        return all(
            self._stays_behind(o, ego, behind, max(wanted, min(cruise, o.speed)), courtesy)
            for o in others
            if o.ahead <= 0
        )

    def _stays_behind(
        self, follower: Neighbour, ego: EgoState, least: float, wanted: float, courtesy: float = 0.0
    ) -> bool:
        config = self._config
        time = np.arange(1, int(config.foresight / STEP_S) + 1) * STEP_S
        rate = config.acceleration if wanted > ego.speed else -config.deceleration
        gained = np.clip(ego.speed + rate * time, min(wanted, ego.speed), max(wanted, ego.speed))
        way = np.cumsum(gained) * STEP_S
        braking = np.clip(time - REACTION_S, 0.0, follower.speed / courtesy if courtesy > 0 else 0.0)
        yielded = courtesy * (braking * np.maximum(time - REACTION_S, 0.0) - braking**2 / 2)
        room = way - follower.ahead - follower.speed * time + yielded - ego.extent[0] - follower.half_length
        return bool(room[1:].min() > least)


def _next(changes: Sequence[LaneChange], index: int) -> LaneChange | None:
    return next((change for change in changes if index < change.end and not change.is_started), None)


def with_approach(path: LanePath, waypoint: carla.Waypoint, reach: float) -> LanePath:
    """A lane's path with ``reach`` metres of what leads straightest into it put before its beginning.

    Args:
        path: Whole lane of ``waypoint`` and what follows.
        waypoint: Anywhere on the first lane of the path.
        reach: Metres.
    """
    start = waypoint
    while (
        (before := _previous(start)) is not None and before.lane_id == waypoint.lane_id and _is_beside(before, waypoint)
    ):
        start = before
    walk: list[carla.Waypoint] = []
    while len(walk) < int(reach) and (before := _previous(start)) is not None:
        walk.append(before)
        start = before
    if not walk:
        return path
    poses = [w.transform for w in reversed(walk)]
    points = np.concatenate([[(pose.location.x, pose.location.y) for pose in poses], path.points])
    yaws = np.unwrap(np.concatenate([np.radians([pose.rotation.yaw for pose in poses]), path.yaws]))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return replace(path, points=points, yaws=yaws, along=along, end=path.end + len(walk))


def _is_beside(a: carla.Waypoint, b: carla.Waypoint) -> bool:
    return (a.road_id, a.section_id) == (b.road_id, b.section_id)


def _previous(waypoint: carla.Waypoint) -> carla.Waypoint | None:
    """One metre back, the straightest way."""
    options, yaw = waypoint.previous(1.0), waypoint.transform.rotation.yaw
    return max(options, key=lambda w: np.cos(np.radians(w.transform.rotation.yaw - yaw)), default=None)


def _speed_beside_gap(ego: EgoState, others: list[Neighbour], config: LaneChangeConfig) -> float:
    """Speed, m/s, that brings the ego beside the nearest gap that is long enough, and keeps it there."""
    needed = 2 * float(ego.extent[0]) + 2 * config.room
    edges = [o for o in others if o.speed > 0.5] or others
    starts = [-np.inf, *(o.ahead + o.half_length for o in edges)]
    ends = [*(o.ahead - o.half_length for o in edges), np.inf]
    speeds = [edges[0].speed, *(o.speed for o in edges)]
    best, chosen = np.inf, 0.0
    for start, end, speed in zip(starts, ends, speeds):
        comfort = needed + 2 * config.spare_time * speed
        if end - start < needed:
            continue
        reserve = min(end - start, comfort) / 2
        place = float(np.clip(0.0, start + reserve, end - reserve))
        if abs(place) < best:
            best, chosen = abs(place), speed + float(np.clip(config.approach * place, -config.slower, config.faster))
    return max(chosen, 0.0)
