"""Ways out of junctions: whether there is room for one more vehicle behind the junction.

Which way out a vehicle takes, its blinkers tell (CARLA's Traffic Manager sets them where `update_vehicle_lights` is on);
without them it may be any. A vehicle whose way out is full waits before the junction. Where full ways out form a ring and
the first of each queue wants to go on along the ring, nobody would ever move: these enter together, one each, and every
queue moves up into the room that its first vehicle left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap
from carla_server.world.state import Turn

#: Room that a vehicle takes behind a junction, metres, and how far back a queue is looked for.
CAR_ROOM, QUEUE_REACH = 7.0, 28.0
#: Slower than this is a queue, m/s.
QUEUE_SPEED = 1.5
#: A way out that stays full so long is one that nobody waits for, seconds.
LONGEST_FULL_S = 120.0
#: While another way out is free, traffic is held for a full one no longer than this, seconds: about one cycle of lights.
LONGEST_PARTLY_FULL_S = 45.0
#: Cosine of the angle from which Traffic Manager shows a turn by the blinkers, and least sine of a turn to a side.
TURN_COSINE, TURN_SINE = 0.5, 0.5
NOWHERE = -1


def turn_between(before: NDArray[np.float64], after: NDArray[np.float64]) -> Turn:
    """Turn that leads from the end of one polyline (N, 2+) to the start of another, as Traffic Manager's blinkers show it."""
    start, end = before[-1, :2] - before[-2, :2], after[1, :2] - after[0, :2]
    angle = math.atan2(start[0] * end[1] - start[1] * end[0], float(start @ end))
    if math.cos(angle) >= TURN_COSINE or abs(math.sin(angle)) <= TURN_SINE:
        return Turn.AHEAD
    return Turn.RIGHT if angle > 0.0 else Turn.LEFT


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
        self._by_turn: list[dict[Turn, list[int]]] = []
        for mouth, reached in zip(mouths, self._of_mouth):
            turns: dict[Turn, list[int]] = {}
            for k in reached:
                turn = turn_between(lanes[mouth].travel_center, lanes[self._lanes[k]].travel_center)
                turns.setdefault(turn, []).append(k)
            self._by_turn.append(turns)
        self._next_mouth = _next_mouths(road_map, self._lanes, mouths)
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
        self._coming = np.zeros(len(self._lanes))
        self._turning: set[int] = set()

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
        self._coming = coming

    def find_rings(self, firsts: dict[int, Turn]) -> None:
        """Find rings of full ways out in which the first vehicle of each queue waits for the next queue.

        Args:
            firsts: Where the first vehicle before each mouth says that it goes.
        """
        after: dict[int, int] = {}
        for mouth, turn in firsts.items():
            ways = self._wanted(mouth, turn)
            if len(ways) == 1 and self._full[ways[0]] and self._coming[ways[0]] == 0.0:
                after[mouth] = self._next_mouth[ways[0]]
        self._turning = set()
        for mouth in after:
            ring, at = [mouth], after[mouth]
            while at in after and at not in ring:
                ring.append(at)
                at = after[at]
            if at == mouth:
                self._turning.update(ring)

    def _wanted(self, mouth: int, turn: Turn) -> list[int]:
        """Ways out that a vehicle may take which shows a turn."""
        return self._by_turn[mouth].get(turn) or self._of_mouth[mouth]

    def full(self, mouth: int, turn: Turn = Turn.UNSAID) -> bool:
        """Whether a way out that a vehicle may take from a mouth is full, so that it should not enter.

        Of several, it is not known which one it takes. Holding only those who find all ways out full fills junctions with
        vehicles that want the full one, and busy towns then block themselves altogether; holding all the others for long
        starves the free ways.
        """
        if mouth in self._turning:
            return False
        ways = self._wanted(mouth, turn)
        full = [k for k in ways if self._full[k]]
        return len(full) > 0 and (len(full) == len(ways) or any(self._since[k] < LONGEST_PARTLY_FULL_S for k in full))


def _next_mouths(road_map: RoadMap, exits: Sequence[int], mouths: Sequence[int]) -> list[int]:
    """Mouth that each way out leads to if it leads to one only, `NOWHERE` otherwise."""
    number = {lane: k for k, lane in enumerate(mouths)}
    found = []
    for lane in exits:
        passed: set[int] = set()
        while lane not in number and lane not in passed and len(road_map.lanes[lane].successors) == 1:
            passed.add(lane)
            lane = road_map.lanes[lane].successors[0]
        found.append(number.get(lane, NOWHERE))
    return found
