"""The official Bench2Drive routes that lie on CARLA towns at hand: every scenario builds, triggers and ends cleanly."""

from __future__ import annotations

import pytest

from srunner.scenariomanager.scenario_info import ScenarioPhase
from tests.scenario_runner.drives import SHARED, Drive, cases_of

FILE = SHARED / "bench2drive" / "bench2drive220.xml"
TOWNS = ("Town01", "Town02", "Town05", "Town10HD")
COUNT = 21

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the official route file is not beside the repository")


def official_cases():
    """Routes on the towns at hand."""
    return [case for case in cases_of(str(FILE)) if case.town in TOWNS] if FILE.exists() else []


def test_all_routes_are_found():
    assert len(official_cases()) == COUNT


@pytest.mark.parametrize("number", range(COUNT))
def test_official_route(number):
    case = official_cases()[number]
    drive = Drive(case, signalised=False)
    drive.until(lambda d: d.ego.finished or d.scenario.phase is ScenarioPhase.ENDED, 90.0)
    assert drive.scenario.phase is not ScenarioPhase.BUILT, f"{case.config.name} was not triggered"
    assert drive.scenario.failure == ""
    drive.close()
    assert drive.left_over() == []
