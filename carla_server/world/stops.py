"""Stop signs give way: a vehicle at one is held until it has stopped and the junction is free.

CARLA tells a vehicle in a stop sign's box that its light is red until it may go; the Traffic Manager then lets the
vehicles before such a junction pass in the order of their arrival.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap, SignalKind
from carla_server.sensors.views import LampState
from carla_server.world.ground import Field
from carla_server.world.lights import lights_at, trigger_box
from carla_server.world.limits import lane_at
from carla_server.world.state import SPEED, ActorRows, Floats, X, Y, Z

#: How far the box in which a stop sign holds vehicles reaches back from the line, metres.
HOLD_DEPTH = 6.0
#: Slower than this counts as stopped, m/s.
STANDING = 0.1
#: Vehicles on a junction's lanes within this distance of the sign count, metres.
JUNCTION_REACH = 40.0


class StopSigns:
    """Stop signs of a town.

    Args:
        road_map: The town.
        field: Its lookup grid.
    """

    def __init__(self, road_map: RoadMap, field: Field) -> None:
        signals = [row for row in road_map.signals.values() if row.kind is SignalKind.STOP and row.lanes]
        self._field = field
        self._junctions = [row.junction for row in signals]
        self._junction_of_lane = np.array([lane.junction for lane in road_map.lanes])
        boxes = [trigger_box(row, index, HOLD_DEPTH) for index, row in enumerate(signals)]
        self._boxes: Floats = np.array(boxes, dtype=np.float64).reshape(-1, 9)
        self._halted: set[int] = set()

    def hold(self, rows: ActorRows, vehicles: NDArray[np.int64]) -> None:
        """Write a red light for vehicles that a stop sign holds; vehicles at a traffic light are left alone."""
        if len(self._boxes) == 0:
            return
        at_sign = np.full(len(vehicles), -1, np.int64)
        lights_at(vehicles, rows.motion, rows.body, self._boxes, at_sign)
        here = at_sign >= 0
        if not here.any():
            self._halted.clear()
            return
        inside = dict(zip(vehicles[here].tolist(), at_sign[here].tolist()))
        self._halted &= inside.keys()
        for row, sign in inside.items():
            if abs(rows.dynamic[row, SPEED]) < STANDING:
                self._halted.add(row)
            if row not in self._halted or self._occupied(rows, vehicles, row, self._junctions[sign]):
                rows.wire["light_state"][row] = LampState.RED

    def _occupied(self, rows: ActorRows, vehicles: NDArray[np.int64], itself: int, junction: int) -> bool:
        """Whether another vehicle is on the junction."""
        x, y = rows.motion[itself, X], rows.motion[itself, Y]
        for row in vehicles.tolist():
            there = rows.motion[row]
            if row == itself or math.hypot(there[X] - x, there[Y] - y) > JUNCTION_REACH:
                continue
            lane = int(lane_at(self._field, there[X], there[Y], there[Z]))
            if lane >= 0 and self._junction_of_lane[lane] == junction:
                return True
        return False
