"""Buckets: lists of the frames that are rare and worth seeing often, such as hard braking, turning, or a walker ahead.

Example: ``python -m dataset_generation.buckets --data database/simlingo`` writes ``<data>/buckets/buckets_paths.json.gz`` (bucket
name to measurement files, relative as given), ``buckets_stats.json`` (sizes) and ``buckets.png``. The rules are those of SimLingo
(`RenzKa/simlingo`, `dataset_generation/data_buckets/carla_get_buckets.py`); what the corrected profile changes is in `Settings`.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dataset_generation.language_labels.profiles import PROFILES, Profile, profile_named
from dataset_generation.language_labels.route_data import Frame, LabelFailure, RouteData
from dataset_generation.language_labels.runner import add_failure_limit
from driving.arguments import add_dataset_root, positive
from driving.files import atomic_writer, write_bytes, write_json
from driving.geometry import invert_pose, transform_points
from driving.records import FRAME_DT_S, CarBox, PlacedBox, RunFolder, WalkerBox, frame_name, require_runs

Array = NDArray[np.float64]

FOLDER = "buckets"
PATHS_NAME, STATS_NAME = "buckets_paths.json.gz", "buckets_stats.json"
FAILED_NAME = "frames_without_bucket.json"

FIRST_FRAME = 10
FUTURE_FRAMES = 11

TARGET_SPEED_BOUNDS = (0.5, 5, 10, 15, 20, 25, 1000000)
LATERAL_BOUNDS = (0.1, 1, 2, 5, 1000000)
ACCELERATION_BOUNDS = (-40, -20, -5, -1, 1, 5, 20, 40, 1000000)
LEADING_DISTANCE_M = 30.0
JUNCTION_DISTANCE_M = 10.0
LIGHT_DISTANCE_M = 20.0
STOP_SIGN_DISTANCE_M = 15.0
FAR_JUNCTION_M = 10000.0
FRONT_HALF_ANGLE = 0.6
SIDE_ANGLE = 0.5
VANISH_DISTANCE_M = 10.0
VANISH_FRAMES = 4
BICYCLES = ("vehicle.bh.crossbike", "vehicle.diamondback.century", "vehicle.gazelle.omafiets")
VANISHED = "vehicle_dissapears"
"""Frames whose decisive vehicle disappears; the spelling is that of the published files. They are in no other bucket."""


@dataclass(frozen=True)
class Settings:
    """What differs between the profiles.

    Attributes:
        history: Frames before the current one that the published program asks for, so that the first ones are left out.
        frame_dt: Time between frames used for accelerations, seconds. The published value is wrong: frames are 0.25 s apart.
        wrap_yaw: Whether an oncoming car with a heading near -pi counts as in front.
        failed_runs: Whether runs that did not pass get buckets.
    """

    history: int
    frame_dt: float
    wrap_yaw: bool
    failed_runs: bool


SETTINGS = {
    "parity": Settings(history=2, frame_dt=0.2, wrap_yaw=False, failed_runs=True),
    "corrected": Settings(history=0, frame_dt=FRAME_DT_S, wrap_yaw=True, failed_runs=False),
}


class Moment:
    """A frame with its successors, as the rules see it.

    Args:
        frames: The current frame and its three successors, with boxes.
        route: The run, for the measurements of later frames and its name.
        settings: The profile's settings.
    """

    def __init__(self, frames: Sequence[Frame], route: RouteData, settings: Settings) -> None:
        self.frames = frames
        self.now = frames[0]
        self.m = self.now.measurement
        self.settings = settings
        self.run = route.run
        self.later = [route.measurement(self.now.number + i) for i in range(FUTURE_FRAMES + 1)]

    @cached_property
    def waypoints(self) -> Array:
        """(11, 2) the ego's positions from now on, ego frame, metres."""
        positions = np.array([[row[3] for row in m.ego_matrix[:3]] for m in self.later[:FUTURE_FRAMES]])
        return transform_points(invert_pose(self.m.ego_matrix), positions)[:, :2]

    @cached_property
    def acceleration(self) -> float:
        """Mean over the next second, m/s²."""
        speeds = np.array([m.speed for m in self.later])
        return float(np.mean((np.diff(speeds) / self.settings.frame_dt)[:4]))

    @cached_property
    def lateral(self) -> float:
        """Mean sideways position of the waypoints, metres, without sign."""
        return abs(float(np.mean(self.waypoints[:, 1])))

    @property
    def junction_distance(self) -> float:
        """Distance to the next junction, metres; far away when there is none."""
        distance = self.now.ego.distance_to_junction
        return FAR_JUNCTION_M if distance is None else distance

    @cached_property
    def light(self) -> str | None:
        """`Red` or `Green` when a light is near, else None."""
        state = self.now.ego.traffic_light_state
        return state if self.junction_distance < LIGHT_DISTANCE_M and state in ("Red", "Green") else None

    @cached_property
    def vehicle(self) -> CarBox | None:
        """The vehicle behind a vehicle hazard."""
        found = self.now.cars_by_id.get(self.m.vehicle_affecting_id or -1)
        return found if self.m.vehicle_hazard else None

    @cached_property
    def walker(self) -> WalkerBox | None:
        """The pedestrian behind a walker hazard."""
        wanted = self.m.walker_affecting_id
        return (
            next((walker for walker in self.now.walkers if walker.id == wanted), None) if wanted is not None else None
        )

    @cached_property
    def vehicle_in_front(self) -> bool:
        """Whether the hazard's vehicle faces the ego."""
        if self.vehicle is None:
            return False
        yaw = abs(self.vehicle.yaw) if self.settings.wrap_yaw else self.vehicle.yaw
        return np.pi - FRONT_HALF_ANGLE < yaw < np.pi + FRONT_HALF_ANGLE

    @property
    def vanishes(self) -> bool:
        """Whether a near vehicle that the ego brakes for is missing now or in one of the next three frames."""
        kind, distance = self.m.speed_reduced_by_obj_type, self.m.speed_reduced_by_obj_distance
        if kind is None or not kind.startswith("vehicle.") or kind in BICYCLES:
            return False
        if distance is None or distance >= VANISH_DISTANCE_M:
            return False
        number = self.m.speed_reduced_by_obj_id
        return any(
            all(getattr(box, "id", None) != number for box in frame.boxes) for frame in self.frames[:VANISH_FRAMES]
        )


