"""Command line: ``python -m dataset_generation.language_labels.commentary --data database/simlingo``."""

from __future__ import annotations

import sys

from dataset_generation.language_labels.command import label_command


def main() -> int:
    """Label the dataset the command line names."""
    program, description = (
        "dataset_generation.language_labels.commentary",
        "Say what the ego vehicle does in every frame, and why.",
    )
    return label_command(program, description, ["commentary"])


if __name__ == "__main__":
    sys.exit(main())
