"""Laws of the world: order, determinism, contacts, lights, sensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import msgpack
import numpy as np
import pytest
from scipy.spatial import KDTree

from carla_server.sensors.instruments import to_geodetic
from carla_server.sensors.views import LampState, Light
from carla_server.wire.values import AckermannControl, Description, Pose, VehicleControl
from carla_server.world.actors import Actor
from carla_server.world.blueprints import BLUEPRINTS, blueprint
from carla_server.world.exits import LONGEST_PARTLY_FULL_S
from carla_server.world.junctions import NOBODY
from carla_server.world.lights import GREEN_S, RED_S, YELLOW_S, Phase, line_of
from carla_server.world.meetings import _distances
from carla_server.world.state import Kind, Turn
from carla_server.world.towns import TownLibrary, UnknownTownError
from carla_server.world.world import World, WorldError
from tests.carla_server.conftest import Recorder

SHARED = Path(__file__).resolve().parents[4] / "shared"
Spawn = Callable[..., Actor]
DT = 0.05
GO = VehicleControl(0.6, 0.1, 0.0, False, False, False, 0)


def at(world: World, number: int) -> Pose:
    point = world.road_map.spawn_points[number]
    return Pose(point.x, point.y, point.z, point.pitch, point.yaw, point.roll)


def busy_minute(library: TownLibrary, seed: int) -> bytes:
    """World-state and sensor bytes of a short scene with noise."""
    recorder = Recorder()
    world = World(library, "Mini01", recorder, seed)
    for number in range(0, 40, 4):
        car = world.spawn(Description(1, "vehicle.tesla.model3", []), at(world, number))
        world.control(car, GO._replace(steer=0.02 * number))
        noise = [["noise_accel_stddev_x", 3, "0.1"]]
        world.spawn(Description(1, "sensor.other.imu", noise), Pose(0, 0, 0, 0, 0, 0), car.id)
    for _ in range(60):
        world.tick(DT)
    return b"".join(message for _, message in recorder.messages)


def test_equal_seeds_give_equal_bytes_and_others_do_not(library: TownLibrary) -> None:
    first = busy_minute(library, 3)
    assert first == busy_minute(library, 3)
    assert first != busy_minute(library, 4)


def test_the_order_of_spawning_changes_no_motion(library: TownLibrary) -> None:
    def run(order: list[int]) -> dict[int, list[float]]:
        world = World(library, "Mini01", Recorder())
        cars = {number: world.spawn(Description(1, "vehicle.audi.tt", []), at(world, number)) for number in order}
        for number, car in cars.items():
            world.control(car, GO._replace(throttle=0.3 + 0.01 * number))
        for _ in range(40):
            world.tick(DT)
        return {number: world.rows.motion[car.row].tolist() for number, car in cars.items()}

    assert run([0, 6, 12, 18]) == run([18, 0, 12, 6])


def test_an_occupied_place_is_refused_and_one_far_below_is_not(world: World, spawn: Spawn) -> None:
    spawn("vehicle.tesla.model3", 0)
    with pytest.raises(WorldError, match="collision at spawn position"):
        spawn("vehicle.audi.tt", 0)
    spawn("vehicle.audi.tt", at(world, 0)._replace(z=-60.0))


def test_destroying_an_actor_destroys_what_it_carries(world: World, spawn: Spawn) -> None:
    car = spawn("vehicle.tesla.model3")
    camera = spawn("sensor.camera.rgb", (0, 0, 2, 0, 0, 0), car.id)
    assert world.destroy(car.id)
    assert camera.id not in world.actors
    assert not world.destroy(car.id)


def test_lights_and_signs_of_the_town_cannot_be_destroyed(world: World, spawn: Spawn) -> None:
    signals = [actor for actor in world.actors.values() if actor.kind in (Kind.LIGHT, Kind.SIGN)]
    for actor in signals:
        with pytest.raises(WorldError, match="belongs to the town"):
            world.destroy(actor.id)
    car = spawn("vehicle.tesla.model3")
    assert car.row not in {actor.row for actor in signals}
    assert all(int(world.rows.wire["id"][actor.row]) == actor.id for actor in signals)


def test_a_reload_empties_the_town_and_frames_go_on(world: World, spawn: Spawn) -> None:
    car = spawn("vehicle.tesla.model3")
    ids, episode, frame = set(world.actors), world.episode, world.frame
    world.load("Mini01")
    assert world.episode == episode + 1
    assert set(world.actors) == ids - {car.id}
    assert world.tick(DT) == frame + 1


def test_an_unknown_town_is_named_and_the_episode_goes_on(world: World) -> None:
    episode = world.episode
    with pytest.raises(UnknownTownError, match="Mini01"):
        world.load("Mini1")
    assert world.episode == episode


def test_cars_that_meet_head_on_do_not_pass_through_each_other(world: World, spawn: Spawn, recorder: Recorder) -> None:
    here = at(world, 0)
    ahead = (math.cos(math.radians(here.yaw)), math.sin(math.radians(here.yaw)))
    first = spawn("vehicle.tesla.model3", here)
    there = here._replace(x=here.x + 15 * ahead[0], y=here.y + 15 * ahead[1], yaw=here.yaw + 180)
    second = spawn("vehicle.tesla.model3", there)
    bump = spawn("sensor.other.collision", (0, 0, 0, 0, 0, 0), first.id)
    for car in (first, second):
        world.control(car, GO._replace(throttle=1.0, steer=0.0))
    for _ in range(60):
        world.tick(DT)
        apart = np.linalg.norm(world.rows.motion[first.row, :2] - world.rows.motion[second.row, :2])
        assert apart >= first.extent[0] + second.extent[0] - 0.01
    events = [msgpack.unpackb(message[48:]) for message in recorder.of(bump.stream)]
    assert events
    itself, other, impulse = events[0]
    assert (itself[0], other[0]) == (first.id, second.id)
    # The push on the first car points against the way it drove.
    assert impulse[0] * ahead[0] + impulse[1] * ahead[1] < -1000.0


def test_momentum_is_kept_when_a_moving_car_hits_a_standing_one(world: World, spawn: Spawn) -> None:
    here = at(world, 0)
    ahead = np.array((math.cos(math.radians(here.yaw)), math.sin(math.radians(here.yaw))))
    first = spawn("vehicle.tesla.model3", here)
    second = spawn("vehicle.tesla.model3", here._replace(x=here.x + 6 * ahead[0], y=here.y + 6 * ahead[1]))
    for _ in range(20):
        world.tick(DT)
    world.set_velocity(first, (8 * ahead[0], 8 * ahead[1], 0.0))
    total = []
    for _ in range(8):
        world.tick(DT)
        total.append(float(sum(world.rows.motion[car.row, 6:8] @ ahead for car in (first, second))))
    assert world.rows.motion[second.row, 6:8] @ ahead > 1.0
    # Rolling resistance takes a little; nothing may add.
    assert total == sorted(total, reverse=True)
    assert total[-1] > 7.0


def test_a_car_that_pushes_against_a_wall_stands_still(world: World, spawn: Spawn) -> None:
    here = at(world, 0)
    ahead = (math.cos(math.radians(here.yaw)), math.sin(math.radians(here.yaw)))
    car = spawn("vehicle.tesla.model3", here)
    wall = spawn("static.prop.container", here._replace(x=here.x + 8 * ahead[0], y=here.y + 8 * ahead[1], z=0.0))
    assert world.rows.body[wall.row, 8] >= 1e8
    world.control(car, GO._replace(throttle=1.0, steer=0.0))
    for _ in range(100):
        world.tick(DT)
    for _ in range(20):
        world.tick(DT)
        assert np.linalg.norm(world.rows.motion[car.row, 6:9]) < 0.01


def test_a_car_between_walls_is_no_faster_than_it_gets_on(world: World, spawn: Spawn) -> None:
    here = at(world, 0)._replace(yaw=0.0)
    car = spawn("vehicle.lincoln.mkz_2020", here)
    for ahead, right, turn in ((3.6, 2.0, -45.0), (4.1, 1.0, -28.0), (3.9, -2.7, 5.0)):
        place = Pose(here.x + ahead, here.y + right, 0.0, 0.0, turn, 0.0)
        world.spawn(Description(1, "static.prop.container", []), place, forced=True)
    world.control(car, GO._replace(throttle=1.0, steer=0.0))
    row = world.rows.motion[car.row]
    for _ in range(120):
        world.tick(DT)
    places, speeds = [row[:2].copy()], []
    for _ in range(40):
        world.tick(DT)
        places.append(row[:2].copy())
        speeds.append(math.hypot(row[6], row[7]))
    made = np.hypot(*np.diff(places, axis=0).T) / DT
    assert np.mean(speeds) < np.mean(made) + 0.1


def test_lights_of_a_junction_take_turns(world: World) -> None:
    group = max(world.lights.groups, key=lambda group: len(group.stages))
    cycle = GREEN_S + YELLOW_S + RED_S
    seen = []
    for _ in range(round(cycle * len(group.stages) / DT)):
        world.tick(DT)
        lamps = [{int(world.rows.wire["lamp"][row]) for row in stage.lights} for stage in group.stages]
        assert all(len(shown) == 1 for shown in lamps)
        assert sum(shown != {LampState.RED} for shown in lamps) <= 1
        seen.append(group.turn)
    assert set(seen) == set(range(len(group.stages)))
    assert group.phase is Phase.GREEN
    assert group.turn == 0


@pytest.mark.timeout(60)
def test_lights_whose_phases_have_no_length_end_one_in_every_tick(world: World) -> None:
    group = max(world.lights.groups, key=lambda group: len(group.stages))
    for stage in group.stages:
        stage.times = [0.0, 0.0, 0.0]
    phases = []
    for _ in range(6):
        world.tick(DT)
        phases.append(group.phase)
    assert phases == [Phase.YELLOW, Phase.ALL_RED, Phase.GREEN] * 2
    group.stages[0].times = [GREEN_S, 0.0, 0.0]
    for _ in range(round(GREEN_S / DT) - 1):
        world.tick(DT)
    assert (group.turn, group.phase) == (0, Phase.GREEN)


def test_a_frozen_light_stands_still(world: World) -> None:
    world.lights.freeze(True)
    before = world.rows.wire["lamp"].copy()
    for _ in range(600):
        world.tick(DT)
    np.testing.assert_array_equal(world.rows.wire["lamp"], before)


def test_a_vehicle_before_its_stop_line_knows_its_light(world: World, spawn: Spawn) -> None:
    signal = next(row for row in world.road_map.signals.values() if row.type == "1000001" and row.lanes)
    line = line_of(signal)
    assert line is not None
    cos, sin = math.cos(signal.stop_yaw), math.sin(signal.stop_yaw)
    lane = world.road_map.lanes[signal.lanes[0]]
    x, y = lane.travel_center[-1, :2]
    car = spawn("vehicle.tesla.model3", (x - 4 * cos, y - 4 * sin, 0.2, 0, math.degrees(signal.stop_yaw), 0))
    # Half a car length before the line, whatever distance the line has from the end of the lane.
    middle = line[0]
    along = (middle[0] - x) * cos + (middle[1] - y) * sin - 3.0
    world.place(car, Pose(x + along * cos, y + along * sin, 0.0, 0, math.degrees(signal.stop_yaw), 0))
    light = world.signal_actors[signal.id]
    world.rows.wire["lamp"][light.row] = LampState.RED
    world.lights.freeze(True)
    world.tick(DT)
    assert world.rows.wire["light_id"][car.row] == light.id
    assert world.rows.wire["light_state"][car.row] == LampState.RED
    world.place(car, Pose(x + (along + 25) * cos, y + (along + 25) * sin, 0.0, 0, math.degrees(signal.stop_yaw), 0))
    world.tick(DT)
    assert not world.rows.wire["has_light"][car.row]
    assert world.rows.wire["light_state"][car.row] == LampState.GREEN


def test_a_stop_sign_holds_a_vehicle_until_it_has_stopped_and_the_junction_is_free(world: World, spawn: Spawn) -> None:
    signal = next(row for row in world.road_map.signals.values() if row.type == "206" and row.lanes)
    line = line_of(signal)
    assert line is not None
    yaw = math.degrees(signal.stop_yaw)
    cos, sin = math.cos(signal.stop_yaw), math.sin(signal.stop_yaw)
    x, y, z = (line[0] - 4.0 * np.array((cos, sin, 0.0))).tolist()
    car = spawn("vehicle.tesla.model3", (x, y, z, 0.0, yaw, 0.0))
    world.set_velocity(car, (cos, sin, 0.0))
    world.tick(DT)
    assert world.rows.wire["light_state"][car.row] == LampState.RED
    assert not world.rows.wire["has_light"][car.row]
    world.set_velocity(car, (0.0, 0.0, 0.0))
    world.tick(DT)
    assert world.rows.wire["light_state"][car.row] == LampState.GREEN
    lane = world.road_map.lanes[world.road_map.junctions[signal.junction].lanes[0]]
    middle = lane.center[len(lane.center) // 2]
    spawn("vehicle.audi.tt", (*middle.tolist(), 0.0, 0.0, 0.0))
    world.tick(DT)
    assert world.rows.wire["light_state"][car.row] == LampState.RED


def test_a_resting_imu_feels_gravity_and_knows_north(world: World, spawn: Spawn, recorder: Recorder) -> None:
    car = spawn("vehicle.tesla.model3", 0)
    imu = spawn("sensor.other.imu", (0, 0, 0, 0, 0, 0), car.id)
    for _ in range(40):
        world.tick(DT)
    accelerometer, gyroscope, compass = msgpack.unpackb(recorder.of(imu.stream)[-1][48:])
    np.testing.assert_allclose(accelerometer, (0.0, 0.0, 9.81), atol=1e-6)
    np.testing.assert_allclose(gyroscope, 0.0, atol=1e-9)
    yaw = world.rows.motion[car.row, 4]
    assert math.remainder(compass - math.radians(yaw + 90.0), 2 * math.pi) == pytest.approx(0.0, abs=1e-9)


def test_gnss_is_undone_by_the_leaderboards_formula(world: World) -> None:
    # Leaderboard, route_manipulation: the projection that turns route points into GPS, written the other way round.
    origin = world.road_map.geo_reference
    x, y = 123.0, -45.0
    latitude, longitude, altitude = to_geodetic(x, y, 2.5, origin)
    radius, scale = 6378137.0, math.cos(math.radians(origin.latitude))
    mercator_x = scale * math.radians(longitude) * radius - scale * math.radians(origin.longitude) * radius

    def northing(degrees: float) -> float:
        return scale * radius * math.log(math.tan(math.radians(90.0 + degrees) / 2.0))

    assert mercator_x == pytest.approx(x, abs=1e-6)
    assert northing(origin.latitude) - northing(latitude) == pytest.approx(y, abs=1e-6)
    assert altitude == 2.5


def test_sensor_tick_spaces_measurements(world: World, spawn: Spawn, recorder: Recorder) -> None:
    car = spawn("vehicle.tesla.model3", 0)
    gnss = spawn("sensor.other.gnss", (0, 0, 0, 0, 0, 0), car.id, sensor_tick="0.2")
    for _ in range(40):
        world.tick(DT)
    assert len(recorder.of(gnss.stream)) == 10


def test_attributes_of_lens_and_film_are_named_once_in_one_line(
    world: World, spawn: Spawn, caplog: pytest.LogCaptureFixture
) -> None:
    spawn("sensor.camera.rgb", fov="100", image_size_x="64", image_size_y="64")
    assert not caplog.records
    for _ in range(2):
        spawn("sensor.camera.rgb", lens_circle_multiplier="3.0", exposure_speed_up="1.5", fov="100")
    (record,) = caplog.records
    assert "exposure_speed_up=1.5" in record.getMessage()
    assert "lens_circle_multiplier=3.0" in record.getMessage()
    assert "fov" not in record.getMessage()


def test_an_obstacle_sensor_sees_the_car_ahead_at_its_distance(world: World, spawn: Spawn, recorder: Recorder) -> None:
    here = at(world, 0)
    cos, sin = math.cos(math.radians(here.yaw)), math.sin(math.radians(here.yaw))
    car = spawn("vehicle.tesla.model3", here)
    ahead = spawn("vehicle.tesla.model3", here._replace(x=here.x + 12 * cos, y=here.y + 12 * sin))
    look = spawn("sensor.other.obstacle", (0, 0, 0.8, 0, 0, 0), car.id, distance="20", only_dynamics="true")
    for _ in range(20):
        world.tick(DT)
    _, other, distance = msgpack.unpackb(recorder.of(look.stream)[-1][48:])
    assert other[0] == ahead.id
    assert distance == pytest.approx(12.0 - ahead.extent[0] - 0.5, abs=0.05)


@pytest.mark.parametrize(
    ("text", "on"), [("true", True), ("True", True), ("1", True), ("false", False), ("False", False), ("0", False)]
)
def test_switches_of_sensors_are_read_as_clients_write_them(spawn: Spawn, text: str, on: bool) -> None:
    assert spawn("sensor.other.obstacle", only_dynamics=text).sensor.only_dynamics is on


@pytest.mark.parametrize(
    ("type_id", "name", "text"),
    [
        ("sensor.camera.rgb", "image_size_x", "0"),
        ("sensor.camera.depth", "image_size_y", "-4"),
        ("sensor.camera.rgb", "fov", "180"),
        ("sensor.camera.dvs", "fov", "nan"),
        ("sensor.camera.optical_flow", "fov", "0"),
        ("sensor.lidar.ray_cast", "range", "0"),
        ("sensor.lidar.ray_cast", "channels", "inf"),
        ("sensor.lidar.ray_cast_semantic", "horizontal_fov", "0"),
        ("sensor.other.radar", "range", "-1"),
        ("sensor.other.radar", "points_per_second", "1e10"),
        ("sensor.lidar.ray_cast", "points_per_second", "1e10"),
        ("sensor.lidar.ray_cast_semantic", "channels", "1000000000"),
        ("sensor.camera.rgb", "image_size_x", "100000"),
        ("sensor.camera.dvs", "positive_threshold", "nan"),
        ("sensor.other.imu", "noise_accel_stddev_x", "nan"),
        ("sensor.other.gnss", "noise_lat_bias", "inf"),
        ("sensor.other.obstacle", "distance", "far"),
        ("sensor.other.obstacle", "hit_radius", "-1"),
        ("sensor.other.collision", "sensor_tick", "nan"),
        ("static.prop.mesh", "scale", "nan"),
        ("static.trigger.friction", "friction", "slick"),
        ("static.trigger.friction", "extent_x", "nan"),
        ("static.trigger.friction", "extent_y", "-1"),
    ],
)
def test_what_cannot_work_with_an_attribute_is_refused_by_name_and_leaves_nothing(
    world: World, spawn: Spawn, type_id: str, name: str, text: str
) -> None:
    before = [*world.actors]
    with pytest.raises(ValueError, match=rf"{type_id}: .*({name}|pixel)"):
        spawn(type_id, **{name: text})
    assert [*world.actors] == before


@pytest.mark.parametrize("name", ["points_per_second", "noise_seed"])
@pytest.mark.parametrize("type_id", ["sensor.lidar.ray_cast", "sensor.other.radar"])
def test_numbers_below_zero_that_clients_may_set_silence_no_sensor(
    world: World, spawn: Spawn, recorder: Recorder, type_id: str, name: str
) -> None:
    sensor = spawn(type_id, **{name: "-7"})
    world.tick(DT)
    assert len(recorder.of(sensor.stream)) == 1


def test_blueprint_ids_are_unique_and_misspelt_ones_get_a_hint() -> None:
    assert len({row.id for row in BLUEPRINTS}) == len(BLUEPRINTS)
    with pytest.raises(ValueError, match=r"vehicle\.tesla\.model3"):
        blueprint("vehicle.tesla.model")


def test_every_vehicle_of_the_library_can_be_driven(world: World) -> None:
    for row in BLUEPRINTS:
        if row.family != "vehicle":
            continue
        car = world.spawn(Description(1, row.id, []), at(world, 0))
        assert car.kind is Kind.VEHICLE
        world.control(car, GO)
        start = world.rows.motion[car.row, :2].copy()
        for _ in range(40):
            world.tick(DT)
        assert np.hypot(*(world.rows.motion[car.row, :2] - start)) > 1.0, row.id
        world.destroy(car.id)


def approach(world: World, number: int, distance: float) -> Pose:
    """Place before a mouth that leads into a junction, so many metres from it to a car's middle."""
    lane = world.road_map.lanes[world.keeper._mouths[number].lane]
    s = lane.s[-1] - distance if lane.forward else lane.s[0] + distance
    (x, y, z), yaw, _ = world.road_map.pose_on(lane, s)
    return Pose(float(x), float(y), float(z), 0.0, math.degrees(yaw), 0.0)


