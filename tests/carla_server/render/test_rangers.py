"""Lidar, radar and encodings: counts, ranges and layouts as CARLA's."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from carla_server.map import RoadMap
from carla_server.sensors.lidar import SEMANTIC_POINT
from carla_server.sensors.scene import ActorView, CameraSpec, Scene, Tag, WeatherView
from carla_server.sensors.suite import encode_depth, encode_instances, make_sensor

HIGH = 500.0
LIDAR = {
    "channels": "64", "range": "85", "points_per_second": "600000", "rotation_frequency": "10", "upper_fov": "10",
    "lower_fov": "-30", "dropoff_general_rate": "0.0", "dropoff_intensity_limit": "0.0",
    "atmosphere_attenuation_rate": "0.004", "noise_stddev": "0.0",
}  # fmt: skip


def crate(number: int, x: float, y: float, half: float = 1.0, **rest: object) -> ActorView:
    """A box of half size `half` whose middle is at (x, y) in a horizontal plane high above the town."""
    pose = (x, y, HIGH - half, 0.0, 0.0, 0.0)
    return ActorView(number, "static.prop.box01", pose, (half,) * 3, (0, 0, half), **rest)  # type: ignore[arg-type]


def points_of(payload: bytes, dtype: object) -> tuple[float, np.ndarray, np.ndarray]:
    angle, channels = struct.unpack("<fI", payload[:8])
    counts = np.frombuffer(payload[8 : 8 + 4 * channels], "<u4")
    return angle, counts, np.frombuffer(payload[8 + 4 * channels :], dtype)


def measure(
    sensor: str,
    attributes: dict[str, str],
    scene: Scene,
    pose: tuple[float, ...],
    actors: list[ActorView],
    ticks: int = 1,
) -> bytes:
    made = make_sensor(sensor, attributes)
    for _ in range(ticks):
        payload = made.measure(scene, pose, (0.0, 0.0, 0.0), actors, WeatherView(), 0.0, 0.05)  # type: ignore[arg-type]
    return payload


def test_a_wall_is_hit_at_its_distance(scene: Scene) -> None:
    rays = np.array([[1, 0, 0], [1, 0.03, 0.02], [-1, 0, 0]], np.float32)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hits = scene.cast((0, 0, HIGH, 0, 0, 0), rays, [crate(4, 21.0, 0.0)], 85.0)
    np.testing.assert_allclose(hits.distance[:2], 20.0 / rays[:2, 0], rtol=1e-4)
    assert hits.instance.tolist() == [4, 4, 0]
    assert np.isinf(hits.distance[2])
    np.testing.assert_allclose(hits.cos_incidence[:2], rays[:2, 0], atol=1e-3)


def test_nothing_beyond_the_range_is_hit(scene: Scene) -> None:
    ray = np.array([[1, 0, 0]], np.float32)
    assert np.isfinite(scene.cast((0, 0, HIGH, 0, 0, 0), ray, [crate(4, 21.0, 0.0)], 20.5).distance[0])
    assert np.isinf(scene.cast((0, 0, HIGH, 0, 0, 0), ray, [crate(4, 21.0, 0.0)], 19.5).distance[0])


def test_rays_agree_with_the_depth_image(scene: Scene, town: RoadMap) -> None:
    spot = town.spawn_points[60]
    pose = (spot.x, spot.y, 2.0, 0.0, spot.yaw, 0.0)
    size, focal = 128, 64.0
    frame = scene.render(CameraSpec(size, size, 90.0, pose), [], WeatherView())
    assert frame.depth is not None
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(0, size, 400), rng.integers(0, size, 400)
    rays = np.stack(
        [np.ones(400), (columns + 0.5 - size / 2) / focal, -(rows + 0.5 - size / 2) / focal], axis=1
    ).astype(np.float32)
    length = np.linalg.norm(rays, axis=1)
    hits = scene.cast(pose, rays / length[:, None], [], 300.0)
    depth = np.where(np.isfinite(hits.distance), hits.distance / length, 1000.0)
    seen = np.minimum(frame.depth[rows, columns], 1000.0)
    near = seen * length < 290
    agree = np.abs(depth - seen)[near] < 0.02 * seen[near] + 0.02
    assert agree.mean() > 0.96  # the rest lies on silhouettes, where half a pixel decides


def test_half_a_revolution_per_tick(scene: Scene) -> None:
    ring = [crate(10 + k, 20 * math.cos(a), 20 * math.sin(a), 6.0) for k, a in enumerate(np.arange(12) * math.pi / 6)]
    made = make_sensor("sensor.lidar.ray_cast_semantic", LIDAR)
    pose = (0.0, 0.0, HIGH, 0.0, 0.0, 0.0)
    halves = []
    for _ in range(2):
        payload = made.measure(scene, pose, (0, 0, 0), ring, WeatherView(), 0.0, 0.05)
        _, counts, points = points_of(payload, SEMANTIC_POINT)
        assert counts.sum() == len(points)
        assert len(counts) == 64
        # 600000 points/s x 0.05 s over 64 channels; those near the horizon all hit the ring of crates.
        level = np.argmin(np.abs(np.linspace(10, -30, 64)))
        assert counts[level] == round(600000 * 0.05 / 64)
        halves.append(np.arctan2(points["xyz"][:, 1], points["xyz"][:, 0]))
    assert halves[0].max() <= 0.01
    assert halves[1].min() >= -0.01


def test_general_drop_off_thins_the_cloud(scene: Scene) -> None:
    walls = [
        crate(3, 30.0, 0.0, 20.0),
        crate(4, -30.0, 0.0, 20.0),
        crate(5, 0.0, 30.0, 20.0),
        crate(6, 0.0, -30.0, 20.0),
    ]
    pose = (0.0, 0.0, HIGH, 0.0, 0.0, 0.0)

    def count(**changes: str) -> int:
        payload = measure("sensor.lidar.ray_cast", {**LIDAR, **changes}, scene, pose, walls)
        return len(points_of(payload, ("<f4", 4))[2])

    whole = count()
    assert count(dropoff_general_rate="0.45") == pytest.approx(0.55 * whole, rel=0.03)
    # Intensity at 10 m or more is below 0.97: with the limit at 1 and certain loss at intensity 0, a share of 1 - i goes.
    kept = count(dropoff_intensity_limit="1.0", dropoff_zero_intensity="1.0")
    assert 0.85 * whole < kept < 0.97 * whole


def test_intensity_falls_with_distance(scene: Scene) -> None:
    payload = measure("sensor.lidar.ray_cast", LIDAR, scene, (0.0, 0.0, HIGH, 0, 0, 0), [crate(3, 0.0, -30.0, 20.0)])
    _, _, points = points_of(payload, ("<f4", 4))
    points = points[points[:, 2] > -10]
    distance = np.linalg.norm(points[:, :3], axis=1)
    np.testing.assert_allclose(points[:, 3], np.exp(-0.004 * distance), rtol=1e-4)


def test_radar_reads_the_closing_speed(scene: Scene) -> None:
    car = crate(8, 42.0, 0.0, 2.0, velocity=(-7.0, 3.0, 0.0))
    made = make_sensor(
        "sensor.other.radar", {"points_per_second": "20000", "horizontal_fov": "10", "vertical_fov": "10"}
    )
    payload = made.measure(scene, (0, 0, HIGH, 0, 0, 0), (5.0, 0.0, 0.0), [car], WeatherView(), 0.0, 0.05)
    rows = np.frombuffer(payload, "<f4").reshape(-1, 4)
    assert len(rows) > 50
    velocity, azimuth, altitude, depth = rows.T
    np.testing.assert_allclose(depth, 40.0 / (np.cos(azimuth) * np.cos(altitude)), rtol=1e-3)
    toward = np.stack([np.cos(altitude) * np.cos(azimuth), np.cos(altitude) * np.sin(azimuth)], axis=1)
    np.testing.assert_allclose(velocity, toward @ (-12.0, 3.0), atol=0.02)


def test_depth_code_decodes_as_documented() -> None:
    depth = np.array([[0.0, 0.5, 12.345, 999.9, 1000.0, 2000.0]], np.float32)
    b, g, r = (encode_depth(depth)[..., k].astype(np.float64) for k in range(3))
    decoded = (r + 256 * g + 65536 * b) / (256**3 - 1) * 1000.0
    np.testing.assert_allclose(decoded, np.minimum(depth, 1000.0), atol=1e-4)


def test_instance_code_carries_tag_and_number() -> None:
    image = encode_instances(np.array([[Tag.CAR]], np.uint8), np.array([[0x1234]], np.int32))
    assert image[0, 0].tolist() == [0x12, 0x34, Tag.CAR, 255]


@pytest.mark.parametrize("sensor", ["sensor.other.imu", "sensor.camera.normals"])
def test_other_sensors_are_refused_by_name(sensor: str) -> None:
    with pytest.raises(ValueError, match=sensor):
        make_sensor(sensor, {})


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="range"):
        make_sensor("sensor.lidar.ray_cast", {"range": "far"})
