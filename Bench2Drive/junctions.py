"""Where a route's first junction is, from the town's OpenDRIVE file; no simulator needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise

import carla

from Bench2Drive.abilities import RouteInfo
from leaderboard.utils.route_parser import RouteParser
from leaderboard.utils.towns import find_town
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.tools.route_planner import GlobalRoutePlanner

POINTS_BEHIND_ENTRY = 8
"""How far into the junction the ego must have come to have passed the trigger volume, in route points."""


class JunctionShares:
    """Answers after which share of its length a route's first junction counts as reached; keeps towns loaded."""

    def __init__(self, routes: Mapping[str, RouteScenarioConfiguration], towns: str | os.PathLike[str]):
        """Args: routes: Routes by id. towns: Folder with the towns' OpenDRIVE files, see `find_town`."""
        self._routes = routes
        self._towns = towns
        self._planners: dict[str, GlobalRoutePlanner] = {}

    def __call__(self, route: RouteInfo) -> float:
        """(c + 8) / N, the c-th of N route points, counted from 1, being the first inside a junction.

        Raises:
            TownNotFoundError: If the town's map is missing.
            ValueError: If the route meets no junction.
        """
        if route.town not in self._planners:
            text = find_town(route.town, [self._towns]).read_text(encoding="utf-8")
            self._planners[route.town] = GlobalRoutePlanner(carla.Map(route.town, text), 1.0)
        planner = self._planners[route.town]
        keypoints = self._routes[route.route_id].keypoints
        inside = [
            waypoint.is_junction
            for start, end in pairwise(keypoints)
            for waypoint, _ in planner.trace_route(start, end)
        ]
        if True not in inside:
            raise ValueError(f"route {route.route_id} ({route.scenario_type}, {route.town}) meets no junction")
        return (inside.index(True) + 1 + POINTS_BEHIND_ENTRY) / len(inside)


def read_route_infos(path: str | os.PathLike[str]) -> tuple[list[RouteInfo], dict[str, RouteScenarioConfiguration]]:
    """The routes of a benchmark's route file, in file order, and by id."""
    routes = RouteParser.parse_routes_file(path)
    infos = [
        RouteInfo(route.route_id, route.scenario_configs[0].type if route.scenario_configs else "None", route.town)
        for route in routes
    ]
    return infos, {route.route_id: route for route in routes}
