"""Manoeuvres around scenario obstacles, on a town map without a simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import carla
import numpy as np
import pytest

from driving.commands import RoadOption
from driving.geometry import box_corners_2d, boxes_overlap_2d
from srunner.scenariomanager.scenario_info import ScenarioInfo, ScenarioPhase
from team_code.expert.config import RouteConfig
from team_code.expert.planner import RoutePlanner
from team_code.expert.scenarios import DEVIATIONS, MANOEUVRES, deviation_for

from . import simulation

TOWN = Path(__file__).resolve().parents[3] / "data" / "towns" / "Mini01.xodr"


@dataclass
class Obstacle:
    """A standing actor of a scenario."""

    id: int
    pose: tuple[float, float, float]
    type_id: str = "vehicle.tesla.model3"
    is_alive: bool = True

    @property
    def bounding_box(self):
        return carla.BoundingBox(carla.Location(), carla.Vector3D(2.3, 1.0, 0.75))

    def get_location(self):
        return carla.Location(*self.pose)


@pytest.fixture(scope="module")
def town():
    return simulation.load_map(TOWN)


def long_lane(town, two_way, length=105):
    """A plan along a lane with a free neighbour: to the left in the same direction, or oncoming."""
    for waypoint in town.generate_waypoints(20.0):
        ahead = [waypoint]
        while len(ahead) < length and (following := ahead[-1].next(1.0)) and not following[0].is_junction:
            ahead.append(following[0])
        left = [w.get_left_lane() for w in ahead]
        oncoming = [
            w is not None and w.lane_type == carla.LaneType.Driving and w.lane_id * waypoint.lane_id < 0 for w in left
        ]
        same = [
            w is not None and w.lane_type == carla.LaneType.Driving and w.lane_id * waypoint.lane_id > 0 for w in left
        ]
        if len(ahead) == length and all(oncoming if two_way else same):
            return [(w.transform, RoadOption.LANEFOLLOW) for w in ahead]
    raise AssertionError(f"no lane of {length} m with {'an oncoming' if two_way else 'a parallel'} lane beside it")


def scenario(kind, plan, index, two_way, last=None, **more):
    place = plan[index][0].location
    first = Obstacle(50, (place.x, place.y, place.z))
    last_place = None if last is None else plan[last][0].location
    return ScenarioInfo(
        id=1,
        name=kind,
        type=kind,
        phase=ScenarioPhase.ACTIVE,
        trigger=plan[0][0],
        route_index=0,
        first_actor=first,
        last_actor=None if last_place is None else Obstacle(51, (last_place.x, last_place.y, last_place.z)),
        two_way=two_way,
        **more,
    )


def drive_past(drive, info, goal_index, vehicles=None, limit=1500):
    """Drive until the plan's point ``goal_index`` is reached. Returns poses and the least gap to the obstacle's centre."""
    goal = drive.plan[goal_index][0].location
    here, obstacle = [], np.array(info.first_actor.pose[:2])
    for _ in range(limit):
        drive.tick(vehicles=vehicles, infos=[info])
        here.append(drive.pose[:2])
        if np.hypot(goal.x - drive.pose[0], goal.y - drive.pose[1]) < 3.0:
            break
    else:
        raise AssertionError("the expert did not get past the obstacle")
    return np.array(here), np.min(np.linalg.norm(np.array(here) - obstacle, axis=1))


def standing(info):
    x, y, _ = info.first_actor.pose
    return x, y


@pytest.mark.parametrize("kind", ["ParkedObstacle", "Accident", "ConstructionObstacle"])
@pytest.mark.parametrize(("ending", "clear_m"), [("", 2.6), ("TwoWays", 2.2)])
def test_obstacles_are_passed_on_the_neighbouring_or_the_free_oncoming_lane(town, kind, ending, clear_m):
    two_way = bool(ending)
    plan = long_lane(town, two_way=two_way)
    info = scenario(kind + ending, plan, 55, two_way=two_way)
    yaw = np.radians(plan[55][0].rotation.yaw)
    car = simulation.batch([(50, *standing(info), yaw, 0.0)])
    _, gap = drive_past(simulation.Drive(town, plan), info, 95, car)
    assert gap > clear_m


def test_the_expert_waits_while_somebody_comes(town):
    plan = long_lane(town, two_way=True)
    info = scenario("AccidentTwoWays", plan, 60, two_way=True)
    left = town.get_waypoint(plan[100][0].location).get_left_lane().transform
    yaw = np.radians(left.rotation.yaw)
    rows = [(50, *standing(info), np.radians(plan[60][0].rotation.yaw), 0.0)]
    rows.append((60, left.location.x, left.location.y, yaw, 8.0))
    drive = simulation.Drive(town, plan)
    for _ in range(400):
        decision = drive.tick(vehicles=simulation.batch(rows), infos=[info])
    assert drive.pose[3] < 0.1
    assert decision.cause.rule in ("overtake_wait", "leading", "vehicle")
    route = drive.expert.planner.route
    lateral = np.abs(route.points - route.original_points)[drive.expert.planner.index].max()
    assert lateral < 1.0


def test_the_ego_sets_off_before_the_last_oncoming_car_has_passed_it(town):
    plan = long_lane(town, two_way=True)
    info = scenario("ConstructionObstacleTwoWays", plan, 55, two_way=True)
    beside = [town.get_waypoint(pose.location).get_left_lane() for pose, _ in plan[2:98]]
    lane = [waypoint.transform for waypoint in beside if waypoint is not None]
    drive, moving, there = simulation.Drive(town, plan), False, len(lane) - 1.0
    for tick in range(700):
        index = int(there)
        if index < 0:
            break
        car = lane[index]
        rows = [(50, *standing(info), np.radians(plan[55][0].rotation.yaw), 0.0)]
        rows.append((60, car.location.x, car.location.y, np.radians(car.rotation.yaw), 8.0))
        drive.tick(vehicles=simulation.batch(rows), infos=[info])
        there -= 0.4 if tick > 300 else 0.0  # it seems to come, and then does
        own = box_corners_2d(drive.pose[:2], (2.45, 1.06), drive.pose[2])
        assert not boxes_overlap_2d(own, box_corners_2d(rows[1][1:3], (2.3, 1.0), rows[1][3]))
        if tick > 200 and drive.pose[3] > 0.5 and not moving:
            moving = True
            ahead = np.array(rows[1][1:3]) - drive.pose[:2]
            assert 0.0 < ahead @ [np.cos(drive.pose[2]), np.sin(drive.pose[2])] < 25.0
    assert moving


def beside_lane(plan, index, right):
    """A point ``right`` metres to the right of a plan's point."""
    pose = plan[index][0]
    aside = pose.get_right_vector()
    return pose.location.x + right * aside.x, pose.location.y + right * aside.y, pose.location.z


