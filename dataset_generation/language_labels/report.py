"""What a labelled dataset says: ``python -m dataset_generation.language_labels.report --data database/simlingo``.

Counts answers by question node, sentences by commentary template, dreams by mode, and frames without a label by reason, so that
one sees which questions and situations a collection lacks; the last lines say whether it has everything. ``--out`` writes the
numbers as JSON; those of commentary have the keys of the published ``stats.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset_generation.language_labels.runner import REPORT
from dataset_generation.language_labels.vqa.generator import FAMILIES
from driving.arguments import add_dataset_root
from driving.files import read_json, write_json
from driving.label_records import CommentaryLabel, VqaLabel, read_commentary, read_vqa
from driving.records import COMMENTARY, DREAMER, VQA, LabelKind, RunFolder, require_runs

Node = tuple[int, int]

WANTED_TEMPLATES = 20
"""Commentary templates that a collection with enough variety has."""

DREAM_MODES = {
    "target_speed",
    "stop",
    "faster_factor",
    "faster",
    "slower_factor",
    "slower",
    "crash",
    "lane_change",
    "route",
}
"""All modes of dreams."""


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


@dataclass
class DreamCounts:
    """Dreams of a labelled dataset.

    Attributes:
        frames: Frames with dreams.
        modes: Mode to its dreams.
        safe: Mode to those whose instruction may be followed.
        instructions: Instruction template to its number.
    """

    frames: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    safe: Counter[str] = field(default_factory=Counter)
    instructions: Counter[str] = field(default_factory=Counter)

    def add(self, label: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Count one frame."""
        self.frames += 1
        for mode, samples in label.items():
            self.modes[mode] += len(samples)
            for sample in samples:
                self.safe[mode] += bool(sample["safe_to_execute"])
                self.instructions.update(sample["instructions_templates"])

    def lines(self, most: int) -> Iterator[str]:
        """The counts in words, at most ``most`` instructions."""
        yield f"dreams: {self.modes.total()} of {len(self.modes)} modes on {self.frames} frames"
        for mode, count in self.modes.most_common():
            yield f"      {count:7d}  {mode} ({self.safe[mode] / max(count, 1):.0%} may be followed)"
        yield from (f"      {count:7d}  {text}" for text, count in self.instructions.most_common(most))

    def to_dict(self) -> dict[str, Any]:
        """Frames, dreams by mode, and instructions."""
        return {
            "total_frames": self.frames,
            "modes": dict(self.modes),
            "safe": dict(self.safe),
            "instructions": dict(self.instructions),
        }


@dataclass
class LabelCounts:
    """All labels of a dataset.

    Attributes:
        vqa, commentary, dreams: The labels.
        without: Kind to reason to the number of frames that have none.
    """

    vqa: VqaCounts = field(default_factory=VqaCounts)
    commentary: CommentaryCounts = field(default_factory=CommentaryCounts)
    dreams: DreamCounts = field(default_factory=DreamCounts)
    without: dict[str, Counter[str]] = field(default_factory=dict)

    def lines(self, most: int) -> Iterator[str]:
        """Everything in words."""
        for part in (self.vqa, self.commentary, self.dreams):
            yield from part.lines(most)
        for kind, reasons in self.without.items():
            yield f"frames without a {kind} label: {reasons.total()}"
            yield from (f"      {count:7d}  {reason}" for reason, count in reasons.most_common())

    def verdicts(self) -> Iterator[tuple[str, bool]]:
        """What a collection should have, and whether this one has it."""
        nodes = {node for family in FAMILIES for node in family.nodes}
        asked = {node for node in nodes if self.vqa.answers.get(node)}
        families = sum(all(node in asked for node in family.nodes) for family in FAMILIES)
        yield (
            f"question families {families} of {len(FAMILIES)}, graph nodes {len(asked)} of {len(nodes)}",
            asked == nodes,
        )
        templates = len(self.commentary.templates)
        yield f"commentary templates {templates}, wanted {WANTED_TEMPLATES}", templates >= WANTED_TEMPLATES
        modes = len(self.dreams.modes.keys() & DREAM_MODES)
        yield f"dreaming modes {modes} of {len(DREAM_MODES)}", modes == len(DREAM_MODES)

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers."""
        parts: dict[str, Any] = {name: getattr(self, name).to_dict() for name in ("vqa", "commentary", "dreams")}
        return {**parts, "without_label": {kind: dict(reasons) for kind, reasons in self.without.items()}}


def count_labels(data: Path, labels: Path) -> LabelCounts:
    """Count all labels of a dataset.

    Args:
        data: Dataset root.
        labels: Root of the label trees.

    Raises:
        FileNotFoundError: If the dataset does not exist or has no labels.
        ValueError: If a label is malformed; the message names the file.
    """
    counts = LabelCounts()
    for run in tqdm(require_runs(data), desc="labels", unit="route"):
        labelled = RunFolder(labels, run.relative)
        for path in _files(labelled, VQA):
            counts.vqa.add(read_vqa(path))
        for path in _files(labelled, COMMENTARY):
            counts.commentary.add(read_commentary(path))
        for path in _files(labelled, DREAMER):
            counts.dreams.add(read_json(path))
    if not (counts.vqa.frames or counts.commentary.frames or counts.dreams.frames):
        raise FileNotFoundError(
            f"no labels below {labels}; make them with: python -m dataset_generation.language_labels"
        )
    for kind in (VQA, COMMENTARY, DREAMER):
        path = labels / kind.tree / REPORT
        if path.is_file():
            left = read_json(path)
            failed = Counter(f"failed: {reason.partition(': ')[0]}" for reason in left["failed"].values())
            counts.without[kind.name] = Counter(left["left_out"]) + failed
    return counts


def _files(run: RunFolder, kind: LabelKind) -> Iterator[Path]:
    return (run.label_path(kind, frame) for frame in run.labelled_frames(kind))


def main() -> int:
    """Print what a labelled dataset says."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.language_labels.report",
        description="Count answers by question, sentences by commentary template and dreams by mode.",
        epilog="example: python -m dataset_generation.language_labels.report --data database/simlingo --most 3",
    )
    add_dataset_root(parser)
    parser.add_argument("--labels", type=Path, help="root of the label trees (default: the dataset root)")
    parser.add_argument(
        "--most", type=int, default=5, help="answers and templates shown of each kind (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 when something is lacking")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    try:
        counts = count_labels(arguments.data, arguments.labels or arguments.data)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(counts.lines(arguments.most)))
    verdicts = list(counts.verdicts())
    for text, holds in verdicts:
        print(f"{'complete' if holds else 'LACKING '}  {text}")
    if arguments.out is not None:
        write_json(arguments.out, counts.to_dict())
    return int(arguments.check and not all(holds for _, holds in verdicts))


if __name__ == "__main__":
    sys.exit(main())
