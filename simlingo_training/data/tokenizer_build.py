"""Train the small tokenizer of the tiny presets on the sentences of this project.

    python -m simlingo_training.data.tokenizer_build --data database/simlingo --size 2048

A byte-level BPE with Qwen2's splitting rule (every digit is its own token) and the special tokens of InternVL's tokenizer
directly behind the learned vocabulary.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tqdm import tqdm

from driving.commands import COMMAND_PHRASES
from driving.files import read_json, write_text
from driving.label_records import read_commentary, read_vqa
from driving.records import COMMENTARY, DREAMER, VQA, LabelKind, RunFolder, find_runs
from simlingo_training.data import prompts
from simlingo_training.data.chat import PACKAGED_TOKENIZER, PADDING
from simlingo_training.data.tasks import parse_dreams

SPECIAL_TOKENS = (
    PADDING,
    "<|im_start|>",
    prompts.END_OF_TURN,
    "<img>",
    "</img>",
    prompts.IMAGE_CONTEXT,
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
)
"""Order of InternVL's tokenizer; ids follow the learned vocabulary."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Splitting rule of Qwen2's tokenizer."""


def prompt_sentences() -> Iterator[str]:
    """The fixed sentences of prompts and answers, with speeds and distances of all digits."""
    for number in range(400):
        speed = number / 10
        yield prompts.driving_prompt(speed, prompts.points_sentence())
        yield prompts.commentary_prompt(speed, prompts.points_sentence())
    for command in COMMAND_PHRASES:
        for following in COMMAND_PHRASES:
            for distance in range(0, 90, 7):
                yield prompts.command_sentence(command, following, distance)
    for answer in (prompts.WAYPOINTS_ANSWER, prompts.FOLLOWING_ANSWER, prompts.SAFETY, prompts.INSTRUCTION_FOLLOWING):
        yield from [prompts.ASSISTANT_HEADER + answer] * 100
    yield from [prompts.USER_HEADER] * 100


def label_sentences(root: Path) -> Iterator[str]:
    """All sentences of the label files of a data set."""
    for run in tqdm(find_runs(root), desc="labels", unit="run"):
        for path in _label_files(run, COMMENTARY):
            yield f"{read_commentary(path).commentary} {prompts.WAYPOINTS_ANSWER}"
        for path in _label_files(run, VQA):
            for pair in read_vqa(path).pairs:
                yield f"Q: {pair.question}"
                yield f"A: {pair.answer}"
        for path in _label_files(run, DREAMER):
            for dream in parse_dreams(read_json(path)):
                yield from dream.instructions
                yield dream.refusal


def _label_files(run: RunFolder, kind: LabelKind) -> list[Path]:
    return sorted(run.label_folder(kind).glob("*.json.gz"))


def train_tokenizer(sentences: Iterable[str], size: int) -> Tokenizer:
    """Learn a vocabulary of ``size`` ids, special tokens included.

    Raises:
        ValueError: If ``size`` leaves no room for the 256 bytes and the special tokens.
    """
    learned = size - len(SPECIAL_TOKENS)
    if learned < 257:
        raise ValueError(f"a vocabulary needs more than {256 + len(SPECIAL_TOKENS)} ids, got {size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=learned, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    short = learned - tokenizer.get_vocab_size()
    # A small corpus may not give enough merges; fill up, so that ids of the special tokens do not depend on it.
    tokenizer.add_tokens([f"<unused{number}>" for number in range(short)])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS])
    return tokenizer


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simlingo_training.data.tokenizer_build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="data roots whose labels are read")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="text files, one sentence per line")
    parser.add_argument("--size", type=int, default=2048, help="vocabulary size, special tokens included")
    parser.add_argument("--out", type=Path, default=PACKAGED_TOKENIZER, help="folder for tokenizer.json")
    arguments = parser.parse_args()
    sentences = list(prompt_sentences())
    for root in arguments.data:
        sentences.extend(label_sentences(root))
    for file in arguments.text:
        sentences.extend(file.read_text().splitlines())
    tokenizer = train_tokenizer(sentences, arguments.size)
    write_text(arguments.out / "tokenizer.json", tokenizer.to_str())
    lengths = [len(tokenizer.encode(text).ids) for text in sentences[:: max(1, len(sentences) // 2000)]]
    print(
        f"{arguments.out}: {arguments.size} ids from {len(sentences)} sentences, {sum(lengths) / len(lengths):.1f} tokens each"
    )


if __name__ == "__main__":
    main()
