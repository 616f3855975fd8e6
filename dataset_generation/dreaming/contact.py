"""Which waypoints of a dream touch another agent, and how far a path leaves another: compiled, because a frame asks for
thousands of pairs of rectangles."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from dataset_generation.dreaming.agents import Replay

Array = NDArray[np.float64]

LEAST_NORMAL = 0.01
"""Smallest length of a direction when it is divided by its length, metres."""


def replay_rectangles(agents: Sequence[Replay]) -> tuple[Array, NDArray[np.int64]]:
    """All agents over time as one table.

    Returns:
        (A, T, 5) centre x and y (ego frame of now, metres), half length, half width, yaw (radians); and (A,) how many of
        the T entries each agent has. Entries beyond that are zero.
    """
    counts = np.array([len(agent.position) for agent in agents], dtype=np.int64)
    table = np.zeros((len(agents), counts.max(initial=0), 5))
    for row, agent in zip(table, agents, strict=True):
        known = row[: len(agent.position)]
        known[:, :2], known[:, 2:4], known[:, 4] = agent.position[:, :2], agent.extent[:, :2], agent.yaw
    return table, counts


@numba.njit(cache=True)
def _apart(
    dx: float, dy: float, cos: float, sin: float, own: Array, other: Array, turn_cos: float, turn_sin: float
) -> bool:
    """Whether a rectangle's own two axes separate it from another that is turned against it.

    Args:
        dx, dy: From one centre to the other, metres.
        cos, sin: Of the rectangle's heading.
        own, other: Half length and half width, metres.
        turn_cos, turn_sin: Magnitudes for the angle between both headings.
    """
    along = abs(dx * cos + dy * sin)
    aside = abs(dy * cos - dx * sin)
    reach_along = own[0] + other[0] * turn_cos + other[1] * turn_sin
    reach_aside = own[1] + other[0] * turn_sin + other[1] * turn_cos
    return bool(along >= reach_along or aside >= reach_aside)


@numba.njit(cache=True)
def touching(
    waypoints: Array, yaw: Array, extent: Array, table: Array, counts: NDArray[np.int64], shift: int
) -> NDArray[np.int64]:
    """Waypoint index of every contact between the ego and an agent, by waypoint, then by agent.

    Rectangles are compared from above by the separating-axis theorem, which is exact because all boxes stand upright at the
    same height; touching edges do not count.

    Args:
        waypoints: (N, 2) ego positions, metres.
        yaw: (N,) ego headings, radians.
        extent: (2,) or more: half length and half width of the ego, metres.
        table, counts: See `replay_rectangles`.
        shift: Entry of ``table`` that waypoint 0 is compared with.
    """
    found = np.empty(len(waypoints) * len(table), np.int64)
    hits = 0
    for index in range(len(waypoints)):
        at = index + shift
        cos, sin = np.cos(yaw[index]), np.sin(yaw[index])
        for agent in range(len(table)):
            if at >= counts[agent]:
                continue
            box = table[agent, at]
            dx, dy = box[0] - waypoints[index, 0], box[1] - waypoints[index, 1]
            if np.hypot(dx, dy) > np.hypot(extent[0], extent[1]) + np.hypot(box[2], box[3]):
                continue
            turn_cos, turn_sin = abs(np.cos(box[4] - yaw[index])), abs(np.sin(box[4] - yaw[index]))
            if _apart(dx, dy, cos, sin, extent, box[2:4], turn_cos, turn_sin):
                continue
            if _apart(dx, dy, np.cos(box[4]), np.sin(box[4]), box[2:4], extent, turn_cos, turn_sin):
                continue
            found[hits] = index
            hits += 1
    return found[:hits]


@numba.njit(cache=True)
def _largest_deviation(path: Array, expert: Array) -> tuple[float, int]:
    largest, worst = -1.0, 0
    for index in range(len(path)):
        nearest, best = 0, np.inf
        for vertex in range(len(expert)):
            distance = (expert[vertex, 0] - path[index, 0]) ** 2 + (expert[vertex, 1] - path[index, 1]) ** 2
            if distance < best:
                nearest, best = vertex, distance
        before, after = expert[max(nearest - 1, 0)], expert[min(nearest + 1, len(expert) - 1)]
        dx, dy = after[0] - before[0], after[1] - before[1]
        length = max(np.sqrt(dx * dx + dy * dy), LEAST_NORMAL)
        # Many points are equally far beside; which is called the farthest depends on this order of operations.
        error = abs(
            (path[index, 0] - expert[nearest, 0]) * (-dy / length)
            + (path[index, 1] - expert[nearest, 1]) * (dx / length)
        )
        if error > largest:
            largest, worst = error, index
    return largest, worst


def cross_track(path: Array, expert: Array) -> tuple[float, float]:
    """Largest sideways distance between two paths.

    Args:
        path: (20, 2) ego frame, metres.
        expert: (20, 2) path to compare with.

    Returns:
        The distance, and how far from the ego it occurs, metres.
    """
    largest, worst = _largest_deviation(path, expert)
    return float(largest), float(np.hypot(*path[worst]))
