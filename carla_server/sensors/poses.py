"""Poses to matrices, in CARLA's convention (`carla.Transform.get_matrix`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.views import Pose

Array = NDArray[np.float64]


def rotation(pitch_deg: float, yaw_deg: float, roll_deg: float) -> Array:
    """(3, 3) matrix from the local frame to its parent frame; angles in degrees."""
    return affines(np.array([[0.0, 0.0, 0.0, pitch_deg, yaw_deg, roll_deg]]))[0, :, :3]


def affines(poses: Array) -> Array:
    """(N, 3, 4) matrices from local frames to the world for (N, 6) poses, angles in degrees."""
    angles = np.radians(poses[:, 3:])
    (cp, cy, cr), (sp, sy, sr) = np.cos(angles).T, np.sin(angles).T
    out = np.empty((len(poses), 3, 4))
    out[:, 0, 0], out[:, 0, 1], out[:, 0, 2] = cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr
    out[:, 1, 0], out[:, 1, 1], out[:, 1, 2] = cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr
    out[:, 2, 0], out[:, 2, 1], out[:, 2, 2] = sp, -cp * sr, cp * cr
    out[:, :, 3] = poses[:, :3]
    return out


def world_to_camera(pose: Pose) -> Array:
    """(3, 4) matrix from the world to the local frame of a pose."""
    turn = rotation(pose[3], pose[4], pose[5]).T
    return np.concatenate([turn, -turn @ np.array(pose[:3])[:, None]], axis=1)
