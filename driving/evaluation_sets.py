"""Lists of evaluation samples: which question, commentary or instruction of which frame, and the wanted answer.

A sample is named by run and frame, never by a path, so a list holds for a dataset wherever it lies. The wanted answer is the
canonical wording at the time the list was made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from driving.files import read_json, write_json
from driving.records import RecordError, RunFolder

FORMAT_VERSION = 1

VALIDATION_PREFIX = "validation_"
VALIDATION_SPLIT = "routes_validation"


def is_for_evaluation(run: RunFolder) -> bool:
    """Whether a run belongs to a validation set or split, whose text labels and dreams are kept for evaluation."""
    parts = run.relative.parts
    return VALIDATION_SPLIT in parts or any(part.startswith(VALIDATION_PREFIX) for part in parts)


@dataclass(frozen=True)
class EvaluationSample:
    """One thing to be asked about one frame.

    Attributes:
        run: Key of the run (`driving.records.RunFolder.key`).
        frame: Frame number.
        group: What it was balanced by: question and answer template, commentary template, or mode and verdict.
        prompt: The question or instruction; empty for commentary.
        answer: Canonical wording of the wanted answer.
        index: Place in the label file: number of the pair (VQA) or of the alternative of its mode (dreaming).
        instruction: Number of the instruction (dreaming).
        mode: Mode of the alternative (dreaming).
        safe: Whether the instruction may be followed (dreaming).
    """

    run: str
    frame: int
    group: str
    prompt: str
    answer: str
    index: int = 0
    instruction: int = 0
    mode: str = ""
    safe: bool = True

    @property
    def id(self) -> str:
        """Unique name within its set."""
        return f"{self.run}/{self.frame:04d}/{self.mode}{self.index}.{self.instruction}"


@dataclass(frozen=True)
class EvaluationSet:
    """A balanced list of samples of one kind.

    Attributes:
        kind: Label kind: vqa, commentary or dreamer.
        samples: In the order of their ids.
        seed: Of the choice.
        per_group: Most samples of one group.
        profile: Profile of the labels it was made from.
        runs: Keys of the held-out runs.
    """

    kind: str
    samples: Sequence[EvaluationSample]
    seed: int
    per_group: int
    profile: str
    runs: Sequence[str] = field(default_factory=list)

    @property
    def group_sizes(self) -> dict[str, int]:
        """Group to its number of samples, sorted by name."""
        sizes: dict[str, int] = {}
        for sample in self.samples:
            sizes[sample.group] = sizes.get(sample.group, 0) + 1
        return dict(sorted(sizes.items()))

    def by_frame(self) -> Mapping[tuple[str, int], list[EvaluationSample]]:
        """(run, frame) to its samples, for loading each frame once."""
        frames: dict[tuple[str, int], list[EvaluationSample]] = {}
        for sample in self.samples:
            frames.setdefault((sample.run, sample.frame), []).append(sample)
        return frames


def write_evaluation_set(path: str | os.PathLike[str], chosen: EvaluationSet) -> None:
    """Write a set atomically, compressed when the name ends in ``.gz``."""
    write_json(path, {"format": FORMAT_VERSION, **asdict(chosen)}, indent=1)


def read_evaluation_set(path: str | os.PathLike[str]) -> EvaluationSet:
    """Read a set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a set of this format; the message names the file.
    """
    values: Any = read_json(path)
    try:
        version = values.pop("format")
        if version != FORMAT_VERSION:
            raise RecordError(f"{path}: format {version}, this code reads {FORMAT_VERSION}; make the set again")
        samples = [EvaluationSample(**sample) for sample in values.pop("samples")]
        return EvaluationSet(samples=samples, **values)
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not an evaluation set ({error!r}); make it again") from error
