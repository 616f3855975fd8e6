"""Laws of the supervisor: every route has exactly one outcome, and nothing is left running."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jobs import fleet as fleets
from jobs import processes
from jobs.executors import Handle, LocalExecutor, SubmitError
from jobs.fleet import Fleet, FleetConfig, RouteTask, record_of
from jobs.journal import Journal, JournalBusy
from jobs.kept import KeptService, ServiceError
from jobs.live import LiveView
from jobs.ports import PortLease, is_free, lease_ports
from jobs.results import Outcome, RouteResult
from jobs.servers import ServerSpec
from jobs.worker import Exit, JobSpec, read_outcome, run_job, visible_card
from tests.jobs.fakes import Asker
from tests.jobs.run_fleet import make_fleet, policy_service, server_spec


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


def test_verdicts_count_while_their_job_goes_on(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, 3, {"1": "once", "2": "long"}, server_spec("good"), workers=1)
    seen: set[tuple[str, int]] = set()

    def watch(fleet: Fleet) -> None:
        seen.update((job.folder.name, len(fleet.results)) for job in fleet.running)

    results = fleet.run(watch, interval_s=0.02)
    assert ("0000", 1) in seen, "the first route counts before the job that drives it has ended"
    assert {result.outcome for result in results} == {Outcome.FINISHED}
    assert {result.key: result.attempts for result in results} == {"seed1/0": 1, "seed1/1": 2, "seed1/2": 1}
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert Counter(event["key"] for event in events if event["event"] == "outcome") == dict.fromkeys(
        outcomes(results), 1
    )


def test_who_was_only_next_in_line_has_all_its_attempts(tmp_path: Path) -> None:
    """A client that ends after the record of a crash has begun no other route."""
    results = make_fleet(tmp_path, 3, {"1": "end"}, server_spec("good"), workers=1, attempts=1).run(interval_s=0.05)
    assert {result.key: (result.outcome, result.attempts) for result in results} == {
        "seed1/0": (Outcome.FINISHED, 1),
        "seed1/1": (Outcome.CRASHED, 1),
        "seed1/2": (Outcome.FINISHED, 1),
    }


def test_a_client_that_refuses_its_input_is_not_asked_again(tmp_path: Path) -> None:
    """An agent with a typing error is no reason to start a simulator for every route and attempt."""
    fleet = make_fleet(tmp_path, 4, dict.fromkeys("0123", "refuse"), server_spec("good"), workers=1, attempts=3)
    for result in fleet.run(interval_s=0.05):
        assert (result.outcome, result.attempts) == (Outcome.CRASHED, 1)
        assert "exit code 2" in result.reason
    assert len([*(tmp_path / "jobs").iterdir()]) == 1


class Waiting:
    """An executor whose jobs never begin."""

    def submit(self, folders: Sequence[Path]) -> list[Handle]:
        return [self for _ in folders]

    def attach(self, folder: Path, reference: str) -> Handle | None:
        return self

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        pass

    def reference(self) -> str:
        return "waiting"


@pytest.mark.parametrize(
    ("server", "routes", "sizes"),
    [
        (ServerSpec(), 200, [40, 40, 40]),
        (ServerSpec(), 30, [10, 10, 10]),
        (ServerSpec(), 2, [1, 1]),
        (ServerSpec.carla(), 200, [10, 10, 10]),
    ],
)
def test_jobs_are_as_large_as_suits_the_server_and_leave_work_for_all(
    tmp_path: Path, server: ServerSpec, routes: int, sizes: list[int]
) -> None:
    fleet = make_fleet(tmp_path, routes, {}, server, executor=Waiting(), workers=3, routes_per_job=None)
    fleet.step()
    assert [len(job.tasks) for job in fleet.running] == sizes


def test_a_job_gets_the_card_that_has_fewest(tmp_path: Path) -> None:
    """Not the next in turn: of two jobs on two cards the short one may end again and again."""
    fleet = make_fleet(tmp_path, 9, {}, ServerSpec(), executor=Waiting(), workers=3, routes_per_job=1, gpus=3)
    fleet.step()
    assert sorted(job.gpu for job in fleet.running) == [0, 1, 2]
    for gone in (1, 1, 2):
        fleet.running.remove(next(job for job in fleet.running if job.gpu == gone))
        fleet.step()
        assert sorted(job.gpu for job in fleet.running) == [0, 1, 2]
        assert json.loads((fleet.running[-1].folder / "job.json").read_text())["gpu"] == gone


@pytest.mark.parametrize(
    ("visible", "cards"),
    [("", ["0", "1", "2"]), ("5,7", ["5", "7", "5"]), ("GPU-a,GPU-b,GPU-c", ["GPU-a", "GPU-b", "GPU-c"])],
)
def test_cards_are_counted_among_those_that_may_be_used(visible: str, cards: list[str]) -> None:
    assert [visible_card(index, visible) for index in range(3)] == cards


@pytest.mark.parametrize("waits", [True, False])
def test_a_client_that_waits_starts_with_its_server_and_ends_with_it(tmp_path: Path, waits: bool) -> None:
    started = tmp_path / "started"
    client = (sys.executable, "-c", f"import time; open({str(started)!r}, 'w'); time.sleep(60)")
    server = replace(server_spec("never", 3.0), settle_s=0.0)
    spec = JobSpec(str(tmp_path), server, client, "Mini01", 1, str(tmp_path / "progress"), client_waits=waits)
    assert run_job(spec).exit is Exit.SERVER_FAILED
    assert started.exists() == waits
    assert leftovers(tmp_path) == []


def test_a_route_given_twice_is_refused_by_name(tmp_path: Path) -> None:
    task = RouteTask("seed1/7", "7", "routes.xml", "Mini01", 1)
    with pytest.raises(ValueError, match="seed1/7"):
        Fleet(FleetConfig(tmp_path), [task, task], lambda tasks, results: (), LocalExecutor())


@pytest.mark.parametrize(
    ("behaviour", "outcome", "words"),
    [
        ("slow", Outcome.FINISHED, "Completed"),
        ("never", Outcome.CRASHED, "did not answer"),
        ("hang", Outcome.TIMED_OUT, "no sign of life"),
        ("segfault", Outcome.CRASHED, "SIGSEGV"),
        ("leak", Outcome.FINISHED, "Completed"),
    ],
)
def test_a_bad_simulator_ends_in_the_right_outcome_and_a_clean_machine(
    tmp_path: Path, behaviour: str, outcome: Outcome, words: str
) -> None:
    behaviours = {"0": "long"} if behaviour in ("segfault", "hang") else {}
    patience = {"never": 1.5}.get(behaviour, 20.0)
    hang_timeout_s = 1.5 if behaviour == "hang" else 20.0
    fleet = make_fleet(tmp_path, 1, behaviours, server_spec(behaviour, patience), hang_timeout_s)
    (result,) = fleet.run(interval_s=0.05)
    assert result.outcome is outcome
    assert words in result.reason
    assert leftovers(tmp_path) == []
    with lease_ports() as lease:
        assert is_free(lease.rpc)


def test_a_client_that_hangs_is_killed_and_named(tmp_path: Path) -> None:
    results = make_fleet(tmp_path, 2, {"0": "hang"}, server_spec("good"), hang_timeout_s=3.0).run(interval_s=0.05)
    assert outcomes(results) == {"seed1/0": Outcome.TIMED_OUT, "seed1/1": Outcome.FINISHED}
    assert leftovers(tmp_path) == []


def roles(supervisor: psutil.Process) -> dict[str, list[int]]:
    """Process ids of a running evaluation by what they do."""
    found: dict[str, list[int]] = {"supervisor": [supervisor.pid]}
    for child in supervisor.children(recursive=True):
        try:
            command = child.cmdline()
        except psutil.Error:
            continue
        for role in ("server", "client", "policy", "jobs.worker"):
            if role in command:
                found.setdefault(role, []).append(child.pid)
    return found


def start_supervisor(out: Path, routes: int, attempts: int = 100) -> subprocess.Popen[bytes]:
    script = str(Path(__file__).with_name("run_fleet.py"))
    return subprocess.Popen([sys.executable, script, str(out), str(routes), str(attempts)])


def test_fifty_kills_lose_no_route_and_count_none_twice(tmp_path: Path) -> None:
    """`kill -9` of supervisor, workers, simulators, clients and the policy server during 44 routes, then a run to the end."""
    rng, routes, killed = random.Random(0), 44, Counter[str]()
    supervisor = start_supervisor(tmp_path, routes)
    while sum(killed.values()) < 50:
        time.sleep(rng.uniform(0.02, 0.5))
        if supervisor.poll() is not None:
            supervisor = start_supervisor(tmp_path, routes)
            continue
        running = roles(psutil.Process(supervisor.pid))
        # Whoever was hit least, so that every kind is hit however slow the machine is. A supervisor that dies takes all
        # others with it and needs a moment to come back, so it is hit less often.
        role = min(running, key=lambda name: (killed[name] * (3 if name == "supervisor" else 1), rng.random()))
        try:
            os.kill(rng.choice(running[role]), signal.SIGKILL)
        except ProcessLookupError:  # It has ended in the meantime.
            continue
        killed[role] += 1
        if role == "supervisor":
            supervisor.wait()
    # A supervisor whose policy server was killed while it started ends with a message; either way the run below resumes.
    supervisor.wait(60)
    results = make_fleet(tmp_path, routes, {}, server_spec("good"), attempts=100).run(interval_s=0.05)
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    counted = Counter(event["key"] for event in events if event["event"] == "outcome")
    assert counted == {f"seed1/{index}": 1 for index in range(routes)}
    assert {result.outcome for result in results} == {Outcome.FINISHED}
    for result in results:
        route = result.key.removeprefix("seed1/")
        assert record_of(tmp_path, result, route) is not None, "the outcome's record is where the outcome says"
    assert set(killed) == {"supervisor", "jobs.worker", "server", "client", "policy"}
    assert leftovers(tmp_path) == []


def interrupt_during(fleet: Fleet, route: str, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Run a fleet until a route is under way, then end it as Ctrl-C or a fault of the supervisor does."""

    def watch(fleet: Fleet) -> None:
        if any(route in str((job.progress or {}).get("route")) for job in fleet.running):
            raise error

    with pytest.raises(error):
        fleet.run(watch, interval_s=0.02)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_start_is_no_attempt(tmp_path: Path, error: type[BaseException]) -> None:
    def fleet(behaviours: dict[str, str]) -> Fleet:
        return make_fleet(tmp_path, 2, behaviours, server_spec("good"), attempts=1, workers=1)

    for _ in range(2):
        interrupt_during(fleet({"1": "long"}), "Scenario_1_", error)
        assert leftovers(tmp_path) == []
    results = fleet({}).run(interval_s=0.05)
    assert {result.key: (result.outcome, result.attempts) for result in results} == {
        "seed1/0": (Outcome.FINISHED, 1),
        "seed1/1": (Outcome.FINISHED, 1),
    }


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    def client(tasks: Sequence[RouteTask], results: Path) -> tuple[str, ...]:
        return (sys.executable, "{colour}")

    config = FleetConfig(tmp_path, attempts=1, server=None)
    fleet = Fleet(config, [RouteTask("a", "1", "routes.xml", "Mini01", 1)], client, LocalExecutor())
    (result,) = fleet.run(interval_s=0.02)
    assert result.outcome is Outcome.CRASHED
    assert "the worker failed" in result.reason
    assert "KeyError: 'colour'" in result.reason


