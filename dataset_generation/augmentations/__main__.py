"""Command line: ``python -m dataset_generation.augmentations`` writes all paraphrases, ``--check`` proves a folder usable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dataset_generation.augmentations.tables import DEFAULT_FOLDER, TABLES, check_folder, write_tables


def main() -> int:
    """Make or check the paraphrases."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.augmentations",
        description="Write the paraphrases of every label sentence, or check those of a folder.",
        epilog="example: python -m dataset_generation.augmentations --check data/augmented_templates",
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help="folder to write to (default: %(default)s)")
    parser.add_argument("--tables", nargs="+", choices=sorted(TABLES), default=list(TABLES), help="default: all")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="check a folder instead of writing")
    arguments = parser.parse_args()
    if arguments.check is None:
        for name, count in write_tables(arguments.out, arguments.tables).items():
            print(f"{name:13s} {count:6d} sentences  {arguments.out / TABLES[name].file}")
        return 0
    problems = check_folder(arguments.check)
    for line in problems:
        print(line)
    print(
        f"{arguments.check}: {len(problems)} problems"
        if problems
        else f"{arguments.check}: every paraphrase can be used"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
