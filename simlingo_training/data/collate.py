"""Samples to batches. Everything expensive was done per sample, in the loader's processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simlingo_training.data.chat import ChatRow
from simlingo_training.data.dataset import EncodedSample
from simlingo_training.data.objects import ObjectMaps
from simlingo_training.models.simlingo import ModelInput


@dataclass
class ObjectBatch:
    """Maps of what is to be seen where, of B samples with T tiles of G by G cells, see `ObjectMaps`.

    Attributes:
        kinds: (B, T, G, G) uint8.
        nearness: (B, T, G, G) float32.
    """

    kinds: torch.Tensor
    nearness: torch.Tensor


@dataclass
class Batch:
    """A batch of B samples.

    Attributes:
        inputs: What the network sees.
        path: (B, 20, 2) label, metres.
        waypoints: (B, 10, 2) label, metres.
        prompt_lengths: (B,) tokens up to the assistant header.
        tasks, buckets, keys, prompts, answers: Text, one per sample.
        padding_share: Part of the token places that hold no token.
        objects: What is to be seen where, when training asks for it.
    """

    inputs: ModelInput
    path: torch.Tensor
    waypoints: torch.Tensor
    prompt_lengths: torch.Tensor
    tasks: tuple[str, ...]
    buckets: tuple[str, ...]
    keys: tuple[str, ...]
    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    padding_share: float = 0.0
    objects: ObjectBatch | None = None

    @property
    def speed(self) -> torch.Tensor:
        """(B,) m/s."""
        return self.inputs.speed

    def __len__(self) -> int:
        return len(self.speed)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """The same batch with ``change`` applied to every tensor."""
        return _map(self, change)

    def pin_memory(self) -> Batch:
        """Copy into page-locked memory; called by the loader."""
        return self.map(torch.Tensor.pin_memory)

    def to(self, device: torch.device | str) -> Batch:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


def _map(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _map(getattr(value, field.name), change) for field in fields(value)})
    return value


class Stacks:
    """Memory for stacked tiles, used again once nobody holds the batch that lay in it: fresh memory of that size comes from
    the system page by page, which costs a tenth of making a batch."""

    MOST = 8
    FREE_REFERENCES = 3
    """Of an array that only the list, a local name and the counting call know."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of a shape, its content undefined."""
        for kept in self._kept:
            if kept.shape == shape and sys.getrefcount(kept) == self.FREE_REFERENCES:
                return kept
        made = np.empty(shape, np.uint8)
        self._kept = [*self._kept[1 - self.MOST :], made]
        return made


class Collate:
    """Pads and stacks; supervised positions are listed here, so that the network computes scores only there."""

    def __init__(self, padding_token: int, multiple: int = 1) -> None:
        """Rows are padded on the right to the longest one, rounded up to ``multiple`` (compiled models like few lengths)."""
        self.padding_token = padding_token
        self.multiple = multiple
        self._stacks = Stacks()

    def __call__(self, items: Sequence[EncodedSample]) -> Batch:
        """Stack samples. Raises ValueError if their tile counts differ."""
        rows = [item.row for item in items]
        samples = [item.sample for item in items]
        longest = -(-max(len(row.ids) for row in rows) // self.multiple) * self.multiple
        ids = np.full((len(rows), longest), self.padding_token, dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = row.ids
        supervised, targets = supervised_positions(rows)
        counts = {len(sample.tiles) for sample in samples}
        if len(counts) != 1:
            raise ValueError(f"expected equally many tiles per image, got {sorted(counts)}; images differ in shape")
        tiles = self._stacks.take((len(samples), *samples[0].tiles.shape))
        inputs = ModelInput(
            tiles=torch.from_numpy(np.stack([sample.tiles for sample in samples], out=tiles)),
            ids=torch.from_numpy(ids),
            lengths=torch.tensor([len(row.ids) for row in rows]),
            target_points=_stack([sample.target_points for sample in samples]),
            speed=torch.tensor([sample.speed for sample in samples], dtype=torch.float32),
            supervised=torch.from_numpy(supervised),
            targets=torch.from_numpy(targets),
        )
        return Batch(
            inputs=inputs,
            path=_stack([sample.path for sample in samples]),
            waypoints=_stack([sample.waypoints for sample in samples]),
            prompt_lengths=torch.tensor([row.prompt_length for row in rows]),
            tasks=tuple(sample.conversation.task for sample in samples),
            buckets=tuple(item.draw.bucket for item in items),
            keys=tuple(sample.key for sample in samples),
            prompts=tuple(sample.conversation.prompt for sample in samples),
            answers=tuple(sample.conversation.answer for sample in samples),
            padding_share=1 - sum(len(row.ids) for row in rows) / (longest * len(rows)),
            objects=_stack_objects([sample.objects for sample in samples if sample.objects is not None]),
        )


class WindowCollate:
    """Makes several batches of the samples of a window: rows of similar length together, the batches in random order."""

    def __init__(self, collate: Collate, batch_size: int) -> None:
        self.collate = collate
        self.batch_size = batch_size

    def __call__(self, items: Sequence[EncodedSample]) -> list[Batch]:
        """Batches of a window; which samples come together depends on the draws of the window alone."""
        ordered = sorted(items, key=lambda item: len(item.row.ids))
        starts = np.arange(0, len(ordered), self.batch_size)
        order = np.random.default_rng(items[0].draw.number).permutation(starts)
        return [self.collate(ordered[start : start + self.batch_size]) for start in order]


def supervised_positions(rows: Sequence[ChatRow]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a token is predicted, and which.

    Args:
        rows: `ChatRow` of each sample; supervised from the assistant header to the end token.

    Returns:
        (2, n) row and position whose hidden state predicts, and (n,) the token behind that position.
    """
    places = [np.arange(row.first_supervised - 1, len(row.ids) - 1) for row in rows]
    numbers = np.repeat(np.arange(len(rows)), [len(place) for place in places])
    targets = [np.asarray(row.ids[row.first_supervised :], dtype=np.int64) for row in rows]
    return np.stack([numbers, np.concatenate(places)]), np.concatenate(targets)


def _stack_objects(maps: Sequence[ObjectMaps]) -> ObjectBatch | None:
    """All samples have maps, or none has."""
    if not maps:
        return None
    kinds, nearness = (np.stack([getattr(each, name) for each in maps]) for name in ("kinds", "nearness"))
    return ObjectBatch(torch.from_numpy(kinds), torch.from_numpy(nearness))


def _stack(arrays: Sequence[NDArray[np.float64]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
