"""What every actor shape is made of: rigid limbs with joints, and the lamps it can light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carla_server.sensors.meshes import Mesh, join, quad

Array = NDArray[np.float64]

# Linear colours shared by many shapes.
WHITE = (1.0, 1.0, 1.0)
RUBBER = (0.018, 0.018, 0.020)
DARK = (0.03, 0.03, 0.035)
STEEL = (0.32, 0.33, 0.34)
CHROME = (0.55, 0.56, 0.58)
GLASS_TINT = (0.035, 0.045, 0.055)
AMBER = (1.0, 0.42, 0.02)
RED_LIGHT = (1.0, 0.05, 0.03)
WHITE_LIGHT = (1.0, 0.97, 0.88)
BLUE_LIGHT = (0.05, 0.15, 1.0)
GREEN_LIGHT = (0.05, 1.0, 0.25)


class Lamp(IntEnum):
    """Lamps of a shape; bit numbers in a draw's mask of lit lamps."""

    BRAKE = 0
    LEFT = 1
    RIGHT = 2
    HEAD = 3
    TAIL = 4
    REVERSE = 5
    BLUE = 6
    RED = 7
    SIGNAL_RED = 8
    SIGNAL_YELLOW = 9
    SIGNAL_GREEN = 10


class Joint(IntEnum):
    """How a limb moves against its body."""

    FIXED = 0
    ROLL = 1  # wheel: turns about y with the rolled angle
    STEER = 2  # wheel: turns about z with the steering, then rolls
    DOOR_FL = 3  # swings about z when its door is open, absent while it is closed
    DOOR_FR = 4
    DOOR_RL = 5
    DOOR_RR = 6
    LEFT_LEG = 7  # swing about y with the gait
    RIGHT_LEG = 8
    LEFT_ARM = 9
    RIGHT_ARM = 10


@dataclass(frozen=True, eq=False)
class Limb:
    """A rigid part, in its own frame with the joint at the origin.

    Attributes:
        shape: Its triangles.
        pivot: (3,) where its joint sits in the actor frame, metres.
        joint: How it moves.
    """

    shape: Mesh
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    joint: Joint = Joint.FIXED


@dataclass(frozen=True, eq=False)
class Shape:
    """An actor's look, in the actor frame.

    Attributes:
        near: Limbs for close views.
        far: One rigid mesh for distant views and for rays.
        tint: Paint when the actor has no colour attribute, linear.
    """

    near: tuple[Limb, ...]
    far: Mesh
    tint: tuple[float, float, float] = field(default=(0.5, 0.5, 0.5))


def patch(
    face: ArrayLike,
    u: tuple[float, float],
    v: tuple[float, float],
    color: Sequence[float],
    tag: int,
    lift: float = 0.008,
    **rest: int,
) -> Mesh:
    """A piece of a four-cornered face, lifted off it so that it shows.

    Args:
        face: (4, 3) corners; u runs from the first to the second, v from the first to the fourth.
        u, v: Part of the face, 0 to 1 each way.
        color: Linear colour.
        tag: Semantic tag.
        lift: Metres outwards.
    """
    c = np.asarray(face, dtype=np.float64)

    def at(s: float, t: float) -> Array:
        low, high = c[0] + s * (c[1] - c[0]), c[3] + s * (c[2] - c[3])
        return low + t * (high - low)

    normal = np.cross(c[1] - c[0], c[3] - c[0])
    normal /= np.linalg.norm(normal)
    corners = [at(u[0], v[0]), at(u[1], v[0]), at(u[1], v[1]), at(u[0], v[1])]
    return quad(np.array(corners) + lift * normal, color, tag, **rest)


def mirrored(shape: Mesh) -> Mesh:
    """The same on the other side of the x-z plane."""
    return shape.moved(np.diag([1.0, -1.0, 1.0]))


def both_sides(shape: Mesh) -> Mesh:
    """A right-hand part and its mirror image."""
    return join([shape, mirrored(shape)])


def linear(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """An 8-bit display colour as linear light (gamma 2)."""
    r, g, b = ((channel / 255.0) ** 2 for channel in rgb)
    return (r, g, b)
