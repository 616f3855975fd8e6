"""The report page of an evaluation with every outcome, made from files such as a run leaves behind."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.fleet import RouteTask
from jobs.results import Outcome, RouteResult
from team_code.drive_log import DriveFrame, DriveLog, read_drive_log
from team_code.evaluation.summary import RouteRow, Table, collect_rows, tabulate
from team_code.report import page, video
from tests.team_code.fake_evaluator import INFRACTIONS

MANIFEST = {
    "written": "now",
    "config": {"agent": "simlingo", "routes": "r.xml", "seeds": [1], "simulator": "embedded"},
    "rules": {"name": "bench2drive"},
}


def record(route: str, score: float, **events: list[str]) -> dict[str, object]:
    return {
        "route_id": f"RouteScenario_{route}_rep0",
        "scenario_name": "ParkedObstacle_1",
        "status": "Completed",
        "infractions": {name: events.get(name, []) for name in INFRACTIONS},
        "scores": {"score_route": 100, "score_penalty": score / 100, "score_composed": score},
        "meta": {"route_length": 120.0, "duration_game": 20.0, "duration_system": 5.0},
    }


def drive_frame(step: int, text: str) -> DriveFrame:
    ahead = [[float(i), 0.0] for i in range(20)]
    return DriveFrame(
        step,
        (0.0, 0.0),
        0.0,
        5.0,
        [[20.0, 0.0], [40.0, 3.0]],
        "?",
        text,
        ahead,
        ahead[:10],
        0.0,
        0.5,
        0.0,
        {"text": 3.0},
    )


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """Two driven routes, one of them with an infraction, a log and a trace; one crashed; one never run."""
    job = tmp_path / "jobs" / "0000"
    job.mkdir(parents=True)
    records = [record("1", 100.0), record("2", 70.0, red_light=["Agent ran a red light <b>7</b>"])]
    (job / "results.json").write_text(json.dumps({"_checkpoint": {"records": records}}))
    frames = [{"t": i * 0.25, "x": i * 1.0, "y": 0.1 * i, "yaw": 0, "speed": 4.0, "steer": 0.1} for i in range(40)]
    trace = {
        "town": "Mini01",
        "route": [[i, 0] for i in range(60)],
        "frames": frames,
        "events": [{"kind": "red_light", "t": 3.0, "x": 12.0, "y": 1.0, "message": "m"}],
        "scenarios": [{"type": "ParkedObstacle", "x": 30.0, "y": 0.0}],
    }
    (job / "results_trace").mkdir()
    (job / "results_trace" / "RouteScenario_2_rep0.json").write_text(json.dumps(trace))
    log = DriveLog(job / "drive" / "RouteScenario_2_rep0_Mini01")
    image = np.full((512, 1024, 3), 90, dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    for step in range(0, 20, 5):
        log.append(drive_frame(step, "Follow the road. Waypoints:" if step < 10 else "Stop. Waypoints:"), jpeg)
    log.close()
    return tmp_path


def table_of(out: Path) -> Table:
    tasks = {f"seed1/{i}": RouteTask(f"seed1/{i}", str(i), "r.xml", "Mini01", 1) for i in (1, 2, 3, 4)}
    results = [
        RouteResult("seed1/1", Outcome.FINISHED, "Completed", 1, "0000"),
        RouteResult("seed1/2", Outcome.FINISHED, "Completed", 2, "0000"),
        RouteResult("seed1/3", Outcome.CRASHED, "server died: signal 11 (SIGSEGV)", 3, "0000"),
    ]
    return tabulate(collect_rows(out, tasks, results))


def test_routes_without_verdict_count_zero_and_are_named(finished_run: Path) -> None:
    table = table_of(finished_run)
    assert table.driving_score.value == pytest.approx((100 + 70) / 4)
    assert table.success_rate.value == pytest.approx(25.0)
    assert table.holes == 2
    assert table.outcomes == {"finished": 2, "failed": 0, "crashed": 1, "timed out": 0, "not run": 1}


def test_what_a_drive_without_a_verdict_did_is_not_counted() -> None:
    """A crash may leave a record of what came before it, which is no more a result than its score."""
    rows = [
        RouteRow(
            RouteTask(f"seed1/{route}", route, "r.xml", "Mini01", 1),
            RouteResult(f"seed1/{route}", outcome, "", 1, "0000"),
            record(route, 70.0, red_light=["Agent ran a red light"]),
            smoothness=smoothness,
        )
        for route, outcome, smoothness in (("1", Outcome.FAILED, 1.0), ("2", Outcome.CRASHED, 0.0))
    ]
    assert tabulate(rows).smoothness == 100.0
    assert page.count_infractions(rows) == [("red_light", 1)]


def test_page_shows_every_route_and_only_files_that_exist(finished_run: Path) -> None:
    table = table_of(finished_run)
    path = page.write_report(finished_run, table, MANIFEST, videos=True, other=table, other_name="itself")
    html = path.read_text()
    assert "This table has holes" in html
    assert "no clear difference" in html
    links = re.findall(r'href="(report/[^"]+)"', html)
    assert links == [f"report/seed1-{number}/index.html" for number in (1, 2, 3, 4)]
    second = (finished_run / links[1]).read_text()
    assert "&lt;b&gt;7" in second, "messages are text, not markup"
    assert "Stop." in second
    assert "SIGSEGV" in (finished_run / links[2]).read_text()
    shown = [(finished_run / links[1]).parent / name for name in re.findall(r'src="([^"]+)"', second)]
    assert {name.name for name in shown} == {"map.png", "motion.png", "drive.mp4"}
    assert all(name.stat().st_size > 500 for name in shown)


@pytest.mark.parametrize(("every", "rate"), [(5, 4.0), (20, 1.0), (1, 20.0)])
def test_a_video_runs_as_fast_as_the_drive(every: int, rate: float) -> None:
    """However many images `images_per_second` keeps; the agent is silent now and then, with a reaction delay."""
    kept = [step for step in range(200) if step % every == 0 and step not in (40, 60)]
    frames = [replace(drive_frame(step, ""), image="x.jpg" if step in kept else None) for step in range(200)]
    assert video.picture_rate(frames) == rate
    assert video.picture_rate(frames[:1]) > 0


def test_drive_log_survives_a_cut(tmp_path: Path) -> None:
    log = DriveLog(tmp_path)
    for step in range(3):
        log.append(drive_frame(step, "a"))
    log.close()
    content = (tmp_path / "drive.jsonl").read_bytes()
    (tmp_path / "drive.jsonl").write_bytes(content[:-20])
    assert [frame.step for frame in read_drive_log(tmp_path)] == [0, 1]


def test_path_is_drawn_where_the_camera_sees_it() -> None:
    drawn = video.draw_prediction(np.zeros((512, 1024, 3), dtype=np.uint8), drive_frame(0, ""))
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert rows.min() > 256, "points on the ground lie below the horizon"
    assert abs(float(np.median(columns)) - 512) < 10


def test_table_without_routes_is_refused() -> None:
    with pytest.raises(ValueError, match="no route"):
        tabulate(list[RouteRow]())
