"""Route sets for the towns that come with the repository, written from their road networks alone."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset_generation.routes.document import Route, routes_text
from dataset_generation.routes.network import Town
from dataset_generation.routes.recipes import recipe
from dataset_generation.routes.search import Candidate, candidates, is_apart
from dataset_generation.routes.weather import WEATHERS
from driving.files import write_text

#: Distances between triggers that are tried in turn until a set is full, metres.
PREFERRED_SPACING = (60.0, 30.0, 12.0)


@dataclass(frozen=True)
class RouteSet:
    """A route file.

    Attributes:
        name: File name without ending.
        counts: Routes per scenario type; "" is plain driving.
        towns: Towns to search, in turn.
        first_id: Id of the first route.
        seed: Seeds places, parameters and weather.
        stretch: How far parameters leave the benchmark's ranges (a fraction).
        weathers: Weather numbers to deal out in turn.
        apart_from: Sets whose triggers must be `distance` metres away.
        distance: Metres between triggers on the same side of a road, to sets named in `apart_from`.
        longest: Longest route, metres.
    """

    name: str
    counts: dict[str, int]
    towns: tuple[str, ...]
    first_id: int
    seed: int
    stretch: float = 0.0
    weathers: tuple[int, ...] = tuple(WEATHERS)
    apart_from: tuple[str, ...] = ()
    distance: float = 50.0
    longest: int = 330


_DEMO_WEATHERS = (26, 1, 7, 5, 2, 18, 3, 0, 6, 15, 19, 13)

SETS: dict[str, RouteSet] = {
    row.name: row
    for row in (
        RouteSet(
            "demo_eval",
            {
                "ParkedObstacle": 1,
                "DynamicObjectCrossing": 1,
                "HardBreakRoute": 1,
                "SignalizedJunctionLeftTurn": 1,
                "": 1,
            },
            ("Mini01",),
            first_id=900,
            seed=20,
            weathers=(0, 7, 5, 18, 26),
            longest=200,
        ),
        RouteSet(
            "demo_collect",
            {
                "ParkedObstacle": 2,
                "DynamicObjectCrossing": 2,
                "HardBreakRoute": 2,
                "SignalizedJunctionLeftTurn": 2,
                "": 2,
            },
            ("Mini01",),
            first_id=100,
            seed=10,
            weathers=_DEMO_WEATHERS,
            apart_from=("demo_eval",),
            longest=200,
        ),
    )
}


@dataclass
class Builder:
    """Builds sets; keeps towns, finished sets and places found so far."""

    folder: Path
    towns: dict[str, Town] = field(default_factory=dict)
    built: dict[str, list[Candidate]] = field(default_factory=dict)

    def town(self, name: str) -> Town:
        """A town by name, loaded once."""
        if name not in self.towns:
            self.towns[name] = Town.load(self.folder, name)
        return self.towns[name]

    def build(self, spec: RouteSet) -> list[Route]:
        """Routes of a set.

        Raises:
            ValueError: A town has too few places for a type; the message counts them.
        """
        forbidden = [row for name in spec.apart_from for row in self._places(SETS[name])]
        chosen: list[Candidate] = []
        for rank, (name, count) in enumerate(spec.counts.items()):
            chosen.extend(self._choose(spec, name, count, rank, chosen, forbidden))
        self.built[spec.name] = chosen
        return [
            Route(
                spec.first_id + number,
                row.town,
                row.path,
                spec.weathers[number % len(spec.weathers)],
                row.type,
                row.trigger,
                row.parameters,
            )
            for number, row in enumerate(chosen)
        ]

    def _places(self, spec: RouteSet) -> list[Candidate]:
        if spec.name not in self.built:
            self.build(spec)
        return self.built[spec.name]

    def _choose(
        self, spec: RouteSet, name: str, count: int, rank: int, chosen: Sequence[Candidate], forbidden: list[Candidate]
    ) -> list[Candidate]:
        rng = np.random.default_rng((spec.seed, rank))
        found: list[Candidate] = []
        pool = [
            row
            for town in spec.towns
            for row in candidates(self.town(town), recipe(name), rng, spec.stretch)
            if len(row.path) <= spec.longest and is_apart(row, forbidden, spec.distance)
        ]
        pool = [pool[int(index)] for index in rng.permutation(len(pool))]
        for spacing in PREFERRED_SPACING:
            for row in pool:
                if len(found) < count and row not in found and is_apart(row, [*chosen, *found], spacing):
                    found.append(row)
        if len(found) < count:
            raise ValueError(
                f"set {spec.name}: {count} routes of type {name or 'plain'} wanted, {', '.join(spec.towns)} offer "
                f"{len(found)} places apart (of {len(pool)}); add a town or ask for fewer"
            )
        return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `embedded`."""
    parser.add_argument("sets", nargs="*", help=f"sets to write, default all: {', '.join(SETS)}")
    parser.add_argument(
        "--towns", type=Path, default=Path("data/towns"), help="folder of town files (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/routes"), help="folder for the files (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the sets named in `options`; returns the exit status."""
    for name in options.sets:
        if name not in SETS:
            close = difflib.get_close_matches(name, SETS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown route set {name!r}; there are {', '.join(SETS)}{hint}")
    builder = Builder(options.towns)
    for name in options.sets or SETS:
        routes = builder.build(SETS[name])
        options.out.mkdir(parents=True, exist_ok=True)
        target = options.out / f"{name}.xml"
        write_text(target, routes_text(routes))
        kilometres = sum(len(route.path) for route in routes) / 1000
        print(f"{target}: {len(routes)} routes, {len({row.type for row in routes})} types, {kilometres:.1f} km")
    return 0
