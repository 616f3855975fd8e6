"""Keeps traffic at junctions from blocking itself and from running into itself.

CARLA's Traffic Manager settles conflicts between two vehicles; where three flows cross without lights, its vehicles end
up waiting for one another in a ring, for ever, and at speed it sees crossing traffic too late. Here

* the approaches of a junction without lights whose ways cross take turns: those without a stop or yield sign go
  together, each one with a sign goes by itself and leaves a gap to the others; whoever has waited long enough gets the
  next turn;
* of two that go together but may meet inside, as a left turn crosses oncoming traffic, one goes first (`Meetings`);
* nobody enters a junction while somebody has been standing inside for some time, or where the way out is full (`Exits`).

Where no other way is crossed, as where two roads meet end to end, nobody waits: a queue may stand there.
Vehicles that have to wait are shown a red light before the junction. The ego vehicle is never held: how it deals with a
junction is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from carla_server.map import RoadMap, SignalKind
from carla_server.sensors.views import LampState
from carla_server.world.exits import Exits, ways_through
from carla_server.world.meetings import SECOND_KMH, Meetings
from carla_server.world.state import HALF_X, SPEED, ActorRows, Kind, Turn

#: A vehicle standing inside a junction this long blocks it, seconds: without and with traffic lights, where waiting for
#: a gap in the opposite stream is normal.
PATIENCE_S, PATIENCE_AT_LIGHTS_S = 1.0, 12.0
#: A junction that was blocked lets vehicles in again after this long at the latest, seconds: without and with lights.
LONGEST_HOLD_S, LONGEST_HOLD_AT_LIGHTS_S = 40.0, 15.0
#: How long a flow goes on while another one waits, seconds.
TURN_S = 6.0
#: Vehicles with a sign wait for those without that arrive within this time, unless they have waited so long, seconds.
GAP_S, LONGEST_WAIT_S = 4.0, 20.0
#: How far back from a junction vehicles are seen, metres.
SIGHT = 90.0
#: Vehicles are held from their braking distance and this room on, metres, and count as waiting from a little farther on:
#: whoever is held must count, or its turn never comes.
ROOM, WAITING_REACH = 10.0, 12.0
#: Slower than this counts as standing, m/s.
STANDING = 0.1
#: A vehicle that would have to brake harder than this is let in, m/s²; one that creeps is not, metres.
COMFORT, CREEP = 5.0, 0.1
#: Ways through a junction that come nearer than this to one another are in conflict, metres.
CONFLICT = 2.0
#: Junctions are looked at once in so many ticks.
PERIOD = 5
NOBODY = -1
#: Columns of what is seen of a vehicle: those of `_Approaches` after its row.
SEEN_COLUMNS = 5


@dataclass
class _Junction:
    """What goes on at one junction.

    Attributes:
        patience: Seconds that vehicles may stand inside before it counts as blocked.
        lit: Whether traffic lights rule it.
        turn: Flow whose turn it is; `NOBODY` if there is no traffic.
        lasted: Seconds since this turn began.
        inside: Rows of the vehicles inside, and of those that cannot stop before it any more.
        waiting: Seconds that each flow has been waiting.
        standing: Seconds that somebody has been standing inside.
        held: Seconds that it has counted as blocked.
        clearing: Seconds that somebody has been inside whose light is not green any more.
        soonest: Seconds until the first vehicle without a sign arrives.
    """

    patience: float
    lit: bool
    turn: int = NOBODY
    lasted: float = 0.0
    inside: list[int] = field(default_factory=list)
    waiting: dict[int, float] = field(default_factory=dict)
    standing: float = 0.0
    held: float = 0.0
    clearing: float = 0.0
    soonest: float = np.inf

    def admits(self, flow: int, signed: bool) -> bool:
        """Whether a vehicle of a flow may enter now."""
        if self.held > 0.0 or 0.0 < self.clearing < LONGEST_HOLD_AT_LIGHTS_S:
            return False
        if self.lit:
            return True
        if signed and self.soonest < GAP_S and self.waiting.get(flow, 0.0) < LONGEST_WAIT_S and flow != self.turn:
            return False
        # Its own turn, unless another flow has waited long enough.
        return self.turn == NOBODY or (flow == self.turn and not self.overdue)

    @property
    def overdue(self) -> bool:
        """Whether a flow whose turn it is not has waited long enough, and this turn has lasted long enough."""
        return self.lasted >= TURN_S and any(
            seconds >= TURN_S for flow, seconds in self.waiting.items() if flow != self.turn
        )


@dataclass(frozen=True)
class _Mouth:
    """The end of a lane that leads into a junction.

    Attributes:
        lane: Index of the lane.
        junction: Number of the junction.
        flow: Who goes together; `NOBODY` if its way crosses nobody's: then it is never held.
        signed: Whether a stop or yield sign rules it.
        light: Row of its traffic light, `NOBODY` if it has none.
    """

    lane: int
    junction: int
    flow: int
    signed: bool
    light: int


@dataclass(frozen=True, eq=False)
class _Approaches:
    """All vehicles on their way to junctions.

    Attributes:
        vehicles: (V,) rows.
        mouth: (V,) mouth ahead, `NOBODY` if none is within sight.
        distance: (V,) metres from the front to the junction.
        speed: (V,) m/s.
        stopping: (V,) metres in which it stops comfortably.
        half_length: (V,) metres.
    """

    vehicles: NDArray[np.int64]
    mouth: NDArray[np.int64]
    distance: NDArray[np.float64]
    speed: NDArray[np.float64]
    stopping: NDArray[np.float64]
    half_length: NDArray[np.float64]

    def near(self) -> Iterator[tuple[int, int, float, float, float]]:
        """Row, mouth, distance, speed and stopping distance of those within sight of a junction."""
        at = np.flatnonzero((self.mouth >= 0) & (self.distance < SIGHT))
        columns = (self.vehicles, self.mouth, self.distance, self.speed, self.stopping)
        return zip(*(column[at].tolist() for column in columns))


@njit(cache=True)
def approach(vehicles, places, body, dynamic, free, ahead, beyond, lengths, seen, due):
    """Find the junction before each vehicle, and those who have to stop now if they may not enter it.

    Args:
        vehicles: (V,) rows.
        places: (V, 2) lane, -1 off the network, and metres along it.
        body, dynamic: Tables of `ActorRows`.
        free: (V,) whether a vehicle is never held.
        ahead, beyond: (lanes,) mouth that a lane leads to, -1 if none, and metres from the lane's end to it.
        lengths: (lanes,) metres.
        seen: (V, 5) out: mouth, metres to it, speed, stopping distance and half length.
        due: (V,) out: indices of those that have to stop.

    Returns:
        How many have to stop.
    """
    count = 0
    for n in range(len(vehicles)):
        row, lane = vehicles[n], int(places[n, 0])
        speed, half = abs(dynamic[row, SPEED]), body[row, HALF_X]
        mouth = ahead[lane] if lane >= 0 else NOBODY
        distance = max(lengths[lane] - places[n, 1] + beyond[lane] - half, 0.0) if mouth >= 0 else 0.0
        stopping = speed * speed / (2.0 * COMFORT)
        seen[n, 0], seen[n, 1], seen[n, 2], seen[n, 3], seen[n, 4] = mouth, distance, speed, stopping, half
        if mouth >= 0 and distance <= stopping + ROOM and stopping <= distance + CREEP and not free[n]:
            due[count] = n
            count += 1
    return count


class JunctionKeeper:
    """Junctions of a town.

    Args:
        road_map: The town.
        light_rows: Row of each traffic light by signal id.
    """

    def __init__(self, road_map: RoadMap, light_rows: dict[str, int]) -> None:
        names = [*road_map.junctions]
        index = {name: number for number, name in enumerate(names)}
        self._of_lane = np.array([index.get(lane.junction, NOBODY) for lane in road_map.lanes])
        kinds = {kind: {row.junction for row in road_map.signals.values() if row.kind is kind} for kind in SignalKind}
        lit = kinds[SignalKind.TRAFFIC_LIGHT]
        self._junctions = [
            _Junction(PATIENCE_AT_LIGHTS_S if name in lit else PATIENCE_S, name in lit) for name in names
        ]
        self._mouths = _mouths(road_map, self._of_lane, light_rows)
        self._lengths = np.array([lane.length for lane in road_map.lanes])
        self._ahead, self._beyond = _upstream(road_map, [mouth.lane for mouth in self._mouths])
        self._exits = Exits(road_map, [mouth.lane for mouth in self._mouths])
        together = [
            NOBODY if mouth.flow != 0 or self._junctions[mouth.junction].lit else mouth.junction
            for mouth in self._mouths
        ]
        self._meetings = Meetings(road_map, [mouth.lane for mouth in self._mouths], together)
        self._came_by: dict[int, int] = {}
        self._seen, self._due = np.empty((0, SEEN_COLUMNS)), np.empty(0, np.int64)
        self._slowed: dict[int, float] = {}

    def hold(
        self,
        rows: ActorRows,
        vehicles: NDArray[np.int64],
        places: NDArray[np.float64],
        free: NDArray[np.bool_],
        tick: int,
        dt: float,
    ) -> None:
        """Show red to vehicles that have to wait before a junction.

        Args:
            rows: The actor table.
            vehicles: Rows of all vehicles.
            places: (V, 2) lane and metres along it of each vehicle.
            free: (V,) vehicles that are never held.
            tick: Ticks since the episode began.
            dt: Length of a tick, seconds.
        """
        if not self._mouths:
            return
        if len(self._seen) != len(vehicles):
            self._seen, self._due = np.empty((len(vehicles), SEEN_COLUMNS)), np.empty(len(vehicles), np.int64)
        count = approach(
            *(vehicles, places, rows.body, rows.dynamic, free, self._ahead, self._beyond, self._lengths),
            *(self._seen, self._due),
        )
        if tick % PERIOD == 0:
            lanes = places[:, 0].astype(np.int64)
            seen = _Approaches(vehicles, self._seen[:, 0].astype(np.int64), *self._seen.T[1:])
            self._look(rows, seen, lanes, places, PERIOD * dt)
            if self._meetings.any:
                self._meet(seen, free, lanes, places, PERIOD * dt)
        if self._slowed or self._meetings.refused:
            self._slow(rows)
        for n in self._due[:count].tolist():
            row, mouth = int(vehicles[n]), int(self._seen[n, 0])
            if row in self._meetings.refused or not self._admits(mouth, Turn(int(rows.turn[row]))):
                rows.wire["light_state"][row] = LampState.RED
                rows.wire["has_light"][row] = 1

    def _admits(self, number: int, turn: Turn) -> bool:
        mouth = self._mouths[number]
        if mouth.flow == NOBODY:
            # A vehicle that has to stop inside is in nobody's way.
            return True
        junction = self._junctions[mouth.junction]
        return junction.admits(mouth.flow, mouth.signed) and not self._exits.full(number, turn)

    def _meet(
        self,
        seen: _Approaches,
        free: NDArray[np.bool_],
        lanes: NDArray[np.int64],
        places: NDArray[np.float64],
        passed: float,
    ) -> None:
        """Let one of those who may meet inside a junction go first; the ego is neither held nor waited for."""
        heroes = set(seen.vehicles[free].tolist())
        within = np.flatnonzero((lanes >= 0) & (self._of_lane[lanes] >= 0) & ~free)
        rear = places[within, 1] - seen.half_length[within]
        inside = dict(zip(seen.vehicles[within].tolist(), zip(lanes[within].tolist(), rear.tolist())))
        standing = set(seen.vehicles[seen.speed < STANDING].tolist())
        self._meetings.look([row for row in seen.near() if row[0] not in heroes], inside, standing, passed)

    def _slow(self, rows: ActorRows) -> None:
        """Post a low limit for those who go second; the others get theirs back."""
        limits = rows.wire["speed_limit"]
        for row in [row for row in self._slowed if row not in self._meetings.refused]:
            limit = self._slowed.pop(row)
            if rows.kind[row] == Kind.VEHICLE and limits[row] == SECOND_KMH:
                limits[row] = limit
        for row in self._meetings.refused:
            if limits[row] > SECOND_KMH:
                self._slowed[row] = float(limits[row])
                limits[row] = SECOND_KMH

    def _look(
        self,
        rows: ActorRows,
        seen: _Approaches,
        lanes: NDArray[np.int64],
        places: NDArray[np.float64],
        passed: float,
    ) -> None:
        """Note who is inside and who waits, and give the next flow its turn."""
        vehicles = seen.vehicles
        self._exits.look(lanes, places[:, 1], seen.half_length, seen.speed, passed)
        for junction in self._junctions:
            junction.inside.clear()
            junction.soonest = np.inf
        inside = np.where(lanes >= 0, self._of_lane[lanes], NOBODY)
        for n in np.flatnonzero(inside >= 0).tolist():
            self._junctions[inside[n]].inside.append(int(vehicles[n]))
        waiting: list[set[int]] = [set() for _ in self._junctions]
        first: dict[int, tuple[float, int]] = {}
        for row, at, distance, speed, stopping in seen.near():
            mouth = self._mouths[at]
            junction = self._junctions[mouth.junction]
            first[at] = min(first.get(at, (np.inf, row)), (distance, row))
            if distance < WAITING_REACH + stopping:
                waiting[mouth.junction].add(mouth.flow)
                self._came_by[row] = at
            if stopping > distance + CREEP:
                junction.inside.append(row)
            if not mouth.signed and mouth.flow != NOBODY and speed > 1.0:
                junction.soonest = min(junction.soonest, distance / speed)
        self._exits.find_rings({at: Turn(int(rows.turn[row])) for at, (_, row) in first.items()})
        for junction, flows in zip(self._junctions, waiting):
            self._judge(junction, flows - {NOBODY}, rows, passed)

    def _judge(self, junction: _Junction, flows: set[int], rows: ActorRows, passed: float) -> None:
        """Bring one junction up to date."""
        still = any(abs(rows.dynamic[row, SPEED]) < STANDING for row in junction.inside)
        junction.standing = junction.standing + passed if still else 0.0
        blocked = junction.standing > junction.patience or (junction.held > 0.0 and bool(junction.inside))
        junction.held = junction.held + passed if blocked else 0.0
        if junction.held >= (LONGEST_HOLD_AT_LIGHTS_S if junction.lit else LONGEST_HOLD_S):
            # Whoever still stands inside is not waiting for those outside.
            junction.held = junction.standing = 0.0
        if junction.lit:
            overstays = any(self._overstays(rows, row) for row in junction.inside)
            junction.clearing = junction.clearing + passed if overstays else 0.0
            return
        if junction.turn == NOBODY and junction.inside and junction.inside[0] in self._came_by:
            junction.turn = self._mouths[self._came_by[junction.inside[0]]].flow
        junction.waiting = {
            flow: junction.waiting.get(flow, 0.0) + passed for flow in sorted(flows) if flow != junction.turn
        }
        junction.lasted += passed
        if junction.inside or (junction.turn in flows and not junction.overdue):
            return
        junction.turn = max(junction.waiting, key=lambda flow: junction.waiting[flow], default=NOBODY)
        if junction.turn == NOBODY and flows:
            junction.turn = min(flows)
        junction.waiting.pop(junction.turn, None)
        junction.lasted = 0.0

    def _overstays(self, rows: ActorRows, row: int) -> bool:
        """Whether a vehicle inside a junction came by a light that is not green any more."""
        light = self._mouths[self._came_by[row]].light if row in self._came_by else NOBODY
        return light != NOBODY and rows.wire["lamp"][light] != LampState.GREEN


def _mouths(road_map: RoadMap, junction_of_lane: NDArray[np.int64], light_rows: dict[str, int]) -> list[_Mouth]:
    """Ends of the lanes that lead into junctions.

    Approaches without a sign share flow 0; every approach with one is a flow of its own. Where no approach has a sign,
    each road is a flow. A flow whose ways come near nobody else's is no flow.
    """
    signed = {
        lane
        for signal in road_map.signals.values()
        if signal.kind in (SignalKind.STOP, SignalKind.YIELD)
        for lane in signal.lanes
    }
    light_of = {lane: row for name, row in light_rows.items() for lane in road_map.signals[name].lanes}
    into: dict[int, list[int]] = {}
    for lane in road_map.lanes:
        after = [int(junction_of_lane[index]) for index in lane.successors if junction_of_lane[index] >= 0]
        if lane.junction < 0 and lane.type == "driving" and after:
            into.setdefault(after[0], []).append(lane.index)
    mouths = []
    for junction, lanes in sorted(into.items()):
        ruled = any(index in signed for index in lanes)
        flows = {index: _flow(road_map, index, not ruled or index in signed) for index in lanes}
        crossing = _crossing(road_map, flows)
        mouths += [
            _Mouth(
                index,
                junction,
                flows[index] if flows[index] in crossing else NOBODY,
                index in signed,
                light_of.get(index, NOBODY),
            )
            for index in lanes
        ]
    return mouths


def _flow(road_map: RoadMap, index: int, own: bool) -> int:
    lane = road_map.lanes[index]
    return 1 + 2 * lane.key.road + lane.forward if own else 0


def _crossing(road_map: RoadMap, flows: dict[int, int]) -> set[int]:
    """Flows whose ways through the junction come near those of another flow, or that hold opposite approaches."""
    ways: dict[int, list[shapely.Geometry]] = {}
    for index, flow in flows.items():
        for way in ways_through(road_map, index):
            ways.setdefault(flow, []).append(shapely.LineString(road_map.lanes[way].center[:, :2]))
    joined = {flow: shapely.union_all(lines) for flow, lines in ways.items()}
    return {
        flow
        for flow, lines in joined.items()
        if any(flow != other and shapely.dwithin(lines, there, CONFLICT) for other, there in joined.items())
    }


def _upstream(road_map: RoadMap, mouths: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Mouth that each lane leads to within sight, `NOBODY` if none, and metres from the lane's end to it."""
    ahead = np.full(len(road_map.lanes), NOBODY, np.int64)
    beyond = np.full(len(road_map.lanes), np.inf)
    for number, lane in enumerate(mouths):
        stack = [(lane, 0.0)]
        while stack:
            index, distance = stack.pop()
            if distance >= beyond[index]:
                continue
            ahead[index], beyond[index] = number, distance
            onwards = distance + road_map.lanes[index].length
            if onwards < SIGHT:
                stack += [(row, onwards) for row in road_map.lanes[index].predecessors if _open(road_map, row)]
    return ahead, np.where(np.isinf(beyond), 0.0, beyond)


def _open(road_map: RoadMap, index: int) -> bool:
    return road_map.lanes[index].junction < 0 and road_map.lanes[index].type == "driving"
