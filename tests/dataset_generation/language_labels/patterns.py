"""Which parts of a paraphrase pattern a set of sentences uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Part = str | list["Sequence_"]
Sequence_ = list[Part]


def parse(pattern: str) -> Sequence_:
    """A pattern as text and choices; a choice is the list of its alternatives."""
    sequence, end = _sequence(pattern, 0)
    assert end == len(pattern), pattern
    return sequence


def _sequence(pattern: str, at: int) -> tuple[Sequence_, int]:
    parts: Sequence_ = []
    while at < len(pattern) and pattern[at] not in "|]":
        if pattern[at] == "[":
            choice: list[Sequence_] = []
            while pattern[at] != "]":
                alternative, at = _sequence(pattern, at + 1)
                choice.append(alternative)
            parts.append(choice)
            at += 1
        else:
            text = re.compile(r"[^\[\]|]+").match(pattern, at)
            assert text is not None
            parts.append(text[0])
            at = text.end()
    return parts, at


def expression(sequence: Sequence_) -> str:
    """Regular expression of every sentence of a pattern."""
    return "".join(
        re.escape(part) if isinstance(part, str) else "(?:" + "|".join(map(expression, part)) + ")" for part in sequence
    )


def alternatives(sequence: Sequence_) -> Iterator[tuple[str, str]]:
    """Every alternative of every choice: its name, and the expression of the sentences that use it."""
    for index, part in enumerate(sequence):
        if isinstance(part, str):
            continue
        before, after = expression(sequence[:index]), expression(sequence[index + 1 :])
        whole = expression([part])
        for alternative in part:
            yield f"{expression(alternative)!r} of {whole}", before + expression(alternative) + after
            yield from ((name, before + inner + after) for name, inner in alternatives(alternative))


def unused(patterns: Iterable[str], sentences: Iterable[str]) -> list[str]:
    """Patterns that no sentence follows, and alternatives that none uses in any pattern that offers the same choice."""
    said = set(sentences)
    missing = [p for p in patterns if not any(re.fullmatch(expression(parse(p)), text) for text in said)]
    used: dict[str, bool] = {}
    for pattern in patterns:
        for name, form in alternatives(parse(pattern)):
            used[name] = used.get(name, False) or any(re.fullmatch(form, text) for text in said)
    return missing + [name for name, is_used in used.items() if not is_used]
