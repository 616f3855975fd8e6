"""The weathers of Bench2Drive: 23 numbered cases, constant along a route.

Values: Bench2Drive, leaderboard/data/weather.xml (https://github.com/Thinklab-SJTU/Bench2Drive).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Weather:
    """One case. Attributes are those of `carla.WeatherParameters`: percent, and degrees for the sun."""

    cloudiness: float
    precipitation: float
    precipitation_deposits: float
    wetness: float
    wind_intensity: float
    sun_azimuth_angle: float
    sun_altitude_angle: float
    fog_density: float

    def attributes(self) -> dict[str, str]:
        """As written in a route file."""
        return {key: str(float(value)) for key, value in asdict(self).items()}

    @property
    def is_night(self) -> bool:
        """Whether the sun is below the horizon."""
        return self.sun_altitude_angle < 0


#: Cases by number; 4, 16, 17 and 24 do not exist.
WEATHERS: dict[int, Weather] = {
    0: Weather(5, 0, 0, 0, 10, -1, 90, 2),
    1: Weather(5, 0, 0, 0, 10, -1, 15, 2),
    2: Weather(20, 30, 50, 0, 30, -1, 45, 3),
    3: Weather(60, 60, 60, 0, 60, -1, 45, 3),
    5: Weather(80, 0, 50, 20, 10, -1, 45, 3),
    6: Weather(5, 0, 50, 0, 10, -1, 15, 10),
    7: Weather(5, 0, 0, 0, 10, -1, 45, 2),
    8: Weather(100, 100, 90, 0, 100, -1, 45, 7),
    9: Weather(70, 60, 60, 0, 60, -1, 45, 50),
    10: Weather(40, 100, 90, 0, 100, -1, 0, 7),
    11: Weather(100, 60, 60, 0, 60, -1, 45, 50),
    12: Weather(5, 0, 0, 0, 10, -1, 45, 50),
    13: Weather(5, 0, 0, 0, 10, -1, 15, 50),
    14: Weather(100, 100, 50, 50, 100, -1, 45, 10),
    15: Weather(100, 50, 100, 80, 80, -1, 45, 10),
    18: Weather(40, 0, 50, 0, 10, -1, 15, 2),
    19: Weather(40, 0, 50, 0, 10, -1, -90, 2),
    20: Weather(60, 30, 50, 60, 30, -1, -90, 3),
    21: Weather(100, 100, 90, 100, 100, -1, -90, 3),
    22: Weather(5, 0, 0, 0, 10, -1, -90, 60),
    23: Weather(80, 60, 60, 80, 60, -1, -90, 60),
    25: Weather(100, 100, 90, 100, 100, -1, -90, 100),
    26: Weather(50, 0, 0, 0, 0, 0, 70, 0),
}
