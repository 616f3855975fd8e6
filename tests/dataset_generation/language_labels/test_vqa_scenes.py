"""Hand-built scenes for every family of questions, with the canonical answers of the published labels."""

from dataclasses import replace

import pytest

from dataset_generation.language_labels.profiles import CORRECTED, PARITY, profile_named
from dataset_generation.language_labels.projection import corners
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.synthetic import moved
from dataset_generation.language_labels.vqa.important import merged
from dataset_generation.language_labels.vqa.vehicles import faces_ego
from driving.records import (
    StaticBox,
    StopSignBox,
    TrafficLightBox,
    TrafficLightVqaBox,
    TrafficWarningBox,
    WalkerBox,
)

LINE = {"extent": [1.5, 1.5, 0.5]}


def walker(x, y=0.0, **changes):
    values = {"age": "adult", "num_points": 20, "speed": 1.0, "id": 200, "extent": [0.2, 0.2, 0.9]}
    return WalkerBox(position=[x, y, 0.9], distance=(x * x + y * y + 0.81) ** 0.5, **{**values, **changes})


def light(distance, state="Red"):
    return TrafficLightVqaBox(
        **LINE, position=[distance, 3.0, 4.0], distance=distance, state_str=state, state=0, affects_ego=True
    )


def sign(distance, affects=True):
    return StopSignBox(**LINE, position=[distance, 0.0, 0.0], distance=abs(distance), id=300, affects_ego=affects)


def test_calm_road(ask):
    answers = ask()
    assert answers[0, 0] == "There are no important objects in the scene."
    assert answers[1, 0] == "No, the ego vehicle is not affected by a stop sign."
    assert answers[2, 1] == "There is no traffic light affecting the ego vehicle."
    assert answers[3, 0] == "No, the ego vehicle is not at a junction."
    assert answers[3, 1] == "The ego vehicle should watch out for traffic coming from the oncoming lane."
    assert answers[3, 2, 0] == "There is one lane in the same direction."
    assert answers[3, 3] == "The ego vehicle is on lane 0."
    assert answers[3, 4, 0] == "The lane marking on the left side of the ego car is a yellow broken lane."
    assert answers[3, 4] == "The lane marking on the right side of the ego car is a white solid lane."
    assert answers[3, 5] == "The ego vehicle can not change lanes since it is on a one lane road."
    assert answers[3, 7] == "The current speed limit is 50 km/h."
    assert answers[5, 0] == "There are no pedestrians."
    assert answers[6, 0] == "There is no reason for the ego vehicle to brake."


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, "The red car is on the same road driving on the lane of the ego vehicle."),
        (
            {"lane_relative_to_ego": 2, "position": [20.0, 7.0, 0.0], "speed": 0.0},
            "The red car is on the same road standing in the same direction. It is two lanes to the right of the ego "
            "vehicle.",
        ),
        (
            {"lane_relative_to_ego": -1, "same_direction_as_ego": False, "lane_type_str": "Biking"},
            "The red car is on the same road driving in the opposite direction. It is on the bike lane one lane to the "
            "left of the ego vehicle.",
        ),
        (
            {"road_id": 77, "same_road_as_ego": False, "position": [20.0, -10.0, 0.0], "yaw": 1.57},
            "The red car is on the left side of the junction and is pointing towards the junction.",
        ),
        (
            {"road_id": 77, "same_road_as_ego": False, "position": [20.0, 10.0, 0.0], "yaw": 1.57},
            "The red car is on the right side of the junction and is pointing away from the junction.",
        ),
        (
            {"road_id": 77, "same_road_as_ego": False, "is_in_junction": True, "junction_id": 5, "yaw": 3.1},
            "The red car is inside the upcoming junction and is pointing towards the ego vehicle.",
        ),
        (
            {"type_id": "vehicle.dodge.charger_police_2020", "color_rgb": [0, 28, 0]},
            "The dark green police car is on the same road driving on the lane of the ego vehicle.",
        ),
    ],
)
def test_where_a_vehicle_is(ask, red_car, changes, answer):
    assert ask(boxes=[moved(red_car, **changes)])[4, 0] == answer


@pytest.mark.parametrize(
    ("changes", "going", "moving"),
    [
        ({"steer": -0.2, "speed": 0.1}, "is turning left.", "is not moving."),
        ({"steer": 0.05, "speed": 3.0}, "is turning slightly right.", "is driving slowly."),
        ({"vehicle_cuts_in": True, "speed": 9.0}, "is cutting into the lane of the ego vehicle.", "is driving."),
    ],
)
def test_how_a_vehicle_moves(ask, red_car, changes, going, moving):
    answers = ask(boxes=[moved(red_car, **changes)])
    assert (answers[4, 1], answers[4, 2]) == (f"The red car {going}", f"The red car {moving}")


