"""What calls do to a world, without sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from carla_server.calls import Session, Simulator, dispatch
from carla_server.map import RoadMap
from carla_server.wire import recording, rpc
from carla_server.wire.values import Pose
from carla_server.world.actors import Actor
from carla_server.world.motion import MAX_SPEED
from carla_server.world.recorder import Recorder
from carla_server.world.world import World
from tests.carla_server import conftest

Spawn = Callable[..., Actor]
Call = Callable[..., Any]


@pytest.fixture
def call(world: World) -> Call:
    """`call("method", argument, …)`: the call's result as the client receives it, still wrapped."""
    simulator, session = Simulator(world), Session()

    def ask(name: str, *arguments: Any) -> Any:
        answer = msgpack.unpackb(dispatch(simulator, session, rpc.Call(1, name, arguments)), strict_map_key=False)
        assert answer[2] is None
        return answer[3]

    return ask


def test_bones_turn_with_their_walker(call: Call, spawn: Spawn) -> None:
    walker = spawn("walker.pedestrian.0001", Pose(0.0, 0.0, 1.0, 0.0, 90.0, 0.0))
    bones = {name: place for name, place, *_ in call("get_bones_transform", walker.id)[0][1][0]}
    # Who looks along y (south) has the right shoulder at lower x (west).
    assert bones["crl_shoulder__R"][0] == pytest.approx([-0.18, 0.0, 1.5])
    assert bones["crl_foot__L"][0] == pytest.approx([0.1, 0.05, 0.12])
    assert bones["crl_shoulder__R"][1] == pytest.approx([0.0, 90.0, 0.0])


def test_a_command_that_fails_in_whatever_way_costs_no_other_command_its_result(call: Call, world: World) -> None:
    nowhere = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    endless = [1, "sensor.other.imu", [["noise_seed", 2, "inf"]]]
    spectator, frame = world.spectator.id, world.frame
    commands = [
        [[0, [endless, nowhere, [False], 0, "", []]]],
        [[6, [spectator, [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]]]],
    ]
    first, second = call("apply_batch", commands, True)
    assert first[0][0] == 0
    assert "noise_seed must be a number, got 'inf'" in first[0][1][0]
    assert second == [[1, spectator]]
    assert world.frame == frame + 1


def test_imus_feel_the_gravity_that_was_set_until_the_next_episode(
    call: Call, world: World, spawn: Spawn, recorder: conftest.Recorder
) -> None:
    imu = spawn("sensor.other.imu")
    call("set_imui_gravity", 3.7)
    world.tick()
    accelerometer, _, _ = msgpack.unpackb(recorder.of(imu.stream)[-1][48:])
    assert accelerometer == pytest.approx([0.0, 0.0, 3.7])
    call("load_new_episode", "Mini01", True)
    assert call("get_imui_gravity") == [[1, pytest.approx(9.81)]]


def test_a_recording_that_is_begun_anew_holds_nothing_of_the_one_before(
    world: World, spawn: Spawn, tmp_path: Path
) -> None:
    simulator, session = Simulator(world, tmp_path), Session()
    spawn("vehicle.tesla.model3")
    for ticks in (400, 3):
        dispatch(simulator, session, rpc.Call(1, "start_recorder", ("drive.log", False)))
        for _ in range(ticks):
            world.tick()
    dispatch(simulator, session, rpc.Call(1, "stop_recorder", ()))
    _, frames = recording.read((tmp_path / "drive.log").read_bytes())
    assert [frame.number for frame in frames] == [1, 2, 3]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_ends_the_recording_and_not_the_world(world: World, caplog: pytest.LogCaptureFixture) -> None:
    frame = world.frame
    world.record(Recorder(world, Path("/dev/full")))
    for _ in range(200):
        world.tick()
    assert world.recorder is None
    assert world.frame == frame + 200
    assert "/dev/full" in caplog.text
    world.record(Recorder(world, Path("/dev/full")))
    world.load("Mini01")
    assert world.recorder is None


def test_a_spawn_that_follows_a_spawn_brings_an_actor_of_its_own(call: Call, world: World) -> None:
    def spawning(x: float, *after: Any) -> list[Any]:
        place = [[x, 0.0, -90.0], [0.0, 0.0, 0.0]]
        return [[0, [[1, "vehicle.audi.tt", []], place, [False], 0, "", [*after]]]]

    gravity = [[15, [0, False]]]
    ((first,),) = call("apply_batch", [spawning(0.0, gravity, spawning(30.0, gravity))], False)
    cars = {actor.id: actor for actor in world.all_vehicles()}
    assert first[0] == 1
    assert first[1] in cars
    assert [world.pose(car).x for car in cars.values()] == [0.0, 30.0]
    assert all(world.rows.weightless[car.row] for car in cars.values())


