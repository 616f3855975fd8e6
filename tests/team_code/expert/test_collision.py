"""Box overlap against shapely, symmetry, and the limits of touching."""

import carla
import numpy as np
import pytest
from scipy.optimize import linprog
from shapely.geometry import Polygon

from driving.geometry import box_corners_2d
from team_code.expert.collision import BoxTracks, axes_from_angles, boxes_overlap, first_conflict, first_overlaps


def flat(center, extent, yaw):
    return np.array([center]), np.array([extent]), axes_from_angles(np.zeros(1), np.array([yaw]), np.zeros(1))


def test_axes_are_those_of_the_carla_client():
    rng = np.random.default_rng(1)
    for pitch, yaw, roll in rng.uniform(-170, 170, (20, 3)):
        rotation = carla.Rotation(pitch=pitch, yaw=yaw, roll=roll)
        expected = [
            [v.x, v.y, v.z]
            for v in (rotation.get_forward_vector(), rotation.get_right_vector(), rotation.get_up_vector())
        ]
        np.testing.assert_allclose(axes_from_angles(*np.radians([pitch, yaw, roll])), expected, atol=1e-5)


def test_flat_boxes_agree_with_shapely():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        boxes = [(rng.uniform(-4, 4, 2), rng.uniform(0.3, 3, 2), rng.uniform(-4, 4)) for _ in range(2)]
        expected = Polygon(box_corners_2d(*boxes[0])).intersects(Polygon(box_corners_2d(*boxes[1])))
        got = boxes_overlap(*(part for c, e, yaw in boxes for part in flat([*c, 0], [*e, 1], yaw)))[0]
        assert got == expected
        hits += expected
    assert 50 < hits < 350


def test_tilted_boxes_overlap_where_they_share_a_point():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(150):
        centers, extents = rng.uniform(-2, 2, (2, 3)), rng.uniform(0.3, 1.5, (2, 3))
        axes = axes_from_angles(*rng.uniform(-3, 3, (3, 2)))
        # A point x lies in a box when |axes (x - center)| <= extent.
        sides = np.concatenate([sign * axes[k] for k in range(2) for sign in (1, -1)])
        limits = np.concatenate([sign * axes[k] @ centers[k] + extents[k] for k in range(2) for sign in (1, -1)])
        expected = linprog(np.zeros(3), A_ub=sides, b_ub=limits, bounds=(None, None)).status == 0
        pair = (part for k in range(2) for part in (centers[k : k + 1], extents[k : k + 1], axes[k : k + 1]))
        assert boxes_overlap(*pair)[0] == expected
        hits += expected
    assert 30 < hits < 120


def test_height_separates_a_bridge_from_the_road():
    below, above = flat([0, 0, 0], [2, 1, 0.7], 0.0), flat([0, 0, 5], [2, 1, 0.7], 0.3)
    assert not boxes_overlap(*below, *above)[0]


def test_touching_counts_and_a_hair_more_does_not():
    a = flat([0.0, 0, 0], [1, 1, 1], 0.0)
    assert boxes_overlap(*a, *flat([2.0, 0, 0], [1, 1, 1], 0.0))[0]
    assert not boxes_overlap(*a, *flat([2.0 + 1e-9, 0, 0], [1, 1, 1], 0.0))[0]


def tracks(xs, extent):
    centers = np.zeros((len(xs), 1, 3))
    centers[:, 0, 0] = xs
    return BoxTracks(centers, np.broadcast_to(extent, centers.shape), np.broadcast_to(np.eye(3), (len(xs), 1, 3, 3)))


def test_first_overlap_is_the_first_time_boxes_meet_at_the_same_time():
    ego, other = tracks(np.arange(20.0), [2, 1, 1]), tracks(np.full(20, 10.0), [1, 1, 1])
    assert first_overlaps(ego, other).tolist() == [7]
    assert first_overlaps(ego, tracks(np.full(20, 40.0), [1, 1, 1])).tolist() == [-1]
    passed = tracks(np.arange(20.0)[::-1] * 100 + 50, [1, 1, 1])
    assert first_overlaps(ego, passed).tolist() == [-1]


def test_forecasts_of_different_length_are_refused():
    with pytest.raises(ValueError, match="ego 3 steps, others 4"):
        first_overlaps(tracks(np.zeros(3), [1, 1, 1]), tracks(np.zeros(4), [1, 1, 1]))


def test_first_conflict_looks_at_all_times():
    ego, late = tracks(np.arange(20.0), [2, 1, 1]), tracks(np.full(20, 10.0), [1, 1, 1])
    crossing = BoxTracks(
        late.centers + np.array([0, 1, 0]) * (np.arange(20.0)[::-1, None, None] * 3 - 6), late.extents, late.axes
    )
    assert first_overlaps(ego, crossing).tolist() == [-1]
    assert first_conflict(ego, crossing, 0, stride=1) == 7
    assert first_conflict(ego, tracks(np.full(20, 60.0), [1, 1, 1]), 0) == 20
