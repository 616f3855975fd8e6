from __future__ import annotations

from pathlib import Path

import carla
import pytest

from leaderboard.check_routes import check_file, main
from leaderboard.utils.route_parser import default_weather, write_routes_file
from leaderboard.utils.towns import TownNotFoundError, find_town
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration, WeatherKeypoint
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from srunner.tools.route_planner import GlobalRoutePlanner
from tests.leaderboard.scripted import mini_map
from tests.leaderboard.shared import CARLA_TOWNS, REPOSITORY, ROUTES_220, needs_shared


def street() -> tuple[list[carla.Location], list[carla.Transform]]:
    """Two keypoints 40 m apart on plain road, and the dense route between them."""
    road_map = mini_map()
    for start, _ in road_map.get_topology():
        ahead = [start]
        while len(ahead) < 40 and ahead[-1].next(1.0) and not ahead[-1].is_junction:
            ahead.append(ahead[-1].next(1.0)[0])
        if len(ahead) == 40:
            keypoints = [ahead[0].transform.location, ahead[-1].transform.location]
            route = GlobalRoutePlanner(road_map, 1.0).trace_route(*keypoints)
            return keypoints, [waypoint.transform for waypoint, _ in route]
    raise AssertionError("the town has no such street")


@pytest.mark.parametrize("name", ["demo_eval", "demo_collect", "embedded22", "heldout44", "unseen44"])
def test_shipped_routes_have_no_errors(name: str) -> None:
    count, findings = check_file(REPOSITORY / "data" / "routes" / f"{name}.xml", [])
    assert count > 0
    assert [finding for finding in findings if finding.severity.value == "error"] == []


@needs_shared
def test_official_routes_on_the_known_towns_have_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    towns = "Town01,Town02,Town05,Town10HD"
    assert main([str(ROUTES_220), "--towns", str(CARLA_TOWNS), "--towns-only", towns]) == 0
    printed = capsys.readouterr().out
    assert "21 routes, 0 errors" in printed
    assert "route 24240 same geometry as 24330, 24340" in printed


def test_every_kind_of_mistake_is_found(tmp_path: Path) -> None:
    keypoints, dense = street()
    far = carla.Location(keypoints[0].x + 9000, keypoints[0].y, 0.0)
    back = [dense[30].location, dense[10].location]
    on, off = dense[5], carla.Transform(dense[5].location, carla.Rotation(yaw=dense[5].rotation.yaw + 90))
    weather = [WeatherKeypoint(0.0, default_weather())]

    def route(name: str, points: list[carla.Location], *scenarios: ScenarioConfiguration) -> RouteScenarioConfiguration:
        return RouteScenarioConfiguration(f"RouteScenario_{name}", name, "Mini01", points, list(scenarios), weather)

    routes = [
        route("1", keypoints),
        route("2", [keypoints[0], far]),
        route("3", back),
        route("4", keypoints, ScenarioConfiguration("A_1", "ParkedObstacl", [on])),
        route("5", keypoints, ScenarioConfiguration("A_1", "HardBreakRoute", [off])),
        RouteScenarioConfiguration("RouteScenario_6", "6", "Atlantis", keypoints, [], weather, has_weather=False),
    ]
    write_routes_file(tmp_path / "r.xml", routes)
    _, findings = check_file(tmp_path / "r.xml", [])
    kinds = {(finding.route_id, finding.kind) for finding in findings}
    assert not any(route_id == "1" and kind != "same_geometry" for route_id, kind in kinds)
    assert {("2", "off_road"), ("3", "jump"), ("4", "scenario"), ("5", "trigger"), ("6", "no_town")} <= kinds
    assert any("did you mean ParkedObstacle" in finding.text for finding in findings)


def test_towns_are_looked_for_in_carla_installations_too(tmp_path: Path) -> None:
    maps = tmp_path / "CarlaUE4" / "Content" / "Carla" / "Maps"
    (maps / "Town99" / "OpenDrive").mkdir(parents=True)
    (maps / "Town99" / "OpenDrive" / "Town99.xodr").write_text("<OpenDRIVE/>")
    assert find_town("Town99", [tmp_path]).name == "Town99.xodr"
    assert find_town("Mini01").name == "Mini01.xodr"
    with pytest.raises(TownNotFoundError, match="no map of Town98; looked at"):
        find_town("Town98", [tmp_path])
