"""One Parquet file with a row per recorded frame: everything that sampling and statistics need.

Runs that are in the index already and have not changed are taken over, so extending a large dataset costs what is new.
Positions are in the ego frame of the frame (metres) unless the column says ``world``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from dataset_generation.runs import RouteFacts, judge, route_facts
from driving.arguments import add_dataset_root, positive
from driving.files import atomic_writer
from driving.records import LABEL_KINDS, Matrix, Measurement, RunFolder, read_measurement, require_runs

INDEX_NAME = "index.parquet"
NUM_WAYPOINTS = 10
MAX_ROUTE_POINTS = 40
WEATHER = ("sun_altitude_angle", "cloudiness", "precipitation", "fog_density", "wetness", "wind_intensity")
BRAKE_FLAGS = ("brake", "control_brake", "junction", "changed_route")
HAZARDS = ("vehicle_hazard", "light_hazard", "walker_hazard", "stop_sign_hazard")
NUMBERS = ("theta", "speed", "target_speed", "speed_limit", "steer", "throttle", "angle")
TEXT = pa.dictionary(pa.int32(), pa.string())
EPILOG = """example:
  python -m dataset_generation.index --data database/simlingo
  python -c "import pandas; print(pandas.read_parquet('database/simlingo/index.parquet', columns=['speed']).describe())"
