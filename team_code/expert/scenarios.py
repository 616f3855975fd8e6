"""What the expert does about scenarios that need another path than the planned one.

One row of `DEVIATIONS` per profile and scenario type says how the path bends; `MANOEUVRES` holds one function per kind of
manoeuvre. All other scenario types need no deviation: forecasts, lights and stop signs cover them.
Lengths are in points of the 0.1 m route. Values of the profile `simlingo`: `RenzKa/simlingo`, `team_code/config.py`. Its
paths reach the other lane only beside the obstacle, which works because the published expert looks at nothing while it
overtakes; the corrected ones reach it before, as those of its successor do (`kesai-labs/lead`, `lead/expert/config_expert.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import carla
import numpy as np

from driving.kinematics import minimum_travel_time
from srunner.scenariomanager.scenario_info import ScenarioInfo
from team_code.expert.config import ExpertConfig
from team_code.expert.forecast import SAME_DIRECTION_COSINE
from team_code.expert.lane_changes import LaneChange, LaneChanges
from team_code.expert.planner import RoutePlanner
from team_code.expert.scene import Scene
from team_code.expert.target_speed import Cause, SpeedPlanner

KMH = 1 / 3.6
FAR = 10**9
TIME_GAP_S = 0.2
LEAST_RESERVE = 0.5
"""Share of the reserve of time that is kept however long the ego has waited."""
BLEND_TIME_S = 2.0
PASSED_M = 8.0
"""So far ahead an emergency vehicle leaves room to come back behind it."""
CLEARING_SHARE = 0.75
"""Share of the cruise speed driven while the lanes beside are taken, so that those on them get ahead."""
LANE_WIDTH_M = 3.5
PATIENCE_TICKS = 400
LEAVING_SHARE = 0.35
"""Share of the way to the other lane, in points, on which the ego is still beside oncoming cars rather than before them."""
LEAST_CHANGE, FARTHEST_RETURN = 60, 1000
"""Points that a lane change around an obstacle takes at least, and within which the ego comes back if it can."""
STANDING_MPS, STANDING_ROOM_M = 0.5, 10.0
BORDER_RESERVE_M, ONCOMING_RESERVE_M = 0.1, 0.3
"""Who keeps to the own lane keeps its centre this far from the border, and its side this far from oncoming cars."""
WIDE_CAR_M = 1.05
"""Half width that an oncoming car may have."""
REACTION_TICKS = 105
"""The scenarios hold off oncoming traffic, and let the oncoming lane be used, five seconds after the ego has come near."""


@dataclass(frozen=True)
class Deviation:
    """How the path bends for one scenario type.

    Attributes:
        scenario: Type, with ``TwoWays`` where the oncoming lane is needed.
        manoeuvre: Key of `MANOEUVRES`.
        reach: Horizontal distance at which the expert reacts, metres.
        blend: Points over which the path moves to the other lane and back.
        before, after: Points added before the first and after the last obstacle.
        factor: Share of the way to the centre of the other lane.
        max_speed: On the oncoming lane, m/s.
        clearance: Metres kept free beside vehicles that leave room to pass with the ego's centre in its own lane; None always
            moves over by ``factor``.
        notice: The oncoming lane is used only after five seconds within this distance of the obstacle, metres; 0 at once.
    """

    scenario: str
    manoeuvre: str
    reach: float = 50.0
    blend: int = 80
    before: int = 0
    after: int = 0
    factor: float = 1.0
    max_speed: float = 50 * KMH
    clearance: float | None = None
    notice: float = 0.0


_PUBLISHED = (
    Deviation("Accident", "pass_obstacle"),
    Deviation("ParkedObstacle", "pass_obstacle"),
    Deviation("ConstructionObstacle", "pass_obstacle", blend=105),
    Deviation("AccidentTwoWays", "overtake", blend=40, before=-10),
    Deviation("ConstructionObstacleTwoWays", "overtake", blend=40, before=25, after=25),
    Deviation("ParkedObstacleTwoWays", "overtake", blend=40, before=-5, after=-5, factor=0.7),
    Deviation("VehicleOpensDoorTwoWays", "overtake", blend=40, before=-5, after=-5, factor=0.7, max_speed=40 * KMH),
    Deviation("HazardAtSideLane", "pass_bicycles", reach=25.0),
    Deviation("HazardAtSideLaneTwoWays", "overtake_bicycles", reach=10.0, after=135),
    Deviation("InvadingTurn", "hug_edge", before=150, after=100),
    Deviation("YieldToEmergencyVehicle", "make_way", before=300, after=200),
)
_CORRECTED = (
    Deviation("Accident", "pass_obstacle", reach=80.0, blend=110, before=15, after=15),
    Deviation("ParkedObstacle", "pass_obstacle", reach=80.0, blend=110, before=10, after=10),
    Deviation("ConstructionObstacle", "pass_obstacle", reach=80.0, blend=110, before=15, after=15),
    Deviation("AccidentTwoWays", "overtake", blend=90, before=10, after=10, clearance=0.35, notice=38.0),
    Deviation("ConstructionObstacleTwoWays", "overtake", blend=130, before=15, after=30, notice=28.0),
    Deviation(
        "ParkedObstacleTwoWays", "overtake", blend=90, before=10, after=5, factor=0.9, clearance=0.5, notice=48.0
    ),
    Deviation(
        "VehicleOpensDoorTwoWays",
        "overtake",
        blend=90,
        before=10,
        after=10,
        factor=0.9,
        max_speed=40 * KMH,
        clearance=1.4,
    ),
    Deviation("HazardAtSideLane", "pass_bicycles", reach=60.0),
    Deviation("HazardAtSideLaneTwoWays", "overtake_bicycles", reach=30.0, after=100, max_speed=40 * KMH, clearance=0.7),
    Deviation("InvadingTurn", "hug_edge", before=150, after=100),
    Deviation("YieldToEmergencyVehicle", "make_way", before=50, after=200),
)


def _table(rows: tuple[Deviation, ...]) -> dict[str, Deviation]:
    table = {row.scenario: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("two rows of a deviation table have the same scenario type")
    return table


DEVIATIONS = {"corrected": _table(_CORRECTED), "simlingo": _table(_PUBLISHED)}

GEOMETRIC_TYPES = ("Accident", "ParkedObstacle", "ConstructionObstacle", "HazardAtSideLane")


@dataclass
class Progress:
    """The expert's own state for one scenario.

    Attributes:
        begin, end: First and last shifted route index.
        changed: Whether the route has been shifted.
        clear: Whether the oncoming lane was found free.
        to_left: Side of the shift.
        done: Nothing more to do.
        waited: Ticks spent waiting for a gap.
        blend: Points over which the path moves over; more at speed.
        factor: Share of the way to the centre of the other lane.
        has_room: Whether oncoming cars have room beside the shifted path.
        near_ticks: Ticks spent within the distance of the obstacle at which its scenario takes notice.
        actor: First obstacle.
    """

    begin: int = FAR
    end: int = FAR
    changed: bool = False
    clear: bool = False
    to_left: bool = True
    done: bool = False
    waited: int = 0
    blend: int = 80
    factor: float = 1.0
    has_room: bool = False
    near_ticks: int = 0
    actor: carla.Actor | None = None


@dataclass(frozen=True)
class ScenarioDecision:
    """What scenarios ask for in one tick.

    Attributes:
        max_speed: Cap of the target speed, m/s.
        keep_driving: The oncoming lane is being used; do not stop there.
        cause: Why the cap is below the cruise speed.
    """

    max_speed: float
    keep_driving: bool
    cause: Cause


@dataclass(frozen=True)
class Situation:
    """What a manoeuvre needs to know: route, world, speeds and the scenario itself."""

    planner: RoutePlanner
    speed: SpeedPlanner
    config: ExpertConfig
    world_map: carla.Map
    scene: Scene
    cruise: float
    info: ScenarioInfo
    row: Deviation
    lane_changes: LaneChanges | None = None

    @property
    def first(self) -> carla.Actor:
        """The first obstacle along the route."""
        return self.info.first_actor

    @property
    def last(self) -> carla.Actor:
        """The last one; the first again if there is only one."""
        return self.info.last_actor or self.info.first_actor

    @property
    def vehicles(self) -> list[carla.Actor]:
        """The vehicles to get past."""
        actors = {actor.id: actor for actor in (*self.info.actors.values(), self.first, self.last)}
        return [actor for actor in actors.values() if actor.type_id.startswith("vehicle.")]

    def free(self) -> ScenarioDecision:
        """No restriction."""
        return ScenarioDecision(self.cruise, False, Cause(self.cruise))


def pass_obstacle(at: Situation, progress: Progress) -> ScenarioDecision:
    """Pass on the neighbouring lane of the same direction: change over where there is a gap before the obstacle, and back.

    The published expert bends its path once and looks at nobody.
    """
    left = at.info.direction == "right"
    if at.lane_changes is None:
        _shift_around(at, progress, left)
        progress.done = True
        return at.free()
    if not progress.changed:
        _plan_detour(at, at.lane_changes, progress, left)
    progress.done = at.planner.index >= progress.end
    return at.free()


def _plan_detour(at: Situation, lane_changes: LaneChanges, progress: Progress, left: bool) -> None:
    """Lane changes before and behind the obstacles, the first as soon as there is a gap, the second likewise."""
    planner, row = at.planner, at.row
    at_first = planner.nearest_index(at.first.get_location())
    at_last = planner.closest_index(at.last.get_location(), at_first)
    beside = at_first - int(10 * at.first.bounding_box.extent.x) - row.before
    behind = at_last + int(10 * at.last.bounding_box.extent.x) + row.after
    beside = max(beside, min(planner.index + LEAST_CHANGE, at_first))
    begin = min(planner.side_lane_until(beside, planner.index, left), beside - LEAST_CHANGE)
    end = planner.side_lane_until(behind, min(behind + FARTHEST_RETURN, len(planner.route) - 1), left)
    end = max(end, min(behind + row.blend, len(planner.route) - 1))
    side, own = planner.side_points(begin, end, left), planner.route.original_points[begin:end]
    length = lane_changes.usual_length(max(at.cruise, at.scene.ego.speed))
    there = LaneChange(
        begin,
        beside,
        left,
        own[: beside - begin],
        side[: beside - begin],
        begin,
        min(begin + length, beside),
        is_detour=True,
    )
    back = LaneChange(
        behind,
        end,
        not left,
        side[behind - begin :],
        own[behind - begin :],
        behind,
        min(behind + length, end),
        is_detour=True,
    )
    planner.detour(beside, side[beside - begin : behind - begin], beside, beside, left)
    lane_changes.add_detour(there, back)
    progress.begin, progress.end = begin, behind
    progress.to_left, progress.changed = left, True


def overtake(at: Situation, progress: Progress) -> ScenarioDecision:
    """Bend the path into the oncoming lane, wait before it until there is a gap, then drive through."""
    left = at.info.direction == "right"
    if not progress.changed:
        _shift_around(at, progress, left)
    return _use_oncoming_lane(at, progress, left)


def overtake_bicycles(at: Situation, progress: Progress) -> ScenarioDecision:
    """Overtake moving bicycles: within the own lane where that leaves room for oncoming cars, else when there is a gap."""
    planner, row = at.planner, at.row
    if not progress.changed:
        _choose_side_step(at, progress, left=True)
        end = planner.closest_index(at.last.get_location(), planner.index) + row.after
        entry = planner.index + int(LEAVING_SHARE * row.blend)
        if not progress.has_room and not (_is_noticed(at, progress) and _lane_is_free(at, end, True, entry)):
            return at.free()
        progress.blend = row.blend
        progress.begin, progress.end = planner.index, min(end, len(planner.route) - 1)
        planner.shift_smoothly(progress.begin, progress.end, True, row.blend, progress.factor)
        progress.end -= row.blend if at.config.gap_check else 0
        progress.changed = True
    if at.config.gap_check:
        _hold_beside(at, progress, planner.closest_index(at.last.get_location(), planner.index) + row.after)
    if planner.index >= progress.end:
        progress.done = True
        return at.free()
    return _pass(at, progress)


def pass_bicycles(at: Situation, progress: Progress) -> ScenarioDecision:
    """Keep to the neighbouring lane of the same direction until the bicycles are passed."""
    planner = at.planner
    if not progress.changed:
        if at.config.gap_check and not _side_is_free(at, True, progress.waited):
            progress.waited += 1
            return at.free()
        _shift_around(at, progress, left=True)
        progress.end -= progress.blend
    obstacle = planner.closest_index(at.last.get_location(), planner.index)
    if planner.index > progress.end:
        progress.done = True
        return at.free()
    _hold_beside(at, progress, obstacle + int(10 * at.last.bounding_box.extent.x) + progress.blend)
    return at.free()


def hug_edge(at: Situation, progress: Progress) -> ScenarioDecision:
    """Drive to the right of cones that take part of the own lane in a bend."""
    planner, row, offset = at.planner, at.row, at.info.numbers["offset"]
    if at.config.gap_check and "sink" in at.info.places:  # oncoming cars keep aside on more of the way than has cones
        first = planner.nearest_index(at.info.places["sink"].location)
        last = planner.nearest_index(at.info.places["source"].location)
    else:
        first = planner.closest_index(at.first.get_location(), planner.index)
        last = planner.closest_index(at.last.get_location(), first + 100)
    begin, end = max(first - row.before, 0), min(last + row.after, len(planner.route) - 1)
    shifts = np.array([_edge_shift(waypoint, offset) for waypoint in planner.route.waypoints[begin:end]])
    if at.config.route.true_start and len(shifts):
        shifts = _taper(shifts, 50)
    planner.shift_sideways(begin, end, shifts)
    progress.done = True
    return at.free()


def make_way(at: Situation, progress: Progress) -> ScenarioDecision:
    """Clear the lane for an emergency vehicle from behind and come back when it has passed."""
    planner, row, ego = at.planner, at.row, at.scene.ego
    place = at.first.get_location()
    ahead = float(np.dot([place.x - ego.xyz[0], place.y - ego.xyz[1]], ego.forward))
    if ahead > (PASSED_M if at.config.gap_check else 0.0) and progress.changed:
        progress.done = True
        if at.config.gap_check:
            planner.return_to_lane(_blend_at_speed(at, row.blend))
        return at.free()
    if not progress.changed:
        begin = min(planner.index + row.before, len(planner.route) - 1)
        side = _side_to_clear(at, planner.route.waypoints[begin])
        if side is None:
            slower = CLEARING_SHARE * at.cruise
            return ScenarioDecision(slower, False, Cause(slower, "make_way", at.first.type_id, at.first.id))
        progress.to_left, progress.blend = side, _blend_at_speed(at, row.blend)
        end = begin + max(row.after, 2 * progress.blend)
        progress.begin, progress.end = begin, end - progress.blend
        planner.shift_smoothly(begin, end, progress.to_left, progress.blend, row.factor)
        progress.changed = True
    _hold_beside(at, progress, planner.index + 200 + progress.blend)
    return at.free()


def _side_to_clear(at: Situation, waypoint: carla.Waypoint) -> bool | None:
    """Whether to move to the left; None while the lanes beside are taken."""
    if not at.config.gap_check:
        return bool(waypoint.lane_change != carla.LaneChange.Right)
    for left in (True, False):
        other = at.planner.side_waypoint(waypoint, left)
        if other is not None and other.lane_id * waypoint.lane_id > 0 and _side_is_free(at, left, 0):
            return left
    return None


def _blend_at_speed(at: Situation, least: int) -> int:
    """Points over which to move over: more at speed, as the published expert does not."""
    return max(least, int(BLEND_TIME_S * 10 * at.scene.ego.speed)) if at.config.gap_check else least


MANOEUVRES: dict[str, Callable[[Situation, Progress], ScenarioDecision]] = {
    function.__name__: function
    for function in (pass_obstacle, overtake, overtake_bicycles, pass_bicycles, hug_edge, make_way)
}


def _place_and_size(actor: carla.Actor) -> tuple[carla.Location, float]:
    return actor.get_location(), actor.bounding_box.extent.x


def _hold_beside(at: Situation, progress: Progress, until: int) -> None:
    """Stay beside the lane up to route index ``until`` at least, and come back over the points that follow."""
    end = max(until, progress.end) + progress.blend
    at.planner.extend_shift(progress.end, end, progress.to_left, progress.blend, progress.factor)
    progress.end = end - progress.blend


def _choose_side_step(at: Situation, progress: Progress, left: bool) -> None:
    """Decide how far to move over: as far as the vehicles need where the ego's centre then stays in its own lane."""
    ego_half = float(at.scene.ego.extent[1])
    progress.factor, progress.has_room = at.row.factor, False
    rows = [i for i in map(at.scene.vehicles.index_of, (actor.id for actor in at.vehicles)) if i is not None]
    if at.row.clearance is None or not rows:
        return
    planner, vehicles = at.planner, at.scene.vehicles
    beside = planner.route.waypoints[planner.closest_index(at.first.get_location(), planner.index)]
    other = planner.side_waypoint(beside, left)
    step = max(ego_half + at.row.clearance - planner.inner_edge(vehicles, i, left) for i in rows)
    if other is None or step > beside.lane_width / 2 - BORDER_RESERVE_M:
        return
    lane_distance = float(other.transform.location.distance(beside.transform.location))
    progress.factor = max(step, 0.0) / lane_distance
    progress.has_room = lane_distance - WIDE_CAR_M - step - ego_half > ONCOMING_RESERVE_M


