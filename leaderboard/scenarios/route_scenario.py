"""A route as it is driven: its ego, its scenarios, its criteria, in one behaviour tree."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import carla
import py_trees
from py_trees.common import ParallelPolicy, Status

from driving.commands import RoadOption
from leaderboard.rules import Rules
from leaderboard.scenarios.route_behaviors import (
    RouteLights,
    RouteTimeout,
    RouteWeather,
    ScenarioTriggerer,
    variable_is,
)
from leaderboard.utils.route_manipulation import GpsPlan, interpolate_trajectory, route_length
from leaderboard.utils.towns import is_own_town
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.scenarioconfigs.scenario_configuration import (
    ActorConfigurationData,
    RoutePlan,
    ScenarioConfiguration,
)
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.route_context import Fidelity, RouteContext
from srunner.scenariomanager.scenarioatomics import atomic_criteria
from srunner.scenariomanager.scenarioatomics.atomic_behaviors import Forever
from srunner.scenariomanager.scenarioatomics.atomic_criteria import Criterion
from srunner.scenariomanager.ticking import tick
from srunner.scenariomanager.traffic_events import TrafficEvent
from srunner.scenarios import registry
from srunner.traffic.background import BackgroundBehavior

LOG = logging.getLogger(__name__)

EGO_MODEL = "vehicle.lincoln.mkz_2020"
EGO_ROLE = "hero"
EGO_LIFT_M = 0.5

BUILD_DISTANCE_M = 500.0
"""Scenarios are built when their trigger is nearer to the ego than this, as the crow flies."""
BUILD_PERIOD_TICKS = 20
"""How often that is looked at: once per second of game time."""

TRIGGER_DISTANCE_M = 2.0
TRIGGER_HEIGHT_M = 2.0
TRIGGER_ANGLE_DEG = 10.0

DRAWN_POINT_STEP = 10
DRAWN_HEIGHT_M = 0.5
DRAWN_TIME_S = 3600.0
COMMAND_COLOURS = {
    RoadOption.LEFT: carla.Color(255, 255, 0),
    RoadOption.RIGHT: carla.Color(0, 255, 255),
    RoadOption.STRAIGHT: carla.Color(128, 128, 128),
    RoadOption.LANEFOLLOW: carla.Color(0, 255, 0),
    RoadOption.CHANGELANELEFT: carla.Color(255, 128, 0),
    RoadOption.CHANGELANERIGHT: carla.Color(0, 128, 255),
}
"""What ``--debug 1`` draws of a route."""

VOID_HEIGHT_M = 10.0
"""An ego this far above or below its route has left the road surface."""


class EgoSpawnError(RuntimeError):
    """The ego could not be placed at the start of the route."""


@dataclass(frozen=True)
class ScenarioTrouble:
    """What is wrong with a scenario of the route file.

    Attributes:
        name, type: As written in the file.
        reason: In words.
    """

    name: str
    type: str
    reason: str


def on_route(trigger: carla.Transform, route: RoutePlan, signed_height: bool) -> bool:
    """Whether a trigger lies on a route: near some point of it in the plane, in height and in heading.

    Args:
        trigger: Pose of the trigger.
        route: Dense route.
        signed_height: Accept any trigger below the route, as the original does.
    """
    for transform, _ in route:
        offset = trigger.location - transform.location
        height = offset.z if signed_height else abs(offset.z)
        if height >= TRIGGER_HEIGHT_M or offset.x**2 + offset.y**2 >= TRIGGER_DISTANCE_M**2:
            continue
        turn = (trigger.rotation.yaw - transform.rotation.yaw) % 360
        if turn < TRIGGER_ANGLE_DEG or turn > 360 - TRIGGER_ANGLE_DEG:
            return True
    return False


def fidelity_of(rules: Rules, town: str) -> Fidelity:
    """Which oddities of the original scenarios a benchmark keeps on a town; bends of our own towns are always heeded."""
    return Fidelity(
        rules.door_flow_oncoming,
        rules.emergency_increment_kmh,
        rules.green_light_until_crossed,
        rules.flows_brake,
        rules.flows_heed_bends or is_own_town(town),
    )


class RouteScenario:
    """One route in the simulator.

    Attributes:
        config: What the route file says.
        ego: The ego vehicle.
        route: Dense route; under rules that raise its start, the first point is lifted.
        gps_route: The same as GPS plan.
        length_m: Length of the route.
        criteria: Criteria of the route, then those of its scenarios in the order of building.
        build_failures: Scenarios that could not be built.
        left_surface: Whether the ego was ever far above or below its route.
    """

    def __init__(self, client: carla.Client, config: RouteScenarioConfiguration, rules: Rules, seed: int, traffic: Any):
        """Place the ego and build the scenarios near it; ticks the world once.

        Args:
            client: The client; `CarlaDataProvider` already serves the right world.
            config: The route.
            rules: The benchmark.
            seed: Seed of everything random on this route.
            traffic: The `carla.TrafficManager`, None for a route without background traffic.

        Raises:
            ValueError: If the keypoints are not connected.
            EgoSpawnError: If the start is taken.
        """
        world = CarlaDataProvider.get_world()
        self.config = config
        self._rules = rules
        planner = CarlaDataProvider.state().planner(1.0)
        self.gps_route, self.route = interpolate_trajectory(config.keypoints, CarlaDataProvider.get_map(), planner)
        CarlaDataProvider.set_ego_route(self.route)
        self.build_failures: list[ScenarioTrouble] = []
        self._waiting = self._usable_scenarios()
        self.ego = self._spawn_ego()
        self.length_m = route_length(self.route)
        fidelity = fidelity_of(rules, config.town)
        self.context = RouteContext(
            client, world, self.ego, self.route, traffic_manager=traffic, seed=seed, fidelity=fidelity
        )
        CarlaDataProvider.set_weather(config.weather[0].weather)
        world.tick()
        CarlaDataProvider.on_carla_tick()
        self._transforms = [transform for transform, _ in self.route]
        self._scenarios: list[Any] = []
        self.triggerer = ScenarioTriggerer(self.ego, self._transforms)
        self.criteria: list[Criterion] = self._route_criteria()
        self._timeout = RouteTimeout(self.ego, self._transforms)
        self._behavior = py_trees.composites.Parallel("Behavior", ParallelPolicy.SuccessOnAll(synchronise=False))
        self._criteria_node = py_trees.composites.Parallel("Criteria", ParallelPolicy.SuccessOnOne())
        self.tree = self._build_tree(has_traffic=traffic is not None)
        self._ticks = 0
        self.left_surface = False
        self._build_due()
        CarlaDataProvider.set_runtime_init_mode(True)

    def _usable_scenarios(self) -> list[ScenarioConfiguration]:
        """Scenarios whose trigger lies on the route, with what the route knows filled in."""
        usable = []
        for index, config in enumerate(self.config.scenario_configs):
            if not on_route(config.trigger_points[0], self.route, self._rules.signed_trigger_height):
                self._fail(config, "its trigger point is not on the route")
                continue
            config.route_var_name = f"ScenarioRouteNumber{index}"
            config.route = self.route
            usable.append(config)
        return usable

    def _fail(self, config: ScenarioConfiguration, reason: str) -> None:
        self.build_failures.append(ScenarioTrouble(config.name, config.type, reason))
        LOG.warning("Skipping scenario '%s' (%s): %s", config.name, config.type, reason)

    def _spawn_ego(self) -> carla.Vehicle:
        start = self.route[0][0]
        lifted = carla.Location(start.location.x, start.location.y, start.location.z + EGO_LIFT_M)
        pose = carla.Transform(lifted, start.rotation)
        ego = CarlaDataProvider.request_new_actor(EGO_MODEL, pose, rolename=EGO_ROLE, tick=False)
        if ego is None:
            raise EgoSpawnError(f"{self.config.name}: no room for the ego at its start ({pose.location})")
        if self._rules.raise_route_start:
            self.route[0] = (pose, self.route[0][1])
        for config in self._waiting:
            config.ego_vehicles = [ActorConfigurationData(EGO_MODEL, pose, EGO_ROLE)]
        return ego

    def _route_criteria(self) -> list[Criterion]:
        rules, ego, route = self._rules, self.ego, self._transforms
        return [
            atomic_criteria.RouteCompletionTest(ego, route, rules.completion_percent, rules.completion_distance_m),
            atomic_criteria.OutsideRouteLanesTest(ego, route),
            atomic_criteria.CollisionTest(ego),
            atomic_criteria.RunningRedLightTest(ego),
            atomic_criteria.RunningStopTest(ego, rules.stop_box_min_extent_m),
            atomic_criteria.MinimumSpeedRouteTest(
                ego, route, rules.min_speed_checkpoints, rules.min_speed_always_reported, rules.min_speed_last_twice
            ),
            atomic_criteria.InRouteTest(ego, route),
            atomic_criteria.ActorBlockedTest(ego, rules.blocked_after_s),
        ]

    def _build_tree(self, has_traffic: bool) -> py_trees.behaviour.Behaviour:
        root = py_trees.composites.Parallel(self.config.name, ParallelPolicy.SuccessOnOne())
        root.add_child(RouteLights(self.ego))
        if len(self.config.weather) > 1 and self._rules.weather_changes:
            root.add_child(RouteWeather(self.ego, self._transforms, self.config.weather))
        self._behavior.add_child(self.triggerer)
        self._behavior.add_child(BackgroundBehavior(self.context) if has_traffic else Forever("No background traffic"))
        self._criteria_node.add_children(list(self.criteria))
        root.add_children([self._behavior, self._criteria_node, self._timeout])
        return root

    def tick(self) -> bool:
        """Judge and act on one tick, building scenarios that came near. Returns whether the route goes on."""
        self._ticks += 1
        if self._ticks % BUILD_PERIOD_TICKS == 0:
            self._build_due()
            self._watch_height()
        tick(self.tree)
        return self.tree.status is Status.RUNNING

    def _watch_height(self) -> None:
        location = CarlaDataProvider.get_location(self.ego)
        nearest = min(self._transforms, key=lambda transform: transform.location.distance_squared_2d(location))
        if abs(nearest.location.z - location.z) > VOID_HEIGHT_M and not self.left_surface:
            self.left_surface = True
            LOG.warning(
                "%s: the ego is %.0f m away from its route in height", self.config.name, nearest.location.z - location.z
            )

    def _build_due(self) -> None:
        """Build every waiting scenario whose trigger is near, in the order of the file."""
        location = CarlaDataProvider.get_location(self.ego)
        near = [c for c in self._waiting if c.trigger_points[0].location.distance(location) < BUILD_DISTANCE_M]
        for config in near:
            self._waiting.remove(config)
            self._build(config)

    def _build(self, config: ScenarioConfiguration) -> None:
        try:
            scenario = registry.build(config, self.context)
        except Exception as error:
            self._fail(config, f"{type(error).__name__}: {error}")
            LOG.debug("building %s failed", config.name, exc_info=True)
            return
        self._scenarios.append(scenario)
        self.triggerer.add(config.route_var_name, config.trigger_points[0].location)
        self._behavior.insert_child(scenario.behavior_tree, len(self._behavior.children) - 1)
        if scenario.criteria:
            self.criteria += scenario.criteria
            self._criteria_node.add_child(_while_active(config.route_var_name, scenario.criteria))

    @property
    def scenarios(self) -> Sequence[Any]:
        """Scenarios built so far."""
        return tuple(self._scenarios)

    @property
    def scenario_failures(self) -> list[ScenarioTrouble]:
        """Scenarios that were built but ended early because something went wrong in them."""
        return [ScenarioTrouble(s.name, s.config.type, s.failure) for s in self._scenarios if s.failure]

    @property
    def unread_parameters(self) -> list[ScenarioTrouble]:
        """Elements of scenarios in the route file that nobody reads."""
        return [ScenarioTrouble(s.name, s.config.type, warning) for s in self._scenarios for warning in s.warnings]

    @property
    def not_reached(self) -> list[str]:
        """Names of scenarios that were never near enough to be built."""
        return [config.name for config in self._waiting]

    @property
    def triggered(self) -> list[str]:
        """Names of scenarios that were triggered, in order."""
        by_variable = {config.route_var_name: config.name for config in self.config.scenario_configs}
        return [by_variable[variable] for variable in self.triggerer.triggered]

    @property
    def timeout_s(self) -> float:
        """Game time the route may take, as far as it is known."""
        return self._timeout.timeout_s

    @property
    def has_timed_out(self) -> bool:
        """Whether the route's time ran out."""
        return self._timeout.event is not None

    def events(self) -> list[TrafficEvent]:
        """Everything that happened, in the order of the criteria."""
        events = [event for criterion in self.criteria for event in criterion.events]
        return events if self._timeout.event is None else [*events, self._timeout.event]

    def draw(self) -> None:
        """Draw every tenth point of the route in the simulator's window."""
        debug = CarlaDataProvider.get_world().debug
        for transform, command in self.route[::DRAWN_POINT_STEP]:
            above = transform.location + carla.Location(z=DRAWN_HEIGHT_M)
            debug.draw_point(above, 0.1, COMMAND_COLOURS.get(command, carla.Color(0, 128, 255)), DRAWN_TIME_S)

    def stop(self) -> None:
        """Close all books; harmless a second time."""
        self.tree.stop(Status.INVALID)
        for criterion in self.criteria:
            criterion.terminate(Status.INVALID)

    def release(self) -> None:
        """Take down what the scenarios and the traffic made; harmless a second time."""
        for scenario in self._scenarios:
            scenario.release()
        self.context.release()


def _while_active(variable: str, criteria: Sequence[Criterion]) -> py_trees.behaviour.Behaviour:
    """Judge from the moment a scenario is triggered until it ends."""
    judged = py_trees.composites.Parallel(f"{variable} active", ParallelPolicy.SuccessOnOne())
    judged.add_children([*criteria, variable_is(variable, False)])
    sequence = py_trees.composites.Sequence(f"{variable} criteria", memory=True)
    sequence.add_children([variable_is(variable, True), judged, Forever("judged")])
    return sequence


__all__ = ["EgoSpawnError", "GpsPlan", "RouteScenario", "ScenarioTrouble", "on_route"]
