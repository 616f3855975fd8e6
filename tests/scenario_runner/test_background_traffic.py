"""Laws of the background traffic, on a real map with kinematic cars in place of the Traffic Manager's."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.route_context import RouteContext
from srunner.scenariomanager.timer import GameTime
from srunner.traffic.background import BackgroundBehavior, BackgroundTraffic
from srunner.traffic.fleet import Car, Duty
from srunner.traffic.requests import JunctionRequest, TrafficRequests
from tests.scenario_runner.drives import ROOT, Case, case_of, load_map
from tests.scenario_runner.kinematic_world import KinematicTrafficManager, KinematicWorld, ScriptedEgo

DEMO = str(ROOT / "data" / "routes" / "demo_collect.xml")


class TrafficDrive:
    """An ego on a route with background traffic and no scenario."""

    def __init__(self, case: Case, seed: int = 1) -> None:
        GameTime.restart()
        self.route = case.route
        self.world = KinematicWorld(load_map(case.town))
        CarlaDataProvider.set_client(None)
        CarlaDataProvider.set_world(self.world)
        self.ego = ScriptedEgo(self.world, self.route)
        manager = KinematicTrafficManager(self.world)
        self.context = RouteContext(None, self.world, self.ego.actor, self.route, traffic_manager=manager, seed=seed)
        self.node = BackgroundBehavior(self.context)
        self.traffic: BackgroundTraffic = self.node.traffic

    def run(self, seconds: float, speed: float = 0.0) -> None:
        for _ in range(round(seconds / 0.05)):
            GameTime.on_carla_tick(self.world.tick())
            CarlaDataProvider.on_carla_tick()
            self.node.tick_once()
            self.ego.drive(speed)

    def cars(self, *duties: Duty) -> list[Car]:
        return self.traffic.fleet.of(*duties)

    def close(self) -> None:
        self.context.release()


@pytest.fixture
def drive():
    """A straight road with a signalised junction at its end."""
    drive = TrafficDrive(case_of(DEMO, "SignalizedJunctionLeftTurn"))
    yield drive
    drive.close()


@pytest.fixture
def street():
    """A longer way without a scenario."""
    drive = TrafficDrive(case_of(DEMO, "HardBreakRoute"))
    yield drive
    drive.close()


def test_traffic_needs_a_manager(drive):
    drive.context.traffic_manager = None
    with pytest.raises(ValueError, match="Traffic Manager"):
        BackgroundTraffic(drive.context)


def test_every_lane_has_at_most_two_cars_ahead_and_two_behind(street):
    for _ in range(12):
        street.run(1.0, 8.0)
        if street.traffic.junctions.is_active:
            continue
        for lane in street.traffic.frame.lanes(street.traffic.frame.index):
            assert len(street.traffic.front_cars(lane)) <= 2
            assert len(street.traffic.front_cars(lane)) + len(street.traffic.back_cars(lane)) <= 4


def test_all_cars_have_the_background_role(street):
    street.run(3.0, 8.0)
    cars = [a for a in street.world.actors.values() if a is not street.ego.actor]
    assert len(cars) >= 3
    assert {car.attributes["role_name"] for car in cars} == {"background"}
    assert {car.attributes["base_type"] for car in cars} == {"car"}


@pytest.mark.parametrize("speed", [0.0, 10.0])
def test_speed_law_at_the_radii(street, speed):
    """Cars ahead drive at 100 % of the limit up to 30 + 1.7 v metres, at 0 % from 45 + 1.7 v on; cars behind catch up."""
    street.run(0.1)
    traffic = street.traffic
    traffic.speed = speed
    car = street.cars(Duty.ROAD)[0]

    def share(gap: float) -> float:
        car.place = type(car.place)(traffic.along + gap, 0.0, 0, 0)
        return traffic.road_share(car)

    growth = 1.7 * speed
    assert share(30 + growth - 0.1) == 1.0
    assert share(37.5 + growth) == pytest.approx(0.5)
    assert share(45 + growth) == 0.0
    assert share(-7.5) == pytest.approx(1.5)
    assert share(-100.0) == 2.0


def test_speeds_are_capped(street):
    street.context.traffic.of(7).speed_cap_kmh = 20.0
    street.run(0.5)
    assert max(street.world.desired.values()) <= 20.0
    street.context.traffic.release(7)
    street.run(0.5)
    assert max(street.world.desired.values()) > 20.0
    assert max(street.world.desired.values()) <= 90.0


def test_oncoming_cars_come_forty_metres_apart(street):
    street.run(6.0, 8.0)
    oncoming = street.cars(Duty.OPPOSITE)
    assert len(oncoming) >= 2
    by_lane: dict[int, list[float]] = {}
    for car in oncoming:
        waypoint = street.context.map.get_waypoint(car.location)
        by_lane.setdefault(waypoint.lane_id, []).append(car.place.along)
    for places in by_lane.values():
        places.sort()
        assert all(b - a > 25.0 for a, b in pairwise(places))


def test_no_oncoming_cars_while_switched_off(street):
    street.context.traffic.of(1).opposite_off = True
    street.run(6.0, 8.0)
    assert street.cars(Duty.OPPOSITE) == []
    street.context.traffic.release(1)
    street.run(3.0, 8.0)
    assert street.cars(Duty.OPPOSITE) != []


def test_front_cars_stop_and_go_on(street):
    street.run(2.0, 5.0)
    wishes = street.context.traffic.of(1)
    wishes.front_stopped = True
    street.run(4.0)
    ahead = [car for car in street.cars(Duty.ROAD) if street.traffic.gap(car) > 0]
    assert ahead
    assert all(car.actor.speed() < 0.1 for car in ahead)
    assert all(car.actor.lights for car in ahead), "brake lights show why the ego has to stop"
    street.context.traffic.release(1)
    street.run(2.0)
    assert any(street.world.desired[car.actor.id] > 5.0 for car in ahead)


def test_space_is_left_in_front_once(street):
    street.run(0.2)
    lane = 0
    before = street.traffic.front_cars(lane)
    assert street.traffic.gap(before[0]) < 40
    street.context.traffic.of(1).front_space = 60.0
    street.run(0.1)
    front = street.traffic.front_cars(lane)
    assert front == [] or street.traffic.gap(front[0]) == pytest.approx(60.0, abs=2.0)
    assert street.context.traffic.of(1).front_space == 0.0


def test_removed_lane_is_empty_until_given_back(street):
    street.run(1.0, 5.0)
    lane = street.traffic.frame.waypoint(street.traffic.frame.index)
    street.context.traffic.of(1).removed_lanes.append(lane)
    street.run(3.0, 5.0)
    assert street.traffic.front_cars(0) + street.traffic.back_cars(0) == []
    street.context.traffic.release(1)
    street.run(0.2, 5.0)
    assert street.traffic.front_cars(0) + street.traffic.back_cars(0) != []


def test_junction_gets_cross_traffic_that_leaves_with_the_ego(drive):
    assert drive.traffic.frame.junctions
    drive.run(9.0, 8.0)
    assert drive.traffic.junctions.is_active
    crossing = drive.cars(Duty.ENTRY, Duty.MIDDLE, Duty.EXIT)
    assert crossing
    per_source = Counter(id(car.source) for car in crossing)
    assert max(per_source.values()) <= 6


def test_prepared_junction_is_empty_on_the_egos_way(drive):
    junction = drive.traffic.frame.junctions[0]
    request = JunctionRequest(
        clear_junction=True, clear_entry=True, remove_entries=junction.entries, remove_exits=junction.exits
    )
    drive.context.traffic.of(1).junction = request
    drive.run(8.0, 8.0)
    for car in drive.traffic.fleet.cars:
        ahead = drive.traffic.gap(car) > 0 and car.place.along < junction.end and abs(car.place.right) < 2.0
        assert not (car.duty is Duty.ROAD and ahead)
    assert drive.cars(Duty.ENTRY, Duty.MIDDLE) == []


def test_stopped_entries_wait(drive):
    drive.context.traffic.of(1).junction = JunctionRequest(stop_entries=True)
    drive.run(9.0, 8.0)
    waiting = drive.cars(Duty.ENTRY)
    assert waiting
    assert all(drive.world.desired[car.actor.id] < 0.2 for car in waiting)


def test_cars_the_manager_removed_are_forgotten(street):
    street.run(1.0, 5.0)
    gone = street.cars(Duty.ROAD)[0]
    gone.actor.destroy()
    street.run(0.1, 5.0)
    assert gone not in street.traffic.fleet.cars


def test_release_removes_everything(street):
    street.run(5.0, 8.0)
    street.close()
    assert list(street.world.actors.values()) == [street.ego.actor]


def test_equal_seeds_make_equal_traffic():
    def history(seed):
        drive = TrafficDrive(case_of(DEMO, "HardBreakRoute"), seed)
        drive.run(6.0, 8.0)
        found = [
            (a.type_id, round(a.pose.location.x, 4), round(a.pose.location.y, 4)) for a in drive.world.actors.values()
        ]
        drive.close()
        return found

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_requests_of_several_owners_combine():
    requests = TrafficRequests()
    requests.of(1).speed_cap_kmh, requests.of(2).speed_cap_kmh = 50.0, 30.0
    requests.of(1).opposite_off = True
    requests.of(2).extra_space, requests.of(1).extra_space = 30.0, 20.0
    requests.of(1).front_space, requests.of(2).front_space = 56.0, 10.0
    assert requests.speed_cap_kmh == 30.0
    assert not requests.opposite_active
    assert requests.extra_space == 30.0
    assert requests.take_front_space() == 56.0
    assert requests.take_front_space() == 0.0
    requests.release(2)
    assert requests.speed_cap_kmh == 50.0
    assert not requests.opposite_active
    requests.release(1)
    requests.release(1)
    assert requests.speed_cap_kmh is None
    assert requests.opposite_active
    assert requests.extra_space == 0.0
