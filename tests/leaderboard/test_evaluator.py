"""Whole evaluations on the embedded server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carla
import pytest

from leaderboard.leaderboard_evaluator import main
from leaderboard.utils.route_parser import write_routes_file
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenarios import registry
from srunner.scenarios.basic_scenario import Draft, Plan, ScenarioType
from tests.leaderboard.evaluation import AGENTS, CONSTANT, NPC, Evaluation, Places, route
from tests.leaderboard.shared import CARLA_TOWNS, ROUTES_220, needs_shared


def test_run_writes_every_file(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVE_PATH", str(evaluation.folder / "viz"))
    assert evaluation.run("r", CONSTANT, "--rules", "bench2drive") == 0
    results = evaluation.results("r")
    assert (results["entry_status"], results["_checkpoint"]["progress"]) == ("Finished", [2, 2])
    assert results["sensors"] == ["carla_speedometer"]
    first, second = results["_checkpoint"]["records"]
    assert list(first) == [
        "index", "route_id", "scenario_name", "weather_id", "save_name", "status", "num_infractions", "infractions", "scores",
        "meta", "town_name",
    ]  # fmt: skip
    assert first["scores"] == {"score_route": 100, "score_penalty": 1.0, "score_composed": 100.0}
    # The street begins one metre in, and planned routes are sampled every metre at both ends.
    assert first["meta"]["route_length"] == pytest.approx(59.0, abs=1.0)
    assert [failure["type"] for failure in second["scenario_build_failures"]] == ["Meteor"]
    metric = json.loads((evaluation.folder / "viz" / first["save_name"] / "metric_info.json").read_text())
    ticks = evaluation.manifest("r")["routes"]["RouteScenario_1_rep0"]["ticks"]
    assert list(metric) == [str(i) for i in range(1, ticks + 1)]
    assert first["meta"]["duration_game"] == pytest.approx(ticks * 0.05)
    trace = json.loads(evaluation.trace("r", "RouteScenario_1_rep0"))
    assert len(trace["frames"]) == ticks // 5
    assert trace["frames"][-1]["x"] != trace["frames"][0]["x"] or trace["frames"][-1]["y"] != trace["frames"][0]["y"]
    beats = [json.loads(line) for line in (evaluation.folder / "r.json.progress.jsonl").read_text().splitlines()]
    assert beats[-1]["route"] == "RouteScenario_2_rep0"
    assert set(beats[-1]) == {"time", "route", "tick", "game_time", "ratio"}


def test_trouble_with_scenarios_stands_in_the_record_and_on_the_console(
    evaluation: Evaluation, places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be built, what nobody reads and what breaks on the way: each is named with its reason, the route goes on."""

    def explode() -> None:
        raise ArithmeticError("a wheel came off")

    def broken(draft: Draft) -> Plan:
        return Plan(lambda stage: steps.sequence(steps.Idle(0.2), steps.Call("explode", explode)))

    monkeypatch.setitem(registry.TYPES, "Broken", ScenarioType("Broken", broken))
    keypoints = places.straight(60)
    way = places.planner.trace_route(*keypoints)
    here, beside = way[5][0].transform, carla.Transform(way[5][0].transform.location + carla.Location(x=9.0, y=9.0))

    def scenario(type_: str, trigger: carla.Transform = here, **parameters: dict[str, str]) -> ScenarioConfiguration:
        return ScenarioConfiguration(f"{type_}_1", type_, [trigger], dict(parameters))

    scenarios = [
        scenario("HardBreakRout"), scenario("ControlLoss", beside), scenario("Accident", direction={"value": "sideways"}),
        scenario("EnterActorFlow"), scenario("T_Junction", distance={"value": "3"}), scenario("Broken"),
    ]  # fmt: skip
    write_routes_file(evaluation.routes, [route("1", keypoints, *scenarios)])
    assert evaluation.run("r", CONSTANT, "--agent-config", "9", "--no-traffic") == 0
    (record,) = evaluation.records("r")
    assert record["scores"]["score_route"] == 100
    found = {
        key: {row["name"]: row["reason"] for row in record[key]}
        for key in ("scenario_build_failures", "scenario_failures", "scenario_warnings")
    }
    failures = found["scenario_build_failures"]
    assert set(failures) == {"HardBreakRout_1", "ControlLoss_1", "Accident_1", "EnterActorFlow_1"}
    assert "did you mean HardBreakRoute?" in failures["HardBreakRout_1"]
    assert "not on the route" in failures["ControlLoss_1"]
    assert "expected one of left, right, got 'sideways'" in failures["Accident_1"]
    assert "start_actor_flow is missing; end_actor_flow is missing" in failures["EnterActorFlow_1"]
    assert found["scenario_failures"] == {"Broken_1": "ArithmeticError: a wheel came off"}
    assert found["scenario_warnings"] == {"T_Junction_1": "parameter distance is not read"}
    printed = capsys.readouterr().out
    for reasons in found.values():
        assert all(f"{name} " in printed and reason in printed for name, reason in reasons.items())


