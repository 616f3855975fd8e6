"""What driving costs under each rules profile, on the server: scores computed by hand from what the driver did."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import carla
import pytest

from leaderboard.rules import RULES_BY_NAME
from leaderboard.utils.route_parser import RouteParser, write_routes_file
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from tests.leaderboard.evaluation import AGENTS, CONSTANT, EXPERT, Evaluation, Places, route
from tests.leaderboard.shared import REPOSITORY

BAD = AGENTS / "bad_agent.py"


@dataclass(frozen=True)
class Price:
    """What one fault costs under a profile, from the published rules.

    Attributes:
        red_light, stop, vehicle: Penalty after one such event.
        blocked_s: Game time without motion that ends a route.
        complete_at: Share of a route, percent, from which it counts as complete when its end is near.
        tells_every_speed: Whether each share of the traffic's speed is an entry of the record, a full one too; a
            complete route with any entry is "Completed", one with none is "Perfect".
    """

    red_light: float
    stop: float
    vehicle: float
    blocked_s: float
    complete_at: float
    tells_every_speed: bool


PRICES = {
    "leaderboard_2_0": Price(0.7, 0.8, 0.6, 180.0, 99.0, False),
    "leaderboard_2_1": Price(1 / 1.4, 1 / 1.25, 1 / 1.7, 180.0, 99.0, False),
    "bench2drive": Price(0.7, 0.8, 0.6, 60.0, 99.0, True),
    "bench2drive_simlingo": Price(0.7, 0.8, 0.6, 60.0, 90.0, True),
    "collection": Price(0.7, 0.8, 0.6, 180.0, 85.0, False),
}

every_profile = pytest.mark.parametrize("rules", PRICES)


def test_every_profile_has_its_prices() -> None:
    assert PRICES.keys() == RULES_BY_NAME.keys()


def drive(evaluation: Evaluation, rules: str, habit: str, *routes: RouteScenarioConfiguration) -> list[dict[str, Any]]:
    """Records of drives of the agent with a bad habit, without other traffic."""
    write_routes_file(evaluation.routes, routes)
    options = ["--agent-config", habit, "--rules", rules, "--no-traffic"]
    assert evaluation.run(habit, BAD, *options) == 0
    return evaluation.records(habit)


def scores(record: dict[str, Any]) -> tuple[float, float]:
    """(completion, penalty); the third is their product."""
    found = record["scores"]
    assert found["score_composed"] == pytest.approx(found["score_route"] * found["score_penalty"], abs=1e-4)
    return found["score_route"], found["score_penalty"]


def infractions(record: dict[str, Any]) -> dict[str, int]:
    """Number of events by kind, but for the share of the traffic's speed."""
    return {key: len(texts) for key, texts in record["infractions"].items() if texts and key != "min_speed_infractions"}


def past(places: Places, port: int, pattern: str) -> list[carla.Location]:
    """A way past the first traffic light or stop sign of the town."""
    world = carla.Client("127.0.0.1", port).load_world("Mini01")
    sign = sorted(world.get_actors().filter(pattern), key=lambda actor: actor.id)[0]
    stop = places.map.get_waypoint(sign.get_transform().transform(sign.trigger_volume.location))
    return [waypoint.transform.location for waypoint in (stop.previous(15.0)[0], stop, stop.next(30.0)[0])]


@every_profile
def test_driver_who_looks_at_nothing(evaluation: Evaluation, places: Places, rules: str) -> None:
    """Past a red light, past a stop sign, into a parked car."""
    price = PRICES[rules]
    street = places.straight(100)
    trigger = places.planner.trace_route(*street)[3][0].transform
    parked = ScenarioConfiguration("ParkedObstacle_1", "ParkedObstacle", [trigger], {"distance": {"value": "40"}})
    light, stop, car = drive(
        evaluation, rules, "looks_at_nothing",
        route("1", past(places, evaluation.port, "traffic.traffic_light*")),
        route("2", past(places, evaluation.port, "traffic.stop")), route("3", street, parked),
    )  # fmt: skip
    assert infractions(light) == {"red_light": 1}
    assert scores(light) == (100, pytest.approx(price.red_light, abs=1e-6))
    assert infractions(stop) == {"stop_infraction": 1}
    assert scores(stop) == (100, pytest.approx(price.stop, abs=1e-6))
    assert infractions(car) == {"collisions_vehicle": 1}
    assert "type=vehicle." in car["infractions"]["collisions_vehicle"][0]
    assert car["status"] == "Failed - Agent crashed"
    completion, penalty = scores(car)
    assert 20 < completion < 80
    assert penalty == pytest.approx(price.vehicle, abs=1e-6)