def _is_noticed(at: Situation, progress: Progress) -> bool:
    """Whether the ego may use the oncoming lane: at once where others have room, else after a time near the obstacle."""
    place = at.info.places["obstacle"].location if "obstacle" in at.info.places else at.first.get_location()
    if float(np.linalg.norm(at.scene.ego.xyz - [place.x, place.y, place.z])) < at.row.notice:
        progress.near_ticks += 1
    return progress.has_room or at.row.notice == 0.0 or progress.near_ticks > REACTION_TICKS


def _shift_around(at: Situation, progress: Progress, left: bool) -> None:
    row, last, first = at.row, at.info.last_actor, _place_and_size(at.first)
    progress.blend = row.blend
    _choose_side_step(at, progress, left)
    if at.config.gap_check and row.manoeuvre != "overtake":
        room = at.planner.nearest_index(first[0]) - at.planner.index - int(10 * first[1]) - row.before
        progress.blend = max(row.blend, min(_blend_at_speed(at, row.blend), room))
    progress.begin, progress.end = at.planner.shift_around(
        first,
        _place_and_size(last) if last is not None else None,
        left,
        progress.blend,
        progress.factor,
        row.before,
        row.after,
    )
    progress.to_left, progress.changed = left, True


def _edge_shift(waypoint: carla.Waypoint, offset: float) -> float:
    """Shift to the right, metres; onto a shoulder only as far as it is wide."""
    right = waypoint.get_right_lane()
    if right is not None and right.lane_type == carla.LaneType.Shoulder:
        return abs(min(offset - np.sign(offset) * 0.3, right.lane_width))
    return abs(offset)


