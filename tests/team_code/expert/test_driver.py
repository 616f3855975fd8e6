"""The whole expert on a real town map, with the ego moved by the kinematic bicycle: no simulator."""

from __future__ import annotations

from pathlib import Path

import carla
import numpy as np
import pytest

from driving.commands import RoadOption
from driving.geometry import box_corners_2d, boxes_overlap_2d
from srunner.scenariomanager.scenario_info import ScenarioInfo, ScenarioPhase
from team_code.expert.config import PROFILES, expert_config

from . import simulation

TOWN = Path(__file__).resolve().parents[3] / "data" / "towns" / "Mini01.xodr"


@pytest.fixture(scope="module")
def town():
    return simulation.load_map(TOWN)


@pytest.fixture(scope="module")
def straight(town):
    """A plan of more than 100 m on one lane without a junction."""
    for waypoint in town.generate_waypoints(25.0):
        ahead = [waypoint]
        while len(ahead) < 110 and (following := ahead[-1].next(1.0)) and not following[0].is_junction:
            ahead.append(following[0])
        if len(ahead) == 110:
            return [(w.transform, RoadOption.LANEFOLLOW) for w in ahead]
    raise AssertionError("the town has no straight of 110 m")


@pytest.fixture(scope="module")
def winding(town):
    """A plan over several junctions."""
    places = [w.transform.location for w in town.generate_waypoints(30.0) if not w.is_junction]
    rng = np.random.default_rng(1)
    while True:
        a, b = rng.choice(len(places), 2, replace=False)
        plan = simulation.plan_between(town, places[a], places[b])
        if 250 < len(plan) < 450 and len({command for _, command in plan}) >= 3:
            return plan


def finish(drive, limit=4000, **scene):
    """Drive to the end of the plan. Returns distance from the route and speed at every tick."""
    drive.tick(**scene)
    route = drive.expert.planner.route
    goal = np.array([drive.plan[-1][0].location.x, drive.plan[-1][0].location.y])
    offsets, speeds = [], []
    for _ in range(limit):
        drive.tick(**scene)
        here = np.array(drive.pose[:2])
        offsets.append(np.min(np.linalg.norm(route.points[:, :2] - here, axis=1)))
        speeds.append(drive.pose[3])
        if np.linalg.norm(here - goal) < 4.0:
            return np.array(offsets), np.array(speeds)
    raise AssertionError(f"the expert did not arrive: {drive.expert.planner.index} of {len(route)} points")


def test_a_winding_route_is_driven_within_its_lane(town, winding):
    offsets, speeds = finish(simulation.Drive(town, winding))
    assert offsets.max() < 0.8
    assert speeds.max() <= 20.0


def test_bends_are_taken_with_bounded_lateral_acceleration(town, winding):
    drive = simulation.Drive(town, winding)
    drive.tick()
    limits = drive.expert.planner._bend_speeds
    yaws = np.unwrap(drive.expert.planner.route.yaws)
    curvature = np.abs(yaws[40:] - yaws[:-40]) / 4.0
    assert np.all(limits[20:-20] ** 2 * curvature <= drive.config.lateral_acceleration * 1.01)


def test_the_start_index_is_at_the_ego(town, straight):
    drive = simulation.Drive(town, straight)
    drive.tick()
    ahead = drive.expert.planner.route.points[drive.expert.planner.index, :2]
    assert np.linalg.norm(ahead - [straight[0][0].location.x, straight[0][0].location.y]) < 0.5


def at(plan, index, offset=0.0, speed=0.0, actor_id=7):
    """A vehicle row on a plan, shifted sideways to the right."""
    place, yaw = plan[index][0].location, np.radians(plan[index][0].rotation.yaw)
    return (actor_id, place.x - offset * np.sin(yaw), place.y + offset * np.cos(yaw), yaw, speed)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_standing_car_ahead_is_not_hit(town, straight, profile):
    drive = simulation.Drive(town, straight, expert_config(profile))
    car = simulation.batch([at(straight, 70)])
    rules = set()
    for _ in range(500):
        decision = drive.tick(vehicles=car)
        rules.add(decision.cause.rule)
    gap = np.linalg.norm(np.array(drive.pose[:2]) - car.xy[0]) - 2.45 - 2.3
    assert drive.pose[3] < 0.1
    assert 1.0 < gap < 12.0
    assert "leading" in rules
    assert decision.cause.actor_id == 7


