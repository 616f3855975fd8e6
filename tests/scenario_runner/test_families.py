"""What each of the 46 scenario types does: who stands where, who moves when, how it ends. One place per type on our own towns."""

from __future__ import annotations

import math
from itertools import pairwise

import carla
import pytest
from py_trees.common import Status

from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.route_context import Fidelity
from srunner.scenariomanager.scenario_info import ScenarioPhase
from srunner.scenariomanager.traffic_events import TrafficEventType
from srunner.scenarios import registry
from srunner.tools.places import ahead_of, flat_distance, yaw_difference_deg
from tests.scenario_runner.drives import ROOT, Case, Drive, case_of
from tests.scenario_runner.kinematic_world import Actor

ROUTES = str(ROOT / "data" / "routes" / "embedded220.xml")
BORROWED = {"EnterActorFlowV2": "EnterActorFlow", "PriorityAtJunction": "SignalizedJunctionLeftTurn"}
"""Types without a place of their own in the file, and the type whose place fits."""

BELOW = -20.0
"""Heights below this are hidden, metres."""


def place(name: str) -> Case:
    """The first place of a type."""
    case = case_of(ROUTES, BORROWED.get(name, name))
    return case.with_type(name) if name in BORROWED else case


@pytest.fixture
def drive_of():
    """Makes drives that are closed after the test."""
    drives: list[Drive] = []

    def make(name: str, **options) -> Drive:
        drives.append(Drive(place(name), **options))
        return drives[-1]

    yield make
    for drive in drives:
        drive.close()


def number(drive: Drive, name: str, default: float = 0.0) -> float:
    """A scalar parameter of the place."""
    return float(drive.case.config.other_parameters.get(name, {}).get("value", default))


def lane_offset(drive: Drive, actor: Actor) -> float:
    """Metres to the right of the nearest route point's heading."""
    pose = min((t for t, _ in drive.route), key=lambda t: flat_distance(t.location, actor.pose.location))
    right = pose.get_right_vector()
    return (actor.pose.location.x - pose.location.x) * right.x + (actor.pose.location.y - pose.location.y) * right.y


def along(drive: Drive, actor: Actor) -> float:
    """Route metres from the trigger to an actor."""
    places = [t.location for t, _ in drive.route]
    at = min(range(len(places)), key=lambda i: flat_distance(places[i], actor.pose.location))
    trigger = drive.case.config.trigger_points[0].location
    start = min(range(len(places)), key=lambda i: flat_distance(places[i], trigger))
    low, high = sorted((at, start))
    way = sum(flat_distance(a, b) for a, b in zip(places[low:high], places[low + 1 : high + 1]))
    return math.copysign(way, at - start)


@pytest.mark.parametrize("name", sorted(registry.TYPES))
def test_every_type_lives_and_leaves_nothing(drive_of, name):
    """Built, triggered, driven through at 8 m/s: no step fails, and afterwards nothing is left and everything restored."""
    drive = drive_of(name)
    lights = {light.id: (light.state, dict(light.times)) for lights in drive.world.lights.values() for light in lights}
    info = drive.scenario.info()
    assert info.type == name
    assert all(actor.is_alive for actor in info.actors.values())
    drive.until(lambda d: d.ego.finished or d.scenario.phase is ScenarioPhase.ENDED, 90.0)
    assert drive.scenario.phase is not ScenarioPhase.BUILT, "the trigger was not reached"
    assert drive.scenario.failure == ""
    drive.close()
    assert drive.left_over() == []
    assert drive.context.traffic.holders == {}
    assert CarlaDataProvider.get_scenario_infos() == []
    for switch in (blackboard.WRONG_DIRECTION_SWITCH, blackboard.BLOCKED_SWITCH):
        assert blackboard.get(switch) in (None, True)
    for id_, (state, times) in lights.items():
        light = next(found for lights in drive.world.lights.values() for found in lights if found.id == id_)
        assert (light.state, light.times) == (state, times)


# ---- A: obstacles ---------------------------------------------------------------------------------------------------


STANDING = {
    "Accident": ("police", 36),
    "AccidentTwoWays": ("police", 36),
    "ParkedObstacle": ("car", 20),
    "ParkedObstacleTwoWays": ("car", 20),
}


