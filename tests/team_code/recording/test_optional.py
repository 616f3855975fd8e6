"""Optional pictures: depth and classes as the simulator encodes them, and the road from above where the map has it."""

from __future__ import annotations

from pathlib import Path

import carla
import cv2
import numpy as np
import pytest

from dataset_generation.language_labels.synthetic import moved
from driving.records import TrafficLightBox, WalkerBox
from team_code.recording.optional import (
    BEV_CLASSES,
    BEV_PX_PER_M,
    BEV_SIZE_PX,
    BevPainter,
    depth_of,
    semantics_of,
    write_png,
)
from tests.dataset_generation.language_labels.conftest import RED_CAR

TOWN = Path(__file__).parents[3] / "data" / "towns" / "Mini01.xodr"
MIDDLE = BEV_SIZE_PX // 2


def test_depth_is_clipped_at_fifty_metres():
    picture = np.zeros((1, 4, 4), np.uint8)
    for column, metres in enumerate((0.0, 10.0, 49.9, 400.0)):
        code = round(metres / 1000 * (2**24 - 1))
        picture[0, column, :3] = code >> 16, code >> 8 & 255, code & 255  # blue, green, red
    assert depth_of(picture)[0].tolist() == [0, 51, 254, 255]


def test_classes_are_the_red_channel(tmp_path):
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[..., 2] = [[1, 7], [14, 24]]
    assert semantics_of(picture).tolist() == [[1, 7], [14, 24]]
    write_png(tmp_path / "x.png", semantics_of(picture))
    assert cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED).tolist() == [[1, 7], [14, 24]]


@pytest.fixture(scope="module")
def town():
    return carla.Map("Mini01", TOWN.read_text())


@pytest.fixture(scope="module")
def painter(town):
    return BevPainter(town)


def straight(town):
    """A waypoint on a straight piece of road, far from junctions."""
    for waypoint in town.generate_waypoints(10.0):
        ahead, behind = waypoint.next(25.0), waypoint.previous(25.0)
        if not ahead or not behind or any(w.is_junction for w in (waypoint, ahead[0], behind[0])):
            continue
        if abs(ahead[0].transform.rotation.yaw - behind[0].transform.rotation.yaw) < 0.1:
            return waypoint
    raise AssertionError("the town has no straight road")


def view(painter, waypoint, boxes=(), **changes):
    place = waypoint.transform
    return painter.paint((place.location.x, place.location.y), np.radians(place.rotation.yaw), boxes, **changes)


def test_the_ego_stands_on_the_road_and_lines_run_beside_it(town, painter):
    waypoint = straight(town)
    picture = view(painter, waypoint)
    assert picture.shape == (BEV_SIZE_PX, BEV_SIZE_PX)
    column = picture[MIDDLE - 40 : MIDDLE + 40, MIDDLE]
    assert set(column.tolist()) == {BEV_CLASSES["road"]}
    border = MIDDLE + round(waypoint.lane_width / 2 * BEV_PX_PER_M)
    beside = picture[MIDDLE - 20 : MIDDLE + 20, border - 1 : border + 2]
    assert {BEV_CLASSES["line"], BEV_CLASSES["broken"]} & set(beside.ravel().tolist())


def test_boxes_are_drawn_where_they_are(town, painter):
    car = moved(RED_CAR, position=[20.0, 5.0, 0.0])
    walker = WalkerBox(
        position=[-10.0, -5.0, 1.0], extent=[0.5, 0.5, 0.9], distance=11.2, age="adult", num_points=9, speed=1.0, id=2
    )
    light = TrafficLightBox(
        state="Red", position=[30.0, 0.0, 0.0], extent=[1.0, 1.0, 0.5], distance=30.0, id=3, affects_ego=True
    )
    picture = view(painter, straight(town), [car, walker, light])
    rows, columns = np.nonzero(picture == BEV_CLASSES["vehicle"])
    assert (rows.mean(), columns.mean()) == pytest.approx((MIDDLE - 40, MIDDLE + 10), abs=1)
    rows, columns = np.nonzero(picture == BEV_CLASSES["walker"])
    assert (rows.mean(), columns.mean()) == pytest.approx((MIDDLE + 20, MIDDLE - 10), abs=1)
    assert picture[MIDDLE - 60, MIDDLE] == BEV_CLASSES["Red"]


def test_the_augmented_view_is_that_of_a_displaced_ego(town, painter):
    waypoint = straight(town)
    place, yaw = waypoint.transform.location, np.radians(waypoint.transform.rotation.yaw)
    displaced = (place.x - 1.5 * np.sin(yaw), place.y + 1.5 * np.cos(yaw))
    expected = painter.paint(displaced, yaw + np.radians(12.0), ())
    np.testing.assert_array_equal(view(painter, waypoint, shift_m=1.5, turn_deg=12.0), expected)
    car = moved(RED_CAR, position=[20.0, 1.5, 0.0])
    _, columns = np.nonzero(view(painter, waypoint, [car], shift_m=1.5) == BEV_CLASSES["vehicle"])
    assert columns.mean() == pytest.approx(MIDDLE, abs=1)  # the ego moved onto the line of the car
