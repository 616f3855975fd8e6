"""Do forecast boxes overlap at equal times?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

PARALLEL = 1e-9
"""Added to cosines between edges: the product of parallel ones is no direction, and its rounding must not tell boxes apart."""


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


def axes_from_angles(pitch: ArrayLike, yaw: ArrayLike, roll: ArrayLike) -> Array:
    """Forward, right and up axes (..., 3, 3), as rows, of CARLA rotations given in radians.

    Args:
        pitch, roll: A number, or an array of the last dimensions of ``yaw``.
        yaw: (...) headings.
    """
    axes = np.empty((*np.shape(yaw), 3, 3))
    _turn_axes(*_cos_sin(pitch), *_cos_sin(yaw), *_cos_sin(roll), axes.reshape(-1, 3, 3))
    return axes


def _cos_sin(angle: ArrayLike) -> tuple[Array, Array]:
    return np.atleast_1d(np.cos(angle)).ravel(), np.atleast_1d(np.sin(angle)).ravel()


@njit(cache=True)
def _turn_axes(cp, sp, cy, sy, cr, sr, axes):
    for k in range(len(axes)):
        p, r = k % len(cp), k % len(cr)
        turn_box(axes[k], cp[p], sp[p], cy[k], sy[k], cr[r], sr[r])


@njit(cache=True)
def turn_box(axes, cp, sp, cy, sy, cr, sr):
    """Fill in axes (3, 3) from cosine and sine of pitch, yaw and roll."""
    axes[0, 0], axes[0, 1], axes[0, 2] = cp * cy, cp * sy, sp
    axes[1, 0], axes[1, 1], axes[1, 2] = cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, -cp * sr
    axes[2, 0], axes[2, 1], axes[2, 2] = -cy * sp * cr - sy * sr, -sy * sp * cr + cy * sr, cp * cr


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
    pairs = np.empty(len(center_a), dtype=bool)
    _overlap_pairs(center_a, extent_a, axes_a, center_b, extent_b, axes_b, pairs)
    return pairs


@njit(cache=True)
def _overlap_pairs(center_a, extent_a, axes_a, center_b, extent_b, axes_b, pairs):
    for k in range(len(pairs)):
        pairs[k] = _overlap(center_a[k], extent_a[k], axes_a[k], center_b[k], extent_b[k], axes_b[k])


@njit(cache=True)
def _overlap(center_a, extent_a, axes_a, center_b, extent_b, axes_b):
    """Whether two boxes overlap."""
    turn, offset = np.empty((3, 3)), np.empty(3)
    dx, dy, dz = center_b[0] - center_a[0], center_b[1] - center_a[1], center_b[2] - center_a[2]
    for i in range(3):
        offset[i] = axes_a[i, 0] * dx + axes_a[i, 1] * dy + axes_a[i, 2] * dz
        reach = extent_a[i]
        for j in range(3):
            cosine = axes_a[i, 0] * axes_b[j, 0] + axes_a[i, 1] * axes_b[j, 1] + axes_a[i, 2] * axes_b[j, 2]
            turn[i, j] = cosine
            reach += extent_b[j] * abs(cosine)
        if abs(offset[i]) > reach:
            return False
    for j in range(3):
        back, reach = 0.0, extent_b[j]
        for i in range(3):
            back += offset[i] * turn[i, j]
            reach += extent_a[i] * abs(turn[i, j])
        if abs(back) > reach:
            return False
    for i in range(3):
        next_i, last_i = (i + 1) % 3, (i + 2) % 3
        for j in range(3):
            next_j, last_j = (j + 1) % 3, (j + 2) % 3
            distance = abs(offset[last_i] * turn[next_i, j] - offset[next_i] * turn[last_i, j])
            reach = extent_a[next_i] * (abs(turn[last_i, j]) + PARALLEL)
            reach += extent_a[last_i] * (abs(turn[next_i, j]) + PARALLEL)
            reach += extent_b[next_j] * (abs(turn[i, last_j]) + PARALLEL)
            reach += extent_b[last_j] * (abs(turn[i, next_j]) + PARALLEL)
            if distance > reach:
                return False
    return True


@njit(cache=True)
def _are_near(center_a, extent_a, center_b, extent_b):
    """Whether the spheres around two boxes touch: what does not fulfil it does not overlap either."""
    size_a = math.sqrt(extent_a[0] ** 2 + extent_a[1] ** 2 + extent_a[2] ** 2)
    size_b = math.sqrt(extent_b[0] ** 2 + extent_b[1] ** 2 + extent_b[2] ** 2)
    dx, dy, dz = center_a[0] - center_b[0], center_a[1] - center_b[1], center_a[2] - center_b[2]
    return dx * dx + dy * dy + dz * dz <= (size_a + size_b) ** 2


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
    _first_overlaps(*_arrays(ego), *_arrays(others), first)
    return first


def _arrays(tracks: BoxTracks) -> tuple[Array, Array, Array]:
    """Centres, half sizes and axes in one layout, for which the compiled functions exist."""
    return (
        np.ascontiguousarray(tracks.centers),
        np.ascontiguousarray(tracks.extents),
        np.ascontiguousarray(tracks.axes),
    )


@njit(cache=True)
def _first_overlaps(ego_centers, ego_extents, ego_axes, centers, extents, axes, first):
    for n in range(len(first)):
        for t in range(len(centers)):
            mine, theirs = (ego_centers[t, 0], ego_extents[t, 0]), (centers[t, n], extents[t, n])
            if _are_near(mine[0], mine[1], theirs[0], theirs[1]) and _overlap(
                mine[0], mine[1], ego_axes[t, 0], theirs[0], theirs[1], axes[t, n]
            ):
                first[n] = t
                break


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
    return int(_first_conflict(*_arrays(ego), *_arrays(other), actor, stride))


@njit(cache=True)
def _first_conflict(ego_centers, ego_extents, ego_axes, centers, extents, axes, actor, stride):
    for t in range(0, len(ego_centers), stride):
        mine = ego_centers[t, 0], ego_extents[t, 0]
        for u in range(0, len(centers), stride):
            theirs = centers[u, actor], extents[u, actor]
            if _are_near(mine[0], mine[1], theirs[0], theirs[1]) and _overlap(
                mine[0], mine[1], ego_axes[t, 0], theirs[0], theirs[1], axes[u, actor]
            ):
                return t
    return len(ego_centers)
