"""An evaluation that is killed at random moments ends with the results of one that was not."""

from __future__ import annotations

import json

import pytest

from leaderboard import resume_check
from leaderboard.utils.route_parser import write_routes_file
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from tests.leaderboard.evaluation import NPC, Evaluation, Places, route


def test_killed_five_times_the_results_are_the_same(
    evaluation: Evaluation, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three routes with traffic, the last with a scenario: the same records and the same driven paths, to the last bit."""
    street = places.straight(60)
    trigger = places.planner.trace_route(*street)[5][0].transform
    stop = ScenarioConfiguration("HardBreakRoute_1", "HardBreakRoute", [trigger])
    write_routes_file(evaluation.routes, [route("1", street), route("2", street), route("3", street, stop)])
    out = evaluation.folder / "check"
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(evaluation.port),
        "--routes",
        str(evaluation.routes),
        "--agent",
        str(NPC),
    ]
    assert (
        resume_check.main([*options, "--rules", "bench2drive", "--timeout", "60", "--kills", "5", "--out", str(out)])
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["kills"] == 5
    assert told["differing"] == []
    assert 3 < sum(told["attempts"].values()) <= 3 + 5
    records = json.loads((out / "pieces.json").read_text())["_checkpoint"]["records"]
    assert [record["route_id"] for record in records] == [f"RouteScenario_{i}_rep0" for i in (1, 2, 3)]
    assert {record["scores"]["score_route"] for record in records} == {100}


def test_a_difference_is_noticed(evaluation: Evaluation, places: Places) -> None:
    """Two evaluations of one route with different agents' speeds do not pass as the same."""
    write_routes_file(evaluation.routes, [route("1", places.straight(60))])
    whole, pieces = (resume_check.Evaluation((), evaluation.folder / f"{name}.json") for name in ("whole", "pieces"))
    for name, speed in (("whole", "9"), ("pieces", "7")):
        agent = NPC.with_name("constant_speed_agent.py")
        assert evaluation.run(name, agent, "--agent-config", speed, "--no-traffic") == 0
    assert resume_check.differing(whole, whole) == []
    assert resume_check.differing(whole, pieces) == ["RouteScenario_1_rep0"]
