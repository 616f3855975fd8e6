"""Labelling a dataset: resumable, equal however the work is divided, and clear about what it left out."""

import gzip
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_generation.language_labels import __main__ as command
from dataset_generation.language_labels import report, runner
from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import CORRECTED, PARITY
from dataset_generation.language_labels.runner import LabelOptions, frame_seed, label_dataset
from dataset_generation.language_labels.scenarios import RouteScenarios, Trigger, read_scenarios
from dataset_generation.language_labels.synthetic import FrameMaker, write_route
from dataset_generation.language_labels.vqa.labeller import VqaLabeller
from dataset_generation.language_labels.vqa.nodes import NODES
from driving.files import read_json, write_json
from driving.label_records import read_commentary, read_vqa, write_label
from driving.records import COMMENTARY, VQA, RecordError, RunFolder

FRAMES = 14


@pytest.fixture
def dataset(tmp_path):
    """Two runs of made-up frames."""
    return tmp_path, [write_route(tmp_path, index, FRAMES) for index in (0, 1)]


def options(root, **changes):
    return LabelOptions(**{"data": root, "out": root, "routes": root / "none", "profile": CORRECTED, **changes})


def both(profile=CORRECTED):
    return [VqaLabeller(profile), CommentaryLabeller(profile)]


def contents(root):
    return {
        path.relative_to(root): path.read_bytes()
        for tree in ("drivelm", "commentary")
        for path in (root / tree).rglob("*.json*")
    }


def test_every_frame_is_labelled_or_counted(dataset):
    root, runs = dataset
    summaries = label_dataset(both(), options(root))
    assert summaries["vqa"].made == 2 * FRAMES
    assert summaries["commentary"].made == 2 * (FRAMES - 10)
    assert sum(summaries["commentary"].skipped.values()) == 2 * 10
    assert read_vqa(runs[0].label_path(VQA, 3)).image_path == str(runs[0].rgb_path(3))
    assert read_commentary(runs[0].label_path(COMMENTARY, 12)).commentary


def test_second_call_keeps_everything(dataset):
    root, _ = dataset
    label_dataset(both(), options(root))
    before = contents(root)
    summaries = label_dataset(both(), options(root))
    assert [summary.made for summary in summaries.values()] == [0, 0]
    assert summaries["vqa"].kept == 2 * FRAMES
    assert contents(root) == before


def test_interrupted_run_ends_equal(dataset, tmp_path):
    root, runs = dataset
    label_dataset(both(), options(root))
    whole = contents(root)
    for frame in (0, 5, 13):
        runs[1].label_path(VQA, frame).unlink()
    runs[0].label_path(COMMENTARY, 11).unlink()
    label_dataset(both(), options(root))
    assert contents(root) == whole


def test_number_of_processes_changes_nothing(dataset, tmp_path_factory):
    root, _ = dataset
    other = tmp_path_factory.mktemp("parallel")
    label_dataset(both(), options(root))
    label_dataset(both(), options(root, out=other, jobs=2))
    assert contents(root) == contents(other)


def test_each_file_is_read_once(dataset, monkeypatch):
    root, _ = dataset
    read = []
    for name in ("read_boxes", "read_measurement"):
        original = getattr(sys.modules["dataset_generation.language_labels.route_data"], name)
        monkeypatch.setattr(
            f"dataset_generation.language_labels.route_data.{name}",
            lambda path, original=original: read.append(path) or original(path),
        )
    label_dataset(both(), options(root))
    assert len(read) == len(set(read)) == 2 * 2 * FRAMES


def test_profiles_are_not_mixed(dataset):
    root, _ = dataset
    label_dataset(both(), options(root))
    with pytest.raises(ValueError, match="--overwrite"):
        label_dataset(both(PARITY), options(root, profile=PARITY))


