"""Scores the results of a Bench2Drive run: merges the parts, prints one table, writes ``merged.json`` and the ability file.

Example:

    python -m Bench2Drive.evaluate results/ --routes bench2drive220.xml
    python -m Bench2Drive.evaluate seed1/ seed2/ seed3/ --routes bench2drive220.xml --towns $CARLA_ROOT

A table with missing routes is refused; ``--allow-holes`` prints it, with both denominators and its holes named.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Bench2Drive.abilities import ABILITY_VERSIONS, AbilityTable, RouteInfo, ability_table
from Bench2Drive.junctions import JunctionShares, read_route_infos
from Bench2Drive.metrics import Interval, bootstrap, driving_efficiency, driving_score, success_rate
from Bench2Drive.results import (
    DUPLICATE_POLICIES,
    Merged,
    Record,
    ResultsError,
    is_success,
    merge_folder,
    missing_routes,
    route_number,
)
from Bench2Drive.smoothness import SmoothnessTable, driving_smoothness
from driving.files import write_json


@dataclass(frozen=True)
class Summary:
    """All metrics of one run.

    Attributes:
        folder: Where the results were.
        num_routes: Routes of the benchmark.
        num_records: Routes with a result.
        missing: Ids without a result.
        score, score_of_n: Driving score over all routes with its interval, and over those with a result.
        success, success_of_n: The same for the success rate, 0 to 1.
        efficiency: Percent, None without data.
        abilities: One table per version.
        smoothness: None if no folder with motion was given.
        by_type: Scenario type to (routes, mean driving score, successes).
        by_town: The same by town.
    """

    folder: Path
    num_routes: int
    num_records: int
    missing: list[str]
    score: Interval
    score_of_n: float
    success: Interval
    success_of_n: float
    efficiency: float | None
    abilities: list[AbilityTable]
    smoothness: SmoothnessTable | None
    by_type: dict[str, tuple[int, float, int]]
    by_town: dict[str, tuple[int, float, int]]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data for machines."""
        return {
            "folder": str(self.folder),
            "routes": self.num_routes,
            "records": self.num_records,
            "missing": self.missing,
            "driving_score": vars(self.score),
            "driving_score_of_n": self.score_of_n,
            "success_rate": vars(self.success),
            "success_rate_of_n": self.success_of_n,
            "efficiency": self.efficiency,
            "abilities": {table.version: table.to_json() for table in self.abilities},
            "smoothness": None if self.smoothness is None else vars(self.smoothness),
        }


def _grouped(records: Sequence[Record], groups: dict[str, str]) -> dict[str, tuple[int, float, int]]:
    """Group to (routes, mean driving score, successes); ``groups`` maps route ids to groups. Missing routes count 0."""
    by_number = {route_number(record): record for record in records}
    rows: dict[str, tuple[int, float, int]] = {}
    for name, group in groups.items():
        count, total, successes = rows.get(group, (0, 0.0, 0))
        record = by_number.get(name)
        score = record["scores"]["score_composed"] if record else 0.0
        rows[group] = (count + 1, total + score, successes + (is_success(record) if record else 0))
    return {group: (count, total / count, successes) for group, (count, total, successes) in sorted(rows.items())}


def summarise(
    merged: Merged,
    folder: Path,
    routes: Sequence[RouteInfo],
    junctions: JunctionShares | None,
    metric_dir: Path | None,
) -> Summary:
    """Compute every metric.

    Args:
        merged: The run's records.
        folder: Where they were found.
        routes: All routes of the benchmark.
        junctions: Answers the traffic-sign rule; None leaves that ability open.
        metric_dir: Root of ``<save name>/metric_info.json``, None to leave smoothness out.

    Raises:
        ResultsError: If there are results of routes that the benchmark does not have, or several of one route.
    """
    records, total = merged.records, len(routes)
    known = {route.route_id for route in routes}
    numbers = Counter(route_number(record) for record in records)
    repeated = [name for name, times in numbers.items() if times > 1]
    if repeated:
        raise ResultsError(
            f"{folder}: several repetitions of the same routes: {', '.join(repeated[:5])}; put each into a folder of its own"
        )
    foreign = sorted(set(numbers) - known)
    if foreign:
        raise ResultsError(f"{folder}: results of routes that are not in the route file: {', '.join(foreign[:5])}")
    return Summary(
        folder=folder,
        num_routes=total,
        num_records=len(records),
        missing=missing_routes(records, [route.route_id for route in routes]),
        score=bootstrap(records, lambda record: record["scores"]["score_composed"], total),
        score_of_n=driving_score(records, None),
        success=bootstrap(records, lambda record: float(is_success(record)), total),
        success_of_n=success_rate(records, None),
        efficiency=driving_efficiency(records),
        abilities=[ability_table(records, routes, version, junctions) for version in ABILITY_VERSIONS],
        smoothness=driving_smoothness(records, metric_dir) if metric_dir is not None else None,
        by_type=_grouped(records, {route.route_id: route.scenario_type for route in routes}),
        by_town=_grouped(records, {route.route_id: route.town for route in routes}),
    )