def test_bicycles_move_rather_than_drive(ask, red_car):
    bicycle = moved(red_car, base_type="bicycle", type_id="vehicle.bh.crossbike", num_points=0)
    assert ask(boxes=[bicycle])[4, 2] == "The red bicycle is moving."


@pytest.mark.parametrize(
    ("changes", "is_asked_about"),
    [
        ({"position": [-2.0, 0.0, 0.0]}, False),
        ({"num_points": 14}, False),
        ({"num_points": 10, "role_name": "scenario"}, True),
        ({"lane_type_str": "Parking"}, False),
        ({"lane_type_str": "Parking", "vehicle_cuts_in": True}, True),
        ({"position": [5.0, 30.0, 0.0]}, False),
    ],
)
def test_which_vehicles_are_asked_about(ask, red_car, changes, is_asked_about):
    assert ((4, 0) in ask(boxes=[moved(red_car, **changes)])) == is_asked_about


@pytest.mark.parametrize(
    ("changes", "road", "start"),
    [
        ({}, {"hazard_detected_20": True, "affects_ego_20": 101}, "Yes, the red car is right to the front"),
        ({}, {}, "No, the red car is not crossing paths"),
        (
            {"road_id": 20, "same_road_as_ego": False, "same_direction_as_ego": False},
            {},
            "Yes, the red car is behind the intersection on the road the ego vehicle will enter",
        ),
        ({"vehicle_cuts_in": True}, {}, "Yes, the routes will cross since the red car is cutting into"),
    ],
)
def test_crossing_paths(ask, red_car, changes, road, start):
    assert ask(boxes=[moved(red_car, **changes)], road=road)[4, 3].startswith(start)


def test_lane_change_onto_the_lane_of_a_vehicle(ask, red_car):
    car = moved(red_car, lane_relative_to_ego=1, position=[15.0, 3.5, 0.0])
    answer = ask(boxes=[car], measurement={"command": 6, "target_point": [20.0, 3.5]})[4, 3]
    assert answer.endswith("does a lane change to the right onto the lane of the red car.")


def test_facing_is_symmetric_when_corrected(red_car):
    for sign_of_turn in (-1, 1):
        car = moved(red_car, yaw=3.14159 - sign_of_turn * 0.6)
        assert faces_ego(car, symmetric=True)
    away = moved(red_car, yaw=0.3)
    assert not faces_ego(away, symmetric=True)


@pytest.mark.parametrize(
    ("command", "road", "start"),
    [
        (1, {}, "The ego vehicle should pay particular attention to traffic coming from the left side"),
        (2, {}, "The ego vehicle should pay particular attention to traffic coming straight ahead from the left"),
        (5, {}, "The ego vehicle should pay particular attention to traffic in the left-hand lane and wait"),
        (4, {"num_lanes_opposite_direction": 0}, "There are no other driving lanes to watch out for"),
        (
            4,
            {"num_lanes_same_direction": 2, "lane_change": 1},
            "The ego vehicle should pay particular attention to traffic changing lanes from neighboring lanes and for",
        ),
    ],
)
def test_lanes_to_watch(ask, command, road, start):
    assert ask(measurement={"command": command}, road=road)[3, 1].startswith(start)


def test_in_a_junction_lanes_cannot_be_told(ask):
    answers = ask(road={"is_in_junction": True, "junction_id": 4, "distance_to_junction": 0.0})
    assert answers[3, 0] == "The ego vehicle is in a junction."
    for node in ((3, 2), (3, 3), (3, 5), (3, 6)):
        assert answers[node] == "It is not possible to tell since the ego vehicle is in a junction."


def test_parking_lanes_are_offered(ask):
    answers = ask(road={"parking_right": True})
    assert answers[3, 5].endswith("But it could change to the parking lane on the right side of the road.")
    assert "parked on the right side" in answers[3, 6]


def test_highway_entry(ask):
    road = {"distance_to_junction": 10.0, "num_lanes_opposite_direction": 0}
    answers = ask("EnterActorFlow", measurement={"speed_limit": 25.0}, road=road)
    assert answers[3, 0] == "The ego vehicle is on an acceleration lane and about to enter the highway."
    assert answers[0, 0] == "The important object in the scene is a highway entry."


def test_doubled_word_is_published_and_corrected(ask):
    frame = {"measurement": {"command": 3, "speed_limit": 25.0}, "road": {"lane_change": 2}}
    assert "attention to to the left lane" in ask("HighwayCutIn", PARITY, **frame)[3, 1]
    assert "attention to the left lane" in ask("HighwayCutIn", CORRECTED, **frame)[3, 1]


