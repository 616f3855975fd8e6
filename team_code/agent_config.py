"""How the driving agents are configured: named profiles, and the text of ``--agent-config``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from omegaconf import OmegaConf

from leaderboard.autoagents.agent_text import split_save_name
from team_code.latency import ReactionDelay

C = TypeVar("C", bound="AgentConfig")


@dataclass(frozen=True)
class DriverProfile:
    """Numbers of the driver that are not the model's.

    Attributes:
        round_speed: Use the speed rounded to one decimal for control too, and let it be negative.
        dropout: Leave the model's dropout on while driving.
        filter_brake_ticks: Ticks at the start during which the position filter is told that the car brakes.
        stuck_ticks: Ticks below 0.1 m/s after which the car creeps.
        creep_ticks: How long it creeps.
        creep_throttle: Least throttle while creeping.
        text_every: Ticks from one text to the next; 5 is the rate of the recorded frames.
        departure_speed: How fast a plan ends that leaves, m/s: a standing car whose departure is overdue by such a plan
            starts; None lets it stand.
    """

    round_speed: bool
    dropout: bool
    filter_brake_ticks: int
    stuck_ticks: int = 800
    creep_ticks: int = 15
    creep_throttle: float = 0.4
    text_every: int = 1
    departure_speed: float | None = None


PROFILES = {
    "default": DriverProfile(round_speed=False, dropout=False, filter_brake_ticks=0, text_every=5, departure_speed=1.0),
    "published": DriverProfile(round_speed=True, dropout=True, filter_brake_ticks=40),
}


@dataclass
class AgentConfig:
    """How the agent drives.

    Attributes:
        checkpoint: Checkpoint folder.
        profile: `default`, or `published` for every number of the published agent.
        dropout: Overrides the profile: whether the model's dropout stays on while driving.
        commentary: Ask for a commentary before the waypoints.
        route_as: `target_point` or `command`.
        plan_spacing_m: Longest gap between two points of the plan, metres; None takes the benchmark's. The recorded data
            have 200, Bench2Drive gives 50.
        instruction: Text that replaces the question of the prompt, or None.
        safety: With an instruction: True lets the model refuse, False asks it to obey, None sets no flag.
        navigation: With an instruction: whether the navigation sentence stays in the prompt.
        text_every: Generate text on every n-th tick; the last text stands in between, unless something else is asked.
            None takes the profile's: four times per second by default, in every tick as published.
        latency: Simulated time from seeing to acting: `none`, `measured` (the policy's own wall time), or seconds.
        stuck_s: Seconds of standing after which the car creeps; None takes the profile's 40 s. A small model that has seen
            few departures needs a push after 2 s; it is not held back by red lights.
        device: `auto`, `cpu` or `cuda`.
        images_per_second: Camera images kept in the log, for the report's videos; 0 for none.
        policy_server: ``host:port`` of a policy server that holds the model instead of this process, or empty.
    """

    checkpoint: str = ""
    profile: str = "default"
    dropout: bool | None = None
    commentary: bool = True
    route_as: str = "target_point"
    plan_spacing_m: float | None = None
    instruction: str | None = None
    safety: bool | None = None
    navigation: bool = True
    text_every: int | None = None
    latency: str = "none"
    stuck_s: float | None = None
    device: str = "auto"
    images_per_second: int = 4
    policy_server: str = ""

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"profile is one of {sorted(PROFILES)}; got {self.profile!r}")
        if self.route_as not in ("target_point", "command"):
            raise ValueError(f"route_as is target_point or command; got {self.route_as!r}")
        if self.text_every is not None and self.text_every < 1:
            raise ValueError(f"text_every counts ticks, so it is at least 1; got {self.text_every}")
        if self.plan_spacing_m is not None and self.plan_spacing_m <= 0:
            raise ValueError(f"plan_spacing_m is a distance in metres, so it is above 0; got {self.plan_spacing_m}")
        if self.images_per_second < 0:
            raise ValueError(f"images_per_second is at least 0; got {self.images_per_second}")
        if self.stuck_s is not None and self.stuck_s <= 0:
            raise ValueError(f"stuck_s is a time in seconds, so it is above 0; got {self.stuck_s}")
        ReactionDelay.parse(self.latency)

    @property
    def text_ticks(self) -> int:
        """Ticks from one text to the next."""
        return PROFILES[self.profile].text_every if self.text_every is None else self.text_every

    @property
    def keeps_dropout(self) -> bool:
        """Whether the model's dropout stays on."""
        return PROFILES[self.profile].dropout if self.dropout is None else self.dropout

    @classmethod
    def parse(cls: type[C], text: str) -> tuple[C, str]:
        """Read ``--agent-config``.

        Args:
            text: Checkpoint folder or YAML file, optionally followed by ``+<save name>``.

        Returns:
            The configuration and the save name, which may be empty.

        Raises:
            FileNotFoundError: If the file or folder does not exist.
            ValueError: If a setting is unknown or has no such value.
        """
        source, save_name = split_save_name(text)
        if not Path(source).exists():
            raise FileNotFoundError(f"--agent-config names a checkpoint folder or a YAML file; {text!r} does not exist")
        if source.endswith((".yaml", ".yml")):
            merged = OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.load(source))
            config = OmegaConf.to_object(merged)
            assert isinstance(config, cls)
            return config, save_name
        return cls(checkpoint=source), save_name