def test_what_crashed_before_an_interrupt_still_counts_once(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, 2, {"0": "fault", "1": "long"}, server_spec("good"), workers=1)
    interrupt_during(fleet, "Scenario_1_")
    fleet = make_fleet(tmp_path, 2, {"0": "fault"}, server_spec("good"))
    assert fleet.attempts == {"seed1/0": 1}
    assert {result.key: (result.outcome, result.attempts) for result in fleet.run(interval_s=0.05)} == {
        "seed1/0": (Outcome.CRASHED, 2),
        "seed1/1": (Outcome.FINISHED, 1),
    }


def test_a_job_that_is_harvested_again_costs_no_second_attempt(tmp_path: Path) -> None:
    """As after a kill between the note of an attempt and the note that the job is done with."""
    make_fleet(tmp_path, 1, {"0": "crash"}, server_spec("good"), attempts=3).run(interval_s=0.05)
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    noted = next(number for number, line in enumerate(lines) if '"attempt"' in line)
    journal.write_text("".join(lines[: noted + 1]))
    assert make_fleet(tmp_path, 1, {}, server_spec("good"), attempts=3).attempts == {"seed1/0": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_asked_to_end_is_an_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    for _ in range(2):
        supervisor = start_supervisor(tmp_path, 10, attempts=1)
        end_s = time.monotonic() + 60
        while "client" not in roles(psutil.Process(supervisor.pid)) and time.monotonic() < end_s:
            time.sleep(0.05)
        supervisor.send_signal(number)
        assert supervisor.wait(60) != 0
        assert leftovers(tmp_path) == []
    results = make_fleet(tmp_path, 10, {}, server_spec("good"), attempts=1).run(interval_s=0.05)
    assert {(result.outcome, result.attempts) for result in results} == {(Outcome.FINISHED, 1)}


def test_a_service_that_dies_comes_back_on_its_port(tmp_path: Path) -> None:
    service = policy_service(tmp_path)
    address = service.start()
    try:
        assert service._process is not None
        first = service._process.pid
        os.kill(first, signal.SIGKILL)
        asker = Asker(address)
        asker.ask()
        assert service._process.pid != first
    finally:
        service.stop()
    assert leftovers(tmp_path) == []


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    service = KeptService([sys.executable, "-c", "print('no model here')"], tmp_path / "log", "ready", 20.0)
    with pytest.raises(ServiceError, match="no model here"):
        service.start()
    service.stop()


def test_a_finished_run_starts_nothing_again(tmp_path: Path) -> None:
    make_fleet(tmp_path, 2, {}, server_spec("good")).run(interval_s=0.05)
    jobs = sorted((tmp_path / "jobs").iterdir())
    make_fleet(tmp_path, 2, {}, server_spec("good")).run(interval_s=0.05)
    assert sorted((tmp_path / "jobs").iterdir()) == jobs


def test_more_attempts_start_again_what_crashed(tmp_path: Path) -> None:
    def run(attempts: int) -> tuple[Outcome, int]:
        (result,) = make_fleet(tmp_path, 1, {"0": "once"}, server_spec("good"), attempts=attempts).run(interval_s=0.05)
        return result.outcome, result.attempts

    assert run(1) == (Outcome.CRASHED, 1)
    assert run(1) == (Outcome.CRASHED, 1)
    assert run(2) == (Outcome.FINISHED, 2)
    assert run(3) == (Outcome.FINISHED, 2)


def test_a_smaller_run_in_the_same_folder_forgets_nothing(tmp_path: Path) -> None:
    make_fleet(tmp_path, 3, {}, server_spec("good"), workers=1).run(interval_s=0.05)
    jobs = sorted((tmp_path / "jobs").iterdir())
    smaller = make_fleet(tmp_path, 2, {}, server_spec("good"))
    assert set(smaller.results) == set(smaller.tasks) == {"seed1/0", "seed1/1"}
    assert len(smaller.run(interval_s=0.05)) == 2
    assert len(make_fleet(tmp_path, 3, {}, server_spec("good")).run(interval_s=0.05)) == 3
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


class Moody(LocalExecutor):
    """Takes the first jobs, refuses the next two times."""

    def __init__(self) -> None:
        self.answers = iter(["yes", "no", "no"])

    def submit(self, folders: Sequence[Path]) -> list[Handle]:
        if next(self.answers, "yes") == "no":
            raise SubmitError("sbatch: error: Unable to contact slurm controller")
        return super().submit(folders)


def test_a_cluster_that_refuses_now_and_then_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fleets, "SUBMIT_PAUSE_S", 0.1)
    executor = Moody()
    behaviours = {"1": "long", "2": "once"}
    fleet = make_fleet(tmp_path, 4, behaviours, server_spec("good"), executor=executor, routes_per_job=1)
    assert {(result.outcome, result.attempts) for result in fleet.run(interval_s=0.02)} == {
        (Outcome.FINISHED, 1),
        (Outcome.FINISHED, 2),
    }
    assert capsys.readouterr().err.count("Unable to contact slurm controller; trying again") == 2
    executor.answers = iter(["no"])
    with pytest.raises(SubmitError):
        make_fleet(tmp_path / "other", 1, {}, server_spec("good"), executor=executor).run()


