"""What calls work on: the world, and what is known about the clients beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from carla_server.calls.pulse import Missed, Pulse
from carla_server.wire import streams
from carla_server.world.recorder import ReplayOptions
from carla_server.world.world import World

#: A subscription announced by `get_sensor_token` is waited for at most this long, seconds.
SUBSCRIPTION_PATIENCE_S = 2.0


@dataclass(eq=False)
class Session:
    """One connected client.

    Attributes:
        address: Where it connects from.
        managers: Ports of the Traffic Managers it runs.
        pulse: What is known of its Traffic Manager's thread.
        unknown: Unknown methods it called, each logged once.
    """

    address: str = ""
    managers: set[int] = field(default_factory=set)
    pulse: Pulse = field(default_factory=Pulse)
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
        self._observers: set[Session] = set()
        self.forget_world_stream = False
        self.recordings = recordings
        self.replay_options = ReplayOptions()

    def announce(self, stream: int, session: Session) -> None:
        """Note that a client asked for a stream's token: its subscription is on the way."""
        self.announced[stream] = time.monotonic()
        if stream == streams.WORLD_STREAM:
            self._observers.add(session)

    def observer(self) -> Session | None:
        """Whose subscription to the world state has just been made; None if it may be one of several clients'."""
        owner = next(iter(self._observers)) if len(self._observers) == 1 else None
        self._observers.clear()
        return owner

    def arrived(self, stream: int) -> None:
        """Note that a subscription was made."""
        self.announced.pop(stream, None)

    def hold_tick(self, session: Session) -> float:
        """Seconds to wait before a tick may run for `session`; 0 if it may run now."""
        now = time.monotonic()
        if self.announced:
            # Nobody subscribes to a sensor that was destroyed meanwhile.
            alive = {streams.WORLD_STREAM, *(actor.stream for actor in self.world.actors.values())}
            self.announced = {
                key: since
                for key, since in self.announced.items()
                if now - since < SUBSCRIPTION_PATIENCE_S and key in alive
            }
            if self.announced:
                return 0.0005
        return session.pulse.hold(now) if session.managers else 0.0

    def close(self, session: Session) -> None:
        """Forget a client that is gone: a stale Traffic Manager would cost the next client seconds."""
        self._observers.discard(session)
        for port in [port for port, (_, owner) in self.managers.items() if owner is session]:
            del self.managers[port]

    def hung_manager(self, session: Session) -> tuple[str, int, Missed] | None:
        """Address of a Traffic Manager of `session` that waits for a signal which was lost, and for which."""
        lost = session.pulse.missed(time.monotonic()) if session.managers else None
        if lost is None:
            return None
        port = min(session.managers)
        return self.managers[port][0], port, lost
