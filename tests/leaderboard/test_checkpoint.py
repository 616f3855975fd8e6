from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leaderboard.utils.checkpoint_tools import Checkpoint, CheckpointError, append_line, outcome, read_lines
from leaderboard.utils.statistics_manager import EntryStatus, FailureReason, RouteRecord, Scores

RUNS = [f"RouteScenario_{i}_rep0" for i in range(4)]
IDENTITY: dict[str, Any] = {
    "rules": "bench2drive", "routes_sha256": "abc", "seed": 0, "track": "SENSORS", "background_traffic": True,
    "agent_config": "old",
}  # fmt: skip


def record(run_id: str, status: str = "Completed", score: float = 100.0) -> dict[str, Any]:
    return RouteRecord(run_id, status, Scores(score, 1.0, score)).to_json(RUNS.index(run_id))


def start(path: Path, resume: bool = True, identity: dict[str, Any] = IDENTITY) -> Checkpoint:
    checkpoint = Checkpoint(path, RUNS, identity)
    checkpoint.start(resume)
    return checkpoint


def due(checkpoint: Checkpoint, max_attempts: int = 3) -> list[str]:
    return [run for run in RUNS if checkpoint.is_due(run, max_attempts)]


def test_resume_after_a_kill_at_any_byte_of_the_journal(tmp_path: Path) -> None:
    """However little of the journal reached the disk, finished routes stay finished and the rest is driven."""
    first = start(tmp_path / "full.json", resume=False)
    for run in RUNS[:3]:
        first.begin(run)
        first.end(run, record(run), {})
    content = first.journal.read_bytes()
    for size in range(0, len(content), 7):
        path = tmp_path / f"cut{size}.json"
        Path(f"{path}.journal.jsonl").write_bytes(content[:size])
        ends = [line for line in content[:size].splitlines() if b'"event": "end"' in line and line.endswith(b"}")]
        complete = [line for line in ends if _parses(line)]
        resumed = start(path)
        assert due(resumed) == RUNS[len(complete) :]
        for run in due(resumed):
            resumed.begin(run)
            resumed.end(run, record(run, score=50.0), {})
        again = start(path)
        assert due(again) == []
        assert [row["route_id"] for row in again.records()] == RUNS


