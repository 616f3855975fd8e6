"""Drives through a town on paper: paths along lanes, and the junctions they pass. Uses CARLA's client offline."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath

import carla
import numpy as np
from numpy.typing import NDArray

#: Distance between the waypoints of a path, metres. Indices along a path therefore count metres.
HOP = 1.0
#: Heading change below which a junction is passed straight, degrees.
STRAIGHT_BELOW = 35.0
#: How far before a junction its lights and stop signs are looked for, metres.
SIGNAL_REACH = 18.0

TRAFFIC_LIGHT, STOP_SIGN, YIELD_SIGN = "1000001", "206", "205"


class Turn(enum.Enum):
    """How a path passes a junction."""

    LEFT = "left"
    STRAIGHT = "straight"
    RIGHT = "right"


class Rule(enum.Enum):
    """What a driver meets at the entrance of a junction."""

    LIGHT = "light"
    STOP = "stop"
    YIELD = "yield"
    NONE = "none"


@dataclass(frozen=True)
class Pass:
    """A junction on a path.

    Attributes:
        junction: Junction id.
        enter: Index of the last waypoint before it.
        exit: Index of the first waypoint behind it.
        turn: Change of direction.
        rule: Sign or light at the entrance.
    """

    junction: int
    enter: int
    exit: int
    turn: Turn
    rule: Rule


@dataclass(frozen=True, eq=False)
class Path:
    """Waypoints `HOP` metres apart along lanes, and the junctions passed on the way."""

    waypoints: tuple[carla.Waypoint, ...]
    passes: tuple[Pass, ...]

    def __len__(self) -> int:
        return len(self.waypoints)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """(N, 3) positions, metres, CARLA's world frame."""
        return np.array([location_of(waypoint) for waypoint in self.waypoints])

    def is_clear(self, first: int, last: int) -> bool:
        """Whether the path exists and is outside junctions from index `first` to index `last`."""
        if first < 0 or last >= len(self):
            return False
        return all(passed.exit <= first or passed.enter >= last for passed in self.passes)

    def next_pass(self, index: int) -> Pass | None:
        """The first junction entered at or after `index`."""
        return next((passed for passed in self.passes if passed.enter >= index), None)


def location_of(waypoint: carla.Waypoint) -> tuple[float, float, float]:
    """Position of a waypoint, metres."""
    location = waypoint.transform.location
    return location.x, location.y, location.z


def yaw_of(waypoint: carla.Waypoint) -> float:
    """Heading of a waypoint, degrees in [-180, 180)."""
    return wrap_degrees(waypoint.transform.rotation.yaw)


def wrap_degrees(angle: float) -> float:
    """An angle in [-180, 180) degrees."""
    return (angle + 180.0) % 360.0 - 180.0


def is_driving(waypoint: carla.Waypoint | None) -> bool:
    """Whether there is a waypoint, on a driving lane."""
    return waypoint is not None and waypoint.lane_type == carla.LaneType.Driving


def same_direction(a: carla.Waypoint, b: carla.Waypoint) -> bool:
    """Whether two lanes of one road run the same way."""
    return a.lane_id * b.lane_id > 0


