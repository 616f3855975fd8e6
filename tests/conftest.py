"""Fixtures shared by all areas: running embedded servers and clients connected to them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

#: Wall time a server may need to start: the first start on a machine compiles its kernels, seconds.
READY_TIMEOUT_S = 240.0
#: Wall time a client waits for an answer, seconds.
CLIENT_TIMEOUT_S = 60.0


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
        RuntimeError: It ended or stayed silent; the message holds what it printed.
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
        raise RuntimeError(f"{' '.join(command)} did not get ready:\n" + "\n".join(server.output))
    return server


def stop_server(server: ServerProcess) -> None:
    """End a server process."""
    if server.process is None or server.process.poll() is not None:
        return
    server.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(10.0)
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait(10.0)


@pytest.fixture(scope="module")
def carla_server_process() -> Iterator[Callable[..., ServerProcess]]:
    """A function that starts a server, `carla_server_process("Mini01")`; one per town and arguments in a module."""
    running: dict[tuple[object, ...], ServerProcess] = {}

    def start(town: str = "Mini01", *arguments: str, seed: int = 0) -> ServerProcess:
        key = (town, arguments, seed)
        known = running.get(key)
        if known is None or (known.process is not None and known.process.poll() is not None):
            running[key] = start_server(*arguments, town=town, seed=seed)
        return running[key]

    yield start
    for server in running.values():
        stop_server(server)


@pytest.fixture(scope="module")
def any_server(carla_server_process: Callable[..., ServerProcess]) -> ServerProcess:
    """The CARLA server named by the environment variable CARLA_HOST:PORT, else our own on Mini01."""
    address = os.environ.get("CARLA_HOST")
    if address:
        host, _, port = address.partition(":")
        return ServerProcess(host, int(port or "2000"), "")
    return carla_server_process("Mini01")


@pytest.fixture(scope="module")
def carla_client(carla_server_process: Callable[..., ServerProcess]) -> Any:
    """A client connected to our own server on Mini01."""
    pytest.importorskip("carla")
    return carla_server_process("Mini01").client()


@contextlib.contextmanager
def synchronous(client: Any, step: float = 0.05) -> Iterator[Any]:
    """The client's world in synchronous mode; what was spawned inside is destroyed and the settings are put back."""
    import carla

    world = client.get_world()
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, step
    world.apply_settings(settings)
    world.tick()
    there = {actor.id for actor in world.get_actors()}
    try:
        yield world
    finally:
        world.tick()
        fresh = [actor for actor in world.get_actors() if actor.id not in there]
        for actor in fresh:
            if actor.type_id.startswith("sensor.") and actor.is_listening:
                actor.stop()
        client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in fresh], True)
        world.apply_settings(before)


@pytest.fixture
def sync_world(carla_client: Any) -> Iterator[Any]:
    """Mini01 in synchronous mode with steps of 0.05 s, cleaned up after each test."""
    with synchronous(carla_client) as world:
        yield world


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether `condition` became true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
