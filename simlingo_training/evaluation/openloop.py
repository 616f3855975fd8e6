"""Displacement errors of paths and waypoints, overall and by task and bucket.

As a command it shows the errors of a checkpoint on recorded drives beside those of a driver who holds wheel and speed, by
what the expert does next and by bucket::

    python -m simlingo_training.evaluation.openloop --checkpoint data/checkpoints/simlingo_tiny --data database/heldout

Drives that the expert did not finish cleanly are left out. The policy is asked as it is asked while driving, without
augmentation; the last line is one JSON object. Letters: n samples, F future points.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from driving.arguments import add_dataset_root, positive
from driving.records import RecordError
from simlingo_training.config import NUM_PATH_POINTS, NUM_SPEED_WAYPOINTS, WAYPOINT_STEP_S, DataSettings
from simlingo_training.data import prompts
from simlingo_training.data.dataset import read_image, view_of
from simlingo_training.data.shards import open_files
from simlingo_training.data.table import (
    FrameTable,
    TableOptions,
    buckets_to_rows,
    load_table,
    read_buckets,
)
from simlingo_training.inference import Observation, Policy, Session
from simlingo_training.models.checkpoint import CheckpointError
from simlingo_training.models.losses import point_loss

Array = NDArray[np.float64]

INSTRUCTED = "dreamer"
"""Start of the task names of instructed alternatives."""

METRICS = ("loss", "path_ade", "path_fde", "waypoint_ade", "waypoint_fde", "speed_error")
"""SimLingo's published driving losses together, whatever a run trains with; metres for the next four; m/s for the last."""


def displacement(prediction: Array, label: Array) -> tuple[Array, Array]:
    """Mean and final distance between two point sequences (n, F, 2), each (n,) metres."""
    distance = np.linalg.norm(prediction - label, axis=-1)
    return distance.mean(-1), distance[:, -1]


def waypoint_speed(waypoints: Array) -> Array:
    """Mean speed (n,) over waypoints (n, F, 2), m/s: distance from the first to the last through all, by time."""
    steps = np.linalg.norm(np.diff(waypoints, axis=1), axis=-1)
    return steps.mean(-1) / WAYPOINT_STEP_S


def straight_at_constant_speed(speed: Array) -> tuple[Array, Array]:
    """What a driver who holds wheel and speed would do.

    Args:
        speed: (n,) m/s.

    Returns:
        Path (n, 20, 2), one metre apart straight ahead, and waypoints (n, 10, 2), ego frame, metres.
    """
    ahead = np.broadcast_to(np.arange(NUM_PATH_POINTS, dtype=np.float64), (len(speed), NUM_PATH_POINTS))
    times = WAYPOINT_STEP_S * np.arange(1, NUM_SPEED_WAYPOINTS + 1)
    travelled = speed[:, None] * times
    return _on_x(ahead), _on_x(travelled)


def _on_x(x: Array) -> Array:
    return np.stack([x, np.zeros_like(x)], axis=-1)


def driving_loss(prediction: Array, label: Array) -> Array:
    """The training loss (n,) of points (n, F, 2), see `point_loss`."""
    return point_loss(torch.from_numpy(prediction), torch.from_numpy(label)).mean(-1).double().numpy()


def errors(path: Array | None, waypoints: Array, path_label: Array, waypoint_label: Array) -> dict[str, Array]:
    """All metrics of n samples; those of the path are left out when none was predicted."""
    result = {"loss": driving_loss(waypoints, waypoint_label)}
    if path is not None:
        result["loss"] += driving_loss(path, path_label)
        result["path_ade"], result["path_fde"] = displacement(path, path_label)
    result["waypoint_ade"], result["waypoint_fde"] = displacement(waypoints, waypoint_label)
    result["speed_error"] = np.abs(waypoint_speed(waypoints) - waypoint_speed(waypoint_label))
    return result


