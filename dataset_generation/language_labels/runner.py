"""Label a dataset: one pass per route, routes in parallel, resumable, every frame without a label counted by reason."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from dataset_generation.language_labels.profiles import PROFILES, Profile, profile_named
from dataset_generation.language_labels.route_data import LabelFailure, RouteData, Skipped
from driving.arguments import add_dataset_root, positive
from driving.files import read_json, write_json
from driving.label_records import write_label
from driving.records import LabelKind, RunFolder, frame_name, require_runs

MANIFEST = "labels.json"
"""File in a label tree that says how its labels were made."""

REPORT = "frames_without_label.json"
"""File in a label tree that lists the frames without a label."""

FORMAT_VERSION = 1


class Labeller(Protocol):
    """Makes one kind of label. Must be picklable; called in frame order within a route."""

    @property
    def kind(self) -> LabelKind:
        """Which tree the labels go to."""

    def label(self, route: RouteData, frame: int) -> Mapping[str, Any] | str:
        """The JSON object of one frame's label, or its text.

        Raises:
            Skipped: If a rule says that this frame gets none.
            LabelFailure: If it should get one but cannot.
        """


@dataclass
class KindSummary:
    """What became of the frames of one kind of label.

    Attributes:
        made: Labels written now.
        kept: Labels that existed.
        skipped: Reason to number of frames a rule leaves out.
        failed: (frame, reason) of frames that should have a label and have none.
    """

    made: int = 0
    kept: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: KindSummary) -> None:
        """Add another summary to this one."""
        self.made += other.made
        self.kept += other.kept
        self.skipped += other.skipped
        self.failed += other.failed

    @property
    def failure_share(self) -> float:
        """Failed frames over those that should have a label."""
        wanted = self.made + self.kept + len(self.failed)
        return len(self.failed) / wanted if wanted else 0.0

    def lines(self) -> Iterator[str]:
        """The summary in words."""
        yield (
            f"{self.made} labels written, {self.kept} kept, {sum(self.skipped.values())} frames left out by rule, "
            + (f"{len(self.failed)} failed ({self.failure_share:.2%})")
        )
        for reason, count in self.skipped.most_common():
            yield f"  left out {count:6d}  {reason}"
        for reason, count in Counter(reason.partition(": ")[0] for _, reason in self.failed).most_common():
            yield f"  failed   {count:6d}  {reason}"


@dataclass(frozen=True)
class LabelOptions:
    """What to label and how.

    Attributes:
        data: Dataset root.
        out: Root of the label trees; the dataset root by default.
        routes: Folder of the route files, for runs that do not bring their own.
        profile: Which corrections apply.
        every: Label every this many frames.
        overwrite: Whether existing labels are made again.
        jobs: Routes labelled at the same time.
    """

    data: Path
    out: Path
    routes: Path
    profile: Profile
    every: int = 1
    overwrite: bool = False
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.every < 1 or self.jobs < 1:
            raise ValueError(f"--every and --jobs are at least 1; got {self.every} and {self.jobs}")


def frame_seed(run: RunFolder, frame: int) -> int:
    """Seed of a frame's random draws: equal wherever the dataset lies and however the work is divided."""
    return int.from_bytes(sha256(f"{run.name}/{frame_name(frame)}".encode()).digest()[:4], "big")


def frame_random(run: RunFolder, frame: int) -> random.Random:
    """Random generator of one frame."""
    return random.Random(frame_seed(run, frame))


def label_run(run: RunFolder, labellers: Sequence[Labeller], options: LabelOptions) -> list[KindSummary]:
    """Make all labels of one route; one summary per labeller."""
    route = RouteData(run, options.routes, options.profile)
    target = RunFolder(options.out, run.relative)
    summaries = [KindSummary() for _ in labellers]
    present = [set() if options.overwrite else set(target.labelled_frames(labeller.kind)) for labeller in labellers]
    for frame in route.frames[:: options.every]:
        for labeller, summary, existing in zip(labellers, summaries, present):
            if frame in existing:
                summary.kept += 1
                continue
            try:
                label = _label_or_reason(labeller, route, frame)
            except Skipped as reason:
                summary.skipped[str(reason)] += 1
            except LabelFailure as reason:
                summary.failed.append((f"{run.key}/{frame_name(frame)}", str(reason)))
            else:
                write_label(target.label_path(labeller.kind, frame), label)
                summary.made += 1
        route.forget_before(frame)
    return summaries


def _label_or_reason(labeller: Labeller, route: RouteData, frame: int) -> Mapping[str, Any] | str:
    """As `Labeller.label`, with the rules that hold for every kind, and odd values turned into a named failure."""
    if route.rejection:
        raise Skipped(route.rejection)
    if not route.has_image(frame):
        raise Skipped("frame without an image")
    try:
        return labeller.label(route, frame)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise LabelFailure(f"unexpected value: {type(error).__name__}: {error}") from error


