"""Paraphrases of the questions."""

from __future__ import annotations

from dataset_generation.augmentations.answers import COMMAND
from dataset_generation.augmentations.grammar import Rewriting, expand, select

_EGO = "[the ego vehicle|the ego car|our vehicle|our car]"
_NAME = "the <OBJECT> that is <LOCATION>"

PATTERNS: dict[str, str] = {
    "What are the important objects in the scene?": (
        "[[What|Which] are the [important|relevant|most important] objects in [the|this] "
        "[scene|picture|situation]|Which objects [matter|are important|deserve attention] in [the|this] "
        "[scene|situation]|What objects [should|must] be [noticed|watched] in this scene]?"
    ),
    "Is the ego vehicle affected by a stop sign?": (
        f"[[Is {_EGO} affected by|Does {_EGO} have to obey|Must {_EGO} obey|Is {_EGO} subject to] a stop sign|Does a "
        f"stop sign [affect|apply to|matter to] {_EGO}|Is there a stop sign that [affects|applies to] {_EGO}]?"
    ),
    "Is the ego vehicle affected by a traffic light?": (
        f"[[Is {_EGO} affected by|Does {_EGO} have to obey|Must {_EGO} obey|Is {_EGO} subject to] a traffic "
        f"light|Does a traffic light [affect|apply to|matter to] {_EGO}|Is there a traffic light that "
        f"[affects|applies to] {_EGO}]?"
    ),
    "What should the ego vehicle do based on the stop sign?": (
        f"[What [should|must] {_EGO} do [because of|due to|in view of] the stop sign|How should {_EGO} "
        f"[react|respond] to the stop sign|What does the stop sign [require of|ask of|mean for] {_EGO}|Given the "
        f"stop sign, what should {_EGO} do]?"
    ),
    "What should the ego vehicle do based on the traffic light?": (
        f"[What [should|must] {_EGO} do [because of|due to|in view of] the traffic light|How should {_EGO} "
        f"[react|respond] to the traffic light|What does the traffic light [require of|ask of|mean for] {_EGO}|Given "
        f"the traffic light, what should {_EGO} do]?"
    ),
    "What is the state of the traffic light?": (
        "[What is the [|current |present ]state of the [traffic light|light|signal]|In which state is the traffic "
        "light|What does the [traffic light|light|signal] show|[What|Which] colour does the traffic light show|What "
        "is the traffic light showing]?"
    ),
    "Is the ego vehicle at a junction?": (
        f"[Is {_EGO} [at|near|close to] a[ junction|n intersection]|Has {_EGO} reached a[ junction|n "
        f"intersection]|Is there a junction where {_EGO} is]?"
    ),
    "How many lanes are there in the same direction as the ego car?": (
        "[[How many lanes|What number of lanes] [are there|exist|can be used] in the [same direction as|direction "
        f"of] {_EGO}|How many lanes [lead|go] in the direction of {_EGO}|How many lanes does the road have in the "
        f"direction of {_EGO}]?"
    ),
    "How many lanes are there in the opposite direction to the ego car?": (
        f"[[How many lanes|What number of lanes] [are there|exist] in the direction opposite to {_EGO}|How many "
        f"lanes [lead|go] in the direction opposite to {_EGO}|How many lanes are there for traffic coming towards "
        f"{_EGO}|How many oncoming lanes does the road of {_EGO} have]?"
    ),
    "On which lane is the ego vehicle (left most lane of the lanes going in the same direction is indicated with 0)?": (
        f"[[On which|In which|On what] lane is {_EGO}|[Which|What] lane is {_EGO} [on|using]|What is the number of "
        f"the lane {_EGO} is on] ([the leftmost lane of its direction is 0|counting from 0 for the leftmost lane in "
        "the same direction|lane 0 is the leftmost one of the same direction])?"
    ),
    **{
        f"What lane marking is on the {side} side of the ego car?": (
            f"[[What|Which|What kind of] [lane marking|marking|line] is [on the {side} side|to the {side}] of "
            f"{_EGO}|How is the lane [marked|bounded] on the {side} side of {_EGO}|What does the lane marking to the "
            f"{side} of {_EGO} look like]?"
        )
        for side in ("left", "right")
    },
    "In which direction is the ego car allowed to change lanes?": (
        f"[[In which|In what] direction [may {_EGO} change lanes|is {_EGO} [allowed|permitted] to change lanes]|To "
        f"which side [may {_EGO} change lanes|is {_EGO} allowed to change lanes]|Where [may|can] {_EGO} change "
        "lanes]?"
    ),
    "From which side are other vehicles allowed to change lanes into the ego lane?": (
        f"[From [which|what] side [may|can] other vehicles [change|move] [into|onto] the lane of {_EGO}|From which "
        f"side are other vehicles [allowed|permitted] to [change lanes into|enter] the lane of {_EGO}|On which side "
        f"may others change lanes into the lane of {_EGO}]?"
    ),
    "What is the current speed limit?": (
        "[What is the [|current |present ]speed limit[| here| on this road| at the moment]|Which speed limit "
        "[applies|holds][| here| at the moment]|How fast [may one|is one allowed to] drive here|What is the "
        "[highest|maximum] speed [allowed|permitted] here]?"
    ),
    "Does the ego vehicle need to change lanes or deviate from the lane center due to an upcoming obstruction?": (
        f"[[Does {_EGO} [need|have]|Is it necessary for {_EGO}] to [change lanes or leave the centre of its "
        "lane|leave its lane or the middle of it] [because of|due to] an [upcoming obstruction|obstruction "
        f"ahead]|Must {_EGO} change lanes or leave the middle of its lane because something blocks the way]?"
    ),
    "Is there an obstacle on the current road?": (
        "[Is [there an obstacle|there an obstruction|something in the way] on [the current road|this road|the road "
        f"ahead|the road of {_EGO}]|Does an obstacle block [the road|the way]|Is the road ahead blocked by an "
        "obstacle]?"
    ),
    "How many pedestrians are there?": (
        "[How many [pedestrians|people on foot|people] [are there|can be seen|are visible|are in sight|are "
        "around]|What is the number of pedestrians|Count the pedestrians. How many are there]?"
    ),
    "Does the ego vehicle need to brake? Why?": (
        f"[[Does {_EGO} [need|have] to brake|Should {_EGO} brake|Must {_EGO} brake|Is there a need for {_EGO} to "
        "brake]? [Why|For what reason|What is the reason]?]"
    ),
    f"Where on the road is {_NAME} located?": (
        f"[Where on the road [is {_NAME}|can {_NAME} be found]|[On which|In what] part of the road is {_NAME}|What "
        f"is the position of {_NAME} on the road|Where is {_NAME}|Where on the road would one find {_NAME}|How is "
        f"{_NAME} placed on the road|Tell me where {_NAME} is on the road: where is it|Describe the place of "
        f"{_NAME}: where on the road is it]?"
    ),
    f"Where is {_NAME} going?": (
        f"[[Where|In which direction] is {_NAME} [going|heading|driving|moving|travelling]|Which way is {_NAME} "
        f"[going|heading|moving]|What direction does {_NAME} take]?"
    ),
    f"What is the moving status of {_NAME}?": (
        f"[[What is|How would you describe] the [motion|movement|state of motion] of {_NAME}|Is {_NAME} [moving|in "
        f"motion]|How does {_NAME} move|Does {_NAME} move or stand|How fast does {_NAME} move]?"
    ),
}
"""Canonical question to the pattern of its paraphrases."""

