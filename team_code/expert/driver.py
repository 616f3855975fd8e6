"""The expert's decision of one tick, in the order of the published one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import carla
import numpy as np
from numpy.typing import NDArray

from driving.commands import RoadOption
from driving.control.expert import LateralPid, LongitudinalRegression
from srunner.scenariomanager.scenario_info import ScenarioInfo
from team_code.expert.commands import CommandPlanner, Navigation
from team_code.expert.config import ExpertConfig
from team_code.expert.forecast import SAME_DIRECTION_COSINE
from team_code.expert.lane_changes import LaneChanges, LaneChangeWish
from team_code.expert.lanes import LaneFollowers
from team_code.expert.planner import RoutePlanner, RoutePosition
from team_code.expert.route import build_route
from team_code.expert.scenarios import ScenarioManager
from team_code.expert.scene import Scene
from team_code.expert.signals import AnnouncedLights, locate_lights, locate_stop_signs, speed_limits_of
from team_code.expert.target_speed import Cause, Hazards, SpeedPlanner

Array = NDArray[np.float64]

FIRST_SAVED_POINT, SAVED_POINT_STRIDE, NUM_SAVED_POINTS = 25, 10, 40
STANDSTILL_MPS = 0.1
RULES_TO_WAIT_FOR = ("light", "leading", "overtake_wait", "lane_change_wait", "walker")
RULES_OF_OTHERS = ("vehicle", "bicycle")
"""Who stands at a red light, or in a queue, does not wait for a gap."""

ROLLBACK_MPS = 0.5
UNDER_WAY_MPS = 5.0
NUDGE_RESERVE_M = 0.3


@dataclass(frozen=True)
class Decision:
    """Everything one tick decided.

    Attributes:
        steer: In [-1, 1], three decimals, before noise.
        throttle: In [0, 1].
        brake: Hazard brake.
        control_brake: Brake of the speed controller.
        target_speed: m/s.
        cause: What lowered it.
        hazards: Flags and actors.
        position: Route index, next light and sign, speed limit.
        navigation: Target points and commands.
        keep_driving: Whether the oncoming lane is in use.
        place: Where the ego was.
        road_map: Of the town.
        angle: Heading error in units of 90 degrees.
        aim: (2,) world point steered at, metres.
        route, route_original: (n, 2) up to 40 world points, 2.5 m ahead and then every metre.
        changed_route: Whether the route deviates here.
        stop_cleared: Whether the next stop sign has been obeyed.
        applied: Control sent to the vehicle, with noise and unblocking.
        is_unblocking: Whether the expert pushes on after standing too long.
    """

    steer: float
    throttle: float
    brake: bool
    control_brake: bool
    target_speed: float
    cause: Cause
    hazards: Hazards
    position: RoutePosition
    navigation: Navigation
    keep_driving: bool
    place: carla.Location
    road_map: carla.Map
    angle: float
    aim: Array
    route: Array
    route_original: Array
    changed_route: bool
    stop_cleared: bool
    applied: carla.VehicleControl
    is_unblocking: bool

    @property
    def junction(self) -> bool:
        """Whether the ego was in a junction; looked up when it is asked for, since only recorded ticks do."""
        waypoint = self.road_map.get_waypoint(self.place)
        return bool(waypoint is not None and waypoint.is_junction)


class Expert:
    """Drives a route with full knowledge of the world.

    Args:
        world: The `carla.World`; read for lights and stop signs.
        plan: Dense plan, (transform, command) pairs about 1 m apart.
        scene: The world now.
        lights: All traffic lights.
        config: Constants.
        rng: Source of the steering noise.
    """

    def __init__(
        self,
        world: carla.World,
        plan: Sequence[tuple[carla.Transform, RoadOption]],
        scene: Scene,
        lights: Sequence[carla.TrafficLight],
        config: ExpertConfig,
        rng: np.random.Generator,
    ) -> None:
        self.config = config
        self._map = world.get_map()
        here = carla.Location(*map(float, scene.ego.xyz))
        route = build_route(self._map, plan, here, speed_limits_of(self._map.to_opendrive()), config.route)
        locate_lights(route, lights, world, config.route)
        locate_stop_signs(route, list(world.get_actors().filter("*traffic.stop*")), config.route)
        self.planner = RoutePlanner(route, config)
        self.lateral = LateralPid(config.lateral)
        self._longitudinal = LongitudinalRegression(config.longitudinal)
        self._lanes = lanes = LaneFollowers(self._map) if config.forecast.follow_lanes else None
        self.speed = SpeedPlanner(self.planner, self.lateral, self._longitudinal, config, lanes)
        self._lane_changes = None
        if config.lane_changes is not None and lanes is not None:
            self._lane_changes = LaneChanges(self.planner, lanes, config.lane_changes, self._map)
        self.scenarios = ScenarioManager(self.planner, self.speed, self._map, config, self._lane_changes)
        self._commands = CommandPlanner(plan)
        self._announced = AnnouncedLights(config.bicycle.dt)
        self._rng = rng
        self._standing_ticks = 0
        self._waited_ticks = 0
        self._rule = "cruise"

    def step(self, scene: Scene, infos: Sequence[ScenarioInfo]) -> Decision:
        """Decide for one tick.

        Args:
            scene: The world now.
            infos: Scenarios built so far.
        """
        ego = scene.ego
        x, y = float(ego.xyz[0]), float(ego.xyz[1])
        self.planner.advance(x, y)
        position = self.planner.position()
        if self._lanes is not None:
            self._lanes.lead_to(info.places["sink"].location for info in infos if "sink" in info.places)
        self.speed.look(scene)
        road_speed = self._road_speed(position)
        road_speed = max(road_speed, self.speed.keep_up_speed(scene.ego, road_speed))
        target, brake, cause, hazards, keep_driving = self._target_speed(scene, position, road_speed, infos)
        self._nudge(scene, cause)
        throttle, control_brake = self._longitudinal(brake, target, ego.speed)
        ahead = self.planner.ahead
        angle = self.lateral.heading_error(ahead, x, y, ego.yaw, ego.speed)
        aim = ahead[self.lateral.lookahead_index(ego.speed, len(ahead)), :2].copy()
        steer = round(self.lateral.step(ahead, x, y, ego.yaw, ego.speed), 3)
        applied, is_unblocking = self._apply(steer, throttle, brake or control_brake, ego.speed, cause.rule)
        return Decision(
            steer=steer,
            throttle=throttle,
            brake=brake,
            control_brake=control_brake,
            target_speed=target,
            cause=cause,
            hazards=hazards,
            position=position,
            navigation=self._commands.step(ego.xyz[:2]),
            keep_driving=keep_driving,
            place=carla.Location(*map(float, ego.xyz)),
            road_map=self._map,
            angle=angle,
            aim=aim,
            route=_saved_points(ahead),
            route_original=_saved_points(self.planner.original_ahead),
            changed_route=self.planner.is_changed,
            stop_cleared=self.speed.stop_memory.cleared,
            applied=applied,
            is_unblocking=is_unblocking,
        )

    def _road_speed(self, position: RoutePosition) -> float:
        config = self.config
        cruise = min(config.ratio_of_limit * position.speed_limit, config.max_speed)
        if self.planner.junction_within(config.junction_points):
            cruise = min(cruise, config.junction_speed)
        is_urban = position.speed_limit <= config.urban_limit + 0.01
        if is_urban and self.planner.junction_within(config.urban_points):
            cruise = min(cruise, config.urban_junction_speed)
        return cruise

    def _target_speed(
        self, scene: Scene, position: RoutePosition, road_speed: float, infos: Sequence[ScenarioInfo]
    ) -> tuple[float, bool, Cause, Hazards, bool]:
        change = LaneChangeWish()
        if self._lane_changes is not None:
            change = self._lane_changes.step(scene, min(road_speed, self.planner.bend_speed), position.speed_limit)
            road_speed = max(road_speed, min(change.at_least, position.speed_limit))
        cruise = min(road_speed, self.planner.bend_speed)
        wish = self.scenarios.step(scene, cruise, infos)
        if wish.keep_driving and not self.config.check_while_overtaking:
            return wish.max_speed, False, wish.cause, Hazards(), True
        if wish.keep_driving:
            road_speed, cruise = wish.max_speed, min(self.planner.bend_speed, wish.max_speed)
        green_left = self._announced.step(infos, scene.ego.xyz, position.light_distance)
        impatient, insistent = self._patience(scene.ego.speed)
        decision = self.speed.decide(scene, position, cruise, road_speed, impatient, insistent, green_left)
        self._rule = decision.cause.rule
        if wish.max_speed < decision.target:
            return wish.max_speed, False, wish.cause, decision.hazards, wish.keep_driving
        if change.at_most < decision.target and change.actor is not None:
            actor, speed = change.actor, change.at_most
            cause = Cause(speed, "lane_change_wait", actor.type_id, actor.id, change.distance)
            return speed, False, cause, decision.hazards, wish.keep_driving
        return decision.target, decision.brake, decision.cause, decision.hazards, wish.keep_driving

    def _nudge(self, scene: Scene, cause: Cause) -> None:
        """Bend the path a little around a standing vehicle that reaches into it and waits for the ego in turn."""
        config = self.config
        due = config.nudge_ticks and self._standing_ticks and self._standing_ticks % config.nudge_ticks == 0
        if not due or cause.rule != "vehicle" or cause.actor_id is None:
            return
        i = scene.vehicles.index_of(cause.actor_id)
        if i is None or scene.vehicles.speed[i] > STANDSTILL_MPS:
            return
        if np.cos(scene.vehicles.yaw[i] - scene.ego.yaw) > SAME_DIRECTION_COSINE:  # a queue, not a deadlock
            return
        offset = self.planner.lateral_offset(scene.vehicles.xy[i])
        half_width = scene.vehicles.half_width(i, scene.ego.yaw)
        needed = half_width + float(scene.ego.extent[1]) + NUDGE_RESERVE_M - abs(offset)
        if 0.0 < needed <= config.max_nudge:
            self.planner.give_way(-np.sign(offset) * needed)

    def _patience(self, speed: float) -> tuple[bool, bool]:
        """Whether the ego has waited long for others, and very long; it stays so until the car is well under way."""
        if speed > UNDER_WAY_MPS:
            self._waited_ticks = 0
        elif speed < STANDSTILL_MPS and self._rule in RULES_OF_OTHERS:
            self._waited_ticks += 1
        limits = self.config.patience_ticks, self.config.insist_ticks
        impatient, insistent = (bool(limit) and self._waited_ticks >= limit for limit in limits)
        return impatient, insistent

    def _apply(
        self, steer: float, throttle: float, brake: bool, speed: float, rule: str
    ) -> tuple[carla.VehicleControl, bool]:
        """The control to send: with steering noise, held at rest against rolling, and pushed on after a long stop."""
        noise = self.config.steer_noise * float(self._rng.standard_normal())
        pedal = 1.0 if brake or (throttle == 0.0 and speed < ROLLBACK_MPS) else 0.0
        self._standing_ticks = self._standing_ticks + 1 if speed < STANDSTILL_MPS else 0
        may_push = self.config.unblock_at_waits or rule not in RULES_TO_WAIT_FOR
        is_unblocking = may_push and self._standing_ticks >= self.config.unblock_ticks
        if is_unblocking:
            throttle, pedal = 1.0, 0.0
        control = carla.VehicleControl(throttle=throttle, steer=min(max(steer + noise, -1.0), 1.0), brake=pedal)
        return control, is_unblocking


def _saved_points(ahead: Array) -> Array:
    return ahead[FIRST_SAVED_POINT::SAVED_POINT_STRIDE, :2][:NUM_SAVED_POINTS].copy()
