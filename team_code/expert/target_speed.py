"""The speed the expert wants, and what made it want less than its cruise speed."""

from __future__ import annotations

from dataclasses import dataclass, field

import carla
import numpy as np
from numpy.typing import NDArray

from driving.control.expert import LateralPid, LongitudinalRegression
from team_code.expert.collision import BoxTracks, first_conflict, first_overlaps
from team_code.expert.config import ExpertConfig, FollowConfig
from team_code.expert.forecast import (
    SAME_DIRECTION_COSINE,
    braking_track,
    forecast_ego,
    forecast_vehicles,
    forecast_walkers,
)
from team_code.expert.idm import IntelligentDriver, Obstacle
from team_code.expert.planner import RoutePlanner, RoutePosition
from team_code.expert.scene import ActorBatch, EgoState, Scene

OUTSIDE_M = 0.5
"""Who is farther than this from the way of another vehicle is not in it yet and rather brakes."""

TURNING_COSINE = 0.97
"""The ego turns if its heading changes by more than 14 degrees within the forecast."""


@dataclass(frozen=True)
class Cause:
    """What lowered the target speed.

    Attributes:
        speed: Target speed it asks for, m/s.
        rule: Which rule: ``cruise``, ``leading``, ``bicycle``, ``vehicle``, ``walker``, ``light``, ``stop_sign``,
            ``overtake_wait``.
        type_id: Blueprint of the object, None without one.
        actor_id: Its id.
        distance: Metres to it.
    """

    speed: float
    rule: str = "cruise"
    type_id: str | None = None
    actor_id: int | None = None
    distance: float | None = None


@dataclass
class Hazards:
    """Which hazards lowered the target speed in this tick, and the actors behind them."""

    vehicle: bool = False
    vehicle_id: int | None = None
    walker: bool = False
    walker_id: int | None = None
    light: bool = False
    stop_sign: bool = False


@dataclass(frozen=True)
class SpeedDecision:
    """Target speed of one tick.

    Attributes:
        target: m/s.
        brake: Whether to stop at once.
        cause: The term that won.
        hazards: Flags for the recording.
        near_lane_change: Whether lane changes are near, which shortens the forecast.
        terms: Lowest target speed of each rule that applied, m/s.
    """

    target: float
    brake: bool
    cause: Cause
    hazards: Hazards
    near_lane_change: bool
    terms: dict[str, float] = field(default_factory=dict)


@dataclass
class StopSignMemory:
    """Whether the next stop sign has been obeyed."""

    standing_ticks: int = 0
    cleared: bool = False

    def update(self, distance: float, speed: float, config: ExpertConfig) -> None:
        """Count ticks of standstill, given the distance to the trigger centre (metres) and the speed (m/s)."""
        if distance > config.stop_memory:
            self.standing_ticks, self.cleared = 0, False
        elif speed < 0.1 and distance < config.stop_reach:
            self.standing_ticks += 1
            self.cleared = self.cleared or self.standing_ticks > config.stop_ticks
        else:
            self.standing_ticks = 0


class Accelerations:
    """How fast others gain speed, from the speeds of successive ticks.

    Args:
        dt: Seconds between ticks.
    """

    LARGEST = 5.0
    WEIGHT = 0.4
    """Of the newest difference in the running mean."""

    def __init__(self, dt: float) -> None:
        self._dt = dt
        self._seen: dict[int, tuple[float, float]] = {}

    def update(self, vehicles: ActorBatch) -> NDArray[np.float64]:
        """Accelerations (N,), m/s², of those who drive off or speed up without braking; zero for others and for newcomers."""
        seen: dict[int, tuple[float, float]] = {}
        for number, speed in zip(vehicles.ids.tolist(), vehicles.speed.tolist()):
            before, mean = self._seen.get(number, (speed, 0.0))
            seen[number] = speed, mean + self.WEIGHT * ((speed - before) / self._dt - mean)
        self._seen = seen
        means = np.array([mean for _, mean in seen.values()])
        return np.where(vehicles.control[:, 2] > 0, 0.0, np.clip(means, 0.0, self.LARGEST))