def unlit_mouths(world: World) -> list[int]:
    """Mouths of the first junction without lights that roads lead into."""
    mouths = world.keeper._mouths
    junction = next(row.junction for row in mouths if not world.keeper._junctions[row.junction].lit)
    return [number for number, row in enumerate(mouths) if row.junction == junction]


def test_a_vehicle_stuck_inside_a_junction_keeps_others_out_but_never_the_hero(world: World, spawn: Spawn) -> None:
    keeper = world.keeper
    mouths = unlit_mouths(world)
    junction = keeper._mouths[mouths[0]].junction
    lanes = [lane for lane in world.road_map.lanes if keeper._of_lane[lane.index] == junction]
    middle = max(lanes, key=lambda lane: lane.length)
    spawn("vehicle.audi.tt", (*middle.center[len(middle.center) // 2].tolist(), 0.0, 0.0, 0.0))
    waiting = spawn("vehicle.tesla.model3", approach(world, mouths[0], 6.0))
    hero = spawn("vehicle.tesla.model3", approach(world, mouths[1], 6.0), role_name="hero")
    for _ in range(60):
        world.tick(DT)
    assert world.rows.wire["light_state"][waiting.row] == LampState.RED
    assert world.rows.wire["has_light"][waiting.row]
    assert not world.rows.wire["has_light"][hero.row]


def test_whoever_is_held_far_from_the_line_gets_a_turn_too(world: World, spawn: Spawn) -> None:
    keeper = world.keeper
    numbers = unlit_mouths(world)
    first = next(k for k in numbers if keeper._mouths[k].flow not in (NOBODY, 0))
    second = next(k for k in numbers if keeper._mouths[k].flow not in (NOBODY, keeper._mouths[first].flow))
    near = spawn("vehicle.tesla.model3", approach(world, first, 4.0))
    for _ in range(20):
        world.tick(DT)
    far = spawn("vehicle.tesla.model3", approach(world, second, 9.5 + near.extent[0]))
    shown = set()
    for _ in range(600):
        world.tick(DT)
        shown.add(int(world.rows.wire["light_state"][far.row]))
    assert shown == {LampState.RED, LampState.GREEN}


def test_a_free_junction_holds_nobody(world: World, spawn: Spawn) -> None:
    car = spawn("vehicle.tesla.model3", approach(world, unlit_mouths(world)[0], 6.0))
    for _ in range(60):
        world.tick(DT)
    assert not world.rows.wire["has_light"][car.row]


def behind(world: World, number: int, which: int = 0) -> Pose:
    """Place of a car that waits just behind a junction, on one of the ways out that a mouth leads to."""
    exits = world.keeper._exits
    out = world.road_map.lanes[exits._lanes[exits._of_mouth[number][which]]]
    (x, y, z), yaw, _ = world.road_map.pose_on(out, out.s[0] + 4.0 if out.forward else out.s[-1] - 4.0)
    return Pose(float(x), float(y), float(z), 0.0, math.degrees(yaw), 0.0)


def is_shown_red(world: World, car: Actor) -> bool:
    """Whether a car is shown red after half a second."""
    for _ in range(10):
        world.tick(DT)
    return bool(world.rows.wire["light_state"][car.row] == LampState.RED)


def all_green(world: World) -> None:
    """Show green everywhere and for good."""
    world.lights.freeze(True)
    world.rows.wire["lamp"][world.lights.boxes[:, 7].astype(int)] = LampState.GREEN


def test_nobody_enters_a_junction_of_which_a_way_out_is_full(world: World, spawn: Spawn) -> None:
    keeper = world.keeper
    ways = keeper._exits._of_mouth
    number = next(k for k, row in enumerate(keeper._mouths) if keeper._junctions[row.junction].lit and len(ways[k]) > 1)
    waiting = spawn("vehicle.tesla.model3", approach(world, number, 12.0))
    queue = spawn("vehicle.tesla.model3", behind(world, number, len(ways[number]) - 1))
    all_green(world)
    assert is_shown_red(world, waiting)
    world.destroy(queue.id)
    assert not is_shown_red(world, waiting)


def test_a_way_out_that_stays_full_does_not_starve_the_others(world: World, spawn: Spawn) -> None:
    ways = world.keeper._exits._of_mouth
    number = next(k for k, row in enumerate(world.keeper._mouths) if row.light != NOBODY and len(ways[k]) == 2)
    waiting = spawn("vehicle.tesla.model3", approach(world, number, 12.0))
    spawn("vehicle.tesla.model3", behind(world, number, 0))
    all_green(world)
    assert is_shown_red(world, waiting)
    for _ in range(int(LONGEST_PARTLY_FULL_S / DT)):
        world.tick(DT)
    assert not is_shown_red(world, waiting)
    spawn("vehicle.tesla.model3", behind(world, number, 1))
    assert is_shown_red(world, waiting)


BLINKERS = {Turn.LEFT: Light.LEFT_BLINKER, Turn.RIGHT: Light.RIGHT_BLINKER, Turn.AHEAD: Light.BRAKE}


def test_who_shows_by_the_blinkers_that_his_way_out_is_free_is_not_held_for_another_one(
    world: World, spawn: Spawn
) -> None:
    exits = world.keeper._exits
    number = next(k for k, row in enumerate(world.keeper._mouths) if row.light != NOBODY and len(exits._by_turn[k]) > 1)
    full, free = list(exits._by_turn[number])[:2]
    waiting = spawn("vehicle.tesla.model3", approach(world, number, 12.0))
    for way in exits._by_turn[number][full]:
        spawn("vehicle.tesla.model3", behind(world, number, exits._of_mouth[number].index(way)))
    all_green(world)
    assert is_shown_red(world, waiting)
    world.show_lights(waiting, BLINKERS[free])
    assert not is_shown_red(world, waiting)
    world.show_lights(waiting, BLINKERS[full])
    for _ in range(int(LONGEST_PARTLY_FULL_S / DT)):
        world.tick(DT)
    assert is_shown_red(world, waiting)


def ring_of_mouths(world: World) -> dict[int, Turn]:
    """Mouths with lights around a block, each with the turn that leads to the next."""
    exits, mouths = world.keeper._exits, world.keeper._mouths

    def onwards(number: int, turn: Turn) -> int:
        ways = exits._by_turn[number].get(turn, [])
        ahead = exits._next_mouth[ways[0]] if len(ways) == 1 else NOBODY
        return ahead if ahead != NOBODY and mouths[ahead].light != NOBODY else NOBODY

    for first, turn in product(range(len(mouths)), (Turn.RIGHT, Turn.LEFT)):
        ring, at = {first: turn}, onwards(first, turn)
        while at not in ring and at != NOBODY:
            # Where the block has no corner, its side goes on.
            ring[at] = turn if onwards(at, turn) != NOBODY else Turn.AHEAD
            at = onwards(at, ring[at])
        if at == first:
            return ring
    raise LookupError("no block has lights at every corner")


def test_queues_that_wait_for_one_another_in_a_ring_move_on_together(recorder: Recorder) -> None:
    towns = TownLibrary([SHARED / "carla_towns"])
    if "Town02" not in towns.names():
        pytest.skip("Town02 is not at hand")
    world = World(towns, "Town02", recorder, seed=1)
    ring = ring_of_mouths(world)
    exits = world.keeper._exits

    def put(place: Pose) -> Actor:
        return world.spawn(Description(1, "vehicle.tesla.model3", []), place)

    firsts = {number: put(approach(world, number, 8.0)) for number in ring}
    for number, turn in ring.items():
        world.show_lights(firsts[number], BLINKERS[turn])
        put(behind(world, number, exits._of_mouth[number].index(exits._by_turn[number][turn][0])))
    all_green(world)
    for _ in range(10):
        world.tick(DT)
    shown = world.rows.wire["light_state"]
    assert all(shown[car.row] == LampState.GREEN for car in firsts.values())
    # One who does not want to go on along the ring opens it: then those behind him wait for the room he makes.
    leaver = next(number for number in ring if len(exits._by_turn[number]) > 1)
    elsewhere = next(turn for turn in exits._by_turn[leaver] if turn is not ring[leaver])
    world.show_lights(firsts[leaver], BLINKERS[elsewhere])
    for _ in range(10):
        world.tick(DT)
    assert [number for number, car in firsts.items() if shown[car.row] == LampState.GREEN] == [leaver]


def test_who_is_hidden_far_below_the_road_holds_nobody(world: World, spawn: Spawn) -> None:
    number = unlit_mouths(world)[0]
    for which in range(len(world.keeper._exits._of_mouth[number])):
        place = behind(world, number, which)
        hidden = spawn("vehicle.audi.tt", place._replace(z=place.z - 200.0))
        world.rows.simulate[hidden.row] = False
    assert not is_shown_red(world, spawn("vehicle.tesla.model3", approach(world, number, 6.0)))


@pytest.mark.parametrize("town", ["Mini03", "Town10HD"])
def test_nobody_is_held_where_no_other_way_is_crossed_though_a_queue_stands_behind_it(town: str) -> None:
    """On Town10HD two roads meet end to end, and a light stands 11 m behind: cars wait in between."""
    library = TownLibrary([SHARED / "carla_towns"])
    if town not in library.names():
        pytest.skip(f"{town} is not at hand")
    world = World(library, town, Recorder(), seed=1)
    mouths, junctions = world.keeper._mouths, world.keeper._junctions
    free = [number for number, row in enumerate(mouths) if row.flow == NOBODY and not junctions[row.junction].lit]
    assert free
    for number in free:
        places = approach(world, number, 8.0), behind(world, number)
        waiting, queue = (world.spawn(Description(1, "vehicle.tesla.model3", []), place) for place in places)
        assert not is_shown_red(world, waiting), world.road_map.lanes[mouths[number].lane].key
        world.destroy(waiting.id)
        world.destroy(queue.id)


def crossing_mouths(library: TownLibrary, recorder: Recorder) -> tuple[World, int, int]:
    """Mini03, and two opposite mouths with right of way of which one has a left turn across the other's way."""
    world = World(library, "Mini03", recorder, seed=1)
    first = next(number for number, others in enumerate(world.keeper._meetings._against) if others)
    return world, first, min(world.keeper._meetings._against[first])


def drive_to(world: World, number: int, distance: float, speed: float, **attributes: str) -> Actor:
    """A car so many metres before a junction at a speed, m/s."""
    at_mouth = approach(world, number, distance)
    rows = [[name, 4, text] for name, text in attributes.items()]
    car = world.spawn(Description(1, "vehicle.tesla.model3", rows), at_mouth)
    yaw = math.radians(at_mouth.yaw)
    world.set_velocity(car, (speed * math.cos(yaw), speed * math.sin(yaw), 0.0))
    return car


def test_of_two_who_may_meet_inside_a_junction_the_later_one_slows_down_and_waits(
    library: TownLibrary, recorder: Recorder
) -> None:
    world, first, second = crossing_mouths(library, recorder)
    early, late = drive_to(world, first, 20.0, 12.0), drive_to(world, second, 26.0, 12.0)
    limit = world.rows.wire["speed_limit"][late.row]
    world.tick(DT)
    assert world.rows.wire["light_state"][early.row] == LampState.GREEN
    assert world.rows.wire["speed_limit"][late.row] < limit
    for _ in range(10):
        world.tick(DT)
    assert world.rows.wire["light_state"][late.row] == LampState.RED
    world.destroy(early.id)
    for _ in range(10):
        world.tick(DT)
    assert world.rows.wire["light_state"][late.row] == LampState.GREEN
    assert world.rows.wire["speed_limit"][late.row] == limit


def test_the_hero_makes_nobody_wait_who_has_right_of_way_too(library: TownLibrary, recorder: Recorder) -> None:
    world, first, second = crossing_mouths(library, recorder)
    hero = drive_to(world, first, 20.0, 12.0, role_name="hero")
    other = drive_to(world, second, 26.0, 12.0)
    limits = world.rows.wire["speed_limit"][[hero.row, other.row]].copy()
    for _ in range(10):
        world.tick(DT)
        assert not world.rows.wire["has_light"][[hero.row, other.row]].any()
    assert (world.rows.wire["speed_limit"][[hero.row, other.row]] == limits).all()


def test_cars_that_pass_corner_to_corner_do_not_touch(world: World, spawn: Spawn) -> None:
    """Bodies are round at their corners: boxes that overlap there by a hand's breadth leave the cars apart."""
    first = spawn("vehicle.tesla.model3", 0)
    x, y, z, pitch, yaw, roll = world.pose(first)
    length, width = 2.0 * first.extent[0], 2.0 * first.extent[1]

    def touching(along: float, across: float) -> bool:
        cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        place = (x + along * cos - across * sin, y + along * sin + across * cos, z, pitch, yaw, roll)
        second = world.spawn(Description(1, "vehicle.tesla.model3", []), Pose(*place), forced=True)
        world.tick(DT)
        touched = len(world.touched) > 0
        world.destroy(second.id)
        return touched

    assert not touching(length - 0.1, width - 0.1)
    assert touching(length - 0.1, width - 0.9)
    assert touching(length - 0.9, width - 0.1)


def test_friction_triggers_act_inside_their_box_only(world: World, spawn: Spawn) -> None:
    inside = spawn("vehicle.tesla.model3", 0)
    outside = spawn("vehicle.tesla.model3", 20)
    size = {f"extent_{axis}": "500" for axis in "xyz"}
    spawn("static.trigger.friction", 0, friction="0.35", **size)
    world.tick(DT)
    assert world.rows.body[inside.row, 11] == pytest.approx(0.1)
    assert world.rows.body[outside.row, 11] == pytest.approx(1.0)


def test_tyres_grip_again_when_the_friction_trigger_is_gone(world: World, spawn: Spawn) -> None:
    car = spawn("vehicle.tesla.model3", 0)
    trigger = spawn("static.trigger.friction", 0, friction="0.35")
    world.tick(DT)
    world.destroy(trigger.id)
    world.tick(DT)
    assert world.rows.body[car.row, 11] == pytest.approx(1.0)


def test_a_friction_trigger_is_turned_with_its_pose(world: World, spawn: Spawn) -> None:
    car = spawn("vehicle.tesla.model3", 0)
    place = world.pose(car)
    size = {"extent_x": "500", "extent_y": "100", "extent_z": "300"}
    beside = spawn("static.trigger.friction", place._replace(y=place.y + 4.0, yaw=0.0), friction="0.35", **size)
    world.tick(DT)
    assert world.rows.body[car.row, 11] == pytest.approx(1.0)
    world.place(beside, place._replace(y=place.y + 4.0, yaw=90.0))
    world.tick(DT)
    assert world.rows.body[car.row, 11] == pytest.approx(0.1)


@pytest.mark.parametrize("speed", [3.0, 8.0, 14.0])
def test_ackermann_control_reaches_its_speed_and_holds_it(world: World, spawn: Spawn, speed: float) -> None:
    car = spawn("vehicle.tesla.model3")
    start = world.rows.motion[car.row, :2].copy()
    car.ackermann = AckermannControl(0.0, 0.0, speed, 0.0, 0.0)
    world.changed()
    speeds = []
    for _ in range(200):
        world.tick(DT)
        speeds.append(float(world.rows.dynamic[car.row, 0]))
        # Kept on its lane: only the speed matters here.
        world.rows.motion[car.row, :2] = start
    assert speeds[-1] == pytest.approx(speed, rel=0.05)


def test_slopes_are_followed_and_hold_braked_cars(library: TownLibrary) -> None:
    world = World(library, "Mini03", Recorder())
    points = world.road_map.spawn_points
    steepest = max(range(len(points)), key=lambda number: abs(points[number].pitch))
    point = points[steepest]
    assert abs(point.pitch) > 1.0
    car = world.spawn(
        Description(1, "vehicle.lincoln.mkz_2020", []),
        Pose(point.x, point.y, point.z, point.pitch, point.yaw, point.roll),
    )
    world.control(car, GO._replace(throttle=0.0, steer=0.0, brake=1.0))
    for _ in range(40):
        world.tick(DT)
    start = world.rows.motion[car.row].copy()
    assert start[3] == pytest.approx(point.pitch, abs=0.7)
    for _ in range(40):
        world.tick(DT)
    np.testing.assert_allclose(world.rows.motion[car.row, :3], start[:3], atol=1e-6)
    world.control(car, GO._replace(throttle=0.7, steer=0.0))
    for _ in range(20):
        world.tick(DT)
        x, y, z = world.rows.motion[car.row, :3].tolist()
        assert z == pytest.approx(world.ground.height(x, y, z), abs=0.1)
    rise = world.rows.motion[car.row, 2] - start[2]
    assert np.sign(rise) == np.sign(point.pitch)


def test_ways_are_as_far_apart_as_a_tree_finds_them() -> None:
    rng = np.random.default_rng(1)
    points, others = rng.uniform(-50.0, 50.0, (40, 2)), rng.uniform(-50.0, 50.0, (300, 2))
    assert np.array_equal(_distances(points, others), KDTree(others).query(points)[0])
