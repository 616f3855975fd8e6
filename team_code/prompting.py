"""What the driver is asked: the navigation sentence, instructions, questions, and how its answers are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from driving.commands import RoadOption
from simlingo_training.data import prompts
from team_code.route_planner import PlanPoint


@dataclass
class Navigation:
    """Turns the commands of the plan into the sentence of the prompt; remembers the command before the current one."""

    route_as: str
    current: RoadOption = RoadOption.VOID
    previous: RoadOption = RoadOption.VOID

    def sentence(self, target: PlanPoint, following: PlanPoint, distance: float) -> str:
        """The navigation sentence for the two next plan points, the first ``distance`` metres away."""
        if target.command != self.current:
            self.previous, self.current = self.current, target.command
        if self.route_as == "target_point":
            return prompts.points_sentence()
        turning = self.previous in (RoadOption.LEFT, RoadOption.RIGHT, RoadOption.STRAIGHT)
        if turning and target.command == RoadOption.LANEFOLLOW:
            turn, follow = prompts.command_phrase(self.previous), prompts.command_phrase(target.command)
            return f"Command: {turn} then {follow}."
        return prompts.command_sentence(target.command, following.command, distance)


@dataclass(frozen=True)
class Instruction:
    """What somebody tells the driver to do.

    Attributes:
        text: The words.
        safety: True lets the model refuse, False asks it to obey, None sets no flag.
        navigation: Whether the navigation sentence stays in the prompt.
    """

    text: str
    safety: bool | None = None
    navigation: bool = True

    def prompt(self, speed: float, navigation: str) -> str:
        """The whole prompt at ``speed``, m/s, with the navigation sentence where it is wanted."""
        return prompts.instruction_prompt(speed, navigation if self.navigation else None, self.text, self.safety)


class Verdict(str, Enum):
    """What the model made of an instruction."""

    FOLLOWED = "followed"
    REFUSED = "refused"
    NO_ANSWER = "no answer"


def verdict(answer: str) -> Verdict:
    """Read the answer to an instruction: the set phrase of obedience, silence, or anything else, which is a refusal."""
    said = spoken(answer)
    if said == spoken(prompts.FOLLOWING_ANSWER):
        return Verdict.FOLLOWED
    return Verdict.REFUSED if said else Verdict.NO_ANSWER


def spoken(answer: str) -> str:
    """An answer without the word that ends it before the actions, and without the mark in front of answers to questions."""
    return answer.removesuffix(prompts.WAYPOINTS_ANSWER).strip().removeprefix("A:").strip()
