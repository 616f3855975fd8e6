"""Hand-built frames: a calm one-lane road, and what a test adds to it."""

from dataclasses import replace
from pathlib import Path

import pytest

from dataset_generation.language_labels.profiles import CORRECTED
from dataset_generation.language_labels.route_data import Frame
from dataset_generation.language_labels.vqa.generator import label_frame
from driving.records import CarBox, EgoCarBox, EgoInfoBox, Measurement

SHARED = Path(__file__).parents[3] / ".." / "shared" / "parity" / "labels"

ROUTE = [[2.5 + i, 0.0] for i in range(40)]

CALM_MEASUREMENT = Measurement(
    pos_global=[0.0, 0.0],
    theta=0.0,
    speed=8.0,
    target_speed=8.0,
    speed_limit=13.9,
    target_point=[50.0, 0.0],
    target_point_next=[90.0, 0.0],
    command=4,
    next_command=4,
    aim_wp=[4.5, 0.0],
    route=ROUTE,
    route_original=ROUTE,
    changed_route=False,
    speed_reduced_by_obj_type=None,
    speed_reduced_by_obj_id=None,
    speed_reduced_by_obj_distance=None,
    steer=0.0,
    throttle=1.0,
    brake=False,
    control_brake=False,
    junction=False,
    vehicle_hazard=False,
    vehicle_affecting_id=None,
    light_hazard=False,
    walker_hazard=False,
    walker_affecting_id=None,
    stop_sign_hazard=False,
    stop_sign_close=False,
    walker_close=False,
    walker_close_id=None,
    angle=0.0,
    augmentation_translation=0.0,
    augmentation_rotation=0.0,
    ego_matrix=[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
)

CALM_ROAD = EgoInfoBox(
    scenario="none",
    traffic_light_state="None",
    distance_to_junction=None,
    ego_lane_number=0,
    road_id=10,
    lane_id=-1,
    is_in_junction=False,
    is_intersection=False,
    junction_id=-1,
    next_junction_id=-1,
    next_road_ids=[20],
    next_next_road_ids_ego=[30],
    num_lanes_same_direction=1,
    num_lanes_opposite_direction=1,
    lane_change=0,
    lane_type_str="Driving",
    left_lane_marking_color_str="Yellow",
    left_lane_marking_type=1,
    right_lane_marking_color_str="White",
    right_lane_marking_type=2,
    parking_left=False,
    parking_right=False,
    bike_lane_left=False,
    bike_lane_right=False,
    affects_ego_10=None,
    affects_ego_15=None,
    hazard_detected_20=False,
    affects_ego_20=None,
    affects_ego_40=None,
)

RED_CAR = CarBox(
    color_rgb=[200, 0, 0],
    color_name="red",
    road_id=10,
    lane_id=-1,
    lane_type_str="Driving",
    is_in_junction=False,
    junction_id=-1,
    next_junction_id=-1,
    next_road_ids=[20],
    same_road_as_ego=True,
    same_direction_as_ego=True,
    lane_relative_to_ego=0,
    base_type="car",
    extent=[2.4, 1.0, 0.75],
    position=[20.0, 0.0, 0.0],
    yaw=0.0,
    num_points=100,
    distance=20.0,
    speed=8.0,
    brake=0.0,
    steer=0.0,
    id=101,
    role_name="background",
    type_id="vehicle.lincoln.mkz_2020",
)


@pytest.fixture
def red_car():
    """A red car on the ego lane, 20 m ahead."""
    return RED_CAR


def frame_of(measurement=None, road=None, boxes=(), speed=8.0):
    """A calm frame with other values of the expert's record and of the road, and with boxes."""
    values = replace(CALM_MEASUREMENT, **{"speed": speed, **(measurement or {})})
    ego = EgoCarBox(
        extent=[2.4, 1.0, 0.75], position=[0.0, 0.0, 0.0], distance=-1, speed=speed, brake=0.0, id=1, matrix=()
    )
    return Frame(20, values, [ego, *boxes, replace(CALM_ROAD, **(road or {}))])


@pytest.fixture
def make_frame():
    """Make a frame: ``make_frame(measurement={...}, road={...}, boxes=[...], speed=...)``."""
    return frame_of


@pytest.fixture
def ask(make_frame):
    """Ask about a frame and return node to answer; nodes asked twice give the last one, with the first under ``(c, l, 0)``."""

    def answers(scenario="noScenario", profile=CORRECTED, **frame):
        label = label_frame(make_frame(**frame), scenario, "x.jpg", profile)
        found = {}
        for pair in label.pairs:
            found.setdefault((pair.cluster, pair.layer, 0), pair.answer)
            found[pair.cluster, pair.layer] = pair.answer
        return found

    return answers


@pytest.fixture(scope="session")
def parity_fixtures():
    """Folder of the published generators' recorded outputs."""
    if not SHARED.exists():
        pytest.skip("no recorded outputs of the published generators beside the repository")
    return SHARED.resolve()