@dataclass
class OpenLoopReport:
    """Collects errors batch by batch.

    Attributes:
        model, straight: Metric to errors of the model and of the constant-speed straight predictor.
        groups: Group name of each sample (task and bucket).
    """

    model: dict[str, list[Array]] = field(default_factory=dict)
    straight: dict[str, list[Array]] = field(default_factory=dict)
    groups: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self,
        path: Array | None,
        waypoints: Array,
        path_label: Array,
        waypoint_label: Array,
        speed: Array,
        tasks: Sequence[str],
        buckets: Sequence[str],
    ) -> None:
        """Add a batch of n samples, shapes as in `errors`, speed (n,) m/s."""
        for store, found in (
            (self.model, errors(path, waypoints, path_label, waypoint_label)),
            (self.straight, errors(*straight_at_constant_speed(speed), path_label, waypoint_label)),
        ):
            for name, values in found.items():
                store.setdefault(name, []).append(values)
        self.groups.extend(zip(tasks, buckets))

    def extend(self, other: OpenLoopReport) -> None:
        """Add the errors that another report collected."""
        for mine, theirs in ((self.model, other.model), (self.straight, other.straight)):
            for name, parts in theirs.items():
                mine.setdefault(name, []).extend(parts)
        self.groups.extend(other.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def means(self, of: Mapping[str, list[Array]], wanted: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Mean of each metric over all or the marked samples."""
        joined = {name: np.concatenate(parts) for name, parts in of.items()}
        return {name: float((v if wanted is None else v[wanted]).mean()) for name, v in joined.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """``model``, ``straight`` and, for each task and bucket, ``task/...`` and ``bucket/...`` of the model.

        The first two count what the expert drove, as long as there is any; instructed alternatives, which no driver could
        guess without the instruction, only appear below.
        """
        if not len(self):
            return {}
        expert = np.array([not task.startswith(INSTRUCTED) for task, _ in self.groups])
        wanted = expert if expert.any() else None
        result = {"model": self.means(self.model, wanted), "straight": self.means(self.straight, wanted)}
        for place, kind in enumerate(("task", "bucket")):
            names = np.array([group[place] for group in self.groups])
            for name in sorted(set(names)):
                result[f"{kind}/{name}"] = self.means(self.model, names == name)
        return result


def table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The summary as aligned text."""
    width = max((len(name) for name in summary), default=0)
    lines = [" " * width + "".join(f"{name:>15}" for name in METRICS)]
    for name, values in summary.items():
        cells = (f"{values[metric]:15.3f}" if metric in values else f"{'-':>15}" for metric in METRICS)
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)


STANDING_M_S = 0.5
"""Below that a car stands, m/s."""

CHANGE_M_S = 1.5
"""A speed that changes by less within the 2.5 s of the waypoints is held, m/s."""

KERB_M = 1.5
"""A drive that ends further to the side than that turns, metres."""


@dataclass(frozen=True)
class Motion:
    """What the expert does from n frames on: speed now and at the last waypoint (n,), m/s, and waypoints (n, 10, 2)."""

    speed: Array
    end_speed: Array
    waypoints: Array


@dataclass(frozen=True)
class Regime:
    """One row of the table of regimes: which frames (n,) belong to it."""

    name: str
    holds: Callable[[Motion], NDArray[np.bool_]]


def _stands(motion: Motion) -> NDArray[np.bool_]:
    return motion.speed < STANDING_M_S


def _ends_standing(motion: Motion) -> NDArray[np.bool_]:
    return motion.end_speed < STANDING_M_S


REGIMES = (
    Regime("standing", lambda m: _stands(m) & _ends_standing(m)),
    Regime("moving off", lambda m: _stands(m) & ~_ends_standing(m)),
    Regime("coming to a stop", lambda m: ~_stands(m) & _ends_standing(m)),
    Regime("braking", lambda m: ~_stands(m) & ~_ends_standing(m) & (m.end_speed < m.speed - CHANGE_M_S)),
    Regime("speeding up", lambda m: ~_stands(m) & (m.end_speed > m.speed + CHANGE_M_S)),
    Regime("holding speed", lambda m: ~_stands(m) & ~_ends_standing(m) & (abs(m.end_speed - m.speed) <= CHANGE_M_S)),
    Regime("turning", lambda m: abs(m.waypoints[:, -1, 1]) > KERB_M),
    Regime("not standing", lambda m: ~(_stands(m) & _ends_standing(m))),
)
"""What the expert does next. The first six divide the frames among them. One long wait can be a sixth of a set, and whoever
holds a speed of zero is always right there: ``not standing`` is the fairer sum."""


@dataclass(frozen=True)
class Forecasts:
    """What a policy predicts for n frames of a table.

    Attributes:
        rows: (n,) rows of the table.
        path: (n, 20, 2) metres.
        waypoints: (n, 10, 2) metres.
    """

    rows: NDArray[np.int64]
    path: Array
    waypoints: Array


def forecast(policy: Policy, table: FrameTable, rows: NDArray[np.int64], batch_size: int, comment: bool) -> Forecasts:
    """Ask a policy about frames of a table, each as if it were the first of a drive.

    Args:
        policy: Who is asked.
        table: Frames.
        rows: (n,) which of them.
        batch_size: Frames at a time.
        comment: Ask for a commentary before the waypoints.

    Raises:
        FileNotFoundError, ValueError: If a picture is missing or damaged.
    """
    files = open_files(table.root)
    ask = prompts.commentary_prompt if comment else prompts.driving_prompt
    predictions = []
    with tqdm(total=len(rows), desc="frames", unit="frame") as progress:
        for chunk in np.array_split(rows, max(1, -(-len(rows) // batch_size))):
            asked = []
            for record in table.rows[chunk]:
                speed = float(record["speed"])
                image = read_image(table.runs[record["run"]].rgb_path(int(record["frame"])), files)
                points = record["target_points"].astype(np.float64)
                asked.append(Observation(image, speed, points, ask(speed, prompts.points_sentence())))
            predictions += policy.act_batch(asked, [Session() for _ in asked])
            progress.update(len(chunk))
    path, waypoints = (np.stack([getattr(p, name) for p in predictions]) for name in ("path", "speed_waypoints"))
    return Forecasts(rows, path.astype(np.float64), waypoints.astype(np.float64))


def compare(
    table: FrameTable, found: Forecasts, groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float]]:
    """Errors of forecasts and of the straight driver in groups of frames.

    Args:
        table: Frames.
        found: Forecasts of n of them.
        groups: Name to marks (n,).

    Returns:
        For ``all``, each regime and each group that is not empty: ``frames``, the metrics of the model, those of the straight
        driver (``straight_…``), and how much faster than the expert the model would be (``speed_bias``, m/s).
    """
    records = table.rows[found.rows]
    views = [view_of(record, shifted=False) for record in records]
    path_label, label = np.stack([view.path for view in views]), np.stack([view.waypoints for view in views])
    speed = records["speed"].astype(np.float64)
    columns = errors(found.path, found.waypoints, path_label, label)
    straight = errors(*straight_at_constant_speed(speed), path_label, label)
    columns |= {f"straight_{name}": values for name, values in straight.items()}
    columns["speed_bias"] = waypoint_speed(found.waypoints) - waypoint_speed(label)
    end_speed = np.linalg.norm(label[:, -1] - label[:, -2], axis=-1) / WAYPOINT_STEP_S
    motion = Motion(speed, end_speed, label)
    marks = {"all": np.ones(len(records), dtype=bool), **{r.name: r.holds(motion) for r in REGIMES}, **groups}
    return {
        name: {"frames": int(wanted.sum()), **{column: float(v[wanted].mean()) for column, v in columns.items()}}
        for name, wanted in marks.items()
        if wanted.any()
    }


def bucket_marks(table: FrameTable, rows: NDArray[np.int64], file: Path) -> dict[str, NDArray[np.bool_]]:
    """Marks (n,) of the rows in each bucket of a bucket file; nothing without the file. A frame may lie in several."""
    if not file.is_file():
        return {}
    found = buckets_to_rows(table, read_buckets(file))
    return {f"bucket {name}": np.isin(rows, members) for name, members in sorted(found.items()) if name != "all"}


def comparison_table(comparison: Mapping[str, Mapping[str, float]]) -> str:
    """The comparison as aligned text: model / straight driver, metres; bias in m/s."""
    width = max(map(len, comparison))
    shown = ("path_ade", "path_fde", "waypoint_ade", "waypoint_fde")
    lines = [f"{'':<{width}}  frames" + "".join(f"{name:>17}" for name in shown) + "  speed_bias"]
    for name, values in comparison.items():
        cells = (f"{values[metric]:8.2f} /{values[f'straight_{metric}']:7.2f}" for metric in shown)
        lines.append(f"{name:<{width}}{values['frames']:8d}" + "".join(cells) + f"{values['speed_bias']:12.2f}")
    return "\n".join(lines)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask the policy, print the table, and return it with what was asked.

    Raises:
        FileNotFoundError, ValueError, RecordError, CheckpointError: If drives or checkpoint cannot be read.
    """
    root = arguments.data
    options = TableOptions(skip_first=0, pred_len=DataSettings().pred_len, filter_results=not arguments.unclean)
    table = load_table(root, options)
    rows = np.arange(0, len(table), arguments.every)
    policy = Policy.load(arguments.checkpoint, arguments.device)
    found = forecast(policy, table, rows, arguments.batch_size, arguments.commentary)
    buckets = bucket_marks(table, rows, arguments.buckets or root / "buckets" / "buckets_paths.json.gz")
    comparison = compare(table, found, buckets)
    print("displacement errors: model / straight at constant speed (metres); faster than the expert by (m/s)")
    print(comparison_table(comparison))
    asked = {"checkpoint": str(arguments.checkpoint), "data": str(root), "drives": len(table.runs)}
    return {**asked, "left_out": table.rejected, "errors": comparison}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simlingo_training.evaluation.openloop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint directory")
    add_dataset_root(parser)
    parser.add_argument(
        "--buckets", type=Path, help="bucket file (default: DATA/buckets/buckets_paths.json.gz, if any)"
    )
    parser.add_argument("--every", type=positive, default=1, help="take every n-th frame (%(default)s)")
    parser.add_argument("--batch-size", type=positive, default=16, help="frames at a time (%(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (%(default)s)")
    parser.add_argument("--commentary", action="store_true", help="let the model say what it does before it does it")
    parser.add_argument(
        "--unclean", action="store_true", help="count drives too that the expert did not finish cleanly"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 wrong input."""
    try:
        result = evaluate(make_parser().parse_args(arguments))
    except (FileNotFoundError, CheckpointError, RecordError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
