from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Bench2Drive import evaluate
from Bench2Drive.abilities import ABILITIES, RouteInfo, ability_table
from Bench2Drive.junctions import read_route_infos
from Bench2Drive.metrics import bootstrap, driving_efficiency, driving_score, route_efficiency, success_rate
from Bench2Drive.results import ResultsError, is_success, merge_folder, missing_routes, route_number
from Bench2Drive.split_routes import part_sizes, split_file
from jobs.results import Outcome
from leaderboard.utils.route_parser import RouteParser
from leaderboard.utils.statistics_manager import RouteRecord, Scores
from tests.leaderboard.shared import PDM_LITE, ROUTES_220, needs_shared


def record(number: int, score: float = 100.0, status: str = "Completed", **infractions: list[str]) -> dict[str, Any]:
    made = RouteRecord(f"RouteScenario_{number}_rep0", status, Scores(score, 1.0, score))
    made.infractions |= infractions
    return made.to_json(0)


def results(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"_checkpoint": {"records": records}}), encoding="utf-8")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "pdm_lite"
    folder.mkdir()
    for path in PDM_LITE.glob("eval_*.json"):
        shutil.copyfile(path, folder / path.name)
    return folder


@needs_shared
def test_published_scores_are_reproduced(published: Path) -> None:
    records = merge_folder(published).records
    assert round(driving_score(records), 4) == 97.0158
    assert round(success_rate(records), 5) == 0.92273
    efficiency = driving_efficiency(records)
    assert efficiency is not None
    assert round(efficiency, 3) == 250.039


def test_a_run_of_the_supervisor_is_read_like_official_files(tmp_path: Path) -> None:
    records = [record(1, 60.0, collisions_vehicle=["hit"]), record(2)]
    results(tmp_path / "official", "part.json", records)
    rows = [{"key": f"seed1/{made['route_id']}", "outcome": "finished", "record": made} for made in records]
    rows.append({"key": "seed1/3", "outcome": "not run", "record": None})
    supervised(tmp_path / "run", rows)
    assert merge_folder(tmp_path / "run").records == merge_folder(tmp_path / "official").records


def supervised(folder: Path, rows: list[dict[str, Any]]) -> None:
    """What `start_eval.py` leaves."""
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"outcomes": {}, "records": rows}), encoding="utf-8")
    (folder / "outcomes.json").write_text("[]", encoding="utf-8")


def test_drives_without_a_verdict_are_holes_as_in_the_supervisors_table(tmp_path: Path) -> None:
    """Every outcome there is, each with a record: that of a crash holds the score that the car had until then."""
    ends = {Outcome.FINISHED: "Completed", Outcome.FAILED: "Failed - Agent got blocked"}
    rows = [
        {"key": f"seed1/{number}", "outcome": end.value, "record": record(number, 50.0, ends.get(end, "Failed"))}
        for number, end in enumerate(Outcome)
    ]
    supervised(tmp_path / "run", rows)
    counted = {route_number(made) for made in merge_folder(tmp_path / "run").records}
    assert counted == {str(number) for number, end in enumerate(Outcome) if end.is_verdict}


def test_several_seeds_of_a_supervisor_are_refused(tmp_path: Path) -> None:
    rows = [{"key": f"seed{seed}/1", "outcome": "finished", "record": record(1)} for seed in (1, 2)]
    supervised(tmp_path / "run", rows)
    with pytest.raises(ResultsError, match="several seeds"):
        merge_folder(tmp_path / "run", duplicates="best")


@needs_shared
def test_command_writes_the_published_files(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(published), "--routes", str(ROUTES_220), "--ability-version", "0.0.3"]) == 0
    assert (published / "merged.json").read_bytes() == (PDM_LITE / "merged.json").read_bytes()
    ours = json.loads((published / "merged_ability.json").read_text())
    theirs = json.loads((PDM_LITE / "merged_ability.json").read_text())
    for ability in ("Overtaking", "Merging", "Emergency_Brake", "Give_Way"):
        assert ours[ability] == pytest.approx(theirs[ability], abs=1e-12)
    assert "97.0158 over 220" in capsys.readouterr().out


