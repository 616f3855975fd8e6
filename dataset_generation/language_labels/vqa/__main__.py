"""Command line: ``python -m dataset_generation.language_labels.vqa --data database/simlingo``."""

from __future__ import annotations

import sys

from dataset_generation.language_labels.command import label_command


def main() -> int:
    """Label the dataset the command line names."""
    program, description = (
        "dataset_generation.language_labels.vqa",
        "Ask and answer questions about every recorded frame.",
    )
    return label_command(program, description, ["vqa"])


if __name__ == "__main__":
    sys.exit(main())