@every_profile
def test_driver_in_the_oncoming_lane_loses_the_share(evaluation: Evaluation, places: Places, rules: str) -> None:
    (record,) = drive(evaluation, rules, "leaves_the_lane", route("1", places.straight(60)))
    (text,) = record["infractions"]["outside_route_lanes"]
    metres, share = float(text.split(" ")[8]), float(text.split("(")[1].split("%")[0])
    length = record["meta"]["route_length"]
    driven = length * max(PRICES[rules].complete_at / 100, 1 - 10 / length)
    assert 25.0 < metres < length + 1.0
    assert share == pytest.approx(metres / driven * 100, abs=4.0)
    assert scores(record)[1] == pytest.approx(1 - share / 100, abs=1e-4)


@every_profile
def test_driver_who_stops_for_ever_short_of_the_end(evaluation: Evaluation, places: Places, rules: str) -> None:
    """He stands at about 93 % of 100 m, 7 m before the end: complete for some, blocked for others, after their time."""
    price = PRICES[rules]
    (record,) = drive(evaluation, rules, "stops_before_the_end", route("1", places.straight(100)))
    completion, penalty = scores(record)
    assert penalty == 1.0
    if price.complete_at < 91.0:
        assert (completion, infractions(record)) == (100, {})
        told = record["infractions"]["min_speed_infractions"]
        assert told == ["Average speed is 100% of the surrounding traffic's one"] * len(told)
        assert bool(told) == price.tells_every_speed
        assert record["status"] == ("Completed" if price.tells_every_speed else "Perfect")
        return
    assert 90 < completion < 99
    assert record["status"] == "Failed - Agent got blocked"
    assert infractions(record) == {"vehicle_blocked": 1}
    assert record["meta"]["duration_game"] == pytest.approx(16.0 + price.blocked_s, abs=5.0)


SHARE = re.compile(r"Average speed is ([\d.]+)% of the surrounding traffic's one")


@pytest.mark.parametrize("rules", ["leaderboard_2_0", "leaderboard_2_1", "bench2drive"])
def test_lane_keeper_slower_than_the_traffic(evaluation: Evaluation, places: Places, rules: str) -> None:
    """He completes without a fault; where speed is scored he pays for each quarter of the route by his share."""
    write_routes_file(evaluation.routes, [route("1", places.straight(80))])
    assert evaluation.run("r", CONSTANT, "--agent-config", "2.5", "--rules", rules) == 0
    (record,) = evaluation.records("r")
    assert infractions(record) == {}
    shares = [
        float(found.group(1)) for text in record["infractions"]["min_speed_infractions"] if (found := SHARE.match(text))
    ]
    missing = [max(0.0, 1 - share / 100) for share in shares]
    assert len(shares) > (10 if rules == "bench2drive" else 2)
    product, total = 1.0, 0.0
    for part in missing:
        product, total = product * (1 - 0.3 * part), total + 0.4 * part
    assert total > 0.1
    expected = {"leaderboard_2_0": product, "leaderboard_2_1": 1 / (1 + total), "bench2drive": 1.0}
    assert scores(record) == (100, pytest.approx(expected[rules], abs=2e-4))
    assert record["status"] == "Completed"


def test_expert_passes_a_parked_car_without_a_fault(evaluation: Evaluation) -> None:
    routes = RouteParser.parse_routes_file(REPOSITORY / "data" / "routes" / "demo_eval.xml")
    write_routes_file(evaluation.routes, [found for found in routes if found.route_id == "900"])
    assert evaluation.run("r", EXPERT, "--track", "MAP", "--rules", "bench2drive") == 0
    (record,) = evaluation.records("r")
    assert infractions(record) == {}
    assert scores(record) == (100, 1.0)
    assert record["status"] == "Completed"
    assert evaluation.manifest("r")["routes"]["RouteScenario_900_rep0"]["triggered"] == ["ParkedObstacle_1"]
