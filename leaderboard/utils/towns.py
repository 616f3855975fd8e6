"""Finds the OpenDRIVE file of a town, for tools that need no simulator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

OWN_TOWNS = Path(__file__).parents[2] / "data" / "towns"


class TownNotFoundError(FileNotFoundError):
    """A town's OpenDRIVE file is in none of the places where it is looked for."""


def is_own_town(name: str) -> bool:
    """Whether a town is one of those that come with this repository; as a client names it, or by its bare name."""
    return (OWN_TOWNS / f"{name.rsplit('/', 1)[-1]}.xodr").is_file()


def find_town(name: str, folders: Sequence[str | os.PathLike[str]] = ()) -> Path:
    """The OpenDRIVE file of a town.

    Args:
        name: Map name, e.g. ``Town01``.
        folders: Folders with ``<name>.xodr`` or roots of CARLA installations; our own towns are looked for after them.

    Raises:
        TownNotFoundError: The message lists the places.
    """
    places: list[Path] = []
    for folder in folders:
        maps = Path(folder) / "CarlaUE4" / "Content" / "Carla" / "Maps"
        places += [
            Path(folder) / f"{name}.xodr",
            maps / "OpenDrive" / f"{name}.xodr",
            maps / name / "OpenDrive" / f"{name}.xodr",
        ]
    places.append(OWN_TOWNS / f"{name}.xodr")
    for place in places:
        if place.is_file():
            return place
    raise TownNotFoundError(f"no map of {name}; looked at " + ", ".join(map(str, places)))
