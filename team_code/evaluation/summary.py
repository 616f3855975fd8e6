"""One table out of typed outcomes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from Bench2Drive.abilities import ABILITIES, ability_table
from Bench2Drive.junctions import JunctionShares, read_route_infos
from Bench2Drive.metrics import Interval, bootstrap, driving_efficiency
from Bench2Drive.results import is_success
from Bench2Drive.smoothness import driving_smoothness
from driving.files import read_json
from jobs.fleet import RouteTask, record_of, results_path
from jobs.results import Outcome, RouteResult
from leaderboard.utils.towns import TownNotFoundError
from team_code.evaluation.config import EvalConfig

NO_SCENARIO = "none"

INFRACTION_NAMES = {
    "collisions_pedestrian": "pedestrian hit",
    "collisions_vehicle": "vehicle hit",
    "collisions_layout": "object hit",
    "red_light": "red light run",
    "stop_infraction": "stop sign run",
    "outside_route_lanes": "outside its lanes",
    "yield_emergency_vehicle_infractions": "did not yield",
    "scenario_timeouts": "scenario timed out",
    "route_dev": "left the route",
    "vehicle_blocked": "blocked",
    "route_timeout": "route timed out",
    "min_speed_infractions": "slower than traffic",
}


@dataclass(frozen=True)
class RouteRow:
    """One route of one seed in the table.

    Attributes:
        task: What was to be driven.
        result: What became of it.
        record: Official record, or None when the route left none.
        stage_ms: Wall time of each stage of a tick: `ticks`, `mean`, `median`, `p95` in milliseconds, `total_s`.
        smoothness: Bench2Drive's share of smooth driving, 0 to 1, or None where no motion was recorded.
        planned_scenario: Type of the route's scenario in the route file; empty when that is not known.
    """

    task: RouteTask
    result: RouteResult
    record: dict[str, Any] | None
    stage_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    smoothness: float | None = None
    planned_scenario: str = ""

    @property
    def score(self) -> float:
        """Composed score; 0 without a verdict."""
        return float(self.record["scores"]["score_composed"]) if self.record and self.result.outcome.is_verdict else 0.0

    @property
    def completion(self) -> float:
        """Route completion, percent; 0 without a verdict."""
        return float(self.record["scores"]["score_route"]) if self.record and self.result.outcome.is_verdict else 0.0

    @property
    def success(self) -> bool:
        """Bench2Drive's success."""
        return bool(self.record) and self.result.outcome.is_verdict and is_success(self.record or {})

    @property
    def scenario(self) -> str:
        """Type of the route's scenario, or `none`. The official record writes `None` for a route without one."""
        if self.planned_scenario:
            return NO_SCENARIO if self.planned_scenario == "None" else self.planned_scenario
        name = str((self.record or {}).get("scenario_name") or NO_SCENARIO)
        if name == "None":
            return NO_SCENARIO
        return name.rsplit("_", 1)[0] if name.rsplit("_", 1)[-1].isdigit() else name

    def infractions(self) -> Iterator[tuple[str, str]]:
        """(kind, message) of every scored infraction."""
        for kind, messages in (self.record or {}).get("infractions", {}).items():
            if kind != "min_speed_infractions":
                yield from ((kind, message) for message in messages)


@dataclass(frozen=True)
class SeedScore:
    """One complete pass over the routes."""

    seed: int
    driving_score: float
    success_rate: float


