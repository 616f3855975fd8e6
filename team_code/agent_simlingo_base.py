"""The SimLingo-Base driver in closed loop: the same sensors, planner, filter and controllers, a model without language.

Loaded by the leaderboard evaluator::

    python -m leaderboard.leaderboard_evaluator --agent team_code/agent_simlingo_base.py \\
        --agent-config outputs/simlingo_base_tiny/checkpoints/last --routes data/routes/demo_eval.xml --rules bench2drive

``--agent-config`` is a checkpoint folder, or a YAML file with those fields of `AgentConfig` that are not about language.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

from simlingo_base_training.policy import BasePolicy
from team_code.agent_config import AgentConfig
from team_code.agent_simlingo import DrivingPolicy, SimLingoAgent, TickInput

LANGUAGE_FIELDS = ("commentary", "route_as", "instruction", "safety", "navigation", "text_every")
"""Settings that a model without language cannot obey."""


def get_entry_point() -> str:
    """Name of the agent class, for the evaluator."""
    return "SimLingoBaseAgent"


@lru_cache(maxsize=1)
def load_base_once(checkpoint: str, device: str) -> BasePolicy:
    """Load a checkpoint, or return it if the last route of this process used it too."""
    return BasePolicy.load(checkpoint, device)


def refuse_language(config: AgentConfig) -> None:
    """Raise ValueError naming the settings that were changed although this model neither reads nor writes text."""
    changed = [
        field.name for field in fields(config)
        if field.name in LANGUAGE_FIELDS and getattr(config, field.name) != field.default
    ]  # fmt: skip
    if changed:
        raise ValueError(
            f"SimLingo-Base has no language, so {', '.join(changed)} cannot be set; drive with agent_simlingo instead"
        )
    if config.dropout:
        raise ValueError("SimLingo-Base has no adapters, so there is no dropout to leave on; leave `dropout` away")


class SimLingoBaseAgent(SimLingoAgent):
    """Drives with a SimLingo-Base checkpoint, in process or on a policy server."""

    def _load_policy(self) -> DrivingPolicy:
        refuse_language(self.config)
        if self.config.policy_server:
            return super()._load_policy()
        return load_base_once(self.config.checkpoint, self.config.device)

    def _prompt(self, tick: TickInput) -> str:
        return ""
