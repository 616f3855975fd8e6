"""A town's fixtures put in place: meshes by viewing distance, their entries in the object list, and its signals.

What the map lists is built as listed. Towns whose file lists no houses (CARLA's own) get houses, trees and street lamps
along their roads from a generator seeded with the town's name; nothing it places stands on a lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from carla_server.map import MapObject, RoadMap, Signal, SignalKind
from carla_server.sensors import fixtures
from carla_server.sensors.atlas import SPEEDS
from carla_server.sensors.meshes import Mesh, join
from carla_server.sensors.views import FIRST_OBJECT_ID, EnvironmentObject, Tag

Array = NDArray[np.float64]

NEAR_TREE, FAR_TREE = 45.0, 130.0  # metres up to which trees show their branches, and their outline's detail
TREE_REACH, BUILDING_REACH, POLE_REACH, SMALL_REACH = 380.0, 700.0, 220.0, 110.0
LAMP_ARM = 1.6  # metres a street lamp reaches over the road
SIGN_REACH = 180.0
MAX_ARM = 9.0  # metres of a signal's arm
HEAD_HEIGHT = 5.2  # metres above the road where the map gives none


@dataclass(eq=False)
class Placement:
    """Meshes of one kind that are drawn between two distances, or only at night.

    Attributes:
        shapes: In the world frame.
        first: Distance from which they are drawn, metres.
        reach: Distance up to which they are drawn, metres.
        night: Whether only darkness shows them.
    """

    shapes: list[Mesh] = field(default_factory=list)
    first: float = 0.0
    reach: float = 1e9
    night: bool = False


@dataclass(frozen=True, eq=False)
class SignalHead:
    """A traffic light's housing: where it hangs and what number its pixels carry without an actor."""

    signal_id: str
    matrix: Array
    object_id: int


@dataclass(frozen=True, eq=False)
class StreetLight:
    """A street lamp's light source in the world, metres."""

    position: tuple[float, float, float]


@dataclass(eq=False)
class Town:
    """Everything placed."""

    placements: dict[str, Placement]
    objects: list[EnvironmentObject] = field(default_factory=list)
    heads: list[SignalHead] = field(default_factory=list)
    signs: dict[str, int] = field(default_factory=dict)
    lamps: list[StreetLight] = field(default_factory=list)
    shadows: list[tuple[Array, float]] = field(default_factory=list)


def _placements() -> dict[str, Placement]:
    return {
        "building": Placement(reach=BUILDING_REACH),
        "window": Placement(reach=250.0, night=True),
        "tree_near": Placement(reach=NEAR_TREE),
        "tree_far": Placement(first=NEAR_TREE, reach=FAR_TREE),
        "tree_tiny": Placement(first=FAR_TREE, reach=TREE_REACH),
        "pole": Placement(reach=POLE_REACH),
        "small": Placement(reach=SMALL_REACH),
        "barrier": Placement(reach=300.0),
        "sign": Placement(reach=SIGN_REACH),
    }


def _turn(yaw: float) -> Array:
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


class _Builder:
    """Collects what is placed, numbering objects in the order of placement."""

    def __init__(self, road_map: RoadMap) -> None:
        self.road_map = road_map
        self.town = Town(_placements())

    def add(
        self, name: str, tag: Tag, size: tuple[float, float, float], position: Array, yaw: float, **shapes: Mesh
    ) -> int:
        """Place one object: its meshes by placement name, and its box of (length, width, height)."""
        number = FIRST_OBJECT_ID + len(self.town.objects)
        matrix = _turn(yaw)
        x, y, z = (float(value) for value in position)
        for where, shape in shapes.items():
            placed = shape.moved(matrix, position)
            placed.instance[:] = number
            self.town.placements[where].shapes.append(placed)
        degrees = math.degrees(yaw)
        self.town.objects.append(
            EnvironmentObject(
                id=number,
                name=f"{name}_{len(self.town.objects)}",
                tag=tag,
                transform=(x, y, z, 0.0, degrees, 0.0),
                box_center=(x, y, z + size[2] / 2),
                box_extent=(size[0] / 2, size[1] / 2, size[2] / 2),
                box_rotation=(0.0, degrees, 0.0),
            )
        )
        return number

    def building(self, size: tuple[float, float, float], position: Array, yaw: float, style: str, seed: int) -> None:
        shape = fixtures.building(*size, style, seed)
        windows = fixtures.lit_windows(*size, seed, fixtures.setback(size[2]))
        self.add("Building", Tag.BUILDINGS, size, position, yaw, building=shape, window=windows)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.5 * np.array(size[:2])
        self.town.shadows.append((corners @ _turn(yaw)[:2, :2].T + position[:2], size[2]))

    def tree(self, size: tuple[float, float, float], position: Array, yaw: float, kind: str, seed: int) -> None:
        near, far, tiny = (fixtures.tree(*size, kind, seed, detail) for detail in (2, 1, 0))
        shapes = {"tree_near": near, "tree_far": far, "tree_tiny": tiny}
        self.add("Tree", Tag.VEGETATION, size, position, yaw, **shapes)
        angle = np.arange(8) * np.pi / 4
        ring = np.stack([np.cos(angle) * size[0] / 2, np.sin(angle) * size[1] / 2], 1) * 0.9
        self.town.shadows.append((ring + position[:2], size[2]))

    def lamp(self, height: float, position: Array, yaw: float) -> None:
        """A street lamp reaching along the +y side of `yaw`."""
        shape = fixtures.street_lamp(height, LAMP_ARM)
        self.add("StreetLamp", Tag.POLES, (0.25, 0.25, height), position, yaw, pole=shape)
        tip = np.asarray(position) + _turn(yaw) @ (0.0, LAMP_ARM, height)
        self.town.lamps.append(StreetLight((float(tip[0]), float(tip[1]), float(tip[2]))))


