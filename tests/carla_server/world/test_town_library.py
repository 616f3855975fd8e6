"""A library of towns reads what lies in its folders now."""

from __future__ import annotations

from pathlib import Path

import pytest

from carla_server.map import MapError
from carla_server.world.towns import OPENDRIVE_MAP, TownLibrary

TOWN = """<OpenDRIVE><header revMajor="1" revMinor="4"/><road name="" length="{length}" id="1" junction="-1">
<planView><geometry s="0" x="0" y="0" hdg="0" length="{length}"><line/></geometry></planView>
<lanes><laneSection s="0"><center><lane id="0" type="none" level="false"/></center><right>
<lane id="-1" type="driving" level="false"><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane></right>
</laneSection></lanes></road></OpenDRIVE>"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    maps = tmp_path / "maps"
    maps.mkdir()
    return maps


def write(folder: Path, name: str, length: int) -> Path:
    path = folder / f"{name}.xodr"
    path.write_text(TOWN.format(length=length))
    return path


def test_a_town_is_read_again_when_its_file_changes_and_only_then(folder: Path) -> None:
    library = TownLibrary([folder])
    write(folder, "Short", 50)
    first = library.load("Short")
    assert library.load("/Game/Carla/Maps/Short") is first
    write(folder, "Short", 80)
    second = library.load("Short")
    assert second.xodr == TOWN.format(length=80)
    assert library.load("Short") is second
    write(folder, "Short", 50)
    assert library.load("Short").xodr == first.xodr


def test_a_town_that_appears_in_an_earlier_folder_takes_the_name(folder: Path) -> None:
    late = folder / "late"
    late.mkdir()
    write(late, "Short", 50)
    library = TownLibrary([folder, late])
    assert 'length="50"' in library.load("Short").xodr
    write(folder, "Short", 80)
    assert 'length="80"' in library.load("Short").xodr


def test_a_file_that_became_useless_is_told_and_a_mended_one_loads(folder: Path) -> None:
    library = TownLibrary([folder])
    path = write(folder, "Short", 50)
    library.load("Short")
    path.write_text("<OpenDRIVE>")
    with pytest.raises(MapError, match="Short"):
        library.load("Short")
    write(folder, "Short", 60)
    assert 'length="60"' in library.load("Short").xodr


def test_the_world_from_a_text_stays_whatever_else_is_loaded(folder: Path) -> None:
    library = TownLibrary([folder])
    library.keep_opendrive(TOWN.format(length=70))
    for number in range(6):
        write(folder, f"Town{number}", 50 + number)
        library.load(f"Town{number}")
    assert 'length="70"' in library.load(OPENDRIVE_MAP).xodr
