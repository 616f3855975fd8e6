"""Finding places on a `carla.Map`: along lanes, beside them, before and behind junctions. Pure: nothing is spawned.

Every walk is bounded, because `next` can lead in circles on some maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import carla
import numpy as np

from driving.commands import RoadOption
from driving.geometry import wrap_angle

MAX_WALK = 3000
"""Steps after which a walk gives up."""

ENTRY_STEP = 0.2
"""Step, metres, with which the ends of junction lanes are moved out of the junction."""

TURNS = (RoadOption.LEFT, RoadOption.RIGHT, RoadOption.STRAIGHT)

DIRECTIONS = {"left": (30.0, 135.0), "opposite": (135.0, 225.0), "right": (225.0, 330.0)}
"""How far a junction entry is turned against the ego's own, degrees clockwise, by the side its traffic comes from."""


class PlacementError(ValueError):
    """A scenario has no place here: a lane, junction or light it needs does not exist."""


# ---- poses ----------------------------------------------------------------------------------------------------------


def copy_transform(pose: carla.Transform) -> carla.Transform:
    """An independent copy."""
    location, rotation = pose.location, pose.rotation
    return carla.Transform(
        carla.Location(location.x, location.y, location.z), carla.Rotation(rotation.pitch, rotation.yaw, rotation.roll)
    )


def shifted(
    pose: carla.Transform, forward: float = 0.0, right: float = 0.0, up: float = 0.0, turn_deg: float = 0.0
) -> carla.Transform:
    """A pose moved in its own frame (x forward, y right, z up, metres), then turned clockwise by ``turn_deg``."""
    yaw = math.radians(pose.rotation.yaw)
    slope = math.tan(math.radians(pose.rotation.pitch))
    x = pose.location.x + forward * math.cos(yaw) - right * math.sin(yaw)
    y = pose.location.y + forward * math.sin(yaw) + right * math.cos(yaw)
    rotation = carla.Rotation(pose.rotation.pitch, pose.rotation.yaw + turn_deg, pose.rotation.roll)
    return carla.Transform(carla.Location(x, y, pose.location.z + forward * slope + up), rotation)


def flat_distance(a: carla.Location, b: carla.Location) -> float:
    """Distance in the plane, metres."""
    return math.hypot(a.x - b.x, a.y - b.y)


def ahead_of(pose: carla.Transform, location: carla.Location) -> float:
    """How far ``location`` lies ahead of a pose along its heading, metres; negative behind."""
    yaw = math.radians(pose.rotation.yaw)
    return (location.x - pose.location.x) * math.cos(yaw) + (location.y - pose.location.y) * math.sin(yaw)


def yaw_difference_deg(a: carla.Transform, b: carla.Transform) -> float:
    """Heading of ``a`` minus that of ``b``, degrees in [-180, 180)."""
    return math.degrees(float(wrap_angle(math.radians(a.rotation.yaw - b.rotation.yaw))))


def crossing_point(a: carla.Transform, b: carla.Transform) -> carla.Location | None:
    """Where the straight lines along two poses cross in the plane; None if they are parallel."""
    ya, yb = math.radians(a.rotation.yaw), math.radians(b.rotation.yaw)
    determinant = math.sin(yb - ya)
    if abs(determinant) < 1e-3:
        return None
    dx, dy = b.location.x - a.location.x, b.location.y - a.location.y
    along = (dx * math.sin(yb) - dy * math.cos(yb)) / determinant
    return carla.Location(a.location.x + along * math.cos(ya), a.location.y + along * math.sin(ya), a.location.z)


# ---- walks along lanes ----------------------------------------------------------------------------------------------


def _steps(waypoint: Any, step: float, backwards: bool = False, last_branch: bool = False) -> Iterator[Any]:
    current = waypoint
    for _ in range(MAX_WALK):
        branches = current.previous(step) if backwards else current.next(step)
        if not branches:
            return
        current = branches[-1 if last_branch else 0]
        yield current


def walk(waypoint: Any, distance: float, step: float = 1.0) -> Any:
    """Follow the lane; stops early before a junction or at the end of the lane."""
    travelled, current = 0.0, waypoint
    for following in _steps(waypoint, step):
        if travelled >= distance or following.is_junction:
            break
        travelled += following.transform.location.distance(current.transform.location)
        current = following
    return current


def forward(waypoint: Any, distance: float, stop_at_junction: bool = False) -> Any:
    """Follow the lane in 1 m steps, through junctions by their last branch.

    Raises:
        PlacementError: If the lane ends before.
    """
    travelled, current = 0.0, waypoint
    if distance <= 0:
        return waypoint
    for following in _steps(waypoint, 1.0, last_branch=True):
        if stop_at_junction and following.is_junction:
            return current
        travelled += following.transform.location.distance(current.transform.location)
        current = following
        if travelled >= distance - 1e-3:
            return current
    raise PlacementError(f"the lane ends {travelled:.0f} m ahead, {distance:.0f} m are needed")


