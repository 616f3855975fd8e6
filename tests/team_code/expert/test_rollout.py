"""The compiled forecasts against the models they are written out from."""

import numpy as np
import pytest

from driving.control.expert import LateralPid, LongitudinalRegression
from driving.kinematics import BicycleModel
from team_code.expert.config import ExpertConfig
from team_code.expert.rollout import roll_out, roll_out_others

SEARCH = ExpertConfig().route.search_points


def winding_route(rng: np.random.Generator, points: int = 900):
    """(N, 3) points 0.1 m apart on a smooth line, and speeds allowed there."""
    yaw = np.cumsum(np.cumsum(rng.normal(0, 2e-4, points)))
    place = np.cumsum(0.1 * np.column_stack([np.cos(yaw), np.sin(yaw)]), axis=0)
    return np.column_stack([place, np.zeros(points)]), rng.uniform(3, 14) + 2 * np.sin(np.arange(points) / 70)


def step_by_step(state, points, speeds, index, steps, lateral, brakes):
    """The same forecast by the classes that drive."""
    model, pedals = BicycleModel(), LongitudinalRegression()
    x, y, yaw, speed = state
    poses = np.empty((steps, 3))
    for i in range(steps):
        steer = lateral.step(points[index:], x, y, yaw, speed)
        throttle = pedals.extrapolate_throttle(float(speeds[index]), speed)
        brake = brakes and pedals(False, float(speeds[index]), speed)[1]
        x, y, yaw, speed = model.step_ego(x, y, yaw, speed, steer, throttle, brake)
        poses[i] = x, y, yaw
        ahead = points[index : index + SEARCH, :2]
        index += int(np.argmin(np.sum((ahead - [x, y]) ** 2, axis=1)))
    return poses


@pytest.mark.parametrize("brakes", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_drive_of_the_controllers_and_the_bicycle(seed: int, brakes: bool) -> None:
    rng = np.random.default_rng(seed)
    points, speeds = winding_route(rng)
    index = int(rng.integers(0, 880))
    state = (
        points[index, 0] + rng.normal(0, 0.3), points[index, 1] + rng.normal(0, 0.3), rng.normal(0, 0.3), rng.uniform(0, 14)
    )  # fmt: skip
    used, fresh = LateralPid(), LateralPid()
    for _ in range(seed):
        error = rng.normal(0, 0.2)
        for controller in (used, fresh):
            controller.step(points[index:], state[0], state[1], error, state[3])
    before = used.errors
    got = roll_out(state, points, speeds, index, SEARCH, 80, used, LongitudinalRegression(), BicycleModel(), brakes)
    np.testing.assert_allclose(got, step_by_step(state, points, speeds, index, 80, fresh, brakes), rtol=0, atol=1e-9)
    assert used.errors == before


@pytest.mark.parametrize("partial_brake", [False, True])
@pytest.mark.parametrize("gains", [False, True])
def test_others_drive_as_the_bicycle_model_says_to_the_last_bit(partial_brake: bool, gains: bool) -> None:
    rng, count, steps = np.random.default_rng(4), 40, 120
    control = np.column_stack([rng.uniform(-1, 1, count), rng.uniform(0, 1, count), rng.choice([0.0, 0.3, 1.0], count)])
    xy, yaw, speed = rng.uniform(-200, 200, (count, 2)), rng.uniform(-4, 4, count), rng.uniform(0, 20, count)
    gained = rng.uniform(0, 5, count) if gains else None
    expected = BicycleModel().roll_out_others(xy, yaw, speed, control, steps, partial_brake, gained)
    places, cos, sin, speeds = roll_out_others(BicycleModel(), xy, yaw, speed, control, steps, partial_brake, gained)
    for got, wanted in zip(
        (places, cos, sin, speeds), (expected[0], np.cos(expected[1]), np.sin(expected[1]), expected[2])
    ):
        np.testing.assert_array_equal(got, wanted)
