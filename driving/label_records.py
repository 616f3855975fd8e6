"""Typed label files: question-answer pairs (VQA), commentary, and dreamed alternatives.

Keys and nesting are those of the published label files (github.com/RenzKa/simlingo, ``dataset_generation``). Labels written
in the ``corrected`` profile carry two more keys per sentence, ``template`` and ``slots``: the sentence with placeholders such
as ``<OBJECT>``, and what each stands for, so that paraphrases can be filled in exactly.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from math import isfinite
from typing import Any

from driving.files import read_json, write_bytes
from driving.records import RecordError

Slots = Mapping[str, str]

Links = int | tuple[tuple[int, int], ...]
"""Graph nodes (chain, layer) a question is linked to, or -1 for none."""

QUESTION_TYPES = ("perception", "prediction", "planning", "behavior")
"""Groups of questions in a VQA file, in file order. The last is always empty."""

CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")


def write_label(path: str | os.PathLike[str], value: Mapping[str, Any] | str) -> None:
    """Write one label object, or its JSON text, atomically in the published form: gzip, indent 4, no time stamp."""
    text = value if isinstance(value, str) else _indented(value, 0)
    write_bytes(path, gzip.compress(text.encode("ascii"), compresslevel=4, mtime=0))


def _block(rows: Iterable[str], indent: int, brackets: str = "[]") -> str:
    """JSON list or object of encoded rows, one a line, as ``json.dumps(..., indent=4)`` lays it out."""
    pad = "\n" + " " * (indent + 4)
    body = f",{pad}".join(rows)
    return f"{brackets[0]}{pad}{body}\n{' ' * indent}{brackets[1]}" if body else brackets


def _indented(value: Any, indent: int) -> str:
    """``json.dumps(value, indent=4)``, five times faster: the standard library indents without its compiled encoder."""
    kind = type(value)
    if kind is float and isfinite(value):
        return repr(value)
    if kind is str:
        return _quoted(value)
    if kind is list:
        return _block([_indented(item, indent + 4) for item in value], indent)
    if kind is dict:
        return _block([f"{_quoted(key)}: {_indented(item, indent + 4)}" for key, item in value.items()], indent, "{}")
    return json.dumps(value)


@lru_cache(maxsize=256)
def _links_block(links: Links, indent: int) -> str:
    """Links as the file holds them; there are as few as the graph has nodes, so each is written out once."""
    return (
        str(links)
        if isinstance(links, int)
        else _block((_block(map(repr, link), indent + 4) for link in links), indent)
    )


def _links_from(values: Any) -> Links:
    return values if isinstance(values, int) else tuple((chain, layer) for chain, layer in values)


def _links_list(links: Links) -> int | list[list[int]]:
    return links if isinstance(links, int) else [list(link) for link in links]


def _slots_block(slots: Slots, indent: int) -> str:
    return _block((f"{_quoted(name)}: {_quoted(text)}" for name, text in slots.items()), indent, "{}")


@dataclass(frozen=True)
class KeyObject:
    """An object some question speaks of.

    Attributes:
        category: ``Vehicle``, ``Traffic element`` or ``Pedestrian``.
        description: In words, e.g. ``red car``.
        box_2d: ((min u, min v), (max u, max v)) pixels in the 1024 x 512 front image, or None.
        box_3d: (8, 3) corners in the ego frame, metres, or None: bottom then top, each counter-clockwise from rear left.
    """

    category: str
    description: str
    box_2d: Sequence[Sequence[float]] | None = None
    box_3d: Sequence[Sequence[float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The published object; without a projection there is no ``3d_bbox`` key."""
        values: dict[str, Any] = {
            "Category": self.category,
            "Status": None,
            "Visual_description": self.description,
            "2d_bbox": self.box_2d,
        }
        if self.box_3d is not None:
            values["3d_bbox"] = self.box_3d
        return values

    def to_json(self, indent: int) -> str:
        """JSON text of `to_dict`, ``indent`` spaces in."""
        deeper, numbers = indent + 8, indent + 4
        rows = [f'"Category": {_quoted(self.category)}', '"Status": null']
        rows.append(f'"Visual_description": {_quoted(self.description)}')
        for name, box in (("2d_bbox", self.box_2d), ("3d_bbox", self.box_3d)):
            if box is not None:
                points = (_block(map(repr, point), deeper) for point in box)
                rows.append(f'"{name}": {_block(points, numbers)}')
            elif name == "2d_bbox":
                rows.append('"2d_bbox": null')
        return _block(rows, indent, "{}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeyObject:
        """Read the published object."""
        return cls(values["Category"], values["Visual_description"], values["2d_bbox"], values.get("3d_bbox"))


@dataclass(frozen=True)
class QaPair:
    """One question and its answer.

    Attributes:
        question, answer: Canonical wording.
        con_up, con_down: Graph nodes (chain, layer) this one leads to and builds on; -1 for none.
        cluster, layer: Graph node of the question.
        object_tags: Keys of the objects the pair speaks of.
        question_template, answer_template: The same with placeholders; None in published and parity files.
        slots: Placeholder to its text.
    """

    question: str
    answer: str
    con_up: Links
    con_down: Links
    cluster: int
    layer: int
    object_tags: Sequence[str]
    question_template: str | None = None
    answer_template: str | None = None
    slots: Slots = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The published object, plus templates and slots when there are any."""
        values: dict[str, Any] = {
            "Q": self.question,
            "A": self.answer,
            "C": None,
            "con_up": _links_list(self.con_up),
            "con_down": _links_list(self.con_down),
            "cluster": self.cluster,
            "layer": self.layer,
            "object_tags": self.object_tags,
        }
        if self.question_template is not None:
            values["template"] = {"Q": self.question_template, "A": self.answer_template}
            values["slots"] = self.slots
        return values

    def to_json(self, indent: int) -> str:
        """JSON text of `to_dict`, ``indent`` spaces in."""
        inner = indent + 4
        rows = [f'"Q": {_quoted(self.question)}', f'"A": {_quoted(self.answer)}', '"C": null']
        rows.append(f'"con_up": {_links_block(self.con_up, inner)}')
        rows.append(f'"con_down": {_links_block(self.con_down, inner)}')
        rows.append(f'"cluster": {self.cluster}')
        rows.append(f'"layer": {self.layer}')
        rows.append(f'"object_tags": {_block(map(_quoted, self.object_tags), inner)}')
        if self.question_template is not None and self.answer_template is not None:
            templates = {"Q": self.question_template, "A": self.answer_template}
            rows.append(f'"template": {_slots_block(templates, inner)}')
            rows.append(f'"slots": {_slots_block(self.slots, inner)}')
        return _block(rows, indent, "{}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QaPair:
        """Read the published object."""
        template = values.get("template", {})
        return cls(
            values["Q"],
            values["A"],
            _links_from(values["con_up"]),
            _links_from(values["con_down"]),
            values["cluster"],
            values["layer"],
            values["object_tags"],
            template.get("Q"),
            template.get("A"),
            values.get("slots", {}),
        )


@dataclass(frozen=True)
class VqaLabel:
    """All questions about one frame (``drivelm/.../vqa/NNNN.json.gz``).

    Attributes:
        key_objects: Key such as ``<c1,CAM_FRONT,461.6,276.1>`` to the object, in order of appearance.
        questions: Question type (`QUESTION_TYPES`) to its pairs, in file order.
        image_path: Front image.
    """

    key_objects: Mapping[str, KeyObject]
    questions: Mapping[str, Sequence[QaPair]]
    image_path: str

    @property
    def pairs(self) -> list[QaPair]:
        """All pairs, in file order."""
        return [pair for kind in QUESTION_TYPES for pair in self.questions.get(kind, ())]

    def to_dict(self) -> dict[str, Any]:
        """The published object."""
        return {
            "key_object_infos": {key: value.to_dict() for key, value in self.key_objects.items()},
            "QA": {kind: [pair.to_dict() for pair in self.questions.get(kind, ())] for kind in QUESTION_TYPES},
            "image_paths": {camera: self.image_path if camera == CAMERAS[0] else None for camera in CAMERAS},
        }

    def to_json(self) -> str:
        """``json.dumps(self.to_dict(), indent=4)``, ten times faster: writing is what a label run spends its time on."""
        objects = (f"{_quoted(key)}: {value.to_json(8)}" for key, value in self.key_objects.items())
        kinds = (
            f'"{kind}": ' + _block((pair.to_json(12) for pair in self.questions.get(kind, ())), 8)
            for kind in QUESTION_TYPES
        )
        images = (f'"{camera}": {_quoted(self.image_path) if camera == CAMERAS[0] else "null"}' for camera in CAMERAS)
        rows = [f'"key_object_infos": {_block(objects, 4, "{}")}', f'"QA": {_block(kinds, 4, "{}")}']
        rows.append(f'"image_paths": {_block(images, 4, "{}")}')
        return _block(rows, 0, "{}")


def read_vqa(path: str | os.PathLike[str]) -> VqaLabel:
    """Read one VQA file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or lacks keys; the message names the file.
    """
    return vqa_label(read_json(path), path)


def vqa_label(values: Any, path: str | os.PathLike[str]) -> VqaLabel:
    """The label in the JSON value of a VQA file. Raises RecordError, which names the file, if keys are missing."""
    try:
        return VqaLabel(
            {key: KeyObject.from_dict(item) for key, item in values["key_object_infos"].items()},
            {kind: [QaPair.from_dict(pair) for pair in values["QA"][kind]] for kind in QUESTION_TYPES},
            values["image_paths"][CAMERAS[0]],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not a VQA label ({error!r}); generate it again") from error


@dataclass(frozen=True)
class CommentaryLabel:
    """What the ego vehicle does and why, in words (``commentary/.../commentary/NNNN.json.gz``).

    Attributes:
        image_path: Front image.
        commentary: Canonical wording.
        template: The same with placeholders.
        cause_visible: Whether the object behind the action is visible in the image.
        cause_object: Its box as recorded, or None.
        cause_text: Its name in the sentence, empty without one.
        scenario: Scenario of the route the frame belongs to, or None.
        slots: Placeholder to its text.
    """

    image_path: str
    commentary: str
    template: str
    cause_visible: bool
    cause_object: Mapping[str, Any] | None
    cause_text: str
    scenario: str | None
    slots: Slots

    def to_dict(self) -> dict[str, Any]:
        """The published object."""
        return {
            "image": self.image_path,
            "commentary": self.commentary,
            "commentary_template": self.template,
            "cause_object_visible_in_image": self.cause_visible,
            "cause_object": self.cause_object,
            "cause_object_string": self.cause_text,
            "scenario_name": self.scenario,
            "placeholder": self.slots,
        }


def read_commentary(path: str | os.PathLike[str]) -> CommentaryLabel:
    """Read one commentary file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or lacks keys; the message names the file.
    """
    return commentary_label(read_json(path), path)


def commentary_label(values: Any, path: str | os.PathLike[str]) -> CommentaryLabel:
    """The label in the JSON value of a commentary file. Raises RecordError, which names the file, if keys are missing."""
    try:
        return CommentaryLabel(
            values["image"],
            values["commentary"],
            values["commentary_template"],
            values["cause_object_visible_in_image"],
            values["cause_object"],
            values["cause_object_string"],
            values["scenario_name"],
            values["placeholder"],
        )
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a commentary label ({error!r}); generate it again") from error


def fill(template: str, slots: Slots) -> str:
    """Replace every placeholder of ``template`` by its text.

    Placeholders without an entry in ``slots`` stay. A text that itself contains a placeholder is not expanded again.
    """
    if "<" not in template:
        return template
    parts = template.split("<")
    filled = [parts[0]]
    for part in parts[1:]:
        name, close, rest = part.partition(">")
        key = f"<{name}>"
        filled.append(slots[key] + rest if close and key in slots else f"<{part}")
    return "".join(filled)
