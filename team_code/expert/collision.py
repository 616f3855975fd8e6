"""Do forecast boxes overlap at equal times?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PARALLEL = 1e-9
"""Added to cosines between edges: the product of parallel ones is no direction, and its rounding must not tell boxes apart."""

_NEXT, _LAST = [1, 2, 0], [2, 0, 1]


@dataclass(frozen=True)
class BoxTracks:
    """Oriented boxes of N actors at T future times.

    Attributes:
        centers: (T, N, 3) world positions, metres.
        extents: (T, N, 3) half sizes along the box axes, metres.
        axes: (T, N, 3, 3) unit box axes in the world; row k is axis k (forward, right, up).
    """

    centers: Array
    extents: Array
    axes: Array

    @property
    def num_actors(self) -> int:
        """N."""
        return int(self.centers.shape[1])

    def head(self, steps: int) -> BoxTracks:
        """The first steps only."""
        return BoxTracks(self.centers[:steps], self.extents[:steps], self.axes[:steps])

    def with_extents(self, extents: Array) -> BoxTracks:
        """The same tracks with boxes of constant half sizes (N, 3), metres."""
        return BoxTracks(self.centers, np.broadcast_to(extents, self.centers.shape), self.axes)


def axes_from_angles(pitch: Array, yaw: Array, roll: Array) -> Array:
    """Forward, right and up axes (..., 3, 3), as rows, of CARLA rotations given in radians (broadcast together)."""
    pitch, yaw, roll = np.broadcast_arrays(pitch, yaw, roll)
    cp, sp, cy, sy, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    axes = np.empty((*np.shape(yaw), 3, 3))
    axes[..., 0, 0], axes[..., 0, 1], axes[..., 0, 2] = cp * cy, cp * sy, sp
    axes[..., 1, 0], axes[..., 1, 1], axes[..., 1, 2] = cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, -cp * sr
    axes[..., 2, 0], axes[..., 2, 1], axes[..., 2, 2] = -cy * sp * cr - sy * sr, -sy * sp * cr + cy * sr, cp * cr
    return axes


def boxes_overlap(
    center_a: Array, extent_a: Array, axes_a: Array, center_b: Array, extent_b: Array, axes_b: Array
) -> NDArray[np.bool_]:
    """Separating-axis test of K pairs of boxes in the frame of the first (Gottschalk et al., 1996); touching counts as overlap.

    Args:
        center_a, center_b: (K, 3), metres.
        extent_a, extent_b: (K, 3) half sizes, metres.
        axes_a, axes_b: (K, 3, 3) unit axes as rows.

    Returns:
        (K,) whether each pair overlaps.
    """
    turn = np.matmul(axes_a, axes_b.transpose(0, 2, 1))
    size = np.abs(turn)
    offset = np.matmul(axes_a, (center_b - center_a)[:, :, None])
    apart = np.any(np.abs(offset) > extent_a[:, :, None] + np.matmul(size, extent_b[:, :, None]), axis=(1, 2))
    back = np.matmul(offset.transpose(0, 2, 1), turn)
    apart |= np.any(np.abs(back) > extent_b[:, None, :] + np.matmul(extent_a[:, None, :], size), axis=(1, 2))
    # Most pairs are told apart by a face; only the others need the nine products of their edges.
    near = np.flatnonzero(~apart)
    a, b, turn, size, offset = (
        extent_a[near, :, None],
        extent_b[near, None, :],
        turn[near],
        size[near] + PARALLEL,
        offset[near],
    )
    distance = np.abs(offset[:, _LAST] * turn[:, _NEXT] - offset[:, _NEXT] * turn[:, _LAST])
    reach = a[:, _NEXT] * size[:, _LAST] + a[:, _LAST] * size[:, _NEXT]
    reach += b[:, :, _NEXT] * size[:, :, _LAST] + b[:, :, _LAST] * size[:, :, _NEXT]
    apart[near] = np.any(distance > reach, axis=(1, 2))
    return ~apart


def first_overlaps(ego: BoxTracks, others: BoxTracks) -> NDArray[np.int64]:
    """First future step at which each actor's box overlaps the ego's.

    Args:
        ego: Tracks of the ego alone (N = 1).
        others: Tracks of N actors over the same times.

    Returns:
        (N,) step index, -1 where the boxes never overlap.

    Raises:
        ValueError: If the number of times differs.
    """
    if len(ego.centers) != len(others.centers):
        raise ValueError(f"forecasts differ in length: ego {len(ego.centers)} steps, others {len(others.centers)}")
    first = np.full(others.num_actors, -1, dtype=np.int64)
    reach = np.linalg.norm(ego.extents, axis=-1) + np.linalg.norm(others.extents, axis=-1)
    near = np.sum((others.centers - ego.centers) ** 2, axis=-1) <= reach**2
    times, actors = np.nonzero(near)
    if len(times) == 0:
        return first
    hit = boxes_overlap(
        ego.centers[times, 0], ego.extents[times, 0], ego.axes[times, 0],
        others.centers[times, actors], others.extents[times, actors], others.axes[times, actors],
    )  # fmt: skip
    for time, actor in zip(times[hit][::-1], actors[hit][::-1]):
        first[actor] = time
    return first


def first_conflict(ego: BoxTracks, other: BoxTracks, actor: int, stride: int = 2) -> int:
    """First step at which the ego's box touches anything that an actor's box sweeps over, at whatever time.

    Args:
        ego: Tracks of the ego alone.
        other: Tracks over the same times.
        actor: Column of the actor.
        stride: Look at every so many steps only.

    Returns:
        Step index of the ego; the number of steps if it stays clear.
    """
    mine = np.arange(0, len(ego.centers), stride)
    theirs = np.arange(0, len(other.centers), stride)
    reach = np.linalg.norm(ego.extents[mine, 0], axis=-1)[:, None] + np.linalg.norm(
        other.extents[theirs, actor], axis=-1
    )
    offset = ego.centers[mine, None, 0] - other.centers[None, theirs, actor]
    i, j = np.nonzero(np.sum(offset**2, axis=-1) <= reach**2)
    if len(i) == 0:
        return len(ego.centers)
    i, j = mine[i], theirs[j]
    hit = boxes_overlap(
        ego.centers[i, 0], ego.extents[i, 0], ego.axes[i, 0],
        other.centers[j, actor], other.extents[j, actor], other.axes[j, actor],
    )  # fmt: skip
    return int(i[hit].min()) if hit.any() else len(ego.centers)
