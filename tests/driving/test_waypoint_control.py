"""The model's controllers against the published golden vectors and against what a driver expects."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from driving.control.expert import LateralPid
from driving.control.waypoints import (
    SpeedConfig,
    SpeedPid,
    WaypointController,
    densify_path,
    desired_speed,
    interpolate_monotone,
)

PARABOLA = np.stack([np.arange(1, 21), 0.01 * np.arange(1, 21) ** 2], axis=1)


def test_densified_path_matches_the_published_interpolation() -> None:
    path = densify_path(PARABOLA)
    assert len(path) == 205
    published = {
        0: (0.1, 0.00015), 9: (0.99985, 0.01), 23: (2.39888, 0.05735), 50: (5.09079, 0.25909),
        104: (10.4241, 1.08659), 204: (19.97873, 3.9915),
    }  # fmt: skip
    for index, point in published.items():
        np.testing.assert_allclose(path[index], point, atol=6e-6)


@pytest.mark.parametrize("count", [2, 3, 5, 21])
def test_interpolation_is_scipys(count: int) -> None:
    """Rising, falling, standing and jumping values."""
    rng = np.random.default_rng(count)
    for _ in range(100):
        at = np.cumsum(rng.uniform(1e-4, 2, count))
        values = rng.normal(size=(count, 2)) * rng.choice([1.0, 1e-6, 0.0], size=(count, 2))
        samples = rng.uniform(at[0], at[-1], 50)
        expected = PchipInterpolator(at, values, axis=0)(samples)
        np.testing.assert_allclose(interpolate_monotone(at, values, samples), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("speed", "steer"), [(0.0, 0.05968223), (5.0, 0.05968223), (10.0, 0.09086353), (20.0, 0.17373614)]
)
def test_heading_term_matches_the_published_steering(speed: float, steer: float) -> None:
    pid = LateralPid()
    for _ in range(2):
        error = pid.heading_error(densify_path(PARABOLA), 0.0, 0.0, 0.0, speed)
        gain = pid.config.kp + pid.config.ki
        assert error * gain == pytest.approx(steer, abs=1e-8)


def test_speed_pid_matches_the_published_sequence() -> None:
    pid = SpeedPid()
    outputs = [pid.step(error) for error in (1, 1, 0.5, 0.2, 0.2, 0.1, 0.05, 0.02, 0)]
    np.testing.assert_allclose(outputs, [1, 1, 0, 0, 0.495, 0.125, 0.14, 0.1285, 0.1135], atol=1e-12)


def test_desired_speed_of_even_waypoints_is_their_speed() -> None:
    waypoints = np.stack([np.arange(1, 11) * 0.25 * 7.0, np.zeros(10)], axis=1)
    assert desired_speed(waypoints) == pytest.approx(7.0)


def test_car_brakes_for_standing_waypoints_and_steers_towards_the_path() -> None:
    left = np.stack([np.arange(20.0), -0.2 * np.arange(20.0)], axis=1)
    steer, throttle, brake = WaypointController().step(left, np.zeros((10, 2)), 3.0)
    assert steer < 0
    assert (throttle, brake) == (0.0, 1.0)


def leaving_later() -> np.ndarray:
    """Waypoints that stand for 1.5 s and then drive off."""
    along = np.array([0, 0, 0, 0, 0, 0, 0.2, 0.6, 1.2, 2.0])
    return np.stack([along, np.zeros(10)], axis=1)


def brakes(config: SpeedConfig, plans: list[np.ndarray], speeds: list[float]) -> list[float]:
    ahead = np.stack([np.arange(20.0), np.zeros(20)], axis=1)
    controller = WaypointController(config)
    return [controller.step(ahead, plan, speed)[2] for plan, speed in zip(plans, speeds, strict=True)]


def test_a_departure_that_is_always_two_seconds_away_happens_when_it_is_overdue() -> None:
    overdue = SpeedConfig(departure_speed=1.0)
    assert brakes(overdue, [leaving_later()] * 53, [0.0] * 53) == [1.0] * 50 + [0.0] * 3
    assert brakes(SpeedConfig(), [leaving_later()] * 53, [0.0] * 53) == [1.0] * 53


def test_a_car_that_means_to_stay_or_has_just_stopped_stays() -> None:
    overdue, stay = SpeedConfig(departure_speed=1.0), np.zeros((10, 2))
    assert set(brakes(overdue, [stay] * 80, [0.0] * 80)) == {1.0}
    assert set(brakes(overdue, [leaving_later()] * 60 + [stay] * 20, [0.0] * 80)[60:]) == {1.0}
    assert set(brakes(overdue, [leaving_later()] * 80, [3.0] * 40 + [0.0] * 40)) == {1.0}


def test_broken_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        WaypointController().step(np.full((20, 2), np.nan), np.zeros((10, 2)), 1.0)


def test_path_shorter_than_a_step_is_its_last_point() -> None:
    np.testing.assert_array_equal(densify_path(np.zeros((20, 2)))[-1], [0.0, 0.0])
