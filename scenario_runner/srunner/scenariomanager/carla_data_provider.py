"""`CarlaDataProvider`: the names agents and criteria of CARLA's scenario runner import, over the current `WorldState`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, ClassVar

import carla
import numpy as np

from srunner.scenariomanager.scenario_info import ScenarioInfo, ScenarioInfos
from srunner.scenariomanager.world_state import WorldState
from srunner.tools.route_planner import GlobalRoutePlanner

DEFAULT_SEED = 2000


class CarlaDataProvider:
    """Process-wide facade; everything it answers belongs to the route that is being driven.

    `set_client`, `set_world` come first, `on_carla_tick` once per tick, `cleanup` after every route.
    """

    _client: Any = None
    _state: WorldState | None = None
    _traffic_manager_port = 8000
    _sync_mode = False
    _rng = np.random.RandomState(DEFAULT_SEED)
    _choice = random.Random(DEFAULT_SEED)
    _seed = DEFAULT_SEED
    _runtime_init = False
    _ego_route: ClassVar[list[Any]] = []
    _infos = ScenarioInfos()
    active_scenarios: ClassVar[list[tuple[str, list[Any]]]] = _infos.tuples
    """Scenarios in the tuple form the original expert reads and changes; `get_scenario_infos` is the typed form."""

    # ---- set-up -------------------------------------------------------------------------------------------------

    @classmethod
    def set_client(cls, client: Any) -> None:
        """Keep the `carla.Client`."""
        cls._client = client

    @classmethod
    def get_client(cls) -> Any:
        """The `carla.Client`, or None."""
        return cls._client

    @classmethod
    def set_world(cls, world: Any) -> None:
        """Start serving a world: clears what belonged to the one before."""
        cls._state = WorldState(cls._client, world)
        cls._infos.clear()
        cls._sync_mode = bool(world.get_settings().synchronous_mode)

    @classmethod
    def state(cls) -> WorldState:
        """The current world state.

        Raises:
            RuntimeError: If `set_world` was not called.
        """
        if cls._state is None:
            raise RuntimeError("CarlaDataProvider has no world yet; call set_client and set_world first")
        return cls._state

    @classmethod
    def get_world(cls) -> Any:
        """The `carla.World`, or None before `set_world`."""
        return cls._state.world if cls._state else None

    @classmethod
    def get_map(cls, world: Any = None) -> Any:
        """The `carla.Map` of the current world."""
        return cls.state().map

    @classmethod
    def is_sync_mode(cls) -> bool:
        """Whether the world was synchronous at `set_world`."""
        return cls._sync_mode

    @classmethod
    def set_traffic_manager_port(cls, port: int) -> None:
        """Keep the Traffic Manager's port."""
        cls._traffic_manager_port = port

    @classmethod
    def get_traffic_manager_port(cls) -> int:
        """The Traffic Manager's port."""
        return cls._traffic_manager_port

    @classmethod
    def set_random_seed(cls, seed: int) -> None:
        """Restart the generators; the same seed makes the same choices."""
        cls._seed = seed
        cls._rng = np.random.RandomState(seed)
        cls._choice = random.Random(seed)

    @classmethod
    def get_random_seed(cls) -> np.random.RandomState:
        """The generator (its historical name)."""
        return cls._rng

    @classmethod
    def set_runtime_init_mode(cls, flag: bool) -> None:
        """Kept for agents that read it: scenarios are built between ticks, so nothing depends on it."""
        cls._runtime_init = flag

    @classmethod
    def is_runtime_init_mode(cls) -> bool:
        """Whether the route is under way."""
        return cls._runtime_init

    @classmethod
    def get_global_route_planner(cls) -> GlobalRoutePlanner:
        """The planner with 2 m between points."""
        return cls.state().planner(2.0)

    @classmethod
    def set_ego_route(cls, route: Iterable[Any]) -> None:
        """Keep the interpolated route, (`carla.Transform`, command) pairs."""
        cls._ego_route = list(route)

    @classmethod
    def get_ego_route(cls) -> list[Any]:
        """The interpolated route."""
        return cls._ego_route

    @classmethod
    def set_weather(cls, weather: carla.WeatherParameters) -> None:
        """Set the simulator's weather."""
        cls.state().set_weather(weather)

    @classmethod
    def get_weather(cls) -> carla.WeatherParameters:
        """The simulator's weather; what others set is noticed within two seconds of game time."""
        return cls.state().weather()

    # ---- ticks and actors ---------------------------------------------------------------------------------------

    @classmethod
    def on_carla_tick(cls) -> None:
        """Refresh after a tick of the world."""
        cls.state().on_tick()

    @classmethod
    def register_actor(cls, actor: Any, transform: carla.Transform | None = None) -> None:
        """Note the pose of an actor created since the last tick."""
        cls.state().register(actor, transform)

    @classmethod
    def register_actors(cls, actors: Iterable[Any], transforms: Iterable[carla.Transform | None] | None = None) -> None:
        """`register_actor` for several."""
        actors = list(actors)
        for actor, transform in zip(actors, transforms if transforms is not None else [None] * len(actors)):
            cls.register_actor(actor, transform)

    @classmethod
    def get_velocity(cls, actor: Any) -> float:
        """Horizontal speed of an actor, m/s; 0 for one that is gone."""
        state = cls.state()
        return state.speed(actor) if state.is_alive(actor) else 0.0

    @classmethod
    def get_location(cls, actor: Any) -> Any:
        """Position of an actor, world frame, metres; None for one that is gone."""
        state = cls.state()
        return state.location(actor) if state.is_alive(actor) else None

    @classmethod
    def get_transform(cls, actor: Any) -> Any:
        """Pose of an actor, world frame; None for one that is gone."""
        state = cls.state()
        return state.transform(actor) if state.is_alive(actor) else None

    @classmethod
    def get_all_actors(cls) -> list[Any]:
        """All actors of the simulator in this tick."""
        return cls.state().actors()

    @classmethod
    def get_hero_actor(cls) -> Any | None:
        """The ego vehicle, if it exists."""
        return cls.state().hero()

    @classmethod
    def get_actors(cls) -> list[tuple[int, Any]]:
        """(id, actor) of every actor this route created."""
        return [(actor.id, actor) for actor in cls.state().owned()]

    @classmethod
    def get_actor_by_id(cls, actor_id: int) -> Any | None:
        """An actor this route created."""
        return cls.state().find_owned(actor_id)

    @classmethod
    def actor_id_exists(cls, actor_id: int) -> bool:
        """Whether this route created and still has the actor."""
        return cls.get_actor_by_id(actor_id) is not None

    @classmethod
    def remove_actor_by_id(cls, actor_id: int) -> None:
        """Destroy an actor this route created; nothing happens if it is gone."""
        actor = cls.get_actor_by_id(actor_id)
        if actor is not None:
            cls.state().remove(actor)

    @classmethod
    def request_new_actor(
        cls,
        model: str,
        spawn_point: carla.Transform,
        rolename: str = "scenario",
        autopilot: bool = False,
        random_location: bool = False,
        color: str | None = None,
        actor_category: str = "car",
        attribute_filter: dict[str, Any] | None = None,
        tick: bool = True,
    ) -> Any | None:
        """Create one actor that clean-up will remove.

        Args:
            model: Blueprint id or pattern.
            spawn_point: Pose; models other than props are lifted by 0.2 m.
            rolename: Role of the actor.
            autopilot: Whether the Traffic Manager drives it.
            random_location: Choose one of the map's spawn points instead.
            color: ``"R,G,B"`` or None for a recommended one.
            actor_category: Kept for callers of the original signature; the pattern decides.
            attribute_filter: Wanted blueprint attributes.
            tick: Tick the world once afterwards, unless the route is under way.

        Returns:
            The actor, or None if the place is taken.
        """
        state = cls.state()
        blueprint = state.choose_blueprint(model, cls._choice, rolename, attribute_filter, color)
        if random_location:
            spawn_point = cls._choice.choice(state.map.get_spawn_points())
        actor = state.try_spawn(blueprint, spawn_point)
        if actor is None:
            return None
        if autopilot:
            actor.set_autopilot(True, cls._traffic_manager_port)
        if tick and cls._sync_mode and not cls._runtime_init:
            state.world.tick()
        return actor

    # ---- scenarios ----------------------------------------------------------------------------------------------

    @classmethod
    def scenario_infos(cls) -> ScenarioInfos:
        """The records that scenarios publish for the expert."""
        return cls._infos

    @classmethod
    def get_scenario_infos(cls) -> list[ScenarioInfo]:
        """Records of all built and active scenarios, in build order."""
        return cls._infos.all()

    @classmethod
    def cleanup(cls) -> None:
        """Destroy all actors of the route and start the generators anew."""
        if cls._state is not None:
            cls._state.remove_all()
        cls._state = None
        cls._ego_route = []
        cls._runtime_init = False
        cls._infos.clear()
        cls.set_random_seed(cls._seed)
