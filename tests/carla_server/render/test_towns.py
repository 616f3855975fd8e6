"""CARLA's own towns load, are furnished, and show roads, houses and bridges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carla_server.map import RoadMap
from carla_server.sensors import showcase
from carla_server.sensors.ground import upper_roads
from carla_server.sensors.scene import CameraSpec, Scene, Tag, WeatherView

CARLA_TOWNS = Path(__file__).resolve().parents[4] / "shared" / "carla_towns"


def carla_town(name: str) -> RoadMap:
    path = CARLA_TOWNS / f"{name}.xodr"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return RoadMap.load(path)


def test_a_carla_town_is_furnished_clear_of_its_lanes() -> None:
    town = carla_town("Town02")
    scene = Scene(town)
    solid = [row for row in scene.environment_objects if row.tag in (Tag.BUILDINGS, Tag.VEGETATION)]
    assert sum(row.tag == Tag.BUILDINGS for row in solid) > 20
    feet = np.array([(*row.transform[:3],) for row in solid])
    under, _ = town.locate_many(feet, ("driving",))
    heights = town.ground_heights(feet)
    assert not np.any((under >= 0) & (np.abs(heights - feet[:, 2]) < 3.0))
    _, camera = showcase.ego_at(town, 40)
    frame = scene.render(CameraSpec(512, 256, 110.0, camera), [], WeatherView())
    assert frame.tag is not None
    share = np.bincount(frame.tag.ravel(), minlength=29) / frame.tag.size
    assert share[Tag.ROADS] > 0.1
    assert share[Tag.BUILDINGS] + share[Tag.VEGETATION] > 0.02
    assert share[Tag.SKY] < 0.6


def test_only_towns_with_bridges_have_upper_roads() -> None:
    assert upper_roads(carla_town("Town05"))
    assert not upper_roads(carla_town("Town02"))
