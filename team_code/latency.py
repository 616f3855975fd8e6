"""Reaction time in simulated time: what a slow model costs when the world does not wait for it.

The evaluator stops the world while the agent thinks. With a reaction delay the agent thinks while the world goes on: a
decision taken on the picture of time t acts at t + delay, until then the one before it holds, and no new picture is looked at
while a decision is being made, as one accelerator works on one picture at a time.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

Decision = TypeVar("Decision")

CLOCK_ERROR_S = 1e-6
"""Simulated times are sums of ticks and may be a little below the exact value."""

NONE, MEASURED = "none", "measured"


class ReactionDelay(Generic[Decision]):
    """Holds back decisions until they would have been made.

    Args:
        seconds: Fixed delay, or None to take the wall time of every decision.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._pending: tuple[float, Decision] | None = None
        self._acting: Decision | None = None

    @classmethod
    def parse(cls, text: str) -> ReactionDelay[Decision]:
        """From a setting: `none`, `measured`, or a number of seconds.

        Raises:
            ValueError: If it is none of them.
        """
        if text in (NONE, MEASURED):
            return cls(0.0 if text == NONE else None)
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"latency is {NONE}, {MEASURED} or a number of seconds, at least 0; got {text!r}")
        return cls(seconds)

    def is_thinking(self, now: float) -> bool:
        """Whether at simulated time ``now``, seconds, a decision is still being made."""
        return self._pending is not None and now + CLOCK_ERROR_S < self._pending[0]

    def decide(self, now: float, decision: Decision, wall_s: float) -> float:
        """Hand over what was decided on the picture of time ``now``.

        Args:
            now: Simulated time of the picture, seconds.
            decision: Acts when the delay is over.
            wall_s: Wall time that the decision took, seconds.

        Returns:
            The delay of this decision, seconds.

        Raises:
            ValueError: If the decision before it is not finished.
        """
        if self.is_thinking(now):
            raise ValueError("a new decision was handed over while the last one is still being made")
        self.acting(now)
        delay = wall_s if self.seconds is None else self.seconds
        self._pending = (now + delay, decision)
        return delay

    def acting(self, now: float) -> Decision | None:
        """The decision that acts at simulated time ``now``, seconds; None before the first."""
        if self._pending is not None and not self.is_thinking(now):
            self._acting, self._pending = self._pending[1], None
        return self._acting
