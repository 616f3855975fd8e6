"""Paraphrases of commentary, part by part: a commentary is a route part, a speed action, its reason, and a remark."""

from __future__ import annotations

from dataset_generation.augmentations.grammar import Rewriting, expand, select
from dataset_generation.language_labels.commentary import fragments

REMARK = " Pay attention to the walker and brake if necessary."

_ROUTE: dict[str, str] = {
    fragments.FOLLOW_ROUTE: (
        "[Follow|Stay on|Keep to|Keep following|Continue on|Continue along|Stick to|Drive along|Proceed along|Go on "
        "along|Keep driving along] [the|your|the planned] route."
    ),
    fragments.EXIT_PARKING: ("[Exit|Leave|Pull out of|Drive out of|Move out of] the parking [lot|space|spot|bay]."),
    fragments.PREPARE_LANE_CHANGE: (
        "[Prepare|Get ready|Be ready|Make ready] [to do a lane change|to change lanes|to switch lanes|for a lane "
        "change]."
    ),
    fragments.TURN_LEFT: (
        "[Turn [|to the ]left|[Make|Take|Do|Perform] a left turn|Go left|Go to the left|Steer to the left|Take the "
        "turn to the left]."
    ),
    fragments.TURN_RIGHT: (
        "[Turn [|to the ]right|[Make|Take|Do|Perform] a right turn|Go right|Go to the right|Steer to the right|Take "
        "the turn to the right]."
    ),
    fragments.GO_BACK: (
        "[Return|Go back|Move back|Come back|Change back] to your [original|initial|planned] [route|lane] "
        "[after avoiding|after passing|once you are past] the obstacle."
    ),
    fragments.SHIFT_RIGHT: (
        "[Shift|Move|Keep] [a bit|slightly|a little] to the right to [make space|leave room] for the traffic that "
        "[invades the lane|enters your lane] because of the traffic cones."
    ),
}
"""Route part to the pattern of its paraphrases."""

_AVOIDANCE: dict[str, str] = {
    "ParkedObstacle": (
        "[Steer clear of|Drive around|Go around|Pass|Get around|Avoid] the [parked|standing] [vehicle|car]."
    ),
    "HazardAtSideLane": (
        "[Overtake|Pass|Get past|Drive around|Go around] the [bikes|bicycles|cyclists] [on|in] your lane."
    ),
    "VehicleOpensDoor": (
        "[Avoid|Steer clear of|Drive around|Keep away from|Go around] the [vehicle|car] [that is opening its "
        "door|with the opening door|whose door is opening]."
    ),
    "YieldToEmergencyVehicle": (
        "[Give way to|Yield to|Make way for|Clear the way for|Let pass] the [emergency vehicle|vehicle with the "
        "siren|vehicle on an emergency call]."
    ),
    "Accident": "[Avoid|Steer clear of|Drive around|Go around|Pass|Get around] the [accident|crash] [on|in] your lane.",
    "ConstructionObstacle": (
        "[Go around|Drive around|Steer clear of|Pass|Get around|Avoid] the [construction site|road "
        "works|construction area]."
    ),
    "InvadingTurn": (
        "[Steer clear of|Avoid|Keep away from|Evade] the oncoming traffic [entering|that enters|invading] your lane "
        "[due to|because of] the construction cones."
    ),
}
"""Scenario, without ``TwoWays``, to the pattern of its route part."""

_PREFIXES: dict[str, str] = {
    "Prepare to": "[Prepare to|Get ready to|Be ready to|Be prepared to]",
    "Stay on your current lane to": "[Stay on|Keep to|Remain on] your [current|present] lane to",
    "Stay on your current (oncoming) lane to": "[Stay on|Keep to|Remain on] your [current|present] (oncoming) lane to",
}
"""What may stand before a route part with a lower-case first letter."""

