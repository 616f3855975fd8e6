"""The table of all scenario types, and building one from a route file's element.

To add a type: write a planning function in a family module and add one row to the module's ``TYPES``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from driving.commands import RoadOption
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from srunner.scenariomanager.route_context import Fidelity, RouteContext
from srunner.scenariomanager.world_state import SpawnError
from srunner.scenarios import crossing, cut_ins, ego_only, junctions, merges, moving_hazards, obstacles
from srunner.scenarios.basic_scenario import BasicScenario, Draft, Plan, ScenarioType, stream_name
from srunner.scenarios.parameters import ParameterError, read_parameters
from srunner.tools.places import PlacementError
from srunner.tools.route_planner import GlobalRoutePlanner, NoRouteError

FAMILIES = (obstacles, moving_hazards, crossing, junctions, merges, cut_ins, ego_only)


class UnknownScenarioError(ValueError):
    """No scenario type has this name."""


BUILD_ERRORS = (UnknownScenarioError, ParameterError, PlacementError, NoRouteError, SpawnError)
"""Everything `build` raises for reasons that lie in the route file, the map or taken places."""


def table(rows: Iterable[ScenarioType]) -> dict[str, ScenarioType]:
    """Rows by name.

    Raises:
        ValueError: If a name occurs twice.
    """
    found: dict[str, ScenarioType] = {}
    for row in rows:
        if row.name in found:
            raise ValueError(f"scenario type {row.name} is registered twice")
        found[row.name] = row
    return found


TYPES = table(row for family in FAMILIES for row in family.TYPES)


def scenario_type(name: str) -> ScenarioType:
    """The row of a type.

    Raises:
        UnknownScenarioError: With the nearest name.
    """
    if name not in TYPES:
        near = difflib.get_close_matches(name, TYPES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownScenarioError(f"{name!r} is not one of the {len(TYPES)} scenario types{hint}")
    return TYPES[name]


def build(config: ScenarioConfiguration, context: RouteContext) -> BasicScenario:
    """Place and spawn a scenario; the world is not ticked.

    Raises:
        UnknownScenarioError, ParameterError, PlacementError, NoRouteError, SpawnError: See `BUILD_ERRORS`; nothing of the
            scenario is left then.
    """
    return BasicScenario(scenario_type(config.type), config, context)


def check(
    config: ScenarioConfiguration,
    road_map: Any,
    route: Sequence[tuple[Any, RoadOption]],
    planner: GlobalRoutePlanner,
    fidelity: Fidelity | None = None,
) -> tuple[Plan, list[str]]:
    """Plan a scenario offline, without simulator: for checkers of route files.

    Returns:
        The plan and one sentence for every element nobody reads. Lights are not checked.

    Raises:
        UnknownScenarioError, ParameterError, PlacementError, NoRouteError: As `build`.
    """
    row = scenario_type(config.type)
    values, warnings = read_parameters(row.parameters, config.other_parameters)
    rng = RouteContext.stream(0, stream_name(config))
    draft = Draft(config, values, row.constants, road_map, route, planner, rng, None, fidelity or Fidelity())
    return row.plan(draft), warnings
