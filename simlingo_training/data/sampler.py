"""Which frames an epoch draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from simlingo_training.data.dataset import Draw


@dataclass(frozen=True)
class Pool:
    """Frames that are drawn with one weight.

    Attributes:
        bucket: Name.
        kind: ``driving`` or ``dreamer``.
        rows: (n,) table rows, at least one.
        weight: Its share; the weights of all pools add up to one.
    """

    bucket: str
    kind: str
    rows: NDArray[np.int64]
    weight: float


def expected_shares(pools: Sequence[Pool], mode: str) -> NDArray[np.float64]:
    """Share of each pool among the draws.

    ``intended``: the weights. ``published``: every frame of a pool carries the pool's weight, so a pool's share is weight
    times size, normalised; the released weights were trained that way.

    Raises:
        ValueError: For another mode.
    """
    weights = np.array([pool.weight for pool in pools])
    if mode == "published":
        weights = weights * np.array([len(pool.rows) for pool in pools])
    elif mode != "intended":
        raise ValueError(f"bucket sampling is 'intended' or 'published', got {mode!r}")
    return weights / weights.sum()


def published_epoch_size(pools: Sequence[Pool]) -> int:
    """Draws per epoch of the published sampler: the smallest size / weight over the pools, at least one."""
    return max(1, int(min(len(pool.rows) // pool.weight for pool in pools if pool.weight > 0)))


def quotas(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers that add up to ``total`` and lie within one of ``shares * total`` (largest remainders)."""
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


class BucketSampler(Sampler[Draw]):
    """Draws an epoch. Each pool gives exactly its quota, going through its frames in random order before any repeats.

    The draws depend on seed and epoch only; each of ``world`` processes takes every ``world``-th. ``skip`` leaves out as many
    draws at the start of the epoch (those an interrupted run has seen); the length stays that of the whole epoch.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        num_samples: int,
        mode: str = "intended",
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        distinct: int | None = None,
    ) -> None:
        """
        Args:
            pools: At least one, none empty.
            num_samples: Draws per epoch over all processes; rounded down to a multiple of ``world``.
            mode: See `expected_shares`.
            seed, rank, world: See the class.
            distinct: Draw that many samples once and repeat them in every epoch; None draws anew.

        Raises:
            ValueError: If there is nothing to draw from; the message names the empty pool.
        """
        empty = [pool.bucket for pool in pools if not len(pool.rows)]
        if empty or not pools:
            raise ValueError(
                f"expected frames in every bucket, got none in {empty or 'any'}; check data.bucket_weights"
            )
        if num_samples < world:
            raise ValueError(f"an epoch of {num_samples} samples is too short for {world} processes")
        self.pools = list(pools)
        self.num_samples = num_samples // world * world
        self.mode = mode
        self.seed = seed
        self.rank = rank
        self.world = world
        self.distinct = distinct
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        return self.num_samples // self.world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws come next. Skipped draws belong to the epoch they were set for."""
        if epoch != self.epoch:
            self.skip = 0
        self.epoch = epoch

    def draws(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pool number and table row of every draw of the epoch, each (num_samples,), or of the ``distinct`` ones."""
        total, epoch = (self.num_samples, self.epoch) if self.distinct is None else (self.distinct, 0)
        rng = np.random.default_rng([self.seed, epoch])
        counts = quotas(expected_shares(self.pools, self.mode), total)
        pools = np.repeat(np.arange(len(self.pools)), counts)
        rows = np.concatenate([_cycle(pool.rows, count, rng) for pool, count in zip(self.pools, counts)])
        order = rng.permutation(total)
        return pools[order], rows[order]

    def __iter__(self) -> Iterator[Draw]:
        pools, rows = self.draws()
        for number in range(self.rank + self.skip * self.world, self.num_samples, self.world):
            place = number % len(rows)
            pool = self.pools[pools[place]]
            unique = self.epoch * self.num_samples + number if self.distinct is None else place
            yield Draw(pool.kind, int(rows[place]), unique, pool.bucket)


def _cycle(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` rows in random order, each as often as any other, give or take one."""
    rounds = [rng.permutation(rows) for _ in range(-(-int(count) // len(rows)))]
    return np.concatenate(rounds)[:count] if rounds else rows[:0]


class WindowSampler(Sampler[list[Draw]]):
    """Groups the draws of a sampler into windows of several whole batches; what is left of the last batch is dropped."""

    def __init__(self, sampler: BucketSampler, batch_size: int, window: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.window = window

    def __iter__(self) -> Iterator[list[Draw]]:
        draws: list[Draw] = []
        for draw in self.sampler:
            draws.append(draw)
            if len(draws) == self.batch_size * self.window:
                yield draws
                draws = []
        whole = len(draws) // self.batch_size * self.batch_size
        if whole:
            yield draws[:whole]

    def __len__(self) -> int:
        return -(-(len(self.sampler) // self.batch_size) // self.window)


class Indexable(Protocol):
    """Draws by number."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, number: int, /) -> Draw:
        """One of them."""
        ...


class FixedSampler(Sampler[Draw]):
    """The same draws every time, for validation. Each of ``world`` processes takes equally many, because a divided model
    needs all processes for every batch; what is left over, fewer than ``world``, is left out."""

    def __init__(self, draws: Indexable, rank: int = 0, world: int = 1) -> None:
        self._draws = draws
        self._places = range(rank, len(draws) // world * world, world)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Draw]:
        return (self._draws[place] for place in self._places)