def jump(waypoint: Any, distance: float, backwards: bool = False) -> Any:
    """First waypoint exactly ``distance`` ahead (or behind).

    Raises:
        PlacementError: If the lane ends before.
    """
    if distance <= 0:
        return waypoint
    branches = waypoint.previous(distance) if backwards else waypoint.next(distance)
    if not branches:
        raise PlacementError(f"the lane ends less than {distance:.0f} m {'behind' if backwards else 'ahead'}")
    return branches[0]


def upstream(waypoint: Any, distance: float, step: float = 5.0) -> Any:
    """Go back along the lane in steps, stopping before another junction or where the lane begins."""
    travelled, current = 0.0, waypoint
    for previous in _steps(waypoint, step, backwards=True):
        if travelled >= distance or previous.is_junction:
            break
        travelled += step
        current = previous
    return current


def path_ahead(waypoint: Any, distance: float, step: float = 5.0) -> list[Any]:
    """Waypoints ahead, first branch, up to ``distance`` metres."""
    path = [waypoint]
    for index, following in enumerate(_steps(waypoint, step)):
        if (index + 1) * step > distance:
            break
        path.append(following)
    return path


# ---- lanes side by side ---------------------------------------------------------------------------------------------


def neighbour(waypoint: Any, direction: str) -> Any | None:
    """The adjacent lane on ``left`` or ``right``, None at the edge of the road."""
    return waypoint.get_left_lane() if direction == "left" else waypoint.get_right_lane()


def required_neighbour(waypoint: Any, direction: str) -> Any:
    """`neighbour`, or `PlacementError` if there is none."""
    lane = neighbour(waypoint, direction)
    if lane is None:
        place = waypoint.transform.location
        raise PlacementError(f"there is no lane on the {direction} of ({place.x:.1f}, {place.y:.1f})")
    return lane


def _sweep(waypoint: Any, direction: str, accept: Callable[[Any], bool]) -> list[Any]:
    lanes: list[Any] = []
    current = neighbour(waypoint, direction)
    while current is not None and accept(current) and len(lanes) < 20:
        lanes.append(current)
        current = neighbour(current, direction)
    return lanes


def same_direction_lanes(waypoint: Any) -> list[Any]:
    """Driving lanes of the waypoint's direction at its place, from leftmost to rightmost."""

    def same(lane: Any) -> bool:
        return lane.lane_id * waypoint.lane_id > 0 and lane.lane_type == carla.LaneType.Driving

    return [*reversed(_sweep(waypoint, "left", same)), waypoint, *_sweep(waypoint, "right", same)]


def opposite_lanes(waypoint: Any) -> list[Any]:
    """Oncoming driving lanes at the waypoint's place, from the centre outwards; empty on one-way roads."""
    leftmost = same_direction_lanes(waypoint)[0]
    first = leftmost.get_left_lane()
    while first is not None and first.lane_id * waypoint.lane_id > 0:
        first = first.get_left_lane()  # medians and shoulders of the own side
    oncoming: list[Any] = []
    while first is not None and len(oncoming) < 20:
        if first.lane_type == carla.LaneType.Driving:
            oncoming.append(first)
        first = first.get_right_lane()  # right as seen by oncoming traffic: outwards
    return oncoming


def lanes_towards(waypoint: Any, direction: str) -> list[tuple[Any, str]]:
    """Lanes from the waypoint's neighbour on ``direction`` to the edge of the road, across the centre line if it lies there.

    Returns:
        (lane, side) pairs; the side is ``direction`` as the lane's own heading sees it, so it flips beyond the centre line.
    """
    lanes: list[tuple[Any, str]] = []
    current, side = waypoint, direction
    for _ in range(30):
        following = neighbour(current, side)
        if following is None:
            break
        if following.lane_id * current.lane_id < 0:
            side = "left" if side == "right" else "right"
        lanes.append((following, side))
        current = following
    return lanes


def towards(side: str, distance: float) -> float:
    """A lateral distance with the sign of a side: positive right."""
    return distance if side == "right" else -distance


def side_lane(waypoint: Any, direction: str) -> tuple[Any, str]:
    """The sidewalk on a side, or the outermost lane where there is none, with its side as in `lanes_towards`."""
    lanes = lanes_towards(waypoint, direction)
    sidewalks = [found for found in lanes if found[0].lane_type == carla.LaneType.Sidewalk]
    return [*sidewalks[:1], *reversed(lanes), (waypoint, direction)][0]


def beside_road(waypoint: Any, direction: str) -> carla.Transform:
    """Where a warning sign stands: on the first lane beyond the driving and parking lanes, facing the road.

    Raises:
        PlacementError: If nothing lies beyond them.
    """
    last = waypoint
    for lane, side in lanes_towards(waypoint, direction):
        if lane.lane_type not in (carla.LaneType.Driving, carla.LaneType.Parking):
            return shifted(lane.transform, right=towards(side, 0.3 * last.lane_width), up=0.2, turn_deg=90.0)
        last = lane
    place = waypoint.transform.location
    raise PlacementError(
        f"there is no room for a sign on the {direction} of the road at ({place.x:.1f}, {place.y:.1f})"
    )


