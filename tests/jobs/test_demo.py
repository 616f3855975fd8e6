"""The demo's steps run in order, resume, and start again where something changed."""

from __future__ import annotations

import json
import shlex
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
    assert run("--workers", "3") == (0, []), "how many work at a time changes nothing that is written"


def test_after_a_failure_the_same_command_goes_on_with_that_step(run: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fails="train") == (1, NAMES[: NAMES.index("train") + 1])
    assert "Step train ended with status 1" in capsys.readouterr().err
    assert run() == (0, NAMES[NAMES.index("train") :])


def test_from_a_step_on_everything_runs_again(run: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert run("--from", "buckets") == (0, NAMES[NAMES.index("buckets") :])
    with pytest.raises(SystemExit):
        run("--from", "labels")
    assert "--from names a step: collect, clean" in capsys.readouterr().err


def outputs(root: Path) -> set[str]:
    """Folders in which a step would find what it did before."""
    places = {step.output.format(data="database/demo", out="outputs/demo") for step in demo.STEPS if step.output}
    return {place for place in places if (root / place / "work").exists()}


def leave_work(root: Path) -> None:
    for step in demo.STEPS:
        if step.output:
            folder = root / step.output.format(data="database/demo", out="outputs/demo")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "work").touch()


@pytest.mark.parametrize("options", [("--from", "train"), ("--train-minutes", "1")])
def test_what_runs_again_finds_nothing_to_go_on_with(run: Demo, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A finished training says that there is nothing to do, a finished evaluation drives nothing: that would be no repeat."""
    run()
    leave_work(tmp_path)
    before = outputs(tmp_path)
    run(*options)
    trained = {f"outputs/demo/{name}" for name in ("train", "expert", "model")}
    assert outputs(tmp_path) == before - trained
    for place in trained:
        assert (tmp_path / f"{place}_before1" / "work").exists(), "nothing is lost"
    run()
    assert not (tmp_path / "outputs/demo/train_before2").exists()


def test_folders_of_others_stay_where_they_are(run: Demo, tmp_path: Path) -> None:
    """Data that are named for the first time were not written by the steps of the run before."""
    run()
    mine = tmp_path / "database" / "mine"
    mine.mkdir()
    assert run("--data", "database/mine") == (0, NAMES)
    assert mine.is_dir()


def test_a_repeat_that_was_interrupted_goes_on(run: Demo, tmp_path: Path) -> None:
    run()
    leave_work(tmp_path)
    assert run("--from", "train", fails="train") == (1, ["train"])
    (tmp_path / "outputs/demo/train").mkdir()
    (tmp_path / "outputs/demo/train/work").touch()
    assert run() == (0, ["train", "expert", "model"])
    assert "outputs/demo/train" in outputs(tmp_path), "half a training is gone on with"
    assert (tmp_path / "outputs/demo/model_before1").exists(), "a model of the old weights is not"


def test_folders_may_have_blanks_in_their_names(run: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    run("--list", "--data", "my data", "--out", "it's here")
    for line in capsys.readouterr().out.splitlines():
        words = shlex.split(line)
        assert not {"data", "here", "my"} & set(words)
        assert any("my data" in word or "it's here" in word for word in words)


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
