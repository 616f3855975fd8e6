"""Where along a route the ego is, seen through a window of route points."""

from __future__ import annotations

from collections.abc import Sequence

import carla
import numpy as np

from driving.geometry import Array


def accumulated_distance(locations: Array) -> Array:
    """(N,) distance run from the first of (N, 3) places to each of them, metres."""
    steps = np.linalg.norm(np.diff(locations, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


class RouteProgress:
    """The last route point the ego has passed.

    A point is passed when the vector from it to the ego has a positive dot product with the point's forward vector.
    Only ``window`` points beyond the last passed one are looked at, so the index never goes back and never jumps
    (CARLA scenario_runner, scenarioatomics/atomic_criteria.py). Points that occur twice count in the window.

    Attributes:
        index: Last passed point, 0 at the start.
        locations: (N, 3) points in the world frame, metres.
        distances: (N,) distance from the start along the route, metres.
    """

    def __init__(self, transforms: Sequence[carla.Transform], window: int):
        """Args: transforms: Dense route, at least one point. window: Points looked at beyond the current one."""
        self.locations = np.array([(t.location.x, t.location.y, t.location.z) for t in transforms], dtype=np.float64)
        forwards = [t.get_forward_vector() for t in transforms]
        self._forwards = np.array([(f.x, f.y, f.z) for f in forwards], dtype=np.float64)
        self.distances = accumulated_distance(self.locations)
        self._window = window
        self.index = 0

    @property
    def length(self) -> float:
        """Length of the route, metres."""
        return float(self.distances[-1])

    @property
    def distance(self) -> float:
        """Distance from the start to the last passed point, metres."""
        return float(self.distances[self.index])

    def advance(self, location: carla.Location) -> float:
        """Move on to the last point in the window that ``location`` has passed.

        Returns:
            How far that moved along the route, metres; 0 if no further point was passed.
        """
        before = self.index
        end = min(before + self._window + 1, len(self.locations))
        ego = (location.x, location.y, location.z)
        for i in range(before + 1, end):
            point, forward = self.locations[i], self._forwards[i]
            along = sum((ego[axis] - point[axis]) * forward[axis] for axis in range(3))
            if along > 0.0:
                self.index = i
        return float(self.distances[self.index] - self.distances[before])
