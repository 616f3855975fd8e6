"""The same supervisor on a real one-node SLURM cluster; skipped where SLURM is not installed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from jobs.executors import SlurmExecutor, SlurmQueue
from jobs.results import Outcome
from tests.jobs.run_fleet import make_fleet, server_spec


def test_no_job_is_given_up_while_slurm_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of many jobs asks SLURM; its silence counts for all of them."""
    answers = [
        subprocess.CompletedProcess([], 0, "7_0\n7_1\n"), subprocess.CompletedProcess([], 1, ""),
        subprocess.CompletedProcess([], 0, "7_1\n"),
    ]  # fmt: skip
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answers.pop(0))
    queue = SlurmQueue()

    def held() -> list[bool]:
        queue._asked_at -= SlurmQueue.INTERVAL_S
        return [queue.holds(job_id) for job_id in ("7_0", "7_1", "7_2")]

    assert held() == [True, True, False]
    assert held() == [True, True, True]
    assert held() == [False, True, False]


@pytest.mark.usefixtures("slurm_cluster")
def test_routes_run_as_one_array_and_a_killed_task_is_retried(tmp_path: Path) -> None:
    parameters = {"time": 5, "cpus_per_task": 1}
    executor = SlurmExecutor(tmp_path / "slurm", parameters, missing_grace_s=3.0)
    fleet = make_fleet(
        tmp_path, 22, {"1": "crash", "2": "once"}, server_spec("good"), executor=executor, workers=22, routes_per_job=1
    )
    cancelled = False
    assert fleet.step()
    references = [job.handle.reference() for job in fleet.running]
    assert references == [f"{references[0].split('_')[0]}_{task}" for task in range(22)], "all routes are one array"
    end = time.monotonic() + 180
    while fleet.step():
        assert time.monotonic() < end, "the jobs did not end within three minutes"
        begun = [job for job in fleet.running if job.progress]
        if not cancelled and begun:
            subprocess.run(["scancel", "--signal=KILL", begun[0].handle.reference()], check=True)
            cancelled = True
        time.sleep(0.2)
    outcomes = {key: result.outcome for key, result in fleet.results.items()}
    assert cancelled
    assert outcomes.pop("seed1/1") is Outcome.CRASHED
    assert set(outcomes) == {f"seed1/{index}" for index in range(22)} - {"seed1/1"}
    assert set(outcomes.values()) == {Outcome.FINISHED}
    assert fleet.results["seed1/2"].attempts == 2
