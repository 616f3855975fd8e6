"""Towns by name: OpenDRIVE files in the folders where they may lie, read again only where they changed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from carla_server import store
from carla_server.map import MapError, RoadMap
from carla_server.map.road_map import read_text

#: Towns that come with this repository.
OWN_TOWNS = Path(__file__).resolve().parents[2] / "data" / "towns"
#: How many towns are kept in memory at once.
KEPT_TOWNS = 4
#: Name of the town that `generate_opendrive_world` makes.
OPENDRIVE_MAP = "OpenDriveMap"


#: File, time of its last change in nanoseconds, and size: equal stamps, equal towns.
Stamp = tuple[Path, int, int]


class UnknownTownError(ValueError):
    """There is no such town."""


def read_town(path: Path) -> RoadMap:
    """Read a town's file; what is made of it is kept on disk.

    Raises:
        MapError: It is missing or not a usable road network.
    """
    text = read_text(path)

    def build() -> RoadMap:
        road_map = RoadMap.from_xodr(text, path.stem)
        _ = road_map.lane_grid  # every server needs it; made now it is kept too
        return road_map

    return store.kept(path.stem, text, build, "map", ("map",))


def stamp_of(path: Path) -> Stamp:
    """Which file this is, and as of when.

    Raises:
        MapError: It is missing.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise MapError(f"cannot read the road network {path}: {error}") from None
    return path, state.st_mtime_ns, state.st_size


class TownLibrary:
    """Finds towns in `folders`, then in the maps of a CARLA installation, then among our own.

    Args:
        folders: Where `<Name>.xodr` files lie; earlier folders win.
        carla_root: CARLA installation, as the environment variable CARLA_ROOT; None if there is none.
    """

    def __init__(self, folders: Iterable[Path] = (), carla_root: Path | None = None) -> None:
        self._folders = [*folders]
        if carla_root is not None:
            self._folders += sorted(folder for folder in carla_root.glob("**/OpenDrive") if folder.is_dir())
        self._folders.append(OWN_TOWNS)
        self._kept: dict[str, tuple[Stamp, RoadMap]] = {}
        self._opendrive: RoadMap | None = None

    @classmethod
    def standard(cls, folders: Iterable[Path] = ()) -> TownLibrary:
        """Library with the folders of the command line and the environment."""
        root = os.environ.get("CARLA_ROOT")
        return cls(folders, Path(root) if root else None)

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            yield from sorted(folder.glob("*.xodr"))

    def names(self) -> list[str]:
        """Names of all towns."""
        return list(dict.fromkeys(path.stem for path in self._files()))

    def keep_opendrive(self, text: str) -> None:
        """Keep a text as the town `OPENDRIVE_MAP`.

        Raises:
            MapError: The text is not a usable road network.
        """
        self._opendrive = RoadMap.from_xodr(text, OPENDRIVE_MAP)

    def load(self, name: str) -> RoadMap:
        """Read a town by bare name (`Town01`) or by a path as CARLA writes it (`/Game/Carla/Maps/Town01`).

        Raises:
            UnknownTownError: There is no town of this name.
            MapError: Its file is not a usable road network.
        """
        bare = name.rstrip("/").rpartition("/")[2].removesuffix("_Opt")
        if bare == OPENDRIVE_MAP and self._opendrive is not None:
            return self._opendrive
        path = next((path for path in self._files() if path.stem == bare), None)
        if path is None:
            names = self.names()
            close = difflib.get_close_matches(bare, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known towns: {', '.join(names) or 'none'}"
            raise UnknownTownError(f"Map '{name}' not found; {hint}")
        stamp = stamp_of(path)
        before, road_map = self._kept.pop(bare, (None, None))
        if road_map is None or before != stamp:
            road_map = read_town(path)
        while len(self._kept) >= KEPT_TOWNS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[bare] = stamp, road_map
        return road_map


__all__ = ["OPENDRIVE_MAP", "MapError", "TownLibrary", "UnknownTownError"]
