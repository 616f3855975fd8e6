"""Scenarios and background traffic against a running server with the real client and CARLA's own Traffic Manager."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import carla
import pytest
from py_trees.common import Status

from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.route_context import RouteContext
from srunner.scenariomanager.scenario_info import ScenarioPhase
from srunner.scenariomanager.scenarioatomics.atomic_behaviors import FreezeLights
from srunner.scenariomanager.timer import GameTime
from srunner.scenarios import registry
from srunner.scenarios.basic_scenario import BasicScenario
from srunner.tools.places import copy_transform, flat_distance
from srunner.traffic.background import BackgroundBehavior
from srunner.traffic.fleet import Duty
from tests.scenario_runner.drives import ROOT, TRIGGER, Case, case_of

DEMO = str(ROOT / "data" / "routes" / "demo_collect.xml")
EGO_SPEED = 8.0
TICK = 0.05


@dataclass
class ServerDrive:
    """A route on the server: the ego is moved along it, everything else is real."""

    world: Any
    route: list[Any]
    context: RouteContext
    scenario: BasicScenario
    traffic: BackgroundBehavior
    trigger: carla.Location
    index: float = 0.0

    def tick(self, speed: float) -> None:
        self.world.tick()
        GameTime.on_carla_tick(self.world.get_snapshot().timestamp)
        CarlaDataProvider.on_carla_tick()
        here = self.route[int(self.index)][0]
        if self.scenario.phase is ScenarioPhase.BUILT and flat_distance(here.location, self.trigger) < 2.0:
            blackboard.set(TRIGGER, True)
        self.scenario.behavior_tree.tick_once()
        self.traffic.tick_once()
        self.index = min(self.index + speed * TICK, len(self.route) - 1)
        pose = copy_transform(self.route[int(self.index)][0])
        pose.location.z += 0.3
        self.context.ego.set_transform(pose)

    def until(self, done: Any, seconds: float, speed: float = EGO_SPEED) -> bool:
        for _ in range(round(seconds / TICK)):
            if done():
                return True
            self.tick(speed)
        return bool(done())


@pytest.fixture(scope="module")
def traffic_manager(carla_client: Any) -> Any:
    manager = carla_client.get_trafficmanager(22590)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(0)
    return manager


@pytest.fixture
def drive_of(carla_client: Any, sync_world: Any, traffic_manager: Any) -> Iterator[Any]:
    contexts: list[RouteContext] = []

    def make(case: Case) -> ServerDrive:
        blackboard.clear()
        GameTime.restart()
        CarlaDataProvider.set_client(carla_client)
        CarlaDataProvider.set_world(sync_world)
        route = case.route
        blueprint = sync_world.get_blueprint_library().find("vehicle.lincoln.mkz_2020")
        blueprint.set_attribute("role_name", "hero")
        pose = copy_transform(route[0][0])
        pose.location.z += 0.5
        ego = sync_world.spawn_actor(blueprint, pose)
        ego.set_simulate_physics(False)
        sync_world.tick()
        CarlaDataProvider.on_carla_tick()
        context = RouteContext(carla_client, sync_world, ego, route, traffic_manager=traffic_manager, seed=1)
        contexts.append(context)
        case.config.route_var_name = TRIGGER
        scenario = registry.build(case.config, context)
        trigger = case.config.trigger_points[0].location
        return ServerDrive(sync_world, route, context, scenario, BackgroundBehavior(context), trigger)

    yield make
    for context in contexts:
        context.release()
        if context.ego.is_alive:
            context.ego.destroy()
    CarlaDataProvider.cleanup()


def others(drive: ServerDrive) -> list[str]:
    """What the route has made in the world."""
    drive.world.tick()
    kinds = ("vehicle.", "walker.", "static.prop")
    found = [actor for actor in drive.world.get_actors() if actor.type_id.startswith(kinds)]
    return [actor.type_id for actor in found if actor.id != drive.context.ego.id]


def test_parked_obstacle_and_traffic(drive_of):
    drive = drive_of(case_of(DEMO, "ParkedObstacle"))
    car = drive.scenario.actors["car"]
    place = drive.scenario.poses["car"].location
    assert drive.until(lambda: drive.scenario.phase is ScenarioPhase.ACTIVE, 10.0)
    assert len(drive.traffic.traffic.fleet.of(Duty.ROAD)) >= 2
    assert flat_distance(car.get_location(), place) < 0.5, "it stands"
    ahead = drive.traffic.traffic.front_cars(0)
    assert all(drive.traffic.traffic.gap(one) > 20.0 for one in ahead)
    assert drive.until(lambda: drive.scenario.phase is ScenarioPhase.ENDED, 20.0)
    assert not car.is_alive
    drive.context.release()
    assert others(drive) == []


def test_a_car_that_traffic_manager_destroyed_is_forgotten_at_once(drive_of):
    """It destroys cars that stand too long, by the route's own handles and after the tick: the last snapshot still has them."""
    drive = drive_of(case_of(DEMO, "ParkedObstacle"))
    fleet, state = drive.traffic.traffic.fleet, drive.context.state
    assert drive.until(lambda: len(fleet.cars) >= 2, 10.0)
    drive.tick(EGO_SPEED)
    gone, left = fleet.cars[0], fleet.cars[1]
    gone.actor.destroy()
    assert drive.world.get_snapshot().has_actor(gone.actor.id)
    assert not state.is_alive(gone.actor)
    assert state.is_alive(left.actor)
    drive.traffic.tick_once()
    assert gone not in fleet.cars
    assert left in fleet.cars


