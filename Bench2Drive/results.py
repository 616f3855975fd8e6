"""Reads results files and joins them into one set of records without doubles or silent holes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driving.files import read_json

SUCCESS_STATUSES = ("Completed", "Perfect")
UNSCORED_INFRACTION = "min_speed_infractions"

VERDICTS = ("finished", "failed")
"""Outcomes of ``start_eval.py`` that say something about the driver. What crashed or timed out may have left a record too, of
the last of its attempts; it is a hole all the same."""

_RUN_ID = re.compile(r"RouteScenario_(.+)_rep\d+")

DUPLICATE_POLICIES = ("error", "last", "best")

Record = Mapping[str, Any]


class ResultsError(ValueError):
    """Results cannot be joined as asked; the message says why and what to do."""


def route_number(record: Record) -> str:
    """The id in the route file of a record's route: ``1711`` of ``RouteScenario_1711_rep0``. Ids may hold any letter.

    Raises:
        ResultsError: If the record's id has another form.
    """
    found = _RUN_ID.fullmatch(str(record["route_id"]))
    if found is None:
        raise ResultsError(f"expected a route_id like RouteScenario_<id>_rep<k>, got {record['route_id']!r}")
    return found[1]


def is_success(record: Record) -> bool:
    """Completed without any infraction other than low speed."""
    if record["status"] not in SUCCESS_STATUSES:
        return False
    return not any(messages for key, messages in record["infractions"].items() if key != UNSCORED_INFRACTION)


@dataclass
class Merged:
    """Records of all files of a folder.

    Attributes:
        records: One per route run, sorted by ``route_id`` text, descending, as in the official file.
        files: Files that held records.
        ignored: JSON files that hold no results.
        duplicates: Route ids that occurred more than once.
    """

    records: list[Record]
    files: list[Path]
    ignored: list[Path] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def merge_folder(folder: str | os.PathLike[str], duplicates: str = "error") -> Merged:
    """Join the records of all results files directly in a folder.

    Args:
        folder: Holds the ``*.json`` of the parts. A ``merged*.json`` in it is not read.
        duplicates: What to do with a route that occurs twice: ``error``, keep the ``last`` (by file name) or the ``best``.

    Raises:
        ResultsError: If the folder holds no results, a file is broken, or a route occurs twice and ``duplicates`` is
            ``error``.
    """
    if duplicates not in DUPLICATE_POLICIES:
        raise ValueError(f"unknown policy {duplicates!r}; known: {', '.join(DUPLICATE_POLICIES)}")
    merged = Merged([], [])
    by_id: dict[str, Record] = {}
    for path in sorted(Path(folder).glob("*.json")):
        if path.name.startswith("merged"):
            continue
        records = _records_of(path)
        if records is None:
            merged.ignored.append(path)
            continue
        merged.files.append(path)
        for record in records:
            name = record["route_id"]
            if name in by_id:
                merged.duplicates.append(name)
            if name not in by_id or duplicates == "last" or _composed(record) > _composed(by_id[name]):
                by_id[name] = record
    if not merged.files:
        raise ResultsError(f"{folder}: no results file (*.json with _checkpoint.records) in this folder")
    if merged.duplicates and duplicates == "error":
        names = ", ".join(merged.duplicates[:5])
        raise ResultsError(
            f"{folder}: {len(merged.duplicates)} routes occur twice ({names}); choose to keep the last or best"
        )
    merged.records = [by_id[name] for name in sorted(by_id, reverse=True)]
    return merged


def _records_of(path: Path) -> list[Record] | None:
    """The records of a results file without their index; None if the file is something else.

    Besides an evaluator's official file this may be the ``results.json`` of ``start_eval.py``: its rows with a verdict.

    Raises:
        ResultsError: If it holds several passes over its routes.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    checkpoint = content.get("_checkpoint")
    rows = checkpoint.get("records") if isinstance(checkpoint, dict) else None
    if rows is None and isinstance(content.get("records"), list) and "outcomes" in content:
        rows = [row["record"] for row in content["records"] if row["outcome"] in VERDICTS and row.get("record")]
        if len({record["route_id"] for record in rows}) < len(rows):
            raise ResultsError(
                f"{path} holds several seeds, which are several runs of the benchmark: drive each with an out= of its own, "
                "or take the mean and the deviation from this file, which has them"
            )
    if not isinstance(rows, list):
        return None
    return [{key: value for key, value in record.items() if key != "index"} for record in rows]


def _composed(record: Record) -> float:
    return float(record["scores"]["score_composed"])


def missing_routes(records: Sequence[Record], route_ids: Sequence[str]) -> list[str]:
    """Ids of the route file that no record covers, in file order."""
    present = {route_number(record) for record in records}
    return [name for name in route_ids if name not in present]
