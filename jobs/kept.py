"""A service that others depend on: a child process that is started again, on the same port, when it dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from jobs import processes

WATCH_INTERVAL_S = 0.1
QUICK_DEATH_S = 2.0
MOST_QUICK_DEATHS = 20
"""A service that dies this often in a row right after it was ready is not started again."""


class ServiceError(RuntimeError):
    """A service did not start."""


class KeptService:
    """Keeps one server process running.

    Args:
        command: Program and arguments; ``--port`` and the port are added.
        log: Receives its output.
        ready: Start of the line that it prints when it answers; the line holds ``address=<host>:<port>``.
        start_timeout_s: Wall time within which that line must come.
    """

    def __init__(self, command: Sequence[str], log: Path, ready: str, start_timeout_s: float) -> None:
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._start_timeout_s = start_timeout_s
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> str:
        """Start the service and a thread that watches over it; returns its address.

        Raises:
            ServiceError: If it does not start; the message ends with its log. The process is gone.
        """
        processes.sweep(self._token)
        self._log.unlink(missing_ok=True)
        self.address = self._launch(0)
        self._watcher.start()
        return self.address

    @property
    def _token(self) -> str:
        return f"service:{self._log.resolve()}"

    def _launch(self, port: int) -> str:
        """Start the process on a port, 0 for any, and wait until it is ready; returns the address it tells."""
        offset = self._log.stat().st_size if self._log.exists() else 0
        process = processes.start([*self._command, "--port", str(port)], self._log, self._token)
        self._process = process

        def said() -> str:
            return self._log.read_bytes()[offset:].decode("utf-8", "replace")

        def settled() -> bool:
            return process.poll() is not None or self._ready in said() or self._stopping.is_set()

        processes.wait_until(settled, self._start_timeout_s, interval_s=0.05)
        text = said()
        if process.poll() is None and self._ready in text:
            return text.split(self._ready)[1].split("address=")[1].split()[0]
        processes.stop(process)
        raise ServiceError(
            f"`{' '.join(self._command)}` did not start; its log {self._log} ends:\n{processes.tail(self._log)}"
        )

    def _watch(self) -> None:
        """Runs in its own thread until `stop`, because the kernel ends a child together with the thread that started it."""
        quick_deaths, ready_at = 0, time.monotonic()
        port = int(self.address.rpartition(":")[2])
        while not self._stopping.wait(WATCH_INTERVAL_S):
            if self._process is None or self._process.poll() is None:
                continue
            quick_deaths = quick_deaths + 1 if time.monotonic() - ready_at < QUICK_DEATH_S else 0
            if quick_deaths > MOST_QUICK_DEATHS:
                print(f"service {self._command[0]} dies again and again; see {self._log}", file=sys.stderr)
                return
            try:
                self._launch(port)
            except ServiceError as error:
                print(error, file=sys.stderr)
            ready_at = time.monotonic()

    def stop(self) -> None:
        """End watcher and service. Safe to call when `start` failed."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join(self._start_timeout_s)
        if self._process is not None:
            processes.stop(self._process)
