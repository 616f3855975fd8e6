"""A server as a child process: start one on a free port, wait until it is ready, end it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: Wall time a server may need to start: the first start on a machine compiles its kernels, seconds.
READY_TIMEOUT_S = 240.0
#: Wall time a client waits for an answer, seconds.
CLIENT_TIMEOUT_S = 60.0
#: Wall time a server may need to end, seconds.
STOP_TIMEOUT_S = 10.0


class ServerNotReadyError(RuntimeError):
    """The server ended or stayed silent; the message holds what it printed."""


@dataclass
class ServerProcess:
    """A running server.

    Attributes:
        host: Where it runs.
        port: RPC port.
        town: Town it was started with.
        process: The child process; None for a server that was there before.
        output: Lines it printed.
    """

    host: str
    port: int
    town: str
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list)

    def client(self) -> Any:
        """A new `carla.Client`."""
        import carla

        client = carla.Client(self.host, self.port)
        client.set_timeout(CLIENT_TIMEOUT_S)
        return client


def start_server(*arguments: str, town: str = "Mini01", seed: int = 0) -> ServerProcess:
    """Start an embedded server on a free port and wait until it is ready.

    Raises:
        ServerNotReadyError: It ended or stayed silent.
    """
    command = [sys.executable, "-m", "carla_server", "--port", "0", "--town", town, "--seed", str(seed), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    server = ServerProcess("127.0.0.1", 0, town, process)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.output.append(line.rstrip())
            if line.startswith("carla_server ready"):
                server.port = int(line.split("rpc=")[1].split()[0])
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    if not ready.wait(READY_TIMEOUT_S) or server.port == 0:
        stop_server(server)
        raise ServerNotReadyError(f"{' '.join(command)} did not get ready:\n" + "\n".join(server.output))
    return server


def stop_server(server: ServerProcess) -> None:
    """End a server process."""
    if server.process is None or server.process.poll() is not None:
        return
    server.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(STOP_TIMEOUT_S)
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait(STOP_TIMEOUT_S)


@contextlib.contextmanager
def running_server(*arguments: str, town: str = "Mini01", seed: int = 0) -> Iterator[ServerProcess]:
    """A server for the length of a `with` block."""
    server = start_server(*arguments, town=town, seed=seed)
    try:
        yield server
    finally:
        stop_server(server)
