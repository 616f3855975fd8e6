"""Poses, rotations and boxes in CARLA's frames.

World frame: x east, y south, z up, left-handed; yaw turns from x towards y, clockwise seen from above.
Ego frame: x forward, y right, z up, metres. Angles are radians unless a name ends in ``_deg``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Angle = TypeVar("Angle", float, Array)
Corner = tuple[float, float, float]

SIGN_SQUARES = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def wrap_angle(angle: ArrayLike) -> Array:
    """Wrap angles, radians, into [-pi, pi)."""
    return _wrapped(np.asarray(angle, dtype=np.float64))


def wrap_number(angle: float) -> float:
    """`wrap_angle` of one angle, without the cost of an array."""
    return _wrapped(float(angle))


def _wrapped(angle: Angle) -> Angle:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def rotation_2d(yaw: float) -> Array:
    """(2, 2) matrix that turns a vector by ``yaw`` radians from x towards y."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin], [sin, cos]])


def to_ego(points: ArrayLike, ego_xy: ArrayLike, ego_yaw: float) -> Array:
    """Express world points in the ego frame (x forward, y right).

    Args:
        points: (..., 2) world positions, metres.
        ego_xy: (2,) ego position in the world, metres.
        ego_yaw: Ego heading in the world, radians, clockwise seen from above.

    Returns:
        (..., 2) positions relative to the ego vehicle, metres. Undone by `to_world`.
    """
    offset = np.asarray(points, dtype=np.float64) - np.asarray(ego_xy, dtype=np.float64)
    return offset @ rotation_2d(ego_yaw)


def to_world(points: ArrayLike, ego_xy: ArrayLike, ego_yaw: float) -> Array:
    """Express ego-frame points (..., 2), metres, in the world frame. Undone by `to_ego`."""
    turned = np.asarray(points, dtype=np.float64) @ rotation_2d(ego_yaw).T
    return turned + np.asarray(ego_xy, dtype=np.float64)


def pose_matrix(location: ArrayLike, pitch: float, yaw: float, roll: float) -> Array:
    """(4, 4) matrix from the local frame of a pose to its parent frame, in CARLA's convention.

    Args:
        location: (3,) position in the parent frame, metres.
        pitch: Radians, positive looks up.
        yaw: Radians, positive turns from x towards y.
        roll: Radians, positive tilts clockwise seen from behind.

    The order and signs are those of `carla.Transform.get_matrix`.
    """
    cp, sp = np.cos(pitch), np.sin(pitch)
    cy, sy = np.cos(yaw), np.sin(yaw)
    cr, sr = np.cos(roll), np.sin(roll)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr],
        [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr],
        [sp, -cp * sr, cp * cr],
    ]
    matrix[:3, 3] = location
    return matrix


def invert_pose(matrix: ArrayLike) -> Array:
    """Inverse of a rigid (4, 4) pose matrix."""
    pose = np.asarray(matrix, dtype=np.float64)
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def transform_points(matrix: ArrayLike, points: ArrayLike) -> Array:
    """Apply a (4, 4) pose matrix to (..., 3) points, metres."""
    pose = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ pose[:3, :3].T + pose[:3, 3]


def box_corners_2d(center: ArrayLike, extent: ArrayLike, yaw: float) -> Array:
    """Corners of an oriented rectangle.

    Args:
        center: (2,) centre, metres.
        extent: (2,) half length along the heading and half width, metres.
        yaw: Heading, radians.

    Returns:
        (4, 2) corners: front right, rear right, rear left, front left.
    """
    length, width = np.asarray(extent, dtype=np.float64)[:2]
    local = np.array([[length, width], [-length, width], [-length, -width], [length, -width]])
    return to_world(local, center, yaw)


def box_corners(floor: Corner, extent: Sequence[float], yaw: float) -> list[Corner]:
    """Corners of an upright box: bottom (-x,-y), (x,-y), (x,y), (-x,y), then the top in the same order.

    Scalar arithmetic on purpose: a frame has about ten boxes, and one call of an array library costs more than ten boxes here.

    Args:
        floor: (x, y, z) of the middle of its underside, metres.
        extent: Half length along the heading, half width and half height, metres.
        yaw: Heading, radians.
    """
    length, width, height = extent
    x, y, z = floor
    c, s = math.cos(yaw), math.sin(yaw)
    bottom = [(x + i * length * c - j * width * s, y + i * length * s + j * width * c) for i, j in SIGN_SQUARES]
    return [(u, v, z + level) for level in (0.0, 2 * height) for u, v in bottom]


def boxes_overlap_2d(corners_a: ArrayLike, corners_b: ArrayLike) -> bool:
    """Whether two convex quadrilaterals (4, 2) share area, by the separating-axis theorem; touching does not count."""
    a, b = np.asarray(corners_a, dtype=np.float64), np.asarray(corners_b, dtype=np.float64)
    for corners in (a, b):
        edges = np.roll(corners, -1, axis=0) - corners
        normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
        on_a, on_b = a @ normals.T, b @ normals.T
        if np.any((on_a.max(0) <= on_b.min(0)) | (on_b.max(0) <= on_a.min(0))):
            return False
    return True
