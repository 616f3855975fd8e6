from __future__ import annotations

import json
import re
from typing import Any

import pytest

from leaderboard.rules import ALL_RULES, BENCH2DRIVE, COLLECTION, LEADERBOARD_2_0, LEADERBOARD_2_1, Rules, rules_by_name
from leaderboard.scenarios.route_scenario import fidelity_of
from leaderboard.utils.statistics_manager import (
    INFRACTION_KEYS,
    EntryStatus,
    FailureReason,
    RouteMeta,
    entry_status_of,
    make_record,
    make_unstarted_record,
    results_file,
    route_scores,
)
from srunner.scenariomanager.traffic_events import Place, TrafficEvent, TrafficEventType, event_message
from tests.leaderboard.shared import PDM_LITE, needs_shared

PLACE = Place(1.0004, -2.0, 0.1236)


def event(kind: TrafficEventType, **details: Any) -> TrafficEvent:
    return TrafficEvent(kind, frame=1, place=PLACE, ego_place=PLACE, **details)


def completion(percent: float) -> TrafficEvent:
    return event(TrafficEventType.ROUTE_COMPLETION, percentage=percent)


T = TrafficEventType


@pytest.mark.parametrize(
    ("rules", "events", "penalty"),
    [
        (LEADERBOARD_2_0, [event(T.COLLISION_PEDESTRIAN), event(T.COLLISION_VEHICLE)], 0.5 * 0.6),
        (LEADERBOARD_2_0, [event(T.COLLISION_STATIC), event(T.TRAFFIC_LIGHT_INFRACTION)], 0.65 * 0.7),
        (LEADERBOARD_2_0, [event(T.STOP_INFRACTION), event(T.SCENARIO_TIMEOUT)], 0.8 * 0.7),
        (LEADERBOARD_2_0, [event(T.YIELD_TO_EMERGENCY_VEHICLE), event(T.VEHICLE_BLOCKED)], 0.7),
        (LEADERBOARD_2_0, [event(T.OUTSIDE_ROUTE_LANES_INFRACTION, percentage=25.0)], 0.75),
        (LEADERBOARD_2_0, [event(T.MIN_SPEED_INFRACTION, percentage=70.26)] * 2, (1 - 0.3 * 0.2974) ** 2),
        (LEADERBOARD_2_1, [event(T.COLLISION_PEDESTRIAN), event(T.COLLISION_VEHICLE)], 1 / (1 + 1.0 + 0.7)),
        (LEADERBOARD_2_1, [event(T.COLLISION_STATIC), event(T.STOP_INFRACTION)], 1 / (1 + 0.6 + 0.25)),
        (LEADERBOARD_2_1, [event(T.MIN_SPEED_INFRACTION, percentage=50.0)], 1 / (1 + 0.4 * 0.5)),
        (
            LEADERBOARD_2_1,
            [event(T.OUTSIDE_ROUTE_LANES_INFRACTION, percentage=10.0), event(T.TRAFFIC_LIGHT_INFRACTION)],
            0.9 / 1.4,
        ),
        (BENCH2DRIVE, [event(T.MIN_SPEED_INFRACTION, percentage=20.0), event(T.COLLISION_VEHICLE)], 0.6),
    ],
)
def test_penalty_is_the_hand_computed_one(rules: Rules, events: list[TrafficEvent], penalty: float) -> None:
    scores = route_scores([completion(80.0), *events], rules)
    assert scores.penalty == pytest.approx(penalty, abs=1e-12)
    assert scores.composed == pytest.approx(80.0 * penalty, abs=1e-9)


