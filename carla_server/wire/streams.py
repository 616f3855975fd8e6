"""Streams: tokens, framing, sensor headers and the world-state message. Little-endian and packed throughout."""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np


class SensorType(IntEnum):
    """Position in the 0.9.16 client's registry of sensor data; first field of every stream message."""

    COLLISION = 0
    DEPTH = 1
    NORMALS = 2
    DVS = 3
    GNSS = 4
    IMU = 5
    LANE_INVASION = 6
    OBSTACLE = 7
    OPTICAL_FLOW = 8
    RADAR = 9
    SEMANTIC_LIDAR = 10
    LIDAR = 11
    RSS = 12
    RGB = 13
    SEMANTIC_SEGMENTATION = 14
    INSTANCE_SEGMENTATION = 15
    WORLD_STATE = 17


#: Stream of the world state; the original server gives it this number too.
WORLD_STREAM = 1
#: A client names the stream it wants in this many bytes.
SUBSCRIPTION_BYTES = 4

_TOKEN = struct.Struct("<IHBB16x")
_SENSOR_HEADER = struct.Struct("<QQd6f")
_WORLD_HEADER = struct.Struct("<QdfiiiI")
_SIZE = struct.Struct("<I")
_TCP = 1

#: Bits of the world-state header.
MAP_CHANGED = 1

#: One actor in the world state. The last 54 bytes depend on the kind of actor, so their fields overlap.
ACTOR_STATE = np.dtype(
    {
        "names": [
            *("id", "state", "motion"),
            *("controls", "hand_brake", "reverse", "manual_gear_shift", "gear", "speed_limit", "light_state"),
            *("has_light", "light_id", "failure"),
            *("direction", "speed", "jump"),
            *("signal_id", "green_time", "yellow_time", "red_time", "elapsed", "pole", "frozen", "lamp"),
        ],
        "formats": [
            *("<u4", "u1", ("<f4", 15)),
            *(("<f4", 3), "u1", "u1", "u1", "<i4", "<f4", "u1"),
            *("u1", "<u4", "u1"),
            *(("<f4", 3), "<f4", "u1"),
            *("S32", "<f4", "<f4", "<f4", "<f4", "<u4", "u1", "u1"),
        ],
        "offsets": [
            *(0, 4, 5),
            *(65, 77, 78, 79, 80, 84, 88),
            *(89, 90, 94),
            *(65, 77, 81),
            *(65, 97, 101, 105, 109, 113, 117, 118),
        ],
        "itemsize": 119,
    }
)

#: Value of `state` for an actor that takes part in the simulation.
ACTIVE = 1


def token(stream_id: int, port: int) -> bytes:
    """Where a stream is served. The address is left unset, so the client uses the host of its RPC connection."""
    return _TOKEN.pack(stream_id, port, _TCP, 0)


def subscription(data: bytes) -> int:
    """Stream id named by the first bytes of a streaming connection."""
    return int.from_bytes(data[:SUBSCRIPTION_BYTES], "little")


def frame_size(size: int) -> bytes:
    """Length prefix of a message of `size` bytes."""
    return _SIZE.pack(size)


def sensor_header(kind: int, frame: int, time_s: float, pose: tuple[float, ...]) -> bytes:
    """Head of every stream message: what, when, and the (x, y, z, pitch, yaw, roll) from where (metres, degrees)."""
    return _SENSOR_HEADER.pack(kind, frame, time_s, *pose)


def world_state(
    *,
    frame: int,
    time_s: float,
    episode: int,
    delta_s: float,
    flags: int,
    actors: bytes,
    wall_s: float | None = None,
) -> bytes:
    """World-state message.

    Args:
        frame: Number of the tick.
        time_s: Simulated time.
        episode: Episode id.
        delta_s: Length of the tick.
        flags: Bits such as `MAP_CHANGED`.
        actors: Rows of `ACTOR_STATE`, one after the other.
        wall_s: Platform time stamp; the simulated time if None, which makes equal runs equal bytes.
    """
    head = sensor_header(SensorType.WORLD_STATE, frame, time_s, (0.0,) * 6)
    platform = time_s if wall_s is None else wall_s
    return head + _WORLD_HEADER.pack(episode, platform, delta_s, 0, 0, 0, flags) + actors