def first_bound(value: float, bounds: Sequence[float]) -> float:
    """The first bound above a value; the last one when none is."""
    return next((bound for bound in bounds if value < bound), bounds[-1])


def _leading(moment: Moment) -> str | None:
    kind, distance = moment.m.speed_reduced_by_obj_type, moment.m.speed_reduced_by_obj_distance
    if kind is None or distance is None or distance >= LEADING_DISTANCE_M:
        return None
    group = kind.split(".")[0]
    return f"leading_object_{group if group in ('vehicle', 'walker') else kind}"


def _stop_sign_close(moment: Moment) -> bool:
    return any(
        isinstance(box, PlacedBox)
        and "stop_sign" in box.box_class
        and getattr(box, "affects_ego", False)
        and box.distance < STOP_SIGN_DISTANCE_M
        for box in moment.now.boxes
    )


def _mean_step(moment: Moment) -> float:
    return float(np.mean(np.linalg.norm(np.diff(moment.waypoints, axis=0), axis=1)))


def _from_the_side(moment: Moment) -> bool:
    beside = moment.vehicle is not None and not moment.vehicle_in_front and abs(moment.vehicle.yaw) > SIDE_ANGLE
    return beside and moment.light != "Red"


NAMES: tuple[Callable[[Moment], str | None], ...] = (
    lambda x: f"speed_limit_{float(x.m.speed_limit)}",
    lambda x: f"target_speed_{first_bound(x.m.target_speed, TARGET_SPEED_BOUNDS)}",
    lambda x: f"lateral_control_{first_bound(x.lateral, LATERAL_BOUNDS)}",
    lambda x: f"acceleration_{first_bound(x.acceleration, ACCELERATION_BOUNDS)}",
    _leading,
)
"""Buckets whose name depends on a value."""

CONDITIONS: dict[str, Callable[[Moment], bool]] = {
    "start_from_stop_old": lambda x: x.m.speed < 0.5 and _mean_step(x) > 0.1,
    "start_from_stop": lambda x: x.m.speed < 0.5 and x.m.target_speed > 0.8,
    "junction": lambda x: x.junction_distance < JUNCTION_DISTANCE_M,
    "red_light": lambda x: x.light == "Red",
    "green_light": lambda x: x.light == "Green",
    "changed_route": lambda x: x.m.changed_route,
    "vehicle": lambda x: x.vehicle is not None,
    "light": lambda x: x.m.light_hazard,
    "stop_sign": lambda x: x.m.stop_sign_hazard,
    "walker": lambda x: x.m.walker_hazard and x.walker is not None,
    "walker_hazard": lambda x: x.m.walker_hazard and x.walker is None,
    "vehicle_front": lambda x: x.vehicle_in_front and x.light != "Red",
    "vehicle_side": _from_the_side,
    "brake": lambda x: bool(x.m.brake or x.m.control_brake),
    "stop_sign_close": _stop_sign_close,
    "parkinglane": lambda x: "parking_lane" in x.run.key and x.lateral > 0.2,
}
"""Bucket name to its condition; every one that holds applies."""


def buckets_of(moment: Moment) -> list[str]:
    """Names of all buckets a frame belongs to."""
    if moment.vanishes:
        return [VANISHED]
    named = [name for rule in NAMES if (name := rule(moment)) is not None]
    return named + [name for name, holds in CONDITIONS.items() if holds(moment)]


