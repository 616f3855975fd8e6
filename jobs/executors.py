"""Where a job runs: as a process of this machine or as a SLURM task. Both run `jobs.worker` on the same job file."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jobs import processes
from jobs.worker import job_token, read_outcome


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

    def submit(self, folder: Path) -> Handle:
        """Start the worker of the job whose `job.json` lies in ``folder``."""

    def attach(self, folder: Path, reference: str) -> Handle | None:
        """Find a job again that an earlier supervisor submitted; None when it no longer runs."""


class LocalExecutor:
    """Workers as child processes; they die with the supervisor."""

    def submit(self, folder: Path) -> Handle:
        """See `Executor.submit`."""
        return _LocalHandle(folder)

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


@dataclass
class SlurmExecutor:
    """Workers as SLURM jobs through submitit.

    Attributes:
        logs: Folder for submitit's files; must be on a file system that the nodes share.
        parameters: Keyword arguments of `submitit.SlurmExecutor.update_parameters` (partition, time, mem, gpus_per_node …).
        missing_grace_s: How long a job that SLURM no longer knows may take to leave its outcome on a slow file system.
    """

    logs: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    missing_grace_s: float = 15.0

    def submit(self, folder: Path) -> Handle:
        """See `Executor.submit`.

        Raises:
            RuntimeError: If `sbatch` is not there or refuses the job.
        """
        import submitit  # only clusters need it

        executor = submitit.SlurmExecutor(folder=self.logs, python=sys.executable)
        executor.update_parameters(job_name="simlingo", **self.parameters)
        job = executor.submit(_run_in_task, str(folder / "job.json"))
        return _SlurmHandle(folder, str(job.job_id), self.missing_grace_s)

    def attach(self, folder: Path, reference: str) -> Handle | None:
        """See `Executor.attach`."""
        handle = _SlurmHandle(folder, reference, self.missing_grace_s)
        return None if handle.done() else handle


def _run_in_task(job_file: str) -> int:
    """What a SLURM task executes."""
    return subprocess.call([sys.executable, "-m", "jobs.worker", job_file])


class _SlurmHandle:
    """Asks `squeue` at most once a second; SLURM controllers dislike more."""

    def __init__(self, folder: Path, job_id: str, grace_s: float) -> None:
        self._folder, self._job_id, self._grace_s = folder, job_id, grace_s
        self._asked_at, self._known, self._gone_since = 0.0, True, 0.0

    def done(self) -> bool:
        if read_outcome(self._folder) is not None:
            return True
        now = time.monotonic()
        if now - self._asked_at >= 1.0:
            self._asked_at = now
            self._known = self._in_queue()
            if not self._known and not self._gone_since:
                self._gone_since = now
        return not self._known and now - self._gone_since > self._grace_s

    def _in_queue(self) -> bool:
        answer = subprocess.run(
            ["squeue", "--noheader", "--jobs", self._job_id, "--format", "%T"],
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.returncode == 0 and bool(answer.stdout.strip())

    def cancel(self) -> None:
        subprocess.run(["scancel", self._job_id], check=False)

    def reference(self) -> str:
        return self._job_id
