"""Putting a dream into words: the instructions that ask for it, with the slots of each template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from dataset_generation.dreaming.corrections import DreamCorrection
from dataset_generation.dreaming.modes import Option
from dataset_generation.dreaming.scene import Scene

CANONICAL: dict[str, str] = {
    "lanechange_rel": "Shift <LANE_NUMBERS_REL> <LANE_OR_LANES> to the <LANE_CHANGE_SIDE>.",
    "lanechange_abs": "Move to the <LANE_NUM> in the <LANE_TYPE>.",
    "lanechange_abs_all": "Move to the <LANE_NUM>.",
    "lane_change_transition": (
        "In <START> meters, change <LANE_NUMS> <LANE_OR_LANES> to the <SIDE> with a transition phase of <TRANSITION> meters."
    ),
    "parking": "Change to the parking lane on the <SIDE>.",
    "sidewalk": "Change to the sidewalk on the <SIDE>.",
    "faster": "Increase your speed.",
    "faster_crash": "Crash with a car by driving faster.",
    "redlight": "Go through the red light.",
    "slower": "Slow down.",
    "stop_now": "Stop immediately.",
    "target_speed": "Drive at <TARGET_SPEED>.",
    "driveover": "Drive over <OBJECT>.",
    "crash": "Crash into the <OBJECT>.",
    "crash_loc": "Crash into the <OBJECT> at <LOC>.",
    "walker": "Hit the pedestrian.",
}
"""Key of a template to its canonical sentence."""

CONTINUE = "Continue driving on your current lane."
"""The instruction of mode `route`."""

Templates = Mapping[str, Sequence[str]]
"""Key of a template to its wordings, the canonical one first."""

CANONICAL_TEMPLATES: Templates = {key: (sentence,) for key, sentence in CANONICAL.items()}

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}
ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


@dataclass(frozen=True)
class Instruction:
    """A sentence, the canonical template it follows, and the template's slots."""

    text: str
    template: str
    slots: Mapping[str, str]


class Wording:
    """Chooses among the wordings of a template and fills its slots.

    Args:
        templates: Wordings of each key.
        draws: Random generator of the frame.
    """

    def __init__(self, templates: Templates, draws: Random) -> None:
        self._templates = templates
        self.draws = draws

    def say(self, key: str, **slots: str) -> Instruction:
        """One instruction; slots are given by their names without brackets.

        Raises:
            ValueError: If a slot stays open, which means that a wording and its canonical sentence differ in slots.
        """
        text = self.draws.choice(self._templates[key])
        named = {f"<{name}>": value for name, value in slots.items()}
        for name, value in named.items():
            text = text.replace(name, value)
        if "<" in text:
            raise ValueError(f"template {key!r} has a slot that nothing fills: {text!r}")
        return Instruction(text, self._templates[key][0], named)


