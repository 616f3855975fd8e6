"""Each threshold of the criteria from both sides, with scripted trajectories."""

from __future__ import annotations

import carla
import pytest
from py_trees.common import Status

from srunner.scenariomanager import blackboard
from srunner.scenariomanager.scenarioatomics import atomic_criteria as criteria
from srunner.scenariomanager.traffic_events import TrafficEventType as T
from tests.leaderboard.scripted import Puppet, Stage, TriggerBox, along, pose, shifted, straight


def street(road_map: carla.Map, length_m: float = 40.0) -> carla.Waypoint:
    """A waypoint with that much plain road ahead and no junction."""
    for waypoint, _ in road_map.get_topology():
        ahead = [waypoint]
        while len(ahead) < length_m and ahead[-1].next(1.0):
            ahead.append(ahead[-1].next(1.0)[0])
        if len(ahead) >= length_m and not any(w.is_junction or w.road_id != waypoint.road_id for w in ahead):
            return waypoint
    raise AssertionError("the town has no such street")


def lane_poses(
    waypoint: carla.Waypoint, count: int, right_m: float = 0.0, turn_deg: float = 0.0
) -> list[carla.Transform]:
    poses = []
    for _ in range(count):
        poses.append(shifted(waypoint.transform, right_m=right_m, turn_deg=turn_deg))
        waypoint = waypoint.next(1.0)[0]
    return poses


# ---- completion -----------------------------------------------------------------------------------------------------


def test_completion_is_the_passed_share_and_ends_one_tick_late(stage: Stage) -> None:
    test = criteria.RouteCompletionTest(stage.ego, straight(200), percent=99.0, distance_m=10.0)
    stage.drive(test, along(0, 100.4), 10.0)
    assert test.events[0].percentage == 50.0
    assert stage.drive(test, along(100.4, 198.4), 10.0) is Status.RUNNING
    assert test.events[0].percentage == 99.0
    assert stage.drive(test, along(198.4, 199.4, 1.0), 10.0) is Status.RUNNING
    assert test.events[0].percentage == 100
    assert stage.drive(test, [pose(199.4)], 10.0) is Status.SUCCESS


def test_looser_rules_complete_earlier_but_only_near_the_end(stage: Stage) -> None:
    near = criteria.RouteCompletionTest(stage.ego, straight(80), percent=90.0, distance_m=10.0)
    stage.drive(near, along(0, 73.4), 10.0)
    assert near.test_status == "SUCCESS"
    far = criteria.RouteCompletionTest(stage.ego, straight(200), percent=90.0, distance_m=10.0)
    stage.drive(far, along(0, 185.0), 10.0)
    assert (far.test_status, far.events[0].percentage) == ("RUNNING", 92.0)
    far.terminate(Status.INVALID)
    assert (far.test_status, far.events[0].percentage) == ("FAILURE", 92.0)


def test_standing_far_ahead_does_not_complete_the_route(stage: Stage) -> None:
    test = criteria.RouteCompletionTest(stage.ego, straight(200), 99.0, 10.0)
    stage.drive(test, [pose(199.5)], 0.0)
    assert test.events[0].percentage == 1.0


# ---- collisions -----------------------------------------------------------------------------------------------------


def test_one_contact_counts_once(stage: Stage) -> None:
    test = criteria.CollisionTest(stage.ego)
    car = Puppet(7, "vehicle.audi.tt")
    for x in range(10):
        stage.hit(car)
        stage.drive(test, [pose(x * 0.1)], 2.0)
    assert [(e.type, e.actor_id, e.actor_type) for e in test.events] == [(T.COLLISION_VEHICLE, 7, "vehicle.audi.tt")]


def test_another_object_counts_only_five_metres_on(stage: Stage) -> None:
    test = criteria.CollisionTest(stage.ego)
    stage.hit(Puppet(7, "vehicle.audi.tt"))
    stage.drive(test, [pose(0.0)], 2.0)
    stage.hit(Puppet(8, "walker.pedestrian.0001"))
    stage.drive(test, [pose(4.9)], 2.0)
    assert len(test.events) == 1
    stage.hit(Puppet(8, "walker.pedestrian.0001"))
    stage.drive(test, [pose(5.1)], 2.0)
    assert [e.type for e in test.events] == [T.COLLISION_VEHICLE, T.COLLISION_PEDESTRIAN]


