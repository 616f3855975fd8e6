"""Paraphrases of the answers: every canonical answer template, and the phrases that may replace parts of it."""

from __future__ import annotations

from dataset_generation.augmentations.grammar import Rewriting, expand, select

COMMAND = (
    "[[turns left|turns right|drives straight|continues turning left|continues turning right|continues driving "
    "straight] at the [next|current] intersection|turns at the next intersection|follows the road|does a lane change "
    "to the [left|right] in <DISTANCE>]"
)
"""What the ego vehicle is about to do, as questions and answers say it."""

_HEADING = (
    "[is pointing leftwards|is pointing rightwards|is pointing towards the ego vehicle|is pointing in the same "
    "direction as the ego vehicle]"
)
_OBSTACLE = "[accident|construction warning|two bicycles|bicycle|parked vehicle|vehicle with the opened door]"
_ATTENTION = "The ego vehicle should pay particular attention to"
_CRASH = "so the ego vehicle should pay attention to not crash into it."
_BIKE_LANE = (
    "[| Additionally, the ego vehicle should have an eye on the bike lane on the left side.| Additionally, the ego "
    "vehicle should have an eye on the bike lane on the right side.]"
)
_PARKING_CHANGE = (
    "[| But it could change to the parking lane on the [left and right|left|right] side of the road.| It could also "
    "change to the parking lane on the [left|right] side of the road.]"
)
_PARKED_CHANGE = (
    "[| [But|And] vehicles that are parked on the [left and right|left|right] side of the road are allowed to change "
    "lanes into the ego lane.]"
)
_IN_JUNCTION = "It is not possible to tell since the ego vehicle is in a junction."

