"""The route: published resampling, blends, and what lies ahead of a point."""

import numpy as np
import pytest

from team_code.expert.route import blend_weights, next_ahead, resample, route_yaws


def test_published_resampling():
    points, commands = resample([(0, 0), (1, 0), (2, 0), (3, 1), (3, 3)], [4, 4, 1, 1, 4])
    assert len(points) == 54
    np.testing.assert_allclose(points[:3], [(0, 0), (0.09, 0), (0.19, 0)], atol=1e-9)
    np.testing.assert_allclose(points[-1], (3, 2.88), atol=1e-9)
    assert commands.tolist() == [4] * 15 + [1] * 30 + [4] * 9


def test_resampling_keeps_the_spacing_on_a_bend():
    angle = np.linspace(0, 1.5, 40)
    corners = np.stack([np.cos(angle), np.sin(angle), 0.1 * angle], axis=1) * 20
    points, _ = resample(corners, np.full(40, 4))
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert gaps.min() > 0.08
    assert gaps.max() < 0.12


def test_resampling_one_point_is_refused():
    with pytest.raises(ValueError, match="at least two points; got 1"):
        resample([(0, 0)], [4])


def test_yaws_follow_a_circle():
    angle = np.linspace(0, 1, 200)
    yaws = route_yaws(np.stack([np.cos(angle), np.sin(angle)], axis=1) * 20)
    np.testing.assert_allclose(yaws[1:-1], angle[1:-1] + np.pi / 2, atol=1e-6)


def test_blend_starts_and_ends_on_the_lane_and_has_no_jump():
    weights = blend_weights(301, 80)
    assert weights[0] == weights[-1] == 0.0
    assert np.all(weights[80:221] == 1.0)
    assert np.max(np.abs(np.diff(weights))) < 0.03
    np.testing.assert_allclose(weights, weights[::-1], atol=1e-12)


def test_a_place_counts_up_to_its_index_and_not_after():
    labels, distances = next_ahead(10, [(7, 1), (3, 0)])
    assert labels.tolist() == [0] * 4 + [1] * 4 + [-1] * 2
    np.testing.assert_allclose(distances[:8], [0.3, 0.2, 0.1, 0.0, 0.3, 0.2, 0.1, 0.0])
    assert np.isinf(distances[8:]).all()
