"""The supervisor: hands routes to workers, counts attempts, keeps one outcome per route, resumes after any kill."""

from __future__ import annotations

import errno
import json
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import processes
from jobs.executors import Executor, Handle, SubmitError
from jobs.journal import Journal, parse_events
from jobs.results import Outcome, RouteResult, judge_missing, judge_record, last_progress, read_records, route_id_of
from jobs.servers import ServerSpec
from jobs.worker import Exit, JobOutcome, JobSpec, read_outcome, write_json_atomically

JOURNAL_NAME = "journal.jsonl"

SUBMIT_PAUSE_S = 30.0
"""Wall time until jobs are handed over again after they were refused while others ran."""

LEAST_FREE_BYTES = 50e6
"""Space on the disk of the output folder below which a run stops, so that it is not the routes that fail for want of it."""

PROGRESS_SUFFIX = ".progress.jsonl"
"""Added to the name of the results file: the client's sign of life."""


@dataclass(frozen=True)
class RouteTask:
    """One route to drive.

    Attributes:
        key: Unique within the run.
        route_id: Id in the route file.
        routes_file: The route file.
        town: Town it lies in.
        seed: Seed of simulator, traffic and agent.
    """

    key: str
    route_id: str
    routes_file: str
    town: str
    seed: int


@dataclass(frozen=True)
class FleetConfig:
    """How a run is spread.

    Attributes:
        out: Output folder; holds journal, job folders and results. Running again with the same folder resumes.
        workers: Jobs at a time. A number in the file `workers` inside ``out`` overrides it while running.
        attempts: How often a route may be started before a crash or time-out stands; a start that the end of the supervisor
            interrupts does not count, unless it was killed with no time to say so. More than in an earlier run in the same
            folder start again what stood there, and so does the next run what ended before its attempts were used up.
        routes_per_job: Most routes that share one server and one client process; None for as many as suit the server.
        client_waits: Whether clients wait for a server that is not up yet; then both start at the same time.
        server: How simulators are launched; None when the client brings its own.
        hang_timeout_s: Wall time without progress after which a job is killed.
        wall_timeout_s: Wall time limit of one job.
        environment: Further environment variables of the client.
        gpus: Number of graphics cards that jobs are spread over.
    """

    out: Path
    workers: int = 2
    attempts: int = 3
    routes_per_job: int | None = None
    server: ServerSpec | None = field(default_factory=ServerSpec)
    client_waits: bool = False
    hang_timeout_s: float = 180.0
    wall_timeout_s: float = 24 * 3600.0
    environment: dict[str, str] = field(default_factory=dict)
    gpus: int = 1


ClientCommand = Callable[[Sequence[RouteTask], Path], tuple[str, ...]]
"""Makes the client's command from the tasks of a job and the path of its results file. It may hold `{port}` and `{tm_port}`;
what comes from outside, paths above all, is written with `jobs.servers.literal`."""


@dataclass
class RunningJob:
    """A job under way, as the live view sees it."""

    folder: Path
    tasks: list[RouteTask]
    handle: Handle
    started: float
    gpu: int = 0
    records_seen: tuple[int, int] = (0, 0)

    @property
    def records_version(self) -> tuple[int, int]:
        """Changes whenever the client replaces its results file."""
        try:
            state = results_path(self.folder).stat()
        except FileNotFoundError:
            return (0, 0)
        return (state.st_ino, state.st_mtime_ns)

    @property
    def progress(self) -> dict[str, Any] | None:
        """Last line of the client's progress file."""
        return last_progress(progress_path(self.folder))


def results_path(folder: Path) -> Path:
    """The official results file of a job."""
    return folder / "results.json"


def progress_path(folder: Path) -> Path:
    """Where the client of a job leaves its signs of life."""
    results = results_path(folder)
    return results.with_name(results.name + PROGRESS_SUFFIX)


def open_journal(out: Path) -> Journal:
    """The journal of an output folder, which nobody else can open until it is closed. See `Journal`."""
    return Journal(out / JOURNAL_NAME)


def driven(out: Path) -> set[str]:
    """Keys of the tasks that have a verdict in an output folder, whether a supervisor works there or not.

    Raises:
        ValueError: As `jobs.journal.parse_events`.
    """
    path = out / JOURNAL_NAME
    events = parse_events(path.read_bytes(), path) if path.exists() else []
    return {event["key"] for event in events if event["event"] == "outcome" and Outcome(event["outcome"]).is_verdict}


