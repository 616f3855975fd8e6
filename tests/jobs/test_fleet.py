"""Laws of the supervisor: every route has exactly one outcome, and nothing is left running."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from jobs import processes
from jobs.journal import Journal, JournalBusy
from jobs.ports import PortLease, is_free, lease_ports
from jobs.results import Outcome, RouteResult
from tests.jobs.run_fleet import make_fleet, server_spec


def outcomes(results: list[RouteResult]) -> dict[str, Outcome]:
    return {result.key: result.outcome for result in results}


def leftovers(out: Path) -> list[str]:
    """Processes whose token names a job below ``out``."""
    found = []
    for process in psutil.process_iter():
        try:
            token = process.environ().get(processes.TOKEN_VARIABLE, "")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(out) in token:
            found.append(token)
    return found


def test_verdicts_and_crashes_are_kept_apart(tmp_path: Path) -> None:
    behaviours = {"1": "crash", "3": "fail", "4": "once"}
    results = make_fleet(tmp_path, 6, behaviours, server_spec("good")).run(interval_s=0.05)
    assert outcomes(results) == {
        "seed1/0": Outcome.FINISHED,
        "seed1/1": Outcome.CRASHED,
        "seed1/2": Outcome.FINISHED,
        "seed1/3": Outcome.FAILED,
        "seed1/4": Outcome.FINISHED,
        "seed1/5": Outcome.FINISHED,
    }
    attempts = {result.key: result.attempts for result in results}
    assert attempts["seed1/1"] == 2
    assert attempts["seed1/4"] == 2
    assert attempts["seed1/0"] == attempts["seed1/3"] == 1
    assert "SIGSEGV" in next(result.reason for result in results if result.key == "seed1/1")


@pytest.mark.parametrize(
    ("behaviour", "outcome", "words"),
    [
        ("slow", Outcome.FINISHED, "Completed"),
        ("never", Outcome.CRASHED, "did not answer"),
        ("segfault", Outcome.CRASHED, "SIGSEGV"),
        ("leak", Outcome.FINISHED, "Completed"),
    ],
)
def test_a_bad_simulator_ends_in_the_right_outcome_and_a_clean_machine(
    tmp_path: Path, behaviour: str, outcome: Outcome, words: str
) -> None:
    behaviours = {"0": "hang"} if behaviour == "segfault" else {}
    fleet = make_fleet(
        tmp_path, 1, behaviours, server_spec(behaviour, ready_timeout_s=1.5 if behaviour == "never" else 10)
    )
    (result,) = fleet.run(interval_s=0.05)
    assert result.outcome is outcome
    assert words in result.reason
    assert leftovers(tmp_path) == []
    with lease_ports() as lease:
        assert is_free(lease.rpc)


def test_a_client_that_hangs_is_killed_and_named(tmp_path: Path) -> None:
    results = make_fleet(tmp_path, 2, {"0": "hang"}, server_spec("good"), hang_timeout_s=0.8).run(interval_s=0.05)
    assert outcomes(results) == {"seed1/0": Outcome.TIMED_OUT, "seed1/1": Outcome.FINISHED}
    assert leftovers(tmp_path) == []


def test_kills_at_random_moments_lose_no_route_and_count_none_twice(tmp_path: Path) -> None:
    """`kill -9` of the supervisor, of workers, servers and clients; then a last run completes the table."""
    rng = random.Random(0)
    command = [sys.executable, str(Path(__file__).with_name("run_fleet.py")), str(tmp_path), "12", "{}"]
    for _ in range(4):
        supervisor = subprocess.Popen(command)
        time.sleep(rng.uniform(0.4, 1.6))
        victims = psutil.Process(supervisor.pid).children(recursive=True)
        victim = rng.choice([supervisor.pid, *(child.pid for child in victims)])
        os.kill(victim, signal.SIGKILL)
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        time.sleep(0.2)
    fleet = make_fleet(tmp_path, 12, {}, server_spec("good"))
    results = fleet.run(interval_s=0.05)
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    counted = Counter(event["key"] for event in events if event["event"] == "outcome")
    assert set(counted) == {f"seed1/{index}" for index in range(12)}
    assert set(counted.values()) == {1}
    assert len(results) == 12
    assert leftovers(tmp_path) == []


def test_a_finished_run_starts_nothing_again(tmp_path: Path) -> None:
    make_fleet(tmp_path, 2, {}, server_spec("good")).run(interval_s=0.05)
    jobs = sorted((tmp_path / "jobs").iterdir())
    make_fleet(tmp_path, 2, {}, server_spec("good")).run(interval_s=0.05)
    assert sorted((tmp_path / "jobs").iterdir()) == jobs


def test_journal_survives_a_cut_at_any_byte(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "whole")
    journal.append("job", job="0000", keys=["a"])
    journal.append("outcome", key="a", outcome="finished")
    journal.close()
    content = (tmp_path / "whole").read_bytes()
    for cut in range(len(content) + 1):
        (tmp_path / "cut").write_bytes(content[:cut])
        journal = Journal(tmp_path / "cut")
        assert len(journal.events) == content[:cut].count(b"\n")
        journal.append("later")
        journal.close()
        assert json.loads((tmp_path / "cut").read_text().splitlines()[-1]) == {"event": "later"}


def test_two_supervisors_cannot_share_a_folder(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(JournalBusy, match="in use"):
        Journal(tmp_path / "journal.jsonl")
    journal.close()


def test_leases_never_overlap() -> None:
    leases: list[PortLease] = [lease_ports() for _ in range(5)]
    ports = [lease.rpc for lease in leases] + [lease.traffic_manager for lease in leases]
    for lease in leases:
        lease.release()
    assert len(set(ports)) == 10
