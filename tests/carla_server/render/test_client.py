"""The published client reads what our sensors send, and the sensors agree with one another through it."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import pytest

from carla_server.sensors.scene import Tag

SIZE = {"image_size_x": "320", "image_size_y": "160", "fov": "90"}
SENSORS: dict[str, dict[str, str]] = {
    "sensor.camera.rgb": SIZE,
    "sensor.camera.depth": SIZE,
    "sensor.camera.semantic_segmentation": SIZE,
    "sensor.camera.instance_segmentation": SIZE,
    "sensor.lidar.ray_cast": {
        "channels": "16",
        "range": "60",
        "points_per_second": "64000",
        "dropoff_general_rate": "0.0",
    },
    "sensor.lidar.ray_cast_semantic": {"channels": "16", "range": "60", "points_per_second": "64000"},
    "sensor.other.radar": {"points_per_second": "4000", "horizontal_fov": "20", "vertical_fov": "10"},
}
AHEAD = 12.0  # metres from the camera to the middle of the car before it


@pytest.fixture
def measured(sync_world: Any) -> tuple[dict[str, Any], Any]:
    """One measurement of every sensor looking along a lane at a parked car, and that car."""
    import carla

    world = sync_world
    library = world.get_blueprint_library()
    spot = world.get_map().get_spawn_points()[60]
    forward = spot.get_forward_vector()
    blueprint = library.find("vehicle.tesla.model3")
    place = carla.Transform(spot.location + carla.Location(forward.x * AHEAD, forward.y * AHEAD, 0.2), spot.rotation)
    car = world.spawn_actor(blueprint, place)
    inbox: dict[str, queue.Queue[Any]] = {}
    kept = []  # a sensor whose object is collected stops listening
    for name, attributes in SENSORS.items():
        sensor_blueprint = library.find(name)
        for key, value in attributes.items():
            sensor_blueprint.set_attribute(key, value)
        pose = carla.Transform(carla.Location(spot.location.x, spot.location.y, 1.2), spot.rotation)
        sensor = world.spawn_actor(sensor_blueprint, pose)
        kept.append(sensor)
        inbox[name] = queue.Queue()
        sensor.listen(inbox[name].put)
    for _ in range(3):
        frame = world.tick()
    found = {}
    for name, box in inbox.items():
        data = box.get(timeout=20)
        while data.frame < frame:
            data = box.get(timeout=20)
        found[name] = data
    for sensor in kept:
        sensor.stop()
    return found, car


def pixels(image: Any) -> np.ndarray:
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4).astype(np.int64)


def test_sensors_agree_on_the_car_ahead(measured: tuple[dict[str, Any], Any]) -> None:
    found, car = measured
    tags = pixels(found["sensor.camera.semantic_segmentation"])[..., 2]
    instances = pixels(found["sensor.camera.instance_segmentation"])
    code = pixels(found["sensor.camera.depth"])
    depth = (code[..., 2] + 256 * code[..., 1] + 65536 * code[..., 0]) / (256**3 - 1) * 1000.0
    number = instances[..., 1] + 256 * instances[..., 0]
    mine = (number == car.id % 65536) & (instances[..., 2] == Tag.CAR)
    assert mine.sum() > 300
    assert np.all(tags[mine] == Tag.CAR)
    rear = AHEAD - car.bounding_box.extent.x
    assert depth[mine].min() == pytest.approx(rear, abs=0.15)
    assert found["sensor.camera.rgb"].fov == 90.0

    semantic = found["sensor.lidar.ray_cast_semantic"]
    hits = [point for point in semantic if point.object_idx == car.id]
    if hits:  # this half turn may look the other way
        assert min(point.point.x for point in hits) == pytest.approx(rear, abs=0.3)
        assert {point.object_tag for point in hits} == {int(Tag.CAR)}
    close = [row for row in found["sensor.other.radar"] if abs(row.depth - rear) < 0.6]
    assert close
    assert all(abs(row.velocity) < 0.2 for row in close)


def test_the_lidar_sends_what_it_announces(measured: tuple[dict[str, Any], Any]) -> None:
    found, _ = measured
    cloud = found["sensor.lidar.ray_cast"]
    points = np.frombuffer(cloud.raw_data, np.float32).reshape(-1, 4)
    assert cloud.channels == 16
    assert sum(cloud.get_point_count(channel) for channel in range(16)) == len(points) > 500
    # The lowest channel looks 30 degrees down from 1.2 m above the road: a ring of 2.08 m where nothing stands.
    lowest = points[-cloud.get_point_count(15) :]
    on_ground = np.abs(lowest[:, 2] + 1.2) < 0.05
    assert on_ground.sum() > 50
    np.testing.assert_allclose(np.hypot(lowest[on_ground, 0], lowest[on_ground, 1]), 1.2 / np.tan(np.pi / 6), atol=0.12)
