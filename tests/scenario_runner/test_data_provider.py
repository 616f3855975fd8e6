"""What agents and criteria ask of `CarlaDataProvider`."""

from __future__ import annotations

import random

import carla
import pytest

from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.world_state import WorldState
from tests.scenario_runner.drives import load_map
from tests.scenario_runner.kinematic_world import KinematicWorld


@pytest.fixture
def world():
    world = KinematicWorld(load_map("Mini01"))
    CarlaDataProvider.set_client(None)
    CarlaDataProvider.set_world(world)
    yield world
    CarlaDataProvider.cleanup()


@pytest.fixture
def start(world):
    return (
        world.map.get_spawn_points()[0]
        if world.map.get_spawn_points()
        else world.map.generate_waypoints(20.0)[0].transform
    )


def test_without_a_world_it_says_what_to_call():
    CarlaDataProvider.cleanup()
    with pytest.raises(RuntimeError, match="call set_client and set_world"):
        CarlaDataProvider.get_map()


def test_new_actors_report_their_pose_before_the_first_tick(world, start):
    actor = CarlaDataProvider.request_new_actor("vehicle.tesla.model3", start, tick=False)
    actor.seen = carla.Transform()  # a simulator reports zeros until it has ticked
    assert CarlaDataProvider.get_location(actor).distance(start.location) < 0.3
    world.tick()
    CarlaDataProvider.on_carla_tick()
    assert CarlaDataProvider.get_location(actor).distance(start.location) < 0.3
    assert actor.attributes["role_name"] == "scenario"


def test_speed_is_horizontal(world, start):
    actor = CarlaDataProvider.request_new_actor("vehicle.tesla.model3", start, tick=False)
    world.tick()
    CarlaDataProvider.on_carla_tick()
    actor.velocity = carla.Vector3D(3.0, 4.0, 12.0)
    assert CarlaDataProvider.get_velocity(actor) == pytest.approx(5.0)


def test_actors_that_are_gone_have_no_place_and_no_speed(world, start):
    actor = CarlaDataProvider.request_new_actor("vehicle.tesla.model3", start, tick=False)
    actor.destroy()
    CarlaDataProvider.on_carla_tick()
    assert CarlaDataProvider.get_location(actor) is None
    assert CarlaDataProvider.get_transform(actor) is None
    assert CarlaDataProvider.get_velocity(actor) == 0.0
    assert not CarlaDataProvider.actor_id_exists(actor.id)
    CarlaDataProvider.remove_actor_by_id(actor.id)


def test_taken_places_give_none(world, start):
    assert CarlaDataProvider.request_new_actor("vehicle.tesla.model3", start, tick=False) is not None
    assert CarlaDataProvider.request_new_actor("vehicle.audi.tt", start, tick=False) is None


def test_props_are_not_lifted(world, start):
    prop = CarlaDataProvider.request_new_actor("static.prop.constructioncone", start, tick=False)
    assert prop.pose.location.z == pytest.approx(start.location.z)
    car = CarlaDataProvider.request_new_actor("vehicle.audi.tt", carla.Transform(carla.Location(0, 0, 0)), tick=False)
    assert car.pose.location.z == pytest.approx(0.2)


def test_hero_is_found(world, start):
    assert CarlaDataProvider.get_hero_actor() is None
    hero = CarlaDataProvider.request_new_actor("vehicle.lincoln.mkz_2020", start, rolename="hero", tick=False)
    assert CarlaDataProvider.get_hero_actor() is hero


def test_cleanup_removes_all_and_starts_the_generator_anew(world, start):
    CarlaDataProvider.set_random_seed(7)
    first = CarlaDataProvider.get_random_seed().randint(1000, size=5).tolist()
    CarlaDataProvider.request_new_actor("vehicle.tesla.model3", start, tick=False)
    CarlaDataProvider.set_ego_route([(start, 4)])
    CarlaDataProvider.cleanup()
    assert world.actors == {}
    assert CarlaDataProvider.get_ego_route() == []
    assert CarlaDataProvider.get_random_seed().randint(1000, size=5).tolist() == first


def test_blueprints_are_chosen_by_attributes_and_seed(world):
    state = WorldState(None, world)
    wanted = {"base_type": "car", "special_type": "emergency"}
    assert (
        state.choose_blueprint("vehicle.*", random.Random(0), attributes=wanted).id
        == "vehicle.dodge.charger_police_2020"
    )
    doors = state.choose_blueprint("vehicle.*", random.Random(0), attributes={"has_dynamic_doors": True})
    assert doors.get_attribute("has_dynamic_doors").as_str() == "true"
    choices = [state.choose_blueprint("vehicle.*", random.Random(seed)).id for seed in (1, 1, 2, 3, 4, 5)]
    assert choices[0] == choices[1]
    assert len(set(choices)) > 1


def test_unknown_models_get_a_stand_in_of_their_kind(world):
    state = WorldState(None, world)
    draw = random.Random(0)
    assert state.choose_blueprint("vehicle.unknown.model", draw).id == "vehicle.tesla.model3"
    assert state.choose_blueprint("walker.unknown", draw).id == "walker.pedestrian.0001"
    assert state.choose_blueprint("static.prop.unknown", draw).id == "static.prop.streetbarrier"
    bicycle = state.choose_blueprint("vehicle.unknown.bike", draw, attributes={"base_type": "bicycle"})
    assert bicycle.id == "vehicle.diamondback.century"