def test_a_car_beside_the_lane_does_not_stop_the_expert(town, straight):
    offsets, speeds = finish(simulation.Drive(town, straight), vehicles=simulation.batch([at(straight, 60, 4.5)]))
    assert speeds[-1] > 5.0
    assert offsets.max() < 0.5


def test_a_walker_stepping_onto_the_road_stops_the_expert(town, straight):
    drive = simulation.Drive(town, straight)
    row = at(straight, 50, 2.5)
    walker = simulation.batch([row], "walker.pedestrian.0001")
    walker.control[0] = [np.sin(row[3]), -np.cos(row[3]), 0.0]
    walker.extent[0] = [0.2, 0.2, 0.9]
    flags = [drive.tick(walkers=walker).hazards for _ in range(300)]
    assert drive.pose[3] < 0.1
    assert any(flag.walker and flag.walker_id == 7 for flag in flags)
    assert np.linalg.norm(np.array(drive.pose[:2]) - walker.xy[0]) > 3.0


def test_equal_seeds_give_equal_drives(town, winding):
    drives = [simulation.Drive(town, winding) for _ in range(2)]
    for drive in drives:
        for _ in range(150):
            drive.tick()
    assert drives[0].pose == drives[1].pose


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'simlingo'"):
        expert_config("simlngo")


def test_light_states_decide_between_stopping_and_passing(town):
    plan, light, world = plan_with_light(town)
    for state, passes in ((carla.TrafficLightState.Red, False), (carla.TrafficLightState.Green, True)):
        drive = simulation.Drive(town, plan, world=world)
        for _ in range(700):
            decision = drive.tick(light_state=state)
            index = drive.expert.planner.index
            if index > len(drive.expert.planner.route) - 520:
                break
        assert (decision.position.light_id is None) == passes
        if not passes:
            assert drive.pose[3] < 0.1
            assert decision.hazards.light
            assert decision.cause.actor_id == light.id
            assert 2.0 < decision.position.light_distance < 12.0


@pytest.mark.parametrize("speed", [5.0, 9.0, 13.0])
@pytest.mark.parametrize("ahead", range(10, 60, 8))
def test_a_green_that_a_scenario_ends_without_yellow_is_used_only_if_it_lasts(town, speed, ahead):
    plan, light, world = plan_with_light(town)
    line = next(i for i, (pose, _) in enumerate(plan) if pose.location.distance(light.pose.location) < 0.6)
    drive = simulation.Drive(town, plan[max(0, line - ahead) :], world=world)
    drive.pose[3], half, forward = speed, simulation.MKZ_EXTENT[0], light.pose.get_forward_vector()
    info = ScenarioInfo(
        1, "turn", "VanillaSignalizedTurnEncounterGreenLight", ScenarioPhase.ACTIVE, light.pose, 0,
        places={"entry": light.pose}, numbers={"green_time": 5.0},
    )  # fmt: skip
    for tick in range(200):
        is_red = tick >= 100
        state = carla.TrafficLightState.Red if is_red else carla.TrafficLightState.Green
        decision = drive.tick(infos=[info], light_state=state)
        x, y = drive.pose[0] - light.pose.location.x, drive.pose[1] - light.pose.location.y
        passed = x * forward.x + y * forward.y
        assert not (is_red and 0.8 * half < passed < half + 1.0)
    assert passed > 10.0 or decision.hazards.light


