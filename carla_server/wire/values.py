"""Readers of call arguments: what a client sent, checked and turned into plain Python values.

Every reader raises `ArgumentError` with what was expected and what came. Numbers that are not finite become 0: the
client's Traffic Manager sends NaN brakes, and a NaN pose would spread to everybody.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

Vector = tuple[float, float, float]

#: Positions beyond this distance are refused: float32 cannot hold them to a metre, metres.
MAX_COORDINATE = 1.0e7


class ArgumentError(ValueError):
    """An argument has the wrong type or shape."""


class Pose(NamedTuple):
    """Position in metres and attitude in degrees, in the order of the world state."""

    x: float
    y: float
    z: float
    pitch: float
    yaw: float
    roll: float


class VehicleControl(NamedTuple):
    """As `carla.VehicleControl`."""

    throttle: float
    steer: float
    brake: float
    hand_brake: bool
    reverse: bool
    manual_gear_shift: bool
    gear: int


class AckermannControl(NamedTuple):
    """As `carla.VehicleAckermannControl`: radians, rad/s, m/s, m/s², m/s³."""

    steer: float
    steer_speed: float
    speed: float
    acceleration: float
    jerk: float


class Description(NamedTuple):
    """What to spawn: blueprint number, blueprint id and (id, type, value) attributes as the client sent them."""

    uid: int
    type_id: str
    attributes: list[list[Any]]


def number(item: Any) -> float:
    """A finite number; NaN and infinities become 0."""
    kind = type(item)
    if kind is float:
        return item if item - item == 0.0 else 0.0
    if kind is int:
        return float(item) if abs(item) < 2**63 else 0.0
    raise ArgumentError(f"expected a number, got {kind.__name__}")


def integer(item: Any) -> int:
    """A whole number."""
    if type(item) is not int:
        raise ArgumentError(f"expected an integer, got {type(item).__name__}")
    return item


def unsigned(item: Any) -> int:
    """A whole number that fits u32, such as an actor id."""
    if type(item) is not int or not 0 <= item < 2**32:
        raise ArgumentError(f"expected an unsigned 32-bit integer, got {item!r:.40}")
    return item


def boolean(item: Any) -> bool:
    """True or false."""
    if type(item) is not bool:
        raise ArgumentError(f"expected a bool, got {type(item).__name__}")
    return item


def text(item: Any) -> str:
    """A string."""
    if type(item) is not str:
        raise ArgumentError(f"expected text, got {type(item).__name__}")
    return item


def array(item: Any, least: int = 0) -> list[Any]:
    """An array of at least so many elements."""
    if type(item) is not list or len(item) < least:
        size = f" of {len(item)}" if isinstance(item, list) else ""
        raise ArgumentError(f"expected an array of at least {least}, got {type(item).__name__}{size}")
    return item


def clamp(item: float, low: float, high: float) -> float:
    """`item` limited to [low, high]."""
    return low if item < low else high if item > high else item


def vector(item: Any) -> Vector:
    """x, y, z."""
    x, y, z = array(item, 3)[:3]
    return number(x), number(y), number(z)


def bounded(item: Any, most: float) -> Vector:
    """x, y, z, each limited to [-most, most]."""
    x, y, z = vector(item)
    return clamp(x, -most, most), clamp(y, -most, most), clamp(z, -most, most)


def location(item: Any) -> Vector:
    """x, y, z of a place in the world, metres."""
    place = vector(item)
    if max(map(abs, place)) > MAX_COORDINATE:
        raise ArgumentError(f"a location must lie within {MAX_COORDINATE:g} m of the origin, got {place}")
    return place


def transform(item: Any) -> Pose:
    """A transform: location and (pitch, yaw, roll)."""
    place, rotation = array(item, 2)[:2]
    return Pose(*location(place), *(math.fmod(angle, 360.0) for angle in vector(rotation)))


def vehicle_control(item: Any) -> VehicleControl:
    """A control with its parts limited to what a vehicle has."""
    throttle, steer, brake, hand_brake, reverse, manual, gear = array(item, 7)[:7]
    return VehicleControl(
        clamp(number(throttle), 0.0, 1.0),
        clamp(number(steer), -1.0, 1.0),
        clamp(number(brake), 0.0, 1.0),
        boolean(hand_brake),
        boolean(reverse),
        boolean(manual),
        int(clamp(integer(gear), -1, 16)),
    )


def ackermann_control(item: Any) -> AckermannControl:
    """An Ackermann control."""
    return AckermannControl(*(number(part) for part in array(item, 5)[:5]))


def walker_control(item: Any) -> tuple[Vector, float, bool]:
    """Direction (world), speed in m/s, jump."""
    direction, speed, jump = array(item, 3)[:3]
    return vector(direction), clamp(number(speed), 0.0, 100.0), boolean(jump)


def description(item: Any) -> Description:
    """An actor description."""
    uid, type_id, attributes = array(item, 3)[:3]
    rows = []
    for row in array(attributes):
        name, kind, content = array(row, 3)[:3]
        rows.append([text(name), integer(kind), text(content)])
    return Description(unsigned(uid), text(type_id), rows)


def optional(item: Any) -> Any:
    """The value of ``[true, value]``, None for ``[false]``."""
    parts = array(item, 1)
    if not boolean(parts[0]):
        return None
    return array(parts, 2)[1]
