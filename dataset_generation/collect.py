"""Record a training set with the expert: servers, evaluators and agents as processes, on this machine or on SLURM.

Every route file FILE.xml is recorded below ``<out>/data/simlingo/<set>/<split>/<weather set>``. Route files that lie in such
folders already (``.../<set>/<split>/<weather set>/<n>.xml``) keep them; others get ``<stem>/<split>/default``.
Running the same command again resumes: routes with an outcome are not driven again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from driving.arguments import positive
from driving.files import read_json, write_json
from driving.records import RunFolder, find_runs, read_result
from jobs.executors import Executor, LocalExecutor, SlurmExecutor, SubmitError
from jobs.fleet import Fleet, FleetConfig, RouteTask, record_of
from jobs.journal import JournalBusy
from jobs.live import LiveView
from jobs.results import Outcome, RouteResult
from jobs.servers import CLIENT_PATIENCE_S, ServerError, ServerSpec, literal

AGENT = Path(__file__).resolve().parents[1] / "team_code" / "data_agent.py"
SPLITS = ("routes_training", "routes_validation")
EXPERT_PROFILES = ("corrected", "simlingo")
JOURNAL_FOLDER = "collection"
OPTIONS_FILE = "options.json"

EPILOG = """example:
  python -m dataset_generation.collect --routes data/routes/demo_collect.xml --out database/simlingo --jobs 2

While it runs, write a number to <out>/collection/workers to change the number of parallel jobs.
Simulator "carla" starts $CARLA_ROOT/CarlaUE4.sh. SLURM options are those of submitit:
  --executor slurm --slurm partition=gpu --slurm time=240 --slurm gpus_per_node=1
"""


class CollectError(ValueError):
    """The collection cannot start as asked."""


@dataclass(frozen=True)
class RouteFile:
    """A route file and where its runs are stored.

    Attributes:
        path: The file.
        folder: Set, split and weather set, relative to ``data/simlingo``.
        routes: (id, town) of its routes in file order.
    """

    path: Path
    folder: Path
    routes: tuple[tuple[str, str], ...]


def read_route_file(path: Path, split: str) -> RouteFile:
    """Read ids and towns of a route file.

    Raises:
        CollectError: If it is missing, is not XML, holds no route, or a route lacks id or town.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise CollectError(f"no route file {path}; data/routes holds the ones that come with the repository") from None
    except OSError as error:
        raise CollectError(f"cannot read the route file {path}: {error}") from error
    except ElementTree.ParseError as error:
        raise CollectError(f"{path} is not well-formed XML: {error}") from error
    routes = tuple((route.get("id", ""), route.get("town", "")) for route in root.iter("route"))
    if not routes:
        raise CollectError(f'{path}: expected <route id="…" town="…"> elements, found none')
    incomplete = sum(not name or not town for name, town in routes)
    if incomplete:
        raise CollectError(f"{path}: every <route> needs an id and a town, {incomplete} of {len(routes)} lack one")
    parts = path.resolve().parts
    in_set = len(parts) > 4 and parts[-3] in SPLITS
    return RouteFile(path.resolve(), Path(*parts[-4:-1]) if in_set else Path(path.stem, split, "default"), routes)


