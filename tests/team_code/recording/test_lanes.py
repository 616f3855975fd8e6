"""Lane relations on a town map."""

from pathlib import Path

import carla
import pytest

from team_code.recording.boxes import colour_name
from team_code.recording.ego_info import ego_info_box
from team_code.recording.lanes import LaneBook

TOWN = Path(__file__).resolve().parents[3] / "data" / "towns" / "Mini01.xodr"


@pytest.fixture(scope="module")
def book():
    return LaneBook(carla.Map("Mini01", TOWN.read_text()))


@pytest.fixture(scope="module")
def waypoints(book):
    return [w for w in book.map.generate_waypoints(40.0) if not w.is_junction]


def test_relative_lanes_count_to_the_right_in_either_direction(book, waypoints):
    checked = 0
    for waypoint in waypoints:
        section, right = book.cross_section(waypoint), waypoint.get_right_lane()
        assert section.relative_lane(waypoint.lane_id, waypoint.lane_id) == 0
        if right is not None and right.lane_type == carla.LaneType.Driving:
            assert section.relative_lane(waypoint.lane_id, right.lane_id) == 1
            assert section.relative_lane(right.lane_id, waypoint.lane_id) == -1
            checked += 1
        left = waypoint.get_left_lane()
        if left is not None and left.lane_type == carla.LaneType.Driving and left.lane_id * waypoint.lane_id < 0:
            assert section.relative_lane(waypoint.lane_id, left.lane_id) == -1
            assert section.relative_lane(left.lane_id, waypoint.lane_id) == -1
            checked += 1
    assert checked > 20


def test_distance_to_junction_is_what_walking_finds(book, waypoints):
    checked = 0
    for waypoint in waypoints[::7]:
        distance, here, walked = book.distance_to_junction(waypoint), waypoint, 0.0
        while not here.is_junction and (following := here.next(0.5)) and following[0].road_id == waypoint.road_id:
            here, walked = following[0], walked + 0.5
        if distance is not None:
            assert distance == pytest.approx(walked, abs=1.6)
            checked += 1
    assert checked > 5


def test_ego_info_of_a_street_names_its_lanes(book, waypoints):
    for waypoint in waypoints[::9]:
        info = ego_info_box(book, waypoint, "none", "None", (7, 12.0)).to_dict()
        lanes = [lane["type:"] for lane in (*info["left_lanes"], info["ego_lane"], *info["right_lanes"])]
        driving = info["num_lanes_same_direction"] + info["num_lanes_opposite_direction"]
        assert lanes.count("Driving") == driving
        assert 0 <= info["ego_lane_number"] < info["num_lanes_same_direction"]
        assert info["sidewalk_left"] == any(lane["type:"] == "Sidewalk" for lane in info["left_lanes"])
        assert (info["hazard_detected_10"], info["hazard_detected_15"], info["affects_ego_40"]) == (False, True, 7)


@pytest.mark.parametrize(("rgb", "name"), [((250, 5, 5), "red"), ((0, 0, 0), "black"), ((200, 190, 195), "silver")])
def test_colour_names_are_the_nearest_of_sixteen(rgb, name):
    assert colour_name(rgb) == name
