"""Draw a set of short routes in which every scenario type occurs equally often, and drop duplicates.

The procedure is that of the published pipeline (`RenzKa/simlingo`, `dataset_generation/balance_scenarios.py` and
`filter_duplicate_routes.py`) with a generator of its own, so that the result depends on the seed and the files only.
"""

from __future__ import annotations

import argparse
import copy
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset_generation.routes.split import random_weather, read_routes, write_route
from driving.arguments import positive

COMMON_TYPES = ("ControlLoss", "HardBreakRoute")
COMMON_SKIPPED = 0.99
MAX_TRIES_PER_CANDIDATE = 30_000
DISTANCE_SCALE = (0.9, 1.1)
SAME_PLACE_M = 0.2
NO_SCENARIO = "None"


def scenario_types(route: ElementTree.Element) -> list[str]:
    """Types of a route's scenarios, one entry per scenario."""
    return [scenario.get("type", "") for scenario in route.iter("scenario")]


def vary(route: ElementTree.Element, kind: str, rng: np.random.Generator) -> ElementTree.Element:
    """A copy of a route with new weather and with the distances of its scenarios of one type scaled by up to a tenth."""
    copied = copy.deepcopy(route)
    copied.set("id", "0")
    weathers = copied.find("weathers")
    if weathers is None:
        weathers = ElementTree.SubElement(copied, "weathers")
    weathers[:] = random_weather(rng)
    for scenario in copied.iter("scenario"):
        distance = scenario.find("distance")
        if scenario.get("type") == kind and distance is not None:
            distance.set("value", f"{float(distance.get('value', 0)) * rng.uniform(*DISTANCE_SCALE):.1f}")
    return copied


def balance(
    routes: Sequence[ElementTree.Element], count: int, rng: np.random.Generator
) -> tuple[list[ElementTree.Element], Counter[str]]:
    """Routes in which every scenario type occurs about ``count`` times.

    Types are filled from the rarest on; scenarios that come along with a drawn route count too. A route is drawn at most
    ``count`` times, and routes with the two most common types are mostly passed over unless they are what is wanted.

    Returns:
        The drawn routes, and how often each type occurs in them.
    """
    by_type: dict[str, list[int]] = {}
    for index, route in enumerate(routes):
        for kind in scenario_types(route) or [NO_SCENARIO]:
            by_type.setdefault(kind, []).append(index)
    drawn: list[ElementTree.Element] = []
    reached: Counter[str] = Counter()
    used: Counter[int] = Counter()
    for kind in sorted(by_type, key=lambda name: (len(by_type[name]), name)):
        candidates = by_type[kind]
        if kind == NO_SCENARIO:
            drawn += [copy.deepcopy(routes[int(i)]) for i in rng.choice(candidates, count)]
            reached[kind] = count
            continue
        for _ in range(MAX_TRIES_PER_CANDIDATE * len(candidates)):
            open_candidates = [i for i in candidates if used[i] < count]
            if reached[kind] >= count or not open_candidates:
                break
            index = int(rng.choice(open_candidates))
            types = scenario_types(routes[index])
            is_common = kind not in COMMON_TYPES and any(name in COMMON_TYPES for name in types)
            if is_common and rng.random() < COMMON_SKIPPED:
                continue
            used[index] += 1
            reached.update(types)
            drawn.append(vary(routes[index], kind, rng))
    return drawn, reached


def without_duplicates(routes: Sequence[ElementTree.Element]) -> list[ElementTree.Element]:
    """Routes of which no earlier one has both ends within 0.2 m in the same town."""
    kept: list[ElementTree.Element] = []
    ends: dict[str, list[np.ndarray]] = {}
    for route in routes:
        places = [[float(p.get(axis, 0)) for axis in "xyz"] for p in route.iter("position")]
        both = np.array([places[0], places[-1]])
        known = ends.setdefault(route.get("town", ""), [])
        if not any((np.linalg.norm(other - both, axis=1) < SAME_PLACE_M).all() for other in known):
            known.append(both)
            kept.append(route)
    return kept


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("folder", type=Path, help="folder of short routes, one per file")
    parser.add_argument("--count", type=positive, default=150, help="occurrences of each type (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--keep-duplicates", action="store_true", help="do not drop routes with the same ends first")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand. Raises ValueError if there is no route, or a file is broken."""
    files = sorted(options.folder.glob("*.xml"), key=lambda path: (len(path.stem), path.stem))
    routes = [route for path in files for route in read_routes(path)]
    if not routes:
        raise ValueError(
            f"{options.folder} holds no route file; make some with python -m dataset_generation.routes split"
        )
    distinct = routes if options.keep_duplicates else without_duplicates(routes)
    drawn, reached = balance(distinct, options.count, np.random.default_rng(options.seed))
    out = options.folder.with_name(f"{options.folder.name}_balanced_{options.count}")
    for number, route in enumerate(tqdm(drawn, desc="write", unit="route"), start=1):
        write_route(route, out / f"{number}.xml")
    print(f"{len(routes)} routes, {len(distinct)} without duplicates; {out}: {len(drawn)} routes")
    for kind, times in sorted(reached.items()):
        print(f"  {times:6d} {kind}")
    return 0
