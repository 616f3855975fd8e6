"""Leasing blocks of TCP ports, so that parallel servers on one machine never meet."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

BLOCK = 8
"""Ports of one lease: server RPC, its streaming and secondary ports, a gap, the Traffic Manager at the fifth, spares."""

TRAFFIC_MANAGER_OFFSET = 4
FIRST_PORT = 26000
LAST_PORT = 32000
"""Below the range from which Linux hands out ephemeral ports (32768 and up by default)."""


class NoFreePorts(RuntimeError):
    """Every block of the range is leased or in use."""


def is_free(port: int) -> bool:
    """Whether a TCP port can be bound on every interface of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"simlingo-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class PortLease:
    """A block of free ports, held until `release` or the end of the process (the kernel drops the lock with it).

    Attributes:
        rpc: First port of the block, for the simulator's RPC; the streaming port is `rpc + 1`.
        traffic_manager: Port for the client's Traffic Manager.
    """

    def __init__(self, first: int, lock: IO[str]) -> None:
        self.rpc = first
        self.traffic_manager = first + TRAFFIC_MANAGER_OFFSET
        self._lock = lock

    def release(self) -> None:
        """Give the block back. Safe to call twice."""
        self._lock.close()

    def __enter__(self) -> PortLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lease_ports(first: int = FIRST_PORT, last: int = LAST_PORT) -> PortLease:
    """Lease the lowest block of `BLOCK` ports in [first, last) that nobody holds and nothing listens on.

    Raises:
        NoFreePorts: If the range is exhausted.
    """
    for start in range(first, last - BLOCK + 1, BLOCK):
        lock = open(_lock_folder() / f"{start}.lock", "w")  # noqa: SIM115 - held open as long as the lease
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if all(is_free(port) for port in range(start, start + BLOCK)):
            return PortLease(start, lock)
        lock.close()
    raise NoFreePorts(
        f"no block of {BLOCK} free TCP ports between {first} and {last}; stop leftover simulators (`ss -ltnp` lists them)"
    )
