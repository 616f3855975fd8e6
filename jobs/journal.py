"""An append-only record of what happened, that survives a kill between any two bytes."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any


class JournalBusy(RuntimeError):
    """Another supervisor works in the same output folder."""


class Journal:
    """JSON lines, one event each, flushed to the disk before `append` returns.

    Opening it takes an exclusive lock that the kernel drops when the process ends, however it ends. A half-written last
    line, left by a kill, is cut off on opening.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the journal.

        Raises:
            JournalBusy: If another process holds it.
            ValueError: If a line other than the last is damaged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = open(path, "a+b")  # noqa: SIM115 - held open as long as the lock
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._stream.close()
            raise JournalBusy(
                f"{path.parent} is in use by another running supervisor; wait for it, end it, or choose another output folder"
            ) from error
        self.events = self._replay(path)

    def _replay(self, path: Path) -> list[dict[str, Any]]:
        self._stream.seek(0)
        content = self._stream.read()
        complete = content.rfind(b"\n") + 1
        if complete != len(content):
            self._stream.truncate(complete)
        events = []
        for number, line in enumerate(content[:complete].splitlines(), start=1):
            try:
                events.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: expected one JSON object, got {line[:80]!r}") from error
        return events

    def append(self, event: str, **fields: Any) -> None:
        """Add one event and wait until it is on the disk."""
        entry = {"event": event, **fields}
        self._stream.write(json.dumps(entry).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.events.append(entry)

    def close(self) -> None:
        """Give the lock back."""
        self._stream.close()
