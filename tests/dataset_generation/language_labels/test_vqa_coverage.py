"""Every canonical answer to every question has a hand-built scene, in the published wording and in the corrected one."""

import importlib
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from dataset_generation.augmentations.answers import CANONICAL_PATTERNS
from dataset_generation.augmentations.questions import question_paraphrases
from dataset_generation.language_labels import vqa
from dataset_generation.language_labels.profiles import CORRECTED, PARITY
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.vqa.generator import FAMILIES, label_frame
from dataset_generation.language_labels.vqa.nodes import NODES
from tests.dataset_generation.language_labels.conftest import frame_of
from tests.dataset_generation.language_labels.lines import untaken
from tests.dataset_generation.language_labels.patterns import unused
from tests.dataset_generation.language_labels.vqa_scenes import SCENES

ANSWERS = json.loads((Path(__file__).parent / "vqa_answers.json").read_text())
"""Scene to node to the published answer, or to the published and the corrected one where they differ; null where the
published generator loses the frame."""

APPENDIX = Path(__file__).parents[4] / "shared" / "reference" / "language_labels.md"

MODULES = [
    "actions",
    "braking",
    "highway",
    "important",
    "obstruction",
    "road_layout",
    "scene",
    "signs",
    "vehicles",
    "generator",
]
"""Modules of the families and of what they share."""

COMPOSED = (0, 0)
"""The list of important objects is put together for each frame and has no canonical answers."""

UNREACHABLE = "The stop sign is too far away to affect the ego vehicle."
"""Stop signs count below 40 m, where the last of the distance bins ends, so that nothing gives this answer."""


def answers_of(label):
    """Node to its pair; of nodes asked twice the last one, and the first under a third number, 0."""
    found = {}
    for pair in label.pairs:
        found.setdefault((pair.cluster, pair.layer, 0), pair)
        found[pair.cluster, pair.layer] = pair
    return found


def label_of(scene, profile):
    """The label, None where the profile has none."""
    frame = frame_of(scene.measurement, scene.road, scene.boxes, scene.speed)
    try:
        return label_frame(frame, scene.scenario, "x.jpg", profile)
    except LabelFailure:
        return None


@pytest.fixture(scope="module")
def labelled():
    return {scene.name: [label_of(scene, profile) for profile in (PARITY, CORRECTED)] for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_scene_has_its_canonical_answers(labelled, scene):
    wanted = ANSWERS[scene.name]
    assert len(wanted) == len(scene.nodes)
    for node, texts in wanted.items():
        published, corrected = (texts, texts) if isinstance(texts, str) else texts
        key = tuple(map(int, node.split(",")))
        found = [label and answers_of(label)[key].answer for label in labelled[scene.name]]
        assert found == [published, corrected], node


def test_answers_and_scenes_have_the_same_names():
    assert len({scene.name for scene in SCENES}) == len(SCENES)
    assert ANSWERS.keys() == {scene.name for scene in SCENES}


def test_every_canonical_answer_has_a_scene(labelled):
    said = {pair.answer_template for _, label in labelled.values() for pair in label.pairs}
    assert unused(CANONICAL_PATTERNS, said) == [UNREACHABLE]


def test_every_question_has_a_scene(labelled):
    asked = {pair.question_template for _, label in labelled.values() for pair in label.pairs}
    known = set(question_paraphrases())
    assert asked <= known
    # Each command is asked about beside the vehicles; the table also holds published wordings of other versions.
    assert {text for text in known - asked if "potentially crossing the path" not in text} == set()


def test_every_family_and_node_has_a_scene():
    shown = {node[:2] for scene in SCENES for node in scene.nodes}
    assert shown == NODES.keys()
    assert all(set(family.nodes) & shown for family in FAMILIES)


def test_every_line_of_the_families_is_taken_by_a_scene():
    def all_scenes():
        for scene in SCENES:
            label_of(scene, PARITY)
            label_of(scene, CORRECTED)

    modules = [importlib.import_module(f"{vqa.__name__}.{name}") for name in MODULES]
    assert [line for line in untaken(modules, all_scenes) if UNREACHABLE not in line] == []


SUFFIXES = {
    (3, 1): r"( Additionally, the ego vehicle should have an eye on the bike lane on the (left|right) side\.)?",
    (3, 5): r"( (But it could|It could also) change to the parking lane on the [a-z ]+ side of the road\.)?",
    (3, 6): (
        r"( (But|And) vehicles that are parked on the [a-z ]+ side of the road are allowed to change lanes into the "
        r"ego lane\.)?"
    ),
}
"""What may follow the listed answers of a node."""


@pytest.fixture(scope="module")
def published_answers():
    """Node to the patterns of the published answers: listed sentence to its regular expression."""
    if not APPENDIX.is_file():
        pytest.skip("no list of the published answers beside the repository")
    listed = defaultdict(dict)
    node = None
    for row in APPENDIX.read_text().partition("## Appendix A")[2].splitlines():
        if heading := re.match(r"\[(\d),(\d)\]", row):
            node = int(heading[1]), int(heading[2])
        elif node and row.startswith("  "):
            text = row.strip().replace("(empty string)", "")
            slots = re.sub(
                r"\\\{([^{}]*)\\\}",
                lambda m: "(?:" + m[1].replace(r"\|", "|") + ")" if "|" in m[1] else ".+",
                re.escape(text),
            )
            listed[node][text] = re.compile(slots + SUFFIXES.get(node, ""))
    return listed


def test_every_published_answer_has_a_scene_and_no_other_is_given(labelled, published_answers):
    said = defaultdict(set)
    for label, _ in labelled.values():
        for pair in label.pairs if label else ():
            said[pair.cluster, pair.layer].add(pair.answer)
    for node, patterns in published_answers.items():
        if node == COMPOSED:
            continue
        unknown = [text for text in said[node] if not any(form.fullmatch(text) for form in patterns.values())]
        assert unknown == [], node
        missing = [text for text, form in patterns.items() if not any(map(form.fullmatch, said[node]))]
        assert missing == [], node