@pytest.mark.parametrize(("name", "first", "space"), [(name, *row) for name, row in STANDING.items()])
def test_standing_cars_block_the_lane(drive_of, name, first, space):
    drive = drive_of(name)
    distance = number(drive, "distance")
    assert along(drive, drive.actor(first)) == pytest.approx(distance, abs=2.0)
    assert 0.5 < lane_offset(drive, drive.actor(first)) < 1.75, "right half of the lane"
    assert drive.actor("sign").attributes["role_name"] == "prop"
    assert lane_offset(drive, drive.actor("sign")) > 2.0, "the sign stands beside the road"
    drive.until_active()
    assert drive.context.traffic.of(drive.scenario.id).front_space == distance + space
    assert drive.until_ended()


def test_accident_has_three_cars(drive_of):
    drive = drive_of("Accident")
    police, crash_1, crash_2 = (drive.actor(part) for part in ("police", "crash_1", "crash_2"))
    assert police.type_id == "vehicle.dodge.charger_police_2020"
    assert police.lights == int(carla.VehicleLightState.Special1) | int(carla.VehicleLightState.Special2) | int(
        carla.VehicleLightState.Position
    )
    assert along(drive, crash_1) - along(drive, police) == pytest.approx(10.0, abs=1.5)
    assert along(drive, crash_2) - along(drive, crash_1) == pytest.approx(6.0, abs=1.5)
    assert crash_1.attributes["role_name"] == "scenario no lights"


def test_waiting_ego_slows_the_side_traffic(drive_of):
    """Five seconds after the ego has come near, side traffic is capped; without getting near it is not."""
    drive = drive_of("ParkedObstacle", speed=lambda d: 8.0 if d.ego_index < 50 else 0.0)
    drive.until_active()
    drive.run(3.0)
    assert drive.context.traffic.speed_cap_kmh is None
    drive.run(4.0)
    assert drive.context.traffic.speed_cap_kmh == number(drive, "speed")


@pytest.mark.parametrize("name", ["AccidentTwoWays", "ParkedObstacleTwoWays", "ConstructionObstacleTwoWays"])
def test_waiting_ego_gets_an_oncoming_stream_with_gaps(drive_of, name):
    drive = drive_of(name, speed=lambda d: 8.0 if d.ego_index < 45 else 0.0)
    drive.until_active()
    assert drive.context.traffic.opposite_active
    before = set(drive.world.actors)
    drive.run(12.0)
    assert not drive.context.traffic.opposite_active
    assert blackboard.get(blackboard.WRONG_DIRECTION_SWITCH) is False
    stream = [actor for id_, actor in drive.world.actors.items() if id_ not in before]
    assert stream
    for car in stream:
        pose = min((t for t, _ in drive.route), key=lambda t: flat_distance(t.location, car.pose.location))
        assert abs(yaw_difference_deg(car.pose, pose)) > 150, "it comes towards the ego"
        assert lane_offset(drive, car) < -2.0, "on the oncoming lane"


def test_construction_grows_after_the_trigger(drive_of):
    drive = drive_of("ConstructionObstacle")
    props = [actor for part, actor in drive.scenario.actors.items() if part != "sign"]
    assert len(props) == 9
    assert all(prop.pose.location.z < BELOW for prop in props)
    drive.until_active()
    drive.run(1.5)
    assert all(prop.pose.location.z > BELOW for prop in props)
    cones = [drive.actor(f"cone_{i}") for i in range(7)]
    assert lane_offset(drive, cones[0]) < -1.0, "the row of cones stands at the open side"
    assert lane_offset(drive, cones[6]) > lane_offset(drive, cones[3])
    assert drive.context.traffic.removed_lanes
    assert drive.until_ended()
    assert not drive.context.traffic.removed_lanes


def test_door_opens_when_the_ego_comes(drive_of):
    drive = drive_of("VehicleOpensDoorTwoWays")
    car = drive.actor("car")
    assert car.attributes["has_dynamic_doors"] == "true"
    assert drive.until(lambda d: bool(car.doors))
    assert car.doors == [carla.VehicleDoor.FL]
    way = flat_distance(car.pose.location, drive.ego.actor.pose.location)
    assert way < 3.0 * 8.0 + 3.0
    assert drive.context.traffic.back_stopped


