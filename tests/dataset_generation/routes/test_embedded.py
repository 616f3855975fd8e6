"""Laws of the route sets of our own towns."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import carla
import numpy as np
import pytest
from scipy.spatial import KDTree

from dataset_generation.routes.__main__ import main
from dataset_generation.routes.document import keypoints
from dataset_generation.routes.embedded import COLLECTION_ZONES, EVALUATION_ZONES, SETS, Builder
from dataset_generation.routes.network import Rule, Town, Turn
from dataset_generation.routes.recipes import RECIPES, recipe
from dataset_generation.routes.search import candidates
from dataset_generation.routes.weather import WEATHERS

REPOSITORY = Path(__file__).parents[3]
TOWNS, ROUTES = REPOSITORY / "data" / "towns", REPOSITORY / "data" / "routes"
SHIPPED = ("demo_eval", "demo_collect", "embedded220", "embedded22", "heldout44", "unseen44")


@pytest.fixture(scope="module")
def builder() -> Builder:
    return Builder(TOWNS)


def _routes(name: str) -> list[ET.Element]:
    return ET.parse(ROUTES / f"{name}.xml").getroot().findall("route")


def _type(route: ET.Element) -> str:
    scenario = route.find("scenarios/scenario")
    return "" if scenario is None else scenario.attrib["type"]


def _points(route: ET.Element) -> np.ndarray:
    return np.array([[float(p.attrib[axis]) for axis in "xyz"] for p in route.iter("position")])


def _trigger(route: ET.Element) -> np.ndarray:
    point = route.find("scenarios/scenario/trigger_point")
    return np.array([float(point.attrib[axis]) for axis in ("x", "y", "z", "yaw")])


@pytest.mark.parametrize("name", SHIPPED)
def test_sets_hold_what_they_promise(name):
    routes = _routes(name)
    ids = [route.attrib["id"] for route in routes]
    assert len(set(ids)) == len(ids)
    counts = Counter(map(_type, routes))
    if name in SETS:
        assert counts == SETS[name].counts
    if name == "embedded220":
        assert len(counts) == 44
        assert set(counts.values()) == {5}
    for route in routes:
        first, last = route.findall("weathers/weather")
        assert float(first.attrib["fog_density"]) == float(last.attrib["fog_density"])
        length = np.linalg.norm(np.diff(_points(route), axis=0), axis=1).sum()
        assert 70 < length < 340


def test_quick_subset_is_part_of_the_whole_set():
    whole = {route.attrib["id"]: ET.tostring(route) for route in _routes("embedded220")}
    quick = _routes("embedded22")
    assert len(quick) == 22
    assert all(ET.tostring(route).strip() == whole[route.attrib["id"]].strip() for route in quick)


@pytest.mark.parametrize("name", ["embedded220", "heldout44", "unseen44"])
def test_evaluation_covers_many_weathers_day_and_night(name):
    seen = [
        (
            route.find("weathers/weather").attrib["sun_altitude_angle"],
            route.find("weathers/weather").attrib["fog_density"],
        )
        for route in _routes(name)
    ]
    assert len(set(seen)) >= 10
    night = np.mean([float(altitude) < 0 for altitude, _ in seen])
    assert 0.1 < night < 0.4


@pytest.mark.parametrize("name", SHIPPED)
def test_triggers_lie_on_the_lane_of_the_route(name, builder):
    for route in _routes(name):
        if not _type(route):
            continue
        x, y, z, yaw = _trigger(route)
        town = builder.town(route.attrib["town"])
        waypoint = town.map.get_waypoint(carla.Location(float(x), float(y), float(z)))
        # The client's nearest lane point is approximate on the outside of bends.
        assert waypoint.transform.location.distance(carla.Location(float(x), float(y), float(z))) < 0.3
        assert abs((waypoint.transform.rotation.yaw - yaw + 180) % 360 - 180) < 1.0
        assert KDTree(_points(route)[:, :2]).query((x, y))[0] < 10.0


@pytest.mark.parametrize(("name", "other_set"), [("heldout44", "embedded220"), ("unseen44", "heldout44")])
def test_held_out_places_and_parameters_differ(name, other_set):
    known = _routes(other_set)
    for route in _routes(name):
        for other in known:
            if _type(other) == _type(route) and other.attrib["town"] == route.attrib["town"]:
                assert np.linalg.norm((_trigger(other) - _trigger(route))[:3]) > 3.9


def test_demo_sets_are_what_the_command_writes(tmp_path):
    assert main(["embedded", "demo_eval", "demo_collect", "--towns", str(TOWNS), "--out", str(tmp_path)]) == 0
    for name in ("demo_eval", "demo_collect"):
        assert (tmp_path / f"{name}.xml").read_bytes() == (ROUTES / f"{name}.xml").read_bytes()


def test_collection_keeps_fifty_metres_from_evaluation(builder):
    taken = {
        town: KDTree(
            np.concatenate(
                [
                    _points(route)[:, :2]
                    for name in ("embedded220", "heldout44", "unseen44")
                    for route in _routes(name)
                    if route.attrib["town"] == town
                ]
            )
        )
        for town in EVALUATION_ZONES
    }
    rng = np.random.default_rng(0)
    for name in ("DynamicObjectCrossing", "HighwayExit", "T_Junction", "ParkingCutIn"):
        for town, zone in COLLECTION_ZONES.items():
            for number, row in enumerate(candidates(builder.town(town), recipe(name), rng, 0.25, zone)):
                assert taken[town].query(row.path.points[:, :2])[0].min() >= 50.0
                if number == 5:
                    break


def test_collection_offers_every_type_of_the_benchmark(builder):
    missing = []
    for row in RECIPES.values():
        rng = np.random.default_rng(1)
        towns = row.towns or COLLECTION_ZONES
        options = (c for t in towns for c in candidates(builder.town(t), row, rng, 0.0, COLLECTION_ZONES[t]))
        if next(options, None) is None:
            missing.append(row.type)
    assert not missing


def test_a_type_with_few_places_gets_other_parameters_there(builder):
    few = dataclasses.replace(SETS["collection"], counts={"MergerIntoSlowTraffic": 26})
    rows = builder.places(few)
    assert len(rows) == 26
    assert len({row.drive for row in rows}) == 26
    with pytest.raises(ValueError, match=r"26 routes of type MergerIntoSlowTraffic wanted, .* offer \d places"):
        Builder(TOWNS, builder.towns).places(dataclasses.replace(few, repeats=False))


def test_turns_are_what_they_are_called(builder):
    town = builder.town("Mini01")
    for start in town.starts(40.0):
        for turn in Turn:
            path = town.drive(start, 120, (turn,))
            if path is not None and path.passes:
                passed = path.passes[0]
                before, after = path.points[passed.enter], path.points[passed.exit]
                ahead = path.points[passed.enter] - path.points[passed.enter - 1] if passed.enter else None
                if ahead is not None:
                    side = ahead[0] * (after - before)[1] - ahead[1] * (after - before)[0]
                    angle = np.degrees(np.arctan2(side, ahead[:2] @ (after - before)[:2]))
                    # y points south, so positive angles turn to the right.
                    expected = {Turn.LEFT: angle < -15, Turn.RIGHT: angle > 15, Turn.STRAIGHT: abs(angle) < 15}
                    assert expected[turn]


def test_rules_at_junctions_are_found(builder):
    town = builder.town("Mini01")
    rules = {town.drive(start, 150, (Turn.LEFT,)) for start in town.starts(30.0)} - {None}
    seen = {passed.rule for path in rules for passed in path.passes}
    assert {Rule.LIGHT, Rule.STOP, Rule.NONE} <= seen


def test_keypoints_keep_off_junctions(builder):
    town = builder.town("Mini02")
    for start in town.starts(60.0)[:40]:
        path = town.drive(start, 200, ())
        inside = [i for i in keypoints(path)[1:-1] if path.waypoints[i].is_junction]
        assert not inside


def test_same_seed_same_places(builder):
    first, second = (
        [
            row.trigger_point.tolist()
            for row, _ in zip(
                candidates(builder.town("Mini02"), recipe("ParkingExit"), np.random.default_rng(4)), range(6)
            )
        ]
        for _ in range(2)
    )
    assert first == second


def test_weather_table_has_the_benchmarks_cases():
    assert len(WEATHERS) == 23
    assert {4, 16, 17, 24}.isdisjoint(WEATHERS)
    assert sum(row.is_night for row in WEATHERS.values()) == 6


def test_mistakes_are_named(capsys, tmp_path):
    assert main(["embedded", "embeded220", "--out", str(tmp_path)]) == 2
    assert "did you mean 'embedded220'" in capsys.readouterr().err
    assert main(["embedded", "demo_eval", "--towns", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no town 'Mini01'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="did you mean 'StaticCutIn'"):
        recipe("StaticCutin")


def test_a_town_file_that_is_missing_lists_those_there():
    with pytest.raises(FileNotFoundError, match="Mini02"):
        Town.load(TOWNS, "Town77")
