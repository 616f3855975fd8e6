"""Vehicles move as the published models say, and hold what controllers ask for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from carla_server.wire.values import Description, Pose, VehicleControl
from carla_server.world import motion
from carla_server.world.actors import Actor
from carla_server.world.state import SPEED, YAW, X, Y
from carla_server.world.towns import TownLibrary
from carla_server.world.world import World
from tests.carla_server.conftest import Recorder

Spawn = Callable[..., Actor]
DT = 0.05
STRAIGHT = VehicleControl(0.0, 0.0, 0.0, False, False, False, 0)
MKZ = "vehicle.lincoln.mkz_2020"


def drive(world: World, car: Actor, speed: float, control: VehicleControl) -> np.ndarray:
    """Put a settled car at `speed` under `control` and return its motion before the next tick."""
    for _ in range(20):
        world.tick(DT)
    world.control(car, control)
    row = world.rows.motion[car.row]
    yaw = math.radians(row[YAW])
    beta = motion.slip_angle(control.steer, speed, world.rows.body[car.row])
    world.set_velocity(car, (speed * math.cos(yaw + beta), speed * math.sin(yaw + beta), 0.0))
    return row.copy()


@pytest.mark.parametrize(("speed", "steer"), [(5.0, 0.1), (12.0, -0.3), (8.0, 0.5), (3.0, 1.0)])
def test_one_step_is_that_of_the_published_bicycle(world: World, spawn: Spawn, speed: float, steer: float) -> None:
    # World on Rails (Chen et al. 2021): wheel = 0.36848336 steer, l_f = -0.090769015, l_r = 1.4178275.
    car = spawn(MKZ)
    before = drive(world, car, speed, STRAIGHT._replace(steer=steer, throttle=0.5))
    world.tick(DT)
    after = world.rows.motion[car.row]
    rear, yaw = 1.4178275, math.radians(before[YAW])
    beta = math.atan(rear / (rear - 0.090769015) * math.tan(0.36848336 * steer))
    expected = before[[X, Y]] + speed * DT * np.array((math.cos(yaw + beta), math.sin(yaw + beta)))
    np.testing.assert_allclose(after[[X, Y]], expected, atol=1e-6)
    turned = math.radians(after[YAW] - before[YAW])
    assert math.remainder(turned - speed / rear * math.sin(beta) * DT, 2 * math.pi) == pytest.approx(0.0, abs=1e-7)


def test_two_seconds_at_twenty_metres_per_second_are_forty_metres(world: World, spawn: Spawn) -> None:
    car = spawn(MKZ)
    start = drive(world, car, 20.0, STRAIGHT)[[X, Y]]
    world.rows.imposed[car.row, :4] = (1.0, 20.0, 0.0, 0.0)
    for _ in range(40):
        world.tick(DT)
    assert np.hypot(*(world.rows.motion[car.row, [X, Y]] - start)) == pytest.approx(40.0, abs=1e-6)


def regression_controller(target: float, speed: float) -> tuple[float, float]:
    """Throttle and brake of PDM-Lite's published linear regression controller; m/s."""
    target_kmh, kmh = 3.6 * target, 3.6 * speed
    error = target_kmh - kmh
    if error > 1.89:
        return 1.0, 0.0
    if kmh / target_kmh > 1.031266635497984:
        return 0.0, 1.0
    share, pace = max(error, 0.0) / 100, kmh / 100
    weights = (1.1990342347353184, -0.8057602384167799, 1.710818710950062, 0.921890257450335, 1.556497522998393)
    terms = (pace, pace * pace, 100 * share, share * share, pace * share)
    throttle = sum(w * t for w, t in zip(weights, terms)) - 0.7013479734904027 * pace * pace * share
    return min(max(throttle, 0.0), 1.0), 0.0


@pytest.mark.parametrize("target", [2.0, 5.0, 8.0, 13.9, 20.0, 27.0])
def test_the_experts_controller_holds_its_speed(world: World, spawn: Spawn, target: float) -> None:
    body = world.rows.body[spawn(MKZ).row]
    speed, speeds = 0.0, []
    for _ in range(600):
        throttle, brake = regression_controller(target, speed)
        speed = motion.next_speed(speed, np.array((throttle, 0.0, brake, 0.0, 1.0, 60.0)), body, 0.0, DT)
        speeds.append(speed)
    assert np.ptp(speeds[-100:]) < 0.02 * target
    assert speeds[-1] == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize(("kmh", "throttle"), [(0.0, 1.0), (36.0, 1.0), (36.0, 0.75), (72.0, 1.0), (100.0, 1.0)])
def test_acceleration_is_near_the_published_throttle_polynomial(
    world: World, spawn: Spawn, kmh: float, throttle: float
) -> None:
    t, v = throttle, kmh
    features = (v, v * v, t, t * t, v * t, v * t * t, v * v * t, v * v * t * t)
    weights = (0.963873001, 4.37535692e-4, -0.380192912, 1.74950069, 0.0916787414, -0.0705461530, -1.05996152e-3)
    published = (sum(w * f for w, f in zip((*weights, 6.71079346e-4), features)) - v) / 3.6 / DT
    body = world.rows.body[spawn(MKZ).row]
    control = np.array((throttle, 0.0, 0.0, 0.0, 1.0, 60.0))
    ours = (motion.next_speed(kmh / 3.6, control, body, 0.0, DT) - kmh / 3.6) / DT
    assert ours == pytest.approx(published, abs=0.4)


