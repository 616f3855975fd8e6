"""Paraphrases: none loses or invents a placeholder, every sentence of the labels has some, and the files are those the
grammar makes."""

import random
from pathlib import Path

import pytest

from dataset_generation.augmentations.answers import answer_paraphrases
from dataset_generation.augmentations.check import Rules, check_table, placeholders, problems_of
from dataset_generation.augmentations.grammar import Rewriting, expand, select
from dataset_generation.augmentations.tables import DEFAULT_FOLDER, TABLES, check_folder, write_tables
from dataset_generation.dreaming.instructions import CANONICAL
from dataset_generation.language_labels.commentary.generator import label_frame as comment
from dataset_generation.language_labels.commentary.window import Window
from dataset_generation.language_labels.profiles import CORRECTED
from dataset_generation.language_labels.route_data import Frame
from dataset_generation.language_labels.scenarios import NO_SCENARIO
from dataset_generation.language_labels.synthetic import SCENARIOS, FrameMaker
from dataset_generation.language_labels.vqa.generator import label_frame
from driving.files import read_json
from driving.label_records import fill
from driving.paraphrases import Combinations, ComposedCommentary, read_paraphrases

SHIPPED = Path(__file__).parents[3] / DEFAULT_FOLDER


@pytest.fixture(scope="module")
def shipped():
    return read_paraphrases(SHIPPED)


@pytest.fixture(scope="module")
def frames():
    maker, drawn = FrameMaker(17), []
    for number in range(500):
        boxes = maker.boxes(num_cars=number % 7)
        scenario = (*SCENARIOS, NO_SCENARIO)[number % (len(SCENARIOS) + 1)]
        drawn.append((scenario, Frame(number, maker.measurement(number, boxes), boxes)))
    return drawn


def test_pattern_expands_nested_alternatives_in_order():
    assert expand("a[b|c[d|]] e") == ["ab e", "acd e", "ac e"]


@pytest.mark.parametrize("pattern", ["a[b", "a]b", "a|b"])
def test_broken_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        expand(pattern)


def test_selection_is_deterministic_and_keeps_the_canonical_sentence_first():
    sentences = [f"S{i}." for i in range(100)]
    assert select(sentences, "S7.", 10) == select(iter(sentences), "S7.", 10)
    assert select(sentences, "S7.", 10)[0] == "S7."
    assert len(set(select(sentences, "S7.", 10))) == 10


def test_one_sentence_has_one_name_for_the_ego_vehicle():
    rewriting = Rewriting({"must": ("has to",)})
    variants = rewriting.variants("The ego vehicle must wait until the ego vehicle can go.")
    assert len(variants) == 8
    for variant in variants:
        assert sum(name in variant.lower() for name in ("ego vehicle", "ego car", "our vehicle", "our car")) == 1


def test_rewriting_leaves_placeholders_and_parts_of_words_alone():
    rewriting = Rewriting({"can": ("may",), "OBJECT": ("thing",)})
    assert rewriting.variants("The <OBJECT> can scan.") == ["The <OBJECT> can scan.", "The <OBJECT> may scan."]


@pytest.mark.parametrize(
    ("variant", "problem"),
    [
        ("The <OBJECT> waits.", None),
        ("The car waits.", "placeholders"),
        ("The <OBJECT> at <LOC> waits.", "placeholders"),
        ("the <OBJECT> waits.", "capital"),
        ("The <OBJECT> waits", "end"),
        ("The the <OBJECT> waits.", "twice"),
        ("The <OBJECT>  waits.", "stray"),
        ("The <OBJECT waits.", "placeholders"),
    ],
)
def test_checker_sees_each_defect(variant, problem):
    found = " ".join(problems_of("The <OBJECT> stands.", variant, Rules()))
    assert (found == "") if problem is None else (problem in found)


def test_checker_wants_enough_and_different_paraphrases():
    lines = check_table("x", {"A b.": ["A b.", "A b."]}, Rules())
    assert any("at least 10" in line for line in lines)
    assert any("same paraphrase twice" in line for line in lines)


def test_shipped_files_pass_the_checker():
    assert check_folder(SHIPPED) == []


def test_shipped_files_are_what_the_grammar_makes(tmp_path):
    write_tables(tmp_path)
    for table in TABLES.values():
        assert read_json(tmp_path / table.file) == read_json(SHIPPED / table.file), f"make {table.file} again"


