"""Find recorded runs that should not be trained on, list them with the reason, and move them aside if asked.

A run stays if it passes the rule of the training loader (a perfect score, or more than 94 % of the route with nothing but
low-speed and lane-leaving entries). Of several runs of one route and repetition only the best stays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from dataset_generation.runs import judge, superseded
from driving.arguments import add_dataset_root
from driving.records import LABEL_KINDS, RunFolder, find_runs, require_runs

REJECTED = "rejected"
EPILOG = """example:
  python -m dataset_generation.clean --data database/simlingo            # only lists
  python -m dataset_generation.clean --data database/simlingo --move     # moves to database/simlingo/rejected
  python -m dataset_generation.clean --data database/simlingo --restore  # moves everything back
"""


@dataclass(frozen=True)
class Rejection:
    """A run to take out, and why."""

    run: RunFolder
    reason: str


def find_rejections(root: Path) -> tuple[list[Rejection], int]:
    """Runs of a dataset that should not be trained on, and the number of all runs.

    Raises:
        FileNotFoundError: If the root has no ``data`` folder.
    """
    verdicts = [judge(run) for run in require_runs(root)]
    worse = superseded(verdicts)
    rejections = [Rejection(v.run, v.reason) for v in verdicts if v.reason is not None]
    rejections += [
        Rejection(v.run, f"superseded by {worse[v.run].name}") for v in verdicts if v.reason is None and v.run in worse
    ]
    return rejections, len(verdicts)


def folders_of(run: RunFolder) -> list[Path]:
    """The twins that hold a run's labels, as far as they exist, then the run folder: while that is in place, a removal that was
    interrupted is found and finished by the next one."""
    twins = [run.root / kind.tree / run.relative for kind in LABEL_KINDS.values()]
    return [path for path in (*twins, run.path) if path.is_dir()]


def move_aside(run: RunFolder) -> None:
    """Move a run and its labels below ``<root>/rejected``, keeping the paths.

    Raises:
        FileExistsError: Something of the same name lies there; nothing was moved.
    """
    targets = {folder: run.root / REJECTED / folder.relative_to(run.root) for folder in folders_of(run)}
    for target in targets.values():
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists already; restore it (--restore) or move it elsewhere first")
    for folder, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)


def delete(run: RunFolder) -> None:
    """Delete a run and its labels."""
    for folder in folders_of(run):
        shutil.rmtree(folder)


def restore(root: Path) -> tuple[int, list[Path]]:
    """Move everything below ``<root>/rejected`` back: runs with their labels, and whatever else lies there.

    A run of which a part would meet something in its old place stays aside whole.

    Returns:
        Number of runs moved back, and what stays aside because its place is taken.
    """
    aside = root / REJECTED
    runs = find_runs(aside) if (aside / "data").is_dir() else []
    held = [run for run in runs if any(os.path.lexists(root / path.relative_to(aside)) for path in folders_of(run))]
    stay = _give_back(aside, root, {path for run in held for path in folders_of(run)}) if aside.is_dir() else []
    return len(runs) - len(held), stay


def _give_back(source: Path, target: Path, held: Set[Path]) -> list[Path]:
    """Move `source` to `target`: entry by entry where a folder is there already or something held lies below. What stays."""
    if source in held:
        return [source]
    if not os.path.lexists(target):
        if not any(path.is_relative_to(source) for path in held):
            shutil.move(source, target)
            return []
        target.mkdir()
    if not (source.is_dir() and target.is_dir()):
        return [source]
    stay = [path for entry in sorted(source.iterdir()) for path in _give_back(entry, target / entry.name, held)]
    if not stay and not source.is_symlink():
        source.rmdir()
    return stay


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.clean",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--move", action="store_true", help=f"move rejected runs to <data>/{REJECTED}")
    action.add_argument("--delete", action="store_true", help="delete rejected runs")
    action.add_argument("--restore", action="store_true", help="move runs back that were moved aside")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 1 something stays aside because its place is taken, 2 no dataset, or one that resists."""
    options = make_parser().parse_args(arguments)
    try:
        if options.restore:
            count, stay = restore(options.data)
            print(f"moved {count} runs back")
            for path in stay:
                print(
                    f"stays: {path}; its place in the dataset is taken, move one of the two elsewhere", file=sys.stderr
                )
            return 1 if stay else 0
        rejections, total = find_rejections(options.data)
        for rejection in rejections:
            print(f"{rejection.run.key}: {rejection.reason}")
            if options.move:
                move_aside(rejection.run)
            elif options.delete:
                delete(rejection.run)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    kinds = Counter(
        r.reason.split(":")[0] if not r.reason.startswith("superseded") else "superseded" for r in rejections
    )
    done = "moved aside" if options.move else "deleted" if options.delete else "to be removed (nothing changed)"
    print(f"{len(rejections)} of {total} runs {done}" + "".join(f"; {n} x {kind}" for kind, n in kinds.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
