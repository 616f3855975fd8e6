"""How fast samples are made, how fast a large data set opens, and how much memory loader processes take."""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from simlingo_training.config import AugmentationSettings, CacheSettings, DataSettings
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.data.collate import Batch
from simlingo_training.data.images import TileSpec
from simlingo_training.data.module import SimLingoData
from simlingo_training.data.table import INDEX, ROUTE_POINTS

FRAMES_PER_RUN = 100
"""Of the made-up index; a recorded route has 60 to 300."""

WORKER_COUNTS = (1, 2, 4, 8)


def make_data(settings: DataSettings, tiny: bool) -> SimLingoData:
    """The data module of a run with the small or the full-size model."""
    tiles, tokens = (TileSpec(192), 16) if tiny else (TileSpec(448), 256)
    return SimLingoData(settings, tiles, ChatTokenizer.load("packaged"), tokens, 0)


def bench_loader(arguments: Namespace) -> dict[str, Any]:
    """Samples per second of one process: decode, augment, tile, tokenise, collate."""
    if not arguments.data:
        raise SystemExit("benchmark loader needs --data, for example database/simlingo")
    with tempfile.TemporaryDirectory() as table:
        settings = DataSettings(
            root=str(arguments.data),
            num_workers=arguments.workers,
            batch_size=arguments.batch_size,
            samples_per_epoch=arguments.batch_size * (arguments.steps + arguments.warm_up),
            filter_results=False,
            length_window=arguments.length_window,
            pad_multiple=arguments.pad_multiple,
            augmentation=AugmentationSettings(colour=arguments.augment),
            cache=CacheSettings(table_dir=table),
        )
        started = time.perf_counter()
        data = make_data(settings, arguments.backbone == "tiny")
        data.setup()
        opened = time.perf_counter() - started
        batches = iter(data.train_dataloader())
        for _ in range(arguments.warm_up):
            next(batches)
        cpu, started = time.process_time(), time.perf_counter()
        shares = [(len(batch), batch.padding_share) for batch in batches]
        count = sum(size for size, _ in shares)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "benchmark": "loader",
        "frames": len(data.dataset(True)),
        "open_seconds": opened,
        "workers": arguments.workers,
        "tile_px": data.tiles.tile_px,
        "augment": arguments.augment,
        "length_window": arguments.length_window,
        "padding_share": sum(size * share for size, share in shares) / count,
        "samples_per_second": count / wall,
        "samples_per_cpu_second": count / cpu if arguments.workers == 0 else None,
    }


def write_made_up_index(root: Path, frames: int, seed: int = 0) -> None:
    """An index of ``frames`` random frames, with folders in which every frame has the same picture."""
    rng = np.random.default_rng(seed)
    runs = [f"simlingo/set/routes_training/seed/Town12_Rep0_r_route{n}_01_01" for n in range(frames // FRAMES_PER_RUN)]
    shared = root / "pictures"
    shared.mkdir(parents=True)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8), (0, 0), 4)
    cv2.imwrite(str(shared / "0000.jpg"), picture)
    for frame in range(1, FRAMES_PER_RUN):
        (shared / f"{frame:04d}.jpg").symlink_to("0000.jpg")
    for run in runs:
        (root / "data" / run).mkdir(parents=True)
        (root / "data" / run / "rgb").symlink_to(shared)
    writer = None
    for start in range(0, len(runs), 500):
        group = index_rows(runs[start : start + 500], rng)
        writer = writer or pq.ParquetWriter(root / INDEX, group.schema, compression="zstd")
        writer.write_table(group)
    assert writer is not None
    writer.close()


def index_rows(runs: list[str], rng: np.random.Generator) -> pa.Table:
    """Random index rows of some runs, with the columns that training reads."""
    count = len(runs) * FRAMES_PER_RUN

    def points(number: int) -> pa.Array:
        values = rng.normal(0, 20, count * number * 2).astype(np.float32)
        return pa.FixedSizeListArray.from_arrays(pa.array(values), 2 * number)

    def numbers(low: float, high: float) -> pa.Array:
        return pa.array(rng.uniform(low, high, count).astype(np.float32))

    names = pa.DictionaryArray.from_arrays(pa.array(np.repeat(np.arange(len(runs)), FRAMES_PER_RUN), pa.int32()), runs)
    absent, present = pa.array(np.zeros(count, bool)), pa.array(np.ones(count, bool))
    return pa.table(
        {
            "run": names,
            "frame": pa.array(np.tile(np.arange(FRAMES_PER_RUN), len(runs)), pa.int32()),
            "rejection": pa.nulls(count, pa.string()),
            "has_rgb": present,
            "waypoints": points(10),
            "num_waypoints": pa.array(np.full(count, 10), pa.int8()),
            "speed": numbers(0, 20),
            "route": points(ROUTE_POINTS),
            "route_length": pa.array(np.full(count, ROUTE_POINTS), pa.int16()),
            "target_point": points(1),
            "target_point_next": points(1),
            "command": pa.array(rng.integers(1, 7, count), pa.int8()),
            "next_command": pa.array(rng.integers(1, 7, count), pa.int8()),
            "augmentation_translation": numbers(-1.5, 1.5),
            "augmentation_rotation": numbers(-20, 20),
            "has_commentary": absent,
            "has_vqa": absent,
            "has_dreamer": absent,
            "has_rgb_augmented": absent,
        }
    )


def opened(settings: DataSettings) -> tuple[SimLingoData, float]:
    """A data module that is ready for its first batch, and the seconds that took."""
    started = time.perf_counter()
    data = make_data(settings, tiny=False)
    data.setup()
    next(iter(data.sampler or ()))
    return data, time.perf_counter() - started


def worker_memory(data: SimLingoData, workers: int, batches: int) -> tuple[float, float]:
    """Megabytes of all loader processes together (shared pages counted once) and of private pages of one of them."""
    data.settings.num_workers = workers
    loader: Iterator[Batch] = iter(data.train_dataloader())
    for _ in range(batches * workers):
        next(loader)
    children = [process.memory_full_info() for process in psutil.Process().children(recursive=True)]
    del loader
    return sum(child.pss for child in children) / 1e6, max(child.uss for child in children) / 1e6


def bench_index(arguments: Namespace) -> dict[str, Any]:
    """Seconds to open a made-up data set of many frames, first and later, and the memory of loader processes over it."""
    with tempfile.TemporaryDirectory(dir=arguments.data) as folder:
        root = Path(folder)
        print(f"writing an index of {arguments.frames} frames", flush=True)
        write_made_up_index(root, arguments.frames)
        settings = DataSettings(root=str(root), batch_size=8, samples_per_epoch=100_000, dreamer_share=0.0)
        _, first = opened(settings)
        data, later = opened(settings)
        result: dict[str, Any] = {
            "benchmark": "index",
            "frames": arguments.frames,
            "samples": len(data.dataset(True)),
            "open_seconds_first": first,
            "open_seconds_later": later,
            "table_mb": data.dataset(True).maker.table.rows.nbytes / 1e6,
        }
        for workers in WORKER_COUNTS:
            total, private = worker_memory(data, workers, batches=6)
            print(f"{workers} workers: {total:8.0f} MB together, {private:8.0f} MB private each", flush=True)
            result[f"workers_{workers}_mb"], result[f"private_{workers}_mb"] = total, private
    return result
