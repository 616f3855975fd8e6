"""Route sets for the towns that come with the repository, written from their road networks alone."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset_generation.routes.document import Route, routes_text
from dataset_generation.routes.network import Town
from dataset_generation.routes.recipes import COLLECTION_ONLY, RECIPES, recipe
from dataset_generation.routes.search import EVERYWHERE, Candidate, Drive, Zone, candidates, is_apart
from dataset_generation.routes.weather import WEATHERS
from driving.arguments import positive
from driving.files import write_text

#: Distances between triggers that are tried in turn until a set is full, metres.
PREFERRED_SPACING = (60.0, 30.0, 12.0, 4.0)
#: Distances between triggers of a set and those of the sets it keeps apart from, tried in turn, metres.
APART = (50.0, 30.0, 15.0, 4.0)

#: Where routes of evaluation sets run. Collection keeps 50 m away: the gap between the two tables is that wide.
EVALUATION_ZONES = {
    "Mini01": Zone(x=(195.0, np.inf)),
    "Mini02": Zone(x=(338.0, np.inf)),
    "Mini03": Zone(y=(-np.inf, -110.0)),
}
COLLECTION_ZONES = {
    "Mini01": Zone(x=(-np.inf, 145.0)),
    "Mini02": Zone(x=(-np.inf, 286.0)),
    "Mini03": Zone(y=(-60.0, np.inf)),
}
_ALL_TOWNS = tuple(EVALUATION_ZONES)
#: Most times that a set with repeats goes through all places of a type again.
MOST_REPEATS = 40


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
        zones: Part of each town where routes may run; towns not named are open.
        apart_from: Sets whose triggers for the same type lie elsewhere: 50 m away on the same side of a road, or less
            where the towns have no more room.
        longest: Longest route, metres.
        pool: Places looked at per town for each route wanted; None looks at all of them.
        repeats: Whether a type that runs out of places may use them again, with other parameters or in other weather.
    """

    name: str
    counts: dict[str, int]
    towns: tuple[str, ...]
    first_id: int
    seed: int
    stretch: float = 0.0
    weathers: tuple[int, ...] = tuple(WEATHERS)
    zones: dict[str, Zone] = field(default_factory=dict)
    apart_from: tuple[str, ...] = ()
    longest: int = 330
    pool: int | None = 12
    repeats: bool = False


_DEMO_TYPES = ("ParkedObstacle", "DynamicObjectCrossing", "HardBreakRoute", "SignalizedJunctionLeftTurn", "")
_DEMO_WEATHERS = (26, 1, 7, 5, 2, 18, 3, 0, 6, 15, 19, 13)
_COLLECTED = (*RECIPES, *COLLECTION_ONLY, "")

SETS: dict[str, RouteSet] = {
    row.name: row
    for row in (
        RouteSet(
            "demo_eval",
            dict.fromkeys(_DEMO_TYPES, 1),
            ("Mini01",),
            first_id=900,
            seed=20,
            weathers=(0, 7, 5, 18, 26),
            longest=200,
            pool=None,
        ),
        RouteSet(
            "demo_collect",
            {**dict.fromkeys(_DEMO_TYPES, 2), "": 6},
            ("Mini01",),
            first_id=100,
            seed=10,
            weathers=_DEMO_WEATHERS,
            apart_from=("demo_eval",),
            longest=200,
            pool=None,
        ),
        RouteSet("embedded220", dict.fromkeys(RECIPES, 5), _ALL_TOWNS, 1000, 220, zones=EVALUATION_ZONES),
        RouteSet(
            "heldout44",
            dict.fromkeys(RECIPES, 1),
            _ALL_TOWNS,
            first_id=2000,
            seed=44,
            stretch=0.25,
            weathers=(13, 3, 20, 9, 26, 2, 21, 7, 10, 23, 1, 14, 22, 5, 12, 19, 0, 8, 25, 6, 11, 15, 18),
            zones=EVALUATION_ZONES,
            apart_from=("embedded220",),
        ),
        RouteSet(
            "unseen44",
            dict.fromkeys(RECIPES, 1),
            _ALL_TOWNS,
            first_id=3000,
            seed=88,
            stretch=0.25,
            weathers=(7, 21, 2, 14, 26, 9, 0, 19, 5, 23, 11, 3, 18, 12, 8, 20, 1, 25, 15, 10, 6, 22, 13),
            zones=EVALUATION_ZONES,
            apart_from=("heldout44",),
        ),
        RouteSet(
            "collection",
            dict.fromkeys(_COLLECTED, 50),
            _ALL_TOWNS,
            first_id=10000,
            seed=7,
            stretch=0.25,
            zones=COLLECTION_ZONES,
            repeats=True,
        ),
    )
}