def label_dataset(labellers: Sequence[Labeller], options: LabelOptions) -> dict[str, KindSummary]:
    """Label every run of a dataset and write manifest and report of each label tree.

    Returns:
        Kind name to summary.

    Raises:
        FileNotFoundError: If the dataset does not exist or holds no runs.
        OSError: If a label cannot be written; those written before are kept.
        ValueError: If labels of another profile are already there.
    """
    runs = require_runs(options.data)
    for labeller in labellers:
        _check_manifest(options, labeller.kind, runs)
    totals = [KindSummary() for _ in labellers]
    work = partial(label_run, labellers=labellers, options=options)
    names = "+".join(labeller.kind.name for labeller in labellers)
    for summaries in tqdm(_map(work, runs, options.jobs), total=len(runs), desc=f"{names} labels", unit="route"):
        for total, summary in zip(totals, summaries):
            total.add(summary)
    for labeller, total in zip(labellers, totals):
        tree = options.out / labeller.kind.tree
        report = {"left_out": dict(total.skipped), "failed": dict(sorted(total.failed))}
        write_json(tree / REPORT, report)
    return {labeller.kind.name: total for labeller, total in zip(labellers, totals)}


def _map(work: Any, runs: Iterable[RunFolder], jobs: int) -> Iterator[list[KindSummary]]:
    """``work`` of every run, in this process or in ``jobs`` others."""
    if jobs == 1:
        yield from map(work, runs)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(work, run) for run in runs]):
            yield done.result()


def _check_manifest(options: LabelOptions, kind: LabelKind, runs: Iterable[RunFolder]) -> None:
    """Refuse to mix profiles in one tree; write the manifest of a new one.

    Overwriting a tree of another profile removes its labels first, so that an interrupted run leaves no mixture behind.
    """
    path = options.out / kind.tree / MANIFEST
    wanted = {"format": FORMAT_VERSION, "profile": options.profile.name}
    found = read_json(path) if path.exists() else None
    if found == wanted:
        return
    if found is not None:
        if not options.overwrite:
            raise ValueError(
                f"{path.parent} holds labels of {found}, asked for {wanted}; choose another --out or make them again "
                "with --overwrite"
            )
        for run in runs:
            target = RunFolder(options.out, run.relative)
            for frame in target.labelled_frames(kind):
                target.label_path(kind, frame).unlink()
    write_json(path, wanted)


def argument_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Command line shared by the label generators."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=description,
        epilog=f"example: python -m {program} --data database/simlingo --jobs 2",
    )
    add_dataset_root(parser)
    parser.add_argument("--out", type=Path, help="root of the label trees (default: the dataset root)")
    parser.add_argument(
        "--routes", type=Path, default=Path("data/simlingo"), help="route files of runs without route.xml (%(default)s)"
    )
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default="corrected",
        help="published defects or not (default: %(default)s)",
    )
    parser.add_argument("--every", type=positive, default=1, help="label every this many frames (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=positive, default=1, help="routes labelled at the same time (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="make existing labels again")
    add_failure_limit(parser)
    return parser


def add_failure_limit(parser: argparse.ArgumentParser) -> None:
    """The option that says how many failures are too many."""
    parser.add_argument(
        "--max-failures",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="exit with status 1 when more than this share of the frames fails (default: %(default)s)",
    )


def options_from(arguments: argparse.Namespace) -> LabelOptions:
    """Typed options of a parsed command line."""
    return LabelOptions(
        data=arguments.data,
        out=arguments.out or arguments.data,
        routes=arguments.routes,
        profile=profile_named(arguments.profile),
        every=arguments.every,
        overwrite=arguments.overwrite,
        jobs=arguments.jobs,
    )


def run_labellers(labellers: Sequence[Labeller], arguments: argparse.Namespace) -> int:
    """Label the dataset a command line names and print the summary.

    Returns:
        Exit status: 0; 1 when too many labels failed; 2 when the command could not run.
    """
    try:
        summaries = label_dataset(labellers, options_from(arguments))
    except (OSError, ValueError, BrokenProcessPool) as error:
        print(f"error: {error}; labels written so far are kept, the same command goes on from there", file=sys.stderr)
        return 2
    status = 0
    for name, summary in summaries.items():
        print(f"{name}: " + "\n".join(summary.lines()))
        if summary.failure_share > arguments.max_failures:
            print(
                f"error: {summary.failure_share:.2%} of the {name} labels failed, more than {arguments.max_failures:.2%}"
            )
            status = 1
    return status