def test_overwriting_another_profile_leaves_no_mixture(dataset, monkeypatch):
    root, runs = dataset
    label_dataset([VqaLabeller(PARITY)], options(root, profile=PARITY))
    stop_after = runs[0].label_path(VQA, 3)

    def interrupted(path, value):
        if path == stop_after:
            raise KeyboardInterrupt
        return write_label(path, value)

    monkeypatch.setattr(runner, "write_label", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label_dataset([VqaLabeller(CORRECTED)], options(root, overwrite=True))
    monkeypatch.undo()
    label_dataset([VqaLabeller(CORRECTED)], options(root))
    labels = [read_vqa(run.label_path(VQA, frame)) for run in runs for frame in run.labelled_frames(VQA)]
    assert len(labels) == 2 * FRAMES
    assert all(pair.question_template for label in labels for pair in label.pairs)


def test_malformed_frames_are_named_and_the_rest_is_labelled(dataset):
    root, runs = dataset
    runs[0].boxes_path(4).write_bytes(gzip.compress(b'[{"class": "car"}]'))
    runs[0].boxes_path(5).write_bytes(runs[0].boxes_path(5).read_bytes()[:50])
    runs[1].measurement_path(6).write_bytes(b"")
    summary = label_dataset([VqaLabeller(CORRECTED)], options(root))["vqa"]
    assert summary.made == 2 * FRAMES - 3
    report = read_json(root / VQA.tree / runner.REPORT)
    assert sorted(report["failed"]) == [
        f"{runs[0].key}/0004",
        f"{runs[0].key}/0005",
        f"{runs[1].key}/0006",
    ]
    assert "CarBox needs the keys" in report["failed"][f"{runs[0].key}/0004"]


def damaged(value, rng):
    """A copy of a JSON value with one entry, anywhere in it, removed or replaced by something odd."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        copy, key = value.copy(), rng.choice(keys)
        if rng.random() < 0.2:
            del copy[key]
        else:
            copy[key] = damaged(value[key], rng)
        return copy
    return rng.choice([None, "x", -1, 1e308, [], {}, True, 0])


def test_any_damage_ends_in_a_label_or_a_named_failure(dataset):
    root, runs = dataset
    rng = random.Random(8)
    for run in runs:
        for frame in range(FRAMES):
            for path in (run.boxes_path(frame), run.measurement_path(frame)):
                write_json(path, damaged(read_json(path), rng))
    summaries = label_dataset(both(), options(root))
    vqa = summaries["vqa"]
    assert vqa.made + len(vqa.failed) == 2 * FRAMES
    assert vqa.made > 0
    assert vqa.failed
    assert all(reason for _, reason in vqa.failed)


def test_runs_that_failed_get_no_labels(dataset):
    root, runs = dataset
    runs[0].results_path.unlink()
    summary = label_dataset([VqaLabeller(CORRECTED)], options(root))["vqa"]
    assert summary.made == FRAMES
    assert summary.skipped == {"run without results.json.gz": FRAMES}


def test_command_fails_only_above_the_stated_share(dataset, monkeypatch, capsys):
    root, runs = dataset
    runs[0].boxes_path(4).write_bytes(b"")
    arguments = ["labels", "--data", str(root), "--routes", str(root / "none")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 1
    monkeypatch.setattr(sys, "argv", [*arguments, "--max-failures", "0.2"])
    assert command.main() == 0
    assert "boxes unreadable" in capsys.readouterr().out


def test_command_names_a_missing_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["labels", "--data", str(tmp_path / "nothing")])
    assert command.main() == 2
    assert "expected a dataset root" in capsys.readouterr().err


def test_command_names_a_dataset_without_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(sys, "argv", ["labels", "--data", str(tmp_path)])
    assert command.main() == 2
    assert "holds no runs" in capsys.readouterr().err


def test_full_disk_ends_the_command_and_keeps_what_was_written(dataset, monkeypatch, capsys):
    root, _ = dataset
    written = []

    def until_full(path, value):
        if len(written) == 5:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        return write_label(path, value)

    monkeypatch.setattr(runner, "write_label", until_full)
    monkeypatch.setattr(sys, "argv", ["labels", "--data", str(root), "--routes", str(root / "none")])
    assert command.main() == 2
    assert "No space left" in capsys.readouterr().err
    monkeypatch.undo()
    summaries = label_dataset(both(), options(root))
    assert sum(summary.kept for summary in summaries.values()) == 5


def test_seed_depends_on_run_and_frame_only(tmp_path):
    run = RunFolder(tmp_path, Path("Town01_Rep0_1_route0"))
    elsewhere = RunFolder(tmp_path / "copy", run.relative)
    assert frame_seed(run, 7) == frame_seed(elsewhere, 7) != frame_seed(run, 8)


def test_scenario_of_a_frame_is_the_nearest_passed_one():
    measurement = FrameMaker(1).measurement(0, [])

    def at(x):
        return replace(measurement, pos_global=[x, 0.0], theta=0.0)

    route = RouteScenarios((Trigger("Accident", 50.0, 0.0), Trigger("ParkingExit", 150.0, 0.0)))
    assert [route.name_at(at(x), CORRECTED) for x in (0, 55, 155)] == ["Accident", "Accident", "ParkingExit"]
    assert [route.name_at(at(x), PARITY) for x in (0, 155, 161)] == ["Accident", "Accident", "ParkingExit"]


def test_broken_route_file_is_named(dataset):
    root, runs = dataset
    runs[0].route_path.write_text("<routes><route id='0'>")
    with pytest.raises(RecordError, match=r"route\.xml: not a route file"):
        read_scenarios(runs[0], root, CORRECTED)


def test_report_counts_every_answer_and_names_missing_labels(dataset, monkeypatch, capsys):
    root, _ = dataset
    monkeypatch.setattr(sys, "argv", ["report", "--data", str(root), "--out", str(root / "report.json")])
    assert report.main() == 2
    assert "no labels" in capsys.readouterr().err
    label_dataset(both(), options(root))
    assert report.main() == 0
    counts = read_json(root / "report.json")
    assert set(counts["vqa"]["answers"]) == {f"{a},{b}" for a, b in NODES}
    assert sum(counts["vqa"]["answers"]["3,7"].values()) == 2 * FRAMES
    assert "3,7 ego" in capsys.readouterr().out
