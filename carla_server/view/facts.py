"""What the live view tells about the town and the moment, as plain values. Metres, degrees, km/h."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from carla_server.map import MapObject, RoadMap, SignalKind
from carla_server.sensors.views import LampState
from carla_server.world.state import Kind
from carla_server.world.world import World

#: Every so many samples of a lane's border are drawn.
STRIDE = 4
DRAWN_LANES = frozenset({"driving", "parking", "biking", "sidewalk", "shoulder"})
DRAWN_ACTORS = {Kind.VEHICLE: "vehicle", Kind.WALKER: "walker", Kind.PROP: "prop"}


def _thin(line: np.ndarray) -> list[list[float]]:
    """Every few points of a polyline, its end included, to the decimetre."""
    picked = np.unique(np.append(np.arange(0, len(line), STRIDE), len(line) - 1))
    return np.round(line[picked, :2], 1).tolist()


def _foot(item: MapObject) -> list[list[float]]:
    """Corners of what a thing stands on."""
    if item.outline is not None:
        return np.round(item.outline[:, :2], 1).tolist()
    along = 0.5 * item.length * np.array((math.cos(item.yaw), math.sin(item.yaw)))
    across = 0.5 * item.width * np.array((-math.sin(item.yaw), math.cos(item.yaw)))
    corners = [item.position[:2] + a * along + b * across for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    return np.round(corners, 1).tolist()


def map_facts(road_map: RoadMap) -> dict[str, Any]:
    """Outlines of lanes, places of lights and signs, and the extent of the town."""
    lanes = [
        {"type": lane.type, "outline": _thin(lane.inner) + _thin(lane.outer)[::-1]}
        for lane in road_map.lanes
        if lane.type in DRAWN_LANES
    ]
    low, high = road_map.bounds
    return {
        "town": road_map.name,
        "lanes": lanes,
        "buildings": [_foot(item) for item in road_map.objects if item.type == "building"],
        "stops": [
            row.position[:2].round(1).tolist() for row in road_map.signals.values() if row.kind is SignalKind.STOP
        ],
        "bounds": [*np.round(low[:2], 1).tolist(), *np.round(high[:2], 1).tolist()],
    }


def state_facts(world: World) -> dict[str, Any]:
    """Actors, lights, weather and clock of the present moment."""
    actors, lights = [], []
    for actor in world.actors.values():
        row = world.rows.motion[actor.row]
        place = {"id": actor.id, "x": round(float(row[0]), 2), "y": round(float(row[1]), 2)}
        if actor.kind in DRAWN_ACTORS:
            speed = float(np.linalg.norm(row[6:9])) * 3.6
            actors.append(
                {
                    **place,
                    "kind": DRAWN_ACTORS[actor.kind],
                    "type": actor.type_id,
                    "role": actor.attributes.get("role_name", ""),
                    "yaw": round(float(row[4]), 1),
                    "length": round(2 * actor.extent[0], 2),
                    "width": round(2 * actor.extent[1], 2),
                    "kmh": round(speed, 1),
                }
            )
        elif actor.kind is Kind.LIGHT:
            lights.append({**place, "state": LampState(int(world.rows.wire["lamp"][actor.row])).name.lower()})
    return {
        "town": world.road_map.name,
        "episode": world.episode,
        "frame": world.frame,
        "time_s": round(world.elapsed, 2),
        "synchronous": world.settings.synchronous,
        "sensors": sum(actor.kind is Kind.SENSOR for actor in world.actors.values()),
        "actors": actors,
        "lights": lights,
    }
