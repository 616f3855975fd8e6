"""Calls and answers as bytes: nothing here needs a socket."""

from __future__ import annotations

import math

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carla_server.wire import rpc, values

CALLS = msgpack.packb([0, 7, "version", [[False]]]) + msgpack.packb([0, 8, "get_actors_by_id", [[True], [1, 2]]])
EXPECTED = [rpc.Call(7, "version", ()), rpc.Call(8, "get_actors_by_id", ([1, 2],), True)]


@pytest.mark.parametrize("cut", range(len(CALLS) + 1))
def test_calls_survive_any_split_of_the_stream(cut: int) -> None:
    connection = rpc.RpcConnection()
    assert connection.receive(CALLS[:cut]) + connection.receive(CALLS[cut:]) == EXPECTED


@pytest.mark.parametrize(
    "message",
    [17, "text", [], [0, 1, "name"], [1, 2, None, None], [0, -1, "name", []], [0, 1, 5, []], [0, 1, "name", {}]],
)
def test_what_is_no_call_closes_the_connection(message: object) -> None:
    with pytest.raises(rpc.ProtocolError):
        rpc.RpcConnection().receive(msgpack.packb(message))


@pytest.mark.parametrize("garbage", [msgpack.packb("no call"), b"\xc1", b"\x91" * 5000])
def test_calls_before_garbage_are_as_good_as_any(garbage: bytes) -> None:
    with pytest.raises(rpc.ProtocolError) as caught:
        rpc.RpcConnection().receive(CALLS + garbage + CALLS)
    assert caught.value.before == EXPECTED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_calls_or_a_protocol_error(data: bytes) -> None:
    try:
        calls = rpc.RpcConnection().receive(data)
    except rpc.ProtocolError:
        return
    assert all(isinstance(call.name, str) for call in calls)


def test_answers_hold_python_values_not_numpy_ones() -> None:
    reply = msgpack.unpackb(rpc.answer(3, rpc.value([np.bool_(True), np.float32(0.5), np.arange(2)])))
    assert reply == [1, 3, None, [[1, [True, 0.5, [0, 1]]]]]
    assert type(reply[3][0][1][0]) is bool


def test_no_error_is_empty() -> None:
    # The client throws an exception with an empty text into its callers' faces otherwise.
    assert rpc.failure("")[0][1][0]
    assert rpc.void_failure("")[0][1][0]


def test_non_finite_controls_become_zero() -> None:
    control = values.vehicle_control([math.nan, math.inf, math.nan, False, False, False, 1])
    assert control[:3] == (0.0, 0.0, 0.0)


def test_controls_are_limited() -> None:
    assert values.vehicle_control([2.0, -3.0, 9, True, False, False, 99])[:3] == (1.0, -1.0, 1.0)


@pytest.mark.parametrize("item", [None, [1.0, 2.0], ["a", 1, 2], [[1], 2, 3], [1e12, 0, 0]])
def test_locations_that_are_none_are_refused(item: object) -> None:
    with pytest.raises(values.ArgumentError):
        values.location(item)


def test_optional_values() -> None:
    assert values.optional([False]) is None
    assert values.optional([True, 0.05]) == 0.05
    with pytest.raises(values.ArgumentError):
        values.optional([True])
