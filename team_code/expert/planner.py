"""Following the route and bending it around obstacles."""

from __future__ import annotations

from dataclasses import dataclass

import carla
import numpy as np
from numpy.typing import NDArray

from driving.commands import RoadOption
from driving.geometry import wrap_angle
from team_code.expert.config import ExpertConfig
from team_code.expert.route import Route, bend_speeds, blend, blend_weights, route_yaws
from team_code.expert.scene import ActorBatch

Array = NDArray[np.float64]

LANE_CHANGES = (int(RoadOption.CHANGELANELEFT), int(RoadOption.CHANGELANERIGHT))
MAX_SIDE_LANES = 3
LEADING_REACH = 2.5
HIDDEN_M = 50.0
DEVIATION_LATITUDE = 1.5
DRIVABLE = (
    carla.LaneType.Driving,
    carla.LaneType.Bidirectional,
)


@dataclass(frozen=True)
class RoutePosition:
    """What lies ahead of the ego on its route.

    Attributes:
        index: Route index of the ego.
        light_id: Actor id of the next light, None if there is none.
        light_distance: Metres to it.
        stop_id: Actor id of the next stop sign.
        stop_distance: Metres to it along the route.
        speed_limit: m/s.
    """

    index: int
    light_id: int | None
    light_distance: float
    stop_id: int | None
    stop_distance: float
    speed_limit: float


