"""Command line: ``python -m dataset_generation.dreaming --data database/simlingo``."""

from __future__ import annotations

import sys
from pathlib import Path

from dataset_generation.dreaming.instructions import CANONICAL, CANONICAL_TEMPLATES, Templates
from dataset_generation.dreaming.labeller import DreamLabeller
from dataset_generation.language_labels.runner import argument_parser, options_from, run_labellers
from driving.files import read_json


def read_templates(path: Path | None) -> Templates:
    """Wordings of the instructions from a JSON file (key to list, canonical sentence first); without one, those alone.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a key is missing.
    """
    if path is None:
        return CANONICAL_TEMPLATES
    templates = read_json(path)
    missing = sorted(CANONICAL.keys() - templates.keys())
    if missing:
        raise ValueError(f"{path}: expected a list of sentences for each of {sorted(CANONICAL)}; missing: {missing}")
    return {key: tuple(sentences) for key, sentences in templates.items()}


def main() -> int:
    """Dream alternative futures of a dataset's frames."""
    parser = argument_parser("dataset_generation.dreaming", "Dream alternative futures of every recorded frame.")
    parser.add_argument("--templates", type=Path, help="JSON file of wordings, for the parity profile")
    arguments = parser.parse_args()
    try:
        templates = read_templates(arguments.templates)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run_labellers([DreamLabeller(options_from(arguments).profile, templates)], arguments)


if __name__ == "__main__":
    sys.exit(main())
