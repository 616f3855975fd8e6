"""Laws of the store of built towns: what comes back is what was built, and damage costs time, never a wrong town."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from carla_server.sensors import store


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