def test_same_object_counts_again_after_five_seconds(stage: Stage) -> None:
    test = criteria.CollisionTest(stage.ego)
    car = Puppet(7, "vehicle.audi.tt")
    stage.hit(car)
    stage.drive(test, [pose(0.0)], 2.0)
    stage.drive(test, [pose(10.0)] * 99, 2.0)
    stage.hit(car)
    stage.drive(test, [pose(10.0)], 2.0)
    assert len(test.events) == 1
    stage.drive(test, [pose(10.0)] * 2, 2.0)
    stage.hit(car)
    stage.drive(test, [pose(10.0)], 2.0)
    assert len(test.events) == 2


def test_being_hit_while_standing_is_not_the_egos_fault(stage: Stage) -> None:
    test = criteria.CollisionTest(stage.ego)
    stage.hit(Puppet(7, "vehicle.audi.tt"))
    stage.drive(test, [pose(0.0)], 0.09)
    assert test.events == []


@pytest.mark.parametrize(
    ("type_id", "kind"),
    [
        ("static.prop.trafficcone01", T.COLLISION_STATIC),
        ("static.building", T.COLLISION_STATIC),
        ("traffic.traffic_light", T.COLLISION_STATIC),
        ("static.sidewalk", None),
        ("vehicle.tesla.model3", T.COLLISION_VEHICLE),
        ("walker.pedestrian.0010", T.COLLISION_PEDESTRIAN),
        ("sensor.other.collision", None),
    ],
)
def test_collisions_are_told_apart_by_type(type_id: str, kind: T | None) -> None:
    assert criteria.collision_kind(type_id) is kind


# ---- lanes ----------------------------------------------------------------------------------------------------------


def test_driving_in_the_lane_is_no_event(stage: Stage, road_map: carla.Map) -> None:
    start = street(road_map)
    poses = lane_poses(start, 40)
    stage.ego.place(poses[0], 5.0)
    test = criteria.OutsideRouteLanesTest(stage.ego, poses)
    stage.drive(test, poses, 5.0)
    assert test.events == []


def test_metres_in_the_oncoming_lane_are_counted(stage: Stage, road_map: carla.Map) -> None:
    """Half of the way in a lane of the other direction: half of the metres, in one event."""
    start = street(road_map)
    lane: carla.Waypoint | None = start
    while lane is not None and lane.lane_id * start.lane_id > 0:
        lane = lane.get_left_lane()
    assert lane is not None
    assert lane.lane_type == carla.LaneType.Driving
    right_m = -start.transform.location.distance(lane.transform.location)
    route = lane_poses(start, 41)
    ego = lane_poses(start, 21) + lane_poses(start, 41, right_m=right_m)[21:]
    stage.ego.place(ego[0], 5.0)
    test = criteria.OutsideRouteLanesTest(stage.ego, route)
    stage.drive(test, [shifted(p, forward_m=0.1) for p in ego], 5.0)
    (event,) = test.events
    assert event.distance_m == pytest.approx(20.0, abs=1.1)
    assert event.percentage == pytest.approx(50.0, abs=2.0)


def test_a_scenario_may_allow_the_oncoming_lane(stage: Stage, road_map: carla.Map) -> None:
    start = street(road_map)
    lane = start
    while lane.lane_id * start.lane_id > 0:
        lane = lane.get_left_lane()
    right_m = -start.transform.location.distance(lane.transform.location)
    route = lane_poses(start, 41)
    stage.ego.place(route[0], 5.0)
    test = criteria.OutsideRouteLanesTest(stage.ego, route)
    blackboard.set("AC_SwitchWrongDirectionTest", False)
    stage.drive(test, lane_poses(start, 41, right_m=right_m), 5.0)
    assert test.events == []
    assert blackboard.get("AC_SwitchWrongDirectionTest") is None


# ---- route, standstill, time ----------------------------------------------------------------------------------------


