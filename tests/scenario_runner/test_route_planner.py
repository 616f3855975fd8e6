"""Laws of routes: connected, ending where asked, commands that match the turn, and errors that say what is wrong."""

from __future__ import annotations

import random
from itertools import groupby, pairwise

import carla
import pytest

from driving.commands import RoadOption
from srunner.tools.places import yaw_difference_deg
from srunner.tools.route_planner import GlobalRoutePlanner, NoRouteError, interpolate_trajectory
from tests.scenario_runner.drives import load_map, planner_of

CHANGES = (RoadOption.CHANGELANELEFT, RoadOption.CHANGELANERIGHT)
LANE_CHANGE_REACH = 8.0


@pytest.fixture(scope="module")
def trips():
    """Routes between random pairs of places of Mini01."""
    road_map, planner = load_map("Mini01"), planner_of("Mini01")
    lanes = road_map.generate_waypoints(10.0)
    draw = random.Random(0)
    pairs = [(draw.choice(lanes), draw.choice(lanes)) for _ in range(40)]
    return [(a, b, planner.trace_route(a.transform.location, b.transform.location)) for a, b in pairs]


def test_routes_are_connected_and_end_at_the_goal(trips):
    for origin, goal, route in trips:
        assert route[0][0].transform.location.distance(origin.transform.location) < 1.5
        assert route[-1][0].transform.location.distance(goal.transform.location) < 2.5
        for (a, _), (b, option) in pairwise(route):
            assert a.transform.location.distance(b.transform.location) < (
                LANE_CHANGE_REACH if option in CHANGES else 1.6
            )


def test_routes_never_run_against_the_lane(trips):
    for _, _, route in trips:
        for (a, _), (b, option) in pairwise(route):
            step = b.transform.location - a.transform.location
            forward = a.transform.get_forward_vector()
            assert option in CHANGES or step.x * forward.x + step.y * forward.y > -0.1


def test_commands_at_junctions_match_the_turn(trips):
    """A left command turns left by more than 35 degrees, straight on by less."""
    seen = set()
    for _, _, route in trips:
        groups = [(option, list(group)) for option, group in groupby(route, key=lambda point: point[1])]
        for option, group in groups[1:-1]:  # routes may begin or end within a turn
            points = [waypoint.transform for waypoint, _ in group]
            if option in (RoadOption.LEFT, RoadOption.RIGHT, RoadOption.STRAIGHT):
                turn = yaw_difference_deg(points[-1], points[0])
                expected = {
                    RoadOption.LEFT: turn < -35,
                    RoadOption.RIGHT: turn > 35,
                    RoadOption.STRAIGHT: abs(turn) < 36,
                }
                assert expected[option], f"{option.name} turns by {turn:.0f} degrees"
                seen.add(option)
    assert len(seen) == 3


def test_detours_are_never_shorter(trips):
    """The planner's length obeys the triangle inequality up to the joints of the legs."""
    planner = planner_of("Mini01")
    (a, b, _), (_, c, _) = trips[0], trips[1]
    direct = planner.route_length(a.transform.location, c.transform.location)
    via = planner.route_length(a.transform.location, b.transform.location) + planner.route_length(
        b.transform.location, c.transform.location
    )
    assert direct < via + 15.0


def test_goal_behind_on_the_same_lane_needs_a_way_round():
    road_map, planner = load_map("Mini01"), planner_of("Mini01")
    lane = next(a for a, b in road_map.get_topology() if a.transform.location.distance(b.transform.location) > 60)
    behind, ahead = lane.next(20.0)[0].transform.location, lane.next(40.0)[0].transform.location
    assert planner.route_length(behind, ahead) == pytest.approx(20.0, abs=2.5)
    assert planner.route_length(ahead, behind) > 100.0


def test_resolution_is_the_distance_between_points():
    road_map = load_map("Mini01")
    planner = GlobalRoutePlanner(road_map, 2.0)
    lane = next(a for a, b in road_map.get_topology() if a.transform.location.distance(b.transform.location) > 60)
    route = planner.trace_route(lane.next(5.0)[0].transform.location, lane.next(45.0)[0].transform.location)
    gaps = [a.transform.location.distance(b.transform.location) for (a, _), (b, _) in pairwise(route)]
    assert max(gaps) == pytest.approx(2.0, abs=0.1)


def test_joints_of_legs_occur_twice():
    road_map = load_map("Mini01")
    lane = next(a for a, b in road_map.get_topology() if a.transform.location.distance(b.transform.location) > 60)
    keypoints = [lane.next(d)[0].transform.location for d in (5.0, 15.0, 25.0)]
    route = interpolate_trajectory(road_map, keypoints, planner=planner_of("Mini01"))
    assert all(isinstance(pose, carla.Transform) for pose, _ in route)
    steps = [a.location.distance(b.location) for (a, _), (b, _) in pairwise(route)]
    assert min(steps) < 1e-3 or max(steps) < 2.1


def test_errors_say_what_is_wrong():
    road_map = load_map("Mini01")
    with pytest.raises(ValueError, match="at least two keypoints, got 1"):
        interpolate_trajectory(road_map, [carla.Location()])
    with pytest.raises(ValueError, match="positive distance"):
        GlobalRoutePlanner(road_map, 0.0)
    assert issubclass(NoRouteError, ValueError)