def test_a_log_tells_the_end_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though the last job may take its time to end after its last outcome."""
    fleet = make_fleet(tmp_path, 2, {}, server_spec("good"), executor=Waiting())
    view = LiveView("Driving")
    for key in (None, *fleet.tasks, None, None):
        if key is not None:
            fleet.results[key] = RouteResult(key, Outcome.FINISHED, "Completed", 1, "0000")
        view(fleet)
    printed = capsys.readouterr().err
    assert printed.count("0/2 routes (none yet)") == printed.count("2/2 routes (2 finished), took") == 1
    assert printed.count("seed1/1: finished - Completed") == 1


@pytest.mark.parametrize(
    "line", ["[]", "half a li", '{"key": "a"}', '{"event": "outcome", "key": "a"}', '{"event": "harvested"}',
             '{"event": "submitted", "job": "0007", "reference": ""}'],
)  # fmt: skip
def test_a_damaged_journal_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "journal.jsonl").write_text('{"event": "job", "job": "0000", "keys": []}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl, line 2: .*take the line out"):
        make_fleet(tmp_path, 1, {}, server_spec("good"))
    (tmp_path / "journal.jsonl").write_text("")
    make_fleet(tmp_path, 1, {}, server_spec("good"))  # nobody holds the lock any more


@pytest.mark.parametrize("content", ["", "{", '{"exit": "done"}', '{"exit": "gone", "detail": "", "wall_s": 1}'])
def test_an_outcome_that_was_cut_short_is_that_of_a_killed_worker(tmp_path: Path, content: str) -> None:
    (tmp_path / "outcome.json").write_text(content)
    assert read_outcome(tmp_path) is None


def test_a_full_disk_stops_the_run_and_blames_no_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = make_fleet(tmp_path, 1, {"0": "long"}, server_spec("good"), attempts=1)
    usage = shutil.disk_usage(tmp_path)

    def watch(fleet: Fleet) -> None:
        if any(job.progress for job in fleet.running):
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))

    with pytest.raises(OSError, match="only 1 MB are free"):
        fleet.run(watch, interval_s=0.02)
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    (result,) = make_fleet(tmp_path, 1, {}, server_spec("good"), attempts=1).run(interval_s=0.05)
    assert (result.outcome, result.attempts) == (Outcome.FINISHED, 1)


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