def test_route_is_left_at_thirty_metres(stage: Stage) -> None:
    test = criteria.InRouteTest(stage.ego, straight(200))
    assert stage.drive(test, [pose(0.0, 29.9)], 5.0) is Status.RUNNING
    assert stage.drive(test, [pose(0.0, 30.0)], 5.0) is Status.FAILURE
    assert test.events[0].type is T.ROUTE_DEVIATION


def test_route_is_left_after_a_third_beside_it(stage: Stage) -> None:
    test = criteria.InRouteTest(stage.ego, straight(200))
    assert stage.drive(test, along(0, 60, 1.0, y=15.0), 5.0) is Status.RUNNING
    assert stage.drive(test, along(60, 61, 1.0, y=15.0), 5.0) is Status.FAILURE
    close = criteria.InRouteTest(stage.ego, straight(200))
    assert stage.drive(close, along(0, 199, 1.0, y=14.9), 5.0) is Status.RUNNING


def test_standing_still_for_too_long_ends_the_route(stage: Stage) -> None:
    test = criteria.ActorBlockedTest(stage.ego, max_time_s=60.0)
    assert stage.drive(test, [pose(0.0)] * 1200, 0.09) is Status.RUNNING
    assert stage.drive(test, [pose(0.0)] * 2, 0.09) is Status.FAILURE
    assert test.events[0].type is T.VEHICLE_BLOCKED


def test_motion_and_scenarios_restart_the_clock(stage: Stage) -> None:
    test = criteria.ActorBlockedTest(stage.ego, max_time_s=60.0)
    stage.drive(test, [pose(0.0)] * 1199, 0.0)
    stage.drive(test, [pose(0.0)], 0.1)
    stage.drive(test, [pose(0.0)] * 1199, 0.0)
    blackboard.set("AC_SwitchActorBlockedTest", False)
    assert stage.drive(test, [pose(0.0)] * 3000, 0.0) is Status.RUNNING
    blackboard.set("AC_SwitchActorBlockedTest", True)
    assert stage.drive(test, [pose(0.0)] * 1200, 0.0) is Status.RUNNING
    assert stage.drive(test, [pose(0.0)] * 2, 0.0) is Status.FAILURE


# ---- speed of the traffic -------------------------------------------------------------------------------------------


def minimum_speed(stage: Stage, always: bool, twice: bool) -> criteria.MinimumSpeedRouteTest:
    for actor_id, speed in ((20, 8.0), (21, 12.0)):
        stage.add(Puppet(actor_id, "vehicle.audi.tt", "background")).speed = speed
    stage.add(Puppet(30, "vehicle.audi.tt", "scenario")).speed = 100.0
    return criteria.MinimumSpeedRouteTest(stage.ego, straight(200), 4, always, twice)


def test_share_of_the_traffic_speed_is_reported_per_part(stage: Stage) -> None:
    """Traffic drives 10 m/s on average, the ego 5: half, four times, the last part twice as in the original."""
    test = minimum_speed(stage, always=False, twice=True)
    stage.drive(test, along(0, 199.5, 0.25), 5.0)
    test.terminate(Status.INVALID)
    test.terminate(Status.INVALID)
    assert [event.percentage for event in test.events] == [50.0] * 5


def test_fast_parts_are_reported_only_by_benchmarks_that_want_them(stage: Stage) -> None:
    silent = minimum_speed(stage, always=False, twice=False)
    stage.drive(silent, along(0, 199.5), 20.0)
    silent.terminate(Status.INVALID)
    assert silent.events == []
    loud = minimum_speed(stage, always=True, twice=False)
    stage.drive(loud, along(0, 199.5), 20.0)
    loud.terminate(Status.INVALID)
    assert [event.percentage for event in loud.events] == [200.0] * 4
    assert loud.test_status == "SUCCESS"


# ---- lights and stop signs ------------------------------------------------------------------------------------------


def approach(road_map: carla.Map) -> carla.Waypoint:
    """The last point of some lane before a junction, with 15 m of the same lane behind it."""
    for start, end in road_map.get_topology():
        if start.is_junction or not end.is_junction:
            continue
        waypoint = end
        behind = waypoint.previous(0.5)
        waypoint = behind[0] if behind and not behind[0].is_junction else start
        if not waypoint.is_junction and waypoint.previous(15.0):
            return waypoint
    raise AssertionError("the town has no junction")


