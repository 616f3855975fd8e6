"""One route's view of the simulator: actors it owns, their motion in the current tick, blueprint choice, spawning.

`CarlaDataProvider` is a facade over the current `WorldState` for agents that expect CARLA's scenario runner.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import carla
import numpy as np

from driving.geometry import Array
from srunner.tools.lane_index import LaneIndex
from srunner.tools.route_planner import GlobalRoutePlanner

LOG = logging.getLogger(__name__)

Key = TypeVar("Key")
Built = TypeVar("Built")

SPAWN_LIFT = 0.2
"""Models other than props are spawned this far above the asked pose, metres, so that wheels do not touch the road."""

DEFAULT_MODELS = {
    "car": "vehicle.tesla.model3",
    "van": "vehicle.volkswagen.t2",
    "bus": "vehicle.volkswagen.t2",
    "truck": "vehicle.carlamotors.carlacola",
    "motorcycle": "vehicle.kawasaki.ninja",
    "bicycle": "vehicle.diamondback.century",
    "pedestrian": "walker.pedestrian.0001",
    "misc": "static.prop.streetbarrier",
}
"""Stand-ins for models a simulator does not know, by category (carla-simulator/scenario_runner)."""


class SpawnError(RuntimeError):
    """The simulator refused to create an actor."""


class Motion:
    """Pose and velocity of an actor in one tick, world frame.

    Attributes:
        transform, velocity: As read; metres and degrees, m/s.
        location: Position, metres.
        speed: Horizontal speed, m/s; vertical motion does not count.
    """

    __slots__ = ("location", "speed", "transform", "velocity")

    def __init__(self, transform: carla.Transform, velocity: carla.Vector3D) -> None:
        self.transform, self.velocity = transform, velocity
        self.location: carla.Location = transform.location
        self.speed = math.hypot(velocity.x, velocity.y)


def _category(model: str, attributes: Mapping[str, Any]) -> str:
    if attributes.get("base_type") in DEFAULT_MODELS:
        return str(attributes["base_type"])
    if model.startswith("walker"):
        return "pedestrian"
    if model.startswith("static"):
        return "misc"
    return "car"


_READERS = {
    carla.ActorAttributeType.Bool: "as_bool",
    carla.ActorAttributeType.Int: "as_int",
    carla.ActorAttributeType.Float: "as_float",
    carla.ActorAttributeType.String: "as_str",
}


def _equals(attribute: Any, wanted: Any) -> bool:
    """Whether a blueprint attribute has a value; numbers and words may be written as text."""
    reader = _READERS.get(attribute.type)
    value = getattr(attribute, reader)() if reader else None
    if isinstance(wanted, (int, float)) and isinstance(value, str):
        return value.lower() == str(wanted).lower()
    return bool(value == wanted)


def _matches(blueprint: Any, attributes: Mapping[str, Any]) -> bool:
    return all(
        blueprint.has_attribute(name) and _equals(blueprint.get_attribute(name), wanted)
        for name, wanted in attributes.items()
    )


_planners: dict[tuple[str, float], GlobalRoutePlanner] = {}
"""Planners of the towns driven last, by OpenDRIVE text and resolution: every route loads its town afresh."""

_lane_indexes: dict[str, LaneIndex] = {}
"""Lanes of the towns driven last, by OpenDRIVE text."""

KEPT_TOWNS = 6
KEPT_WAYPOINTS = 32
WEATHER_TICKS = 40
"""So long the answer of the simulator to the question for its weather is kept, if nobody here sets another."""


def _kept(of_towns: dict[Key, Built], key: Key, build: Callable[[], Built]) -> Built:
    """What was built for a town, from the towns driven last if it is among them; the one driven longest ago is given up."""
    built = of_towns.pop(key, None) or build()
    of_towns[key] = built
    while len(of_towns) > KEPT_TOWNS:
        del of_towns[next(iter(of_towns))]
    return built


class WorldState:
    """Actors of one route.

    Args:
        client: `carla.Client`; may be None where no traffic manager is used.
        world: `carla.World` in synchronous mode.
        road_map: `carla.Map`; None takes the world's.
    """

    def __init__(self, client: Any, world: Any, road_map: Any = None) -> None:
        self.client = client
        self.world = world
        self.map = road_map if road_map is not None else world.get_map()
        self._snapshot: Any = None
        self._pool: dict[int, Any] = {}
        self._fresh: dict[int, carla.Transform] = {}
        self._motions: dict[int, Motion] = {}
        self._all_actors: list[Any] | None = None
        self._listed_ids: list[int] = []
        self._vehicles: list[Any] | None = None
        self._vehicles_of: dict[str, list[Any]] = {}
        self._roles: dict[int, str] = {}
        self._waypoints: dict[tuple[float, float, float], Any] = {}
        self._places: Array | None = None
        self._weather: carla.WeatherParameters | None = None
        self._weather_age = 0
        self._extents: dict[int, carla.Vector3D] = {}
        self._planners: dict[float, GlobalRoutePlanner] = {}
        self._library = world.get_blueprint_library()
        self._candidates = lru_cache(maxsize=None)(self._find_candidates)

    def planner(self, resolution: float = 2.0) -> GlobalRoutePlanner:
        """The route planner of this map at a resolution in metres, built once for all routes of a town."""
        if resolution not in self._planners:
            key = (self.map.to_opendrive(), resolution)
            self._planners[resolution] = _kept(_planners, key, lambda: GlobalRoutePlanner(self.map, resolution))
        return self._planners[resolution]

    @cached_property
    def lanes(self) -> LaneIndex:
        """The lanes of this map, read once for all routes of a town."""
        return _kept(_lane_indexes, self.map.to_opendrive(), lambda: LaneIndex(self.map))

    # ---- motion -------------------------------------------------------------------------------------------------

    def on_tick(self) -> None:
        """Forget what was read in the last tick, and actors that the simulator removed."""
        self._snapshot = self.world.get_snapshot()
        self._motions.clear()
        self._fresh.clear()
        self._places = None
        self._weather_age += 1
        if self._all_actors is not None and not self._is_list_true():
            self._list_anew()
        for actor_id in [key for key, actor in self._pool.items() if not self.is_alive(actor)]:
            self._forget(actor_id)

    def register(self, actor: Any, transform: carla.Transform | None = None) -> None:
        """Note the pose of an actor that was created since the last tick; the simulator reports zeros until then."""
        if transform is not None:
            self._fresh[actor.id] = transform

    def motion(self, actor: Any) -> Motion:
        """Pose and velocity of an actor, read once per tick."""
        motion = self._motions.get(actor.id)
        if motion is None:
            fresh = self._fresh.get(actor.id)
            motion = Motion(fresh, carla.Vector3D()) if fresh else Motion(actor.get_transform(), actor.get_velocity())
            self._motions[actor.id] = motion
        return motion

    def transform(self, actor: Any) -> carla.Transform:
        """Pose of an actor in the world frame."""
        return self.motion(actor).transform

    def location(self, actor: Any) -> carla.Location:
        """Position of an actor in the world frame, metres."""
        return self.motion(actor).location

    def speed(self, actor: Any) -> float:
        """Horizontal speed of an actor, m/s."""
        return self.motion(actor).speed

    def extent(self, actor: Any) -> carla.Vector3D:
        """Half sizes of an actor, metres; asked once, because the simulator answers every question over the network."""
        extent = self._extents.get(actor.id)
        if extent is None:
            extent = self._extents[actor.id] = actor.bounding_box.extent
        return extent

    def move(self, actor: Any, transform: carla.Transform) -> None:
        """Set an actor's pose and let this tick's readers see it."""
        actor.set_transform(transform)
        self._fresh[actor.id] = transform
        self._motions.pop(actor.id, None)
        self._places = None

    def actors(self) -> list[Any]:
        """All actors of the simulator in order of their ids; listed anew after some came or went."""
        if self._all_actors is None:
            self._listed_ids = [state.id for state in self.world.get_snapshot()]
            self._all_actors = sorted(self.world.get_actors(), key=lambda actor: actor.id)
        return self._all_actors

    def vehicles(self) -> list[Any]:
        """All vehicles of the simulator, in order of their ids."""
        if self._vehicles is None:
            self._vehicles = [actor for actor in self.actors() if actor.type_id.startswith("vehicle.")]
        return self._vehicles

    def vehicles_of(self, role: str) -> list[Any]:
        """Vehicles of the simulator with this role, in order of their ids."""
        found = self._vehicles_of.get(role)
        if found is None:
            found = self._vehicles_of[role] = [actor for actor in self.vehicles() if self._role(actor) == role]
        return found

    def _role(self, actor: Any) -> str:
        """Role of an actor; asked once, because reading attributes is slow."""
        number = actor.id
        if number not in self._roles:
            self._roles[number] = str(actor.attributes.get("role_name", ""))
        return self._roles[number]

    def waypoint(self, location: carla.Location) -> Any:
        """The driving lane at a place, as `carla.Map.get_waypoint` says it; looked up once for all who ask in a row."""
        place = location.x, location.y, location.z
        if place not in self._waypoints:
            if len(self._waypoints) >= KEPT_WAYPOINTS:
                self._waypoints.clear()
            self._waypoints[place] = self.map.get_waypoint(location)
        return self._waypoints[place]

    def vehicles_near(self, location: carla.Location, radius: float) -> list[Any]:
        """Vehicles whose origin is at most ``radius`` metres from a place, in order of their ids."""
        vehicles = self.vehicles()
        if self._places is None:
            places = [self.location(vehicle) for vehicle in vehicles]
            self._places = np.array([(place.x, place.y, place.z) for place in places]).reshape(-1, 3)
        offset = self._places - (location.x, location.y, location.z)
        near = np.flatnonzero(np.einsum("ij,ij->i", offset, offset) <= radius * radius)
        return [vehicles[index] for index in near.tolist()]

    def _is_list_true(self) -> bool:
        """Whether the simulator's last tick has the listed actors and no others; far cheaper than listing them."""
        snapshot = self._snapshot
        return len(snapshot) == len(self._listed_ids) and all(map(snapshot.has_actor, self._listed_ids))

    def _list_anew(self) -> None:
        self._all_actors = self._vehicles = self._places = None
        self._vehicles_of.clear()

    def hero(self) -> Any | None:
        """The vehicle whose role is ``hero``, if there is one."""
        return next(iter(self.vehicles_of("hero")), None)

    def set_weather(self, weather: carla.WeatherParameters) -> None:
        """Set the simulator's weather."""
        self.world.set_weather(weather)
        self._weather = None

    def weather(self) -> carla.WeatherParameters:
        """The simulator's weather; what others set is noticed after `WEATHER_TICKS` ticks."""
        if self._weather is None or self._weather_age >= WEATHER_TICKS:
            self._weather, self._weather_age = self.world.get_weather(), 0
        return self._weather

    # ---- blueprints ---------------------------------------------------------------------------------------------

    def choose_blueprint(
        self,
        model: str,
        rng: random.Random,
        role: str = "scenario",
        attributes: Mapping[str, Any] | None = None,
        color: str | None = None,
    ) -> Any:
        """A blueprint that matches a pattern and attribute values, chosen and coloured at random.

        Args:
            model: Blueprint id or pattern such as ``vehicle.*``.
            rng: Source of the choice.
            role: Value of ``role_name``.
            attributes: Wanted values, for instance ``{"base_type": "car", "generation": 2}``. Values no blueprint of the
                simulator offers are given up one after another, the last first.
            color: ``"R,G,B"``, or None for a recommended colour.

        Returns:
            `carla.ActorBlueprint`; one of `DEFAULT_MODELS` if the pattern is unknown.
        """
        library = self._library
        blueprint = library.find(rng.choice(self._candidates(model, tuple((attributes or {}).items()))))
        self._dress(blueprint, rng, role, color)
        return blueprint

    def _find_candidates(self, model: str, attributes: tuple[tuple[str, Any], ...]) -> list[str]:
        candidates = sorted(self._library.filter(model), key=lambda blueprint: blueprint.id)
        wanted = dict(attributes)
        found = [blueprint.id for blueprint in candidates if _matches(blueprint, wanted)]
        while not found and wanted and candidates:
            LOG.info("no blueprint of %s has %s; choosing without it", model, wanted)
            wanted.popitem()
            found = [blueprint.id for blueprint in candidates if _matches(blueprint, wanted)]
        if not found:
            found = [DEFAULT_MODELS[_category(model, dict(attributes))]]
            LOG.warning("no blueprint matches %s; using %s", model, found[0])
        return found

    @staticmethod
    def _dress(blueprint: Any, rng: random.Random, role: str, color: str | None) -> None:
        if blueprint.has_attribute("color"):
            recommended = list(blueprint.get_attribute("color").recommended_values)
            if color is None and role != "hero" and recommended:
                color = rng.choice(recommended)
            if color is not None:
                blueprint.set_attribute("color", color)
        if blueprint.has_attribute("is_invincible"):
            blueprint.set_attribute("is_invincible", "false")
        if blueprint.has_attribute("role_name"):
            blueprint.set_attribute("role_name", role)

    # ---- life ---------------------------------------------------------------------------------------------------

    def try_spawn(self, blueprint: Any, transform: carla.Transform, lift: float = SPAWN_LIFT) -> Any | None:
        """Create an actor that this route owns, or None if the place is taken. Props are not lifted."""
        pose = carla.Transform(carla.Location(transform.location), transform.rotation)
        if "prop" not in blueprint.id:
            pose.location.z += lift
        actor = self.world.try_spawn_actor(blueprint, pose)
        if actor is not None:
            self._pool[actor.id] = actor
            self._fresh[actor.id] = pose
            self._list_anew()
        return actor

    def is_alive(self, actor: Any) -> bool:
        """Whether the simulator still has the actor.

        The last tick's list does not know whom Traffic Manager destroyed since, for standing too long: the handle does. Asked for
        `is_alive`, it would let go of the interpreter meanwhile, and other threads make us wait for it; asked where it is, it
        answers or refuses at once.
        """
        if self._snapshot is not None and actor.id not in self._fresh and not self._snapshot.has_actor(actor.id):
            return False
        try:
            actor.get_location()
        except RuntimeError:  # "trying to operate on a destroyed actor"
            return False
        return True

    def remove(self, actor: Any) -> None:
        """Destroy an owned actor; nothing happens the second time."""
        if self._pool.pop(actor.id, None) is None:
            return
        self._forget(actor.id)
        if actor.is_alive:
            actor.destroy()

    def remove_all(self, actors: Iterable[Any] | None = None) -> None:
        """Destroy the given actors, or all that this route owns."""
        for actor in list(self._pool.values()) if actors is None else list(actors):
            self.remove(actor)

    def owned(self) -> list[Any]:
        """Living actors of this route."""
        return list(self._pool.values())

    def find_owned(self, actor_id: int) -> Any | None:
        """The owned actor with this id."""
        return self._pool.get(actor_id)

    def _forget(self, actor_id: int) -> None:
        self._pool.pop(actor_id, None)
        self._fresh.pop(actor_id, None)
        self._motions.pop(actor_id, None)
        self._extents.pop(actor_id, None)
        self._list_anew()
