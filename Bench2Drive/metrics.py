"""Driving score, success rate and driving efficiency, with bootstrap intervals.

Definitions: Thinklab-SJTU/Bench2Drive, tools/merge_route_json.py and tools/efficiency_smoothness_benchmark.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from Bench2Drive.results import UNSCORED_INFRACTION, Record, is_success

NUM_ROUTES = 220
MAX_SPEED_SHARE = 1000.0
"""Percentages above this are left out of the efficiency, as in the official tool."""

_PERCENT = re.compile(r"\b(\d+\.?\d*)%")


def driving_score(records: Sequence[Record], num_routes: int | None = NUM_ROUTES) -> float:
    """Mean composed score, 0 to 100.

    Args:
        records: Merged records.
        num_routes: Divisor; missing routes count zero. None divides by the number of records (as SimLingo's tool does).
    """
    return sum(record["scores"]["score_composed"] for record in records) / _divisor(records, num_routes)


def success_rate(records: Sequence[Record], num_routes: int | None = NUM_ROUTES) -> float:
    """Share of routes, 0 to 1, completed without an infraction other than low speed. See `driving_score`."""
    return sum(is_success(record) for record in records) / _divisor(records, num_routes)


def _divisor(records: Sequence[Record], num_routes: int | None) -> int:
    divisor = len(records) if num_routes is None else num_routes
    if divisor < max(len(records), 1):
        raise ValueError(f"{len(records)} records cannot be scored over {divisor} routes")
    return divisor


def speed_shares(record: Record) -> list[float]:
    """Percentages of the surrounding traffic's speed in a record's messages, those above 1000 left out."""
    shares = []
    for message in record["infractions"][UNSCORED_INFRACTION]:
        match = _PERCENT.search(message)
        if match is None:
            raise ValueError(f"{record['route_id']}: expected a percentage in {message!r}")
        shares.append(float(match.group(1)))
    return [share for share in shares if share <= MAX_SPEED_SHARE]


def route_efficiency(record: Record) -> float | None:
    """Mean percentage of the traffic's speed on one route; None if the route has none to count."""
    shares = speed_shares(record)
    return sum(shares) / len(shares) if shares else None


def driving_efficiency(records: Sequence[Record]) -> float | None:
    """Mean of `route_efficiency` over the routes that have one, percent; None without any."""
    values = [value for value in map(route_efficiency, records) if value is not None]
    return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Interval:
    """A value with the 95 % percentile interval of a bootstrap over routes."""

    value: float
    low: float
    high: float


def bootstrap(
    records: Sequence[Record],
    value_of: Callable[[Record], float],
    num_routes: int | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of a mean over routes by resampling routes with replacement.

    Args:
        records: Merged records, at least one.
        value_of: The route's contribution.
        num_routes: Number of routes; missing ones contribute zero. None for the number of records.
        samples: Number of resamples.
        seed: Seed of the resampling; the same seed gives the same interval.
    """
    values = np.zeros(_divisor(records, num_routes))
    values[: len(records)] = [value_of(record) for record in records]
    draws = np.random.default_rng(seed).integers(len(values), size=(samples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