# ---- junctions ------------------------------------------------------------------------------------------------------


def next_junction(waypoint: Any, step: float = 1.0) -> tuple[Any, Any]:
    """(last waypoint before the next junction, the junction).

    Raises:
        PlacementError: If no junction lies ahead.
    """
    current = waypoint
    for following in _steps(waypoint, step):
        if following.is_junction:
            return current, following.get_junction()
        current = following
    raise PlacementError("no junction lies ahead of the trigger")


def junction_ends(junction: Any) -> tuple[list[Any], list[Any]]:
    """Driving lanes that lead into a junction and out of it, unique by road and lane, outside the junction."""
    entries: dict[tuple[int, int], Any] = {}
    exits: dict[tuple[int, int], Any] = {}
    for begin, end in junction.get_waypoints(carla.LaneType.Driving):
        for waypoint, found, backwards in ((begin, entries, True), (end, exits, False)):
            outside = leave_junction(waypoint, backwards)
            if outside is not None:
                found.setdefault((outside.road_id, outside.lane_id), outside)
    return list(entries.values()), list(exits.values())


def leave_junction(waypoint: Any, backwards: bool = False) -> Any | None:
    """First waypoint outside the junction, None if the lane ends inside."""
    if not waypoint.is_junction:
        return waypoint
    for outside in _steps(waypoint, ENTRY_STEP, backwards):
        if not outside.is_junction:
            return outside
    return None


def from_direction(entry: Any, candidates: Sequence[Any], direction: str) -> list[Any]:
    """Entries whose traffic reaches the junction from ``left``, ``right`` or ``opposite`` as seen from ``entry``.

    Args:
        entry: The ego's own entry.
        candidates: Entries of the same junction.
        direction: One of `DIRECTIONS`.
    """
    low, high = DIRECTIONS[direction]

    def turned(candidate: Any) -> float:
        return (candidate.transform.rotation.yaw - entry.transform.rotation.yaw) % 360.0

    return [candidate for candidate in candidates if low <= turned(candidate) < high]


def after_junction(waypoint: Any, turn: int) -> Any:
    """Where a car that enters the next junction from ``waypoint`` leaves it.

    Args:
        waypoint: A place before the junction.
        turn: -1 left, 0 straight, +1 right.

    Raises:
        PlacementError: If no junction lies ahead or the lane ends inside it.
    """
    last, _ = next_junction(waypoint)
    heading = last.transform
    branches = last.next(2.0)
    exits = [outside for branch in branches if (outside := leave_junction(branch)) is not None]
    if not exits:
        raise PlacementError("no lane leads through the junction ahead")
    turns = [yaw_difference_deg(outside.transform, heading) for outside in exits]
    chosen = int(np.argmin(np.abs(turns))) if turn == 0 else int(np.argmax(np.array(turns) * turn))
    return exits[chosen]


def crosses_in_route(location: carla.Location, road_map: Any, route: Sequence[tuple[carla.Transform, Any]]) -> Any:
    """The waypoint at which the route leaves the next junction after ``location``.

    Raises:
        PlacementError: If the route makes no turn after it.
    """
    start = nearest_index(route, location)
    inside = False
    for transform, option in route[start:]:
        if option in TURNS:
            inside = True
        elif inside:
            return road_map.get_waypoint(transform.location)
    raise PlacementError("the route crosses no junction after the trigger")


def enters_in_route(location: carla.Location, road_map: Any, route: Sequence[tuple[carla.Transform, Any]]) -> Any:
    """The last waypoint of the route before it enters the next junction after ``location``.

    Raises:
        PlacementError: If the route enters none.
    """
    before = road_map.get_waypoint(location)
    for transform, _ in route[nearest_index(route, location) :]:
        waypoint = road_map.get_waypoint(transform.location)
        if waypoint.is_junction:
            return before
        before = waypoint
    raise PlacementError("the route enters no junction after the trigger")


def nearest_index(route: Sequence[tuple[carla.Transform, Any]], location: carla.Location) -> int:
    """Index of the route point nearest to a location in the plane."""
    points = np.array([(transform.location.x, transform.location.y) for transform, _ in route])
    return int(np.argmin(np.hypot(points[:, 0] - location.x, points[:, 1] - location.y)))


# ---- lights ---------------------------------------------------------------------------------------------------------


def light_of(waypoint: Any, lights: Sequence[Any]) -> Any | None:
    """The traffic light whose stop place is nearest to a junction entry, None without lights."""
    nearest, best = None, math.inf
    for light in lights:
        for stop in light.get_stop_waypoints():
            distance = stop.transform.location.distance(waypoint.transform.location)
            if (stop.road_id, stop.lane_id) != (waypoint.road_id, waypoint.lane_id):
                distance += 5.0  # a light of another lane only if none stands on this one
            if distance < best:
                nearest, best = light, distance
    return nearest