@pytest.mark.parametrize(("kind", "right"), [("VehicleOpensDoorTwoWays", 2.6), ("HazardAtSideLaneTwoWays", 1.9)])
def test_what_leaves_room_in_the_own_lane_is_passed_in_spite_of_oncoming_cars(town, kind, right):
    plan = long_lane(town, two_way=True)
    info = scenario(kind, plan, 60, two_way=True)
    place = beside_lane(plan, 60, right)
    info = replace(info, first_actor=Obstacle(50, place), last_actor=Obstacle(50, place))
    rows = [(50, *place[:2], np.radians(plan[60][0].rotation.yaw), 0.0)]
    for index in range(20, 105, 12):
        left = town.get_waypoint(plan[index][0].location).get_left_lane().transform
        rows.append((60 + index, left.location.x, left.location.y, np.radians(left.rotation.yaw), 8.0))
    drive = simulation.Drive(town, plan)
    here, gap = drive_past(drive, info, 95, simulation.batch(rows), limit=500)
    lane = np.array([(pose.location.x, pose.location.y) for pose, _ in plan])
    aside = np.min(np.linalg.norm(here[:, None] - lane[None], axis=2), axis=1)
    assert gap > 1.0 + simulation.MKZ_EXTENT[1] + 0.4
    assert aside.max() < town.get_waypoint(plan[60][0].location).lane_width / 2


def test_the_oncoming_lane_is_used_only_after_the_scenario_has_taken_notice(town):
    plan = long_lane(town, two_way=True)
    info = scenario("ConstructionObstacleTwoWays", plan, 60, two_way=True)
    car = simulation.batch([(50, *standing(info), np.radians(plan[60][0].rotation.yaw), 0.0)])
    drive = simulation.Drive(town, plan)
    near_since, lane = None, np.array([(pose.location.x, pose.location.y) for pose, _ in plan])
    for tick in range(1500):
        drive.tick(vehicles=car, infos=[info])
        here = np.array(drive.pose[:2])
        if near_since is None and np.linalg.norm(here - standing(info)) < 30.0:
            near_since = tick
        if np.min(np.linalg.norm(lane - here, axis=1)) > 1.75:
            break
    assert tick - near_since > 100


