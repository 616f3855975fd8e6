"""Learning curves in one text file that grows, and goes on where a run resumes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from driving.files import write_text

CURVES = "metrics.csv"
"""Name of the file."""

COLUMNS = ("step", "name", "value")


class CurveLogger(Logger):
    """Appends every metric as a line ``step,name,value``. What an interrupted run logged beyond the step it resumes from is
    dropped, so the file holds one curve."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / CURVES
        self._is_open = False

    @property
    def name(self) -> str:
        """Of this kind of logger."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run folder holds the configuration already."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append the metrics of a step."""
        place = 0 if step is None else step
        if not self._is_open:
            self._open(place)
        with self.path.open("a", newline="") as stream:
            rows = ((place, name, repr(float(value))) for name, value in metrics.items() if name != "epoch")
            csv.writer(stream).writerows(rows)

    def _open(self, step: int) -> None:
        kept = [row for row in read_curves(self.path) if row[0] < step] if self.path.is_file() else []
        lines = [",".join(COLUMNS), *(f"{place},{name},{value!r}" for place, name, value in kept)]
        write_text(self.path, "\n".join(lines) + "\n")
        self._is_open = True


def read_curves(path: Path) -> list[tuple[int, str, float]]:
    """Step, name and value of every line; a last line that was cut off is left out."""
    with path.open(newline="") as stream:
        rows = [row for row in csv.reader(stream) if len(row) == len(COLUMNS)]
    return [(int(step), name, float(value)) for step, name, value in rows[1:] if value]