def _parses(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_crashes_are_tried_again_failures_are_not(tmp_path: Path) -> None:
    checkpoint = start(tmp_path / "r.json", resume=False)
    statuses = [
        "Completed",
        FailureReason.SIMULATION_CRASHED.status,
        FailureReason.BLOCKED.status,
        FailureReason.AGENT_CRASHED.status,
    ]
    for run, status in zip(RUNS, statuses, strict=True):
        checkpoint.begin(run)
        checkpoint.end(run, record(run, status, 0.0), {})
    assert due(start(tmp_path / "r.json")) == [RUNS[1], RUNS[3]]
    assert due(start(tmp_path / "r.json"), max_attempts=1) == []


def test_route_that_kills_its_process_every_time_is_given_up(tmp_path: Path) -> None:
    for attempt in range(3):
        checkpoint = start(tmp_path / "r.json", resume=attempt > 0)
        assert checkpoint.is_due(RUNS[0], 3)
        checkpoint.begin(RUNS[0])
    last = start(tmp_path / "r.json")
    assert not last.is_due(RUNS[0], 3)
    last.give_up(RUNS[0])
    assert start(tmp_path / "r.json").records()[0]["status"] == "Failed - Simulation crashed"


def test_new_run_moves_old_results_aside(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    old = start(path, resume=False)
    old.end(RUNS[0], record(RUNS[0]), {})
    old.write(1, EntryStatus.STARTED)
    before = path.read_text()
    fresh = start(path, resume=False)
    assert fresh.records() == []
    assert (tmp_path / "r.json.1.old").read_text() == before


def test_results_without_a_journal_can_be_continued(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    old = start(path, resume=False)
    old.set_sensors(["carla_camera"])
    old.end(RUNS[0], record(RUNS[0]), {})
    old.write(1, EntryStatus.STARTED)
    old.journal.unlink()
    resumed = start(path)
    assert due(resumed) == RUNS[1:]
    assert resumed.state.sensors == ["carla_camera"]


def test_truncated_results_are_kept_but_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"_checkpoint": {"records": [')
    resumed = start(path)
    assert due(resumed) == RUNS
    assert (tmp_path / "r.json.1.old").exists()
    assert "Cannot resume" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"rules": "leaderboard_2_0"}, {"routes_sha256": "def"}, {"seed": 1}, {"track": "MAP"},
        {"background_traffic": False},
    ],
)  # fmt: skip
def test_results_of_another_run_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    start(tmp_path / "r.json", resume=False)
    with pytest.raises(CheckpointError, match="choose another --checkpoint"):
        start(tmp_path / "r.json", identity={**IDENTITY, **change})


def test_results_of_a_moved_agent_are_continued_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = start(tmp_path / "r.json", resume=False)
    old.end(RUNS[0], record(RUNS[0]), {})
    assert due(start(tmp_path / "r.json")) == RUNS[1:]
    assert "Note" not in capsys.readouterr().out
    assert due(start(tmp_path / "r.json", identity={**IDENTITY, "agent_config": "new"})) == RUNS[1:]
    assert "the results so far are of agent_config 'old', this run has 'new'" in capsys.readouterr().out


def test_empty_results_file_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("")
    assert due(start(tmp_path / "r.json")) == RUNS


def test_progress_beyond_the_records_repeats_what_is_missing(tmp_path: Path) -> None:
    """A file that claims three routes but holds the first and the third: the second is driven, the third is kept."""
    path = tmp_path / "r.json"
    old = start(path, resume=False)
    for run in (RUNS[0], RUNS[2]):
        old.end(run, record(run), {})
    old.write(3, EntryStatus.STARTED)
    old.journal.unlink()
    assert due(start(path)) == [RUNS[1], RUNS[3]]


def test_repetitions_of_one_route_are_kept_apart(tmp_path: Path) -> None:
    runs = ["RouteScenario_1_rep0", "RouteScenario_1_rep1"]
    first = Checkpoint(tmp_path / "r.json", runs, IDENTITY)
    first.start(False)
    first.end(runs[0], RouteRecord(runs[0], "Completed", Scores(100.0, 1.0, 100.0)).to_json(0), {})
    again = Checkpoint(tmp_path / "r.json", runs, IDENTITY)
    again.start(True)
    assert [run for run in runs if again.is_due(run, 3)] == runs[1:]


def test_records_are_written_in_route_order_with_outcomes(tmp_path: Path) -> None:
    checkpoint = start(tmp_path / "r.json", resume=False)
    checkpoint.set_sensors(["carla_imu"])
    for run, status in ((RUNS[2], "Completed"), (RUNS[0], FailureReason.TICK_LIMIT.status)):
        checkpoint.begin(run)
        checkpoint.end(run, record(run, status), {"reason": "x"})
    checkpoint.write(3, EntryStatus.STARTED)
    content = json.loads((tmp_path / "r.json").read_text())
    assert [(row["index"], row["route_id"]) for row in content["_checkpoint"]["records"]] == [
        (0, RUNS[0]),
        (2, RUNS[2]),
    ]
    manifest = json.loads((tmp_path / "r_manifest.json").read_text())
    outcomes = [manifest["routes"][run]["outcome"] for run in RUNS]
    assert outcomes == ["failed", "not_run", "finished", "not_run"]


def test_outcomes_keep_crash_failure_and_not_run_apart() -> None:
    assert outcome(None) == "not_run"
    assert outcome(record(RUNS[0], "Perfect")) == "finished"
    assert outcome(record(RUNS[0], "Failed")) == "failed"
    assert outcome(record(RUNS[0], FailureReason.SIMULATION_CRASHED.status)) == "crashed"


def test_torn_last_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": ')
    append_line(path, {"c": 3})
    assert read_lines(path) == [{"a": 1}, {"c": 3}]
