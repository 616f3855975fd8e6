"""Bench2Drive's numbered weathers (Thinklab-SJTU/Bench2Drive, leaderboard/data/weather.xml)."""

from __future__ import annotations

import carla

FIELDS = (
    "cloudiness", "precipitation", "precipitation_deposits", "wetness", "wind_intensity", "sun_azimuth_angle",
    "sun_altitude_angle", "fog_density",
)  # fmt: skip

WEATHERS: dict[str, tuple[float, ...]] = {
    "0": (5, 0, 0, 0, 10, -1, 90, 2),
    "1": (5, 0, 0, 0, 10, -1, 15, 2),
    "2": (20, 30, 50, 0, 30, -1, 45, 3),
    "3": (60, 60, 60, 0, 60, -1, 45, 3),
    "5": (80, 0, 50, 20, 10, -1, 45, 3),
    "6": (5, 0, 50, 0, 10, -1, 15, 10),
    "7": (5, 0, 0, 0, 10, -1, 45, 2),
    "8": (100, 100, 90, 0, 100, -1, 45, 7),
    "9": (70, 60, 60, 0, 60, -1, 45, 50),
    "10": (40, 100, 90, 0, 100, -1, 0, 7),
    "11": (100, 60, 60, 0, 60, -1, 45, 50),
    "12": (5, 0, 0, 0, 10, -1, 45, 50),
    "13": (5, 0, 0, 0, 10, -1, 15, 50),
    "14": (100, 100, 50, 50, 100, -1, 45, 10),
    "15": (100, 50, 100, 80, 80, -1, 45, 10),
    "18": (40, 0, 50, 0, 10, -1, 15, 2),
    "19": (40, 0, 50, 0, 10, -1, -90, 2),
    "20": (60, 30, 50, 60, 30, -1, -90, 3),
    "21": (100, 100, 90, 100, 100, -1, -90, 3),
    "22": (5, 0, 0, 0, 10, -1, -90, 60),
    "23": (80, 60, 60, 80, 60, -1, -90, 60),
    "25": (100, 100, 90, 100, 100, -1, -90, 100),
    "26": (50, 0, 0, 0, 0, 0, 70, 0),
}
"""Weather id to the values of `FIELDS`."""

TOLERANCE = 1e-3


def find_weather_id(weather: carla.WeatherParameters) -> str | None:
    """The id of a weather, None if it is not one of the benchmark's."""
    for weather_id, values in WEATHERS.items():
        if all(abs(getattr(weather, name) - value) <= TOLERANCE for name, value in zip(FIELDS, values, strict=True)):
            return weather_id
    return None
