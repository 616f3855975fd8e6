"""Scores, route records and the results file in the official schema.

Schema and formulas: carla-simulator/leaderboard, utils/statistics_manager.py, and Thinklab-SJTU/Bench2Drive for the extra
fields of its records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from leaderboard.rules import PenaltyFormula, Rules
from srunner.scenariomanager.traffic_events import TrafficEvent, TrafficEventType, event_message

INFRACTION_KEYS = {
    TrafficEventType.COLLISION_STATIC: "collisions_layout",
    TrafficEventType.COLLISION_PEDESTRIAN: "collisions_pedestrian",
    TrafficEventType.COLLISION_VEHICLE: "collisions_vehicle",
    TrafficEventType.TRAFFIC_LIGHT_INFRACTION: "red_light",
    TrafficEventType.STOP_INFRACTION: "stop_infraction",
    TrafficEventType.OUTSIDE_ROUTE_LANES_INFRACTION: "outside_route_lanes",
    TrafficEventType.MIN_SPEED_INFRACTION: "min_speed_infractions",
    TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE: "yield_emergency_vehicle_infractions",
    TrafficEventType.SCENARIO_TIMEOUT: "scenario_timeouts",
    TrafficEventType.ROUTE_DEVIATION: "route_dev",
    TrafficEventType.VEHICLE_BLOCKED: "vehicle_blocked",
    TrafficEventType.ROUTE_TIMEOUT: "route_timeout",
}
"""Kind of event to its key in a record, in the order of the file."""

SCORE_KEYS = ("score_composed", "score_route", "score_penalty")

LABELS = (
    ("Avg. driving score", "score_composed"),
    ("Avg. route completion", "score_route"),
    ("Avg. infraction penalty", "score_penalty"),
    ("Collisions with pedestrians", "collisions_pedestrian"),
    ("Collisions with vehicles", "collisions_vehicle"),
    ("Collisions with layout", "collisions_layout"),
    ("Red lights infractions", "red_light"),
    ("Stop sign infractions", "stop_infraction"),
    ("Off-road infractions", "outside_route_lanes"),
    ("Route deviations", "route_dev"),
    ("Route timeouts", "route_timeout"),
    ("Agent blocked", "vehicle_blocked"),
    ("Yield emergency vehicles infractions", "yield_emergency_vehicle_infractions"),
    ("Scenario timeouts", "scenario_timeouts"),
    ("Min speed infractions", "min_speed_infractions"),
)
"""Texts of ``labels`` with the key of the global record that ``values`` holds."""

ROUND_SCORE = 6
ROUND_META = 3
MIN_DRIVEN_KM = 0.001


class FailureReason(Enum):
    """Why a route failed; the values are the official texts after ``Failed - ``."""

    SIMULATION_CRASHED = "Simulation crashed"
    SENSORS_INVALID = "Agent's sensors were invalid"
    AGENT_SETUP_FAILED = "Agent couldn't be set up"
    AGENT_CRASHED = "Agent crashed"
    TICK_LIMIT = "TickRuntime"
    ROUTE_TIMEOUT = "Agent timed out"
    ROUTE_DEVIATION = "Agent deviated from the route"
    BLOCKED = "Agent got blocked"

    @property
    def status(self) -> str:
        """The record's status text."""
        return f"Failed - {self.value}"


CRASHES = (FailureReason.SIMULATION_CRASHED, FailureReason.AGENT_CRASHED, FailureReason.AGENT_SETUP_FAILED)
"""Failures that say nothing about the driving and may be tried again."""


class EntryStatus(Enum):
    """State of a whole run, as the results file words it."""

    STARTED = "Started"
    FINISHED = "Finished"
    REJECTED = "Rejected"
    CRASHED = "Crashed"
    INVALID = "Invalid"


@dataclass(frozen=True)
class Scores:
    """Scores of one route.

    Attributes:
        route: Completed share of the route, percent; the integer 100 when complete.
        penalty: Infraction penalty, 0 to 1.
        composed: Their product, percent.
    """

    route: float
    penalty: float
    composed: float


def event_coefficient(event: TrafficEvent, rules: Rules) -> float | None:
    """What one event does to the penalty under the rules' formula; None for events that do not count."""
    penalties = rules.penalties
    fixed = {
        TrafficEventType.COLLISION_PEDESTRIAN: penalties.collision_pedestrian,
        TrafficEventType.COLLISION_VEHICLE: penalties.collision_vehicle,
        TrafficEventType.COLLISION_STATIC: penalties.collision_static,
        TrafficEventType.TRAFFIC_LIGHT_INFRACTION: penalties.red_light,
        TrafficEventType.STOP_INFRACTION: penalties.stop,
        TrafficEventType.SCENARIO_TIMEOUT: penalties.scenario_timeout,
        TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE: penalties.yield_emergency_vehicle,
    }
    if event.type is TrafficEventType.MIN_SPEED_INFRACTION and penalties.min_speed and event.percentage is not None:
        missing = penalties.min_speed * (1 - event.percentage / 100)
        return 1 - missing if penalties.formula is PenaltyFormula.PRODUCT else missing
    return fixed.get(event.type)


