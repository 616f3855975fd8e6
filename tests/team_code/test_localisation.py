"""Position filter and map reference: published vectors, and the evaluator's own Mercator as the other witness."""

import math

import numpy as np
import pytest

from driving.commands import RoadOption
from team_code.localisation import EARTH_RADIUS_M, PositionFilter, estimate_reference, heading_from_compass
from team_code.route_planner import PlanPoint, RoutePlanner


def test_filter_matches_the_published_trace() -> None:
    """Measurement (x, y, yaw, speed), control (steer, throttle, brake) -> position, variance, from filterpy 1.4.5."""
    rows = [
        ((0, 0, 0.1, 0), (0, 0, 1), (0, 0), 0.2501),
        ((0.4, 0.1, 0.1, 0), (0, 0, 1), (0.13337, 0.03334), 0.166812),
        ((0.1, -0.1, 0.1, 0.5), (0.05, 0.5, 0), (0.14311, 0.00216), 0.125182),
        ((0.3, 0.2, 0.101, 1), (0.05, 0.7, 0), (0.21343, 0.04646), 0.100216),
        ((0.3, -0.3, 0.103, 1.4), (0.1, 0.7, 0), (0.28479, -0.00334), 0.083584),
    ]
    position_filter = PositionFilter()
    for (x, y, yaw, speed), control, position, variance in rows:
        estimate = position_filter.step((x, y), yaw, speed, *control)
        np.testing.assert_allclose(estimate, position, atol=5e-5)
        assert position_filter.variance == pytest.approx(variance, abs=2e-6)


def test_filter_brings_noise_down_on_a_straight_drive() -> None:
    rng = np.random.default_rng(0)
    position_filter = PositionFilter()
    errors = []
    for tick in range(400):
        truth = np.array([10.0 * 0.05 * tick, 0.0])
        estimate = position_filter.step(truth + rng.normal(0, 0.55, 2), 0.0, 10.0, 0.0, 0.0, 0.0)
        errors.append(np.linalg.norm(estimate - truth))
    assert np.mean(errors[200:]) < 0.2


@pytest.mark.parametrize("origin", [(0.0, 0.0), (49.0, 8.0), (-33.5, 151.2)])
def test_reference_recovers_the_maps_origin(origin: tuple[float, float]) -> None:
    scale = math.cos(math.radians(origin[0]))
    x, y = 812.5, -1430.0
    longitude = (scale * origin[1] * math.pi * EARTH_RADIUS_M / 180 + x) * 180 / (math.pi * EARTH_RADIUS_M * scale)
    north = scale * EARTH_RADIUS_M * math.log(math.tan((90 + origin[0]) * math.pi / 360)) - y
    latitude = 360 * math.atan(math.exp(north / (EARTH_RADIUS_M * scale))) / math.pi - 90
    reference = estimate_reference(latitude, longitude, x, y)
    assert (reference.latitude, reference.longitude) == pytest.approx(origin, abs=1e-7)
    np.testing.assert_allclose(reference.to_metres(latitude, longitude), [x, y], atol=1e-3)


def test_plan_from_two_worlds_is_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        estimate_reference(0.0, 0.0, 0.0, 1e6)


def test_compass_north_is_minus_y() -> None:
    assert heading_from_compass(0.0) == pytest.approx(-math.pi / 2)
    assert heading_from_compass(math.pi / 2) == pytest.approx(0.0)
    assert heading_from_compass(float("nan")) == pytest.approx(-math.pi / 2)


def plan(*xs: float) -> list[PlanPoint]:
    return [PlanPoint(np.array([x, 0.0]), RoadOption.LANEFOLLOW) for x in xs]


def test_planner_drops_what_is_reached_and_keeps_two_points() -> None:
    planner = RoutePlanner(plan(0, 30, 60, 90))
    assert [point.position[0] for point in planner.step((10, 0))] == [0, 30, 60, 90]
    target, following = planner.targets((25, 0))
    assert (target.position[0], following.position[0]) == (60, 90)
    assert len(planner.step((89, 0))) == 2
    assert planner.targets((89, 0))[1].position[0] == 90


def test_planner_looks_no_further_than_its_horizon() -> None:
    loop = [PlanPoint(np.array(p, dtype=float), RoadOption.LEFT) for p in ((0, 0), (60, 0), (60, 60), (1, 0), (0, 9))]
    assert len(RoutePlanner(loop).step((0, 0))) == 5


def test_empty_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="empty plan"):
        RoutePlanner([])
