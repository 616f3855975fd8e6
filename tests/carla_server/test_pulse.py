"""Ticks under Traffic Manager: when they wait, when a lost signal is given again, and that delays change no drive."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import msgpack
import pytest

from carla_server import process
from carla_server.benchmark import synchronous
from carla_server.calls.pulse import (
    MISSED_AMONG_CALLS_S,
    MISSED_S,
    POLLING,
    REST_S,
    SETTLING_S,
    SILENCE_S,
    STEP_PATIENCE_S,
    TELLING,
    TELLINGS,
    TOLD_NAME,
    Missed,
    Pulse,
)
from carla_server.calls.simulator import Session
from carla_server.server import RpcProtocol, Server
from carla_server.wire import rpc
from carla_server.world.towns import TownLibrary

DELAYED_SERVER = Path(__file__).with_name("delayed_server.py")
TICKS = 160


def steps(count: int = 5) -> tuple[Pulse, float]:
    """A client after some regular steps, and the time."""
    pulse, now = Pulse(), 100.0
    for _ in range(count):
        for name in ("tick_cue", "get_vehicle_light_states", "apply_batch", "get_episode_settings"):
            now += 0.01
            pulse.heard = now
            pulse.called(name, now)
    return pulse, now


def test_a_tick_rests_after_the_thread_of_the_traffic_manager_went_to_sleep() -> None:
    pulse, now = steps()
    assert pulse.hold(now) == pytest.approx(REST_S)
    assert pulse.hold(now + REST_S) == 0.0


def test_a_tick_waits_a_little_for_the_call_by_which_a_step_ends() -> None:
    pulse, now = steps()
    pulse.called("tick_cue", now)
    pulse.called("apply_batch", now)
    assert pulse.hold(now) > 0.0
    assert pulse.hold(now + SETTLING_S + REST_S) == 0.0


def test_a_tick_waits_for_the_batch_of_the_step_before() -> None:
    pulse, now = steps()
    pulse.called("tick_cue", now)
    assert pulse.hold(now + 0.5 * STEP_PATIENCE_S) > 0.0
    pulse.called("apply_batch", now + 0.5 * STEP_PATIENCE_S)
    pulse.called("get_episode_settings", now + 0.5 * STEP_PATIENCE_S)
    assert pulse.hold(now + 0.5 * STEP_PATIENCE_S + REST_S) == 0.0


def test_a_traffic_manager_that_runs_by_itself_holds_no_tick_and_is_not_woken() -> None:
    pulse, now = steps()
    pulse.called("tick_cue", now)
    for _ in range(POLLING + 1):
        pulse.called("get_episode_settings", now)
    assert pulse.hold(now) == 0.0
    assert pulse.missed(now + MISSED_AMONG_CALLS_S + 1.0) is None


def test_who_never_sends_a_batch_waits_for_none() -> None:
    pulse = Pulse()
    for now in range(100, 110):
        pulse.called("tick_cue", float(now))
        assert pulse.hold(float(now)) == 0.0


def test_a_lost_signal_is_told_once_per_tick_and_only_after_silence() -> None:
    pulse, now = steps()
    assert pulse.missed(now + MISSED_S + 1.0) is None  # after a step it may be thinking
    pulse.heard = now
    pulse.called("tick_cue", now)
    assert pulse.missed(now + 0.9 * MISSED_S) is None
    assert pulse.missed(now + 1.1 * MISSED_S) is Missed.BEGIN
    assert pulse.missed(now + 1.2 * MISSED_S) is None
    assert pulse.still_missed(Missed.BEGIN, now + 1.5 * MISSED_S)
    pulse.heard = now + 1.6 * MISSED_S
    pulse.called("get_vehicle_light_states", pulse.heard)
    assert not pulse.still_missed(Missed.BEGIN, now + 1.7 * MISSED_S)  # the step has begun: it is only slow
    assert pulse.missed(pulse.heard + 0.9 * MISSED_AMONG_CALLS_S) is None
    assert pulse.missed(pulse.heard + 1.1 * MISSED_AMONG_CALLS_S) is Missed.BEGIN


def test_the_signal_of_a_steps_end_counts_as_lost_after_long_silence_only() -> None:
    pulse, now = steps()
    assert pulse.missed(now + 0.9 * SILENCE_S) is None
    assert pulse.missed(now + 1.1 * SILENCE_S) is Missed.END


class Client:
    """A client with a Traffic Manager, without a socket."""

    def __init__(self) -> None:
        self.server = Server(TownLibrary(), "Mini01", 0)
        self.line = RpcProtocol(self.server)
        transport = MagicMock()
        transport.get_extra_info.return_value = None
        transport.is_closing.return_value = False
        self.line.connection_made(transport)
        self.pulse = self.line.session.pulse
        self.line.session.managers.add(1)

    def call(self, name: str, *arguments: Any) -> None:
        """Send a call as the carla client does."""
        self.line.data_received(rpc.pack([rpc.REQUEST, 0, name, [[False], *arguments]]))

    def step(self) -> None:
        """A tick with a whole step of the Traffic Manager."""
        self.tick()
        self.call("apply_batch", [], False)
        self.call("get_episode_settings")

    def tick(self) -> None:
        """A tick, after the rest it would have to wait for."""
        time.sleep(2.0 * REST_S)
        self.call("tick_cue")

    def tell(self, times: int = TELLINGS) -> None:
        """Say that a thread stands inside `world.tick()`."""
        for _ in range(times):
            self.call(TELLING, TOLD_NAME, False)

    @property
    def missed(self) -> Missed | None:
        """See `Pulse.missed`."""
        return self.pulse.missed(time.monotonic())


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.server.publisher.close()


def test_a_client_that_tells_it_stands_after_a_step_missed_its_end(client: Client) -> None:
    client.step()
    client.tell(TELLINGS - 1)
    assert client.missed is None
    client.tell(1)
    assert client.missed is Missed.END
    assert client.missed is None
    assert client.pulse.still_missed(Missed.END, time.monotonic())
    client.step()
    assert client.missed is None


def test_telling_counts_for_nothing_before_the_step_has_ended(client: Client) -> None:
    client.step()
    client.tick()
    heard = client.pulse.heard
    client.tell(3 * TELLINGS)
    assert client.missed is None
    assert client.pulse.heard == heard
    assert client.pulse.missed(heard + 1.1 * MISSED_S) is Missed.BEGIN


def test_telling_counts_for_nothing_while_the_tick_itself_waits(client: Client) -> None:
    client.step()
    client.server.publisher.unfinished = 1
    client.tick()
    client.tell(3 * TELLINGS)
    assert client.missed is None


def test_telling_counts_for_nothing_among_other_calls(client: Client) -> None:
    client.step()
    for _ in range(3 * TELLINGS):
        client.tell(TELLINGS - 1)
        client.call("version")
    assert client.missed is None
    client.call(TELLING, "another.log", False)
    client.tell(TELLINGS - 1)
    assert client.missed is None


async def wake(lost: Missed, answers: bool, speaks: bool) -> list[str]:
    """Methods that a server calls at a Traffic Manager that seems to have lost a signal.

    Args:
        lost: Which.
        answers: Whether the Traffic Manager's process runs.
        speaks: Whether its client goes on by itself once it has been called.
    """
    server = Server(TownLibrary(), "Mini01", 0)
    session, unpacker = Session(), msgpack.Unpacker()
    called: list[str] = []
    session.pulse.heard = session.pulse.batch = time.monotonic() - 2.0 * SILENCE_S
    session.pulse.called("tick_cue", session.pulse.heard)
    if lost is Missed.END:
        session.pulse.called("apply_batch", session.pulse.heard)

    async def manager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            unpacker.feed(data)
            called.extend(message[2] for message in unpacker)
            if answers:
                session.pulse.heard = time.monotonic() if speaks else session.pulse.heard
                writer.write(msgpack.packb([1, 0, None, None]))
        writer.close()

    listener = await asyncio.start_server(manager, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    session.managers.add(port)
    helper = asyncio.create_task(server._wake(session, "127.0.0.1", port, lost))
    await asyncio.wait([helper], timeout=1.0)
    helper.cancel()
    listener.close()
    server.publisher.close()
    return called[1:]


@pytest.mark.parametrize(
    ("lost", "help"),
    [(Missed.BEGIN, ["set_synchronous_mode", "set_synchronous_mode"]), (Missed.END, ["synchronous_tick"])],
)
def test_only_a_client_that_runs_and_stays_silent_is_woken(lost: Missed, help: list[str]) -> None:
    with patch.multiple("carla_server.server", AWAKE_S=0.05, KEEP_OPEN_S=0.05):
        assert asyncio.run(wake(lost, answers=True, speaks=False)) == help
        assert asyncio.run(wake(lost, answers=True, speaks=True)) == []
        assert asyncio.run(wake(lost, answers=False, speaks=False)) == []


def drive(server: process.ServerProcess) -> str:
    """Digest of a drive with Traffic Manager: cars come and go, and are told speeds."""
    import carla

    client, digest = server.client(), hashlib.sha256()
    with synchronous(client):
        world = client.load_world("Mini02", reset_settings=False)
        manager = client.get_trafficmanager(server.port + 500)
        manager.set_synchronous_mode(True)
        manager.set_hybrid_physics_mode(True)
        manager.set_random_device_seed(3)
        points, library = world.get_map().get_spawn_points(), world.get_blueprint_library()
        blueprint = library.find("vehicle.lincoln.mkz_2020")
        blueprint.set_attribute("role_name", "hero")
        hero = world.spawn_actor(blueprint, points[0])
        cars: list[Any] = []
        for tick in range(TICKS):
            if tick % 8 == 0:
                car = world.try_spawn_actor(library.find("vehicle.tesla.model3"), points[1 + tick // 8])
                if car is not None:
                    car.set_autopilot(True, manager.get_port())
                    manager.update_vehicle_lights(car, True)
                    cars.append(car)
            if tick % 40 == 39:
                cars[0].set_autopilot(False, manager.get_port())
                cars.pop(0).destroy()
            manager.set_desired_speed(cars[tick % len(cars)], 20.0 + tick % 30)
            hero.apply_control(carla.VehicleControl(throttle=0.4))
            world.tick()
            for found in sorted(world.get_snapshot(), key=lambda row: row.id):
                at = found.get_transform()
                digest.update(repr((found.id, at.location.x, at.location.y, at.rotation.yaw)).encode())
        manager.set_synchronous_mode(False)
        manager.shut_down()
    return digest.hexdigest()


def test_late_messages_change_no_drive_under_traffic_manager() -> None:
    with process.running_server(town="Mini02") as server:
        undisturbed = drive(server)
    popen = process.subprocess.Popen

    def delayed(command: list[str], **options: Any) -> Any:
        return popen([sys.executable, str(DELAYED_SERVER), "1", *command[3:]], **options)

    with patch.object(process.subprocess, "Popen", delayed), process.running_server(town="Mini02") as server:
        assert drive(server) == undisturbed
