"""How scenario vehicles take bends."""

from __future__ import annotations

from types import SimpleNamespace

import carla
import numpy as np
import pytest

from driving.kinematics import BicycleModel
from srunner.agents.path_agent import (
    BEND_ACCELERATION,
    BEND_DECELERATION,
    LONGEST_STEP,
    PathAgent,
    bend_speeds,
    divided,
)


def road(radius, before=60.0, angle=np.pi / 2, spacing=2.0):
    """A straight, then a bend to the left, as points about ``spacing`` metres apart."""
    straight = np.stack([np.arange(0.0, before, spacing), np.zeros(int(before / spacing))], axis=1)
    turned = np.arange(0.0, angle, spacing / radius)
    bend = np.stack([before + radius * np.sin(turned), -radius * (1 - np.cos(turned))], axis=1)
    return np.concatenate([straight, bend])


@pytest.mark.parametrize("radius", [10.0, 16.0, 40.0])
def test_bends_are_taken_within_the_grip_and_braked_for_before(radius):
    path = road(radius)
    speeds = bend_speeds(path)
    in_bend = speeds[33:-3]
    assert len(in_bend) > 0
    assert in_bend == pytest.approx(np.sqrt(BEND_ACCELERATION * radius), rel=0.1)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert np.all(speeds[:-1] ** 2 - speeds[1:] ** 2 <= 2 * BEND_DECELERATION * steps + 1e-6)


def test_a_straight_path_limits_nothing():
    assert bend_speeds(road(1e6)).min() > 100.0
    assert bend_speeds(np.array([[0.0, 0.0], [1.0, 1.0]])).min() > 100.0


def test_a_place_named_twice_is_no_bend():
    path = road(40.0)
    for where in (10, 29, 40):
        twice = np.insert(path, where, path[where], axis=0)
        assert np.delete(bend_speeds(twice), where) == pytest.approx(bend_speeds(path), rel=0.02)


def drive(path, speed):
    """Places of a car that steers along a path at one speed, from the origin on, until it has arrived or 20 s are over."""
    state, model = SimpleNamespace(), BicycleModel()
    car = SimpleNamespace(id=1, bounding_box=carla.BoundingBox(carla.Location(), carla.Vector3D(2.4, 1.0, 0.7)))
    agent = PathAgent(state, car, path, speed)
    x, y, yaw = 0.0, 0.0, 0.0
    for _ in range(400):
        place = carla.Transform(carla.Location(x, y, 0.0), carla.Rotation(yaw=np.degrees(yaw)))
        agent._advance(place.location, speed)
        if agent.done:
            return
        steer = agent._steering(place, speed)
        moved = model.roll_out_others([[x, y]], [yaw], [speed], [[steer, 0, 0]], steps=1)
        (x, y), yaw = moved[0][0, 0], moved[1][0, 0]
        yield x, y


@pytest.mark.parametrize("length", [18.0, 24.0, 40.0])
def test_lane_changes_go_straight_across(length):
    """The way across is one piece of the path: nearest to the car on it may be the place it comes from."""
    before = np.stack([np.arange(0.0, 10.0, 2.0), np.zeros(5)], axis=1)
    after = np.stack([8.0 + length + np.arange(0.0, 60.0, 2.0), np.full(30, 3.5)], axis=1)
    places = np.array(list(drive(np.concatenate([before, after]), 12.0)))
    across = np.interp(places[:, 0], [8.0, 8.0 + length], [0.0, 3.5])
    assert np.abs(places[:, 1] - across).max() < 0.4
    assert places[-1, 0] > after[-1, 0] - 2.0


def test_division_adds_points_on_the_same_line():
    path = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [32.0, 16.0], [33.0, 16.0]])
    fine = divided(path)
    steps = np.hypot(*np.diff(fine, axis=0).T)
    assert steps.max() < 1.1 * LONGEST_STEP
    assert steps.sum() == pytest.approx(np.hypot(*np.diff(path, axis=0).T).sum())
    assert {tuple(point) for point in path} <= {tuple(point) for point in fine}
    assert np.array_equal(divided(fine), fine)


def test_cars_keep_to_their_lane_in_bends():
    path = road(30.0, angle=np.pi)
    aside = []
    for x, y in drive(path, 10.0):
        aside.append(np.min(np.hypot(path[:, 0] - x, path[:, 1] - y)))
        if x < 60.0 and y < -50.0:
            break
    assert max(aside) < 1.1  # the points are 2 m apart
    radii = np.hypot(x - 60.0, y + 30.0)
    assert abs(radii - 30.0) < 0.5
