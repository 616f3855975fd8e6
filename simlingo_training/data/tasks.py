"""What is asked of a frame and what is answered: driving, commentary, questions, instructions.

Pure functions of label records and a source of random choices. The order of the choices is that of the published loader,
so that equal generators give equal samples.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driving.label_records import CommentaryLabel, QaPair, VqaLabel, fill
from driving.paraphrases import Paraphrases, read_paraphrases
from simlingo_training.config import TaskShares
from simlingo_training.data import prompts
from simlingo_training.data.prompts import Draws

log = logging.getLogger(__name__)

LOCATIONS = (
    "nearby to the front of the ego vehicle",
    "nearby to the front right of the ego vehicle",
    "nearby to the front left of the ego vehicle",
    "nearby on the left side of the ego vehicle",
    "far to the front left of the ego vehicle",
    "far to the front right of the ego vehicle",
    "far to the front of the ego vehicle",
    "far to the left side of the ego vehicle",
    "far to the right side of the ego vehicle",
    "to the front of the ego vehicle",
    "to the front right of the ego vehicle",
    "to the front left of the ego vehicle",
    "on the left side of the ego vehicle",
    "on the right side of the ego vehicle",
)
"""Phrases that question templates replace by ``<LOCATION>``, tried in this order."""

COMMON_ANSWERS = (
    "There are no pedestrians.",
    "There is no traffic light",
    "No, the ego vehicle is not affected by a stop sign.",
    "No, the ego vehicle is not affected by a junction.",
    "There is no stop sign affecting the ego vehicle.",
    "There is no junction affecting the ego vehicle.",
    "It is not possible to tell",
    "There is no reason for the ego vehicle to brake.",
)
"""Answers so frequent that a draw of one is kept only one time in five."""

KEEP_COMMON = 0.2
GIVEN_COMMENTARY = 0.2
KEEP_QUESTION = 0.4
WITH_NAVIGATION = 0.8
MAX_REDRAWS = 50

INSTRUCTION_MODES_SKIPPED = "factor"
"""Dream modes whose name contains this have no wording a driver would use."""


@lru_cache(maxsize=4)
def load_paraphrases(folder: str) -> Paraphrases:
    """Read the paraphrases of a folder, relative to the current directory or else to the repository; says once which tables
    are absent."""
    place = Path(folder)
    if not place.exists() and not place.is_absolute():
        place = Path(__file__).resolve().parents[2] / place
    phrases = read_paraphrases(place)
    if phrases.missing:
        log.warning("%s: no file for %s, which are not paraphrased", place, ", ".join(phrases.missing))
    return phrases


@dataclass(frozen=True)
class Scene:
    """What the text of a sample depends on, besides its labels.

    Attributes:
        speed: m/s.
        target_points: (2, 2) as seen from the (possibly shifted) camera, metres.
        command, next_command: `driving.commands.RoadOption` values.
    """

    speed: float
    target_points: NDArray[np.float64]
    command: int
    next_command: int


@dataclass(frozen=True)
class Navigation:
    """How routes are put into words.

    Attributes:
        route_as: See `prompts.navigation_options`.
        sentences: Free navigation sentences, empty to do without.
    """

    route_as: str
    sentences: Mapping[str, Sequence[str]]

    def options(self, scene: Scene, draws: Draws) -> list[str]:
        """All sentences possible for a scene; the free one is drawn here."""
        free = None
        if self.sentences:
            distance = float(np.linalg.norm(scene.target_points[0]))
            free = prompts.draw_navigation_sentence(scene.command, distance, self.sentences, draws)
        return prompts.navigation_options(self.route_as, scene.target_points, scene.command, scene.next_command, free)


@dataclass(frozen=True)
class Conversation:
    """One prompt and its answer; ``task`` names what was asked."""

    prompt: str
    answer: str
    task: str


def draw_commentary(label: CommentaryLabel, phrases: Paraphrases, probability: float, draws: Draws) -> str:
    """The commentary of a frame, paraphrased with ``probability`` where a paraphrase exists and can be filled."""
    text = label.commentary
    if probability and draws.random() < probability and label.template in phrases.commentary:
        variant = fill(draws.choice(phrases.commentary[label.template]), label.slots)
        if not re.search(r"<[^>]*>", variant):
            text = variant
    return prompts.single_stops(text).replace("in in", "in")


def draw_question(label: VqaLabel, draws: Draws) -> QaPair:
    """One question and answer of a frame; frequent negative answers are mostly drawn again."""
    pairs = label.pairs
    for _ in range(MAX_REDRAWS):
        pair = draws.choice(pairs)
        common = any(text in pair.answer for text in COMMON_ANSWERS)
        if not common or draws.random() < KEEP_COMMON:
            break
    return pair


@dataclass(frozen=True)
class _Slots:
    template: str
    objects: tuple[str, ...]
    location: str
    distance: str


def _templated(text: str, descriptions: Sequence[str]) -> _Slots:
    """Put placeholders where objects, locations and distances are named."""
    template, objects, location = text, [], ""
    for description in descriptions:
        if description in template:
            template = template.replace(description, "<OBJECT>")
            objects.append(description)
    for phrase in LOCATIONS:
        if phrase in template:
            template = template.replace(phrase, "<LOCATION>")
            location = phrase
    found = re.search(r"in (\d+) m", template)
    distance = found.group(1) if found else ""
    return _Slots(re.sub(r"in \d+ m", "in <DISTANCE>", template), tuple(objects), location, distance)


def _filled(variant: str, slots: _Slots, unit: str) -> str:
    obj = slots.objects[0] if slots.objects else ""
    distance = slots.distance + unit if slots.distance else ""
    return variant.replace("<OBJECT>", obj).replace("<LOCATION>", slots.location).replace("<DISTANCE>", distance)


def paraphrase_question(
    pair: QaPair, label: VqaLabel, phrases: Paraphrases, draws: Draws, unit: str = " m"
) -> tuple[str, str]:
    """Replace question and answer by paraphrases of their templates.

    Labels that carry their templates are filled exactly; for others the templates are guessed from the wording.

    Args:
        pair: Question and answer.
        label: Gives the descriptions of the objects named.
        phrases: Variants by template.
        draws: Random choices.
        unit: Put behind a guessed distance; the published loader loses it.

    Returns:
        Question and answer; unchanged in two of five draws, and where templates are guessed and several objects named.
    """
    if pair.question_template is not None and pair.answer_template is not None:
        if draws.random() < KEEP_QUESTION:
            return pair.question, pair.answer
        question = _variant(pair.question_template, phrases.questions, draws)
        answer = _variant(pair.answer_template, phrases.answers, draws)
        return fill(question, pair.slots), fill(answer, pair.slots)
    question, answer = pair.question, pair.answer
    descriptions = [item.description for item in label.key_objects.values()]
    asked, answered = _templated(question, descriptions), _templated(answer, descriptions)
    if len(asked.objects) > 1 or len(answered.objects) > 1 or draws.random() < KEEP_QUESTION:
        return question, answer
    if asked.template in phrases.questions:
        question = _filled(draws.choice(phrases.questions[asked.template]), asked, unit)
    if answered.template in phrases.answers:
        answer = _filled(draws.choice(phrases.answers[answered.template]), answered, unit)
    return question, answer


def _variant(template: str, table: Mapping[str, Sequence[str]], draws: Draws) -> str:
    return draws.choice(table[template]) if template in table else template


def draw_driving_conversation(
    scene: Scene,
    commentary: CommentaryLabel | None,
    vqa: VqaLabel | None,
    navigation: Navigation,
    phrases: Paraphrases,
    shares: TaskShares,
    paraphrase: float,
    draws: Draws,
    unit: str = " m",
) -> Conversation:
    """Choose a task for an expert frame and put it into words.

    Args:
        scene: Speed and navigation.
        commentary, vqa: Labels of the frame, None where there is none or the task is off.
        navigation, phrases: Wording.
        shares: Chances of the tasks; what a missing label would have taken goes to the tasks behind it.
        paraphrase: Chance of a paraphrase.
        draws: Random choices.
        unit: See `paraphrase_question`.
    """
    sentence = draw_commentary(commentary, phrases, paraphrase, draws) if commentary else None
    pair = None
    if vqa is not None and vqa.pairs:
        drawn = draw_question(vqa, draws)
        pair = drawn.question, drawn.answer
        if paraphrase and draws.random() < paraphrase:
            pair = paraphrase_question(drawn, vqa, phrases, draws, unit)
    options = navigation.options(scene, draws)
    total = shares.driving + shares.commentary + shares.vqa
    draw = draws.random() * total
    if sentence is not None and draw < shares.commentary:
        return _commentary_conversation(scene, sentence, options, draws)
    chosen = draws.choice(options)
    if pair is not None and draw < shares.commentary + shares.vqa:
        prompt = prompts.question_prompt(scene.speed, chosen, pair[0])
        return Conversation(prompt, prompts.single_stops(f"A: {pair[1]}"), "vqa")
    return Conversation(prompts.driving_prompt(scene.speed, chosen), prompts.WAYPOINTS_ANSWER, "driving")


def _commentary_conversation(scene: Scene, sentence: str, options: Sequence[str], draws: Draws) -> Conversation:
    """Commentary to be predicted, or one time in five given, then half of the time instead of the navigation."""
    if draws.random() < GIVEN_COMMENTARY:
        beside = draws.random() < 0.5
        prompt = prompts.given_commentary_prompt(scene.speed, draws.choice(options) if beside else None, sentence)
        return Conversation(prompt, prompts.WAYPOINTS_ANSWER, "commentary_given")
    prompt = prompts.commentary_prompt(scene.speed, draws.choice(options))
    answer = prompts.single_stops(f"{sentence} {prompts.WAYPOINTS_ANSWER}")
    return Conversation(prompt, answer, "commentary")


@dataclass(frozen=True)
class Dream:
    """One instructed alternative.

    Attributes:
        mode: Category, for example ``lane_change``.
        instructions: Ways to say it.
        waypoints: (10, 2) in time, None for the expert's.
        path: (20, 2) by distance, None for the expert's.
        refusal: What to answer in safety mode when it is not safe.
        safe: Whether it may be executed in safety mode.
        allowed: Whether traffic rules allow it.
        templates: Template of each instruction, empty in files without.
        slots: Placeholder to text for each of them.
    """

    mode: str
    instructions: tuple[str, ...]
    waypoints: NDArray[np.float64] | None
    path: NDArray[np.float64] | None
    refusal: str
    safe: bool
    allowed: bool
    templates: tuple[str, ...] = ()
    slots: tuple[Mapping[str, str], ...] = ()


def parse_dreams(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Dream]:
    """All usable alternatives of a dreamer file's JSON object, in file order.

    Raises:
        ValueError: If an alternative lacks a key; the message names mode and key.
    """
    return [
        parse_dream(mode, values)
        for mode, options in content.items()
        if INSTRUCTION_MODES_SKIPPED not in mode
        for values in options
    ]


def parse_dream(mode: str, values: Mapping[str, Any]) -> Dream:
    """One alternative of a dreamer file. Raises ValueError if it lacks a key."""

    def points(key: str) -> NDArray[np.float64] | None:
        value = values[key]
        return None if isinstance(value, str) else np.asarray(value, dtype=np.float64)

    try:
        instructions = values["dreamer_instruction"]
        return Dream(
            mode=values["mode"],
            instructions=(instructions,) if isinstance(instructions, str) else tuple(instructions),
            waypoints=points("waypoints"),
            path=points("route"),
            refusal=values["dreamer_answer_safety"],
            safe=bool(values["safe_to_execute"]),
            allowed=bool(values["allowed"]),
            templates=tuple(values.get("instructions_templates") or ()),
            slots=tuple(values.get("templates_placeholders") or ()),
        )
    except KeyError as error:
        raise ValueError(f"dreamed alternative of mode {mode!r} lacks the key {error}; generate it again") from error


@dataclass(frozen=True)
class Instructed:
    """An instruction as a sample: text, and whether the dreamed motion (or the expert's) is the label."""

    conversation: Conversation
    dream: Dream
    follow: bool


def draw_instruction(
    scene: Scene,
    dreams: Sequence[Dream],
    navigation: Navigation,
    use_safety_flag: bool,
    draws: Draws,
    phrases: Paraphrases | None = None,
    paraphrase: float = 0.0,
) -> Instructed:
    """Draw one alternative and put it into words.

    In safety mode an unsafe alternative is refused: the answer says why and the labels are the expert's.

    Raises:
        ValueError: If there is no alternative.
    """
    if not dreams:
        raise ValueError("the frame has no dreamed alternative")
    safety = draws.random() < 0.5 if use_safety_flag else None
    dream = draws.choice(dreams)
    instruction = draws.choice(dream.instructions)
    if phrases is not None and paraphrase and draws.random() < paraphrase:
        instruction = reworded(dream, instruction, phrases, draws)
    options = navigation.options(scene, draws)
    sentence = draws.choice(options) if draws.random() < WITH_NAVIGATION else None
    refused = bool(safety) and not dream.safe
    prompt = prompts.instruction_prompt(scene.speed, sentence, instruction, safety)
    answer = dream.refusal if refused else prompts.FOLLOWING_ANSWER
    return Instructed(Conversation(prompt, answer, f"dreamer_{dream.mode}"), dream, follow=not refused)


def reworded(dream: Dream, instruction: str, phrases: Paraphrases, draws: Draws) -> str:
    """Another wording of an instruction whose template is known, with the same values; else the instruction itself."""
    number = dream.instructions.index(instruction)
    if number >= min(len(dream.templates), len(dream.slots)) or dream.templates[number] not in phrases.wordings:
        return instruction
    return fill(draws.choice(phrases.wordings[dream.templates[number]]), dream.slots[number])
