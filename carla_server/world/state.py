"""Arrays of everything that moves: one row per actor, stable while the actor lives.

`ActorRows.wire` holds the rows of the world-state message; the other arrays are what physics works on. World frame:
CARLA's (x east, y south, z up, left-handed), metres, seconds; angles in degrees in `motion`, radians inside kernels.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from carla_server.wire.streams import ACTIVE, ACTOR_STATE

Floats = NDArray[np.float64]


class Kind(IntEnum):
    """What physics does with an actor."""

    OTHER = 0
    VEHICLE = 1
    WALKER = 2
    PROP = 3
    SENSOR = 4
    LIGHT = 5
    SIGN = 6


# Columns of `motion`.
X, Y, Z, PITCH, YAW, ROLL = range(6)
VELOCITY, ANGULAR, ACCELERATION = slice(6, 9), slice(9, 12), slice(12, 15)
MOTION_COLUMNS = 15

# Columns of `control`. Walkers: direction x, y, z and speed in the first four.
THROTTLE, STEER, BRAKE, HAND_BRAKE, DIRECTION, TOP_SPEED = range(6)
CONTROL_COLUMNS = 6

# Columns of `body`: constants of the actor. Sizes in metres, mass in kg.
(HALF_X, HALF_Y, HALF_Z, CENTER_X, CENTER_Y, CENTER_Z, REAR, WHEELBASE, MASS, POWER, LIMIT, FRICTION, FOOT) = range(13)
BODY_COLUMNS = 13

# Columns of `dynamic`: speed along the direction of travel at the origin, sideways slip, spin beyond what the steering
# gives (rad/s), vertical speed, and whether the actor rests on the ground.
SPEED, SLIP, SPIN, VERTICAL, SETTLED = range(5)
DYNAMIC_COLUMNS = 5

# Columns of `imposed`: constant velocity (flag, local x, y, z) and pending impulse and torque (kg m/s, kg m²/s).
HOLD, HOLD_X, HOLD_Y, HOLD_Z, PUSH_X, PUSH_Y, PUSH_Z, TWIST = range(8)
IMPOSED_COLUMNS = 8

# Columns of `trail`: where the actor was at the end of the last tick, metres and degrees.
TRAIL_X, TRAIL_Y, TRAIL_YAW = range(3)
TRAIL_COLUMNS = 3


class Turn(IntEnum):
    """Where a vehicle says that it goes."""

    UNSAID = 0
    AHEAD = 1
    LEFT = 2
    RIGHT = 3


class ActorRows:
    """Growing table of actors.

    Attributes:
        wire: (capacity,) world-state rows.
        motion: (capacity, 15) location, rotation (degrees), velocity, angular velocity (deg/s), acceleration.
        trail: (capacity, 3) x, y and yaw at the end of the last tick, or where the actor was put since.
        kind: (capacity,) `Kind`.
        simulate: (capacity,) whether physics moves the actor.
        solid: (capacity,) whether it collides.
        weightless: (capacity,) whether gravity is off.
        turn: (capacity,) `Turn`, told by the blinkers.
        wire_bytes: Memory of `wire`.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.wire: NDArray[np.void] = np.zeros(capacity, ACTOR_STATE)
        self.motion: Floats = np.zeros((capacity, MOTION_COLUMNS))
        self.control: Floats = np.zeros((capacity, CONTROL_COLUMNS))
        self.body: Floats = np.zeros((capacity, BODY_COLUMNS))
        self.dynamic: Floats = np.zeros((capacity, DYNAMIC_COLUMNS))
        self.imposed: Floats = np.zeros((capacity, IMPOSED_COLUMNS))
        self.trail: Floats = np.zeros((capacity, TRAIL_COLUMNS))
        self.kind: NDArray[np.uint8] = np.zeros(capacity, np.uint8)
        self.simulate: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.solid: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.weightless: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.turn: NDArray[np.uint8] = np.zeros(capacity, np.uint8)
        self.wire_bytes = memoryview(self.wire.view(np.uint8))  # type: ignore[arg-type]
        self.used = 0
        self._free: list[int] = []

    _ARRAYS = (
        "wire",
        "motion",
        "control",
        "body",
        "dynamic",
        "imposed",
        "trail",
        "kind",
        "simulate",
        "solid",
        "weightless",
        "turn",
    )

    def take(self, actor_id: int, kind: Kind) -> int:
        """Give a zeroed row to an actor."""
        if self._free:
            row = self._free.pop()
        else:
            row = self.used
            if row == len(self.wire):
                self._grow()
            self.used += 1
        for name in self._ARRAYS:
            getattr(self, name)[row] = 0
        self.wire["id"][row] = actor_id
        self.wire["state"][row] = ACTIVE
        self.kind[row] = kind
        return row

    def put(self, row: int, pose: tuple[float, ...]) -> None:
        """Place an actor at x, y, z, pitch, yaw, roll (metres, degrees): it did not travel there."""
        self.motion[row, :6] = pose
        self.trail[row] = pose[0], pose[1], pose[4]

    def packed(self, order: NDArray[np.int64]) -> bytes:
        """World-state rows of some actors, one after the other."""
        plain = self.wire.view(np.uint8).reshape(len(self.wire), -1)
        return plain.take(order, axis=0).tobytes()

    def release(self, row: int) -> None:
        """Take a row back from a destroyed actor."""
        self.kind[row] = Kind.OTHER
        self.simulate[row] = self.solid[row] = False
        self._free.append(row)

    def _grow(self) -> None:
        for name in self._ARRAYS:
            old = getattr(self, name)
            new = np.zeros((2 * len(old), *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self.wire_bytes = memoryview(self.wire.view(np.uint8))  # type: ignore[arg-type]
