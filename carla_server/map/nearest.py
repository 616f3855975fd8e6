"""The nearest of many points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from scipy.spatial import KDTree


def tree(points: ArrayLike) -> KDTree:
    """A k-d tree of points (N, D).

    SciPy is imported when the first tree is built: that takes a quarter of a second, and servers of towns that are built
    already need none.
    """
    from scipy.spatial import KDTree

    return KDTree(points)
