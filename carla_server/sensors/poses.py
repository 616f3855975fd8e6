"""Poses to matrices, in CARLA's convention (`carla.Transform.get_matrix`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.views import Pose

Array = NDArray[np.float64]


def rotation(pitch_deg: float, yaw_deg: float, roll_deg: float) -> Array:
    """(3, 3) matrix from the local frame to its parent frame; angles in degrees."""
    cp, sp = math.cos(math.radians(pitch_deg)), math.sin(math.radians(pitch_deg))
    cy, sy = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    cr, sr = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    return np.array(
        [
            [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr],
            [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr],
            [sp, -cp * sr, cp * cr],
        ]
    )


def affine(pose: Pose) -> Array:
    """(3, 4) matrix from the local frame of a pose to the world: rotation and location."""
    out = np.empty((3, 4))
    out[:, :3] = rotation(pose[3], pose[4], pose[5])
    out[:, 3] = pose[:3]
    return out


def compose(outer: Array, inner: Array) -> Array:
    """(3, 4) matrix that applies `inner` and then `outer`, both (3, 4)."""
    out = outer[:, :3] @ inner
    out[:, 3] += outer[:, 3]
    return out


def world_to_camera(pose: Pose) -> Array:
    """(3, 4) matrix from the world to the local frame of a pose."""
    turn = rotation(pose[3], pose[4], pose[5]).T
    return np.concatenate([turn, -turn @ np.array(pose[:3])[:, None]], axis=1)
