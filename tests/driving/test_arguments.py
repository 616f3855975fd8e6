"""What programs take from the command line."""

from __future__ import annotations

import argparse

import pytest

from driving.arguments import positive


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("42", 42)])
def test_numbers_of_things_start_at_one(text: str, number: int) -> None:
    assert positive(text) == number


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "many", ""])
def test_other_texts_are_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1, got"):
        positive(text)
