"""A small grammar for paraphrases.

Two forms, both deterministic:

* a *pattern* lists alternatives in brackets, ``[Slow|Ease] down[ now|].``, nested if need be;
* a *rewriting* replaces known phrases of a canonical sentence by alternatives; the name of the ego vehicle is chosen once
  per sentence, so that one sentence never has two names for it.

Placeholders such as ``<OBJECT>`` are ordinary text for both; `check` proves that none is lost.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import islice, product
from math import prod

MAX_VARIANTS = 24
"""Variants kept per template, the canonical sentence included."""

EGO_NAMES = ("the ego vehicle", "the ego car", "our vehicle", "our car")
"""Names of the ego vehicle in answers, the canonical one first."""


def expand(pattern: str) -> list[str]:
    """All sentences of a pattern, in the order of its alternatives, without repetitions.

    Raises:
        ValueError: If brackets do not match.
    """
    sentences, rest = _expand_sequence(pattern, 0)
    if rest != len(pattern):
        raise ValueError(f"pattern {pattern!r} has an unexpected {pattern[rest]!r} at {rest}")
    return list(dict.fromkeys(sentences))


def _expand_sequence(pattern: str, start: int) -> tuple[list[str], int]:
    """Sentences of the text from ``start`` to the next ``|``, ``]`` or the end, and where that is."""
    sentences, position = [""], start
    while position < len(pattern) and pattern[position] not in "|]":
        if pattern[position] == "[":
            options, position = _expand_choice(pattern, position)
        else:
            match = re.compile(r"[^\[\]|]+").match(pattern, position)
            assert match is not None
            options, position = [match[0]], match.end()
        sentences = [head + tail for head in sentences for tail in options]
    return sentences, position


def _expand_choice(pattern: str, start: int) -> tuple[list[str], int]:
    """Sentences of the bracket that opens at ``start``, and the position behind it."""
    options: list[str] = []
    position = start
    while True:
        found, position = _expand_sequence(pattern, position + 1)
        options += found
        if position >= len(pattern):
            raise ValueError(f"pattern {pattern!r} has no ']' for the '[' at {start}")
        if pattern[position] == "]":
            return options, position + 1


def select(sentences: Iterable[str], canonical: str, limit: int = MAX_VARIANTS) -> list[str]:
    """At most ``limit`` different sentences, the canonical one first, the others drawn by a seed from its text."""
    others = [sentence for sentence in dict.fromkeys(sentences) if sentence != canonical]
    rng = random.Random(sha256(canonical.encode()).digest())
    if len(others) > limit - 1:
        others = rng.sample(others, limit - 1)
    return [canonical, *others]


class Rewriting:
    """Replaces phrases of a sentence by alternatives.

    Args:
        rules: Phrase to alternatives; the phrase itself is always one of them. Longer phrases win, and matches do not
            overlap. Phrases match whole words only.
        names: Names of the ego vehicle to choose from; the first is the one canonical sentences use.
    """

    def __init__(self, rules: Mapping[str, Sequence[str]], names: Sequence[str] = EGO_NAMES) -> None:
        self._rules = {phrase: tuple(dict.fromkeys((phrase, *options))) for phrase, options in rules.items()}
        self._names = names
        ordered = sorted(self._rules, key=len, reverse=True)
        self._pattern = re.compile(r"(?<![\w<])(?:" + "|".join(map(re.escape, ordered)) + r")(?![\w>])")

    def variants(self, canonical: str, limit: int = MAX_VARIANTS) -> list[str]:
        """Paraphrases of one sentence, the sentence itself first."""
        pieces, position = [], 0
        for match in self._pattern.finditer(canonical):
            pieces += [(canonical[position : match.start()],), self._rules[match[0]]]
            position = match.end()
        pieces.append((canonical[position:],))
        names = self._names if _mentions(canonical, self._names[0]) else self._names[:1]
        combined = self._combinations(pieces, canonical, 40 * limit)
        return select((_renamed(text, self._names[0], name) for name in names for text in combined), canonical, limit)

    def _combinations(self, pieces: Sequence[Sequence[str]], canonical: str, most: int) -> list[str]:
        """All combinations, or ``most`` drawn ones when there are more."""
        if prod(map(len, pieces)) <= most:
            return ["".join(choice) for choice in islice(product(*pieces), most)]
        rng = random.Random(sha256(canonical.encode()).digest())
        return ["".join(rng.choice(options) for options in pieces) for _ in range(most)]


def _mentions(sentence: str, name: str) -> bool:
    return name in sentence.lower()


def _renamed(sentence: str, old: str, new: str) -> str:
    return sentence.replace(old, new).replace(_capital(old), _capital(new))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
