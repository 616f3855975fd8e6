"""Fixtures of whole evaluations and of scripted drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import carla
import pytest

from leaderboard.utils.route_parser import write_routes_file
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from tests.leaderboard.evaluation import Evaluation, Places, route
from tests.leaderboard.scripted import Stage, mini_map, stage_on


@pytest.fixture(scope="module")
def road_map() -> carla.Map:
    return mini_map()


@pytest.fixture
def stage(road_map: carla.Map) -> Iterator[Stage]:
    with stage_on(road_map) as scripted:
        yield scripted


@pytest.fixture(scope="module")
def places() -> Places:
    return Places()


@pytest.fixture
def evaluation(carla_server_process: Callable[..., Any], places: Places, tmp_path: Path) -> Evaluation:
    """Two short streets, the second with a scenario that does not exist."""
    unknown = ScenarioConfiguration(
        "Meteor_1", "Meteor", [places.planner.trace_route(*places.straight(60))[5][0].transform]
    )
    routes = [route("1", places.straight(60)), route("2", places.straight(60), unknown)]
    write_routes_file(tmp_path / "routes.xml", routes)
    return Evaluation(carla_server_process("Mini01").port, tmp_path / "routes.xml", tmp_path)
