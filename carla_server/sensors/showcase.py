"""Scenes for looking at and for timing: actors of every kind put on a town's roads, always the same for a seed."""

from __future__ import annotations

import argparse
import math

import numpy as np

from carla_server.map import MapError, RoadMap
from carla_server.sensors.views import ActorView, Light, Pose, WeatherView
from carla_server.world.blueprints import BLUEPRINTS, Blueprint, blueprint
from carla_server.world.towns import OWN_TOWNS

EGO = "vehicle.lincoln.mkz_2020"
CAMERA_BACK, CAMERA_HEIGHT = 1.5, 2.0  # metres behind and above the ego's origin

# Bench2Drive's weather table: id -> cloudiness, precipitation, deposits, wetness, wind, azimuth, altitude, fog density
# (leaderboard/data/weather.xml of Thinklab-SJTU/Bench2Drive).
BENCH2DRIVE_WEATHERS: dict[int, tuple[float, ...]] = {
    0: (5, 0, 0, 0, 10, -1, 90, 2),
    1: (5, 0, 0, 0, 10, -1, 15, 2),
    2: (20, 30, 50, 0, 30, -1, 45, 3),
    3: (60, 60, 60, 0, 60, -1, 45, 3),
    5: (80, 0, 50, 20, 10, -1, 45, 3),
    6: (5, 0, 50, 0, 10, -1, 15, 10),
    7: (5, 0, 0, 0, 10, -1, 45, 2),
    8: (100, 100, 90, 0, 100, -1, 45, 7),
    9: (70, 60, 60, 0, 60, -1, 45, 50),
    10: (40, 100, 90, 0, 100, -1, 0, 7),
    11: (100, 60, 60, 0, 60, -1, 45, 50),
    12: (5, 0, 0, 0, 10, -1, 45, 50),
    13: (5, 0, 0, 0, 10, -1, 15, 50),
    14: (100, 100, 50, 50, 100, -1, 45, 10),
    15: (100, 50, 100, 80, 80, -1, 45, 10),
    18: (40, 0, 50, 0, 10, -1, 15, 2),
    19: (40, 0, 50, 0, 10, -1, -90, 2),
    20: (60, 30, 50, 60, 30, -1, -90, 3),
    21: (100, 100, 90, 100, 100, -1, -90, 3),
    22: (5, 0, 0, 0, 10, -1, -90, 60),
    23: (80, 60, 60, 80, 60, -1, -90, 60),
    25: (100, 100, 90, 100, 100, -1, -90, 100),
    26: (50, 0, 0, 0, 0, 0, 70, 0),
}


def bench2drive_weather(number: int) -> WeatherView:
    """A weather of Bench2Drive's table. Raises KeyError for a number that is not in it."""
    cloud, rain, deposits, wet, wind, azimuth, altitude, fog = BENCH2DRIVE_WEATHERS[number]
    return WeatherView(cloud, rain, deposits, wind, azimuth, altitude, fog, wetness=wet)


def find_town(name: str) -> RoadMap:
    """A town of the repository by name, or any OpenDRIVE file by path, as a type of `argparse`.

    Raises:
        argparse.ArgumentTypeError: There is no such file, or it is not a usable road network.
    """
    try:
        return RoadMap.load(name if name.endswith(".xodr") else OWN_TOWNS / f"{name}.xodr")
    except MapError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_town(parser: argparse.ArgumentParser) -> None:
    """Let a program be told by ``--town`` which town it shows; it gets the `RoadMap`."""
    parser.add_argument(
        "--town",
        type=find_town,
        default="Mini01",
        help="town of data/towns, or the path of an OpenDRIVE file (default: %(default)s)",
    )


def view_of(row: Blueprint, number: int, pose: Pose, rng: np.random.Generator | None = None) -> ActorView:
    """An actor of a blueprint; with a generator its colour is drawn from the recommended ones."""
    attributes = {item.name: item.default for item in row.attributes}
    if rng is not None:
        for item in row.attributes:
            if item.name == "color" and item.recommended:
                attributes["color"] = item.recommended[int(rng.integers(len(item.recommended)))]
    return ActorView(number, row.id, pose, row.extent, row.center, attributes)


def _along(road_map: RoadMap, index: int, ahead: float) -> Pose | None:
    """Ground pose on a lane, `ahead` metres past a spawn point; None past its end."""
    spot = road_map.spawn_points[index]
    here = road_map.locate(spot.x, spot.y, spot.z, ("driving",))
    if here is None:
        return None
    s = here.s + ahead if here.lane.forward else here.s - ahead
    if not here.lane.s[0] <= s <= here.lane.s[-1]:
        return None
    point, yaw, slope = road_map.pose_on(here.lane, s)
    return (float(point[0]), float(point[1]), float(point[2]), math.degrees(slope), math.degrees(yaw), 0.0)


