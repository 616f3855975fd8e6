"""Where a job runs: as a process of this machine or as a SLURM task. Both run `jobs.worker` on the same job file."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jobs import processes
from jobs.worker import job_token, read_outcome


class SubmitError(RuntimeError):
    """Jobs could not be handed over."""


class Handle(Protocol):
    """A job under way."""

    def done(self) -> bool:
        """Whether the worker has ended, however it ended."""

    def cancel(self) -> None:
        """End the worker and everything it started."""

    def reference(self) -> str:
        """Text by which `Executor.attach` finds the job again after the supervisor was killed."""


class Executor(Protocol):
    """Starts workers."""

    def submit(self, folders: Sequence[Path]) -> list[Handle]:
        """Start the workers of the jobs whose `job.json` lie in ``folders``; one handle each, in order."""

    def attach(self, folder: Path, reference: str) -> Handle | None:
        """Find a job again that an earlier supervisor submitted; None when it no longer runs."""


class LocalExecutor:
    """Workers as child processes; they die with the supervisor."""

    def submit(self, folders: Sequence[Path]) -> list[Handle]:
        """See `Executor.submit`."""
        return [_LocalHandle(folder) for folder in folders]

    def attach(self, folder: Path, reference: str) -> Handle | None:
        """Nothing survives the supervisor here; what a kill left over is ended."""
        processes.sweep(job_token(folder))
        return None


class _LocalHandle:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, "-m", "jobs.worker", str(folder / "job.json")]
        self._process = processes.start(command, folder / "worker.log", f"worker:{folder.resolve()}")

    def done(self) -> bool:
        if self._process.poll() is None:
            return False
        processes.sweep(job_token(self._folder))
        return True

    def cancel(self) -> None:
        processes.stop(self._process)
        processes.sweep(job_token(self._folder))

    def reference(self) -> str:
        return str(self._process.pid)


class SlurmQueue:
    """What SLURM still has of this user's jobs, asked at most once a second however many ask; controllers dislike more."""

    INTERVAL_S = 1.0

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self._ids: frozenset[str] | None = None

    def holds(self, job_id: str) -> bool:
        """Whether a job, or a task of an array as ``<job>_<task>``, waits or runs. True while SLURM does not answer."""
        now = time.monotonic()
        if now - self._asked_at >= self.INTERVAL_S:
            self._asked_at = now
            command = ["squeue", "--noheader", "--me", "--array", "--format", "%i"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            self._ids = frozenset(answer.stdout.split()) if answer.returncode == 0 else None
        return self._ids is None or job_id in self._ids


@dataclass
class SlurmExecutor:
    """Workers as tasks of SLURM job arrays through submitit; what is submitted together is one array.

    Attributes:
        logs: Folder for submitit's files; must be on a file system that the nodes share.
        parameters: Keyword arguments of `submitit.SlurmExecutor.update_parameters` (partition, time, mem, gpus_per_node …).
        missing_grace_s: How long a job that SLURM no longer knows may take to leave its outcome on a slow file system.
    """

    logs: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    missing_grace_s: float = 15.0
    queue: SlurmQueue = field(default_factory=SlurmQueue)

    def submit(self, folders: Sequence[Path]) -> list[Handle]:
        """See `Executor.submit`.

        Raises:
            SubmitError: If `sbatch` is not there or refuses the jobs.
        """
        import submitit  # only clusters need it

        try:
            executor = submitit.SlurmExecutor(folder=self.logs, python=sys.executable)
            executor.update_parameters(job_name="simlingo", **{"array_parallelism": len(folders), **self.parameters})
            jobs = executor.map_array(_run_in_task, [str(folder / "job.json") for folder in folders])
        except (RuntimeError, NameError, submitit.core.utils.FailedJobError) as error:
            raise SubmitError(f"SLURM does not take the jobs: {error}") from error
        return [self._handle(folder, str(job.job_id)) for folder, job in zip(folders, jobs, strict=True)]

    def attach(self, folder: Path, reference: str) -> Handle | None:
        """See `Executor.attach`."""
        handle = self._handle(folder, reference)
        return None if not reference or handle.done() else handle

    def _handle(self, folder: Path, job_id: str) -> _SlurmHandle:
        return _SlurmHandle(folder, job_id, self.missing_grace_s, self.queue)


def _run_in_task(job_file: str) -> int:
    """What a SLURM task executes."""
    return subprocess.call([sys.executable, "-m", "jobs.worker", job_file])


class _SlurmHandle:
    def __init__(self, folder: Path, job_id: str, grace_s: float, queue: SlurmQueue) -> None:
        self._folder, self._job_id, self._grace_s, self._queue = folder, job_id, grace_s, queue
        self._gone_since: float | None = None
        self._submitted = time.monotonic()

    def done(self) -> bool:
        if read_outcome(self._folder) is not None:
            return True
        if self._queue.holds(self._job_id):
            self._gone_since = None
            return False
        now = time.monotonic()
        # What was asked before this job was submitted says nothing about it.
        if now - self._submitted < 2 * self._queue.INTERVAL_S:
            return False
        self._gone_since = self._gone_since or now
        return now - self._gone_since > self._grace_s

    def cancel(self) -> None:
        subprocess.run(["scancel", self._job_id], check=False)

    def reference(self) -> str:
        return self._job_id