class RoutePlanner:
    """Keeps the ego's index on a route and shifts the route sideways on request.

    Lengths in points refer to the 0.1 m route.
    """

    def __init__(self, route: Route, config: ExpertConfig | None = None) -> None:
        self.route = route
        self._config = config or ExpertConfig()
        self.config = self._config.route
        self.index = route.start
        self._original_yaws = route.yaws.copy()
        self._gap_checked = np.zeros(len(route), dtype=bool)
        self._bend_speeds = self._speeds_in_bends()

    def advance(self, x: float, y: float) -> None:
        """Move the index to the nearest of the next few points; it never moves back."""
        self.index = self.index_after(self.index, x, y)

    def index_after(self, index: int, x: float, y: float) -> int:
        """Index nearest to (x, y) among the points that follow ``index``."""
        ahead = self.route.points[index : index + self.config.search_points, :2]
        dx, dy = ahead[:, 0] - x, ahead[:, 1] - y
        return index + int(np.argmin(dx * dx + dy * dy))

    @property
    def bend_speed(self) -> float:
        """Speed, m/s, that the bends ahead allow here."""
        return float(self._bend_speeds[self.index])

    @property
    def bend_speeds(self) -> Array:
        """(N,) speeds, m/s, that the bends after every route point allow there."""
        return self._bend_speeds

    def _speeds_in_bends(self) -> Array:
        config = self._config
        if not np.isfinite(config.lateral_acceleration):
            return np.full(len(self.route), np.inf)
        spacing, lateral = 1.0 / self.config.points_per_meter, config.lateral_acceleration
        own = bend_speeds(self._original_yaws, spacing, lateral, config.bend_deceleration)
        # A deviation is a short S that the steering rounds off: it deserves less slowing down than a bend of the road.
        deviated = bend_speeds(self.route.yaws, spacing, DEVIATION_LATITUDE * lateral, config.bend_deceleration)
        return np.minimum(own, deviated)

    def travel_time(self, end: int, speed: float, cap: float, acceleration: float = 5.0) -> float:
        """Seconds to drive from the ego to route index ``end`` at no more than ``cap`` m/s and the speed of the bends."""
        spacing = 1.0 / self.config.points_per_meter
        elapsed, v = 0.0, speed
        for allowed in np.minimum(self._bend_speeds[self.index : end], cap).tolist():
            v = min(allowed, (v * v + 2 * acceleration * spacing) ** 0.5)
            elapsed += spacing / max(v, 0.5)
        return elapsed

    @property
    def ahead(self) -> Array:
        """(N, 3) current route points from the ego on."""
        return self.route.points[self.index :]

    @property
    def original_ahead(self) -> Array:
        """(N, 3) route points from the ego on, without deviations."""
        return self.route.original_points[self.index :]

    @property
    def is_changed(self) -> bool:
        """Whether the route at the ego deviates from the original."""
        return bool(np.any(self.route.points[self.index] != self.route.original_points[self.index]))

    def position(self) -> RoutePosition:
        """What lies ahead."""
        i, route = self.index, self.route
        light, stop = int(route.light_index[i]), int(route.stop_index[i])
        return RoutePosition(
            index=i,
            light_id=route.lights[light].id if light >= 0 else None,
            light_distance=float(route.light_distance[i]),
            stop_id=route.stop_signs[stop].id if stop >= 0 else None,
            stop_distance=float(route.stop_distance[i]),
            speed_limit=float(route.speed_limits[i]),
        )

    def junction_within(self, num_points: int) -> bool:
        """Whether any of the next ``num_points`` points lies in a junction."""
        return bool(self.route.in_junction[self.index : self.index + num_points].any())

    def usual_speeds(self) -> Array:
        """(N,) speed at every point of the route without others and without bends, m/s."""
        config = self._config
        return np.minimum(config.ratio_of_limit * self.route.speed_limits, config.max_speed)

    def reroute(self, begin: int, points: Array) -> None:
        """Lead the planned route, and the current one, over (n, 3) points from ``begin`` on."""
        span = slice(begin, begin + len(points))
        self.route.points[span] = points
        self.route.original_points[span] = points
        self._original_yaws = route_yaws(self.route.original_points)
        self._refresh_yaws()

    def detour(self, first: int, points: Array, begin: int, end: int, left: bool) -> None:
        """Lead the current route, but not the plan, over (n, 3) points from ``first`` on; gaps are looked for elsewhere.

        Args:
            first: Route index of the first point.
            points: The way, metres.
            begin, end: Route indices between which it changes lanes.
            left: Side of the change.
        """
        span = slice(first, first + len(points))
        self.route.points[span] = points
        self._gap_checked[span] = True
        self.route.commands[span] = self.route.original_commands[span]
        self.route.commands[begin:end] = RoadOption.CHANGELANELEFT if left else RoadOption.CHANGELANERIGHT
        self._refresh_yaws()

    def lane_change_between(self, before: int, after: int) -> bool:
        """Whether a lane-change command stands within ``before`` points behind and ``after`` points ahead."""
        commands = self.route.commands[max(0, self.index - before) : self.index + after]
        return any(bool((commands == change).any()) for change in LANE_CHANGES)

    def deviates_between(self, before: int, after: int) -> bool:
        """Whether the route leaves the plan, other than by a detour, from ``before`` points behind to ``after`` points ahead."""
        span = slice(max(0, self.index - before), self.index + after)
        is_off = self.route.points[span] != self.route.original_points[span]
        return bool(is_off.any()) and bool(np.any(is_off.any(axis=1) & ~self._gap_checked[span]))

    def leading(self, vehicles: ActorBatch, half_width: float) -> NDArray[np.bool_]:
        """Which of N vehicles drive on the route ahead of an ego of this half width, metres, (N,)."""
        end = self.index + self.config.leading_points
        near, turned = self._nearest(vehicles.xy, vehicles.yaw, self.index, end)
        reach = np.minimum(LEADING_REACH, half_width + vehicles.extent[:, 1] + self.config.leading_margin)
        return (near < reach) & (turned < np.radians(35))

    def trailing(self, xy: Array, yaw: Array) -> NDArray[np.bool_]:
        """Which of N vehicles follow on the route behind; wider while a lane change has just been made."""
        changed = self.lane_change_between(150, 0)
        reach = self.config.trailing_reach_lane_change if changed else self.config.trailing_reach
        begin = max(0, self.index - self.config.trailing_points)
        near, turned = self._nearest(xy, yaw, begin, self.index)
        return (near < reach) & (turned < np.radians(30))

    def joining(self, xy: Array, yaw: Array) -> NDArray[np.bool_]:
        """Which of N places (N, 2), with headings (N,), radians, lie on the route ahead and along it."""
        near, turned = self._nearest(xy, yaw, self.index, self.index + self.config.joining_points)
        return (near < 1.5) & (turned < np.radians(35))

    def junction_entry(self) -> float | None:
        """Metres to the next junction on the route; None in a junction or without one in reach."""
        inside = self.route.in_junction[self.index : self.index + self.config.joining_points]
        if not inside.any() or inside[0]:
            return None
        return int(np.argmax(inside)) / self.config.points_per_meter

    def _nearest(self, xy: Array, yaw: Array, begin: int, end: int) -> tuple[Array, Array]:
        """Distance to, and heading difference at, the nearest of the sub-sampled points of a stretch."""
        points, yaws = self.route.points[begin:end:10, :2], self.route.yaws[begin:end:10]
        if len(points) == 0 or len(xy) == 0:
            return np.full(len(xy), np.inf), np.full(len(xy), np.inf)
        dx, dy = xy[:, :1] - points[:, 0], xy[:, 1:2] - points[:, 1]
        squared = dx * dx + dy * dy
        nearest = np.argmin(squared, axis=1)
        turned = np.abs(wrap_angle(yaw - yaws[nearest]))
        return np.sqrt(squared[np.arange(len(xy)), nearest]), turned

    def nearest_index(self, location: carla.Location) -> int:
        """Index of the original point, from the ego on, nearest to a place (3-D)."""
        offset = (self.original_ahead - [location.x, location.y, location.z]) * self._flatness(location)
        return self.index + int(np.argmin(np.sum(offset**2, axis=1)))

    def _flatness(self, location: carla.Location) -> Array:
        """(3,) weights of the coordinates in distances to a place: height counts unless something hides far below.

        On a slope the point nearest to what waits below ground for its scenario is another than that above it.
        """
        height = float(self.route.original_points[self.index, 2])
        is_hidden = self.config.true_start and abs(location.z - height) > HIDDEN_M
        return np.array([1.0, 1.0, 0.0 if is_hidden else 1.0])

    def closest_index(self, location: carla.Location, start: int) -> int:
        """Index found by walking on the original route from ``start`` while the distance to a place shrinks."""
        points, place = self.route.original_points, np.array([location.x, location.y, location.z])
        weights = self._flatness(location)

        def distance(i: int) -> float:
            return float(np.sum(((points[i] - place) * weights) ** 2))

        last = len(points) - 1
        here = min(max(start, 0), last)
        step = 1 if here < last and distance(here + 1) < distance(here) else -1
        while 0 <= here + step <= last and distance(here + step) < distance(here):
            here += step
        return here

    def side_waypoint(self, waypoint: carla.Waypoint, left: bool) -> carla.Waypoint | None:
        """Neighbouring lane to shift towards; None if there is none to drive on."""
        neighbour, left_now = waypoint, left
        for _ in range(MAX_SIDE_LANES):
            crossed = neighbour.lane_id
            neighbour = neighbour.get_left_lane() if left_now else neighbour.get_right_lane()
            if neighbour is None:
                return None
            if not self.config.lane_types_checked or neighbour.lane_type in DRIVABLE:
                return neighbour
            if crossed * neighbour.lane_id < 0:  # beyond the centre line the lanes count the other way
                left_now = not left_now
        return None

    def side_lane_until(self, start: int, last: int, left: bool) -> int:
        """How far the neighbouring lane accompanies the plan on the way from one route index to another, in either direction.

        It ends at a junction, and where the plan changes lanes itself.
        """
        step = 10 if last >= start else -10
        for i in range(start, last, step):
            waypoint = self.route.waypoints[i]
            planned = self.route.original_commands[i] in LANE_CHANGES
            if waypoint.is_junction or planned or self.side_waypoint(waypoint, left) is None:
                return max(i - step, start) if step > 0 else min(i - step, start)
        return last

    def side_points(self, begin: int, end: int, left: bool) -> Array:
        """(end - begin, 3) centres of the neighbouring lane along route indices; the own lane where there is none.

        The way across is looked up once a metre: inside bends the places beside neighbouring points coincide, and the heading of
        a path through them, and with it its curvature, would be arbitrary.
        """
        own, stride = self.route.original_points[begin:end], self.config.side_stride
        kept = np.unique(np.append(np.arange(0, end - begin, stride), end - begin - 1))
        across = np.zeros((len(kept), 3))
        for row, i in enumerate(kept.tolist()):
            neighbour = self.side_waypoint(self.route.waypoints[begin + i], left)
            if neighbour is not None:
                place = neighbour.transform.location
                across[row] = np.array([place.x, place.y, place.z]) - own[i]
        index = np.arange(end - begin)
        return own + np.stack([np.interp(index, kept, across[:, axis]) for axis in range(3)], axis=1)

    def shift_smoothly(self, begin: int, end: int, left: bool, length: int, factor: float = 1.0) -> None:
        """Lead the route over the neighbouring lane from ``begin`` to ``end`` (inclusive).

        Args:
            begin, end: Route indices.
            left: Side of the neighbouring lane.
            length: Points of the blend at either end.
            factor: Share of the way to the centre of the neighbouring lane.
        """
        begin, end = max(begin, 0), min(end, len(self.route) - 1)
        if end <= begin:
            return
        weights = blend_weights(end - begin + 1, length)
        share = (factor * weights)[:, None]
        span = slice(begin, end + 1)
        self.route.points[span] = share * self.side_points(begin, end + 1, left) + (1 - share) * self.route.points[span]
        index = np.arange(end - begin + 1)
        first_half = index < (end - begin + 1) / 2
        there = RoadOption.CHANGELANELEFT if left else RoadOption.CHANGELANERIGHT
        back = RoadOption.CHANGELANERIGHT if left else RoadOption.CHANGELANELEFT
        commands = self.route.commands[span]
        commands[first_half & (index <= length)] = there
        commands[~first_half & (index >= end - begin - length)] = back
        self._refresh_yaws()

    def shift_around(
        self,
        first: tuple[carla.Location, float],
        last: tuple[carla.Location, float] | None,
        left: bool,
        length: int,
        factor: float = 1.0,
        before: int = 0,
        after: int = 0,
    ) -> tuple[int, int]:
        """Lead the route around one obstacle or a row of them.

        Args:
            first, last: Location and half length, metres, of the first and the last obstacle.
            left: Pass on the left.
            length: Points of the blend at either end.
            factor: Share of the way to the neighbouring lane.
            before, after: Points added before the first and after the last obstacle.

        Returns:
            First and last shifted index.
        """
        at_first = self.nearest_index(first[0])
        begin = at_first - int(10 * first[1] + length + before)
        end_location, end_extent = last or first
        at_last = self.closest_index(end_location, at_first) if last else at_first
        end = at_last + int(10 * end_extent + length + after)
        if self.config.true_start:
            begin = max(begin, self.index)
        begin, end = max(begin, 0), min(end, len(self.route) - 1)
        self.shift_smoothly(begin, end, left, length, factor)
        return begin, end

    def shift_sideways(self, begin: int, end: int, offsets: Array) -> None:
        """Move the points from ``begin`` to ``end`` (exclusive) to the right by ``offsets`` metres, (end - begin,)."""
        begin, end = max(begin, 0), min(end, len(self.route))
        yaws = self.route.yaws[begin:end]
        right = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)
        self.route.points[begin:end, :2] += right * offsets[: end - begin, None]
        self._refresh_yaws()

    def inner_edge(self, vehicles: ActorBatch, i: int, left: bool, points: int = 800) -> float:
        """How far the side of a vehicle that is to be passed on the left, or right, lies from the route, metres.

        Positive where it leaves the route free.
        """
        ahead = self.route.points[self.index : self.index + points, :2]
        yaw = self.route.yaws[self.index + int(np.argmin(np.sum((ahead - vehicles.xy[i]) ** 2, axis=1)))]
        offset = self.lateral_offset(vehicles.xy[i], points)
        return (offset if left else -offset) - vehicles.half_width(i, yaw)

    def lateral_offset(self, xy: Array, points: int = 300) -> float:
        """Distance of a place (2,) from the route ahead, metres, positive to the right."""
        ahead = self.route.points[self.index : self.index + points, :2]
        nearest = int(np.argmin(np.sum((ahead - xy) ** 2, axis=1)))
        yaw = self.route.yaws[self.index + nearest]
        dx, dy = xy - ahead[nearest]
        return float(-np.sin(yaw) * dx + np.cos(yaw) * dy)

    def give_way(self, shift: float, length: int = 200, blend: int = 30) -> None:
        """Move the next ``length`` points to the right by ``shift`` metres, blended over ``blend`` points."""
        end = min(self.index + length, len(self.route))
        self.shift_sideways(self.index, end, shift * blend_weights(end - self.index, blend))

    def return_to_lane(self, blend_points: int) -> None:
        """Lead the route from where it is now back to the original over ``blend_points`` points."""
        begin, end = self.index, min(self.index + blend_points, len(self.route))
        share = blend(np.arange(end - begin) / blend_points)[:, None]
        span = slice(begin, end)
        mixed = share * self.route.original_points[span] + (1 - share) * self.route.points[span]
        self.route.points[span] = mixed
        self.route.points[end:] = self.route.original_points[end:]
        self.route.commands[begin:] = self.route.original_commands[begin:]
        self._refresh_yaws()

    def extend_shift(self, previous_end: int, new_end: int, left: bool, length: int, factor: float = 1.0) -> None:
        """Hold a running shift from ``previous_end`` to ``new_end`` and blend back over the last ``length`` points."""
        begin, end = max(previous_end, 0), min(new_end, len(self.route) - 1)
        if end <= begin:
            return
        weights = np.ones(end - begin)
        tail = min(length, end - begin)
        weights[-tail:] = blend_weights(2 * tail + 1, tail)[-tail:]
        share, span = factor * weights[:, None], slice(begin, end)
        original = self.route.original_points[span]
        self.route.points[span] = share * self.side_points(begin, end, left) + (1 - share) * original
        commands = self.route.original_commands[span].copy()
        commands[-tail:] = RoadOption.CHANGELANERIGHT if left else RoadOption.CHANGELANELEFT
        self.route.commands[span] = commands
        self._refresh_yaws()

    def _refresh_yaws(self) -> None:
        if self.config.true_start:
            self.route.yaws = route_yaws(self.route.points)
            self._bend_speeds = self._speeds_in_bends()
