"""What calls work on: the world, and what is known about the clients beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from carla_server.world.recorder import ReplayOptions
from carla_server.world.world import World

#: A subscription announced by `get_sensor_token` is waited for at most this long, seconds.
SUBSCRIPTION_PATIENCE_S = 2.0
#: A tick is answered no earlier than this after the last batch of a client that runs a Traffic Manager, seconds: its
#: thread needs that long to wait for the next tick, and a signal sent earlier would be lost.
TRAFFIC_MANAGER_REST_S = 0.0015
#: A Traffic Manager that sent no batch for this long after a tick missed the signal to begin, seconds.
TRAFFIC_MANAGER_PATIENCE_S = 3.0
#: A client that sent nothing at all for this long after its Traffic Manager's batch may have missed the signal that the
#: Traffic Manager is done, seconds. Long, because it may as well be thinking.
SILENCE_S = 30.0


@dataclass(eq=False)
class Session:
    """One connected client.

    Attributes:
        address: Where it connects from.
        managers: Ports of the Traffic Managers it runs.
        last_batch: When its last batch was answered, on `time.monotonic`'s clock.
        waiting_since: When a tick was answered after which its Traffic Manager has not yet sent a batch; None if it has.
        last_heard: When it last sent anything, on the same clock.
        ticked: Whether its last tick was answered and it was not helped since.
        unknown: Unknown methods it called, each logged once.
    """

    address: str = ""
    managers: set[int] = field(default_factory=set)
    last_batch: float = 0.0
    waiting_since: float | None = None
    last_heard: float = 0.0
    ticked: bool = False
    unknown: set[str] = field(default_factory=set)


class Simulator:
    """World, Traffic Manager registry, and subscriptions that are announced but not made yet.

    Args:
        world: The world.
        recordings: Folder in which recordings with relative names lie.
    """

    def __init__(self, world: World, recordings: Path = Path("recordings")) -> None:
        self.world = world
        self.managers: dict[int, tuple[str, Session]] = {}
        self.announced: dict[int, float] = {}
        self.forget_world_stream = False
        self.recordings = recordings
        self.replay_options = ReplayOptions()

    def announce(self, stream: int) -> None:
        """Note that a client asked for a stream's token: its subscription is on the way."""
        self.announced[stream] = time.monotonic()

    def arrived(self, stream: int) -> None:
        """Note that a subscription was made."""
        self.announced.pop(stream, None)

    def hold_tick(self, session: Session) -> float:
        """Seconds to wait before a tick may run for `session`; 0 if it may run now."""
        now = time.monotonic()
        if self.announced:
            self.announced = {
                key: since for key, since in self.announced.items() if now - since < SUBSCRIPTION_PATIENCE_S
            }
            if self.announced:
                return 0.0005
        if session.managers:
            return max(0.0, session.last_batch + TRAFFIC_MANAGER_REST_S - now)
        return 0.0

    def close(self, session: Session) -> None:
        """Forget a client that is gone: a stale Traffic Manager would cost the next client seconds."""
        for port in [port for port, (_, owner) in self.managers.items() if owner is session]:
            del self.managers[port]

    def hung_manager(self, session: Session) -> tuple[str, int] | None:
        """Address of a Traffic Manager of `session` that missed the signal of the last tick, at most once per tick."""
        if not session.ticked or not session.managers:
            return None
        now = time.monotonic()
        not_begun = session.waiting_since is not None and now - session.waiting_since > TRAFFIC_MANAGER_PATIENCE_S
        if not not_begun and now - session.last_heard < SILENCE_S:
            return None
        session.ticked, session.waiting_since = False, None
        port = min(session.managers)
        return self.managers[port][0], port
