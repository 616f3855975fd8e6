"""Command line: ``python -m dataset_generation.language_labels.commentary --data database/simlingo``."""

from __future__ import annotations

import sys

from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.runner import argument_parser, options_from, run_labellers


def main() -> int:
    """Label a dataset with commentary."""
    parser = argument_parser(
        "dataset_generation.language_labels.commentary", "Say what the ego vehicle does in every frame, and why."
    )
    arguments = parser.parse_args()
    return run_labellers([CommentaryLabeller(options_from(arguments).profile)], arguments)


if __name__ == "__main__":
    sys.exit(main())