@pytest.mark.parametrize(
    ("distance", "affects", "asked", "to_do"),
    [
        (20.0, True, "which has not been cleared yet", "slow down and stop at the stop sign"),
        (45.0, True, "No, the ego vehicle is not affected", "There is no stop sign"),
        (2.0, False, "which has already been cleared", "which has already been cleared"),
    ],
)
def test_stop_signs(ask, distance, affects, asked, to_do):
    answers = ask(boxes=[sign(distance, affects)])
    assert asked in answers[1, 0]
    assert to_do in answers[1, 1]


@pytest.mark.parametrize(
    ("state", "speed", "road", "to_do"),
    [
        ("Red", 8.0, {}, "The ego vehicle should slow down and stop at the traffic light."),
        ("Red", 0.0, {}, "The ego vehicle should remain stopped."),
        ("Green", 2.0, {}, "The ego vehicle can accelerate and continue driving because the traffic light is green."),
        ("Yellow", 8.0, {}, "The ego vehicle should slow down and prepare to stop at the traffic light."),
        ("Red", 0.0, {"affects_ego_20": 7}, "and stay behind other vehicles that are standing at the red light."),
    ],
)
def test_traffic_lights(ask, state, speed, road, to_do):
    answers = ask(boxes=[light(18.0, state)], speed=speed, road={"traffic_light_state": state, **road})
    assert answers[2, 1] == f"The traffic light is {state.lower()}."
    assert answers[2, 2].endswith(to_do)


def test_light_in_the_junction_keeps_its_state_when_corrected(ask):
    line = TrafficLightBox(**LINE, position=[2.0, 0.0, 0.0], distance=2.0, state="Green", id=5, affects_ego=True)
    road = {"is_in_junction": True, "distance_to_junction": 0.0, "traffic_light_state": "Green"}
    assert ask(profile=PARITY, boxes=[line], road=road)[2, 2] == "The ego vehicle should follow the traffic light."
    assert "because the traffic light is green" in ask(boxes=[line], road=road)[2, 2]


def test_stop_line_stands_for_a_head_over_another_lane_when_corrected(ask):
    line = TrafficLightBox(**LINE, position=[8.0, 0.0, 0.0], distance=8.0, state="Red", id=5, affects_ego=True)
    head = replace(light(9.0), affects_ego=False)
    frame = {"boxes": [line, head], "road": {"traffic_light_state": "Red"}, "speed": 0.0}
    assert ask(profile=PARITY, **frame)[2, 0] == "No, the ego vehicle is not affected by a traffic light."
    assert ask(**frame)[2, 0] == "Yes, the ego vehicle is affected by a traffic light."
    assert ask(**frame)[2, 2] == "The ego vehicle should remain stopped."


def test_pedestrians_are_counted_within_forty_metres_ahead(ask):
    people = [walker(10.0), walker(30.0, -3.0), walker(45.0), walker(-5.0), walker(20.0, num_points=4)]
    answers = ask(boxes=people)
    assert answers[5, 0] == "There are 2 pedestrians."
    assert answers[0, 0] == (
        "The important objects in the scene are the pedestrian to the front of the ego vehicle and the pedestrian to the "
        "front left of the ego vehicle."
    )


def test_pedestrians_stand_on_the_ground_when_corrected():
    person = walker(10.0)
    feet, head = corners(person)[0][2], corners(person)[-1][2]
    assert (feet, head) == pytest.approx((0.0, 1.8))
    assert corners(person, walkers_float=True)[0][2] == pytest.approx(0.9)


def test_obstruction_on_a_two_way_road(ask):
    warning = TrafficWarningBox(extent=[0.5, 0.5, 1.0], position=[20.0, 0.5, 0.0], distance=20.0)
    answers = ask("ConstructionObstacleTwoWays", boxes=[warning])
    assert answers[3, 8] == "The ego vehicle must change to the opposite lane to circumvent the construction warning."
    assert answers[3, 9] == "Yes, there is a construction warning on the current road."


@pytest.mark.parametrize(("lane_change", "target"), [(1, "the right lane"), (2, "the left lane"), (3, "either side")])
def test_obstruction_on_a_one_way_road(ask, red_car, lane_change, target):
    parked = moved(red_car, speed=0.0, role_name="scenario")
    answer = ask("ParkedObstacle", boxes=[parked], road={"lane_change": lane_change})[3, 8]
    assert answer == f"The ego vehicle must change to {target} to circumvent the parked vehicle."


def test_while_overtaking_the_lane_is_counted_from_the_opposite_one(ask, red_car):
    parked = moved(red_car, speed=0.0, role_name="scenario")
    shifted = [[x, 3.5] for x, _ in [[2.5 + i, 0.0] for i in range(40)]]
    frame = {"boxes": [parked], "measurement": {"changed_route": True, "route_original": shifted}}
    answers = ask("ParkedObstacleTwoWays", **frame)
    assert answers[3, 3] == "The ego vehicle is on lane 1 since it overtakes an obstruction."
    assert answers[3, 8] == "The ego vehicle has already changed to another lane to circumvent the parked vehicle."


