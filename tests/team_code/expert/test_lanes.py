"""Where vehicles go that keep to their lanes, on a real town map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from team_code.expert.collision import BoxTracks
from team_code.expert.config import expert_config
from team_code.expert.forecast import (
    YIELD_DECELERATION,
    YIELD_REACTION_S,
    forecast_on_lanes,
    forecast_vehicles,
    stopping_way,
)
from team_code.expert.lanes import BEND_DECELERATION, LaneFollowers
from team_code.expert.target_speed import becomes_leader

from . import simulation

TOWN = Path(__file__).resolve().parents[3] / "data" / "towns" / "Mini03.xodr"
DT = 0.05


@pytest.fixture(scope="module")
def town():
    return simulation.load_map(TOWN)


@pytest.fixture(scope="module")
def bend(town):
    """A waypoint from which the lane turns by more than 40 degrees within 60 m without a fork."""
    for waypoint in town.generate_waypoints(20.0):
        walk = [waypoint]
        while len(walk) < 61 and len(following := walk[-1].next(1.0)) == 1 and not following[0].is_junction:
            walk.append(following[0])
        turned = walk[-1].transform.rotation.yaw - waypoint.transform.rotation.yaw
        if len(walk) == 61 and 40 < abs((turned + 180) % 360 - 180) < 120:
            return walk
    raise AssertionError("the town has no bend")


def car_at(waypoint, speed, offset=0.0, number=7):
    place, yaw = waypoint.transform.location, np.radians(waypoint.transform.rotation.yaw)
    return simulation.batch([(number, place.x - offset * np.sin(yaw), place.y + offset * np.cos(yaw), yaw, speed)])


def test_a_car_on_a_bend_is_expected_on_its_lane(town, bend):
    speed, offset = 12.0, 0.4
    car = car_at(bend[0], speed, offset)
    paths = LaneFollowers(town).paths(car)
    steps = 90
    held = forecast_vehicles(car, steps, False, expert_config())
    track = forecast_on_lanes(car, paths, held, DT, margin=0.0)
    line = np.array([(w.transform.location.x, w.transform.location.y) for w in bend])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    for step in (19, 49, 79):
        k = int(np.argmin(np.abs(along - speed * DT * (step + 1))))
        yaw = np.radians(bend[k].transform.rotation.yaw)
        centre = line[k] + offset * np.array([-np.sin(yaw), np.cos(yaw)])
        assert np.linalg.norm(track.centers[step, 0, :2] - centre) < 0.8
    assert np.linalg.norm(held.centers[79, 0, :2] - track.centers[79, 0, :2]) > 5.0, "a held wheel leaves the road here"


def test_the_margin_takes_time_before_and_after_a_car(town, bend):
    car = car_at(bend[0], 10.0)
    paths = LaneFollowers(town).paths(car)
    held = forecast_vehicles(car, 10, False, expert_config())
    track = forecast_on_lanes(car, paths, held, DT, margin=0.3)
    np.testing.assert_allclose(track.extents[:, 0, 0], car.extent[0, 0] + 3.0)
    np.testing.assert_allclose(track.extents[:, 0, 1:], np.broadcast_to(car.extent[0, 1:], (10, 2)))


def test_who_stands_or_drives_across_a_lane_follows_none(town, bend):
    followers = LaneFollowers(town)
    assert followers.paths(car_at(bend[0], 0.0)) == [None]
    across = car_at(bend[0], 5.0)
    across.angles[0, 1] += np.radians(60)
    assert followers.paths(across) == [None]


def test_a_car_that_turns_is_followed_into_the_lane_it_took(town):
    """At every fork the straightest way is expected first, and the one taken once the car is on it."""
    forks = 0
    for waypoint in town.generate_waypoints(40.0):
        ahead = waypoint.next(12.0)
        if waypoint.is_junction or len(ahead) < 2 or not all(w.is_junction for w in ahead):
            continue
        forks += 1
        for exit_ in ahead:
            followers = LaneFollowers(town)
            walk = [exit_]
            while walk[-1].is_junction and (following := walk[-1].next(1.0)):
                walk.append(following[0])
            for step in walk[len(walk) // 2 :]:
                (found,) = followers.paths(car_at(step, 5.0))
                assert found is not None
            path, along, _ = found
            goal = np.array([walk[-1].transform.location.x, walk[-1].transform.location.y])
            reached, _ = path.place(np.array([along]), 0.0)
            assert np.linalg.norm(reached[0] - goal) < 1.5
        if forks > 12:
            break
    assert forks > 3


def test_cars_of_a_stream_are_expected_to_go_where_it_ends(town):
    checked = 0
    for waypoint in town.generate_waypoints(15.0):
        inside = waypoint.next(12.0)
        before = waypoint.next(3.0)[0]
        if before.is_junction or len(inside) < 2 or not all(w.is_junction for w in inside):
            continue
        branches = [w.next(40.0)[0] for w in inside if w.next(40.0)]
        for sink in branches:
            followers = LaneFollowers(town)
            followers.lead_to([sink.transform.location])
            car = car_at(waypoint, 8.0)
            car.actors[0].attributes = {"role_name": "scenario no lights"}
            stream, traffic = followers.paths(car)[0][0], LaneFollowers(town).paths(car)[0][0]
            goal = np.array([sink.transform.location.x, sink.transform.location.y])
            assert np.linalg.norm(stream.points - goal, axis=1).min() < 1.0
            checked += np.linalg.norm(traffic.points - goal, axis=1).min() > 2.0
        if checked > 5:
            break
    assert checked > 2, "some streams turn where other traffic is expected to go straight on"


def test_others_slow_down_for_bends_and_nowhere_else(town, bend):
    path = LaneFollowers(town).path_from(bend[0])
    time = np.linspace(0.0, 6.0, 121)
    slow = path.advance(3.0, 4.0, time)
    np.testing.assert_allclose(slow, 3.0 + 4.0 * time, atol=1e-6)
    speeds = np.diff(path.advance(3.0, 25.0, time)) / 0.05
    assert speeds.max() <= 25.0 + 1e-6
    assert speeds.min() < 24.0
    assert np.all(np.diff(speeds) / 0.05 > -2 * 3.0 - 1.0), "nobody brakes much harder than before a bend"


def test_who_lets_the_ego_in_stops_after_a_reaction():
    time = np.linspace(0.0, 10.0, 201)
    way = stopping_way(12.0, time)
    np.testing.assert_allclose(way[time <= YIELD_REACTION_S], 12.0 * time[time <= YIELD_REACTION_S])
    assert way[-1] == pytest.approx(12.0 * YIELD_REACTION_S + 12.0**2 / (2 * YIELD_DECELERATION))
    assert np.all(np.diff(way) >= 0)


def tracks(places, yaw=0.0):
    places = np.asarray(places, dtype=float)
    centers = np.concatenate([places, np.zeros((*places.shape[:-1], 1))], axis=-1)[:, None]
    axes = np.zeros((len(places), 1, 3, 3))
    axes[:] = [[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
    return BoxTracks(centers, np.full((len(places), 1, 3), 1.0), axes)


def test_who_merges_ahead_is_a_leader_and_who_crosses_is_not():
    time = np.arange(60)[:, None] * DT
    ego = tracks(np.hstack([10 * time, 0 * time]))
    slower_ahead = tracks(np.hstack([20 + 5 * time, 0 * time]))
    assert becomes_leader(ego, slower_ahead, 0, 50)
    crossing = tracks(np.hstack([0 * time + 25, -25 + 10 * time]), yaw=np.pi / 2)
    assert not becomes_leader(ego, crossing, 0, 50)
    behind = tracks(np.hstack([-20 + 18 * time, 0 * time]))
    assert not becomes_leader(ego, behind, 0, 50)
    assert not becomes_leader(ego, slower_ahead, 0, 5), "too soon to be followed at ease"


def plain_advance(path, along, speed, time):
    """`LanePath.advance` with numpy's own interpolation, for the whole rest of the path."""
    ahead = np.searchsorted(path.along, along, side="right")
    nodes = np.concatenate([[along], path.along[ahead:]])
    allowed = np.concatenate([[speed], path.speeds[ahead:]])
    braking = np.sqrt(np.maximum(speed**2 - 2 * BEND_DECELERATION * (nodes - along), 0.0))
    speeds = np.minimum(speed, np.maximum(allowed, braking))
    elapsed = np.concatenate([[0.0], np.cumsum(2 * np.diff(nodes) / (speeds[1:] + speeds[:-1]))])
    return np.interp(time, elapsed, nodes) + np.maximum(time - elapsed[-1], 0.0) * speeds[-1]


def test_places_on_a_path_are_interpolated_to_the_last_bit_as_numpy_does(town):
    rng, followers = np.random.default_rng(2), LaneFollowers(town)
    time = np.linspace(DT, 6.0, 120)
    for waypoint in rng.choice(np.array(town.generate_waypoints(15.0)), 40):
        path = followers.path_from(waypoint)
        along, speed, offset = rng.uniform(-2, path.along[-1] + 2), rng.uniform(0.5, 25), rng.uniform(-1, 1)
        ways = path.advance(along, speed, time)
        np.testing.assert_array_equal(ways, plain_advance(path, along, speed, time))
        places, yaws = path.place(ways, offset)
        np.testing.assert_array_equal(yaws, np.interp(ways, path.along, path.yaws))
        for axis, aside in ((0, -np.sin(yaws)), (1, np.cos(yaws))):
            line = np.interp(ways, path.along, path.points[:, axis])
            np.testing.assert_array_equal(places[:, axis], line + offset * aside)