#: Sets that are parts of others: every n-th route of the named set, counted from the first.
SUBSETS = {"embedded22": ("embedded220", 10)}


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
            ValueError: The towns have too few places for a type; the message counts them.
        """
        chosen = self.places(spec)
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

    def places(self, spec: RouteSet) -> list[Candidate]:
        """Places of a set, searched once."""
        if spec.name not in self.built:
            forbidden = [row for name in spec.apart_from for row in self.places(SETS[name])]
            chosen: list[Candidate] = []
            for rank, (name, count) in enumerate(tqdm(spec.counts.items(), spec.name, disable=len(spec.counts) < 10)):
                taken = [row for row in forbidden if row.type == name or len(spec.towns) == 1]
                chosen.extend(self._choose(spec, name, count, rank, chosen, taken))
            self.built[spec.name] = chosen
        return self.built[spec.name]

    def _choose(
        self, spec: RouteSet, name: str, count: int, rank: int, chosen: list[Candidate], forbidden: list[Candidate]
    ) -> list[Candidate]:
        """Places for one type, taken from the towns in turn and as far apart as they allow."""
        found: dict[Drive, Candidate] = {}
        pools: list[list[Candidate]] = []
        for apart, spacing in itertools.product(APART, (*PREFERRED_SPACING, 0.0)):
            if spacing == PREFERRED_SPACING[0]:
                pools = list(self._pools(spec, name, count, (rank,), forbidden, apart))
            for row in _in_turn(pools):
                drive = row.drive
                if len(found) < count and drive not in found and is_apart(row, [*chosen, *found.values()], spacing):
                    found[drive] = row
            if len(found) == count:
                return list(found.values())
        if spec.repeats and found:
            return self._repeated(spec, name, count, rank, forbidden, found)
        raise ValueError(
            f"set {spec.name}: {count} routes of type {name or 'plain'} wanted, {', '.join(spec.towns)} offer "
            f"{len(found)} places; add a town or ask for fewer"
        )

    def _repeated(
        self,
        spec: RouteSet,
        name: str,
        count: int,
        rank: int,
        forbidden: list[Candidate],
        found: Mapping[Drive, Candidate],
    ) -> list[Candidate]:
        """The same places with other parameters; a type without parameters drives them again in other weather."""
        drives = dict(found)
        for repeat in range(1, MOST_REPEATS + 1):
            before = len(drives)
            for row in _in_turn(list(self._pools(spec, name, count, (rank, repeat), forbidden, APART[-1]))):
                drives.setdefault(row.drive, row)
            if len(drives) >= count or len(drives) == before:
                break
        return list(itertools.islice(itertools.cycle(drives.values()), count))

    def _pools(
        self, spec: RouteSet, name: str, count: int, draw: tuple[int, ...], forbidden: list[Candidate], apart: float
    ) -> Iterator[list[Candidate]]:
        """Places of one type in each town that may have it, shuffled; `draw` names this search among those of the set."""
        wanted = recipe(name)
        for number, town in enumerate(spec.towns):
            if wanted.towns and town not in wanted.towns:
                continue
            rng = np.random.default_rng((spec.seed, draw[0], number, *draw[1:]))
            found = candidates(self.town(town), wanted, rng, spec.stretch, spec.zones.get(town, EVERYWHERE))
            fitting = (row for row in found if len(row.path) <= spec.longest and is_apart(row, forbidden, apart))
            pool = list(itertools.islice(fitting, None if spec.pool is None else spec.pool * count))
            yield [pool[int(index)] for index in rng.permutation(len(pool))]


def _in_turn(pools: list[list[Candidate]]) -> Iterator[Candidate]:
    """The first of each town, then the second of each, and so on."""
    return (row for turn in itertools.zip_longest(*pools) for row in turn if row is not None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `embedded`."""
    shipped = ", ".join(name for name in (*SETS, *SUBSETS) if name != "collection")
    parser.add_argument(
        "sets", nargs="*", help=f"sets to write, default {shipped}; besides, 'collection' writes thousands of routes"
    )
    parser.add_argument("--per-type", type=positive, help="routes per scenario type of 'collection' (default: 50)")
    parser.add_argument("--seed", type=int, help="seed of 'collection' (default: 7)")
    parser.add_argument(
        "--towns", type=Path, default=Path("data/towns"), help="folder of town files (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/routes"), help="folder for the files (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the sets named in `options`; returns the exit status.

    Raises:
        ValueError: An unknown set, or towns without enough places.
    """
    known = (*SETS, *SUBSETS)
    for name in options.sets:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown route set {name!r}; there are {', '.join(known)}{hint}")
    builder = Builder(options.towns)
    for name in options.sets or [name for name in known if name != "collection"]:
        source, step = SUBSETS.get(name, (name, 1))
        routes = builder.build(_adjusted(SETS[source], options))[::step]
        options.out.mkdir(parents=True, exist_ok=True)
        target = options.out / f"{name}.xml"
        write_text(target, routes_text(routes))
        kilometres = sum(len(route.path) for route in routes) / 1000
        print(f"{target}: {len(routes)} routes, {len({row.type for row in routes})} types, {kilometres:.1f} km")
    return 0


def _adjusted(spec: RouteSet, options: argparse.Namespace) -> RouteSet:
    """The collection with the asked-for size and seed; other sets are fixed."""
    if spec.name != "collection":
        return spec
    counts = spec.counts if options.per_type is None else dict.fromkeys(spec.counts, options.per_type)
    return dataclasses.replace(spec, counts=counts, seed=spec.seed if options.seed is None else options.seed)
