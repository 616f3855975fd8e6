"""What scenarios tell a privileged expert: immutable records, published on every change of phase, withdrawn at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import carla

NO_INDEX = 1e9
"""Stand-in for a route index that the original expert has not set yet."""


class ScenarioPhase(Enum):
    """Where a scenario is in its life."""

    BUILT = "built"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True)
class ScenarioInfo:
    """One scenario as an expert may see it.

    Attributes:
        id: Number of the scenario, unique within the process.
        name: Name in the route file.
        type: Scenario type as in the route file.
        phase: Built (actors exist, not triggered) or active.
        trigger: Pose of the trigger, world frame.
        route_index: Index of the route point nearest to the trigger.
        first_actor: First actor along the route that the ego must get past, or the adversary; None without actors.
        last_actor: Last such actor, None if there is only one.
        actors: All actors by their part, for instance ``police``, ``crash_1``, ``bicycle_0``, ``emergency``, ``walker_0``.
        direction: ``left`` or ``right``, the side at which actors stand or from which they come.
        two_way: For obstacles, whether getting past needs an oncoming lane; from the geometry, not from the type's name.
        places: Poses by meaning: ``obstacle``, ``end``, ``source``, ``sink``, ``conflict``, ...
        numbers: Figures by meaning with the unit in the name where it is not metres or seconds: ``offset``, ``speed_kmh``, ...
    """

    id: int
    name: str
    type: str
    phase: ScenarioPhase
    trigger: carla.Transform
    route_index: int
    first_actor: Any | None = None
    last_actor: Any | None = None
    actors: Mapping[str, Any] = field(default_factory=dict)
    direction: str = "right"
    two_way: bool | None = None
    places: Mapping[str, carla.Transform] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


_SIDE_BY_GEOMETRY = ("ParkedObstacle", "ConstructionObstacle")
"""Types whose one-way or two-way name the original takes from the lanes, because some routes are labelled wrongly."""


def tuple_form(info: ScenarioInfo) -> tuple[str, list[Any]] | None:
    """A record as the (name, list) pair of the original interface, None for types that had none.

    The lists are those of carla_garage's modified scenario runner; positions have a meaning per type.
    """
    base = info.type.removesuffix("TwoWays")
    state: list[Any] = [False, NO_INDEX, NO_INDEX, False]
    if base in _SIDE_BY_GEOMETRY:
        name = f"{base}TwoWays" if info.two_way else base
        return name, [info.first_actor, info.last_actor, info.direction, *state]
    if base == "Accident" or info.type == "VehicleOpensDoorTwoWays":
        return info.type, [info.first_actor, info.last_actor, info.direction, *state]
    if base == "HazardAtSideLane" or info.type == "YieldToEmergencyVehicle":
        return info.type, [info.first_actor, info.last_actor, *state]
    if info.type == "InvadingTurn":
        return info.type, [info.first_actor, info.last_actor, info.numbers["offset"]]
    return None


class ScenarioInfos:
    """The records of one route.

    Attributes:
        tuples: The same in the original's tuple form. The expert may change the inner lists and remove pairs; this class only
            adds pairs when a scenario is built and takes them away when it ends.
    """

    def __init__(self) -> None:
        self._records: dict[int, ScenarioInfo] = {}
        self._pairs: dict[int, tuple[str, list[Any]]] = {}
        self.tuples: list[tuple[str, list[Any]]] = []

    def publish(self, info: ScenarioInfo) -> None:
        """Add a record, or replace the one with the same id."""
        is_new = info.id not in self._records
        self._records[info.id] = info
        pair = tuple_form(info) if is_new else None
        if pair is not None:
            self._pairs[info.id] = pair
            self.tuples.append(pair)

    def withdraw(self, scenario_id: int) -> None:
        """Remove a record; nothing happens the second time."""
        self._records.pop(scenario_id, None)
        pair = self._pairs.pop(scenario_id, None)
        self.tuples[:] = [kept for kept in self.tuples if kept is not pair]

    def all(self) -> list[ScenarioInfo]:
        """All records in the order in which the scenarios were built."""
        return list(self._records.values())

    def clear(self) -> None:
        """Forget everything: between routes."""
        self._records.clear()
        self._pairs.clear()
        self.tuples.clear()
