"""The frame table: everything numeric that training needs of every frame, read once and mapped into memory.

Reading a training sample from the recorded files takes twelve compressed JSON files; the table holds the same in one row of
fixed size. Where the data set has an index (``python -m dataset_generation.index``) the table is made from it, without looking
into any folder; else it is built from the recorded files (resumable, one file per run). It is stored as one plain NumPy array
in a cache folder and mapped into memory, so all processes of a machine share one copy through the page cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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

INDEX = "index.parquet"
"""One row per recorded frame, made by ``dataset_generation.index``."""

TABLE_FOLDER = ".frame_table"
"""Folder of the table in a data root."""

TOO_SHORT = "too short for one sample"

FRAMES_PER_RUN = 10**6
"""More than any run has: names have four digits."""

REMAKE = "make it with python -m dataset_generation.index"

FORMAT = 4
"""Raised when the columns change or what rows there are, so that old tables are built again."""

FRAME = np.dtype(
    [
        ("run", np.int32),
        ("frame", np.int32),
        ("waypoints", np.float32, (NUM_SPEED_WAYPOINTS, 2)),
        ("speed", np.float32),
        ("route", np.float32, (ROUTE_POINTS, 2)),
        ("route_length", np.int16),
        ("target_points", np.float32, (2, 2)),
        ("command", np.int8),
        ("next_command", np.int8),
        ("shift_m", np.float32),
        ("shift_deg", np.float32),
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


def load_table(
    root: str | os.PathLike[str], options: TableOptions, cache: str | os.PathLike[str] | None = None
) -> FrameTable:
    """Open the table of a data set, building what is missing.

    Args:
        root: Data root with an index, or with a ``data`` folder.
        options: Which frames to hold.
        cache: Folder for the table; `TABLE_FOLDER` of the data root if None or empty.

    Raises:
        FileNotFoundError: If the root has neither.
        ValueError: If no frame is usable, or the index is of another version; the message says what to do.
    """
    base = Path(root)
    folder = Path(cache or base / TABLE_FOLDER)
    if (base / INDEX).is_file():
        table = _table_of_index(base, options, folder)
    else:
        log.info("%s: no %s (python -m dataset_generation.index); reading the recorded files", base, INDEX)
        table = _table_of_files(base, options, folder)
    if not len(table):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in table.rejected.items()) or "it holds no run"
        raise ValueError(f"{base}: no usable frame; {reasons}. Collect data with python -m dataset_generation.collect")
    log.info("%s: %d frames of %d runs; left out: %s", base, len(table), len(table.runs), table.rejected or "none")
    return table


def _table_of_files(base: Path, options: TableOptions, cache: Path) -> FrameTable:
    """The table from the recorded files themselves."""
    rejected: Counter[str] = Counter()
    kept: list[RunFolder] = []
    parts: list[NDArray[np.void]] = []
    for run in find_runs(base):
        reason = _rejection(run) if options.filter_results else None
        part = None if reason else _run_rows(run, options, cache)
        if part is None or not len(part):
            rejected[reason or TOO_SHORT] += 1
            continue
        part = np.array(part)
        part["run"] = len(kept)
        kept.append(run)
        parts.append(part)
    rows = np.concatenate(parts) if parts else np.zeros(0, FRAME)
    return FrameTable(base, tuple(kept), rows, dict(rejected))


def _table_of_index(base: Path, options: TableOptions, cache: Path) -> FrameTable:
    """The table of an index, made on first use and mapped into memory afterwards."""
    found = (base / INDEX).stat()
    text = json.dumps([FORMAT, str(base.resolve()), found.st_size, found.st_mtime_ns, asdict(options)])
    stem = cache / f"index-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    names, rows = stem.with_suffix(".json"), stem.with_suffix(".npy")
    if not names.is_file():
        table = read_index(base, options)
        with atomic_writer(rows) as stream:
            np.save(stream, table.rows, allow_pickle=False)
        write_json(names, {"runs": [run.key for run in table.runs], "rejected": table.rejected})
    content = read_json(names)
    runs = tuple(RunFolder(base, Path(key)) for key in content["runs"])
    mapped = np.load(rows, mmap_mode="r", allow_pickle=False) if content["runs"] else np.zeros(0, FRAME)
    return FrameTable(base, runs, mapped, content["rejected"])


INDEX_COLUMNS = (
    "run", "frame", "rejection", "has_rgb", "waypoints", "num_waypoints", "speed", "route", "route_length", "target_point",
    "target_point_next", "command", "next_command", "augmentation_translation", "augmentation_rotation",
    "has_commentary", "has_vqa", "has_dreamer", "has_rgb_augmented",
)  # fmt: skip
"""What the table takes from the index."""


def read_index(base: Path, options: TableOptions) -> FrameTable:
    """Make the table of an index, one row group at a time.

    Raises:
        ValueError: If the file is no index, or one of another version.
    """
    try:
        source = pq.ParquetFile(base / INDEX)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{base / INDEX}: not a Parquet file ({error}); {REMAKE}") from error
    lacking = sorted(set(INDEX_COLUMNS) - set(source.schema_arrow.names))
    if lacking:
        raise ValueError(f"{base / INDEX}: no columns {lacking}; {REMAKE}")
    codes: dict[str, int] = {}
    reasons: dict[int, str | None] = {}
    groups = []
    for number in range(source.num_row_groups):
        group = source.read_row_group(number, columns=["run", "frame", "rejection", "has_rgb"])
        groups.append(_run_codes(group, codes))
        first = np.unique(groups[-1], return_index=True)
        for code, row in zip(*first):
            reasons.setdefault(int(code), group["rejection"][int(row)].as_py())
    lengths = np.zeros(len(codes), np.int64)
    for number, runs in enumerate(groups):
        pictures = source.read_row_group(number, columns=["has_rgb"])["has_rgb"].to_numpy()
        lengths += np.bincount(runs, weights=pictures, minlength=len(codes)).astype(np.int64)
    usable = np.array([not options.filter_results or reasons[code] is None for code in range(len(codes))], dtype=bool)
    last = np.where(usable, lengths - options.pred_len - 2, 0)
    parts = [_index_rows(source, number, runs, last, options.skip_first) for number, runs in enumerate(groups)]
    rows = np.concatenate(parts) if parts else np.zeros(0, FRAME)
    return _numbered(base, rows, list(codes), {c: r for c, r in reasons.items() if not usable[c]})


def _run_codes(group: pa.Table, codes: dict[str, int]) -> NDArray[np.int64]:
    """Number of the run of each row; new runs are added to ``codes``."""
    column = group["run"].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    known = [codes.setdefault(name, len(codes)) for name in column.dictionary.to_pylist()]
    return np.array(known, dtype=np.int64)[column.indices.to_numpy()]


def _index_rows(
    source: pq.ParquetFile, number: int, runs: NDArray[np.int64], last: NDArray[np.int64], skip_first: int
) -> NDArray[np.void]:
    """Table rows of one row group: frames from ``skip_first`` up to the last of their run that has enough future, as far as
    they have a picture."""
    group = source.read_row_group(number, columns=list(INDEX_COLUMNS))
    frames = group["frame"].to_numpy()
    due = (frames >= skip_first) & (frames < last[runs])
    wanted = due & group["has_rgb"].to_numpy()
    if not wanted[due].all():
        log.warning("the index lists %d frames without a picture, which are left out", (due & ~wanted).sum())
    group = group.filter(pa.array(wanted))
    rows = np.zeros(len(group), dtype=FRAME)
    rows["run"], rows["frame"] = runs[wanted], frames[wanted]
    rows["waypoints"] = _filled_up(_points(group, "waypoints"), group["num_waypoints"].to_numpy())
    rows["route"] = _points(group, "route")
    rows["target_points"][:, 0] = _points(group, "target_point")[:, 0]
    rows["target_points"][:, 1] = _points(group, "target_point_next")[:, 0]
    for name, column in (
        ("speed", "speed"),
        ("route_length", "route_length"),
        ("command", "command"),
        ("next_command", "next_command"),
        ("shift_m", "augmentation_translation"),
        ("shift_deg", "augmentation_rotation"),
        ("has_commentary", "has_commentary"),
        ("has_vqa", "has_vqa"),
        ("has_dreamer", "has_dreamer"),
        ("has_shifted_view", "has_rgb_augmented"),
    ):
        rows[name] = group[column].to_numpy()
    return rows


def _points(group: pa.Table, column: str) -> NDArray[np.float32]:
    """A column of fixed-size lists as points (n, count, 2)."""
    values = group[column].combine_chunks()
    size = values.type.list_size
    return values.flatten().to_numpy().reshape(-1, size // 2, 2)


def _filled_up(waypoints: NDArray[np.float32], counts: NDArray[np.int8]) -> NDArray[np.float32]:
    """Waypoints (n, F, 2) with those behind the last known one set to it; without any the vehicle stays."""
    places = np.minimum(np.arange(waypoints.shape[1]), np.maximum(counts, 1)[:, None] - 1)
    return np.take_along_axis(waypoints, places[..., None].astype(np.int64), axis=1)


def _numbered(base: Path, rows: NDArray[np.void], keys: list[str], reasons: dict[int, str | None]) -> FrameTable:
    """Rows sorted by run and frame, with runs numbered in the order of their names; runs without rows are left out."""
    present = np.zeros(len(keys), dtype=bool)
    present[np.unique(rows["run"])] = True
    order = sorted(np.flatnonzero(present), key=keys.__getitem__)
    numbers = np.zeros(len(keys), np.int32)
    numbers[order] = np.arange(len(order))
    rows["run"] = numbers[rows["run"]]
    codes = frame_codes(rows["run"], rows["frame"])
    if (np.diff(codes) < 0).any():
        rows = rows[np.argsort(codes, kind="stable")]
    left_out = (reasons.get(code, TOO_SHORT) for code in range(len(keys)) if not present[code])
    rejected = Counter(reason or TOO_SHORT for reason in left_out)
    return FrameTable(base, tuple(RunFolder(base, Path(keys[code])) for code in order), rows, dict(rejected))


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
    folders = [run.path / name for name in ("measurements", "rgb", "rgb_augmented")]
    folders += [run.label_folder(kind) for kind in (COMMENTARY, VQA, DREAMER)]
    times = [folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders]
    text = json.dumps([FORMAT, run.key, str(run.root.resolve()), options.skip_first, options.pred_len, times])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _run_rows(run: RunFolder, options: TableOptions, cache: Path) -> NDArray[np.void]:
    """Rows of one run, from the cache or read from its files."""
    path = cache / "frames" / f"{_stamp(run, options)}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    rows = read_run(run, options)
    with atomic_writer(path) as stream:
        np.save(stream, rows, allow_pickle=False)
    return rows


def read_run(run: RunFolder, options: TableOptions) -> NDArray[np.void]:
    """Read all samples of one run from its recorded files.

    A future measurement that is missing is replaced by the last one before it, as the published loader does. Frames without a
    picture, which would end its training, are left out.

    Raises:
        RecordError: If a measurement is damaged; the message names the file.
    """
    pictures = {name.split(".")[0] for name in _listed(run.path / "rgb") if name.endswith((".jpg", ".png"))}
    due = range(options.skip_first, len(pictures) - options.pred_len - 2)
    frames = [frame for frame in due if f"{frame:04d}" in pictures]
    if len(frames) < len(due):
        log.warning("%s: %d frames without a picture are left out", run.path, len(due) - len(frames))
    rows = np.zeros(len(frames), dtype=FRAME)
    if not len(rows):
        return rows
    measurements = {}
    for frame in range(due.start, due.stop + options.pred_len):
        path = run.measurement_path(frame)
        if path.is_file():
            measurements[frame] = read_measurement(path)
    labelled = {kind: _label_frames(run, kind) for kind in (COMMENTARY, VQA, DREAMER)}
    shifted = _names(run.path / "rgb_augmented")
    for number, frame in enumerate(frames):
        if frame not in measurements:
            raise RecordError(f"{run.measurement_path(frame)}: missing, but the run has an image of that frame")
        row = rows[number]
        fill_row(row, frame, measurements)
        row["has_commentary"] = frame in labelled[COMMENTARY]
        row["has_vqa"] = frame in labelled[VQA]
        row["has_dreamer"] = frame in labelled[DREAMER]
        row["has_shifted_view"] = f"{frame:04d}" in shifted
    return rows


def fill_row(row: NDArray[np.void], frame: int, measurements: dict[int, Measurement]) -> None:
    """Fill a row with what the measurements of a frame and of those behind it say; labels are marked elsewhere."""
    now = latest = measurements[frame]
    poses = []
    for later in range(frame + 1, frame + NUM_SPEED_WAYPOINTS + 1):
        latest = measurements.get(later, latest)
        poses.append(latest.ego_matrix)
    row["frame"] = frame
    row["waypoints"] = relative_positions(now.ego_matrix, poses)
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


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _names(folder: Path) -> set[str]:
    return {name.split(".")[0] for name in _listed(folder)}


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
    numbers = {run.key: number for number, run in enumerate(table.runs)}
    codes = frame_codes(table.rows["run"], table.rows["frame"])
    result = {}
    for name, paths in buckets.items():
        keys = (bucket_key(path).rpartition("/") for path in paths)
        found = np.array(
            [numbers[run] * FRAMES_PER_RUN + int(frame) for run, _, frame in keys if run in numbers], dtype=np.int64
        )
        result[name] = np.flatnonzero(np.isin(codes, found))
    return result


def frame_codes(runs: NDArray[np.int32], frames: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number (N,) for each run and frame, growing with both."""
    return runs.astype(np.int64) * FRAMES_PER_RUN + frames


def bucket_key(path: str) -> str:
    """``database/simlingo/data/<run key>/measurements/0012.json.gz`` to ``<run key>/0012``."""
    run, _, name = path.rpartition("/measurements/")
    return f"{f'/{run}'.rpartition('/data/')[2] or run}/{name.split('.')[0]}"


def read_buckets(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read a bucket file, name to measurement paths, JSON (``.json`` or ``.json.gz``).

    Raises:
        FileNotFoundError: With the command that makes one.
    """
    source = Path(path)
    if source.suffix == ".pkl":
        raise ValueError(
            f"{source}: pickles are not read, they can run code; make the buckets with python -m dataset_generation.buckets "
            "(--profile parity: by the published rules)"
        )
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no bucket file; make one with python -m dataset_generation.buckets")
    content = read_json(source)
    return {name: list(paths) for name, paths in content.items()}
