from __future__ import annotations

import carla
import numpy as np
import pytest

from driving.commands import RoadOption
from leaderboard.utils.route_manipulation import (
    downsample_route,
    geo_reference,
    gps_to_location,
    location_to_gps,
    route_length,
)

FOLLOW, LEFT, CHANGE = RoadOption.LANEFOLLOW, RoadOption.LEFT, RoadOption.CHANGELANELEFT


def straight(options: list[RoadOption]) -> list[tuple[carla.Transform, RoadOption]]:
    return [(carla.Transform(carla.Location(float(i), 0.0, 0.0)), option) for i, option in enumerate(options)]


@pytest.mark.parametrize("reference", [(0.0, 0.0), (42.0, 2.0), (49.0, 8.0), (-33.9, 151.2)])
def test_gps_and_back(reference: tuple[float, float]) -> None:
    for x, y in np.random.default_rng(0).uniform(-5000, 5000, (50, 2)):
        location = carla.Location(float(x), float(y), 1.5)
        gps = location_to_gps(*reference, location)
        back = gps_to_location(*reference, gps)
        assert abs(back.x - location.x) < 2e-3
        assert abs(back.y - location.y) < 2e-3
        again = location_to_gps(*reference, back)
        assert abs(again["lat"] - gps["lat"]) < 1e-7
        assert abs(again["lon"] - gps["lon"]) < 1e-7


def test_north_is_negative_y() -> None:
    """One degree of latitude is 111.3 km on the projection's sphere, at latitude 0 also of longitude."""
    gps = location_to_gps(0.0, 0.0, carla.Location(1000.0, -1000.0, 0.0))
    assert gps["lat"] == pytest.approx(1 / 111.3195, rel=1e-5)
    assert gps["lon"] == pytest.approx(1 / 111.3195, rel=1e-5)


def test_reference_comes_from_the_header() -> None:
    assert geo_reference("<geoReference><![CDATA[+proj=tmerc +lat_0=49.5 +lon_0=-8e0 +k=1]]></geoReference>") == (
        49.5,
        -8.0,
    )
    assert geo_reference("<header/>") == (42.0, 2.0)


def test_long_straights_are_thinned_by_distance() -> None:
    assert downsample_route(straight([FOLLOW] * 120), 50) == [0, 52, 104, 119]


def test_every_point_of_a_lane_change_is_kept() -> None:
    options = [FOLLOW] * 5 + [CHANGE] * 3 + [FOLLOW] * 5 + [LEFT] * 4
    assert downsample_route(straight(options), 200) == [0, 5, 6, 7, 13, 16]


def test_length_counts_three_dimensions() -> None:
    route = straight([FOLLOW] * 3)
    route[0][0].location.z = 1.0
    assert route_length(route) == pytest.approx(2**0.5 + 1.0)
