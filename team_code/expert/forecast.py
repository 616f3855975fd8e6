"""Where everybody will be in the next second or two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from driving.control.expert import LateralPid, LongitudinalRegression
from team_code.expert.collision import BoxTracks, axes_from_angles, turn_box
from team_code.expert.config import ExpertConfig, ForecastConfig
from team_code.expert.lanes import LanePath
from team_code.expert.planner import RoutePlanner
from team_code.expert.rollout import roll_out, roll_out_others
from team_code.expert.scene import ActorBatch, EgoState

Array = NDArray[np.float64]

YIELD_REACTION_S, YIELD_DECELERATION = 0.7, 4.0
"""How others let the ego in: reaction time, seconds, and deceleration, m/s²."""

ROUNDING_M = 1.0
"""Farther than this beyond what is possible nobody is, whatever the rounding of either side."""

SAME_DIRECTION_COSINE = 0.77
"""Vehicles whose heading differs from the ego's by less than 40 degrees drive in its direction."""


def forecast_ego(
    ego: EgoState,
    planner: RoutePlanner,
    lateral: LateralPid,
    longitudinal: LongitudinalRegression,
    road_speed: float,
    steps: int,
    config: ExpertConfig,
) -> BoxTracks:
    """Boxes of the ego if it follows its route, slows down for bends and meets no hazard.

    Args:
        ego: State now.
        planner: Its route; the index is not moved.
        lateral: Steering controller; it is left as it is.
        longitudinal: Speed controller.
        road_speed: Speed on a straight, free road, m/s.
        steps: Number of ticks T.
        config: Constants.

    Returns:
        Tracks (T, 1).
    """
    state = (float(ego.xyz[0]), float(ego.xyz[1]), ego.yaw, ego.speed)
    poses = roll_out(
        state,
        planner.route.points,
        np.minimum(road_speed, planner.bend_speeds),
        planner.index,
        planner.config.search_points,
        steps,
        lateral,
        longitudinal,
        config.bicycle,
        config.forecast.ego_brakes,
    )
    growth = config.forecast.ego_growth if ego.speed >= config.forecast.ego_fast else (1.0, 1.0)
    extent = ego.extent * [*growth, 1.0]
    axes = axes_from_angles(0.0, poses[:, 2], 0.0)
    centers = np.column_stack([poses[:, :2], np.full(steps, ego.xyz[2])])
    if config.forecast.box_centers:
        centers = centers + np.einsum("tad,a->td", axes, ego.box_offset)
    return BoxTracks(centers[:, None], np.broadcast_to(extent, (steps, 1, 3)), axes[:, None])


def braking_track(track: BoxTracks, speed: float, deceleration: float, dt: float) -> BoxTracks:
    """The ego's boxes if it brakes on the path of a forecast.

    Args:
        track: Forecast of the ego (T, 1).
        speed: Speed now, m/s.
        deceleration: m/s².
        dt: Time between steps, seconds.
    """
    steps = len(track.centers)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track.centers[:, 0], axis=0), axis=1))])
    time = np.minimum(dt * np.arange(steps), speed / deceleration)
    step = np.searchsorted(along, speed * time - 0.5 * deceleration * time**2).clip(0, steps - 1)
    return BoxTracks(track.centers[step], track.extents[step], track.axes[step])


def stopping_way(speed: float, time: Array) -> Array:
    """(T,) metres that somebody at ``speed``, m/s, still drives in times (T,), seconds, who lets the ego in."""
    braking = np.clip(time - YIELD_REACTION_S, 0.0, speed / YIELD_DECELERATION)
    return speed * np.minimum(time, YIELD_REACTION_S) + speed * braking - 0.5 * YIELD_DECELERATION * braking**2


