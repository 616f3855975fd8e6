"""Which scenario types test which ability, and the ability table in both published versions.

Source: Thinklab-SJTU/Bench2Drive, tools/ability_benchmark.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from Bench2Drive.results import is_success, route_number

ABILITIES: dict[str, frozenset[str]] = {
    "Overtaking": frozenset(
        {
            "Accident", "AccidentTwoWays", "ConstructionObstacle", "ConstructionObstacleTwoWays", "HazardAtSideLane",
            "HazardAtSideLaneTwoWays", "ParkedObstacle", "ParkedObstacleTwoWays", "VehicleOpensDoorTwoWays",
        }
    ),
    "Merging": frozenset(
        {
            "CrossingBicycleFlow", "EnterActorFlow", "HighwayExit", "InterurbanActorFlow", "HighwayCutIn",
            "InterurbanAdvancedActorFlow", "MergerIntoSlowTraffic", "MergerIntoSlowTrafficV2",
            "NonSignalizedJunctionLeftTurn", "NonSignalizedJunctionRightTurn",
            "NonSignalizedJunctionLeftTurnEnterFlow", "ParkingExit", "SequentialLaneChange",
            "SignalizedJunctionLeftTurn", "SignalizedJunctionRightTurn", "SignalizedJunctionLeftTurnEnterFlow",
        }
    ),
    "Emergency_Brake": frozenset(
        {
            "BlockedIntersection", "DynamicObjectCrossing", "HardBreakRoute", "OppositeVehicleTakingPriority",
            "OppositeVehicleRunningRedLight", "ParkingCutIn", "PedestrianCrossing", "ParkingCrossingPedestrian",
            "StaticCutIn", "VehicleTurningRoute", "VehicleTurningRoutePedestrian", "ControlLoss",
        }
    ),
    "Give_Way": frozenset({"InvadingTurn", "YieldToEmergencyVehicle"}),
    "Traffic_Signs": frozenset(
        {
            "BlockedIntersection", "OppositeVehicleTakingPriority", "OppositeVehicleRunningRedLight",
            "PedestrianCrossing", "VehicleTurningRoute", "VehicleTurningRoutePedestrian", "EnterActorFlow",
            "CrossingBicycleFlow", "NonSignalizedJunctionLeftTurn", "NonSignalizedJunctionRightTurn",
            "NonSignalizedJunctionLeftTurnEnterFlow", "SignalizedJunctionLeftTurn", "SignalizedJunctionRightTurn",
            "SignalizedJunctionLeftTurnEnterFlow", "T_Junction", "VanillaNonSignalizedTurn",
            "VanillaSignalizedTurnEncounterGreenLight", "VanillaSignalizedTurnEncounterRedLight",
            "VanillaNonSignalizedTurnEncounterStopsign",
        }
    ),
}  # fmt: skip

TRAFFIC_SIGNS = "Traffic_Signs"
ABILITY_VERSIONS = ("0.0.3", "0.0.4")


@dataclass(frozen=True)
class RouteInfo:
    """What the ability table needs to know of a route of the route file.

    Attributes:
        route_id: Id in the file.
        scenario_type: Type of its first scenario.
        town: Map name.
    """

    route_id: str
    scenario_type: str
    town: str


JunctionShare = Callable[[RouteInfo], float]
"""Share of a route, 0 to 1, after which its first junction counts as reached: (c + 8) / N for the c-th of N points of the
dense route, counted from 1, being the first inside a junction."""


@dataclass(frozen=True)
class AbilityTable:
    """Shares of passed routes.

    Attributes:
        version: Version of the benchmark whose rule was used.
        scores: Ability to share, 0 to 1; None for an ability none of whose routes has a result, or whose rule needs
            a map that was not given.
        counted: Ability to number of counts (0.0.3 counts a traffic-sign route twice).
        missing: (type, id) of routes without a result; in no denominator.
        strict: Like ``scores``, with missing routes counted as failures.
    """

    version: str
    scores: dict[str, float | None]
    counted: dict[str, int]
    missing: list[tuple[str, str]]
    strict: dict[str, float | None]

    @property
    def mean(self) -> float | None:
        """Mean of the five abilities, None if one of them is."""
        values = [value for value in self.scores.values() if value is not None]
        return sum(values) / len(values) if len(values) == len(ABILITIES) else None

    def to_json(self) -> dict[str, Any]:
        """The official file's keys in the official order."""
        return {**self.scores, "mean": self.mean, "crashed": [list(pair) for pair in self.missing]}


def passes_traffic_signs(record: Mapping[str, Any], junction_share: float) -> bool:
    """Whether a route got past its first junction without running a light or a stop sign."""
    completed = record["scores"]["score_route"] / 100.0
    signs = record["infractions"]["stop_infraction"] or record["infractions"]["red_light"]
    return bool(completed > junction_share and not signs)


def ability_table(
    records: Sequence[Mapping[str, Any]],
    routes: Sequence[RouteInfo],
    version: str = "0.0.4",
    junction_share: JunctionShare | None = None,
) -> AbilityTable:
    """Compute the ability table.

    Args:
        records: Merged route records.
        routes: All routes of the benchmark, from its route file.
        version: ``0.0.3``: a traffic-sign route counts twice, by success and by the junction rule. ``0.0.4``: once, by
            either.
        junction_share: Answers where a route's first junction is; without it Traffic_Signs is None.

    Raises:
        ValueError: If the version is unknown.
    """
    if version not in ABILITY_VERSIONS:
        raise ValueError(f"unknown ability version {version!r}; known: {', '.join(ABILITY_VERSIONS)}")
    by_number = {route_number(record): record for record in records}
    counts = {ability: [0, 0, 0] for ability in ABILITIES}
    missing = []
    for route in routes:
        record = by_number.get(route.route_id)
        for ability, types in ABILITIES.items():
            if route.scenario_type not in types:
                continue
            if record is None:
                counts[ability][2] += 2 if ability == TRAFFIC_SIGNS and version == "0.0.3" else 1
                continue
            passed, counted = _count(ability, route, record, version, junction_share)
            counts[ability][0] += passed
            counts[ability][1] += counted
        if record is None:
            missing.append((route.scenario_type, route.route_id))
    unknown = set() if junction_share else {TRAFFIC_SIGNS}
    return AbilityTable(
        version,
        {name: None if name in unknown or not n else passed / n for name, (passed, n, _) in counts.items()},
        {name: n for name, (_, n, _) in counts.items()},
        missing,
        {name: None if name in unknown or not n + m else passed / (n + m) for name, (passed, n, m) in counts.items()},
    )


def _count(
    ability: str, route: RouteInfo, record: Mapping[str, Any], version: str, junction_share: JunctionShare | None
) -> tuple[int, int]:
    """How often a route passes an ability, out of how often it counts."""
    success = is_success(record)
    if ability != TRAFFIC_SIGNS or junction_share is None:
        return int(success), 1
    passed = passes_traffic_signs(record, junction_share(route))
    return (int(success) + int(passed), 2) if version == "0.0.3" else (int(success or passed), 1)
