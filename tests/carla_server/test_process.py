"""The server as a process: command line, clients that misbehave, clients that vanish."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from carla_server.__main__ import translate
from carla_server.calls import METHODS
from tests.conftest import ServerProcess, synchronous, wait_until

carla = pytest.importorskip("carla")


@pytest.fixture(scope="module")
def server(
    carla_server_process: Callable[..., ServerProcess], tmp_path_factory: pytest.TempPathFactory
) -> ServerProcess:
    # Random calls may start recordings.
    return carla_server_process("Mini01", "--recordings", str(tmp_path_factory.mktemp("recordings")))


def refused(*arguments: str) -> str:
    """What the server says when it does not start; its exit status must be 2."""
    command = [sys.executable, "-m", "carla_server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_a_taken_port_is_named(server: ServerProcess) -> None:
    message = refused("--port", str(server.port), "--town", "Mini01")
    assert str(server.port) in message
    assert "taken" in message


def test_an_unknown_town_is_answered_with_the_nearest_name() -> None:
    assert "Mini01" in refused("--port", "0", "--town", "Mini001")


def test_a_missing_map_folder_is_named() -> None:
    assert "/no/such/folder" in refused("--maps", "/no/such/folder")


def test_arguments_of_carla_are_understood() -> None:
    line = ["/Game/Carla/Maps/Mini01", "-RenderOffScreen", "-nosound", "-carla-rpc-port=2002", "-quality-level=Low"]
    assert translate(line) == ["--town", "/Game/Carla/Maps/Mini01", "--port", "2002"]
    assert translate(["--port", "2000", "--town", "Town01"]) == ["--port", "2000", "--town", "Town01"]
    for value in ("--town", "/Game/Carla/Maps/Mini01"), ("--maps", "Towns"), ("--recordings", "Town01_drives"):
        assert translate([*value]) == [*value]
    assert translate(["--verbose", "Town01"]) == ["--verbose", "--town", "Town01"]
    assert translate(["-carla-streaming-port=0", "-carla-primary-port=7"]) == ["--streaming-port", "0"]


class RawClient:
    """A client that may send anything."""

    def __init__(self, server: ServerProcess) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=30.0)
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="surrogateescape")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answers(self, count: int) -> Iterator[Any]:
        """The next answers."""
        while count:
            for message in self._unpacker:
                count -= 1
                yield message
                if not count:
                    return
            data = self.socket.recv(1 << 16)
            if not data:
                return
            self._unpacker.feed(data)

    def closed(self) -> bool:
        """Whether the server hung up."""
        self.socket.settimeout(5.0)
        try:
            while self.socket.recv(1 << 16):
                continue
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


def junk(generator: random.Random, depth: int = 0) -> Any:
    """A random value, most often one that could be an argument."""
    kinds: list[Callable[[], Any]] = [
        lambda: generator.choice([0, 1, 2, 7, 20, 40, 43, 44, 45, -1, 2**31, 2**40]),
        lambda: generator.uniform(-500.0, 500.0),
        lambda: generator.choice([float("nan"), float("inf"), 1e300]),
        lambda: generator.choice([True, False, None]),
        lambda: generator.choice(["", "Mini01", "vehicle.audi.tt", "sensor.other.imu", "\udcff", "x" * 300]),
        lambda: generator.randbytes(generator.randrange(20)),
        lambda: [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]],
        lambda: [0.5, 0.1, 0.0, False, False, False, 1],
        lambda: [1, generator.choice(["vehicle.audi.tt", "walker.pedestrian.0001", "sensor.camera.rgb"]), []],
    ]
    if depth < 3:
        kinds += [lambda: [junk(generator, depth + 1) for _ in range(generator.randrange(6))]] * 3
        kinds.append(lambda: {generator.choice("abc"): junk(generator, depth + 1)})
    return generator.choice(kinds)()


def command(generator: random.Random) -> Any:
    """A batch command, more or less."""
    return [[generator.randrange(-1, 24), [junk(generator) for _ in range(generator.randrange(5))]]]


def test_ten_thousand_random_calls_leave_other_clients_undisturbed(server: ServerProcess) -> None:
    generator = random.Random(7)
    # A load takes as long as it takes; everything else is fair game.
    names = [name for name in METHODS if name not in ("load_new_episode", "copy_opendrive_to_file")]
    fuzzer = RawClient(server)
    with synchronous(server.client()) as world:
        for block in range(20):
            calls = []
            for number in range(500):
                name = generator.choice([*names, "apply_batch", "spawn_actor", "no_such_method"])
                arguments = [junk(generator) for _ in range(generator.randrange(5))]
                if name == "apply_batch":
                    arguments = [[command(generator) for _ in range(generator.randrange(4))], False]
                metadata = [[generator.random() < 0.3]]
                calls.append(msgpack.packb([0, number, name, metadata + arguments], unicode_errors="surrogateescape"))
            fuzzer.send(b"".join(calls))
            assert [answer[1] for answer in fuzzer.answers(500)] == list(range(500)), block
            # The settings may have been changed by the fuzzer; the world still answers and advances.
            settings = world.get_settings()
            settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
            world.apply_settings(settings)
            frame = world.tick()
            assert world.get_snapshot().frame == frame
    fuzzer.socket.close()


def test_a_thousand_malformed_messages_leave_the_server_alive(server: ServerProcess) -> None:
    generator = random.Random(11)
    healthy = server.client()
    closed = 0
    for number in range(1000):
        client = RawClient(server)
        message = generator.choice(
            [
                lambda: generator.randbytes(generator.randrange(1, 200)),
                lambda: msgpack.packb(junk(generator), unicode_errors="surrogateescape"),
                lambda: msgpack.packb([0, 1, "version", []])[:-1],
                lambda: b"\xdd\xff\xff\xff\xff",
                lambda: b"\xc6\xff\xff\xff\xff" + b"x" * 100,
                lambda: b"\x91" * 5000,
            ]
        )()
        client.send(message)
        client.socket.close()
        if number % 100 == 0:
            assert healthy.get_server_version() == "0.9.16"
            bad = RawClient(server)
            bad.send(msgpack.packb("no call"))
            closed += bad.closed()
    assert closed == 10
    assert healthy.get_server_version() == "0.9.16"


@pytest.mark.parametrize("garbage", [msgpack.packb("no call"), b"\xc1", b"\x91" * 5000])
def test_calls_that_arrive_with_garbage_behind_them_are_answered(server: ServerProcess, garbage: bytes) -> None:
    client = RawClient(server)
    good = [
        msgpack.packb([0, number, name, [[False]]]) for number, name in enumerate(("version", "tick_cue", "nothing"))
    ]
    client.send(b"".join(good) + garbage + msgpack.packb([0, 9, "version", [[False]]]))
    answers = list(client.answers(4))
    assert [answer[1] for answer in answers] == [0, 1, 2]
    assert answers[0][3] == [[1, "0.9.16"]]
    assert client.closed()


def test_a_tick_that_waits_is_answered_though_garbage_came_behind_it(server: ServerProcess) -> None:
    with synchronous(server.client()) as world:
        imu = world.spawn_actor(world.get_blueprint_library().find("sensor.other.imu"), carla.Transform())
        client = RawClient(server)
        client.send(msgpack.packb([0, 1, "get_actors_by_id", [[False], [imu.id]]]))
        stream = int.from_bytes(next(client.answers(1))[3][0][1][0][5][:4], "little")
        # The server waits a while for the subscription that the token announces; the tick waits with it.
        calls = [[0, 2, "get_sensor_token", [[False], stream]], [0, 3, "tick_cue", [[False]]]]
        client.send(b"".join(map(msgpack.packb, calls)) + b"\xc1")
        assert [answer[1] for answer in client.answers(2)] == [2, 3]
        assert client.closed()


def test_random_subscriptions_are_no_harm(server: ServerProcess) -> None:
    generator = random.Random(3)
    for _ in range(50):
        stream = socket.create_connection((server.host, server.port + 1), timeout=5.0)
        stream.sendall(generator.randbytes(generator.randrange(0, 12)))
        stream.close()
    with synchronous(server.client()) as world:
        assert world.tick() > 0


def test_an_unknown_method_is_answered_by_name(server: ServerProcess) -> None:
    client = RawClient(server)
    client.send(msgpack.packb([0, 5, "fly_to_the_moon", [[False], 1]]))
    ((kind, number, error, result),) = client.answers(1)
    assert (kind, number, result) == (1, 5, None)
    assert "fly_to_the_moon" in error


def test_the_traffic_manager_of_a_dead_client_is_forgotten(server: ServerProcess) -> None:
    client = RawClient(server)
    client.send(msgpack.packb([0, 1, "add_traffic_manager_running", [[False], ["127.0.0.1", 21777]]]))
    assert [answer[3] for answer in client.answers(1)] == [[[1, True]]]
    client.socket.close()

    def running() -> Any:
        other = RawClient(server)
        other.send(msgpack.packb([0, 1, "is_traffic_manager_running", [[False], 21777]]))
        return next(other.answers(1))[3][0][1]

    assert wait_until(lambda: running() is False)


def test_a_subscriber_that_died_does_not_stop_the_world(server: ServerProcess) -> None:
    client = server.client()
    with synchronous(client) as world:
        blueprint = world.get_blueprint_library().find("sensor.camera.rgb")
        blueprint.set_attribute("image_size_x", "200")
        blueprint.set_attribute("image_size_y", "100")
        camera = world.spawn_actor(blueprint, carla.Transform(carla.Location(z=3.0)))
        # Announce a subscription to its stream, as a client does, and vanish.
        raw = RawClient(server)
        raw.send(msgpack.packb([0, 1, "get_actors_by_id", [[False], [camera.id]]]))
        token = next(raw.answers(1))[3][0][1][0][5]
        stream = int.from_bytes(token[:4], "little")
        raw.send(msgpack.packb([0, 2, "get_sensor_token", [[False], stream]]))
        list(raw.answers(1))
        raw.socket.close()
        begin = time.monotonic()
        first = world.tick()
        assert time.monotonic() - begin < 6.0
        reader = socket.create_connection((server.host, server.port + 1), timeout=5.0)
        reader.sendall(stream.to_bytes(4, "little"))
        world.tick()
        reader.close()
        for _ in range(5):
            last = world.tick()
        assert last == first + 6


OPENDRIVE_WORLD = """
import sys
import carla