def forecast_vehicles(
    vehicles: ActorBatch,
    steps: int,
    near_lane_change: bool,
    config: ExpertConfig,
    is_impatient: bool | NDArray[np.bool_] = False,
    ego_yaw: float | None = None,
    gained: Array | None = None,
) -> BoxTracks:
    """Boxes of other vehicles that hold their control; they grow with speed and time, unless the driver is impatient, which may
    be so towards some of them only, (N,).

    With ``ego_yaw`` (radians), vehicles that do not drive in the ego's direction are not trusted to go on braking: a short
    touch of the brake must not look like a gap. ``gained`` (N,) are accelerations, m/s², see `BicycleModel.roll_out_others`.

    Returns:
        Tracks (steps, N).
    """
    f = config.forecast
    control = vehicles.control
    if ego_yaw is not None:
        control = control.copy()
        control[np.cos(vehicles.yaw - ego_yaw) < SAME_DIRECTION_COSINE, 2] = 0.0
    xy, cos, sin, speed = roll_out_others(
        config.bicycle, vehicles.xy, vehicles.yaw, vehicles.speed, control, steps, f.partial_brake, gained
    )
    shape = steps, len(vehicles), 3
    centers, extents, axes = np.empty(shape), np.empty(shape), np.empty((*shape, 3))
    pitch, roll = vehicles.angles[:, 0], vehicles.angles[:, 2]
    least = f.length_factor_lane_change if near_lane_change else f.length_factor
    growth = least, f.final_length_factor, f.final_width_factor, f.slow_speed, f.bicycle_margin
    _fill_boxes(
        xy, cos, sin, speed, vehicles.xyz[:, 2], (np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)),
        vehicles.extent, vehicles.box_offset, vehicles.is_bicycle, np.broadcast_to(is_impatient, len(vehicles)).copy(),
        growth, f.box_centers, centers, extents, axes,
    )  # fmt: skip
    return BoxTracks(centers, extents, axes)


@njit(cache=True)
def _fill_boxes(
    xy, cos, sin, speed, z, tilts, extent, offset, is_bicycle, is_impatient, growth, moves_centers, centers, extents, axes
):  # fmt: skip
    """Boxes (T, N) of vehicles on their way, see `forecast_vehicles`."""
    least, final_length, final_width, slow, margin = growth
    steps = len(xy)
    for n in range(len(z)):
        for t in range(steps):
            turn_box(axes[t, n], tilts[0][n], tilts[1][n], cos[t, n], sin[t, n], tilts[2][n], tilts[3][n])
            place, size, box = centers[t, n], extents[t, n], axes[t, n]
            place[0], place[1], place[2] = xy[t, n, 0], xy[t, n, 1], z[n]
            size[:] = extent[n]
            if moves_centers:
                for d in range(3):
                    place[d] += box[0, d] * offset[n, 0] + box[1, d] * offset[n, 1] + box[2, d] * offset[n, 2]
            if speed[t, n] < slow:
                continue
            if not is_impatient[n]:
                size[0] *= max(least, final_length * (t / steps))
                size[1] *= max(1.0, final_width * (t / steps))
            if is_bicycle[n]:
                size[0] += margin * (0.5 if is_impatient[n] else 1.0) * speed[t, n]


def forecast_on_lanes(
    vehicles: ActorBatch,
    paths: Sequence[tuple[LanePath, float, float] | None],
    held: BoxTracks,
    dt: float,
    margin: float | Array,
    yielding: NDArray[np.bool_] | None = None,
) -> BoxTracks:
    """Boxes of vehicles that keep to their lane, and their speed where bends allow it.

    Args:
        vehicles: N vehicles.
        paths: For each the path it follows, its arc length and its offset on it, metres; None where it follows no lane.
        held: Its boxes (T, N) with its control held, taken where it follows no lane.
        dt: Time between steps, seconds.
        margin: Seconds before and after it in which its place counts as taken, for all or for each (N,).
        yielding: (N,) which of them are expected to stop instead.

    Returns:
        Tracks (T, N).
    """
    steps = len(held.centers)
    centers, extents, axes = held.centers.copy(), np.array(held.extents), held.axes.copy()
    time, margins = np.linspace(dt, steps * dt, steps), np.broadcast_to(margin, len(paths))
    for i, found in enumerate(paths):
        if found is None:
            continue
        path, along, offset = found
        speed = float(vehicles.speed[i])
        stops = yielding is not None and yielding[i]
        way = along + stopping_way(speed, time) if stops else path.advance(along, speed, time)
        places, yaws = path.place(way, offset)
        axes[:, i] = axes_from_angles(vehicles.angles[i, 0], yaws, vehicles.angles[i, 2])
        centers[:, i, :2] = places + axes[:, i, 0, :2] * vehicles.box_offset[i, 0]
        centers[:, i, 2] = vehicles.xyz[i, 2] + vehicles.box_offset[i, 2]
        extents[:, i] = vehicles.extent[i]
        extents[:, i, 0] += margins[i] * speed
    return BoxTracks(centers, extents, axes)