class Fleet:
    """Runs tasks to one outcome each.

    Args:
        config: How the run is spread.
        tasks: All routes of the run; keys must be unique.
        client: Makes the client's command of a job.
        executor: Where jobs run.
        journal: The journal of the folder, if the caller has opened it; it is closed when the run ends.

    Raises:
        ValueError: If two tasks have the same key, or the journal holds what no supervisor writes.
        jobs.journal.JournalBusy: If another supervisor works in the same folder.
    """

    def __init__(
        self,
        config: FleetConfig,
        tasks: Iterable[RouteTask],
        client: ClientCommand,
        executor: Executor,
        journal: Journal | None = None,
    ) -> None:
        self.config = config
        listed = list(tasks)
        self.tasks = {task.key: task for task in listed}
        if len(self.tasks) < len(listed):
            twice = sorted(key for key, count in Counter(task.key for task in listed).items() if count > 1)
            raise ValueError(f"each route is driven once, but these come more often: {', '.join(twice[:5])}")
        self.results: dict[str, RouteResult] = {}
        self.attempts: dict[str, int] = {}
        self.running: list[RunningJob] = []
        self._client = client
        self._executor = executor
        self._journal = journal or open_journal(config.out)
        self._jobs_started = 0
        self._counted: set[tuple[str, str]] = set()
        self._submit_at = -math.inf
        self._resume()

    # -- state from the journal ------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        open_jobs: dict[str, dict[str, Any]] = {}
        for number, event in enumerate(self._journal.events, start=1):
            try:
                self._replay(event, open_jobs)
            except (LookupError, TypeError, ValueError) as error:
                self._journal.close()
                raise ValueError(
                    f"{self.config.out / JOURNAL_NAME}, line {number}: {json.dumps(event)[:80]} is not what a supervisor "
                    f"writes there ({error!r}); take the line out, or choose another output folder"
                ) from error
        # A route file or seeds that are left out this time are not forgotten: they stand in the journal.
        self.results = {key: result for key, result in self.results.items() if key in self.tasks}
        for name, event in open_jobs.items():
            self._reattach(name, event)
        for key in self._without_verdict():
            if self.results[key].attempts < self.config.attempts:
                self._reopen(key, self.results[key].attempts)

    def _replay(self, event: dict[str, Any], open_jobs: dict[str, dict[str, Any]]) -> None:
        """Take one event of the journal in; ``open_jobs`` are those that were not seen to end."""
        match event["event"]:
            case "job":
                open_jobs[event["job"]] = event
                self._jobs_started = max(self._jobs_started, int(event["job"]) + 1)
            case "submitted":
                open_jobs[event["job"]]["reference"] = event["reference"]
            case "interrupted":
                open_jobs[event["job"]]["interrupted"] = True
            case "attempt":
                self.attempts[event["key"]] = event["attempts"]
                self._counted.add((event["job"], event["key"]))
            case "outcome":
                values = (event[name] for name in ("reason", "attempts", "job"))
                self.results[event["key"]] = RouteResult(event["key"], Outcome(event["outcome"]), *values)
            case "reopened":
                self.results.pop(event["key"], None)
                self.attempts[event["key"]] = event.get("attempts", 0)
            case "harvested":
                open_jobs.pop(event["job"], None)

    def _reattach(self, name: str, event: dict[str, Any]) -> None:
        folder = self.config.out / "jobs" / name
        tasks = [self.tasks[key] for key in event["keys"] if key in self.tasks]
        handle = self._executor.attach(folder, event.get("reference", ""))
        if "interrupted" in event:
            if handle is not None:
                handle.cancel()
            self._harvest(folder, tasks, counts=False)
        elif handle is None:
            self._harvest(folder, tasks, counts="reference" in event)
        else:
            gpu = json.loads((folder / "job.json").read_text())["gpu"]
            self.running.append(RunningJob(folder, tasks, handle, time.monotonic(), gpu))

    def reopen(self) -> list[str]:
        """Give every route that ended without a verdict all its attempts again; returns their keys."""
        keys = self._without_verdict()
        for key in keys:
            self._reopen(key, 0)
        return keys

    def _without_verdict(self) -> list[str]:
        return [key for key, result in self.results.items() if not result.outcome.is_verdict]

    def _reopen(self, key: str, attempts: int) -> None:
        """Take an outcome back; ``attempts`` starts of the route stay counted."""
        self._journal.append("reopened", key=key, attempts=attempts)
        self.attempts[key] = attempts
        del self.results[key]

    # -- the loop --------------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> list[RouteTask]:
        """Tasks without an outcome that no job holds, in the order given."""
        held = {task.key for job in self.running for task in job.tasks}
        return [task for key, task in self.tasks.items() if key not in self.results and key not in held]

    def step(self) -> bool:
        """Harvest what has ended and start what may start. Returns False when nothing is left to do.

        Raises:
            OSError: If the disk is as good as full.
            jobs.executors.SubmitError: If jobs are refused while none runs.
        """
        self._require_space()
        for job in [job for job in self.running if job.handle.done()]:
            self.running.remove(job)
            self._harvest(job.folder, job.tasks)
        for job in self.running:
            self._settle_verdicts(job)
        self._start_jobs()
        return bool(self.running or self.pending)

    def run(self, watch: Callable[[Fleet], None] = lambda fleet: None, interval_s: float = 0.2) -> list[RouteResult]:
        """Work until every task has an outcome.

        Args:
            watch: Called after every step, for a live view.
            interval_s: Wall time between steps.

        On an interrupt (Ctrl-C, SIGTERM, a closed terminal) all workers are ended; running again resumes.
        """
        with processes.signals_interrupt():
            try:
                while self.step():
                    watch(self)
                    time.sleep(interval_s)
                watch(self)
            finally:
                self._end_jobs()
        return [self.results[key] for key in self.tasks]

    def _end_jobs(self) -> None:
        """End what still runs because the supervisor ends. That is no route's fault, so it is noted before anything else."""
        try:
            for job in self.running:
                self._settle_records(job.folder, job.tasks)
                self._journal.append("interrupted", job=job.folder.name)
        finally:
            for job in self.running:
                job.handle.cancel()
            self._journal.close()

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.config.out).free
        if free < LEAST_FREE_BYTES:
            message = f"only {free / 1e6:.0f} MB are free; make room and run the same command again"
            raise OSError(errno.ENOSPC, message, str(self.config.out))

    def _workers(self) -> int:
        """The number of parallel jobs, which a file in the output folder may change at any time."""
        override = self.config.out / "workers"
        try:
            return max(0, int(override.read_text()))
        except (FileNotFoundError, ValueError):
            return self.config.workers

    def _start_jobs(self) -> None:
        """Start as many jobs as may run. They are written down before they are submitted, so that a kill loses none."""
        if time.monotonic() < self._submit_at:
            return
        prepared: list[tuple[Path, list[RouteTask], int]] = []
        held: set[str] = set()
        while len(self.running) + len(prepared) < self._workers():
            pending = [task for task in self.pending if task.key not in held]
            if not pending:
                break
            tasks = self._next_chunk(pending)
            held |= {task.key for task in tasks}
            load = Counter([job.gpu for job in self.running] + [gpu for _, _, gpu in prepared])
            gpu = min(range(self.config.gpus), key=lambda index: load[index])
            prepared.append((self._prepare_job(tasks, gpu), tasks, gpu))
        if not prepared:
            return
        try:
            handles = self._executor.submit([folder for folder, _, _ in prepared])
        except SubmitError as error:
            if not self.running:
                raise
            # A busy cluster refuses now and then; what runs there must not end for that. Their routes stay pending.
            print(f"{error}; trying again in {SUBMIT_PAUSE_S:g} s", file=sys.stderr)
            self._submit_at = time.monotonic() + SUBMIT_PAUSE_S
            return
        for (folder, tasks, gpu), handle in zip(prepared, handles, strict=True):
            self.running.append(RunningJob(folder, tasks, handle, time.monotonic(), gpu))
            self._journal.append("submitted", job=folder.name, reference=handle.reference())

    def _prepare_job(self, tasks: list[RouteTask], gpu: int) -> Path:
        """Write a job's folder and note it in the journal; returns the folder."""
        name = f"{self._jobs_started:04d}"
        self._jobs_started += 1
        folder = self.config.out / "jobs" / name
        folder.mkdir(parents=True, exist_ok=True)
        results = results_path(folder)
        spec = JobSpec(
            folder=str(folder),
            server=self.config.server,
            client=self._client(tasks, results),
            town=tasks[0].town,
            seed=tasks[0].seed,
            progress=str(progress_path(folder)),
            hang_timeout_s=self.config.hang_timeout_s,
            wall_timeout_s=self.config.wall_timeout_s,
            gpu=gpu,
            environment=self.config.environment,
            client_waits=self.config.client_waits,
        )
        write_json_atomically(folder / "job.json", spec.to_json())
        self._journal.append("job", job=name, keys=[task.key for task in tasks])
        return folder

    def _next_chunk(self, pending: list[RouteTask]) -> list[RouteTask]:
        """Tasks for one job: same file, seed and town as the first pending one, so that server and client serve them all.

        A route that was started before runs alone, so that a crash it causes takes no other route with it.
        """
        first = pending[0]
        if self.attempts.get(first.key, 0):
            return [first]
        alike = [
            task
            for task in pending
            if (task.routes_file, task.seed, task.town) == (first.routes_file, first.seed, first.town)
            and not self.attempts.get(task.key, 0)
        ]
        share = math.ceil(len(self.pending) / max(1, self._workers()))
        return alike[: max(1, min(self._most_routes(), share))]

    def _most_routes(self) -> int:
        """Most routes of one job."""
        return self.config.routes_per_job or (self.config.server or ServerSpec()).routes_per_start

    # -- outcomes --------------------------------------------------------------------------------------------------------

    def _settle_verdicts(self, job: RunningJob) -> None:
        """Settle what a job has driven to a verdict while it goes on. Anything else can be judged when it has ended."""
        version = job.records_version
        if version == job.records_seen:
            return
        job.records_seen = version
        self._settle_records(job.folder, job.tasks, only_verdicts=True)

    def _settle_records(
        self, folder: Path, tasks: Sequence[RouteTask], only_verdicts: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Settle what a job has left a record of; returns its records."""
        records = read_records(results_path(folder))
        for task in tasks:
            if task.key not in self.results and task.route_id in records:
                outcome, reason = judge_record(records[task.route_id])
                if outcome.is_verdict or not only_verdicts:
                    self._settle(task, outcome, reason, job=folder.name)
        return records

    def _harvest(self, folder: Path, tasks: Sequence[RouteTask], counts: bool = True) -> None:
        """Settle what a job that has ended left behind.

        Args:
            folder: The job's folder.
            tasks: What it was to drive.
            counts: Whether what it left without a verdict costs an attempt: not when it was interrupted, or never seen to be
                submitted.
        """
        records = self._settle_records(folder, tasks, only_verdicts=not counts)
        job = read_outcome(folder)
        blamed = _blamed(tasks, records, last_progress(progress_path(folder)), job) if counts else set()
        is_final = job is not None and job.exit is Exit.CLIENT_REFUSED
        for task in tasks:
            if task.key in blamed and task.key not in self.results:
                missing = judge_missing(job, processes.tail(folder / "worker.log"))
                self._settle(task, *missing, job=folder.name, is_final=is_final)
        self._journal.append("harvested", job=folder.name)

    def _settle(self, task: RouteTask, outcome: Outcome, reason: str, job: str, is_final: bool = False) -> None:
        """Keep an outcome, or give the route another attempt if it is no verdict, attempts are left and it is not final.

        A job that is harvested a second time, after a kill in the middle of the first, costs no second attempt.
        """
        if (job, task.key) in self._counted:
            return
        self._counted.add((job, task.key))
        attempts = self.attempts.get(task.key, 0) + 1
        self.attempts[task.key] = attempts
        if not (outcome.is_verdict or is_final) and attempts < self.config.attempts:
            self._journal.append(
                "attempt", key=task.key, attempts=attempts, outcome=outcome.value, reason=reason, job=job
            )
            return
        result = RouteResult(task.key, outcome, reason, attempts, job)
        self.results[task.key] = result
        self._journal.append("outcome", key=task.key, outcome=outcome.value, reason=reason, attempts=attempts, job=job)


def _blamed(
    tasks: Sequence[RouteTask],
    records: dict[str, Any],
    progress: dict[str, Any] | None,
    job: JobOutcome | None,
) -> set[str]:
    """Keys of the tasks whose attempt counts although they left no record.

    That is the route under way when the job ended: none if it left its record before; if no route had begun, the first in
    line; and all of them when the simulator itself did not start or the client refused its input, since then no route is at
    fault and trying for ever must be ruled out.
    """
    missing = [task for task in tasks if task.route_id not in records]
    if not missing:
        return set()
    if job is not None and job.exit in (Exit.SERVER_FAILED, Exit.CLIENT_REFUSED):
        return {task.key for task in missing}
    under_way = route_id_of(str((progress or {}).get("route", "")))
    if under_way in records:
        return set()
    named = {task.key for task in missing if task.route_id == under_way}
    return named or {missing[0].key}


def record_of(out: Path, result: RouteResult, route_id: str) -> dict[str, Any] | None:
    """The official route record behind a result, or None when the route left none."""
    return read_records(results_path(out / "jobs" / result.job)).get(route_id) if result.job else None


def summarise(results: Sequence[RouteResult]) -> dict[str, int]:
    """How many routes have each outcome; every outcome is named."""
    return {outcome.value: sum(result.outcome is outcome for result in results) for outcome in Outcome}


def write_outcomes(path: Path, results: Sequence[RouteResult]) -> None:
    """Write results as JSON, one object per route."""
    rows = [{**result.__dict__, "outcome": result.outcome.value} for result in results]
    write_json_atomically(path, rows)


def read_outcomes(path: Path) -> list[RouteResult]:
    """Read what `write_outcomes` wrote.

    Raises:
        ValueError: If the file is something else; the message names it.
    """
    try:
        return [RouteResult(**{**row, "outcome": Outcome(row["outcome"])}) for row in json.loads(path.read_text())]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a list of route outcomes ({error}); run the evaluation again") from error
