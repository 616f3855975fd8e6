"""Typed outcomes of routes, read from the evaluator's official results file and from how its job ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from jobs.worker import Exit, JobOutcome


class Outcome(str, Enum):
    """What became of a route. `FINISHED` and `FAILED` are verdicts on the driving; the others say nothing about it."""

    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    NOT_RUN = "not run"

    @property
    def is_verdict(self) -> bool:
        """Whether the route was driven to an end that says something about the driver."""
        return self in (Outcome.FINISHED, Outcome.FAILED)


CRASH_STATUSES = (
    "Failed - Simulation crashed",
    "Failed - Agent crashed",
    "Failed - Agent couldn't be set up",
    "Failed - Agent's sensors were invalid",
)
"""Record statuses that mean the route was not driven to a verdict."""


@dataclass(frozen=True)
class RouteResult:
    """The one outcome of a route.

    Attributes:
        key: Unique name of the route within the run (route, repetition, seed).
        outcome: What became of it.
        reason: Status text of the record, or why there is none.
        attempts: How often it was started.
        job: Folder name of the job that produced the outcome, or an empty string.
    """

    key: str
    outcome: Outcome
    reason: str
    attempts: int
    job: str


def route_id_of(name: str) -> str:
    """The id in `RouteScenario_<id>_rep<k>`; a bare id is returned as it is."""
    return name.removeprefix("RouteScenario_").rsplit("_rep", 1)[0]


def read_records(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Route records of an official results file by route id (the `<id>` of `RouteScenario_<id>_rep<k>`).

    A file that is missing gives no records; one that does not parse gives none either, because the evaluator replaces it
    whole and a damaged file can only come from outside: the routes then run again.
    """
    try:
        value = json.loads(checkpoint.read_text())
        records = value["_checkpoint"]["records"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    return {route_id_of(record["route_id"]): record for record in records}


def judge_record(record: dict[str, Any]) -> tuple[Outcome, str]:
    """Outcome and reason from a route record of the official schema."""
    status = record["status"]
    if status in CRASH_STATUSES:
        return Outcome.CRASHED, status
    return (Outcome.FAILED if status.startswith("Failed") else Outcome.FINISHED), status


def judge_missing(job: JobOutcome | None, said: str = "") -> tuple[Outcome, str]:
    """Outcome and reason of a route that was under way, or due next, when its job ended without a record of it.

    Args:
        job: How it ended; None if the worker left no word of that.
        said: The end of the worker's log, which is empty unless something is wrong with the worker itself.
    """
    if job is None:
        return Outcome.CRASHED, f"the worker failed; its log ends:\n{said}" if said else "the worker was killed"
    if job.exit in (Exit.HUNG, Exit.OVER_TIME):
        return Outcome.TIMED_OUT, job.detail
    if job.exit is Exit.DONE:
        return Outcome.CRASHED, "the client ended without an error and without a record of this route"
    return Outcome.CRASHED, f"{job.exit.value}: {job.detail}"


def last_progress(progress: Path) -> dict[str, Any] | None:
    """Last complete line of a progress file, or None."""
    try:
        lines = progress.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        if line.endswith(b"\n"):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
    return None
