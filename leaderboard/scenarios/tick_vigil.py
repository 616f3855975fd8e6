"""Tells the server when the main thread stands inside ``world.tick()``, which the server itself cannot see.

``world.tick()`` waits for a step of the client's Traffic Manager, whose signals can get lost inside the client. A server that
hears nothing after a step does not know whether the client waits for a lost signal or thinks. `carla_server` sets the thread
going again within seconds if it is told which of the two it is. CARLA answers that it has no such recording.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol

PATIENCE_S = 3.0
"""A tick that takes longer is told."""
PERIOD_S = 1.0
TOLD_NAME = "simlingo.client-stands-in-tick"
"""Recording that is asked about; `carla_server.calls.pulse` knows it by this name."""


class RecorderClient(Protocol):
    """What is needed of `carla.Client`. The call leaves other threads of Python running while it waits for its answer."""

    def show_recorder_file_info(self, name: str, show_all: bool) -> str:
        """What a recording on the server holds."""


class TickVigil:
    """A context around each ``world.tick()``: while it is open for long, a thread tells the server so, again and again."""

    def __init__(self, client: RecorderClient) -> None:
        self._client = client
        self._since: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="tick-vigil", daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._since = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            since = self._since
            if since is None or time.monotonic() - since < PATIENCE_S:
                continue
            try:
                self._client.show_recorder_file_info(TOLD_NAME, False)
            except RuntimeError:
                # A server that does not answer is the watchdog's business.
                continue
