"""Questions about every visible vehicle (chain 4): where it is, where it goes, whether it moves, whether paths cross."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, degrees, hypot

from dataset_generation.language_labels.naming import (
    JUNCTION_HALF_WIDTH,
    Pointing,
    heading_phrase,
    junction_side,
    number_word,
    points_to_junction,
    shares_junction,
    vehicle_location,
)
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.vqa.highway import VehicleFlags, vehicle_flags
from dataset_generation.language_labels.vqa.scene import VqaScene
from driving.commands import RoadOption
from driving.label_records import QaPair
from driving.records import CarBox

COMMAND_DISTANCE = 25.0
"""Commands of target points farther away are not announced yet, metres."""

NEAR_JUNCTION = 40.0
"""Vehicles matter to a junction the ego vehicle is this near to, metres."""

COMMAND_TEXTS = {
    RoadOption.LEFT: "turns left at the next intersection",
    RoadOption.RIGHT: "turns right at the next intersection",
    RoadOption.STRAIGHT: "drives straight at the next intersection",
    RoadOption.LANEFOLLOW: "follows the road",
    RoadOption.CHANGELANELEFT: "does a lane change to the left in <DISTANCE>",
    RoadOption.CHANGELANERIGHT: "does a lane change to the right in <DISTANCE>",
}

STEERING_ANSWERS = (
    (lambda steer: steer < -0.1, "The <OBJECT> is turning left."),
    (lambda steer: steer < -0.03, "The <OBJECT> is turning slightly left."),
    (lambda steer: steer > 0.1, "The <OBJECT> is turning right."),
    (lambda steer: steer > 0.03, "The <OBJECT> is turning slightly right."),
)
"""Steering of a vehicle to where it goes; the first match wins."""

LANES_FROM_LEFT = {
    -1: "leftmost lane on the highway",
    -2: "second lane from the left on the highway",
    -3: "third lane from the left on the highway",
    -4: "fourth lane from the left on the highway",
}


def ask_about_vehicles(scene: VqaScene) -> list[QaPair]:
    """Four questions per considered vehicle, in file order."""
    flags = vehicle_flags(scene)
    command, command_text, distance = announced_command(scene)
    pairs = []
    for vehicle in scene.considered:
        description, location = scene.describe(vehicle), vehicle_location(vehicle)
        scene.important.append(f"the {description} {location}")
        tags = [scene.add_key_object("Vehicle", description, vehicle)]
        slots = {"<OBJECT>": description, "<LOCATION>": location, "<DISTANCE>": distance}
        if vehicle.lane_relative_to_ego:
            slots["<LANES>"] = lanes_apart(scene, vehicle.lane_relative_to_ego)
        name = "the <OBJECT> that is <LOCATION>"
        place = locate(scene, flags, vehicle)
        crossing = crossing_answer(scene, flags, vehicle, place.towards_junction, command, command_text)
        for node, question, answer in (
            ((4, 0), f"Where on the road is {name} located?", place.answer),
            ((4, 1), f"Where is {name} going?", going_answer(vehicle)),
            ((4, 2), f"What is the moving status of {name}?", moving_answer(vehicle)),
            (
                (4, 3),
                f"The ego vehicle {command_text}. Is {name} potentially crossing the path of the ego vehicle?",
                crossing,
            ),
        ):
            pairs.append(scene.ask(node, question, answer, tags, slots))
    return pairs


def announced_command(scene: VqaScene) -> tuple[int, str, str]:
    """What the ego vehicle is about to do: command, its text, and the distance to the target point, e.g. ``12 m``.

    Raises:
        LabelFailure: If the command is none of the six, in the published profile.
    """
    x, y = scene.measurement.target_point
    distance = hypot(x, y)
    command = scene.measurement.command
    if distance > COMMAND_DISTANCE:
        command = RoadOption.LANEFOLLOW
    if command in (RoadOption.CHANGELANELEFT, RoadOption.CHANGELANERIGHT) and abs(y) < 1:
        near = scene.junction_distance < NEAR_JUNCTION
        command = RoadOption.STRAIGHT if near else RoadOption.LANEFOLLOW
    if command not in COMMAND_TEXTS:
        if not scene.corrects(Correction.LOST_FRAMES):
            raise LabelFailure(f"command {command} has no text")
        command = RoadOption.LANEFOLLOW
    text = COMMAND_TEXTS[RoadOption(command)]
    if scene.in_junction:
        for future, present in (
            ("turns", "continues turning"),
            ("drives", "continues driving"),
            ("next intersection", "current intersection"),
        ):
            text = text.replace(future, present)
    return command, text, f"{int(distance)} m"


def going_answer(vehicle: CarBox) -> str:
    """Where a vehicle is going, by its steering."""
    if vehicle.vehicle_cuts_in:
        return "The <OBJECT> is cutting into the lane of the ego vehicle."
    for matches, answer in STEERING_ANSWERS:
        if matches(vehicle.steer):
            return answer
    return "The <OBJECT> is going straight."


def moving_answer(vehicle: CarBox) -> str:
    """Whether and how fast a vehicle moves."""
    if vehicle.speed < 0.2:
        return "The <OBJECT> is not moving."
    verb = "moving" if vehicle.base_type == "bicycle" else "driving"
    return f"The <OBJECT> is {verb} slowly." if vehicle.speed < 5 else f"The <OBJECT> is {verb}."


# Where on the road ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Answer to where a vehicle is.

    Attributes:
        answer: The sentence.
        towards_junction: Whether it points towards the junction, judged by its heading; None when that was not asked.
    """

    answer: str
    towards_junction: bool | None = None


