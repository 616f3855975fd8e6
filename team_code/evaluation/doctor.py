"""Checks everything an evaluation needs before it starts, and says how to mend what is missing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jobs import ports
from jobs.fleet import driven
from jobs.servers import ServerError
from leaderboard.utils.towns import TownNotFoundError, find_town
from simlingo_training.models.folder import CheckpointError, read_config
from team_code.evaluation.config import AGENTS, LEARNED_AGENTS, RUN_FILES, EvalConfig
from team_code.evaluation.plan import agent_settings, read_tasks, server_spec

MEGABYTES_PER_ROUTE = 30
"""Camera images, log and results of one route with the driving model, measured on the demo routes and rounded up."""

DRIVER_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Device files of the graphics drivers that torch works with on Linux: NVIDIA's, AMD's, and that of Windows' subsystem."""


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        name: What was checked.
        good: Whether the evaluation can start.
        message: What was found and, if bad, what to do.
    """

    name: str
    good: bool
    message: str


def examine(config: EvalConfig) -> list[Finding]:
    """Run every check; none changes anything."""
    return [Finding(name, *check(config)) for name, check in CHECKS]


def _check_packages(config: EvalConfig) -> tuple[bool, str]:
    version = metadata.version("carla")
    return version == "0.9.16", f"carla client {version}" + (
        "" if version == "0.9.16" else "; expected 0.9.16, run `make test`"
    )


def _check_routes(config: EvalConfig) -> tuple[bool, str]:
    try:
        tasks = read_tasks(config)
    except (OSError, ValueError) as error:
        return False, str(error)
    towns = sorted({task.town for task in tasks})
    if config.simulator == "embedded":
        try:
            for town in towns:
                find_town(town)
        except TownNotFoundError as error:
            return False, f"{error}; put its .xodr file there, or drive with simulator=carla"
    return True, f"{len(tasks)} drives in {', '.join(towns)}"


def _check_agent(config: EvalConfig) -> tuple[bool, str]:
    if not config.agent_file.is_file():
        return (
            False,
            f"no agent file {config.agent_file}; agent= is one of {', '.join(AGENTS)} or the path of a Python file",
        )
    try:
        if config.agent in LEARNED_AGENTS:
            agent_settings(config)
    except ValueError as error:
        return False, str(error)
    return True, str(config.agent_file)


def _check_checkpoint(config: EvalConfig) -> tuple[bool, str]:
    if config.agent not in LEARNED_AGENTS:
        return True, "not needed"
    folder = Path(config.checkpoint)
    if not config.checkpoint or not folder.exists():
        return (
            False,
            f"checkpoint={config.checkpoint!r} does not exist; train one with `python train.py` or give its folder",
        )
    try:
        kind = read_config(folder)["kind"]
    except CheckpointError as error:
        return False, str(error)
    if kind != config.agent:
        return False, f"{folder} is a checkpoint of {kind}; drive it with agent={kind}"
    if not (folder / "model.safetensors").is_file():
        return False, f"{folder} lacks model.safetensors; a checkpoint folder is written by train.py or the converter"
    return True, f"{kind} in {folder}"


def _check_comparison(config: EvalConfig) -> tuple[bool, str]:
    if not config.compare:
        return True, "not asked for"
    missing = [name for name in RUN_FILES if not (Path(config.compare) / name).is_file()]
    if missing:
        return (
            False,
            f"compare={config.compare} lacks {', '.join(missing)}; give the out= folder of an evaluation that has ended",
        )
    return True, f"with {config.compare}"


def _check_disk(config: EvalConfig) -> tuple[bool, str]:
    folder = Path(config.out)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e6
    try:
        done = driven(Path(config.out))
        need = sum(task.key not in done for task in read_tasks(config)) * MEGABYTES_PER_ROUTE
    except (OSError, LookupError, ValueError):  # told by the check of the routes, or when the journal is opened
        need = MEGABYTES_PER_ROUTE
    if not os.access(folder, os.W_OK):
        return False, f"{folder} is not writable; choose another out="
    return free > need, f"{free:.0f} MB free at {folder}, about {need} MB needed" + (
        "" if free > need else "; free some"
    )


def _check_ports(config: EvalConfig) -> tuple[bool, str]:
    held = []
    try:
        for _ in range(config.workers):
            held.append(ports.lease_ports())
    except ports.NoFreePorts as error:
        return False, str(error)
    finally:
        for lease in held:
            lease.release()
    return True, f"{config.workers} blocks of {ports.BLOCK} from {held[0].rpc}"


def _check_simulator(config: EvalConfig) -> tuple[bool, str]:
    try:
        command = server_spec(config).fill(port=ports.FIRST_PORT, town="", seed=0)
    except ServerError as error:
        return False, str(error)
    if shutil.which(command[0]) or os.access(command[0], os.X_OK):
        return True, command[0]
    return False, f"{command[0]} is not an executable file; set CARLA_ROOT or launch="


def _check_cluster(config: EvalConfig) -> tuple[bool, str]:
    if config.cluster == "local":
        return True, f"local processes on {socket.gethostname()}, {os.cpu_count()} cores, {config.workers} workers"
    missing = [name for name in ("sbatch", "squeue", "scancel") if not shutil.which(name)]
    return not missing, f"{', '.join(missing)} not on the PATH; run on a login node" if missing else "sbatch found"


def _check_accelerator(config: EvalConfig) -> tuple[bool, str]:
    cards, name = _find_cards()
    if config.cluster == "local" and 0 < cards < config.gpus:
        return False, f"gpus={config.gpus}, but this machine has {cards}"
    if config.agent_options.get("device") == "cuda" and not cards:
        return False, "agent_options.device=cuda, but torch finds no GPU; leave it away or mend the driver (nvidia-smi)"
    if cards:
        return True, f"{cards} × {name}"
    return (
        True,
        "no GPU: the model runs on the CPU (the tiny presets are made for that, the full model takes seconds per tick)",
    )


def _find_cards() -> tuple[int, str]:
    """How many graphics cards torch can use, and the name of the first."""
    if sys.platform == "linux" and not any(Path(file).exists() for file in DRIVER_FILES):
        return 0, ""
    import torch  # slow to import, and without a driver there is nothing to ask it

    cards = torch.cuda.device_count()
    return cards, torch.cuda.get_device_name() if cards else ""


CHECKS: tuple[tuple[str, Callable[[EvalConfig], tuple[bool, str]]], ...] = (
    ("packages", _check_packages),
    ("routes", _check_routes),
    ("agent", _check_agent),
    ("checkpoint", _check_checkpoint),
    ("comparison", _check_comparison),
    ("simulator", _check_simulator),
    ("ports", _check_ports),
    ("disk", _check_disk),
    ("cluster", _check_cluster),
    ("accelerator", _check_accelerator),
)


def render(findings: list[Finding]) -> Iterator[str]:
    """One line per finding."""
    for finding in findings:
        yield f"{'ok ' if finding.good else 'BAD'}  {finding.name:12s} {finding.message}"
