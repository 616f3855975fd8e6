"""CARLA's own client is the witness: both read the same file, so both must see the same roads."""

from __future__ import annotations

import math

import numpy as np

from carla_server.map import LaneKey, SignalKind


def _xyz(location) -> np.ndarray:
    return np.array([location.x, location.y, location.z])


def _turn(a: float, b: float) -> float:
    return abs((a - b + math.pi) % (2 * math.pi) - math.pi)


def _waypoints(pair, spacing: float = 7.0):
    return [
        w
        for w in pair.theirs.generate_waypoints(spacing)
        if LaneKey(w.road_id, w.section_id, w.lane_id) in pair.ours.by_key
    ]


def _room(pair, w) -> float:
    lane = pair.ours.by_key[LaneKey(w.road_id, w.section_id, w.lane_id)]
    return min(w.s - lane.s[0], lane.s[-1] - w.s)


def test_waypoints_lie_where_the_client_puts_them(any_town):
    waypoints = _waypoints(any_town)
    assert len(waypoints) > 100
    for w in waypoints:
        lane = any_town.ours.by_key[LaneKey(w.road_id, w.section_id, w.lane_id)]
        point, yaw, slope = any_town.ours.pose_on(lane, w.s)
        assert np.linalg.norm(point - _xyz(w.transform.location)) < 0.05
        assert _turn(yaw, math.radians(w.transform.rotation.yaw)) < math.radians(3.0)
        assert abs(slope - math.radians(w.transform.rotation.pitch)) < math.radians(1.5) or abs(
            slope - math.radians(w.transform.rotation.pitch - 360)
        ) < math.radians(1.5)


def test_lane_attributes_agree(any_town):
    for w in _waypoints(any_town, 15.0):
        lane = any_town.ours.by_key[LaneKey(w.road_id, w.section_id, w.lane_id)]
        assert lane.type.lower() == str(w.lane_type).lower()
        assert (lane.junction >= 0) == w.is_junction
        assert abs(np.interp(w.s, lane.s, lane.width) - w.lane_width) < 0.05


def test_locate_finds_the_lane_of_every_waypoint_outside_junctions(any_town):
    inside = [w for w in _waypoints(any_town) if not w.is_junction and w.lane_width > 0.3]
    # A point on the seam of two sections or roads belongs to either.
    waypoints = [w for w in inside if _room(any_town, w) > 0.2]
    points = np.array([_xyz(w.transform.location) for w in waypoints])
    lanes, rows = any_town.ours.locate_many(points, ("driving",))
    keys = [any_town.ours.lanes[index].key for index in lanes]
    same = [key == (w.road_id, w.section_id, w.lane_id) for key, w in zip(keys, waypoints)]
    assert np.mean(same) == 1.0
    assert np.abs(rows[:, 1]).max() < 0.1
    np.testing.assert_allclose(rows[:, 2], points[:, 2], atol=0.05)


def test_traffic_can_continue_where_the_client_says(any_town):
    missing = []
    for w in any_town.theirs.generate_waypoints(20.0):
        lane = any_town.ours.by_key[LaneKey(w.road_id, w.section_id, w.lane_id)]
        for after in w.next(60.0)[:3]:
            goal = any_town.ours.by_key[LaneKey(after.road_id, after.section_id, after.lane_id)]
            reached, frontier = {lane.index}, {lane.index}
            for _ in range(40):
                frontier = {n for index in frontier for n in any_town.ours.lanes[index].successors} - reached
                reached |= frontier
                if goal.index in reached or not frontier:
                    break
            if goal.index not in reached:
                missing.append((lane.key, goal.key))
    assert not missing


def test_signals_are_those_of_the_client(any_town):
    for kind in (SignalKind.TRAFFIC_LIGHT, SignalKind.STOP, SignalKind.YIELD, SignalKind.SPEED_LIMIT):
        theirs = {mark.id for mark in any_town.theirs.get_all_landmarks_of_type(kind.value)}
        ours = {row.id for row in any_town.ours.signals.values() if row.kind is kind}
        # The client lists only signals that some lane or reference makes visible.
        assert theirs <= ours


def test_signals_stand_and_face_where_the_client_sees_them(any_town):
    for mark in any_town.theirs.get_all_landmarks():
        signal = any_town.ours.signals[mark.id]
        if mark.road_id == signal.road and mark.s == signal.s:
            seen = _xyz(mark.transform.location)
            # The client moves lights a quarter of a metre along the road and signs clear of lanes.
            assert np.linalg.norm(seen[:2] - signal.position[:2]) < 0.3
            assert _turn(math.radians(mark.transform.rotation.yaw), signal.yaw) < 0.01


def test_crosswalk_corners_are_those_of_the_client(own_town):
    seen = np.array([_xyz(location) for location in own_town.theirs.get_crosswalks()]).reshape(-1, 3)
    # The client closes every polygon by repeating its first corner.
    assert len(seen) == sum(len(row.polygon) + 1 for row in own_town.ours.crosswalks)
    for row in own_town.ours.crosswalks:
        for corner in row.polygon:
            assert np.linalg.norm(seen - corner, axis=1).min() < 0.05


def test_client_finds_no_dead_end_and_no_kink(own_town):
    for w in own_town.theirs.generate_waypoints(2.0):
        following = w.next(1.0)
        assert following, f"dead end on road {w.road_id} lane {w.lane_id} at {w.s:.1f}"
        for after in following:
            distance = after.transform.location.distance(w.transform.location)
            assert 0.6 < distance < 1.4
            assert _turn(
                math.radians(after.transform.rotation.yaw), math.radians(w.transform.rotation.yaw)
            ) < math.radians(12)


def test_traffic_manager_map_can_be_cooked(own_town, tmp_path):
    target = tmp_path / "town.bin"
    own_town.theirs.cook_in_memory_map(str(target))
    assert target.stat().st_size > 10_000
