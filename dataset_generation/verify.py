"""Check every file of a dataset and say what is broken.

Per run: all frames have all files (LiDAR only where the recorder kept it), frames are numbered without a gap, every JSON
file parses and has its keys, pictures have the size of the camera and decode, LiDAR files decode, the ego moves between
frames as its speed says, the result is readable. Runs without a result (the recording was cut off) are listed but are no
fault: their frames must be whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import laspy
import numpy as np
from tqdm import tqdm

from driving.arguments import positive
from driving.files import read_json
from driving.records import (
    FRAME_DT_S,
    LABEL_KINDS,
    RunFolder,
    frame_name,
    read_boxes,
    read_measurement,
    read_result,
    require_runs,
)

CAMERA_SHAPE = (512, 1024, 3)
FOLDERS = {"measurements": ".json.gz", "boxes": ".json.gz", "rgb": ".jpg", "rgb_augmented": ".jpg", "lidar": ".laz"}
MAX_JUMP_M = 1.5
"""Largest difference between the distance driven in a frame and the one its speeds explain; collisions cause some."""

EPILOG = """example:
  python -m dataset_generation.verify database/simlingo
  python -m dataset_generation.verify database/simlingo --quick     # file names, results and JSON only
"""


@dataclass(frozen=True)
class Fault:
    """Something broken.

    Attributes:
        path: File or folder.
        problem: What was expected and what is there.
    """

    path: Path
    problem: str


@dataclass(frozen=True)
class RunReport:
    """What was checked in one run."""

    run: RunFolder
    num_frames: int
    num_files: int
    is_finished: bool
    faults: tuple[Fault, ...]


def check_picture(path: Path) -> str | None:
    """Why a camera picture is broken, None if it is whole."""
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if len(content) < 4 or bytes(content[-2:]) != b"\xff\xd9":
        return f"expected a complete JPEG, got {len(content)} bytes without an end mark"
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if picture is None:
        return "expected a JPEG, it does not decode"
    if picture.shape != CAMERA_SHAPE:
        return f"expected a picture of shape {CAMERA_SHAPE}, got {picture.shape}"
    return None


def check_points(path: Path) -> str | None:
    """Why a LiDAR file is broken, None if it is whole."""
    try:
        cloud = laspy.read(path)
    except Exception as error:
        return f"expected a LAZ file, it does not decode: {error}"
    return None if len(cloud.points) else "expected LiDAR points, got none"


def check_json(read: Callable[[Path], object]) -> Callable[[Path], str | None]:
    """A check that a reader accepts a file."""

    def check(path: Path) -> str | None:
        try:
            read(path)
        except ValueError as error:
            return str(error).removeprefix(f"{path}: ")
        return None

    return check


CHECKS: dict[str, Callable[[Path], str | None]] = {
    "measurements": check_json(read_measurement),
    "boxes": check_json(read_boxes),
    "rgb": check_picture,
    "rgb_augmented": check_picture,
    "lidar": check_points,
}
HEAVY = ("rgb", "rgb_augmented", "lidar")


def _numbers(folder: Path, ending: str) -> set[int]:
    names = os.listdir(folder) if folder.is_dir() else []
    return {int(name[: -len(ending)]) for name in names if name.endswith(ending) and name[: -len(ending)].isdigit()}


def recorded_folders(run: RunFolder) -> dict[str, str]:
    """The folders that a run must have, and what their files end in: all, unless it says that it keeps no LiDAR sweeps.

    Raises:
        ValueError: If it cannot be read what the run says of itself.
    """
    says = read_json(run.settings_path) if run.settings_path.is_file() else {}
    return {name: ending for name, ending in FOLDERS.items() if name != "lidar" or says.get("lidar_files", True)}


def _completeness(run: RunFolder, present: dict[str, set[int]], is_finished: bool) -> Iterable[Fault]:
    """Missing frames. The last frame of a recording that was cut off may lack files."""
    everything = set().union(*present.values())
    if not everything:
        yield Fault(run.path, "expected recorded frames, there is none")
        return
    last = max(everything)
    for name in present:
        missing = set(range(last + 1)) - present[name]
        if not is_finished:
            missing -= set(range(last - 12, last + 1))
        for frame in sorted(missing)[:5]:
            yield Fault(run.path / name / f"{frame_name(frame)}{FOLDERS[name]}", "missing")
        if len(missing) > 5:
            yield Fault(run.path / name, f"{len(missing)} frames are missing in all")


def _motion(run: RunFolder, frames: Sequence[int]) -> Iterable[Fault]:
    """Frames between which the ego jumps."""
    before: tuple[int, np.ndarray, float] | None = None
    for frame in frames:
        try:
            now = read_measurement(run.measurement_path(frame))
        except ValueError:
            before = None
            continue
        place = np.asarray(now.ego_matrix)[:2, 3]
        if before is not None and frame == before[0] + 1:
            driven = float(np.linalg.norm(place - before[1]))
            explained = max(now.speed, before[2]) * FRAME_DT_S
            if driven > explained + MAX_JUMP_M:
                yield Fault(
                    run.measurement_path(frame), f"the ego jumps {driven:.1f} m, its speed explains {explained:.1f} m"
                )
        before = (frame, place, now.speed)


def verify_run(run: RunFolder, quick: bool = False) -> RunReport:
    """Check one run; with ``quick`` pictures and LiDAR are only looked for, not decoded."""
    faults: list[Fault] = []
    is_finished = run.results_path.is_file()
    if is_finished and (problem := check_json(read_result)(run.results_path)):
        faults.append(Fault(run.results_path, problem))
    try:
        folders = recorded_folders(run)
    except ValueError as error:
        faults.append(Fault(run.settings_path, str(error).removeprefix(f"{run.settings_path}: ")))
        folders = FOLDERS
    present = {name: _numbers(run.path / name, ending) for name, ending in folders.items()}
    faults += _completeness(run, present, is_finished)
    num_files = 0
    for name, ending in folders.items():
        if quick and name in HEAVY:
            continue
        for frame in sorted(present[name]):
            path = run.path / name / f"{frame_name(frame)}{ending}"
            num_files += 1
            if problem := CHECKS[name](path):
                faults.append(Fault(path, problem))
    faults += _motion(run, sorted(present["measurements"]))
    for kind in LABEL_KINDS.values():
        folder = run.label_folder(kind)
        for frame in sorted(_numbers(folder, ".json.gz")):
            path = run.label_path(kind, frame)
            num_files += 1
            if problem := check_json(read_json)(path):
                faults.append(Fault(path, problem))
    faults += [Fault(path, "left over by a writer that was killed") for path in run.path.rglob("*.tmp")]
    return RunReport(run, len(present["measurements"]), num_files, is_finished, tuple(faults))


def verify(root: Path, jobs: int, quick: bool, show_progress: bool = True) -> list[RunReport]:
    """Check all runs of a dataset.

    Raises:
        FileNotFoundError: If there is no dataset, or no run in it.
    """
    runs = require_runs(root)
    if jobs <= 1 or len(runs) < 2:
        return [verify_run(run, quick) for run in tqdm(runs, desc="verify", unit="run", disable=not show_progress)]
    with ProcessPoolExecutor(jobs) as pool:
        reports = pool.map(verify_run, runs, [quick] * len(runs))
        return list(tqdm(reports, total=len(runs), desc="verify", unit="run", disable=not show_progress))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 clean, 1 something is broken, 2 no dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.verify",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, nargs="?", default=Path("database/simlingo"), help="dataset root")
    parser.add_argument("--quick", action="store_true", help="do not decode pictures and LiDAR")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        reports = verify(options.data, options.jobs, options.quick)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for report in reports:
        if not report.is_finished:
            print(f"{report.run.key}: not finished (no results.json.gz), {report.num_frames} frames")
        for fault in report.faults:
            print(f"{fault.path}: {fault.problem}")
    faults = sum(len(report.faults) for report in reports)
    frames, files = sum(r.num_frames for r in reports), sum(r.num_files for r in reports)
    verdict = "clean" if not faults else f"{faults} faults"
    print(f"{options.data}: {len(reports)} runs, {frames} frames, {files} files checked: {verdict}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
