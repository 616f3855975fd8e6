"""The life of a scenario: nothing stays behind, whatever happens."""

from __future__ import annotations

import py_trees
import pytest
from py_trees.common import Status

from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenario_info import ScenarioPhase, tuple_form
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.world_state import SpawnError
from srunner.scenarios import basic_scenario, registry
from tests.scenario_runner import test_types_in_the_city as city
from tests.scenario_runner import test_types_in_the_suburb as suburb
from tests.scenario_runner import test_types_on_the_highway as highway
from tests.scenario_runner.drives import ROOT, TRIGGER, Drive, case_of
from tests.scenario_runner.films import TIMED_OUT
from tests.scenario_runner.kinematic_world import Blueprint

DEMO = str(ROOT / "data" / "routes" / "demo_collect.xml")


@pytest.fixture
def parked():
    drive = Drive(case_of(DEMO, "ParkedObstacle"))
    yield drive
    drive.close()


def test_phases_follow_each_other(parked):
    assert parked.scenario.phase is ScenarioPhase.BUILT
    parked.until_active()
    assert parked.until_ended()
    assert not blackboard.get(TRIGGER)
    assert parked.scenario.behavior_tree.status is Status.RUNNING, "an ended scenario must not end the route"
    assert parked.left_over() == []


@pytest.mark.parametrize("seconds", [0.0, 2.0, 5.0, 10.0])
def test_release_at_any_moment_leaves_nothing(parked, seconds):
    parked.run(seconds)
    parked.close()
    parked.close()
    assert parked.left_over() == []
    assert parked.context.traffic.holders == {}
    assert CarlaDataProvider.get_scenario_infos() == []
    assert blackboard.get(blackboard.BLOCKED_SWITCH) in (None, True)


def test_taken_place_builds_nothing(parked):
    before = len(parked.world.actors)
    with pytest.raises(SpawnError, match="no room for"):
        registry.build(parked.case.config, parked.context)
    assert len(parked.world.actors) == before


def test_background_cars_make_way_for_a_scenario(parked):
    """A car of the traffic where an actor is needed is removed; a car of another scenario is not."""
    pose = parked.scenario.poses["car"]
    parked.close()
    blueprint = Blueprint("vehicle.audi.tt")
    blueprint.set_attribute("role_name", "background")
    car = parked.context.state.try_spawn(blueprint, pose)
    again = registry.build(parked.case.config, parked.context)
    assert not car.is_alive
    assert again.actors["car"].is_alive
    again.release()


def test_failing_step_ends_only_the_scenario(parked):
    def explode():
        raise RuntimeError("boom")

    guard = basic_scenario.Guard(parked.scenario, steps.Call("explode", explode))
    guard.tick_once()
    assert guard.status is Status.SUCCESS
    assert parked.scenario.failure == "RuntimeError: boom"
    failing = basic_scenario.Guard(parked.scenario, py_trees.behaviours.Failure("no way"))
    failing.tick_once()
    assert failing.status is Status.SUCCESS
    assert "no way" in parked.scenario.failure


def test_timeout_is_noted_and_ends_the_scenario(parked):
    """An ego that waits for ever in front of the obstacle runs out of time after 240 s."""
    parked.speed = lambda d: 8.0 if d.ego_index < 50 else 0.0
    parked.until_active()
    start = parked.time
    assert blackboard.get(blackboard.BLOCKED_SWITCH) is False
    assert parked.until_ended(300.0)
    assert parked.time - start == pytest.approx(basic_scenario.SCENARIO_TIMEOUT_S, abs=0.3)
    assert parked.scenario.timed_out
    assert blackboard.get(blackboard.timeout_key(parked.scenario.name)) is True
    assert blackboard.get(blackboard.BLOCKED_SWITCH) is True


def test_passing_in_time_notes_no_timeout(parked):
    parked.until_ended()
    assert not parked.scenario.timed_out
    assert not blackboard.get(blackboard.timeout_key(parked.scenario.name))


def test_one_switch_is_held_by_several():
    from srunner.scenariomanager.switches import CriterionSwitches

    blackboard.clear()
    switches = CriterionSwitches()
    name = blackboard.WRONG_DIRECTION_SWITCH
    switches.hold_off(name, 1)
    switches.hold_off(name, 2)
    switches.release(1)
    assert blackboard.get(name) is False, "the second scenario still needs it off"
    switches.release(2)
    switches.release(2)
    assert blackboard.get(name) is True


def test_records_for_the_expert(parked):
    (info,) = CarlaDataProvider.get_scenario_infos()
    assert info.type == "ParkedObstacle"
    assert info.phase is ScenarioPhase.BUILT
    assert info.first_actor is parked.actor("car")
    assert info.route_index == pytest.approx(25, abs=3)
    name, data = tuple_form(info)
    assert name == ("ParkedObstacleTwoWays" if info.two_way else "ParkedObstacle")
    assert data == [parked.actor("car"), None, "right", False, 1e9, 1e9, False]
    assert CarlaDataProvider.active_scenarios == [(name, data)]
    parked.until_active()
    assert CarlaDataProvider.get_scenario_infos()[0].phase is ScenarioPhase.ACTIVE
    parked.until_ended()
    assert CarlaDataProvider.get_scenario_infos() == []
    assert CarlaDataProvider.active_scenarios == []


def test_expert_may_change_the_tuples(parked):
    """The original expert marks and removes entries; the records do not care."""
    CarlaDataProvider.active_scenarios[0][1][3] = True
    CarlaDataProvider.active_scenarios.clear()
    parked.until_ended()
    assert CarlaDataProvider.active_scenarios == []


def test_equal_seeds_build_equal_scenarios():
    def models(seed):
        drive = Drive(case_of(DEMO, "ParkedObstacle"), seed=seed)
        found = [(a.type_id, round(a.pose.location.x, 6)) for a in drive.scenario.actors.values()]
        drive.close()
        return found

    assert models(3) == models(3)
    assert len({str(models(seed)) for seed in range(6)}) > 1


def test_second_route_starts_clean(parked):
    parked.run(4.0)
    parked.close()
    CarlaDataProvider.cleanup()
    again = Drive(case_of(DEMO, "ParkedObstacle", 1))
    assert len(CarlaDataProvider.get_scenario_infos()) == 1
    assert again.context.traffic.holders == {}
    again.close()


def test_every_type_is_driven_on_a_server_well_and_badly():
    """The tables of scenes name each type at least twice: what it does, and an ego that is judged."""
    scenes = [scene for town in (city, suburb, highway) for scene in town.SCENES]
    assert {scene.type for scene in scenes if scene.shows} == set(registry.TYPES)
    assert {scene.type for scene in scenes if scene.says} == set(registry.TYPES)
    timed = {scene.type for scene in scenes if scene.says >= TIMED_OUT}
    never_set = {name for name in registry.TYPES if name.startswith("Vanilla")}
    assert timed == {name for name, row in registry.TYPES.items() if "timeout" in row.criteria} - never_set
