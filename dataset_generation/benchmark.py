"""How fast labels and index are made: ``python -m dataset_generation.benchmark labels --data database/simlingo``.

``labels`` repeats the runs of a collection until there are ``--frames`` frames and makes all labels and buckets of them.
``index`` makes an index of ``--frames`` made-up frames, opens it, and extends it by one new run. Both print a table, where
the time goes, and a last line of JSON.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_generation.buckets import bucket_dataset, write_buckets
from dataset_generation.dreaming.labeller import DreamLabeller
from dataset_generation.index import INDEX_NAME, TEXT, build_index, index_run, stamp_of, write_index
from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import PROFILES, Profile, profile_named
from dataset_generation.language_labels.runner import Labeller, LabelOptions, label_dataset
from dataset_generation.language_labels.synthetic import write_route
from dataset_generation.language_labels.vqa.labeller import VqaLabeller
from driving.arguments import positive
from driving.records import RunFolder, find_runs

LINKED = ("measurements", "boxes", "rgb")
COPIED = ("results.json.gz", "route.xml")
SYNTHETIC_ROUTE_FRAMES = 100
PROFILED_FRAMES = 400
PROFILE_ROWS = 8
FRAMES_PER_RUN = 250
"""Of the made-up index: about a minute of driving."""

OPENED_COLUMNS = ["run", "frame", "frames_left", "usable", "town", "scenario", "speed", "has_rgb", "has_vqa"]
"""What choosing samples reads of an index."""


@dataclass(frozen=True)
class Timing:
    """How long a stage took.

    Attributes:
        frames: Frames it handled.
        wall, cpu: Seconds on the clock, and of this process.
        jobs: Processes.
    """

    frames: int
    wall: float
    cpu: float
    jobs: int = 1

    @property
    def rate(self) -> float:
        """Frames per second and core: of processor time with one process, else of the clock."""
        return self.frames / (self.cpu if self.jobs == 1 else self.wall * self.jobs)

    def to_dict(self) -> dict[str, Any]:
        """For the JSON line."""
        return {
            "frames": self.frames,
            "seconds": round(self.wall, 2),
            "cpu_seconds": round(self.cpu, 2) if self.jobs == 1 else None,
            "frames_per_second_per_core": round(self.rate, 1),
        }


@contextmanager
def clock(jobs: int = 1) -> Iterator[Callable[[int], Timing]]:
    """Measures a block: ``with clock() as stop: ...; timing = stop(frames)``."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield lambda frames: Timing(frames, time.perf_counter() - wall, time.process_time() - cpu, jobs)


def repeat_runs(runs: Sequence[RunFolder], root: Path, frames: int) -> int:
    """Fill a dataset with links to runs, again and again under other names.

    Args:
        runs: What is repeated.
        root: Root of the new dataset.
        frames: Least number of frames.

    Returns:
        Number of frames.
    """
    counts = {run: len(run.frames("boxes")) for run in runs}
    made = copies = 0
    while made < frames:
        for run in runs:
            folder = RunFolder(root, run.relative.with_name(f"{run.name}_copy{copies}")).path
            folder.mkdir(parents=True)
            for name in LINKED:
                (folder / name).symlink_to((run.path / name).resolve(), target_is_directory=True)
            for name in COPIED:
                if (run.path / name).is_file():
                    shutil.copyfile(run.path / name, folder / name)
            made += counts[run]
            if made >= frames:
                break
        copies += 1
    return made


Stage = Callable[[Path, Path, int], int]
"""Makes something of a dataset (root, output, jobs); returns the frames it made it of."""


def _label(labellers: Sequence[Labeller], profile: Profile, data: Path, out: Path, jobs: int) -> int:
    summaries = label_dataset(labellers, LabelOptions(data, out, Path("data/simlingo"), profile, jobs=jobs))
    return max(summary.made for summary in summaries.values())


def _bucket(profile: Profile, data: Path, out: Path, jobs: int) -> int:
    buckets = bucket_dataset(data, profile, jobs)
    write_buckets(out / "buckets", buckets, with_pickle=False)
    return buckets.total


STAGES = ("vqa+commentary", "dreaming", "buckets")


def stages_of(profile: Profile) -> dict[str, Stage]:
    """What is measured, by name."""
    stages = (
        partial(_label, [VqaLabeller(profile), CommentaryLabeller(profile)], profile),
        partial(_label, [DreamLabeller(profile)], profile),
        partial(_bucket, profile),
    )
    return dict(zip(STAGES, stages, strict=True))


def profile_of(stage: Stage, data: Path, out: Path) -> list[tuple[float, str]]:
    """The functions that take most of a stage's own time, with their shares."""
    profiler = cProfile.Profile()
    profiler.runcall(stage, data, out, 1)
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(row[2] for row in stats.values())
    rows = sorted(((row[2] / total, key) for key, row in stats.items()), reverse=True)[:PROFILE_ROWS]
    return [(share, f"{Path(file).name}:{line} {name}" if line else name) for share, (file, line, name) in rows]


