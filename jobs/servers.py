"""Simulator servers as child processes: the embedded one and CARLA behave alike from here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from jobs import processes


def literal(text: str) -> str:
    """Text as it must stand in a command with placeholders, so that braces in it, for example of a path, stay what they are."""
    return text.replace("{", "{{").replace("}", "}}")


EMBEDDED_COMMAND = (
    literal(sys.executable), "-m", "carla_server", "--port", "{port}", "--town", "{town}", "--seed", "{seed}",
)  # fmt: skip
CARLA_COMMAND = (
    "{carla_root}/CarlaUE4.sh", "-RenderOffScreen", "-nosound", "-carla-rpc-port={port}", "-graphicsadapter={gpu}",
)  # fmt: skip


class ServerError(RuntimeError):
    """The simulator did not start or did not stay."""


CLIENT_PATIENCE_S = 600.0
"""How long a client that starts together with its server should wait for it: longer than whoever started both."""


@dataclass(frozen=True)
class ServerSpec:
    """How a simulator is launched.

    Attributes:
        kind: `embedded` or `carla`.
        command: Program and arguments; `{port}`, `{town}`, `{seed}`, `{gpu}` and `{carla_root}` are filled in.
        ready_timeout_s: Wall time within which it must answer on its RPC port.
        settle_s: Wall time to wait after the port answers (CARLA loads its map after opening the port).
        environment: Further environment variables.
        routes_per_start: Routes that one process should serve at most. A start costs about as much as a third of a route; the
            embedded server stays as it is however much it serves, CARLA grows and crashes.
    """

    kind: str = "embedded"
    command: tuple[str, ...] = EMBEDDED_COMMAND
    ready_timeout_s: float = 120.0
    settle_s: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)
    routes_per_start: int = 40

    @classmethod
    def carla(cls, command: tuple[str, ...] = CARLA_COMMAND, ready_timeout_s: float = 180.0) -> ServerSpec:
        """A real CARLA server, found through the environment variable CARLA_ROOT."""
        return cls("carla", command, ready_timeout_s, settle_s=5.0, routes_per_start=10)

    def fill(self, port: int, town: str, seed: int, gpu: int = 0) -> list[str]:
        """The command with its placeholders filled.

        Raises:
            ServerError: If the command needs CARLA_ROOT and it is not set, or holds another placeholder.
        """
        root = os.environ.get("CARLA_ROOT", "")
        if not root and any("{carla_root}" in part for part in self.command):
            raise ServerError(
                "simulator=carla needs the environment variable CARLA_ROOT: the folder that holds CarlaUE4.sh"
            )
        values = {"port": port, "town": town, "seed": seed, "gpu": gpu, "carla_root": root}
        try:
            return [part.format(**values) for part in self.command]
        except (LookupError, ValueError) as error:
            raise ServerError(
                f"the simulator's command `{' '.join(self.command)}` holds a placeholder that is none of {', '.join(values)} "
                f"({error}); a brace that is meant is written twice"
            ) from error


def port_answers(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts TCP connections on a local port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s):
            return True
    except OSError:
        return False


def start(
    spec: ServerSpec, port: int, town: str, seed: int, log: Path, token: str, gpu: int = 0
) -> subprocess.Popen[bytes]:
    """Start a server; `wait_until_ready` tells when it answers.

    Raises:
        ServerError: If its program cannot be run.
    """
    command = spec.fill(port, town, seed, gpu)
    try:
        return processes.start(command, log, token, spec.environment)
    except OSError as error:
        raise ServerError(f"cannot start the simulator `{' '.join(command)}`: {error}") from error


def wait_until_ready(spec: ServerSpec, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a server answers on its RPC port.

    Raises:
        ServerError: If it exits early or stays silent; the message ends with the last lines of its log. The process is gone
            in both cases.
    """
    answered = processes.wait_until(
        lambda: process.poll() is not None or port_answers(port), spec.ready_timeout_s, interval_s=0.05
    )
    if answered and process.poll() is None:
        time.sleep(spec.settle_s)
        return
    reason = (
        f"ended with {processes.describe_exit(process.returncode)}"
        if process.poll() is not None
        else f"did not answer on port {port} within {spec.ready_timeout_s:g} s"
    )
    processes.stop(process)
    raise ServerError(f"the simulator {reason}. Its log {log} ends:\n{processes.tail(log)}")


def launch(
    spec: ServerSpec, port: int, town: str, seed: int, log: Path, token: str, gpu: int = 0
) -> subprocess.Popen[bytes]:
    """Start a server and wait until it answers on its RPC port.

    Raises:
        ServerError: As `start` and `wait_until_ready`.
    """
    process = start(spec, port, town, seed, log, token, gpu)
    wait_until_ready(spec, process, port, log)
    return process
