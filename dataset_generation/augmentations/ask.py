"""More paraphrases from a language model: ``python -m dataset_generation.augmentations.ask --base-url URL --model NAME``.

Every reply is cached, every sentence is checked before it is kept, and the file is written after each batch, so an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from dataset_generation.augmentations.check import Rules, placeholders, problems_of
from dataset_generation.augmentations.endpoint import CachedEndpoint, Endpoint, EndpointError
from dataset_generation.augmentations.tables import DEFAULT_FOLDER, PART_RULES, TABLES, PhraseTable
from driving.arguments import positive
from driving.files import read_json, write_json

BATCH = 16
"""Templates asked for before the file is written again."""

_BULLET = re.compile(r"^\s*(?:\d+\s*[.):]|[-*•])\s*")


class Completes(Protocol):
    """Something that answers messages with a text."""

    def complete(self, messages: Sequence[dict[str, str]]) -> str:
        """The reply."""


@dataclass
class Harvest:
    """What came of asking.

    Attributes:
        accepted: Sentences kept.
        rejected: Sentence and what is wrong with it.
        failed: Template and why there was no reply.
    """

    accepted: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def messages_for(template: str, rules: Rules, number: int) -> list[dict[str, str]]:
    """What to ask for one template."""
    names = ", ".join(sorted(placeholders(template)))
    keep = f" Copy each of these placeholders unchanged, as often as it occurs: {names}." if names else ""
    ends = f" End each with one of {' '.join(rules.ends)}" if rules.ends else " Do not end them with a full stop."
    kind = "sentence" if rules.capital and rules.ends else "piece of a sentence"
    return [
        {
            "role": "system",
            "content": "You rephrase sentences a driving assistant says. Meaning, sides and numbers stay the same.",
        },
        {
            "role": "user",
            "content": f"Write {number} different ways to say this {kind}, one a line, without numbering or quotes.{keep}{ends}"
            f"\n\n{template}",
        },
    ]


def sentences_in(reply: str) -> list[str]:
    """Lines of a reply, without bullets, numbers and quotes."""
    lines = (_BULLET.sub("", line).strip() for line in reply.splitlines())
    return [line.strip("\"'“”") for line in lines if line]


def _entries(table: PhraseTable, content: dict[str, Any]) -> Iterator[tuple[list[str], str, Rules]]:
    """(list of variants, canonical template, rules) of every entry of a table."""
    if table.name == "commentary":
        for part, rules in PART_RULES.items():
            for key, variants in content[part].items():
                if key.strip(". "):
                    yield variants, key, rules
    else:
        for key, variants in content.items():
            yield variants, variants[0] if table.keyed_by_name else key, table.rules


def extend_table(
    table: PhraseTable, path: Path, model: Completes, wanted: int, jobs: int = 1, limit: int | None = None
) -> Harvest:
    """Ask for paraphrases until each entry of a file has ``wanted``, and write the file after each batch.

    Args:
        table: What the file holds.
        path: The file; it must exist.
        model: Answers.
        wanted: Paraphrases each entry shall have.
        jobs: Requests at the same time.
        limit: Ask for this many entries only.
    """
    content = read_json(path)
    harvest = Harvest()
    short = (entry for entry in _entries(table, content) if len(entry[0]) < wanted)
    todo = list(islice(short, limit))
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(todo), desc=table.name, unit="template") as progress:
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            replies = pool.map(lambda entry: _ask(model, entry, wanted), batch)
            for (variants, template, rules), reply in zip(batch, replies):
                if isinstance(reply, EndpointError):
                    harvest.failed.append((template, str(reply)))
                else:
                    _accept(variants, template, rules, reply, wanted, harvest)
                progress.update()
            write_json(path, content, indent=1)
    return harvest


def _ask(model: Completes, entry: tuple[list[str], str, Rules], wanted: int) -> str | EndpointError:
    variants, template, rules = entry
    try:
        return model.complete(messages_for(template.strip(), rules, wanted - len(variants) + 4))
    except EndpointError as error:
        return error


def _accept(variants: list[str], template: str, rules: Rules, reply: str, wanted: int, harvest: Harvest) -> None:
    """Add the usable sentences of a reply to ``variants``."""
    lead = template[: len(template) - len(template.lstrip())]
    for sentence in sentences_in(reply):
        variant = lead + sentence
        problems = problems_of(template, variant, rules)
        if len(variants) >= wanted or variant in variants:
            continue
        if problems:
            harvest.rejected.append((variant, problems[0]))
        else:
            variants.append(variant)
            harvest.accepted += 1


def main() -> int:
    """Extend the paraphrases of a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.augmentations.ask",
        description="Ask an OpenAI-compatible server for more paraphrases; each is checked before it is kept.",
        epilog="example: python -m dataset_generation.augmentations.ask --base-url http://localhost:8000/v1 --model qwen "
        "--tables answers",
    )
    parser.add_argument(
        "--base-url", required=True, help="up to and including the version, e.g. http://localhost:8000/v1"
    )
    parser.add_argument("--model", required=True, help="name the server knows")
    parser.add_argument(
        "--api-key-variable", default="OPENAI_API_KEY", help="environment variable with the key (%(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="files to extend (default: %(default)s)")
    parser.add_argument("--tables", nargs="+", choices=sorted(TABLES), default=["questions", "answers"])
    parser.add_argument("--wanted", type=positive, default=40, help="paraphrases per template (default: %(default)s)")
    parser.add_argument("--limit", type=positive, help="ask for this many templates of each table only")
    parser.add_argument("--jobs", type=positive, default=4, help="requests at the same time (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.6, help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=Path("outputs/paraphrase_cache"), help="default: %(default)s")
    arguments = parser.parse_args()
    key = os.environ.get(arguments.api_key_variable, "")
    endpoint = Endpoint(arguments.base_url, arguments.model, key, arguments.temperature)
    model = CachedEndpoint(endpoint, arguments.cache)
    status = 0
    for name in arguments.tables:
        table = TABLES[name]
        path = arguments.folder / table.file
        if not path.is_file():
            print(
                f"error: {path} does not exist; make it with: python -m dataset_generation.augmentations",
                file=sys.stderr,
            )
            return 2
        harvest = extend_table(table, path, model, arguments.wanted, arguments.jobs, arguments.limit)
        print(
            f"{name}: {harvest.accepted} sentences added, {len(harvest.rejected)} refused, {len(harvest.failed)} without reply"
        )
        for sentence, problem in harvest.rejected[:5]:
            print(f"  refused: {sentence!r} {problem}")
        for template, reason in harvest.failed[:3]:
            print(f"  no reply: {template!r}: {reason}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
