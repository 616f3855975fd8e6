"""Laws of our own towns."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from carla_server.map import SignalKind
from carla_server.map.generate import main, write_town
from carla_server.map.generator.plan import Node, Street, TownPlan
from carla_server.map.generator.towns import TOWNS
from carla_server.map.generator.towns.profiles import STREET


def _driving(road_map):
    return [lane for lane in road_map.lanes if lane.type == "driving"]


def test_files_are_what_their_descriptions_generate(own_town, tmp_path):
    assert write_town(own_town.path.stem, tmp_path).read_text() == own_town.path.read_text()


def test_lanes_meet_without_gap_or_kink(own_town):
    for lane in _driving(own_town.ours):
        end, heading = lane.travel_center[-1], lane.yaw[-1 if lane.forward else 0]
        for index in lane.successors:
            after = own_town.ours.lanes[index]
            assert np.linalg.norm(after.travel_center[0] - end) < 0.05
            turn = after.yaw[0 if after.forward else -1] - heading
            assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 1e-3


def test_from_every_driving_lane_traffic_reaches_every_other(own_town):
    graph = nx.DiGraph()
    for lane in _driving(own_town.ours):
        graph.add_node(lane.index)
        graph.add_edges_from((lane.index, n) for n in lane.successors if own_town.ours.lanes[n].type == "driving")
        # Changing to a neighbour that runs the same way, outside junctions.
        for side in (lane.left, lane.right):
            if side >= 0 and lane.junction < 0:
                other = own_town.ours.lanes[side]
                if other.type == "driving" and other.forward == lane.forward:
                    graph.add_edge(lane.index, side)
    assert nx.is_strongly_connected(graph)


def test_every_light_governs_lanes_and_belongs_to_one_phase(own_town):
    phases = [light for row in own_town.ours.controllers.values() for light in row.signals]
    lights = {key for key, row in own_town.ours.signals.items() if row.kind is SignalKind.TRAFFIC_LIGHT}
    assert sorted(phases) == sorted(lights)
    for key in lights:
        light = own_town.ours.signals[key]
        assert light.lanes
        assert light.junction in own_town.ours.junctions
        line = np.linalg.norm(light.stop_right - light.stop_left)
        widths = sum(own_town.ours.lanes[index].width[0] for index in light.lanes)
        assert line == pytest.approx(widths, abs=0.1)


def test_stop_lines_have_their_left_end_on_the_drivers_left(own_town):
    for row in own_town.ours.signals.values():
        if row.stop_left is not None:
            across = row.stop_right - row.stop_left
            right_of_travel = np.array([-np.sin(row.stop_yaw), np.cos(row.stop_yaw)])
            assert across[:2] @ right_of_travel > 1.0
            assert np.cos(row.yaw - row.stop_yaw) > 0.99


def test_nothing_stands_on_a_lane(own_town):
    road_map = own_town.ours
    solid = [row for row in road_map.objects if row.height > 0]
    centers = np.array([row.position for row in solid])
    lanes, _ = road_map.locate_many(centers, ("driving", "parking", "biking", "shoulder"))
    assert [solid[i].name for i in np.flatnonzero(lanes >= 0)] == []


def test_spawn_points_are_on_driving_lanes_and_apart(own_town):
    points = np.array([(p.x, p.y, p.z) for p in own_town.ours.spawn_points])
    assert len(points) > 60
    lanes, rows = own_town.ours.locate_many(points)
    assert {own_town.ours.lanes[index].type for index in lanes} == {"driving"}
    assert np.abs(rows[:, 1]).max() < 0.02
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(len(points)) * 1e3
    assert distances.min() > 3.0


def test_description_errors_name_the_culprit():
    nodes = [Node("a", 0, 0), Node("b", 100, 0)]
    with pytest.raises(ValueError, match="did you mean 'street'"):
        TownPlan.of("x", [STREET], nodes, [Street("s", "stret", "a", "b")])
    with pytest.raises(ValueError, match="occur twice"):
        TownPlan.of("x", [STREET], [*nodes, Node("a", 5, 5)], [])


def test_command_line_reports_an_unknown_town(capsys, tmp_path):
    assert main(["Mini1", "--out", str(tmp_path)]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_town_names_are_unique():
    assert all(name == plan.name for name, plan in TOWNS.items())
