"""Displacement errors of paths and waypoints, overall and by task and bucket.

Letters: n samples, F future points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from simlingo_training.config import NUM_PATH_POINTS, NUM_SPEED_WAYPOINTS, WAYPOINT_STEP_S
from simlingo_training.models.losses import point_loss

Array = NDArray[np.float64]

INSTRUCTED = "dreamer"
"""Start of the task names of instructed alternatives."""

METRICS = ("loss", "path_ade", "path_fde", "waypoint_ade", "waypoint_fde", "speed_error")
"""The driving terms of the training loss together; metres for the next four; m/s for the last."""


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
