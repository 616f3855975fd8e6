"""Hand-built scenes for every branch of commentary, with the canonical sentences of the published labels."""

import random
from dataclasses import replace

import pytest

from dataset_generation.language_labels.commentary.generator import label_frame
from dataset_generation.language_labels.commentary.window import Window
from dataset_generation.language_labels.profiles import CORRECTED, PARITY
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.synthetic import moved
from driving.records import StopSignBox, TrafficLightBox, TrafficWarningBox, WalkerBox

LINE = {"extent": [1.5, 1.5, 0.5]}
DEVIATING = [[2.5 + i, 3.5 if i > 4 else 0.0] for i in range(40)]
DEVIATING_LATER = [[2.5 + i, 3.5 if i > 14 else 0.0] for i in range(40)]
BESIDE = [[2.5 + i, 3.5] for i in range(40)]


class Quiet(random.Random):
    """A generator that never says the optional distance."""

    def random(self):
        return 0.9


class Talkative(random.Random):
    """A generator that always says it."""

    def random(self):
        return 0.1


@pytest.fixture
def comment(make_frame):
    """Comment on a frame whose next seconds have the target speed of the frame, or ``future_speed``."""

    def sentence(scenario=None, profile=CORRECTED, future_speed=None, past=None, rng=None, **frame):
        recorded = make_frame(**frame)
        later = recorded.measurement
        if future_speed is not None:
            later = replace(later, target_speed=future_speed)
        moving = [replace(later, pos_global=[2.0 * i, 0.0]) for i in range(11)]
        before = [replace(recorded.measurement, **(past or {}))] * 4
        window = Window(recorded, scenario, profile, past=before, future=moving)
        return label_frame(window, "x.jpg", rng or Quiet())

    return sentence


def following(car, **changes):
    return {
        "boxes": [car],
        "measurement": {
            "speed_reduced_by_obj_type": car.type_id,
            "speed_reduced_by_obj_id": car.id,
            "speed_reduced_by_obj_distance": car.distance,
            **changes,
        },
    }


@pytest.mark.parametrize(
    ("speed", "target", "sentence"),
    [
        (0.0, 0.0, "Follow the route. Remain stopped to drive with the target speed."),
        (0.4, 0.0, "Follow the route. Stop now to drive with the target speed."),
        (10.0, 10.0, "Follow the route. Maintain your current speed."),
        (8.0, 8.0, "Follow the route. Maintain the reduced speed."),
        (4.0, 9.0, "Follow the route. Accelerate to drive with the target speed."),
        (9.0, 4.0, "Follow the route. Decelerate to drive with the target speed."),
    ],
)
def test_speed_action_compares_speed_with_the_next_second(comment, speed, target, sentence):
    assert comment(speed=speed, future_speed=target).commentary == sentence


@pytest.mark.parametrize(
    ("command", "distance", "action"),
    [
        (1, 15.0, "Turn left."),
        (2, 15.0, "Turn right."),
        (2, 25.0, "Follow the route."),
        (5, 15.0, "Prepare to do a lane change."),
        (4, 5.0, "Follow the route."),
    ],
)
def test_near_commands_are_spoken_of(comment, command, distance, action):
    label = comment(measurement={"command": command, "target_point": [distance, 0.0]})
    assert label.commentary.startswith(action)


def test_following_a_vehicle_with_and_without_its_distance(comment, red_car):
    quiet = comment(**following(red_car), future_speed=12.0)
    talkative = comment(**following(red_car), future_speed=12.0, rng=Talkative())
    assert quiet.commentary == "Follow the route. Accelerate to follow the red car that is to the front."
    assert talkative.commentary == quiet.commentary[:-1] + " in 20.0 meters."
    assert talkative.slots == {"<OBJECT>": "red car that is to the front", "<DISTANCE>": "20.0 meters"}
    assert quiet.cause_object["id"] == red_car.id


def test_published_placeholders_keep_the_preposition(comment, red_car):
    label = comment(**following(red_car), future_speed=12.0, rng=Talkative(), profile=PARITY)
    assert label.template == "Follow the route. Accelerate to follow the <OBJECT> in <DISTANCE>."
    assert label.slots["<DISTANCE>"] == "in 20.0 meters"


def test_queue_at_a_red_light(comment, red_car):
    queued = moved(red_car, position=[8.0, 0.0, 0.0], traffic_light_state="Red", speed=0.0)
    red = TrafficLightBox(**LINE, position=[15.0, 0.0, 0.0], distance=15.0, state="Red", id=9, affects_ego=True)
    frame = following(queued)
    frame["boxes"].append(red)
    label = comment(**frame, speed=0.0, future_speed=0.0)
    assert label.commentary == (
        "Follow the route. Remain stopped to stay behind the red car that is to the front that is stopped because of a "
        "red traffic light."
    )


