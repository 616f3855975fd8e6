"""Behaviours that every route has: triggering scenarios, weather, lights, the timeout.

Numbers: CARLA scenario_runner, scenariomanager/{scenarioatomics/atomic_behaviors,weather_sim,lights_sim,timer}.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import carla
import numpy as np
import py_trees
from py_trees.common import Status

from srunner.scenarioconfigs.route_scenario_configuration import WeatherKeypoint
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenarioatomics.atomic_behaviors import Until
from srunner.scenariomanager.scenarioatomics.atomic_criteria import place_of
from srunner.scenariomanager.timer import GameTime
from srunner.scenariomanager.traffic_events import TrafficEvent, TrafficEventType
from srunner.tools.route_progress import RouteProgress

WEATHER_FIELDS = (
    "cloudiness", "precipitation", "precipitation_deposits", "wind_intensity", "sun_azimuth_angle", "sun_altitude_angle",
    "wetness", "fog_distance", "fog_density", "fog_falloff", "scattering_intensity", "mie_scattering_scale",
    "rayleigh_scattering_scale",
)  # fmt: skip
"""What is interpolated along a route."""


class ScenarioTriggerer(py_trees.behaviour.Behaviour):
    """Sets a scenario's blackboard variable once the ego's place on the route is near its trigger.

    The ego's place is the nearest of the current route point and the next 5; of equally near ones the later. A scenario is
    triggered once, when that route point is less than 2 m from its trigger.
    """

    WINDOW = 5
    TRIGGER_M = 2.0

    def __init__(self, actor: carla.Vehicle, route: Sequence[carla.Transform]):
        super().__init__("ScenarioTriggerer")
        self._actor = actor
        self._points = RouteProgress(route, window=0).points
        self._index = 0
        self._looked_from = -1
        self._waiting: list[tuple[str, carla.Location]] = []
        self.triggered: list[str] = []

    def add(self, variable: str, trigger: carla.Location) -> None:
        """Watch a scenario; its variable starts as false."""
        blackboard.set(variable, False)
        self._waiting.append((variable, trigger))
        self._looked_from = -1

    def update(self) -> Status:
        location = CarlaDataProvider.get_location(self._actor)
        if location is None:
            return Status.RUNNING
        self._advance(location.x, location.y, location.z)
        if self._index != self._looked_from:
            self._trigger(carla.Location(*self._points[self._index]))
            self._looked_from = self._index
        return Status.RUNNING

    def _advance(self, ego_x: float, ego_y: float, ego_z: float) -> None:
        nearest, shortest = self._index, math.inf
        for i in range(self._index, min(self._index + self.WINDOW + 1, len(self._points))):
            x, y, z = self._points[i]
            x, y, z = x - ego_x, y - ego_y, z - ego_z
            distance = math.sqrt(x * x + y * y + z * z)
            if distance <= shortest:
                nearest, shortest = i, distance
        self._index = nearest

    def _trigger(self, here: carla.Location) -> None:
        for variable, trigger in [row for row in self._waiting if here.distance(row[1]) < self.TRIGGER_M]:
            blackboard.set(variable, True)
            self._waiting.remove((variable, trigger))
            self.triggered.append(variable)


def variable_is(variable: str, wanted: bool) -> Until:
    """A behaviour that waits until a blackboard variable has a truth value."""
    return Until(f"{variable} is {wanted}", lambda: bool(blackboard.get(variable)) is wanted)


def interpolate_weather(
    keypoints: Sequence[WeatherKeypoint], percentages: Sequence[float]
) -> list[carla.WeatherParameters]:
    """The weather at places of a route.

    Linear between keypoints; before the first and after the last keypoint theirs. Of several keypoints at one percentage
    the last counts from there on.

    Args:
        keypoints: At least one, sorted by percentage.
        percentages: Share of the route length of each place, 0 to 100.
    """
    positions = [keypoint.percentage for keypoint in keypoints]
    columns = {
        name: np.interp(percentages, positions, [getattr(keypoint.weather, name) for keypoint in keypoints])
        for name in WEATHER_FIELDS
    }
    weathers = []
    for i in range(len(percentages)):
        weather = _copy_weather(keypoints[0].weather)
        for name, column in columns.items():
            setattr(weather, name, float(column[i]))
        weathers.append(weather)
    return weathers


def _copy_weather(weather: carla.WeatherParameters) -> carla.WeatherParameters:
    copy = carla.WeatherParameters()
    for name in (*WEATHER_FIELDS, "dust_storm"):
        setattr(copy, name, getattr(weather, name))
    return copy


class RouteWeather(py_trees.behaviour.Behaviour):
    """Sets the weather of the route point that the ego has passed."""

    def __init__(self, actor: carla.Vehicle, route: Sequence[carla.Transform], keypoints: Sequence[WeatherKeypoint]):
        super().__init__("RouteWeather")
        self._actor = actor
        self._progress = RouteProgress(route, window=3)
        percentages = self._progress.distances / max(self._progress.length, 1e-6) * 100
        self._weathers = interpolate_weather(keypoints, percentages.tolist())

    def update(self) -> Status:
        location = CarlaDataProvider.get_location(self._actor)
        before = self._progress.index
        if location is not None:
            self._progress.advance(location)
        if self._progress.index != before:
            CarlaDataProvider.set_weather(self._weathers[self._progress.index])
        return Status.RUNNING


SUN_LOW_DEG = 15.0
SUN_HIGH_DEG = 165.0
CLOUDY = 80.0
FOGGY = 40.0
NEARLY = 10.0


def is_night(weather: carla.WeatherParameters) -> bool:
    """Whether cars need light: low sun, dense clouds or fog, or two of the three within 10 of their limit."""
    altitude = weather.sun_altitude_angle
    margins = (
        min(altitude - SUN_LOW_DEG, SUN_HIGH_DEG - altitude),
        CLOUDY - weather.cloudiness,
        FOGGY - weather.fog_density,
    )
    return any(margin < 0 for margin in margins) or sum(margin < NEARLY for margin in margins) >= 2


class RouteLights(py_trees.behaviour.Behaviour):
    """At night lights the streets near the ego, the ego and the scenarios' vehicles."""

    RADIUS_M = 100.0
    RADIUS_PER_SPEED_S = 15.0
    ROLES = ("scenario",)
    LIT = carla.VehicleLightState.Position | carla.VehicleLightState.LowBeam
    PERIOD_TICKS = 10
    """Lights are looked after every half second; the night itself may change only with the weather."""

    def __init__(self, actor: carla.Vehicle):
        super().__init__("RouteLights")
        self._actor = actor
        self._manager = CarlaDataProvider.get_world().get_lightmanager()
        self._manager.set_day_night_cycle(False)
        self._streets = self._manager.get_all_lights(carla.LightGroup.Street)
        self._lit_streets: set[int] = set()
        self._lit_vehicles: dict[int, carla.Vehicle] = {}
        self._is_night = False
        self._tick = -1

    def update(self) -> Status:
        self._tick += 1
        if self._tick % self.PERIOD_TICKS:
            return Status.RUNNING
        location = CarlaDataProvider.get_location(self._actor)
        if location is None:
            return Status.RUNNING
        is_night = is_night_now()
        if is_night:
            self._light_streets(location)
            self._light_vehicles(location)
        elif self._is_night:
            self._all_off()
        self._is_night = is_night
        return Status.RUNNING

    def _light_streets(self, location: carla.Location) -> None:
        radius = max(self.RADIUS_M, self.RADIUS_PER_SPEED_S * CarlaDataProvider.get_velocity(self._actor))
        near = {i for i, light in enumerate(self._streets) if light.location.distance(location) <= radius}
        switch_on = [self._streets[i] for i in sorted(near - self._lit_streets)]
        switch_off = [self._streets[i] for i in sorted(self._lit_streets - near)]
        if switch_on:
            self._manager.turn_on(switch_on)
        if switch_off:
            self._manager.turn_off(switch_off)
        self._lit_streets = near

    def _light_vehicles(self, location: carla.Location) -> None:
        near = {self._actor.id: self._actor}
        for actor in CarlaDataProvider.get_all_actors():
            if actor.type_id.startswith("vehicle.") and actor.attributes.get("role_name") in self.ROLES:
                place = CarlaDataProvider.get_location(actor)
                if place is not None and place.distance(location) <= self.RADIUS_M:
                    near[actor.id] = actor
        for key in sorted(set(near) - set(self._lit_vehicles)):
            vehicle = near[key]
            vehicle.set_light_state(carla.VehicleLightState(vehicle.get_light_state() | self.LIT))
        self._put_out([vehicle for key, vehicle in self._lit_vehicles.items() if key not in near])
        self._lit_vehicles = near

    def _put_out(self, vehicles: Sequence[carla.Vehicle]) -> None:
        alive = {actor.id for actor in CarlaDataProvider.get_all_actors()}
        for vehicle in vehicles:
            if vehicle.id in alive:
                vehicle.set_light_state(carla.VehicleLightState(vehicle.get_light_state() & ~self.LIT))

    def _all_off(self) -> None:
        if self._lit_streets:
            self._manager.turn_off([self._streets[i] for i in sorted(self._lit_streets)])
        self._put_out(list(self._lit_vehicles.values()))
        self._lit_streets, self._lit_vehicles = set(), {}

    def terminate(self, new_status: Status) -> None:
        if self._is_night:
            self._all_off()
            self._is_night = False
        self._manager.set_day_night_cycle(True)