def test_door_stream_lane_is_a_choice(drive_of):
    """The original lets the stream run on the ego's lane; the switch puts it on the oncoming one."""
    offsets = {}
    for oncoming in (False, True):
        drive = drive_of(
            "VehicleOpensDoorTwoWays", speed=lambda d: 8.0 if d.ego_index < 58 else 0.0,
            fidelity=Fidelity(door_flow_oncoming=oncoming),
        )  # fmt: skip
        before = set(drive.world.actors)
        drive.until_active()
        drive.run(14.0)
        offsets[oncoming] = [lane_offset(drive, a) for id_, a in drive.world.actors.items() if id_ not in before]
        drive.close()
    assert offsets[False]
    assert all(abs(offset) < 1.5 for offset in offsets[False])
    assert offsets[True]
    assert all(offset < -2.0 for offset in offsets[True])


# ---- B, C, D: moving hazards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HazardAtSideLane", "HazardAtSideLaneTwoWays"])
def test_bicycles_ride_slowly_at_the_right(drive_of, name):
    drive = drive_of(name, speed=5.0)
    riders = [drive.actor("bicycle_0"), drive.actor("bicycle_1")]
    assert {rider.attributes["base_type"] for rider in riders} == {"bicycle"}
    assert along(drive, riders[0]) == pytest.approx(number(drive, "distance"), abs=2.0)
    assert along(drive, riders[1]) - along(drive, riders[0]) == pytest.approx(9.0, abs=1.5)
    drive.until_active()
    assert all(rider.speed() == 0.0 for rider in riders)
    drive.run(4.0)
    for rider in riders:
        assert rider.speed() == pytest.approx(number(drive, "bicycle_speed") / 3.6, rel=0.35)
        assert 0.3 < lane_offset(drive, rider) < 1.8
    assert drive.context.traffic.extra_space == 30.0
    drive.run(5.0)
    if name.endswith("TwoWays"):
        assert drive.context.traffic.opposite_spacing == number(drive, "frequency")
        assert blackboard.get(blackboard.WRONG_DIRECTION_SWITCH) is False
    else:
        assert drive.context.traffic.speed_cap_kmh == number(drive, "speed")


def test_invading_traffic_uses_the_egos_lane(drive_of):
    drive = drive_of("InvadingTurn")
    drive.until_active()
    drive.run(0.5)
    cones = [actor for part, actor in drive.scenario.actors.items() if part.startswith("cone")]
    assert all(cone.pose.location.z > BELOW for cone in cones)
    info = drive.scenario.info()
    assert along(drive, info.first_actor) < along(drive, info.last_actor), (
        "the first cone is the one nearest to the ego"
    )
    assert info.numbers["offset"] < 0
    assert not drive.context.traffic.opposite_active
    assert drive.vehicles()
    sides = []
    while drive.scenario.phase is ScenarioPhase.ACTIVE and not drive.ego.finished:
        drive.tick()
        sides += [lane_offset(drive, car) for car in drive.vehicles() if car.speed() > 2.0]
    width = drive.scenario.context.map.get_waypoint(drive.route[0][0].location).lane_width
    assert max(sides) > -width / 2 - 0.95 - 0.3, "its right flank reaches into the ego's lane"


def test_emergency_vehicle_comes_from_behind(drive_of):
    drive = drive_of("YieldToEmergencyVehicle", speed=6.0)
    emergency = drive.actor("emergency")
    assert emergency.pose.location.z < -400
    assert emergency.lights
    drive.until_active()
    drive.run(1.0)
    assert emergency.pose.location.z > BELOW
    assert ahead_of(drive.ego.actor.pose, emergency.pose.location) < 0
    drive.run(1.5)
    assert 10.0 < flat_distance(emergency.pose.location, drive.ego.actor.pose.location) < 45.0, (
        "it presses, it does not ram"
    )
    assert emergency.speed() > 5.5
    assert [criterion.name for criterion in drive.scenario.criteria] == ["YieldToEmergencyVehicleTest"]
    assert drive.until_ended(30.0), "it ends at the latest ten seconds after it came within 50 m"


