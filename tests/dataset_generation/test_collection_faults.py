"""Collection survives ``kill -9`` of any of its processes, here and on a SLURM cluster, and leaves a clean dataset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from dataset_generation import verify
from dataset_generation.collect import finished_runs
from driving.records import find_runs, frame_name

Found = TypeVar("Found")

STARTS = {"1": 205.0, "2": 197.0}
"""Route to where it begins on a straight street of the town, metres."""

ROUTE = """<route id="{id}" town="Mini01">
<weathers><weather route_percentage="0" cloudiness="10" sun_altitude_angle="60"/></weathers>
<waypoints>{places}</waypoints><scenarios/></route>"""

EVALUATOR, SERVER = "leaderboard.leaderboard_evaluator", "carla_server"


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """A file of two short plain routes."""
    written = []
    for name, start in STARTS.items():
        places = "".join(f'<position x="{start - 8 * i}" y="-1.75" z="0"/>' for i in range(6))
        written.append(ROUTE.format(id=name, places=places))
    path = tmp_path / "short.xml"
    path.write_text(f"<routes>{''.join(written)}</routes>")
    return path


class Collection:
    """The command a user types, in a process that can be killed."""

    def __init__(self, routes: Path, out: Path, *options: str) -> None:
        self.out = out
        self._command = [sys.executable, "-m", "dataset_generation.collect", "--routes", str(routes)]
        self._command += ["--out", str(out), "--no-traffic", "--attempts", "6", *options]
        self.start()

    def start(self) -> None:
        """Run the command, for the first time or again."""
        log = (self.out.parent / "collect.log").open("a")
        self.process = psutil.Popen(self._command, stdout=log, stderr=log)

    def part(self, name: str) -> psutil.Process | None:
        """The process below the supervisor whose command names a module."""
        for child in self.process.children(recursive=True):
            try:
                if name in child.cmdline() and child.cmdline()[0] == sys.executable:
                    return child
            except psutil.NoSuchProcess:
                continue
        return None

    def frames(self) -> int:
        """Recorded frames, those of runs that were cut off too."""
        return sum(len(run.frames()) for run in find_runs(self.out)) if (self.out / "data").is_dir() else 0

    def journal(self, event: str) -> list[dict[str, str]]:
        """Entries of the journal."""
        path = self.out / "collection" / "journal.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [entry for line in lines if (entry := json.loads(line))["event"] == event]

    def log(self) -> str:
        """What the command printed."""
        return (self.out.parent / "collect.log").read_text()[-3000:]

    def until(self, question: Callable[[], Found | None], seconds: float = 100.0) -> Found:
        """Wait for an answer that is not empty."""
        end = time.monotonic() + seconds
        while not (answer := question()):
            assert time.monotonic() < end, f"waited {seconds} s; the command printed: {self.log()}"
            time.sleep(0.1)
        return answer

    def finish(self) -> None:
        """Wait for the end; everything must have been driven."""
        assert self.process.wait(timeout=150) == 0, self.log()


@pytest.fixture
def collect(routes: Path, tmp_path: Path) -> Iterator[Callable[..., Collection]]:
    """Starts collections and ends what is left of them."""
    started: list[Collection] = []

    def start(*options: str) -> Collection:
        started.append(Collection(routes, tmp_path / "set", *options))
        return started[-1]

    yield start
    for collection in started:
        if collection.process.is_running():
            for child in (*collection.process.children(recursive=True), collection.process):
                child.kill()


def assert_clean(out: Path) -> None:
    """Each route has one finished run, no file is broken, and runs that were cut off are readable."""
    assert sorted(run.name.split("_route")[1][0] for run in finished_runs(out)) == ["0", "1"]
    reports = verify.verify(out, jobs=1, quick=False, show_progress=False)
    assert [fault for report in reports for fault in report.faults] == []
    assert [path for path in (out / "data").rglob("*") if path.name.endswith((".tmp", ".part"))] == []


def test_every_process_may_be_killed(collect: Callable[..., Collection]) -> None:
    collection = collect("--jobs", "1", "--routes-per-job", "2", "--extra-pictures")
    killed = []
    for name in (EVALUATOR, SERVER):
        before = collection.frames()
        collection.until(lambda before=before: collection.frames() > before + 2)
        victim = collection.until(lambda name=name: collection.part(name))
        victim.kill()
        killed.append(victim.pid)
        collection.until(lambda name=name: (part := collection.part(name)) and part.pid not in killed)
    before = collection.frames()
    collection.until(lambda: collection.frames() > before + 2)
    orphans = [collection.until(lambda name=name: collection.part(name)) for name in (EVALUATOR, SERVER)]
    os.kill(collection.process.pid, signal.SIGKILL)
    collection.process.wait()
    collection.start()
    collection.finish()
    assert not any(orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE for orphan in orphans)
    assert_clean(collection.out)
    for run in finished_runs(collection.out):
        for name in ("semantics", "depth", "bev_semantics"):
            for ending in ("", "_augmented"):
                written = sorted(path.name for path in (run.path / f"{name}{ending}").iterdir())
                assert written == [f"{frame_name(frame)}.png" for frame in run.frames()]


@pytest.mark.usefixtures("slurm_cluster")
def test_job_array_with_a_killed_job(collect: Callable[..., Collection]) -> None:
    options = ["--executor", "slurm", "--slurm", "time=10", "--slurm", "cpus_per_task=1", "--no-lidar"]
    collection = collect("--jobs", "2", "--routes-per-job", "1", *options)
    first = collection.until(lambda: collection.journal("submitted"))
    collection.until(collection.frames)
    subprocess.run(["scancel", "--signal=KILL", first[0]["reference"]], check=True)
    collection.until(lambda: collection.journal("attempt"))
    collection.finish()
    array = {entry["reference"].split("_")[0] for entry in collection.journal("submitted")[:2]}
    assert len(array) == 1
    assert len(collection.journal("submitted")) >= 3
    assert_clean(collection.out)
    assert not any((run.path / "lidar").exists() for run in finished_runs(collection.out))
