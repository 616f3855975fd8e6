"""Road networks for the tests: our own towns, and CARLA's where they are at hand."""

from __future__ import annotations

from pathlib import Path

import carla
import pytest

from carla_server.map import RoadMap

REPOSITORY = Path(__file__).parents[3]
OWN = sorted((REPOSITORY / "data" / "towns").glob("*.xodr"))
FOREIGN = sorted((REPOSITORY.parent / "shared" / "carla_towns").glob("*.xodr"))


class Pair:
    """A road network as we read it and as CARLA's client reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ours = RoadMap.load(path)
        self.theirs = carla.Map(path.stem, self.ours.xodr)


_PAIRS: dict[Path, Pair] = {}


def _pair(path: Path) -> Pair:
    if path not in _PAIRS:
        _PAIRS[path] = Pair(path)
    return _PAIRS[path]


@pytest.fixture(params=OWN, ids=lambda path: path.stem)
def own_town(request: pytest.FixtureRequest) -> Pair:
    """Each of our towns."""
    return _pair(request.param)


@pytest.fixture(params=OWN + FOREIGN, ids=lambda path: path.stem)
def any_town(request: pytest.FixtureRequest) -> Pair:
    """Each of our towns and each CARLA town found beside the repository."""
    return _pair(request.param)


@pytest.fixture(scope="session")
def mini01() -> RoadMap:
    """The urban grid."""
    return _pair(REPOSITORY / "data" / "towns" / "Mini01.xodr").ours