def instructions(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    """Sentences that ask for a dream, in the order of the file."""
    return WORDERS[option.mode](scene, option, dynamic_crash, wording)


def _faster(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    key = "faster"
    if dynamic_crash:
        key = "faster_crash" if wording.draws.random() < 0.5 else "faster"
    elif scene.before_red_light:
        key = "redlight" if wording.draws.random() < 0.5 else "faster"
    return [wording.say(key)]


def _slower(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    return [wording.say("slower")]


def _stop(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    return [wording.say("stop_now")]


def _target_speed(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    target = option.info["target_speed"]
    template_draw = wording.draws.getstate()
    wording.say("target_speed", TARGET_SPEED="")
    in_kmh = wording.draws.random() < 0.5
    after = wording.draws.getstate()
    wording.draws.setstate(template_draw)
    value = f"{round(3.6 * target, 1)} km/h" if in_kmh else f"{target} m/s"
    said = wording.say("target_speed", TARGET_SPEED=value)
    wording.draws.setstate(after)
    return [said]


OBJECT_NAMES = (
    ("constructioncone", "construction cone"),
    ("warningconstruction", "construction warning sign"),
    ("warningaccident", "accident warning sign"),
    ("police", "police car"),
    ("Sign_Yield", "yield sign"),
    ("haybalelb", "hay bale"),
    ("busstoplb", "bus stop"),
)
"""Part of a type name to what people call the object."""

MORE_OBJECT_NAMES = (
    ("sign_yield", "yield sign"),
    ("speed", "speed limit sign"),
    ("trafficwarning", "traffic warning sign"),
    ("streetsign", "street sign"),
    ("streetbarrier", "street barrier"),
    ("trafficcone", "traffic cone"),
    ("stop_sign", "stop sign"),
    ("traffic_light", "traffic light"),
    ("sign_stop", "stop sign"),
    ("bench", "bench"),
    ("bin", "bin"),
    ("box", "box"),
)
"""Further names of the corrected profile, compared in lower case."""

BICYCLES = ("crossbike", "century", "omafiets")
LARGE = (("ambulance", "ambulance"), ("firetruck", "fire truck"), ("truck", "truck"), ("bus", "bus"))


def _crash(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    kind = str(option.info["type"])
    if "Line" in kind or "Stencil" in kind:
        return [wording.say("driveover", OBJECT=_painted(kind))]
    if "walker" in kind:
        return [wording.say("walker")]
    if wording.draws.random() < 0.15:
        x, y = option.info["crash_position"][:2]
        return [wording.say("crash_loc", OBJECT="object", LOC=f"x: {x}m, y: {y}m")]
    name = object_name(kind, option) if DreamCorrection.OBJECT_NAMES in scene.corrections else published_name(kind)
    return [wording.say("crash", OBJECT=name)]


def _painted(kind: str) -> str:
    """What is painted on the road."""
    if "stopline" in kind.lower():
        return "stop line"
    return "written STOP on the street" if "Stencil_STOP" in kind else kind


def published_name(kind: str) -> str:
    """The published generator's name of an object."""
    name = (
        kind.replace("_vqa", "")
        .replace("crash_", "")
        .replace("_", " ")
        .replace("static.prop.", "the ")
        .replace(".", " ")
    )
    for part, known in OBJECT_NAMES:
        if part in name:
            return known
    return name


def object_name(kind: str, option: Option) -> str:
    """A name that reads well after `the`."""
    lower = kind.lower()
    for part, known in (*OBJECT_NAMES, *MORE_OBJECT_NAMES, *LARGE):
        if part.lower() in lower:
            return known
    if any(part in lower for part in BICYCLES):
        return "bicycle"
    if lower.startswith("vehicle."):
        return "vehicle"
    if lower.startswith("mesh:"):
        return "parked car" if "car" in lower else "obstacle"
    return lower.removeprefix("static.prop.").rstrip("0123456789").replace("_", " ") or "object"


@dataclass(frozen=True)
class LaneGoal:
    """Where a lane change ends, counted in both ways.

    Attributes:
        from_left, from_right: Lane number from the left and right edge of the whole road, from 1.
        own_left, own_right: The same within the carriageway of the goal.
        lanes: Lanes of that carriageway.
    """

    from_left: int
    from_right: int
    own_left: int
    own_right: int
    lanes: int


def lane_goal(scene: Scene, offset: int) -> LaneGoal:
    """Count the lanes to where ``offset`` lanes to the right (negative: left) lead."""
    ego = scene.now.ego
    same, opposite = ego.num_lanes_same_direction, ego.num_lanes_opposite_direction
    left = ego.ego_lane_number + opposite + 1 + offset
    right = same - ego.ego_lane_number - offset
    if left > opposite:
        return LaneGoal(left, right, left - opposite, right, same)
    return LaneGoal(left, right, left, right - same, opposite)


def lane_description(goal: LaneGoal, draws: Random) -> str:
    """A lane by its number from one side, or as the outermost."""
    if goal.own_left == 1 and draws.random() < 0.3:
        return "leftmost lane"
    if goal.own_left == goal.lanes and draws.random() < 0.3:
        return "rightmost lane"
    from_left = draws.random() < 0.5
    own = draws.random() < 0.5
    numbers = (goal.own_left, goal.from_left) if from_left else (goal.own_right, goal.from_right)
    number = numbers[0] if own else numbers[1]
    return f"{ORDINALS.get(number, f'{number}th')} lane from the {'left' if from_left else 'right'}"


LANE_TYPE_WORDS = (
    ("opposite", "opposite direction"),
    ("parking", "parking"),
    ("sidewalk", "sidewalk"),
    ("driving", "same direction"),
)


def _lane_change(scene: Scene, option: Option, dynamic_crash: bool, wording: Wording) -> list[Instruction]:
    count_text, side = option.info["lane_change_direction"].split()
    count = int(count_text)
    kind = option.info["lane_change_type"]
    start, transition, _ = option.info["lane_change_in_transition_amount_meters"]
    number, lanes = NUMBER_WORDS.get(count, "unknown"), "lane" if count == 1 else "lanes"
    relative = wording.say("lanechange_rel", LANE_CHANGE_SIDE=side, LANE_NUMBERS_REL=number, LANE_OR_LANES=lanes)
    if kind in ("parking", "sidewalk") and DreamCorrection.LANE_WORDING in scene.corrections:
        absolute = wording.say(kind, SIDE=side)
    else:
        description = lane_description(lane_goal(scene, count if side == "right" else -count), wording.draws)
        if wording.draws.random() < 0.5:
            lane_type = next(word for part, word in LANE_TYPE_WORDS if part in kind)
            absolute = wording.say("lanechange_abs", LANE_NUM=description, LANE_TYPE=lane_type)
        else:
            absolute = wording.say("lanechange_abs_all", LANE_NUM=description)
    slots = {
        "SIDE": side,
        "LANE_NUMS": number,
        "LANE_OR_LANES": lanes,
        "START": str(start),
        "TRANSITION": str(transition),
    }
    return [relative, absolute, wording.say("lane_change_transition", **slots)]


WORDERS: dict[str, Callable[[Scene, Option, bool, Wording], list[Instruction]]] = {
    "target_speed": _target_speed,
    "stop": _stop,
    "faster_factor": _faster,
    "faster": _faster,
    "slower_factor": _slower,
    "slower": _slower,
    "crash": _crash,
    "lane_change": _lane_change,
}
"""Mode to the function that words it."""