client = carla.Client("127.0.0.1", int(sys.argv[1]))
client.set_timeout(30.0)
text = client.get_world().get_map().to_opendrive()
world = client.generate_opendrive_world(text)
assert world.get_map().name.endswith("OpenDriveMap"), world.get_map().name
settings = world.get_settings()
settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
world.apply_settings(settings)
point = world.get_map().get_spawn_points()[0]
car = world.spawn_actor(world.get_blueprint_library().find("vehicle.audi.tt"), point)
world.tick()
assert car.get_location().distance(point.location) < 1.0
try:
    client.generate_opendrive_world("<no xml")
except RuntimeError as error:
    print("refused:", error)
settings.synchronous_mode = False
world.apply_settings(settings)
"""


def test_a_world_from_opendrive_text(server: ServerProcess) -> None:
    """In a client process of its own: changing the world under clients of earlier tests can abort them."""
    done = subprocess.run(
        [sys.executable, "-c", OPENDRIVE_WORLD, str(server.port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"refused: .*(XML|OpenDRIVE|road)", done.stdout), done.stdout


def test_equal_scripts_see_equal_worlds(server: ServerProcess) -> None:
    client = server.client()

    def drive() -> list[tuple[float, ...]]:
        client.reload_world()
        with synchronous(client) as world:
            points = world.get_map().get_spawn_points()
            blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
            cars = [world.spawn_actor(blueprint, point) for point in points[:40:4]]
            seen = []
            for number in range(60):
                for index, car in enumerate(cars):
                    car.apply_control(carla.VehicleControl(throttle=0.5, steer=0.01 * index * (number % 3 - 1)))
                world.tick()
                snapshot = world.get_snapshot()
                for car in cars:
                    pose = snapshot.find(car.id).get_transform()
                    seen.append((car.id, pose.location.x, pose.location.y, pose.location.z, pose.rotation.yaw))
            return seen

    assert drive() == drive()


def test_no_call_met_a_defect_of_the_server(server: ServerProcess) -> None:
    # Runs last in this module: after all the nonsense above, nothing was answered with an internal error.
    assert not [line for line in server.output if "failed" in line or "Traceback" in line]
