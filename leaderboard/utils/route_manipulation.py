"""Turns keypoints into a dense route, a GPS plan and the thinned plan that agents are given."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import carla

from driving.commands import RoadOption
from srunner.scenarioconfigs.scenario_configuration import RoutePlan
from srunner.tools import route_planner
from srunner.tools.route_planner import GlobalRoutePlanner

EARTH_RADIUS_M = 6378137.0
DEFAULT_LATITUDE_DEG = 42.0
DEFAULT_LONGITUDE_DEG = 2.0
LANE_CHANGES = (RoadOption.CHANGELANELEFT, RoadOption.CHANGELANERIGHT)


class GpsPoint(TypedDict):
    """A place on the globe: degrees, degrees, metres above the map's origin."""

    lat: float
    lon: float
    z: float


GpsPlan = list[tuple[GpsPoint, RoadOption]]


def interpolate_trajectory(
    keypoints: Sequence[carla.Location], carla_map: carla.Map, planner: GlobalRoutePlanner | None = None
) -> tuple[GpsPlan, RoutePlan]:
    """Join keypoints along the lanes and project the result on the globe.

    Args:
        keypoints: At least two places, world frame, metres.
        carla_map: Gives lanes and geographic reference.
        planner: A planner of that map with 1 m between points to be used again.

    Returns:
        The same route as GPS plan and as world poses, each with its navigation command.

    Raises:
        ValueError: If there are fewer than two keypoints or no way between two of them.
    """
    route = route_planner.interpolate_trajectory(carla_map, keypoints, planner=planner)
    reference = geo_reference(carla_map.to_opendrive())
    return [(location_to_gps(*reference, transform.location), option) for transform, option in route], route


def geo_reference(opendrive: str) -> tuple[float, float]:
    """Latitude and longitude, degrees, of the map's origin, from the header's PROJ string; (42, 2) if it has none."""
    header = re.search(r"<geoReference>(.*?)</geoReference>", opendrive, re.DOTALL)
    text = header.group(1) if header else ""
    values = []
    for key, default in (("lat_0", DEFAULT_LATITUDE_DEG), ("lon_0", DEFAULT_LONGITUDE_DEG)):
        match = re.search(rf"\+{key}=([-+\d.eE]+)", text)
        values.append(float(match.group(1)) if match else default)
    return values[0], values[1]


def location_to_gps(lat_ref: float, lon_ref: float, location: carla.Location) -> GpsPoint:
    """Convert a world location, metres, to degrees by the spherical Mercator projection at the reference latitude.

    Formula of carla-simulator/leaderboard, utils/route_manipulation.py. Undone by `gps_to_location`.
    """
    scale = math.cos(math.radians(lat_ref))
    x = scale * math.radians(lon_ref) * EARTH_RADIUS_M + location.x
    y = scale * EARTH_RADIUS_M * math.log(math.tan((90.0 + lat_ref) * math.pi / 360.0)) - location.y
    lon = x * 180.0 / (math.pi * EARTH_RADIUS_M * scale)
    lat = 360.0 * math.atan(math.exp(y / (EARTH_RADIUS_M * scale))) / math.pi - 90.0
    return {"lat": lat, "lon": lon, "z": location.z}


def gps_to_location(lat_ref: float, lon_ref: float, gps: GpsPoint) -> carla.Location:
    """World location, metres, of a GPS point; the inverse of `location_to_gps`."""
    scale = math.cos(math.radians(lat_ref))
    x = scale * math.radians(gps["lon"] - lon_ref) * EARTH_RADIUS_M

    def mercator(lat: float) -> float:
        return scale * EARTH_RADIUS_M * math.log(math.tan((90.0 + lat) * math.pi / 360.0))

    return carla.Location(x, mercator(lat_ref) - mercator(gps["lat"]), gps["z"])


def downsample_route(route: RoutePlan, sample_factor: float) -> list[int]:
    """Choose the points of a dense route that an agent is told.

    Kept are the first and last point, every point of a lane change, every change of command that does not follow a lane
    change, and points so that the distance run since the last kept one exceeds ``sample_factor``.

    Args:
        route: Dense route, (N) poses with commands.
        sample_factor: Metres.

    Returns:
        Indices of the kept points, ascending.
    """
    kept: list[int] = []
    previous: RoadOption | None = None
    distance = 0.0
    for i, (transform, option) in enumerate(route):
        if option in LANE_CHANGES or (previous != option and previous not in LANE_CHANGES):
            keep = True
        else:
            keep = distance > sample_factor or i == len(route) - 1
        if keep:
            kept.append(i)
            distance = 0.0
        else:
            distance += transform.location.distance(route[i - 1][0].location) if i else 0.0
        previous = option
    return kept


def route_length(route: RoutePlan) -> float:
    """Length of a dense route, metres: the sum of 3-D distances between successive points."""
    return sum(a.location.distance(b.location) for (a, _), (b, _) in pairwise(route))
