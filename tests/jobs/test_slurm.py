"""The same supervisor on a real one-node SLURM cluster; skipped where SLURM is not installed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from jobs.executors import SlurmExecutor
from jobs.results import Outcome
from tests.jobs.run_fleet import make_fleet, server_spec


@pytest.mark.usefixtures("slurm_cluster")
def test_routes_run_as_slurm_jobs_and_a_killed_job_is_retried(tmp_path: Path) -> None:
    parameters = {"time": 5, "cpus_per_task": 1}
    executor = SlurmExecutor(tmp_path / "slurm", parameters, missing_grace_s=3.0)
    fleet = make_fleet(tmp_path, 3, {"1": "crash", "2": "once"}, server_spec("good"), executor=executor)
    cancelled = False
    end = time.monotonic() + 120
    while fleet.step():
        assert time.monotonic() < end, "the jobs did not end within two minutes"
        if not cancelled and fleet.running and fleet.running[0].progress:
            subprocess.run(["scancel", "--signal=KILL", fleet.running[0].handle.reference()], check=True)
            cancelled = True
        time.sleep(0.2)
    outcomes = {key: result.outcome for key, result in fleet.results.items()}
    assert cancelled
    assert outcomes["seed1/1"] is Outcome.CRASHED
    assert outcomes["seed1/0"] is Outcome.FINISHED
    assert set(outcomes) == {"seed1/0", "seed1/1", "seed1/2"}
