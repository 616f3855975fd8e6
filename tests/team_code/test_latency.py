"""Decisions act when they would have been made, not before."""

from __future__ import annotations

import pytest

from team_code.latency import ReactionDelay

TICK_S = 0.05


def drive(delay: ReactionDelay[int], ticks: int, wall_s: float = 0.0) -> tuple[list[int], list[int | None]]:
    """Ticks at which a picture was looked at, and the decision (named by that tick) that acted in each tick."""
    looked, acted = [], []
    for tick in range(ticks):
        now = sum([TICK_S] * tick)  # as the evaluator adds it up, with its rounding errors
        if not delay.is_thinking(now):
            delay.decide(now, tick, wall_s)
            looked.append(tick)
        acted.append(delay.acting(now))
    return looked, acted


def test_without_delay_every_decision_acts_at_once() -> None:
    looked, acted = drive(ReactionDelay.parse("none"), 50)
    assert looked == acted == list(range(50))


def test_a_fixed_delay_of_three_ticks() -> None:
    looked, acted = drive(ReactionDelay.parse("0.15"), 10)
    assert looked == [0, 3, 6, 9]
    assert acted == [None, None, None, 0, 0, 0, 3, 3, 3, 6]


def test_a_delay_between_ticks_acts_at_the_next() -> None:
    looked, acted = drive(ReactionDelay.parse("0.12"), 7)
    assert looked == [0, 3, 6]
    assert acted == [None, None, None, 0, 0, 0, 3]


def test_measured_delay_is_the_wall_time_of_each_decision() -> None:
    assert drive(ReactionDelay.parse("measured"), 7, wall_s=0.1) == drive(ReactionDelay.parse("0.1"), 7)
    delay: ReactionDelay[str] = ReactionDelay.parse("measured")
    assert delay.decide(0.0, "slow", 0.3) == 0.3
    assert delay.acting(0.29) is None
    assert delay.decide(0.3, "quick", 0.01) == 0.01
    assert delay.acting(0.305) == "slow"
    assert delay.acting(0.35) == "quick"


def test_two_decisions_cannot_be_made_at_once() -> None:
    delay: ReactionDelay[int] = ReactionDelay.parse("1")
    delay.decide(0.0, 1, 0.0)
    with pytest.raises(ValueError, match="still being made"):
        delay.decide(0.5, 2, 0.0)


@pytest.mark.parametrize("text", ["fast", "-0.1", "inf", "nan", ""])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        ReactionDelay.parse(text)
