"""Plots of one route: the drive on the map, speed and steering over time, latencies of the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import carla
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from driving.files import read_json

Array = NDArray[np.float64]

ROAD, ROUTE, DRIVEN, EVENT, SCENARIO = "#d7dade", "#f0a202", "#0b5fa5", "#d7263d", "#7b4fa3"
UNSCORED = "min_speed_infractions"
"""Bench2Drive reports the speed relative to traffic at twenty places of every route; these are no infractions."""

MAP_MARGIN_M = 25.0
MAP_ASPECT = 1.25
"""Width over height of the map picture."""


@dataclass(frozen=True)
class Trace:
    """What the evaluator wrote about one drive.

    Attributes:
        town: Name of the map.
        route: (N, 2) planned route, world frame, metres.
        time: (F,) game time, seconds.
        position: (F, 2) ego position, world frame, metres.
        speed: (F,) m/s.
        steer: (F,) steering in [-1, 1].
        events: Scored infractions with kind, t, x, y, message.
        scenarios: Scenarios with type, x, y.
    """

    town: str
    route: Array
    time: Array
    position: Array
    speed: Array
    steer: Array
    events: Sequence[Mapping[str, Any]]
    scenarios: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read a trace file.

        Raises:
            FileNotFoundError, ValueError: As `driving.files.read_json`.
        """
        value = read_json(path)
        frames = value["frames"]
        column = {
            name: np.array([frame[name] for frame in frames], dtype=np.float64)
            for name in ("t", "x", "y", "speed", "steer")
        }
        return cls(
            town=value["town"],
            route=np.asarray(value["route"], dtype=np.float64).reshape(-1, 2),
            time=column["t"],
            position=np.stack([column["x"], column["y"]], axis=1),
            speed=column["speed"],
            steer=column["steer"],
            events=[event for event in value["events"] if event["kind"] != UNSCORED],
            scenarios=value["scenarios"],
        )


@lru_cache(maxsize=8)
def lane_lines(xodr: Path) -> tuple[Array, ...]:
    """Centre lines of all driving lanes of a town, each (N, 2), world frame, metres; about 2 m between points."""
    road_map = carla.Map(xodr.stem, xodr.read_text())
    lines = []
    for start, end in road_map.get_topology():
        points = [start, *start.next_until_lane_end(2.0), end]
        lines.append(np.array([[p.transform.location.x, p.transform.location.y] for p in points]))
    return tuple(lines)


def draw_map(path: Path, trace: Trace, xodr: Path | None) -> None:
    """Write a picture of the roads, the planned route, the driven path and the infractions."""
    figure, axes = plt.subplots(figsize=(6.4, 5.2), dpi=110)
    if xodr is not None:
        axes.add_collection(LineCollection(lane_lines(xodr), colors=ROAD, linewidths=5, capstyle="round", zorder=1))
    axes.plot(*trace.route.T, color=ROUTE, linewidth=5, alpha=0.55, label="route", zorder=2, solid_capstyle="round")
    axes.plot(*trace.position.T, color=DRIVEN, linewidth=1.8, label="driven", zorder=3)
    if len(trace.position):
        axes.plot(*trace.position[0], "o", color=DRIVEN, markersize=6, label="start", zorder=4)
    _mark(axes, trace.scenarios, "type", "^", SCENARIO)
    _mark(axes, trace.events, "kind", "X", EVENT)
    _frame(axes, np.concatenate([trace.route, trace.position]))
    axes.legend(loc="best", fontsize=8, framealpha=0.9)
    _save(figure, path)


def _mark(axes: Axes, places: Sequence[Mapping[str, Any]], name: str, marker: str, colour: str) -> None:
    kinds = dict.fromkeys(place[name] for place in places)
    for kind in kinds:
        points = np.array([[place["x"], place["y"]] for place in places if place[name] == kind])
        label = kind.replace("_", " ")
        axes.scatter(
            points[:, 0], points[:, 1], s=60, marker=marker, color=colour, edgecolors="white", label=label, zorder=5
        )


def _frame(axes: Axes, points: Array) -> None:
    """Show the drive with a margin, one metre equally long on both axes; y grows downwards, as CARLA's y points south."""
    low, high = points.min(axis=0) - MAP_MARGIN_M, points.max(axis=0) + MAP_MARGIN_M
    middle, half = (low + high) / 2, (high - low) / 2
    half = np.maximum(half, half[::-1] * [MAP_ASPECT, 1 / MAP_ASPECT])
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] + half[1], middle[1] - half[1])
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("x [m]")
    axes.set_ylabel("y [m]")
    axes.tick_params(labelsize=8)


def draw_motion(path: Path, trace: Trace) -> None:
    """Write a picture of speed and steering over game time, infractions as vertical lines."""
    figure, (speed_axes, steer_axes) = plt.subplots(
        2, 1, figsize=(6.4, 3.4), dpi=110, sharex=True, height_ratios=[2, 1]
    )
    speed_axes.plot(trace.time, trace.speed * 3.6, color=DRIVEN)
    speed_axes.set_ylabel("speed [km/h]")
    speed_axes.set_ylim(bottom=0)
    steer_axes.plot(trace.time, trace.steer, color=SCENARIO)
    steer_axes.set_ylabel("steer")
    steer_axes.set_ylim(-1.05, 1.05)
    steer_axes.set_xlabel("game time [s]")
    for axes in (speed_axes, steer_axes):
        axes.grid(alpha=0.3)
        for event in trace.events:
            axes.axvline(event["t"], color=EVENT, linewidth=1)
    _save(figure, path)


def draw_latencies(path: Path, stages: Mapping[str, Mapping[str, float]]) -> None:
    """Write a picture of the wall time of each stage of a tick, in the order given.

    Args:
        path: Picture file.
        stages: Stage name to `mean` and `p95`, milliseconds per tick in which it occurred.
    """
    names = list(stages)
    figure, axes = plt.subplots(figsize=(6.4, 1.1 + 0.28 * len(names)), dpi=110)
    means, high = ([stages[name][key] for name in names] for key in ("mean", "p95"))
    axes.barh(names, high, color=ROAD, label="95th percentile")
    axes.barh(names, means, color=DRIVEN, label="mean")
    for row, (middle, top) in enumerate(zip(means, high, strict=True)):
        axes.text(max(middle, top), row, f" {middle:.1f} / {top:.1f}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("wall time per tick [ms]")
    axes.set_xlim(0, max([*high, *means, 1e-3]) * 1.25)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2, frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
