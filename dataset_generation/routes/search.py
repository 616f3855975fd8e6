"""Finds places for scenarios: tries recipes along many paths and picks places that lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import carla
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dataset_generation.routes.network import Path, Town, Turn, location_of, yaw_of
from dataset_generation.routes.recipes import Draw, Parameters, Recipe

#: Distance between the starting points that are tried, metres.
START_SPACING = 5.0
#: Shortest and longest routes, metres.
SHORTEST, LONGEST = 75, 330

Drive = tuple[str, str, bytes, int, str]
"""Town, type, path, trigger and parameters of a candidate."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A place where a scenario fits: the route's path, the index of the trigger, and parameters."""

    town: str
    type: str
    path: Path
    trigger: int
    parameters: Parameters

    @property
    def trigger_point(self) -> NDArray[np.float64]:
        """(3,) trigger position, metres."""
        return self.path.points[self.trigger]

    @property
    def trigger_yaw(self) -> float:
        """Heading at the trigger, degrees."""
        return yaw_of(self.path.waypoints[self.trigger])

    @property
    def drive(self) -> Drive:
        """What tells one drive from another."""
        return self.town, self.type, self.path.points.tobytes(), self.trigger, str(self.parameters)


@dataclass(frozen=True)
class Zone:
    """A rectangle of a town, metres in CARLA's world frame."""

    x: tuple[float, float] = (-np.inf, np.inf)
    y: tuple[float, float] = (-np.inf, np.inf)

    def contains(self, points: NDArray[np.float64]) -> bool:
        """Whether all of (N, 3) or (3,) points lie inside."""
        xs, ys = points[..., 0], points[..., 1]
        inside = (xs >= self.x[0]) & (xs <= self.x[1]) & (ys >= self.y[0]) & (ys <= self.y[1])
        return bool(np.all(inside))


EVERYWHERE = Zone()


def candidates(
    town: Town, recipe: Recipe, rng: Generator, stretch: float = 0.0, zone: Zone = EVERYWHERE
) -> Iterator[Candidate]:
    """All places of a town where a scenario fits, in random order, one per start and turn.

    Args:
        town: Where to search.
        recipe: What to place.
        rng: Orders the places and draws parameters.
        stretch: How far parameters leave the benchmark's ranges (a fraction).
        zone: Where routes may run.
    """
    starts = [start for start in town.starts(START_SPACING) if zone.contains(np.array(location_of(start)))]
    options = [(start, turn) for start in range(len(starts)) for turn in recipe.turns]
    for number in rng.permutation(len(options)):
        start, turn = options[int(number)]
        candidate = try_place(town, recipe, starts[start], turn, Draw(rng, stretch))
        if candidate is not None and zone.contains(candidate.path.points):
            yield candidate


def try_place(town: Town, recipe: Recipe, start: carla.Waypoint, turn: Turn, draw: Draw) -> Candidate | None:
    """The scenario on the path from `start` that takes `turn` at its first junction, None if it does not fit."""
    path = town.drive(start, recipe.reach, (turn,))
    if path is None or (path.passes and path.passes[0].enter < 3):
        return None
    placement = recipe.place(town, path, recipe.lead, draw)
    if placement is None or not SHORTEST <= placement.end < min(len(path), LONGEST):
        return None
    whole = placement.path or path
    end = _outside_junction(whole, placement.end)
    if end is None:
        return None
    passes = tuple(passed for passed in whole.passes if passed.exit <= end)
    route = Path(whole.waypoints[: end + 1], passes)
    return Candidate(town.name, recipe.type, route, recipe.lead, placement.parameters)


def _outside_junction(path: Path, end: int) -> int | None:
    """`end`, or the first index behind the junction it lies in; None if the path ends there."""
    for passed in path.passes:
        if passed.enter - 1 <= end < passed.exit + 3:
            end = passed.exit + 3
    return end if end < len(path) else None


def is_apart(candidate: Candidate, others: Sequence[Candidate], distance: float) -> bool:
    """Whether a trigger lies at least `distance` metres from those of `others` on the same side of the road."""
    for other in others:
        if other.town != candidate.town:
            continue
        turned = abs((other.trigger_yaw - candidate.trigger_yaw + 180.0) % 360.0 - 180.0)
        near = float(np.linalg.norm(other.trigger_point - candidate.trigger_point)) < distance
        if near and turned < 90.0:
            return False
    return True
