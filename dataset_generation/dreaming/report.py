"""How drivable the dreams are: ``python -m dataset_generation.dreaming.report --data database/simlingo``.

Dreams every n-th frame again and prints, per mode, how many dreams were drawn, the shares of those that no car could drive and
that are dropped or were drawn again, which limits they broke, and the 50th and 99th percentile of each quantity of those that
are kept.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset_generation.dreaming.corrections import corrections_of
from dataset_generation.dreaming.modes import dream_options
from dataset_generation.dreaming.realism import LIMITS, violations
from dataset_generation.dreaming.scene import Scene
from dataset_generation.language_labels.profiles import PROFILES, profile_named
from dataset_generation.language_labels.route_data import LabelFailure, RouteData, Skipped
from dataset_generation.language_labels.runner import frame_random
from driving.arguments import add_dataset_root, positive
from driving.records import require_runs


@dataclass
class ModeReport:
    """Dreams of one mode.

    Attributes:
        drawn: Number of dreams.
        redrawn: Number of draws before them that no car could drive, and that were drawn again.
        broken: Number of those that no car could drive.
        limits: Limit to how many dreams broke it.
        values: Quantity to its values in the dreams that can be driven.
    """

    drawn: int = 0
    redrawn: int = 0
    broken: int = 0
    limits: Counter[str] = field(default_factory=Counter)
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def report(data: Path, routes: Path, profile: str, every: int) -> dict[str, ModeReport]:
    """Dream every ``every``-th frame of a dataset and measure the dreams."""
    modes: dict[str, ModeReport] = defaultdict(ModeReport)
    corrections = corrections_of(profile)
    for run in tqdm(require_runs(data), desc="dreams", unit="route"):
        route = RouteData(run, routes, profile_named(profile))
        if route.rejection:
            continue
        for frame in route.frames[::every]:
            try:
                scene = Scene(route, frame, corrections)
                options = list(dream_options(scene, frame_random(run, frame)))
            except (Skipped, LabelFailure):
                continue
            for mode, count in scene.redrawn.items():
                modes[mode].redrawn += count
            for option in options:
                entry = modes[option.mode]
                broken = violations(option.dream, scene.allowance)
                entry.drawn += 1
                entry.broken += bool(broken)
                entry.limits.update(broken)
                if not broken:
                    for name, value in option.dream.largest.items():
                        entry.values[name].append(value)
            route.forget_before(frame)
    return dict(modes)


def render(modes: dict[str, ModeReport]) -> Iterator[str]:
    """The report as a table."""
    names = list(vars(LIMITS))
    yield (
        f"{'mode':14s} {'dreams':>7s} {'dropped':>8s} {'redrawn':>8s}  "
        + "  ".join(f"{name:>16s}" for name in names)
        + "  broken limits"
    )
    yield f"{'(limit)':14s} {'':7s} {'':8s} {'':8s}  " + "  ".join(f"{getattr(LIMITS, name):16g}" for name in names)
    for mode, entry in sorted(modes.items()):
        cells = []
        for name in names:
            values = entry.values.get(name)
            cells.append(
                f"{np.percentile(values, 50):7.2f} /{np.percentile(values, 99):7.2f}" if values else f"{'-':>16s}"
            )
        broken = ", ".join(f"{name} {count}" for name, count in entry.limits.most_common())
        share = entry.broken / max(entry.drawn, 1)
        again = entry.redrawn / max(entry.drawn + entry.redrawn, 1)
        yield f"{mode:14s} {entry.drawn:7d} {share:8.1%} {again:8.1%}  " + "  ".join(cells) + f"  {broken}"


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.dreaming.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    parser.add_argument(
        "--routes", type=Path, default=Path("data/simlingo"), help="route files of runs without route.xml"
    )
    parser.add_argument("--profile", choices=sorted(PROFILES), default="corrected", help="default: %(default)s")
    parser.add_argument("--every", type=positive, default=5, help="dream every n-th frame (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        modes = report(arguments.data, arguments.routes, arguments.profile, arguments.every)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(render(modes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
