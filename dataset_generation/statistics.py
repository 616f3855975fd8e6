"""What a dataset holds, from its index: runs and frames by scenario, town and weather, how fast and how hard it was driven,
and whether the driving is physically plausible.

Run `python -m dataset_generation.index` first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from dataset_generation.index import INDEX_NAME, build_index
from driving.arguments import add_dataset_root
from driving.files import write_json
from driving.geometry import wrap_angle
from driving.records import FRAME_DT_S

EPILOG = """example:
  python -m dataset_generation.statistics --data database/simlingo --plots statistics
"""
COLUMNS = [
    "run", "town", "scenario", "usable", "frame", "theta", "speed", "target_speed", "steer", "throttle", "brake", "junction",
    "changed_route", "command", "decision_rule", "vehicle_hazard", "light_hazard", "walker_hazard", "stop_sign_hazard",
    "world_x", "world_y", "weather_sun_altitude_angle", "weather_precipitation", "weather_fog_density",
]  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """A physical limit of recorded drives.

    Attributes:
        name: Column of `motion`.
        limit: Magnitude that a passenger car on a dry road does not exceed.
        unit: Of both.
        source: Where the number comes from.
    """

    name: str
    limit: float
    unit: str
    source: str


LIMITS = (
    Limit("acceleration", 9.8, "m/s²", "tyre friction of 1 on level ground"),
    Limit("lateral_acceleration", 9.8, "m/s²", "tyre friction of 1 on level ground"),
    Limit("yaw_rate", 1.9, "rad/s", "steering limit of the Lincoln MKZ at walking speed"),
    Limit("curvature", 0.35, "1/m", "turning circle of the Lincoln MKZ, radius about 5.8 m, and its slip at the rear"),
)
MOVING_MPS = 1.0


def motion(frames: pd.DataFrame) -> pd.DataFrame:
    """Accelerations and turning between consecutive frames of a run.

    Args:
        frames: Rows of the index with run, frame, speed and theta.

    Returns:
        Rows for pairs of consecutive frames: acceleration (m/s²), yaw_rate (rad/s), lateral_acceleration (m/s²) and
        curvature (1/m, only above walking speed, else 0).
    """
    ordered = frames.sort_values(["run", "frame"])
    follows = (ordered["run"].astype(str).shift(-1) == ordered["run"].astype(str)) & (
        ordered["frame"].shift(-1) == ordered["frame"] + 1
    )
    speed, after = ordered["speed"].to_numpy(float), ordered["speed"].shift(-1).to_numpy(float)
    turned = wrap_angle(np.nan_to_num(ordered["theta"].shift(-1).to_numpy(float) - ordered["theta"].to_numpy(float)))
    mean_speed = (speed + after) / 2
    yaw_rate = turned / FRAME_DT_S
    table = pd.DataFrame(
        {
            "run": ordered["run"].astype(str).to_numpy(),
            "frame": ordered["frame"].to_numpy(),
            "acceleration": (after - speed) / FRAME_DT_S,
            "yaw_rate": yaw_rate,
            "lateral_acceleration": yaw_rate * mean_speed,
            "curvature": np.where(mean_speed > MOVING_MPS, yaw_rate / np.maximum(mean_speed, MOVING_MPS), 0.0),
        }
    )
    return table[follows.to_numpy()].reset_index(drop=True)


def plausibility(frames: pd.DataFrame) -> list[dict[str, object]]:
    """Share of frame pairs beyond each limit, and the largest value with its place."""
    table, rows = motion(frames), []
    for limit in LIMITS:
        values = table[limit.name].abs()
        worst = int(values.to_numpy().argmax()) if len(values) else -1
        rows.append(
            {
                "quantity": limit.name,
                "unit": limit.unit,
                "limit": limit.limit,
                "source": limit.source,
                "median": float(values.median()) if len(values) else 0.0,
                "99 %": float(values.quantile(0.99)) if len(values) else 0.0,
                "largest": float(values.max()) if len(values) else 0.0,
                "largest_in": f"{table['run'][worst]}/{table['frame'][worst]:04d}" if worst >= 0 else "",
                "share_beyond": float((values > limit.limit).mean()) if len(values) else 0.0,
            }
        )
    return rows


def counts(frames: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Runs, usable runs and frames for every value of a column."""
    found = {}
    for value, group in frames.groupby(frames[column].astype(str)):
        runs = group.groupby(group["run"].astype(str))["usable"].first()
        found[str(value)] = {"runs": len(runs), "usable_runs": int(runs.sum()), "frames": len(group)}
    return found