def judge(drive: Drive) -> list[TrafficEventType]:
    """Drive to the end of the scenario with its criteria running, as the route's tree does; the events they leave."""
    while drive.scenario.phase is ScenarioPhase.ACTIVE and not drive.ego.finished:
        drive.tick()
        for criterion in drive.scenario.criteria:
            criterion.tick_once()
    for criterion in drive.scenario.criteria:
        criterion.stop(Status.INVALID)
    return [event.type for criterion in drive.scenario.criteria for event in criterion.events]


def test_staying_ahead_of_the_emergency_vehicle_is_an_infraction(drive_of):
    drive = drive_of("YieldToEmergencyVehicle", speed=6.0)
    drive.until_active()
    assert judge(drive) == [TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE]


@pytest.mark.parametrize("name", ["AccidentTwoWays", "BlockedIntersection", "SignalizedJunctionRightTurn"])
def test_passing_in_time_is_no_infraction(drive_of, name):
    drive = drive_of(name)
    drive.until_active()
    assert judge(drive) == []


def test_waiting_for_ever_times_the_scenario_out(drive_of):
    drive = drive_of("NonSignalizedJunctionRightTurn", speed=lambda d: 8.0 if d.ego_index < 28 else 0.0)
    drive.until_active()
    assert judge(drive) == [TrafficEventType.SCENARIO_TIMEOUT]


# ---- E: crossing actors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part", "speed", "earliest"),
    [
        ("DynamicObjectCrossing", "walker", 2.0, 2.5),
        ("ParkingCrossingPedestrian", "walker", 2.0, 2.6),
        ("VehicleTurningRoute", "bicycle", 1.8, 1.9),
        ("VehicleTurningRoutePedestrian", "walker", 1.8, 2.3),
        ("PedestrianCrossing", "walker_0", 1.65, 3.6),
    ],
)
def test_crossing_starts_when_the_ego_is_near_and_goes_across(drive_of, name, part, speed, earliest):
    drive = drive_of(name)
    actor = drive.actor(part)
    drive.until_active()
    drive.run(0.2)
    start = carla.Location(actor.pose.location)
    assert start.z > BELOW
    assert drive.until(lambda d: actor.speed() > 0.5, 40.0)
    conflict = drive.scenario.info().places["conflict"].location
    way = drive.ego.actor.pose.location.distance(conflict)
    assert way < max(8.0 * (earliest + 0.2), 13.0)
    assert actor.speed() == pytest.approx(speed, abs=0.4)
    sides = []
    end = drive.time + 30.0
    while actor.is_alive and drive.time < end:
        sides.append(lane_offset(drive, actor))
        drive.tick()
    assert min(sides) < 0.5 < max(sides) or (min(sides) < -0.5 < max(sides)), "it comes across the ego's lane"
    assert not actor.is_alive, "it is removed after crossing"


def test_walkers_wait_below_the_ego(drive_of):
    drive = drive_of("DynamicObjectCrossing")
    drive.run(1.0)
    walker = drive.actor("walker")
    assert flat_distance(walker.pose.location, drive.ego.actor.pose.location) < 40.0
    assert walker.pose.location.z < BELOW
    assert not walker.physics


def test_blocker_hides_the_walker(drive_of):
    drive = drive_of("DynamicObjectCrossing")
    blocker = drive.scenario.poses["blocker"].location
    walker = drive.scenario.poses["walker"].location
    assert blocker.distance(walker) < 5.0
    ego = drive.route[0][0].location
    assert flat_distance(ego, blocker) < flat_distance(ego, walker), "the walker stands behind the object"


# ---- F, G, H: junctions ---------------------------------------------------------------------------------------------

FLOWS = [name for name in registry.TYPES if "JunctionLeftTurn" in name or "JunctionRightTurn" in name]