def is_night_now() -> bool:
    """`is_night` of the simulator's weather."""
    return is_night(CarlaDataProvider.get_weather())


class RouteTimeout(py_trees.behaviour.Behaviour):
    """Ends the route when the ego takes far too long: 300 s and ten times the way at the speed limit.

    Attributes:
        timeout_s: Time allowed so far, seconds of game time.
        event: The timeout, None while there is none.
    """

    START_S = 300.0
    SPEED_SHARE = 0.10
    FALLBACK_LIMIT_MPS = 30 / 3.6
    """For places where the simulator knows no speed limit."""

    def __init__(self, actor: carla.Vehicle, route: Sequence[carla.Transform]):
        super().__init__("RouteTimeout")
        self._actor = actor
        self._progress = RouteProgress(route, window=3)
        self.timeout_s = self.START_S
        self.event: TrafficEvent | None = None

    def update(self) -> Status:
        location = CarlaDataProvider.get_location(self._actor)
        if location is None:
            return Status.RUNNING
        step = self._progress.advance(location)
        if step > 0:
            limit = self._actor.get_speed_limit() / 3.6 or self.FALLBACK_LIMIT_MPS
            self.timeout_s += step / (self.SPEED_SHARE * limit)
        if GameTime.get_time() <= self.timeout_s:
            return Status.RUNNING
        if self.event is None:
            self.event = TrafficEvent(
                TrafficEventType.ROUTE_TIMEOUT, GameTime.get_frame(), GameTime.get_time(), ego_place=place_of(location)
            )
        return Status.SUCCESS
