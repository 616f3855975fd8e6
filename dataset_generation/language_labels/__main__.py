"""Command line: ``python -m dataset_generation.language_labels --data database/simlingo`` makes questions and commentary in
one pass, reading every file once."""

from __future__ import annotations

import sys

from dataset_generation.language_labels.command import label_command


def main() -> int:
    """Label the dataset the command line names."""
    program, description = (
        "dataset_generation.language_labels",
        "Make questions, answers and commentary for every recorded frame.",
    )
    return label_command(program, description, ["vqa", "commentary"])


if __name__ == "__main__":
    sys.exit(main())
