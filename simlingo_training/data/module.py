"""Training and validation data of a run."""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader, get_worker_info
from tqdm import tqdm

from driving.evaluation_sets import is_for_evaluation
from driving.files import write_text
from driving.records import RunFolder, hash_held_out
from simlingo_training.config import DataSettings
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.data.collate import Batch, Collate, WindowCollate
from simlingo_training.data.dataset import DREAMING, DRIVING, Draw, SampleMaker, SimLingoDataset, read_image
from simlingo_training.data.images import ImageU8, TileSpec
from simlingo_training.data.sampler import (
    BucketSampler,
    FixedSampler,
    Pool,
    WindowSampler,
    expected_shares,
    published_epoch_size,
)
from simlingo_training.data.shards import open_files
from simlingo_training.data.table import (
    TABLE_FOLDER,
    FrameTable,
    TableOptions,
    buckets_to_rows,
    load_table,
    read_buckets,
)

log = logging.getLogger(__name__)

BUCKET_KEYS: dict[str, tuple[str, ...]] = {
    "acceleration_negative_5": ("acceleration_-5",),
    "acceleration_negative_1": ("acceleration_-1",),
    "acceleration_positive_1": ("acceleration_5",),
    "acceleration_positive_5": ("acceleration_20",),
    "lateral_control_1": ("lateral_control_1",),
    "lateral_control_1_2": ("lateral_control_1", "lateral_control_2"),
    "lateral_control_high": ("lateral_control_2", "lateral_control_5", "lateral_control_1000000"),
    "lateral_control_higher_5": ("lateral_control_5", "lateral_control_1000000"),
    "recovery": ("recovery_data_small", "recovery_data_large"),
}
"""Training bucket to the buckets of the file that it joins; other names stand for themselves."""

USUAL_BUCKETS = frozenset(
    {
        "changed_route",
        "leading_object_traffic.stop",
        "leading_object_traffic.traffic_light",
        "leading_object_vehicle",
        "leading_object_walker",
        "parkinglane",
        "start_from_stop",
        "start_from_stop_old",
        "vehicle_front",
        "vehicle_side",
    }
)
"""Buckets of our mixtures that stand for themselves; a small collection may lack them."""

DREAMER_POOL = "all_dreamer"
"""Bucket of all dreamed alternatives."""

STAGED = ".complete"
"""Stands in a copy of a data root once everything is there."""

VALIDATION_DRAW = 2**40
"""Draw numbers of validation samples start here, far from those of training."""


def is_old_town(run: RunFolder) -> bool:
    """Whether a run was recorded on the towns of the first leaderboard."""
    return any("lb1_split" in part for part in run.relative.parts)


