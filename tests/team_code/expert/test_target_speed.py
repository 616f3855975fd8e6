"""What the expert believes of others' speed."""

from __future__ import annotations

import numpy as np
import pytest

from team_code.expert.config import expert_config
from team_code.expert.forecast import forecast_vehicles
from team_code.expert.target_speed import Accelerations

from . import simulation


def test_who_drives_off_is_seen_to_gain_speed_and_who_brakes_is_not():
    watch = Accelerations(0.05)
    for tick in range(30):
        vehicles = simulation.batch([(1, 0, 0, 0, 0.15 * tick), (2, 9, 0, 0, 5.0), (3, 20, 0, 0, 0.15 * tick)])
        vehicles.control[2, 2] = 0.5
        gained = watch.update(vehicles)
    assert gained[0] == pytest.approx(3.0, abs=0.1)
    assert gained[1:].tolist() == [0.0, 0.0]


def test_a_newcomer_and_a_vehicle_put_elsewhere_are_not_believed_to_race():
    watch = Accelerations(0.05)
    assert watch.update(simulation.batch([(1, 0, 0, 0, 12.0)])).tolist() == [0.0]
    assert watch.update(simulation.batch([(1, 50, 0, 0, 20.0)])).max() <= Accelerations.LARGEST
    assert watch.update(simulation.no_actors()).shape == (0,)
    assert np.all(watch.update(simulation.batch([(1, 0, 0, 0, 20.0)])) == 0.0)


def test_bicycles_are_expected_earlier_and_later_than_they_come():
    vehicles = simulation.batch([(1, 0, 0, 0, 10.0), (2, 0, 9, 0, 10.0)])
    vehicles.is_bicycle[1] = True
    config = expert_config()
    car, bicycle = forecast_vehicles(vehicles, 20, False, config).extents[-1, :, 0]
    assert bicycle - car == pytest.approx(config.forecast.bicycle_margin * 10.0, rel=0.01)
    car, bicycle = forecast_vehicles(vehicles, 20, False, config, is_impatient=True).extents[-1, :, 0]
    assert bicycle - car == pytest.approx(config.forecast.bicycle_margin * 5.0, rel=0.01)
    published = expert_config("simlingo")
    car, bicycle = forecast_vehicles(vehicles, 20, False, published).extents[-1, :, 0]
    assert bicycle == car
