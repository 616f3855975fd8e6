"""Kinds of command-line arguments that several programs take."""

from __future__ import annotations

import argparse


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