def split_runs(table: FrameTable, settings: DataSettings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Row marks (N,) of training and validation frames.

    With ``split_by_town`` the groups ``routes_training`` and ``routes_validation`` decide, otherwise
    `driving.records.hash_held_out`.
    """
    usable = np.array([settings.use_old_towns or not is_old_town(run) for run in table.runs])
    usable &= np.array([settings.use_town13 or settings.split_by_town or run.town != "Town13" for run in table.runs])
    if settings.split_by_town:
        held_out = np.array(["routes_validation" in run.relative.parts for run in table.runs])
        training = np.array(["routes_training" in run.relative.parts for run in table.runs])
    else:
        runs = [run for run, kept in zip(table.runs, usable) if kept]
        chosen = {run.key for run in hash_held_out(runs, settings.val_fraction)}
        held_out = np.array([run.key in chosen for run in table.runs])
        training = ~held_out
    return table.run_flags(training & usable), table.run_flags(held_out & usable)


def make_pools(
    table: FrameTable, usable: NDArray[np.bool_], settings: DataSettings, rows: Mapping[str, NDArray[np.int64]]
) -> list[Pool]:
    """Pools of an epoch: driving buckets (name to rows) and the dreamed frames, with their shares. Dreams of runs that are
    for evaluation are not drawn, whether these are driven along or not.

    Raises:
        ValueError: If there is nothing to train on.
    """
    weights = settings.bucket_weights or {"all": 1.0}
    trained = table.run_flags(not is_for_evaluation(run) for run in table.runs)
    dreamer_rows = np.flatnonzero(usable & table.rows["has_dreamer"] & trained)
    dreamer = settings.dreamer_share if len(dreamer_rows) else 0.0
    if settings.dreamer_share and not len(dreamer_rows):
        log.warning("no frame has dreamed alternatives; training without instructions")
    kept = {name: rows[name][usable[rows[name]]] for name in weights}
    for name in [name for name, found in kept.items() if not len(found)]:
        log.warning("bucket %s holds no usable frame; its share goes to the other buckets", name)
    total = sum(weight for name, weight in weights.items() if len(kept[name]))
    if dreamer < 1 and not total:
        raise ValueError(
            f"none of the buckets {list(weights)} holds a frame to train on; check data.bucket_weights, and data.use_town13, "
            "data.use_old_towns, data.split_by_town and data.val_fraction, which leave runs out"
        )
    pools = [
        Pool(name, DRIVING, found, (1 - dreamer) * weights[name] / total)
        for name, found in kept.items()
        if len(found) and dreamer < 1
    ]
    if dreamer:
        pools.append(Pool(DREAMER_POOL, DREAMING, dreamer_rows, dreamer))
    return [pool for pool in pools if pool.weight > 0]


def bucket_rows(table: FrameTable, settings: DataSettings) -> dict[str, NDArray[np.int64]]:
    """Rows of every configured bucket, and of ``all``.

    Raises:
        ValueError: For a bucket that the file lacks; the message lists the known ones.
    """
    weights = settings.bucket_weights
    result = {"all": np.arange(len(table))}
    if "old_towns" in weights:
        result["old_towns"] = np.flatnonzero(table.run_flags(map(is_old_town, table.runs)))
    wanted = [name for name in weights if name not in result]
    if not wanted:
        return result
    if settings.buckets is None:
        raise ValueError(f"data.bucket_weights names {wanted} but data.buckets is not set")
    content = read_buckets(settings.buckets)
    unknown = set(wanted) - set(BUCKET_KEYS) - USUAL_BUCKETS - set(content)
    if unknown:
        raise ValueError(f"{settings.buckets}: no bucket {sorted(unknown)}; it has {sorted(content)}")
    keys = {key for name in wanted for key in BUCKET_KEYS.get(name, (name,))}
    # A file lists what occurred; a small collection may lack a sharp turn.
    found = buckets_to_rows(table, {key: content.get(key, []) for key in keys})
    for name in wanted:
        result[name] = np.unique(np.concatenate([found[key] for key in BUCKET_KEYS.get(name, (name,))]))
    return result


@dataclass(frozen=True)
class ValidationDraws:
    """The samples of a validation, as numbers; `Draw` objects are made when asked for.

    Attributes:
        rows: (n,) table rows.
        dreaming: (n,) whether an instruction of that frame is drawn.
        buckets: (n,) place of the frame's bucket in ``names``.
        names: Buckets.
    """

    rows: NDArray[np.int64]
    dreaming: NDArray[np.bool_]
    buckets: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Draw:
        row, dreaming = int(self.rows[number]), bool(self.dreaming[number])
        if dreaming:
            return Draw(DREAMING, row, VALIDATION_DRAW + 2 * row + 1, DREAMER_POOL)
        return Draw(DRIVING, row, VALIDATION_DRAW + 2 * row, self.names[int(self.buckets[number])])


def validation_draws(
    table: FrameTable, usable: NDArray[np.bool_], settings: DataSettings, buckets: Mapping[str, NDArray[np.int64]]
) -> ValidationDraws:
    """One driving draw per validation frame, and one instruction where there is one; spread evenly when limited. A frame
    counts for the smallest of the buckets (name to rows) that it lies in."""
    rows = np.flatnonzero(usable)
    dreamed = rows[table.rows["has_dreamer"][rows]] if settings.dreamer_share > 0 else rows[:0]
    both = np.concatenate([rows, dreamed])
    dreaming = np.arange(len(both)) >= len(rows)
    if settings.val_samples is not None and len(both) > settings.val_samples:
        picked = np.linspace(0, len(both) - 1, settings.val_samples).round().astype(int)
        both, dreaming = both[picked], dreaming[picked]
    names = ("all", *(name for name in buckets if name != "all"))
    smallest = np.zeros(len(table), np.int64)
    for name in sorted(names[1:], key=lambda name: -len(buckets[name])):
        smallest[buckets[name]] = names.index(name)
    return ValidationDraws(both, dreaming, smallest[both], names)


def prestage(root: Path, target: Path) -> Path:
    """Make a node-local folder the copy of a data root. Files that are there already with the same size and time of change are
    kept; what the data root no longer holds is removed, so that nobody trains on it.

    Raises:
        ValueError: If there is not enough room, or the copy would lie in the data root.
    """
    if target.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"data.cache.cache_dir: {target} lies in the data root {root}, of which it is to be a copy")
    # Trees and runs may be links to other disks.
    found = (Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names)
    sources = sorted(path for path in found if path.is_file())
    copies = [target / source.relative_to(root) for source in sources]
    wanted = [pair for pair in zip(sources, copies) if not _is_copied(*pair)]
    target.mkdir(parents=True, exist_ok=True)
    for left_over in {path for path in target.rglob("*") if path.is_file()} - set(copies):
        if left_over.relative_to(target).parts[0] != TABLE_FOLDER:
            left_over.unlink()
    need, free = sum(source.stat().st_size for source, _ in wanted), shutil.disk_usage(target).free
    if need > free:
        raise ValueError(
            f"data.cache.use_data_prestage: {root} needs {need / 1e9:.1f} GB in {target}, where {free / 1e9:.1f} GB are "
            "free; set data.cache.cache_dir to a larger disk, or use data.cache.use_disk_cache"
        )
    for source, copy in tqdm(wanted, desc="pre-staging", unit="file", disable=not wanted):
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(f".{copy.name}.tmp")
        shutil.copyfile(source, partial)
        shutil.copystat(source, partial)
        partial.replace(copy)
    write_text(target / STAGED, str(root))
    return target


def _is_copied(source: Path, copy: Path) -> bool:
    if not copy.is_file():
        return False
    here, there = copy.stat(), source.stat()
    # Not every file system keeps parts of a second.
    return here.st_size == there.st_size and int(here.st_mtime) == int(there.st_mtime)


class SimLingoData(pl.LightningDataModule):
    """Loaders over one frame table."""

    def __init__(
        self, settings: DataSettings, tiles: TileSpec, tokenizer: ChatTokenizer, tokens_per_tile: int, seed: int
    ) -> None:
        super().__init__()
        self.settings = settings
        self.tiles = tiles
        self.tokenizer = tokenizer
        self.tokens_per_tile = tokens_per_tile
        self.seed = seed
        self.sampler: BucketSampler | None = None
        self._validation = ValidationDraws(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int64), ("all",))
        self._table: FrameTable | None = None
        self._num_training = 0
        self._resume = (0, 0)
        self._is_staged = False

    @property
    def root(self) -> Path:
        """Where data are read: the data root, or its copy on this machine."""
        root, cache = Path(self.settings.root), self.settings.cache
        if not cache.use_data_prestage:
            return root
        # Roots of several projects have one name.
        place = sha256(str(root.resolve()).encode()).hexdigest()[:8]
        return cache.folder / "data" / f"{root.name}-{place}"

    def prepare_data(self) -> None:
        """Copy the data root to this machine when asked to; Lightning calls this in one process of each machine."""
        if self.settings.cache.use_data_prestage and not self._is_staged:
            prestage(Path(self.settings.root), self.root)
            self._is_staged = True

    def setup(self, stage: str | None = None) -> None:
        """Open the frame table and lay out the pools. Raises what `load_table` and `bucket_rows` raise."""
        if self._table is not None:
            return
        settings = self.settings
        root = self.root
        if root != Path(settings.root) and not (root / STAGED).is_file():
            self.prepare_data()
        options = TableOptions(settings.skip_first_n_frames, settings.pred_len, settings.filter_results)
        table = load_table(root, options, settings.cache.table_dir)
        training, held_out = split_runs(table, settings)
        buckets = bucket_rows(table, settings)
        pools = make_pools(table, training, settings, buckets)
        rank, world = self._place()
        size = settings.samples_per_epoch or published_epoch_size(pools)
        self.sampler = BucketSampler(
            pools, size, settings.bucket_sampling, self.seed, rank, world, settings.fixed_samples
        )
        self._validation = validation_draws(table, held_out, settings, buckets)
        self._num_training = int(training.sum())
        self._table = table
        for pool, share in zip(pools, expected_shares(pools, settings.bucket_sampling)):
            log.info("bucket %s: %d frames, %.1f %% of the draws", pool.bucket, len(pool.rows), 100 * share)
        log.info("%d training and %d validation frames", self._num_training, int(held_out.sum()))

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def state_dict(self) -> dict[str, Any]:
        """How far the current epoch is, for resuming in the middle of it."""
        trainer = self.trainer
        if trainer is None:
            return {"epoch": 0, "batches": 0}
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done >= trainer.num_training_batches:
            return {"epoch": trainer.current_epoch + 1, "batches": 0}
        return {"epoch": trainer.current_epoch, "batches": done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self._resume = (int(state_dict["epoch"]), int(state_dict["batches"]))

    @property
    def num_validation(self) -> int:
        """Validation samples over all processes, a multiple of their number."""
        _, world = self._place()
        return len(self._validation) // world * world

    def dataset(self, training: bool) -> SimLingoDataset:
        """Samples of the table; ``training`` switches augmentation on."""
        assert self._table is not None
        side = self.settings.object_cells * isqrt(self.tokens_per_tile)
        maker = SampleMaker(self._table, self.settings, self.tiles, training, side)
        maker.store.divide(self._cache_parts(training))
        return SimLingoDataset(maker, self.tokenizer, self.tokens_per_tile, self.seed)

    def _cache_parts(self, training: bool) -> float:
        """How many parts of the disk cache's room there are: it is shared by the processes of this machine and, by the number
        of their frames, by training and validation."""
        processes = self.trainer.num_devices if self.trainer is not None else 1
        frames = (self._num_training, len(self._validation))
        return processes * sum(frames) / max(1, frames[0] if training else frames[1])

    def train_dataloader(self) -> Loader:
        """Bucket-sampled batches; an epoch that was interrupted continues where it stopped.

        Raises:
            ValueError: If an epoch holds no whole batch.
        """
        assert self.sampler is not None
        settings = self.settings
        if len(self.sampler) < settings.batch_size:
            raise ValueError(
                f"an epoch gives each of {self.sampler.world} processes {len(self.sampler)} samples, less than one batch of "
                f"{settings.batch_size}; lower data.batch_size or raise data.samples_per_epoch"
            )
        epoch, batches = self._resume
        self.sampler.set_epoch(epoch)
        window = settings.length_window
        self.sampler.skip = batches // window * window * settings.batch_size
        collate = Collate(self.tokenizer.padding_token, settings.pad_multiple)
        if window == 1:
            order = {"sampler": self.sampler, "batch_size": settings.batch_size, "drop_last": True}
            return self._loader(self.dataset(training=True), collate, **order)
        windows = WindowSampler(self.sampler, settings.batch_size, window)
        split = WindowCollate(collate, settings.batch_size)
        loader = self._loader(self.dataset(training=True), split, batch_sampler=windows)
        return WindowedLoader(loader, self.sampler, len(self.sampler) // settings.batch_size, batches % window)

    def val_dataloader(self) -> Loader:
        """The same samples every time, without augmentation."""
        rank, world = self._place()
        order = {"sampler": FixedSampler(self._validation, rank, world), "batch_size": self.settings.batch_size}
        collate = Collate(self.tokenizer.padding_token, self.settings.pad_multiple)
        return self._loader(self.dataset(training=False), collate, **order)

    def validation_sample(self, count: int) -> Batch:
        """A batch of at most ``count`` validation samples, spread evenly."""
        picked = np.linspace(0, len(self._validation) - 1, min(count, len(self._validation))).round().astype(int)
        dataset = self.dataset(training=False)
        return Collate(self.tokenizer.padding_token)([dataset[self._validation[number]] for number in picked])

    def image(self, key: str) -> ImageU8:
        """The recorded image (H, W, 3) of a sample's key, RGB."""
        assert self._table is not None
        root = self._table.root
        run, _, frame = key.rpartition("/")
        return read_image(RunFolder(root, Path(run)).rgb_path(int(frame)), open_files(root))

    def _loader(self, dataset: SimLingoDataset, collate: Any, **order: Any) -> DataLoader[Any]:
        workers = self.settings.num_workers
        return DataLoader(
            dataset,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=self.trainer is not None and self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers > 0 else None,
            worker_init_fn=start_worker,
            **order,
        )


def start_worker(number: int) -> None:
    """Leave the objects of the training process alone: collecting garbage among them would copy every page they lie in. The
    room of the disk cache is divided among the loader processes."""
    gc.freeze()
    here = get_worker_info()
    if here is not None:
        samples: Any = here.dataset
        samples.maker.store.divide(here.num_workers)


class WindowedLoader:
    """The batches of a loader of windows, one by one; ``skip`` of them at the start of the sampler's present epoch were seen
    before, however often that epoch is started."""

    def __init__(self, loader: DataLoader[Any], sampler: BucketSampler, length: int, skip: int) -> None:
        self.loader = loader
        # Lightning sets the epoch of whatever a loader calls its sampler.
        self.sampler = sampler
        self._length = length
        self._skip = skip
        self._interrupted = sampler.epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        skip = self._skip if self.sampler.epoch == self._interrupted else 0
        batches = (batch for window in self.loader for batch in window)
        return islice(batches, skip, None)

    @property
    def _iterator(self) -> Any:
        """Where Lightning looks for the processes that it ends with the run; else they would be waited for at the exit."""
        return self.loader._iterator

    @_iterator.setter
    def _iterator(self, value: Any) -> None:
        self.loader._iterator = value


Loader = DataLoader[Any] | WindowedLoader
"""What the trainer iterates over."""
