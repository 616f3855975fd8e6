"""What programs written for CARLA count on, through the real client: equal runs, recordings, walkers, several clients."""

from __future__ import annotations

import hashlib
import math
import queue
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ServerProcess, synchronous, wait_until

carla = pytest.importorskip("carla")

SIZE = {"image_size_x": "160", "image_size_y": "80"}
SENSORS: dict[str, dict[str, str]] = {
    "sensor.camera.rgb": SIZE,
    "sensor.camera.depth": SIZE,
    "sensor.camera.semantic_segmentation": SIZE,
    "sensor.camera.instance_segmentation": SIZE,
    "sensor.camera.optical_flow": SIZE,
    "sensor.camera.dvs": SIZE,
    "sensor.lidar.ray_cast": {"points_per_second": "20000", "noise_stddev": "0.05"},
    "sensor.lidar.ray_cast_semantic": {"points_per_second": "20000"},
    "sensor.other.radar": {},
    "sensor.other.imu": {"noise_accel_stddev_x": "0.2", "noise_gyro_stddev_z": "0.1"},
    "sensor.other.gnss": {"noise_lat_stddev": "0.00001"},
}


@pytest.fixture(scope="module")
def server(carla_server_process: Callable[..., ServerProcess]) -> ServerProcess:
    return carla_server_process("Mini01", seed=3)


class StateStream:
    """The bytes of the world state as they come over the wire."""

    def __init__(self, server: ServerProcess) -> None:
        self._socket = socket.create_connection((server.host, server.port + 1), timeout=20.0)
        self._socket.sendall((1).to_bytes(4, "little"))
        self.next()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data

    def next(self) -> bytes:
        """The next message without its frame number, which counts from the start of the server."""
        message = self._read(int.from_bytes(self._read(4), "little"))
        return message[16:]


def content(data: Any) -> bytes:
    """What a sensor measured, without its frame number."""
    if hasattr(data, "raw_data"):
        return bytes(data.raw_data)
    if hasattr(data, "compass"):
        vectors = (data.accelerometer, data.gyroscope)
        return repr([data.compass, *((row.x, row.y, row.z) for row in vectors)]).encode()
    return repr((data.latitude, data.longitude, data.altitude)).encode()


def script(server: ServerProcess) -> dict[str, list[str]]:
    """Digests of every world state and every reading of a short drive with other cars, a walker and a change of weather."""
    client = server.client()
    seen: dict[str, list[str]] = {name: [] for name in ("state", *SENSORS)}
    with synchronous(client):
        world = client.load_world("Mini01", reset_settings=False)
        library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
        cars = [world.spawn_actor(library.find("vehicle.tesla.model3"), point) for point in points[:30:5]]
        place = carla.Transform(points[0].location + carla.Location(x=3.0, y=3.0, z=0.5))
        walker = world.spawn_actor(library.find("walker.pedestrian.0004"), place)
        boxes = {}
        for name, attributes in SENSORS.items():
            blueprint = library.find(name)
            for key, text in attributes.items():
                blueprint.set_attribute(key, text)
            sensor = world.spawn_actor(blueprint, carla.Transform(carla.Location(x=1.0, z=2.0)), attach_to=cars[0])
            boxes[name] = (sensor, queue.Queue())
            sensor.listen(boxes[name][1].put)
        stream = StateStream(server)
        for number in range(20):
            for index, car in enumerate(cars):
                car.apply_control(carla.VehicleControl(throttle=0.6, steer=0.02 * index * (number % 3 - 1)))
            walker.apply_control(carla.WalkerControl(carla.Vector3D(1.0, 0.0, 0.0), 1.0 + 0.1 * number))
            if number == 10:
                world.set_weather(carla.WeatherParameters.HardRainSunset)
            world.tick()
            seen["state"].append(hashlib.sha256(stream.next()).hexdigest())
            for name, (_, box) in boxes.items():
                seen[name].append(hashlib.sha256(content(box.get(timeout=20.0))).hexdigest())
        # A batch with a tick holds Python's lock, which callbacks of sensors need: stop them first.
        for sensor, _ in boxes.values():
            sensor.stop()
    return seen


