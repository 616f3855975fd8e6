"""Weather, things of the town, ray queries, debug drawing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.sensors.views import Tag
from carla_server.wire import values
from carla_server.world.settings import read_weather, weather_wire
from carla_server.world.state import Kind

ANY_TAG = 255
#: Step of a search along a ray, metres.
RAY_STEP = 0.1


@value()
def get_weather_parameters(simulator: Simulator, session: Session) -> list[float]:
    """Present weather."""
    return weather_wire(simulator.world.weather)


@void()
def set_weather_parameters(simulator: Simulator, session: Session, weather: Any) -> None:
    """Change the weather."""
    simulator.world.weather = read_weather(weather)


@value()
def get_imui_gravity(simulator: Simulator, session: Session) -> float:
    """Gravity of IMUs, m/s²."""
    return simulator.world.gravity


@void()
def set_imui_gravity(simulator: Simulator, session: Session, gravity: Any) -> None:
    """Set the gravity that IMUs feel, m/s²."""
    simulator.world.gravity = values.number(gravity)


@value()
def get_names_of_all_objects(simulator: Simulator, session: Session) -> list[str]:
    """Names of the things of the town."""
    return [item.name for item in simulator.world.scene.environment_objects]


@value("get_all_level_BBs")
def get_level_boxes(simulator: Simulator, session: Session, tag: Any) -> list[Any]:
    """World boxes of everything of a semantic class: the town's things and the actors."""
    wanted = values.unsigned(tag)
    world = simulator.world
    boxes: list[Any] = [
        [list(item.box_center), list(item.box_extent), list(item.box_rotation), 0]
        for item in world.scene.environment_objects
        if wanted in (ANY_TAG, int(item.tag))
    ]
    for actor in world.actors.values():
        if actor.kind in (Kind.VEHICLE, Kind.WALKER, Kind.PROP) and wanted in (ANY_TAG, actor.tag):
            pose = world.pose(actor)
            cos, sin = math.cos(math.radians(pose.yaw)), math.sin(math.radians(pose.yaw))
            cx, cy, cz = actor.center
            place = [pose.x + cos * cx - sin * cy, pose.y + sin * cx + cos * cy, pose.z + cz]
            boxes.append([place, list(actor.extent), [pose.pitch, pose.yaw, pose.roll], actor.id])
    return boxes


@value()
def get_environment_objects(simulator: Simulator, session: Session, tag: Any) -> list[Any]:
    """Things of the town of a semantic class."""
    wanted = values.unsigned(tag)
    return [
        [
            [list(item.transform[:3]), list(item.transform[3:])],
            [list(item.box_center), list(item.box_extent), list(item.box_rotation), 0],
            item.id,
            item.name,
            int(item.tag),
        ]
        for item in simulator.world.scene.environment_objects
        if wanted in (ANY_TAG, int(item.tag))
    ]


@void()
def enable_environment_objects(simulator: Simulator, session: Session, ids: Any, enabled: Any) -> None:
    """Towns are drawn whole; accepted without effect."""
    for item in values.array(ids):
        values.integer(item)
    values.boolean(enabled)


def _surface(simulator: Simulator, x: float, y: float, z: float) -> int:
    """Semantic class of the ground at a point."""
    place = simulator.world.road_map.locate(x, y, z)
    if place is None:
        return int(Tag.TERRAIN)
    return int(Tag.SIDEWALKS if place.lane.type == "sidewalk" else Tag.ROADS)


@value()
def project_point(simulator: Simulator, session: Session, location: Any, direction: Any, distance: Any) -> list[Any]:
    """First point of the ground along a ray, within a distance in metres."""
    start, ray = np.array(values.location(location)), np.array(values.vector(direction))
    reach = values.clamp(values.number(distance), 0.0, 1.0e5)
    size = float(np.linalg.norm(ray))
    none = [False, [[0.0, 0.0, 0.0], 0]]
    if size < 1e-9:
        return none
    hit = _ground_along(simulator, start, ray / size, reach)
    if hit is None:
        return none
    place = hit.tolist()
    return [True, [place, _surface(simulator, *place)]]


def _ground_along(simulator: Simulator, start: np.ndarray, ray: np.ndarray, reach: float) -> np.ndarray | None:
    ground = simulator.world.ground
    if abs(ray[0]) < 1e-6 and abs(ray[1]) < 1e-6:
        height = ground.height(*start.tolist())
        travelled = (height - start[2]) * ray[2]
        return None if not 0.0 <= travelled <= reach else np.array((start[0], start[1], height))
    for travelled in np.arange(0.0, min(reach, 500.0) + RAY_STEP, RAY_STEP):
        point = start + ray * travelled
        height = ground.height(*point.tolist())
        if not math.isnan(height) and point[2] <= height <= point[2] + 1.0:
            return np.array((point[0], point[1], height))
    return None


@value()
def cast_ray(simulator: Simulator, session: Session, first: Any, second: Any) -> list[Any]:
    """Where a segment meets the ground."""
    start, end = np.array(values.location(first)), np.array(values.location(second))
    reach = float(np.linalg.norm(end - start))
    if reach < 1e-9:
        return []
    hit = _ground_along(simulator, start, (end - start) / reach, reach)
    return [] if hit is None else [[hit.tolist(), _surface(simulator, *hit.tolist())]]


@void("draw_debug_shape", "clear_debug_shape", "clear_debug_string")
def draw(simulator: Simulator, session: Session, *shape: Any) -> None:
    """Debug shapes are not drawn; accepted without effect."""


@void("apply_color_texture_to_objects", "apply_float_color_texture_to_objects")
def paint(simulator: Simulator, session: Session, names: Any, material: Any, texture: Any) -> None:
    """Textures are not applied; accepted without effect."""


@void("set_annotations_traverse_translucency")
def traverse_translucency(simulator: Simulator, session: Session, enabled: Any) -> None:
    """Nothing here is translucent."""
    values.boolean(enabled)


@void("enable_sensor_for_ros", "disable_sensor_for_ros")
def ros_sensor(simulator: Simulator, session: Session, stream: Any) -> None:
    """There is no ROS bridge in the server; accepted without effect."""
    values.unsigned(stream)


@value()
def is_sensor_enabled_for_ros(simulator: Simulator, session: Session, stream: Any) -> bool:
    """There is no ROS bridge in the server."""
    values.unsigned(stream)
    return False


@value()
def are_gbuffers_enabled(simulator: Simulator, session: Session, *which: Any) -> bool:
    """The renderer has no G-buffers to hand out."""
    return False