def traffic(road_map: RoadMap, vehicles: int, walkers: int, seed: int = 0) -> list[ActorView]:
    """Vehicles on lanes and walkers on sidewalks all over a town, lights of all signals in changing states."""
    rng = np.random.default_rng(seed)
    kinds = [row for row in BLUEPRINTS if row.id.startswith("vehicle.")]
    people = [row for row in BLUEPRINTS if row.id.startswith("walker.")]
    spots = road_map.spawn_points
    rows: list[ActorView] = []
    for k, index in enumerate(rng.permutation(len(spots))[:vehicles]):
        spot = spots[int(index)]
        pose = (spot.x, spot.y, spot.z - 0.3, spot.pitch, spot.yaw, 0.0)
        row = view_of(kinds[int(rng.integers(len(kinds)))], 100 + k, pose, rng)
        row.lights = int(
            rng.choice([Light.LOW_BEAM | Light.POSITION, Light.LOW_BEAM | Light.BRAKE, Light.LEFT_BLINKER, 0])
        )
        rows.append(row)
    walks = [lane for lane in road_map.lanes if lane.type == "sidewalk" and lane.length > 5]
    for k in range(walkers if walks else 0):
        lane = walks[int(rng.integers(len(walks)))]
        point, yaw, _ = road_map.pose_on(lane, float(rng.uniform(lane.s[0], lane.s[-1])), float(rng.uniform(-0.6, 0.6)))
        kind = people[int(rng.integers(len(people)))]
        pose = (float(point[0]), float(point[1]), float(point[2]) + kind.extent[2], 0.0, math.degrees(yaw), 0.0)
        row = view_of(kind, 10_000 + k, pose)
        row.velocity = (1.4 * math.cos(yaw), 1.4 * math.sin(yaw), 0.0)
        rows.append(row)
    for k, signal in enumerate(road_map.signals.values()):
        if signal.kind.name == "TRAFFIC_LIGHT":
            pose = (*(float(value) for value in signal.position), 0.0, 0.0, 0.0)  # type: ignore[assignment]
            rows.append(
                ActorView(20_000 + k, "traffic.traffic_light", pose, (0.2, 0.2, 0.5), lamp=k % 3, signal_id=signal.id)
            )
    return rows


def ego_at(road_map: RoadMap, index: int, ahead: float = 0.0) -> tuple[ActorView, Pose]:
    """The ego vehicle at a spawn point and its camera's pose.

    Raises:
        ValueError: The lane ends before `ahead` metres.
    """
    pose = _along(road_map, index % len(road_map.spawn_points), ahead)
    if pose is None:
        raise ValueError(f"the lane at spawn point {index} of {road_map.name} ends before {ahead} m")
    yaw = math.radians(pose[4])
    camera = (
        pose[0] - CAMERA_BACK * math.cos(yaw),
        pose[1] - CAMERA_BACK * math.sin(yaw),
        pose[2] + CAMERA_HEIGHT,
        pose[3],
        pose[4],
        0.0,
    )
    return view_of(blueprint(EGO), 1, pose), camera


def clear_of(actors: list[ActorView], pose: Pose, radius: float = 9.0) -> list[ActorView]:
    """The actors that leave a place free, metres; signals always stay."""
    return [row for row in actors if row.signal_id or math.dist(row.transform[:2], pose[:2]) > radius]


def parade(origin: tuple[float, float, float], prefix: str, columns: int, gap: tuple[float, float]) -> list[ActorView]:
    """Every blueprint whose id begins with `prefix` in rows ahead (+x) of a point, seen from the front left."""
    rng = np.random.default_rng(4)
    rows = []
    for k, row in enumerate(item for item in BLUEPRINTS if item.id.startswith(prefix)):
        i, j = divmod(k, columns)
        pose = (origin[0] + i * gap[0], origin[1] + (j - (columns - 1) / 2) * gap[1], origin[2], 0.0, 150.0, 0.0)
        thing = view_of(row, 500 + k, pose, rng)
        if prefix == "walker.":
            thing.transform = (*pose[:2], pose[2] + row.extent[2], *pose[3:])
            thing.velocity = (1.0, 0.5, 0.0)
        thing.lights = int(Light.LOW_BEAM | Light.SPECIAL1) if k % 2 else int(Light.BRAKE)
        rows.append(thing)
    return rows