class Town:
    """A town's road network as the carla client sees it."""

    def __init__(self, name: str, xodr: str) -> None:
        self.name = name
        self.map = carla.Map(name, xodr)
        self._rules: dict[tuple[int, int, int], Rule] = {}
        self._starts: dict[float, list[carla.Waypoint]] = {}
        self._entries: dict[int, list[carla.Waypoint]] = {}

    @classmethod
    def load(cls, folder: FilePath, name: str) -> Town:
        """Read `<folder>/<name>.xodr`.

        Raises:
            FileNotFoundError: There is no such town; the message lists the towns of the folder.
        """
        path = folder / f"{name}.xodr"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in folder.glob("*.xodr"))) or "none"
            raise FileNotFoundError(
                f"no town {name!r} in {folder} (there: {known}); write it with carla_server.map.generate"
            )
        return cls(name, path.read_text(encoding="utf-8"))

    def starts(self, spacing: float) -> list[carla.Waypoint]:
        """Waypoints on driving lanes outside junctions, `spacing` metres apart, in a fixed order."""
        if spacing not in self._starts:
            found = [w for w in self.map.generate_waypoints(spacing) if not w.is_junction and is_driving(w)]
            self._starts[spacing] = sorted(found, key=lambda w: (w.road_id, w.lane_id, w.s))
        return self._starts[spacing]

    def drive(self, start: carla.Waypoint, length: int, turns: tuple[Turn, ...]) -> Path | None:
        """Follow lanes from `start`, taking `turns` at the first junctions and going as straight as possible after.

        Returns:
            A path of `length` metres, or None if a wanted turn does not exist or the road ends.
        """
        waypoints, passes = [start], []
        wanted = list(turns)
        while len(waypoints) <= length:
            options = waypoints[-1].next(HOP)
            if not options:
                return None
            if not options[0].is_junction:
                waypoints.append(options[0])
                continue
            crossing = self._cross(waypoints[-1], wanted.pop(0) if wanted else None)
            if crossing is None:
                return None
            inside, turn = crossing
            enter = len(waypoints) - 1
            waypoints.extend(inside)
            rule = self.rule_at(waypoints[enter])
            passes.append(Pass(inside[0].get_junction().id, enter, len(waypoints) - 1, turn, rule))
        return Path(tuple(waypoints), tuple(passes))

    def _cross(self, entry: carla.Waypoint, wanted: Turn | None) -> tuple[list[carla.Waypoint], Turn] | None:
        """Waypoints through the junction ahead of `entry`, up to and with the first one behind it."""
        branches = []
        for option in entry.next(HOP):
            branch = self._through(option)
            if branch is not None:
                change = wrap_degrees(yaw_of(branch[-1]) - yaw_of(entry))
                branches.append((abs(change), turn_from(change), branch))
        if wanted is not None:
            branches = [row for row in branches if row[1] is wanted]
        if not branches:
            return None
        _, turn, branch = min(branches, key=lambda row: row[0])
        return branch, turn

    @staticmethod
    def _through(inside: carla.Waypoint) -> list[carla.Waypoint] | None:
        branch = [inside]
        # A junction wider than this is a mistake of the map.
        for _ in range(250):
            onward = branch[-1].next(HOP)
            if not onward:
                return None
            branch.append(onward[0])
            if not onward[0].is_junction:
                return branch
        return None

    def rule_at(self, entry: carla.Waypoint) -> Rule:
        """Sign or light that a driver meets between `SIGNAL_REACH` before a junction and its entrance."""
        key = (entry.road_id, entry.section_id, entry.lane_id)
        if key not in self._rules:
            back = entry.previous(SIGNAL_REACH)
            origin = back[0] if back and back[0].road_id == entry.road_id else entry
            marks = {mark.type for mark in origin.get_landmarks(SIGNAL_REACH + 2.0, True)}
            table = ((TRAFFIC_LIGHT, Rule.LIGHT), (STOP_SIGN, Rule.STOP), (YIELD_SIGN, Rule.YIELD))
            self._rules[key] = next((rule for kind, rule in table if kind in marks), Rule.NONE)
        return self._rules[key]

    def entries(self, passed: Pass, path: Path) -> list[carla.Waypoint]:
        """Last waypoints before a junction on all driving lanes that enter it."""
        if passed.junction not in self._entries:
            junction = path.waypoints[passed.enter + 1].get_junction()
            found: dict[tuple[int, int], carla.Waypoint] = {}
            for begin, _ in junction.get_waypoints(carla.LaneType.Driving):
                for before in begin.previous(0.5):
                    if not before.is_junction:
                        found[before.road_id, before.lane_id] = before
            self._entries[passed.junction] = [found[key] for key in sorted(found)]
        return self._entries[passed.junction]

    def entries_from(self, passed: Pass, path: Path, side: str) -> list[carla.Waypoint]:
        """Entries whose traffic comes from the left, from the right or from the opposite side of the path's entry."""
        own = yaw_of(path.waypoints[passed.enter])
        low, high = {"left": (30, 135), "opposite": (135, 225), "right": (225, 330)}[side]
        return [w for w in self.entries(passed, path) if low < (yaw_of(w) - own) % 360 <= high]


def turn_from(change: float) -> Turn:
    """Kind of turn for a heading change in degrees, positive clockwise (to the right)."""
    if abs(change) < STRAIGHT_BELOW:
        return Turn.STRAIGHT
    return Turn.RIGHT if change > 0 else Turn.LEFT


def lanes_towards(waypoint: carla.Waypoint, side: str) -> Iterator[carla.Waypoint]:
    """Neighbouring lanes on one side, nearest first, not crossing the middle of a two-way road."""
    step = carla.Waypoint.get_right_lane if side == "right" else carla.Waypoint.get_left_lane
    current = step(waypoint)
    while current is not None and same_direction(current, waypoint):
        yield current
        current = step(current)
