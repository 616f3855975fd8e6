"""Keeps traffic at junctions from blocking itself.

CARLA's Traffic Manager settles conflicts between two vehicles; where three flows cross without lights, its vehicles end
up waiting for one another in a ring, for ever. Here the approaches of a junction without lights take turns: those
without a stop or yield sign go together, each one with a sign goes by itself, and whoever has waited long enough gets
the next turn. At any junction nobody enters while somebody has been standing inside for some time. Vehicles that have
to wait are shown a red light at the mouth of the junction. The ego vehicle is never held: how it deals with a junction
is its own affair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.map import RoadMap, SignalKind
from carla_server.sensors.views import LampState
from carla_server.world.ground import Field
from carla_server.world.limits import lane_at
from carla_server.world.state import HALF_X, SPEED, YAW, ActorRows, Floats, X, Y, Z

#: A vehicle standing inside a junction this long blocks it, seconds: without and with traffic lights, where waiting for
#: a gap in the opposite stream is normal.
PATIENCE_S, PATIENCE_AT_LIGHTS_S = 1.0, 12.0
#: A junction that was blocked lets vehicles in again after this long at the latest, seconds.
LONGEST_HOLD_S = 40.0
#: How long a flow goes on while another one waits, seconds.
TURN_S = 6.0
#: Length of the box before a junction in which vehicles are seen and held, metres.
MOUTH_DEPTH = 16.0
#: Slower than this counts as standing, m/s; nearer than this to the junction counts as waiting for it, metres.
STANDING, WAITING_REACH = 0.1, 8.0
#: A vehicle that would have to brake harder than this is let in, m/s².
COMFORT = 5.0
#: Junctions are looked at once in so many ticks.
PERIOD = 5
#: Columns of a mouth: end of the lane x, y, z, direction of travel cos and sin, half width.
MOUTH_COLUMNS = 6
NOBODY = -1


@dataclass
class _Junction:
    """What goes on at one junction.

    Attributes:
        patience: Seconds that vehicles may stand inside before it counts as blocked.
        lit: Whether traffic lights rule it.
        turn: Flow whose turn it is; `NOBODY` if there is no traffic.
        lasted: Seconds since this turn began.
        inside: Rows of the vehicles inside.
        waiting: Seconds that each flow has been waiting.
        standing: Seconds that somebody has been standing inside.
        held: Seconds that it has counted as blocked.
        clearing: Whether somebody is inside whose light is not green any more.
    """

    patience: float
    lit: bool
    turn: int = NOBODY
    lasted: float = 0.0
    inside: list[int] = field(default_factory=list)
    waiting: dict[int, float] = field(default_factory=dict)
    standing: float = 0.0
    held: float = 0.0
    clearing: bool = False

    @property
    def contested(self) -> bool:
        """Whether somebody may have to be held."""
        return self.held > 0.0 or self.clearing or (not self.lit and self.turn != NOBODY)

    def admits(self, flow: int) -> bool:
        """Whether a vehicle of a flow may enter now."""
        if self.held > 0.0 or self.clearing:
            return False
        if self.lit or self.turn == NOBODY:
            return True
        # Its own turn, unless another flow has waited long enough.
        return flow == self.turn and not self.overdue

    @property
    def overdue(self) -> bool:
        """Whether a flow whose turn it is not has waited long enough, and this turn has lasted long enough."""
        return self.lasted >= TURN_S and any(
            seconds >= TURN_S for flow, seconds in self.waiting.items() if flow != self.turn
        )


class JunctionKeeper:
    """Junctions of a town.

    Args:
        road_map: The town.
        field: Its lookup grid.
        light_rows: Row of each traffic light by signal id.
    """

    def __init__(self, road_map: RoadMap, field: Field, light_rows: dict[str, int]) -> None:
        self._field = field
        names = [*road_map.junctions]
        index = {name: number for number, name in enumerate(names)}
        self._of_lane = np.array([index.get(lane.junction, NOBODY) for lane in road_map.lanes])
        kinds = {kind: {row.junction for row in road_map.signals.values() if row.kind is kind} for kind in SignalKind}
        lit = kinds[SignalKind.TRAFFIC_LIGHT]
        self._junctions = [
            _Junction(PATIENCE_AT_LIGHTS_S if name in lit else PATIENCE_S, name in lit) for name in names
        ]
        self._mouths, self._junction_of, self._flow_of, lanes = _mouths(road_map, self._of_lane)
        light_of = {lane: row for name, row in light_rows.items() for lane in road_map.signals[name].lanes}
        self._light_of = [light_of.get(lane, NOBODY) for lane in lanes]
        self._came_by: dict[int, int] = {}

    def hold(self, rows: ActorRows, vehicles: NDArray[np.int64], free: NDArray[np.bool_], tick: int, dt: float) -> None:
        """Show red to vehicles that have to wait at the mouth of a junction.

        Args:
            rows: The actor table.
            vehicles: Rows of all vehicles.
            free: (V,) vehicles that are never held.
            tick: Ticks since the episode began.
            dt: Length of a tick, seconds.
        """
        if len(self._mouths) == 0:
            return
        looking = tick % PERIOD == 0
        if not looking and not any(junction.contested for junction in self._junctions):
            return
        mouth = np.full(len(vehicles), NOBODY, np.int64)
        gap = np.empty(len(vehicles))
        find_mouths(vehicles, rows.motion, rows.body, self._mouths, mouth, gap)
        before = [*zip(vehicles.tolist(), mouth.tolist(), gap.tolist(), free.tolist())]
        if looking:
            self._look(rows, vehicles, before, PERIOD * dt)
        for row, at, distance, unbound in before:
            if at == NOBODY or unbound or self._junctions[self._junction_of[at]].admits(self._flow_of[at]):
                continue
            speed = rows.dynamic[row, SPEED]
            if speed * speed <= 2.0 * COMFORT * max(distance, 0.0) + 1.0:
                rows.wire["light_state"][row] = LampState.RED
                rows.wire["has_light"][row] = 1

    def _look(
        self, rows: ActorRows, vehicles: NDArray[np.int64], before: list[tuple[int, int, float, bool]], passed: float
    ) -> None:
        """Note who is inside and who waits, and give the next flow its turn."""
        places = np.full(len(vehicles), NOBODY, np.int64)
        find_inside(self._field, vehicles, rows.motion, self._of_lane, places)
        for junction in self._junctions:
            junction.inside.clear()
        seen: list[set[int]] = [set() for _ in self._junctions]
        for (row, at, distance, _), place in zip(before, places.tolist()):
            if place != NOBODY:
                self._junctions[place].inside.append(row)
            if at != NOBODY:
                self._came_by[row] = at
                if distance < WAITING_REACH:
                    seen[self._junction_of[at]].add(self._flow_of[at])
        for junction, flows in zip(self._junctions, seen):
            self._judge(junction, flows, rows, passed)

    def _judge(self, junction: _Junction, flows: set[int], rows: ActorRows, passed: float) -> None:
        """Bring one junction up to date."""
        still = any(abs(rows.dynamic[row, SPEED]) < STANDING for row in junction.inside)
        junction.standing = junction.standing + passed if still else 0.0
        blocked = junction.standing > junction.patience or (junction.held > 0.0 and bool(junction.inside))
        junction.held = junction.held + passed if blocked else 0.0
        if junction.held >= LONGEST_HOLD_S:
            # Whoever still stands inside is not waiting for those outside.
            junction.held = junction.standing = 0.0
        if junction.lit:
            junction.clearing = any(self._overstays(rows, row) for row in junction.inside)
            return
        if junction.turn == NOBODY and junction.inside and junction.inside[0] in self._came_by:
            junction.turn = self._flow_of[self._came_by[junction.inside[0]]]
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
        light = self._light_of[self._came_by[row]] if row in self._came_by else NOBODY
        return light != NOBODY and rows.wire["lamp"][light] != LampState.GREEN


def _mouths(road_map: RoadMap, junction_of_lane: NDArray[np.int64]) -> tuple[Floats, list[int], list[int], list[int]]:
    """Ends of the lanes that lead into junctions; junction, flow and lane index of each.

    Approaches without a sign share flow 0; every approach with one is a flow of its own. Where no approach has a sign,
    each road is a flow.
    """
    signed: set[int] = set()
    for signal in road_map.signals.values():
        if signal.kind in (SignalKind.STOP, SignalKind.YIELD):
            signed.update(signal.lanes)
    rows, junctions, lanes = [], [], []
    for lane in road_map.lanes:
        after = [int(junction_of_lane[index]) for index in lane.successors if junction_of_lane[index] >= 0]
        if lane.junction >= 0 or lane.type != "driving" or not after:
            continue
        x, y, z = lane.travel_center[-1].tolist()
        yaw = float(lane.yaw[-1] if lane.forward else lane.yaw[0])
        width = float(lane.width[-1] if lane.forward else lane.width[0])
        rows.append((x, y, z, math.cos(yaw), math.sin(yaw), 0.4 * width))
        junctions.append(after[0])
        lanes.append(lane)
    ruled = {junction for junction, lane in zip(junctions, lanes) if lane.index in signed}
    flows = []
    for junction, lane in zip(junctions, lanes):
        own = lane.index in signed or junction not in ruled
        flows.append(1 + 2 * lane.key.road + lane.forward if own else 0)
    indices = [lane.index for lane in lanes]
    return np.array(rows, dtype=np.float64).reshape(-1, MOUTH_COLUMNS), junctions, flows, indices


@njit(cache=True)
def find_mouths(vehicles, motion, body, mouths, found, gap):
    """Mouth before which each vehicle drives, -1 if none, and how far its front is from the junction, metres."""
    for n in range(len(vehicles)):
        row = vehicles[n]
        found[n], gap[n] = -1, 0.0
        yaw = math.radians(motion[row, YAW])
        cos, sin = math.cos(yaw), math.sin(yaw)
        for b in range(len(mouths)):
            dx, dy = mouths[b, 0] - motion[row, X], mouths[b, 1] - motion[row, Y]
            if abs(dx) > 30.0 or abs(dy) > 30.0 or abs(motion[row, Z] - mouths[b, 2]) > 3.0:
                continue
            along = dx * mouths[b, 3] + dy * mouths[b, 4]
            across = -dx * mouths[b, 4] + dy * mouths[b, 3]
            ahead = along - body[row, HALF_X]
            if mouths[b, 3] * cos + mouths[b, 4] * sin < 0.7 or abs(across) > mouths[b, 5]:
                continue
            if -1.0 <= ahead <= MOUTH_DEPTH:
                found[n], gap[n] = b, ahead
                break


@njit(cache=True)
def find_inside(field, vehicles, motion, junction_of_lane, found):
    """Junction that each vehicle is inside of, -1 outside."""
    for n in range(len(vehicles)):
        row = vehicles[n]
        lane = lane_at(field, motion[row, X], motion[row, Y], motion[row, Z])
        found[n] = junction_of_lane[lane] if lane >= 0 else -1
