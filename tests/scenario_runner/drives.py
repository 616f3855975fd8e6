"""Drives of one scenario in a kinematic world: a scripted ego follows a route while the scenario's tree is ticked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import carla

from leaderboard.utils.route_parser import RouteParser
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.route_context import Fidelity, RouteContext
from srunner.scenariomanager.scenario_info import ScenarioPhase
from srunner.scenariomanager.timer import GameTime
from srunner.scenarios import registry
from srunner.scenarios.basic_scenario import BasicScenario
from srunner.tools.places import flat_distance
from srunner.tools.route_planner import GlobalRoutePlanner, interpolate_trajectory
from tests.scenario_runner.kinematic_world import TICK, Actor, KinematicTrafficManager, KinematicWorld, ScriptedEgo

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TRIGGER = "ScenarioRouteNumber0"


@cache
def load_map(town: str) -> carla.Map:
    """A town of the repository, or one of CARLA's that lies beside it."""
    for folder in (ROOT / "data" / "towns", SHARED / "carla_towns"):
        path = folder / f"{town}.xodr"
        if path.exists():
            return carla.Map(town, path.read_text())
    raise FileNotFoundError(f"no OpenDRIVE file of {town}")


@cache
def planner_of(town: str) -> GlobalRoutePlanner:
    """The 1 m planner of a town."""
    return GlobalRoutePlanner(load_map(town), 1.0)


@dataclass
class Case:
    """One scenario on one route, as a file gives it."""

    town: str
    keypoints: list[carla.Location]
    config: ScenarioConfiguration

    @property
    def route(self) -> list[tuple[carla.Transform, Any]]:
        """The dense route."""
        return interpolate_trajectory(load_map(self.town), self.keypoints, planner=planner_of(self.town))

    def with_type(self, name: str) -> Case:
        """The same place for another type."""
        config = self.config
        return Case(
            self.town, self.keypoints,
            ScenarioConfiguration(name, name, config.trigger_points, dict(config.other_parameters)),
        )  # fmt: skip


@cache
def cases_of(file: str) -> tuple[Case, ...]:
    """All routes with exactly one scenario of a route file."""
    found = []
    for route in RouteParser.parse_routes_file(file):
        if len(route.scenario_configs) == 1:
            found.append(Case(route.town, route.keypoints, route.scenario_configs[0]))
    return tuple(found)


def case_of(file: str, scenario_type: str, number: int = 0) -> Case:
    """The route of a file with a scenario of this type."""
    return [case for case in cases_of(file) if case.config.type == scenario_type][number]


@dataclass
class Drive:
    """One scenario being driven past.

    Attributes:
        case: Route and scenario.
        speed: The ego's speed, m/s, or a function of the drive.
        traffic: Whether background traffic runs; needs no Traffic Manager otherwise.
    """

    case: Case
    speed: float | Callable[[Drive], float] = 8.0
    seed: int = 1
    fidelity: Fidelity | None = None
    signalised: bool = True
    log: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        blackboard.clear()
        GameTime.restart()
        self.route = self.case.route
        self.world = KinematicWorld(load_map(self.case.town), self.signalised)
        CarlaDataProvider.set_client(None)
        CarlaDataProvider.set_world(self.world)
        self.ego = ScriptedEgo(self.world, self.route)
        self.context = RouteContext(
            None, self.world, self.ego.actor, self.route, seed=self.seed, fidelity=self.fidelity,
            traffic_manager=KinematicTrafficManager(self.world),
        )  # fmt: skip
        self.case.config.route_var_name = TRIGGER
        self.scenario: BasicScenario = registry.build(self.case.config, self.context)

    @property
    def time(self) -> float:
        """Game time, seconds."""
        return GameTime.get_time()

    @property
    def ego_index(self) -> int:
        """Route point of the ego."""
        return int(self.ego.index)

    def actor(self, part: str) -> Actor:
        """An actor of the scenario."""
        return self.scenario.actors[part]

    def vehicles(self) -> list[Actor]:
        """Vehicles other than the ego."""
        return [a for a in self.world.actors.values() if a.type_id.startswith("vehicle") and a is not self.ego.actor]

    def tick(self) -> None:
        """World, clock, provider, trigger, scenario, ego: the order of the evaluator."""
        GameTime.on_carla_tick(self.world.tick())
        CarlaDataProvider.on_carla_tick()
        trigger = self.case.config.trigger_points[0].location
        here = self.ego.points[self.ego_index].location
        if self.scenario.phase is ScenarioPhase.BUILT and flat_distance(here, trigger) < 2.0:
            blackboard.set(TRIGGER, True)
        self.scenario.behavior_tree.tick_once()
        self.ego.drive(self.speed(self) if callable(self.speed) else self.speed)

    def until(self, done: Callable[[Drive], bool], most: float = 120.0) -> bool:
        """Tick until a predicate holds; False if it does not within ``most`` seconds."""
        end = self.time + most
        while self.time < end:
            if done(self):
                return True
            self.tick()
        return done(self)

    def until_active(self) -> None:
        """Tick until the scenario is triggered."""
        assert self.until(lambda d: d.scenario.phase is ScenarioPhase.ACTIVE), "the trigger was not reached"

    def until_ended(self, most: float = 120.0) -> bool:
        """Tick until the scenario has ended."""
        return self.until(lambda d: d.scenario.phase is ScenarioPhase.ENDED, most)

    def run(self, seconds: float) -> None:
        """Tick for a time."""
        for _ in range(round(seconds / TICK)):
            self.tick()

    def close(self) -> None:
        """Release the route."""
        self.context.release()

    def left_over(self) -> list[str]:
        """What the scenario has left in the world."""
        return [actor.type_id for actor in self.world.actors.values() if actor is not self.ego.actor]
