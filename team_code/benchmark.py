"""How fast the closed loop runs: embedded server, evaluator, scenarios, traffic and driver, as evaluations and collections run.

    python -m team_code.benchmark expert collection camera model --jobs 2

Four drivers: ``expert`` alone, ``collection`` with the recorder and all its sensors, ``camera``, a blind driver that
asks for a 1024 x 512 camera, IMU and GNSS in every tick, and ``model``, the small model with commentary. Routes are
shared out to as many servers as there are jobs. Printed per driver: game time per wall time of the whole run, starts
and loads included; wall time of each stage of a tick; processor time of servers and clients per tick and of their
parts, which depends less on what else the machine does, and by it what one core gives and what all of them could give
at best. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from jobs.fleet import PROGRESS_SUFFIX
from jobs.servers import CLIENT_PATIENCE_S, ServerSpec, literal
from jobs.worker import Exit, JobOutcome, JobSpec, run_job
from leaderboard.benchmark import AGENT, SENSORS
from leaderboard.utils.route_indexer import index_runs

POLL_S = 0.2
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Driver:
    """What is measured.

    Attributes:
        agent: Its file; None for a blind driver with `sensors`.
        rules: Benchmark rules.
        track: Track of the evaluator.
        sensors: Names in `leaderboard.benchmark.SENSORS`.
        records: Whether it writes a dataset.
        settings: Its settings, YAML.
    """

    agent: Path | None
    rules: str = "bench2drive"
    track: str = "MAP"
    sensors: tuple[str, ...] = ()
    records: bool = False
    settings: str = ""


HERE = Path(__file__).parent
DRIVERS = {
    "expert": Driver(HERE / "autopilot.py"),
    "collection": Driver(HERE / "data_agent.py", "collection", records=True),
    "camera": Driver(None, track="SENSORS", sensors=("camera", "imu", "gnss")),
    "model": Driver(
        HERE / "agent_simlingo.py",
        track="SENSORS",
        settings=f"checkpoint: {HERE.parent / 'data' / 'checkpoints' / 'simlingo_tiny'}\nstuck_s: 2\n",
    ),
}


class ProcessorTimes:
    """Processor seconds of this process's descendants, sorted into servers and clients, read until it is stopped.

    What is on a server's first thread is the world and its calls, on the others its cameras and other sensors; on a client's
    first thread is what is written in Python, on the others the client library, its sensors' listeners and Traffic Manager.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessorTimes:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stopped.set()
        self._thread.join()

    def seconds(self, kind: str) -> tuple[float, float]:
        """Processor seconds of ``server`` or ``client`` processes, up to `POLL_S` of the last moments short.

        Returns:
            All, and those of the first threads.
        """
        rows = [(total, first) for what, total, first in self._seen.values() if what == kind]
        return sum(total for total, _ in rows), sum(first for _, first in rows)

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            for process in psutil.Process().children(recursive=True):
                try:
                    times = process.cpu_times()
                    first = sum(row.user_time + row.system_time for row in process.threads() if row.id == process.pid)
                    command = process.cmdline()
                except psutil.Error:
                    continue
                if not command:
                    # It is ending: what it was can no longer be told.
                    continue
                kind = "server" if "carla_server" in command else "client"
                self._seen[process.pid] = kind, times.user + times.system, first