def benchmark_labels(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Label and bucket a repeated collection."""
    data = options.data
    if data is None:
        data = folder / "made_up"
        for index in range(max(1, min(options.frames, 1000) // SYNTHETIC_ROUTE_FRAMES)):
            write_route(data, index, min(SYNTHETIC_ROUTE_FRAMES, options.frames), options.cars)
    runs = find_runs(data)
    frames = repeat_runs(runs, folder / "repeated", options.frames)
    repeat_runs(runs, folder / "profiled", min(PROFILED_FRAMES, options.frames))
    print(f"{frames} frames: {len(runs)} runs of {options.data or 'made-up frames'}, repeated")
    result: dict[str, Any] = {"frames": frames, "profile": options.profile, "jobs": options.jobs}
    stages = stages_of(profile_named(options.profile))
    for name, stage in ((name, stages[name]) for name in options.stages):
        out = folder / name
        hot = profile_of(stage, folder / "profiled", folder / "profiled_out")
        with clock(options.jobs) as stop:
            made = stage(folder / "repeated", out, options.jobs)
            timing = stop(made)
        result[name] = timing.to_dict()
        print(f"{name:16s} {made:7d} frames {timing.wall:8.1f} s {timing.rate:8.1f} frames per second and core")
        for share, function in hot:
            print(f"    {share:6.1%}  {function}")
        shutil.rmtree(out)
    return result


def made_up_index(root: Path, frames: int) -> int:
    """Write an index of made-up frames, with an empty folder for each run in it.

    Returns:
        Number of frames.
    """
    pattern, _ = index_run(write_route(root / "pattern", 0, FRAMES_PER_RUN, 0))
    count = max(1, frames // FRAMES_PER_RUN)
    runs = []
    for number in range(count):
        run = RunFolder(
            root, Path(f"simlingo/made_up/routes_training/seed_1/Town12_Rep0_{number}_route0_01_01_00_00_00")
        )
        (run.path / "measurements").mkdir(parents=True)
        runs.append(run)
    whole = pa.concat_tables([pattern] * count)
    rows = np.repeat(np.arange(count, dtype=np.int32), FRAMES_PER_RUN)
    for name, values in (("run", [run.key for run in runs]), ("stamp", [stamp_of(run) for run in runs])):
        column = pa.DictionaryArray.from_arrays(pa.array(rows), pa.array(values, pa.string())).cast(TEXT)
        whole = whole.set_column(whole.schema.get_field_index(name), name, column)
    write_index(root, whole)
    return len(whole)


def benchmark_index(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write, open and extend an index."""
    result: dict[str, Any] = {}
    steps: dict[str, Timing] = {}
    with clock() as stop:
        frames = made_up_index(folder, options.frames)
        steps["write"] = stop(frames)
    with clock() as stop:
        table = pq.read_table(folder / INDEX_NAME, columns=OPENED_COLUMNS).to_pandas()
        steps["open to choose samples"] = stop(len(table))
    with clock() as stop:
        steps["open everything"] = stop(len(pq.read_table(folder / INDEX_NAME)))
    write_route(folder, 1, FRAMES_PER_RUN, 0)
    with clock() as stop:
        _, _, fresh = build_index(folder, jobs=1, show_progress=False)
        steps[f"extend by {fresh} run"] = stop(FRAMES_PER_RUN)
    result["frames"] = frames
    result["megabytes"] = round((folder / INDEX_NAME).stat().st_size / 1e6, 1)
    for name, timing in steps.items():
        print(f"{name:24s} {timing.frames:8d} frames {timing.wall:8.2f} s, {timing.cpu:6.2f} s of processors")
        result[name.replace(" ", "_")] = {"seconds": round(timing.wall, 3), "cpu_seconds": round(timing.cpu, 3)}
    return result


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.benchmark",
        description=__doc__,
        epilog="example: python -m dataset_generation.benchmark labels --data database/simlingo --frames 20000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    labels = commands.add_parser("labels", help="questions, commentary, dreams and buckets")
    labels.add_argument("--data", type=Path, help="collection whose runs are repeated (default: made-up frames)")
    labels.add_argument("--frames", type=int, default=20000, help="least number of frames (default: %(default)s)")
    labels.add_argument("--cars", type=int, default=8, help="vehicles of made-up frames (default: %(default)s)")
    labels.add_argument("--jobs", type=positive, default=1, help="processes (default: %(default)s)")
    labels.add_argument("--profile", choices=sorted(PROFILES), default="corrected", help="default: %(default)s")
    labels.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="default: all")
    index = commands.add_parser("index", help="index.parquet")
    index.add_argument("--frames", type=int, default=1_000_000, help="frames of the index (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 no such collection."""
    options = make_parser().parse_args(arguments)
    run = {"labels": benchmark_labels, "index": benchmark_index}[options.command]
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run(options, Path(folder))
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    result |= {"python": platform.python_version(), "machine": platform.processor() or platform.machine()}
    print(json.dumps({**result, "cores": os.cpu_count()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
