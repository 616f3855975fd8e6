"""What background traffic costs: milliseconds per tick for the simulator, for our traffic, and per background car.

The ego is moved along a route of the loaded town at constant speed, so nothing but traffic is measured. The limit is the
Traffic Manager, which plans every car in every tick on the client's side, and the simulator's own step.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import carla

from driving.commands import RoadOption
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.route_context import RouteContext
from srunner.tools.places import copy_transform, path_ahead
from srunner.traffic.background import BackgroundBehavior

TICK_S = 0.05
EGO_SPEED_MPS = 8.0
ROUTE_M = 800.0


def longest_path(road_map: Any) -> list[Any]:
    """The longest way along first branches from a handful of spawn points, 1 m steps."""
    starts = [road_map.get_waypoint(pose.location) for pose in road_map.get_spawn_points()[:20]]
    return max((path_ahead(start, ROUTE_M, 1.0) for start in starts), key=len)


def measure(client: Any, manager: Any, ticks: int, seed: int) -> dict[str, float]:
    """Drive and time.

    Args:
        client: `carla.Client`.
        manager: Its Traffic Manager, synchronous.
        ticks: Ticks to time.
        seed: Seed of the traffic.

    Returns:
        Mean milliseconds per tick of the simulator (Traffic Manager included) and of our traffic, and mean number of cars.
    """
    world = client.get_world()
    CarlaDataProvider.set_client(client)
    CarlaDataProvider.set_world(world)
    path = longest_path(world.get_map())
    route = [(waypoint.transform, RoadOption.LANEFOLLOW) for waypoint in path]
    blueprint = world.get_blueprint_library().find("vehicle.lincoln.mkz_2020")
    blueprint.set_attribute("role_name", "hero")
    pose = copy_transform(path[0].transform)
    pose.location.z += 0.5
    ego = world.spawn_actor(blueprint, pose)
    ego.set_simulate_physics(False)
    context = RouteContext(client, world, ego, route, traffic_manager=manager, seed=seed)
    node = BackgroundBehavior(context)
    simulator = traffic = cars = 0.0
    for tick in range(ticks):
        begin = time.perf_counter()
        world.tick()
        ticked = time.perf_counter()
        CarlaDataProvider.on_carla_tick()
        node.tick_once()
        traffic += time.perf_counter() - ticked
        simulator += ticked - begin
        cars += len(node.traffic.fleet.cars)
        ego.set_transform(path[min(int(tick * TICK_S * EGO_SPEED_MPS), len(path) - 1)].transform)
    context.release()
    ego.destroy()
    world.tick()
    return {"simulator_ms": 1e3 * simulator / ticks, "traffic_ms": 1e3 * traffic / ticks, "cars": cars / ticks}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the last line is JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m srunner.benchmark",
        description="Cost of background traffic on a running server.",
        epilog="example: python -m carla_server --port 2000 & python -m srunner.benchmark --port 2000",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--traffic-manager-port", type=int, default=8000)
    parser.add_argument("--ticks", type=int, default=600, help="ticks to time (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    client = carla.Client(options.host, options.port)
    client.set_timeout(60.0)
    try:
        world = client.get_world()
    except RuntimeError as error:
        print(
            f"no simulator at {options.host}:{options.port} ({error}); start one with: python -m carla_server",
            file=sys.stderr,
        )
        return 2
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK_S
    world.apply_settings(settings)
    manager = client.get_trafficmanager(options.traffic_manager_port)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(options.seed)
    try:
        result = measure(client, manager, options.ticks, options.seed)
    finally:
        world.apply_settings(before)
    print(
        f"simulator and Traffic Manager {result['simulator_ms']:.2f} ms, our traffic {result['traffic_ms']:.2f} ms per tick"
    )
    town = world.get_map().name.rsplit("/", 1)[-1]
    print(json.dumps({"benchmark": "background_traffic", "town": town, "machine": platform.machine(), **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