@pytest.mark.parametrize("name", FLOWS)
def test_a_stream_crosses_the_egos_turn(drive_of, name):
    def waits_at_junction(drive):
        entry = drive.scenario.info().places["entry"]
        return 8.0 if ahead_of(drive.ego.actor.pose, entry.location) > 6.0 else 0.0

    drive = drive_of(name, speed=waits_at_junction)
    drive.until_active()
    drive.run(25.0)
    speeds = [car.speed() for car in drive.vehicles()]
    assert len(speeds) >= 2
    flow = number(drive, "flow_speed", 20.0)
    assert max(speeds) == pytest.approx(flow, abs=0.2)
    assert min(speeds) > 0.5 * flow, "cars of the stream slow down in bends only"
    request = drive.context.traffic.of(drive.scenario.id).junction
    assert request is not None
    assert request.clear_junction
    assert request.clear_entry
    assert request.stop_entries == name.startswith("Non")
    assert drive.context.traffic.opposite_active == ("Right" in name)


@pytest.mark.parametrize(
    "name", ["SignalizedJunctionLeftTurn", "SignalizedJunctionRightTurn", "VanillaSignalizedTurnEncounterRedLight"]
)
def test_ego_waits_five_seconds_at_red(drive_of, name):
    drive = drive_of(name, speed=lambda d: 8.0 if d.ego_index < 30 else 0.0)
    drive.until_active()
    drive.run(0.5)
    (lights,) = drive.world.lights.values()
    red = {light.id for light in lights if light.state is carla.TrafficLightState.Red}
    drive.run(6.0)
    green = {light.id for light in lights if light.state is carla.TrafficLightState.Green}
    assert green & red, "the ego's light has changed from red to green"
    assert len(green) < len(lights), "others stay red"


def test_left_turn_without_lights_cannot_be_built():
    with pytest.raises(registry.PlacementError, match="no traffic lights"):
        Drive(place("SignalizedJunctionLeftTurn"), signalised=False)


def test_bicycles_cross(drive_of):
    drive = drive_of("CrossingBicycleFlow", speed=lambda d: 8.0 if d.ego_index < 40 else 0.0)
    drive.until_active()
    drive.run(3.0)
    riders = drive.vehicles()
    assert len(riders) >= 3
    assert {rider.attributes["base_type"] for rider in riders} == {"bicycle"}
    assert {rider.attributes["role_name"] for rider in riders} == {"scenario no lights"}


@pytest.mark.parametrize("name", ["OppositeVehicleRunningRedLight", "OppositeVehicleTakingPriority"])
def test_violator_meets_the_ego(drive_of, name):
    """It stays hidden until the trigger, starts when the ego is near and then crosses at 60 km/h."""
    drive = drive_of(name)
    adversary = drive.actor("adversary")
    assert adversary.pose.location.z < -400
    drive.until_active()
    drive.run(0.3)
    assert adversary.pose.location.z > BELOW
    assert adversary.speed() == 0.0
    assert drive.until(lambda d: adversary.speed() > 1.0, 40.0)
    assert adversary.speed() == pytest.approx(60 / 3.6, abs=0.1)
    conflict = drive.scenario.info().places["conflict"].location
    nearest = 99.0
    while adversary.is_alive:
        nearest = min(nearest, flat_distance(adversary.pose.location, conflict))
        drive.tick()
    assert nearest < 4.0
    assert drive.until_ended(60.0)


def test_blocked_exit_clears_ten_seconds_after_the_ego_came(drive_of):
    drive = drive_of("BlockedIntersection", speed=lambda d: 8.0 if _way_to(d, "car") > 10.0 else 0.0)
    car = drive.actor("car")
    assert drive.until(lambda d: _way_to(d, "car") < 13.0 and car.pose.location.z > BELOW, 60.0)
    came = drive.time
    assert drive.until_ended(30.0)
    assert drive.time - came == pytest.approx(10.0, abs=0.3)
    assert not car.is_alive


def _way_to(drive: Drive, part: str) -> float:
    return drive.ego.actor.pose.location.distance(drive.scenario.poses[part].location)


# ---- I: merges ------------------------------------------------------------------------------------------------------

