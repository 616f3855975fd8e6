"""What calls do to a world, without sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from carla_server.calls import Session, Simulator, dispatch
from carla_server.wire import recording, rpc
from carla_server.wire.values import Pose
from carla_server.world.actors import Actor
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
    assert "infinity" in first[0][1][0]
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


def test_ticks_wait_for_an_announced_subscription_but_not_to_a_sensor_that_is_gone(world: World, spawn: Spawn) -> None:
    simulator, session = Simulator(world), Session()
    imu = spawn("sensor.other.imu")
    dispatch(simulator, session, rpc.Call(1, "get_sensor_token", (imu.stream,)))
    assert simulator.hold_tick(session) > 0.0
    world.destroy(imu.id)
    assert simulator.hold_tick(session) == 0.0
