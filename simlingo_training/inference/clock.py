"""How long the stages of a tick take."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Measures the stages of one call without making the GPU wait for its host.

    On a GPU a mark is an event between two kernels, so a stage lasts until its work is done, not until it is submitted.
    """

    def __init__(self, device: torch.device) -> None:
        """Start the first stage."""
        self._is_gpu = device.type == "cuda"
        self._names: list[str] = []
        self._stamps: list[float | torch.cuda.Event] = [self._stamp()]

    def _stamp(self) -> float | torch.cuda.Event:
        if not self._is_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def mark(self, name: str) -> None:
        """End the stage ``name`` here; the next one starts."""
        self._names.append(name)
        self._stamps.append(self._stamp())

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, in order; waits for the last mark."""
        last = self._stamps[-1]
        if isinstance(last, torch.cuda.Event):
            last.synchronize()
        found = {}
        for name, before, after in zip(self._names, self._stamps, self._stamps[1:]):
            if isinstance(after, torch.cuda.Event):
                found[name] = float(before.elapsed_time(after))  # type: ignore[union-attr]
            else:
                found[name] = (after - before) * 1000  # type: ignore[operator]
        return found
