"""Paths as points by distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from driving.geometry import Array, rotation_2d


def resample_path(points: ArrayLike, num_points: int = 20, spacing: float = 1.0) -> Array:
    """Points of a path at equal distances from the ego vehicle.

    The origin is put in front; distances along the polyline get 1e-4 m per index so that repeated points stay
    distinguishable; beyond its end the last point repeats.

    Args:
        points: (N, 2) path ahead, ego frame, metres.
        num_points: Points returned.
        spacing: Distance between them along the path, metres.

    Returns:
        (num_points, 2); the first is the origin.

    Raises:
        ValueError: If ``points`` is not (N, 2).
    """
    path = np.asarray(points, dtype=np.float64)
    if path.ndim != 2 or path.shape[1] != 2:
        raise ValueError(f"expected path points (N, 2), got shape {path.shape}")
    path = np.concatenate([np.zeros((1, 2)), path])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    along += 1e-4 * np.arange(len(along))
    wanted = spacing * np.arange(num_points)
    return np.stack([np.interp(wanted, along, path[:, axis]) for axis in range(2)], axis=1)


def shift_view(points: ArrayLike, lateral_m: float, yaw_deg: float) -> Array:
    """Express ego-frame points in the frame of a viewpoint moved to the right and turned clockwise.

    Args:
        points: (..., 2) ego frame, metres.
        lateral_m: Shift to the right, metres.
        yaw_deg: Turn, degrees, clockwise seen from above.

    Returns:
        (..., 2) in the frame of the shifted viewpoint.
    """
    moved = np.asarray(points, dtype=np.float64) - np.array([0.0, lateral_m])
    return moved @ rotation_2d(np.radians(yaw_deg))