def who_may_touch(
    track: BoxTracks,
    vehicles: ActorBatch,
    paths: Sequence[tuple[LanePath, float, float] | None],
    config: ExpertConfig,
    gained: Array | None = None,
) -> NDArray[np.bool_]:
    """(N,) which vehicles could come near the ego's forecast (T, 1) at all: the others need not be forecast.

    A bound on the forecasts of `forecast_vehicles` and `forecast_on_lanes`, whoever waits for whom: nobody gets farther than
    with its highest speed, in whatever direction, and no box is larger than at that speed.
    """
    f, horizon = config.forecast, len(track.centers) * config.bicycle.dt
    fastest = vehicles.speed + horizon * config.bicycle.throttle_acceleration * np.maximum(vehicles.control[:, 1], 0.0)
    if gained is not None:
        fastest = fastest + gained
    growth = max(1.0, f.length_factor, f.length_factor_lane_change, f.final_length_factor, f.final_width_factor)
    margin = max(f.bicycle_margin, f.lane_margin + f.start_margin, f.committed_margin + f.start_margin)
    boxes = growth * np.linalg.norm(vehicles.extent, axis=1) + np.linalg.norm(vehicles.box_offset, axis=1)
    spare = _distance_from(track, vehicles.xy) - (horizon + margin) * fastest - boxes
    near = spare <= 0.0
    for i in np.flatnonzero(~near).tolist():
        found = paths[i]
        near[i] = found is not None and float(spare[i]) <= _distance_to_path(vehicles.xy[i], *found)
    return near


def which_walkers_may_touch(
    track: BoxTracks, walkers: ActorBatch, config: ForecastConfig, horizon: float
) -> NDArray[np.bool_]:
    """(N,) which walkers could come near the ego's forecast (T, 1) within ``horizon`` seconds: see `forecast_walkers`."""
    pace = np.maximum(walkers.speed, config.min_walker_speed) * np.linalg.norm(walkers.control, axis=1)
    extent = np.maximum(walkers.extent, config.min_walker_extent)
    boxes = np.linalg.norm(extent, axis=1) + np.linalg.norm(walkers.box_offset, axis=1)
    return _distance_from(track, walkers.xy) <= horizon * pace + boxes


def _distance_from(track: BoxTracks, xy: Array) -> Array:
    """(N,) metres that places (N, 2) keep at least from the boxes of a forecast (T, 1), whatever their headings."""
    places = track.centers[:, 0, :2]
    beside = np.maximum(np.maximum(places.min(axis=0) - xy, xy - places.max(axis=0)), 0.0)
    return np.hypot(beside[:, 0], beside[:, 1]) - np.linalg.norm(track.extents[0, 0]) - ROUNDING_M


def _distance_to_path(xy: Array, path: LanePath, along: float, offset: float) -> float:
    """Metres by which a forecast on a path may be off from where the vehicle is, at most."""
    k = min(int(np.searchsorted(path.along, along)), len(path.along) - 1)
    point = path.points[k]
    return math.hypot(xy[0] - point[0], xy[1] - point[1]) + abs(along - float(path.along[k])) + 2 * abs(offset)


def forecast_walkers(walkers: ActorBatch, steps: int, config: ForecastConfig, dt: float) -> BoxTracks:
    """Boxes of walkers that keep their direction at no less than a slow walk.

    Returns:
        Tracks (steps, N).
    """
    pace = np.maximum(walkers.speed, config.min_walker_speed)[:, None] * walkers.control
    time = dt * np.arange(1, steps + 1)[:, None, None]
    extent = walkers.extent.copy()
    extent[:, :2] = np.maximum(extent[:, :2], config.min_walker_extent)
    axes = axes_from_angles(walkers.angles[:, 0], walkers.angles[:, 1], walkers.angles[:, 2])
    centers = walkers.xyz + time * pace
    if config.box_centers:
        centers = centers + np.einsum("nad,na->nd", axes, walkers.box_offset)
    shape = (steps, len(walkers), 3)
    return BoxTracks(centers, np.broadcast_to(extent, shape), np.broadcast_to(axes, (*shape, 3)))
