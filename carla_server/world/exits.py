"""Ways out of junctions: whether there is room for one more vehicle behind the junction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap

#: Room that a vehicle takes behind a junction, metres, and how far back a queue is looked for.
CAR_ROOM, QUEUE_REACH = 7.0, 28.0
#: Slower than this is a queue, m/s.
QUEUE_SPEED = 1.5
#: A way out that stays full so long is one that nobody waits for, seconds.
LONGEST_FULL_S = 120.0
#: While another way out is free, traffic is held for a full one no longer than this, seconds: about one cycle of lights.
LONGEST_PARTLY_FULL_S = 45.0


def ways_through(road_map: RoadMap, mouth: int) -> list[int]:
    """Lanes inside the junction that traffic can take from a lane that leads into it."""
    found: list[int] = []
    stack = [index for index in road_map.lanes[mouth].successors if road_map.lanes[index].junction >= 0]
    while stack:
        index = stack.pop()
        if index not in found:
            found.append(index)
            stack += [row for row in road_map.lanes[index].successors if road_map.lanes[row].junction >= 0]
    return found


class Exits:
    """Ways out of all junctions of a town.

    Args:
        road_map: The town.
        mouths: Lanes that lead into junctions.
    """

    def __init__(self, road_map: RoadMap, mouths: Sequence[int]) -> None:
        lanes = road_map.lanes
        ways = [ways_through(road_map, mouth) for mouth in mouths]
        outs = [
            {row for way in through for row in lanes[way].successors if lanes[row].junction < 0} for through in ways
        ]
        self._lanes = sorted({row for reached in outs for row in reached})
        number = {lane: k for k, lane in enumerate(self._lanes)}
        self._of_mouth = [sorted(number[row] for row in reached) for reached in outs]
        #: Ways inside junctions that lead to one exit only, and lanes behind exits with the metres before them.
        self._leads: dict[int, int] = {}
        self._behind: dict[int, list[tuple[int, float]]] = {}
        for way in {way for through in ways for way in through}:
            out = {row for inner in (way, *ways_through(road_map, way)) for row in lanes[inner].successors} & {*number}
            if len(out) == 1:
                self._leads[way] = number[out.pop()]
        #: Metres behind an exit up to the next junction, infinite if that is far.
        self._length = np.full(len(self._lanes), np.inf)
        for k, lane in enumerate(self._lanes):
            distance, index = 0.0, lane
            while distance < QUEUE_REACH:
                self._behind.setdefault(index, []).append((k, distance))
                distance += lanes[index].length
                after = lanes[index].successors
                if any(lanes[row].junction >= 0 for row in after) and distance < QUEUE_REACH:
                    self._length[k] = distance
                if len(after) != 1 or lanes[after[0]].junction >= 0:
                    break
                index = after[0]
        self._full = np.zeros(len(self._lanes), np.bool_)
        self._since = np.zeros(len(self._lanes))

    def look(
        self,
        lanes: NDArray[np.int64],
        along: NDArray[np.float64],
        half_lengths: NDArray[np.float64],
        speeds: NDArray[np.float64],
        passed: float,
    ) -> None:
        """Find out which ways out are full.

        Args:
            lanes: (V,) lane of each vehicle, -1 off the network.
            along: (V,) metres from where traffic enters that lane.
            half_lengths: (V,) metres.
            speeds: (V,) m/s.
            passed: Seconds since the last look.
        """
        room = np.full(len(self._lanes), np.inf)
        coming, there = np.zeros(len(self._lanes)), np.zeros(len(self._lanes))
        for lane, at, half, speed in zip(lanes.tolist(), along.tolist(), half_lengths.tolist(), speeds.tolist()):
            if lane in self._leads:
                coming[self._leads[lane]] += 1.0
            for k, distance in self._behind.get(lane, ()):
                there[k] += 1.0
                if abs(speed) < QUEUE_SPEED:
                    room[k] = min(room[k], distance + at - half)
        # A short way to the next junction is filled by those on it, moving or not; the first one always fits.
        short = (coming + there > 0.0) & (self._length < CAR_ROOM * (1.0 + coming + there))
        full = short | (room < CAR_ROOM * (1.0 + coming))
        self._since = np.where(full, self._since + passed, 0.0)
        self._full = full & (self._since < LONGEST_FULL_S)

    def full(self, mouth: int) -> bool:
        """Whether a way out that a mouth leads to is full, so that nobody should enter.

        Which one a vehicle takes is not known. Holding only those who find all ways out full fills junctions with
        vehicles that want the full one, and busy towns then block themselves altogether; holding all the others for long
        starves the free ways.
        """
        ways = self._of_mouth[mouth]
        full = [k for k in ways if self._full[k]]
        return len(full) > 0 and (len(full) == len(ways) or any(self._since[k] < LONGEST_PARTLY_FULL_S for k in full))
