"""How scenario vehicles take bends."""

from __future__ import annotations

from types import SimpleNamespace

import carla
import numpy as np
import pytest

from driving.kinematics import BicycleModel
from srunner.agents.path_agent import BEND_ACCELERATION, BEND_DECELERATION, PathAgent, bend_speeds


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


def test_cars_keep_to_their_lane_in_bends():
    path = road(30.0, angle=np.pi)
    state, model = SimpleNamespace(), BicycleModel()
    car = SimpleNamespace(id=1, bounding_box=carla.BoundingBox(carla.Location(), carla.Vector3D(2.4, 1.0, 0.7)))
    agent = PathAgent(state, car, path, 13.0)
    x, y, yaw, speed, aside = 0.0, 0.0, 0.0, 10.0, []
    for _ in range(240):
        place = carla.Transform(carla.Location(x, y, 0.0), carla.Rotation(yaw=np.degrees(yaw)))
        agent._advance(place.location, speed)
        steer = agent._steering(place, speed)
        moved = model.roll_out_others([[x, y]], [yaw], [speed], [[steer, 0, 0]], steps=1)
        (x, y), yaw = moved[0][0, 0], moved[1][0, 0]
        aside.append(np.min(np.hypot(path[:, 0] - x, path[:, 1] - y)))
        if x < 60.0 and y < -50.0:
            break
    assert max(aside) < 1.1  # the points are 2 m apart
    radii = np.hypot(x - 60.0, y + 30.0)
    assert abs(radii - 30.0) < 0.5
