"""What the driving model saw, thought and did, written while it drives and read by the report.

A route's folder holds ``drive.jsonl``, one line per logged tick, and ``frames/``, the camera images as the model got them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

LOG_NAME = "drive.jsonl"

TICKS_PER_SECOND = 20


@dataclass(frozen=True)
class DriveFrame:
    """One tick of the driving model.

    Attributes:
        step: Tick since the start of the route, 20 per second.
        position: (x, y) as the agent believes, in the plan's frame, metres.
        heading: Radians in the world, clockwise seen from above.
        speed: m/s.
        target_points: Two (x, y) in the ego frame, metres.
        prompt, text: What the model was asked and what it said.
        path: 20 (x, y) in the ego frame, 1 m apart.
        waypoints: 10 (x, y) in the ego frame, 0.25 s apart.
        steer, throttle, brake: Control given.
        stage_ms: Wall time of each stage of the tick before this line was written, milliseconds.
        instruction: What the driver was told to do, or empty.
        delay_s: Simulated time after which the decision acts, seconds.
        image: Name of the camera image in ``frames/``, or None.
    """

    step: int
    position: tuple[float, float]
    heading: float
    speed: float
    target_points: list[list[float]]
    prompt: str
    text: str
    path: list[list[float]]
    waypoints: list[list[float]]
    steer: float
    throttle: float
    brake: float
    stage_ms: dict[str, float] = field(default_factory=dict)
    instruction: str = ""
    delay_s: float = 0.0
    image: str | None = None


class DriveLog:
    """Appends frames to a route's folder. Every line is complete when `append` returns."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and start an empty log in it."""
        (folder / "frames").mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._stream: IO[str] = open(folder / LOG_NAME, "w", encoding="utf-8")  # noqa: SIM115 - open for the whole route

    def append(self, frame: DriveFrame, jpeg: bytes | None = None) -> None:
        """Write one tick and, when given, its camera image."""
        if jpeg is not None:
            name = f"{frame.step:06d}.jpg"
            (self._folder / "frames" / name).write_bytes(jpeg)
            frame = replace(frame, image=name)
        self._stream.write(json.dumps(vars(frame)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the log. Safe to call twice."""
        self._stream.close()


def read_drive_log(folder: Path) -> Iterator[DriveFrame]:
    """Frames of a route in order; a line that a kill cut short ends the log."""
    path = folder / LOG_NAME
    if not path.exists():
        return
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            if not line.endswith("\n"):
                return
            yield DriveFrame(**json.loads(line))
