"""The lane index says what `carla.Map` says, or nothing."""

from __future__ import annotations

import random

import carla
import pytest

from srunner.tools import lane_index
from srunner.tools.lane_index import Lane, LaneIndex
from tests.scenario_runner.drives import load_map

TOWNS = ("Mini01", "Mini02", "Mini03")


def places_around(road_map: carla.Map, spread_m: float, count: int) -> list[carla.Location]:
    rng = random.Random(3)
    centres = [waypoint.transform.location for waypoint in road_map.generate_waypoints(3.0)]
    return [
        carla.Location(
            centre.x + rng.gauss(0.0, spread_m), centre.y + rng.gauss(0.0, spread_m), centre.z + rng.random()
        )
        for centre in rng.choices(centres, k=count)
    ]


@pytest.mark.parametrize("town", TOWNS)
def test_what_the_index_knows_is_what_the_map_says(town: str) -> None:
    road_map = load_map(town)
    index = LaneIndex(road_map)
    known = 0
    for spread_m in (0.2, 1.0, 4.0):
        for place in places_around(road_map, spread_m, 3000):
            lane, waypoint = index.at(place), road_map.get_waypoint(place)
            if lane is not None:
                known += 1
                assert (lane.key, lane.is_junction) == (Lane.of(waypoint).key, waypoint.is_junction), place
                assert waypoint.lane_width > lane.width - 1e-3
    assert known > 3000


def test_on_roads_most_places_are_known() -> None:
    road_map = load_map("Mini01")
    index = LaneIndex(road_map)
    places = [w.transform.location for w in road_map.generate_waypoints(5.0) if not w.is_junction]
    assert sum(index.at(place) is not None for place in places) > 0.8 * len(places)


def test_beside_all_lanes_and_in_huge_towns_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    road_map = load_map("Mini01")
    assert LaneIndex(road_map).at(carla.Location(1e5, -1e5, 0.0)) is None
    place = road_map.generate_waypoints(5.0)[0].transform.location
    assert LaneIndex(road_map).at(carla.Location(place.x, place.y, place.z + 50.0)) is None
    monkeypatch.setattr(lane_index, "MAX_CHARACTERS", 1000)
    assert LaneIndex(road_map).at(place) is None
