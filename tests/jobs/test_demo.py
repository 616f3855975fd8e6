"""The demo's steps run in order, resume, and start again where something changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import demo

NAMES = [step.name for step in demo.STEPS]
Demo = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Runs the demo with steps that do nothing; returns the exit status and the names of the steps that ran."""
    monkeypatch.setattr(demo, "REPOSITORY", tmp_path)
    monkeypatch.setattr(demo, "scores", lambda out: "scores")

    def call(*options: str, fails: str = "") -> tuple[int, list[str]]:
        ran: list[str] = []

        def run_step(step: demo.Step, command: str, number: int) -> float:
            ran.append(step.name)
            (tmp_path / "database" / "demo").mkdir(parents=True, exist_ok=True)
            if step.name == fails:
                raise subprocess.CalledProcessError(1, command)
            return 1.0

        monkeypatch.setattr(demo, "run_step", run_step)
        monkeypatch.setattr(sys, "argv", ["demo", "--workers", "2", *options])
        return demo.main(), ran

    return call


def test_all_steps_run_once(run: Demo) -> None:
    assert run() == (0, NAMES)
    assert run() == (0, [])


def test_after_a_failure_the_same_command_goes_on_with_that_step(run: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fails="train") == (1, NAMES[: NAMES.index("train") + 1])
    assert "Step train ended with status 1" in capsys.readouterr().err
    assert run() == (0, NAMES[NAMES.index("train") :])


def test_from_a_step_on_everything_runs_again(run: Demo) -> None:
    run()
    assert run("--from", "buckets") == (0, NAMES[NAMES.index("buckets") :])
    with pytest.raises(SystemExit, match="--from names a step: collect, clean"):
        run("--from", "labels")


def test_another_setting_counts_from_its_step_on(run: Demo) -> None:
    run()
    assert run("--train-minutes", "1") == (0, NAMES[NAMES.index("train") :])


def test_without_its_data_nothing_is_done(run: Demo, tmp_path: Path) -> None:
    run()
    (tmp_path / "database" / "demo").rmdir()
    assert run() == (0, NAMES)


def test_scores_name_both_drivers_and_their_reports(tmp_path: Path) -> None:
    for name, score in (("expert", 100.0), ("model", 27.1)):
        (tmp_path / name).mkdir()
        table = {
            "driving_score": {"value": score},
            "success_rate": {"value": 0.0},
            "route_completion": 90.0,
            "routes": 4,
        }
        (tmp_path / name / "results.json").write_text(json.dumps(table))
    text = demo.scores(tmp_path)
    assert "expert  driving score 100.00" in text
    assert "model   driving score  27.10" in text
    assert str(tmp_path / "model" / "report.html") in text


def test_the_readme_shows_the_same_commands() -> None:
    readme = (Path(demo.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    modules = {step.command.split()[2] for step in demo.STEPS if step.command.startswith("python -m")}
    loop = readme[readme.index("## The loop") : readme.index("## Where things are")]
    # One command makes both kinds of language labels; the demo makes them one after the other.
    named = {module.replace("language_labels.vqa", "language_labels") for module in modules}
    named -= {"dataset_generation.language_labels.commentary"}
    assert not [module for module in named if f"python -m {module} " not in loop]
