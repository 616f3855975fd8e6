"""Command-line arguments that several programs take, and kinds of them."""

from __future__ import annotations

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """A whole number of at least 1, as a type of `argparse`.

    Raises:
        argparse.ArgumentTypeError: For any other text.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def add_dataset_root(parser: argparse.ArgumentParser) -> None:
    """Let a program be told by ``--data`` which dataset it works on."""
    parser.add_argument(
        "--data", type=Path, default=Path("database/simlingo"), help="dataset root (default: %(default)s)"
    )
