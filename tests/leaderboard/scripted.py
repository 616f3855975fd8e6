"""A scripted ego on a real map: what criteria see, without a simulator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import carla

from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenarioatomics.atomic_criteria import Criterion
from srunner.scenariomanager.timer import GameTime
from tests.leaderboard.shared import REPOSITORY

TICK_S = 0.05


class Puppet:
    """An actor that is where the script puts it."""

    def __init__(self, actor_id: int, type_id: str = "vehicle.lincoln.mkz_2020", role: str = "hero"):
        self.id, self.type_id, self.is_alive = actor_id, type_id, True
        self.attributes = {"role_name": role}
        self.bounding_box = carla.BoundingBox(carla.Location(), carla.Vector3D(2.45, 0.93, 0.74))
        self.pose = carla.Transform()
        self.speed = 0.0

    def place(self, pose: carla.Transform, speed: float) -> None:
        self.pose, self.speed = pose, speed

    def get_transform(self) -> carla.Transform:
        return self.pose

    def get_location(self) -> carla.Location:
        return self.pose.location

    def get_velocity(self) -> carla.Vector3D:
        forward = self.pose.get_forward_vector()
        return carla.Vector3D(forward.x * self.speed, forward.y * self.speed, 0.0)

    def get_speed_limit(self) -> float:
        return 36.0


class TriggerBox(Puppet):
    """A traffic light or stop sign with its trigger volume."""

    def __init__(self, actor_id: int, type_id: str, pose: carla.Transform, box: carla.BoundingBox):
        super().__init__(actor_id, type_id, role="")
        self.pose, self.trigger_volume = pose, box
        self.state = carla.TrafficLightState.Red


class Actors(list[Any]):
    """The simulator's actor list."""

    def filter(self, pattern: str) -> list[Any]:
        stem = pattern.rstrip("*")
        return [actor for actor in self if actor.type_id.startswith(stem)]


class CollisionSensor:
    """Hands the listener to the script."""

    def __init__(self) -> None:
        self.listener: Any = None

    def listen(self, listener: Any) -> None:
        self.listener = listener

    def stop(self) -> None:
        self.listener = None

    def destroy(self) -> None:
        pass


class Stage:
    """The scripted world: one map, some puppets, a clock."""

    def __init__(self, road_map: carla.Map):
        self.map = road_map
        self.actor_list = Actors()
        self.sensor = CollisionSensor()
        self.ego = self.add(Puppet(1))
        self.frame = 100
        GameTime.restart()
        self._advance()

    def add(self, actor: Any) -> Any:
        self.actor_list.append(actor)
        return actor

    # what CarlaDataProvider asks its state
    def is_alive(self, actor: Any) -> bool:
        return bool(actor.is_alive)

    def location(self, actor: Any) -> carla.Location:
        return actor.pose.location

    def transform(self, actor: Any) -> carla.Transform:
        return actor.pose

    def speed(self, actor: Any) -> float:
        return actor.speed

    def actors(self) -> list[Any]:
        return self.actor_list

    def vehicles_of(self, role: str) -> list[Any]:
        return [actor for actor in self.actor_list if actor.attributes["role_name"] == role]

    def waypoint(self, location: carla.Location) -> carla.Waypoint:
        return self.map.get_waypoint(location)

    # what criteria ask the world
    @property
    def world(self) -> Stage:
        return self

    def get_actors(self) -> Actors:
        return self.actor_list

    def get_blueprint_library(self) -> Any:
        return SimpleNamespace(find=lambda name: name)

    def spawn_actor(self, *_: Any, **__: Any) -> CollisionSensor:
        return self.sensor

    def remove_all(self) -> None:
        pass

    def _advance(self) -> None:
        self.frame += 1
        GameTime.on_carla_tick(
            SimpleNamespace(frame=self.frame, delta_seconds=TICK_S, elapsed_seconds=self.frame * TICK_S)
        )

    def drive(self, criterion: Criterion, poses: list[carla.Transform], speed: float) -> Any:
        """One tick per pose; returns the criterion's last status."""
        status = None
        for pose in poses:
            self._advance()
            self.ego.place(pose, speed)
            criterion.tick_once()
            status = criterion.status
        return status

    def hit(self, actor: Any) -> None:
        """The collision sensor reports contact with an actor."""
        self.sensor.listener(SimpleNamespace(other_actor=SimpleNamespace(id=actor.id, type_id=actor.type_id)))


def mini_map() -> carla.Map:
    return carla.Map("Mini01", (REPOSITORY / "data" / "towns" / "Mini01.xodr").read_text(encoding="utf-8"))


@contextmanager
def stage_on(road_map: carla.Map) -> Iterator[Stage]:
    """A stage that `CarlaDataProvider` serves for the duration."""
    blackboard.clear()
    before = CarlaDataProvider._state
    stage = Stage(road_map)
    CarlaDataProvider._state = stage  # type: ignore[assignment]
    try:
        yield stage
    finally:
        CarlaDataProvider._state = before
        blackboard.clear()


def pose(x: float, y: float = 0.0, yaw_deg: float = 0.0) -> carla.Transform:
    return carla.Transform(carla.Location(x, y, 0.0), carla.Rotation(yaw=yaw_deg))


def straight(length_m: int) -> list[carla.Transform]:
    """A route along x with a point per metre."""
    return [pose(float(i)) for i in range(length_m + 1)]


def along(start_m: float, end_m: float, step_m: float = 0.5, y: float = 0.0) -> list[carla.Transform]:
    """Ego poses along x."""
    count = math.ceil(abs(end_m - start_m) / step_m)
    return [pose(start_m + (end_m - start_m) * i / count, y) for i in range(count + 1)]


def shifted(
    base: carla.Transform, forward_m: float = 0.0, right_m: float = 0.0, turn_deg: float = 0.0
) -> carla.Transform:
    """A pose moved in its own frame and turned."""
    ahead, right = base.get_forward_vector(), base.get_right_vector()
    location = (
        base.location
        + carla.Location(forward_m * ahead.x, forward_m * ahead.y)
        + carla.Location(right_m * right.x, right_m * right.y)
    )
    return carla.Transform(location, carla.Rotation(yaw=base.rotation.yaw + turn_deg))
