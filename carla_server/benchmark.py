"""How fast the server is, measured through the real client.

    python -m carla_server.benchmark ticks

What limits the rates: ticks cost one call and one world-state message, about 0.1 ms of client and loop each, plus
physics of a few microseconds per vehicle; under Traffic Manager its own planning in the client costs most; cameras are
bound by rasterisation. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from carla_server import traffic
from carla_server.process import ServerNotReadyError, ServerProcess, running_server
from carla_server.world.towns import TownLibrary

Result = dict[str, Any]
STEP_S = 0.05
#: Cars that find no spawn point are tried so far apart, metres.
SPACING_M = 5.0


@contextmanager
def synchronous(client: Any) -> Iterator[Any]:
    """The client's world in synchronous mode."""
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, STEP_S
    world.apply_settings(settings)
    try:
        yield world
    finally:
        settings.synchronous_mode = False
        world.apply_settings(settings)


def spawn_cars(client: Any, world: Any, count: int) -> list[Any]:
    """Up to `count` cars: on spawn points, and where these are too few, between them."""
    import carla

    library = world.get_blueprint_library().filter("vehicle.*")
    cars = [row for row in library if row.get_attribute("base_type").as_str() == "car"]
    road_map = world.get_map()
    points = road_map.get_spawn_points()
    order = [points[(index * 7) % len(points)] for index in range(len(points))] if len(points) % 7 else points
    ids: list[int] = []

    def fill(places: Iterable[Any]) -> None:
        for index, place in enumerate(places):
            if len(ids) == count:
                return
            command = carla.command.SpawnActor(cars[index % len(cars)], place)
            (result,) = client.apply_batch_sync([command], False)
            if not result.error:
                ids.append(result.actor_id)

    fill(order)
    if len(ids) < count:
        lift = carla.Location(z=0.3)
        between = [row.transform for row in road_map.generate_waypoints(SPACING_M) if not row.is_junction]
        fill(carla.Transform(row.location + lift, row.rotation) for row in between)
    world.tick()
    return [world.get_actor(actor_id) for actor_id in ids]


def rate(action: Callable[[], object], seconds: float = 3.0) -> float:
    """How often per second `action` runs."""
    action()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        action()
        count += 1
    return count / (time.perf_counter() - begin)


def _tick_rate(server: ServerProcess, action: Callable[[], object], label: str, seconds: float = 3.0) -> Result:
    """Ticks per second by the clock, and microseconds of processor time per tick that server and client take.

    Server and client take turns, so the sum of the two bounds the rate on an idle machine.
    """
    assert server.process is not None
    child, counted = psutil.Process(server.process.pid), [0]

    def tick() -> None:
        counted[0] += 1
        action()

    def spent() -> tuple[float, float]:
        times = child.cpu_times()
        return times.user + times.system, time.process_time()

    before = spent()
    found = rate(tick, seconds)
    server_s, client_s = (later - earlier for later, earlier in zip(spent(), before))
    return {
        label: round(found),
        f"{label}_server_us": round(server_s / counted[0] * 1e6),
        f"{label}_client_us": round(client_s / counted[0] * 1e6),
    }


def bench_ticks(server: ServerProcess, options: argparse.Namespace) -> Result:
    """Ticks per second: world alone, with a batch of controls, with Traffic Manager."""
    import carla

    client = server.client()
    result: Result = {}
    for count in options.vehicles:
        client.reload_world()
        with synchronous(client) as world:
            cars = spawn_cars(client, world, count)
            control = carla.VehicleControl(throttle=0.4, steer=0.2)
            batch = [carla.command.ApplyVehicleControl(car.id, control) for car in cars]
            client.apply_batch_sync(batch, True)
            result |= _tick_rate(server, world.tick, f"ticks_per_s_{count}")
            result |= _tick_rate(server, partial(client.apply_batch_sync, batch, True), f"batch_ticks_per_s_{count}")
    # Afterwards, because ticks of a client that runs a Traffic Manager are answered more slowly on purpose.
    for count in options.vehicles:
        client.reload_world()
        with synchronous(client) as world:
            manager = client.get_trafficmanager(server.port + 500)
            manager.set_synchronous_mode(True)
            for car in spawn_cars(client, world, count):
                car.set_autopilot(True, server.port + 500)
            result |= _tick_rate(server, world.tick, f"traffic_manager_ticks_per_s_{count}", 5.0)
            manager.set_synchronous_mode(False)
    return result


def _sensor(world: Any, name: str, parent: Any, **attributes: str) -> tuple[Any, queue.Queue[Any]]:
    import carla

    blueprint = world.get_blueprint_library().find(name)
    for key, text in attributes.items():
        blueprint.set_attribute(key, text)
    place = carla.Transform(carla.Location(x=-1.5, z=2.0))
    sensor = world.spawn_actor(blueprint, place, attach_to=parent)
    box: queue.Queue[Any] = queue.Queue()
    sensor.listen(box.put)
    return sensor, box