def test_the_route_returns_to_its_lane_and_commands_say_so(town):
    plan = long_lane(town, two_way=False)
    info = scenario("ParkedObstacle", plan, 55, two_way=False)
    drive = simulation.Drive(town, plan)
    drive_past(drive, info, 95)
    route = drive.expert.planner.route
    moved = np.flatnonzero(np.any(route.points != route.original_points, axis=1))
    assert RoadOption.CHANGELANELEFT in route.commands[moved[:60]]
    assert RoadOption.CHANGELANERIGHT in route.commands[moved[-60:]]
    assert np.allclose(route.points[moved[-1] + 1 :], route.original_points[moved[-1] + 1 :])
    steps = np.linalg.norm(np.diff(route.points, axis=0), axis=1)
    assert steps.max() < 0.25


def test_invading_turn_moves_to_the_right_only(town):
    plan = long_lane(town, two_way=True)
    info = scenario("InvadingTurn", plan, 60, two_way=None, last=85, numbers={"offset": -0.6})
    drive = simulation.Drive(town, plan)
    for _ in range(120):
        drive.tick(infos=[info])
    route = drive.expert.planner.route
    right = np.stack([-np.sin(route.yaws), np.cos(route.yaws)], axis=1)
    shift = np.sum((route.points - route.original_points)[:, :2] * right, axis=1)
    assert shift.min() > -1e-6
    assert 0.2 < shift.max() < 0.7


def test_props_that_hide_below_a_slope_are_found_above_their_place():
    plan = [(carla.Transform(carla.Location(x, 0.0, 0.1 * x)), RoadOption.LANEFOLLOW) for x in np.arange(0.0, 120.0)]
    road = np.array([(pose.location.x, 0.0, pose.location.z) for pose, _ in plan])
    route = SimpleNamespace(original_points=road, points=road, yaws=np.zeros(120), start=0)
    planner = RoutePlanner.__new__(RoutePlanner)
    planner.route, planner.index, planner.config = route, 0, RouteConfig()
    hidden = carla.Location(60.0, 0.0, 6.0 - 200.0)
    assert planner.nearest_index(hidden) == planner.closest_index(hidden, 10) == 60


@dataclass
class Emergency(Obstacle):
    """A vehicle that comes from behind."""

    type_id: str = "vehicle.dodge.charger_police_2020"


def test_the_lane_is_cleared_for_an_emergency_vehicle_and_taken_again(town):
    plan = long_lane(town, two_way=False)
    drive = simulation.Drive(town, plan)
    lane = np.array([(pose.location.x, pose.location.y) for pose, _ in plan])
    aside, slowest = [], np.inf
    for tick in range(400):
        index = int(np.argmin(np.linalg.norm(lane - drive.pose[:2], axis=1)))
        behind = max(index - 15, 0) if tick < 160 else min(index + 10, len(plan) - 1)
        place = plan[behind][0].location
        info = replace(
            scenario("YieldToEmergencyVehicle", plan, 0, None), first_actor=Emergency(50, (place.x, place.y, place.z))
        )
        drive.tick(infos=[info])
        aside.append(np.min(np.linalg.norm(lane - drive.pose[:2], axis=1)))
        slowest = min(slowest, drive.pose[3]) if tick > 60 else np.inf
        if index > 95:
            break
    assert max(aside) > 3.0
    assert aside[-1] < 0.8
    assert slowest > 5.0


def test_every_row_has_its_manoeuvre_and_geometry_decides_the_way():
    for table in DEVIATIONS.values():
        assert {row.manoeuvre for row in table.values()} == set(MANOEUVRES)
    assert DEVIATIONS["simlingo"].keys() == DEVIATIONS["corrected"].keys()
    info = ScenarioInfo(1, "a", "ParkedObstacle", ScenarioPhase.BUILT, carla.Transform(), 0, two_way=True)
    assert deviation_for(info).scenario == "ParkedObstacleTwoWays"
    plain = ScenarioInfo(1, "a", "SignalizedJunctionLeftTurn", ScenarioPhase.BUILT, carla.Transform(), 0)
    assert deviation_for(plain) is None
