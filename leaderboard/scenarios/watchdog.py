"""Ends what hangs: a thread that watches the tick loop from beside it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum


class Stage(Enum):
    """What the main thread is busy with; each stage has its own failure."""

    IDLE = "idle"
    LOADING = "loading the world"
    SETUP = "setting up the agent"
    SIMULATION = "the simulation"
    AGENT = "the agent"
    SERVER_GONE = "the server"
    """Not a stage but what `on_hang` is told when the server no longer answers, whatever the stage was."""


CHECK_PERIOD_S = 0.5
PROBE_AFTER_S = 3.0
"""A stage that takes longer than this makes the watchdog ask whether the server is still there."""
PROBE_TIMEOUT_S = 2.0
PROBE_PERIOD_S = 2.0
REFUSALS_OF_A_DEAD_SERVER = 3
GRACE_S = 20.0
"""Time between interrupting the main thread and ending the process."""


def server_answers(host: str, port: int, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Whether something accepts connections there. A busy server that is merely slow does."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except TimeoutError:
        return True
    except OSError:
        return False


def can_listen(port: int) -> bool:
    """Whether a program of this machine may open a TCP port now."""
    try:
        with socket.create_server(("0.0.0.0", port)):
            return True
    except (OSError, OverflowError):
        return False


class Watchdog:
    """Watches stages of the main thread.

    When a stage takes longer than allowed, the main thread gets SIGINT (`KeyboardInterrupt`; ask `failure` why). A thread
    stuck inside the client library does not notice; unless it has told by `reacted` that it did, ``on_hang`` is called in the
    watchdog's thread after `GRACE_S` more, or at once if the server is gone. It must write what is to be kept and end the
    process.
    """

    def __init__(self, host: str, port: int, timeout_s: float, on_hang: Callable[[Stage, str], None]):
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._on_hang = on_hang
        self._lock = threading.Lock()
        self._stage = Stage.IDLE
        self._since = time.monotonic()
        self._last_probe = 0.0
        self._refusals = 0
        self._interrupted_at: float | None = None
        self._failure: tuple[Stage, str] | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._stopped = threading.Event()
        self._main_thread = threading.main_thread().ident or 0
        self._thread.start()

    def enter(self, stage: Stage) -> None:
        """Begin a stage; its clock starts now."""
        with self._lock:
            self._stage, self._since, self._refusals = stage, time.monotonic(), 0

    @property
    def failure(self) -> tuple[Stage, str] | None:
        """The stage that took too long and a sentence about it, None if none did."""
        return self._failure

    @property
    def is_idle(self) -> bool:
        """Whether no stage is being watched."""
        return self._stage is Stage.IDLE

    @property
    def has_interrupted(self) -> bool:
        """Whether the main thread was interrupted and has not reacted yet."""
        return self._interrupted_at is not None

    def reacted(self) -> None:
        """Note that the main thread has left the stage that took too long; what it does next has all its time again."""
        with self._lock:
            self._interrupted_at = None

    def clear(self) -> None:
        """Forget a failure before the next route."""
        with self._lock:
            self._failure = self._interrupted_at = None

    def server_answers(self) -> bool:
        """Whether the server still accepts connections."""
        return server_answers(*self._address)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(CHECK_PERIOD_S):
            with self._lock:
                stage, elapsed = self._stage, time.monotonic() - self._since
            if stage is Stage.IDLE:
                continue
            if elapsed > PROBE_AFTER_S and self._server_is_gone():
                self._on_hang(Stage.SERVER_GONE, f"the server at {self._address[0]}:{self._address[1]} is gone")
            self._check_time(stage, elapsed)

    def _server_is_gone(self) -> bool:
        now = time.monotonic()
        if now - self._last_probe < PROBE_PERIOD_S:
            return False
        self._last_probe = now
        self._refusals = 0 if server_answers(*self._address) else self._refusals + 1
        return self._refusals >= REFUSALS_OF_A_DEAD_SERVER

    def _check_time(self, stage: Stage, elapsed: float) -> None:
        now = time.monotonic()
        if self._interrupted_at is not None:
            if now - self._interrupted_at > GRACE_S:
                self._on_hang(stage, f"{stage.value} did not react for {elapsed:.0f} s")
            return
        if elapsed > self._timeout_s:
            message = f"Watchdog exception - Timeout of {self._timeout_s:g} seconds occured in {stage.value}"
            print(message, flush=True)
            with self._lock:
                self._failure, self._interrupted_at = (stage, message), now
            signal.pthread_kill(self._main_thread, signal.SIGINT)
