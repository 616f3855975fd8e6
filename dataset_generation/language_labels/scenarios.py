"""Which scenario a recorded frame belongs to, from the route file it was driven on."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, sin
from pathlib import Path

from dataset_generation.language_labels.profiles import Correction, Profile
from driving.records import Measurement, RecordError, RunFolder

NO_SCENARIO = "noScenario"
OLD_TOWNS = "lb1_split"
"""Set whose folders are named after the one scenario of their routes."""
PARKING_LANE = "parking_lane"
"""Set of routes without scenarios."""

PASSED_BY = 10.0
"""A trigger point farther behind the ego vehicle than this is passed, metres."""

HIGHWAY_SCENARIOS = frozenset(
    {
        "HighwayCutIn",
        "HighwayExit",
        "MergerIntoSlowTrafficV2",
        "EnterActorFlow",
        "EnterActorFlowV2",
        "MergerIntoSlowTraffic",
        "YieldToEmergencyVehicle",
    }
)
"""Scenarios that may take place on a highway."""


@dataclass(frozen=True)
class Trigger:
    """A scenario of a route: its type and where it starts, world metres."""

    scenario: str
    x: float
    y: float


@dataclass(frozen=True)
class RouteScenarios:
    """The scenarios of one recorded route.

    Attributes:
        triggers: In file order; empty for a route without scenarios.
        fixed: Name for every frame of the route, where the folder gives it.
    """

    triggers: Sequence[Trigger] = ()
    fixed: str | None = None

    def name_at(self, measurement: Measurement, profile: Profile) -> str:
        """Scenario of a frame: the nearest one already passed, else the one that comes first."""
        if self.fixed is not None or not self.triggers:
            return self.fixed or NO_SCENARIO
        corrected = Correction.SCENARIO_LOOKUP in profile
        forward, distance = self._relative(measurement)
        limit = 0.0 if corrected else -PASSED_BY
        passed = [i for i, x in enumerate(forward) if x < limit]
        if passed:
            return self.triggers[min(passed, key=distance.__getitem__)].scenario
        first = min(range(len(forward)), key=distance.__getitem__) if corrected else 0
        return self.triggers[first].scenario

    def _relative(self, measurement: Measurement) -> tuple[list[float], list[float]]:
        """How far each trigger lies ahead of the ego vehicle and how far away, metres."""
        (ego_x, ego_y), theta = measurement.pos_global, measurement.theta
        c, s = cos(theta), sin(theta)
        offsets = [(trigger.x - ego_x, trigger.y - ego_y) for trigger in self.triggers]
        return [dx * c + dy * s for dx, dy in offsets], [hypot(dx, dy) for dx, dy in offsets]


def read_scenarios(run: RunFolder, routes_root: Path, profile: Profile) -> RouteScenarios:
    """Find the scenarios of a run: from its folder name, its own ``route.xml``, or the route file below ``routes_root``.

    Args:
        run: The recorded route.
        routes_root: Folder with ``<set>/<split>/<weather set>/<route file>.xml``, e.g. ``data/simlingo``.
        profile: Decides whether a run without a route file is an error or a route without scenarios.

    Raises:
        RecordError: If the route file is missing or not a route file.
    """
    parts = run.relative.parts
    if OLD_TOWNS in parts:
        return RouteScenarios(fixed=parts[parts.index(OLD_TOWNS) + 2])
    if PARKING_LANE in parts:
        return RouteScenarios(fixed=NO_SCENARIO)
    if run.route_path.exists():
        return RouteScenarios(_read_triggers(run.route_path, run.route_index))
    path = routes_root.joinpath(*parts[1:-1], f"{run.route_file}.xml")
    if path.exists():
        return RouteScenarios(_read_triggers(path, run.route_index))
    if Correction.LOST_FRAMES in profile:
        return RouteScenarios(fixed=NO_SCENARIO)
    raise RecordError(f"no route file {path} and no {run.route_path}; name the folder of route files with --routes")


def _read_triggers(path: Path, route_index: int) -> tuple[Trigger, ...]:
    """Triggers of the route with id ``route_index``, or of the only route of the file."""
    try:
        routes = ET.parse(path).getroot().findall(".//route")
        named = [route for route in routes if route.get("id") == str(route_index)] or routes
        if len(named) != 1:
            raise RecordError(f"{path}: expected one route with id {route_index}, got {len(named)}")
        triggers = []
        for scenario in named[0].findall("scenarios/scenario"):
            point = scenario.find("trigger_point")
            if point is not None:
                triggers.append(Trigger(scenario.attrib["type"], float(point.attrib["x"]), float(point.attrib["y"])))
        return tuple(triggers)
    except (ET.ParseError, KeyError, ValueError) as error:
        raise RecordError(f"{path}: not a route file: {error}") from error