def test_red_light_without_a_vehicle(comment):
    red = TrafficLightBox(**LINE, position=[15.0, 0.0, 0.0], distance=15.0, state="Red", id=9, affects_ego=True)
    label = comment(boxes=[red], speed=8.0, future_speed=2.0, rng=Talkative())
    assert label.commentary == "Follow the route. Decelerate due to the red traffic light in 15.0 meters."
    assert label.cause_visible


def test_closing_up_to_a_standing_vehicle(comment, red_car):
    near = moved(red_car, position=[9.0, 0.0, 0.0], speed=0.0)
    label = comment(**following(near), speed=2.0, future_speed=2.0)
    assert label.commentary.endswith("to drive closer to the stationary red car that is to the front.")


def test_cleared_stop_sign(comment):
    cleared = StopSignBox(**LINE, position=[1.0, 0.0, 0.0], distance=1.0, id=300, affects_ego=False)
    measurement = {
        "speed_reduced_by_obj_type": "traffic.stop",
        "speed_reduced_by_obj_id": 300,
        "speed_reduced_by_obj_distance": 1.0,
        "target_speed": 5.0,
    }
    frame = {"boxes": [cleared], "speed": 0.5, "measurement": measurement}
    assert comment(**frame).commentary == "Follow the route. Accelerate since you cleared the stop sign."
    assert comment(**frame, profile=PARITY).commentary.endswith("the stop sign but None.")


def test_stop_sign_ahead_is_as_far_as_its_line(comment):
    sign = StopSignBox(**LINE, position=[3.0, 0.0, 0.0], distance=3.0, id=300, affects_ego=True)
    frame = {"boxes": [sign], "measurement": {"stop_sign_hazard": True}, "road": {"distance_to_junction": 3.6}}
    published = comment(**frame, profile=PARITY, speed=8.0, future_speed=1.0, rng=Talkative())
    corrected = comment(**frame, speed=8.0, future_speed=1.0, rng=Talkative())
    assert published.commentary.endswith("due to the stop sign in -1.4 meters.")
    assert corrected.commentary.endswith("due to the stop sign in 3.0 meters.")


def test_pedestrian_in_the_path(comment, red_car):
    child = WalkerBox(
        position=[9.0, 0.5, 0.9], distance=9.1, age="child", num_points=9, speed=1.0, id=200, extent=[0.2, 0.2, 0.6]
    )
    frame = following(red_car, walker_hazard=True)
    frame["boxes"].append(child)
    corrected = comment(**frame, future_speed=1.0)
    published = comment(**frame, future_speed=1.0, profile=PARITY)
    assert corrected.commentary == "Follow the route. Decelerate due to the child intersecting your path."
    assert "red car that is to the front intersecting your path" in published.commentary


def test_one_does_not_accelerate_because_of_a_pedestrian(comment):
    child = WalkerBox(
        position=[9.0, 0.5, 0.9], distance=9.1, age="child", num_points=9, speed=0.1, id=200, extent=[0.2, 0.2, 0.6]
    )
    reduced = {"type": "walker.pedestrian.0001", "id": 200, "distance": 9.1}
    measurement = {f"speed_reduced_by_obj_{name}": value for name, value in reduced.items()} | {"walker_hazard": True}
    frame = {"boxes": [child], "measurement": measurement, "speed": 1.0, "future_speed": 5.0}
    assert comment(**frame, profile=PARITY).commentary.endswith("Accelerate due to the child intersecting your path.")
    assert comment(**frame).commentary == "Follow the route. Accelerate once the child has left your path."


def test_pedestrian_beside_the_road_calls_for_attention(comment):
    person = WalkerBox(
        position=[9.0, 6.0, 0.9], distance=10.9, age="adult", num_points=9, speed=1.0, id=200, extent=[0.2, 0.2, 0.9]
    )
    assert comment(boxes=[person]).commentary.endswith("Pay attention to the walker and brake if necessary.")
    standing = replace(person, speed=0.0)
    assert "walker" not in comment(boxes=[standing]).commentary


def test_collision_is_avoided_with_the_nearer_vehicle(comment, red_car):
    nearer = moved(red_car, id=102, position=[8.0, 3.0, 0.0], color_name="blue", color_rgb=None)
    frame = following(red_car, vehicle_hazard=True, vehicle_affecting_id=102)
    frame["boxes"].append(nearer)
    label = comment(**frame, future_speed=1.0)
    assert label.commentary == (
        "Follow the route. Decelerate to avoid a collision with the blue car that is to the front right."
    )
    assert label.cause_object["id"] == 102


def green_light():
    return TrafficLightBox(**LINE, position=[10.0, 0.0, 0.0], distance=10.0, state="Green", id=9, affects_ego=True)


def crossing(car, **changes):
    values = {"road_id": 77, "same_road_as_ego": False, "position": [20.0, -12.0, 0.0], "yaw": 1.57, **changes}
    return moved(car, **values)