def light_before(stop: carla.Waypoint) -> TriggerBox:
    box = carla.BoundingBox(carla.Location(), carla.Vector3D(1.5, 0.5, 1.0))
    across = carla.Transform(stop.transform.location, carla.Rotation(yaw=stop.transform.rotation.yaw + 90))
    return TriggerBox(55, "traffic.traffic_light", across, box)


@pytest.mark.parametrize(
    ("state", "count"),
    [(carla.TrafficLightState.Red, 1), (carla.TrafficLightState.Yellow, 0), (carla.TrafficLightState.Green, 0)],
)
def test_only_red_lights_stop(stage: Stage, road_map: carla.Map, state: carla.TrafficLightState, count: int) -> None:
    stop = approach(road_map)
    stage.add(light_before(stop)).state = state
    test = criteria.RunningRedLightTest(stage.ego)
    stage.drive(test, [shifted(stop.transform, forward_m=0.2 * i) for i in range(-30, 40)], 5.0)
    assert [event.actor_id for event in test.events] == [55] * count


def test_waiting_at_the_line_is_no_infraction(stage: Stage, road_map: carla.Map) -> None:
    """The front may stand on the line: it is the tail that must not cross while the light is red."""
    stop = approach(road_map)
    stage.add(light_before(stop))
    test = criteria.RunningRedLightTest(stage.ego)
    stage.drive(test, [shifted(stop.transform, forward_m=-6.0 + 0.1 * i) for i in range(50)], 1.0)
    assert test.events == []


def stop_sign(stop: carla.Waypoint) -> TriggerBox:
    box = carla.BoundingBox(carla.Location(), carla.Vector3D(1.0, 1.0, 1.0))
    return TriggerBox(66, "traffic.stop", carla.Transform(stop.transform.location, stop.transform.rotation), box)


def test_stop_sign_wants_a_standstill(stage: Stage, road_map: carla.Map) -> None:
    stop = approach(road_map)
    poses = [shifted(stop.transform, forward_m=0.25 * i) for i in range(-40, 60)]
    stage.add(stop_sign(stop))
    rolling = criteria.RunningStopTest(stage.ego)
    stage.drive(rolling, poses, 3.0)
    assert [event.type for event in rolling.events] == [T.STOP_INFRACTION]
    stopping = criteria.RunningStopTest(stage.ego)
    stage.drive(stopping, poses[:39], 3.0)
    stage.drive(stopping, [poses[39]], 0.09)
    stage.drive(stopping, poses[40:], 3.0)
    assert stopping.events == []


def test_stop_sign_of_the_other_direction_does_not_count(stage: Stage, road_map: carla.Map) -> None:
    stop = approach(road_map)
    poses = [shifted(stop.transform, forward_m=0.25 * i, turn_deg=180.0) for i in range(40, -60, -1)]
    stage.add(stop_sign(stop))
    test = criteria.RunningStopTest(stage.ego)
    stage.drive(test, poses, 3.0)
    assert test.events == []


# ---- scenario criteria ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ego_x", "failed"), [(10.0, True), (-10.0, False)])
def test_emergency_vehicle_must_get_past(stage: Stage, ego_x: float, failed: bool) -> None:
    ambulance = stage.add(Puppet(9, "vehicle.ford.ambulance", "scenario"))
    test = criteria.YieldToEmergencyVehicleTest(stage.ego, ambulance)
    stage.drive(test, [pose(ego_x)], 5.0)
    test.terminate(Status.INVALID)
    test.terminate(Status.INVALID)
    assert [event.type for event in test.events] == [T.YIELD_TO_EMERGENCY_VEHICLE] * failed


def test_scenario_timeout_is_reported_once(stage: Stage) -> None:
    test = criteria.ScenarioTimeoutTest(stage.ego, "Accident_1")
    stage.drive(test, [pose(0.0)], 5.0)
    test.terminate(Status.INVALID)
    assert test.events == []
    blackboard.set("ScenarioTimeout_Accident_1", True)
    test.terminate(Status.INVALID)
    test.terminate(Status.INVALID)
    assert [event.type for event in test.events] == [T.SCENARIO_TIMEOUT]
