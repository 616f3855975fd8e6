"""Laws of the store of built towns: what comes back is what was built, and damage costs time, never a wrong town."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carla_server import store
from carla_server.map import RoadMap
from carla_server.world.towns import OWN_TOWNS, read_town
from carla_server.world.world import scenery


class Builder:
    """Builds an array and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.count += 1
        return {"numbers": np.arange(1000.0), "bytes": np.full((3, 5), 7, np.uint8)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return store.folder()


def same(found: dict[str, np.ndarray], build: Callable[[], dict[str, np.ndarray]]) -> bool:
    wanted = build()
    return found.keys() == wanted.keys() and all(np.array_equal(found[key], wanted[key]) for key in wanted)


def test_a_town_is_built_once_and_comes_back_equal() -> None:
    build = Builder()
    for _ in range(3):
        assert same(store.kept("Here", "text", build), Builder())
    assert build.count == 1


@pytest.mark.parametrize(("name", "text"), [("There", "text"), ("Here", "other text")])
def test_another_name_or_text_is_another_town(name: str, text: str) -> None:
    build = Builder()
    store.kept("Here", "text", build)
    store.kept(name, text, build)
    assert build.count == 2


def test_writing_to_a_town_changes_nobody_elses() -> None:
    store.kept("Here", "text", Builder())
    first = store.kept("Here", "text", Builder())
    first["numbers"][:] = -1.0
    assert same(store.kept("Here", "text", Builder()), Builder())


@pytest.mark.parametrize("keep", [0, 4, 40, 300, -1])
def test_a_damaged_entry_is_built_again(cache: Path, keep: int) -> None:
    build = Builder()
    store.kept("Here", "text", build)
    (entry,) = cache.glob("*.town")
    entry.write_bytes(entry.read_bytes()[:keep])
    assert same(store.kept("Here", "text", build), Builder())
    assert build.count == 2
    assert same(store.kept("Here", "text", build), Builder())
    assert build.count == 2


def test_a_folder_that_cannot_be_written_only_costs_time(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("not a folder")
    build = Builder()
    assert same(store.kept("Here", "text", build), Builder())
    assert same(store.kept("Here", "text", build), Builder())
    assert build.count == 2


def test_old_entries_of_a_town_are_removed(cache: Path) -> None:
    for number in range(5):
        store.kept("Here", f"text {number}", Builder())
    store.kept("There", "text", Builder())
    assert len([*cache.glob("Here-*.town")]) == store.KEPT_PER_TOWN
    assert len([*cache.glob("There-*.town")]) == 1
    assert not [*cache.glob(".new-*")]


def differences(a: Any, b: Any, path: str) -> Iterator[str]:
    """Where two things differ in type, value, memory layout or order."""
    if type(a) is not type(b):
        yield f"{path}: {type(a)} and {type(b)}"
    elif isinstance(a, np.ndarray):
        layouts = [(part.flags.c_contiguous, part.flags.f_contiguous, part.flags.writeable) for part in (a, b)]
        if a.dtype != b.dtype or a.tobytes() != b.tobytes() or layouts[0] != layouts[1]:
            yield f"{path}: other numbers, or laid out otherwise"
    elif isinstance(a, Mapping):
        yield from differences([*a], [*b], f"{path} keys")
        yield from differences([*a.values()], [*b.values()], path)
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            yield f"{path}: {len(a)} and {len(b)}"
        for number, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{path}[{number}]")
    elif hasattr(a, "__dict__") and not isinstance(a, Enum):
        yield from differences(a.__dict__, b.__dict__, path)
    elif a != b and a == a:
        yield f"{path}: {a!r} and {b!r}"


class Trap:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def test_an_entry_that_somebody_else_wrote_runs_no_code(cache: Path, tmp_path: Path) -> None:
    store.kept("Here", "text", lambda: {"trap": Trap(tmp_path / "sprung")})
    build = Builder()
    assert same(store.kept("Here", "text", build), Builder())
    assert build.count == 1
    assert not (tmp_path / "sprung").exists()


@pytest.mark.usefixtures("cache")
def test_a_kept_road_network_is_the_one_in_the_file() -> None:
    path = OWN_TOWNS / "Mini01.xodr"
    fresh = RoadMap.load(path)
    _ = fresh.lane_grid
    read_town(path)
    assert [*differences(fresh, read_town(path), "Mini01")] == []


@pytest.mark.usefixtures("cache")
def test_ground_and_kerbs_of_a_kept_town_are_those_of_a_new_one() -> None:
    found = []
    for _ in range(2):
        scenery.cache_clear()
        found.append(scenery(read_town(OWN_TOWNS / "Mini01.xodr")))
    scenery.cache_clear()
    assert [*differences(found[0][1:], found[1][1:], "Mini01")] == []
