"""All spellings of scenario parameters, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from srunner.scenarios import registry
from srunner.scenarios.basic_scenario import ScenarioType
from srunner.scenarios.parameters import SIDE, ParameterError, interval, number, place, read_parameters

PARAMETERS = (
    number("distance", 100.0),
    SIDE,
    interval("frequency", (20.0, 100.0)),
    place("start_actor_flow", required=False),
)


def test_defaults_hold_without_elements():
    values, warnings = read_parameters(PARAMETERS, {})
    assert (values["distance"], values["direction"], values["frequency"]) == (100.0, "right", (20.0, 100.0))
    assert not warnings


def test_every_spelling_is_read():
    given = {
        "distance": {"value": "44.3"},
        "direction": {"value": "left"},
        "frequency": {"from": "30", "to": "89.5"},
        "start_actor_flow": {"x": "1", "y": "-2.5", "z": "0"},
    }
    values, _ = read_parameters(PARAMETERS, given)
    assert values["distance"] == pytest.approx(44.3)
    assert values["direction"] == "left"
    assert values["frequency"] == (30.0, 89.5)
    assert (values["start_actor_flow"].x, values["start_actor_flow"].y) == (1.0, -2.5)


def test_reversed_interval_is_ordered():
    values, _ = read_parameters(PARAMETERS, {"frequency": {"from": "90", "to": "30"}})
    assert values["frequency"] == (30.0, 90.0)


def test_unknown_elements_are_named_and_tolerated():
    _, warnings = read_parameters(PARAMETERS, {"distanse": {"value": "1"}})
    assert warnings == ["parameter distanse is not read; did you mean distance?"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"direction": {"value": "up"}}, "expected one of left, right, got 'up'"),
        ({"distance": {"value": "near"}}, "distance: expected a finite number"),
        ({"distance": {"value": "nan"}}, "finite number"),
        ({"frequency": {"from": "3"}}, "frequency"),
        ({"direction": {"value": "up"}, "distance": {}}, "distance.*; .*direction"),
    ],
)
def test_wrong_values_are_named_together(given, message):
    with pytest.raises(ParameterError, match=message):
        read_parameters(PARAMETERS, given)


def test_missing_required_place():
    with pytest.raises(ParameterError, match="start_actor_flow is missing"):
        read_parameters((place("start_actor_flow"),), {})


def test_unknown_type_suggests_the_nearest():
    with pytest.raises(registry.UnknownScenarioError, match="did you mean ParkedObstacle"):
        registry.scenario_type("ParkedObstakle")


def test_types_cannot_be_registered_twice():
    row = ScenarioType("Twice", lambda draft: None)
    with pytest.raises(ValueError, match="Twice is registered twice"):
        registry.table([row, row])


def test_all_types_of_the_leaderboard_and_bench2drive_exist():
    """46 types: 38 of CARLA Leaderboard 2.0, eight more of Bench2Drive."""
    assert len(registry.TYPES) == 46
    assert {"Accident", "YieldToEmergencyVehicle", "T_Junction", "EnterActorFlowV2", "PriorityAtJunction"} <= set(
        registry.TYPES
    )