def test_a_long_chain_of_actors_is_destroyed_whole(world: World, spawn: Spawn) -> None:
    before = [*world.actors]
    first = last = spawn("vehicle.tesla.model3")
    for _ in range(1500):
        last = spawn("sensor.other.collision", (0, 0, 0, 0, 0, 0), last.id)
    world.tick()
    assert world.destroy(first.id)
    assert [*world.actors] == before


def test_a_town_that_cannot_be_built_leaves_the_present_one(
    call: Call, world: World, spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(road_map: RoadMap) -> None:
        raise ValueError("a town without houses")

    car = spawn("vehicle.tesla.model3")
    recorder = Recorder(world, tmp_path / "drive.log")
    world.record(recorder)
    here, episode = world.road_map, world.episode
    monkeypatch.setattr("carla_server.world.world.scenery", broken)
    assert call("load_new_episode", "Mini02", True) == [[True, ["a town without houses"]]]
    assert (world.road_map, world.episode, world.recorder) == (here, episode, recorder)
    world.tick()
    assert car.id in world.actors


def test_a_map_with_no_lane_to_use_is_refused(call: Call) -> None:
    lane = '<lane id="-1" type="none" level="false"><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane>'
    center = '<center><lane id="0" type="none" level="false"/></center>'
    road = '<road name="" length="50" id="1" junction="-1"><planView><geometry s="0" x="0" y="0" hdg="0" length="50">'
    road += (
        f'<line/></geometry></planView><lanes><laneSection s="0">{center}<right>{lane}</right></laneSection></lanes>'
    )
    text = f'<OpenDRIVE><header revMajor="1" revMinor="4"/>{road}</road></OpenDRIVE>'
    ((failed, (message,)),) = call("copy_opendrive_to_file", text)
    assert failed
    assert "expected a lane that is used" in message


def test_a_recording_of_another_server_plays_what_is_known_here(
    call: Call, world: World, spawn: Spawn, tmp_path: Path
) -> None:
    simulator, session = Simulator(world, tmp_path), Session()
    car = spawn("vehicle.tesla.model3")
    world.record(Recorder(world, tmp_path / "drive.log"))
    for _ in range(10):
        world.tick()
    world.record(None)
    path = tmp_path / "drive.log"
    known, foreign = b"vehicle.tesla.model3", b"vehicle.tesla.model9"
    path.write_bytes(path.read_bytes().replace(known, foreign))
    world.destroy(car.id)
    there = {*world.actors}
    dispatch(simulator, session, rpc.Call(1, "replay_file", ("drive.log", 0.0, 0.0, 0, False)))
    frame = world.frame
    for _ in range(5):
        world.tick()
    assert world.frame == frame + 5
    assert {*world.actors} == there


HUGE = [3.4e38, -3.4e38, 3.4e38]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set_actor_target_velocity", [HUGE]),
        ("set_actor_target_angular_velocity", [HUGE]),
        ("enable_actor_constant_velocity", [HUGE]),
        ("add_actor_impulse", [HUGE]),
        ("add_actor_force", [HUGE]),
        ("add_actor_angular_impulse", [HUGE]),
        ("add_actor_impulse_at_location", [HUGE, [1.0e6, 1.0e6, 0.0]]),
    ],
)
def test_no_push_throws_an_actor_out_of_the_world(
    call: Call, world: World, spawn: Spawn, name: str, arguments: list[Any]
) -> None:
    car, walker = spawn("vehicle.tesla.model3"), spawn("walker.pedestrian.0001", 8)
    spawn("sensor.other.imu", (0, 0, 1, 0, 0, 0), car.id)
    call("apply_ackermann_control_to_vehicle", car.id, [0.1, 0.0, 5.0, 0.0, 0.0])
    for _ in range(20):
        for actor in (car, walker):
            assert call(name, actor.id, *arguments) == [[False]]
        world.tick()
    for actor in (car, walker):
        told = world.rows.wire["motion"][actor.row]
        assert np.isfinite(told).all()
        assert np.abs(told[6:9]).max() <= 2.0 * MAX_SPEED


def test_an_actor_that_no_recording_can_hold_ends_the_recording_and_not_the_world(
    call: Call, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.record(Recorder(world, tmp_path / "drive.log"))
    nowhere = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert call("spawn_actor", [1, "sensor.other.imu", [["role_name", 300, "front"]]], nowhere)[0][0] == 1
    frame = world.frame
    world.tick()
    assert world.frame == frame + 1
    assert world.recorder is None
    assert "drive.log ends" in caplog.text


def test_ticks_wait_for_an_announced_subscription_but_not_to_a_sensor_that_is_gone(world: World, spawn: Spawn) -> None:
    simulator, session = Simulator(world), Session()
    imu = spawn("sensor.other.imu")
    dispatch(simulator, session, rpc.Call(1, "get_sensor_token", (imu.stream,)))
    assert simulator.hold_tick(session) > 0.0
    world.destroy(imu.id)
    assert simulator.hold_tick(session) == 0.0
