"""What a route file says about one route."""

from __future__ import annotations

from dataclasses import dataclass, field

import carla

from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration


@dataclass
class WeatherKeypoint:
    """The weather at one place of a route.

    Attributes:
        percentage: Share of the route length, 0 to 100.
        weather: The weather there.
    """

    percentage: float
    weather: carla.WeatherParameters


@dataclass
class RouteScenarioConfiguration:
    """One ``<route>`` element.

    Attributes:
        name: ``RouteScenario_<id>``.
        route_id: The id as written in the file.
        town: Map name.
        keypoints: Places to pass, in order, world frame, metres.
        scenario_configs: Scenarios along the route in file order.
        weather: Keypoints sorted by percentage, at least one.
        has_weather: Whether the file gave a weather (otherwise ``weather`` holds the default).
        index: Position of this run among all runs of the evaluation.
        repetition_index: Which repetition of the route this run is, from 0.
        line: Line of the element in its file, 0 if it was not read from a file.
    """

    name: str
    route_id: str
    town: str
    keypoints: list[carla.Location]
    scenario_configs: list[ScenarioConfiguration] = field(default_factory=list)
    weather: list[WeatherKeypoint] = field(default_factory=list)
    has_weather: bool = True
    index: int = 0
    repetition_index: int = 0
    line: int = 0

    @property
    def run_id(self) -> str:
        """``RouteScenario_<id>_rep<k>``, the ``route_id`` of the results file."""
        return f"{self.name}_rep{self.repetition_index}"
