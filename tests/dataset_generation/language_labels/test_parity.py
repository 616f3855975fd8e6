"""In the parity profile every label equals what the published generators wrote for the same frames."""

import subprocess
import sys
from pathlib import Path

import pytest

from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import PARITY, PROFILES
from dataset_generation.language_labels.report import count_labels
from dataset_generation.language_labels.runner import LabelOptions, label_dataset
from dataset_generation.language_labels.vqa.labeller import VqaLabeller
from driving.files import read_json


def label(fixtures, out, profile):
    root = fixtures / "root"
    options = LabelOptions(root / "database" / "simlingo", out, root / "data" / "simlingo", profile)
    return label_dataset([VqaLabeller(profile), CommentaryLabeller(profile)], options)


@pytest.fixture(scope="module")
def published(parity_fixtures, tmp_path_factory):
    out = tmp_path_factory.mktemp("parity")
    return out, label(parity_fixtures, out, PARITY)


@pytest.mark.parametrize(("kind", "tree", "count"), [("vqa", "drivelm", 487), ("commentary", "commentary", 232)])
def test_every_file_equals_the_published_one(parity_fixtures, published, kind, tree, count):
    out, _ = published
    script = parity_fixtures / "compare_labels.py"
    run = subprocess.run(
        [sys.executable, str(script), str(out), "--kinds", kind], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
    assert f"equal files {count} / {count}" in run.stdout
    assert len(list((out / tree).rglob("[0-9]*.json.gz"))) == count


@pytest.mark.parametrize("kind", ["vqa", "commentary"])
def test_the_same_frames_are_lost_as_in_the_published_labels(parity_fixtures, published, kind):
    lost = read_json(parity_fixtures / "expected" / "frames_without_label.json.gz")[kind]
    failed = {Path(frame).as_posix().removeprefix("simlingo/") for frame, _ in published[1][kind].failed}
    assert failed == {frame for frame, reason in lost.items() if reason != "skipped by a filter"}
    assert sum(published[1][kind].skipped.values()) + len(failed) == len(lost)


def test_commentary_statistics_equal_the_published_ones(parity_fixtures, published):
    commentary = count_labels(parity_fixtures / "root" / "database" / "simlingo", published[0]).commentary
    counted, recorded = commentary.to_dict(), read_json(parity_fixtures / "expected" / "commentary_stats.json")
    for statistics in (counted, recorded):
        statistics["all_templates"] = sorted(statistics["all_templates"])
    assert counted == recorded


def test_no_frame_is_lost_when_corrected(parity_fixtures, tmp_path):
    summaries = label(parity_fixtures, tmp_path, PROFILES["corrected"])
    assert all(summary.failed == [] for summary in summaries.values())
    assert summaries["vqa"].made == 489
    assert summaries["commentary"].made == 359
