"""One tick of the world as the expert sees it, read once and kept in arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import carla
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EgoState:
    """The ego vehicle.

    Attributes:
        id: Actor id.
        xyz: (3,) location of the actor origin in the world, metres.
        pitch, yaw, roll: Radians; ``yaw`` is the compass heading the controllers use.
        speed: Length of the velocity, m/s.
        extent: (3,) half sizes, metres.
        box_offset: (3,) centre of the bounding box in the vehicle frame, metres.
    """

    id: int
    xyz: Array
    pitch: float
    yaw: float
    roll: float
    speed: float
    extent: Array
    box_offset: Array

    @property
    def forward(self) -> Array:
        """(2,) unit vector of the heading."""
        return np.array([np.cos(self.yaw), np.sin(self.yaw)])


@dataclass(frozen=True)
class ActorBatch:
    """N actors of one kind.

    Attributes:
        actors: The carla objects, in the order of the arrays.
        ids: (N,) actor ids.
        xyz: (N, 3) origins in the world, metres.
        angles: (N, 3) pitch, yaw, roll, radians.
        velocity: (N, 3) m/s.
        extent: (N, 3) half sizes, metres.
        box_offset: (N, 3) centres of the bounding boxes in the actor frame, metres.
        control: (N, 3) vehicles: steer, throttle, brake; walkers: direction of motion.
        is_bicycle: (N,) whether it is a bicycle.
    """

    actors: Sequence[Any]
    ids: NDArray[np.int64]
    xyz: Array
    angles: Array
    velocity: Array
    extent: Array
    box_offset: Array
    control: Array
    is_bicycle: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def xy(self) -> Array:
        """(N, 2) positions."""
        return self.xyz[:, :2]

    @property
    def yaw(self) -> Array:
        """(N,) headings, radians."""
        return self.angles[:, 1]

    @cached_property
    def speed(self) -> Array:
        """(N,) length of the velocity, m/s."""
        return np.linalg.norm(self.velocity, axis=1)

    def select(self, mask: NDArray[Any]) -> ActorBatch:
        """The actors where ``mask`` (N,) holds."""
        if mask.all():
            return self
        index = np.flatnonzero(mask)
        return ActorBatch(
            [self.actors[int(i)] for i in index],
            self.ids[index],
            self.xyz[index],
            self.angles[index],
            self.velocity[index],
            self.extent[index],
            self.box_offset[index],
            self.control[index],
            self.is_bicycle[index],
        )

    def half_width(self, i: int, yaw: float) -> float:
        """Half of what an actor takes of the road's width, metres, for a road that runs at ``yaw``, radians."""
        turn = self.angles[i, 1] - yaw
        return float(abs(np.cos(turn)) * self.extent[i, 1] + abs(np.sin(turn)) * self.extent[i, 0])

    def index_of(self, actor_id: int) -> int | None:
        """Position of an actor in the arrays, None if it is not among them."""
        found = np.flatnonzero(self.ids == actor_id)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True)
class LightView:
    """State of a traffic light."""

    id: int
    type_id: str
    state: carla.TrafficLightState


@dataclass(frozen=True)
class Scene:
    """Everything the expert's decision of one tick depends on, besides its route.

    Attributes:
        ego: The ego vehicle.
        vehicles: All other vehicles, bicycles included.
        walkers: All walkers.
        lights: Traffic lights by actor id.
    """

    ego: EgoState
    vehicles: ActorBatch
    walkers: ActorBatch
    lights: Mapping[int, LightView]


class _LightsNow(Mapping[int, LightView]):
    """The traffic lights of the current tick; one is asked for its state when somebody looks at it."""

    def __init__(self, lights: dict[int, carla.TrafficLight]) -> None:
        self._lights = lights

    def __getitem__(self, light_id: int) -> LightView:
        light = self._lights[light_id]
        return LightView(light_id, light.type_id, light.state)

    def __iter__(self) -> Iterator[int]:
        return iter(self._lights)

    def __len__(self) -> int:
        return len(self._lights)


@dataclass(frozen=True)
class _Shape:
    extent: tuple[float, float, float]
    offset: tuple[float, float, float]
    is_bicycle: bool


class _Kind:
    """The actors of one kind, as long as none comes or goes: what never changes about them, in arrays.

    Args:
        actors: N actors.
        shapes: Of each.
    """

    def __init__(self, actors: list[Any], shapes: list[_Shape]) -> None:
        self.actors = actors
        self.ids = np.array([actor.id for actor in actors], dtype=np.int64)
        self.extent = np.array([shape.extent for shape in shapes], dtype=np.float64).reshape(-1, 3)
        self.box_offset = np.array([shape.offset for shape in shapes], dtype=np.float64).reshape(-1, 3)
        self.is_bicycle = np.array([shape.is_bicycle for shape in shapes], dtype=bool)
        for array in (self.ids, self.extent, self.box_offset, self.is_bicycle):
            array.setflags(write=False)


