"""A server all of whose messages arrive and leave late by chance, in order: `python delayed_server.py SEED [arguments]`."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any

from carla_server import server
from carla_server.__main__ import main

#: Longest delay, seconds, and the share of messages that is late.
LONGEST_S, LATE = 0.004, 0.3


class Line:
    """Hands messages on in order, some of them late."""

    def __init__(self, chance: random.Random) -> None:
        self._chance, self._free = chance, 0.0

    def send(self, act: Callable[[], object]) -> None:
        """Run `act` after everything that was sent before, perhaps late."""
        loop = asyncio.get_running_loop()
        late = self._chance.uniform(0.0, LONGEST_S) if self._chance.random() < LATE else 0.0
        # Timers that are due at the same moment need not run in order, hence the step.
        self._free = max(self._free + 1e-6, loop.time() + late)
        loop.call_at(self._free, act)


class LateTransport:
    """A transport whose writes are late."""

    def __init__(self, transport: Any, chance: random.Random) -> None:
        self._transport, self._line = transport, Line(chance)

    def write(self, data: bytes) -> None:
        """Write, perhaps late."""
        self._line.send(lambda: self._transport.is_closing() or self._transport.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def make_late(protocol: Any, chance: random.Random, reads: bool) -> None:
    """Let a protocol class read (if `reads`) and write late."""
    made, received = protocol.connection_made, protocol.data_received

    def connection_made(self: Any, transport: Any) -> None:
        self._line = Line(chance)
        made(self, LateTransport(transport, chance))

    def data_received(self: Any, data: bytes) -> None:
        self._line.send(lambda: received(self, data))

    protocol.connection_made = connection_made
    if reads:
        protocol.data_received = data_received


if __name__ == "__main__":
    chance = random.Random(int(sys.argv[1]))
    make_late(server.RpcProtocol, chance, reads=True)
    make_late(server.StreamProtocol, chance, reads=False)
    raise SystemExit(main(sys.argv[2:]))