class SpeedPlanner:
    """Takes the minimum over the driver model towards everything in the way.

    Args:
        planner: The route.
        lateral: Steering controller, used in the forecast and left as it was.
        longitudinal: Speed controller.
        config: Constants.
    """

    def __init__(
        self, planner: RoutePlanner, lateral: LateralPid, longitudinal: LongitudinalRegression, config: ExpertConfig
    ) -> None:
        self._planner, self._lateral, self._longitudinal, self._config = planner, lateral, longitudinal, config
        self._driver = IntelligentDriver(config.idm)
        self._is_impatient = False
        self._road_speed = 0.0
        self._accelerations = Accelerations(config.bicycle.dt)
        self.stop_memory = StopSignMemory()

    def near_lane_change(self, speed: float) -> bool:
        """Whether a lane-change command lies within the stopping distance ahead or shortly behind; speed in m/s."""
        braking_distance = (speed * 3.6 / 10.0) ** 2 / 2.0 + 10.0
        left = len(self._planner.route) - self._planner.index
        ahead = max(200, min(left, 10 * int(braking_distance)))
        return self._planner.lane_change_between(150, ahead)

    def decide(
        self,
        scene: Scene,
        position: RoutePosition,
        cruise_speed: float,
        road_speed: float | None = None,
        is_impatient: bool = False,
    ) -> SpeedDecision:
        """Target speed for a scene.

        Args:
            scene: The world now.
            position: What lies ahead on the route.
            cruise_speed: Speed on a free road, m/s, positive.
            road_speed: The same on a straight road; None if it is the same.
            is_impatient: Take gaps in crossing traffic without the reserve of growing boxes.
        """
        self._is_impatient = is_impatient
        self._road_speed = cruise_speed if road_speed is None else road_speed
        causes = [Cause(cruise_speed)]
        near_lane_change = self.near_lane_change(scene.ego.speed)
        hazards = Hazards()
        self._actor_terms(scene, cruise_speed, near_lane_change, causes, hazards)
        self._light_term(scene, position, cruise_speed, causes)
        self._stop_term(scene.ego, position, cruise_speed, causes)
        winner = min(causes, key=lambda cause: cause.speed)
        self._set_flags(winner, cruise_speed, hazards)
        terms = {cause.rule: cause.speed for cause in sorted(causes, key=lambda c: -c.speed)}
        return SpeedDecision(winner.speed, bool(winner.speed == 0.0), winner, hazards, near_lane_change, terms)

    def wait_speed(self, cruise_speed: float, ego: EgoState, distance: float) -> float:
        """Target speed, m/s, that stops the ego at ``distance`` metres."""
        follow = self._config.overtake
        obstacle = Obstacle(distance, float(ego.extent[0]), 0.0, follow.gap, follow.headway)
        return self._driver.next_speed(cruise_speed, ego.speed, obstacle)

    def _set_flags(self, winner: Cause, cruise_speed: float, hazards: Hazards) -> None:
        if winner.speed == cruise_speed:
            return
        if winner.rule == "walker":
            hazards.walker = True
            hazards.walker_id = winner.actor_id if self._config.profile != "simlingo" else None
        elif winner.rule == "light":
            hazards.light = True
        elif winner.rule == "stop_sign":
            hazards.stop_sign = True

    def _follow(self, cruise: float, ego_speed: float, distance: float, length: float, speed: float, by: FollowConfig):
        obstacle = Obstacle(distance, float(length), speed, by.gap, by.headway)
        return float(self._driver.next_speed(cruise, ego_speed, obstacle))

    def _actor_terms(
        self, scene: Scene, cruise: float, near_lane_change: bool, causes: list[Cause], hazards: Hazards
    ) -> None:
        config, ego = self._config, scene.ego
        f = config.forecast
        free_horizon = f.horizon_junction if self._planner.junction_within(f.junction_points) else f.horizon
        horizon = f.horizon_lane_change if near_lane_change else free_horizon
        steps = int(horizon / config.bicycle.dt)
        near = np.linalg.norm(scene.vehicles.xyz - ego.xyz, axis=1) < f.radius
        vehicles = scene.vehicles.select(near)
        gained = self._accelerations.update(vehicles) if f.gained_speed else None
        walkers = scene.walkers.select(np.linalg.norm(scene.walkers.xyz - ego.xyz, axis=1) < f.radius)
        leading = self._planner.leading(vehicles, float(ego.extent[1]))
        trailing = self._planner.trailing(vehicles.xy, vehicles.yaw)
        distance = np.linalg.norm(vehicles.xyz - ego.xyz, axis=1)
        if not near_lane_change:
            for i in np.flatnonzero(leading).tolist():
                length, speed = 2 * vehicles.extent[i, 0], float(vehicles.speed[i])
                target = self._follow(cruise, ego.speed, float(distance[i]), length, speed, config.vehicle)
                causes.append(_cause(target, "leading", vehicles, i, distance))
        if len(vehicles) == 0 and len(walkers) == 0:
            return
        track = forecast_ego(ego, self._planner, self._lateral, self._longitudinal, self._road_speed, steps, config)
        yaw = ego.yaw if config.conflict is not None else None
        others = forecast_vehicles(vehicles, steps, near_lane_change, config, self._is_impatient, yaw, gained)
        hits = first_overlaps(track, others) >= 0
        if not near_lane_change:
            hits &= ~(leading | trailing)
        follows = vehicles.is_bicycle.copy()
        if config.conflict is not None:  # a bicycle that crosses is no leader
            follows &= np.cos(vehicles.yaw - ego.yaw) > SAME_DIRECTION_COSINE
        for i in np.flatnonzero(hits).tolist():
            if follows[i]:
                length, speed = 2 * vehicles.extent[i, 0], float(vehicles.speed[i])
                target = self._follow(cruise, ego.speed, float(distance[i]), length, speed, config.vehicle)
                causes.append(_cause(target, "bicycle", vehicles, i, distance))
            else:
                target = self._yield_speed(
                    ego, cruise, track.with_extents(ego.extent), others.with_extents(vehicles.extent), i
                )
                if target is None:
                    continue
                if config.conflict is not None and near_lane_change and self._is_ahead(ego, vehicles, i):
                    length, speed = 2 * vehicles.extent[i, 0], float(vehicles.speed[i])
                    room = self._follow(cruise, ego.speed, float(distance[i]), length, speed, config.vehicle)
                    target = min(target, room)
                hazards.vehicle, hazards.vehicle_id = True, int(vehicles.ids[i])
                causes.append(_cause(target, "vehicle", vehicles, i, distance))
        walker_distance = np.linalg.norm(walkers.xyz - ego.xyz, axis=1)
        walker_hits = first_overlaps(track, forecast_walkers(walkers, steps, f, config.bicycle.dt)) >= 0
        for i in np.flatnonzero(walker_hits).tolist():
            length = 0.5 + float(ego.extent[0])
            target = self._follow(cruise, ego.speed, float(walker_distance[i]), length, 0.0, config.walker)
            causes.append(_cause(target, "walker", walkers, i, walker_distance))

    @staticmethod
    def _is_ahead(ego: EgoState, vehicles: ActorBatch, i: int) -> bool:
        """Whether a vehicle drives or stands before the ego in its direction: who stops short of it can still turn out."""
        offset = vehicles.xy[i] - ego.xyz[:2]
        along = float(np.dot(offset, ego.forward)) > ego.extent[0] + vehicles.extent[i, 0]
        return along and bool(np.cos(vehicles.yaw[i] - ego.yaw) > SAME_DIRECTION_COSINE)

    def _yield_speed(
        self, ego: EgoState, cruise: float, track: BoxTracks, others: BoxTracks, actor: int
    ) -> float | None:
        """Speed towards the edge of what another vehicle will sweep over, given tracks of boxes in their true size.

        None where going on is right: deep inside the way of crossing traffic it is standing still that makes the collision.
        """
        by = self._config.conflict
        if by is None:
            return 0.0
        step = first_conflict(track, others, actor)
        place = track.centers[min(step, len(track.centers) - 1), 0, :2]
        reached = float(np.linalg.norm(place - track.centers[0, 0, :2]))
        if ego.speed**2 > 2 * self._config.hard_deceleration * reached:
            return self._inside_speed(ego, track, others, actor, reached)
        return self._follow(cruise, ego.speed, reached, 0.0, 0.0, by)

    def _inside_speed(
        self, ego: EgoState, track: BoxTracks, others: BoxTracks, actor: int, reached: float
    ) -> float | None:
        """Speed where it is too late to stop short of another's way: whichever of going on and braking avoids it."""
        if first_overlaps(track, others)[actor] < 0:
            return None
        braking = braking_track(track, ego.speed, self._config.hard_deceleration, self._config.bicycle.dt)
        if first_overlaps(braking, others)[actor] < 0:
            return 0.0
        crosses = float(np.dot(others.axes[0, actor, 0, :2], ego.forward)) < SAME_DIRECTION_COSINE
        comes_from_behind = float(np.dot(others.centers[0, actor, :2] - ego.xyz[:2], ego.forward)) < -ego.extent[0]
        if not crosses and comes_from_behind:
            return None
        # Only who turns across others clears their way by going on; who drives straight on stops for those that turn.
        is_turning = float(np.dot(track.axes[-1, 0, 0], track.axes[0, 0, 0])) < TURNING_COSINE
        clears = crosses and is_turning and reached < OUTSIDE_M
        return None if clears and ego.speed < self._config.clearing_speed else 0.0

    def _light_term(self, scene: Scene, position: RoutePosition, cruise: float, causes: list[Cause]) -> None:
        if position.light_id is None or position.light_distance > self._config.relevant_distance:
            return
        light = scene.lights[position.light_id]
        if light.state == carla.TrafficLightState.Green:
            return
        if light.state == carla.TrafficLightState.Yellow:
            room = max(0.1, position.light_distance - float(scene.ego.extent[0]))
            if scene.ego.speed**2 / (2 * room) > self._config.dilemma_deceleration:
                return
        target = self._follow(cruise, scene.ego.speed, position.light_distance, 0.0, 0.0, self._config.light)
        causes.append(Cause(target, "light", light.type_id, light.id, position.light_distance))

    def _stop_term(self, ego: EgoState, position: RoutePosition, cruise: float, causes: list[Cause]) -> None:
        if position.stop_id is None:
            return
        sign = next(s for s in self._planner.route.stop_signs if s.id == position.stop_id)
        centre = self._planner.route.stop_centres[position.stop_id]
        distance = float(np.linalg.norm(ego.xyz - centre))
        self.stop_memory.update(distance, ego.speed, self._config)
        if distance > self._config.relevant_distance or position.stop_distance > self._config.relevant_distance:
            return
        reach = np.inf if self.stop_memory.cleared else distance
        if self.stop_memory.cleared and self._config.profile != "simlingo":
            return
        target = self._follow(cruise, ego.speed, reach, 0.0, 0.0, self._config.stop_sign)
        causes.append(Cause(target, "stop_sign", sign.type_id, sign.id, distance))


def _cause(target: float, rule: str, batch, i: int, distance) -> Cause:
    return Cause(target, rule, batch.actors[i].type_id, int(batch.ids[i]), float(distance[i]))
