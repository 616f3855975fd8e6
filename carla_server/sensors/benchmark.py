"""How fast the sensors see: camera frames per second by scene load, and lidar points per second, on one core.

    python -m carla_server.sensors.benchmark --town Mini01

What limits a camera is printed too: the processor time of the parts of a picture. Rates are per second of processor
time of one core; rates by the wall clock stand beside them. Other work on the machine disturbs the former little as long
as it leaves the caches alone. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable

from carla_server.map import RoadMap
from carla_server.sensors import showcase
from carla_server.sensors.scene import ActorView, CameraSpec, Pose, Scene, WeatherView
from carla_server.sensors.suite import make_sensor

WIDTH, HEIGHT, FOV = 1024, 512, 110.0
LIDAR = {"channels": "64", "range": "85", "points_per_second": "600000", "rotation_frequency": "10"}
LIDAR_TICK = 0.05
LOADS = {"empty": (0, 0), "quiet": (20, 20), "busy": (80, 80)}
WEATHERS = {
    "clear": WeatherView(),
    "rain": WeatherView(cloudiness=80, precipitation=80, precipitation_deposits=80),
    "night": WeatherView(sun_altitude_angle=-90),
}


def rates(work: Callable[[int], None], rounds: int, first: int) -> tuple[float, float]:
    """Calls per second of processor time and of wall time, after `first` calls that build what is built once."""
    for k in range(first):
        work(k)
    cpu, wall = time.thread_time(), time.perf_counter()
    for k in range(rounds):
        work(k)
    return rounds / (time.thread_time() - cpu), rounds / (time.perf_counter() - wall)


def _street(town: RoadMap, load: tuple[int, int], seed: int) -> tuple[list[list[ActorView]], list[Pose]]:
    """Actors and camera poses along a few streets, with a queue of vehicles around the ego."""
    actors = showcase.traffic(town, *load, seed=seed)
    scenes, poses = [], []
    for spot in range(0, len(town.spawn_points), max(1, len(town.spawn_points) // 8)):
        ego, camera = showcase.ego_at(town, spot)
        scenes.append([*showcase.clear_of(actors, camera), ego])
        poses.append(camera)
    return scenes, poses


def camera_rate(scene: Scene, town: RoadMap, load: str, weather: str, rounds: int) -> tuple[float, float]:
    """RGB frames per second over several streets of a town."""
    scenes, poses = _street(town, LOADS[load], seed=1)

    def frame(k: int) -> None:
        at = k % len(poses)
        scene.render(CameraSpec(WIDTH, HEIGHT, FOV, poses[at], ("bgra",)), scenes[at], WEATHERS[weather], 0.05 * k)

    return rates(frame, rounds, len(poses))


def camera_parts(scene: Scene, town: RoadMap, load: str, rounds: int) -> dict[str, float]:
    """Processor time of each part of an RGB picture under a clear sky, milliseconds."""
    scenes, poses = _street(town, LOADS[load], seed=1)
    totals: dict[str, float] = {}
    begun = 0.0

    def done(part: str) -> None:
        nonlocal begun
        now = time.thread_time()
        totals[part] = totals.get(part, 0.0) + now - begun
        begun = now

    for k in range(rounds):
        at, begun = k % len(poses), time.thread_time()
        camera = CameraSpec(WIDTH, HEIGHT, FOV, poses[at], ("bgra",))
        scene.render(camera, scenes[at], WEATHERS["clear"], 0.05 * k, done=done)
    return {part: round(1e3 * seconds / rounds, 2) for part, seconds in totals.items()}


def lidar_rate(scene: Scene, town: RoadMap, rounds: int) -> tuple[float, float]:
    """Half turns of a 64-channel lidar per second, at 600,000 rays per simulated second."""
    scenes, poses = _street(town, LOADS["busy"], seed=1)
    lidar = make_sensor("sensor.lidar.ray_cast", LIDAR)

    def sweep(k: int) -> None:
        at = (k // 2) % len(poses)
        x, y, z, pitch, yaw, roll = poses[at]
        lidar.measure(
            scene, (x, y, z + 0.5, pitch, yaw - 90, roll), (0, 0, 0), scenes[at], WEATHERS["clear"], 0.0, LIDAR_TICK
        )

    return rates(sweep, rounds, 2 * len(poses))


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m carla_server.sensors.benchmark",
        description="Measure camera and lidar rates on one core.",
        epilog="example: python -m carla_server.sensors.benchmark --town Mini01 --rounds 100",
    )
    showcase.add_town(parser)
    parser.add_argument("--rounds", type=int, default=60, help="frames per measurement")
    options = parser.parse_args(arguments)
    town = options.town
    begun = time.perf_counter()
    scene = Scene(town)
    result: dict[str, object] = {"benchmark": "sensors", "town": town.name, "width": WIDTH, "height": HEIGHT}
    result["scene_s"] = round(time.perf_counter() - begun, 2)
    frames: dict[str, float] = {}
    for load, weather in (
        ("empty", "clear"),
        ("quiet", "clear"),
        ("busy", "clear"),
        ("busy", "rain"),
        ("busy", "night"),
    ):
        cpu, wall = camera_rate(scene, town, load, weather, options.rounds)
        frames[f"{load}_{weather}"] = round(cpu, 1)
        print(
            f"camera {WIDTH}x{HEIGHT} {load:6} {weather:6} {cpu:7.1f} frames per core second, {wall:7.1f} by the clock"
        )
    parts = {load: camera_parts(scene, town, load, options.rounds) for load in ("quiet", "busy")}
    for load, times in parts.items():
        print(f"a picture, {load} street: " + ", ".join(f"{part} {value} ms" for part, value in times.items()))
    cpu, wall = lidar_rate(scene, town, options.rounds)
    rays = cpu * float(LIDAR["points_per_second"]) * LIDAR_TICK
    print(
        f"lidar 64 channels           {rays / 1e6:7.2f} million rays per core second = {cpu * LIDAR_TICK:.1f} x real time"
    )
    result |= {
        "frames_per_core_s": frames,
        "picture_ms": parts,
        "lidar_rays_per_core_s": round(rays),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