_SPEED: dict[str, str] = {
    fragments.REMAIN_STOPPED: (
        "[Remain stopped|Stay stopped|Remain at a standstill|Keep standing still|Stay where you are|Remain "
        "standing|Continue to stand still|Do not move|Stay put|Keep the car stopped|Keep waiting|Hold your position]"
    ),
    fragments.STOP_NOW: (
        "[Stop now|Stop here|Come to a stop now|Bring the car to a stop|Come to a halt|Halt now|Brake to a "
        "standstill|Stop the car now|Make a stop now|Stop at once|Come to a standstill]"
    ),
    fragments.MAINTAIN_SPEED: (
        "[[Maintain|Keep|Hold|Retain] your [current|present] speed|Keep driving at this speed|Go on at the same "
        "speed|Do not change your speed|Leave your speed as it is]"
    ),
    fragments.MAINTAIN_REDUCED_SPEED: (
        "[[Maintain|Keep|Hold|Retain] [the reduced|your reduced|the lower] speed|Keep driving at reduced speed|Go on "
        "at the reduced speed|Stay at the reduced speed]"
    ),
    fragments.ACCELERATE: (
        "[Accelerate|Speed up|Go faster|Drive faster|Increase your speed|Pick up speed|Gain speed|Raise your "
        "speed|Gather speed|Step on the gas|Give more throttle]"
    ),
    fragments.DECELERATE: (
        "[Decelerate|Slow down|Go slower|Drive slower|Reduce your speed|Lower your speed|Lose speed|Ease off|Drop "
        "your speed|Bring your speed down|Take speed away]"
    ),
    fragments.WAIT_FOR_GAP: (
        "[Wait [for|until there is] a [gap|sufficient gap|large enough gap] in the traffic before [changing|you "
        "change] lanes]"
    ),
    f"{fragments.WAIT_FOR_GAP} to the lane with oncoming traffic": (
        "[Wait [for|until there is] a [gap|sufficient gap|large enough gap] in the traffic before [changing|you "
        "change] [lanes to|to] the lane with oncoming traffic]"
    ),
}
"""Speed action to the pattern of its paraphrases."""

_VEHICLES = "[the vehicles coming towards the junction|the vehicle in the junction]"
_STOPPED = (
    "the other vehicles are stopped at the junction and [the junction is clear|the vehicle in the junction is moving "
    "away]"
)
_NOTE = f"[pay attention to {_VEHICLES}|{_STOPPED}]"

REASON_PATTERNS = (
    ".",
    f" since you cleared the <OBJECT>[| but pay attention to {_VEHICLES}| and {_STOPPED}].",
    " to avoid a collision with the <OBJECT>.",
    f" to drive through the junction[| as {_NOTE}]. Pay attention to the <OBJECT> on the exit of the junction.",
    " due to the <OBJECT> intersecting your path.",
    " once the <OBJECT> has left your path.",
    " to avoid the <OBJECT> that is crossing the road.",
    " to stay behind the <OBJECT>[| at <DISTANCE>] that is [stopped|slowing down] because of a red traffic light.",
    " to drive closer to the stationary <OBJECT>[| at <DISTANCE>].",
    " to [follow|stay behind] the <OBJECT>[| in <DISTANCE>].",
    " to drive closer to the <OBJECT>[| in <DISTANCE>].",
    " to reach the speed limit.",
    " due to the <OBJECT>[| in <DISTANCE>].",
    " to drive according to the speed limit.",
    f" because the traffic light is green[| but pay attention to {_VEHICLES}| and {_STOPPED}].",
    f"[| to drive through the junction| to drive with the target speed][| because {_STOPPED}].",
    " to change to the [oncoming|neighbouring] lane, as the gap is big enough.",
)
"""Patterns of everything that may follow a speed action."""

