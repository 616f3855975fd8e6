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
        points: The same as N rows of plain numbers.
        distances: (N,) distance from the start along the route, metres.
    """

    def __init__(self, transforms: Sequence[carla.Transform], window: int):
        """Args: transforms: Dense route, at least one point. window: Points looked at beyond the current one."""
        self.locations = np.array([(t.location.x, t.location.y, t.location.z) for t in transforms], dtype=np.float64)
        forwards = [t.get_forward_vector() for t in transforms]
        self._forwards = [(f.x, f.y, f.z) for f in forwards]
        self.distances = accumulated_distance(self.locations)
        # The few points of a window are looked at one by one, for which plain numbers are far quicker than arrays.
        self.points: list[tuple[float, float, float]] = [*map(tuple, self.locations.tolist())]
        self._distances: list[float] = self.distances.tolist()
        self._window = window
        self.index = 0

    @property
    def length(self) -> float:
        """Length of the route, metres."""
        return self._distances[-1]

    @property
    def distance(self) -> float:
        """Distance from the start to the last passed point, metres."""
        return self._distances[self.index]

    def advance(self, location: carla.Location) -> float:
        """Move on to the last point in the window that ``location`` has passed.

        Returns:
            How far that moved along the route, metres; 0 if no further point was passed.
        """
        before = self.index
        ego_x, ego_y, ego_z = location.x, location.y, location.z
        for i in range(before + 1, min(before + self._window + 1, len(self.points))):
            (x, y, z), (forward_x, forward_y, forward_z) = self.points[i], self._forwards[i]
            if (ego_x - x) * forward_x + (ego_y - y) * forward_y + (ego_z - z) * forward_z > 0.0:
                self.index = i
        return self._distances[self.index] - self._distances[before]