def test_two_runs_of_a_script_with_one_seed_are_equal_to_the_last_byte(
    server: ServerProcess, carla_server_process: Callable[..., ServerProcess]
) -> None:
    first = script(server)
    second = script(carla_server_process("Mini01", "--verbose", seed=3))
    for name, digests in first.items():
        assert digests == second[name], name
    assert len(set(first["sensor.camera.rgb"])) == 20


def test_a_sensor_gets_the_first_tick_after_it_began_to_listen(server: ServerProcess) -> None:
    with synchronous(server.client()) as world:
        blueprint = world.get_blueprint_library().find("sensor.other.imu")
        for _ in range(30):
            sensor = world.spawn_actor(blueprint, carla.Transform())
            box: queue.Queue[Any] = queue.Queue()
            sensor.listen(box.put)
            frame = world.tick()
            assert box.get(timeout=5.0).frame == frame
            sensor.stop()
            sensor.destroy()


def test_without_synchronous_mode_the_world_goes_on_by_itself(server: ServerProcess) -> None:
    world = server.client().get_world()
    assert not world.get_settings().synchronous_mode
    frames: list[int] = []
    number = world.on_tick(lambda snapshot: frames.append(snapshot.frame))
    first = world.wait_for_tick(10.0)
    assert wait_until(lambda: len(frames) >= 5)
    world.remove_on_tick(number)
    later = world.wait_for_tick(10.0)
    steps = later.frame - first.frame
    assert steps >= 4
    assert later.timestamp.elapsed_seconds - first.timestamp.elapsed_seconds == pytest.approx(0.05 * steps, abs=1e-6)


