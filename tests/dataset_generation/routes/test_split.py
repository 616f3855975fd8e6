"""Splitting long routes, balancing types, dropping duplicates."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import carla
import numpy as np
import pytest

from dataset_generation.routes import __main__ as command
from dataset_generation.routes.balance import balance, scenario_types, without_duplicates
from dataset_generation.routes.split import EXTENTS, join, split_route, trace_route

REPOSITORY = Path(__file__).resolve().parents[3]
TOWN = REPOSITORY / "data" / "towns" / "Mini01.xodr"


@pytest.fixture(scope="module")
def town():
    return carla.Map("Mini01", TOWN.read_text())


@pytest.fixture(scope="module")
def long_way(town):
    """Places 40 m apart on a way of about 900 m over several junctions."""
    here = next(w for w in town.generate_waypoints(30.0) if not w.is_junction)
    rng, way = np.random.default_rng(2), []
    for step in range(900):
        options = here.next(1.0)
        if not options:
            break
        here = options[int(rng.integers(len(options)))]
        if step % 40 == 0 and not here.is_junction:
            way.append(here)
    assert len(way) > 15
    return way


def long_route(way, triggers):
    route = ElementTree.Element("route", id="5", town="Mini01")
    positions = ElementTree.SubElement(route, "waypoints")
    for w in way:
        place = w.transform.location
        ElementTree.SubElement(positions, "position", x=str(place.x), y=str(place.y), z=str(place.z))
    scenarios = ElementTree.SubElement(route, "scenarios")
    for number, (index, kind) in enumerate(triggers):
        place, turn = way[index].transform.location, way[index].transform.rotation
        scenario = ElementTree.SubElement(scenarios, "scenario", name=f"{kind}_{number}", type=kind)
        ElementTree.SubElement(
            scenario, "trigger_point", x=str(place.x), y=str(place.y), z=str(place.z), yaw=str(turn.yaw)
        )
        ElementTree.SubElement(scenario, "distance", value="60.0")
    return route


def test_a_trace_follows_the_lanes_without_a_gap(town, long_way):
    places = [(w.transform.location.x, w.transform.location.y, w.transform.location.z) for w in long_way]
    trace = trace_route(town, places)
    assert np.linalg.norm(np.diff(trace.points, axis=0), axis=1).max() < 7.0
    for index, place in zip(trace.keypoints, places):
        assert np.linalg.norm(trace.points[index] - place) < 0.5


def test_no_way_along_the_lanes_is_said(town, long_way):
    off_map = long_way[0].get_left_lane() or long_way[0]
    with pytest.raises(ValueError, match="no way along the lanes"):
        join(long_way[0], off_map, max_expanded=3)


def test_every_scenario_lands_in_one_short_route_with_room_around_it(town, long_way):
    triggers = [(2, "ControlLoss"), (8, "ParkedObstacle"), (13, "HardBreakRoute")]
    route = long_route(long_way, triggers)
    shorts = split_route(town, route, 1, np.random.default_rng(0))
    assert [scenario_types(short) for short in shorts] == [[kind] for _, kind in triggers]
    for short, (index, kind) in zip(shorts, triggers):
        places = [(float(p.get("x")), float(p.get("y")), float(p.get("z"))) for p in short.iter("position")]
        trace = trace_route(town, places)
        place = long_way[index].transform.location
        at = trace.nearest([place.x, place.y])
        needed = EXTENTS[kind].distance + (60.0 if EXTENTS[kind].parameters else 0.0)
        assert trace.along[at] >= min(20.0, index * 40.0 - 5.0)
        assert trace.along[-1] - trace.along[at] > min(needed, 200.0) - 5.0
        assert not trace.in_junction[0]
        assert len(list(short.iter("weather"))) == 2


def test_three_scenarios_per_route_and_whole_routes(town, long_way):
    route = long_route(long_way, [(2, "ControlLoss"), (5, "ControlLoss"), (8, "ControlLoss"), (12, "ControlLoss")])
    rng = np.random.default_rng(0)
    assert [len(scenario_types(short)) for short in split_route(town, route, 3, rng)] == [3, 1]
    whole = split_route(town, route, 0, rng)
    assert [scenario_types(short) for short in whole] == [[]]


def test_balancing_lifts_rare_types_and_depends_on_the_seed_only(long_way):
    kinds = ["Accident"] * 2 + ["ParkedObstacle"] * 9 + ["ControlLoss"] * 20
    routes = [long_route(long_way[i : i + 3], [(0, kind)]) for i, kind in enumerate(kinds[:13] + kinds[-2:])]
    drawn, reached = balance(routes, 6, np.random.default_rng(4))
    assert reached == Counter({"Accident": 6, "ParkedObstacle": 6, "ControlLoss": 6})
    distances = {float(d.get("value")) for route in drawn for d in route.iter("distance")}
    assert all(54.0 <= d <= 66.0 for d in distances)
    assert len(distances) > 5
    again, _ = balance(routes, 6, np.random.default_rng(4))
    assert [ElementTree.tostring(route) for route in drawn] == [ElementTree.tostring(route) for route in again]


def test_duplicates_share_both_ends(long_way):
    a, b = long_route(long_way[:4], []), long_route(long_way[1:5], [])
    assert without_duplicates([a, b, long_route(long_way[:4], [(1, "Accident")])]) == [a, b]


def test_the_commands_work_on_files(tmp_path, long_way, capsys):
    document = ElementTree.Element("routes")
    document.append(long_route(long_way, [(2, "ControlLoss"), (9, "ParkedObstacle")]))
    path = tmp_path / "long.xml"
    path.write_text(ElementTree.tostring(document, encoding="unicode"))
    assert command.main(["split", str(path), "--out", str(tmp_path / "short"), "--maps", str(TOWN.parent)]) == 0
    folder = tmp_path / "short" / "random_weather_seed_1"
    assert sorted(p.name for p in folder.iterdir()) == ["0.xml", "1.xml"]
    assert command.main(["balance", str(folder), "--count", "3"]) == 0
    assert len(list((tmp_path / "short" / "random_weather_seed_1_balanced_3").iterdir())) == 6
    path.write_text("<routes><route")
    assert command.main(["split", str(path), "--out", str(tmp_path / "x")]) == 2
    assert "not well-formed" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["<routes><route", "<routes/>"])
def test_balancing_names_the_file_that_is_broken(tmp_path, capsys, content):
    (tmp_path / "0.xml").write_text('<routes><route id="0" town="Mini01"/></routes>')
    (tmp_path / "1.xml").write_text(content)
    assert command.main(["balance", str(tmp_path)]) == 2
    assert "1.xml" in capsys.readouterr().err
