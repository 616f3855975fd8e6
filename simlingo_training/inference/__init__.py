"""Driving with a checkpoint: `Policy`, its input `Observation` and output `Prediction`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simlingo_training.inference.records import Observation, Prediction

if TYPE_CHECKING:
    from simlingo_training.inference.policy import Policy, Session

__all__ = ["Observation", "Policy", "Prediction", "Session"]


def __getattr__(name: str) -> Any:
    """Import the policy when it is asked for: records alone, as clients of a policy server use them, need no network."""
    if name in ("Policy", "Session"):
        from simlingo_training.inference import policy

        return getattr(policy, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