def _sensor_rate(client: Any, count: int, name: str, **attributes: str) -> tuple[float, Any]:
    """Readings per second of one sensor on a car among `count` cars, and the last reading."""
    client.reload_world()
    with synchronous(client) as world:
        cars = spawn_cars(client, world, count)
        sensor, box = _sensor(world, name, cars[0], **attributes)
        last: list[Any] = [None]

        def look() -> None:
            world.tick()
            last[0] = box.get(timeout=60.0)

        for _ in range(5):
            look()
        found = rate(look, 4.0)
        sensor.stop()
        return found, last[0]


def bench_camera(server: ServerProcess, options: argparse.Namespace) -> Result:
    """Frames per second of a 1024 x 512 camera, by vehicles in the town."""
    size = {"image_size_x": "1024", "image_size_y": "512", "fov": "110"}
    client = server.client()
    result: Result = {}
    for count in options.vehicles:
        result[f"rgb_1024x512_per_s_{count}"] = round(_sensor_rate(client, count, "sensor.camera.rgb", **size)[0], 1)
    return result


def bench_lidar(server: ServerProcess, options: argparse.Namespace) -> Result:
    """Points per second of the leaderboard's lidar."""
    attributes = {"channels": "64", "points_per_second": "600000", "rotation_frequency": "10", "range": "85"}
    found, reading = _sensor_rate(server.client(), max(options.vehicles), "sensor.lidar.ray_cast", **attributes)
    return {"lidar_scans_per_s": round(found, 1), "lidar_points_per_s": round(found * len(reading))}


def bench_memory(server: ServerProcess, options: argparse.Namespace) -> Result:
    """Memory of the server before and after many ticks and reloads."""
    assert server.process is not None
    child = psutil.Process(server.process.pid)
    client = server.client()
    for _ in range(3):
        client.reload_world()
    with synchronous(client) as world:
        spawn_cars(client, world, 30)
        for _ in range(500):
            world.tick()
        before = child.memory_info().rss
        for _ in range(10_000):
            world.tick()
        ticked = child.memory_info().rss
    for _ in range(50):
        client.reload_world()
    reloaded = child.memory_info().rss
    mebi = 1024.0 * 1024.0
    return {
        "rss_mib": round(before / mebi, 1),
        "growth_mib_10000_ticks": round((ticked - before) / mebi, 2),
        "growth_mib_50_reloads": round((reloaded - ticked) / mebi, 2),
    }


def bench_load(server: ServerProcess, options: argparse.Namespace) -> Result:
    """Seconds to load each town for the first time and again."""
    client = server.client()
    result: Result = {}
    for name in TownLibrary.standard(options.maps).names():
        for label in ("first", "again"):
            begin = time.perf_counter()
            client.load_world(name)
            result[f"load_{label}_s_{name}"] = round(time.perf_counter() - begin, 2)
    return result


def bench_traffic(server: ServerProcess, options: argparse.Namespace) -> Result:
    """What goes wrong while a Traffic Manager drives the largest number of vehicles for some minutes."""
    client = server.client()
    with synchronous(client):
        # A fresh episode, so that lights and ticks stand where they stood in any other run.
        world = client.load_world(options.town, reset_settings=False)
        cars = spawn_cars(client, world, max(options.vehicles))
        found = traffic.drive(client, world, cars, server.port + 500, options.minutes, options.seed)
    return traffic.report(TownLibrary.standard(options.maps).load(options.town), found)


BENCHMARKS: dict[str, Callable[[ServerProcess, argparse.Namespace], Result]] = {
    "ticks": bench_ticks,
    "camera": bench_camera,
    "lidar": bench_lidar,
    "memory": bench_memory,
    "load": bench_load,
    "traffic": bench_traffic,
}


def main(arguments: list[str] | None = None) -> int:
    """Run benchmarks against a server of their own; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m carla_server.benchmark",
        description="Measure the server through the carla client.",
        epilog="example: python -m carla_server.benchmark ticks camera --vehicles 1 30 100",
    )
    parser.add_argument(
        "names", nargs="*", choices=[*BENCHMARKS, []], help="benchmarks to run (default: all but traffic)"
    )
    parser.add_argument("--town", default="Mini01", help="town (default %(default)s)")
    parser.add_argument("--vehicles", type=int, nargs="+", default=[1, 30, 100], help="numbers of vehicles")
    parser.add_argument("--minutes", type=float, default=10.0, help="simulated time of `traffic` (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of `traffic` (default %(default)s)")
    parser.add_argument("--maps", type=Path, action="append", default=[], help="folder with more towns")
    options = parser.parse_args(arguments)
    folders = [word for folder in options.maps for word in ("--maps", str(folder))]
    results: Result = {"cpu_count": os.cpu_count() or 0, "town": options.town}
    for name in options.names or [name for name in BENCHMARKS if name != "traffic"]:
        try:
            with running_server(*folders, town=options.town) as server:
                found = BENCHMARKS[name](server, options)
        except ServerNotReadyError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for key, number in found.items():
            print(f"{key:36} {number}", flush=True)
        results.update(found)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
