"""Whoever is left out of the forecast could not have met the ego."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from team_code.expert.collision import BoxTracks, axes_from_angles, first_overlaps
from team_code.expert.config import expert_config
from team_code.expert.forecast import (
    forecast_on_lanes,
    forecast_vehicles,
    forecast_walkers,
    which_walkers_may_touch,
    who_may_touch,
)
from team_code.expert.lanes import LaneFollowers

from . import simulation

TOWN = Path(__file__).resolve().parents[3] / "data" / "towns" / "Mini01.xodr"
DT = 0.05


@pytest.fixture(scope="module")
def town():
    return simulation.load_map(TOWN)


def way_of_ego(rng, place, steps):
    """Boxes of an ego that goes on at a random speed, with a random bend."""
    yaws = rng.uniform(-3, 3) + np.linspace(0, rng.uniform(-1, 1), steps)
    moves = rng.uniform(0, 15) * DT * np.column_stack([np.cos(yaws), np.sin(yaws), np.zeros(steps)])
    extents = np.broadcast_to([3.2, 1.2, 0.75], (steps, 1, 3))
    return BoxTracks((place + np.cumsum(moves, axis=0))[:, None], extents, axes_from_angles(0.0, yaws, 0.0)[:, None])


def traffic(rng, waypoints, count=30):
    """Cars near the middle of random lanes, some of them off the lane or standing, with random controls."""
    rows = []
    for number, waypoint in enumerate(rng.choice(waypoints, count)):
        place, yaw = waypoint.transform.location, np.radians(waypoint.transform.rotation.yaw)
        speed = float(rng.choice([0.0, rng.uniform(0, 20)]))
        rows.append((number, place.x + rng.normal(0, 1), place.y + rng.normal(0, 1), yaw + rng.normal(0, 0.2), speed))
    cars = simulation.batch(rows)
    control = np.column_stack([rng.normal(0, 0.3, count), rng.uniform(0, 1, count), rng.choice([0.0, 0.5], count)])
    return replace(cars, control=control, is_bicycle=rng.random(count) < 0.3)


@pytest.mark.parametrize("seed", range(12))
def test_vehicles_left_out_meet_nobody(town, seed):
    rng, config = np.random.default_rng(seed), expert_config()
    waypoints = np.array(town.generate_waypoints(10.0))
    here = rng.choice(waypoints).transform.location
    around = sorted(waypoints, key=lambda waypoint: here.distance(waypoint.transform.location))[:50]
    track = way_of_ego(rng, [here.x, here.y, 0.0], int(rng.choice([22, 40, 120])))
    cars, gained = traffic(rng, around), rng.uniform(0, 5, 30)
    paths = LaneFollowers(town).paths(cars)
    near = who_may_touch(track, cars, paths, config, gained)
    assert near.any()
    f = config.forecast
    for near_lane_change in (False, True):
        held = forecast_vehicles(cars, len(track.centers), near_lane_change, config, False, 0.0, gained)
        on_lanes = forecast_on_lanes(cars, paths, held, DT, f.lane_margin + f.start_margin)
        assert (first_overlaps(track, held)[~near] < 0).all()
        assert (first_overlaps(track, on_lanes)[~near] < 0).all()


def test_only_who_can_be_there_in_time_is_looked_at():
    track = way_of_ego(np.random.default_rng(0), [0.0, 0.0, 0.0], 40)
    cars = simulation.batch([(1, 70.0, 0.0, np.pi, 0.0), (2, 70.0, 0.0, np.pi, 30.0), (3, 200.0, 0.0, np.pi, 30.0)])
    assert who_may_touch(track, cars, [None] * 3, expert_config()).tolist() == [False, True, False]


@pytest.mark.parametrize("seed", range(4))
def test_walkers_left_out_meet_nobody(town, seed):
    rng, config = np.random.default_rng(seed), expert_config().forecast
    track = way_of_ego(rng, [0.0, 0.0, 0.0], 40)
    walkers = simulation.batch(
        [(n, *rng.uniform(-50, 50, 2), rng.uniform(-3, 3), rng.uniform(0, 3)) for n in range(60)]
    )
    heading = np.column_stack([np.cos(walkers.yaw), np.sin(walkers.yaw), np.zeros(60)])
    walkers = replace(walkers, control=heading)
    near = which_walkers_may_touch(track, walkers, config, 40 * DT)
    assert 0 < near.sum() < 60
    assert (first_overlaps(track, forecast_walkers(walkers, 40, config, DT))[~near] < 0).all()
