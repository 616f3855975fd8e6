"""Keeps its lane at a constant speed and looks at nothing else: a lower bound, and the quickest check of a whole evaluation.

The configuration text is the speed in m/s (default 6).
"""

from __future__ import annotations

import carla

from leaderboard.autoagents.agent_text import split_save_name
from leaderboard.autoagents.route_following import RouteFollowingAgent

DEFAULT_SPEED_MPS = 6.0


def get_entry_point() -> str:
    """Name of the agent's class."""
    return "ConstantSpeedAgent"


class ConstantSpeedAgent(RouteFollowingAgent):
    """Follows the route blindly."""

    def setup(self, path_to_conf_file: str) -> None:
        super().setup(path_to_conf_file)
        text, _ = split_save_name(path_to_conf_file)
        try:
            self.target_speed = float(text) if text else DEFAULT_SPEED_MPS
        except ValueError as error:
            raise ValueError(f"the configuration must be a speed in m/s, got {text!r}") from error

    def wanted_speed(self, ego: carla.Vehicle) -> float:
        return self.target_speed
