"""Indented JSON text, fast.

The standard library's compiled encoder writes compact text only; with an indent it falls back to interpreted code. Here the
compact text is written by the compiled encoder and the line breaks are put in afterwards, for the whole text at once.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEWLINE, _SPACE, _QUOTE = ord("\n"), ord(" "), ord('"')
_STEP = np.zeros(256, dtype=np.int8)
_STEP[[ord(sign) for sign in "[{"]] = 1
_STEP[[ord(sign) for sign in "]}"]] = -1
_IS_BREAK = _STEP != 0
_IS_BREAK[ord(",")] = True


def indented_json(value: Any, indent: int = 4) -> bytes:
    """The bytes of ``json.dumps(value, indent=indent, allow_nan=False)``, in a third of the time.

    Raises:
        ValueError: If a number is not finite, or the value contains itself.
        TypeError: If something in it is no JSON.
    """
    text = json.dumps(value, separators=(",", ": "), allow_nan=False)
    if "\\" in text:  # an escaped quote would look like the end of its string
        return json.dumps(value, indent=indent, allow_nan=False).encode("ascii")
    return _broken(np.frombuffer(text.encode("ascii"), dtype=np.uint8), indent).tobytes()


def _broken(text: NDArray[np.uint8], indent: int) -> NDArray[np.uint8]:
    """Compact JSON text with a line for every entry; empty lists and objects stay on one line."""
    quotes = np.flatnonzero(text == _QUOTE)
    signs = np.flatnonzero(_IS_BREAK[text])
    signs = signs[np.searchsorted(quotes, signs) % 2 == 0]  # an odd number of quotes before it: inside a string
    steps = _STEP[text[signs]]
    depth = np.cumsum(steps, dtype=np.int64)
    opens_empty = (steps[:-1] > 0) & (steps[1:] < 0) & (signs[1:] == signs[:-1] + 1)
    breaks = np.ones(len(signs), dtype=bool)
    breaks[:-1] &= ~opens_empty
    breaks[1:] &= ~opens_empty
    # A line ends after a comma and an opening sign, and before a closing one.
    cuts = (signs + (steps >= 0))[breaks]
    gaps = 1 + indent * depth[breaks]
    stretches = np.diff(cuts, prepend=0, append=len(text))
    shifts = np.concatenate([[0], np.cumsum(gaps)])
    broken = np.full(len(text) + int(shifts[-1]), _SPACE, dtype=np.uint8)
    broken[np.arange(len(text)) + np.repeat(shifts, stretches)] = text
    broken[cuts + shifts[:-1]] = _NEWLINE
    return broken