def locate(scene: VqaScene, flags: VehicleFlags, vehicle: CarBox) -> Place:
    """Where on the road a vehicle is."""
    place = _locate_by_road(scene, flags, vehicle)
    if "scenario" in vehicle.role_name and scene.scenario == "HighwayCutIn" and vehicle.lane_relative_to_ego != 0:
        answer = "The <OBJECT> is on the acceleration lane of the highway to the right of the ego vehicle."
        return Place(answer, place.towards_junction)
    return place


def _locate_by_road(scene: VqaScene, flags: VehicleFlags, vehicle: CarBox) -> Place:
    ego = scene.ego
    no_junction_ahead = ego.next_junction_id == -1 and ego.junction_id == -1
    in_ego_junction = vehicle.junction_id in (ego.next_junction_id, ego.junction_id) or no_junction_ahead
    if vehicle.is_in_junction and in_ego_junction:
        return Place(_locate_in_junction(scene, flags, vehicle))
    on_ego_path = vehicle.road_id == ego.road_id or vehicle.road_id in ego.next_road_ids
    if not vehicle.is_in_junction and not on_ego_path:
        return _locate_beside_junction(scene, flags, vehicle)
    if ego.is_in_junction and vehicle.road_id in ego.next_road_ids:
        if flags.highway:
            return Place("The <OBJECT> is on the highway.")
        heading = heading_phrase(vehicle)
        return Place(f"The <OBJECT> is after the junction on the road the ego vehicle will enter. It {heading}.")
    if not vehicle.is_in_junction and vehicle.same_road_as_ego:
        return Place(_locate_on_ego_road(scene, flags, vehicle))
    if scene.corrects(Correction.EMPTY_LOCATION):
        return Place(f"The <OBJECT> is not on the road of the ego vehicle and {heading_phrase(vehicle)}.")
    return Place("")


def _locate_in_junction(scene: VqaScene, flags: VehicleFlags, vehicle: CarBox) -> str:
    if scene.scenario == "MergerIntoSlowTrafficV2":
        return _locate_at_slow_exit(scene, vehicle)
    if flags.highway and (flags.ego_accelerates or flags.exit_lane):
        area = "exit area" if flags.exit_lane else "merging area"
        if vehicle.same_road_as_ego and vehicle.same_direction_as_ego and vehicle.lane_relative_to_ego == 0:
            return f"The <OBJECT> is in the {area} of the highway in front of the ego vehicle."
        lane = {-1: "leftmost lane of", -2: "second lane from the left on"}.get(vehicle.lane_id)
        if lane:
            return f"The <OBJECT> is close to the {area} but on the {lane} the highway."
        return f"The <OBJECT> is on the highway near the {area}."
    if flags.entry_lane:
        return "The <OBJECT> is on the lane that leads to the highway."
    if flags.about_to_exit:
        return "The <OBJECT> is on the exit lane of the highway."
    if flags.highway:
        return "The <OBJECT> is on the highway."
    return f"The <OBJECT> is inside the upcoming junction and {heading_phrase(vehicle)}."


