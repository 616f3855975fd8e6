"""The frame table: everything numeric that training needs of every frame, read once and mapped into memory.

Reading a training sample from the recorded files takes twelve compressed JSON files; the table holds the same in one row of
fixed size. It is built from the data set on first use (resumable, one file per run), stored as plain NumPy arrays in a
cache folder, and shared by all loader processes through the page cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driving.files import atomic_writer, read_json, write_json
from driving.records import (
    COMMENTARY,
    DREAMER,
    VQA,
    LabelKind,
    Measurement,
    RecordError,
    RunFolder,
    find_runs,
    read_measurement,
    read_result,
    training_rejection,
)
from simlingo_training.config import NUM_SPEED_WAYPOINTS

log = logging.getLogger(__name__)

ROUTE_POINTS = 40
"""Route points a measurement holds at most."""

FORMAT = 2
"""Raised when the columns change, so that old tables are built again."""

FRAME = np.dtype(
    [
        ("run", np.int32),
        ("frame", np.int32),
        ("waypoints", np.float64, (NUM_SPEED_WAYPOINTS, 2)),
        ("speed", np.float64),
        ("route", np.float64, (ROUTE_POINTS, 2)),
        ("route_length", np.int16),
        ("target_points", np.float64, (2, 2)),
        ("command", np.int8),
        ("next_command", np.int8),
        ("shift_m", np.float64),
        ("shift_deg", np.float64),
        ("has_commentary", np.bool_),
        ("has_vqa", np.bool_),
        ("has_dreamer", np.bool_),
        ("has_shifted_view", np.bool_),
    ]
)
"""One row: labels in the ego frame of the frame, metres; ``run`` counts the table's runs."""


@dataclass(frozen=True)
class FrameTable:
    """All usable frames of a data set.

    Attributes:
        root: Data root.
        runs: Run folders, sorted; ``rows["run"]`` counts them.
        rows: (N,) of `FRAME`, sorted by run and frame.
        rejected: Reason to number of runs left out.
    """

    root: Path
    runs: tuple[RunFolder, ...]
    rows: NDArray[np.void]
    rejected: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, row: int) -> str:
        """``<run key>/<frame>`` of a row."""
        return f"{self.runs[self.rows['run'][row]].key}/{int(self.rows['frame'][row]):04d}"

    def keep(self, wanted: NDArray[np.bool_]) -> FrameTable:
        """The same table with only the rows marked (N,)."""
        return FrameTable(self.root, self.runs, self.rows[wanted], self.rejected)

    def run_flags(self, wanted: Iterable[bool]) -> NDArray[np.bool_]:
        """(N,) row marks from one mark per run."""
        return np.array(list(wanted), dtype=bool)[self.rows["run"]]


@dataclass(frozen=True)
class TableOptions:
    """What decides which frames a table holds.

    Attributes:
        skip_first: Frames left out at the start of a run.
        pred_len: Future frames a sample needs; the last ``pred_len + 2`` frames of a run are left out.
        filter_results: Leave out runs that the expert did not drive cleanly, or without a results file.
    """

    skip_first: int = 10
    pred_len: int = 11
    filter_results: bool = True


def load_table(root: str | os.PathLike[str], options: TableOptions, cache: str | os.PathLike[str]) -> FrameTable:
    """Open the table of a data set, building what is missing.

    Args:
        root: Data root with a ``data`` folder.
        options: Which frames to hold.
        cache: Folder for the table; one file per run.

    Raises:
        FileNotFoundError: If the root has no ``data`` folder.
        ValueError: If no frame is usable; the message lists the reasons.
    """
    base = Path(root)
    runs = find_runs(base)
    rejected: Counter[str] = Counter()
    kept: list[RunFolder] = []
    parts: list[NDArray[np.void]] = []
    for run in runs:
        reason = _rejection(run) if options.filter_results else None
        part = None if reason else _run_rows(run, options, Path(cache))
        if part is None or not len(part):
            rejected[reason or "too short for one sample"] += 1
            continue
        part = np.array(part)
        part["run"] = len(kept)
        kept.append(run)
        parts.append(part)
    if not parts:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in rejected.items()) or "it holds no run"
        raise ValueError(f"{base}: no usable frame; {reasons}. Collect data with python -m dataset_generation.collect")
    rows = np.concatenate(parts)
    log.info("%s: %d frames of %d runs; left out: %s", base, len(rows), len(kept), dict(rejected) or "none")
    return FrameTable(base, tuple(kept), rows, dict(rejected))


def _rejection(run: RunFolder) -> str | None:
    """Why a run is not trained on, or None."""
    try:
        result = read_result(run.results_path)
    except FileNotFoundError:
        return "no results file"
    except (RecordError, ValueError):
        return "unreadable results file"
    return "the drive was not clean" if training_rejection(result) else None


def _stamp(run: RunFolder, options: TableOptions) -> str:
    """Changes when the run or the options change."""
    folders = [run.path / "measurements", run.path / "rgb", *(run.label_folder(k) for k in (COMMENTARY, VQA, DREAMER))]
    times = [folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders]
    text = json.dumps([FORMAT, run.key, str(run.root.resolve()), options.skip_first, options.pred_len, times])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _run_rows(run: RunFolder, options: TableOptions, cache: Path) -> NDArray[np.void]:
    """Rows of one run, from the cache or read from its files."""
    path = cache / "frames" / f"{_stamp(run, options)}.npy"
    if path.is_file():
        stored = np.load(path, allow_pickle=False)
        if stored.dtype == FRAME:
            return stored
    rows = read_run(run, options)
    with atomic_writer(path) as stream:
        np.save(stream, rows, allow_pickle=False)
    return rows