def test_two_clients_may_tick(server: ServerProcess) -> None:
    with synchronous(server.client()) as world:
        other = server.client().get_world()
        begin = world.get_snapshot().frame
        frames: list[int] = []

        def run(own: Any) -> None:
            for _ in range(50):
                frames.append(own.tick())

        threads = [threading.Thread(target=run, args=(own,), daemon=True) for own in (world, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30.0)
        assert sorted(frames) == list(range(begin + 1, begin + 101))


def test_a_client_goes_on_when_another_one_reloads_the_town(server: ServerProcess) -> None:
    client = server.client()
    with synchronous(client) as world:
        other = server.client()
        other.get_world()
        for loading, watching in ((other, world), (client, other.get_world())):
            frame = loading.reload_world(False).tick()
            assert watching.tick() == frame + 1
            assert watching.get_snapshot().frame == frame + 1


def test_walkers_find_their_way_over_the_sidewalks(server: ServerProcess) -> None:
    client = server.client()
    with synchronous(client) as world:
        world.set_pedestrians_seed(5)
        library, town = world.get_blueprint_library(), world.get_map()
        walkers, controllers = [], []
        for number in range(6):
            place = world.get_random_location_from_navigation()
            assert town.get_waypoint(place, lane_type=carla.LaneType.Sidewalk).transform.location.distance(place) < 4.0
            place.z += 1.0
            blueprint = library.find(f"walker.pedestrian.{number + 1:04d}")
            walkers.append(world.spawn_actor(blueprint, carla.Transform(place)))
        world.tick()
        controllers = [
            world.spawn_actor(library.find("controller.ai.walker"), carla.Transform(), walker) for walker in walkers
        ]
        world.tick()
        for controller in controllers:
            controller.start()
            controller.go_to_location(world.get_random_location_from_navigation())
            controller.set_max_speed(2.0)
        starts = [walker.get_location() for walker in walkers]
        for _ in range(120):
            world.tick()
        speeds = [walker.get_velocity().length() for walker in walkers]
        gone = [walker.get_location().distance(start) for walker, start in zip(walkers, starts)]
        # Some may be waiting at a crosswalk or walking round a corner.
        assert sum(distance > 5.0 for distance in gone) >= 4
        assert max(speeds) == pytest.approx(2.0, abs=0.2)
        for walker in walkers:
            here = walker.get_location()
            feet = here.z - walker.bounding_box.extent.z
            ground = world.ground_projection(here, 5.0)
            assert feet == pytest.approx(ground.location.z, abs=0.05)
        for controller in controllers:
            controller.stop()


@pytest.fixture
def recorded(server: ServerProcess, tmp_path: Path) -> tuple[Any, str, list[tuple[float, ...]]]:
    """A client, the name of a recording of a car that runs into a truck, and where the car was in each frame."""
    client = server.client()
    name, poses = str(tmp_path / "run" / "drive.log"), []
    with synchronous(client) as world:
        library, point = world.get_blueprint_library(), world.get_map().get_spawn_points()[0]
        blueprint = library.find("vehicle.lincoln.mkz_2020")
        blueprint.set_attribute("role_name", "hero")
        car = world.spawn_actor(blueprint, point)
        ahead = point.get_forward_vector()
        point.location += carla.Location(14.0 * ahead.x, 14.0 * ahead.y, 0.0)
        world.spawn_actor(library.find("vehicle.carlamotors.firetruck"), point)
        world.tick()
        assert client.start_recorder(name, True) == name
        car.apply_control(carla.VehicleControl(throttle=0.8))
        for _ in range(60):
            world.tick()
            here = world.get_snapshot().find(car.id).get_transform()
            poses.append((here.location.x, here.location.y, here.location.z, here.rotation.yaw))
        client.stop_recorder()
    return client, name, poses


def test_a_recording_tells_what_happened(recorded: tuple[Any, str, list[tuple[float, ...]]]) -> None:
    client, name, poses = recorded
    text = client.show_recorder_file_info(name, True)
    assert re.search(r"^Map: Mini01$", text, re.MULTILINE)
    assert re.search(r"^Frames: 60$", text, re.MULTILINE)
    assert re.search(r"^ Create \d+: vehicle\.lincoln\.mkz_2020 \(1\) at \(", text, re.MULTILINE)
    assert "  role_name = hero\n" in text
    hero = re.search(r"Create (\d+): vehicle\.lincoln", text).group(1)
    places = re.findall(rf"^  Id: {hero} Location: \((\S+), (\S+), (\S+)\)", text, re.MULTILINE)
    np.testing.assert_allclose(np.array(places, float) / 100.0, [pose[:3] for pose in poses], atol=0.02)
    assert re.search(rf"Collision id \d+ between {hero} \(hero\) +with \d+", text)
    collisions = client.show_recorder_collisions(name, "h", "v")
    assert "vehicle.lincoln.mkz_2020" in collisions
    assert "vehicle.carlamotors.firetruck" in collisions
    assert "walker" not in client.show_recorder_collisions(name, "h", "w")
    assert "firetruck" in client.show_recorder_actors_blocked(name, 0.5, 50.0)
    assert "not found" in client.show_recorder_file_info("no such file", False)


def test_a_replay_repeats_the_drive(recorded: tuple[Any, str, list[tuple[float, ...]]]) -> None:
    client, name, poses = recorded
    with synchronous(client) as world:
        assert "Replaying File" in client.replay_file(name, 0.5, 1.5, 0, False)
        world.tick()
        (car,) = list(world.get_actors().filter("vehicle.lincoln.*"))
        seen = [poses[0]]
        for _ in range(28):
            world.tick()
            here = car.get_transform()
            seen.append((here.location.x, here.location.y, here.location.z, here.rotation.yaw))
        # The first tick of the replay shows the moment 0.55 s after the first recorded frame.
        np.testing.assert_allclose(seen[1:], poses[11 : 11 + 28], atol=0.03)
        assert car.get_velocity().length() == pytest.approx(math.dist(poses[38][:2], poses[37][:2]) / 0.05, abs=0.3)
        client.stop_replayer(False)
        world.tick()
        assert not world.get_actors().filter("vehicle.lincoln.*")


def test_a_replay_in_another_town_is_refused_by_name(
    recorded: tuple[Any, str, list[tuple[float, ...]]], carla_server_process: Callable[..., ServerProcess]
) -> None:
    _, name, _ = recorded
    path = Path(name)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Carla/Maps/Mini01", b"Carla/Maps/Mini09"))
    assert "load_world('Mini09')" in recorded[0].replay_file(name, 0.0, 0.0, 0, False)
