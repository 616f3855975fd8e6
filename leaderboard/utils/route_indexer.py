"""The list of runs: routes times repetitions."""

from __future__ import annotations

import copy
import os

from leaderboard.utils.route_parser import RouteParser
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration


def index_runs(
    route_filename: str | os.PathLike[str], routes_subset: str = "", repetitions: int = 1
) -> list[RouteScenarioConfiguration]:
    """All runs of an evaluation: each route as often as it is repeated, then the next route.

    The index of a run is (position of the route) * repetitions + repetition.

    Raises:
        ValueError: If ``repetitions`` is not positive; and what `RouteParser.parse_routes_file` raises.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}")
    runs: list[RouteScenarioConfiguration] = []
    for config in RouteParser.parse_routes_file(route_filename, routes_subset):
        for repetition in range(repetitions):
            run = copy.copy(config)
            run.scenario_configs = [copy.copy(scenario) for scenario in config.scenario_configs]
            run.index, run.repetition_index = len(runs), repetition
            runs.append(run)
    return runs
