"""Bicycle models and travel time against published vectors and conservation laws."""

import numpy as np
import pytest

from driving.kinematics import BicycleModel, minimum_travel_time

MODEL = BicycleModel()


@pytest.mark.parametrize(
    ("start", "control", "expected"),
    [
        ((0, 0, 0, 5), (0.1, 0.5), (0.24980631, 0.00983901, 0.00693949, 5.03584693)),
        ((10, -3, 1, 12), (-0.3, 1.0), (10.38138278, -2.53680763, 0.95016415, 12.22565233)),
    ],
)
def test_ego_step_matches_published_vectors(start, control, expected):
    np.testing.assert_allclose(MODEL.step_ego(*start, *control, brake=False), expected, atol=5e-9)


def test_ego_speed_keeps_below_the_fitted_throttle_and_starts_from_rest():
    assert MODEL.ego_speed(5.0, 0.2, False) == 5.0
    assert MODEL.ego_speed(0.0, 1.0, False) == pytest.approx(0.38036327, abs=5e-9)


def test_braking_never_reverses():
    speed = 20.0
    for _ in range(200):
        after = MODEL.ego_speed(speed, 0.0, True)
        assert 0.0 <= after <= speed
        speed = after
    assert speed < 0.1


@pytest.mark.parametrize(
    ("start", "control", "expected"),
    [
        ((0, 0, 0, 5), (0.2, 0.6, 0), (0.24922585, 0.01965901, 0.01386558, 5.01690151)),
        ((5, 5, 1, 8), (-0.1, 0, 1), (5.22920026, 5.32782196, 0.98889681, 7.75238005)),
    ],
)
def test_other_vehicle_step_matches_published_vectors(start, control, expected):
    xy, yaw, speed = MODEL.roll_out_others([start[:2]], [start[2]], [start[3]], [control], steps=1)
    np.testing.assert_allclose([*xy[0, 0], yaw[0, 0], speed[0, 0]], expected, atol=5e-9)


def test_partial_brake_is_kept_or_dropped_by_choice():
    arguments = ([[0, 0]], [0.0], [8.0], [[0, 0, 0.7]], 4)
    assert MODEL.roll_out_others(*arguments, partial_brake=False)[2][-1, 0] == 8.0
    assert MODEL.roll_out_others(*arguments)[2][-1, 0] == pytest.approx(8.0 - 4 * 0.05 * 0.7 * 4.952399)


def test_others_gain_speed_for_a_second_as_they_were_seen_to():
    speeds = MODEL.roll_out_others([[0, 0]], [0.0], [1.0], [[0, 0, 0]], steps=40, gained=[3.0])[2][:, 0]
    assert speeds[19] == pytest.approx(4.0)
    assert speeds[-1] == pytest.approx(4.0)


def test_roll_out_equals_repeated_steps():
    rng = np.random.default_rng(0)
    xy, yaw, speed = rng.normal(0, 30, (5, 2)), rng.uniform(-3, 3, 5), rng.uniform(0, 4, 5)
    control = np.stack([rng.uniform(-1, 1, 5), rng.uniform(0, 1, 5), rng.integers(0, 2, 5)], axis=1)
    whole = MODEL.roll_out_others(xy, yaw, speed, control, steps=40)
    for i in range(40):
        step = MODEL.roll_out_others(xy, yaw, speed, control, steps=1)
        xy, yaw, speed = (part[0] for part in step)
        np.testing.assert_allclose(whole[0][i], xy, atol=1e-9)
        np.testing.assert_allclose(whole[1][i], yaw, atol=1e-9)
        np.testing.assert_allclose(whole[2][i], speed, atol=1e-9)


def test_two_seconds_straight_at_twenty_is_forty_metres():
    xy, _, _ = MODEL.roll_out_others([[0, 0]], [np.pi / 2], [20.0], [[0, 0, 0]], steps=40)
    np.testing.assert_allclose(xy[-1, 0], [0, 40], atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((40, 50 / 3.6, 0.1), 3.214433), ((40, 50 / 3.6, 5), 3.022965), ((60, 40 / 3.6, 10), 5.405)],
)
def test_minimum_travel_time(arguments, expected):
    assert minimum_travel_time(*arguments) == pytest.approx(expected, abs=5e-7)


def test_travel_time_refuses_a_standstill_target():
    with pytest.raises(ValueError, match="positive target speed"):
        minimum_travel_time(10, 0, 5)
