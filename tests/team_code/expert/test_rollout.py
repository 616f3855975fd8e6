"""The compiled forecast of the ego against the models it is written out from."""

import numpy as np
import pytest

from driving.control.expert import LateralPid, LongitudinalRegression
from driving.kinematics import BicycleModel
from team_code.expert.config import ExpertConfig
from team_code.expert.rollout import roll_out

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