def build_town(road_map: RoadMap) -> Town:
    """Place everything a town shows beside its ground."""
    builder = _Builder(road_map)
    for item in road_map.objects:
        _place_object(builder, item)
    if not any(item.type == "building" for item in road_map.objects):
        from carla_server.sensors.roadside import furnish

        furnish(builder, road_map)
    for signal in road_map.signals.values():
        _place_signal(builder, signal)
    return builder.town


def _toward_road(builder: _Builder, item: MapObject) -> float:
    """Yaw, radians, that turns an object's +y side to the nearest lane."""
    position, _ = builder.road_map.nearest(*item.position)
    point, _, _ = builder.road_map.pose_on(position.lane, position.s)
    return math.atan2(point[1] - item.position[1], point[0] - item.position[0]) - math.pi / 2


def _place_object(builder: _Builder, item: MapObject) -> None:
    size = (float(item.length), float(item.width), float(item.height))
    words = f"{item.type} {item.name} {item.subtype}".lower()
    seed = fixtures.seed_of(builder.road_map.name, item.id)
    if item.height <= 0.05 or item.type in ("crosswalk", "roadMark"):
        return
    if item.type == "building":
        builder.building(size, item.position, item.yaw, item.subtype, seed)
    elif item.type == "tree":
        builder.tree(size, item.position, item.yaw, item.subtype, seed)
    elif "lamp" in words:
        builder.lamp(size[2], item.position, _toward_road(builder, item))
    else:
        _place_furniture(builder, item, size, words, seed)


def _place_furniture(
    builder: _Builder, item: MapObject, size: tuple[float, float, float], words: str, seed: int
) -> None:
    squeezed = words.replace(" ", "")
    row = next((row for row in fixtures.FURNITURE if row[0] in squeezed), None)
    if row is None and item.type not in ("obstacle", "barrier"):
        return
    build, tag = (fixtures.FURNITURE[-1][1], Tag.STATIC) if row is None else (row[1], row[2])
    shape = fixtures.wall(*size) if row is None else build(*size, seed)
    yaw = item.yaw
    if row is not None and row[0] in ("bench", "shelter", "busstop"):
        # These have a front; it looks at the road, along the nearer of their two long sides.
        facing = _toward_road(builder, item)
        yaw = item.yaw if math.cos(facing - item.yaw) >= 0 else item.yaw + math.pi
    long = max(size[:2]) > 6.0
    builder.add(item.name or "Object", tag, size, item.position, yaw, **{"barrier" if long else "small": shape})


def _sign_of(signal: Signal) -> tuple[str, int] | None:
    """Texture and number of corners of a sign."""
    if signal.kind is SignalKind.STOP:
        return "stop", 8
    if signal.kind is SignalKind.YIELD:
        return "yield", 3
    if signal.kind is SignalKind.SPEED_LIMIT and math.isfinite(signal.value):
        return f"speed_{min(SPEEDS, key=lambda speed: abs(speed - signal.value))}", 16
    return None


def _place_signal(builder: _Builder, signal: Signal) -> None:
    facing = signal.yaw + math.pi
    if signal.kind is SignalKind.TRAFFIC_LIGHT:
        _place_light(builder, signal, facing)
        return
    sign = _sign_of(signal)
    if sign is None:
        return
    half = 0.5 * signal.width if 0.3 < signal.width < 1.5 else fixtures.SIGN_HALF
    height = signal.z_offset if 1.5 < signal.z_offset < 4.0 else 2.2
    shape = fixtures.sign_board(sign[0], half, height + half, sign[1])
    size = (0.1, 2 * half, height + 2 * half)
    number = builder.add("Sign", Tag.TRAFFIC_SIGNS, size, signal.position, facing, sign=shape)
    builder.town.signs[signal.id] = number


def _place_light(builder: _Builder, signal: Signal, facing: float) -> None:
    height = signal.z_offset if signal.z_offset > 2.0 else HEAD_HEIGHT
    travel = signal.stop_yaw if signal.lanes else signal.yaw
    left = np.array([math.sin(travel), -math.cos(travel)])
    arm = signal.arm_length
    if arm < 0.1 and signal.stop_left is not None and signal.stop_right is not None:
        middle = 0.5 * (signal.stop_left + signal.stop_right)[:2]
        arm = float(np.clip((middle - signal.position[:2]) @ left, 0.0, MAX_ARM))
    # The arm lies along +y of the post's frame.
    post = math.atan2(left[1], left[0]) - math.pi / 2
    builder.add(
        "SignalPost", Tag.POLES, (0.2, 0.2, height), signal.position, post, pole=fixtures.light_post(height, arm)
    )
    middle_3d = np.array([*(signal.position[:2] + arm * left), signal.position[2] + height])
    if arm < 0.3:
        middle_3d[:2] += 0.3 * left
    matrix = np.concatenate([_turn(facing), middle_3d[:, None]], axis=1)
    number = builder.add("TrafficLight", Tag.TRAFFIC_LIGHT, fixtures.HEAD_SIZE, middle_3d, facing)
    last = builder.town.objects[-1]
    builder.town.objects[-1] = EnvironmentObject(
        **{name: getattr(last, name) for name in ("id", "name", "tag", "transform", "box_extent", "box_rotation")},
        box_center=(float(middle_3d[0]), float(middle_3d[1]), float(middle_3d[2])),
    )
    builder.town.heads.append(SignalHead(signal.id, matrix, number))


def placed_parts(town: Town) -> list[tuple[Mesh, Placement]]:
    """Each non-empty placement with all its meshes joined."""
    return [(join(row.shapes), row) for row in town.placements.values() if row.shapes]