def _locate_at_slow_exit(scene: VqaScene, vehicle: CarBox) -> str:
    """Vehicles in the junction of an exit with slow traffic."""
    ego = scene.ego
    one_lane = ego.num_lanes_same_direction == 1
    on_ego_road = vehicle.road_id == ego.road_id
    on_ego_path = on_ego_road or vehicle.road_id in ego.next_road_ids or vehicle.road_id in ego.next_next_road_ids_ego
    near = ego.distance_to_junction is not None and ego.distance_to_junction < 25
    if (one_lane and on_ego_road) or (scene.is_rightmost and near and on_ego_path):
        return "The <OBJECT> is on the exit lane of the highway."
    if (one_lane and not on_ego_road) or (ego.num_lanes_same_direction > 1 and (ego.is_in_junction or near)):
        return "The <OBJECT> is on the highway near the exit area."
    return "The <OBJECT> is on the highway close to the merging area."


def _locate_beside_junction(scene: VqaScene, flags: VehicleFlags, vehicle: CarBox) -> Place:
    ego, towards = scene.ego, None
    if ego.junction_id == -1 or vehicle.junction_id == -1:
        phrase = points_to_junction(vehicle, scene.profile)
        towards = phrase == Pointing.TOWARDS
    else:
        phrase = Pointing.TOWARDS if shares_junction(vehicle, ego) else Pointing.AWAY
    if flags.highway:
        lane = LANES_FROM_LEFT.get(vehicle.lane_id)
        return Place(f"The <OBJECT> is driving on the {lane or 'highway'}.", towards)
    if abs(vehicle.position[1]) <= JUNCTION_HALF_WIDTH and vehicle.same_road_as_ego:
        if not scene.corrects(Correction.LOST_FRAMES):
            raise LabelFailure("a vehicle on the ego road has another road id")
        return Place(_locate_on_ego_road(scene, flags, vehicle), towards)
    bike = " on the bike lane" if vehicle.lane_type_str == "Biking" else ""
    return Place(f"The <OBJECT> is on the {junction_side(vehicle)} side of the junction{bike} and {phrase}.", towards)


def _locate_on_ego_road(scene: VqaScene, flags: VehicleFlags, vehicle: CarBox) -> str:
    if flags.entry_lane:
        return "The <OBJECT> is in the same lane leading to the highway as the ego vehicle."
    lanes = vehicle.lane_relative_to_ego
    if lanes is None:
        raise LabelFailure("a vehicle on the ego road has no relative lane")
    motion = "standing" if vehicle.speed < 0.5 else "driving"
    bike = " on the bike lane" if vehicle.lane_type_str == "Biking" else ""
    direction = "same" if vehicle.same_direction_as_ego else "opposite"
    if lanes == 0 and vehicle.same_direction_as_ego:
        return f"The <OBJECT> is on the same road {motion} on the lane of the ego vehicle."
    start = f"The <OBJECT> is on the same road {motion} in the {direction} direction. It is"
    if lanes == 0:
        if scene.corrects(Correction.OPPOSITE_SAME_LANE):
            return f"{start} on the lane of the ego vehicle."
        return f"{start}{bike} 0 the ego vehicle."
    return f"{start}{bike} <LANES> to the {'right' if lanes > 0 else 'left'} of the ego vehicle."


def lanes_apart(scene: VqaScene, lanes: int) -> str:
    """How many lanes beside the ego lane, e.g. ``two lanes``."""
    return f"{number_word(abs(lanes), scene.profile)} {'lane' if abs(lanes) == 1 else 'lanes'}"


# Crossing paths -------------------------------------------------------------------------------------------------------

CRASH_WARNING = "so the ego vehicle should pay attention to not crash into it."
BEHIND_INTERSECTION = (
    f"Yes, the <OBJECT> is behind the intersection on the road the ego vehicle will enter, {CRASH_WARNING}"
)


def actor_in_front(scene: VqaScene) -> int | None:
    """Actor id of the vehicle within 20 m on the ego lane, the nearest test first."""
    ego = scene.ego
    if not ego.hazard_detected_20:
        return None
    for actor in (ego.affects_ego_10, ego.affects_ego_15, ego.affects_ego_20):
        if actor is not None:
            return actor
    return None


def faces_ego(vehicle: CarBox, symmetric: bool) -> bool:
    """Whether a vehicle heads towards the ego vehicle: less than 90 degrees off, to one side only unless ``symmetric``."""
    heading = degrees(vehicle.yaw) % 360
    bearing = degrees(atan2(vehicle.position[1], vehicle.position[0])) % 360
    off = (heading - bearing + 180) % 360
    return min(off, 360 - off) < 90 if symmetric else abs(heading - bearing + 180) % 360 < 90


