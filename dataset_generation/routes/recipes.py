"""Which places and parameters each scenario type needs: one row per type, one placing function per kind of place.

Placement rules follow the scenarios of CARLA's scenario_runner (srunner/scenarios) as Bench2Drive uses them; parameter
ranges are those that occur in bench2drive220.xml.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import carla
from numpy.random import Generator

from dataset_generation.routes.network import (
    Pass,
    Path,
    Rule,
    Town,
    Turn,
    is_driving,
    lanes_towards,
    location_of,
    same_direction,
    wrap_degrees,
    yaw_of,
)

Parameters = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Placement:
    """A scenario on a path: last index the route must reach, the scenario's parameters, and the path if it changed."""

    end: int
    parameters: Parameters = field(default_factory=dict)
    path: Path | None = None


@dataclass(frozen=True)
class Draw:
    """Draws parameters: from the benchmark's ranges, or from ranges widened by `stretch` (a fraction)."""

    rng: Generator
    stretch: float = 0.0

    def number(self, low: float, high: float) -> int:
        """A whole number."""
        return int(self.rng.integers(round(low * (1 - self.stretch)), round(high * (1 + self.stretch)) + 1))

    def value(self, low: float, high: float) -> dict[str, str]:
        """A scalar attribute."""
        return {"value": str(self.number(low, high))}

    def fraction(self, low: float, high: float) -> dict[str, str]:
        """A scalar attribute with two decimals."""
        width = (high - low) * self.stretch
        return {"value": f"{self.rng.uniform(low - width, high + width):.2f}"}

    def interval(self, first: tuple[float, float], last: tuple[float, float]) -> dict[str, str]:
        """An interval attribute, both ends drawn from their ranges."""
        return {"from": str(self.number(*first)), "to": str(self.number(*last))}

    def choice(self, options: tuple[str, ...]) -> dict[str, str]:
        """One of several texts."""
        return {"value": str(self.rng.choice(options))}


Placer = Callable[[Town, Path, int, Draw], Placement | None]


@dataclass(frozen=True)
class Recipe:
    """How to find a place for a scenario type.

    Attributes:
        type: Scenario type as written in route files.
        place: Decides whether the scenario fits when triggered at an index of a path.
        turns: Turns at the first junction worth trying.
        lead: Metres between the start of the route and the trigger.
        reach: Metres of path the placing function needs at most.
        towns: Towns where the scenario belongs although others would fit; empty for all.
    """

    type: str
    place: Placer
    turns: tuple[Turn, ...] = (Turn.STRAIGHT,)
    lead: int = 25
    reach: int = 230
    towns: tuple[str, ...] = ()


RIGHT = {"value": "right"}
#: What may hide a crossing pedestrian.
BLOCKERS = ("static.prop.advertisement", "static.prop.container", "static.prop.foodcart", "static.prop.busstoplb")


def place_of(waypoint: carla.Waypoint) -> dict[str, str]:
    """A location parameter."""
    x, y, z = location_of(waypoint)
    return {"x": f"{x:.2f}", "y": f"{y:.2f}", "z": f"{z:.2f}"}


# -- lanes beside the path ----------------------------------------------------------------------------------------


def _is_rightmost(waypoint: carla.Waypoint) -> bool:
    return not is_driving(next(lanes_towards(waypoint, "right"), None))


def _has_place_for_sign(waypoint: carla.Waypoint) -> bool:
    skipped = (carla.LaneType.Driving, carla.LaneType.Parking)
    return any(lane.lane_type not in skipped for lane in lanes_towards(waypoint, "right"))


def _left_lane(waypoint: carla.Waypoint, oncoming: bool) -> carla.Waypoint | None:
    left = waypoint.get_left_lane()
    if left is None or not is_driving(left) or same_direction(left, waypoint) == oncoming:
        return None
    return left


def _has_right(waypoint: carla.Waypoint, kind: carla.LaneType) -> bool:
    return any(lane.lane_type == kind for lane in lanes_towards(waypoint, "right"))


def _adjacent_parking(waypoint: carla.Waypoint) -> bool:
    right = waypoint.get_right_lane()
    return right is not None and right.lane_type == carla.LaneType.Parking


# -- places along a lane ------------------------------------------------------------------------------------------