MERGES = {
    "EnterActorFlow": True, "EnterActorFlowV2": True, "MergerIntoSlowTraffic": True, "MergerIntoSlowTrafficV2": True,
    "HighwayExit": True, "InterurbanActorFlow": False, "InterurbanAdvancedActorFlow": False,
}  # fmt: skip


@pytest.mark.parametrize("name", MERGES)
def test_merging_streams_run_at_the_given_speed(drive_of, name):
    drive = drive_of(name)
    drive.until_active()
    prefilled = len(drive.vehicles())
    assert (prefilled > 2) == MERGES[name]
    drive.run(2.0)
    speed = number(drive, "flow_speed", 10.0)
    assert all(car.speed() == pytest.approx(speed, abs=0.3) for car in drive.vehicles())
    if name == "HighwayExit":
        assert drive.context.traffic.removed_lanes
    else:
        assert drive.context.traffic.of(drive.scenario.id).junction is not None


@pytest.mark.parametrize("brakes", [False, True])
def test_stream_and_an_ego_that_stands_on_its_way(drive_of, brakes):
    """The original's cars keep their speed until they hit it; the switch makes them stop behind it."""
    drive = drive_of("MergerIntoSlowTraffic", fidelity=Fidelity(flows_brake=brakes), speed=0.0)
    blackboard.set(drive.case.config.route_var_name, True)
    drive.run(0.2)
    source = drive.scenario.info().places["source"].location
    cars = sorted(drive.vehicles(), key=lambda car: source.distance(car.pose.location))
    behind, _ = max(pairwise(cars), key=lambda pair: pair[0].pose.location.distance(pair[1].pose.location))
    standing = drive.context.map.get_waypoint(behind.pose.location).next(16.0)[0].transform
    drive.ego.drive = lambda speed: setattr(drive.ego.actor, "pose", standing)
    hit = False
    for _ in range(160):
        drive.tick()
        hit = hit or any(drive.world.overlap(car, drive.ego.actor) for car in drive.vehicles())
    assert hit != brakes


# ---- J: cut-ins -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [("StaticCutIn", 24.0), ("ParkingCutIn", 21.0)])
def test_adversary_pulls_into_the_egos_lane(drive_of, name, most):
    drive = drive_of(name)
    adversary = drive.actor("adversary")
    drive.until_active()
    drive.run(0.3)
    assert abs(lane_offset(drive, adversary)) > 2.0
    assert drive.until(lambda d: adversary.speed() > 0.5, 40.0)
    conflict = drive.scenario.info().places["conflict"].location
    assert drive.ego.actor.pose.location.distance(conflict) < most
    assert drive.until(lambda d: abs(lane_offset(d, adversary)) < 0.8 or not adversary.is_alive, 15.0)
    assert adversary.is_alive


def test_highway_cut_in_arrives_together_with_the_ego(drive_of):
    drive = drive_of("HighwayCutIn", speed=12.0)
    adversary = drive.actor("adversary")
    target = drive.scenario.info().places["conflict"].location
    drive.until_active()
    assert drive.until(lambda d: flat_distance(adversary.pose.location, target) < 10.0, 60.0)
    assert flat_distance(drive.ego.actor.pose.location, target) < 70.0
    assert drive.until_ended(30.0)


def test_highway_cut_in_ends_in_front_of_an_ego_that_follows_it(drive_of):
    """An ego that keeps behind the adversary and copies its speed must not bring both to a halt for ever."""

    def follows(drive):
        adversary = drive.actor("adversary")
        gap = ahead_of(drive.ego.actor.pose, adversary.pose.location)
        close = adversary.is_alive and 0.0 < gap < 15.0 and abs(lane_offset(drive, adversary)) < 5.0
        return min(12.0, adversary.speed()) if close else 12.0

    drive = drive_of("HighwayCutIn", speed=follows)
    drive.until_active()
    assert drive.until_ended(60.0)


# ---- K, L, M --------------------------------------------------------------------------------------------------------


def test_hard_break_stops_the_traffic_ahead_for_ten_seconds(drive_of):
    drive = drive_of("HardBreakRoute", speed=2.0)
    drive.until_active()
    begun = drive.time
    assert drive.context.traffic.front_stopped
    assert drive.until(lambda d: not d.context.traffic.front_stopped, 20.0)
    assert drive.time - begun == pytest.approx(10.0, abs=0.3)