def route_scores(events: Iterable[TrafficEvent], rules: Rules) -> Scores:
    """Scores of a route from everything that happened on it.

    2.0: penalty = product of coefficients. 2.1: 1 / (1 + sum of coefficients). Driving outside the lanes multiplies by
    (1 - share) in both.
    """
    route: float = 0
    product, total, outside = 1.0, 0.0, 1.0
    for event in events:
        if event.type is TrafficEventType.ROUTE_COMPLETION and event.percentage is not None:
            route = event.percentage
        elif event.type is TrafficEventType.OUTSIDE_ROUTE_LANES_INFRACTION and event.percentage is not None:
            outside *= 1 - event.percentage / 100
        else:
            coefficient = event_coefficient(event, rules)
            if coefficient is not None:
                product *= coefficient
                total += coefficient
    is_product = rules.penalties.formula is PenaltyFormula.PRODUCT
    penalty = outside * (product if is_product else 1 / (1 + total))
    return Scores(route, penalty, max(route * penalty, 0.0))


def failure_from_events(events: Iterable[TrafficEvent]) -> FailureReason | None:
    """The failure that the criteria report; a later kind in this order overrides an earlier one."""
    kinds = {event.type for event in events}
    reason = None
    for kind, candidate in (
        (TrafficEventType.ROUTE_TIMEOUT, FailureReason.ROUTE_TIMEOUT),
        (TrafficEventType.ROUTE_DEVIATION, FailureReason.ROUTE_DEVIATION),
        (TrafficEventType.VEHICLE_BLOCKED, FailureReason.BLOCKED),
    ):
        if kind in kinds:
            reason = candidate
    return reason


@dataclass(frozen=True)
class BenchmarkFields:
    """What Bench2Drive adds to a record."""

    scenario_name: str
    weather_id: str | None
    save_name: str
    town_name: str


@dataclass(frozen=True)
class RouteMeta:
    """Length of a route in metres, and how long it took in game time and in wall clock, seconds."""

    route_length: float = 0.0
    duration_game: float = 0.0
    duration_system: float = 0.0


@dataclass
class RouteRecord:
    """The result of one route, before it is written.

    Attributes:
        route_id: ``RouteScenario_<id>_rep<k>``.
        status: Official status text.
        scores: Scores.
        infractions: Messages by key of `INFRACTION_KEYS`.
        meta: Length and durations.
        benchmark: Bench2Drive's fields, or None.
        timestamp: Start of the route as text, or None.
    """

    route_id: str
    status: str
    scores: Scores
    infractions: dict[str, list[str]] = field(default_factory=lambda: {key: [] for key in INFRACTION_KEYS.values()})
    meta: RouteMeta = field(default_factory=RouteMeta)
    benchmark: BenchmarkFields | None = None
    timestamp: str | None = None

    @property
    def num_infractions(self) -> int:
        """Number of entries in all infraction lists, those without a penalty included."""
        return sum(len(messages) for messages in self.infractions.values())

    def to_json(self, index: int) -> dict[str, Any]:
        """The record with the official keys in the official order."""
        data: dict[str, Any] = {} if self.timestamp is None else {"timestamp": self.timestamp}
        data |= {"index": index, "route_id": self.route_id}
        if self.benchmark is not None:
            data["scenario_name"] = self.benchmark.scenario_name
            data["weather_id"] = self.benchmark.weather_id
            data["save_name"] = self.benchmark.save_name
        data |= {
            "status": self.status,
            "num_infractions": self.num_infractions,
            "infractions": self.infractions,
            "scores": {
                "score_route": round(self.scores.route, ROUND_SCORE),
                "score_penalty": round(self.scores.penalty, ROUND_SCORE),
                "score_composed": round(self.scores.composed, ROUND_SCORE),
            },
            "meta": {
                "route_length": round(self.meta.route_length, ROUND_META),
                "duration_game": round(self.meta.duration_game, ROUND_META),
                "duration_system": round(self.meta.duration_system, ROUND_META),
            },
        }
        if self.benchmark is not None:
            data["town_name"] = self.benchmark.town_name
        return data


def make_record(
    route_id: str,
    events: Sequence[TrafficEvent],
    failure: FailureReason | None,
    rules: Rules,
    meta: RouteMeta,
    benchmark: BenchmarkFields | None = None,
    timestamp: str | None = None,
) -> RouteRecord:
    """Turn the events of a route into its record.

    Args:
        route_id: ``RouteScenario_<id>_rep<k>``.
        events: Everything the criteria saw, completion included.
        failure: What went wrong outside the criteria, None if nothing did. A deviation, a block or a timeout overrides it.
        rules: The benchmark.
        meta: Length and durations.
        benchmark, timestamp: Extra fields.
    """
    record = RouteRecord(route_id, "", route_scores(events, rules), meta=meta, benchmark=benchmark, timestamp=timestamp)
    for event in events:
        key = INFRACTION_KEYS.get(event.type)
        if key is not None:
            record.infractions[key].append(event_message(event, rules.locate_all_events))
    reason = failure_from_events(events) or failure
    if record.scores.route >= 100:
        record.status = "Completed" if record.num_infractions else "Perfect"
    else:
        record.status = reason.status if reason else "Failed"
    return record