CANONICAL_PATTERNS = (
    # Stop signs
    "No, the ego vehicle is not affected by a stop sign.",
    "Yes, the ego vehicle is affected by a stop sign, which has not been cleared yet.",
    "Yes, the ego vehicle was affected by a stop sign, which has already been cleared.",
    "The ego vehicle should [remain stopped|slow down and stop at the stop sign][| and stay behind other vehicles "
    "that are standing at the stop sign].",
    "The ego vehicle was affected by a stop sign, which has already been cleared.",
    "There is no stop sign affecting the ego vehicle.",
    "The stop sign is too far away to affect the ego vehicle.",
    # Traffic lights
    "No, the ego vehicle is not affected by a traffic light.",
    "Yes, the ego vehicle is affected by a traffic light.",
    "The traffic light is [red|yellow|green|off|unknown].",
    "There is no traffic light affecting the ego vehicle.",
    "Based on the green traffic light the ego vehicle can [accelerate|maintain its speed] and continue driving but "
    "should pay attention to the vehicle in front and adjust its speed accordingly.",
    "The ego vehicle can [accelerate|maintain its speed] and continue driving because the traffic light is green.",
    "The ego vehicle should follow the traffic light.",
    "The ego vehicle should [remain stopped|slow down and stop at the traffic light][| and stay behind other "
    "vehicles that are standing at the red light].",
    "The ego vehicle should slow down and prepare to stop at the traffic light.",
    "The traffic light is too far away to affect the ego vehicle.",
    # The road
    "No, the ego vehicle is not at a junction.",
    "The ego vehicle is [in a junction|right before a junction].",
    "The ego vehicle is on a turning lane [approaching|close to] a junction.",
    "The ego vehicle is on an acceleration lane and about to enter the highway.",
    "The ego vehicle is on an exit lane and about to exit the highway.",
    "The ego vehicle is on an interurban road close to a point where a new turning lane emerges.",
    "The ego vehicle is on the highway close to the [entry|exit] lane.",
    "The ego vehicle is on the highway potentially close to a junction.",
    "Since there are no lane changes allowed, the ego does not need to pay particular attention to any neighboring "
    "lane." + _BIKE_LANE,
    "The ego vehicle is still far away from the exit lane, so it should pay attention to the traffic on the highway.",
    "The ego vehicle should keep driving regardless of other vehicles since it overtakes an obstruction.",
    "The ego vehicle should pay attention to other vehicles in the junction." + _BIKE_LANE,
    _ATTENTION + " oncoming traffic the ego vehicle needs to cross in order to turn left.",
    _ATTENTION + " the traffic in the lane into which the ego vehicle wants to enter from the parking space.",
    _ATTENTION + " the traffic on the [exit|turning] lane, since they might slow down.",
    _ATTENTION + " the traffic on the highway, which is close to the acceleration lane.",
    _ATTENTION
    + " the traffic on the turning lane as they might slow down and to oncoming traffic the ego vehicle needs to "
    "cross in order to turn left.",
    _ATTENTION
    + " the vehicle on the acceleration lane to the right[| and to both neighboring lanes of the highway| and to "
    "the left lane of the highway| and to the right lane of the highway]." + _BIKE_LANE,
    _ATTENTION + " [both neighboring lanes|the left lane|the right lane] of the highway." + _BIKE_LANE,
    _ATTENTION
    + " traffic changing lanes from neighboring lanes[| and for traffic coming from the oncoming lane]."
    + _BIKE_LANE,
    _ATTENTION
    + " traffic coming from the left side of the intersection and is going straight or turning left, traffic "
    "coming from the right and going straight or turning [left and to oncoming traffic|right and to oncoming traffic "
    "turning left]." + _BIKE_LANE,
    _ATTENTION
    + " traffic coming straight ahead from the left side of the intersection and to oncoming traffic turning "
    "left." + _BIKE_LANE,
    _ATTENTION
    + " traffic in the [left|right]-hand lane and [position itself so that no vehicle is driving on the same "
    "height to prepare for the lane change|wait for a gap to change lanes]." + _BIKE_LANE,
    _ATTENTION
    + " traffic on the [leftmost|rightmost] lane of the highway, adjust its speed, and position itself so that no "
    "vehicle is driving on the same height to prepare for the lane change.",
    "The ego vehicle should watch out for traffic coming from the oncoming lane[| and for the parking lane]."
    + _BIKE_LANE,
    "There are no other driving lanes to watch out for since the ego vehicle is on a one lane road.[| But the ego "
    "vehicle "
    "should watch out for the parking lane.]" + _BIKE_LANE,
    _IN_JUNCTION,
    "There are no lanes in the [same|opposite] direction.",
    "There is one lane in the [same|opposite] direction.",
    "There are <COUNT> lanes in the [same|opposite] direction.",
    "The ego vehicle is on lane <LANE>[| which is the parking lane| since it overtakes an obstruction].",
    "It is not possible to tell since the ego vehicle overtakes an obstruction.",
    "The lane marking on the [left|right] side of the ego car is a <MARKING>.",
    "There is no lane marking on the [left|right] side of the ego car.",
    "The ego vehicle can not change lanes since it is on a one lane road." + _PARKING_CHANGE,
    "The ego vehicle is allowed to change lanes to the [left and right|left to enter the highway|left|right]."
    + _PARKING_CHANGE,
    "The ego vehicle is not allowed to change lanes to another driving lane." + _PARKING_CHANGE,
    "The ego vehicle is on a parking lane and is allowed to merge into the driving lane.",
    "The ego vehicle overtakes an obstruction. It is not expected to change lanes.",
    "The ego vehicle is on a parking lane and vehicles only enter the lane to park.",
    "The ego vehicle overtakes an obstruction. We do not expect vehicles to change into the ego lane.",
    "There are no lane changes allowed from another driving lane into the ego lane." + _PARKED_CHANGE,
    "There are no lane changes possible since the ego vehicle is on a one lane road." + _PARKED_CHANGE,
    "Vehicles are allowed to change lanes from [both sides|the left side|the right side]." + _PARKED_CHANGE,
    "Vehicles could potentially change lanes from the left side but it is very unlikely since the ego vehicle is on an "
    "acceleration lane." + _PARKED_CHANGE,
    "The current speed limit is <SPEED_LIMIT> km/h.",
    # Obstructions
    "No, the ego vehicle can stay on its current lane.",
    f"The ego vehicle [has already changed|is changing] to another lane to circumvent the {_OBSTACLE}.",
    "The ego vehicle has already shifted to the side to avoid invading vehicles on the opposite lane.",
    "The ego vehicle must change back to the original lane after passing the obstruction.",
    (
        "The ego vehicle must change to [either side|the left lane|the right lane|the opposite lane] to circumvent the "
        f"{_OBSTACLE}."
    ),
    "The ego vehicle must change to the left to exit the parking lot.",
    "The ego vehicle must shift slightly to the right side to avoid invading vehicles on the opposite lane.",
    "No, there is no obstacle on the current route.",
    "Yes, there is a [bicycle|construction warning|parked vehicle|vehicle with the opened door] on the current road.",
    "Yes, there is an accident on the current road.",
    "Yes, there are two bicycles on the current road.",
    "Yes, there might be invading vehicles from the opposite lane on the current road.",
    # Other vehicles
    f"The <OBJECT> is not on the road of the ego vehicle and {_HEADING}.",
    f"The <OBJECT> is after the junction on the road the ego vehicle will enter. It {_HEADING}.",
    (
        "The <OBJECT> is close to the [exit|merging] area but on the [leftmost lane of|second lane from the left on] the "
        "highway."
    ),
    "The <OBJECT> is driving on the [|leftmost lane on the |second lane from the left on the |third lane from the "
    "left on the |fourth lane from the left on the ]highway.",
    "The <OBJECT> is in the [exit|merging] area of the highway in front of the ego vehicle.",
    "The <OBJECT> is in the same lane leading to the highway as the ego vehicle.",
    f"The <OBJECT> is inside the upcoming junction and {_HEADING}.",
    "The <OBJECT> is on the acceleration lane of the highway to the right of the ego vehicle.",
    "The <OBJECT> is on the [exit lane of the |]highway.",
    "The <OBJECT> is on the highway [close to the merging area|near the exit area|near the merging area].",
    "The <OBJECT> is on the lane that leads to the highway.",
    "The <OBJECT> is on the [left|right|opposite] side of the junction[| on the bike lane] and is pointing [away "
    "from the junction|in an unknown direction|towards the junction].",
    "The <OBJECT> is on the same road [driving|standing] in the [same|opposite] direction. It is[| on the bike lane] "
    "<LANES> to the [left|right] of the ego vehicle.",
    (
        "The <OBJECT> is on the same road [driving|standing] in the opposite direction. It is on the lane of the ego "
        "vehicle."
    ),
    "The <OBJECT> is on the same road [driving|standing] on the lane of the ego vehicle.",
    "The <OBJECT> is cutting into the lane of the ego vehicle.",
    "The <OBJECT> is going straight.",
    "The <OBJECT> is turning [left|right|slightly left|slightly right].",
    "The <OBJECT> is [driving slowly|driving|moving slowly|moving|not moving].",
    "If the other vehicle keeps going straight, the routes will not cross.",
    "No, the <OBJECT> is not crossing paths with the ego vehicle.",
    "The routes of the ego vehicle and the <OBJECT> might cross as the <OBJECT> is on the acceleration lane about to "
    "enter the highway, potentially cutting into the lane of the ego vehicle.",
    "The routes of the ego vehicle and the <OBJECT> might cross as the <OBJECT> is on the highway and the ego "
    "vehicle is on the acceleration lane about to enter the highway.",
    "Yes, because the ego vehicle wants to exit the parking spot and the <OBJECT> is on the lane the ego vehicle "
    "wants to enter.",
    "Yes, the bike lane on which the <OBJECT> is currently riding on is crossing paths with the ego vehicle if the "
    f"ego vehicle {COMMAND}.",
    "Yes, the routes of the ego vehicle and the <OBJECT> might cross as the <OBJECT> is on the acceleration lane, "
    "potentially cutting into the lane of the ego vehicle.",
    "Yes, the routes will cross since the <OBJECT> is cutting into the lane of the ego vehicle.",
    f"Yes, the <OBJECT> is behind the intersection on the road the ego vehicle will enter, {_CRASH}",
    "Yes, the <OBJECT> is crossing paths with the ego vehicle because the ego vehicle does a lane change to the "
    "[left|right] onto the lane of the <OBJECT>.",
    "Yes, the <OBJECT> is crossing the path of the ego vehicle.",
    f"Yes, the <OBJECT> is inside the upcoming junction on the same road as the ego vehicle, {_CRASH}",
    f"Yes, the <OBJECT> is right to the front of the ego vehicle, {_CRASH}",
    "Yes, the <OBJECT> might cross the path of the ego vehicle, depending on which way the vehicle is going to turn.",
    f"Yes, the <OBJECT> will cross paths with the ego vehicle if the ego vehicle {COMMAND}.",
    # Pedestrians and braking
    "There are no pedestrians.",
    "There is 1 pedestrian.",
    "There are <COUNT> pedestrians.",
    "The ego vehicle should adjust its speed to the speed of the <OBJECT> that is <LOCATION>.",
    "The ego vehicle should brake because it is too fast.",
    "The ego vehicle should [brake|stop] because it must change the lane to bypass the [accident|construction "
    "warning|parked vehicle|bicycle|<COUNT> bicycles].",
    "The ego vehicle should [brake|stop] because of the <OBJECT> that is [cutting into the ego vehicle's lane|on the "
    "left side of the junction|on the right side of the junction|on the opposite side of the junction|<LOCATION>].",
    "The ego vehicle should slow down and stop at the stop sign.",
    (
        "The ego vehicle should [slow down|stop] because of the [pedestrian that is|pedestrians that are] crossing the "
        "road."
    ),
    (
        "The ego vehicle should slow down because of the <OBJECT> that is <LOCATION> and is [blocking|crossing] the "
        "intersection."
    ),
    "The ego vehicle should stop because it must invade the opposite lane, which is occupied, in order to bypass the "
    "[accident|bicycles|construction warning|parked vehicle|vehicle with the opened doors].",
    "The ego vehicle should stop because of the stop sign.",
    "The ego vehicle should stop because of the traffic light that is red.",
    "The ego vehicle should stop because of the <OBJECT> that is on the oncoming lane and is crossing paths with the "
    "ego vehicle.",
    "The ego vehicle should stop because of the <OBJECT> that is <LOCATION> and is blocking the intersection.",
    "There is no reason for the ego vehicle to brake.",
)
"""Patterns of all canonical answers, in the wording of the corrected profile. The list of important objects is composed
for each frame and has no paraphrases."""