@dataclass(frozen=True)
class Table:
    """The result of an evaluation.

    Attributes:
        rows: All routes of all seeds.
        driving_score: Mean composed score over all routes that were to be driven, 0 for those without a verdict.
        success_rate: Share of successes over the same routes, percent.
        completion: Mean route completion over the same routes, percent.
        efficiency: Bench2Drive's driving efficiency, percent, or None.
        smoothness: Bench2Drive's driving smoothness, percent, or None.
        outcomes: Number of routes by outcome.
        seeds: Scores of each seed.
        abilities: Bench2Drive's abilities, percent, over all seeds; None for one that no route tests.
    """

    rows: tuple[RouteRow, ...]
    driving_score: Interval
    success_rate: Interval
    completion: float
    efficiency: float | None
    smoothness: float | None
    outcomes: Mapping[str, int]
    seeds: tuple[SeedScore, ...]
    abilities: Mapping[str, float | None]

    @property
    def holes(self) -> int:
        """Routes without a verdict; a table with holes is no benchmark result."""
        return sum(not row.result.outcome.is_verdict for row in self.rows)

    @property
    def driven(self) -> list[RouteRow]:
        """Rows with a verdict."""
        return [row for row in self.rows if row.result.outcome.is_verdict]

    @property
    def spread(self) -> tuple[float, float] | None:
        """Sample standard deviation of driving score and success rate over the seeds; None for a single seed."""
        if len(self.seeds) < 2:
            return None
        scores, rates = ([getattr(seed, name) for seed in self.seeds] for name in ("driving_score", "success_rate"))
        return statistics.stdev(scores), statistics.stdev(rates)

    def stages(self) -> dict[str, dict[str, float]]:
        """Wall time of each stage over all drives: `ticks`, `total_s`, and `mean` and `p95` in milliseconds, `p95` being the
        mean of the drives' values weighted with their ticks."""
        names = dict.fromkeys(name for row in self.rows for name in row.stage_ms)
        return {name: _merge_stage([row.stage_ms[name] for row in self.rows if name in row.stage_ms]) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Plain value for ``results.json``."""
        driven = self.driven
        return {
            "complete": self.holes == 0,
            "routes": len(self.rows),
            "routes_with_verdict": len(driven),
            "outcomes": dict(self.outcomes),
            "driving_score": asdict(self.driving_score),
            "success_rate": asdict(self.success_rate),
            "driving_score_of_driven": sum(row.score for row in driven) / len(driven) if driven else None,
            "success_rate_of_driven": 100.0 * sum(row.success for row in driven) / len(driven) if driven else None,
            "seeds": [asdict(seed) for seed in self.seeds],
            "seed_deviation": self.spread,
            "route_completion": self.completion,
            "driving_efficiency": self.efficiency,
            "driving_smoothness": self.smoothness,
            "abilities": dict(self.abilities),
            "stage_ms": self.stages(),
            "records": [
                {
                    "key": row.task.key,
                    "outcome": row.result.outcome.value,
                    "reason": row.result.reason,
                    "attempts": row.result.attempts,
                    "smoothness": row.smoothness,
                    "stage_ms": dict(row.stage_ms),
                    "record": row.record,
                }
                for row in self.rows
            ],
        }


def _merge_stage(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    ticks = sum(part["ticks"] for part in parts)
    mean, p95 = (sum(part[name] * part["ticks"] for part in parts) / ticks for name in ("mean", "p95"))
    total_s = sum(part["total_s"] for part in parts)
    return {"ticks": ticks, "mean": round(mean, 3), "p95": round(p95, 3), "total_s": round(total_s, 3)}


def tabulate(rows: Sequence[RouteRow], abilities: Mapping[str, float | None] | None = None) -> Table:
    """Scores over all rows.

    Args:
        rows: One per route and seed.
        abilities: See `ability_scores`; left out for tables without a route file.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("there is no route to make a table of")
    scored = [{"row": row} for row in rows]
    records = [row.record for row in rows if row.record is not None and row.result.outcome.is_verdict]
    smooth = [row.smoothness for row in rows if row.smoothness is not None and row.result.outcome.is_verdict]
    return Table(
        rows=tuple(rows),
        driving_score=bootstrap(scored, lambda entry: entry["row"].score),
        success_rate=bootstrap(scored, lambda entry: 100.0 * entry["row"].success),
        completion=sum(row.completion for row in rows) / len(rows),
        efficiency=driving_efficiency(records),
        smoothness=100.0 * sum(smooth) / len(smooth) if smooth else None,
        outcomes={outcome.value: sum(row.result.outcome is outcome for row in rows) for outcome in Outcome},
        seeds=tuple(seed_score(rows, seed) for seed in sorted({row.task.seed for row in rows})),
        abilities=dict(abilities or {}),
    )


def seed_score(rows: Sequence[RouteRow], seed: int) -> SeedScore:
    """Mean scores of the rows of one seed."""
    mine = [row for row in rows if row.task.seed == seed]
    return SeedScore(
        seed, sum(row.score for row in mine) / len(mine), 100.0 * sum(row.success for row in mine) / len(mine)
    )


def ability_scores(rows: Sequence[RouteRow], config: EvalConfig) -> dict[str, float | None]:
    """Bench2Drive's abilities, percent, each over the routes of all seeds that test it; routes without a verdict fail.

    Traffic_Signs needs the towns' maps and is None where one is missing.
    """
    infos, routes = read_route_infos(config.routes_file)
    wanted = {row.task.route_id for row in rows}
    chosen = [info for info in infos if info.route_id in wanted]
    junctions = JunctionShares(routes, os.environ.get("CARLA_ROOT", ""))
    passed: dict[str, list[float]] = {}
    for seed in sorted({row.task.seed for row in rows}):
        records = [row.record for row in rows if row.task.seed == seed and row.record and row.result.outcome.is_verdict]
        try:
            table = ability_table(records, chosen, junction_share=junctions)
        except (TownNotFoundError, ValueError):
            table = ability_table(records, chosen)
        for name, share in table.strict.items():
            if share is not None:
                passed.setdefault(name, []).append(100.0 * share)
    return {name: sum(passed[name]) / len(passed[name]) if name in passed else None for name in ABILITIES}


def collect_rows(
    out: Path,
    tasks: Mapping[str, RouteTask],
    results: Sequence[RouteResult],
    scenarios: Mapping[str, str] | None = None,
) -> list[RouteRow]:
    """Join tasks, outcomes, official records and what the evaluator noted beside them.

    Args:
        out: Output folder of the evaluation.
        tasks: What was to be driven, by key.
        results: What became of it; tasks without a result were not run.
        scenarios: Route id to the type of its scenario, so that routes without a record count for their type too.
    """
    planned = scenarios or {}
    by_key = {result.key: result for result in results}
    rows = []
    for key, task in tasks.items():
        result = by_key.get(key, RouteResult(key, Outcome.NOT_RUN, "not run", 0, ""))
        record = record_of(out, result, task.route_id)
        job = out / "jobs" / result.job
        scenario = planned.get(task.route_id, "")
        rows.append(RouteRow(task, result, record, _read_stages(job, record), _read_smoothness(job, record), scenario))
    return rows


def _read_stages(job: Path, record: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """The evaluator's ledger of a drive; empty for evaluators that keep none."""
    path = results_path(job).with_name("results_manifest.json")
    if record is None or not path.exists():
        return {}
    notes = read_json(path)["routes"].get(record["route_id"], {})
    stages: dict[str, dict[str, float]] = notes.get("stage_ms", {})
    return stages


def _read_smoothness(job: Path, record: Mapping[str, Any] | None) -> float | None:
    path = job / "drive" / str((record or {}).get("save_name")) / "metric_info.json"
    return driving_smoothness([record], job / "drive").official if record and path.exists() else None


@dataclass(frozen=True)
class Comparison:
    """Two runs on the drives that both hold.

    Attributes:
        pairs: (key, score here, score there), the largest loss first.
        difference: Mean of here minus there, with the interval of a bootstrap over pairs; None without a common drive.
    """

    pairs: tuple[tuple[str, float, float], ...]
    difference: Interval | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.difference is not None and (self.difference.low > 0 or self.difference.high < 0)


def compare(table: Table, other: Table) -> Comparison:
    """Set two runs side by side, drive by drive, where both have a verdict."""
    theirs = {row.task.key: row.score for row in other.driven}
    pairs = [(row.task.key, row.score, theirs[row.task.key]) for row in table.driven if row.task.key in theirs]
    gaps = [{"gap": here - there} for _, here, there in pairs]
    difference = bootstrap(gaps, lambda entry: entry["gap"]) if gaps else None
    return Comparison(tuple(sorted(pairs, key=lambda pair: pair[1] - pair[2])), difference)
