"""The policy server of an evaluation: a child process that ends with it and is started again when it dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jobs import processes
from team_code.agent_config import AgentConfig
from team_code.evaluation.config import EvalConfig
from team_code.policy_server import READY, PolicyServerError

START_TIMEOUT_S = 600.0
"""Loading the full model from a slow disk and compiling it takes minutes."""

WATCH_INTERVAL_S = 0.2
QUICK_DEATH_S = 5.0
MOST_QUICK_DEATHS = 5
"""A server that dies this often in a row right after it was ready is not started again."""


class PolicyService:
    """Keeps one policy server running on one port.

    Args:
        command: Starts the server; `--port` is added.
        log: Receives its output.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> str:
        """Start the server and a thread that watches over it; returns its address.

        Raises:
            PolicyServerError: If it does not start; the message ends with its log.
        """
        self._log.unlink(missing_ok=True)
        self.address = self._launch(0)
        # The kernel ends a child with the thread that started it, so the watcher starts only what it outlives.
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self.address

    def _launch(self, port: int) -> str:
        offset = self._log.stat().st_size if self._log.exists() else 0
        process = processes.start([*self._command, "--port", str(port)], self._log, f"policy:{self._log.resolve()}")
        self._process = process

        def said() -> str:
            return self._log.read_bytes()[offset:].decode("utf-8", "replace")

        def settled() -> bool:
            return process.poll() is not None or READY in said() or self._stopping.is_set()

        processes.wait_until(settled, START_TIMEOUT_S)
        if process.poll() is not None or READY not in said():
            processes.stop(process)
            raise PolicyServerError(
                f"the policy server did not start; its log {self._log} ends:\n{processes.tail(self._log)}"
            )
        return said().split("address=")[1].split()[0]

    def _watch(self) -> None:
        quick_deaths, ready_at = 0, time.monotonic()
        port = int(self.address.rpartition(":")[2])
        while not self._stopping.wait(WATCH_INTERVAL_S):
            if self._process is None or self._process.poll() is None:
                continue
            quick_deaths = quick_deaths + 1 if time.monotonic() - ready_at < QUICK_DEATH_S else 0
            if quick_deaths > MOST_QUICK_DEATHS:
                return
            try:
                self._launch(port)
            except PolicyServerError as error:
                print(f"start_eval: {error}", file=sys.stderr)
            ready_at = time.monotonic()

    def stop(self) -> None:
        """End watcher and server."""
        self._stopping.set()
        self._watcher.join(START_TIMEOUT_S)
        if self._process is not None:
            processes.stop(self._process)


def server_command(config: EvalConfig) -> list[str]:
    """How the policy server of an evaluation is started, without its port."""
    options = AgentConfig(**config.agent_options)
    command = [sys.executable, "-m", "team_code.policy_server", "--checkpoint", config.checkpoint]
    command += ["--device", options.device, "--text-every", str(options.text_every)]
    return [*command, "--dropout"] if options.keeps_dropout else command


@contextmanager
def policy_service(config: EvalConfig) -> Iterator[EvalConfig]:
    """Run a policy server while the block runs, if the configuration asks for one.

    Yields:
        The configuration whose agents ask the server.

    Raises:
        PolicyServerError: If the server does not start; the message ends with its log.
    """
    if not config.policy_server:
        yield config
        return
    service = PolicyService(server_command(config), Path(config.out) / "policy_server.log")
    address = service.start()
    try:
        yield replace(config, agent_options={**config.agent_options, "policy_server": address})
    finally:
        service.stop()
