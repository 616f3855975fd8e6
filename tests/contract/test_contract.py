"""What any CARLA 0.9.16 server does, asked through the real client.

Runs against our own server always, and against a real CARLA when the environment variable CARLA_HOST is set to
HOST:PORT (it is left as it was found: what the tests spawn is destroyed, the settings are put back).
"""

from __future__ import annotations

import math
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.conftest import ServerProcess, synchronous

carla = pytest.importorskip("carla")


@pytest.fixture(scope="module")
def client(any_server: ServerProcess) -> Any:
    return any_server.client()


@pytest.fixture
def world(client: Any) -> Iterator[Any]:
    with synchronous(client) as world:
        yield world


@pytest.fixture
def car(world: Any) -> Any:
    return spawn(world, "vehicle.lincoln.mkz_2020")


def spawn(world: Any, name: str, number: int = 0) -> Any:
    """A vehicle on a spawn point, settled on the ground."""
    points = world.get_map().get_spawn_points()
    actor = world.spawn_actor(world.get_blueprint_library().find(name), points[number])
    for _ in range(20):
        world.tick()
    return actor


class Readings(queue.Queue):
    """What a sensor delivers. Holds the sensor: the client stops sensors that nobody refers to."""

    sensor: Any


def attach(world: Any, name: str, parent: Any, transform: Any = None, **attributes: str) -> Readings:
    """Put a sensor on a vehicle and return the queue it fills."""
    blueprint = world.get_blueprint_library().find(name)
    for key, value in attributes.items():
        blueprint.set_attribute(key, value)
    box = Readings()
    box.sensor = world.spawn_actor(blueprint, transform or carla.Transform(), attach_to=parent)
    box.sensor.listen(box.put)
    return box


def test_versions_agree(client: Any) -> None:
    assert client.get_server_version() == client.get_client_version()


def test_available_maps_hold_the_present_one(client: Any) -> None:
    present = client.get_world().get_map().name.rpartition("/")[2]
    assert present in {name.rpartition("/")[2] for name in client.get_available_maps()}


def test_frames_grow_by_one_and_time_by_the_step(world: Any) -> None:
    first = world.get_snapshot().timestamp
    for number in range(1, 6):
        frame = world.tick()
        stamp = world.get_snapshot().timestamp
        assert frame == stamp.frame == first.frame + number
        assert stamp.elapsed_seconds == pytest.approx(first.elapsed_seconds + 0.05 * number, abs=1e-6)
        assert stamp.delta_seconds == pytest.approx(0.05, abs=1e-6)


def test_nothing_moves_between_ticks(client: Any, world: Any, car: Any) -> None:
    car.apply_control(carla.VehicleControl(throttle=1.0))
    frame = world.get_snapshot().frame
    # Many calls that are no ticks.
    for _ in range(50):
        client.get_server_version()
    assert world.get_snapshot().frame == frame


def test_settings_come_back_as_they_were_set(client: Any) -> None:
    world = client.get_world()
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.1
    settings.no_rendering_mode = True
    world.apply_settings(settings)
    try:
        now = world.get_settings()
        assert now.synchronous_mode
        assert now.no_rendering_mode
        assert now.fixed_delta_seconds == pytest.approx(0.1)
    finally:
        world.apply_settings(before)


def test_blueprints_that_the_benchmarks_name_exist(world: Any) -> None:
    library = world.get_blueprint_library()
    for name in (
        *("vehicle.lincoln.mkz_2020", "vehicle.tesla.model3", "vehicle.diamondback.century", "vehicle.ford.ambulance"),
        *("walker.pedestrian.0001", "static.prop.constructioncone", "static.prop.trafficwarning"),
        *("sensor.camera.rgb", "sensor.lidar.ray_cast", "sensor.other.imu", "sensor.other.gnss"),
    ):
        assert library.find(name).id == name
    cars = [row for row in library.filter("vehicle.*") if row.get_attribute("base_type").as_str() == "car"]
    assert len(cars) > 10


def test_a_spawned_vehicle_is_listed_with_its_attributes(world: Any) -> None:
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    blueprint.set_attribute("role_name", "probe")
    point = world.get_map().get_spawn_points()[0]
    actor = world.spawn_actor(blueprint, point)
    world.tick()
    found = world.get_actors().find(actor.id)
    assert found.type_id == "vehicle.tesla.model3"
    assert found.attributes["role_name"] == "probe"
    assert found.attributes["number_of_wheels"] == "4"
    assert actor.get_location().distance(point.location) < 1.0
    assert 1.5 < actor.bounding_box.extent.x < 3.5


def test_an_occupied_spawn_point_gives_none(world: Any, car: Any) -> None:
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    assert world.try_spawn_actor(blueprint, car.get_transform()) is None


def test_destroyed_actors_leave_the_list(world: Any, car: Any) -> None:
    assert car.destroy()
    world.tick()
    assert world.get_actors().find(car.id) is None


