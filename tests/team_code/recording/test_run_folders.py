"""Where runs are recorded: one folder per route of a file, also where routes have the same ends and start in the same second."""

from __future__ import annotations

from pathlib import Path

import carla
import pytest

from driving.commands import RoadOption
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code.data_agent import DataAgent, find_driven_route

ROUTE = """<route id="{id}" town="Mini01"><waypoints><position x="0" y="0" z="0"/><position x="{x}" y="0" z="0"/></waypoints>
<scenarios><scenario name="a" type="{type}"/></scenarios></route>"""
SAME_SECOND = "file_route0_11_21_10_00_00"


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """Three routes; the first two are the same way with other scenarios."""
    rows = [("7", 50, "Accident"), ("8", 50, "ControlLoss"), ("9", 90, "ParkingExit")]
    texts = [ROUTE.format(id=name, x=x, type=kind) for name, x, kind in rows]
    path = tmp_path / "file.xml"
    path.write_text(f"<routes>{''.join(texts)}</routes>")
    return path


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, routes: Path):
    """An agent about to drive a route, by its id as the evaluator tells it."""
    monkeypatch.setattr(CarlaDataProvider, "get_hero_actor", classmethod(lambda cls: None))
    monkeypatch.setattr(DataAgent, "_town", lambda self: "Mini01")
    monkeypatch.setenv("SAVE_PATH", str(tmp_path / "data"))

    def make(route_id: str | None) -> DataAgent:
        made = DataAgent(str(routes), 0)
        made.org_dense_route_world_coord = plan(49.5)
        made.route_id = route_id
        return made

    return make


def plan(x: float) -> list[tuple[carla.Transform, RoadOption]]:
    return [(carla.Transform(carla.Location(x=at, y=0.3)), RoadOption.LANEFOLLOW) for at in (0.0, x)]


@pytest.mark.parametrize(
    ("x", "told", "found"),
    [
        (49.5, "7", "7"),
        (49.5, "8", "8"),
        (90.4, "9", "9"),
        (49.5, None, "7"),
        # The id of another file's route: its ends do not fit.
        (90.4, "7", "9"),
        (49.5, "77", "7"),
    ],
)
def test_a_route_is_known_by_its_id_and_by_its_ends_otherwise(
    routes: Path, x: float, told: str | None, found: str
) -> None:
    driven = find_driven_route(str(routes), plan(x), told)
    assert driven is not None
    assert (driven.route_id, driven.index) == (found, ("7", "8", "9").index(found))


def test_routes_with_the_same_ends_that_start_in_the_same_second_have_folders_and_seeds_of_their_own(
    agent, routes: Path
) -> None:
    agents = [agent("7"), agent("8")]
    for one in agents:
        one.setup(str(routes), SAME_SECOND)
    assert [one.run.path.name for one in agents] == [
        "TownMini01_Rep0_file_route0_11_21_10_00_00",
        "TownMini01_Rep0_file_route1_11_21_10_00_00",
    ]
    assert agents[0].seed != agents[1].seed
    for one, kind in zip(agents, ("Accident", "ControlLoss")):
        assert kind in one.run.route_path.read_text()
        one.destroy()


def test_names_of_route_files_that_look_like_a_route_stay_as_they_are(agent, routes: Path) -> None:
    """Else the runs of two files would pass for repetitions of one route, and the worse would be cleaned away."""
    names = []
    for stem in ("cut_route1_a", "cut_route2_a"):
        file = routes.with_name(f"{stem}.xml")
        file.write_text(routes.read_text())
        one = agent("8")
        one.setup(str(file), f"{stem}_route0_11_21_10_00_00")
        names.append(one.run.path.name)
        one.destroy()
    assert names == [f"TownMini01_Rep0_cut_route{n}_a_route1_11_21_10_00_00" for n in (1, 2)]


def test_a_run_whose_last_frames_are_lost_has_no_result(agent, routes: Path) -> None:
    def full_disk() -> None:
        raise OSError(28, "No space left on device")

    whole, cut = agent("7"), agent("8")
    for one in (whole, cut):
        one.setup(str(routes), SAME_SECOND)
    cut._writer.submit(full_disk)
    whole.destroy({"status": "Perfect"})
    with pytest.raises(OSError, match="No space left"):
        cut.destroy({"status": "Perfect"})
    assert whole.run.results_path.exists()
    assert not cut.run.results_path.exists()


def test_a_setup_that_failed_leaves_nothing_to_destroy_and_the_other_run_alone(agent, routes: Path) -> None:
    first, again = agent("7"), agent("7")
    first.setup(str(routes), SAME_SECOND)
    with pytest.raises(FileExistsError):
        again.setup(str(routes), SAME_SECOND)
    kept = sorted(first.run.path.rglob("*"))
    again.destroy({"status": "Failed - Agent couldn't be set up"})
    assert sorted(first.run.path.rglob("*")) == kept
    first.destroy()
