"""How scenario vehicles take bends."""

from __future__ import annotations

import numpy as np
import pytest

from srunner.agents.path_agent import BEND_ACCELERATION, BEND_DECELERATION, bend_speeds


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
