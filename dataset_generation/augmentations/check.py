"""Proof that a paraphrase can stand for its canonical sentence: same placeholders, whole sentence, nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MIN_VARIANTS = 10
"""Paraphrases a template must have, itself included."""

PLACEHOLDER = re.compile(r"<[A-Z_]+>|\[x\]")

_DOUBLED_WORD = re.compile(r"\b(\w+) \1\b", re.IGNORECASE)
_STRAY = re.compile(r"\s{2,}|\s[.,?!]|[<\[](?![A-Z_x]+[>\]])|^\s|\s$")


@dataclass(frozen=True)
class Rules:
    """What sentences of one kind look like.

    Attributes:
        ends: Characters a sentence may end in; empty for pieces of sentences.
        capital: Whether it starts with a capital letter or a placeholder.
        doubled: Words that may stand twice in a row.
        counts: Whether a placeholder must occur as often as in the template; else at least once and no other.
    """

    ends: str = ".!?"
    capital: bool = True
    doubled: frozenset[str] = frozenset()
    counts: bool = False


def placeholders(sentence: str) -> Counter[str]:
    """Placeholders of a sentence and how often each occurs."""
    return Counter(PLACEHOLDER.findall(sentence))


def problems_of(template: str, variant: str, rules: Rules) -> list[str]:
    """What is wrong with one paraphrase; empty when nothing is."""
    found = []
    wanted, has = placeholders(template), placeholders(variant)
    if (wanted != has) if rules.counts else (wanted.keys() != has.keys()):
        found.append(f"placeholders {dict(has)} instead of {dict(wanted)}")
    if rules.ends and not variant.endswith(tuple(rules.ends)):
        found.append(f"does not end in one of {rules.ends}")
    if rules.capital and not (variant[:1].isupper() or variant.startswith("<")):
        found.append("does not start with a capital letter")
    if not variant.strip():
        found.append("is empty")
    stray = _STRAY.search(variant if rules.capital else variant.strip())
    if stray:
        found.append(f"has a stray {stray[0]!r}")
    for match in _DOUBLED_WORD.finditer(variant):
        if match[1].lower() not in rules.doubled:
            found.append(f"says {match[1]!r} twice")
    return found


def check_table(
    name: str,
    table: Mapping[str, Sequence[str]],
    rules: Rules,
    keyed_by_name: bool = False,
    minimum: int = MIN_VARIANTS,
) -> list[str]:
    """Every problem of a table of paraphrases, one line each; empty when the table can be used.

    Args:
        name: Put before each line.
        table: Template, or a name for it, to paraphrases.
        rules: See `Rules`.
        keyed_by_name: Whether the template is the first paraphrase and not the key.
        minimum: Paraphrases each template must have.
    """
    lines = []
    for key, variants in table.items():
        template = variants[0] if keyed_by_name and variants else key
        if len(variants) < minimum:
            lines.append(f"{name}: {key!r} has {len(variants)} paraphrases, at least {minimum} are needed")
        if len(set(variants)) < len(variants):
            lines.append(f"{name}: {key!r} has the same paraphrase twice")
        for variant in variants:
            lines += [f"{name}: {key!r}: {variant!r} {problem}" for problem in problems_of(template, variant, rules)]
    return lines
