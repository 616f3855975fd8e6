"""What people read: the table at the end of a route and the live view of a running one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leaderboard.rules import Rules
from leaderboard.utils.statistics_manager import route_scores
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenarioatomics.atomic_criteria import Criterion
from srunner.scenariomanager.traffic_events import TrafficEventType, event_message

if TYPE_CHECKING:
    from leaderboard.scenarios.route_scenario import RouteScenario
    from leaderboard.scenarios.scenario_manager import ScenarioManager

LIVE_EVENTS = 5


def _rows(scenario: RouteScenario, rules: Rules) -> list[tuple[str, str, str]]:
    """(criterion, result, value) with criteria of one name merged: worst result, values summed."""
    merged: dict[str, list[Criterion]] = {}
    for criterion in scenario.criteria:
        merged.setdefault(criterion.name, []).append(criterion)
    rows = []
    for name, group in merged.items():
        result = "FAILURE" if any(criterion.test_status == "FAILURE" for criterion in group) else group[0].test_status
        if name == "MinSpeedTest" and not rules.penalties.min_speed:
            result = "INFO"
        value = sum(criterion.actual_value for criterion in group)
        rows.append((name, result, f"{value:g} {group[0].units or ''}".strip()))
    limit = f"limit {scenario.timeout_s:.0f} s"
    return [*rows, ("Timeout", "FAILURE" if scenario.has_timed_out else "SUCCESS", limit)]


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of equal length as a plain table; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "│ " + " │ ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " │" for row in rows
    ]
    rule = "┼".join("─" * (width + 2) for width in widths)
    return "\n".join([f"┌{rule.replace('┼', '┬')}┐", lines[0], f"├{rule}┤", *lines[1:], f"└{rule.replace('┼', '┴')}┘"])


def console_report(scenario: RouteScenario, manager: ScenarioManager, record: Mapping[str, Any], rules: Rules) -> str:
    """The table printed when a route is over.

    Args:
        scenario, manager: The route.
        record: Its record in the form of the results file.
        rules: The benchmark.
    """
    rows = _rows(scenario, rules)
    verdict = "FAILURE" if any(result == "FAILURE" for _, result, _ in rows) else "SUCCESS"
    config = scenario.config
    ratio = manager.duration_game / max(manager.duration_system, 1e-6)
    scores = record["scores"]
    lines = [
        f"\n========= Results of {config.name} (repetition {config.repetition_index}) ------ {verdict} =========",
        f"{record['status']}: driving score {scores['score_composed']}, route completion {scores['score_route']}, "
        f"infraction penalty {scores['score_penalty']}",
        f"System time {manager.duration_system:.2f}s, game time {manager.duration_game:.2f}s, ratio {ratio:.3f}",
        table([("Criterion", "Result", "Value"), *rows]),
    ]
    lines += [f"Scenario not built: {f.name} ({f.type}): {f.reason}" for f in scenario.build_failures]
    lines += [f"Scenario ended early: {f.name} ({f.type}): {f.reason}" for f in scenario.scenario_failures]
    lines += [f"Scenario not fully understood: {f.name} ({f.type}): {f.reason}" for f in scenario.unread_parameters]
    return "\n".join(lines)


def live_report(scenario: RouteScenario, manager: ScenarioManager, rules: Rules) -> str:
    """The state of a running route as text."""
    events = scenario.events()
    scores = route_scores(events, rules)
    ego = scenario.ego
    control = ego.get_control()
    location = CarlaDataProvider.get_location(ego)
    shown = [event for event in events if event.type is not TrafficEventType.ROUTE_COMPLETION]
    lines = [
        f"Route id: {scenario.config.run_id}",
        f"Scores: driving {scores.composed:.3f}, route {scores.route:.2f}, penalty {scores.penalty:.3f}",
        f"Route length: {scenario.length_m:.1f} m, game time {manager.duration_game:.2f} s, "
        f"system time {manager.duration_system:.2f} s",
        f"Throttle {control.throttle:.2f}, brake {control.brake:.2f}, steer {control.steer:.2f}, "
        f"speed {CarlaDataProvider.get_velocity(ego) * 3.6:.1f} km/h",
        f"Location: ({location.x:.2f}, {location.y:.2f}, {location.z:.2f})",
        f"Infractions: {len(shown)}",
        *(event_message(event, rules.locate_all_events) for event in shown[-LIVE_EVENTS:]),
    ]
    return "\n".join(lines) + "\n"
