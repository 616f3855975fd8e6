"""Command line: ``python -m dataset_generation.language_labels --data database/simlingo`` makes questions and commentary in
one pass, reading every file once."""

from __future__ import annotations

import sys

from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.runner import argument_parser, options_from, run_labellers
from dataset_generation.language_labels.vqa.labeller import VqaLabeller


def main() -> int:
    """Label a dataset with questions, answers and commentary."""
    parser = argument_parser(
        "dataset_generation.language_labels", "Make questions, answers and commentary for every recorded frame."
    )
    arguments = parser.parse_args()
    profile = options_from(arguments).profile
    return run_labellers([VqaLabeller(profile), CommentaryLabeller(profile)], arguments)


if __name__ == "__main__":
    sys.exit(main())