@pytest.mark.parametrize(
    ("fault", "status", "exit_status", "entry"),
    [
        ("setup", "Failed - Agent couldn't be set up", 0, "Finished"),
        ("setup_hangs", "Failed - Agent couldn't be set up", 0, "Finished"),
        ("run_step", "Failed - Agent crashed", 0, "Finished"),
        ("destroy", "Failed - Agent crashed", 0, "Finished"),
        ("destroy_exits", "Failed - Agent crashed", 0, "Finished"),
        ("destroy_hangs", "Failed - Agent crashed", 0, "Finished"),
        ("hangs", "Failed - Agent crashed", 0, "Finished"),
        ("exits", "Failed - Agent crashed", 0, "Finished"),
        ("no_control", "Failed - Agent crashed", 0, "Finished"),
        ("not_a_number", "Failed - Agent crashed", 0, "Finished"),
        ("far_sensor", "Failed - Agent's sensors were invalid", 255, "Rejected"),
        ("wrong_track", "Failed - Agent's sensors were invalid", 255, "Rejected"),
    ],
)
def test_each_fault_has_its_status(
    evaluation: Evaluation, fault: str, status: str, exit_status: int, entry: str
) -> None:
    # Short where it has to run out; else long enough for a machine that does much else.
    patience = "4" if "hangs" in fault else "30"
    options = ["--agent-config", fault, "--routes-subset", "1", "--timeout", patience]
    assert evaluation.run("r", AGENTS / "broken_agent.py", *options) == exit_status
    (record,) = evaluation.records("r")
    assert record["status"] == status
    assert evaluation.results("r")["entry_status"] == entry
    assert evaluation.manifest("r")["routes"]["RouteScenario_1_rep0"]["outcome"] == "crashed"


def test_set_up_failure_ends_a_bench2drive_run(evaluation: Evaluation) -> None:
    options = ["--agent-config", "setup", "--rules", "bench2drive"]
    assert evaluation.run("r", AGENTS / "broken_agent.py", *options) == 255
    outcomes = [row["outcome"] for row in evaluation.manifest("r")["routes"].values()]
    assert outcomes == ["crashed", "not_run"]


def test_same_seed_same_drive_whatever_ran_before(evaluation: Evaluation) -> None:
    """Three drives with traffic: after another route, alone, and again; not a bit differs."""
    assert evaluation.run("both", NPC) == 0
    assert evaluation.run("alone", NPC, "--routes-subset", "2") == 0
    assert evaluation.run("again", NPC, "--routes-subset", "2") == 0
    traces = {evaluation.trace(name, "RouteScenario_2_rep0") for name in ("both", "alone", "again")}
    assert len(traces) == 1


def test_agent_in_collection_shape_gets_what_it_expects(evaluation: Evaluation) -> None:
    told = evaluation.folder / "told.json"
    options = ["--agent-config", str(told), "--routes-subset", "2", "--rules", "collection", "--track", "MAP"]
    assert evaluation.run("r", AGENTS / "collection_agent.py", *options) == 0
    content = json.loads(told.read_text())
    assert content["name"].startswith("routes_route0_")
    assert content["traffic_manager"] == "TrafficManager"
    assert content["constructed_with"] == 0
    assert content["route_id"] == content["record"]["route_id"].split("_")[1]
    assert content["sensors"] == [["rgb", "sensor.camera.rgb"], ["imu", "sensor.other.imu"]]
    assert [i for i, names in enumerate(content["frames"]) if "rgb" in names] == [0, 5, 10]
    assert content["record"]["status"] == "Failed - Agent crashed"
    assert list(content["record"])[:3] == ["timestamp", "index", "route_id"]


