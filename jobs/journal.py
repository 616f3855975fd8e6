"""An append-only record of what happened, that survives a kill between any two bytes."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any


class JournalBusy(RuntimeError):
    """Another supervisor works in the same output folder."""


def parse_events(content: bytes, path: Path) -> list[dict[str, Any]]:
    """Events of a journal's ``content``; a last line that a kill cut short is left out.

    Raises:
        ValueError: If another line is damaged; the message names it and ``path``.
    """
    events = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            raise ValueError(
                f"{path}, line {number}: expected a JSON object with an event, got {line[:80]!r}; take the line out, or choose "
                "another output folder"
            )
        events.append(event)
    return events


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
        try:
            self._stream.seek(0)
            content = self._stream.read()
            if content and not content.endswith(b"\n"):
                self._stream.truncate(content.rfind(b"\n") + 1)
            self.events = parse_events(content, path)
        except ValueError:
            self._stream.close()
            raise

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
