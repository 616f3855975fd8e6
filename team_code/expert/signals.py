"""Where on the route traffic lights and stop signs apply, and what the speed limit is."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from bisect import bisect_right
from collections.abc import Callable, Sequence

import carla
import numpy as np
from numpy.typing import NDArray

from driving.geometry import wrap_angle
from srunner.scenariomanager.scenario_info import ScenarioInfo, ScenarioPhase
from team_code.expert.config import RouteConfig
from team_code.expert.route import Route, next_ahead

Array = NDArray[np.float64]

KMH_PER_UNIT = {"km/h": 1.0, "mph": 1.609344, "m/s": 3.6}
POSTED_LIMITS_KMH = (50.0, 80.0, 100.0, 120.0)
"""Limits in the published speed-limit files; a posted limit counts as the next of these."""

ENTRY_REACH = 20.0
"""A light whose line is nearer than this to the entry of a junction is that entry's, metres."""

LINE_WIDTH = 2.0
"""A stop line farther from the route than this belongs to another lane, metres."""


def stop_waypoints(light: carla.TrafficLight, world_map: carla.Map) -> list[carla.Waypoint]:
    """One waypoint per lane at which vehicles stop for a light.

    The trigger box is sampled along its length; every lane found is followed up to its junction (the method of CARLA's
    scenario runner, `RunningRedLightTest`).
    """
    transform, volume = light.get_transform(), light.trigger_volume
    reach = volume.extent.x
    lanes: list[carla.Waypoint] = []
    for x in np.arange(-0.9 * reach, 0.9 * reach, 1.0):
        local = volume.location + carla.Location(x=float(x))
        waypoint = world_map.get_waypoint(transform.transform(local))
        seen = lanes and (lanes[-1].road_id, lanes[-1].lane_id) == (waypoint.road_id, waypoint.lane_id)
        if waypoint is not None and not seen:
            lanes.append(waypoint)
    return [_end_of_approach(waypoint) for waypoint in lanes]


def _end_of_approach(waypoint: carla.Waypoint, step: float = 0.5, limit: int = 200) -> carla.Waypoint:
    """Last waypoint before the junction that the lane leads into."""
    for _ in range(limit):
        if waypoint.is_intersection:
            break
        following = waypoint.next(step)
        if not following or following[0].is_intersection:
            break
        waypoint = following[0]
    return waypoint


def _index_on_route(route: Route, place: carla.Location, yaw_deg: float, reach: float) -> int | None:
    """Route index nearest to a place that lies on the route and faces along it."""
    offset = route.original_points - [place.x, place.y, place.z]
    index = int(np.argmin(np.sum(offset**2, axis=1)))
    turned = abs(float(wrap_angle(route.yaws[index] - np.radians(yaw_deg))))
    on_route = float(np.linalg.norm(offset[index, :2])) < reach and abs(offset[index, 2]) < 5.0
    return index if on_route and turned < np.radians(45) else None


def locate_lights(route: Route, lights: Sequence[carla.TrafficLight], world: carla.World, config: RouteConfig) -> None:
    """Fill the route's traffic-light columns.

    With true stop lines the distance runs to the line. Otherwise a light takes effect where the simulator says that it
    affects a waypoint, which is 5 m before the line.
    """
    route.lights = list(lights)
    if config.true_stop_lines:
        world_map = world.get_map()
        places = []
        for number, light in enumerate(route.lights):
            for waypoint in stop_waypoints(light, world_map):
                here = waypoint.transform
                index = _index_on_route(route, here.location, here.rotation.yaw, LINE_WIDTH)
                if index is not None:
                    places.append((index, number))
    else:
        places = _entries_by_simulator(route, world, config.light_look_radius)
    route.light_index, route.light_distance = next_ahead(len(route), places, 1.0 / config.points_per_meter)


def _entries_by_simulator(route: Route, world: carla.World, radius: float) -> list[tuple[int, int]]:
    """(last affected index, light) of every stretch of route affected by a light."""
    number_of = {light.id: number for number, light in enumerate(route.lights)}
    places: list[tuple[int, int]] = []
    affected = False
    for index in range(len(route) - 1, -1, -1):
        found = world.get_traffic_lights_from_waypoint(route.waypoints[index], radius)
        if found and not affected:
            places.append((index, number_of[found[0].id]))
        affected = bool(found)
    return places


