"""Every piece of commentary has a hand-built moment, in the published wording and in the corrected one."""

import json
from pathlib import Path

import pytest

from dataset_generation.augmentations.commentary import (
    REASON_PATTERNS,
    REMARK,
    route_paraphrases,
    speed_paraphrases,
)
from dataset_generation.language_labels.commentary import cause, decision, fragments, generator, junction
from dataset_generation.language_labels.commentary.decision import decide
from dataset_generation.language_labels.commentary.generator import label_frame
from dataset_generation.language_labels.profiles import CORRECTED, PARITY
from dataset_generation.language_labels.projection import PUBLISHED_REGION
from dataset_generation.language_labels.route_data import LabelFailure
from tests.dataset_generation.language_labels.commentary_scenes import MOMENTS
from tests.dataset_generation.language_labels.lines import untaken
from tests.dataset_generation.language_labels.patterns import unused

SENTENCES = json.loads((Path(__file__).parent / "commentary_sentences.json").read_text())
"""Moment to the published sentence, or to the published and the corrected one where they differ; null where the published
generator loses the frame."""


def sentence(moment, profile):
    """The commentary, None where the profile has none."""
    try:
        return label_frame(moment.window(profile), "x.jpg", moment.draws()).commentary
    except LabelFailure:
        return None


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
def test_moment_has_its_canonical_sentence(moment):
    wanted = SENTENCES[moment.name]
    published, corrected = (wanted, wanted) if isinstance(wanted, str) else wanted
    assert sentence(moment, PARITY) == published
    assert sentence(moment, CORRECTED) == corrected


def test_sentences_and_moments_have_the_same_names():
    assert len({moment.name for moment in MOMENTS}) == len(MOMENTS)
    assert SENTENCES.keys() == {moment.name for moment in MOMENTS}


@pytest.fixture(scope="module")
def decisions():
    return [decide(moment.window(CORRECTED), PUBLISHED_REGION, moment.draws()) for moment in MOMENTS]


def test_every_reason_has_a_moment(decisions):
    assert unused(REASON_PATTERNS, [made.reason or "." for made in decisions]) == []


def test_every_route_action_has_a_moment(decisions):
    said = {made.route_action for made in decisions}
    known = set(route_paraphrases())
    assert said <= known
    prefixes = ("Prepare to ", "Stay on your current lane to ", "Stay on your current (oncoming) lane to ")
    assert all(any(text.startswith(prefix) for text in said) for prefix in prefixes)
    alone = {text for text in known if not text.startswith(("Stay on ", "Prepare to "))} | {
        fragments.PREPARE_LANE_CHANGE
    }
    assert alone - said == {fragments.AVOIDANCE["InvadingTurn"]}  # said after "Prepare to" only


def test_every_speed_action_and_remark_has_a_moment(decisions):
    assert set(speed_paraphrases()) - {made.speed_action for made in decisions} == set()
    assert {made.remark for made in decisions} == {"", REMARK}


def test_every_line_of_the_decision_is_taken_by_a_moment():
    def all_moments():
        for moment in MOMENTS:
            sentence(moment, PARITY)
            sentence(moment, CORRECTED)

    modules = (cause, decision, generator, junction)
    assert untaken(modules, all_moments) == []
