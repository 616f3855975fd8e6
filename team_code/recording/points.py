"""LiDAR sweeps in the ego frame, points in boxes, and LAZ files."""

from __future__ import annotations

import io
import math
import struct
import time
from collections.abc import Sequence

import lazrs
import numpy as np
from numba import njit
from numpy.typing import NDArray

from driving.geometry import rotation_2d, to_ego, to_world

Array = NDArray[np.float64]

LAS_SCALE_M = 0.01

_POINT_FORMAT, _POINT_BYTES = 0, 20
_COMPRESSED = 0x80
"""Added to the point format of compressed files."""

_COMPRESSION = lazrs.LazVlr.new_for_compression(_POINT_FORMAT, 0)
_LAS_HEADER = struct.Struct("<4sHH16sBB32s32sHHHIIBHI5I3d3d6d")
_LAS_RECORD = struct.Struct("<H16sHH32s")
_FIRST_POINT = _LAS_HEADER.size + _LAS_RECORD.size + len(_COMPRESSION.record_data())


def to_vehicle(points: NDArray[np.floating], position: tuple[float, float, float], yaw: float) -> Array:
    """Sensor points (N, >=3) in the vehicle frame, (N, 3), for a sensor mounted at ``position`` with ``yaw`` radians."""
    turned = np.array(points[:, :3], dtype=np.float64)
    turned[:, :2] = turned[:, :2] @ rotation_2d(yaw).T
    return turned + position


class SweepJoiner:
    """Joins the half revolutions of two ticks into one sweep in the current vehicle frame.

    The previous half comes after the current one; the first frame has one half only.
    """

    def __init__(self) -> None:
        self._previous: tuple[Array, Array, float] | None = None

    def join(self, half: Array, xyz: Array, yaw: float) -> Array:
        """Add a half sweep.

        Args:
            half: (N, 3) points in the vehicle frame, metres.
            xyz: (3,) vehicle position in the world.
            yaw: Vehicle heading, radians.

        Returns:
            (M, 3) points of this and the previous half in the current vehicle frame.
        """
        previous, self._previous = self._previous, (half, np.array(xyz), yaw)
        if previous is None:
            return half
        points, from_xyz, from_yaw = previous
        moved = np.empty_like(points)
        moved[:, :2] = to_ego(to_world(points[:, :2], from_xyz[:2], from_yaw), xyz[:2], yaw)
        moved[:, 2] = points[:, 2] + from_xyz[2] - xyz[2]
        return np.concatenate([half, moved])


class PointIndex:
    """Counts points in boxes; sorted by the metre of x that they lie in, so that a box looks at its neighbourhood only.

    Args:
        points: (N, 3) in the vehicle frame, metres; x within 32 km.
    """

    def __init__(self, points: Array) -> None:
        metres = np.floor(points[:, 0]).astype(np.int16)
        order = np.argsort(metres, kind="stable")  # few digits: sorted by counting
        self._points, self._metres = points.take(order, axis=0), metres.take(order)

    def count(self, center: Sequence[float], extent: Sequence[float], yaw: float) -> int:
        """Number of points strictly inside a box turned by ``yaw`` radians about z."""
        reach = math.hypot(extent[0], extent[1])
        begin = self._metres.searchsorted(np.int16(math.floor(center[0] - reach)))
        end = self._metres.searchsorted(np.int16(math.floor(center[0] + reach)), side="right")
        x, y, z = center
        turned = (math.cos(yaw), math.sin(yaw))
        half = (float(extent[0]), float(extent[1]), float(extent[2]))
        return int(_count_inside(self._points[begin:end], (float(x), float(y), float(z)), half, turned))


@njit(cache=True)
def _count_inside(points, center, extent, turned):
    cos, sin = turned
    count = 0
    for k in range(len(points)):
        dx, dy, dz = points[k, 0] - center[0], points[k, 1] - center[1], points[k, 2] - center[2]
        ahead, right = dx * cos + dy * sin, dy * cos - dx * sin
        if abs(ahead) < extent[0] and abs(right) < extent[1] and abs(dz) < extent[2]:
            count += 1
    return count


def encode_laz(points: Array) -> bytes:
    """Points (N, 3) as a LAZ file: LAS 1.2, point format 0, centimetre scale, offsets at the minimum.

    The layout of the header is that of the LAS 1.2 specification (ASPRS, 2008). Going through a general library of point
    clouds takes as long again as the compression itself.
    """
    low = np.array([column.min() if len(points) else 0.0 for column in points.T])
    records = np.zeros((len(points), 5), dtype=np.int32)
    _to_centimetres(np.ascontiguousarray(points), low, records)
    high = low + [LAS_SCALE_M * column.max() if len(points) else 0.0 for column in records.T[:3]]
    packed = lazrs.compress_points(_COMPRESSION, records.view(np.uint8).reshape(-1), False)
    # The compressed points begin with the place of their chunk table, which counts from the beginning of the file.
    table = int.from_bytes(packed[:8], "little") + _FIRST_POINT
    return b"".join([_las_header(len(points), low, high), table.to_bytes(8, "little"), memoryview(packed)[8:]])


def _las_header(num_points: int, low: Array, high: Array) -> bytes:
    """Public header and the record about the compression."""
    settings, today = _COMPRESSION.record_data(), time.localtime()
    header = _LAS_HEADER.pack(
        *(b"LASF", 0, 0, bytes(16), 1, 2, b"OTHER", b"simlingo", today.tm_yday, today.tm_year, _LAS_HEADER.size),
        *(_FIRST_POINT, 1, _COMPRESSED | _POINT_FORMAT, _POINT_BYTES, num_points, 0, 0, 0, 0, 0),
        *([LAS_SCALE_M] * 3),
        *low,
        *(bound for pair in zip(high, low) for bound in pair),
    )
    return header + _LAS_RECORD.pack(0, b"laszip encoded", 22204, len(settings), b"http://laszip.org") + settings


@njit(cache=True)
def _to_centimetres(points, low, records):
    """Fill in the first three of the five words of every point record: the place above ``low``, metres, in centimetres."""
    for i in range(len(points)):
        for k in range(3):
            records[i, k] = np.int32(np.rint((points[i, k] - low[k]) / LAS_SCALE_M))


def decode_laz(content: bytes) -> Array:
    """Points (N, 3) of a LAZ file."""
    import laspy  # brings a web client along, and recorders only write

    return np.asarray(laspy.read(io.BytesIO(content)).xyz, dtype=np.float64)
