"""What calls do to a world, without sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from carla_server.calls import Session, Simulator, dispatch
from carla_server.wire import rpc
from carla_server.wire.values import Pose
from carla_server.world.actors import Actor
from carla_server.world.world import World
from tests.carla_server.conftest import Recorder

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
    call: Call, world: World, spawn: Spawn, recorder: Recorder
) -> None:
    imu = spawn("sensor.other.imu")
    call("set_imui_gravity", 3.7)
    world.tick()
    accelerometer, _, _ = msgpack.unpackb(recorder.of(imu.stream)[-1][48:])
    assert accelerometer == pytest.approx([0.0, 0.0, 3.7])
    call("load_new_episode", "Mini01", True)
    assert call("get_imui_gravity") == [[1, pytest.approx(9.81)]]
