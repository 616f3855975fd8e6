"""Runs that are odd in themselves but whole enough to be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_generation import viewer
from dataset_generation.runs import RouteFacts, route_facts
from driving.records import RecordError, RunFolder

ROUTE = """<routes><route id="1" town="Town12"><weathers><weather name="ClearNoon" cloudiness="5.0"/></weathers>
<scenarios><scenario name="a" type="Accident"/></scenarios></route></routes>"""


def make_run(root: Path, number: int) -> RunFolder:
    run = RunFolder(root, Path(f"simlingo/Town12_Rep0_short_route{number}_01_01_00_00_00"))
    (run.path / "measurements").mkdir(parents=True)
    return run


def test_words_beside_the_numbers_of_a_weather_cost_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, 0)
    run.route_path.write_text(ROUTE)
    assert route_facts(run) == RouteFacts("Town12", ("Accident",), {"cloudiness": 5.0})
    run.route_path.write_text(ROUTE[:80])
    with pytest.raises(RecordError, match="not the copy of a route file"):
        route_facts(run)


def test_a_run_that_cannot_be_shown_costs_the_others_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run(tmp_path, number) for number in range(3)]

    def write_page(run: RunFolder, out: Path, *_: object, **__: object) -> None:
        if run == runs[1]:
            raise ValueError(f"{run.path}: nothing to show")
        out.parent.mkdir(exist_ok=True)
        out.write_text(run.name)

    monkeypatch.setattr(viewer, "write_page", write_page)
    assert viewer.main(["--data", str(tmp_path), "--all", "--out", str(tmp_path / "pages")]) == 1
    assert sorted(page.stem for page in (tmp_path / "pages").iterdir()) == [runs[0].name, runs[2].name]
    assert f"left out: {runs[1].path}: nothing to show" in capsys.readouterr().err
