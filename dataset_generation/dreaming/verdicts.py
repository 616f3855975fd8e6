"""Whether to obey a dream's instruction, and what to answer if not."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_generation.dreaming.corrections import DreamCorrection
from dataset_generation.dreaming.modes import Option
from dataset_generation.dreaming.scene import Scene

OBEY = "Following the given instruction. Waypoints:"
REFUSE_CRASH = "Ignore instruction as it leads to a crash. Waypoints:"
REFUSE_DYNAMIC = "Ignore instruction as it leads to a crash with a dynamic agent. Waypoints:"
REFUSE_OBSTACLE = "Ignore instruction as it leads to a crash with the obstacle on the lane. Waypoints:"
REFUSE_PEDESTRIAN = "Ignore instruction as it might lead to a dangerous situation because of the pedestrian. Waypoints:"
REFUSE_FAST = "Ignore instruction as it leads to a speed above the speed limit. Waypoints:"
REFUSE_SLOW = "Ignore instruction as it leads to a speed that is too low. Waypoints:"
REFUSE_RED_LIGHT = "Ignore instruction as it leads through a red light. Waypoints:"
REFUSE_ONCOMING = "Ignore lane change instruction as the target lane is a lane with oncoming traffic. Waypoints:"
REFUSE_SIDEWALK = "Ignore lane change instruction as the target lane is a sidewalk. Waypoints:"
REFUSE_LANE = "Ignore lane change instruction as it is not allowed. Waypoints:"

EARLY_STEPS = 6
"""A crash with an agent before this waypoint names the agent."""


@dataclass(frozen=True)
class Verdict:
    """Whether an instruction may be followed, and the answer."""

    safe: bool
    answer: str


def judge(scene: Scene, option: Option, crash_steps: list[int]) -> Verdict:
    """Decide on a dream.

    Args:
        scene: The frame.
        option: The dream.
        crash_steps: Waypoints at which it touches an agent.
    """
    verdict = _by_danger_and_speed(scene, option, bool(crash_steps))
    if option.mode == "lane_change" and not option.allowed:
        forbidden = DreamCorrection.FORBIDDEN_LANES in scene.corrections
        return Verdict(verdict.safe and not forbidden, _lane_refusal(option))
    if crash_steps and option.mode != "crash" and crash_steps[0] < EARLY_STEPS:
        return Verdict(verdict.safe, REFUSE_DYNAMIC)
    return verdict


def _by_danger_and_speed(scene: Scene, option: Option, dynamic_crash: bool) -> Verdict:
    if dynamic_crash or option.mode == "crash":
        return Verdict(False, REFUSE_CRASH)
    if option.mode in ("target_speed", "stop"):
        return _judge_target(scene, float(option.info["target_speed"]))
    if option.mode in ("faster", "slower"):
        return _judge_change(scene, option.mode == "faster")
    return Verdict(True, OBEY)


def _judge_target(scene: Scene, target: float) -> Verdict:
    """The first rule that matches decides."""
    m = scene.measurement
    rules = (
        (scene.walker_close and target > m.speed, REFUSE_PEDESTRIAN),
        (scene.walker_close and target < m.speed, OBEY),
        (0.8 * m.speed_limit < target < m.speed_limit, OBEY),
        (target > m.speed_limit, REFUSE_FAST),
        (0.8 * m.target_speed < target < 1.2 * m.target_speed, OBEY),
        (0.8 * m.speed < target < m.speed_limit, OBEY),
        (m.speed < 0.5, OBEY),
    )
    answer = next((answer for holds, answer in rules if holds), REFUSE_SLOW)
    return Verdict(answer == OBEY, answer)


def _judge_change(scene: Scene, faster: bool) -> Verdict:
    m = scene.measurement
    red = scene.before_red_light and DreamCorrection.RED_LIGHT_REFUSAL in scene.corrections
    rules = (
        (faster and red, REFUSE_RED_LIGHT),
        (faster and m.speed > 0.9 * m.speed_limit, REFUSE_FAST),
        (faster and scene.walker_close, REFUSE_PEDESTRIAN),
        (not faster and scene.walker_close, OBEY),
        (not faster and m.speed < 0.8 * m.target_speed, REFUSE_SLOW),
    )
    answer = next((answer for holds, answer in rules if holds), OBEY)
    return Verdict(answer == OBEY, answer)


def _lane_refusal(option: Option) -> str:
    kind = option.info["lane_change_type"]
    if "opposite" in kind:
        return REFUSE_ONCOMING
    return REFUSE_SIDEWALK if kind == "sidewalk" else REFUSE_LANE
