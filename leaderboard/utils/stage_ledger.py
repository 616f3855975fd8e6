"""Where the wall time of a route goes: one row per stage of a tick."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

SIMULATOR, RENDER, AGENT, SCENARIO = "simulator", "render", "agent", "scenario"
"""Stages that every agent has: the simulator's tick, waiting for its sensors, the agent's step as far as it does not tell
stages of its own, and the scenario tree with its criteria."""


class StageLedger:
    """Collects milliseconds by stage. An agent adds stages of its own by its attribute ``stage_ms``."""

    def __init__(self) -> None:
        self._ms: dict[str, list[float]] = {}

    def add(self, stage: str, milliseconds: float) -> None:
        """Note the wall time of a stage in one tick."""
        self._ms.setdefault(stage, []).append(milliseconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note the wall time of the block, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - started) * 1e3)

    def add_agent(self, total_ms: float, waited_ms: float, own_ms: Mapping[str, float]) -> None:
        """Split the wall time of one call of the agent.

        Args:
            total_ms: The whole call.
            waited_ms: Spent waiting for sensor data.
            own_ms: Stages that the agent tells, may be empty.
        """
        self.add(RENDER, waited_ms)
        for name, milliseconds in own_ms.items():
            self.add(name, milliseconds)
        self.add(AGENT, max(0.0, total_ms - waited_ms - sum(own_ms.values())))

    def summary(self) -> dict[str, dict[str, float]]:
        """Stage to ``ticks`` in which it occurred, ``mean``, ``median`` and ``p95`` in milliseconds and ``total_s``."""
        return {name: _statistics(np.array(values)) for name, values in self._ms.items()}


def _statistics(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    return {
        "ticks": len(values),
        "mean": round(float(values.mean()), 3),
        "median": round(float(np.median(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "total_s": round(float(values.sum()) / 1e3, 3),
    }