def weather_kind(frames: pd.DataFrame) -> pd.Series:
    """A word for the weather of each frame: night, fog, rain or clear."""
    kind = pd.Series("clear", index=frames.index)
    kind[frames["weather_precipitation"].fillna(0) > 20] = "rain"
    kind[frames["weather_fog_density"].fillna(0) > 20] = "fog"
    kind[frames["weather_sun_altitude_angle"].fillna(45) < 0] = "night"
    return kind


def summarise(frames: pd.DataFrame) -> dict[str, object]:
    """All statistics as plain values."""
    frames = frames.assign(weather=weather_kind(frames))
    hazards = ["vehicle_hazard", "light_hazard", "walker_hazard", "stop_sign_hazard"]
    shares = ["junction", "changed_route", "brake", *hazards]
    return {
        "runs": int(frames["run"].astype(str).nunique()),
        "frames": len(frames),
        "hours": len(frames) * FRAME_DT_S / 3600,
        "by_scenario": counts(frames, "scenario"),
        "by_town": counts(frames, "town"),
        "by_weather": counts(frames, "weather"),
        "by_rule": {str(k): int(v) for k, v in frames["decision_rule"].astype(str).value_counts().items() if v},
        "speed_quantiles": {f"{q:g}": float(frames["speed"].quantile(q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)},
        "steer_quantiles": {f"{q:g}": float(frames["steer"].abs().quantile(q)) for q in (0.5, 0.9, 0.99, 1.0)},
        "standing": float((frames["speed"] < 0.1).mean()),
        "shares": {name: float(frames[name].mean()) for name in shares},
        "plausibility": plausibility(frames),
    }


def print_summary(summary: dict, console: Console) -> None:
    """Tables for people."""
    console.print(
        f"{summary['runs']} runs, {summary['frames']} frames, {summary['hours']:.2f} h, standing {summary['standing']:.0%}"
    )
    for title in ("by_scenario", "by_town", "by_weather"):
        table = Table(title.removeprefix("by_"), "runs", "usable", "frames")
        for name, row in sorted(summary[title].items(), key=lambda entry: -entry[1]["frames"]):
            table.add_row(name, str(row["runs"]), str(row["usable_runs"]), str(row["frames"]))
        console.print(table)
    rules = Table("rule that set the speed", "frames")
    for name, number in summary["by_rule"].items():
        rules.add_row(name, str(number))
    console.print(rules)
    table = Table("plausibility", "median", "99 %", "largest", "limit", "beyond")
    for row in summary["plausibility"]:
        name = f"{row['quantity']} [{row['unit']}]".replace("[", "\\[")
        numbers = (f"{row[key]:.2f}" for key in ("median", "99 %", "largest", "limit"))
        table.add_row(name, *numbers, f"{row['share_beyond']:.2%}")
    console.print(table)


def plot(frames: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw histograms and the map of driven places. Returns the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    moves = motion(frames)
    figure, axes = plt.subplots(2, 3, figsize=(15, 8), layout="constrained")
    histograms = (
        (axes[0, 0], frames["speed"], "speed [m/s]"),
        (axes[0, 1], frames["steer"], "steer"),
        (axes[0, 2], moves["acceleration"], "acceleration [m/s²]"),
        (axes[1, 0], moves["lateral_acceleration"], "lateral acceleration [m/s²]"),
        (axes[1, 1], moves["curvature"], "curvature [1/m]"),
    )
    for ax, values, label in histograms:
        ax.hist(values.dropna(), bins=60, color="#2a6f97", log=True)
        ax.set_xlabel(label)
        ax.set_ylabel("frames")
    for town, group in frames.groupby(frames["town"].astype(str)):
        axes[1, 2].scatter(group["world_x"], -group["world_y"], s=1, label=str(town))
    axes[1, 2].set_xlabel("x [m]")
    axes[1, 2].set_ylabel("north [m]")
    axes[1, 2].set_aspect("equal")
    axes[1, 2].legend(markerscale=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    path = folder / "statistics.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return [path]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 no dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.statistics",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    parser.add_argument("--plots", type=Path, help="folder for pictures and statistics.json")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of tables")
    options = parser.parse_args(arguments)
    try:
        if not (options.data / INDEX_NAME).is_file():
            build_index(options.data)
        frames = pd.read_parquet(options.data / INDEX_NAME, columns=COLUMNS)
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if frames.empty:
        print(
            f"error: {options.data} holds no frame; record some with python -m dataset_generation.collect",
            file=sys.stderr,
        )
        return 2
    summary = summarise(frames)
    if options.json:
        print(json.dumps(summary))
    else:
        print_summary(summary, Console())
    if options.plots:
        pictures = plot(frames, options.plots)
        write_json(options.plots / "statistics.json", summary)
        print(f"wrote {', '.join(str(path) for path in pictures)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
