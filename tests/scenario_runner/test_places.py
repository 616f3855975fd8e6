"""Laws of places: poses, walks, lanes side by side, junction entries."""

from __future__ import annotations

import math
from itertools import pairwise

import carla
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driving.commands import RoadOption
from srunner.tools import places
from tests.scenario_runner.drives import load_map

ANGLE, METRES = st.floats(-720, 720), st.floats(-50, 50)


def pose(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> carla.Transform:
    return carla.Transform(carla.Location(x, y, 0.0), carla.Rotation(yaw=yaw))


@given(ANGLE, METRES, METRES)
def test_shifting_forth_and_back_changes_nothing(yaw, forward, right):
    start = pose(3.0, -4.0, yaw)
    there = places.shifted(start, forward, right)
    assert places.ahead_of(start, there.location) == pytest.approx(forward, abs=1e-3)
    back = places.shifted(there, -forward, -right)
    assert back.location.distance(start.location) < 1e-3


def test_right_is_clockwise_from_forward():
    """Heading east, right is south: positive y in CARLA's frame; heading south, right is west."""
    assert places.shifted(pose(yaw=0.0), right=2.0).location.y == pytest.approx(2.0)
    assert places.shifted(pose(yaw=90.0), right=2.0).location.x == pytest.approx(-2.0)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(20, 160))
def test_crossing_point_lies_on_both_lines(x, y, yaw):
    a, b = pose(), pose(x, y, yaw)
    point = places.crossing_point(a, b)
    assert point is not None
    assert point.y == pytest.approx(0.0, abs=1e-2)
    across = (point.x - x) * math.sin(math.radians(yaw)) - (point.y - y) * math.cos(math.radians(yaw))
    assert across == pytest.approx(0.0, abs=1e-2)


def test_parallel_lines_do_not_cross():
    assert places.crossing_point(pose(), pose(0.0, 3.0, 180.0)) is None


@pytest.fixture(scope="module")
def town():
    return load_map("Mini01")


@pytest.fixture(scope="module")
def lanes(town):
    return [lane for lane in town.generate_waypoints(20.0) if not lane.is_junction]


def test_walks_stop_before_junctions(lanes):
    for lane in lanes:
        end = places.walk(lane, 60.0)
        assert not end.is_junction
        assert end.transform.location.distance(lane.transform.location) < 62.0


def test_forward_goes_on_through_junctions_or_says_where_it_ends(lanes):
    for lane in lanes[::5]:
        end = places.forward(lane, 80.0)
        assert end is not None
        assert places.forward(lane, 80.0, stop_at_junction=True) is not None
    with pytest.raises(places.PlacementError, match="less than"):
        places.jump(_dead_end(), 10.0)


def _dead_end():
    class End:
        def next(self, distance):
            return []

    return End()


def test_lanes_are_sorted_from_left_to_right(lanes):
    several = 0
    for lane in lanes:
        row = places.same_direction_lanes(lane)
        for left, right in pairwise(row):
            several += 1
            offset = right.transform.location - left.transform.location
            side = left.transform.get_right_vector()
            assert offset.x * side.x + offset.y * side.y > 1.0
    assert several > 10


def test_opposite_lanes_run_the_other_way(lanes):
    found = 0
    for lane in lanes:
        for other in places.opposite_lanes(lane):
            found += 1
            assert abs(places.yaw_difference_deg(other.transform, lane.transform)) > 150
            assert not any(
                places.flat_distance(other.transform.location, own.transform.location) < 1
                for own in places.same_direction_lanes(lane)
            )
    assert found > 20


def test_sweeps_to_the_left_cross_the_centre_line(lanes):
    """Beyond the centre line the outward side is the lane's own right."""
    seen = set()
    for lane in lanes:
        for other, side in places.lanes_towards(lane, "left"):
            flipped = other.lane_id * lane.lane_id < 0
            assert (side == "right") == flipped
            seen.add(flipped)
            offset = other.transform.location - lane.transform.location
            right = lane.transform.get_right_vector()
            assert offset.x * right.x + offset.y * right.y < 0
    assert True in seen


def test_every_junction_entry_comes_from_one_side_at_most(town, lanes):
    entry, junction = places.next_junction(lanes[0])
    entries, exits = places.junction_ends(junction)
    assert entries
    assert exits
    assert all(not waypoint.is_junction for waypoint in entries + exits)
    sides = [places.from_direction(entry, entries, side) for side in places.DIRECTIONS]
    chosen = [waypoint.id for side in sides for waypoint in side]
    assert len(chosen) == len(set(chosen))


def test_turns_lead_where_they_say(lanes):
    turned = {}
    for lane in lanes:
        for turn in (-1, 0, 1):
            last, _ = places.next_junction(lane)
            exit_ = places.after_junction(lane, turn)
            turned.setdefault(turn, []).append(places.yaw_difference_deg(exit_.transform, last.transform))
    assert min(turned[-1]) < -60
    assert max(turned[1]) > 60
    assert all(left <= straight + 1e-3 for left, straight in zip(turned[-1], turned[0]) if abs(left) < 170)


def test_route_without_a_turn_has_no_exit(town, lanes):
    route = [(lane.transform, RoadOption.LANEFOLLOW) for lane in lanes[0].next_until_lane_end(2.0)]
    with pytest.raises(places.PlacementError, match="crosses no junction"):
        places.crosses_in_route(route[0][0].location, town, route)
