"""Run folders seen as a whole: which are good, which supersede others, what was driven in them."""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from driving.records import RecordError, RouteResult, RunFolder, read_result, training_rejection

_DATE = re.compile(r"(_\d{2,4}){5}$")


@dataclass(frozen=True)
class Verdict:
    """Whether a run may be trained on.

    Attributes:
        run: The run.
        reason: Why not, None if it may.
        result: Its result, None without a readable one.
    """

    run: RunFolder
    reason: str | None
    result: RouteResult | None

    @property
    def is_usable(self) -> bool:
        """Whether it may be trained on."""
        return self.reason is None


def judge(run: RunFolder) -> Verdict:
    """Judge a run by the rule of the training loader; a run without a readable result was not finished."""
    try:
        result = read_result(run.results_path)
    except FileNotFoundError:
        return Verdict(run, "no results.json.gz: the recording did not end", None)
    except ValueError as error:
        return Verdict(run, f"unreadable results.json.gz: {error}", None)
    return Verdict(run, training_rejection(result), result)


def same_drive(run: RunFolder) -> str:
    """What runs of the same route and repetition have in common: their path without date and time."""
    return str(run.relative.parent / _DATE.sub("", run.relative.name))


def superseded(verdicts: Iterable[Verdict]) -> dict[RunFolder, RunFolder]:
    """Runs of which there is a better one, with that better one.

    Usable beats unusable, then the higher score, then the later run.
    """
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[same_drive(verdict.run)].append(verdict)
    worse = {}
    for group in groups.values():
        group.sort(key=lambda v: (v.is_usable, v.result.score_composed if v.result else -1.0, v.run.name))
        for verdict in group[:-1]:
            worse[verdict.run] = group[-1].run
    return worse


def _numbers(texts: Mapping[str, str]) -> dict[str, float]:
    """The attributes that are numbers. Route files may hold others, such as the name of a weather, which no simulator reads."""
    numbers = {}
    for key, text in texts.items():
        with contextlib.suppress(ValueError):
            numbers[key] = float(text)
    return numbers


@dataclass(frozen=True)
class RouteFacts:
    """What the copy of the route file in a run says: town, scenario types and the weather at the start."""

    town: str
    scenarios: tuple[str, ...]
    weather: dict[str, float]


def route_facts(run: RunFolder) -> RouteFacts:
    """Facts of the driven route; without a copy of the route file only the town, from the folder's name.

    Raises:
        RecordError: If the copy is broken.
    """
    if not run.route_path.is_file():
        return RouteFacts(run.town, (), {})
    try:
        route = next(ElementTree.parse(run.route_path).getroot().iter("route"))
        weather = next(iter(route.iter("weather")), None)
        numbers = {} if weather is None else _numbers(weather.attrib)
    except (ElementTree.ParseError, StopIteration, ValueError) as error:
        raise RecordError(f"{run.route_path}: not the copy of a route file ({error or 'no route'})") from error
    types = tuple(sorted({scenario.get("type", "") for scenario in route.iter("scenario")}))
    return RouteFacts(route.get("town", run.town), types, numbers)
