"""The driver model against published vectors and against SciPy's integrator."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from team_code.expert.idm import IntelligentDriver, Obstacle

DRIVER = IntelligentDriver()


@pytest.mark.parametrize(
    ("desired", "length", "speed", "lead_speed", "distance", "gap", "headway", "expected"),
    [
        (10, 4.9, 8, 8, 20, 4, 0.25, 8.44723520),
        (10, 4.9, 8, 0, 20, 4, 0.25, 8.19361895),
        (10, 0, 8, 0, 30, 6, 0.1, 8.49331732),
        (10, 0, 5, 0, 12, 6, 0.1, 5.62228849),
        (10, 0, 2, 0, 5, 2, 0.1, 2.89833994),
        (10, 4.9, 0, 0, 30, 4, 0.25, 1.16692089),
        (13, 4.9, 13, 10, 40, 4, 0.25, 12.92962069),
        (10, 0, 10, 0, 300, 6, 0.1, 9.99839744),
        (10, 0, 8, 0, 300, 6, 0.1, 8.62063563),
        (10, 0, 10, 0, np.inf, 2, 0.1, 10.0),
        (10, 0, 0, 0, np.inf, 2, 0.1, 1.19995024),
    ],
)
def test_published_vectors(desired, length, speed, lead_speed, distance, gap, headway, expected):
    got = DRIVER.next_speed(desired, speed, Obstacle(distance, length, lead_speed, gap, headway))
    assert got == pytest.approx(expected, abs=5e-9)


def test_agrees_with_scipy_everywhere():
    rng = np.random.default_rng(3)
    c = DRIVER.config
    for _ in range(60):
        desired, speed, lead = rng.uniform(2, 20), rng.uniform(0, 20), rng.uniform(0, 15)
        distance, length, gap, headway = rng.uniform(0, 60), rng.uniform(0, 5), rng.uniform(1, 6), rng.uniform(0.1, 0.5)
        braking = c.braking_fast if speed > c.braking_threshold else c.braking_slow

        def slope(t, y, d=distance, lv=lead, ln=length, g=gap, w=headway, des=desired, b=braking):
            room = max(0.1, d + t * lv - y[0] - ln)
            wanted = g + y[1] * w + y[1] * (y[1] - lv) / (2 * np.sqrt(c.acceleration * b))
            return [y[1], c.acceleration * (1 - (y[1] / des) ** 4 - (wanted / room) ** 2)]

        expected = max(0.0, solve_ivp(slope, (0, 0.05), [0, speed]).y[1, -1])
        got = DRIVER.next_speed(desired, speed, Obstacle(distance, length, lead, gap, headway))
        assert got == pytest.approx(expected, abs=1e-9)


def test_a_closer_obstacle_never_speeds_the_car_up():
    speeds = [DRIVER.next_speed(12, 9, Obstacle(d, 0, 0, 4, 0.25)) for d in np.linspace(5, 200, 80)]
    assert np.all(np.diff(speeds) >= -1e-9)


def test_zero_desired_speed_is_refused():
    with pytest.raises(ValueError, match="positive desired speed"):
        DRIVER.next_speed(0, 5, Obstacle(10, 0, 0, 4, 0.25))
