"""Driving smoothness (comfort): as the official tool computes it, and with its units set right.

Source: Thinklab-SJTU/Bench2Drive, tools/efficiency_smoothness_benchmark.py; limits from nuPlan's comfort metrics. The official
tool takes the 20 Hz frames for 10 Hz (halving jerk), CARLA's deg/s for rad/s, and yaw rate for yaw acceleration; published
numbers depend on that, so it is kept, and the corrected value stands beside it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driving.files import read_json
from driving.geometry import Array

CHUNK_FRAMES = 20
WINDOW_FRAMES = 7
POLYNOMIAL_ORDER = 2

MAX_JERK = 8.37
"""m/s³."""
MAX_LATERAL_ACCELERATION = 4.89
"""m/s²."""
LONGITUDINAL_ACCELERATION = (-4.05, 2.40)
"""m/s²."""
MAX_LONGITUDINAL_JERK = 4.13
"""m/s³."""
MAX_YAW_ACCELERATION = 1.93
"""rad/s²."""
MAX_YAW_RATE = 0.95
"""rad/s."""


@dataclass(frozen=True)
class SmoothnessRule:
    """How frames are read.

    Attributes:
        name: For reports.
        frame_s: Time between frames, seconds.
        yaw_rate_scale: Turns the recorded angular velocity into rad/s.
        differentiate_yaw_rate: Take the derivative for the yaw acceleration instead of the rate itself.
        unwrap_yaw_rate: Treat rates like angles and remove steps of 2 pi.
    """

    name: str
    frame_s: float
    yaw_rate_scale: float
    differentiate_yaw_rate: bool
    unwrap_yaw_rate: bool


OFFICIAL = SmoothnessRule("comfort_official", 0.1, 1.0, differentiate_yaw_rate=False, unwrap_yaw_rate=True)
CORRECTED = SmoothnessRule(
    "comfort_corrected", 0.05, float(np.pi / 180), differentiate_yaw_rate=True, unwrap_yaw_rate=False
)


@dataclass(frozen=True)
class Motion:
    """The ego's motion over N frames, world frame.

    Attributes:
        acceleration, forward, right: (N, 2), m/s² and unit vectors.
        yaw_rate: (N,) as recorded, degrees per second in CARLA.
    """

    acceleration: Array
    forward: Array
    right: Array
    yaw_rate: Array

    def __len__(self) -> int:
        return len(self.yaw_rate)

    def part(self, start: int, end: int) -> Motion:
        """Frames ``start`` to ``end``."""
        return Motion(
            self.acceleration[start:end], self.forward[start:end], self.right[start:end], self.yaw_rate[start:end]
        )


def read_motion(path: str | os.PathLike[str]) -> Motion:
    """Read a ``metric_info.json``: frame number to acceleration, angular_velocity, forward_vector, right_vector.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or a frame lacks a value.
    """
    frames = list(read_json(path).values())
    try:
        return motion_of(frames)
    except KeyError as error:
        raise ValueError(f"{path}: a frame has no {error.args[0]!r}") from error


def motion_of(frames: Sequence[Mapping[str, Any]]) -> Motion:
    """Stack recorded frames (see `AutonomousAgent.get_metric_info`) into arrays."""

    def plane(key: str) -> Array:
        return np.array([frame[key][:2] for frame in frames], dtype=np.float64).reshape(-1, 2)

    yaw_rate = np.array([frame["angular_velocity"][2] for frame in frames], dtype=np.float64)
    return Motion(plane("acceleration"), plane("forward_vector"), plane("right_vector"), yaw_rate)


def is_smooth(motion: Motion, rule: SmoothnessRule) -> bool:
    """Whether every filtered quantity stays strictly within its limits.

    Raises:
        ValueError: If there are fewer than 3 frames, too few for the filter.
    """
    from scipy.signal import savgol_filter  # slow to import, and needed only when all drives are over

    window = min(WINDOW_FRAMES, len(motion))
    if window <= POLYNOMIAL_ORDER:
        raise ValueError(f"smoothness needs at least {POLYNOMIAL_ORDER + 1} frames, got {len(motion)}")

    def smooth(values: Array, derivative: int = 0) -> Array:
        filtered = savgol_filter(values, window, POLYNOMIAL_ORDER, deriv=derivative, delta=rule.frame_s)
        return np.asarray(filtered, dtype=np.float64)

    longitudinal = smooth(np.einsum("ij,ij->i", motion.acceleration, motion.forward))
    lateral = smooth(np.einsum("ij,ij->i", motion.acceleration, motion.right))
    magnitude = smooth(np.hypot(motion.acceleration[:, 0], motion.acceleration[:, 1]))
    raw_rate = _unwrap(motion.yaw_rate) if rule.unwrap_yaw_rate else motion.yaw_rate
    yaw_rate = smooth(raw_rate * rule.yaw_rate_scale)
    yaw_acceleration = smooth(yaw_rate, derivative=1) if rule.differentiate_yaw_rate else yaw_rate
    lowest, highest = LONGITUDINAL_ACCELERATION
    return bool(
        np.all((longitudinal > lowest) & (longitudinal < highest))
        and np.all(np.abs(lateral) < MAX_LATERAL_ACCELERATION)
        and np.all(np.abs(smooth(magnitude, derivative=1)) < MAX_JERK)
        and np.all(np.abs(smooth(longitudinal, derivative=1)) < MAX_LONGITUDINAL_JERK)
        and np.all(np.abs(yaw_acceleration) < MAX_YAW_ACCELERATION)
        and np.all(np.abs(yaw_rate) < MAX_YAW_RATE)
    )


def _unwrap(values: Array) -> Array:
    """Remove whole turns between successive values."""
    turns = np.round(np.diff(values) / (2 * np.pi))
    return values - 2 * np.pi * np.concatenate([[0.0], np.cumsum(turns)])


def route_smoothness(motion: Motion, rule: SmoothnessRule) -> float:
    """Share of whole 20-frame chunks that are smooth; a route of at most 20 frames is one chunk."""
    if len(motion) <= CHUNK_FRAMES:
        return float(is_smooth(motion, rule))
    starts = range(0, len(motion) - CHUNK_FRAMES + 1, CHUNK_FRAMES)
    return sum(is_smooth(motion.part(start, start + CHUNK_FRAMES), rule) for start in starts) / len(starts)


@dataclass(frozen=True)
class SmoothnessTable:
    """Means over the routes whose motion was recorded, 0 to 1; None without any. ``missing`` lists the other routes."""

    official: float | None
    corrected: float | None
    missing: list[str]


def driving_smoothness(records: Sequence[Mapping[str, Any]], metric_dir: str | os.PathLike[str]) -> SmoothnessTable:
    """Mean smoothness over records, from ``<metric_dir>/<save_name>/metric_info.json``.

    Routes without a file, or with fewer than 3 frames, are listed as missing instead of ending the run.
    """
    official, corrected, missing = [], [], []
    for record in records:
        path = Path(metric_dir) / str(record.get("save_name")) / "metric_info.json"
        motion = read_motion(path) if path.exists() else None
        if motion is None or len(motion) <= POLYNOMIAL_ORDER:
            missing.append(str(record["route_id"]))
            continue
        official.append(route_smoothness(motion, OFFICIAL))
        corrected.append(route_smoothness(motion, CORRECTED))
    return SmoothnessTable(_mean(official), _mean(corrected), missing)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
