"""Fixtures shared by all areas: running embedded servers and clients connected to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carla_server.process import ServerProcess, start_server, stop_server

EXIT_STATUS = pytest.StashKey[int]()
START_SLURM = Path(__file__).resolve().parents[1] / ".ci" / "start_slurm.sh"

__all__ = ["ServerProcess", "start_server", "stop_server", "synchronous", "wait_until"]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the tests went, for `pytest_unconfigure`."""
    session.config.stash[EXIT_STATUS] = int(exitstatus)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without the exit code of the carla library, which may abort when servers that it knew are gone."""
    if "carla" in sys.modules and "PYTEST_XDIST_WORKER" not in os.environ and EXIT_STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[EXIT_STATUS])


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


@pytest.fixture(scope="session")
def slurm_cluster() -> None:
    """A SLURM cluster that takes jobs: the one this machine belongs to, else one of a single node started here."""
    if not shutil.which("sbatch"):
        pytest.skip("SLURM is not installed (Debian: slurm-wlm, munge)")
    state = subprocess.run(["sinfo", "--noheader", "--format", "%T"], capture_output=True, text=True, check=False)
    if state.returncode == 0 and any(word in state.stdout for word in ("idle", "mix")):
        return
    if os.geteuid() != 0:
        pytest.skip("no SLURM node is up, and starting one needs root")
    started = subprocess.run([str(START_SLURM)], capture_output=True, text=True, timeout=150, check=False)
    assert started.returncode == 0, started.stderr
    os.environ["SLURM_CONF"] = started.stdout.splitlines()[-1]


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
        # Not with `do_tick`: that call holds Python's lock until the tick is over, and callbacks of sensors that wait for
        # the lock occupy the client's threads, of which there are as many as cores, so that the tick never arrives.
        client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in fresh], False)
        world.tick()
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
