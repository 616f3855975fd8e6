"""Text to token ids and back.

The tokenizer is a byte-level BPE of the Qwen2 kind with the backbone's special tokens; eight waypoint placeholders are
registered behind them, so that their ids lie beyond the embedding table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from driving.files import write_text
from simlingo_training.data.prompts import (
    ASSISTANT_HEADER,
    END_OF_TURN,
    IMAGE_CONTEXT,
    TARGET_POINT,
    USER_HEADER,
    chat_answer,
)

PACKAGED_TOKENIZER = Path(__file__).parent / "tokenizer"

PLACEHOLDERS = (
    "<WAYPOINTS>",
    "<WAYPOINTS_DIFF>",
    "<ORG_WAYPOINTS_DIFF>",
    "<ORG_WAYPOINTS>",
    "<WAYPOINT_LAST>",
    "<ROUTE>",
    "<ROUTE_DIFF>",
    TARGET_POINT,
)
"""Registered in this order, because the ids of a released checkpoint depend on it; only the last one is used."""

PADDING = "<|endoftext|>"


@dataclass(frozen=True)
class ImageTokens:
    """How a family of tokenizers marks an image: before it, one for each visual token, behind it."""

    opening: str
    context: str
    closing: str


IMAGE_TOKENS = (
    ImageTokens("<img>", IMAGE_CONTEXT, "</img>"),
    ImageTokens("<fake_token_around_image>", "<image>", "<fake_token_around_image>"),
)
"""InternVL's and SmolVLM's; a tokenizer has one of them."""


@dataclass(frozen=True)
class ChatRow:
    """One tokenised conversation.

    Attributes:
        ids: Prompt, assistant header, answer, end token (without answer: up to the assistant header).
        prompt_length: Tokens up to and including the assistant header; what generation starts from.
        first_supervised: Index of the first token that is a target: the start of the assistant header.
    """

    ids: tuple[int, ...]
    prompt_length: int
    first_supervised: int


class ChatTokenizer:
    """Turns prompts and answers into rows of ids, and generated ids into text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Register the placeholders and look up the ids that the model needs.

        Raises:
            ValueError: If a token of the chat format is not in the vocabulary; the message names it.
        """
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in PLACEHOLDERS])
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        known = [tokens for tokens in IMAGE_TOKENS if tokenizer.token_to_id(tokens.context) is not None]
        self._image = known[0] if known else IMAGE_TOKENS[0]
        self.image_token = self._id(self._image.context)
        self.point_token = self._id(TARGET_POINT)
        self.end_token = self._id(END_OF_TURN)
        self.padding_token = self._id(PADDING)
        self._opening = self.encode(USER_HEADER + self._image.opening)
        self._header_length = len(self.encode(ASSISTANT_HEADER))

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> ChatTokenizer:
        """Load ``packaged``, a folder with ``tokenizer.json``, or a tokenizer from the Hugging Face hub.

        Raises:
            FileNotFoundError: If a local folder has no ``tokenizer.json``.
        """
        folder = PACKAGED_TOKENIZER if str(source) == "packaged" else Path(source)
        file = folder / "tokenizer.json"
        if file.is_file():
            return cls(Tokenizer.from_file(str(file)))
        if folder.exists() or str(source).count("/") != 1:
            raise FileNotFoundError(f"no {file}: expected 'packaged', a folder with tokenizer.json, or a hub name")
        from transformers import AutoTokenizer

        return cls(AutoTokenizer.from_pretrained(str(source), use_fast=True).backend_tokenizer)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json`` into a folder."""
        write_text(Path(folder) / "tokenizer.json", self._tokenizer.to_str())

    @property
    def size(self) -> int:
        """Tokens including the eight placeholders; the embedding table needs eight rows fewer."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token!r}; expected the tokenizer of an InternVL or SmolVLM")
        return found

    def encode(self, text: str) -> list[int]:
        """Ids of a text; special tokens in it become their ids, none is added."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def row(self, prompt: str, num_image_tokens: int, answer: str | None = None) -> ChatRow:
        """Tokenise one conversation.

        Args:
            prompt: User text without the chat format.
            num_image_tokens: Visual tokens of the image in front of it.
            answer: What the model should say; None for inference.

        Raises:
            ValueError: If the prompt holds the target-point placeholder other than zero or two adjacent times.
        """
        closing = self.encode(f"{self._image.closing}\n{prompt}{END_OF_TURN}{ASSISTANT_HEADER}")
        places = [place for place, token in enumerate(closing) if token == self.point_token]
        if places and (len(places) != 2 or places[1] != places[0] + 1):
            raise ValueError(f"expected no {TARGET_POINT} or two adjacent ones, got {len(places)} in prompt {prompt!r}")
        ids = [*self._opening, *[self.image_token] * num_image_tokens, *closing]
        length = len(ids)
        if answer is not None:
            ids += self.encode(chat_answer(answer))
        return ChatRow(tuple(ids), length, length - self._header_length)