def test_throttle_moves_and_brake_stops(world: Any, car: Any) -> None:
    start = car.get_location()
    car.apply_control(carla.VehicleControl(throttle=0.7))
    for _ in range(40):
        world.tick()
    assert car.get_velocity().length() > 3.0
    moved = car.get_location() - start
    forward = car.get_transform().get_forward_vector()
    assert moved.x * forward.x + moved.y * forward.y > 3.0
    car.apply_control(carla.VehicleControl(brake=1.0))
    for _ in range(60):
        world.tick()
    assert car.get_velocity().length() < 0.1


def test_steering_right_turns_clockwise_seen_from_above(world: Any, car: Any) -> None:
    before = car.get_transform().rotation.yaw
    car.apply_control(carla.VehicleControl(throttle=0.6, steer=0.5))
    for _ in range(40):
        world.tick()
    assert math.remainder(car.get_transform().rotation.yaw - before, 360.0) > 3.0


def test_controls_are_reported_in_the_snapshot(world: Any, car: Any) -> None:
    car.apply_control(carla.VehicleControl(throttle=0.25, steer=-0.5, brake=0.125))
    world.tick()
    control = car.get_control()
    assert (control.throttle, control.steer, control.brake) == (0.25, -0.5, 0.125)


def test_a_teleport_takes_effect_at_the_next_tick(world: Any, car: Any) -> None:
    target = world.get_map().get_spawn_points()[10]
    car.set_transform(target)
    world.tick()
    assert car.get_location().distance(target.location) < 1.0


def test_without_physics_a_vehicle_hangs_where_it_is_put(world: Any, car: Any) -> None:
    car.set_simulate_physics(False)
    place = car.get_transform()
    place.location.z = -500.0
    car.set_transform(place)
    for _ in range(10):
        world.tick()
    assert car.get_location().z == pytest.approx(-500.0, abs=0.01)


def test_batches_answer_each_command(client: Any, world: Any) -> None:
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    points = world.get_map().get_spawn_points()
    spawn_twice = [carla.command.SpawnActor(blueprint, points[0])] * 2
    first, second = client.apply_batch_sync(spawn_twice, True)
    assert not first.error
    assert "collision" in second.error
    (gone,) = client.apply_batch_sync([carla.command.DestroyActor(first.actor_id)], True)
    assert gone.actor_id == first.actor_id
    assert world.get_actors().find(first.actor_id) is None


def test_commands_after_a_spawn_act_on_the_new_actor(client: Any, world: Any) -> None:
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    point = world.get_map().get_spawn_points()[0]
    freeze = carla.command.SetSimulatePhysics(carla.command.FutureActor, False)
    (result,) = client.apply_batch_sync([carla.command.SpawnActor(blueprint, point).then(freeze)], True)
    for _ in range(20):
        world.tick()
    assert world.get_actor(result.actor_id).get_location().z == pytest.approx(point.location.z, abs=1e-3)


def test_walkers_walk(world: Any) -> None:
    blueprint = world.get_blueprint_library().find("walker.pedestrian.0001")
    point = world.get_map().get_spawn_points()[5]
    point.location.z += 1.0
    walker = world.spawn_actor(blueprint, point)
    for _ in range(20):
        world.tick()
    start = walker.get_location()
    walker.apply_control(carla.WalkerControl(carla.Vector3D(1.0, 0.0, 0.0), 1.4))
    for _ in range(40):
        world.tick()
    assert walker.get_location().x - start.x == pytest.approx(2.8, abs=0.4)


def test_weather_comes_back(world: Any) -> None:
    before = world.get_weather()
    world.set_weather(carla.WeatherParameters.HardRainNoon)
    world.tick()
    assert world.get_weather().precipitation == carla.WeatherParameters.HardRainNoon.precipitation
    world.set_weather(before)


def test_every_tick_brings_one_reading_of_each_sensor(world: Any, car: Any) -> None:
    boxes = {
        name: attach(world, name, car, **attributes)
        for name, attributes in {
            "sensor.camera.rgb": {"image_size_x": "64", "image_size_y": "32"},
            "sensor.other.imu": {},
            "sensor.other.gnss": {},
        }.items()
    }
    for _ in range(5):
        frame = world.tick()
        for name, box in boxes.items():
            assert box.get(timeout=10.0).frame == frame, name
    assert all(box.empty() for box in boxes.values())


def test_a_camera_delivers_what_was_ordered_from_where_it_hangs(world: Any, car: Any) -> None:
    place = carla.Transform(carla.Location(x=-1.5, z=2.0))
    box = attach(world, "sensor.camera.rgb", car, place, image_size_x="160", image_size_y="80", fov="100")
    world.tick()
    image = box.get(timeout=20.0)
    assert (image.width, image.height, image.fov) == (160, 80, 100.0)
    pixels = np.frombuffer(image.raw_data, np.uint8).reshape(80, 160, 4)
    assert np.ptp(pixels[..., :3]) > 30
    expected = car.get_transform().transform(place.location)
    assert image.transform.location.distance(expected) < 0.05