@needs_shared
def test_table_with_holes_is_refused(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (published / "eval_bench2drive220_3.json").unlink()
    arguments = [str(published), "--routes", str(ROUTES_220)]
    assert evaluate.main(arguments) == 1
    assert not (published / "merged.json").exists()
    assert "routes have no result" in capsys.readouterr().err
    assert evaluate.main([*arguments, "--allow-holes"]) == 0
    assert "HOLES" in capsys.readouterr().out


@needs_shared
def test_ability_groups_have_the_published_sizes() -> None:
    infos, _ = read_route_infos(ROUTES_220)
    sizes = {name: sum(info.scenario_type in types for info in infos) for name, types in ABILITIES.items()}
    assert sizes == {"Overtaking": 45, "Merging": 80, "Emergency_Brake": 60, "Give_Way": 10, "Traffic_Signs": 95}
    assert {info.scenario_type for info in infos} == frozenset().union(*ABILITIES.values())


def test_success_allows_low_speed_only() -> None:
    assert is_success(record(1, min_speed_infractions=["Average speed is 20% of the surrounding traffic's one"]))
    assert is_success(record(1, status="Perfect"))
    assert not is_success(record(1, outside_route_lanes=["Agent went outside"]))
    assert not is_success(record(1, status="Failed - TickRuntime"))


def test_missing_routes_count_zero_unless_asked_otherwise() -> None:
    records = [record(1, 80.0), record(2, 40.0)]
    assert driving_score(records, 4) == 30.0
    assert driving_score(records, None) == 60.0
    assert success_rate(records, 4) == 0.5
    with pytest.raises(ValueError, match="2 records cannot be scored over 1"):
        driving_score(records, 1)


def test_efficiency_ignores_absurd_shares() -> None:
    texts = [f"Average speed is {share}% of the surrounding traffic's one" for share in ("50.0", "1733.82", "100")]
    assert route_efficiency(record(1, min_speed_infractions=texts)) == 75.0
    assert route_efficiency(record(1, min_speed_infractions=texts[1:2])) is None
    assert driving_efficiency([record(1)]) is None


def test_merge_finds_doubles_and_holes(tmp_path: Path) -> None:
    results(tmp_path, "a.json", [record(1, 90.0), record(2, 50.0)])
    results(tmp_path, "b.json", [record(2, 40.0), record(10, 70.0)])
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(ResultsError, match="1 routes occur twice"):
        merge_folder(tmp_path)
    last, best = merge_folder(tmp_path, "last"), merge_folder(tmp_path, "best")
    assert [route_number(row) for row in last.records] == ["2", "1", "10"]
    assert [row["scores"]["score_composed"] for row in last.records] == [40.0, 90.0, 70.0]
    assert [row["scores"]["score_composed"] for row in best.records] == [50.0, 90.0, 70.0]
    assert [path.name for path in last.ignored] == ["notes.json"]
    assert missing_routes(last.records, ["1", "2", "3"]) == ["3"]


def test_ids_of_routes_need_not_be_numbers(tmp_path: Path) -> None:
    names = ["left_turn_1", "a-b", "rep_2"]
    results(tmp_path, "a.json", [{**record(1, 90.0), "route_id": f"RouteScenario_{name}_rep0"} for name in names])
    merged = merge_folder(tmp_path)
    assert {route_number(row) for row in merged.records} == set(names)
    assert missing_routes(merged.records, [*names, "left"]) == ["left"]
    for odd in ("RouteScenario_1", "Route_1_rep0", "RouteScenario__rep0"):
        with pytest.raises(ResultsError, match="expected a route_id like"):
            route_number({"route_id": odd})


def test_broken_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "part.json").write_text('{"_checkpoint": ')
    with pytest.raises(ValueError, match=r"part\.json"):
        merge_folder(tmp_path)


def test_repetitions_in_one_folder_fill_no_holes(tmp_path: Path) -> None:
    """Two repetitions of half the routes are no complete run: their scores must not be summed over all routes."""
    again = {**record(1), "route_id": "RouteScenario_1_rep1"}
    results(tmp_path, "part.json", [record(1), again])
    routes = [RouteInfo(name, "Accident", "Mini01") for name in ("1", "2")]
    with pytest.raises(ResultsError, match="repetitions of the same routes: 1; put each into a folder"):
        evaluate.summarise(merge_folder(tmp_path), tmp_path, routes, None, None)


def test_versions_count_traffic_signs_differently() -> None:
    """One route passes by success and by its junction, one by its junction alone, one not at all, one is missing."""
    routes = [RouteInfo(str(i), "T_Junction", "Town01") for i in range(4)]
    records = [record(0), record(1, 60.0, "Failed"), record(2, 30.0, "Failed", red_light=["x"])]
    old = ability_table(records, routes, "0.0.3", lambda route: 0.5)
    new = ability_table(records, routes, "0.0.4", lambda route: 0.5)
    assert (old.scores["Traffic_Signs"], old.counted["Traffic_Signs"]) == (3 / 6, 6)
    assert (new.scores["Traffic_Signs"], new.counted["Traffic_Signs"]) == (2 / 3, 3)
    assert (old.strict["Traffic_Signs"], new.strict["Traffic_Signs"]) == (3 / 8, 2 / 4)
    assert new.missing == [("T_Junction", "3")]
    assert ability_table(records, routes, "0.0.4").scores["Traffic_Signs"] is None
    assert new.scores["Overtaking"] is None


def test_interval_covers_the_mean_and_narrows_with_more_routes() -> None:
    scores = np.random.default_rng(1).uniform(0, 100, 200)
    few = bootstrap([record(i, s) for i, s in enumerate(scores[:20])], lambda row: row["scores"]["score_composed"])
    many = bootstrap([record(i, s) for i, s in enumerate(scores)], lambda row: row["scores"]["score_composed"])
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low
    analytic = 1.96 * scores.std() / np.sqrt(len(scores))
    assert (many.high - many.low) / 2 == pytest.approx(analytic, rel=0.1)


def test_parts_are_contiguous_and_complete() -> None:
    assert part_sizes(220, 3) == [74, 73, 73]
    with pytest.raises(ValueError, match="cannot be cut"):
        part_sizes(2, 3)


@needs_shared
def test_single_files_are_numbered_as_simlingo_numbers_them(tmp_path: Path) -> None:
    written = split_file(ROUTES_220, None, tmp_path)
    found = {
        position: RouteParser.parse_routes_file(written[position])[0].route_id for position in (72, 94, 111, 130, 140)
    }
    assert found == {72: "3457", 94: "3785", 111: "11715", 130: "23670", 140: "24041"}
    assert written[9].name == "bench2drive220_09.xml"
