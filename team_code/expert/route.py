"""The expert's route: a dense polyline with what the map says at every point.

Pure geometry first (`resample`, `route_yaws`, `blend_weights`), then `build_route`, which asks a `carla.Map`. The map object
of the client needs no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import carla
import numpy as np
from numpy.typing import ArrayLike, NDArray

from driving.commands import RoadOption
from team_code.expert.config import RouteConfig

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

SAMPLES_PER_SEGMENT = 100


def resample(points: ArrayLike, commands: ArrayLike, spacing: float = 0.1) -> tuple[Array, IntArray]:
    """Resample a polyline at (almost) equal spacing, as the published planner does.

    Every segment is sampled 100 times without its end; a sample is kept when the next one completes a multiple of ``spacing``.

    Args:
        points: (M, D) polyline, metres, D is 2 or 3.
        commands: (M,) command of each point.
        spacing: Metres.

    Returns:
        (N, D) points and (N,) commands.

    Raises:
        ValueError: If there are fewer than two points.
    """
    corners, labels = np.asarray(points, dtype=np.float64), np.asarray(commands, dtype=np.int64)
    if len(corners) < 2:
        raise ValueError(f"a route needs at least two points; got {len(corners)}")
    samples = np.arange((len(corners) - 1) * SAMPLES_PER_SEGMENT)
    segment = samples // SAMPLES_PER_SEGMENT
    share = (samples / SAMPLES_PER_SEGMENT - segment)[:, None]
    dense = corners[segment] * (1 - share) + corners[segment + 1] * share
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    remainder = length % spacing
    kept = np.concatenate([[0], np.flatnonzero(remainder[1:] < remainder[:-1])])
    kept = np.unique(kept)
    origin = np.minimum(np.round(kept / SAMPLES_PER_SEGMENT).astype(np.int64), len(labels) - 1)
    return dense[kept], labels[origin]


def route_yaws(points: Array) -> Array:
    """Heading, radians, at each of (N, >=2) points by central differences; the ends copy their neighbour."""
    if len(points) < 3:
        step = points[-1, :2] - points[0, :2]
        return np.full(len(points), np.arctan2(step[1], step[0]))
    chord = points[2:, :2] - points[:-2, :2]
    inner = np.arctan2(chord[:, 1], chord[:, 0])
    return np.concatenate([inner[:1], inner, inner[-1:]])


def bend_speeds(yaws: Array, spacing: float, lateral: float, deceleration: float, window: int = 20) -> Array:
    """Speed at every route point from which all bends ahead can be taken.

    Args:
        yaws: (N,) headings of the points, radians.
        spacing: Metres between points.
        lateral: Largest lateral acceleration, m/s².
        deceleration: With which the car slows down before a bend, m/s².
        window: The curvature is that over this many points to either side.

    Returns:
        (N,) m/s: v² = min over points j ahead of (lateral / curvature_j + 2 · deceleration · distance to j).
    """
    smooth = np.unwrap(yaws)
    index = np.arange(len(smooth))
    after, before = np.minimum(index + window, len(smooth) - 1), np.maximum(index - window, 0)
    curvature = np.abs(smooth[after] - smooth[before]) / np.maximum((after - before) * spacing, spacing)
    squared = lateral / np.maximum(curvature, 1e-6)
    gain = 2 * deceleration * spacing
    lowest = np.minimum.accumulate((squared + gain * index)[::-1])[::-1]
    return np.sqrt(lowest - gain * index)


def blend(t: ArrayLike) -> Array:
    """Smooth step from 0 to 1 for t in [0, 1]: half a cosine."""
    return 0.5 - 0.5 * np.cos(np.pi * np.asarray(t, dtype=np.float64))


def blend_weights(num_points: int, length: int) -> Array:
    """Weights (num_points,) of a shift that blends in over ``length`` points, holds, and blends out again."""
    index = np.arange(num_points)
    last = num_points - 1
    weights = np.ones(num_points)
    entering = (index <= length) & (index < num_points / 2)
    leaving = (index >= last - length) & ~entering
    weights[entering] = blend(index[entering] / length)
    weights[leaving] = blend((last - index[leaving]) / length)
    return weights


@dataclass
class Route:
    """A route at 0.1 m spacing.

    Attributes:
        points: (N, 3) world positions, metres; scenario deviations change them.
        commands: (N,) `RoadOption` values; deviations change them.
        original_points, original_commands: The same before any deviation.
        waypoints: Map waypoint of every original point.
        yaws: (N,) headings of the current points, radians.
        in_junction: (N,) whether the waypoint lies in a junction.
        speed_limits: (N,) m/s.
        start: Index at which the drive begins.
        light_index, light_distance: (N,) next traffic light (index into ``lights``, -1 if none) and the distance to it.
        stop_index, stop_distance: (N,) the same for stop signs (index into ``stop_signs``).
        lights, stop_signs: Actors the indices refer to.
        stop_centres: Centre (3,) of the trigger volume of each stop sign by actor id, world frame.
    """

    points: Array
    commands: IntArray
    waypoints: list[carla.Waypoint]
    start: int
    speed_limits: Array
    original_points: Array = field(init=False)
    original_commands: IntArray = field(init=False)
    yaws: Array = field(init=False)
    in_junction: NDArray[np.bool_] = field(init=False)
    light_index: IntArray = field(init=False)
    light_distance: Array = field(init=False)
    stop_index: IntArray = field(init=False)
    stop_distance: Array = field(init=False)
    lights: list[carla.TrafficLight] = field(default_factory=list)
    stop_signs: list[carla.Actor] = field(default_factory=list)
    stop_centres: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.original_points, self.original_commands = self.points.copy(), self.commands.copy()
        self.yaws = route_yaws(self.points)
        self.in_junction = np.array([w.is_junction for w in self.waypoints], dtype=bool)
        self.light_index, self.light_distance = _nothing_ahead(len(self.points))
        self.stop_index, self.stop_distance = _nothing_ahead(len(self.points))

    def __len__(self) -> int:
        return len(self.points)


def _nothing_ahead(num_points: int) -> tuple[IntArray, Array]:
    return np.full(num_points, -1, dtype=np.int64), np.full(num_points, np.inf)


def next_ahead(num_points: int, places: Sequence[tuple[int, int]], spacing: float = 0.1) -> tuple[IntArray, Array]:
    """For every route point the next place on the route and the distance to it.

    Args:
        num_points: N.
        places: (route index, label) of each place.
        spacing: Metres between route points.

    Returns:
        (N,) labels, -1 where nothing follows, and (N,) distances in metres, infinite where nothing follows. A place
        still counts at its own index and no longer after it.
    """
    labels, distances = _nothing_ahead(num_points)
    begin = 0
    for index, label in sorted(places):
        if index < begin:
            continue
        span = np.arange(begin, index + 1)
        labels[span], distances[span] = label, (index - span) * spacing
        begin = index + 1
    return labels, distances


def build_route(
    world_map: carla.Map,
    plan: Sequence[tuple[carla.Transform, int]],
    ego_location: carla.Location,
    speed_limit_at,
    config: RouteConfig | None = None,
) -> Route:
    """Build the route from the dense global plan.

    Args:
        world_map: Map of the town.
        plan: Transform and command of points about 1 m apart.
        ego_location: Where the ego stands now.
        speed_limit_at: Function from a `carla.Waypoint` to the speed limit there, m/s.
        config: Constants.

    Raises:
        ValueError: If the plan has fewer than two points.
    """
    config = config or RouteConfig()
    if len(plan) < 2:
        raise ValueError(f"the global plan needs at least two points; got {len(plan)}")
    waypoints = [world_map.get_waypoint(transform.location) for transform, _ in plan]
    commands = [int(command) for _, command in plan]
    parked = ego_location.distance(plan[0][0].location) > config.parking_exit_distance
    before = [] if parked else _walk(waypoints[0], config.extension, backwards=True)
    after = _walk(waypoints[-1], config.extension, backwards=False)
    corners = [w.transform.location for w in (*before, *waypoints, *after)]
    labels = [RoadOption.LANEFOLLOW] * len(before) + commands + [RoadOption.LANEFOLLOW] * len(after)
    if parked:
        corners.insert(0, ego_location)
        labels.insert(0, RoadOption.CHANGELANELEFT)
    spacing = 1.0 / config.points_per_meter
    points, resampled = resample([[c.x, c.y, c.z] for c in corners], labels, spacing)
    on_map = [world_map.get_waypoint(carla.Location(*map(float, point))) for point in points]
    delay_early_lane_changes(points, resampled, on_map, config.min_lane_width)
    limits = np.array([speed_limit_at(w) for w in on_map[:: config.speed_limit_stride]])
    limits = np.repeat(limits, config.speed_limit_stride)[: len(points)]
    return Route(points, resampled, on_map, _start_index(points, ego_location, parked, len(before), config), limits)


def _start_index(points: Array, ego: carla.Location, parked: bool, num_before: int, config: RouteConfig) -> int:
    if parked:
        return 0
    if not config.true_start:
        return min(config.extension * config.points_per_meter + num_before, len(points) - 1)
    prefix = points[: (num_before + 5) * config.points_per_meter, :2]
    return int(np.argmin(np.sum((prefix - [ego.x, ego.y]) ** 2, axis=1)))


def _walk(start: carla.Waypoint, count: int, backwards: bool) -> list[carla.Waypoint]:
    """Up to ``count`` waypoints at 1 m steps from ``start``, in driving order, always taking the first branch."""
    found: list[carla.Waypoint] = []
    here = start
    while len(found) < count:
        options = here.previous(1.0) if backwards else here.next(1.0)
        if not options:
            break
        here = options[0]
        found.append(here)
    return found[::-1] if backwards else found


def delay_early_lane_changes(
    points: Array, commands: IntArray, waypoints: list[carla.Waypoint], min_width: float
) -> None:
    """Keep the route on the previous lane while the lane it changes to is still opening.

    ``points`` (N, 3) is changed in place wherever the lane is narrower than ``min_width`` metres and widening.
    """
    widths = np.array([w.lane_width for w in waypoints])
    opening = np.flatnonzero((widths[:-1] < min_width) & (widths[1:] < min_width) & (widths[1:] > widths[:-1]))
    for i in opening:
        from_right = commands[i] == RoadOption.CHANGELANELEFT
        neighbour = waypoints[i].get_right_lane() if from_right else waypoints[i].get_left_lane()
        if neighbour is not None and neighbour.lane_type == carla.LaneType.Driving:
            centre = neighbour.transform.location
            points[i] = centre.x, centre.y, centre.z
