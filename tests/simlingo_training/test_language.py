"""Scores of text and of instruction following: hand-computed values, and one evaluation end to end."""

import json
import math

import numpy as np
import pytest
import torch

from simlingo_training.evaluation import language
from simlingo_training.evaluation.following import Motion, Trial, followed, rates, spoken_speeds
from simlingo_training.evaluation.text_metrics import (
    bleu,
    cider,
    longest_common,
    rouge_l,
    score_in_chunks,
    score_texts,
    words,
)
from simlingo_training.models import checkpoint as checkpoints
from tests.simlingo_training.test_training import small_model


def test_words_drop_case_and_punctuation_and_keep_numbers():
    assert words("Slow down, to 5.3 m/s!  The car's light.") == [
        "slow",
        "down",
        "to",
        "5.3",
        "m",
        "s",
        "the",
        "car's",
        "light",
    ]


def test_bleu_clips_repeated_words():
    """The example of Papineni et al. (2002): seven times "the" against a sentence with two of them."""
    score = bleu([["the"] * 7], [words("the cat is on the mat")])
    assert score["bleu_1"] == pytest.approx(2 / 7)
    assert score["bleu_2"] == 0.0


def test_bleu_punishes_brevity_over_the_corpus():
    found = bleu([words("a b"), words("c d e")], [words("a b x y"), words("c d e")])
    assert found["bleu_1"] == pytest.approx(math.exp(1 - 7 / 5))
    assert bleu([words("a b c d e")], [words("a b c d e")])["bleu_4"] == pytest.approx(1.0)


def test_rouge_weighs_recall():
    said, wanted = words("police killed the gunman"), words("police kill the gunman now")
    assert longest_common(said, wanted) == 3
    precision, recall = 3 / 4, 3 / 5
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l([said], [wanted]) == pytest.approx(expected)
    assert rouge_l([["x"]], [["y"]]) == 0.0


def test_cider_of_rare_words():
    """Two references share "the"; everything else occurs once, so only that word has no weight."""
    references = [words("the red car"), words("the blue bike")]
    perfect = cider(references, references)
    # Sentences of three words have no run of four.
    assert perfect == pytest.approx(7.5)
    assert cider([words("the"), words("the")], references) == 0.0
    longer = cider([words("the red car the"), words("the blue bike")], references)
    assert perfect / 2 < longer < perfect


def test_scores_in_chunks_are_weighted_means():
    said, wanted = ["a b c d", "a b", "x"], ["a b c d", "a c", "x"]
    whole = score_in_chunks(said, wanted, 3)
    assert whole == pytest.approx(score_texts(said, wanted))
    parts = [score_texts(said[:2], wanted[:2]), score_texts(said[2:], wanted[2:])]
    assert score_in_chunks(said, wanted, 2)["rouge_l"] == pytest.approx(
        (2 * parts[0]["rouge_l"] + parts[1]["rouge_l"]) / 3
    )
    with pytest.raises(ValueError, match="one reference per prediction"):
        score_texts(["a"], [])


# --- instruction following


def motion(start, end, lateral=0.0):
    """Speed changing evenly from ``start`` to ``end`` m/s; a path that drifts to ``lateral`` metres."""
    steps = np.linspace(start, end, 10) * 0.25
    x = np.cumsum(steps)
    path = np.stack([np.arange(20.0), np.linspace(0, lateral, 20)], axis=1)
    return Motion(path, np.stack([x, np.zeros(10)], axis=1))


STEADY = motion(8, 8)


@pytest.mark.parametrize(
    ("mode", "driven", "instructed", "spoken", "expected"),
    [
        ("stop", motion(8, 0), motion(8, 0), (), True),
        ("stop", motion(8, 1), motion(8, 0), (), False),
        ("slower", motion(8, 5), motion(8, 4), (), True),
        ("slower", motion(8, 7.5), motion(8, 4), (), False),
        ("faster", motion(8, 11), motion(8, 12), (), True),
        ("faster", STEADY, motion(8, 12), (), False),
        ("target_speed", motion(8, 10), motion(8, 11), (), True),
        ("target_speed", motion(8, 4), motion(8, 11), (), False),
        ("target_speed", motion(8, 4), motion(8, 11), (4.0,), True),
        ("lane_change", motion(8, 8, 3.0), motion(8, 8, 3.5), (), True),
        ("lane_change", motion(8, 8, 1.0), motion(8, 8, 3.5), (), False),
        ("crash", motion(8, 8, 3.0), motion(8, 8, 4.0), (), True),
        ("crash", motion(8, 8, 1.0), motion(8, 8, 4.0), (), False),
        ("crash", motion(8, 12), motion(8, 12), (), True),
        ("crash", motion(8, 8), motion(14, 14), (), False),
        ("route", STEADY, STEADY, (), None),
    ],
)
def test_success_rules(mode, driven, instructed, spoken, expected):
    assert followed(mode, Trial(driven, instructed, STEADY, 8.0, spoken)) is expected