_RULES: dict[str, tuple[str, ...]] = {
    "should": ("ought to", "needs to", "has to"),
    "must": ("has to", "needs to", "is required to"),
    "can": ("may", "is free to"),
    "can not": ("cannot", "is not able to", "is unable to"),
    "because of": ("due to", "on account of", "owing to"),
    "because": ("since", "as"),
    "since": ("as", "because"),
    "Since": ("As", "Because"),
    "Yes,": ("Yes:", "Yes indeed,", "Indeed,", "That is right,", "Correct,"),
    "No,": ("No:", "Negative,", "The answer is no,"),
    "No, the ego vehicle is not": ("The ego vehicle is not", "No, at the moment the ego vehicle is not"),
    "There are no": ("There are not any", "There aren't any"),
    "There is no": ("There is not any", "There isn't any"),
    "there is no": ("there is not any", "there isn't any"),
    "there are no": ("there are not any", "there aren't any"),
    "the ego does not need": ("the ego vehicle does not need", "the ego vehicle does not have"),
    "The ego vehicle is": ("At the moment the ego vehicle is", "Currently the ego vehicle is"),
    "is affected by": ("is subject to", "has to obey"),
    "is not affected by": ("is not subject to", "does not have to obey"),
    "was affected by": ("was subject to", "had to obey"),
    "has not been cleared yet": ("is not cleared yet", "still has to be cleared", "has yet to be cleared"),
    "has already been cleared": ("is already cleared", "has been cleared by now", "has been dealt with already"),
    "affecting": ("that affects", "which concerns"),
    "is too far away to affect": ("is still too distant to affect", "is too far off to matter to"),
    "remain stopped": ("stay stopped", "keep standing", "stay where it is"),
    "slow down and stop": ("reduce its speed and stop", "brake and come to a stop", "slow down to a stop"),
    "slow down and prepare to stop": ("reduce its speed and get ready to stop", "slow down and be ready to stop"),
    "slow down": ("reduce its speed", "decelerate"),
    "might slow down": ("could slow down", "may reduce their speed"),
    "stay behind other vehicles": ("keep behind the other vehicles", "remain behind other vehicles"),
    "that are standing": ("that are waiting", "which stand"),
    "Based on the green traffic light": ("Given the green traffic light", "As the traffic light is green,"),
    "continue driving": ("keep driving", "drive on", "carry on"),
    "maintain its speed": ("keep its speed", "hold its speed"),
    "adjust its speed accordingly": ("adapt its speed to it", "match its speed"),
    "adjust its speed to the speed of": ("adapt its speed to that of", "match its speed to that of"),
    "follow the traffic light": (
        "obey the traffic light",
        "act as the traffic light shows",
        "respect the traffic light",
    ),
    "right before a junction": ("just before a junction", "immediately in front of a junction"),
    "in a junction": ("inside a junction", "within a junction"),
    "is not at a junction": ("is not near a junction", "is nowhere near a junction"),
    "about to enter": ("on the point of entering",),
    "close to": ("near", "not far from"),
    "approaching": ("leading up to", "that leads to"),
    "potentially": ("possibly", "perhaps"),
    "pay particular attention to": ("pay special attention to", "pay close attention to", "be especially attentive to"),
    "pay attention to": ("be attentive to", "be mindful of", "take note of"),
    "pay attention to not crash into it": ("take care not to hit it", "be careful not to crash into it"),
    "watch out for": ("look out for", "be on the lookout for"),
    "have an eye on": ("keep an eye on", "watch"),
    "Additionally,": ("In addition,", "Besides,", "Moreover,"),
    "keep driving regardless of": ("keep going irrespective of", "continue driving regardless of"),
    "neighboring": ("adjacent", "neighbouring"),
    "wait for a gap to change lanes": ("wait until a gap allows the lane change", "change lanes when there is a gap"),
    "is driving on the same height": ("is right beside it", "drives alongside"),
    "to prepare for the lane change": ("in preparation of the lane change", "to get ready for the lane change"),
    "It is not possible to tell": ("This cannot be told", "It cannot be said", "One cannot tell"),
    "lane in the same direction": ("lane leading in the same direction", "lane going the same way"),
    "lanes in the same direction": (
        "lanes leading in the same direction",
        "lanes going the same way",
        "lanes that run in the same direction",
    ),
    "lane in the opposite direction": ("lane leading in the opposite direction", "lane going the opposite way"),
    "lanes in the opposite direction": (
        "lanes leading in the opposite direction",
        "lanes going the opposite way",
        "lanes that run in the opposite direction",
    ),
    "There is one": ("There is a single", "There is just one", "There is only one", "There is exactly one"),
    "There are <COUNT>": ("There are a total of <COUNT>", "In total there are <COUNT>", "One can count <COUNT>"),
    "the ego car": ("the ego vehicle", "our car", "our vehicle"),
    "The lane marking": ("The marking", "The lane line", "The line"),
    "is a <MARKING>": ("can be described as a <MARKING>", "turns out to be a <MARKING>"),
    "on lane <LANE>": ("in lane <LANE>", "on the lane with number <LANE>", "on lane number <LANE>"),
    "is allowed to change lanes": ("may change lanes", "is permitted to change lanes"),
    "Vehicles are allowed to change lanes": (
        "Vehicles may change lanes",
        "Vehicles are permitted to change lanes",
        "Other vehicles may change lanes",
        "Other vehicles are allowed to change lanes",
    ),
    "from both sides": ("from either side", "from the left and from the right"),
    "from the left side": ("from the left", "from the left-hand side"),
    "from the right side": ("from the right", "from the right-hand side"),
    "There are no lane changes allowed": ("Lane changes are not allowed", "No lane changes are allowed"),
    "from another driving lane": ("from other driving lanes", "from a different driving lane", "from another lane"),
    "are allowed to change lanes": ("may change lanes", "are permitted to change lanes"),
    "is not allowed to change lanes": ("may not change lanes", "is not permitted to change lanes"),
    "is allowed to merge": ("may merge", "is permitted to merge"),
    "It is not expected to change lanes.": ("No lane change is expected of it.", "A lane change is not expected."),
    "We do not expect vehicles to": ("Vehicles are not expected to", "No vehicle is expected to"),
    "could potentially change lanes": ("could possibly change lanes", "might change lanes"),
    "very unlikely": ("hardly to be expected", "highly improbable"),
    "The current speed limit is": (
        "The speed limit is currently",
        "The speed limit here is",
        "At the moment the speed limit is",
        "The speed limit on this road is",
        "The maximum speed allowed here is",
        "The highest speed permitted here is",
        "Right now the speed limit is",
        "The limit on this stretch of road is",
        "The speed limit that applies is",
        "Here the speed limit is",
    ),
    "on its current lane": ("in its current lane", "on the lane it is on", "where it is"),
    "circumvent": ("get around", "pass", "go around"),
    "has already changed": ("has changed already", "has by now changed"),
    "is changing": ("is moving", "is on its way"),
    "has already shifted": ("has already moved", "has shifted by now"),
    "shift slightly to the right side": ("move a little to the right", "keep slightly more to the right"),
    "change back to": ("return to", "go back to"),
    "the current route": ("the route ahead", "its route", "the present route"),
    "the current road": ("the road ahead", "this road", "the present road"),
    "The <OBJECT>": ("That <OBJECT>", "This <OBJECT>", "The <OBJECT> in question"),
    "is after the junction": ("is beyond the junction", "is past the junction"),
    "is behind the intersection": ("is beyond the intersection", "is past the intersection"),
    "will enter": ("is going to enter", "is about to enter"),
    "is inside the upcoming junction": ("is in the upcoming junction", "is within the next junction"),
    "is pointing": ("is facing", "is oriented", "points"),
    "is on the highway": ("is located on the highway", "can be found on the highway"),
    "is on the same road": ("is located on the same road", "can be found on the same road"),
    "is on the left side": ("is located on the left side", "can be found on the left side"),
    "is on the right side": ("is located on the right side", "can be found on the right side"),
    "is on the opposite side": ("is located on the opposite side", "can be found on the opposite side"),
    "is on the lane that leads": ("is in the lane that leads", "is on the lane leading"),
    "is on the exit lane": ("is in the exit lane", "is driving on the exit lane"),
    "on the acceleration lane": ("in the acceleration lane", "in the lane for accelerating"),
    "on the bike lane": ("in the bike lane", "on the bicycle lane"),
    "driving on the lane": ("driving in the lane", "moving on the lane"),
    "standing on the lane": ("standing in the lane", "stopped on the lane"),
    "is cutting into": ("is cutting in on", "is moving into", "is pushing into"),
    "is going straight": (
        "is heading straight on",
        "goes straight ahead",
        "keeps going straight",
        "continues straight on",
    ),
    "is turning left": ("is making a left turn", "is steering to the left", "turns left"),
    "is turning right": ("is making a right turn", "is steering to the right", "turns right"),
    "is turning slightly left": ("turns slightly to the left", "is steering slightly to the left"),
    "is turning slightly right": ("turns slightly to the right", "is steering slightly to the right"),
    "is driving slowly": ("is driving at low speed", "drives slowly", "is travelling slowly"),
    "is moving slowly": ("is moving at low speed", "moves slowly", "is travelling slowly"),
    "is driving": ("drives", "is travelling", "is currently driving"),
    "is moving": ("moves", "is in motion", "is on the move"),
    "is not moving": ("is standing still", "is stationary", "is at a standstill"),
    "is crossing the path of": ("crosses the path of", "is cutting across the path of"),
    "is not crossing paths with": ("does not cross paths with", "is not going to cross paths with"),
    "is crossing paths with": ("crosses paths with", "is on a crossing course with"),
    "will cross paths with": ("is going to cross paths with", "is about to cross paths with"),
    "might cross": ("could cross", "may cross"),
    "will not cross": ("are not going to cross", "do not cross"),
    "will cross": ("are going to cross", "are about to cross"),
    "keeps going straight": ("continues straight on", "goes on straight ahead"),
    "the routes": ("the paths", "both routes"),
    "the routes of": ("the paths of", "the ways of"),
    "The routes of": ("The paths of", "The ways of"),
    "depending on which way the vehicle is going to turn": (
        "depending on where it turns",
        "depending on the direction in which it will turn",
    ),
    "does a lane change": ("changes lanes", "carries out a lane change"),
    "is right to the front of": ("is directly in front of", "is straight ahead of"),
    "is too fast": ("is driving too fast", "goes faster than it should"),
    "bypass": ("get past", "pass", "get around"),
    "in order to": ("to", "so as to"),
    "invade the opposite lane": ("use the opposite lane", "move onto the opposite lane"),
    "is occupied": ("is not free", "is in use"),
    "that is red": ("which is red", "that shows red"),
    "crossing the road": ("walking across the road", "on the way across the road"),
    "is blocking": ("blocks", "is obstructing"),
    "There is no reason": ("There is no cause", "There isn't any reason", "There is no need"),
}
"""Phrase to what may stand for it in an answer."""