def _blocked_lane(
    town: Town,
    path: Path,
    at: int,
    draw: Draw,
    *,
    distance: tuple[int, int],
    two_ways: bool,
    extent: int,
    more: Callable,
) -> Placement | None:
    """An obstacle in the rightmost lane, with a lane at the left to pass it."""
    ahead = draw.number(*distance)
    last = at + ahead + extent + 25
    if not path.is_clear(at, last):
        return None
    for index in (at, at + ahead, at + ahead + extent, last):
        waypoint = path.waypoints[index]
        if not _is_rightmost(waypoint) or _left_lane(waypoint, two_ways) is None:
            return None
    if not _has_place_for_sign(path.waypoints[at]):
        return None
    return Placement(at + ahead + extent + 55, {"distance": {"value": str(ahead)}, **more(draw)})


def _crossing(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A pedestrian steps out behind something on the sidewalk."""
    ahead = draw.number(40, 48)
    if not path.is_clear(at, at + ahead + 20) or not _is_rightmost(path.waypoints[at + ahead]):
        return None
    if not _has_right(path.waypoints[at + ahead], carla.LaneType.Sidewalk):
        return None
    parameters = {
        "distance": {"value": str(ahead)},
        "direction": RIGHT,
        "blocker_model": draw.choice(BLOCKERS),
        "crossing_angle": draw.value(0, 11),
    }
    return Placement(at + ahead + 45, parameters)


def _parked_crossing(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A pedestrian steps out behind a parked car."""
    ahead = draw.number(36, 45)
    if not path.is_clear(at, at + ahead + 20):
        return None
    if not all(_adjacent_parking(path.waypoints[at + ahead + more]) for more in (-4, 0, 5)):
        return None
    parameters = {"distance": {"value": str(ahead)}, "direction": RIGHT, "crossing_angle": draw.value(0, 12)}
    return Placement(at + ahead + 45, parameters)


def _open_door(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A door opens on a parked car while traffic comes the other way."""
    ahead = draw.number(37, 48)
    if not path.is_clear(at, at + ahead + 22):
        return None
    for index in (at + ahead - 4, at + ahead, at + ahead + 4):
        if not _adjacent_parking(path.waypoints[index]) or _left_lane(path.waypoints[index], True) is None:
            return None
    parameters = {
        "distance": {"value": str(ahead)},
        "direction": RIGHT,
        "frequency": draw.interval((30, 40), (89, 98)),
    }
    return Placement(at + ahead + 55, parameters)


def _parking_cut_in(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A parked car pulls out."""
    if not path.is_clear(at, at + 65):
        return None
    if not all(_adjacent_parking(path.waypoints[at + ahead]) for ahead in (24, 28, 35, 39)):
        return None
    return Placement(at + 80, {"direction": RIGHT})


def _parking_exit(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """The ego vehicle starts between two parked cars."""
    if not path.is_clear(at, at + 45):
        return None
    behind = path.waypoints[at].previous(13.0)
    if not behind or not _adjacent_parking(behind[0]):
        return None
    if not all(_adjacent_parking(path.waypoints[at + ahead]) for ahead in (0, 5, 9, 13)):
        return None
    parameters = {
        "front_vehicle_distance": {"value": "9"},
        "behind_vehicle_distance": {"value": "9"},
        "direction": RIGHT,
    }
    return Placement(at + 90, parameters)


def _static_cut_in(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """One car of a standing queue in the right-hand lane pulls out."""
    ahead = draw.number(40, 45)
    if not path.is_clear(at, at + ahead + 66):
        return None
    for index in range(at, at + ahead + 66, 10):
        right = path.waypoints[index].get_right_lane()
        if right is None or not is_driving(right) or not same_direction(right, path.waypoints[index]):
            return None
    return Placement(at + ahead + 90, {"distance": {"value": str(ahead)}, "direction": RIGHT})


def _invading_turn(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """Oncoming traffic cuts a bend."""
    ahead = draw.number(50, 60)
    if not path.is_clear(at, at + ahead + 32):
        return None
    waypoints = path.waypoints[at : at + ahead + 31]
    if any(_left_lane(waypoint, True) is None for waypoint in waypoints[::6]):
        return None
    bend = abs(wrap_degrees(yaw_of(waypoints[-1]) - yaw_of(waypoints[0])))
    if bend < 20.0:
        return None
    return Placement(at + ahead + 60, {"distance": {"value": str(ahead)}, "offset": draw.fraction(0.18, 0.34)})


def _emergency_vehicle(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """An emergency vehicle comes from behind on a road with a lane to spare."""
    behind = draw.number(26, 30)
    if not path.is_clear(max(0, at - 8), at + 75):
        return None
    for index in (at, at + 40, at + 75):
        waypoint = path.waypoints[index]
        beside = (_left_lane(waypoint, False), next(lanes_towards(waypoint, "right"), None))
        if not any(is_driving(lane) for lane in beside):
            return None
    back = path.waypoints[at].previous(float(behind))
    if not back or back[0].is_junction:
        return None
    return Placement(at + 150, {"distance": {"value": str(behind)}})


def _stretch(town: Town, path: Path, at: int, draw: Draw, *, length: int, tail: int) -> Placement | None:
    """Nothing but a stretch of road without a junction."""
    return Placement(at + length + tail) if path.is_clear(at, at + length) else None


def _lane_changes(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """Several lane changes one after another: right to left and back again where there are three lanes."""
    lanes = 1 + sum(is_driving(lane) for lane in lanes_towards(path.waypoints[at], "left"))
    if lanes < 2 or not _is_rightmost(path.waypoints[at]):
        return None
    # Metres from the trigger on, and how many lanes left of the path the route runs from there.
    shifts = {0: 0, 25: 1, 80: min(2, lanes - 1), 140: 0} if lanes > 2 else {0: 0, 30: 1, 100: 0}
    changed = _shifted(path, {at + key: shift for key, shift in shifts.items()})
    return None if changed is None else Placement(at + 205, {}, changed)


def _shifted(path: Path, shifts: dict[int, int]) -> Path | None:
    """The path moved onto lanes further left, from each index in `shifts` by that many lanes."""
    waypoints, shift = [], 0
    for index, waypoint in enumerate(path.waypoints):
        shift = shifts.get(index, shift)
        current: carla.Waypoint | None = waypoint
        for _ in range(shift):
            current = None if current is None or current.is_junction else _left_lane(current, False)
        if current is None:
            return None
        waypoints.append(current)
    return Path(tuple(waypoints), path.passes)


# -- places at a junction -----------------------------------------------------------------------------------------


def _junction_ahead(path: Path, at: int, nearest: int = 14, farthest: int = 45) -> Pass | None:
    passed = path.next_pass(at)
    if passed is None or not nearest <= passed.enter - at <= farthest:
        return None
    return passed


def _rule_fits(passed: Pass, rules: tuple[Rule, ...]) -> bool:
    return not rules or passed.rule in rules


def _flow(draw: Draw, speed: tuple[int, int], first: tuple[int, int], last: tuple[int, int]) -> Parameters:
    return {"flow_speed": draw.value(*speed), "source_dist_interval": draw.interval(first, last)}


def _onward(town: Town, entry: carla.Waypoint, turn: Turn, distance: int) -> carla.Waypoint | None:
    """Where a vehicle is `distance` metres behind the junction that `entry` leads into, None if it cannot turn so."""
    path = town.drive(entry, 1, (turn,)) if entry.next(1.0) and entry.next(1.0)[0].is_junction else None
    if path is None:
        path = town.drive(entry, 3, (turn,))
    if path is None or not path.passes:
        return None
    current = path.waypoints[path.passes[0].exit]
    for _ in range(distance):
        onward = current.next(1.0)
        if not onward or onward[0].is_junction:
            return current
        current = onward[0]
    return current


#: Speeds and gaps of a stream that can be crossed: the widest gaps take about four seconds to pass. Bench2Drive also
#: has faster, denser ones, through which no gap suffices.
_PASSABLE_FLOW = ((8, 10), (22, 24), (37, 38))


def _turn_across(
    town: Town, path: Path, at: int, draw: Draw, *, side: str, rules: tuple[Rule, ...], into: Turn
) -> Placement | None:
    """A turn that crosses or joins a stream of cars from another arm."""
    passed = _junction_ahead(path, at)
    if passed is None or not _rule_fits(passed, rules):
        return None
    others = town.entries_from(passed, path, side)
    exit_road = path.waypoints[passed.exit].road_id
    for entry in others:
        onward = _onward(town, entry, into, 2)
        if onward is None:
            continue
        if (into is Turn.RIGHT or side == "left") and onward.road_id != exit_road:
            continue
        return Placement(passed.exit + 32, _flow(draw, *_PASSABLE_FLOW))
    return None


def _violator(town: Town, path: Path, at: int, draw: Draw, *, rules: tuple[Rule, ...]) -> Placement | None:
    """A car from the side ignores the right of way."""
    passed = _junction_ahead(path, at)
    if passed is None or not _rule_fits(passed, rules):
        return None
    sides = [side for side in ("left", "right") if _can_rush(town, town.entries_from(passed, path, side))]
    if not sides:
        return None
    return Placement(passed.exit + 30, {"direction": draw.choice(tuple(sides))})


def _can_rush(town: Town, entries: list[carla.Waypoint]) -> bool:
    """Whether a car on the first entry has a run-up of 31 m and a way straight on."""
    if not entries or _onward(town, entries[0], Turn.STRAIGHT, 0) is None:
        return False
    before = entries[0].previous(31.0)
    return bool(before) and not before[0].is_junction


def _at_junction(
    town: Town, path: Path, at: int, draw: Draw, *, rules: tuple[Rule, ...] = (), arms: int = 0, tail: int = 32
) -> Placement | None:
    """A junction of some kind, without parameters."""
    passed = _junction_ahead(path, at)
    if passed is None or not _rule_fits(passed, rules):
        return None
    if arms and len({waypoint.road_id for waypoint in town.entries(passed, path)}) != arms:
        return None
    return Placement(passed.exit + tail)


def _crossing_after_turn(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """Somebody crosses the road that the route turns into."""
    passed = _junction_ahead(path, at)
    if passed is None or passed.exit + 14 >= len(path):
        return None
    behind = path.waypoints[passed.exit + 12]
    if behind.is_junction or not _has_right(behind, carla.LaneType.Sidewalk):
        return None
    return Placement(passed.exit + 50)


def _crosswalk(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """Pedestrians cross in front of a junction."""
    passed = _junction_ahead(path, at, 25, 45)
    if passed is None or not _has_right(path.waypoints[passed.enter], carla.LaneType.Sidewalk):
        return None
    return Placement(passed.exit + 30)


def _bicycles(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A right turn across a bicycle lane that runs straight on."""
    passed = _junction_ahead(path, at)
    if passed is None:
        return None
    beside = [
        lane for lane in lanes_towards(path.waypoints[passed.enter], "right") if lane.lane_type == carla.LaneType.Biking
    ]
    if not beside:
        return None
    source = beside[0].previous(38.0)
    onward = beside[0].next(45.0)
    if not source or not onward or not any(w.lane_type == carla.LaneType.Biking for w in onward):
        return None
    flow = {"flow_speed": draw.value(8, 12), "source_dist_interval": draw.interval((5, 15), (25, 30))}
    return Placement(passed.exit + 30, {"start_actor_flow": place_of(source[0]), **flow})


# -- merging, leaving, crossing fast roads ------------------------------------------------------------------------


def _upstream(waypoint: carla.Waypoint, distance: int) -> carla.Waypoint:
    """The waypoint up to `distance` metres before another on the same side of a junction."""
    current = waypoint
    for _ in range(distance):
        before = current.previous(1.0)
        if not before or before[0].is_junction:
            break
        current = before[0]
    return current


def _downstream(path: Path, first: int, distance: int) -> int:
    """Index up to `distance` behind `first` before the next junction."""
    following = path.next_pass(first)
    last = len(path) - 1 if following is None else following.enter - 2
    return min(first + distance, last)


def _flow_between(
    town: Town,
    path: Path,
    at: int,
    draw: Draw,
    *,
    speed: tuple[int, int],
    gap: tuple,
    side: str,
    rules: tuple[Rule, ...],
) -> Placement | None:
    """The route joins the road on which a stream of cars runs straight through the junction."""
    passed = _junction_ahead(path, at, 14, 60)
    if passed is None or not _rule_fits(passed, rules):
        return None
    exit_waypoint = path.waypoints[passed.exit]
    beside = side == "beside"
    for entry in _entries_beside(town, path, passed) if beside else town.entries_from(passed, path, side):
        onward = _onward(town, entry, Turn.STRAIGHT, 0)
        if onward is None or onward.road_id != exit_waypoint.road_id or onward.lane_id != exit_waypoint.lane_id:
            continue
        sink = _downstream(path, passed.exit, 60)
        source = _upstream(entry, 70)
        if sink - passed.exit < 35 or location_distance(source, entry) < 35:
            return None
        ends = {"start_actor_flow": place_of(source), "end_actor_flow": place_of(path.waypoints[sink])}
        return Placement(sink + 15, {**ends, **_flow(draw, speed, *gap)})
    return None


def location_distance(a: carla.Waypoint, b: carla.Waypoint) -> float:
    """Metres between two waypoints."""
    return a.transform.location.distance(b.transform.location)


def _entries_beside(town: Town, path: Path, passed: Pass) -> list[carla.Waypoint]:
    """Entries on other roads that run in much the same direction as the path's entry (merges)."""
    own = path.waypoints[passed.enter]
    return [
        entry
        for entry in town.entries(passed, path)
        if entry.road_id != own.road_id and abs(wrap_degrees(yaw_of(entry) - yaw_of(own))) < 30
    ]


def _cut_in_from_ramp(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A car joins from a ramp and changes into the ego vehicle's lane."""
    passed = _junction_ahead(path, at, 30, 90)
    if passed is None:
        return None
    exit_waypoint = path.waypoints[passed.exit]
    for entry in _entries_beside(town, path, passed):
        onward = _onward(town, entry, Turn.STRAIGHT, 0)
        if onward is None or onward.road_id != exit_waypoint.road_id:
            continue
        left = _left_lane(onward, False)
        if left is None or left.lane_id != exit_waypoint.lane_id:
            continue
        other = _upstream(entry, min(passed.enter - at, 60))
        return Placement(passed.exit + 110, {"other_actor_location": place_of(other)})
    return None


def _leave_across(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """The route starts left of the lane that leads to an exit, in which a stream of cars drives."""
    passed = _junction_ahead(path, at, 70, 130)
    if passed is None or passed.turn is Turn.LEFT:
        return None
    entry, exit_waypoint = path.waypoints[passed.enter], path.waypoints[passed.exit]
    if _left_lane(entry, False) is None or not _is_rightmost(entry):
        return None
    straight = _onward(town, _left_lane(entry, False), Turn.STRAIGHT, 0)
    if straight is None or straight.road_id == exit_waypoint.road_id:
        return None
    changed = _shifted(path, {0: 1, passed.enter - 25: 0})
    if changed is None:
        return None
    sink = _downstream(path, passed.exit, 40)
    ends = {
        "start_actor_flow": place_of(path.waypoints[max(at - 20, 0)]),
        "end_actor_flow": place_of(path.waypoints[sink]),
    }
    return Placement(sink, {**ends, **_flow(draw, (10, 14), (15, 25), (35, 60))}, changed)


def _leave_interurban(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A left turn off an interurban road across a fast oncoming stream."""
    passed = _junction_ahead(path, at, 20, 60)
    if passed is None or passed.rule is Rule.LIGHT or passed.exit + 12 >= len(path):
        return None
    if (
        _left_lane(path.waypoints[passed.exit + 8], True) is None
        or _left_lane(path.waypoints[passed.exit + 2], True) is None
    ):
        return None
    for entry in town.entries_from(passed, path, "opposite"):
        sink = _onward(town, entry, Turn.STRAIGHT, 45)
        source = _upstream(entry, 90)
        if sink is None or location_distance(source, entry) < 50:
            continue
        ends = {"start_actor_flow": place_of(source), "end_actor_flow": place_of(sink)}
        return Placement(passed.exit + 40, {**ends, **_flow(draw, (15, 18), (25, 45), (75, 110))})
    return None


def _enter_interurban(town: Town, path: Path, at: int, draw: Draw) -> Placement | None:
    """A left turn onto an interurban road: across one fast stream and into another."""
    passed = _junction_ahead(path, at, 14, 50)
    if passed is None or passed.rule is Rule.LIGHT or passed.exit + 60 >= len(path):
        return None
    exit_waypoint = path.waypoints[passed.exit]
    for entry in town.entries_from(passed, path, "left"):
        beside = _left_lane(entry, True)
        if beside is None or beside.road_id != exit_waypoint.road_id or beside.lane_id != exit_waypoint.lane_id:
            continue
        source, sink = _upstream(entry, 80), _onward(town, entry, Turn.STRAIGHT, 60)
        if sink is None or location_distance(source, entry) < 40 or _left_lane(sink, True) is None:
            continue
        ends = {"start_actor_flow": place_of(source), "end_actor_flow": place_of(sink)}
        return Placement(passed.exit + 95, {**ends, **_flow(draw, (15, 18), (17, 50), (65, 105))})
    return None


# -- the table ----------------------------------------------------------------------------------------------------

_LIGHT, _NO_LIGHT, _FREE = (Rule.LIGHT,), (Rule.STOP, Rule.YIELD, Rule.NONE), (Rule.YIELD, Rule.NONE)
_ANY_TURN = (Turn.LEFT, Turn.RIGHT)
_EVERY = (Turn.STRAIGHT, Turn.LEFT, Turn.RIGHT)
_INTERURBAN = ("Mini03",)
_SLOW_GAP = ((15, 30), (30, 55))


def _obstacle_parameters(draw: Draw, *, speed: tuple[int, int], frequency: tuple | None) -> Parameters:
    parameters = {"direction": RIGHT, "speed": draw.value(*speed)}
    return parameters if frequency is None else {**parameters, "frequency": draw.interval(*frequency)}


def _hazard_parameters(draw: Draw, *, frequency: tuple[int, int] | None) -> Parameters:
    parameters = {"bicycle_speed": draw.value(6, 11), "bicycle_drive_distance": draw.value(40, 90)}
    last = {"speed": draw.value(35, 55)} if frequency is None else {"frequency": draw.value(*frequency)}
    return {**parameters, **last}


def _obstacle(
    name: str, distance: tuple[int, int], speed: tuple[int, int], frequency: tuple | None, extent: int
) -> Recipe:
    more = partial(_obstacle_parameters, speed=speed, frequency=frequency)
    two_ways = frequency is not None
    return Recipe(name, partial(_blocked_lane, distance=distance, two_ways=two_ways, extent=extent, more=more))


def _hazard(name: str, distance: tuple[int, int], frequency: tuple[int, int] | None) -> Recipe:
    more = partial(_hazard_parameters, frequency=frequency)
    two_ways = frequency is not None
    return Recipe(name, partial(_blocked_lane, distance=distance, two_ways=two_ways, extent=9, more=more))


def _across(name: str, turn: Turn, rules: tuple[Rule, ...], enters_flow: bool = False) -> Recipe:
    side = "opposite" if turn is Turn.LEFT else "left"
    into = Turn.RIGHT if enters_flow else Turn.STRAIGHT
    return Recipe(name, partial(_turn_across, side=side, rules=rules, into=into), (turn,))


def _joining(name: str, speed: tuple[int, int], gap: tuple, side: str, turn: Turn, rules: tuple[Rule, ...]) -> Recipe:
    return Recipe(name, partial(_flow_between, speed=speed, gap=gap, side=side, rules=rules), (turn,), lead=30)


def _plain_junction(
    name: str, turns: tuple[Turn, ...], rules: tuple[Rule, ...] = (), arms: int = 0, tail: int = 32
) -> Recipe:
    return Recipe(name, partial(_at_junction, rules=rules, arms=arms, tail=tail), turns)


# Oncoming streams are drawn from the sparse end of the published ranges: passing from a standstill takes about seven
# seconds, in which an oncoming car at 50 km/h covers 100 m, so denser streams leave no gap.
RECIPES: dict[str, Recipe] = {
    row.type: row
    for row in (
        _obstacle("Accident", (40, 43), (53, 57), None, 16),
        _obstacle("AccidentTwoWays", (40, 43), (53, 57), ((32, 60), (155, 184)), 16),
        _plain_junction("BlockedIntersection", _EVERY, tail=40),
        _obstacle("ConstructionObstacle", (40, 44), (47, 55), None, 5),
        _obstacle("ConstructionObstacleTwoWays", (40, 44), (47, 55), ((43, 70), (160, 200)), 5),
        Recipe("ControlLoss", partial(_stretch, length=80, tail=50)),
        Recipe("CrossingBicycleFlow", _bicycles, (Turn.RIGHT,)),
        Recipe("DynamicObjectCrossing", _crossing),
        _joining("EnterActorFlow", (9, 14), _SLOW_GAP, "left", Turn.RIGHT, _NO_LIGHT),
        Recipe("HardBreakRoute", partial(_stretch, length=60, tail=30), lead=50),
        _hazard("HazardAtSideLane", (41, 45), None),
        _hazard("HazardAtSideLaneTwoWays", (40, 50), (75, 100)),
        Recipe("HighwayCutIn", _cut_in_from_ramp, lead=30, reach=330),
        Recipe("HighwayExit", _leave_across, (Turn.STRAIGHT, Turn.RIGHT), lead=50, reach=330),
        Recipe("InterurbanActorFlow", _leave_interurban, (Turn.LEFT,), lead=30, towns=_INTERURBAN),
        Recipe("InterurbanAdvancedActorFlow", _enter_interurban, (Turn.LEFT,), 30, 260, _INTERURBAN),
        Recipe("InvadingTurn", _invading_turn),
        _joining("MergerIntoSlowTraffic", (8, 12), _SLOW_GAP, "beside", Turn.STRAIGHT, _FREE),
        _joining("MergerIntoSlowTrafficV2", (9, 11), ((11, 17), (30, 38)), "beside", Turn.STRAIGHT, _FREE),
        _across("NonSignalizedJunctionLeftTurn", Turn.LEFT, _NO_LIGHT),
        _across("NonSignalizedJunctionLeftTurnEnterFlow", Turn.LEFT, _NO_LIGHT, enters_flow=True),
        _across("NonSignalizedJunctionRightTurn", Turn.RIGHT, _NO_LIGHT),
        Recipe("OppositeVehicleRunningRedLight", partial(_violator, rules=_LIGHT)),
        Recipe("OppositeVehicleTakingPriority", partial(_violator, rules=_NO_LIGHT)),
        _obstacle("ParkedObstacle", (40, 43), (40, 59), None, 5),
        _obstacle("ParkedObstacleTwoWays", (40, 44), (40, 55), ((31, 56), (148, 151)), 5),
        Recipe("ParkingCrossingPedestrian", _parked_crossing),
        Recipe("ParkingCutIn", _parking_cut_in),
        Recipe("ParkingExit", _parking_exit, lead=0),
        Recipe("PedestrianCrossing", _crosswalk, _EVERY),
        Recipe("SequentialLaneChange", _lane_changes, reach=260),
        _across("SignalizedJunctionLeftTurn", Turn.LEFT, _LIGHT),
        _across("SignalizedJunctionLeftTurnEnterFlow", Turn.LEFT, _LIGHT, enters_flow=True),
        _across("SignalizedJunctionRightTurn", Turn.RIGHT, _LIGHT),
        Recipe("StaticCutIn", _static_cut_in),
        _plain_junction("T_Junction", _ANY_TURN, arms=3, tail=45),
        _plain_junction("VanillaNonSignalizedTurn", _ANY_TURN, _FREE),
        _plain_junction("VanillaNonSignalizedTurnEncounterStopsign", _ANY_TURN, (Rule.STOP,)),
        _plain_junction("VanillaSignalizedTurnEncounterGreenLight", _ANY_TURN, _LIGHT),
        _plain_junction("VanillaSignalizedTurnEncounterRedLight", _ANY_TURN, _LIGHT),
        Recipe("VehicleOpensDoorTwoWays", _open_door),
        Recipe("VehicleTurningRoute", _crossing_after_turn, _ANY_TURN),
        Recipe("VehicleTurningRoutePedestrian", _crossing_after_turn, _ANY_TURN),
        Recipe("YieldToEmergencyVehicle", _emergency_vehicle, lead=35),
    )
}

#: Types of the collection beyond the benchmark's 44.
COLLECTION_ONLY: dict[str, Recipe] = {
    row.type: row
    for row in (
        _plain_junction("PriorityAtJunction", _EVERY, _LIGHT),
        _joining("EnterActorFlowV2", (9, 14), _SLOW_GAP, "left", Turn.RIGHT, _NO_LIGHT),
    )
}

#: Driving without a scenario: a stretch with a junction on the way.
PLAIN = Recipe("", partial(_at_junction, tail=60), _EVERY, lead=45)


def recipe(name: str) -> Recipe:
    """Look up a recipe; "" is plain driving.

    Raises:
        ValueError: No such type; names the nearest one.
    """
    table = {**RECIPES, **COLLECTION_ONLY, "": PLAIN}
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no recipe for scenario type {name!r}{hint}")
    return table[name]