@pytest.mark.parametrize("rules", ["leaderboard_2_0", "bench2drive"])
def test_agent_of_the_first_leaderboard_drives(evaluation: Evaluation, rules: str) -> None:
    config = str(evaluation.folder)
    options = ("--agent-config", config, "--routes-subset", "1", "--rules", rules)
    assert evaluation.run("first", AGENTS / "first_interface_agent.py", *options) == 0
    told = json.loads((evaluation.folder / "told.json").read_text())
    assert told["config"].startswith(config)
    assert ("+" in told["config"]) == (rules == "bench2drive")
    assert told["points_at_setup"] == 0
    assert told["points"] >= 2
    assert told["keys"] == ["Center", "GPS", "speed"]
    assert told["speed"] > 3
    (record,) = evaluation.records("first")
    assert record["status"] == "Failed - Agent crashed"
    stages = evaluation.manifest("first")["routes"]["RouteScenario_1_rep0"]["stage_ms"]
    assert {"simulator", "render", "agent", "scenario"} == stages.keys()
    assert stages["simulator"]["ticks"] == told["steps"] == 60


def test_bench2drive_agents_get_the_name_of_their_route(evaluation: Evaluation) -> None:
    """``<config>+<save name>``, fresh for every route, so that both the first and the last ``+`` field name it."""
    told = evaluation.folder / "told.txt"
    assert evaluation.run("r", AGENTS / "telling_agent.py", "--agent-config", str(told), "--rules", "bench2drive") == 0
    lines = told.read_text().splitlines()
    names = [record["save_name"] for record in evaluation.records("r")]
    assert [line.split(" ")[0] for line in lines] == [f"{told}+{name}" for name in names]
    assert names[1].startswith("RouteScenario_2_rep0_Mini01_Meteor_1_26_")
    assert all(2 <= int(line.split(" ")[1]) < int(line.split(" ")[2]) for line in lines)
    assert {record["status"] for record in evaluation.records("r")} == {"Failed - Agent crashed"}


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(("town", "route_ids"), [("Town01", ["24781", "28035"]), ("Town02", ["24224"])])
def test_official_routes_run_on_official_towns(
    carla_server_process: Callable[..., Any], tmp_path: Path, town: str, route_ids: list[str]
) -> None:
    """Each loads, builds its scenario, triggers it and ends with a result."""
    server = carla_server_process("Mini01", "--maps", str(CARLA_TOWNS))
    evaluation = Evaluation(server.port, ROUTES_220, tmp_path)
    options = ["--routes-subset", ",".join(route_ids), "--rules", "bench2drive", "--agent-config", "10"]
    assert evaluation.run("r", CONSTANT, *options) == 0
    for record in evaluation.records("r"):
        assert record["town_name"] == town
        assert "scenario_build_failures" not in record
        assert record["scores"]["score_route"] > 30
        assert evaluation.manifest("r")["routes"][record["route_id"]]["triggered"] == [record["scenario_name"]]


# ---- processes that end ----------------------------------------------------------------------------------------------


def start(evaluation: Evaluation, name: str, *options: str) -> subprocess.Popen[bytes]:
    """The evaluator as a process of its own."""
    command = [sys.executable, "-m", "leaderboard.leaderboard_evaluator"]
    log = open(evaluation.folder / f"{name}.log", "wb")  # noqa: SIM115 - the child keeps it
    return subprocess.Popen([*command, *evaluation.arguments(name, CONSTANT, *options)], stdout=log, stderr=log)


def wait_for_ticks(evaluation: Evaluation, name: str, route_id: str, ticks: int = 1, deadline_s: float = 60.0) -> None:
    """Wait until a running evaluator has told of so many ticks of a route."""
    path = evaluation.folder / f"{name}.json.progress.jsonl"
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        lines = path.read_text().splitlines() if path.exists() else []
        beats = [json.loads(line) for line in lines if line.endswith("}")]
        if any(beat["route"] == route_id and beat["tick"] >= ticks for beat in beats):
            return
        time.sleep(0.05)
    raise AssertionError((evaluation.folder / f"{name}.log").read_text())


