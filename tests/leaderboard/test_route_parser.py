from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from leaderboard.utils.route_indexer import index_runs
from leaderboard.utils.route_parser import RouteFileError, RouteParser, select_routes, write_routes_file
from leaderboard.utils.weather_ids import find_weather_id
from tests.leaderboard.shared import ROUTES_220, needs_shared

ROUTE = """<routes>
  <route id="7" town="Mini01" road_id="4">
    <scenarios>
      <scenario name="Accident_1" type="Accident">
        <trigger_point x="1" y="2" z="0.5" yaw="90" pitch="360" roll="3"/>
        <distance value="60"/>
        <frequency from="20" to="100"/>
      </scenario>
    </scenarios>
    <weathers>
      <weather route_percentage="100" cloudiness="80"/>
      <weather route_percentage="0" cloudiness="20" sun_altitude_angle="-5"/>
    </weathers>
    <waypoints><position x="0" y="0" z="0"/><position x="10" y="0" z="0"/></waypoints>
  </route>
</routes>"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "routes.xml"
    path.write_text(text, encoding="utf-8")
    return path


def test_route_is_read_whatever_the_order_of_its_children(tmp_path: Path) -> None:
    (route,) = RouteParser.parse_routes_file(write(tmp_path, ROUTE))
    assert (route.name, route.town, len(route.keypoints)) == ("RouteScenario_7", "Mini01", 2)
    assert [(k.percentage, k.weather.cloudiness, k.weather.sun_altitude_angle) for k in route.weather] == [
        (0.0, 20.0, -5.0),
        (100.0, 80.0, 70.0),
    ]
    (scenario,) = route.scenario_configs
    rotation = scenario.trigger_points[0].rotation
    assert (rotation.yaw, rotation.pitch, rotation.roll) == (90.0, 0.0, 0.0)
    assert scenario.other_parameters == {"distance": {"value": "60"}, "frequency": {"from": "20", "to": "100"}}


def test_route_without_weather_gets_the_default(tmp_path: Path) -> None:
    start, end = ROUTE.index("    <weathers>"), ROUTE.index("    <waypoints>")
    (route,) = RouteParser.parse_routes_file(write(tmp_path, ROUTE[:start] + ROUTE[end:]))
    (keypoint,) = route.weather
    weather = keypoint.weather
    assert (keypoint.percentage, weather.sun_altitude_angle, weather.cloudiness) == (0.0, 70.0, 50.0)
    assert not route.has_weather


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</routes>", "", "not a complete XML file"),
        ('<position x="10"', '<position x="nan"', "line 14: <position> needs a number 'x', got 'nan'"),
        ('<trigger_point x="1"', '<trigger_point x="here"', "line 5: <trigger_point> needs a number 'x', got 'here'"),
        ("waypoints>", "points>", "line 2: route '7' has no <waypoints> element"),
        ('<position x="10" y="0" z="0"/>', "", "needs at least two positions, got 1"),
        ('type="Accident"', "", "line 4: <scenario> needs the attribute 'type'"),
        ('route id="7"', 'route id="../7"', "line 2: route id '../7' must hold no comma, no slash"),
        ('route id="7"', 'route id="7,8"', "line 2: route id '7,8' must hold no comma, no slash"),
        ('route id="7"', 'route id="7 "', "line 2: route id '7 ' must hold no comma, no slash and no blank"),
        ("</routes>", ROUTE[ROUTE.index("  <route ") :], "route id '7' occurs 2 times"),
    ],
)
def test_broken_files_are_refused_with_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(RouteFileError, match=r"routes\.xml") as caught:
        RouteParser.parse_routes_file(write(tmp_path, ROUTE.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("subset", "selected"),
    [
        ("", ["3", "1", "7", "5"]),
        ("5, 3", ["3", "5"]),
        ("1-5", ["1", "7", "5"]),
        ("3,7-5", ["3", "7", "5"]),
        (" 1 - 5 ,3", ["3", "1", "7", "5"]),
    ],
)
def test_subsets_filter_in_file_order(subset: str, selected: list[str]) -> None:
    assert select_routes(["3", "1", "7", "5"], subset) == selected


def test_subsets_find_ids_that_are_no_numbers() -> None:
    ids = ["left turn 1", "a-b", "a", "b"]
    assert select_routes(ids, "left turn 1, a-b") == ["left turn 1", "a-b"]
    assert select_routes(ids, "a-b, a - b") == ["a-b", "a", "b"]


@pytest.mark.parametrize(
    ("subset", "message"),
    [("2", "'2'"), ("3-9", "'9'"), ("5-1", "ends before it starts"), ("1,3-7", "1 more than once")],
)
def test_bad_subsets_are_refused(subset: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_routes(["3", "1", "7", "5"], subset)


def test_runs_repeat_each_route_before_the_next(tmp_path: Path) -> None:
    path = write(tmp_path, ROUTE.replace("</routes>", ROUTE[ROUTE.index("  <route ") :].replace('id="7"', 'id="9"')))
    runs = index_runs(path, repetitions=2)
    assert [run.run_id for run in runs] == [f"RouteScenario_{i}_rep{k}" for i in (7, 9) for k in (0, 1)]
    assert [run.index for run in runs] == [0, 1, 2, 3]


@needs_shared
def test_official_220_routes_survive_writing_and_reading(tmp_path: Path) -> None:
    routes = RouteParser.parse_routes_file(ROUTES_220)
    write_routes_file(tmp_path / "again.xml", routes)
    again = RouteParser.parse_routes_file(tmp_path / "again.xml")
    assert len(routes) == 220
    for a, b in zip(routes, again, strict=True):
        assert (a.route_id, a.town, a.keypoints) == (b.route_id, b.town, b.keypoints)
        assert [(k.percentage, k.weather) for k in a.weather] == [(k.percentage, k.weather) for k in b.weather]
        for s, t in zip(a.scenario_configs, b.scenario_configs, strict=True):
            assert (s.name, s.type, s.other_parameters) == (t.name, t.type, t.other_parameters)
            assert s.trigger_points == t.trigger_points


@needs_shared
def test_official_220_routes_have_the_published_composition() -> None:
    routes = RouteParser.parse_routes_file(ROUTES_220)
    assert Counter(route.town for route in routes) == {
        "Town12": 104, "Town13": 47, "Town04": 12, "Town03": 11, "Town05": 9, "Town11": 7, "Town15": 7, "Town06": 6,
        "Town07": 5, "Town01": 4, "Town02": 4, "Town10HD": 4,
    }  # fmt: skip
    types = Counter(scenario.type for route in routes for scenario in route.scenario_configs)
    assert len(types) == 44
    assert set(types.values()) == {5}
    ids = Counter(find_weather_id(route.weather[0].weather) for route in routes)
    assert ids == {
        "0": 27, "25": 22, "6": 15, "18": 14, "11": 13, "5": 12, "15": 10, "8": 10, "1": 9, "9": 9, "14": 9, "19": 9,
        "10": 8, "12": 8, "23": 8, "7": 7, "3": 5, "13": 5, "20": 5, "21": 5, "22": 4, "2": 3, "26": 3,
    }  # fmt: skip
