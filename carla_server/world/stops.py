"""Stop signs give way: a vehicle at one is held until it has stopped and the junction is free.

CARLA tells a vehicle in a stop sign's box that its light is red until it may go; the Traffic Manager then lets the
vehicles before such a junction pass in the order of their arrival.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap, SignalKind
from carla_server.sensors.views import LampState
from carla_server.world.lights import lights_at, trigger_box
from carla_server.world.state import SPEED, ActorRows, Floats

#: How far the box in which a stop sign holds vehicles reaches back from the line, metres.
HOLD_DEPTH = 6.0
#: Slower than this counts as stopped, m/s.
STANDING = 0.1


class StopSigns:
    """Stop signs of a town.

    Args:
        road_map: The town.
    """

    def __init__(self, road_map: RoadMap) -> None:
        signals = [row for row in road_map.signals.values() if row.kind is SignalKind.STOP and row.lanes]
        self._junctions = [row.junction for row in signals]
        self._junction_of_lane = np.array([lane.junction for lane in road_map.lanes])
        boxes = [trigger_box(row, index, HOLD_DEPTH) for index, row in enumerate(signals)]
        self._boxes: Floats = np.array(boxes, dtype=np.float64).reshape(-1, 9)
        self._halted: set[int] = set()

    def hold(self, rows: ActorRows, vehicles: NDArray[np.int64], lanes: Floats) -> None:
        """Write a red light for vehicles that a stop sign holds; vehicles at a traffic light are left alone.

        Args:
            rows: The actor table.
            vehicles: Rows of all vehicles.
            lanes: (V,) lane that each one is on, -1 off the network.
        """
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
        on = np.where(lanes >= 0, self._junction_of_lane[lanes.astype(np.int64)], -1)
        for row, sign in inside.items():
            if abs(rows.dynamic[row, SPEED]) < STANDING:
                self._halted.add(row)
            occupied = ((on == self._junctions[sign]) & (vehicles != row)).any()
            if row not in self._halted or occupied:
                rows.wire["light_state"][row] = LampState.RED