@dataclass
class RunBuckets:
    """Buckets of one run.

    Attributes:
        paths: Bucket to measurement files.
        total: Frames looked at.
        left_out: Reason to number of frames that a rule leaves out.
        failed: Frame to the reason for which it could not be sorted.
    """

    paths: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    total: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def failure_share(self) -> float:
        """Failed frames over all that should have been sorted."""
        wanted = self.total + len(self.failed)
        return len(self.failed) / wanted if wanted else 0.0


def bucket_run(run: RunFolder, profile: Profile) -> RunBuckets:
    """Sort the frames of one run into buckets; each file is read once."""
    settings = SETTINGS[profile.name]
    route = RouteData(run, Path(), profile)
    result = RunBuckets()
    if not settings.failed_runs and route.rejection:
        result.left_out[route.rejection] = len(route.frames)
        return result
    images = len(list((run.path / "rgb").glob("*.jpg")))
    first = FIRST_FRAME + settings.history
    for number in range(first, images - FUTURE_FRAMES - 1):
        try:
            frames = [route.frame(number + i) for i in range(VANISH_FRAMES)]
            names = buckets_of(Moment(frames, route, settings))
        except LabelFailure as reason:
            result.failed[f"{run.key}/{frame_name(number)}"] = str(reason)
            continue
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            result.failed[f"{run.key}/{frame_name(number)}"] = f"unexpected value: {type(error).__name__}: {error}"
            continue
        result.total += 1
        for name in names:
            result.paths[name].append(str(run.measurement_path(number)))
        route.forget_before(number)
    return result


def bucket_dataset(data: Path, profile: Profile, jobs: int) -> RunBuckets:
    """Sort all frames of a dataset into buckets.

    Raises:
        FileNotFoundError: If there is no dataset, or no run in it.
    """
    runs = [run for run in require_runs(data) if (run.path / "rgb").is_dir()]
    merged = RunBuckets()
    work = partial(bucket_run, profile=profile)
    for found in tqdm(_map(work, runs, jobs), total=len(runs), desc="buckets", unit="route"):
        merged.total += found.total
        merged.left_out += found.left_out
        merged.failed |= found.failed
        for name, paths in found.paths.items():
            merged.paths[name] += paths
    merged.paths = {name: sorted(paths) for name, paths in sorted(merged.paths.items())}
    return merged


def _map(work: Callable[[RunFolder], RunBuckets], runs: Sequence[RunFolder], jobs: int) -> Iterator[RunBuckets]:
    if jobs == 1:
        yield from map(work, runs)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(work, runs)


def write_buckets(folder: Path, buckets: RunBuckets, with_pickle: bool) -> None:
    """Write the bucket file, the sizes and a plot; ``with_pickle`` adds the file that the published loader opens."""
    write_json(folder / PATHS_NAME, buckets.paths, indent=None)
    sizes = {name: len(paths) for name, paths in buckets.paths.items()}
    write_json(folder / STATS_NAME, {**sizes, "total": buckets.total}, indent=4)
    write_json(
        folder / FAILED_NAME, {"left_out": dict(buckets.left_out), "failed": dict(sorted(buckets.failed.items()))}
    )
    if with_pickle:
        write_bytes(folder / "buckets_paths.pkl", pickle.dumps(dict(buckets.paths)))
    _plot(folder / "buckets.png", sizes, buckets.total)


def _plot(path: Path, sizes: dict[str, int], total: int) -> None:
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.2 * len(sizes)), dpi=110)
    shares = [100 * size / max(total, 1) for size in sizes.values()]
    axes.barh(list(sizes), shares, color="#0b5fa5")
    axes.invert_yaxis()
    axes.set_xlabel(f"share of {total} frames [%]")
    axes.tick_params(labelsize=7)
    figure.tight_layout()
    with atomic_writer(path) as stream:
        figure.savefig(stream, format="png")
    plt.close(figure)


def main() -> int:
    """Sort a dataset's frames into buckets."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.buckets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    parser.add_argument("--out", type=Path, help=f"output folder (default: {FOLDER} in the dataset root)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="corrected", help="default: %(default)s")
    parser.add_argument("--jobs", type=positive, default=1, help="routes at the same time (default: %(default)s)")
    parser.add_argument("--pickle", action="store_true", help="also write buckets_paths.pkl for the published loader")
    add_failure_limit(parser)
    arguments = parser.parse_args()
    try:
        buckets = bucket_dataset(arguments.data, profile_named(arguments.profile), arguments.jobs)
        folder = arguments.out or arguments.data / FOLDER
        write_buckets(folder, buckets, arguments.pickle)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{buckets.total} frames in {len(buckets.paths)} buckets: {folder / PATHS_NAME}")
    for reason, count in buckets.left_out.most_common():
        print(f"  left out {count:6d}  {reason}")
    for reason, count in Counter(reason.partition(": ")[0] for reason in buckets.failed.values()).most_common():
        print(f"  failed   {count:6d}  {reason} (named in {folder / FAILED_NAME})")
    if buckets.failure_share > arguments.max_failures:
        print(f"error: {buckets.failure_share:.2%} of the frames failed, more than {arguments.max_failures:.2%}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
