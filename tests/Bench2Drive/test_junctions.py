from __future__ import annotations

import dataclasses

import pytest

from Bench2Drive.abilities import ABILITIES, TRAFFIC_SIGNS, ability_table
from Bench2Drive.junctions import JunctionShares, read_route_infos
from Bench2Drive.results import merge_folder
from tests.leaderboard.shared import CARLA_TOWNS, PDM_LITE, ROUTES_220, needs_shared

TOWNS = {path.stem for path in CARLA_TOWNS.glob("*.xodr")}


@needs_shared
def test_traffic_sign_routes_reach_their_junction_inside_the_route() -> None:
    infos, by_id = read_route_infos(ROUTES_220)
    shares = JunctionShares(by_id, CARLA_TOWNS)
    routes = [info for info in infos if info.town in TOWNS and info.scenario_type in ABILITIES[TRAFFIC_SIGNS]]
    assert len(routes) == 6
    assert all(0.0 < shares(info) < 1.0 for info in routes)
    table = ability_table(merge_folder(PDM_LITE).records, routes, "0.0.4", shares)
    assert table.counted[TRAFFIC_SIGNS] == 6
    assert table.scores[TRAFFIC_SIGNS] is not None


@needs_shared
def test_route_without_junction_is_named() -> None:
    infos, by_id = read_route_infos(ROUTES_220)
    info = next(info for info in infos if info.town == "Town01" and info.scenario_type == "T_Junction")
    route = by_id[info.route_id]
    shortened = dataclasses.replace(route, keypoints=route.keypoints[:2])
    with pytest.raises(ValueError, match="meets no junction"):
        JunctionShares({info.route_id: shortened}, CARLA_TOWNS)(info)
