"""All that scenarios and background traffic of one route share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import carla

from driving.commands import RoadOption
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenario_info import ScenarioInfos
from srunner.scenariomanager.switches import CriterionSwitches
from srunner.scenariomanager.world_state import WorldState
from srunner.traffic.requests import TrafficRequests


@dataclass(frozen=True)
class Fidelity:
    """Where the original scenarios behave oddly and published scores depend on it; the defaults keep the oddity.

    Attributes:
        door_flow_oncoming: Cars of the opening-door scenario come in the oncoming lane instead of behind ego on its own.
        emergency_increment_kmh: How much faster than ego the emergency vehicle wants to drive; the original meant 25.
        green_light_until_crossed: The green-light turn ends when ego has crossed instead of after ten seconds.
        flows_brake: Cars of scenario streams brake for what drives or stands ahead of them on their way. In the original they
            keep their speed, also into the back of an ego that waits at a light, until the first collision.
        flows_heed_bends: Cars of streams slow down in bends. In the original they keep their speed, which its wide bends
            allow; on the bends of small towns such cars leave their lane.
    """

    door_flow_oncoming: bool = False
    emergency_increment_kmh: float = 90.0
    green_light_until_crossed: bool = False
    flows_brake: bool = False
    flows_heed_bends: bool = False


class RouteContext:
    """One route being driven.

    Args:
        client: `carla.Client`, or None where nothing needs it.
        world: `carla.World` in synchronous mode, ego already spawned.
        ego: The ego vehicle.
        route: Interpolated route, (pose, command) pairs about 1 m apart.
        traffic_manager: `carla.TrafficManager` for background cars, or None for a route without them.
        seed: Seed of all random choices on this route.
        state: Actors of the route; None takes the data provider's.
        fidelity: Which oddities of the original are kept.
    """

    def __init__(
        self,
        client: Any,
        world: Any,
        ego: Any,
        route: Sequence[tuple[carla.Transform, RoadOption]],
        *,
        traffic_manager: Any = None,
        seed: int = 0,
        state: WorldState | None = None,
        fidelity: Fidelity | None = None,
    ) -> None:
        self.client = client
        self.world = world
        self.ego = ego
        self.route = list(route)
        self.traffic_manager = traffic_manager
        self.seed = seed
        self.state = state or CarlaDataProvider.state()
        self.fidelity = fidelity or Fidelity()
        self.map = self.state.map
        self.traffic = TrafficRequests()
        self.switches = CriterionSwitches()
        self.infos: ScenarioInfos = CarlaDataProvider.scenario_infos()
        self.parking_slots: list[carla.Location] = []
        self._releases: list[Any] = []

    def generator(self, stream: str) -> random.Random:
        """A generator of its own for every stream, so that one consumer's draws do not shift another's."""
        return self.stream(self.seed, stream)

    @staticmethod
    def stream(seed: int, name: str) -> random.Random:
        """The generator of one stream of a seed."""
        return random.Random(f"{seed}:{name}")

    def on_release(self, part: Any) -> None:
        """Have ``part.release()`` called when the route ends."""
        self._releases.append(part)

    def release(self) -> None:
        """End everything that scenarios and traffic made on this route; nothing happens the second time."""
        while self._releases:
            self._releases.pop().release()
        self.traffic.clear()
        self.infos.clear()