def test_messages_have_the_layout_that_official_tools_split() -> None:
    outside = event(T.OUTSIDE_ROUTE_LANES_INFRACTION, distance_m=4.25149, percentage=4.27749)
    text = event_message(outside)
    assert text == "Agent went outside its route lanes for about 4.251 meters (4.28% of the completed route)"
    assert float(text.split(" ")[8]) == 4.251
    light = event(T.TRAFFIC_LIGHT_INFRACTION, actor_id=12)
    assert event_message(light) == "Agent ran a red light 12 at (x=1.0, y=-2.0, z=0.124)"
    hit = event(T.COLLISION_VEHICLE, actor_id=7, actor_type="vehicle.audi.tt")
    assert event_message(hit) == (
        "Agent collided against object with type=vehicle.audi.tt and id=7 at (x=1.0, y=-2.0, z=0.124)"
    )
    assert event_message(event(T.SCENARIO_TIMEOUT)) == "Agent timed out a scenario"
    assert event_message(event(T.SCENARIO_TIMEOUT), True) == "Agent timed out a scenario at (x=1.0, y=-2.0, z=0.124)"


@pytest.mark.parametrize(
    ("percent", "events", "failure", "status"),
    [
        (100, [], None, "Perfect"),
        (100, [event(T.MIN_SPEED_INFRACTION, percentage=120.0)], None, "Completed"),
        (100, [], FailureReason.AGENT_CRASHED, "Perfect"),
        (60.0, [], None, "Failed"),
        (60.0, [], FailureReason.AGENT_CRASHED, "Failed - Agent crashed"),
        (60.0, [event(T.VEHICLE_BLOCKED)], FailureReason.AGENT_CRASHED, "Failed - Agent got blocked"),
        (60.0, [event(T.ROUTE_TIMEOUT)], None, "Failed - Agent timed out"),
        (60.0, [event(T.ROUTE_TIMEOUT), event(T.ROUTE_DEVIATION)], None, "Failed - Agent deviated from the route"),
        (60.0, [], FailureReason.TICK_LIMIT, "Failed - TickRuntime"),
    ],
)
def test_status_follows_events_before_crashes(
    percent: float, events: list[TrafficEvent], failure: FailureReason | None, status: str
) -> None:
    record = make_record("RouteScenario_1_rep0", [completion(percent), *events], failure, BENCH2DRIVE, RouteMeta())
    assert record.status == status
    assert record.num_infractions == len(events)


def test_crash_at_load_scores_nothing_without_a_penalty() -> None:
    record = make_unstarted_record("RouteScenario_1_rep0", FailureReason.SIMULATION_CRASHED, RouteMeta())
    data = record.to_json(0)
    assert data["scores"] == {"score_route": 0.0, "score_penalty": 1.0, "score_composed": 0.0}
    content = results_file([data], (1, 1), ["carla_imu"], entry_status_of([data]), is_final=True)
    assert (content["entry_status"], content["eligible"]) == ("Crashed", False)


def test_results_without_sensors_or_with_holes_are_invalid() -> None:
    data = make_record("RouteScenario_1_rep0", [completion(100)], None, LEADERBOARD_2_0, RouteMeta(100.0)).to_json(0)
    assert results_file([data], (1, 1), ["carla_imu"], EntryStatus.FINISHED, True)["entry_status"] == "Finished"
    assert results_file([data], (1, 1), [], EntryStatus.FINISHED, True)["entry_status"] == "Invalid"
    assert results_file([data], (2, 2), ["carla_imu"], EntryStatus.FINISHED, True)["entry_status"] == "Invalid"
    running = results_file([data], (1, 2), ["carla_imu"], EntryStatus.STARTED, False)
    assert (running["_checkpoint"]["global_record"], running["values"]) == ({}, [])