def crossing_answer(
    scene: VqaScene, flags: VehicleFlags, vehicle: CarBox, towards: bool | None, command: int, command_text: str
) -> str:
    """Whether the paths of a vehicle and the ego vehicle may cross; later rules override earlier ones."""
    by_scenario = "scenario" in vehicle.role_name
    if by_scenario:
        special = _crossing_in_scenario(scene, vehicle, command, command_text)
        if special:
            return special
    for lane, change, side in ((-1, RoadOption.CHANGELANELEFT, "left"), (1, RoadOption.CHANGELANERIGHT, "right")):
        if vehicle.lane_relative_to_ego == lane and command == change:
            return (
                "Yes, the <OBJECT> is crossing paths with the ego vehicle because the ego vehicle does a lane change "
                f"to the {side} onto the lane of the <OBJECT>."
            )
    if by_scenario and flags.highway and (flags.ego_accelerates or flags.other_accelerates):
        reason = (
            "is on the highway and the ego vehicle is on the acceleration lane about to enter the highway."
            if flags.ego_accelerates
            else "is on the acceleration lane about to enter the highway, potentially cutting into the lane of the "
            "ego vehicle."
        )
        return f"The routes of the ego vehicle and the <OBJECT> might cross as the <OBJECT> {reason}"
    return _crossing_by_geometry(scene, vehicle, towards, command)


def _crossing_in_scenario(scene: VqaScene, vehicle: CarBox, command: int, command_text: str) -> str | None:
    is_bicycle = vehicle.base_type == "bicycle"
    if is_bicycle and scene.scenario == "CrossingBicycleFlow":
        turn = "turns at the next intersection" if command == RoadOption.LANEFOLLOW else command_text
        return (
            "Yes, the bike lane on which the <OBJECT> is currently riding on is crossing paths with the ego vehicle "
            f"if the ego vehicle {turn}."
        )
    if is_bicycle and scene.scenario == "VehicleTurningRoute":
        return f"Yes, the <OBJECT> will cross paths with the ego vehicle if the ego vehicle {command_text}."
    if scene.scenario == "HighwayCutIn" and vehicle.lane_relative_to_ego == 1:
        return (
            "Yes, the routes of the ego vehicle and the <OBJECT> might cross as the <OBJECT> is on the acceleration "
            "lane, potentially cutting into the lane of the ego vehicle."
        )
    return None


def _crossing_by_geometry(scene: VqaScene, vehicle: CarBox, towards: bool | None, command: int) -> str:
    ego, other_way = scene.ego, not vehicle.same_direction_as_ego
    front = actor_in_front(scene)
    if front is not None and vehicle.id == front and not scene.is_parking:
        return f"Yes, the <OBJECT> is right to the front of the ego vehicle, {CRASH_WARNING}"
    is_blocker = "scenario" in vehicle.role_name and scene.scenario == "BlockedIntersection"
    if is_blocker and vehicle.distance < NEAR_JUNCTION and other_way:
        return BEHIND_INTERSECTION
    shares_road = (
        vehicle.road_id in ego.next_road_ids
        or vehicle.road_id in ego.next_next_road_ids_ego
        or not set(ego.next_road_ids).isdisjoint(vehicle.next_road_ids)
    )
    if shares_road and vehicle.distance < 25 and other_way:
        if vehicle.is_in_junction:
            return (
                "Yes, the <OBJECT> is inside the upcoming junction on the same road as the ego vehicle, "
                f"{CRASH_WARNING}"
            )
        return BEHIND_INTERSECTION
    near_junction = scene.junction_distance < NEAR_JUNCTION
    if vehicle.is_in_junction and near_junction and faces_ego(vehicle, scene.corrects(Correction.FACING)):
        if 160 < degrees(vehicle.yaw) % 360 < 200 and command == RoadOption.STRAIGHT:
            return "If the other vehicle keeps going straight, the routes will not cross."
        return "Yes, the <OBJECT> is crossing the path of the ego vehicle."
    if vehicle.vehicle_cuts_in:
        return "Yes, the routes will cross since the <OBJECT> is cutting into the lane of the ego vehicle."
    if towards and near_junction:
        return (
            "Yes, the <OBJECT> might cross the path of the ego vehicle, depending on which way the vehicle is going "
            "to turn."
        )
    if scene.is_parking and vehicle.lane_relative_to_ego == -1 and vehicle.distance < 10:
        return (
            "Yes, because the ego vehicle wants to exit the parking spot and the <OBJECT> is on the lane the ego "
            "vehicle wants to enter."
        )
    return "No, the <OBJECT> is not crossing paths with the ego vehicle."