def test_missing_files_are_named(tmp_path):
    assert len(check_folder(tmp_path)) == len(TABLES)
    assert "python -m dataset_generation.augmentations" in check_folder(tmp_path)[0]
    assert set(read_paraphrases(tmp_path).missing) >= {"questions", "answers"}


def test_every_question_and_answer_has_paraphrases(shipped, frames):
    for scenario, frame in frames:
        for pair in label_frame(frame, scenario, "x.jpg", CORRECTED).pairs:
            assert pair.question_template in shipped.questions
            if pair.cluster:
                assert pair.answer_template in shipped.answers, pair.answer_template


def test_filled_paraphrases_hold_every_slot(shipped, frames):
    rng = random.Random(1)
    for scenario, frame in frames[:60]:
        for pair in label_frame(frame, scenario, "x.jpg", CORRECTED).pairs[1:]:
            variant = rng.choice(shipped.questions[pair.question_template])
            text = fill(variant, pair.slots)
            assert "<" not in text
            assert all(pair.slots[name] in text for name in placeholders(pair.question_template))


def test_every_commentary_has_paraphrases_with_its_placeholders(shipped, frames):
    rng, several = random.Random(2), 0
    for scenario, frame in frames:
        name = None if scenario == NO_SCENARIO else scenario
        window = Window(frame, name, CORRECTED, past=[frame.measurement] * 4, future=[frame.measurement] * 11)
        template = comment(window, "x.jpg", random.Random(frame.number)).template
        variants = shipped.commentary[template]
        assert variants[0] == template
        assert len(variants) >= 1000
        variant = rng.choice(variants)
        assert placeholders(variant) == placeholders(template)
        several += variant != template
    assert several > 0.9 * len(frames)


def test_commentary_of_others_has_no_paraphrases(shipped):
    assert "Fly away. Accelerate." not in shipped.commentary
    with pytest.raises(KeyError):
        shipped.commentary["Fly away. Accelerate."]


def test_commentary_parts_are_told_apart(shipped):
    assert isinstance(shipped.commentary, ComposedCommentary)
    assert shipped.commentary.split(
        "Turn left. Accelerate to follow the <OBJECT>. Pay attention to the walker and brake if necessary."
    ) == (
        "Turn left.",
        "Accelerate",
        " to follow the <OBJECT>.",
        " Pay attention to the walker and brake if necessary.",
    )


def test_combinations_are_a_sequence_of_all_choices():
    made = Combinations([["a", "b"], ["x", "y", "z"]], ["", "-"])
    assert list(made) == ["a-x", "a-y", "a-z", "b-x", "b-y", "b-z"]
    assert made[-1] == "b-z"
    assert made[1:3] == ["a-y", "a-z"]
    with pytest.raises(IndexError):
        made[6]


def test_every_dreaming_instruction_has_wordings(shipped):
    assert shipped.instructions.keys() == CANONICAL.keys()
    for key, canonical in CANONICAL.items():
        assert shipped.wordings[canonical] == shipped.instructions[key]
        assert len(shipped.instructions[key]) >= 15


def test_navigation_sentences_serve_every_command(shipped):
    wanted = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 34, 35, 36, 37, 38, 40, 42, 43, 44, 45}
    assert {int(group) for group in shipped.navigation} == wanted
    for group in (2, 3, 7, 8, 9, 36, 37, 40, 44, 45):
        assert all("[x]" in sentence for sentence in shipped.navigation[str(group)])
    for left, right in ((0, 1), (4, 5), (34, 35)):
        swapped = [sentence.replace("left", "right") for sentence in shipped.navigation[str(left)]]
        assert not any("left" in sentence for sentence in swapped)
        assert all("right" in sentence for sentence in shipped.navigation[str(right)])


def test_unusable_sentences_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(
        TABLES, "answers", TABLES["answers"].__class__("answers", "answers.json", lambda: {"A.": ["b"]})
    )
    with pytest.raises(ValueError, match="unusable"):
        write_tables(tmp_path, ["answers"])
    assert list(tmp_path.iterdir()) == []


def test_answers_stay_true_to_their_side():
    for template, variants in answer_paraphrases().items():
        if "right before" in template or "right to the front" in template:
            continue
        for word in ("left", "right"):
            if word in template and {"left": "right", "right": "left"}[word] not in template:
                assert all(word in variant for variant in variants), template
