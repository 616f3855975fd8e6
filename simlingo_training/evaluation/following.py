"""Whether a driver did what it was told: the success rules of action dreaming (Renz et al., SimLingo, 2025, and
``eval.py`` of its repository), one row for each mode.

Speeds are those between consecutive waypoints, 0.25 s apart. Frames: ego, metres.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driving.route import resample_path
from simlingo_training.config import NUM_PATH_POINTS, WAYPOINT_STEP_S

Array = NDArray[np.float64]

STANDING = 0.1
"""m/s; slower than that at some step is a stop."""

CHANGE = 0.05
"""Share of the present speed by which the speed has to change in a second."""

NEAR = 0.2
"""Share by which a wanted speed may be missed."""

SAME_PATH = 1.0
"""Metres; instructed and expert path closer than that on average are one path."""

SAME_SPEED = 0.3
"""Share by which the speed along one path may differ."""

KMH = 3.6

HEADLINE = ("faster", "slower", "target_speed", "lane_change", "crash")
"""Modes of the paper's table, whose plain mean is its total; ``crash`` is called objects there."""


@dataclass(frozen=True)
class Motion:
    """A path (20, 2) by metres and waypoints (10, 2) by quarter seconds."""

    path: Array
    waypoints: Array

    @property
    def speeds(self) -> Array:
        """(9,) m/s."""
        return np.linalg.norm(np.diff(self.waypoints, axis=0), axis=1) / WAYPOINT_STEP_S

    @property
    def end_speed(self) -> float:
        """Mean over the last half second, m/s."""
        return float(np.linalg.norm(self.waypoints[-1] - self.waypoints[-3]) / (2 * WAYPOINT_STEP_S))

    @property
    def acceleration(self) -> float:
        """Slope of a line through the speeds, m/s per second."""
        speeds = self.speeds
        return float(np.polyfit(WAYPOINT_STEP_S * np.arange(len(speeds)), speeds, 1)[0])


@dataclass(frozen=True)
class Trial:
    """One instruction and what was made of it.

    Attributes:
        driven: By the model, its path resampled to whole metres.
        instructed: What the instruction means.
        expert: What the expert did without it.
        speed: m/s now.
        spoken_speeds: Speeds named in the instruction, m/s.
    """

    driven: Motion
    instructed: Motion
    expert: Motion
    speed: float
    spoken_speeds: tuple[float, ...] = ()


def trial(
    driven: tuple[Array, Array],
    instructed: tuple[Array, Array],
    expert: tuple[Array, Array],
    speed: float,
    instruction: str,
) -> Trial:
    """Path and waypoints of the three, with the model's path brought to whole metres."""
    path = resample_path(np.asarray(driven[0], dtype=np.float64), NUM_PATH_POINTS)
    return Trial(Motion(path, driven[1]), Motion(*instructed), Motion(*expert), speed, spoken_speeds(instruction))


def spoken_speeds(instruction: str) -> tuple[float, ...]:
    """Speeds that a sentence names, m/s; km/h are converted, which the published evaluation forgets."""
    found = re.findall(r"(\d+(?:\.\d+)?)\s*(km/h|kph|kilomet\w+ per hour|m/s|met\w+ per second)", instruction.lower())
    return tuple(float(value) / (KMH if unit.startswith("k") else 1.0) for value, unit in found)


def distance(first: Array, second: Array) -> float:
    """Mean distance of two paths, metres."""
    return float(np.linalg.norm(first - second, axis=1).mean())


def _within(value: float, wanted: float, share: float) -> bool:
    return (1 - share) * wanted < value < (1 + share) * wanted


def stopped(case: Trial) -> bool:
    """The car stands at some time."""
    return bool(case.driven.speeds.min() < STANDING)


def slowed(case: Trial) -> bool:
    """The speed falls."""
    return case.driven.acceleration < -CHANGE * case.speed


def sped_up(case: Trial) -> bool:
    """The speed rises."""
    return case.driven.acceleration > CHANGE * case.speed


def reached_speed(case: Trial) -> bool:
    """The speed at the end is what was said, or what can be reached by then."""
    wanted = (case.instructed.end_speed, *case.spoken_speeds)
    return any(_within(case.driven.end_speed, speed, NEAR) for speed in wanted)


def changed_lane(case: Trial) -> bool:
    """The path ends nearer to the instructed lane than to the expert's."""
    end = case.driven.path[-1]
    to_instructed, to_expert = (np.linalg.norm(end - other.path[-1]) for other in (case.instructed, case.expert))
    return bool(to_instructed < to_expert)


def went_for_it(case: Trial) -> bool:
    """The path is nearer to the instructed than to the expert's; where both are one, path and speed are kept."""
    off = distance(case.driven.path, case.instructed.path)
    if distance(case.expert.path, case.instructed.path) > SAME_PATH:
        return off < distance(case.driven.path, case.expert.path)
    speed, wanted = case.driven.speeds.mean(), case.instructed.speeds.mean()
    return off < SAME_PATH and bool(_within(float(speed), float(wanted), SAME_SPEED) or abs(speed - wanted) < STANDING)


RULES: Mapping[str, Callable[[Trial], bool]] = {
    "stop": stopped,
    "slower": slowed,
    "faster": sped_up,
    "target_speed": reached_speed,
    "lane_change": changed_lane,
    "crash": went_for_it,
}
"""Mode to its rule. Mode ``route`` has none: nothing was published for it."""


def followed(mode: str, case: Trial) -> bool | None:
    """Whether an instruction was followed; None for modes without a rule."""
    rule = RULES.get(mode)
    return None if rule is None else bool(rule(case))


def rates(outcomes: Mapping[str, list[bool]]) -> dict[str, float | int]:
    """Success rate and number of each mode, over all samples, and the plain mean of `HEADLINE` as far as there are any."""
    result: dict[str, float | int] = {}
    for mode, values in sorted(outcomes.items()):
        result[mode], result[f"{mode}_samples"] = float(np.mean(values)), len(values)
    every = [value for values in outcomes.values() for value in values]
    if every:
        result["total"], result["samples"] = float(np.mean(every)), len(every)
    means = [float(np.mean(outcomes[mode])) for mode in HEADLINE if outcomes.get(mode)]
    if means:
        result["headline_mean"] = float(np.mean(means))
    return result