def make_unstarted_record(
    route_id: str,
    failure: FailureReason,
    meta: RouteMeta,
    benchmark: BenchmarkFields | None = None,
    timestamp: str | None = None,
) -> RouteRecord:
    """The record of a route on which nothing was driven: completion 0, penalty 1."""
    return RouteRecord(
        route_id, failure.status, Scores(0.0, 1.0, 0.0), meta=meta, benchmark=benchmark, timestamp=timestamp
    )


_OUTSIDE_METRES = re.compile(r"for about ([\d.eE+-]+) meters")


def outside_metres(message: str) -> float:
    """Metres in the text of an outside-lanes event, for records that were read from a file.

    Raises:
        ValueError: If the text has another form.
    """
    match = _OUTSIDE_METRES.search(message)
    if match is None:
        raise ValueError(f"expected '… for about <number> meters …', got {message!r}")
    return float(match.group(1))


def _worst_status(records: Sequence[Mapping[str, Any]]) -> str:
    for status in ("Failed", "Completed"):
        if any(record["status"].startswith(status) for record in records):
            return status
    return "Perfect"


def global_record(records: Sequence[Mapping[str, Any]], total_routes: int) -> dict[str, Any]:
    """Means over all routes, a missing route counting 0; infractions per driven kilometre.

    Args:
        records: Records in the form of the results file.
        total_routes: Number of routes of the run.
    """
    total = max(total_routes, 1)
    means = {key: sum(record["scores"][key] for record in records) / total for key in SCORE_KEYS}
    deviations = {
        key: _deviation([record["scores"][key] for record in records], means[key], total) for key in SCORE_KEYS
    }
    driven_km = sum(r["meta"]["route_length"] * r["scores"]["score_route"] / 100 for r in records) / 1000
    per_km = 1 / max(driven_km, MIN_DRIVEN_KM)
    infractions: dict[str, float] = {}
    for key in INFRACTION_KEYS.values():
        messages = [message for record in records for message in record["infractions"][key]]
        is_outside = key == "outside_route_lanes"
        amount = sum(outside_metres(message) for message in messages) / 1000 if is_outside else len(messages)
        infractions[key] = round(amount if is_outside else amount * per_km, ROUND_META)
    failed = [[r["route_id"], r["index"], r["status"]] for r in records if r["status"].startswith("Failed")]
    return {
        "index": -1,
        "route_id": -1,
        "status": _worst_status(records),
        "infractions": infractions,
        "scores_mean": {key: round(means[key], ROUND_SCORE) for key in SCORE_KEYS},
        "scores_std_dev": {key: round(deviations[key], ROUND_META) for key in SCORE_KEYS},
        "meta": {
            "total_length": sum(record["meta"]["route_length"] for record in records),
            "duration_game": sum(record["meta"]["duration_game"] for record in records),
            "duration_system": sum(record["meta"]["duration_system"] for record in records),
            "exceptions": failed,
        },
    }


def _deviation(values: Sequence[float], mean: float, total: int) -> float:
    """Sample standard deviation with divisor total - 1; 0 for one route."""
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (total - 1)) if total > 1 else 0.0


def entry_status_of(records: Sequence[Mapping[str, Any]]) -> EntryStatus:
    """State of a run whose loop has ended; of crashes and invalid sensors the last one counts."""
    status = EntryStatus.FINISHED
    for record in records:
        if FailureReason.SIMULATION_CRASHED.value in record["status"]:
            status = EntryStatus.CRASHED
        elif FailureReason.SENSORS_INVALID.value in record["status"]:
            status = EntryStatus.REJECTED
    return status


def results_file(
    records: Sequence[Mapping[str, Any]],
    progress: tuple[int, int],
    sensors: Sequence[str] | None,
    entry_status: EntryStatus,
    is_final: bool,
) -> dict[str, Any]:
    """The whole results file in the official schema.

    Args:
        records: Records in route order, in the form of the file.
        progress: Routes done and routes in all.
        sensors: Icons of the agent's sensors, e.g. ``carla_camera``; None as long as no agent was asked for them.
        entry_status: State of the run.
        is_final: Whether the run has ended; only then there are global statistics.
    """
    summary = global_record(records, progress[1]) if is_final else {}
    values: list[str] = []
    labels: list[str] = []
    if summary:
        numbers = summary["infractions"] | summary["scores_mean"]
        values = [str(numbers[key]) for _, key in LABELS]
        labels = [label for label, _ in LABELS]
        if sensors == [] or progress[0] != progress[1] or len(records) != progress[0]:
            entry_status = EntryStatus.INVALID
    return {
        "_checkpoint": {"global_record": summary, "progress": list(progress), "records": list(records)},
        "entry_status": entry_status.value,
        "eligible": entry_status is EntryStatus.FINISHED,
        "sensors": list(sensors or ()),
        "values": values,
        "labels": labels,
    }
