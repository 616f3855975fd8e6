"""Planned lane changes on a real town map, with kinematic traffic on the lane that the ego wants: no simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driving.commands import RoadOption
from driving.geometry import box_corners_2d, boxes_overlap_2d
from team_code.expert.config import expert_config
from team_code.expert.lane_changes import Neighbour, with_approach
from team_code.expert.lanes import LaneFollowers
from team_code.expert.route import route_yaws

from . import simulation
from .test_scenarios import scenario

TOWN = Path(__file__).resolve().parents[3] / "data" / "towns" / "Mini03.xodr"
DT = 0.05
BEFORE, AFTER = 150, 110
"""Metres of the plan before and after the change."""


@pytest.fixture(scope="module")
def town():
    return simulation.load_map(TOWN)


@pytest.fixture(scope="module")
def lanes(town):
    """Two neighbouring lanes of one direction over 260 m without a junction: (right, left) waypoints, 1 m apart."""
    for waypoint in town.generate_waypoints(20.0):
        right, left = [waypoint], [waypoint.get_left_lane()]
        while len(right) <= BEFORE + AFTER and left[-1] is not None and left[-1].lane_id * waypoint.lane_id > 0:
            following = right[-1].next(1.0)
            if len(following) != 1 or following[0].is_junction or "Driving" not in str(left[-1].lane_type):
                break
            right.append(following[0])
            left.append(following[0].get_left_lane())
        if len(right) > BEFORE + AFTER:
            return right, left
    raise AssertionError("the town has no such lanes")


@pytest.fixture(scope="module")
def plan(lanes):
    """As a route planner gives it: over within one hop."""
    right, left = lanes
    follow, change = RoadOption.LANEFOLLOW, RoadOption.CHANGELANELEFT
    return [
        *((w.transform, follow) for w in right[20 : BEFORE - 4]),
        (right[BEFORE - 4].transform, change),
        (left[BEFORE + 4].transform, change),
        *((w.transform, follow) for w in left[BEFORE + 5 :]),
    ]


class Stream:
    """Cars that keep their speed on a line of waypoints, whatever happens."""

    def __init__(self, walk, speed, places):
        self.xy = np.array([(w.transform.location.x, w.transform.location.y) for w in walk])
        self.yaw = np.unwrap(np.radians([w.transform.rotation.yaw for w in walk]))
        self.along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(self.xy, axis=0).T))])
        self.speed, self.places = speed, np.asarray(places, dtype=float)

    def at(self, time):
        s = self.places + self.speed * time
        return [
            (100 + i, *(np.interp(q, self.along, column) for column in (*self.xy.T, self.yaw)), self.speed)
            for i, q in enumerate(s)
            if 0.0 < q < self.along[-1]
        ]


def drive_through(town, plan, stream, ticks=900, speed=10.0, obstacle=None):
    """Drive the plan beside a stream, past an obstacle. Returns the drive, its speeds, and whether it touched anybody."""
    standing, infos = ([], []) if obstacle is None else ([obstacle[0]], [obstacle[1]])
    drive = simulation.Drive(town, plan)
    drive.pose[3] = speed
    goal = np.array([plan[-1][0].location.x, plan[-1][0].location.y])
    speeds, touched = [], False
    for tick in range(ticks):
        rows = standing + stream.at(tick * DT)
        batch = simulation.batch(rows)
        batch.xyz[:, 2] = drive.height
        drive.tick(vehicles=batch, infos=infos)
        speeds.append(drive.pose[3])
        own = box_corners_2d(drive.pose[:2], (2.45, 1.06), drive.pose[2])
        touched |= any(boxes_overlap_2d(own, box_corners_2d(row[1:3], (2.3, 1.0), row[3])) for row in rows)
        if np.linalg.norm(goal - drive.pose[:2]) < 8.0:
            return drive, np.array(speeds), touched
    raise AssertionError(f"the expert did not arrive; it stands at {drive.pose}")


def test_a_change_takes_its_time_and_costs_no_speed(town, plan, lanes):
    drive, speeds, _ = drive_through(town, plan, Stream(lanes[1], 0.0, []))
    route = drive.expert.planner.route
    changing = np.flatnonzero(route.commands == RoadOption.CHANGELANELEFT)
    assert 200 < len(changing) < 600, "two to four seconds at cruise speed, in points of 0.1 m"
    assert np.all(np.diff(changing) == 1)
    turned = np.abs(np.diff(np.unwrap(route.yaws[changing[0] - 50 : changing[-1] + 50])))
    assert turned.max() < np.radians(1.5)
    assert speeds[100:].min() > 9.0


@pytest.mark.parametrize("speed", [8.0, 12.0])
@pytest.mark.parametrize("first", [0.0, 13.0])
def test_a_gap_in_a_stream_that_never_brakes_is_found(town, plan, lanes, speed, first):
    stream = Stream(lanes[1], speed, first + 27.0 * np.arange(-12, 9))
    drive, _, touched = drive_through(town, plan, stream)
    assert not touched
    assert drive.expert.planner.lateral_offset(np.array(drive.pose[:2])) < 0.5


@pytest.mark.parametrize("first", [0.0, 13.0])
def test_an_obstacle_is_passed_in_a_gap_without_a_stop(town, lanes, first):
    right, left = lanes
    plan = [(w.transform, RoadOption.LANEFOLLOW) for w in right[20 : BEFORE + AFTER]]
    pose = right[BEFORE].transform
    info = scenario("Accident", plan, BEFORE - 20, two_way=False)
    obstacle = (50, pose.location.x, pose.location.y, np.radians(pose.rotation.yaw), 0.0), info
    stream = Stream(left, 12.0, first + 27.0 * np.arange(-12, 9))
    drive, speeds, touched = drive_through(town, plan, stream, obstacle=obstacle)
    assert not touched
    assert speeds.min() > 4.0
    assert drive.expert.planner.lateral_offset(np.array(drive.pose[:2])) < 0.5


def test_a_path_beside_a_bend_is_as_smooth_as_the_bend(town):
    for waypoint in town.generate_waypoints(20.0):
        after = waypoint.next(60.0)
        turned = abs(after[0].transform.rotation.yaw - waypoint.transform.rotation.yaw) if len(after) == 1 else 0.0
        walk = [waypoint, *(w for d in range(1, 60) for w in waypoint.next(float(d)))]
        beside = [w.get_left_lane() for w in walk]
        same = all(w is not None and w.lane_id * waypoint.lane_id > 0 for w in beside)
        if 20.0 < turned < 90.0 and len(walk) == 60 and same and not any(w.is_junction for w in walk):
            break
    drive = simulation.Drive(town, [(w.transform, RoadOption.LANEFOLLOW) for w in walk])
    drive.tick()
    planner = drive.expert.planner
    points = planner.side_points(planner.index, planner.index + 500, left=True)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.min() > 0.05
    assert np.abs(np.diff(np.unwrap(route_yaws(points)))).max() < np.radians(6.0)


def test_who_follows_on_the_road_before_is_seen(town):
    lanes = LaneFollowers(town)
    for waypoint in town.generate_waypoints(30.0):
        before = waypoint.previous(40.0)
        if before and before[0].road_id != waypoint.road_id and len(waypoint.previous(60.0)) == 1:
            break
    path = with_approach(lanes.path_from(waypoint), waypoint, 90.0)
    place = before[0].transform.location
    assert np.linalg.norm(path.points - [place.x, place.y], axis=1).min() < 1.0
    assert np.linalg.norm(np.diff(path.points, axis=0), axis=1).max() < 2.5
    assert np.all(np.diff(path.along) >= 0.0)


def test_those_behind_let_in_who_has_stood_long(town, plan):
    drive = simulation.Drive(town, plan)
    drive.tick()
    changes, follower = drive.expert._lane_changes, Neighbour(None, -23.0, 10.0, 2.3)
    ego = drive.ego()
    config = drive.config.lane_changes
    assert not changes._stays_behind(follower, ego, config.room, 10.0)
    assert changes._stays_behind(follower, ego, config.room, 10.0, config.courtesy)
    nearer = Neighbour(None, -9.0, 10.0, 2.3)
    assert not changes._stays_behind(nearer, ego, config.room, 10.0, config.courtesy)


def test_without_a_gap_the_ego_stays_and_stops_before_the_lanes_part(town, plan, lanes):
    drive = simulation.Drive(town, plan)
    drive.pose[3] = 8.0
    stream = Stream(lanes[1], 4.0, 8.0 * np.arange(-60, 32))
    for tick in range(400):
        rows = stream.at(tick * DT)
        batch = simulation.batch(rows)
        batch.xyz[:, 2] = drive.height
        decision = drive.tick(vehicles=batch)
        own = box_corners_2d(drive.pose[:2], (2.45, 1.06), drive.pose[2])
        assert not any(boxes_overlap_2d(own, box_corners_2d(row[1:3], (2.3, 1.0), row[3])) for row in rows)
    assert decision.cause.rule in ("lane_change_wait", "leading", "vehicle", "cruise")


@pytest.mark.parametrize("gap", [16.0, 20.0])
def test_who_follows_a_leader_that_stops_does_not_stand_across_two_lanes(town, plan, lanes, gap):
    drive, leader = simulation.Drive(town, plan), Stream(lanes[1], 10.0, [0.0])
    drive.pose[3] = 10.0
    drive.tick()
    route, planner = drive.expert.planner.route, drive.expert.planner
    for _ in range(700):
        if planner.index < np.flatnonzero(route.commands == RoadOption.CHANGELANELEFT)[0] + 20:
            beside = np.argmin(np.linalg.norm(leader.xy - drive.pose[:2], axis=1))
            leader.places[0], leader.speed = leader.along[beside] + gap, drive.pose[3]
        else:
            leader.speed = max(0.0, leader.speed - 7.0 * DT)
            leader.places[0] += leader.speed * DT
        batch = simulation.batch(leader.at(0.0))
        batch.xyz[:, 2] = drive.height
        drive.tick(vehicles=batch)
    aside = np.linalg.norm(leader.xy - drive.pose[:2], axis=1).min()
    assert drive.pose[3] < 0.1
    assert aside < 0.6, "metres from the middle of the new lane"


def test_the_published_profile_follows_the_plan_to_the_letter(town, plan):
    drive = simulation.Drive(town, plan, expert_config("simlingo"))
    drive.tick()
    changing = np.flatnonzero(drive.expert.planner.route.commands == RoadOption.CHANGELANELEFT)
    assert len(changing) < 200
