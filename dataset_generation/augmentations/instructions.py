"""Wordings of dreaming instructions, by the keys of the published template file. The canonical sentence comes first."""

from __future__ import annotations

from dataset_generation.augmentations.grammar import expand, select
from dataset_generation.dreaming.instructions import CANONICAL

MAX_WORDINGS = 40

_PATTERNS: dict[str, str] = {
    "lanechange_rel": (
        "[[Shift|Move|Go|Change|Drive|Switch over|Cross over] <LANE_NUMBERS_REL> <LANE_OR_LANES> to the "
        "<LANE_CHANGE_SIDE>|[Do|Make|Perform] a lane change of <LANE_NUMBERS_REL> <LANE_OR_LANES> to the "
        "<LANE_CHANGE_SIDE>|Change to the <LANE_CHANGE_SIDE> by <LANE_NUMBERS_REL> <LANE_OR_LANES>|To the "
        "<LANE_CHANGE_SIDE>, [move|shift|change] <LANE_NUMBERS_REL> <LANE_OR_LANES>|[Please move|You should move|I "
        "want you to move] <LANE_NUMBERS_REL> <LANE_OR_LANES> to the <LANE_CHANGE_SIDE>]."
    ),
    "lanechange_abs": (
        "[[Move|Change|Switch|Go|Shift|Drive] to the <LANE_NUM> [in|of] the <LANE_TYPE>|[Take|Use|Choose|Drive "
        "on|Get onto] the <LANE_NUM> [in|of] the <LANE_TYPE>|[Please change|You should change|Make a lane change] to "
        "the <LANE_NUM> in the <LANE_TYPE>]."
    ),
    "lanechange_abs_all": (
        "[[Move|Change|Switch|Go|Shift|Drive] [to|over to] the <LANE_NUM>|[Take|Use|Choose|Drive on|Get onto|Head "
        "for] the <LANE_NUM>|[Please change|You should change|Make a lane change|Now move] to the <LANE_NUM>]."
    ),
    "lane_change_transition": (
        "[In <START> meters, [change|move|shift|go] <LANE_NUMS> <LANE_OR_LANES> to the <SIDE> [with a transition "
        "[phase |]of|within|over a distance of] <TRANSITION> meters|After <START> meters, [change|move|shift|go] "
        "<LANE_NUMS> <LANE_OR_LANES> to the <SIDE> [with a transition of|over] <TRANSITION> "
        "meters|[Change|Move|Shift] <LANE_NUMS> <LANE_OR_LANES> to the <SIDE>, [starting|beginning] in <START> "
        "meters and taking <TRANSITION> meters]."
    ),
    "parking": (
        "[[Change|Move|Go|Switch|Shift|Drive] to the parking lane [on|to] the <SIDE>|[Use|Take|Get onto|Drive onto] "
        "the parking lane on the <SIDE>|[Please move|You should move] to the parking lane on the <SIDE>|Leave your "
        "lane for the parking lane on the <SIDE>]."
    ),
    "sidewalk": (
        "[[Change|Move|Go|Switch|Shift|Drive] [to|onto] the sidewalk [on|to] the <SIDE>|[Use|Take|Get onto] the "
        "sidewalk on the <SIDE>|Leave the road for the sidewalk on the <SIDE>]."
    ),
    "faster": (
        "[Increase [your|the] speed|[Speed up|Accelerate|Go faster|Drive faster|Pick up speed|Gain speed][| now| "
        "please]|Raise your speed|Drive more quickly|Step on the gas|Put your foot down|Give it more throttle|Press "
        "the accelerator|You should go faster|Please drive faster than you do now]."
    ),
    "faster_crash": (
        "[[Crash with|Crash into|Hit|Run into|Collide with] a [car|vehicle] by [driving faster|speeding "
        "up|accelerating|going faster]|[Speed up|Accelerate|Go faster] and [crash into|hit|run into] a car|Drive so "
        "fast that you [hit|run into] a car]."
    ),
    "redlight": (
        "[[Go|Drive|Pass|Run|Roll] through the red [light|traffic light]|Do not stop at the red [light|traffic "
        "light]|Ignore the red [light|traffic light]|[Cross|Enter] the junction [at red|on red]|Drive on although "
        "the light is red|Keep going at the red light|Run the red light|Disregard the red light|Continue in spite of "
        "the red light]."
    ),
    "slower": (
        "[[Slow down|Decelerate|Go slower|Drive slower|Lower your speed|Reduce your speed|Drop your speed][| now| "
        "please]|Drive more slowly|Ease off the gas|Take your foot off the gas|You should slow down|Lose some "
        "speed|Bring your speed down]."
    ),
    "stop_now": (
        "[[Stop|Halt|Brake to a stop|Come to a stop|Come to a halt|Stop the car|Stop driving] [immediately|now|at "
        "once|right away|right here]|Bring the car to a [stop|standstill|halt]|Make an immediate stop|Do not drive "
        "any further|Put the brake on until you stand]."
    ),
    "target_speed": (
        "[[Drive|Go|Travel|Cruise|Move] at <TARGET_SPEED>|[Drive|Go] with a speed of "
        "<TARGET_SPEED>|[Set|Change|Adjust|Bring] your speed to <TARGET_SPEED>|[Reach|Aim for|Keep] a speed of "
        "<TARGET_SPEED>|Your speed should be <TARGET_SPEED>|Let the speed be <TARGET_SPEED>|The target speed is "
        "<TARGET_SPEED>|Get to <TARGET_SPEED>|Match a speed of <TARGET_SPEED>]."
    ),
    "driveover": (
        "[[Drive|Go|Roll|Pass|Move|Steer] over <OBJECT>|Run over <OBJECT>|[Cross|Drive across|Go across|Roll "
        "across|Pass across] <OBJECT>|Let the wheels roll over <OBJECT>|[Please drive|You should drive|Take a path "
        "that goes|Choose a path that leads|Keep driving|Go straight] over <OBJECT>|Let the car go over <OBJECT>|Aim "
        "for <OBJECT> and drive over it]."
    ),
    "crash": (
        "[[Crash|Drive|Bump|Run|Smash|Steer|Go straight] into the <OBJECT>|[Hit|Ram|Strike|Collide with|Have a "
        "collision with|Knock into] the <OBJECT>|[Cause|Bring about] a collision with the <OBJECT>|[Aim at|Head for] "
        "the <OBJECT> and [hit it|crash into it]|Make the car [hit|collide with] the <OBJECT>|Do not avoid the "
        "<OBJECT>, hit it]."
    ),
    "crash_loc": (
        "[[Crash|Drive|Bump|Run|Smash|Steer] into the <OBJECT> at <LOC>|[Hit|Ram|Strike|Collide with|Have a "
        "collision with|Knock into] the <OBJECT> [at|located at|placed at] <LOC>|[Aim at|Head for] the <OBJECT> at "
        "<LOC> and hit it|Cause a collision with the <OBJECT> at <LOC>]."
    ),
    "walker": (
        "[[Hit|Run over|Drive into|Crash into|Run into|Collide with|Knock down|Strike|Bump into] the "
        "[pedestrian|walker|person]|Do not avoid the pedestrian|Drive at the pedestrian|Head for the pedestrian and "
        "do not stop]."
    ),
}


def instruction_wordings() -> dict[str, list[str]]:
    """Key to its wordings.

    Raises:
        ValueError: If a key of the dreaming generator has no pattern.
    """
    missing = sorted(CANONICAL.keys() - _PATTERNS.keys())
    if missing:
        raise ValueError(f"no wordings for the instructions {missing}; add a pattern for each")
    return {key: select(expand(_PATTERNS[key]), canonical, MAX_WORDINGS) for key, canonical in CANONICAL.items()}