def test_full_braking_stops_and_never_reverses(world: World, spawn: Spawn) -> None:
    car = spawn(MKZ)
    start = drive(world, car, 15.0, STRAIGHT._replace(brake=1.0))[[X, Y]]
    for _ in range(80):
        world.tick(DT)
        assert world.rows.dynamic[car.row, SPEED] >= 0.0
    assert world.rows.dynamic[car.row, SPEED] == 0.0
    assert 8.0 < np.hypot(*(world.rows.motion[car.row, [X, Y]] - start)) < 20.0


def test_brakes_work_downhill(library: TownLibrary, recorder: Recorder) -> None:
    world = World(library, "Mini03", recorder)
    point = min(world.road_map.spawn_points, key=lambda row: row.pitch)
    assert point.pitch < -1.0
    pose = Pose(point.x, point.y, point.z, point.pitch, point.yaw, point.roll)
    car = world.spawn(Description(1, MKZ, []), pose)
    drive(world, car, 15.0, STRAIGHT._replace(brake=0.7))
    for _ in range(10):
        world.tick(DT)
    # Wheels that left the ground would not brake at all.
    slope = motion.GRAVITY * math.sin(math.radians(point.pitch))
    slowest = 15.0 - 0.5 * (motion.braking(14.0, 0.7, 1.0) + slope)
    assert world.rows.dynamic[car.row, SPEED] < slowest + 0.1


def test_reverse_gear_drives_backwards(world: World, spawn: Spawn) -> None:
    car = spawn(MKZ)
    start = drive(world, car, 0.0, STRAIGHT._replace(throttle=0.5, reverse=True))
    for _ in range(20):
        world.tick(DT)
    moved = world.rows.motion[car.row, [X, Y]] - start[[X, Y]]
    heading = np.array((math.cos(math.radians(start[YAW])), math.sin(math.radians(start[YAW]))))
    assert moved @ heading < -0.3
    assert world.rows.wire["gear"][car.row] == -1


def test_tyres_limit_the_curve_at_speed(world: World, spawn: Spawn) -> None:
    body = world.rows.body[spawn(MKZ).row]
    for speed in (5.0, 15.0, 30.0):
        beta = motion.slip_angle(1.0, speed, body)
        sideways = speed * speed * math.sin(beta) / motion.MODEL_REAR
        assert sideways <= motion.GRIP + 1e-9


def test_less_friction_means_less_braking_and_wider_curves(world: World, spawn: Spawn) -> None:
    dry = spawn(MKZ, 0)
    wet = spawn(MKZ, 10)
    world.rows.body[wet.row, 11] = 0.2
    brake = np.array((0.0, 0.0, 1.0, 0.0, 1.0, 60.0))
    bodies = world.rows.body[dry.row], world.rows.body[wet.row]
    after = [motion.next_speed(15.0, brake, body, 0.0, DT) for body in bodies]
    assert after[0] < after[1] < 15.0
    assert motion.slip_angle(0.8, 15.0, bodies[1]) < motion.slip_angle(0.8, 15.0, bodies[0])


def test_a_car_spawned_above_the_road_settles_on_it(world: World, spawn: Spawn) -> None:
    car = spawn(MKZ)
    for _ in range(40):
        world.tick(DT)
    x, y, z = world.rows.motion[car.row, :3].tolist()
    assert z == pytest.approx(world.ground.height(x, y, z), abs=1e-3)


def test_an_actor_without_physics_stays_where_it_is_put(world: World, spawn: Spawn) -> None:
    car = spawn(MKZ)
    world.simulate(car, False)
    world.place(car, Pose(50.0, -50.0, -500.0, 0.0, 30.0, 0.0))
    for _ in range(20):
        world.tick(DT)
    np.testing.assert_array_equal(world.rows.motion[car.row, :6], (50.0, -50.0, -500.0, 0.0, 30.0, 0.0))
    np.testing.assert_array_equal(world.rows.motion[car.row, 6:], 0.0)


def test_a_walker_goes_where_it_is_sent_at_its_speed(world: World, spawn: Spawn) -> None:
    point = world.road_map.spawn_points[3]
    walker = spawn("walker.pedestrian.0001", (point.x, point.y, 1.0, 0.0, 0.0, 0.0))
    world.rows.control[walker.row, :4] = (0.6, 0.8, 0.0, 1.5)
    start = world.rows.motion[walker.row, :2].copy()
    for _ in range(40):
        world.tick(DT)
    np.testing.assert_allclose(world.rows.motion[walker.row, :2] - start, (1.8, 2.4), atol=1e-6)
    np.testing.assert_allclose(world.rows.motion[walker.row, 6:8], (0.9, 1.2))


def rotation_of(pose: np.ndarray) -> np.ndarray:
    import carla

    transform = carla.Transform(carla.Location(*pose[:3].tolist()), carla.Rotation(*pose[3:6].tolist()))
    return np.array(transform.get_matrix())


def test_poses_are_composed_as_the_client_composes_transforms() -> None:
    pytest.importorskip("carla")
    generator = np.random.default_rng(4)
    for _ in range(50):
        parent = np.concatenate((generator.uniform(-50, 50, 3), generator.uniform(-80, 80, 3)))
        child = np.concatenate((generator.uniform(-3, 3, 3), generator.uniform(-80, 80, 3)))
        expected = rotation_of(parent) @ rotation_of(child)
        np.testing.assert_allclose(rotation_of(motion.compose(parent, child)), expected, atol=2e-4)
