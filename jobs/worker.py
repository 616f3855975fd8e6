"""One job: start a server, run a client command on it, watch both, leave a typed outcome file.

Run by the supervisor, locally or inside a SLURM task::

    python -m jobs.worker outputs/eval/jobs/0003/job.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from jobs import ports, processes, servers

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
"""glibc's settings for clients that handle pictures: blocks of up to 32 MB that were freed are used again. By default each
picture is taken from the kernel anew, and touching its new pages for the first time costs more than filling them."""


REFUSED_STATUS = 2
"""Exit status of a client, as of most programs, whose input is wrong, so that starting it again would be in vain."""


class Exit(str, Enum):
    """How a job ended."""

    DONE = "done"
    CLIENT_FAILED = "client failed"
    CLIENT_REFUSED = "client refused"
    SERVER_FAILED = "server failed"
    SERVER_DIED = "server died"
    HUNG = "hung"
    OVER_TIME = "over time"


@dataclass(frozen=True)
class JobSpec:
    """What one worker does. Written as JSON beside its logs.

    Attributes:
        folder: Where logs, progress and outcome go.
        server: How the simulator is launched, or None when the client brings its own.
        client: Command that drives; `{port}`, `{tm_port}`, `{folder}` and `{card}` are filled in, `{{` is a brace.
        town: Town the server loads first.
        seed: Seed of the server.
        progress: File the client appends to while it makes progress; its growth is the sign of life.
        hang_timeout_s: Wall time without a sign of life after which the job is killed.
        wall_timeout_s: Wall time after which the job is killed.
        gpu: Index of the graphics card for a server that wants one, and for `{card}`.
        environment: Further environment variables of the client, with the same placeholders.
        client_waits: Whether the client waits for a server that is not up yet. It then starts together with the server, if that
            is ready as soon as it answers.
    """

    folder: str
    server: servers.ServerSpec | None
    client: tuple[str, ...]
    town: str
    seed: int
    progress: str
    hang_timeout_s: float = 180.0
    wall_timeout_s: float = 24 * 3600.0
    gpu: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    client_waits: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value; undone by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> JobSpec:
        """Read what `to_json` wrote."""
        server = value["server"]
        if server is not None:
            server = servers.ServerSpec(**{**server, "command": tuple(server["command"])})
        return cls(**{**value, "server": server, "client": tuple(value["client"])})


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended and why, in words a person can act on."""

    exit: Exit
    detail: str
    wall_s: float


def outcome_path(folder: Path) -> Path:
    """Where a worker leaves its outcome."""
    return folder / "outcome.json"


def read_outcome(folder: Path) -> JobOutcome | None:
    """The outcome a worker left, or None while there is none: still running, killed, or cut short by a failing machine."""
    try:
        value = json.loads(outcome_path(folder).read_text())
        return JobOutcome(Exit(value["exit"]), value["detail"], value["wall_s"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def run_job(spec: JobSpec) -> JobOutcome:
    """Run one job to its end. Leaves no process and no port behind."""
    started = time.monotonic()
    folder = Path(spec.folder)
    token = job_token(folder)
    children: list[subprocess.Popen[bytes]] = []
    try:
        with ports.lease_ports() as lease:
            kind, detail = _run(spec, folder, token, lease, children)
    except (servers.ServerError, ports.NoFreePorts, FileNotFoundError) as error:
        kind, detail = Exit.SERVER_FAILED, str(error)
    finally:
        for child in reversed(children):
            processes.stop(child)
        processes.sweep(token)
    return JobOutcome(kind, detail, round(time.monotonic() - started, 3))


def job_token(folder: Path) -> str:
    """Token that marks every process of the job in ``folder``."""
    return f"job:{folder.resolve()}"


def _run(
    spec: JobSpec, folder: Path, token: str, lease: ports.PortLease, children: list[subprocess.Popen[bytes]]
) -> tuple[Exit, str]:
    server = None
    if spec.server is not None:
        log = folder / "server.log"
        server = servers.start(spec.server, lease.rpc, spec.town, spec.seed, log, token, spec.gpu)
        children.append(server)
        if not _start_together(spec):
            servers.wait_until_ready(spec.server, server, lease.rpc, log)
    values = {
        "port": str(lease.rpc),
        "tm_port": str(lease.traffic_manager),
        "folder": str(folder.resolve()),
        "card": visible_card(spec.gpu, os.environ.get("CUDA_VISIBLE_DEVICES", "")),
    }
    command = [part.format(**values) for part in spec.client]
    environment = {**KEEP_FREED_MEMORY, **{name: value.format(**values) for name, value in spec.environment.items()}}
    client = processes.start(command, folder / "client.log", token, environment)
    children.append(client)
    if spec.server is not None and server is not None and _start_together(spec):
        servers.wait_until_ready(spec.server, server, lease.rpc, log)
    return watch(client, server, spec, folder)


def visible_card(index: int, visible: str) -> str:
    """Name of the graphics card with an index among those that CUDA_VISIBLE_DEVICES (``visible``) leaves to this process."""
    names = [name for name in visible.split(",") if name]
    return names[index % len(names)] if names else str(index)


def _start_together(spec: JobSpec) -> bool:
    """Whether the client starts while the server does: it waits by itself, and an answer means that the server is ready."""
    return spec.client_waits and spec.server is not None and spec.server.settle_s == 0.0


def watch(
    client: subprocess.Popen[bytes], server: subprocess.Popen[bytes] | None, spec: JobSpec, folder: Path
) -> tuple[Exit, str]:
    """Wait for the client's end, the server's death, a hang or the time limit, whichever comes first."""
    progress = Path(spec.progress)
    started = last_sign = time.monotonic()
    last_size = -1
    while True:
        code = client.poll()
        server_code = server.poll() if server is not None else None
        if code == 0:
            return Exit.DONE, ""
        if server_code is not None:
            detail = f"the simulator ended with {processes.describe_exit(server_code)}; its log ends:\n"
            return Exit.SERVER_DIED, detail + processes.tail(folder / "server.log")
        if code is not None:
            detail = f"the client ended with {processes.describe_exit(code)}; its log ends:\n"
            kind = Exit.CLIENT_REFUSED if code == REFUSED_STATUS else Exit.CLIENT_FAILED
            return kind, detail + processes.tail(folder / "client.log")
        now = time.monotonic()
        size = progress.stat().st_size if progress.exists() else -1
        if size != last_size:
            last_size, last_sign = size, now
        if now - last_sign > spec.hang_timeout_s:
            return Exit.HUNG, f"no sign of life in {progress.name} for {spec.hang_timeout_s:g} s"
        if now - started > spec.wall_timeout_s:
            return Exit.OVER_TIME, f"still running after the limit of {spec.wall_timeout_s:g} s"
        time.sleep(0.1)


def write_json_atomically(path: Path, value: Any) -> None:
    """Write a JSON file through a temporary name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=2))
    os.replace(temporary, path)


def main() -> int:
    """Entry point of ``python -m jobs.worker``."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.worker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="job.json written by the supervisor")
    arguments = parser.parse_args()
    try:
        spec = JobSpec.from_json(json.loads(arguments.job.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"{arguments.job} is no job as the supervisor writes them: {error}")
    outcome = run_job(spec)
    write_json_atomically(outcome_path(Path(spec.folder)), {**asdict(outcome), "exit": outcome.exit.value})
    return 0 if outcome.exit is Exit.DONE else 1


if __name__ == "__main__":
    sys.exit(main())
