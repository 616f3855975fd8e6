"""The expert's controllers against published vectors."""

import numpy as np
import pytest

from driving.control.expert import LateralPid, LongitudinalRegression

CONTROLLER = LongitudinalRegression()


@pytest.mark.parametrize(
    ("target", "speed", "throttle", "brake", "extrapolated"),
    [
        (0, 5, 0, True, 0),
        (0.1, 0, 1, False, 0.61590668),
        (0.1, 0.2, 0.48902781, False, 0),
        (5, 5, 0.18971953, False, 0.18971953),
        (5, 4.9, 0.80325339, False, 0.80325339),
        (5, 4.6, 1, False, None),
        (10, 10, 0.3272258, False, None),
        (10, 10.2, 0.33164001, False, None),
        (10, 10.4, 0, True, None),
        (20, 20, 0.44559854, False, None),
    ],
)
def test_longitudinal_vectors(target, speed, throttle, brake, extrapolated):
    got_throttle, got_brake = CONTROLLER(False, target, speed)
    assert got_throttle == pytest.approx(throttle, abs=5e-9)
    assert got_brake is brake
    if extrapolated is not None:
        assert CONTROLLER.extrapolate_throttle(target, speed) == pytest.approx(extrapolated, abs=5e-9)


def test_hazard_brakes_whatever_the_target():
    assert CONTROLLER(True, 20.0, 0.0) == (0.0, True)


@pytest.mark.parametrize(
    ("speed", "first", "second"),
    [
        (0, 0.4915174998, 0.1848633872),
        (3, 0.4915174998, 0.1848633872),
        (8, 0.3952058775, 0.0885517649),
        (15, 0.2209469450, -0.0857071675),
    ],
)
def test_lateral_vectors(speed, first, second):
    route = np.stack([np.arange(400) * 0.1, np.full(400, 0.5)], axis=1)
    controller = LateralPid()
    assert controller.step(route, 0, 0, 0.0, speed) == pytest.approx(first, abs=1e-9)
    assert controller.step(route, 0, 0, 0.1, speed) == pytest.approx(second, abs=1e-9)


def test_steering_without_a_route_is_refused():
    with pytest.raises(ValueError, match="route is empty"):
        LateralPid().step(np.zeros((0, 2)), 0, 0, 0, 1)