def test_two_bicycles_take_the_plural_when_corrected(ask, red_car):
    bicycles = [
        moved(red_car, id=i, base_type="bicycle", type_id="vehicle.bh.crossbike", position=[10.0 + i, 0.0, 0.0])
        for i in (1, 3)
    ]
    published, corrected = (ask("HazardAtSideLaneTwoWays", p, boxes=bicycles)[3, 9] for p in (PARITY, CORRECTED))
    assert published == "Yes, there is a two bicycles on the current road."
    assert corrected == "Yes, there are two bicycles on the current road."


def test_invading_turn_text(ask):
    cone = StaticBox(
        type_id="static.prop.constructioncone", extent=[0.2, 0.2, 0.3], position=[12.0, -2.0, 0.0], distance=12.2
    )
    published, corrected = (ask("InvadingTurn", p, boxes=[cone])[3, 9] for p in (PARITY, CORRECTED))
    assert published == (
        'Yes, there might be invading vehicles from the opposite lane on "' + " " * 49 + '"the current road.'
    )
    assert corrected == "Yes, there might be invading vehicles from the opposite lane on the current road."


SLOWING = {"control_brake": True, "speed_reduced_by_obj_id": 101, "speed_reduced_by_obj_distance": 18.0}


@pytest.mark.parametrize(
    ("measurement", "answer"),
    [
        ({"control_brake": True}, "There is no reason for the ego vehicle to brake."),
        ({"control_brake": True, "speed": 14.0}, "The ego vehicle should brake because it is too fast."),
        ({**SLOWING, "speed_reduced_by_obj_type": "traffic.stop"}, "should stop because of the stop sign."),
        (
            {**SLOWING, "speed_reduced_by_obj_type": "traffic.traffic_light"},
            "The ego vehicle should stop because of the traffic light that is red.",
        ),
        (
            {**SLOWING, "speed_reduced_by_obj_type": "vehicle.lincoln.mkz_2020"},
            "The ego vehicle should adjust its speed to the speed of the red car that is to the front of it.",
        ),
        (
            {**SLOWING, "speed_reduced_by_obj_type": "vehicle.lincoln.mkz_2020", "vehicle_hazard": True},
            "The ego vehicle should brake because of the red car that is to the front of it.",
        ),
    ],
)
def test_why_the_ego_vehicle_brakes(ask, red_car, measurement, answer):
    assert ask(boxes=[red_car], measurement=measurement)[6, 0].endswith(answer)


def test_braking_for_a_pedestrian(ask):
    measurement = {**SLOWING, "speed_reduced_by_obj_type": "walker.pedestrian.0001", "walker_hazard": True}
    near, far = (ask(boxes=[walker(x)], measurement=measurement)[6, 0] for x in (8.0, 20.0))
    assert near == "The ego vehicle should stop because of the pedestrian that is crossing the road."
    assert far == "The ego vehicle should slow down because of the pedestrian that is crossing the road."


def test_waiting_for_a_gap_in_oncoming_traffic(ask, red_car):
    parked = moved(red_car, speed=0.0, role_name="scenario")
    measurement = {**SLOWING, "speed_reduced_by_obj_type": "vehicle.lincoln.mkz_2020"}
    answer = ask("ParkedObstacleTwoWays", boxes=[parked], measurement=measurement)[6, 0]
    assert answer == (
        "The ego vehicle should stop because it must invade the opposite lane, which is occupied, in order to bypass the "
        "parked vehicle."
    )


def test_equal_objects_at_one_place_are_counted():
    names = ["the red car nearby to the front"] * 2 + ["a junction", "the bus to the front", "the bus to the left"]
    published = ["a junction", "the 2 red car nearbys and the bus to the front", "the bus to the left"]
    corrected = ["a junction", "the 2 red cars nearby and the bus to the front", "the bus to the left"]
    assert merged(names, plural_before_distance=False) == published
    assert merged(names, plural_before_distance=True) == corrected


def test_frames_the_published_generator_loses_are_labelled_when_corrected(ask, red_car):
    rare = {"left_lane_marking_type": 7}
    with pytest.raises(LabelFailure, match="lane marking type 7"):
        ask(profile=PARITY, road=rare)
    assert "a yellow dotted lane" in ask(road=rare)[3, 4, 0]
    behind = replace(red_car, id=55)
    with pytest.raises(LabelFailure, match="vehicle ahead has no box"):
        ask(profile=PARITY, boxes=[behind], road={"affects_ego_40": 99})
    assert ask(boxes=[behind], road={"affects_ego_40": 99})[6, 0].startswith("There is no reason")


def test_unknown_profile_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'parity'"):
        profile_named("paritty")
