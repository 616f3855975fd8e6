"""The clock of asynchronous mode."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from carla_server.server import Server
from carla_server.world.towns import TownLibrary


def test_a_tick_that_fails_is_told_once_and_does_not_stop_the_clock(
    library: TownLibrary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(library, "Mini01", 0)
    ticks = []

    def fail() -> None:
        ticks.append(len(ticks))
        raise RuntimeError("a wheel is missing")

    async def watch() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(server._clock(), 1.0)

    monkeypatch.setattr(server.simulator.world, "tick", fail)
    asyncio.run(watch())
    server.publisher.close()
    for raw in server._sockets:
        raw.close()
    assert len(ticks) > 2
    assert caplog.text.count("a tick failed") == 1
    assert "a wheel is missing" in caplog.text
