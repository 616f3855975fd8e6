"""LiDAR sweeps, points in boxes and LAZ files."""

import io

import laspy
import numpy as np

from driving.geometry import to_ego
from team_code.recording.points import PointIndex, SweepJoiner, decode_laz, encode_laz, to_vehicle


def test_a_point_ahead_of_the_turned_sensor_lies_to_the_left():
    np.testing.assert_allclose(
        to_vehicle(np.array([[2.0, 0, -1]]), (0, 0, 2.5), -np.pi / 2), [[0, -2, 1.5]], atol=1e-12
    )


def test_a_standing_object_stays_put_when_sweeps_are_joined():
    world = np.array([[20.0, 5.0, 1.0]])
    joiner, clouds = SweepJoiner(), []
    for place, yaw in (([0.0, 0.0, 0.0], 0.1), ([1.0, 0.5, 0.2], 0.3)):
        seen = np.column_stack([to_ego(world[:, :2], place[:2], yaw), world[:, 2] - place[2]])
        clouds.append(joiner.join(seen, np.array(place), yaw))
    assert len(clouds[0]) == 1
    assert len(clouds[1]) == 2
    np.testing.assert_allclose(clouds[1][0], clouds[1][1], atol=1e-9)


def test_counts_agree_with_a_plain_loop():
    rng = np.random.default_rng(0)
    points = rng.uniform(-10, 10, (4000, 3))
    index = PointIndex(points)
    for _ in range(20):
        center, extent, yaw = rng.uniform(-8, 8, 3), rng.uniform(0.5, 4, 3), rng.uniform(-3, 3)
        cos, sin = np.cos(yaw), np.sin(yaw)
        expected = 0
        for x, y, z in points - center:
            ahead, right = x * cos + y * sin, -x * sin + y * cos
            expected += abs(ahead) < extent[0] and abs(right) < extent[1] and abs(z) < extent[2]
        assert index.count(center, extent, yaw) == expected


def test_laz_keeps_centimetres_and_the_published_header():
    points = np.random.default_rng(1).uniform(-80, 80, (500, 3))
    content = encode_laz(points)
    assert content[:4] == b"LASF"
    assert tuple(content[24:26]) == (1, 2)
    np.testing.assert_allclose(decode_laz(content), points, atol=0.0051)


def test_the_library_reads_clouds_of_more_than_one_block():
    points = np.random.default_rng(2).normal(0, 40, (120_001, 3))
    cloud = laspy.read(io.BytesIO(encode_laz(points)))
    header = cloud.header
    assert (header.point_count, header.point_format.id, str(header.version)) == (120_001, 0, "1.2")
    np.testing.assert_allclose(header.offsets, points.min(axis=0))
    np.testing.assert_array_equal(cloud.xyz, decode_laz(encode_laz(points)))
    for bounds, side in ((header.mins, np.min), (header.maxs, np.max)):
        np.testing.assert_allclose(bounds, side(cloud.xyz, axis=0), atol=1e-9)


def test_an_empty_cloud_can_be_written():
    assert decode_laz(encode_laz(np.zeros((0, 3)))).shape == (0, 3)
