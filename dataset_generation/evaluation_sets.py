"""Choose evaluation samples: balanced, deterministic lists of questions, commentary and instructions from held-out routes.

Of every group (question with its answer, commentary template, mode with its verdict) at most ``per_group`` samples are taken,
as many different routes as possible first. The choice depends on the names of the samples and the seed, not on the order or
place of the files.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from tqdm import tqdm

from driving.arguments import add_dataset_root, positive
from driving.evaluation_sets import EvaluationSample, EvaluationSet, is_for_evaluation, write_evaluation_set
from driving.files import read_json
from driving.label_records import QaPair, VqaLabel, fill, read_commentary, read_vqa
from driving.records import COMMENTARY, DREAMER, LABEL_KINDS, VQA, RunFolder, hash_held_out, require_runs

FIRST_FRAME = 10
"""Earlier frames are not evaluated: the vehicle is still settling, and the loader has no samples for them."""

UNUSED_MODE_PART = "factor"
"""Dreaming modes with this in their name have the instruction of another mode and are not evaluated."""


def held_out_runs(runs: Sequence[RunFolder], fraction: float) -> list[RunFolder]:
    """Runs of a validation set or split; without any, a fixed share of all runs."""
    return [run for run in runs if is_for_evaluation(run)] or hash_held_out(runs, fraction)


def _templates(pair: QaPair, label: VqaLabel) -> tuple[str, str]:
    """Question and answer with placeholders; in files without them the names of key objects are replaced."""
    if pair.question_template is not None and pair.answer_template is not None:
        return pair.question_template, pair.answer_template
    question, answer = pair.question, pair.answer
    for name in sorted({value.description for value in label.key_objects.values()}, key=len, reverse=True):
        question, answer = question.replace(name, "<OBJECT>"), answer.replace(name, "<OBJECT>")
    return question, answer


def vqa_samples(run: RunFolder, frame: int, path: Path) -> Iterator[EvaluationSample]:
    """Every question of a frame but the list of important objects, whose answers never repeat."""
    label = read_vqa(path)
    for index, pair in enumerate(label.pairs):
        if (pair.cluster, pair.layer) != (0, 0):
            group = " ".join(_templates(pair, label))
            yield EvaluationSample(run.key, frame, group, pair.question, pair.answer, index)


def commentary_samples(run: RunFolder, frame: int, path: Path) -> Iterator[EvaluationSample]:
    """The commentary of a frame."""
    label = read_commentary(path)
    yield EvaluationSample(run.key, frame, label.template, "", label.commentary)


def dreamer_samples(run: RunFolder, frame: int, path: Path) -> Iterator[EvaluationSample]:
    """Every instruction of every alternative of a frame."""
    for mode, alternatives in read_json(path).items():
        if UNUSED_MODE_PART in mode:
            continue
        for index, sample in enumerate(alternatives):
            safe = sample["safe_to_execute"]
            group = f"{mode} {'safe' if safe else 'unsafe'}"
            worded = zip(sample["instructions_templates"], sample["templates_placeholders"], strict=True)
            for number, (template, slots) in enumerate(worded):
                # Files of the published profile hold one random paraphrase; the template is canonical in all of them.
                text, answer = fill(template, slots), sample["dreamer_answer_safety"]
                yield EvaluationSample(run.key, frame, group, text, answer, index, number, mode, safe)


@dataclass(frozen=True)
class SetRule:
    """How samples of one kind are found.

    Attributes:
        kind: Name of the label kind.
        samples_of: Samples of one label file.
        per_group: Most samples of one group.
        least: Smaller groups are left out.
    """

    kind: str
    samples_of: Callable[[RunFolder, int, Path], Iterator[EvaluationSample]]
    per_group: int
    least: int = 1


RULES = {
    rule.kind: rule
    for rule in (
        SetRule(VQA.name, vqa_samples, per_group=10),
        SetRule(COMMENTARY.name, commentary_samples, per_group=10),
        SetRule(DREAMER.name, dreamer_samples, per_group=100),
    )
}
"""Every kind of evaluation set by name."""


def _rank(seed: int, name: str) -> bytes:
    return sha256(f"{seed} {name}".encode()).digest()


def choose(samples: Iterable[EvaluationSample], per_group: int, seed: int, least: int = 1) -> list[EvaluationSample]:
    """At most ``per_group`` samples of every group of at least ``least``, one per run and round, sorted by id."""
    groups: dict[str, dict[str, list[EvaluationSample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        groups[sample.group][sample.run].append(sample)
    chosen: list[EvaluationSample] = []
    for runs in groups.values():
        if sum(map(len, runs.values())) < least:
            continue
        queues = [sorted(found, key=lambda sample: _rank(seed, sample.id)) for found in runs.values()]
        queues.sort(key=lambda queue: _rank(seed, queue[0].id))
        rounds = (sample for turn in zip_longest(*queues) for sample in turn if sample is not None)
        chosen += [sample for sample, _ in zip(rounds, range(per_group))]
    return sorted(chosen, key=lambda sample: sample.id)


def make_set(root: Path, rule: SetRule, fraction: float, seed: int, per_group: int | None = None) -> EvaluationSet:
    """Choose the samples of one kind from a labelled dataset.

    Args:
        root: Dataset root.
        rule: See `SetRule`.
        fraction: Share of the runs held out where none is marked as validation.
        seed: Of the choice.
        per_group: Overrides the rule.

    Raises:
        FileNotFoundError: If the dataset or its labels do not exist.
        ValueError: If a label file is malformed; the message names it.
    """
    kind = LABEL_KINDS[rule.kind]
    runs = held_out_runs(require_runs(root), fraction)
    limit = rule.per_group if per_group is None else per_group
    manifest = root / kind.tree / "labels.json"
    found: list[EvaluationSample] = []
    for run in tqdm(runs, desc=f"{rule.kind} evaluation set", unit="route"):
        for frame in run.labelled_frames(kind):
            if frame >= FIRST_FRAME:
                found += rule.samples_of(run, frame, run.label_path(kind, frame))
    if not found:
        raise FileNotFoundError(
            f"no {rule.kind} labels in {len(runs)} held-out runs of {root}; make them with: "
            "python -m dataset_generation.language_labels (dreaming: python -m dataset_generation.dreaming)"
        )
    chosen = choose(found, limit, seed, rule.least)
    profile = read_json(manifest)["profile"] if manifest.is_file() else "unknown"
    return EvaluationSet(rule.kind, chosen, seed, limit, profile, [run.key for run in runs])


def main() -> int:
    """Write the evaluation sets of a dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.evaluation_sets",
        description="Choose balanced evaluation samples from the held-out routes of a labelled dataset.",
        epilog="example: python -m dataset_generation.evaluation_sets --data database/simlingo",
    )
    add_dataset_root(parser)
    parser.add_argument("--out", type=Path, help="folder of the lists (default: DATA/evaluation)")
    parser.add_argument("--kinds", nargs="+", choices=sorted(RULES), default=sorted(RULES), help="default: all")
    parser.add_argument("--per-group", type=positive, help="most samples of a group (default: 10, dreaming 100)")
    parser.add_argument(
        "--fraction",
        type=float,
        default=0.1,
        help="share held out where no run is marked as validation; not above data.val_fraction of the training, which saw the "
        "others (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    status = 0
    for name in arguments.kinds:
        try:
            chosen = make_set(arguments.data, RULES[name], arguments.fraction, arguments.seed, arguments.per_group)
        except (FileNotFoundError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
            continue
        path = (arguments.out or arguments.data / "evaluation") / f"{name}.json.gz"
        write_evaluation_set(path, chosen)
        sizes = chosen.group_sizes.values()
        print(f"{path}: {len(chosen.samples)} samples in {len(sizes)} groups of {min(sizes)} to {max(sizes)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
