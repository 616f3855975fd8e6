"""Laws of the smallest steps: flows, driving, lights, noise, walking, conditions."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace

import carla
import numpy as np
import pytest
from py_trees.common import Status

from srunner.agents.path_agent import AgentOptions, PathAgent, lane_change_path, path_of
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics import atomic_trigger_conditions as conditions
from srunner.scenariomanager.scenarioatomics.flows import Flow, FlowRule
from srunner.scenariomanager.timer import GameTime
from srunner.scenariomanager.world_state import WorldState
from srunner.tools.places import path_ahead, shifted
from tests.scenario_runner.drives import load_map
from tests.scenario_runner.kinematic_world import Actor, Blueprint, KinematicWorld, Light

ENFORCED = AgentOptions(ignore_vehicles=True, ignore_lights=True, constant_velocity=True)


class Lane:
    """A world with one long lane of Mini01."""

    def __init__(self) -> None:
        GameTime.restart()
        blackboard.clear()
        road_map = load_map("Mini01")
        self.world = KinematicWorld(road_map)
        self.state = WorldState(None, self.world)
        starts = [a for a, b in road_map.get_topology() if not a.is_junction and len(a.next_until_lane_end(1.0)) > 85]
        self.start = starts[0]
        self.route = path_ahead(self.start, 84.0, 2.0)

    def tick(self) -> None:
        GameTime.on_carla_tick(self.world.tick())
        self.state.on_tick()

    def car(self, along: float, model: str = "vehicle.tesla.model3") -> Actor:
        actor = self.state.try_spawn(Blueprint(model), self.start.next(along)[0].transform)
        assert actor is not None
        return actor

    def run(self, behaviour, seconds: float) -> Status:
        for _ in range(round(seconds / 0.05)):
            self.tick()
            behaviour.tick_once()
            if behaviour.status is not Status.RUNNING:
                break
        return behaviour.status


@pytest.fixture
def lane():
    return Lane()


def test_flow_keeps_its_gaps_and_removes_arrived_cars(lane):
    flow = Flow(lane.state, lane.route, FlowRule(10.0, (20.0, 30.0), options=ENFORCED), random.Random(1))
    gaps, most = [], 0
    last_seen: dict[int, carla.Location] = {}
    for _ in range(400):
        lane.tick()
        flow.tick_once()
        last_seen |= {car.id: car.get_location() for car in flow.vehicles}
        places = sorted(lane.start.transform.location.distance(car.get_location()) for car in flow.vehicles)
        gaps += [b - a for a, b in pairwise(places)]
        most = max(most, len(places))
    assert min(gaps) > 19.0
    assert max(gaps) < 32.0
    assert most <= 5
    sink = lane.route[-1].transform.location
    arrived = [place for id_, place in last_seen.items() if id_ not in {car.id for car in flow.vehicles}]
    assert len(arrived) > 3
    assert all(place.distance(sink) < 3.0 for place in arrived), "they drive all the way"
    flow.stop(Status.INVALID)
    assert lane.world.actors == {}


def test_prefilled_flow_is_under_way_at_once(lane):
    flow = Flow(lane.state, lane.route, FlowRule(10.0, (20.0, 20.0), prefill=True, options=ENFORCED), random.Random(1))
    lane.tick()
    flow.tick_once()
    assert len(flow.vehicles) >= 3


def test_collision_makes_the_whole_flow_drive_normally(lane):
    flow = Flow(lane.state, lane.route, FlowRule(10.0, (20.0, 20.0), prefill=True, options=ENFORCED), random.Random(1))
    lane.run(flow, 0.5)
    assert all(car.constant == 10.0 for car in flow.vehicles)
    victim = flow.vehicles[0]
    obstacle = lane.state.try_spawn(Blueprint("vehicle.mini.cooper_s"), shifted(victim.pose, forward=8.0))
    assert obstacle is not None
    lane.run(flow, 1.5)
    assert all(car.constant is None for car in flow.vehicles)


def test_agent_reaches_the_end_of_its_path(lane):
    car = lane.car(0.5)
    drive = steps.DrivePath(lane.state, car, lambda: path_of(lane.route), 8.0)
    asides = []
    while lane.run(drive, 0.05) is Status.RUNNING and lane.world.frame < 600:
        here = car.get_location()
        asides.append(lane.world.map.get_waypoint(here).transform.location.distance(here))
    assert drive.status is Status.SUCCESS
    assert car.get_location().distance(lane.route[-1].transform.location) < 1.5
    assert max(asides) < 0.4


def test_agent_drives_at_the_asked_offset(lane):
    car = lane.car(0.5)
    drive = steps.DrivePath(lane.state, car, lambda: path_of(lane.route, 1.0), 8.0)
    lane.run(drive, 6.0)
    waypoint = lane.world.map.get_waypoint(car.get_location())
    assert waypoint.transform.location.distance(car.get_location()) == pytest.approx(1.0, abs=0.35)


def test_agent_stops_behind_a_standing_car_and_not_for_one_beside(lane):
    car, obstacle = lane.car(0.5), lane.car(40.0)
    agent = PathAgent(lane.state, car, path_of(lane.route), 8.0)
    for _ in range(200):
        lane.tick()
        agent.step()
    gap = obstacle.get_location().distance(car.get_location())
    assert 4.5 < gap < 14.0
    assert car.speed() < 0.1
    obstacle.pose = shifted(obstacle.pose, right=5.0)
    for _ in range(60):
        lane.tick()
        agent.step()
    assert car.speed() > 2.0


def test_agent_does_not_stop_for_oncoming_cars_on_a_bend():
    """On every bend of the town, a car that stands in the oncoming lane does not stop an agent on its own lane."""
    road_map = load_map("Mini01")
    bends = 0
    places = [(lane, gap) for lane in road_map.generate_waypoints(2.0) for gap in (12.0, 15.0, 18.0, 22.0)]
    for lane, gap in places:
        ahead, left = lane.next(gap), lane.get_left_lane()
        oncoming = ahead[0].get_left_lane() if ahead else None
        if oncoming is None or left is None or lane.is_junction or ahead[0].is_junction:
            continue
        turned = abs((ahead[0].transform.rotation.yaw - lane.transform.rotation.yaw + 180.0) % 360.0 - 180.0)
        if oncoming.lane_id * lane.lane_id > 0 or turned < 60.0:
            continue
        bends += 1
        world = KinematicWorld(road_map)
        state = WorldState(None, world)
        car = state.try_spawn(Blueprint("vehicle.tesla.model3"), lane.transform)
        state.try_spawn(Blueprint("vehicle.tesla.model3"), oncoming.transform)
        agent = PathAgent(
            state,
            car,
            path_of(path_ahead(lane, 60.0, 2.0)),
            10.0,
            AgentOptions(base_threshold=10.0, threshold_per_mps=1.6),
        )
        for _ in range(60):
            GameTime.on_carla_tick(world.tick())
            state.on_tick()
            agent.step()
        assert car.speed() > 3.0
    assert bends >= 1


def test_path_needs_two_points(lane):
    with pytest.raises(ValueError, match="at least two points, got 1"):
        PathAgent(lane.state, lane.car(1.0), np.zeros((1, 2)), 5.0)


def test_lane_change_at_standstill_is_as_short_as_it_can_be():
    road_map = load_map("Mini01")
    right = next(
        w for w in road_map.generate_waypoints(10.0)
        if not w.is_junction and (left := w.get_left_lane()) is not None and left.lane_id * w.lane_id > 0
        and left.lane_type == carla.LaneType.Driving and len(w.next_until_lane_end(1.0)) > 40
    )  # fmt: skip
    standing = lane_change_path(right, "left", 0.0, (0.3, 2.0, 3.0))
    moving = lane_change_path(right, "left", 8.0, (0.3, 2.0, 3.0))

    def length(path):
        return float(np.hypot(*np.diff(path, axis=0).T).sum())

    assert length(standing) < 12.0 < length(moving)
    width = right.get_left_lane().transform.location.distance(right.transform.location)
    offset = moving[-1] - np.array([right.transform.location.x, right.transform.location.y])
    heading = right.transform.get_forward_vector()
    assert abs(heading.x * offset[1] - heading.y * offset[0]) == pytest.approx(width, abs=0.4)


def test_frozen_lights_are_put_back(lane):
    light = Light(1, lane.start)
    light.times = {"green": 9.0, "yellow": 2.0, "red": 7.0}
    light.set_state(carla.TrafficLightState.Yellow)
    freeze = steps.FreezeLights([(light, carla.TrafficLightState.Green)], 1.0)
    assert lane.run(freeze, 0.9) is Status.RUNNING
    assert light.state is carla.TrafficLightState.Green
    assert min(light.times.values()) > 1.0
    assert lane.run(freeze, 1.0) is Status.SUCCESS
    assert light.state == carla.TrafficLightState.Yellow
    assert light.times == {"green": 9.0, "yellow": 2.0, "red": 7.0}
    states = list(light.frozen_at)
    freeze.stop(Status.INVALID)
    assert light.frozen_at == states, "ending it twice changes nothing"


def test_noise_disturbs_the_last_control_within_limits(lane):
    applied: list[carla.VehicleControl] = []
    ego = SimpleNamespace(apply_control=applied.append)
    noise = steps.ControlNoise(ego, np.random.default_rng(0), (0.03, 0.01), (-0.055, 0.015))
    noise.tick_once()
    assert applied == [], "without a control there is nothing to disturb"
    blackboard.set(blackboard.CONTROL, carla.VehicleControl(throttle=0.5, steer=-0.2, brake=0.1))
    for _ in range(300):
        noise.tick_once()
    throttle = np.array([control.throttle for control in applied])
    steer = np.array([control.steer for control in applied])
    assert throttle.mean() == pytest.approx(0.53, abs=0.005)
    assert steer.mean() == pytest.approx(-0.255, abs=0.005)
    assert {round(control.brake, 3) for control in applied} == {0.1}
    blackboard.set(blackboard.CONTROL, carla.VehicleControl(throttle=1.0, steer=-1.0))
    for _ in range(50):
        noise.tick_once()
    assert all(control.throttle <= 1.0 and control.steer >= -1.0 for control in applied)


def test_walker_walks_straight_the_asked_distance(lane):
    walker = lane.state.try_spawn(Blueprint("walker.pedestrian.0001"), lane.start.transform)
    start = walker.get_location()
    walk = steps.WalkAhead(lane.state, walker, 2.0, 8.0, 60.0)
    assert lane.run(walk, 10.0) is Status.SUCCESS
    assert walker.get_location().distance(start) == pytest.approx(8.0, abs=0.3)


def test_steps_survive_actors_that_are_gone(lane):
    car = lane.car(10.0)
    car.destroy()
    poses = [(car, lane.start.transform)]
    for step in (
        steps.Reveal(lane.state, poses),
        steps.DrivePath(lane.state, car, lambda: path_of(lane.route), 5.0),
        steps.ForceAhead(lane.state, car, 2.0, 5.0, 5.0),
    ):
        assert lane.run(step, 1.0) is Status.SUCCESS


def test_time_to_place_counts_time_or_distance(lane):
    car = lane.car(0.5)
    place = lane.start.next(41.0)[0].transform.location
    due = conditions.time_to(lane.state, car, place, 2.0, 6.0)
    assert lane.run(due, 0.2) is Status.RUNNING, "a standing car never arrives"
    car.enable_constant_velocity(carla.Vector3D(10.0, 0.0, 0.0))
    assert lane.run(due, 5.0) is Status.SUCCESS
    assert car.get_location().distance(place) == pytest.approx(20.0, abs=1.0)


def test_driven_distance_starts_when_the_step_begins(lane):
    car = lane.car(0.5)
    car.enable_constant_velocity(carla.Vector3D(10.0, 0.0, 0.0))
    for _ in range(40):
        lane.tick()
    begun = car.get_location()
    drove = conditions.Drove(lane.state, car, 15.0)
    assert lane.run(drove, 5.0) is Status.SUCCESS
    assert car.get_location().distance(begun) == pytest.approx(15.5, abs=1.1)


def test_game_time_ignores_what_was_before_the_restart():
    GameTime.restart()
    GameTime.on_carla_tick(SimpleNamespace(frame=500, delta_seconds=0.05, elapsed_seconds=25.0))
    assert GameTime.get_time() == pytest.approx(0.05)
    GameTime.on_carla_tick(SimpleNamespace(frame=503, delta_seconds=0.05, elapsed_seconds=25.15))
    assert GameTime.get_time() == pytest.approx(0.2)
    GameTime.on_carla_tick(SimpleNamespace(frame=502, delta_seconds=0.05, elapsed_seconds=25.1))
    assert GameTime.get_time() == pytest.approx(0.2)
    assert GameTime.get_frame() == 503
