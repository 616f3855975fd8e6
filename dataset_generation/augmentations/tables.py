"""Every table of paraphrases: how it is made, where it is kept, and what its sentences must look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_generation.augmentations.answers import answer_paraphrases
from dataset_generation.augmentations.check import MIN_VARIANTS, Rules, check_table
from dataset_generation.augmentations.commentary import commentary_parts, published_fragments
from dataset_generation.augmentations.instructions import instruction_wordings
from dataset_generation.augmentations.navigation import navigation_sentences
from dataset_generation.augmentations.questions import question_paraphrases
from driving.files import read_json, write_json

DEFAULT_FOLDER = Path("data/augmented_templates")

SENTENCE = Rules()
PART_RULES = {
    "route": Rules(),
    "speed": Rules(ends=""),
    "reason": Rules(capital=False),
    "remark": Rules(capital=False),
}


@dataclass(frozen=True)
class PhraseTable:
    """One file of paraphrases.

    Attributes:
        name: As on the command line.
        file: Name in the folder.
        make: Makes its content with the grammar.
        rules: What its sentences look like.
        keyed_by_name: Whether keys are names and the canonical sentence is the first of each list.
        minimum: Paraphrases each entry needs.
    """

    name: str
    file: str
    make: Callable[[], Mapping[str, Any]]
    rules: Rules = SENTENCE
    keyed_by_name: bool = False
    minimum: int = MIN_VARIANTS

    def problems(self, content: Mapping[str, Any]) -> list[str]:
        """Everything wrong with the content of the file."""
        if self.name != "commentary":
            return check_table(self.name, content, self.rules, self.keyed_by_name, self.minimum)
        lines = []
        for part, rules in PART_RULES.items():
            # Having nothing to add is a remark without paraphrases.
            table = {key: variants for key, variants in content[part].items() if key}
            lines += check_table(f"{self.name}/{part}", table, rules)
        return lines


TABLES = {
    table.name: table
    for table in (
        PhraseTable("questions", "questions.json", question_paraphrases, Rules(ends="?")),
        PhraseTable("answers", "answers.json", answer_paraphrases),
        PhraseTable("commentary", "commentary_parts.json", commentary_parts),
        PhraseTable("fragments", "commentary.json", published_fragments, Rules(ends=""), keyed_by_name=True),
        PhraseTable("instructions", "dreamer.json", instruction_wordings, keyed_by_name=True),
        PhraseTable("navigation", "lmdrive.json", navigation_sentences, keyed_by_name=True),
    )
}
"""Every file of paraphrases by its name."""


def write_tables(folder: Path, names: Sequence[str] = tuple(TABLES)) -> dict[str, int]:
    """Make tables and write them; returns how many sentences each has.

    Raises:
        ValueError: If a table does not pass its check; nothing of it is written.
    """
    counts = {}
    for name in names:
        table = TABLES[name]
        content = table.make()
        problems = table.problems(content)
        if problems:
            raise ValueError(f"the grammar of {name} makes unusable sentences:\n" + "\n".join(problems[:20]))
        write_json(folder / table.file, content, indent=1)
        counts[name] = count_sentences(content)
    return counts


def count_sentences(content: Any) -> int:
    """Number of texts in a table, however it is nested."""
    if isinstance(content, str):
        return 1
    values = content.values() if isinstance(content, Mapping) else content
    return sum(map(count_sentences, values))


def check_folder(folder: Path) -> list[str]:
    """Problems of all files of a folder; a missing file is one."""
    lines = []
    for table in TABLES.values():
        path = folder / table.file
        if not path.is_file():
            lines.append(f"{path} is missing; make it with: python -m dataset_generation.augmentations --out {folder}")
        else:
            lines += table.problems(read_json(path))
    return lines