def test_killed_evaluator_resumes(evaluation: Evaluation, places: Places) -> None:
    write_routes_file(evaluation.routes, [route(str(i), places.straight(60)) for i in range(3)])
    process = start(evaluation, "r", "--agent-config", "3", "--no-traffic")
    wait_for_ticks(evaluation, "r", "RouteScenario_1_rep0")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = evaluation.records("r")
    assert [record["route_id"] for record in before] == ["RouteScenario_0_rep0"]
    assert evaluation.run("r", CONSTANT, "--resume", "--agent-config", "3", "--no-traffic") == 0
    after = evaluation.records("r")
    assert after[0] == before[0]
    assert [record["status"] for record in after] == ["Perfect"] * 3
    attempts = [row["attempts"] for row in evaluation.manifest("r")["routes"].values()]
    assert attempts == [1, 2, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--port": "1"}, "no carla_server or CARLA at 127.0.0.1:1"),
        ({"--agent": "nowhere.py"}, "no agent file"),
        ({"--routes": "nowhere.xml"}, "nowhere.xml"),
        ({"--routes-subset": "77"}, "'77'"),
        ({"--traffic-manager-port": "99999"}, "port 99999 is taken or not allowed"),
    ],
)
def test_wrong_input_is_refused_with_advice(
    evaluation: Evaluation, changes: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = evaluation.arguments("r", CONSTANT)
    for name, value in changes.items():
        if name in arguments:
            arguments[arguments.index(name) + 1] = value
        else:
            arguments += [name, value]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (evaluation.folder / "r.json").exists()


def test_a_taken_port_for_traffic_is_no_crash_of_the_simulation(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = evaluation.arguments("r", CONSTANT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments[arguments.index("--traffic-manager-port") + 1] = port
        assert main(arguments) == 2
    assert f"port {port} is taken" in capsys.readouterr().err
    assert not (evaluation.folder / "r.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import a_package_that_is_not_there", "importing it raises ModuleNotFoundError: No module named 'a_package"),
        ("import sys\nsys.exit('not today')", "importing it raises SystemExit: not today"),
        ("def get_entry_point(:", "importing it raises SyntaxError"),
        ("x = 1", "must define get_entry_point()"),
        ("def get_entry_point():\n    return NAME", "get_entry_point() raises NameError"),
        ("def get_entry_point():\n    return 'Nobody'", "names 'Nobody', but the file defines no such class"),
        ("def get_entry_point():\n    return None", "names None, but the file defines no such class"),
        (
            "class Car:\n    def setup(self, config): ...\n\ndef get_entry_point():\n    return 'Car'",
            "Car is no agent, it lacks sensors, set_global_plan, destroy",
        ),
    ],
)
def test_unusable_agent_files_are_refused_before_a_route_is_begun(
    evaluation: Evaluation, content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = evaluation.folder / "odd_agent.py"
    file.write_text(content)
    assert main(evaluation.arguments("r", file)) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith(f"error: {file}")
    assert message in told[-1]
    assert not (evaluation.folder / "r.json").exists()
    assert "odd_agent" not in sys.modules or "importing" not in message


def test_killed_server_leaves_a_crashed_route(evaluation: Evaluation, carla_server_process: Callable[..., Any]) -> None:
    server = carla_server_process("Mini01")
    process = start(evaluation, "r", "--agent-config", "1", "--rules", "bench2drive")
    wait_for_ticks(evaluation, "r", "RouteScenario_1_rep0", ticks=60)
    os.kill(server.process.pid, signal.SIGKILL)
    assert process.wait(timeout=60) == 255
    (record,) = evaluation.records("r")
    assert record["status"] == "Failed - Simulation crashed"
    assert record["scores"]["score_route"] > 0
    outcomes = [row["outcome"] for row in evaluation.manifest("r")["routes"].values()]
    assert outcomes == ["crashed", "not_run"]
