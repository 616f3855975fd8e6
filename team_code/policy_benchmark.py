"""Ticks per second of several simulators on one policy server, against one simulator with a model of its own.

    python -m team_code.policy_benchmark --checkpoint outputs/simlingo_tiny/checkpoints/last --simulators 2
    python -m team_code.policy_benchmark --checkpoint … --simulators 8 --simulator-ms 50 --device cuda

A simulator is a process that computes for ``--simulator-ms`` and then asks for a decision, as an evaluator with its simulator
does. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driving.arguments import positive
from jobs.kept import KeptService
from jobs.processes import usable_cores
from simlingo_training.data import prompts
from simlingo_training.inference import Observation
from simlingo_training.models.folder import read_config
from team_code.policy_client import READY, RemotePolicy
from team_code.policy_server import load_batch_policy

START_TIMEOUT_S = 600.0
PICTURES = 8
WARM_UP_TICKS = 12


def observations(seed: int) -> list[Observation]:
    """Made-up moments of one drive."""
    rng = np.random.default_rng(seed)
    points = np.array([[15.0, 0.5], [35.0, 2.0]])
    made = []
    for _ in range(PICTURES):
        coarse = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
        image = np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1))
        speed = float(rng.uniform(0, 10))
        made.append(Observation(image, speed, points, prompts.commentary_prompt(speed, prompts.points_sentence())))
    return made


def compute(milliseconds: float) -> None:
    """Keep one core busy."""
    end = time.perf_counter() + milliseconds / 1e3
    while time.perf_counter() < end:
        pass


def simulate(policy: Any, arguments: argparse.Namespace, seed: int, start: Barrier | None = None) -> float:
    """Drive; returns the seconds of the measured ticks."""
    moments = observations(seed)
    started = 0.0
    for tick in range(WARM_UP_TICKS + arguments.ticks):
        if tick == WARM_UP_TICKS:
            if start is not None:
                start.wait()
            started = time.perf_counter()
        compute(arguments.simulator_ms)
        policy.act(moments[tick // 4 % PICTURES])
    return time.perf_counter() - started


def _simulate_remotely(
    address: str, arguments: argparse.Namespace, seed: int, start: Barrier, results: multiprocessing.Queue[float]
) -> None:
    with RemotePolicy(address) as policy:
        results.put(simulate(policy, arguments, seed, start))


def measure_alone(arguments: argparse.Namespace) -> float:
    """Ticks per second of one simulator with the model in its process."""
    torch.set_num_threads(arguments.threads)
    policy = load_batch_policy(arguments.checkpoint, arguments.device)
    return float(arguments.ticks / simulate(policy, arguments, seed=0))


def measure_served(arguments: argparse.Namespace, simulators: int) -> tuple[float, dict[str, Any]]:
    """Ticks per second of all simulators together on one server, and how often each batch size occurred."""
    command = [sys.executable, "-m", "team_code.policy_server", "--checkpoint", arguments.checkpoint]
    command += ["--device", arguments.device, "--threads", str(arguments.server_threads)]
    if arguments.patience_ms is not None:
        command += ["--patience-ms", str(arguments.patience_ms)]
    context = multiprocessing.get_context("spawn")
    results, start = context.Queue(), context.Barrier(simulators)
    with tempfile.TemporaryDirectory() as folder:
        service = KeptService(command, Path(folder) / "server.log", READY, START_TIMEOUT_S)
        try:
            address = service.start()
            processes = [
                context.Process(target=_simulate_remotely, args=(address, arguments, seed, start, results))
                for seed in range(simulators)
            ]
            for process in processes:
                process.start()
            slowest = max(results.get(timeout=START_TIMEOUT_S) for _ in processes)
            for process in processes:
                process.join()
            with RemotePolicy(address) as policy:
                status = policy.status()
        finally:
            service.stop()
    return simulators * arguments.ticks / slowest, status["batches"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m team_code.policy_benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder")
    parser.add_argument("--simulators", type=positive, default=2, help="(default: %(default)s)")
    parser.add_argument("--ticks", type=positive, default=100, help="of each simulator (default: %(default)s)")
    parser.add_argument(
        "--simulator-ms", type=float, default=25.0, help="work of a simulator per tick (default: %(default)s)"
    )
    parser.add_argument("--patience-ms", type=float, help="of the server (default: the server's)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    cores = usable_cores()
    parser.add_argument("--threads", type=int, default=cores, help="of the lone model (default: every core)")
    parser.add_argument("--server-threads", type=int, help="of the server's model (default: cores without a simulator)")
    arguments = parser.parse_args()
    if arguments.server_threads is None:
        arguments.server_threads = max(1, cores - arguments.simulators)
    try:
        read_config(Path(arguments.checkpoint))
        alone = measure_alone(arguments)
    except ValueError as error:
        parser.error(str(error))
    print(f"one simulator, model in its process   {alone:7.1f} ticks/s", flush=True)
    served, batches = measure_served(arguments, arguments.simulators)
    print(
        f"{arguments.simulators} simulators, one policy server      {served:7.1f} ticks/s   batches {batches}",
        flush=True,
    )
    result = {
        "benchmark": "policy_server",
        "simulators": arguments.simulators,
        "simulator_ms": arguments.simulator_ms,
        "threads": arguments.threads,
        "server_threads": arguments.server_threads,
        "device": arguments.device,
        "alone_ticks_per_s": round(alone, 2),
        "served_ticks_per_s": round(served, 2),
        "ratio": round(served / alone, 3),
        "batches": batches,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
