"""Optical flow is the movement that projection says; events are changes of brightness."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from carla_server.map import RoadMap
from carla_server.sensors.movement import EVENT
from carla_server.sensors.scene import CameraSpec, Pose, Scene, WeatherView
from carla_server.sensors.suite import make_sensor
from carla_server.sensors.views import ActorView

SIZE = {"image_size_x": "160", "image_size_y": "80", "fov": "90"}
FOCAL = 80.0
CLEAR = WeatherView()


@pytest.fixture(scope="module")
def eye(town: RoadMap) -> Pose:
    point = town.spawn_points[60]
    return (point.x, point.y, point.z + 1.5, 0.0, point.yaw, 0.0)


def flow(scene: Scene, *moments: tuple[Pose, list[ActorView]]) -> np.ndarray:
    """(80, 160, 2) flow in pixels of the last of some moments."""
    sensor = make_sensor("sensor.camera.optical_flow", SIZE)
    for pose, actors in moments:
        payload = sensor.measure(scene, pose, (0.0, 0.0, 0.0), actors, CLEAR, 0.0, 0.05)
    assert struct.unpack_from("<IIf", payload) == (160, 80, 90.0)
    return np.frombuffer(payload, "<f4", offset=12).reshape(80, 160, 2) * (160, 80)


def test_what_stands_still_does_not_flow(scene: Scene, eye: Pose) -> None:
    np.testing.assert_allclose(flow(scene, (eye, []), (eye, [])), 0.0, atol=1e-3)


def test_turning_right_moves_the_picture_left(scene: Scene, eye: Pose) -> None:
    turned = (*eye[:4], eye[4] + 1.0, 0.0)
    middle = flow(scene, (eye, []), (turned, []))[38:42, 78:82]
    np.testing.assert_allclose(middle[..., 0], -FOCAL * math.tan(math.radians(1.0)), atol=0.02)
    np.testing.assert_allclose(middle[..., 1], 0.0, atol=0.02)


def test_driving_on_makes_the_road_come_nearer(scene: Scene, eye: Pose) -> None:
    yaw = math.radians(eye[4])
    on = (eye[0] + 0.5 * math.cos(yaw), eye[1] + 0.5 * math.sin(yaw), *eye[2:])
    found = flow(scene, (eye, []), (on, []))
    depth = scene.render(CameraSpec(160, 80, 90.0, on, ("depth",)), [], CLEAR).depth
    assert depth is not None
    row = 75
    below = row + 0.5 - 40.0
    # A point `below` the middle at this depth was half a metre farther away.
    expected = below - below * depth[row, 80] / (depth[row, 80] + 0.5)
    assert found[row, 80, 1] == pytest.approx(expected, rel=0.01)


def test_a_car_that_drives_across_flows_by_its_speed(scene: Scene, eye: Pose) -> None:
    yaw = math.radians(eye[4])

    def car(aside: float) -> list[ActorView]:
        x, y = (
            eye[0] + 10.0 * math.cos(yaw) - aside * math.sin(yaw),
            eye[1] + 10.0 * math.sin(yaw) + aside * math.cos(yaw),
        )
        pose = (x, y, eye[2] - 1.5, 0.0, eye[4] + 90.0, 0.0)
        return [ActorView(7, "vehicle.tesla.model3", pose, (2.4, 1.0, 0.75), (0.0, 0.0, 0.75))]

    found = flow(scene, (eye, car(0.0)), (eye, car(0.4)))
    frame = scene.render(CameraSpec(160, 80, 90.0, eye, ("depth", "instance")), car(0.4), CLEAR)
    assert frame.depth is not None
    mine = frame.instance == 7
    assert mine.sum() > 100
    np.testing.assert_allclose(found[mine][:, 0], FOCAL * 0.4 / frame.depth[mine], rtol=0.03)
    np.testing.assert_allclose(found[~mine], 0.0, atol=1e-3)


def test_events_appear_where_brightness_changes_and_in_order(scene: Scene, eye: Pose) -> None:
    sensor = make_sensor("sensor.camera.dvs", {**SIZE, "positive_threshold": "0.2", "negative_threshold": "0.2"})

    def events(pose: Pose, moment: float) -> np.ndarray:
        return np.frombuffer(sensor.measure(scene, pose, (0.0, 0.0, 0.0), [], CLEAR, moment, 0.05)[12:], EVENT)

    assert len(events(eye, 1.0)) == 0
    assert len(events(eye, 1.05)) == 0
    found = events((*eye[:4], eye[4] + 2.0, 0.0), 1.10)
    assert len(found) > 100
    assert (np.diff(found["t"]) >= 0).all()
    assert 1.05e9 <= found["t"][0] <= found["t"][-1] <= 1.10e9
    assert set(found["polarity"].tolist()) == {0, 1}
    assert found["x"].max() < 160
    assert found["y"].max() < 80