PUBLISHED = {
    # field: Leaderboard 2.0, 2.1, Bench2Drive, SimLingo's Bench2Drive, PDM-Lite's collection
    "timeout_s": (300.0, 300.0, 600.0, 600.0, 300.0),
    "traffic_manager_seed": (0, 0, 0, 0, 100),
    "min_speed_checkpoints": (4, 4, 20, 20, 4),
    "min_speed_always_reported": (False, False, True, True, False),
    "blocked_after_s": (180.0, 180.0, 60.0, 60.0, 180.0),
    "tick_limit": (None, None, 4000, None, None),
    "completion_percent": (99.0, 99.0, 99.0, 90.0, 85.0),
    "completion_distance_m": (10.0, 10.0, 10.0, 10.0, 10.0),
    "plan_sampling_m": (200.0, 200.0, 50.0, 50.0, 200.0),
    "stop_on_setup_failure": (False, False, True, True, False),
    "sensor_radius_m": (3.0, 3.0, 3.0, 3.0, 3.0),
    "sensor_radius_saving_m": (None, None, 100.0, 100.0, None),
    "sensor_wait_s": (10.0, 10.0, 300.0, 300.0, 10.0),
    "benchmark_record_fields": (False, False, True, True, False),
    "timestamp_record_field": (False, False, False, False, True),
    "weather_changes": (True, True, True, True, False),
    "stop_box_min_extent_m": (0.0, 0.0, 0.0, 0.0, 0.5),
}


def test_rules_profiles_hold_the_published_differences() -> None:
    names = ("leaderboard_2_0", "leaderboard_2_1", "bench2drive", "bench2drive_simlingo", "collection")
    assert tuple(rules.name for rules in ALL_RULES) == names
    assert {key: tuple(getattr(rules, key) for rules in ALL_RULES) for key in PUBLISHED} == PUBLISHED
    assert [rules.penalties.min_speed for rules in ALL_RULES] == [0.3, 0.4, 0.0, 0.0, 0.3]
    assert COLLECTION.penalties == LEADERBOARD_2_0.penalties
    json.dumps([rules.describe() for rules in ALL_RULES])
    with pytest.raises(ValueError, match="did you mean 'bench2drive'"):
        rules_by_name("bench2driv")


def test_streams_keep_their_speed_in_bends_as_in_the_original_but_on_our_own_towns() -> None:
    official = [rules for rules in ALL_RULES if rules is not COLLECTION]
    for town in ("Town05", "Town12", "Carla/Maps/Town10HD"):
        assert not any(fidelity_of(rules, town).flows_heed_bends for rules in official)
        assert fidelity_of(COLLECTION, town).flows_heed_bends
    for town in ("Mini02", "Carla/Maps/Mini03"):
        assert all(fidelity_of(rules, town).flows_heed_bends for rules in ALL_RULES)


KEY_TO_TYPE = {key: kind for kind, key in INFRACTION_KEYS.items()}


def events_of(record: dict[str, Any]) -> list[TrafficEvent]:
    """The events that a published record tells of, as far as its texts are exact."""
    events = [completion(record["scores"]["score_route"])]
    for key, messages in record["infractions"].items():
        for message in messages:
            percent = re.search(r"([\d.]+)%", message)
            events.append(event(KEY_TO_TYPE[key], percentage=float(percent.group(1)) if percent else None))
    return events


@needs_shared
@pytest.mark.parametrize("part", range(4))
def test_published_results_are_reproduced_to_the_byte(part: int) -> None:
    """The four published files, rebuilt from their records, equal the originals."""
    text = (PDM_LITE / f"eval_bench2drive220_{part}.json").read_text(encoding="utf-8")
    published = json.loads(text)
    records = published["_checkpoint"]["records"]
    progress = published["_checkpoint"]["progress"]
    ours = results_file(records, tuple(progress), published["sensors"], entry_status_of(records), is_final=True)
    assert json.dumps(ours, indent=4) == text


@needs_shared
def test_published_penalties_follow_from_their_events() -> None:
    """Route 11755 was edited by hand in the published files; outside-lane texts are rounded to 0.01 %."""
    for part in range(4):
        published = json.loads((PDM_LITE / f"eval_bench2drive220_{part}.json").read_text(encoding="utf-8"))
        for record in published["_checkpoint"]["records"]:
            if record["route_id"] == "RouteScenario_11755_rep0":
                continue
            scores = route_scores(events_of(record), BENCH2DRIVE)
            tolerance = 1e-4 if record["infractions"]["outside_route_lanes"] else 1e-6
            assert scores.penalty == pytest.approx(record["scores"]["score_penalty"], abs=tolerance)