@pytest.mark.parametrize("lead", np.arange(20.0, 62.0, 6.0))
def test_a_turn_across_somebodys_way_is_driven_before_or_behind_him(town, lead):
    """Whenever he comes, the ego does not change its mind between the two."""
    plan, straight = turn_and_oncoming_way(town)
    drive, box = simulation.Drive(town, plan), (2.3, 1.0)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(straight, axis=0), axis=1))])
    for tick in range(400):
        at = along[-1] / 2 - lead - 40.0 + 10.0 * 0.05 * tick
        x, y = (float(np.interp(at, along, straight[:, k])) for k in (0, 1))
        x1, y1 = (float(np.interp(at + 0.5, along, straight[:, k])) for k in (0, 1))
        yaw = float(np.arctan2(y1 - y, x1 - x))
        moving = 0.0 < at < along[-1] - 1.0
        drive.tick(simulation.batch([(7, x, y, yaw, 10.0)]) if moving else None)
        mine = box_corners_2d(tuple(drive.pose[:2]), (2.45, 1.06), drive.pose[2])
        assert not (moving and boxes_overlap_2d(mine, box_corners_2d((x, y), box, yaw)))
        if drive.expert.planner.index > len(drive.expert.planner.route) - 620:
            break
    assert drive.expert.planner.index > len(drive.expert.planner.route) - 620, "it gets through in the end"


def test_who_stands_beside_the_tail_does_not_hold_the_ego(town, straight):
    drive = simulation.Drive(town, straight)
    x, y, yaw, _ = drive.pose
    place = np.array([x, y]) - 2.0 * np.array([np.cos(yaw), np.sin(yaw)]) + 2.5 * np.array([np.sin(yaw), -np.cos(yaw)])
    for _ in range(60):
        drive.tick(simulation.batch([(7, *place, yaw + 0.28, 0.0)]))
    assert drive.pose[3] > 5.0


def turn_and_oncoming_way(town):
    """A plan that turns left at a junction, and the (N, 2) way of who comes from the opposite side and goes straight on."""
    for waypoint in town.generate_waypoints(15.0):
        inside = waypoint.next(45.0)
        if waypoint.is_junction or waypoint.next(25.0)[0].is_junction or len(inside) < 2:
            continue
        for turn in [w for w in inside if w.is_junction]:
            end = turn.next(40.0)[0]
            turned = (end.transform.rotation.yaw - waypoint.transform.rotation.yaw + 180) % 360 - 180
            if end.is_junction or not -110 < turned < -70:
                continue
            for far in inside:
                opposite = far.next(30.0)[0].get_left_lane() if far.next(30.0) else None
                if opposite is None or opposite.is_junction or opposite.lane_id * far.next(30.0)[0].lane_id > 0:
                    continue
                goal = waypoint.get_left_lane()
                if goal is None or goal.lane_type != carla.LaneType.Driving or goal.lane_id * waypoint.lane_id > 0:
                    continue
                way = plan_of(town, opposite, goal)
                headings = np.degrees(np.unwrap(np.arctan2(*np.diff(way, axis=0)[:, ::-1].T)))
                if len(way) < 150 and np.ptp(headings) < 30:
                    plan = simulation.plan_between(town, waypoint.transform.location, end.transform.location)
                    return plan, way
    raise AssertionError("the town has no junction with a left turn and oncoming traffic")


def plan_of(town, start, end):
    """(N, 2) way between two waypoints, one metre apart."""
    plan = simulation.plan_between(town, start.transform.location, end.transform.location)
    way = np.array([(pose.location.x, pose.location.y) for pose, _ in plan])
    return way[np.concatenate([[True], np.linalg.norm(np.diff(way, axis=0), axis=1) > 0.05])]


def plan_with_light(town):
    """A plan that crosses a junction, with a stand-in light at the end of its first lane."""
    for waypoint in town.generate_waypoints(30.0):
        approach = [waypoint]
        while (following := approach[-1].next(1.0)) and not following[0].is_junction:
            approach.append(following[0])
        if waypoint.is_junction or not following or not 30 < len(approach) < 120:
            continue
        ahead = [*approach]
        while len(ahead) < len(approach) + 60 and (following := ahead[-1].next(1.0)):
            ahead.append(following[0])
        light = simulation.StopLight(3, approach[-1].transform)
        world = simulation.FakeWorld(town, simulation.ActorList([light]))
        return [(w.transform, RoadOption.LANEFOLLOW) for w in ahead], light, world
    raise AssertionError("the town has no lane that leads into a junction")