_REASON_RULES: dict[str, tuple[str, ...]] = {
    "since you cleared": (
        "because you have passed",
        "as you have cleared",
        "now that you have cleared",
        "having cleared",
        "after you have cleared",
        "since you have dealt with",
        "as you are done with",
        "because you have cleared",
        "now that you are past",
    ),
    "but pay attention to": ("but watch out for", "but look out for", "while watching"),
    "pay attention to": ("watch out for", "look out for"),
    "Pay attention to": ("Watch out for", "Look out for", "Be careful about"),
    "the vehicles coming towards the junction": (
        "the vehicles approaching the junction",
        "the traffic that nears the junction",
    ),
    "the vehicle in the junction": ("the vehicle inside the junction", "the vehicle that is in the junction"),
    "because the other vehicles are stopped at the junction": (
        "because the other vehicles have stopped at the junction",
        "since the others are standing at the junction",
        "as the other vehicles wait at the junction",
        "given that the other vehicles stand at the junction",
    ),
    "the other vehicles are stopped at the junction": (
        "the other vehicles have stopped at the junction",
        "the others are standing at the junction",
        "the other vehicles wait at the junction",
    ),
    "the junction is clear": ("the junction is free", "there is nobody in the junction"),
    "is moving away": ("is driving away", "is leaving"),
    "to avoid a collision with": (
        "to prevent a collision with",
        "in order not to collide with",
        "so that you do not hit",
        "to keep from hitting",
        "so as not to run into",
        "to avoid crashing into",
        "to prevent a crash with",
        "in order to avoid hitting",
        "so that there is no collision with",
    ),
    "to drive through the junction": (
        "to cross the junction",
        "to pass through the junction",
        "in order to get through the junction",
        "so that you get through the junction",
        "to go through the junction",
        "to traverse the junction",
        "in order to cross the junction",
        "to clear the junction",
        "to make your way through the junction",
    ),
    "on the exit of the junction": ("where you leave the junction", "at the exit of the junction"),
    "due to": (
        "because of",
        "owing to",
        "on account of",
        "in view of",
        "in response to",
        "as a reaction to",
        "prompted by",
        "on seeing",
        "with regard to",
    ),
    "once the <OBJECT> has left your path": (
        "as soon as the <OBJECT> has left your path",
        "when the <OBJECT> has left your path",
        "once the <OBJECT> is out of your way",
        "as soon as the <OBJECT> is out of your way",
        "after the <OBJECT> has left your path",
        "once the <OBJECT> has cleared your path",
        "when the <OBJECT> is no longer in your way",
        "after the <OBJECT> has crossed your path",
        "as soon as the <OBJECT> has passed",
        "once the <OBJECT> is off your path",
    ),
    "intersecting your path": ("crossing your path", "that crosses your path", "who is in your way"),
    "to avoid the": ("in order to avoid the", "so that you avoid the", "to keep clear of the", "to let pass the"),
    "that is crossing the road": ("which is crossing the road", "that crosses the road", "on its way across the road"),
    "to stay behind": (
        "to remain behind",
        "to keep behind",
        "in order to stay behind",
        "so that you stay behind",
        "to keep your place behind",
        "in order to keep behind",
        "so that you remain behind",
        "to stay in line behind",
        "in order to remain behind",
    ),
    "that is stopped because of": ("that has stopped at", "that is waiting at", "which stands because of"),
    "that is slowing down because of": ("that slows down for", "which is braking for", "that is slowing down at"),
    "to drive closer to": (
        "to get closer to",
        "to close up to",
        "to move up to",
        "to approach",
        "in order to get nearer to",
        "so that you get closer to",
        "to come nearer to",
        "in order to close up to",
        "to shorten the gap to",
    ),
    "stationary": ("standing", "stopped"),
    "to follow": (
        "in order to follow",
        "to keep up with",
        "so that you follow",
        "to drive behind",
        "to travel behind",
        "in order to keep up with",
        "to go along behind",
        "to trail",
        "so that you keep up with",
    ),
    "in <DISTANCE>": ("which is <DISTANCE> away", "<DISTANCE> ahead"),
    "at <DISTANCE>": ("at a distance of <DISTANCE>", "<DISTANCE> ahead"),
    "to reach the speed limit": (
        "to get up to the speed limit",
        "in order to reach the speed limit",
        "until you reach the speed limit",
        "so that you reach the speed limit",
        "up to the speed limit",
        "to arrive at the speed limit",
        "to attain the speed limit",
        "to come up to the speed limit",
        "as far as the speed limit allows",
        "to match the speed limit",
    ),
    "to drive according to the speed limit": (
        "to keep to the speed limit",
        "to respect the speed limit",
        "in order to keep within the speed limit",
        "to stay within the speed limit",
        "so that you keep to the speed limit",
        "as the speed limit demands",
        "to obey the speed limit",
        "to observe the speed limit",
        "in line with the speed limit",
        "to comply with the speed limit",
    ),
    "because the traffic light is green": (
        "because the light is green",
        "since the traffic light is green",
        "as the traffic light shows green",
        "because of the green traffic light",
        "as the light is green",
        "since the light shows green",
        "because the signal is green",
        "now that the traffic light is green",
        "given the green traffic light",
    ),
    "to drive with the target speed": (
        "to drive at the target speed",
        "to get to the target speed",
        "in order to drive at the target speed",
        "so that you drive at the target speed",
        "to match the target speed",
        "to reach the target speed",
        "to go at the target speed",
        "to arrive at the target speed",
        "to keep the target speed",
        "in accordance with the target speed",
    ),
    "because the": ("since the", "as the"),
    "to change to": ("to move to", "to switch to", "in order to change to", "so that you get to"),
    "as the gap is big enough": (
        "since the gap is large enough",
        "as there is enough room",
        "because the gap is sufficient",
    ),
}
"""Phrase to what may stand for it in a reason."""

