"""Evaluation sets: balanced, equal for equal data, and true to the label files."""

import random
import shutil
import sys
from pathlib import Path

import pytest

from dataset_generation import evaluation_sets
from dataset_generation.evaluation_sets import RULES, choose, held_out_runs, make_set
from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import CORRECTED
from dataset_generation.language_labels.runner import LabelOptions, label_dataset
from dataset_generation.language_labels.synthetic import write_route
from dataset_generation.language_labels.vqa.labeller import VqaLabeller
from driving.evaluation_sets import EvaluationSample, read_evaluation_set, write_evaluation_set
from driving.files import write_json
from driving.label_records import read_commentary, read_vqa
from driving.records import COMMENTARY, DREAMER, VQA, RunFolder, find_runs, hash_held_out


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled")
    for index in range(4):
        write_route(root, index, 20, num_cars=3)
    options = LabelOptions(root, root, root / "none", CORRECTED)
    label_dataset([VqaLabeller(CORRECTED), CommentaryLabeller(CORRECTED)], options)
    return root


def sample(group, run, frame):
    return EvaluationSample(run, frame, group, "q", "a")


def test_groups_are_limited_and_runs_take_turns():
    samples = [sample("a", "long", frame) for frame in range(50)] + [sample("a", f"r{i}", 1) for i in range(5)]
    chosen = choose(samples, per_group=8, seed=0)
    assert len(chosen) == 8
    assert {item.run for item in chosen} == {"long", "r0", "r1", "r2", "r3", "r4"}


def test_small_groups_are_left_out_when_asked():
    samples = [sample("a", "x", 1), *(sample("b", "x", frame) for frame in range(3))]
    assert {item.group for item in choose(samples, 5, 0, least=2)} == {"b"}


def test_order_of_the_files_changes_nothing_and_the_seed_does():
    samples = [sample("a", f"r{i % 3}", i) for i in range(60)]
    mixed = random.Random(3).sample(samples, len(samples))
    assert choose(samples, 9, seed=1) == choose(mixed, 9, seed=1)
    assert choose(samples, 9, seed=1) != choose(samples, 9, seed=2)


@pytest.mark.parametrize("kind", ["vqa", "commentary"])
def test_samples_say_what_the_label_files_say(labelled, kind):
    chosen = make_set(labelled, RULES[kind], fraction=1.0, seed=0)
    assert chosen.profile == "corrected"
    assert len({item.id for item in chosen.samples}) == len(chosen.samples) > 20
    for item in chosen.samples[:60]:
        run = RunFolder(labelled, Path(item.run))
        if kind == "vqa":
            pair = read_vqa(run.label_path(VQA, item.frame)).pairs[item.index]
            assert (item.prompt, item.answer) == (pair.question, pair.answer)
        else:
            assert item.answer == read_commentary(run.label_path(COMMENTARY, item.frame)).commentary


def test_no_group_is_larger_than_asked_and_early_frames_are_left_out(labelled):
    chosen = make_set(labelled, RULES["vqa"], fraction=1.0, seed=0, per_group=3)
    assert max(chosen.group_sizes.values()) == 3
    assert min(item.frame for item in chosen.samples) >= 10
    assert not any("important object" in item.prompt for item in chosen.samples)


def test_a_moved_dataset_gives_the_same_set(labelled, tmp_path):
    shutil.copytree(labelled, tmp_path / "moved")
    assert make_set(tmp_path / "moved", RULES["vqa"], 1.0, 0) == make_set(labelled, RULES["vqa"], 1.0, 0)


def test_dreams_are_balanced_by_mode_and_verdict(labelled, tmp_path):
    root = tmp_path / "dreams"
    shutil.copytree(labelled / "data", root / "data")
    run = find_runs(root)[0]

    def dream(safe, spoken):
        return {
            "safe_to_execute": safe,
            "dreamer_instruction": [f"V2: {text}" for text in spoken],
            "instructions_templates": [text.replace("3", "<NUMBER>") for text in spoken],
            "templates_placeholders": [{"<NUMBER>": "3"}] * len(spoken),
            "dreamer_answer_safety": "Waypoints:",
        }

    for frame in range(10, 20):
        content = {
            "faster": [dream(True, ["Go."]), dream(False, ["Go!"])],
            "route": [dream(False, ["Stay in lane 3."])],
            "slower_factor": [dream(True, ["Slow."])],
        }
        write_json(run.label_path(DREAMER, frame), content)
    chosen = make_set(root, RULES["dreamer"], 1.0, 0, per_group=4)
    assert chosen.group_sizes == {"faster safe": 4, "faster unsafe": 4, "route unsafe": 4}
    assert {item.prompt for item in chosen.samples if item.mode == "route"} == {"Stay in lane 3."}


def test_marked_runs_are_held_out_first_and_else_a_fixed_share(tmp_path):
    runs = [
        RunFolder(tmp_path, Path(f"simlingo/training_1/routes_training/w/Town12_Rep0_{i}_route0")) for i in range(200)
    ]
    marked = RunFolder(tmp_path, Path("simlingo/validation_1/routes_validation/w/Town13_Rep0_1_route0"))
    assert held_out_runs([*runs, marked], 0.1) == [marked]
    share = held_out_runs(runs, 0.1)
    assert 8 <= len(share) <= 34
    assert set(hash_held_out(runs[:100], 0.1)) <= set(share)
    assert len(hash_held_out(runs[:2], 1e-9)) == 1
    assert hash_held_out(runs[:1], 1e-9) == []


def test_sets_come_back_as_written(labelled, tmp_path):
    chosen = make_set(labelled, RULES["commentary"], 1.0, 0)
    write_evaluation_set(tmp_path / "set.json.gz", chosen)
    read = read_evaluation_set(tmp_path / "set.json.gz")
    assert list(read.samples) == list(chosen.samples)
    assert sum(map(len, read.by_frame().values())) == len(read.samples)


def test_other_files_are_refused(tmp_path):
    write_json(tmp_path / "x.json", {"format": 1, "samples": [{"run": "a"}]})
    with pytest.raises(ValueError, match="not an evaluation set"):
        read_evaluation_set(tmp_path / "x.json")


def test_command_says_which_labels_are_missing(labelled, monkeypatch, capsys):
    arguments = ["sets", "--data", str(labelled), "--out", str(labelled / "sets"), "--fraction", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert evaluation_sets.main() == 2
    output = capsys.readouterr()
    assert "no dreamer labels" in output.err
    assert (labelled / "sets" / "vqa.json.gz").is_file()
