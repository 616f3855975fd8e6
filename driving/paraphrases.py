"""Paraphrases of label sentences, as training reads them: canonical template to its variants.

The files are made by ``python -m dataset_generation.augmentations``; files of the published data set under their own names are
read as well. All placeholders (``<OBJECT>``, ``[x]`` ...) stand in every variant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import overload

from driving.files import read_json

Table = Mapping[str, Sequence[str]]

COMMENTARY_PARTS = ("route", "speed", "reason", "remark")
"""Parts of a commentary, in the order in which they stand."""

FILES = {
    "navigation": ("lmdrive.json",),
    "commentary": ("commentary_parts.json", "commentary_augmented.json"),
    "questions": ("questions.json", "drivelm_train_augmented_v2/all_qs_augmented.json"),
    "answers": ("answers.json", "drivelm_train_augmented_v2/all_as_augmented.json"),
    "instructions": ("dreamer.json",),
}
"""Field of `Paraphrases` to its file; the first that exists is read."""


class Combinations(Sequence[str]):
    """Every way of putting one option of each part after the other, made when asked for.

    Args:
        parts: Options of each part.
        separators: What stands before each part.
    """

    def __init__(self, parts: Sequence[Sequence[str]], separators: Sequence[str]) -> None:
        self._parts, self._separators = parts, separators

    def __len__(self) -> int:
        return prod(map(len, self._parts))

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{len(self)} combinations, no number {index}")
        rest, chosen = index % len(self), []
        for options in reversed(self._parts):
            rest, digit = divmod(rest, len(options))
            chosen.append(options[digit])
        return "".join(map("".join, zip(self._separators, reversed(chosen))))


class ComposedCommentary(Mapping[str, Sequence[str]]):
    """Paraphrases of every commentary that route part, speed action, reason and remark can make.

    Args:
        parts: Part name (`COMMENTARY_PARTS`) to the paraphrases of each of its canonical texts.
    """

    def __init__(self, parts: Mapping[str, Table]) -> None:
        self._parts = [parts[name] for name in COMMENTARY_PARTS]
        self._by_length = [sorted(table, key=len, reverse=True) for table in self._parts]

    def split(self, template: str) -> tuple[str, str, str, str] | None:
        """The canonical parts of a commentary template, None if it has others."""
        routes, speeds, _, remarks = self._by_length
        reasons = self._parts[2]
        for remark in remarks:
            if not template.endswith(remark):
                continue
            # The reason ends in a full stop, which a remark follows directly.
            body = template[: len(template) - len(remark)]
            for route in routes:
                if not body.startswith(f"{route} "):
                    continue
                spoken = body[len(route) + 1 :]
                for speed in speeds:
                    if spoken.startswith(speed) and spoken[len(speed) :] in reasons:
                        return route, speed, spoken[len(speed) :], remark
        return None

    def __getitem__(self, template: str) -> Sequence[str]:
        parts = self.split(template)
        if parts is None:
            raise KeyError(template)
        return Combinations([table[part] for table, part in zip(self._parts, parts)], ("", " ", "", ""))

    def __contains__(self, template: object) -> bool:
        return isinstance(template, str) and self.split(template) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(Combinations([list(table) for table in self._parts], ("", " ", "", "")))

    def __len__(self) -> int:
        return prod(map(len, self._parts))


@dataclass(frozen=True)
class Paraphrases:
    """All tables of a folder; a table without a file is empty.

    Attributes:
        navigation: Group number to sentences with ``[x]`` for metres.
        commentary: Commentary template to variants.
        questions, answers: Question and answer templates to variants.
        instructions: Key of a dreaming instruction to its wordings, the canonical one first.
        missing: Names of the tables without a file.
    """

    navigation: Table = field(default_factory=dict)
    commentary: Table = field(default_factory=dict)
    questions: Table = field(default_factory=dict)
    answers: Table = field(default_factory=dict)
    instructions: Table = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @cached_property
    def wordings(self) -> Table:
        """Canonical sentence of a dreaming instruction to its wordings."""
        return {variants[0]: variants for variants in self.instructions.values()}


def read_paraphrases(folder: str | os.PathLike[str]) -> Paraphrases:
    """Read the paraphrases of a folder.

    Raises:
        ValueError: If a file is not JSON or lacks a part; the message names the file.
    """
    tables: dict[str, Table] = {}
    for name, files in FILES.items():
        path = next((path for path in (Path(folder) / file for file in files) if path.is_file()), None)
        if path is not None:
            tables[name] = _read_table(path)
    return Paraphrases(**tables, missing=tuple(FILES.keys() - tables.keys()))


def _read_table(path: Path) -> Table:
    content = read_json(path)
    if path.name != FILES["commentary"][0]:
        return content
    absent = [part for part in COMMENTARY_PARTS if part not in content]
    if absent:
        raise ValueError(f"{path}: expected the parts {COMMENTARY_PARTS}, {absent} missing; make the file again")
    return ComposedCommentary(content)
