"""Checks route files against their towns, without a simulator.

Example:

    python -m leaderboard.check_routes data/routes/demo_eval.xml
    python -m leaderboard.check_routes bench2drive220.xml --towns $CARLA_ROOT --towns-only Town01,Town02

Errors mean that a route cannot be driven as written or loses a scenario; remarks are oddities. Exit status 1 if there are errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path

import carla
from tqdm import tqdm

from leaderboard.scenarios.route_scenario import on_route
from leaderboard.utils.route_manipulation import route_length
from leaderboard.utils.route_parser import RouteFileError, RouteParser
from leaderboard.utils.towns import TownNotFoundError, find_town
from leaderboard.utils.weather_ids import FIELDS
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.scenarioconfigs.scenario_configuration import RoutePlan, ScenarioConfiguration
from srunner.scenarios import registry
from srunner.tools.route_planner import GlobalRoutePlanner, interpolate_trajectory

MAX_OFF_ROAD_M = 3.0
"""A keypoint farther from every driving lane is not on a road."""
JUMP_FACTOR = 2.0
JUMP_SLACK_M = 30.0
"""A piece between keypoints whose way along the lanes is longer than factor * straight line + slack is a jump."""
PLACEHOLDER = -1.0
"""Value of every weather attribute where a file has not filled them in."""


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    REMARK = "remark"


@dataclass(frozen=True)
class Finding:
    """Something about a route.

    Attributes:
        route_id: Id in the file.
        severity: How bad it is.
        kind: Short name for counting, e.g. ``jump``.
        text: A sentence.
        line: Line in the file.
    """

    route_id: str
    severity: Severity
    kind: str
    text: str
    line: int


class Town:
    """A town's map with its planner."""

    def __init__(self, name: str, folders: Sequence[Path]):
        """Raises TownNotFoundError if there is no OpenDRIVE file of that name."""
        self.map = carla.Map(name, find_town(name, folders).read_text(encoding="utf-8"))
        self.planner = GlobalRoutePlanner(self.map, 1.0)


def check_route(route: RouteScenarioConfiguration, town: Town) -> Iterator[Finding]:
    """Everything odd about one route."""

    def found(severity: Severity, kind: str, text: str, line: int = route.line) -> Finding:
        return Finding(route.route_id, severity, kind, text, line)

    if not route.has_weather:
        yield found(Severity.REMARK, "no_weather", "has no weather; the default is used")
    elif all(getattr(keypoint.weather, name) == PLACEHOLDER for keypoint in route.weather for name in FIELDS):
        yield found(Severity.REMARK, "placeholder_weather", "every weather value is -1")
    for location in route.keypoints:
        waypoint = town.map.get_waypoint(location)
        offset = location.distance_2d(waypoint.transform.location)
        if offset > MAX_OFF_ROAD_M:
            yield found(Severity.ERROR, "off_road", f"keypoint {_place(location)} is {offset:.1f} m off the road")
    try:
        plan = interpolate_trajectory(town.map, route.keypoints, planner=town.planner)
    except ValueError as error:
        yield found(Severity.ERROR, "no_way", str(error))
        return
    if route_length(plan) < 1.0:
        yield found(Severity.ERROR, "no_length", "start and end are the same place")
    for text in _jumps(route, town):
        yield found(Severity.ERROR, "jump", text)
    for config in route.scenario_configs:
        for severity, kind, text in _check_scenario(config, plan, town):
            yield found(severity, kind, f"{config.name}: {text}", config.line)


def _jumps(route: RouteScenarioConfiguration, town: Town) -> Iterator[str]:
    for start, end in pairwise(route.keypoints):
        points = [waypoint.transform.location for waypoint, _ in town.planner.trace_route(start, end)]
        length = sum(a.distance(b) for a, b in pairwise(points))
        straight = start.distance(end)
        if length > JUMP_FACTOR * straight + JUMP_SLACK_M:
            yield f"the way from {_place(start)} to {_place(end)} is {length:.0f} m, the straight line {straight:.0f} m"


def _check_scenario(config: ScenarioConfiguration, plan: RoutePlan, town: Town) -> Iterator[tuple[Severity, str, str]]:
    if not on_route(config.trigger_points[0], plan, signed_height=False):
        trigger = config.trigger_points[0]
        text = f"its trigger {_place(trigger.location)}, yaw {trigger.rotation.yaw:.0f} is not on the route"
        yield Severity.ERROR, "trigger", text
        return
    config.route = plan
    try:
        _, warnings = registry.check(config, town.map, plan, town.planner)
    except registry.BUILD_ERRORS as error:
        yield Severity.ERROR, "scenario", f"{type(error).__name__}: {error}"
        return
    for warning in warnings:
        yield Severity.REMARK, "parameter", warning


def _place(location: carla.Location) -> str:
    return f"({location.x:.1f}, {location.y:.1f})"


def same_geometry(routes: Sequence[RouteScenarioConfiguration]) -> list[list[str]]:
    """Groups of route ids whose keypoints are the same."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for route in routes:
        key = (route.town, *((point.x, point.y, point.z) for point in route.keypoints))
        groups[key].append(route.route_id)
    return [ids for ids in groups.values() if len(ids) > 1]


def check_file(path: Path, folders: Sequence[Path], towns_only: Sequence[str] = ()) -> tuple[int, list[Finding]]:
    """Check the routes of a file.

    Args:
        path: Route file.
        folders: Where towns are looked for.
        towns_only: If not empty, routes in other towns are left out.

    Returns:
        Number of routes checked, and the findings in file order.

    Raises:
        RouteFileError: If the file itself is broken.
    """
    routes = RouteParser.parse_routes_file(path)
    chosen = [route for route in routes if not towns_only or route.town in towns_only]
    towns: dict[str, Town | None] = {}
    findings: list[Finding] = []
    for route in tqdm(chosen, desc=path.name, disable=None):
        if route.town not in towns:
            try:
                towns[route.town] = Town(route.town, folders)
            except TownNotFoundError as error:
                towns[route.town] = None
                findings.append(Finding(route.route_id, Severity.ERROR, "no_town", str(error), route.line))
        town = towns[route.town]
        if town is not None:
            findings += check_route(route, town)
    for ids in same_geometry(chosen):
        text = f"same geometry as {', '.join(ids[1:])}"
        findings.append(Finding(ids[0], Severity.REMARK, "same_geometry", text, 0))
    return len(chosen), findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry; returns 0, 1 if there are errors, 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m leaderboard.check_routes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", help="route XML")
    parser.add_argument(
        "--towns", type=Path, action="append", default=[], help="folder of *.xodr or a CARLA installation"
    )
    parser.add_argument("--towns-only", default="", help="comma-separated towns; routes elsewhere are left out")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args(arguments)
    only = [name for name in options.towns_only.split(",") if name]
    errors, summary = 0, {}
    for path in options.files:
        try:
            count, findings = check_file(path, options.towns, only)
        except (OSError, RouteFileError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for finding in findings:
            print(f"{path}:{finding.line}: {finding.severity.value}: route {finding.route_id} {finding.text}")
        kinds = Counter(finding.kind for finding in findings)
        bad = sum(finding.severity is Severity.ERROR for finding in findings)
        print(
            f"{path}: {count} routes, {bad} errors, {len(findings) - bad} remarks {dict(kinds) if kinds else ''}".rstrip()
        )
        errors += bad
        summary[str(path)] = {"routes": count, "errors": bad, "kinds": dict(kinds)}
    if options.json:
        print(json.dumps(summary))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
