"""Command line: ``python -m dataset_generation.language_labels.vqa --data database/simlingo``."""

from __future__ import annotations

import sys

from dataset_generation.language_labels.runner import argument_parser, options_from, run_labellers
from dataset_generation.language_labels.vqa.labeller import VqaLabeller


def main() -> int:
    """Label a dataset with questions and answers."""
    parser = argument_parser(
        "dataset_generation.language_labels.vqa", "Ask and answer questions about every recorded frame."
    )
    arguments = parser.parse_args()
    return run_labellers([VqaLabeller(options_from(arguments).profile)], arguments)


if __name__ == "__main__":
    sys.exit(main())
