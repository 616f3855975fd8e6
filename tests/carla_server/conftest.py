"""A world without sockets, for tests of what moves in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from carla_server.wire import streams
from carla_server.wire.values import Description, Pose
from carla_server.world.actors import Actor
from carla_server.world.towns import TownLibrary
from carla_server.world.world import World


class Recorder:
    """Keeps what a world sends; every stream is wanted."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []

    def wanted(self, stream: int) -> bool:
        return True

    def send(self, stream: int, message: bytes) -> None:
        self.messages.append((stream, message))

    def send_later(self, stream: int, header: bytes, measure: Callable[[], bytes]) -> None:
        self.send(stream, header + measure())

    def states(self) -> list[bytes]:
        return [message for stream, message in self.messages if stream == streams.WORLD_STREAM]

    def of(self, stream: int) -> list[bytes]:
        return [message for number, message in self.messages if number == stream]


@pytest.fixture(scope="session")
def library() -> TownLibrary:
    return TownLibrary()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def world(library: TownLibrary, recorder: Recorder) -> World:
    return World(library, "Mini01", recorder, seed=1)


@pytest.fixture
def spawn(world: World) -> Callable[..., Actor]:
    """`spawn("vehicle.tesla.model3", spawn point number or pose, parent id, **attributes)`."""

    def make(type_id: str, at: Any = 0, parent: int | None = None, **attributes: str) -> Actor:
        if isinstance(at, int):
            point = world.road_map.spawn_points[at]
            at = Pose(point.x, point.y, point.z, point.pitch, point.yaw, point.roll)
        rows = [[name, 4, text] for name, text in attributes.items()]
        return world.spawn(Description(1, type_id, rows), Pose(*at), parent)

    return make
