"""Questions about obstructions of the ego lane: whether to deviate (3,8) and what is in the way (3,9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from dataset_generation.language_labels.naming import colour, front_location, question_colours
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.projection import is_in_image
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.vqa.scene import VqaScene
from driving.label_records import QaPair
from driving.records import CarBox, PlacedBox, StaticBox, TrafficWarningBox

NEAR = 40.0
"""Obstructions matter within this distance, metres."""

LEFT_LANE_OFFSET = 1.75
"""Farther than this from the original route the ego vehicle has left its lane, metres."""


@dataclass(frozen=True)
class Obstruction:
    """How an obstruction scenario is spoken of.

    Attributes:
        scenario: Exact scenario name.
        word: What blocks the lane.
        one_way: Whether the ego vehicle passes on a lane of its own direction.
    """

    scenario: str
    word: str
    one_way: bool


INVADING_TURN = "InvadingTurn"
OBSTRUCTIONS = {
    row.scenario: row
    for row in (
        Obstruction("Accident", "accident", True),
        Obstruction("AccidentTwoWays", "accident", False),
        Obstruction("ConstructionObstacle", "construction warning", True),
        Obstruction("ConstructionObstacleTwoWays", "construction warning", False),
        Obstruction(INVADING_TURN, "invading vehicles on the opposite lane", False),
        Obstruction("HazardAtSideLane", "two bicycles", True),
        Obstruction("HazardAtSideLaneTwoWays", "two bicycles", False),
        Obstruction("ParkedObstacle", "parked vehicle", True),
        Obstruction("ParkedObstacleTwoWays", "parked vehicle", False),
        Obstruction("VehicleOpensDoorTwoWays", "vehicle with the opened door", False),
    )
}

LANE_CHANGE_TARGETS = {1: "the right lane", 2: "the left lane", 3: "either side"}
"""`carla.LaneChange` to where the ego vehicle can go."""


def nearest(boxes: Sequence[PlacedBox]) -> PlacedBox:
    """The box with the smallest distance."""
    return min(boxes, key=lambda box: box.distance)


def ask_about_obstruction(scene: VqaScene) -> list[QaPair]:
    """Both questions, with the objects they speak of registered."""
    found, tags = _register_obstruction(scene)
    deviation, obstacle = (
        "No, the ego vehicle can stay on its current lane.",
        "No, there is no obstacle on the current route.",
    )
    row = OBSTRUCTIONS.get(scene.scenario)
    if row is not None:
        relevant = _relevant_objects(scene, row, found)
        if relevant:
            tags = _tags(scene, row, relevant, tags)
            word = "bicycle" if row.word == "two bicycles" and len(relevant) == 1 else row.word
            deviation = _deviation(scene, row, word) or deviation
            if not scene.measurement.changed_route or scene.corrects(Correction.OBSTACLE_WHILE_PASSING):
                obstacle = _obstacle(scene, row, word)
        if scene.measurement.changed_route and deviation.startswith("No,"):
            deviation = "The ego vehicle must change back to the original lane after passing the obstruction."
    elif scene.scenario == "ParkingExit" and scene.is_parking:
        deviation = "The ego vehicle must change to the left to exit the parking lot."
    question = (
        "Does the ego vehicle need to change lanes or deviate from the lane center due to an upcoming obstruction?"
    )
    return [
        scene.ask((3, 8), question, deviation, tags),
        scene.ask((3, 9), "Is there an obstacle on the current road?", obstacle, tags),
    ]


# Objects --------------------------------------------------------------------------------------------------------------


def _candidates(scene: VqaScene) -> list[PlacedBox]:
    """Objects that make up the obstruction, by the words in the scenario name."""
    name = scene.scenario
    found: list[PlacedBox] = []
    if "ConstructionObstacle" in name:
        found = [
            box
            for box in scene.frame.props
            if isinstance(box, TrafficWarningBox) and box.distance < NEAR and box.position[0] > 0.6
        ]
    if "VehicleOpensDoorTwoWays" in name:
        found = [
            car
            for car in scene.scenario_cars()
            if car.next_action is None
            and car.position[0] > -0.2
            and (car.distance < 10 or car.distance / max(1e-6, scene.frame.ego_car.speed) < 3)
        ]
    if INVADING_TURN in name:
        found = _cones(scene)
    if name == "ParkingExit" and scene.is_parking:
        found = [car for car in scene.scenario_cars() if car.lane_type_str == "Parking" and 0 < car.position[0] < 20]
        if len(found) != 1 and not scene.corrects(Correction.LOST_FRAMES):
            raise LabelFailure(f"{len(found)} parked cars in front of a ParkingExit, expected one")
    if scene.corrects(Correction.UNSEEN_OBJECTS):
        found = [box for box in found if is_in_image(box, scene.region)]
    return found


def _cones(scene: VqaScene) -> list[PlacedBox]:
    """Construction cones ahead."""
    cones: list[PlacedBox] = []
    for box in scene.frame.props:
        if not isinstance(box, StaticBox):
            if not scene.corrects(Correction.LOST_FRAMES):
                raise LabelFailure("a warning sign in an InvadingTurn has no type")
            continue
        if box.type_id == "static.prop.constructioncone" and box.position[0] >= 1.5 and box.distance <= NEAR:
            cones.append(box)
    return cones


def _register_obstruction(scene: VqaScene) -> tuple[list[PlacedBox], list[str]]:
    """Find the obstruction, name its nearest object as important; returns the objects and the tags."""
    found = _candidates(scene)
    if not found:
        return found, []
    closest = nearest(found)
    where = front_location(closest)
    name = scene.scenario
    if isinstance(closest, TrafficWarningBox):
        noun = category_word = "construction warning"
        scene.important.append(f"the {noun} {where}")
        category, is_known = "Traffic element", name in OBSTRUCTIONS
    elif isinstance(closest, CarBox):
        paint = colour(closest, question_colours(scene.profile))
        category_word = f"{paint}vehicle"
        is_exit = name == "ParkingExit"
        scene.important.append(
            f"the {category_word}, parking {where}" if is_exit else f"the {category_word} with the open doors {where}"
        )
        category, is_known = "Vehicle", is_exit or name in OBSTRUCTIONS
    else:
        noun = "construction cones" if len(found) > 1 else "construction cone"
        category_word = "construction cone"
        scene.important.append(f"the {noun} {where}")
        category, is_known = "Traffic element", name in OBSTRUCTIONS
    return found, [scene.add_key_object(category, category_word, closest)] if is_known else []


def _relevant_objects(scene: VqaScene, row: Obstruction, found: list[PlacedBox]) -> list[PlacedBox]:
    if row.scenario.startswith("HazardAtSideLane"):
        return [car for car in scene.considered if car.base_type == "bicycle" and car.distance < NEAR]
    if row.scenario.startswith(("Accident", "ParkedObstacle")):
        return [
            car for car in scene.considered if "scenario" in car.role_name and car.speed == 0 and car.distance < NEAR
        ]
    return found


def _tags(scene: VqaScene, row: Obstruction, relevant: list[PlacedBox], tags: list[str]) -> list[str]:
    if row.word == "accident":
        return scene.tags_described("police")
    if row.word == "two bicycles":
        return scene.tags_described("bicycle")
    if row.word == "parked vehicle":
        tags = scene.tags_of(nearest(relevant))
        if len(tags) != 1 and not scene.corrects(Correction.LOST_FRAMES):
            raise LabelFailure(f"{len(tags)} key objects for one parked vehicle")
        return tags
    if row.scenario == "VehicleOpensDoorTwoWays":
        return scene.tags_of(nearest(relevant))
    return tags


# Answers --------------------------------------------------------------------------------------------------------------


def _has_left_lane(scene: VqaScene) -> bool:
    """Whether the ego vehicle is more than `LEFT_LANE_OFFSET` beside the line of its original route."""
    (ax, ay), (bx, by) = scene.measurement.route_original[:2]
    dx, dy = bx - ax, by - ay
    length = hypot(dx, dy)
    return length > 0 and abs(dx * ay - dy * ax) / length > LEFT_LANE_OFFSET


def _deviation(scene: VqaScene, row: Obstruction, word: str) -> str | None:
    """Answer to (3,8), None for the default."""
    if scene.measurement.changed_route:
        if row.scenario == INVADING_TURN:
            return "The ego vehicle has already shifted to the side to avoid invading vehicles on the opposite lane."
        state = "has already changed" if _has_left_lane(scene) else "is changing"
        return f"The ego vehicle {state} to another lane to circumvent the {word}."
    if row.one_way:
        target = LANE_CHANGE_TARGETS.get(scene.ego.lane_change)
        return f"The ego vehicle must change to {target} to circumvent the {word}." if target else None
    if row.scenario == INVADING_TURN:
        return "The ego vehicle must shift slightly to the right side to avoid invading vehicles on the opposite lane."
    return f"The ego vehicle must change to the opposite lane to circumvent the {word}."


def _obstacle(scene: VqaScene, row: Obstruction, word: str) -> str:
    """Answer to (3,9) when there is something in the way."""
    if row.scenario == INVADING_TURN:
        gap = "" if scene.corrects(Correction.INVADING_TURN_TEXT) else '"' + " " * 49 + '"'
        return f"Yes, there might be invading vehicles from the opposite lane on {gap}the current road."
    if word == "two bicycles" and scene.corrects(Correction.COUNTED_BICYCLES):
        return f"Yes, there are {word} on the current road."
    article = "an" if word == "accident" else "a"
    return f"Yes, there is {article} {word} on the current road."
