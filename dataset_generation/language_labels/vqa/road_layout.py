"""Questions about the road (chain 3, layers 0 to 6): junctions, lanes, markings, permitted lane changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataset_generation.language_labels.naming import number_word
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.vqa.highway import LayoutFlags, layout_flags
from dataset_generation.language_labels.vqa.scene import VqaScene
from driving.commands import COMMAND_PHRASES, RoadOption
from driving.label_records import QaPair

NOT_TELLABLE = "It is not possible to tell since the ego vehicle is in a junction."

SOON_DISTANCE = 20.0
"""A lane change at the target point after next is announced within this distance, metres."""

MARKING_TYPES = {
    1: "broken",
    2: "solid",
    3: "double solid",
    4: "solid broken",
    5: "broken solid",
    6: "double broken",
    9: "curb",
}
"""`carla.LaneMarkingType` in words."""

RARE_MARKING_TYPES = {0: "special", 7: "dotted", 8: "grass"}
"""Types for which the published generator fails."""

NO_MARKING = 10
CURB = 9

LANE_CHANGE_RIGHT, LANE_CHANGE_LEFT, LANE_CHANGE_BOTH = 1, 2, 3
"""`carla.LaneChange`; 0 is none."""

ATTENTION = "The ego vehicle should pay particular attention to"


def ask_about_road(scene: VqaScene) -> list[QaPair]:
    """All questions about the road, in order."""
    flags = layout_flags(scene)
    at_junction, in_junction = _junction_answer(scene, flags)
    intention, soon = _intention(scene, flags)
    pairs = [scene.ask((3, 0), "Is the ego vehicle at a junction?", at_junction)]
    pairs.append(
        scene.ask(
            (3, 1),
            f"The ego vehicle wants to {intention}. Which lanes are important to watch out for?",
            _important_lanes(scene, flags, soon, in_junction),
        )
    )
    pairs.extend(_lane_counts(scene, in_junction))
    pairs.append(_ego_lane(scene, in_junction))
    pairs.extend(_markings(scene))
    pairs.append(_lane_changes(scene, flags, in_junction, OWN_LANE_CHANGES))
    pairs.append(_lane_changes(scene, flags, in_junction, OTHER_LANE_CHANGES))
    return pairs


# (3, 0) ---------------------------------------------------------------------------------------------------------------


def _junction_answer(scene: VqaScene, flags: LayoutFlags) -> tuple[str, bool]:
    """Answer, and whether the ego vehicle counts as inside a junction."""
    answer, thing, inside = _junction_case(scene, flags)
    if thing:
        scene.important.append(thing)
        scene.add_key_object("Traffic element", "Junction", None)
    if scene.scenario == "InterurbanActorFlow" and scene.measurement.command == RoadOption.CHANGELANELEFT:
        if scene.measurement.next_command != RoadOption.LEFT:
            answer = "The ego vehicle is on an interurban road close to a point where a new turning lane emerges."
        elif scene.junction_distance < 35:
            answer = "The ego vehicle is on a turning lane close to a junction."
        else:
            answer = "The ego vehicle is on a turning lane approaching a junction."
    return answer, inside


def _junction_case(scene: VqaScene, flags: LayoutFlags) -> tuple[str, str, bool]:
    """Answer, important object (may be empty), and whether the ego vehicle counts as inside a junction."""
    if flags.acceleration_lane:
        answer = "The ego vehicle is on an acceleration lane and about to enter the highway."
        return answer, "a highway entry", False
    if flags.near_entry:
        return "The ego vehicle is on the highway close to the entry lane.", "", False
    if flags.exit:
        return "The ego vehicle is on an exit lane and about to exit the highway.", "a highway exit", False
    if flags.about_to_exit:
        return "The ego vehicle is on the highway close to the exit lane.", "", False
    if flags.highway and scene.in_junction:
        return "The ego vehicle is on the highway potentially close to a junction.", "a junction", False
    if scene.in_junction:
        return "The ego vehicle is in a junction.", "a junction", True
    if scene.junction_distance < 25:
        return "The ego vehicle is right before a junction.", "a junction", False
    return "No, the ego vehicle is not at a junction.", "", False


# (3, 1) ---------------------------------------------------------------------------------------------------------------


def _intention(scene: VqaScene, flags: LayoutFlags) -> tuple[str, bool]:
    """What the ego vehicle wants to do, and whether that is a lane change announced for soon."""
    measurement, soon = scene.measurement, False
    command = measurement.command
    if command not in COMMAND_PHRASES:
        if not scene.corrects(Correction.LOST_FRAMES):
            raise LabelFailure(f"command {command} has no text")
        command = RoadOption.LANEFOLLOW
    text = COMMAND_PHRASES[command]
    x, y = measurement.target_point_next
    if measurement.next_command in (RoadOption.CHANGELANELEFT, RoadOption.CHANGELANERIGHT):
        soon = x * x + y * y < SOON_DISTANCE**2
        if soon:
            text = f"{COMMAND_PHRASES[measurement.next_command]} soon"
    if flags.about_to_exit or flags.about_to_exit_far:
        text = "exit the highway"
    return text, soon


def _important_lanes(scene: VqaScene, flags: LayoutFlags, soon: bool, in_junction: bool) -> str:
    """Lanes to watch: the last rule that applies wins."""
    if scene.is_overtaking:
        return "The ego vehicle should keep driving regardless of other vehicles since it overtakes an obstruction."
    turning_lane = _turning_lane_answer(scene)
    if scene.is_parking:
        return f"{ATTENTION} the traffic in the lane into which the ego vehicle wants to enter from the parking space."
    if turning_lane:
        return turning_lane
    on_highway = _highway_lanes(scene, flags)
    if on_highway:
        return on_highway
    answer = _lanes_by_command(scene, flags, soon, in_junction)
    ego = scene.ego
    bike = " Additionally, the ego vehicle should have an eye on the bike lane on the"
    if ego.bike_lane_left and ego.num_lanes_opposite_direction == 0 and ego.ego_lane_number == 0:
        return f"{answer}{bike} left side."
    return f"{answer}{bike} right side." if ego.bike_lane_right else answer


def _turning_lane_answer(scene: VqaScene) -> str | None:
    """Answer for the turning lane of an interurban road."""
    if scene.scenario != "InterurbanActorFlow":
        return None
    command, following = scene.measurement.command, scene.measurement.next_command
    cross = "oncoming traffic the ego vehicle needs to cross in order to turn left."
    if command == RoadOption.CHANGELANELEFT:
        if following != RoadOption.LEFT:
            return f"{ATTENTION} the traffic on the turning lane, since they might slow down."
        return f"{ATTENTION} the traffic on the turning lane as they might slow down and to {cross}"
    if command == RoadOption.LEFT:
        return f"{ATTENTION} {cross}"
    turns_right = command in (RoadOption.RIGHT, RoadOption.CHANGELANERIGHT)
    if turns_right and not scene.corrects(Correction.LOST_FRAMES):
        raise LabelFailure(f"command {command} in an InterurbanActorFlow")
    return None


def _highway_lanes(scene: VqaScene, flags: LayoutFlags) -> str | None:
    if flags.acceleration_lane:
        side = {RoadOption.CHANGELANELEFT: "rightmost", RoadOption.CHANGELANERIGHT: "leftmost"}.get(
            RoadOption(scene.measurement.command)
        )
        if side:
            return (
                f"{ATTENTION} traffic on the {side} lane of the highway, adjust its speed, and position itself so "
                "that no vehicle is driving on the same height to prepare for the lane change."
            )
        return f"{ATTENTION} the traffic on the highway, which is close to the acceleration lane."
    if flags.about_to_exit:
        return f"{ATTENTION} the traffic on the exit lane, since they might slow down."
    if flags.about_to_exit_far:
        return (
            "The ego vehicle is still far away from the exit lane, so it should pay attention to the traffic on the "
            "highway."
        )
    return None


def _lanes_by_command(scene: VqaScene, flags: LayoutFlags, soon: bool, in_junction: bool) -> str:
    command, following = scene.measurement.command, scene.measurement.next_command
    if command == RoadOption.LEFT:
        return (
            f"{ATTENTION} traffic coming from the left side of the intersection and is going straight or turning left, "
            "traffic coming from the right and going straight or turning left and to oncoming traffic."
        )
    if command == RoadOption.RIGHT:
        return (
            f"{ATTENTION} traffic coming straight ahead from the left side of the intersection and to oncoming traffic "
            "turning left."
        )
    if command == RoadOption.STRAIGHT and not flags.highway:
        return (
            f"{ATTENTION} traffic coming from the left side of the intersection and is going straight or turning left, "
            "traffic coming from the right and going straight or turning right and to oncoming traffic turning left."
        )
    if command == RoadOption.STRAIGHT:
        return _straight_on_highway(scene, flags)
    for change, side in ((RoadOption.CHANGELANELEFT, "left-hand"), (RoadOption.CHANGELANERIGHT, "right-hand")):
        if command == change or (soon and following == change):
            if not soon:
                return f"{ATTENTION} traffic in the {side} lane and wait for a gap to change lanes."
            return (
                f"{ATTENTION} traffic in the {side} lane and position itself so that no vehicle is driving on the same "
                "height to prepare for the lane change."
            )
    return _lanes_on_straight_road(scene, in_junction)


def _straight_on_highway(scene: VqaScene, flags: LayoutFlags) -> str:
    entering = "the vehicle on the acceleration lane to the right"
    targets = {
        LANE_CHANGE_RIGHT: "to the right lane of the highway.",
        LANE_CHANGE_LEFT: "to the left lane of the highway.",
        LANE_CHANGE_BOTH: "to both neighboring lanes of the highway.",
    }
    target = targets.get(scene.ego.lane_change)
    if target is None:
        if flags.near_entry:
            return f"{ATTENTION} {entering}."
        return (
            "Since there are no lane changes allowed, the ego does not need to pay particular attention to any "
            "neighboring lane."
        )
    if flags.near_entry:
        return f"{ATTENTION} {entering} and {target}"
    return f"{ATTENTION} {target.removeprefix('to ') if scene.corrects(Correction.DOUBLED_TO) else target}"


def _lanes_on_straight_road(scene: VqaScene, in_junction: bool) -> str:
    ego = scene.ego
    same, opposite = ego.num_lanes_same_direction, ego.num_lanes_opposite_direction
    parking = ego.parking_left or ego.parking_right
    if in_junction:
        return "The ego vehicle should pay attention to other vehicles in the junction."
    if same > 1:
        answer = f"{ATTENTION} traffic changing lanes from neighboring lanes"
        if opposite >= 1 and ego.ego_lane_number == 0:
            return f"{answer} and for traffic coming from the oncoming lane."
        return f"{answer}."
    if opposite >= 1:
        end = " and for the parking lane." if parking else "."
        return f"The ego vehicle should watch out for traffic coming from the oncoming lane{end}"
    answer = "There are no other driving lanes to watch out for since the ego vehicle is on a one lane road."
    return f"{answer} But the ego vehicle should watch out for the parking lane." if parking else answer


# (3, 2) to (3, 4) -----------------------------------------------------------------------------------------------------


def _lane_counts(scene: VqaScene, in_junction: bool) -> list[QaPair]:
    ego = scene.ego
    same = ego.num_lanes_same_direction - (1 if scene.is_parking else 0)
    pairs = []
    for number, direction, question in (
        (same, "same", "How many lanes are there in the same direction as the ego car?"),
        (
            ego.num_lanes_opposite_direction,
            "opposite",
            "How many lanes are there in the opposite direction to the ego car?",
        ),
    ):
        slots = {}
        if in_junction:
            answer = NOT_TELLABLE
        elif number <= 0:
            answer = f"There are no lanes in the {direction} direction."
        elif number == 1:
            answer = f"There is one lane in the {direction} direction."
        else:
            answer = f"There are <COUNT> lanes in the {direction} direction."
            slots = {"<COUNT>": number_word(number, scene.profile)}
        pairs.append(scene.ask((3, 2), question, answer, slots=slots))
    return pairs


def _ego_lane(scene: VqaScene, in_junction: bool) -> QaPair:
    number = scene.ego.ego_lane_number
    answer = "The ego vehicle is on lane <LANE>."
    if scene.is_parking:
        answer = "The ego vehicle is on lane <LANE> which is the parking lane."
    if in_junction:
        answer = NOT_TELLABLE
    if scene.is_overtaking:
        number += 1
        answer = "The ego vehicle is on lane <LANE> since it overtakes an obstruction."
    question = (
        "On which lane is the ego vehicle (left most lane of the lanes going in the same direction is indicated with "
        "0)?"
    )
    return scene.ask((3, 3), question, answer, slots={"<LANE>": str(number)})


def _marking_word(scene: VqaScene, marking: int) -> str:
    """A marking type in words; empty for no marking."""
    if marking == NO_MARKING:
        return ""
    if marking not in MARKING_TYPES:
        if not scene.corrects(Correction.LOST_FRAMES):
            raise LabelFailure(f"lane marking type {marking} has no word")
        return RARE_MARKING_TYPES.get(marking, "special")
    return MARKING_TYPES[marking]


def _marking(scene: VqaScene, side: str, word: str, colour_name: str) -> QaPair:
    """One pair about the marking called ``word``; an empty word is no marking."""
    slots = {}
    if word:
        description = word if colour_name == "Other" else f"{colour_name[:1].lower()}{colour_name[1:]} {word} lane"
        is_curb = word == MARKING_TYPES[CURB] and scene.corrects(Correction.CURB)
        slots = {"<MARKING>": word if is_curb else description}
        answer = f"The lane marking on the {side} side of the ego car is a <MARKING>."
    else:
        answer = f"There is no lane marking on the {side} side of the ego car."
    return _ask_about_marking(scene, side, answer, slots)


def _ask_about_marking(scene: VqaScene, side: str, answer: str, slots: dict[str, str]) -> QaPair:
    return scene.ask((3, 4), f"What lane marking is on the {side} side of the ego car?", answer, slots=slots)


def _markings(scene: VqaScene) -> list[QaPair]:
    ego = scene.ego
    left, right = _marking_word(scene, ego.left_lane_marking_type), _marking_word(scene, ego.right_lane_marking_type)
    if not scene.is_overtaking:
        return [
            _marking(scene, "left", left, ego.left_lane_marking_color_str),
            _marking(scene, "right", right, ego.right_lane_marking_color_str),
        ]
    # On the opposite lane the marking to the right is the one between the directions, the left one of the own lane. The
    # published generator takes its colour from there but its type from the right one.
    if Correction.MARKING_SIDES in scene.profile:
        right = left
    elif not (right or left):
        raise LabelFailure("no lane marking on either side while overtaking")
    unknown = "It is not possible to tell since the ego vehicle overtakes an obstruction."
    return [
        _ask_about_marking(scene, "left", unknown, {}),
        _marking(scene, "right", right or left, ego.left_lane_marking_color_str),
    ]


# (3, 5) and (3, 6) ----------------------------------------------------------------------------------------------------


def _parking_sides(scene: VqaScene) -> str:
    """Sides with a parking lane next to the ego lane that lane changes do not cover: both, left, right or nothing."""
    ego = scene.ego
    if ego.parking_left and ego.parking_right and ego.lane_change == 0:
        return "right" if ego.num_lanes_opposite_direction >= 1 else "left and right"
    if (
        ego.parking_left
        and ego.lane_change not in (LANE_CHANGE_LEFT, LANE_CHANGE_BOTH)
        and ego.num_lanes_opposite_direction == 0
    ):
        return "left"
    if ego.parking_right and ego.lane_change not in (LANE_CHANGE_RIGHT, LANE_CHANGE_BOTH):
        return "right"
    return ""


@dataclass(frozen=True)
class LaneChangeWords:
    """How permitted lane changes are spoken of, of the ego vehicle or of others.

    Attributes:
        node: Graph node of the question.
        question: Its wording.
        overtaking, parking, entering: Answers while overtaking, on a parking lane, and on an acceleration lane.
        one_lane, none: Answers without a lane change on a road with one lane and with more.
        allowed: Answer by `carla.LaneChange`.
        parking_only, parking_too: Added where there is a parking lane, without and with other lane changes.
    """

    node: tuple[int, int]
    question: str
    overtaking: str
    parking: str
    entering: str
    one_lane: str
    none: str
    allowed: Mapping[int, str]
    parking_only: str
    parking_too: str


OWN_LANE_CHANGES = LaneChangeWords(
    node=(3, 5),
    question="In which direction is the ego car allowed to change lanes?",
    overtaking="The ego vehicle overtakes an obstruction. It is not expected to change lanes.",
    parking="The ego vehicle is on a parking lane and is allowed to merge into the driving lane.",
    entering="The ego vehicle is allowed to change lanes to the left to enter the highway.",
    one_lane="The ego vehicle can not change lanes since it is on a one lane road.",
    none="The ego vehicle is not allowed to change lanes to another driving lane.",
    allowed={
        LANE_CHANGE_RIGHT: "The ego vehicle is allowed to change lanes to the right.",
        LANE_CHANGE_LEFT: "The ego vehicle is allowed to change lanes to the left.",
        LANE_CHANGE_BOTH: "The ego vehicle is allowed to change lanes to the left and right.",
    },
    parking_only=" But it could change to the parking lane on the {side} side of the road.",
    parking_too=" It could also change to the parking lane on the {side} side of the road.",
)

_PARKED = "vehicles that are parked on the {side} side of the road are allowed to change lanes into the ego lane."

OTHER_LANE_CHANGES = LaneChangeWords(
    node=(3, 6),
    question="From which side are other vehicles allowed to change lanes into the ego lane?",
    overtaking="The ego vehicle overtakes an obstruction. We do not expect vehicles to change into the ego lane.",
    parking="The ego vehicle is on a parking lane and vehicles only enter the lane to park.",
    entering=(
        "Vehicles could potentially change lanes from the left side but it is very unlikely since the ego vehicle is on "
        "an acceleration lane."
    ),
    one_lane="There are no lane changes possible since the ego vehicle is on a one lane road.",
    none="There are no lane changes allowed from another driving lane into the ego lane.",
    allowed={
        LANE_CHANGE_RIGHT: "Vehicles are allowed to change lanes from the right side.",
        LANE_CHANGE_LEFT: "Vehicles are allowed to change lanes from the left side.",
        LANE_CHANGE_BOTH: "Vehicles are allowed to change lanes from both sides.",
    },
    parking_only=f" But {_PARKED}",
    parking_too=f" And {_PARKED}",
)


def _lane_changes(scene: VqaScene, flags: LayoutFlags, in_junction: bool, words: LaneChangeWords) -> QaPair:
    return scene.ask(words.node, words.question, _lane_change_answer(scene, flags, in_junction, words))


def _lane_change_answer(scene: VqaScene, flags: LayoutFlags, in_junction: bool, words: LaneChangeWords) -> str:
    ego = scene.ego
    if scene.is_overtaking:
        return words.overtaking
    if in_junction:
        return NOT_TELLABLE
    if scene.is_parking:
        return words.parking
    if flags.acceleration_lane and scene.measurement.command == RoadOption.CHANGELANELEFT:
        answer = words.entering
    elif ego.lane_change == 0:
        answer = words.one_lane if ego.num_lanes_same_direction == 1 else words.none
    else:
        answer = words.allowed[ego.lane_change]
    parking = _parking_sides(scene)
    if not parking:
        return answer
    return answer + (words.parking_only if ego.lane_change == 0 else words.parking_too).format(side=parking)