def test_green_light_and_traffic_at_the_junction(comment, red_car):
    near = {"distance_to_junction": 10.0}
    stopped = comment(boxes=[green_light(), crossing(red_car, speed=0.0)], road=near)
    moving = comment(boxes=[green_light(), crossing(red_car, speed=9.0)], road=near)
    empty = {"boxes": [green_light()], "road": near}
    assert "and the other vehicles are stopped at the junction and the junction is clear." in stopped.commentary
    assert "but pay attention to the vehicles coming towards the junction." in moving.commentary
    assert comment(**empty).commentary.endswith("because the traffic light is green.")
    assert comment(**empty, profile=PARITY).commentary.endswith("the vehicle coming towards the junction.")


def test_a_green_light_is_no_reason_to_decelerate_when_corrected(comment):
    frame = {"boxes": [green_light()], "speed": 9.0, "future_speed": 4.0}
    assert comment(**frame, profile=PARITY).commentary.endswith("Decelerate because the traffic light is green.")
    assert comment(**frame).commentary == "Follow the route. Decelerate to drive with the target speed."


def test_one_moving_vehicle_at_the_junction_is_enough_when_corrected(comment, red_car):
    cars = [crossing(red_car, id=1, speed=9.0), crossing(red_car, id=2, speed=0.0, position=[20.0, -16.0, 0.0])]
    frame = {"boxes": [green_light(), *cars], "road": {"distance_to_junction": 10.0}}
    assert "are stopped at the junction" in comment(**frame, profile=PARITY).commentary
    assert "coming towards the junction" in comment(**frame).commentary


@pytest.mark.parametrize(
    ("scenario", "measurement", "past", "sentence"),
    [
        (
            "ParkedObstacle",
            {"route": DEVIATING_LATER},
            {},
            "Prepare to steer clear of the parked vehicle. Maintain the reduced speed.",
        ),
        (
            "ParkedObstacleTwoWays",
            {"route": DEVIATING},
            {},
            "Steer clear of the parked vehicle. Maintain the reduced speed to change to the oncoming lane, as the gap is "
            "big enough.",
        ),
        (
            "AccidentTwoWays",
            {"route": DEVIATING, "target_speed": 0.0},
            {},
            "Avoid the accident on your lane. Wait for a gap in the traffic before changing lanes to the lane with "
            "oncoming traffic.",
        ),
        (
            "ConstructionObstacle",
            {"route": [[x, 0.0] for x, _ in BESIDE], "route_original": BESIDE, "changed_route": True},
            {"changed_route": True},
            "Stay on your current lane to go around the construction site. Maintain the reduced speed.",
        ),
        (
            "HazardAtSideLane",
            {"route_original": [[x, 3.5 if x < 6 else 0.0] for x, _ in BESIDE], "changed_route": True},
            {"changed_route": True},
            "Return to your original route after avoiding the obstacle. Maintain the reduced speed.",
        ),
        (
            "InvadingTurn",
            {"route": DEVIATING, "changed_route": True},
            {},
            "Shift a bit to the right to make space for the traffic that invades the lane because of the traffic cones. "
            "Maintain the reduced speed.",
        ),
    ],
)
def test_passing_an_obstacle(comment, scenario, measurement, past, sentence):
    label = comment(scenario, measurement=measurement, past=past)
    assert label.commentary == sentence
    assert label.scenario == scenario


def test_leaving_a_parking_space(comment):
    label = comment("ParkingExit", measurement={"route": [[x, -2.0] for x, _ in BESIDE]}, speed=1.0)
    assert label.commentary.startswith("Exit the parking lot.")


def test_construction_site_is_named_by_its_type(comment):
    warning = TrafficWarningBox(extent=[0.5, 0.5, 1.0], position=[20.0, 0.5, 0.0], distance=20.0)
    measurement = {
        "speed_reduced_by_obj_type": "static.prop.trafficwarning",
        "speed_reduced_by_obj_id": 999,
        "speed_reduced_by_obj_distance": 18.0,
    }
    label = comment("ConstructionObstacle", boxes=[warning], measurement=measurement, future_speed=1.0)
    assert label.cause_text == "construction site"
    assert label.cause_object is None


def test_changed_route_outside_a_scenario(comment):
    with pytest.raises(LabelFailure, match="outside a scenario"):
        comment(None, PARITY, measurement={"route": DEVIATING})
    assert comment(None, measurement={"route": DEVIATING}).commentary.startswith("Follow the route.")


def test_short_route_near_the_end(comment):
    short = [[2.5 + i, 0.0] for i in range(6)]
    measurement = {"route": short, "route_original": short}
    with pytest.raises(LabelFailure, match="fewer than 20"):
        comment(profile=PARITY, measurement=measurement)
    assert comment(measurement=measurement).commentary == "Follow the route. Maintain the reduced speed."
