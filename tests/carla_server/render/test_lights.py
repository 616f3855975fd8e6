"""Shadows lie where the sun says, headlights shine forward."""

from __future__ import annotations

import numpy as np

from carla_server.sensors.actors import Bodies
from carla_server.sensors.lights import SCALE, Casters, LightMaps, actor_casters, light_maps
from carla_server.sensors.views import ActorView, Light, WeatherView
from carla_server.sensors.weather import lighting

NOTHING = Casters(np.zeros((0, 8, 2)), np.zeros(0), np.zeros((0, 4)), np.zeros((0, 6)))
EYE, AHEAD = np.array([0.0, 0.0, 2.0]), np.array([1.0, 0.0, 0.0])


def value(maps: LightMaps, layer: int, x: float, y: float) -> float:
    column, row = ((np.array([x, y]) - maps.corner) * SCALE).astype(int)
    return float(maps.fields[layer, row, column])


def test_a_shadow_is_as_long_as_its_caster_is_tall_under_a_sun_at_45_degrees() -> None:
    crate = ActorView(1, "static.prop.box01", (30.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 4.0), (0.0, 0.0, 4.0))
    light = lighting(WeatherView(sun_azimuth_angle=0.0, sun_altitude_angle=45.0))
    maps = light_maps(EYE, AHEAD, light, NOTHING, actor_casters(Bodies([crate]), EYE, 100.0, night=False))
    # The sun stands in +x, so the shadow of the 8 m box (drawn at 92 %) reaches from its foot to x = 29 - 7.4.
    dark = [x for x in np.arange(15.0, 40.0, 0.5) if value(maps, 0, x, 0.0) < 0.5]
    assert abs(min(dark) - (29.05 - 8 * 0.92)) < 1.0
    assert abs(max(dark) - 30.95) < 1.0
    assert value(maps, 0, 25.0, 3.0) == 1.0


def test_headlights_light_the_road_ahead_only_in_the_dark() -> None:
    car = ActorView(
        1,
        "vehicle.tesla.model3",
        (20.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (2.4, 1.0, 0.75),
        (0.0, 0.0, 0.75),
        lights=Light.LOW_BEAM,
    )
    night = lighting(WeatherView(sun_altitude_angle=-90.0))
    maps = light_maps(EYE, AHEAD, night, NOTHING, actor_casters(Bodies([car]), EYE, 100.0, night=True))
    assert value(maps, 1, 30.0, 0.0) > 0.2
    assert value(maps, 1, 12.0, 0.0) == 0.0
    assert value(maps, 1, 30.0, 12.0) == 0.0
    day = lighting(WeatherView(sun_altitude_angle=60.0))
    maps = light_maps(EYE, AHEAD, day, NOTHING, actor_casters(Bodies([car]), EYE, 100.0, night=False))
    assert maps.fields[1].max() == 0.0
