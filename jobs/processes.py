"""Child processes that never outlive their purpose."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

TOKEN_VARIABLE = "SIMLINGO_JOB"
"""Environment variable by which every process of a job, grandchildren too, can be found again."""

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Runs in the child: ask the kernel for SIGKILL when the parent dies (Linux; elsewhere the sweep does it)."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine has under `taskset`, SLURM and in containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, unless they are ignored or handled.

    In a thread other than the main one nothing changes: signals do not reach it.
    """
    signals = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    taken = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def start(
    command: Sequence[str], log: Path, token: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own that dies with this process.

    Args:
        command: Program and arguments.
        log: File that receives stdout and stderr, appended.
        token: Value of `TOKEN_VARIABLE` in the child's environment.
        environment: Further variables.

    Raises:
        FileNotFoundError: If the program does not exist.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {}), TOKEN_VARIABLE: token},
            preexec_fn=_die_with_parent,
        )


def stop(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """End a process and its group: SIGTERM, then SIGKILL after ``grace_s`` seconds. Returns when the process is gone."""
    for kind, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            pass
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        if kind is signal.SIGKILL:
            return
    process.wait(10.0)


def sweep(token: str, grace_s: float = 2.0) -> int:
    """Kill every process that still carries ``token`` in its environment, except this one. Returns how many there were."""
    found = [process for process in psutil.process_iter() if _carries(process, token)]
    for process in found:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(found, timeout=grace_s)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=grace_s)
    return len(found)


def _carries(process: psutil.Process, token: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(TOKEN_VARIABLE) == token
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        return


def tail(path: Path, lines: int = 12) -> str:
    """Last lines of a log file, or an empty string when there is none."""
    if not path.exists():
        return ""
    with open(path, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 16384))
        return "\n".join(stream.read().decode("utf-8", "replace").splitlines()[-lines:])


def describe_exit(code: int) -> str:
    """A return code of `subprocess` in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.1) -> bool:
    """Poll ``condition()`` until it is true; False when ``timeout_s`` seconds pass first."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(interval_s)
    return False