def _number(value: float | None, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:.2f}"


def render(summary: Summary, details: bool) -> str:
    """The table as text. ``details`` adds scenario types and towns."""
    n, total = summary.num_records, summary.num_routes
    score, success = summary.score, summary.success
    lines = [
        f"{summary.folder}: {n} of {total} routes",
        f"  driving score   {score.value:.4f} over {total} [{score.low:.2f}, {score.high:.2f}]   "
        f"{summary.score_of_n:.4f} over {n}",
        f"  success rate    {success.value:.5f} over {total} [{success.low:.4f}, {success.high:.4f}]   "
        f"{summary.success_of_n:.5f} over {n}",
        f"  efficiency      {_number(summary.efficiency)} %",
    ]
    if summary.smoothness is not None:
        table = summary.smoothness
        lines.append(
            f"  smoothness      {_number(table.official, 100)} % official, {_number(table.corrected, 100)} % corrected, "
            f"{len(table.missing)} routes without motion"
        )
    for abilities in summary.abilities:
        shares = ", ".join(f"{name} {_number(value, 100)}" for name, value in abilities.scores.items())
        lines.append(f"  abilities {abilities.version} {shares}, mean {_number(abilities.mean, 100)} %")
    if summary.missing:
        lines.append(f"  HOLES: {len(summary.missing)} routes have no result: {', '.join(summary.missing)}")
    if details:
        for title, rows in (("scenario type", summary.by_type), ("town", summary.by_town)):
            lines.append(f"  {title:<44} routes  score  successes")
            lines += [f"  {name:<44} {count:>6} {mean:>6.1f} {wins:>10}" for name, (count, mean, wins) in rows.items()]
    return "\n".join(lines)


def render_repetitions(summaries: Sequence[Summary]) -> str:
    """Mean and sample deviation over runs with other seeds."""
    rows = (
        ("driving score", [summary.score.value for summary in summaries], ".4f"),
        ("success rate", [summary.success.value for summary in summaries], ".5f"),
    )
    lines = [f"{len(summaries)} runs"]
    for name, values, form in rows:
        lines.append(f"  {name:<15} {statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}")
    return "\n".join(lines)


def write_files(merged: Merged, summary: Summary, version: str) -> None:
    """Write ``merged.json`` and ``merged_ability.json`` with the official keys beside the results."""
    content = {
        "_checkpoint": {"records": merged.records},
        "driving score": summary.score.value,
        "success rate": summary.success.value,
        "eval num": summary.num_records,
    }
    write_json(summary.folder / "merged.json", content, indent=4)
    table = next(table for table in summary.abilities if table.version == version)
    write_json(summary.folder / "merged_ability.json", table.to_json(), indent=4)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m Bench2Drive.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="results of one run each, *.json directly inside")
    parser.add_argument("--routes", type=Path, required=True, help="route file of the benchmark")
    parser.add_argument("--towns", type=Path, help="folder with <Town>.xodr or a CARLA installation, for Traffic_Signs")
    parser.add_argument("--metric-dir", type=Path, help="root of <save name>/metric_info.json, for smoothness")
    parser.add_argument(
        "--ability-version", choices=ABILITY_VERSIONS, default="0.0.4", help="version of the ability file"
    )
    parser.add_argument("--duplicates", choices=DUPLICATE_POLICIES, default="error", help="routes that occur twice")
    parser.add_argument("--allow-holes", action="store_true", help="print and write a table with missing routes")
    parser.add_argument("--details", action="store_true", help="also by scenario type and town")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry; returns 0, 1 for a table with holes, 2 for wrong input."""
    options = build_parser().parse_args(arguments)
    summaries = []
    try:
        infos, by_id = read_route_infos(options.routes)
        junctions = JunctionShares(by_id, options.towns) if options.towns else None
        for folder in options.folders:
            merged = merge_folder(folder, options.duplicates)
            summary = summarise(merged, folder, infos, junctions, options.metric_dir)
            if summary.missing and not options.allow_holes:
                names = ", ".join(summary.missing)
                print(
                    f"{folder}: no table, {len(summary.missing)} of {len(infos)} routes have no result: {names}",
                    file=sys.stderr,
                )
                return 1
            write_files(merged, summary, options.ability_version)
            print(render(summary, options.details))
            summaries.append(summary)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(summaries) > 1:
        print(render_repetitions(summaries))
    if options.json:
        print(json.dumps([summary.to_json() for summary in summaries]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
