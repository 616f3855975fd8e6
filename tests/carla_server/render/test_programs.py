"""Programs that show a town take it by the same argument."""

from __future__ import annotations

import argparse

import pytest

from carla_server.sensors import benchmark, contact_sheet, showcase


def test_a_town_is_named_or_given_by_path() -> None:
    parser = argparse.ArgumentParser()
    showcase.add_town(parser)
    assert parser.parse_args([]).town.name == "Mini01"
    path = str(showcase.OWN_TOWNS / "Mini01.xodr")
    assert parser.parse_args(["--town", path]).town.name == "Mini01"


@pytest.mark.parametrize("program", [benchmark, contact_sheet])
def test_a_town_that_is_not_there_is_told_and_ends_with_status_2(
    program: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["--town", "Town99"])  # type: ignore[attr-defined]
    assert ended.value.code == 2
    assert "Town99.xodr" in capsys.readouterr().err