def find_route_files(places: Iterable[Path], split: str) -> list[RouteFile]:
    """Route files given as files or folders (searched for ``*.xml``), sorted by path.

    Raises:
        CollectError: If a place holds none, or a file is broken.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(place.rglob("*.xml")) if place.is_dir() else [place]
        if not inside:
            raise CollectError(f"{place} holds no route file (*.xml)")
        found += inside
    return [read_route_file(path, split) for path in sorted(set(found))]


def make_tasks(files: Sequence[RouteFile], repetitions: int, seed: int) -> list[RouteTask]:
    """One task per route and repetition. Routes of one town stay together, since a server serves one town."""
    tasks = [
        RouteTask(
            f"rep{repetition}/{file.folder / file.path.stem}/{name}", name, str(file.path), town, seed + repetition
        )
        for repetition in range(repetitions)
        for file in files
        for name, town in file.routes
    ]
    return sorted(tasks, key=lambda task: (task.seed, task.town))


class Client:
    """Makes the evaluator's command for the routes of a job.

    Args:
        out: Dataset root.
        folders: Storage folder by route file.
        options: The command line.
    """

    def __init__(self, out: Path, folders: dict[str, Path], options: argparse.Namespace) -> None:
        self._out, self._folders, self._options = out.resolve(), folders, options

    def __call__(self, tasks: Sequence[RouteTask], results: Path) -> tuple[str, ...]:
        """Command for tasks of one route file; `{port}` and `{tm_port}` are filled in by the worker."""
        first, options = tasks[0], self._options
        repetition = first.seed - options.seed
        environment = {
            "SAVE_PATH": str(self._out / "data" / "simlingo" / self._folders[first.routes_file]),
            "REPETITION": str(repetition),
            "EXPERT_SEED": str(first.seed),
            "EXPERT_PROFILE": options.profile,
            "DATAGEN": "1",
            "LIDAR_SWEEP": "half" if options.simulator == "carla" else "full",
        }
        arguments = [
            *("--port", "{port}", "--traffic-manager-port", "{tm_port}"),
            *("--traffic-manager-seed", str(first.seed), "--timeout", str(options.timeout)),
            *("--routes", literal(first.routes_file), "--routes-subset", ",".join(task.route_id for task in tasks)),
            *("--agent", literal(str(AGENT)), "--agent-config", literal(first.routes_file), "--track", "MAP"),
            *("--rules", "collection", "--checkpoint", literal(str(results)), "--resume"),
            *("--wait-for-server", str(CLIENT_PATIENCE_S)),
        ]
        if options.no_traffic:
            arguments.append("--no-traffic")
        if options.no_lidar:
            environment["LIDAR_FILES"] = "0"
        if options.extra_pictures:
            environment["SAVE_TF_LABELS"] = "1"
        settings = [f"{name}={literal(value)}" for name, value in environment.items()]
        return ("env", *settings, literal(sys.executable), "-m", "leaderboard.leaderboard_evaluator", *arguments)


def claim(files: Sequence[RouteFile], options: argparse.Namespace, out: Path) -> None:
    """Note how the route files are driven, or check that those that were begun before are driven as they were then.

    Raises:
        CollectError: If they are not: what was driven before would stand among the new drives as if it were one of them.
    """
    path = out / JOURNAL_FOLDER / OPTIONS_FILE
    noted = read_json(path) if path.exists() else {}
    mine = {name: getattr(options, name) for name in ("seed", "profile", "simulator", "no_traffic")}
    for file in files:
        name = (file.folder / file.path.stem).as_posix()
        theirs = noted.setdefault(name, mine)
        differing = [
            f"--{key.replace('_', '-')} (then {theirs.get(key)})" for key in mine if theirs.get(key) != mine[key]
        ]
        if differing:
            raise CollectError(
                f"{out} holds drives of {file.path} with another {', '.join(differing)}; choose another --out, or go on as then"
            )
    write_json(path, noted)


def make_executor(options: argparse.Namespace, out: Path) -> Executor:
    """Local processes or SLURM.

    Raises:
        CollectError: If a SLURM option is not ``name=value``.
    """
    if options.executor == "local":
        return LocalExecutor()
    parameters: dict[str, object] = {}
    for text in options.slurm:
        name, equals, value = text.partition("=")
        if not equals:
            raise CollectError(f"--slurm expects name=value, for example partition=gpu; got {text!r}")
        parameters[name] = int(value) if value.isdigit() else value
    return SlurmExecutor(out / JOURNAL_FOLDER / "slurm", parameters)


def summary_table(fleet: Fleet, results: Sequence[RouteResult], runs: Sequence[RunFolder], wall_s: float) -> Table:
    """What was recorded: one row per outcome, and the totals."""
    records = [
        record
        for result in results
        if (record := record_of(fleet.config.out, result, fleet.tasks[result.key].route_id)) is not None
    ]
    game_s = sum(record["meta"]["duration_game"] for record in records)
    frames = sum(len(run.frames()) for run in runs)
    table = Table("", "routes", title="Collection", title_justify="left")
    for outcome in Outcome:
        count = sum(result.outcome is outcome for result in results)
        if count:
            table.add_row(outcome.value, str(count))
    perfect = sum(record["scores"]["score_composed"] >= 100 for record in records)
    table.add_row("perfect score", str(perfect), end_section=True)
    table.add_row("run folders in the dataset", str(len(runs)))
    table.add_row("frames in the dataset", str(frames))
    table.add_row("driven", f"{game_s / 60:.1f} min")
    table.add_row("this command ran", f"{wall_s / 60:.1f} min")
    return table


def finished_runs(out: Path) -> list[RunFolder]:
    """Runs of a dataset that have a readable result."""
    if not (out / "data").is_dir():
        return []
    finished = []
    for run in find_runs(out):
        try:
            read_result(run.results_path)
        except (FileNotFoundError, ValueError):
            continue
        finished.append(run)
    return finished


def remove_leftovers(out: Path) -> None:
    """Remove the half-written files of recordings that were killed; call it when nothing records any more."""
    if not (out / "data").is_dir():
        return
    for run in find_runs(out):
        if not run.results_path.is_file():
            for path in run.path.rglob(".*.tmp"):
                path.unlink(missing_ok=True)


def collect(options: argparse.Namespace) -> int:
    """Run the collection. Returns the exit code: 0 if every route was driven to a verdict, 1 otherwise.

    Raises:
        CollectError, ValueError: If it cannot start as asked: a bad route file, a route given twice, one that was driven with
            other options before.
        ServerError: If there is no CARLA to start.
        SubmitError: If SLURM does not take the jobs.
        JournalBusy: If another collection works in the same folder.
        OSError: If the folder cannot be written.
    """
    out = options.out.resolve()
    files = find_route_files(options.routes, options.split)
    tasks = make_tasks(files, options.repetitions, options.seed)
    server = ServerSpec.carla() if options.simulator == "carla" else ServerSpec()
    server.fill(port=0, town="", seed=0)  # tells now, not in every job, that CARLA_ROOT is missing
    config = FleetConfig(
        out=out / JOURNAL_FOLDER,
        workers=options.jobs,
        attempts=options.attempts,
        routes_per_job=options.routes_per_job,
        server=server,
        client_waits=True,
        environment={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )
    client = Client(out, {str(file.path): file.folder for file in files}, options)
    fleet = Fleet(config, tasks, client, make_executor(options, out))
    claim(files, options, out)
    started = time.monotonic()
    with LiveView("Collecting") as view:
        results = fleet.run(view)
    remove_leftovers(out)
    Console().print(summary_table(fleet, results, finished_runs(out), time.monotonic() - started))
    return 0 if all(result.outcome.is_verdict for result in results) else 1


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.collect",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--routes", type=Path, nargs="+", required=True, help="route files, or folders that hold them")
    add("--out", type=Path, default=Path("database/simlingo"), help="dataset root (default: %(default)s)")
    add("--jobs", type=positive, default=2, help="simulators at a time (default: %(default)s)")
    add("--repetitions", type=positive, default=1, help="how often each route is driven (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of traffic, expert and cameras (default: %(default)s)")
    add(
        "--split",
        choices=SPLITS,
        default=SPLITS[0],
        help="split of files outside a split folder (default: %(default)s)",
    )
    add("--profile", choices=EXPERT_PROFILES, default=EXPERT_PROFILES[0], help="of the expert (default: %(default)s)")
    add("--simulator", choices=("embedded", "carla"), default="embedded", help="(default: %(default)s)")
    add("--attempts", type=positive, default=3, help="starts of a route before a crash stands (default: %(default)s)")
    add(
        "--routes-per-job",
        type=positive,
        help="most routes that share one simulator, fewer towards the end (default: 40, CARLA: 10)",
    )
    add(
        "--timeout",
        type=float,
        default=300.0,
        help="wall seconds the evaluator waits for a tick (default: %(default)s)",
    )
    add("--no-traffic", action="store_true", help="leave out background traffic")
    add("--no-lidar", action="store_true", help="keep no LiDAR sweeps, which no training here reads: half of the disk")
    add("--extra-pictures", action="store_true", help="also record classes, depth and the road from above")
    add("--executor", choices=("local", "slurm"), default="local", help="(default: %(default)s)")
    add("--slurm", action="append", default=[], metavar="NAME=VALUE", help="submitit option; may be given again")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 all routes driven, 1 some were not, 2 wrong input, 130 interrupted."""
    options = make_parser().parse_args(arguments)
    try:
        return collect(options)
    except (OSError, ValueError, JournalBusy, ServerError, SubmitError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