def measure(name: str, driver: Driver, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Drive the routes with one driver and return its numbers.

    Raises:
        RuntimeError: If a job failed; the message says why.
    """
    shares = share_out(options.routes, options.routes_subset, options.jobs)
    specs = [job(driver, options, folder / f"{name}-{number}", share) for number, share in enumerate(shares)]
    with ProcessorTimes() as processors, ThreadPoolExecutor(len(specs)) as pool:
        started = time.monotonic()
        outcomes: list[JobOutcome] = [*pool.map(run_job, specs)]
        wall_s = time.monotonic() - started
    for spec, outcome in zip(specs, outcomes):
        if outcome.exit is not Exit.DONE:
            raise RuntimeError(f"{name}: {outcome.exit.value}: {outcome.detail} (logs in {spec.folder})")
    manifests = [json.loads((Path(spec.folder) / "results_manifest.json").read_text()) for spec in specs]
    begun = [(name, route) for manifest in manifests for name, route in manifest["routes"].items()]
    routes = [route for _, route in begun if "run" in route.get("wall_s", {})]
    if len(routes) < len(begun):
        idle = ", ".join(f"{name}: {route.get('reason')}" for name, route in begun if route not in routes)
        raise RuntimeError(
            f"{len(begun) - len(routes)} of {len(begun)} routes were not driven ({idle}; logs in {folder})"
        )
    ticks = sum(route["ticks"] for route in routes)
    (server_s, world_s), (client_s, python_s) = processors.seconds("server"), processors.seconds("client")
    per_core = ticks / 20 / (server_s + client_s)
    return {
        "routes": len(routes),
        "ticks": ticks,
        "wall_s": round(wall_s, 1),
        "times_real_time": round(ticks / 20 / wall_s, 2),
        "route_times_real_time": round(ticks / 20 / sum(route["wall_s"]["run"] for route in routes), 2),
        "times_real_time_per_core": round(per_core, 2),
        "times_real_time_at_best": round(per_core * (os.cpu_count() or 1), 2),
        "load_s_per_route": round(sum(route["wall_s"]["load"] for route in routes) / len(routes), 3),
        "server_cpu_ms_per_tick": round(1e3 * server_s / ticks, 2),
        "client_cpu_ms_per_tick": round(1e3 * client_s / ticks, 2),
        "cpu_ms_per_tick": {
            "world and calls": round(1e3 * world_s / ticks, 2),
            "sensors": round(1e3 * (server_s - world_s) / ticks, 2),
            "scenarios and driver": round(1e3 * python_s / ticks, 2),
            "client library and Traffic Manager": round(1e3 * (client_s - python_s) / ticks, 2),
        },
        "stage_ms_per_tick": stages(routes, ticks),
    }


def share_out(routes: Path, subset: str, jobs: int) -> list[list[str]]:
    """Route ids for each job; routes of one town stay together, since a change of town costs a load.

    Raises:
        ValueError: If there are no such routes.
    """
    runs = sorted(index_runs(routes, subset, 1), key=lambda run: run.town)
    if not runs:
        raise ValueError(f"{routes} has no routes {subset!r}")
    ids = [str(run.route_id) for run in runs]
    size = -(-len(ids) // jobs)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def job(driver: Driver, options: argparse.Namespace, folder: Path, route_ids: Sequence[str]) -> JobSpec:
    """The job that drives some of the routes."""
    folder.mkdir(parents=True)
    agent, results = driver.agent, folder / "results.json"
    if agent is None:
        agent = folder / "benchmark_agent.py"
        agent.write_text(AGENT.format(sensors=[{**SENSORS[name], "id": name} for name in driver.sensors]))
    command = [
        *(literal(sys.executable), "-m", "leaderboard.leaderboard_evaluator", "--port", "{port}"),
        *("--traffic-manager-port", "{tm_port}", "--traffic-manager-seed", str(options.seed)),
        *("--routes", literal(str(options.routes)), "--routes-subset", ",".join(route_ids), "--track", driver.track),
        *("--agent", literal(str(agent)), "--rules", driver.rules, "--checkpoint", literal(str(results))),
        *("--wait-for-server", str(CLIENT_PATIENCE_S)),
    ]
    if driver.records:
        command += ["--agent-config", literal(str(options.routes))]
    if driver.settings:
        settings = folder / "agent.yaml"
        settings.write_text(driver.settings)
        command += ["--agent-config", literal(str(settings))]
    town = index_runs(options.routes, route_ids[0], 1)[0].town
    spec = JobSpec(
        str(folder), ServerSpec(), tuple(command), town, options.seed, f"{results}{PROGRESS_SUFFIX}", TIMEOUT_S, TIMEOUT_S
    )  # fmt: skip
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "EXPERT_SEED": str(options.seed)}
    environment |= {"SAVE_PATH": literal(str(folder / "data" / "simlingo")), "LIDAR_SWEEP": "full"}
    return replace(spec, environment=environment, client_waits=True)


def stages(routes: Sequence[dict[str, Any]], ticks: int) -> dict[str, float]:
    """Mean wall time per tick of every stage, milliseconds."""
    totals: dict[str, float] = {}
    for route in routes:
        for name, row in route.get("stage_ms", {}).items():
            totals[name] = totals.get(name, 0.0) + row["total_s"]
    return {name: round(1e3 * seconds / ticks, 2) for name, seconds in totals.items()}


def report(name: str, numbers: dict[str, Any]) -> None:
    """Print one driver's numbers for people."""
    stage = ", ".join(f"{part} {value} ms" for part, value in numbers["stage_ms_per_tick"].items())
    profile = ", ".join(f"{part} {value} ms" for part, value in numbers["cpu_ms_per_tick"].items())
    print(
        f"{name}: {numbers['routes']} routes, {numbers['ticks']} ticks in {numbers['wall_s']} s: "
        f"{numbers['times_real_time']} times real time\n"
        f"  one route alone {numbers['route_times_real_time']} times; wall time of a tick: {stage}\n"
        f"  processor time of a tick: server {numbers['server_cpu_ms_per_tick']} ms, "
        f"client {numbers['client_cpu_ms_per_tick']} ms, starts included ({profile}): "
        f"{numbers['times_real_time_per_core']} times real time per core, so that these {os.cpu_count()} cannot give more "
        f"than {numbers['times_real_time_at_best']} times; load {numbers['load_s_per_route']} s per route",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry; the last line is JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m team_code.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("drivers", nargs="*", metavar="DRIVER", help=f"of {', '.join(DRIVERS)} (default: all)")
    parser.add_argument("--routes", type=Path, default=Path("data/routes/demo_collect.xml"), help="route file")
    parser.add_argument("--routes-subset", default="", help="ids and ranges (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="servers at a time (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default %(default)s)")
    options = parser.parse_args(arguments)
    names = options.drivers or [*DRIVERS]
    unknown = [name for name in names if name not in DRIVERS]
    if unknown:
        parser.error(f"unknown driver {', '.join(unknown)}; known: {', '.join(DRIVERS)}")
    result: dict[str, Any] = {"benchmark": "closed loop", "machine": platform.machine(), "processors": os.cpu_count()}
    result |= {"jobs": options.jobs, "seed": options.seed, "routes_file": options.routes.name}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            result[name] = measure(name, DRIVERS[name], options, Path(folder))
            report(name, result[name])
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