"""

SCHEMA = pa.schema(
    [
        ("run", TEXT),
        ("stamp", TEXT),
        ("town", TEXT),
        ("scenario", TEXT),
        ("usable", pa.bool_()),
        ("rejection", TEXT),
        ("score", pa.float32()),
        ("route_completion", pa.float32()),
        *((f"weather_{name}", pa.float32()) for name in WEATHER),
        ("frame", pa.int32()),
        ("frames_left", pa.int32()),
        ("world_x", pa.float64()),
        ("world_y", pa.float64()),
        ("world_z", pa.float64()),
        *((name, pa.float32()) for name in NUMBERS),
        *((name, pa.bool_()) for name in (*BRAKE_FLAGS, *HAZARDS)),
        ("command", pa.int8()),
        ("next_command", pa.int8()),
        ("target_point", pa.list_(pa.float32(), 2)),
        ("target_point_next", pa.list_(pa.float32(), 2)),
        ("route", pa.list_(pa.float32(), 2 * MAX_ROUTE_POINTS)),
        ("route_length", pa.int16()),
        ("waypoints", pa.list_(pa.float32(), 2 * NUM_WAYPOINTS)),
        ("num_waypoints", pa.int8()),
        ("obstacle_type", TEXT),
        ("obstacle_id", pa.int64()),
        ("obstacle_distance", pa.float32()),
        ("decision_rule", TEXT),
        ("augmentation_translation", pa.float32()),
        ("augmentation_rotation", pa.float32()),
        *((f"has_{name}", pa.bool_()) for name in ("rgb", "rgb_augmented", "lidar", "boxes", *LABEL_KINDS)),
    ]
)


def stamp_of(run: RunFolder) -> str:
    """Changes when files of a run or its labels come or go."""
    places = [run.path / name for name in ("measurements", "rgb", "rgb_augmented", "lidar", "boxes")]
    places += [run.results_path, *(run.label_folder(kind) for kind in LABEL_KINDS.values())]
    return "-".join(format(path.stat().st_mtime_ns, "x") if path.exists() else "0" for path in places)


def _stems(folder: Path) -> set[int]:
    if not folder.is_dir():
        return set()
    names = (name.split(".")[0] for name in os.listdir(folder) if not name.startswith("."))
    return {int(name) for name in names if name.isdigit()}


def future_waypoints(poses: np.ndarray, frame: int) -> np.ndarray:
    """Positions of the following frames in the ego frame of one frame.

    Args:
        poses: (F, 4, 4) ego poses of consecutive frames.
        frame: Row of the frame.

    Returns:
        (n, 2) with n at most 10, metres.
    """
    later = poses[frame + 1 : frame + 1 + NUM_WAYPOINTS, :3, 3] - poses[frame, :3, 3]
    return (later @ poses[frame, :3, :3])[:, :2]


def poses_by_frame(measurements: dict[int, Measurement]) -> np.ndarray:
    """Ego poses (F, 4, 4) of all frames from the first to the last, so that rows lie one frame apart in time; the pose of a
    frame that is missing or unreadable is that of the last one before it."""
    poses: list[Matrix] = []
    for frame in range(min(measurements, default=0), max(measurements, default=-1) + 1):
        poses.append(measurements[frame].ego_matrix if frame in measurements else poses[-1])
    return np.array(poses, dtype=np.float64).reshape(-1, 4, 4)


def _padded(points: np.ndarray, count: int) -> list[float]:
    flat = np.zeros((count, 2), dtype=np.float32)
    points = np.asarray(points, dtype=np.float32).reshape(-1, 2)[:count]
    flat[: len(points)] = points
    return flat.ravel().tolist()


def _frame_columns(m: Measurement) -> dict[str, Any]:
    """Columns that come from one measurement."""
    matrix = m.ego_matrix
    row: dict[str, Any] = {name: getattr(m, name) for name in (*NUMBERS, *BRAKE_FLAGS, *HAZARDS)}
    row |= {
        "world_x": matrix[0][3],
        "world_y": matrix[1][3],
        "world_z": matrix[2][3],
        "command": m.command,
        "next_command": m.next_command,
        "target_point": list(m.target_point)[:2],
        "target_point_next": list(m.target_point_next)[:2],
        "route": _padded(np.asarray(m.route), MAX_ROUTE_POINTS),
        "route_length": min(len(m.route), MAX_ROUTE_POINTS),
        "obstacle_type": m.speed_reduced_by_obj_type,
        "obstacle_id": m.speed_reduced_by_obj_id,
        "obstacle_distance": m.speed_reduced_by_obj_distance,
        "decision_rule": m.extra.get("decision_rule"),
        "augmentation_translation": m.augmentation_translation,
        "augmentation_rotation": m.augmentation_rotation,
    }
    return row


def index_run(run: RunFolder) -> tuple[pa.Table, Counter[str]]:
    """Rows of one run and the reasons for which frames were left out."""
    skipped: Counter[str] = Counter()
    measurements: dict[int, Measurement] = {}
    for frame in run.frames():
        try:
            measurements[frame] = read_measurement(run.measurement_path(frame))
        except ValueError:
            skipped["unreadable measurement"] += 1
    verdict, stamp = judge(run), stamp_of(run)
    try:
        facts = route_facts(run)
    except ValueError:
        facts = RouteFacts(run.town, (), {})
        skipped["unreadable route.xml; scenario and weather"] += 1
    result = verdict.result
    common = {
        "run": run.key,
        "stamp": stamp,
        "town": facts.town,
        "scenario": "+".join(facts.scenarios) or "none",
        "usable": verdict.is_usable,
        "rejection": verdict.reason,
        "score": None if result is None else result.score_composed,
        "route_completion": None if result is None else result.score_route,
        **{f"weather_{name}": facts.weather.get(name) for name in WEATHER},
    }
    present = {name: _stems(run.path / name) for name in ("rgb", "rgb_augmented", "lidar", "boxes")}
    present |= {name: _stems(run.label_folder(kind)) for name, kind in LABEL_KINDS.items()}
    frames = sorted(measurements)
    poses = poses_by_frame(measurements)
    rows = []
    for number, frame in enumerate(frames):
        waypoints = future_waypoints(poses, frame - frames[0])
        row = {**common, **_frame_columns(measurements[frame])}
        row |= {"frame": frame, "frames_left": len(frames) - 1 - number}
        row |= {"waypoints": _padded(waypoints, NUM_WAYPOINTS), "num_waypoints": len(waypoints)}
        row |= {f"has_{name}": frame in stems for name, stems in present.items()}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA), skipped


def _kept_rows(index: Path, current: dict[str, str]) -> tuple[pa.Table | None, set[str]]:
    """Rows of an existing index whose runs have not changed, and the keys of those runs."""
    if not index.is_file():
        return None, set()
    # Row groups have dictionaries of their own, which grouping does not accept.
    table = pq.read_table(index).unify_dictionaries()
    if table.schema.names != SCHEMA.names:
        return None, set()
    pairs = table.select(["run", "stamp"]).group_by(["run", "stamp"]).aggregate([]).to_pylist()
    same = {pair["run"] for pair in pairs if current.get(pair["run"]) == pair["stamp"]}
    if len(same) < len(pairs):
        table = table.filter(pc.is_in(table["run"].cast(pa.string()), pa.array(sorted(same), pa.string())))
    return table, same


def build_index(root: Path, jobs: int = 2, show_progress: bool = True) -> tuple[Path, Counter[str], int]:
    """Make or extend the index of a dataset.

    Args:
        root: Dataset root.
        jobs: Processes.
        show_progress: Draw a progress bar.

    Returns:
        Path of the index, the reasons for which frames were left out, and the number of runs that were read anew.

    Raises:
        FileNotFoundError: If there is no dataset, or no run in it.
        ValueError: If a folder with measurements is not named as a run is.
    """
    runs = require_runs(root)
    index = root / INDEX_NAME
    kept, same = _kept_rows(index, {run.key: stamp_of(run) for run in runs})
    fresh = [run for run in runs if run.key not in same]
    tables = [] if kept is None else [kept]
    skipped: Counter[str] = Counter()
    for table, reasons in tqdm(
        _map(fresh, jobs), total=len(fresh), desc="index", unit="run", disable=not show_progress
    ):
        tables.append(table)
        skipped += reasons
    return write_index(root, pa.concat_tables([SCHEMA.empty_table(), *tables])), skipped, len(fresh)


def write_index(root: Path, table: pa.Table) -> Path:
    """Write the index of a dataset, rows in the order of run and frame; returns its path."""
    path = root / INDEX_NAME
    with atomic_writer(path) as stream:
        pq.write_table(_sorted(table), stream, compression="zstd", row_group_size=65536)
    return path


def _sorted(table: pa.Table) -> pa.Table:
    """Rows in the order of run and frame. Rows that lie together already are not copied."""
    table = table.unify_dictionaries()
    if not len(table):
        return table
    run = pa.concat_arrays(table["run"].chunks)
    rank = np.argsort(np.argsort(run.dictionary.to_pylist()))
    order = np.lexsort([table["frame"].to_numpy(), rank[run.indices.to_numpy()]])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(order) != 1) + 1, [len(order)]])
    return pa.concat_tables(table.slice(order[start], end - start) for start, end in pairwise(starts))


def _map(runs: Sequence[RunFolder], jobs: int) -> Iterable[tuple[pa.Table, Counter[str]]]:
    if jobs <= 1 or len(runs) < 4:
        yield from map(index_run, runs)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(index_run, runs, chunksize=4)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.index",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 no dataset, or one with folders that are no runs."""
    options = make_parser().parse_args(arguments)
    try:
        index, skipped, fresh = build_index(options.data, options.jobs)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = pq.read_table(index, columns=["run", "usable"])
    usable = pc.sum(table["usable"]).as_py() or 0
    print(f"{index}: {len(table)} frames, {usable} of them in usable runs; {fresh} runs read, the others unchanged")
    for reason, count in skipped.most_common():
        print(f"  left out: {count} x {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