def test_speeds_in_a_sentence_are_metres_per_second():
    assert spoken_speeds("Drive at 36 km/h, that is 10.0 m/s, for 5 meters.") == (10.0, 10.0)
    assert spoken_speeds("Slow down.") == ()


def test_rates_by_mode_and_the_mean_of_the_papers_table():
    found = rates({"faster": [True, False], "crash": [True], "stop": [False]})
    assert found == {
        "faster": 0.5, "faster_samples": 2, "crash": 1.0, "crash_samples": 1, "stop": 0.0, "stop_samples": 1,
        "total": 0.5, "samples": 4, "headline_mean": 0.75,
    }  # fmt: skip
    assert rates({}) == {}


# --- end to end


@pytest.fixture(scope="module")
def evaluated(data_root, tmp_path_factory):
    from dataset_generation.evaluation_sets import RULES, make_set
    from driving.evaluation_sets import write_evaluation_set

    folder = tmp_path_factory.mktemp("language")
    for name, rule in RULES.items():
        write_evaluation_set(folder / f"{name}.json.gz", make_set(data_root, rule, 0.25, 0, 3))
    checkpoints.save(checkpoints.build(small_model(max_new_tokens=6)), folder / "run" / "checkpoints" / "last")
    return folder


def run_language(folder, data_root, *more):
    place = str(folder / "run" / "checkpoints" / "last")
    arguments = ["--checkpoint", place, "--data", str(data_root), "--sets", str(folder), "--device", "cpu"]
    return language.main([*arguments, "--batch-size", "4", *more])


def test_a_checkpoint_is_asked_everything_once(evaluated, data_root, capsys, monkeypatch):
    assert run_language(evaluated, data_root) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(scores) == {"vqa", "commentary", "dreamer"}
    assert set(scores["vqa"]) == {"samples", "accuracy", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
    assert scores["dreamer"]["obey"]["stop_samples"] == 3
    out = evaluated / "run" / "language"
    assert json.loads((out / "scores.json").read_text()) == scores
    lines = (out / "vqa.jsonl").read_text().splitlines(keepends=True)
    (out / "vqa.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    asked = []
    answer = language.answer
    monkeypatch.setattr(language, "answer", lambda cases, *rest: asked.extend(cases) or answer(cases, *rest))
    assert run_language(evaluated, data_root) == 0
    assert [case.id for case, _ in asked] == [json.loads(lines[-1])["id"]]
    assert (out / "vqa.jsonl").read_text() == "".join(lines)


def test_answers_of_other_weights_are_not_taken_for_those_of_a_checkpoint(evaluated, data_root, capsys):
    """``best`` and ``last`` of a run write to one folder."""
    if not (evaluated / "run" / "language").exists():
        assert run_language(evaluated, data_root) == 0
    best = evaluated / "run" / "checkpoints" / "best"
    checkpoint = checkpoints.build(small_model(max_new_tokens=6))
    torch.nn.init.zeros_(checkpoint.model.heads.speed_queries)
    checkpoints.save(checkpoint, best)
    assert run_language(evaluated, data_root, "--checkpoint", str(best)) == 2
    assert "--out" in capsys.readouterr().err
    assert run_language(evaluated, data_root, "--checkpoint", str(best), "--out", str(best / "language")) == 0


def test_prompts_and_wanted_answers_are_those_of_training(evaluated, data_root):
    out = evaluated / "run" / "language"
    if not out.exists():
        assert run_language(evaluated, data_root) == 0
    by_kind = {kind: language.read_records(out / f"{kind}.jsonl") for kind in language.KINDS}
    question = by_kind["vqa"][0]
    assert " Target waypoint: <TARGET_POINT><TARGET_POINT>. Q: Is there a block close ahead?" in question["prompt"]
    assert question["expected"].startswith("A: ")
    assert by_kind["commentary"][0]["expected"].endswith(" Waypoints:")
    prefixes = {record["prompt"].split(" ")[0] for record in by_kind["dreamer"]}
    assert prefixes == {"<SAFETY>", "<INSTRUCTION_FOLLOWING>"}


def test_the_labels_themselves_score_full_marks():
    vqa = [
        {"said": "A: Yes, there is a car.", "expected": "A: Yes, there is a car."},
        {"said": "A: No.", "expected": "A: No."},
    ]
    assert language.score("vqa", vqa, published=False)["accuracy"] == 1.0
    dreams = [
        {"said": "Following the given instruction. Waypoints:", "expected": "Following the given instruction. Waypoints:",
         "mode": "stop", "safe": True, "safety": False, "followed": True},
        {"said": "Ignore it. Waypoints:", "expected": "Ignore it. Waypoints:", "mode": "crash", "safe": False,
         "safety": True, "followed": False},
    ]  # fmt: skip
    found = language.score("dreamer", dreams, published=False)
    assert found["obey"]["total"] == found["unsafe_refused_in_words"] == found["unsafe_not_followed"] == 1.0


def test_a_missing_list_names_the_command(evaluated, data_root, tmp_path, capsys):
    assert run_language(evaluated, data_root, "--sets", str(tmp_path)) == 2
    assert "dataset_generation.evaluation_sets" in capsys.readouterr().err
