"""One table out of typed outcomes, and the manifest that says what produced it."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from Bench2Drive.metrics import Interval, bootstrap, driving_efficiency
from Bench2Drive.results import is_success
from driving.files import write_json
from jobs.fleet import RouteTask, record_of
from jobs.results import Outcome, RouteResult
from leaderboard.rules import rules_by_name
from team_code.evaluation.config import REPOSITORY, EvalConfig

NO_SCENARIO = "none"
PACKAGES = ("carla", "torch", "transformers", "peft", "numpy", "numba")

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
    """

    task: RouteTask
    result: RouteResult
    record: dict[str, Any] | None

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
class Table:
    """The result of an evaluation.

    Attributes:
        rows: All routes of all seeds.
        driving_score: Mean composed score over all routes that were to be driven, 0 for those without a verdict.
        success_rate: Share of successes over the same routes, percent.
        completion: Mean route completion over the same routes, percent.
        efficiency: Bench2Drive's driving efficiency, percent, or None.
        outcomes: Number of routes by outcome.
    """

    rows: tuple[RouteRow, ...]
    driving_score: Interval
    success_rate: Interval
    completion: float
    efficiency: float | None
    outcomes: Mapping[str, int]

    @property
    def holes(self) -> int:
        """Routes without a verdict; a table with holes is no benchmark result."""
        return sum(not row.result.outcome.is_verdict for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain value for ``results.json``."""
        return {
            "complete": self.holes == 0,
            "routes": len(self.rows),
            "outcomes": dict(self.outcomes),
            "driving_score": asdict(self.driving_score),
            "success_rate": asdict(self.success_rate),
            "route_completion": self.completion,
            "driving_efficiency": self.efficiency,
            "records": [
                {
                    "key": row.task.key,
                    "outcome": row.result.outcome.value,
                    "reason": row.result.reason,
                    "attempts": row.result.attempts,
                    "record": row.record,
                }
                for row in self.rows
            ],
        }


def tabulate(rows: Sequence[RouteRow]) -> Table:
    """Scores over all rows.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("there is no route to make a table of")
    scored = [{"row": row} for row in rows]
    records = [row.record for row in rows if row.record is not None and row.result.outcome.is_verdict]
    return Table(
        rows=tuple(rows),
        driving_score=bootstrap(scored, lambda entry: entry["row"].score),
        success_rate=bootstrap(scored, lambda entry: 100.0 * entry["row"].success),
        completion=sum(row.completion for row in rows) / len(rows),
        efficiency=driving_efficiency(records),
        outcomes={outcome.value: sum(row.result.outcome is outcome for row in rows) for outcome in Outcome},
    )


def collect_rows(out: Path, tasks: Mapping[str, RouteTask], results: Sequence[RouteResult]) -> list[RouteRow]:
    """Join tasks, outcomes and official records."""
    by_key = {result.key: result for result in results}
    rows = []
    for key, task in tasks.items():
        result = by_key.get(key, RouteResult(key, Outcome.NOT_RUN, "not run", 0, ""))
        rows.append(RouteRow(task, result, record_of(out, result, task.route_id)))
    return rows


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file, or None when there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def code_version() -> str:
    """Commit of the repository, with `+changes` when files differ from it; `unknown` outside a checkout."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return "unknown"
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def write_manifest(config: EvalConfig, out: Path) -> dict[str, Any]:
    """Write ``manifest.json``: everything that someone needs to get the same numbers again."""
    checkpoint = Path(config.checkpoint) if config.checkpoint else None
    manifest = {
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config": asdict(config),
        "rules": rules_by_name(config.rules).describe(),
        "routes_sha256": file_hash(config.routes_file),
        "agent_sha256": file_hash(config.agent_file),
        "weights_sha256": file_hash(checkpoint / "model.safetensors") if checkpoint else None,
        "code": code_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
    write_json(out / "manifest.json", manifest)
    return manifest
