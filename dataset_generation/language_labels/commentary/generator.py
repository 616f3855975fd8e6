"""Commentary on one frame: decide what to say, then write it with and without placeholders."""

from __future__ import annotations

import random
import re

from dataset_generation.language_labels.commentary.decision import Decision, decide
from dataset_generation.language_labels.commentary.window import Window
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.projection import PUBLISHED_REGION, ImageRegion
from driving.label_records import CommentaryLabel, fill

OBJECT, DISTANCE = "<OBJECT>", "<DISTANCE>"

_WRITTEN_DISTANCE = re.compile(r"(in|at) (-?\d+\.\d+ meters)")


def label_frame(
    window: Window, image_path: str, rng: random.Random, region: ImageRegion = PUBLISHED_REGION
) -> CommentaryLabel:
    """Comment on one frame.

    Args:
        window: The frame in its time.
        image_path: Front image, as it shall stand in the file.
        rng: Decides whether an optional distance is said; at most one draw.
        region: Part of the image in which objects count as visible.

    Raises:
        LabelFailure: If the frame has values for which there is no sentence.
    """
    decision = decide(window, region, rng)
    cause = decision.cause
    slots = {OBJECT: cause.text}
    if cause.distance is not None:
        slots[DISTANCE] = f"{cause.distance} meters"
    template = _tidy(decision)
    text = fill(template, slots)
    if Correction.PLACEHOLDERS in window.profile:
        slots = {name: value for name, value in slots.items() if name in template}
    else:
        text, template, slots = _published_form(text, cause.text)
    return CommentaryLabel(
        image_path,
        text,
        template,
        cause.is_visible,
        None if cause.box is None else dict(cause.box.source or cause.box.to_dict()),
        cause.text,
        window.scenario,
        slots,
    )


def _tidy(decision: Decision) -> str:
    """The pieces as one text, without doubled full stops and spaces."""
    text = f"{decision.route_action} {decision.speed_action}{decision.reason}{decision.remark}."
    return text.replace("..", ".").replace("  ", " ").replace("...", ".")


def _published_form(text: str, name: str) -> tuple[str, str, dict[str, str]]:
    """Text, template and placeholders as published: equal words are replaced wherever they occur, and the distance keeps
    its preposition."""
    template, slots = text, {}
    if name:
        template = template.replace(name, OBJECT)
        slots[OBJECT] = name
    match = _WRITTEN_DISTANCE.search(template)
    if match:
        slots[DISTANCE] = match[0]
        template = _WRITTEN_DISTANCE.sub(rf"\1 {DISTANCE}", template)
    return text, template, slots