_EXTRA: dict[str, str] = {
    "There are no pedestrians.": (
        "[There are not any pedestrians|There aren't any pedestrians|No pedestrians are [there|visible|in "
        "sight|around]|There are no people on foot|No pedestrian can be seen|[One|We] can see no pedestrians|There "
        "is nobody on foot]."
    ),
    "There is 1 pedestrian.": (
        "[There is [one|a single|just one|only one|exactly one] pedestrian|One pedestrian [is there|is visible|can "
        "be seen|is in sight]|A single pedestrian [is visible|can be seen]]."
    ),
    "There are <COUNT> pedestrians.": (
        "[There are <COUNT> [people on foot|pedestrians in sight|pedestrians ahead|pedestrians around]|In total "
        "there are <COUNT> pedestrians|Altogether there are <COUNT> pedestrians|One can see <COUNT> pedestrians|One "
        "can count <COUNT> pedestrians|I count <COUNT> pedestrians|The number of pedestrians is <COUNT>|The scene "
        "has <COUNT> pedestrians|There is a group of <COUNT> pedestrians]."
    ),
}
_LIGHT_IS = (
    "[The traffic light [shows|displays|is showing|currently shows] {0}|The light is {0}|The light shows {0}|The "
    "signal is {0}|The current state of the traffic light is {0}|Its state is {0}|At the moment the traffic light is "
    "{0}|The traffic light is currently {0}|The state of the light is {0}|The traffic light is now {0}]."
)
_EXTRA |= {f"The traffic light is {state}.": _LIGHT_IS.format(state) for state in ("red", "yellow", "green")}
_EXTRA |= {
    f"The traffic light is {state}.": _LIGHT_IS.replace("[shows|displays|is showing|currently shows]", "is at present")
    .replace("The light shows {0}|", "The traffic signal is {0}|")
    .format(state)
    for state in ("off", "unknown")
}


def answer_paraphrases() -> dict[str, list[str]]:
    """Canonical answer template to its paraphrases, the template itself first."""
    rewriting = Rewriting(_RULES)
    table = {}
    for pattern in CANONICAL_PATTERNS:
        for template in expand(pattern):
            if template in _EXTRA:
                table[template] = select(expand(_EXTRA[template]), template)
            else:
                table[template] = rewriting.variants(template)
    return table