def test_imu_feels_gravity_at_rest(world: Any, car: Any) -> None:
    box = attach(world, "sensor.other.imu", car)
    for _ in range(20):
        world.tick()
        reading = box.get(timeout=5.0)
    assert reading.accelerometer.z == pytest.approx(9.81, abs=0.2)
    assert math.hypot(reading.accelerometer.x, reading.accelerometer.y) < 0.3
    yaw = math.radians(car.get_transform().rotation.yaw)
    assert math.remainder(reading.compass - yaw - math.pi / 2, 2 * math.pi) == pytest.approx(0.0, abs=0.05)


def test_a_collision_names_both_sides(world: Any, car: Any) -> None:
    ahead = car.get_transform()
    forward = ahead.get_forward_vector()
    ahead.location += carla.Location(8.0 * forward.x, 8.0 * forward.y, 0.3)
    wall = world.spawn_actor(world.get_blueprint_library().find("vehicle.carlamotors.firetruck"), ahead)
    box = attach(world, "sensor.other.collision", car)
    car.apply_control(carla.VehicleControl(throttle=1.0))
    for _ in range(60):
        world.tick()
    event = box.get(timeout=5.0)
    assert event.actor.id == car.id
    assert event.other_actor.id == wall.id
    assert event.normal_impulse.length() > 0.0


def test_traffic_lights_can_be_set_and_frozen(world: Any) -> None:
    lights = world.get_actors().filter("traffic.traffic_light*")
    assert len(lights) > 0
    light = lights[0]
    try:
        light.freeze(True)
        light.set_state(carla.TrafficLightState.Green)
        for _ in range(5):
            world.tick()
        assert light.get_state() == carla.TrafficLightState.Green
        assert light.id in {other.id for other in light.get_group_traffic_lights()}
    finally:
        light.freeze(False)
        world.tick()


def test_light_states_are_kept(world: Any, car: Any) -> None:
    wanted = carla.VehicleLightState(carla.VehicleLightState.Brake | carla.VehicleLightState.LeftBlinker)
    car.set_light_state(wanted)
    world.tick()
    assert int(car.get_light_state()) == int(wanted)


def test_physics_control_describes_four_wheels(world: Any, car: Any) -> None:
    physics = car.get_physics_control()
    assert len(physics.wheels) == 4
    assert physics.mass > 500.0
    front, rear = physics.wheels[0].position, physics.wheels[2].position
    # Wheel positions are centimetres in the world.
    assert 200.0 < math.hypot(front.x - rear.x, front.y - rear.y) < 400.0


def test_the_ground_is_found_below(world: Any, car: Any) -> None:
    above = car.get_location() + carla.Location(3.0, 0.0, 5.0)
    below = world.ground_projection(above, 20.0)
    assert below is not None
    assert below.location.z == pytest.approx(car.get_location().z, abs=0.5)


def test_an_unknown_actor_is_an_error_and_the_server_goes_on(client: Any, world: Any) -> None:
    (result,) = client.apply_batch_sync([carla.command.DestroyActor(4_000_000_000)], True)
    assert result.error
    assert world.tick() > 0


def test_an_unknown_map_is_an_error(client: Any) -> None:
    with pytest.raises(RuntimeError, match="not found"):
        client.load_world("NoSuchTown")


def test_a_second_client_sees_the_same_world(any_server: ServerProcess, world: Any, car: Any) -> None:
    other = any_server.client().get_world()
    world.tick()
    found = other.get_actor(car.id)
    assert found.type_id == car.type_id
    assert found.get_location().distance(car.get_location()) < 0.01


def test_the_traffic_manager_drives_within_its_lane(client: Any, world: Any) -> None:
    manager = client.get_trafficmanager(21800)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(5)
    vehicles = [spawn(world, "vehicle.tesla.model3", number) for number in (0, 20, 40)]
    try:
        for vehicle in vehicles:
            manager.auto_lane_change(vehicle, False)
            vehicle.set_autopilot(True, 21800)
        travelled = dict.fromkeys((vehicle.id for vehicle in vehicles), 0.0)
        for _ in range(400):
            world.tick()
            for vehicle in vehicles:
                travelled[vehicle.id] += vehicle.get_velocity().length() * 0.05
                here = vehicle.get_location()
                lane = world.get_map().get_waypoint(here)
                if not lane.is_junction:
                    assert lane.transform.location.distance_2d(here) < 1.0
        assert sum(travelled.values()) > 60.0
    finally:
        manager.set_synchronous_mode(False)
        # Its thread would end the process when it waits in vain for a server that is gone.
        manager.shut_down()


def test_reloading_keeps_working(client: Any) -> None:
    before = client.get_world()
    episode = before.id
    world = client.reload_world()
    assert world.id != episode
    with synchronous(client) as fresh:
        assert fresh.tick() > 0
        spawn(fresh, "vehicle.tesla.model3")
