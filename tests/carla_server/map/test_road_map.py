"""Reading OpenDRIVE and finding lanes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from carla_server.map import MapError, RoadMap
from carla_server.map.generator.curves import Pose, connect, polyline

HEAD = "<OpenDRIVE><header><geoReference>+proj=tmerc +lat_0=49 +lon_0=8</geoReference></header>"
ROAD = """<road name="r" length="{length}" id="1" junction="-1">
<planView>{geometry}</planView>
<elevationProfile><elevation s="0" a="2" b="0.05" c="0" d="0"/></elevationProfile>
<lanes><laneSection s="0">
<left><lane id="1" type="driving"><width sOffset="0" a="3" b="0" c="0" d="0"/></lane></left>
<center><lane id="0" type="none"/></center>
<right><lane id="-1" type="driving"><width sOffset="0" a="3" b="0.02" c="0" d="0"/></lane>
<lane id="-2" type="sidewalk"><width sOffset="0" a="2" b="0" c="0" d="0"/></lane></right>
</laneSection></lanes></road>"""
LINE = '<geometry s="0" x="10" y="20" hdg="0" length="50"><line/></geometry>'


def _map(geometry: str = LINE, length: float = 50) -> RoadMap:
    return RoadMap.from_xodr(HEAD + ROAD.format(length=length, geometry=geometry) + "</OpenDRIVE>", "test")


def test_y_points_south_and_right_lanes_lie_south_of_an_eastward_road():
    found = _map().locate(30, -20 + 1.7, 3)
    assert (found.key.lane, found.s, found.yaw) == (-1, pytest.approx(20), pytest.approx(0))
    # Lane -1 is 3.4 m wide there, so its middle lies 1.7 m south of the reference line.
    assert found.offset == pytest.approx(0, abs=1e-3)
    assert found.width == pytest.approx(3.4)


def test_offset_is_positive_to_the_drivers_right_on_both_sides():
    assert _map().locate(30, -20 + 2.2).offset == pytest.approx(0.5, abs=1e-3)
    assert _map().locate(30, -20 - 2.0).offset == pytest.approx(0.5, abs=1e-3)


def test_height_follows_the_elevation_and_the_kerb():
    assert _map().locate(30, -20 + 1.0).z == pytest.approx(2 + 0.05 * 20)
    assert _map().locate(30, -20 + 4.0).z == pytest.approx(2 + 0.05 * 20 + 0.15)


@pytest.mark.parametrize("x", [float("nan"), float("inf"), 1e12, -500.0])
def test_points_off_the_network_are_nowhere(x):
    assert _map().locate(x, 0.0) is None


@pytest.mark.parametrize(
    ("shape", "end"),
    [
        ("<line/>", (50, 0)),
        ('<arc curvature="0.02"/>', (50 * np.sin(1), 50 * (1 - np.cos(1)))),
        # Fresnel integrals for a clothoid of 50 m from curvature 0 to 0.02, by series to 1e-6.
        ('<spiral curvStart="0" curvEnd="0.02"/>', (48.764384, 8.185702)),
        ('<poly3 a="0" b="0" c="0.001" d="0"/>', (50, 2.5)),
        ('<paramPoly3 aU="0" bU="40" cU="0" dU="0" aV="0" bV="0" cV="9" dV="0" pRange="normalized"/>', (40, 9)),
    ],
)
def test_reference_lines_end_where_calculus_says(shape, end):
    geometry = f'<geometry s="0" x="0" y="0" hdg="0" length="50">{shape}</geometry>'
    last = _map(geometry).lanes[0].inner[-1]
    np.testing.assert_allclose(last[:2], (end[0], -end[1]), atol=2e-3)


def test_locate_agrees_with_polygons(mini01):
    rng = np.random.default_rng(3)
    low, high = mini01.bounds
    points = rng.uniform(low, high, (3000, 3)) * (1, 1, 0)
    lanes, _ = mini01.locate_many(points)
    strips = [shapely.Polygon(np.concatenate((lane.inner, lane.outer[::-1]))[:, :2]) for lane in mini01.lanes]
    tree = shapely.STRtree(strips)
    where = shapely.points(points[:, :2])
    inside = np.zeros(len(points), bool)
    inside[tree.query(where, predicate="within")[0]] = True
    np.testing.assert_array_equal(lanes >= 0, inside)
    for row in np.flatnonzero(lanes >= 0):
        assert strips[lanes[row]].distance(where[row]) < 0.02


def test_bridges_are_told_apart_by_height():
    lower, upper = ROAD.format(length=50, geometry=LINE), ROAD.format(length=50, geometry=LINE)
    upper = upper.replace('id="1" junction', 'id="2" junction').replace('a="2" b="0.05"', 'a="9" b="0.05"')
    road_map = RoadMap.from_xodr(HEAD + lower + upper + "</OpenDRIVE>", "bridge")
    assert road_map.locate(30, -18, 3.0).key.road == 1
    assert road_map.locate(30, -18, 10.0).key.road == 2


def test_nearest_lane_of_a_point_beside_the_road():
    found, distance = _map().nearest(30, -20 + 21.7)
    assert (found.key.lane, distance) == (-1, pytest.approx(20, abs=0.01))


def test_origin_on_the_globe_is_read():
    origin = _map().geo_reference
    assert (origin.latitude, origin.longitude) == (49, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<OpenDRIVE><road", "not well-formed"),
        ("<html/>", "root element <html>"),
        ("<OpenDRIVE/>", "no <road>"),
        (HEAD + '<road id="7" length="5"/></OpenDRIVE>', "road 7: 0 geometries"),
        (HEAD + ROAD.format(length="nan", geometry=LINE) + "</OpenDRIVE>", "finite"),
        (HEAD + ROAD.format(length=9, geometry=LINE.replace("<line/>", "")) + "</OpenDRIVE>", "none of the shapes"),
        (
            (HEAD + ROAD.format(length=9, geometry=LINE) + "</OpenDRIVE>").replace(
                "<planView>", '<type s="0" type="town"><speed max="30" unit="furlong"/></type><planView>'
            ),
            "unit='furlong'; expected one of",
        ),
    ],
)
def test_bad_files_are_named_with_their_fault(text, message):
    with pytest.raises(MapError, match=message):
        RoadMap.from_xodr(text, "broken")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MapError, match=r"nowhere\.xodr"):
        RoadMap.load(tmp_path / "nowhere.xodr")


def test_connections_arrive_where_they_should():
    rng = np.random.default_rng(5)
    for _ in range(200):
        start = Pose(*rng.uniform(-5, 5, 2), rng.uniform(-3, 3))
        goal = start.moved(rng.uniform(8, 30), rng.uniform(-20, 20)).turned(rng.uniform(-2, 2))
        end = connect(start, goal).end
        assert np.hypot(end.x - goal.x, end.y - goal.y) < 1e-6
        assert abs((end.heading - goal.heading + np.pi) % (2 * np.pi) - np.pi) < 1e-6


def test_rounded_polyline_ends_at_its_last_corner():
    curve = polyline([(0, 0, 0), (100, 0, 20), (100, 80, 0)])
    assert (curve.end.x, curve.end.y) == (pytest.approx(100), pytest.approx(80))
    assert curve.length == pytest.approx(180 - 2 * 20 + 20 * np.pi / 2)


def test_a_bend_without_room_is_refused():
    with pytest.raises(ValueError, match="lacks"):
        polyline([(0, 0, 0), (10, 0, 20), (10, 10, 0)])