def test_priority_keeps_the_egos_light_green(drive_of):
    drive = drive_of("PriorityAtJunction")
    drive.until_active()
    drive.run(0.2)
    (lights,) = drive.world.lights.values()
    assert [light.state for light in lights].count(carla.TrafficLightState.Green) == 1
    assert drive.until_ended()


def test_control_is_lost_over_each_debris(drive_of):
    applied: list[tuple[float, float]] = []
    drive = drive_of("ControlLoss")
    blackboard.set(blackboard.CONTROL, carla.VehicleControl(throttle=0.5))
    drive.ego.actor.apply_control = lambda control: applied.append((drive.time, control.steer))
    assert drive.until_ended()
    times = [time for time, _ in applied]
    pauses = [b - a for a, b in pairwise(times) if b - a > 1.0]
    assert len(pauses) == 2, "three places with pauses in between"
    assert max(abs(steer) for _, steer in applied) > 0.02


def test_parking_exit_puts_the_ego_between_two_cars(drive_of):
    drive = drive_of("ParkingExit", speed=0.0)
    ego = drive.ego.actor.pose
    assert lane_offset(drive, drive.ego.actor) > 1.5, "the ego stands in the parking lane"
    assert ahead_of(ego, drive.actor("front").pose.location) == pytest.approx(9.0, abs=1.0)
    assert ahead_of(ego, drive.actor("behind").pose.location) == pytest.approx(-9.0, abs=2.0)
    assert abs(lane_offset(drive, drive.actor("side"))) < 0.5
    assert len(drive.scenario.parking_slots) == 3


def test_ego_goes_back_if_parking_exit_cannot_be_built():
    case = place("ParkingExit")
    drive = Drive(case)
    drive.close()
    first = drive.scenario.poses["front"]
    again = Drive.__new__(Drive)
    again.case, again.speed, again.seed, again.fidelity, again.signalised, again.log = case, 0.0, 1, None, True, []
    from tests.scenario_runner.kinematic_world import Blueprint, KinematicWorld

    blocked: list[KinematicWorld] = []
    spawn = KinematicWorld.try_spawn_actor

    def with_obstacle(world, blueprint, pose):
        if not blocked and world.actors:  # the ego comes first
            blocked.append(world)
            spawn(world, Blueprint("static.prop.container"), first)
        return spawn(world, blueprint, pose)

    KinematicWorld.try_spawn_actor = with_obstacle
    try:
        with pytest.raises(registry.SpawnError, match="no room for front"):
            again.__post_init__()
    finally:
        KinematicWorld.try_spawn_actor = spawn
    ego = again.ego.actor
    assert flat_distance(ego.pose.location, again.route[0][0].location) < 0.5


@pytest.mark.parametrize(("keep", "most"), [(False, 10.5), (True, 60.0)])
def test_green_light_turn_ends_after_ten_seconds_unless_told(drive_of, keep, most):
    drive = drive_of(
        "VanillaSignalizedTurnEncounterGreenLight", speed=lambda d: 8.0 if d.ego_index < 30 else 0.0,
        fidelity=Fidelity(green_light_until_crossed=keep),
    )  # fmt: skip
    drive.until_active()
    begun = drive.time
    ended = drive.until_ended(20.0)
    assert ended != keep
    assert drive.time - begun < most


@pytest.mark.parametrize("name", ["SequentialLaneChange", "T_Junction"])
def test_plain_driving_ends_after_two_hundred_metres(drive_of, name):
    drive = drive_of(name)
    drive.until_active()
    begun = drive.ego_index
    drive.until(lambda d: d.ego.finished or d.scenario.phase is ScenarioPhase.ENDED)
    if drive.scenario.phase is ScenarioPhase.ENDED:
        driven = sum(
            a[0].location.distance(b[0].location)
            for a, b in zip(drive.route[begun : drive.ego_index], drive.route[begun + 1 : drive.ego_index + 1])
        )
        assert driven == pytest.approx(200.0, abs=5.0)