def _taper(values: np.ndarray, length: int) -> np.ndarray:
    """Values that grow from zero and fall back to it over ``length`` entries at either end."""
    index = np.arange(len(values))
    return values * np.clip(np.minimum(index, len(values) - 1 - index) / length, 0.0, 1.0)


def _use_oncoming_lane(at: Situation, progress: Progress, left: bool) -> ScenarioDecision:
    planner = at.planner
    if planner.index >= progress.end - 20:
        progress.done = True
        return at.free()
    noticed = _is_noticed(at, progress)
    lane_end = progress.end - (progress.blend // 3 if at.config.gap_check else 0)  # the last third is in the own lane
    entry = progress.begin + int(LEAVING_SHARE * progress.blend)
    if not progress.clear and progress.begin - planner.index < 80:
        progress.clear = progress.has_room or (noticed and _lane_is_free(at, lane_end, left, entry, progress.waited))
        progress.waited += 1
    return _pass(at, progress) if progress.clear else _wait_before(at, progress)


def _pass(at: Situation, progress: Progress) -> ScenarioDecision:
    """Drive past; where oncoming cars have no room, without stopping and faster than usual."""
    if progress.has_room:
        speed = min(at.cruise, at.row.max_speed)
        return ScenarioDecision(speed, False, Cause(speed, "overtake"))
    return ScenarioDecision(at.row.max_speed, True, Cause(at.row.max_speed, "overtake"))


def _wait_before(at: Situation, progress: Progress) -> ScenarioDecision:
    """Stop where the path begins to leave the lane."""
    distance = (progress.begin + 15 - at.planner.index) / 10
    wait = at.speed.wait_speed(at.cruise, at.scene.ego, distance)
    place = at.first.get_location()
    gap = float(np.linalg.norm(at.scene.ego.xyz - [place.x, place.y, place.z]))
    cause = Cause(wait, "overtake_wait", at.first.type_id, at.first.id, gap)
    return ScenarioDecision(wait, False, cause)


def _time_to_pass(at: Situation, end: int, goal: np.ndarray, waited: int) -> float:
    """Seconds until the ego has left the other lane, with a reserve of its own length and 10 m that shrinks while it waits."""
    ego, cap = at.scene.ego, at.row.max_speed
    reserve = 2 * float(ego.extent[0]) + 10.0
    if at.config.profile == "simlingo":
        distance = float(np.linalg.norm(goal - ego.xyz)) + reserve
        return minimum_travel_time(distance, min(cap, at.cruise), ego.speed)
    return (
        at.planner.travel_time(end, ego.speed, cap) + max(LEAST_RESERVE, 1.0 - waited / PATIENCE_TICKS) * reserve / cap
    )


def _side_is_free(at: Situation, left: bool, waited: int) -> bool:
    """Whether the ego may move over to the neighbouring lane of its own direction.

    Somebody behind on that lane must be able to keep 2 s of distance at the difference of the speeds, and nobody may be
    beside the ego. Who has waited long takes smaller gaps: drivers behind let him in.
    """
    ego, patience = at.scene.ego, max(0.3, 1.0 - waited / PATIENCE_TICKS)
    right = np.array([-ego.forward[1], ego.forward[0]])
    offset = at.scene.vehicles.xy - ego.xyz[:2]
    ahead, aside = offset @ ego.forward, offset @ right
    in_lane = np.abs(aside + (LANE_WIDTH_M if left else -LANE_WIDTH_M)) < LANE_WIDTH_M / 2
    speed = at.scene.vehicles.velocity[:, :2] @ ego.forward
    beside = in_lane & (np.abs(ahead) < 2 * ego.extent[0] + 1.0)
    gap = -ahead - 2 * ego.extent[0]
    closing = np.maximum(speed - ego.speed, 0.0)
    too_close = in_lane & (ahead < 0) & (gap < patience * (4.0 + 3.0 * closing)) & (speed > 1.0)
    return not bool(np.any(beside | too_close))


def _lanes_into(target: carla.Waypoint, steps: int, all_branches: bool) -> set[tuple[int, int]]:
    """(road, lane) of a lane and of what leads into it within ``steps`` metres; of every branch or of the first only."""
    lanes, front = {(target.road_id, target.lane_id)}, [target]
    for _ in range(steps):
        reached: dict[tuple[int, int], carla.Waypoint] = {}
        for waypoint in front:
            for before in waypoint.previous(1.0)[: None if all_branches else 1]:
                reached[(before.road_id, before.lane_id)] = before
        front = list(reached.values())
        lanes.update(reached)
    return lanes


def _is_short_of(at: Situation, goal: np.ndarray, i: int) -> bool:
    """Whether an oncoming vehicle is on the stretch that the ego needs.

    The published test asks whether the goal lies behind the vehicle, which fails on bends.
    """
    vehicles, ego = at.scene.vehicles, at.scene.ego
    if at.config.gap_check:
        return bool(np.linalg.norm(vehicles.xyz[i] - ego.xyz) < np.linalg.norm(goal - ego.xyz))
    heading = np.array([np.cos(vehicles.yaw[i]), np.sin(vehicles.yaw[i])])
    return float(np.dot(goal[:2] - vehicles.xy[i], heading)) < 0


def _is_gone_before(at: Situation, entry: int, i: int) -> bool:
    """Whether an oncoming vehicle has passed the place where the ego leaves its lane before the ego gets there.

    Who waits until everybody has passed its own bumper loses a second of the gap.
    """
    vehicles, ego, route = at.scene.vehicles, at.scene.ego, at.planner.route
    if not at.config.gap_check or np.cos(vehicles.yaw[i] - ego.yaw) > -SAME_DIRECTION_COSINE:
        return False
    place = route.points[min(entry, len(route) - 1), :2]
    heading = np.array([np.cos(vehicles.yaw[i]), np.sin(vehicles.yaw[i])])
    left = float(np.dot(place - vehicles.xy[i], heading)) + float(vehicles.extent[i, 0])
    front = int(10 * ego.extent[0])
    arrival = at.planner.travel_time(max(entry - front, at.planner.index), ego.speed, at.row.max_speed)
    return left / max(1.0, float(vehicles.speed[i])) + TIME_GAP_S < arrival


def _lane_is_free(at: Situation, end: int, left: bool, entry: int, waited: int = 0, lanes_behind: int = 100) -> bool:
    """Whether the ego, which leaves its lane at route index ``entry``, is past ``end`` before anybody on the other gets there."""
    ego, route = at.scene.ego, at.planner.route
    own = at.world_map.get_waypoint(carla.Location(*map(float, ego.xyz)))
    target = at.planner.side_waypoint(own, left)
    if target is None:
        return False
    goal = route.points[min(end, len(route) - 1)]
    ego_time = _time_to_pass(at, end, goal, waited)
    lanes = _lanes_into(target, lanes_behind, all_branches=at.config.gap_check)
    vehicles = at.scene.vehicles
    for i in range(len(vehicles)):
        offset = vehicles.xy[i] - ego.xyz[:2]
        if float(np.dot(offset, ego.forward)) < 0:
            continue
        waypoint = at.world_map.get_waypoint(carla.Location(*map(float, vehicles.xyz[i])))
        if waypoint is None or (waypoint.road_id, waypoint.lane_id) not in lanes:
            continue
        room = float(np.linalg.norm(goal - vehicles.xyz[i])) - vehicles.extent[i, 0]
        if _is_gone_before(at, entry, i):
            continue
        if _is_short_of(at, goal, i):
            return False
        if at.config.gap_check and vehicles.speed[i] < STANDING_MPS and room > STANDING_ROOM_M:
            continue
        if room / max(1.0, float(vehicles.speed[i])) < ego_time + TIME_GAP_S:
            return False
    return True


class ScenarioManager:
    """Keeps the expert's state of every scenario and asks the right manoeuvre each tick.

    Args:
        planner: Route to bend.
        speed: Gives waiting speeds.
        world_map: Map of the town.
        config: Constants.
        lane_changes: Looks for gaps; None moves over regardless.
    """

    def __init__(
        self,
        planner: RoutePlanner,
        speed: SpeedPlanner,
        world_map: carla.Map,
        config: ExpertConfig,
        lane_changes: LaneChanges | None = None,
    ) -> None:
        self._planner, self._speed, self._map, self._config = planner, speed, world_map, config
        self._lane_changes = lane_changes
        self._progress: dict[int, Progress] = {}

    def step(self, scene: Scene, cruise: float, infos: Sequence[ScenarioInfo]) -> ScenarioDecision:
        """What the scenarios built so far ask for; speeds in m/s."""
        self._forget_ended(infos)
        in_range: list[tuple[float, ScenarioInfo, Deviation]] = []
        for info in infos:
            row = deviation_for(info, self._config.profile)
            if row is None or not _alive(info) or self._progress.setdefault(info.id, Progress()).done:
                continue
            in_range.append((_distance(info, scene), info, row))
        in_range.sort(key=lambda entry: entry[0])
        if not self._config.all_scenarios:
            in_range = in_range[:1]
        result = ScenarioDecision(cruise, False, Cause(cruise))
        for _, info, row in in_range:
            progress = self._progress[info.id]
            progress.actor = info.first_actor
            if progress.changed or _trigger_distance(info, row, scene, self._config) < row.reach:
                at = Situation(
                    self._planner, self._speed, self._config, self._map, scene, cruise, info, row, self._lane_changes
                )
                result = _stricter(result, MANOEUVRES[row.manoeuvre](at, progress))
        return result

    def _forget_ended(self, infos: Sequence[ScenarioInfo]) -> None:
        """Go back to the lane where the obstacle of a deviation is gone before it was passed."""
        if not self._config.gap_check:
            return
        there = {info.id for info in infos}
        for key, progress in self._progress.items():
            gone = key not in there and (progress.actor is None or not progress.actor.is_alive)
            if gone and progress.changed and not progress.done and self._planner.index < progress.end:
                self._planner.return_to_lane(max(80, progress.blend))
                if self._lane_changes is not None:
                    self._lane_changes.drop_detours()
                progress.done = True


def deviation_for(info: ScenarioInfo, profile: str = "corrected") -> Deviation | None:
    """The row for a scenario, None if its type needs no deviation. Geometry decides between one and two ways."""
    base, table = info.type.removesuffix("TwoWays"), DEVIATIONS[profile]
    if base in GEOMETRIC_TYPES and info.two_way is not None:
        return table[f"{base}TwoWays" if info.two_way else base]
    return table.get(info.type)


def _alive(info: ScenarioInfo) -> bool:
    actors = (info.first_actor, info.last_actor)
    return info.first_actor is not None and all(actor is None or actor.is_alive for actor in actors)


def _distance(info: ScenarioInfo, scene: Scene) -> float:
    place = info.first_actor.get_location()  # type: ignore[union-attr]
    return float(np.linalg.norm(scene.ego.xyz - [place.x, place.y, place.z]))


def _trigger_distance(info: ScenarioInfo, row: Deviation, scene: Scene, config: ExpertConfig) -> float:
    """Distance that starts the manoeuvre: horizontal, to the last bicycle for bicycles beside, else to the first actor."""
    actor = info.last_actor if row.manoeuvre == "pass_bicycles" and info.last_actor else info.first_actor
    place = actor.get_location()  # type: ignore[union-attr]
    if config.gap_check and row.manoeuvre == "hug_edge" and "sink" in info.places:
        place = info.places["sink"].location
    offset = [place.x - scene.ego.xyz[0], place.y - scene.ego.xyz[1]]
    if row.manoeuvre in ("hug_edge", "make_way"):  # an emergency vehicle waits far below the road until it is sent
        offset.append(place.z - scene.ego.xyz[2])
    return float(np.linalg.norm(offset))


def _stricter(a: ScenarioDecision, b: ScenarioDecision) -> ScenarioDecision:
    """A wait beats an overtaking, and lower speeds beat higher ones."""
    if a.keep_driving != b.keep_driving:
        waiting, driving = (b, a) if a.keep_driving else (a, b)
        return waiting if waiting.cause.rule != "cruise" else driving
    return a if a.max_speed <= b.max_speed else b
