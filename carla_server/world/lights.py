"""Traffic lights: groups of one junction whose controllers take turns, and which light a vehicle stands at."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numba import njit

from carla_server.map import RoadMap, Signal, SignalKind
from carla_server.sensors.views import LampState
from carla_server.world.state import HALF_X, YAW, ActorRows, Floats, X, Y, Z

#: Times of a new controller, seconds; CARLA's defaults.
GREEN_S, YELLOW_S, RED_S = 10.0, 3.0, 2.0
#: Less than this is rounding, seconds.
NO_TIME_S = 1e-6
#: How far the box in which a light governs a vehicle reaches back from the stop line, metres.
TRIGGER_DEPTH = 6.0
#: How far the box reaches beyond the outer lanes' borders, metres.
TRIGGER_MARGIN = -0.2
GREEN = int(LampState.GREEN)
#: A light governs vehicles that head within this angle of its lane, radians.
HEADING_LIMIT = math.radians(60.0)


class Phase(IntEnum):
    """What the controller whose turn it is shows; all others show red."""

    GREEN = 0
    YELLOW = 1
    ALL_RED = 2


_SHOWN = {Phase.GREEN: LampState.GREEN, Phase.YELLOW: LampState.YELLOW, Phase.ALL_RED: LampState.RED}


@dataclass
class Stage:
    """Lights that are green together.

    Attributes:
        lights: Rows of the lights.
        times: Seconds of green, yellow and red after yellow.
    """

    lights: list[int]
    times: list[float] = field(default_factory=lambda: [GREEN_S, YELLOW_S, RED_S])


@dataclass
class Group:
    """All lights of a junction.

    Attributes:
        stages: In the order in which they become green.
        turn: Index of the stage whose turn it is.
        phase: What that stage shows.
        elapsed: Seconds since the phase began.
        frozen: Whether time stands still.
    """

    stages: list[Stage]
    turn: int = 0
    phase: Phase = Phase.GREEN
    elapsed: float = 0.0
    frozen: bool = False

    @property
    def lights(self) -> list[int]:
        """Rows of all lights."""
        return [row for stage in self.stages for row in stage.lights]

    def show(self, rows: ActorRows) -> None:
        """Write lamps of the present phase."""
        for index, stage in enumerate(self.stages):
            rows.wire["lamp"][stage.lights] = _SHOWN[self.phase] if index == self.turn else LampState.RED

    def advance(self, rows: ActorRows, dt: float) -> None:
        """Let `dt` seconds pass. Lamps change only when a phase ends, so a lamp set by hand stays until then.

        Phases of no length are passed over; where all are, one ends in every tick.
        """
        self.elapsed += dt
        # A small allowance, so that ten seconds of green are 200 ticks of 0.05 s in spite of rounding.
        while self.elapsed >= self.stages[self.turn].times[self.phase] - NO_TIME_S:
            self.elapsed = max(0.0, self.elapsed - max(self.stages[self.turn].times[self.phase], 0.05))
            if self.phase is Phase.ALL_RED:
                self.turn = (self.turn + 1) % len(self.stages)
            self.phase = Phase((self.phase + 1) % 3)
            self.show(rows)
            if not any(seconds > NO_TIME_S for stage in self.stages for seconds in stage.times):
                break

    def reset(self, rows: ActorRows) -> None:
        """Begin the cycle anew."""
        self.turn, self.phase, self.elapsed = 0, Phase.GREEN, 0.0
        self.show(rows)


class TrafficLights:
    """All lights of a town.

    Args:
        road_map: The town.
        light_rows: Row in `rows` of each light by signal id.
        rows: The actor table.
    """

    def __init__(self, road_map: RoadMap, light_rows: dict[str, int], rows: ActorRows) -> None:
        self._rows = rows
        self.groups = _groups(road_map, light_rows)
        self.group_of = {row: group for group in self.groups for row in group.lights}
        self.stage_of = {row: stage for group in self.groups for stage in group.stages for row in stage.lights}
        self._rows_of_groups = np.array([row for group in self.groups for row in group.lights], np.int64)
        self._sizes = [len(group.lights) for group in self.groups]
        boxes = [
            trigger_box(road_map.signals[name], row) for name, row in light_rows.items() if road_map.signals[name].lanes
        ]
        self.boxes: Floats = np.array(boxes, dtype=np.float64).reshape(-1, 9)
        for group in self.groups:
            for pole, row in enumerate(group.lights):
                rows.wire["pole"][row] = pole
            group.show(rows)
            self.write_times(group)

    def write_times(self, group: Group) -> None:
        """Copy a group's times into the world state."""
        for stage in group.stages:
            for name, seconds in zip(("green_time", "yellow_time", "red_time"), stage.times):
                self._rows.wire[name][stage.lights] = seconds

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass in every group that is not frozen."""
        if not self.groups:
            return
        for group in self.groups:
            if not group.frozen:
                group.advance(self._rows, dt)
        elapsed = np.repeat([group.elapsed for group in self.groups], self._sizes)
        self._rows.wire["elapsed"][self._rows_of_groups] = elapsed

    def freeze(self, frozen: bool, groups: Iterable[Group] | None = None) -> None:
        """Stop or restart time for some groups; all of them if None."""
        for group in self.groups if groups is None else groups:
            group.frozen = frozen
            self._rows.wire["frozen"][group.lights] = frozen

    def reset(self) -> None:
        """Begin every cycle anew."""
        for group in self.groups:
            group.reset(self._rows)


def _groups(road_map: RoadMap, light_rows: dict[str, int]) -> list[Group]:
    """Lights by junction, controllers in the order of their sequence; a light without controller is its own group.

    Every approach gets a stage of its own, also where a controller switches opposite approaches together: CARLA's towns
    do so, and its Traffic Manager counts on it, as its vehicles turn left without giving way.
    """
    by_junction: dict[object, list[Stage]] = {}
    placed: set[str] = set()
    controllers = sorted(road_map.controllers.values(), key=lambda row: (row.junction, row.sequence, row.id))
    for row in controllers:
        lights = [name for name in row.signals if name in light_rows and name not in placed]
        placed.update(lights)
        if lights:
            # A controller that no junction names works on its own.
            key = row.junction if row.junction >= 0 else f"controller {row.id}"
            stages = by_junction.setdefault(key, [])
            stages.extend(Stage([light_rows[name] for name in approach]) for approach in _approaches(road_map, lights))
    for name, row_index in light_rows.items():
        if name not in placed:
            by_junction.setdefault(f"signal {name}", []).append(Stage([row_index]))
    return [Group(stages) for stages in by_junction.values()]


def _approaches(road_map: RoadMap, names: list[str]) -> list[list[str]]:
    """Signals sorted by the road whose traffic they govern."""
    found: dict[object, list[str]] = {}
    for name in names:
        lanes = [road_map.lanes[index] for index in road_map.signals[name].lanes]
        approach: object = (lanes[0].key.road, lanes[0].forward) if lanes else name
        found.setdefault(approach, []).append(name)
    return [*found.values()]


def line_of(signal: Signal) -> tuple[Floats, float] | None:
    """Middle (3,) of the line where traffic obeys a signal and its length, metres; None if it governs no lane."""
    if signal.stop_left is None or signal.stop_right is None:
        return None
    return (signal.stop_left + signal.stop_right) / 2, float(np.linalg.norm(signal.stop_right - signal.stop_left))


def trigger_box(signal: Signal, row: int, depth: float = TRIGGER_DEPTH) -> tuple[float, ...]:
    """Box before the stop line: middle x, y, z, cos and sin of the direction of travel, half depth, half width, row of
    the actor and half height. Metres."""
    line = line_of(signal)
    if line is None:
        raise ValueError(f"signal {signal.id} governs no lane, so it has no trigger box")
    (x, y, z), width = line
    cos, sin = math.cos(signal.stop_yaw), math.sin(signal.stop_yaw)
    back = depth / 2
    return (x - back * cos, y - back * sin, z, cos, sin, back, width / 2 + TRIGGER_MARGIN, float(row), 2.5)


@njit(cache=True)
def lights_at(vehicles, motion, body, boxes, found):
    """Row of the light whose box a vehicle is in, -1 if none, into `found`.

    A vehicle is in a box when its front or its middle is, heading the same way: from the moment its front enters until
    its middle passes the stop line.
    """
    limit = math.cos(HEADING_LIMIT)
    for n in range(len(vehicles)):
        row = vehicles[n]
        found[n] = -1
        yaw = math.radians(motion[row, YAW])
        cos, sin = math.cos(yaw), math.sin(yaw)
        for b in range(len(boxes)):
            dx, dy = motion[row, X] - boxes[b, 0], motion[row, Y] - boxes[b, 1]
            if abs(dx) > 30.0 or abs(dy) > 30.0 or abs(motion[row, Z] - boxes[b, 2]) > boxes[b, 8]:
                continue
            along = boxes[b, 3] * cos + boxes[b, 4] * sin
            if along < limit:
                continue
            for part in range(2):
                reach = body[row, HALF_X] if part == 0 else 0.0
                px, py = dx + reach * cos, dy + reach * sin
                forward = px * boxes[b, 3] + py * boxes[b, 4]
                sideways = -px * boxes[b, 4] + py * boxes[b, 3]
                if abs(forward) <= boxes[b, 5] and abs(sideways) <= boxes[b, 6]:
                    found[n] = int(boxes[b, 7])
            if found[n] >= 0:
                break


@njit(cache=True)
def tell_lights(vehicles, at_light, lamps, ids, light_states, has_light, light_ids):
    """Write into the world state of each vehicle which light it stands at and what that shows; green if at none.

    Args:
        vehicles: (V,) rows.
        at_light: (V,) row of each one's light, -1 if none.
        lamps, ids: Columns of the world state that lights fill in.
        light_states, has_light, light_ids: Columns of the world state that vehicles fill in.
    """
    for n in range(len(vehicles)):
        row, light = vehicles[n], at_light[n]
        light_states[row] = GREEN if light < 0 else lamps[light]
        has_light[row] = 1 if light >= 0 else 0
        light_ids[row] = 0 if light < 0 else ids[light]


def signal_type_id(signal: Signal) -> str | None:
    """Actor type of a signal; None for signals that are no actors."""
    if signal.kind is SignalKind.TRAFFIC_LIGHT:
        return "traffic.traffic_light"
    if signal.kind is SignalKind.STOP:
        return "traffic.stop"
    if signal.kind is SignalKind.YIELD:
        return "traffic.yield"
    if signal.kind is SignalKind.SPEED_LIMIT:
        value = signal.value if math.isfinite(signal.value) else 30.0
        return f"traffic.speed_limit.{round(value)}"
    return None
