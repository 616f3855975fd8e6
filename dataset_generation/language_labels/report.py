"""What a labelled dataset says: ``python -m dataset_generation.language_labels.report --data database/simlingo``.

Counts answers by question node and sentences by commentary template, so that one sees which questions and situations a
collection lacks. ``--out`` writes the numbers as JSON; those of commentary have the keys of the published ``stats.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset_generation.language_labels.vqa.generator import FAMILIES
from driving.files import write_json
from driving.label_records import CommentaryLabel, VqaLabel, read_commentary, read_vqa
from driving.records import COMMENTARY, VQA, LabelKind, RunFolder, find_runs

Node = tuple[int, int]


@dataclass
class VqaCounts:
    """Answers of a labelled dataset.

    Attributes:
        frames: Labelled frames.
        answers: Node to answer template (the answer itself in files without templates) to its number.
    """

    frames: int = 0
    answers: dict[Node, Counter[str]] = field(default_factory=dict)

    def add(self, label: VqaLabel) -> None:
        """Count one frame."""
        self.frames += 1
        for pair in label.pairs:
            template = pair.answer if pair.answer_template is None else pair.answer_template
            self.answers.setdefault((pair.cluster, pair.layer), Counter())[template] += 1

    def lines(self, most: int) -> Iterator[str]:
        """The counts in words, at most ``most`` answers of each node."""
        yield f"questions: {sum(map(Counter.total, self.answers.values()))} on {self.frames} frames"
        for family in FAMILIES:
            for node in family.nodes:
                found = self.answers.get(node, Counter())
                yield f"  {node[0]},{node[1]} {family.name:18s} {found.total():7d} answers of {len(found)} kinds"
                yield from (f"      {count:7d}  {text}" for text, count in found.most_common(most))

    def to_dict(self) -> dict[str, Any]:
        """Frames, and per node the answers with their numbers."""
        return {
            "total_frames": self.frames,
            "answers": {f"{a},{b}": dict(found.most_common()) for (a, b), found in sorted(self.answers.items())},
        }


@dataclass
class CommentaryCounts:
    """Commentary of a labelled dataset.

    Attributes:
        frames: Labelled frames.
        scenarios: Scenario, ``null`` for none, to its frames.
        templates: Template to its frames.
        visible: Frames whose cause is visible in the image.
    """

    frames: int = 0
    scenarios: Counter[str] = field(default_factory=Counter)
    templates: Counter[str] = field(default_factory=Counter)
    visible: int = 0

    def add(self, label: CommentaryLabel) -> None:
        """Count one frame."""
        self.frames += 1
        self.scenarios[label.scenario or "null"] += 1
        self.templates[label.template] += 1
        self.visible += label.cause_visible

    def lines(self, most: int) -> Iterator[str]:
        """The counts in words, at most ``most`` templates."""
        yield f"commentary: {len(self.templates)} templates on {self.frames} frames, cause visible in {self.visible}"
        yield from (f"      {count:7d}  {name}" for name, count in self.scenarios.most_common())
        yield from (f"      {count:7d}  {text}" for text, count in self.templates.most_common(most))

    def to_dict(self) -> dict[str, Any]:
        """The keys of the published statistics file."""
        return {
            "total_frames": self.frames,
            "frames_per_scenario": dict(self.scenarios),
            "num_visible_objects": self.visible,
            "num_not_visible_objects": self.frames - self.visible,
            "num_different_templates": len(self.templates),
            "all_templates": list(self.templates),
        }


def count_labels(data: Path, labels: Path) -> tuple[VqaCounts, CommentaryCounts]:
    """Count all labels of a dataset.

    Args:
        data: Dataset root.
        labels: Root of the label trees.

    Raises:
        FileNotFoundError: If the dataset does not exist or has no labels.
        ValueError: If a label is malformed; the message names the file.
    """
    vqa, commentary = VqaCounts(), CommentaryCounts()
    for run in tqdm(find_runs(data), desc="labels", unit="route"):
        labelled = RunFolder(labels, run.relative)
        for path in _files(labelled, VQA):
            vqa.add(read_vqa(path))
        for path in _files(labelled, COMMENTARY):
            commentary.add(read_commentary(path))
    if not vqa.frames and not commentary.frames:
        raise FileNotFoundError(
            f"no labels below {labels}; make them with: python -m dataset_generation.language_labels"
        )
    return vqa, commentary


def _files(run: RunFolder, kind: LabelKind) -> Iterator[Path]:
    return (run.label_path(kind, frame) for frame in run.labelled_frames(kind))


def main() -> int:
    """Print what a labelled dataset says."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.language_labels.report",
        description="Count answers by question and sentences by commentary template.",
        epilog="example: python -m dataset_generation.language_labels.report --data database/simlingo --most 3",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("database/simlingo"), help="dataset root (default: %(default)s)"
    )
    parser.add_argument("--labels", type=Path, help="root of the label trees (default: the dataset root)")
    parser.add_argument(
        "--most", type=int, default=5, help="answers and templates shown of each kind (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    try:
        counts = count_labels(arguments.data, arguments.labels or arguments.data)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for part in counts:
        print("\n".join(part.lines(arguments.most)))
    if arguments.out is not None:
        write_json(arguments.out, {"vqa": counts[0].to_dict(), "commentary": counts[1].to_dict()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
