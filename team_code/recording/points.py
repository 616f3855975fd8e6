"""LiDAR sweeps in the ego frame, points in boxes, and LAZ files."""

from __future__ import annotations

import io
import math

import laspy
import numpy as np
from numba import njit
from numpy.typing import NDArray

from driving.geometry import rotation_2d, to_ego, to_world

Array = NDArray[np.float64]

LAS_SCALE_M = 0.01


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
    """Counts points in boxes; sorted by x so that a box looks at its neighbourhood only.

    Args:
        points: (N, 3) in the vehicle frame, metres.
    """

    def __init__(self, points: Array) -> None:
        self._points = points.take(np.argsort(points[:, 0]), axis=0)
        self._x = self._points[:, 0].copy()

    def count(self, center: Array, extent: Array, yaw: float) -> int:
        """Number of points strictly inside a box turned by ``yaw`` radians about z."""
        reach = math.hypot(extent[0], extent[1])
        begin, end = np.searchsorted(self._x, [center[0] - reach, center[0] + reach])
        turned = (math.cos(yaw), math.sin(yaw))
        return int(_count_inside(self._points[begin:end], np.asarray(center), np.asarray(extent), turned))


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
    """Points (N, 3) as a LAZ file: LAS 1.2, point format 0, centimetre scale, offsets at the minimum."""
    header = laspy.LasHeader(point_format=0, version="1.2")
    header.offsets = points.min(axis=0) if len(points) else np.zeros(3)
    header.scales = np.full(3, LAS_SCALE_M)
    record = laspy.ScaleAwarePointRecord.zeros(len(points), header=header)
    for name, column in zip("XYZ", np.round((points - header.offsets) / LAS_SCALE_M).astype(np.int32).T):
        record[name] = column
    stream = io.BytesIO()
    with laspy.LasWriter(stream, header, do_compress=True, closefd=False) as writer:
        writer.write_points(record)
    return stream.getvalue()


def decode_laz(content: bytes) -> Array:
    """Points (N, 3) of a LAZ file."""
    return np.asarray(laspy.read(io.BytesIO(content)).xyz, dtype=np.float64)