_INTENTIONS = (
    "[go left at the next intersection|go right at the next intersection|go straight at the next intersection|follow "
    "the road|do a lane change to the left[| soon]|do a lane change to the right[| soon]|exit the highway]"
)

_LANE_RULES: dict[str, tuple[str, ...]] = {
    "wants to": ("intends to", "is going to", "plans to"),
    "Which lanes are important to watch out for?": (
        "Which lanes should it watch?",
        "To which lanes does it have to pay attention?",
        "Which lanes matter most?",
        "What lanes need attention?",
    ),
}
_CROSSING_RULES: dict[str, tuple[str, ...]] = {
    "potentially crossing the path of": ("possibly crossing the path of", "perhaps going to cross the path of"),
    "The ego vehicle": ("Suppose the ego vehicle", "Assume the ego vehicle"),
    "at the next intersection": ("at the upcoming intersection", "at the intersection ahead"),
    "follows the road": ("keeps following the road", "stays on the road"),
}


def question_paraphrases() -> dict[str, list[str]]:
    """Canonical question template to its paraphrases, the template itself first."""
    table = {question: select(expand(pattern), question) for question, pattern in PATTERNS.items()}
    lanes, crossing = Rewriting(_LANE_RULES), Rewriting(_CROSSING_RULES)
    for intention in expand(_INTENTIONS):
        question = f"The ego vehicle wants to {intention}. Which lanes are important to watch out for?"
        table[question] = lanes.variants(question)
    for command in expand(COMMAND):
        question = f"The ego vehicle {command}. Is {_NAME} potentially crossing the path of the ego vehicle?"
        table[question] = crossing.variants(question)
    return table
