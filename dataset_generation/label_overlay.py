"""What labels say about a frame, as shapes over the picture of the dataset viewer: objects, dreams, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_generation.language_labels.projection import clipped_bounds
from driving.camera import DRIVING_CAMERA
from driving.files import read_json
from driving.label_records import CommentaryLabel, QaPair, VqaLabel, read_commentary, read_vqa
from driving.records import COMMENTARY, DREAMER, VQA, PlacedBox, RunFolder, box_from_dict

Array = NDArray[np.float64]
Pixels = list[list[int]]

MODE_COLOURS = {
    "target_speed": "#1f77b4",
    "stop": "#d62728",
    "faster": "#2ca02c",
    "slower": "#ff7f0e",
    "crash": "#e377c2",
    "lane_change": "#9467bd",
    "route": "#8c564b",
}
"""Colour of each dreaming mode; modes not listed repeat another mode's instruction and are not drawn."""

KEY_OBJECT_COLOUR = "#ffd400"
CAUSE_COLOUR = "#ff3030"


@dataclass(frozen=True)
class FrameLabels:
    """The labels of one frame; None or empty where there is none.

    Attributes:
        vqa: Questions and answers with the objects they speak of.
        commentary: What the ego vehicle does and why.
        dreams: Mode to alternatives as in the file.
    """

    vqa: VqaLabel | None = None
    commentary: CommentaryLabel | None = None
    dreams: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def pairs(self, node: tuple[int, int] | None = None) -> list[QaPair]:
        """Question-answer pairs of one graph node, all pairs without one."""
        pairs = [] if self.vqa is None else self.vqa.pairs
        return [pair for pair in pairs if node is None or (pair.cluster, pair.layer) == node]


def read_labels(run: RunFolder, number: int) -> FrameLabels:
    """Read all labels a frame has.

    Raises:
        ValueError: If a label file is malformed; the message names it.
    """
    vqa, commentary, dreams = (run.label_path(kind, number) for kind in (VQA, COMMENTARY, DREAMER))
    return FrameLabels(
        read_vqa(vqa) if vqa.is_file() else None,
        read_commentary(commentary) if commentary.is_file() else None,
        read_json(dreams) if dreams.is_file() else {},
    )


def dreamed_paths(dreams: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any], Array]]:
    """What can be drawn of dreams.

    Returns:
        Mode, alternative and (N, 2) points, ego frame, metres: the dreamed waypoints, or the path where a dream keeps the
        expert's waypoints.
    """
    found = []
    for mode, alternatives in dreams.items():
        for alternative in alternatives:
            points = alternative["waypoints"]
            if isinstance(points, str):
                points = alternative["route"] if mode == "route" else ()
            if mode in MODE_COLOURS and not isinstance(points, str) and len(points):
                found.append((mode, alternative, np.asarray(points, dtype=np.float64)[:, :2]))
    return found


def spoken(alternative: Mapping[str, Any]) -> list[str]:
    """Instructions of a dream; published files hold a bare text for mode ``route``."""
    said = alternative["dreamer_instruction"]
    return [said] if isinstance(said, str) else list(said)


def cause_bounds(commentary: CommentaryLabel | None) -> list[list[float]] | None:
    """Where the object that a commentary speaks of is in the image: ((left, top), (right, bottom)), pixels."""
    if commentary is None or commentary.cause_object is None:
        return None
    box = box_from_dict(commentary.cause_object)
    return clipped_bounds(box.corners()) if isinstance(box, PlacedBox) else None


def _on_image(points: Array) -> Pixels:
    pixels, in_front = DRIVING_CAMERA.project_ground(points)
    near = in_front & (np.abs(pixels) < 4 * DRIVING_CAMERA.width).all(axis=1)
    return [[round(u), round(v)] for u, v in pixels[near].tolist()]


def overlay(labels: FrameLabels, above: Callable[[Array], NDArray[np.int32]]) -> dict[str, Any]:
    """What the page needs to show the labels of a frame.

    Args:
        labels: The labels.
        above: Pixels (N, 2) in the view from above of ego-frame points (N, 2), metres.

    Returns:
        Plain values: ``objects`` (name, left, top, right, bottom), ``questions`` (node, question, answer, numbers of the
        objects), ``dreams`` (mode, instructions, answer, whether safe, pixels in the image and from above), ``cause``.
    """
    known = [] if labels.vqa is None else [(k, o) for k, o in labels.vqa.key_objects.items() if o.box_2d is not None]
    number = {key: index for index, (key, _) in enumerate(known)}
    return {
        "objects": [
            [f"{key[1:].partition(',')[0]} {thing.description}", *(round(v) for row in thing.box_2d or () for v in row)]
            for key, thing in known
        ],
        "questions": [
            [f"{p.cluster},{p.layer}", p.question, p.answer, [number[tag] for tag in p.object_tags if tag in number]]
            for p in labels.pairs()
        ],
        "dreams": [
            [
                mode,
                spoken(alternative),
                alternative["dreamer_answer_safety"],
                bool(alternative["safe_to_execute"]),
                _on_image(points),
                above(points).tolist(),
            ]
            for mode, alternative, points in dreamed_paths(labels.dreams)
        ],
        "cause": [round(v) for row in cause_bounds(labels.commentary) or () for v in row],
    }