def locate_stop_signs(route: Route, stop_signs: Sequence[carla.Actor], config: RouteConfig) -> None:
    """Fill the route's stop-sign columns: a sign applies where the way ahead enters its trigger box.

    The test is that of CARLA's scenario runner (`RunningStopTest`): the sign is within 4 m and one of the waypoints of the
    next 4 m is inside the axis-aligned box, whose half sizes count as at least 1 m and grow by a fifth.
    """
    route.stop_signs = list(stop_signs)
    places = []
    stride = config.points_per_meter // 2
    for number, sign in enumerate(route.stop_signs):
        place = trigger_centre(sign)
        centre = route.stop_centres[sign.id] = np.array([place.x, place.y, place.z])
        extent = sign.trigger_volume.extent
        offset = route.original_points - centre
        for index in np.flatnonzero(np.sum(offset**2, axis=1) < 16.0):
            path = offset[index : index + 9 * stride : stride]
            inside = (np.abs(path[:, 0]) < 1.2 * max(extent.x, 1.0)) & (np.abs(path[:, 1]) < 1.2 * max(extent.y, 1.0))
            if inside.any():
                places.append((int(index), number))
    route.stop_index, route.stop_distance = next_ahead(len(route), places, 1.0 / config.points_per_meter)


class AnnouncedLights:
    """When lights will turn red because a scenario makes them do so, without a yellow phase.

    Args:
        dt: Seconds between ticks.
    """

    def __init__(self, dt: float) -> None:
        self._dt = dt
        self._active: dict[int, float] = {}

    def step(self, infos: Sequence[ScenarioInfo], ego: Array, light_distance: float) -> float:
        """Seconds of green that the next light on the route has left; infinite if no scenario has a say in it.

        Args:
            infos: Scenarios built so far; ``green_time`` among their numbers counts from their beginning.
            ego: (3,) location of the ego, metres.
            light_distance: Metres to the line of the next light.
        """
        left = math.inf
        for info in infos:
            if info.phase is not ScenarioPhase.ACTIVE or "green_time" not in info.numbers:
                continue
            self._active[info.id] = self._active.get(info.id, -self._dt) + self._dt
            entry = info.places["entry"].location
            green = info.numbers["green_time"] - self._active[info.id]
            if green > 0 and abs(math.dist(ego, (entry.x, entry.y, entry.z)) - light_distance) < ENTRY_REACH:
                left = min(left, green)
        return left


def trigger_centre(actor: carla.Actor) -> carla.Location:
    """Centre of an actor's trigger volume in the world."""
    return actor.get_transform().transform(actor.trigger_volume.location)


def posted_limit(kmh: float) -> float:
    """The limit the expert drives by, km/h: the next of 50, 80, 100, 120 that is not below the posted one."""
    return next((limit for limit in POSTED_LIMITS_KMH if limit >= kmh - 0.5), POSTED_LIMITS_KMH[-1])


def speed_limits_of(opendrive: str) -> Callable[[carla.Waypoint], float]:
    """Speed limit of every place of a town, from the road types of its OpenDRIVE text.

    Args:
        opendrive: The town, as `carla.Map.to_opendrive` returns it.

    Returns:
        Function from a waypoint to m/s; roads without a limit have 50 km/h.
    """
    limits: dict[int, tuple[list[float], list[float]]] = {}
    for road in ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", opendrive)).iter("road"):
        entries = []
        for kind in road.findall("type"):
            speed = kind.find("speed")
            if speed is not None:
                entries.append((float(kind.get("s", 0.0)), _to_kmh(speed)))
        if entries:
            entries.sort()
            limits[int(road.get("id", -1))] = ([s for s, _ in entries], [posted_limit(kmh) for _, kmh in entries])

    def limit_at(waypoint: carla.Waypoint) -> float:
        starts, values = limits.get(waypoint.road_id, ([0.0], [POSTED_LIMITS_KMH[0]]))
        return values[max(0, bisect_right(starts, waypoint.s) - 1)] / 3.6

    return limit_at


def _to_kmh(speed: ElementTree.Element) -> float:
    try:
        return float(speed.get("max", "50")) * KMH_PER_UNIT.get(speed.get("unit", "m/s"), 3.6)
    except ValueError:  # "no limit" and "undefined" are legal values
        return POSTED_LIMITS_KMH[-1] if speed.get("max") == "no limit" else POSTED_LIMITS_KMH[0]
