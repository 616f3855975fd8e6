"""A live table of a fleet: what is done, what runs, how long it will take."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.fleet import Fleet
from jobs.results import Outcome, route_id_of

COLOURS = {
    Outcome.FINISHED: "green",
    Outcome.FAILED: "yellow",
    Outcome.CRASHED: "red",
    Outcome.TIMED_OUT: "magenta",
    Outcome.NOT_RUN: "dim",
}
PLAIN_INTERVAL_S = 20.0


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class LiveView:
    """Shows a fleet while it runs; pass it to `Fleet.run` as ``watch`` inside a ``with`` block.

    On a terminal it redraws a table; elsewhere (logs, CI) it prints a line per new outcome and a summary now and then.

    Args:
        title: What is being done, for the first line.
        unit: What a task is called, for example `route`.
    """

    def __init__(self, title: str, unit: str = "route") -> None:
        self._title = title
        self._unit = unit
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=False) if sys.stderr.isatty() else None
        self._started = time.monotonic()
        self._done_at_start: int | None = None
        self._seen: set[str] = set()
        self._printed = -math.inf
        self._has_told_end = False

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        if self._live:
            self._live.__exit__(None, None, None)

    def __call__(self, fleet: Fleet) -> None:
        """Show the state of the fleet now."""
        if self._done_at_start is None:
            self._done_at_start = len(fleet.results)
            self._seen = set(fleet.results)
        if self._live:
            self._live.update(self._table(fleet))
        else:
            self._print(fleet)

    def summary(self, fleet: Fleet) -> str:
        """One line: how many are done, by outcome, and the time left."""
        counts = Counter(result.outcome for result in fleet.results.values())
        parts = [f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome]]
        return f"{len(fleet.results)}/{len(fleet.tasks)} {self._unit}s ({', '.join(parts) or 'none yet'}), {self._eta(fleet)}"

    def _eta(self, fleet: Fleet) -> str:
        elapsed = time.monotonic() - self._started
        new = len(fleet.results) - (self._done_at_start or 0)
        left = len(fleet.tasks) - len(fleet.results)
        if not left:
            return f"took {clock(elapsed)}"
        return f"{clock(elapsed)} elapsed" + (f", about {clock(elapsed / new * left)} left" if new else "")

    def _print(self, fleet: Fleet) -> None:
        for key, result in fleet.results.items():
            if key not in self._seen:
                self._seen.add(key)
                reason = result.reason.splitlines()[0] if result.reason else ""
                print(f"  {key}: {result.outcome.value} - {reason}", file=sys.stderr, flush=True)
        # The last outcome may come long before the end of its job.
        now, is_over = time.monotonic(), len(fleet.results) == len(fleet.tasks)
        if not self._has_told_end and (is_over or now - self._printed > PLAIN_INTERVAL_S):
            self._printed, self._has_told_end = now, is_over
            print(f"{self._title}: {self.summary(fleet)}", file=sys.stderr, flush=True)

    def _table(self, fleet: Fleet) -> Group:
        head = Text(f"{self._title}  {self.summary(fleet)}", style="bold")
        bar = ProgressBar(total=max(1, len(fleet.tasks)), completed=len(fleet.results), width=60)
        running = Table("job", self._unit, "game time", "x real time", "for", box=None, pad_edge=False)
        for job in fleet.running:
            line = job.progress or {}
            running.add_row(
                job.folder.name,
                route_id_of(str(line.get("route", "starting"))),
                f"{float(line.get('game_time', 0.0)):.1f} s",
                f"{float(line.get('ratio', 0.0)):.1f}",
                clock(time.monotonic() - job.started),
            )
        recent = Table(self._unit, "outcome", "status", box=None, pad_edge=False)
        for result in list(fleet.results.values())[-8:]:
            reason = result.reason.splitlines()[0] if result.reason else ""
            recent.add_row(result.key, Text(result.outcome.value, style=COLOURS[result.outcome]), reason[:80])
        return Group(head, bar, running, recent)