def read_run(run: RunFolder, options: TableOptions) -> NDArray[np.void]:
    """Read all samples of one run from its recorded files.

    A future measurement that is missing is replaced by the last one there is, as the published loader does.

    Raises:
        RecordError: If a measurement is damaged; the message names the file.
    """
    num_frames = sum(1 for name in os.listdir(run.path / "rgb") if name.endswith((".jpg", ".png")))
    frames = range(options.skip_first, num_frames - options.pred_len - 2)
    rows = np.zeros(len(frames), dtype=FRAME)
    if not len(rows):
        return rows
    measurements = {}
    for frame in range(frames.start, frames.stop + options.pred_len):
        path = run.measurement_path(frame)
        if path.is_file():
            measurements[frame] = read_measurement(path)
    labelled = {kind: _label_frames(run, kind) for kind in (COMMENTARY, VQA, DREAMER)}
    shifted = _names(run.path / "rgb_augmented")
    for number, frame in enumerate(frames):
        if frame not in measurements:
            raise RecordError(f"{run.measurement_path(frame)}: missing, but the run has an image of that frame")
        row = rows[number]
        _fill_row(row, frame, measurements, options.pred_len)
        row["has_commentary"] = frame in labelled[COMMENTARY]
        row["has_vqa"] = frame in labelled[VQA]
        row["has_dreamer"] = frame in labelled[DREAMER]
        row["has_shifted_view"] = f"{frame:04d}" in shifted
    return rows


def _fill_row(row: NDArray[np.void], frame: int, measurements: dict[int, Measurement], pred_len: int) -> None:
    now = measurements[frame]
    future = [measurements[f] for f in range(frame + 1, frame + pred_len + 1) if f in measurements] or [now]
    future += [future[-1]] * (pred_len - len(future))
    row["frame"] = frame
    row["waypoints"] = relative_positions(now.ego_matrix, [m.ego_matrix for m in future[:NUM_SPEED_WAYPOINTS]])
    row["speed"] = now.speed
    route = np.asarray(now.route, dtype=np.float64).reshape(-1, 2)[:ROUTE_POINTS]
    row["route"][: len(route)] = route
    row["route_length"] = len(route)
    row["target_points"] = [list(now.target_point)[:2], list(now.target_point_next)[:2]]
    row["command"], row["next_command"] = now.command, now.next_command
    row["shift_m"], row["shift_deg"] = now.augmentation_translation, now.augmentation_rotation


def relative_positions(
    origin: Sequence[Sequence[float]], poses: Sequence[Sequence[Sequence[float]]]
) -> NDArray[np.float64]:
    """Positions (n, 2) of ego poses (4, 4) in the frame of the pose ``origin``, metres; the height is dropped."""
    start = np.asarray(origin, dtype=np.float64)
    places = np.asarray(poses, dtype=np.float64)[:, :3, 3]
    return ((places - start[:3, 3]) @ start[:3, :3])[:, :2]


def _names(folder: Path) -> set[str]:
    return {name.split(".")[0] for name in os.listdir(folder)} if folder.is_dir() else set()


def _label_frames(run: RunFolder, kind: LabelKind) -> set[int]:
    return {int(name) for name in _names(run.label_folder(kind)) if name.isdigit()}


def buckets_to_rows(table: FrameTable, buckets: dict[str, list[str]]) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each bucket.

    Args:
        table: Frames to look in.
        buckets: Name to measurement paths, as the bucket file lists them; whatever stands before ``data/`` is ignored,
            so files made under another root work too.

    Returns:
        Name to sorted row numbers; frames that the table leaves out are dropped.
    """
    places = {table.key(number): number for number in range(len(table))}
    result = {}
    for name, paths in buckets.items():
        rows = {places[key] for key in map(bucket_key, paths) if key in places}
        result[name] = np.array(sorted(rows), dtype=np.int64)
    return result


def bucket_key(path: str) -> str:
    """``database/simlingo/data/<run key>/measurements/0012.json.gz`` to ``<run key>/0012``."""
    run, _, name = path.rpartition("/measurements/")
    return f"{run.rpartition('/data/')[2] or run}/{name.split('.')[0]}"


def read_buckets(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read a bucket file, name to measurement paths, JSON (``.json`` or ``.json.gz``).

    Raises:
        FileNotFoundError: With the command that makes one.
    """
    source = Path(path)
    if source.suffix == ".pkl":
        raise ValueError(f"{source}: pickles are not read, they can run code; convert it to JSON first")
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no bucket file; make one with python -m dataset_generation.buckets")
    content = read_json(source)
    return {name: list(paths) for name, paths in content.items()}


def save_summary(table: FrameTable, path: Path) -> None:
    """Write what a table holds, for the record of a run."""
    write_json(
        path, {"root": str(table.root), "frames": len(table), "runs": len(table.runs), "rejected": table.rejected}
    )