def test_walker_crosses(drive_of):
    drive = drive_of(case_of(DEMO, "DynamicObjectCrossing"))
    walker = drive.scenario.actors["walker"]
    assert drive.until(lambda: walker.is_alive and walker.get_velocity().length() > 1.0, 20.0)
    start = walker.get_location()
    assert start.z > -5.0
    conflict = drive.scenario.info().places["conflict"].location
    assert drive.context.ego.get_location().distance(conflict) < 20.0
    drive.until(lambda: False, 1.5)
    assert walker.get_location().distance(start) == pytest.approx(3.0, abs=0.5)
    drive.context.release()
    assert others(drive) == []


def test_traffic_ahead_brakes_hard(drive_of):
    drive = drive_of(case_of(DEMO, "HardBreakRoute"))
    assert drive.until(lambda: drive.scenario.phase is ScenarioPhase.ACTIVE, 15.0)
    ahead = [car for car in drive.traffic.traffic.fleet.of(Duty.ROAD) if drive.traffic.traffic.gap(car) > 0]
    assert ahead
    drive.until(lambda: False, 5.0, speed=0.0)
    assert all(car.actor.get_velocity().length() < 0.5 for car in ahead if car.actor.is_alive)


def test_oncoming_stream_at_a_light(drive_of):
    drive = drive_of(case_of(DEMO, "SignalizedJunctionLeftTurn"))
    drive.until(lambda: drive.scenario.phase is ScenarioPhase.ACTIVE, 10.0)
    drive.until(lambda: False, 6.0, speed=0.0)
    wanted = float(drive.scenario.config.other_parameters["flow_speed"]["value"])
    flow = [
        actor for actor in drive.world.get_actors().filter("vehicle.*") if actor.attributes["role_name"] == "scenario"
    ]
    assert len(flow) >= 2
    moving = flow[0].get_velocity().length()
    assert moving == pytest.approx(wanted, abs=0.5)
    states = {str(light.get_state()) for light in drive.world.get_actors().filter("traffic.traffic_light")}
    assert "Green" in states
    drive.context.release()
    assert others(drive) == []


def test_lights_cycle_on_after_they_were_held(sync_world):
    """Every light of a junction that was held shows green again within two cycles, and never two arms at once for long."""
    CarlaDataProvider.set_world(sync_world)
    GameTime.restart()
    lights = sync_world.get_actors().filter("traffic.traffic_light")
    held = list(lights[0].get_group_traffic_lights())
    green, red = carla.TrafficLightState.Green, carla.TrafficLightState.Red
    freeze = FreezeLights([(light, green if light.id == held[0].id else red) for light in held])
    for _ in range(100):
        sync_world.tick()
        GameTime.on_carla_tick(sync_world.get_snapshot().timestamp)
        freeze.tick_once()
    assert [light.get_state() for light in held].count(green) == 1
    assert held[0].get_state() == green
    freeze.stop(Status.INVALID)
    seen: set[int] = set()
    for _ in range(2400):
        sync_world.tick()
        seen |= {light.id for light in held if light.get_state() == green}
        if len(seen) == len(held):
            break
    assert seen == {light.id for light in held}


def test_equal_seeds_make_equal_drives(drive_of, traffic_manager):
    """Positions of all background cars after five seconds agree between two drives of one route."""

    def positions() -> list[tuple[float, float]]:
        traffic_manager.set_random_device_seed(0)
        drive = drive_of(case_of(DEMO, "HardBreakRoute"))
        drive.until(lambda: False, 5.0)
        cars = sorted(drive.traffic.traffic.fleet.cars, key=lambda car: car.actor.id)
        found = [(round(car.location.x, 3), round(car.location.y, 3)) for car in cars]
        drive.context.release()
        drive.context.ego.destroy()
        drive.world.tick()
        return found

    first, second = positions(), positions()
    assert len(first) > 2
    assert first == second
