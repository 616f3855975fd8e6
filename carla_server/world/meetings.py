"""Who goes first of two vehicles with right of way that may meet inside a junction without lights.

Opposite approaches without a sign go at the same time, but a left turn from one crosses the way of the other. Which way
a vehicle of CARLA's Traffic Manager takes shows only when it is inside, and at speed it then sees the other too late.
So whoever comes first is noted down; one from the other side whose ways cross his drives slowly towards the junction
and, where that is not enough, is shown red until the first has passed the place where they could meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap
from carla_server.map.records import Lane
from carla_server.world.exits import ways_through

#: Vehicles whose middles come nearer than this touch, metres; ways are compared at points so far apart.
MEET, SPACING = 2.6, 0.5
#: Vehicles are noted down from their braking distance and this room on, metres.
ASK_ROOM = 25.0
#: Which of several ways through a junction a vehicle takes is known from here on, metres.
KNOWN = 10.0
#: Speed of those who go second, km/h.
SECOND_KMH = 28.0
#: Slower than this counts as standing, m/s; arrivals are compared as if nobody drove slower than this, m/s.
STANDING, LEAST_SPEED = 0.1, 2.0
#: Somebody who has waited so long goes before the rest of a queue, seconds; after so long one who stands is passed.
TURN_S, LONGEST_WAIT_S = 6.0, 20.0


class Meetings:
    """Approaches with right of way of all junctions of a town.

    Args:
        road_map: The town.
        mouths: Lanes that lead into junctions.
        together: Number of those who go together for each mouth; only mouths of one number are compared, -1 never.

    Attributes:
        refused: Seconds that each vehicle (by row) that goes second has waited.
    """

    def __init__(self, road_map: RoadMap, mouths: Sequence[int], together: Sequence[int]) -> None:
        self.refused: dict[int, float] = {}
        self._entered: dict[int, int] = {}
        #: Metres along a way through a junction after which a mouth's ways are clear of it.
        self._clear: dict[tuple[int, int], float] = {}
        self._against: list[set[int]] = [set() for _ in mouths]
        lanes = road_map.lanes
        ways = [ways_through(road_map, mouth) for mouth in mouths]
        groups: dict[int, list[int]] = {}
        for number, group in enumerate(together):
            if group >= 0:
                groups.setdefault(group, []).append(number)
        for first, second in (pair for group in groups.values() for pair in permutations(group, 2)):
            if lanes[mouths[first]].key.road == lanes[mouths[second]].key.road:
                continue
            others = np.concatenate([_points(lanes[way]) for way in ways[second]])
            for way in ways[first]:
                near = np.flatnonzero(_distances(_points(lanes[way]), others) < MEET)
                if len(near):
                    self._clear[way, second] = max(self._clear.get((way, second), 0.0), float(near[-1]) * SPACING)
                    self._against[first].add(second)
                    self._against[second].add(first)
        self.any = any(self._against)

    def look(
        self,
        approaching: Sequence[tuple[int, int, float, float, float]],
        inside: dict[int, tuple[int, float]],
        standing: set[int],
        passed: float,
    ) -> None:
        """Note who comes, who has passed, and who goes second.

        Args:
            approaching: Row, mouth, metres to the junction, speed (m/s) and stopping distance (m) of vehicles before
                junctions that obey.
            inside: By row, lane inside a junction and metres along it of the rear end.
            standing: Rows of vehicles that stand.
            passed: Seconds since the last look.
        """
        ahead = {row: mouth for row, mouth, *_ in approaching}
        self._entered = {
            row: mouth
            for row, mouth in self._entered.items()
            if row in inside or (ahead.get(row) == mouth and row not in standing)
        }
        coming = [
            (-self.refused.get(row, 0.0), distance / max(speed, LEAST_SPEED), row, mouth)
            for row, mouth, distance, speed, stopping in approaching
            if self._against[mouth] and row not in self._entered and distance < stopping + ASK_ROOM
        ]
        refused: dict[int, float] = {}
        overdue: set[int] = set()
        for waited, _, row, mouth in sorted(coming):
            patient = -waited < LONGEST_WAIT_S
            if overdue & self._against[mouth] or any(
                self._meets(other, entry, mouth, inside) and (patient or other not in standing)
                for other, entry in self._entered.items()
            ):
                refused[row] = passed - waited
                if refused[row] > TURN_S:
                    overdue.add(mouth)
            else:
                self._entered[row] = mouth
        self.refused = refused

    def _meets(self, row: int, entry: int, mouth: int, inside: dict[int, tuple[int, float]]) -> bool:
        """Whether a vehicle that goes first by `entry` may still meet one that comes by `mouth`."""
        if mouth not in self._against[entry]:
            return False
        if row not in inside:
            return True
        way, rear = inside[row]
        return rear < max(self._clear.get((way, mouth), 0.0), KNOWN)


def _distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) from each of the points (N, 2) to the nearest of the others (M, 2), metres."""
    along, across = points[:, None, 0] - others[:, 0], points[:, None, 1] - others[:, 1]
    return np.sqrt((along * along + across * across).min(axis=1))


def _points(lane: Lane) -> NDArray[np.float64]:
    """(N, 2) middle of a lane in the order of traffic, a point every `SPACING` metres."""
    line = lane.travel_center[:, :2]
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))))
    at = np.arange(0.0, along[-1] + SPACING, SPACING)
    return np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1)
