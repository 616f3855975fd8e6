"""One town and its scene for all render tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from carla_server.map import RoadMap
from carla_server.sensors.scene import Scene

TOWNS = Path(__file__).resolve().parents[3] / "data" / "towns"


@pytest.fixture(scope="package")
def town() -> RoadMap:
    return RoadMap.load(TOWNS / "Mini01.xodr")


@pytest.fixture(scope="package")
def scene(town: RoadMap) -> Scene:
    return Scene(town)
