"""Settings of the live driver."""

from __future__ import annotations

from dataclasses import dataclass

from team_code.agent_config import AgentConfig


@dataclass
class LiveConfig(AgentConfig):
    """How the live driver drives.

    Attributes:
        page_port: Port of the page on localhost.
        world_view: Address of the simulator's own live view, ``http://localhost:<port>``, or empty when it has none.
        pace: Most game time per wall clock; 0 for as fast as the machine can.
        hold_s: Game time for which an instruction that is followed holds, seconds.
    """

    page_port: int = 8100
    world_view: str = ""
    pace: float = 1.0
    hold_s: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy_server:
            raise ValueError("the live driver answers questions with its own model; leave policy_server away")
        if self.pace < 0 or self.hold_s <= 0:
            raise ValueError(f"pace is at least 0 and hold_s above 0; got {self.pace} and {self.hold_s}")