class SceneReader:
    """Reads scenes from the simulator. What never changes about an actor is asked once.

    Args:
        world: The `carla.World`.
        ego: The ego vehicle.
    """

    def __init__(self, world: carla.World, ego: carla.Vehicle) -> None:
        self._world, self._ego = world, ego
        self._shapes: dict[int, _Shape] = {}
        self._lights = list(world.get_actors().filter("*traffic_light*"))
        self._lights_now = _LightsNow({light.id: light for light in self._lights})
        self._everyone: tuple[Sequence[carla.Actor], int] | None = None
        self._vehicles, self._walkers = _Kind([], []), _Kind([], [])

    @property
    def lights(self) -> list[carla.TrafficLight]:
        """All traffic lights of the town."""
        return self._lights

    def read(self, compass: float | None = None, actors: Sequence[carla.Actor] | None = None) -> Scene:
        """The scene of the current tick.

        Args:
            compass: Heading from the IMU, radians; None takes the actor's yaw.
            actors: All actors of the world if the caller has them already; the same list as long as they are the same.
        """
        everyone = self._world.get_actors() if actors is None else actors
        if self._everyone is None or self._everyone[0] is not everyone or self._everyone[1] != len(everyone):
            self._sort(everyone)
        vehicles, walkers = _batch(self._vehicles, _pedals), _batch(self._walkers, _direction)
        return Scene(self._read_ego(compass), vehicles, walkers, self._lights_now)

    def _sort(self, everyone: Sequence[carla.Actor]) -> None:
        """Note who is a vehicle and who a walker."""
        vehicles, walkers = [], []
        for actor in everyone:
            kind = actor.type_id
            if kind.startswith("vehicle."):
                if actor.id != self._ego.id:
                    vehicles.append(actor)
            elif kind.startswith("walker."):
                walkers.append(actor)
        self._everyone = everyone, len(everyone)
        self._vehicles = _Kind(vehicles, [self._shape(actor) for actor in vehicles])
        self._walkers = _Kind(walkers, [self._shape(actor) for actor in walkers])

    def _read_ego(self, compass: float | None) -> EgoState:
        transform, velocity = self._ego.get_transform(), self._ego.get_velocity()
        place, turn, shape = transform.location, transform.rotation, self._shape(self._ego)
        yaw = np.radians(turn.yaw) if compass is None else compass
        return EgoState(
            id=self._ego.id,
            xyz=np.array([place.x, place.y, place.z]),
            pitch=float(np.radians(turn.pitch)),
            yaw=float(yaw),
            roll=float(np.radians(turn.roll)),
            speed=float(np.sqrt(velocity.x**2 + velocity.y**2 + velocity.z**2)),
            extent=np.array(shape.extent),
            box_offset=np.array(shape.offset),
        )

    def _shape(self, actor: carla.Actor) -> _Shape:
        shape = self._shapes.get(actor.id)
        if shape is None:
            box = actor.bounding_box
            shape = _Shape(
                (box.extent.x, box.extent.y, box.extent.z),
                (box.location.x, box.location.y, box.location.z),
                actor.attributes.get("base_type") == "bicycle",
            )
            self._shapes[actor.id] = shape
        return shape


def _batch(kind: _Kind, control: Callable[[Any], tuple[float, float, float]]) -> ActorBatch:
    """The actors of a kind in the current tick."""
    rows = []
    for actor in kind.actors:
        transform, velocity = actor.get_transform(), actor.get_velocity()
        place, turn = transform.location, transform.rotation
        rows.append(
            (
                place.x,
                place.y,
                place.z,
                turn.pitch,
                turn.yaw,
                turn.roll,
                velocity.x,
                velocity.y,
                velocity.z,
                *control(actor),
            )
        )
    table = np.array(rows, dtype=np.float64).reshape(-1, 12)
    return ActorBatch(
        actors=kind.actors,
        ids=kind.ids,
        xyz=table[:, 0:3],
        angles=np.radians(table[:, 3:6]),
        velocity=table[:, 6:9],
        extent=kind.extent,
        box_offset=kind.box_offset,
        control=table[:, 9:12],
        is_bicycle=kind.is_bicycle,
    )


def _pedals(vehicle: carla.Vehicle) -> tuple[float, float, float]:
    control = vehicle.get_control()
    return control.steer, control.throttle, control.brake


def _direction(walker: carla.Walker) -> tuple[float, float, float]:
    direction = walker.get_control().direction
    return direction.x, direction.y, direction.z