_NO_REASON = [".", " for now.", " here.", " at this point.", " as you are doing.", " at the moment.", " right now."]
_NO_REASON += [" at present.", " in this situation.", " for the time being."]


def _lower(sentence: str) -> str:
    return fragments.lower_first(sentence)


def route_paraphrases() -> dict[str, list[str]]:
    """Route part to its paraphrases."""
    table = {canonical: select(expand(pattern), canonical) for canonical, pattern in _ROUTE.items()}
    for scenario, pattern in _AVOIDANCE.items():
        canonical, variants = fragments.AVOIDANCE[scenario], expand(pattern)
        table[canonical] = select(variants, canonical)
        for prefix, prefixes in _PREFIXES.items():
            combined = [f"{start} {_lower(variant)}" for variant in variants for start in expand(prefixes)]
            table[f"{prefix} {_lower(canonical)}"] = select(combined, f"{prefix} {_lower(canonical)}")
    for canonical in _ROUTE:
        for prefix, prefixes in list(_PREFIXES.items())[1:]:
            combined = [
                f"{start} {_lower(variant)}" for variant in expand(_ROUTE[canonical]) for start in expand(prefixes)
            ]
            table[f"{prefix} {_lower(canonical)}"] = select(combined, f"{prefix} {_lower(canonical)}")
    return table


def speed_paraphrases() -> dict[str, list[str]]:
    """Speed action to its paraphrases."""
    return {canonical: select(expand(pattern), canonical) for canonical, pattern in _SPEED.items()}


def reason_paraphrases() -> dict[str, list[str]]:
    """What follows the speed action to its paraphrases."""
    rewriting = Rewriting(_REASON_RULES)
    reasons = dict.fromkeys(reason for pattern in REASON_PATTERNS for reason in expand(pattern))
    return {reason: list(_NO_REASON) if reason == "." else rewriting.variants(reason) for reason in reasons}


def remark_paraphrases() -> dict[str, list[str]]:
    """Closing remark to its paraphrases."""
    pattern = (
        " [Pay attention to|Watch out for|Look out for|Keep an eye on|Be careful about] the [walker|pedestrian] and "
        "[brake|slow down|stop] if [necessary|needed]."
    )
    return {REMARK: select(expand(pattern), REMARK), "": [""]}


def commentary_parts() -> dict[str, dict[str, list[str]]]:
    """All parts, in the order in which a commentary puts them together."""
    return {
        "route": route_paraphrases(),
        "speed": speed_paraphrases(),
        "reason": reason_paraphrases(),
        "remark": remark_paraphrases(),
    }


def published_fragments() -> dict[str, list[str]]:
    """The pieces under the keys of the published template file, canonical wording first."""
    speed, route = speed_paraphrases(), route_paraphrases()
    by_action = {
        "remain_stopped": fragments.REMAIN_STOPPED,
        "stop_now": fragments.STOP_NOW,
        "maintain_speed": fragments.MAINTAIN_SPEED,
        "maintain_reduced_speed": fragments.MAINTAIN_REDUCED_SPEED,
        "accelerate": fragments.ACCELERATE,
        "decelerate": fragments.DECELERATE,
        "wait_gap": fragments.WAIT_FOR_GAP,
    }
    table = {key: speed[action] for key, action in by_action.items()}
    table |= {scenario: route[sentence] for scenario, sentence in fragments.AVOIDANCE.items()}
    table["go_back"] = route[fragments.GO_BACK]
    return table
