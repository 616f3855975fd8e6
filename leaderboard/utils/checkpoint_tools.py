"""Keeps results safe while a run goes on: a journal that survives the end of the process at any moment, and the results
file made from it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driving.files import read_json, write_json
from leaderboard.utils.statistics_manager import (
    CRASHES,
    EntryStatus,
    FailureReason,
    RouteRecord,
    Scores,
    entry_status_of,
    results_file,
)

JOURNAL_SUFFIX = ".journal.jsonl"
PROGRESS_SUFFIX = ".progress.jsonl"


DECISIVE = ("rules", "routes_sha256", "seed", "track", "background_traffic")
"""What results of one file must have in common: routes driven otherwise are no part of the same run."""

WORTH_KNOWING = ("agent", "agent_config", "server_version")
"""What may differ for good reasons, such as a folder that was moved, and is told."""


class CheckpointError(ValueError):
    """Earlier results cannot be continued; the message says why and what to do."""


def append_line(path: Path, entry: Mapping[str, Any], sync: bool = True) -> None:
    """Append one JSON line; with ``sync`` it is on the disk when this returns.

    A torn line that an earlier process left at the end is closed first, so that it cannot spoil this one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(entry).encode() + b"\n")
        if sync:
            stream.flush()
            os.fsync(stream.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a JSON-lines file; torn ones (of processes that were killed while writing) are skipped."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


@dataclass
class RunState:
    """What is known of a run.

    Attributes:
        records: Finished routes, in the form of the results file, by run id.
        notes: What the official schema has no place for, by run id.
        attempts: How often each route was begun.
        sensors: Icons of the agent's sensors, None before it was asked for them.
        identity: What the results belong to: rules, route file hash, agent.
    """

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    sensors: list[str] | None = None
    identity: dict[str, Any] = field(default_factory=dict)


def replay(entries: Sequence[Mapping[str, Any]]) -> RunState:
    """Rebuild the state of a run from the entries of its journal."""
    state = RunState()
    for entry in entries:
        event, run_id = entry.get("event"), str(entry.get("run"))
        if event == "run":
            state.identity = dict(entry["identity"])
        elif event == "sensors":
            state.sensors = list(entry["sensors"])
        elif event == "begin":
            state.attempts[run_id] = state.attempts.get(run_id, 0) + 1
        elif event == "end":
            state.records[run_id] = dict(entry["record"])
            state.notes[run_id] = dict(entry["notes"])
    return state


def _state_of_results(path: Path) -> RunState:
    """The state that a results file without a journal tells of."""
    content = read_json(path)
    try:
        records = content["_checkpoint"]["records"]
        state = RunState(sensors=list(content["sensors"]) or None)
        for record in records:
            state.records[record["route_id"]] = dict(record)
            state.attempts[record["route_id"]] = 1
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is JSON but not a results file: {error!r} is missing") from error
    return state


class Checkpoint:
    """The results of one run on disk.

    Three files: ``<path>`` in the official schema, rewritten after each route; ``<path>.journal.jsonl`` from which it can be
    rebuilt; ``<stem>_manifest.json`` with what the official schema has no place for.
    """

    def __init__(self, path: str | os.PathLike[str], run_ids: Sequence[str], identity: Mapping[str, Any]):
        """Args: run_ids: All runs in order. identity: What the results belong to; compared when a run is resumed."""
        self.path = Path(path)
        self.journal = Path(f"{path}{JOURNAL_SUFFIX}")
        self.manifest_path = self.path.with_name(f"{self.path.stem}_manifest.json")
        self._run_ids = list(run_ids)
        self._identity = dict(identity)
        self.state = RunState()

    def start(self, resume: bool) -> None:
        """Begin the run: take over earlier results, or move them aside.

        Raises:
            CheckpointError: If ``resume`` is asked but the earlier results are of another benchmark, route file, seed, track
                or traffic.
        """
        if resume:
            self._take_over()
        else:
            self._move_aside()
        append_line(self.journal, {"event": "run", "identity": self._identity, "time": time.time()})

    def _take_over(self) -> None:
        entries = read_lines(self.journal)
        if entries:
            self.state = replay(entries)
        elif self.path.exists():
            try:
                self.state = _state_of_results(self.path)
            except ValueError as error:
                aside = self._move_aside()
                print(f"Cannot resume: {error}. The old file is kept as {aside}; starting fresh.", flush=True)
                return
        for key, old in self.state.identity.items():
            new = self._identity.get(key)
            if key in DECISIVE and new != old:
                raise CheckpointError(
                    f"{self.path} belongs to {key} {old!r}, this run has {new!r}; "
                    "choose another --checkpoint or leave out --resume"
                )
            if key in WORTH_KNOWING and new != old and self.state.records:
                print(f"Note: the results so far are of {key} {old!r}, this run has {new!r}", flush=True)
        for run_id in [name for name in self.state.records if name not in self._run_ids]:
            del self.state.records[run_id]

    def _move_aside(self) -> Path | None:
        """Rename files of an earlier run to ``<name>.<n>.old``; results are never overwritten by a new run."""
        moved = None
        for path in (self.path, self.journal, self.manifest_path):
            if path.exists():
                n = 1
                while (aside := path.with_name(f"{path.name}.{n}.old")).exists():
                    n += 1
                path.rename(aside)
                moved = moved or aside
        return moved

    def is_due(self, run_id: str, max_attempts: int) -> bool:
        """Whether a route must still be driven: never ended, or ended by a crash with attempts left."""
        attempts = self.state.attempts.get(run_id, 0)
        record = self.state.records.get(run_id)
        if record is None:
            return attempts < max_attempts
        is_crash = record["status"] in {reason.status for reason in CRASHES}
        return is_crash and attempts < max_attempts

    def give_up(self, run_id: str) -> None:
        """Record a route as crashed that was begun as often as allowed but never ended."""
        record = RouteRecord(run_id, FailureReason.SIMULATION_CRASHED.status, Scores(0.0, 1.0, 0.0))
        self.end(
            run_id, record.to_json(self._run_ids.index(run_id)), {"reason": "the process ended during every attempt"}
        )

    def begin(self, run_id: str) -> int:
        """Note that a route begins. Returns which attempt it is, from 1."""
        self.state.attempts[run_id] = self.state.attempts.get(run_id, 0) + 1
        append_line(self.journal, {"event": "begin", "run": run_id, "time": time.time()})
        return self.state.attempts[run_id]

    def end(self, run_id: str, record: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Keep a finished route; it is on the disk when this returns."""
        self.state.records[run_id] = dict(record)
        self.state.notes[run_id] = dict(notes)
        append_line(
            self.journal, {"event": "end", "run": run_id, "record": record, "notes": notes, "time": time.time()}
        )

    def set_sensors(self, icons: Sequence[str]) -> None:
        """Keep the icons of the agent's sensors."""
        self.state.sensors = list(icons)
        append_line(self.journal, {"event": "sensors", "sensors": list(icons)})

    def records(self) -> list[dict[str, Any]]:
        """Records in the order of the runs, each with its position as index."""
        found = []
        for index, run_id in enumerate(self._run_ids):
            if run_id in self.state.records:
                found.append({**self.state.records[run_id], "index": index})
        return found

    def write(self, done: int, entry_status: EntryStatus, is_final: bool = False) -> None:
        """Write the results file and the manifest.

        Args:
            done: Position of the run in the list of routes.
            entry_status: State to write unless the run is over, when it follows from the records.
            is_final: Whether the run is over; adds the global statistics.
        """
        records = self.records()
        status = entry_status_of(records) if is_final else entry_status
        content = results_file(records, (done, len(self._run_ids)), self.state.sensors, status, is_final)
        write_json(self.path, content, indent=4)
        routes = {
            run_id: {
                "outcome": outcome(self.state.records.get(run_id)),
                "attempts": self.state.attempts.get(run_id, 0),
                **self.state.notes.get(run_id, {}),
            }
            for run_id in self._run_ids
        }
        write_json(self.manifest_path, {**self._identity, "routes": routes})


def outcome(record: Mapping[str, Any] | None) -> str:
    """``finished`` (completed), ``failed`` (the drive ended early), ``crashed`` (simulator or agent) or ``not_run``."""
    if record is None:
        return "not_run"
    if record["status"] in ("Completed", "Perfect"):
        return "finished"
    invalid = FailureReason.SENSORS_INVALID
    return "crashed" if record["status"] in {reason.status for reason in (*CRASHES, invalid)} else "failed"


def progress_file(checkpoint: str | os.PathLike[str]) -> Path:
    """Where the heartbeats of a run with these results are written."""
    return Path(f"{checkpoint}{PROGRESS_SUFFIX}")


class Heartbeat:
    """Appends a line about once per second of wall clock, so that a parent process sees progress and hangs."""

    PERIOD_S = 1.0

    def __init__(self, checkpoint: str | os.PathLike[str]):
        self.path = progress_file(checkpoint)
        self._last = 0.0

    def beat(self, route: str, tick: int, game_time: float, ratio: float, force: bool = False) -> None:
        """Tell where the run is.

        Args:
            route: Run id.
            tick: Ticks of this route so far.
            game_time: Game time of this route, seconds.
            ratio: Game time per wall clock of this route.
            force: Write even if the last line is younger than a second.
        """
        now = time.time()
        if force or now - self._last >= self.PERIOD_S:
            self._last = now
            entry = {
                "time": now,
                "route": route,
                "tick": tick,
                "game_time": round(game_time, 3),
                "ratio": round(ratio, 3),
            }
            append_line(self.path, entry, sync=False)
