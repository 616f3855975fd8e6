"""How long the stages of a tick take."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Measures the stages of one call without making the GPU wait for its host.

    On a GPU a mark is an event between two kernels, so a stage lasts until its work is done, not until it is submitted. Where
    the host has waited for the GPU anyway its own clock serves, which costs nothing.
    """

    def __init__(self, device: torch.device) -> None:
        """Start the first stage."""
        self._is_gpu = device.type == "cuda"
        self._names: list[str] = []
        self._start = time.perf_counter()
        self._stamps: list[float | torch.cuda.Event] = []
        self._event = self._record() if self._is_gpu else None

    @staticmethod
    def _record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def mark(self, name: str, is_done: bool = False) -> None:
        """End the stage ``name`` here; the next one starts. ``is_done`` says that nothing of it is left to the GPU."""
        self._names.append(name)
        self._stamps.append(time.perf_counter() if is_done or not self._is_gpu else self._record())

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, in order; waits for the last mark."""
        if self._stamps and not isinstance(self._stamps[-1], float):
            self._stamps[-1].synchronize()
        ends = [self._since_start(stamp) for stamp in self._stamps]
        return {name: end - before for name, before, end in zip(self._names, [0.0, *ends], ends)}

    def _since_start(self, stamp: float | torch.cuda.Event) -> float:
        if isinstance(stamp, float):
            return (stamp - self._start) * 1000
        assert self._event is not None
        return float(self._event.elapsed_time(stamp))
