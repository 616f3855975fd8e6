"""Every sentence that enters the model. Training and driving call the same functions.

The strings are part of checkpoint compatibility: a released checkpoint has seen exactly these characters. A training
row reads, with the placeholders of the tokenizer::

    <|im_start|>user
    <img><IMG_CONTEXT>...</img>
    Current speed: 5.3 m/s. Target waypoint: <TARGET_POINT><TARGET_POINT>. What should the ego do next?<|im_end|>
    <|im_start|>assistant
    Follow the road. Waypoints:<|im_end|>

(without the line break before the second header). Random choices take a generator with ``random()`` and ``choice()``,
as `random.Random` has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from driving.commands import COMMAND_PHRASES, RoadOption

TARGET_POINT = "<TARGET_POINT>"
IMAGE_CONTEXT = "<IMG_CONTEXT>"
END_OF_TURN = "<|im_end|>"
USER_HEADER = "<|im_start|>user\n"
ASSISTANT_HEADER = "<|im_start|>assistant\n"

SAFETY = "<SAFETY> "
INSTRUCTION_FOLLOWING = "<INSTRUCTION_FOLLOWING> "

PREDICT_WAYPOINTS = "Predict the waypoints."
ASK_COMMENTARY = "What should the ego do next?"
WAYPOINTS_ANSWER = "Waypoints:"
FOLLOWING_ANSWER = "Following the given instruction. Waypoints:"

SENTENCE_GROUPS: dict[int, tuple[int, ...]] = {
    RoadOption.LEFT: (0, 2, 4, 7),
    RoadOption.RIGHT: (1, 3, 5, 8),
    RoadOption.STRAIGHT: (6, 9),
    RoadOption.LANEFOLLOW: (38, 40, 42, 43, 44, 45),
    RoadOption.CHANGELANELEFT: (34, 36),
    RoadOption.CHANGELANERIGHT: (35, 37),
}
"""Groups of the navigation sentence file (``lmdrive.json``) that express a command."""

T = TypeVar("T")


class Draws(Protocol):
    """Source of random choices; `random.Random` is one."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """One element, all equally likely."""
        ...


def single_stops(text: str) -> str:
    """Replace ``..`` by ``.`` once, left to right, as templates that end in a full stop need."""
    return text.replace("..", ".")


def tidy_instruction(text: str) -> str:
    """Clean-up of instruction prompts: double stops, double spaces, and a stop after ``!`` or ``?``."""
    return single_stops(text).replace("  ", " ").replace("!.", "!").replace("?.", "?")


def speed_sentence(speed: float) -> str:
    """``Current speed: 5.3 m/s.`` with the speed, m/s, rounded to one decimal."""
    return f"Current speed: {round(float(speed), 1)} m/s."


def points_sentence() -> str:
    """Navigation by two target points whose embeddings replace the two placeholders."""
    return f"Target waypoint: {TARGET_POINT}{TARGET_POINT}."


def points_as_text_sentence(points: ArrayLike) -> str:
    """Navigation by two target points (2, 2), ego frame, metres, written out with two decimals."""
    first, second = np.round(np.asarray(points, dtype=np.float64), 2).tolist()
    return f"Target waypoint: 1:{first} 2:{second}"


def command_sentence(command: int, next_command: int, distance: float) -> str:
    """Navigation by command, for example ``Command: go left at the next intersection in 12 meter.``

    Args:
        command, next_command: Values of `RoadOption`; the second is named only if its phrase differs.
        distance: To the first target point, metres; left out while following the road.

    Raises:
        ValueError: For a command without a phrase.
    """
    phrase, following = command_phrase(command), command_phrase(next_command)
    then = f" then {following}" if following != phrase else ""
    where = "" if command == RoadOption.LANEFOLLOW else f" in {int(distance)} meter"
    return f"Command: {phrase}{where}{then}."


def command_phrase(command: int) -> str:
    """The phrase of one command. Raises ValueError for a command that has none."""
    if command not in COMMAND_PHRASES:
        raise ValueError(f"expected a navigation command of {sorted(map(int, COMMAND_PHRASES))}, got {command}")
    return COMMAND_PHRASES[command]


def draw_navigation_sentence(
    command: int, distance: float, sentences: Mapping[str, Sequence[str]], draws: Draws
) -> str:
    """Navigation by a free sentence: a group of the command, then a sentence of the group, ``[x]`` = whole metres."""
    group = draws.choice(SENTENCE_GROUPS[command])
    sentence = draws.choice(sentences[str(group)])
    return f"Command: {sentence.replace('[x]', str(int(distance)))}."


def navigation_options(
    route_as: str,
    points: ArrayLike,
    command: int,
    next_command: int,
    free_sentence: str | None,
) -> list[str]:
    """The navigation sentences a training prompt may use, one of which is drawn.

    Args:
        route_as: Names joined by ``_``: ``target_point``, ``target_point_language``, ``command`` and combinations,
            for example ``target_point_command``.
        points: (2, 2) next two target points, ego frame, metres.
        command, next_command: Values of `RoadOption`.
        free_sentence: Result of `draw_navigation_sentence`, offered where commands are.

    Raises:
        ValueError: If ``route_as`` names none of them.
    """
    options = []
    if "target_point_language" in route_as:
        options.append(points_as_text_sentence(points))
    elif "target_point" in route_as:
        options.append(points_sentence())
    if "command" in route_as:
        distance = float(np.linalg.norm(np.asarray(points, dtype=np.float64)[0]))
        options.append(command_sentence(command, next_command, distance))
        if free_sentence is not None:
            options.append(free_sentence)
    if not options:
        raise ValueError(f"route_as names target_point, target_point_language or command; got {route_as!r}")
    return options


def driving_prompt(speed: float, navigation: str) -> str:
    """Waypoints only, no commentary. ``navigation`` is one of the navigation sentences."""
    return single_stops(f"{speed_sentence(speed)} {navigation} {PREDICT_WAYPOINTS}")


def commentary_prompt(speed: float, navigation: str) -> str:
    """Commentary first, then waypoints (chain of thought); the usual prompt while driving."""
    return single_stops(f"{speed_sentence(speed)} {navigation} {ASK_COMMENTARY}")


def given_commentary_prompt(speed: float, navigation: str | None, commentary: str) -> str:
    """The commentary is an input, beside the navigation sentence or (None) in its place."""
    before = f"{navigation} {commentary}" if navigation is not None else f"Command: {commentary}"
    return single_stops(f"{speed_sentence(speed)} {before} {PREDICT_WAYPOINTS}")


def question_prompt(speed: float, navigation: str, question: str) -> str:
    """A question about the scene."""
    return single_stops(f"{speed_sentence(speed)} {navigation} Q: {question}")


def instruction_prompt(speed: float, navigation: str | None, instruction: str, safety: bool | None) -> str:
    """An instruction to follow; ``safety`` True lets the model refuse, False asks it to obey, None sets no flag."""
    navigation_part = f"{navigation} " if navigation is not None else ""
    text = tidy_instruction(f"{speed_sentence(speed)} {navigation_part}{instruction}")
    return {None: "", True: SAFETY, False: INSTRUCTION_FOLLOWING}[safety] + text


def chat_answer(answer: str) -> str:
    """The answer and the token that ends it."""
    return f"{answer}{END_OF_TURN}"
