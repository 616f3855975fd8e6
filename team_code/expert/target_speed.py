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
    forecast_on_lanes,
    forecast_vehicles,
    forecast_walkers,
    which_walkers_may_touch,
    who_may_touch,
)
from team_code.expert.idm import IntelligentDriver, Obstacle
from team_code.expert.lanes import MOVING_MPS, LaneFollowers, LanePath
from team_code.expert.planner import RoutePlanner, RoutePosition
from team_code.expert.scene import ActorBatch, EgoState, Scene

OUTSIDE_M = 0.5
"""Who is farther than this from the way of another vehicle is not in it yet and rather brakes."""

TURNING_COSINE = 0.97
"""The ego turns if its heading changes by more than 14 degrees within the forecast."""

COMMITTED_MPS = 2.0
"""Who is faster than this in a junction is on the way through it."""

LEADER_STEPS = 20
"""Who is ahead in the same lane so many ticks before the ego would catch up with it is simply followed."""

LANE_HALF_WIDTH_M = 1.75

ROOM_BESIDE_M = 0.3
"""So far from the way of another vehicle the ego waits."""

STANDING_MPS, CREEPING_M = 0.1, 4.0
"""Who stands no farther than this from where it has to wait does not creep there."""

TRAFFIC_ROLE = "background"
"""``role_name`` of the traffic that obeys rules and brakes for others."""

LIGHT_BEHIND_ENTRY_M = 10.0
"""A light no farther than this behind the entry of a junction is that junction's."""

TAIL_M = 1.0
"""Running a red light is judged by the line from the rear of the car to so far behind it."""

KEEP_UP_POINTS = 300
"""The highest speed limit on so many points ahead bounds the speed at which the ego keeps up with others."""


@dataclass(frozen=True)
class Cause:
    """What lowered the target speed.

    Attributes:
        speed: Target speed it asks for, m/s.
        rule: Which rule: ``cruise``, ``leading``, ``bicycle``, ``vehicle``, ``walker``, ``light``, ``stop_sign``,
            ``overtake_wait``, ``lane_change_wait``.
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
        lanes: Knows the lanes that vehicles follow; None forecasts with held controls only.
    """

    def __init__(
        self,
        planner: RoutePlanner,
        lateral: LateralPid,
        longitudinal: LongitudinalRegression,
        config: ExpertConfig,
        lanes: LaneFollowers | None = None,
    ) -> None:
        self._planner, self._lateral, self._longitudinal, self._config = planner, lateral, longitudinal, config
        self._driver = IntelligentDriver(config.idm)
        self._lanes = lanes
        self._vehicles: ActorBatch | None = None
        self._paths: list[tuple[LanePath, float, float] | None] = []
        self._gained: NDArray[np.float64] | None = None
        self._is_impatient = self._is_insistent = False
        self._yielded_to: frozenset[int] = frozenset()
        self._road_speed = 0.0
        self._accelerations = Accelerations(config.bicycle.dt)
        self.stop_memory = StopSignMemory()

    def near_lane_change(self, speed: float) -> bool:
        """Whether a lane-change command lies within the stopping distance ahead or shortly behind; speed in m/s."""
        braking_distance = (speed * 3.6 / 10.0) ** 2 / 2.0 + 10.0
        left = len(self._planner.route) - self._planner.index
        ahead = max(200, min(left, 10 * int(braking_distance)))
        if self._lanes is not None and not self._planner.deviates_between(150, ahead):
            return False  # planned changes have looked for their gap, see `lane_changes`
        return self._planner.lane_change_between(150, ahead)

    def decide(
        self,
        scene: Scene,
        position: RoutePosition,
        cruise_speed: float,
        road_speed: float | None = None,
        is_impatient: bool = False,
        is_insistent: bool = False,
        green_left: float = np.inf,
    ) -> SpeedDecision:
        """Target speed for a scene.

        Args:
            scene: The world now.
            position: What lies ahead on the route.
            cruise_speed: Speed on a free road, m/s, positive.
            road_speed: The same on a straight road; None if it is the same.
            is_impatient: Take gaps in crossing traffic without the reserve of growing boxes.
            is_insistent: Expect traffic that is not a scenario's to let the ego in.
            green_left: Seconds after which the next light is known to turn red.
        """
        self._is_impatient, self._is_insistent = is_impatient, is_insistent
        self._road_speed = cruise_speed if road_speed is None else road_speed
        causes = [Cause(cruise_speed)]
        near_lane_change = self.near_lane_change(scene.ego.speed)
        hazards = Hazards()
        self._actor_terms(scene, cruise_speed, near_lane_change, causes, hazards)
        self._light_term(scene, position, cruise_speed, green_left, causes)
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

    def look(self, scene: Scene) -> None:
        """Pick the vehicles that matter in this tick and the lanes they follow; comes before everything else."""
        f, vehicles = self._config.forecast, scene.vehicles
        distance = np.linalg.norm(vehicles.xyz - scene.ego.xyz, axis=1)
        near = distance < f.radius
        if self._lanes is None:
            self._vehicles, self._paths = vehicles.select(near), [None] * int(near.sum())
        else:
            near |= (distance < f.far) & (vehicles.speed > MOVING_MPS)
            self._vehicles = vehicles.select(near)
            self._paths = self._lanes.paths(self._vehicles)
        self._gained = self._accelerations.update(self._vehicles) if f.gained_speed else None

    def keep_up_speed(self, ego: EgoState, above: float = 0.0) -> float:
        """Speed, m/s, of the fastest vehicle whose way the ego is about to share, up to the speed limit; 0 if there is none
        that is faster than ``above``, m/s."""
        horizon, vehicles = self._config.keep_up_time, self._vehicles
        if horizon == 0.0 or vehicles is None or not (vehicles.speed > above).any():
            return 0.0
        behind = (ego.xyz[:2] - vehicles.xy) @ ego.forward - ego.extent[0] - vehicles.extent[:, 0]
        closing = vehicles.speed - ego.speed
        sharing = self._planner.trailing(vehicles.xy, vehicles.yaw) & (behind < horizon * closing)
        if self._near_junction():
            for i in np.flatnonzero((vehicles.speed > above) & ~sharing).tolist():
                sharing[i] = self._joins(i, horizon)
        sharing &= ~self._planner.leading(vehicles, float(ego.extent[1]))
        limits = self._planner.route.speed_limits
        limit = float(limits[self._planner.index : self._planner.index + KEEP_UP_POINTS].max())
        return min(limit, float(vehicles.speed[sharing].max())) if sharing.any() else 0.0

    def _joins(self, i: int, horizon: float) -> bool:
        """Whether a vehicle that follows a lane will be on the route in one of the next seconds."""
        found, vehicles = self._paths[i], self._vehicles
        if found is None or vehicles is None:
            return False
        path, along, offset = found
        places, yaws = path.place(along + vehicles.speed[i] * np.arange(1.0, horizon + 1.0), offset)
        return bool(self._planner.joining(places, yaws).any())

    def _actor_terms(
        self, scene: Scene, cruise: float, near_lane_change: bool, causes: list[Cause], hazards: Hazards
    ) -> None:
        config, ego, vehicles = self._config, scene.ego, self._vehicles
        assert vehicles is not None
        f = config.forecast
        walkers = scene.walkers.select(np.linalg.norm(scene.walkers.xyz - ego.xyz, axis=1) < f.radius)
        leading = self._planner.leading(vehicles, float(ego.extent[1]))
        distance = np.linalg.norm(vehicles.xyz - ego.xyz, axis=1)
        if not near_lane_change:
            for i in np.flatnonzero(leading & (distance < f.radius)).tolist():
                target = self._follow_vehicle(cruise, ego, vehicles, i, distance)
                causes.append(_cause(target, "leading", vehicles, i, distance))
        if len(vehicles) == 0 and len(walkers) == 0:
            return
        steps = self._steps(near_lane_change)
        on_route = leading | self._planner.trailing(vehicles.xy, vehicles.yaw)
        relevant = ~self._is_past(ego)
        if not near_lane_change:
            relevant &= ~on_route
        if steps == self._held_steps(near_lane_change):
            relevant &= distance < f.radius
        if len(walkers) == 0 and not relevant.any():
            self._yielded_to = frozenset()
            return
        track = forecast_ego(ego, self._planner, self._lateral, self._longitudinal, self._road_speed, steps, config)
        relevant &= who_may_touch(track, vehicles, self._paths, config, self._gained)
        self._look_at_only(relevant)
        self._vehicle_terms(ego, cruise, near_lane_change, track, on_route[relevant], causes, hazards)
        self._walker_terms(ego, cruise, track.head(self._held_steps(near_lane_change)), walkers, causes)

    def _walker_terms(
        self, ego: EgoState, cruise: float, track: BoxTracks, walkers: ActorBatch, causes: list[Cause]
    ) -> None:
        """Terms of the walkers that the ego would meet if it went on."""
        config, steps = self._config, len(track.centers)
        dt = config.bicycle.dt
        walkers = walkers.select(which_walkers_may_touch(track, walkers, config.forecast, steps * dt))
        if len(walkers) == 0:
            return
        distance = np.linalg.norm(walkers.xyz - ego.xyz, axis=1)
        hits = first_overlaps(track, forecast_walkers(walkers, steps, config.forecast, dt)) >= 0
        for i in np.flatnonzero(hits).tolist():
            length = 0.5 + float(ego.extent[0])
            target = self._follow(cruise, ego.speed, float(distance[i]), length, 0.0, config.walker)
            causes.append(_cause(target, "walker", walkers, i, distance))

    def _look_at_only(self, mask: NDArray[np.bool_]) -> None:
        """Forget, for the rest of this tick, the vehicles where ``mask`` (N,) does not hold."""
        assert self._vehicles is not None
        self._paths = [self._paths[i] for i in np.flatnonzero(mask).tolist()]
        self._vehicles = self._vehicles.select(mask)
        self._gained = None if self._gained is None else self._gained[mask]

    def _near_junction(self) -> bool:
        return self._planner.junction_within(self._config.forecast.junction_points)

    def _held_steps(self, near_lane_change: bool) -> int:
        """Ticks for which others are expected to hold their control."""
        f = self._config.forecast
        return int((f.horizon_lane_change if near_lane_change else f.horizon) / self._config.bicycle.dt)

    def _steps(self, near_lane_change: bool) -> int:
        """Ticks that the ego looks ahead."""
        held, f = self._held_steps(near_lane_change), self._config.forecast
        if self._lanes is None or not self._near_junction():
            return held
        return max(held, int(f.horizon_junction / self._config.bicycle.dt))

    def _vehicle_terms(
        self,
        ego: EgoState,
        cruise: float,
        near_lane_change: bool,
        track: BoxTracks,
        on_route: NDArray[np.bool_],
        causes: list[Cause],
        hazards: Hazards,
    ) -> None:
        """Terms of the vehicles that the ego would meet if it went on."""
        config, vehicles = self._config, self._vehicles
        assert vehicles is not None
        if len(vehicles) == 0:
            self._yielded_to = frozenset()
            return
        distance = np.linalg.norm(vehicles.xyz - ego.xyz, axis=1)
        follows = vehicles.is_bicycle.copy()
        if config.conflict is not None:  # a bicycle that crosses, or comes from behind, is no leader
            follows &= np.cos(vehicles.yaw - ego.yaw) > SAME_DIRECTION_COSINE
            follows &= (vehicles.xy - ego.xyz[:2]) @ ego.forward > 0.0
        yielded_to = set()
        for i, mine, theirs in self._meetings(ego, near_lane_change, track, on_route):
            if follows[i]:
                target = self._follow_vehicle(cruise, ego, vehicles, i, distance)
                causes.append(_cause(target, "bicycle", vehicles, i, distance))
                continue
            tracks = mine.with_extents(ego.extent), theirs.with_extents(vehicles.extent)
            speed = self._yield_speed(ego, cruise, *tracks, i)
            if speed is None:
                continue
            if config.conflict is not None and near_lane_change and self._is_ahead(ego, vehicles, i):
                speed = min(speed, self._follow_vehicle(cruise, ego, vehicles, i, distance))
            yielded_to.add(int(vehicles.ids[i]))
            hazards.vehicle, hazards.vehicle_id = True, int(vehicles.ids[i])
            causes.append(_cause(speed, "vehicle", vehicles, i, distance))
        self._yielded_to = frozenset(yielded_to)

    def _meetings(
        self, ego: EgoState, near_lane_change: bool, track: BoxTracks, on_route: NDArray[np.bool_]
    ) -> list[tuple[int, BoxTracks, BoxTracks]]:
        """(vehicle, forecast of the ego, forecast of the vehicles) for each vehicle that the ego would meet."""
        config, vehicles = self._config, self._vehicles
        assert vehicles is not None
        f, steps = config.forecast, len(track.centers)
        is_committed = self._lanes is not None and ego.speed > COMMITTED_MPS and self._in_junction()
        yaw = ego.yaw if config.conflict is not None else None
        # Who has begun to wait for somebody does not change its mind because it rolls into the junction.
        waits_for = np.isin(vehicles.ids, list(self._yielded_to))
        is_bold = self._is_impatient | (is_committed & ~waits_for)
        held = forecast_vehicles(vehicles, steps, near_lane_change, config, is_bold, yaw, self._gained)
        soon = self._held_steps(near_lane_change)
        hits = first_overlaps(track.head(soon), held.head(soon)) >= 0
        hits &= np.linalg.norm(vehicles.xyz - ego.xyz, axis=1) < f.radius
        if not near_lane_change:
            hits &= ~on_route
        margin = np.where(is_bold, f.committed_margin, f.lane_margin) + np.where(waits_for, f.start_margin, 0.0)
        if steps == soon and self._lanes is not None and hits.any():
            on_lanes = forecast_on_lanes(vehicles, self._paths, held, config.bicycle.dt, 0.0)
            hits &= ~(self._keeps_oncoming_lane(ego) & (first_overlaps(track, on_lanes) < 0))
        meetings = [(i, track.head(soon), held.head(soon)) for i in np.flatnonzero(hits).tolist()]
        if steps == soon:
            return meetings
        lets_in = self._lets_in(ego)
        on_lanes = forecast_on_lanes(vehicles, self._paths, held, config.bicycle.dt, margin, lets_in)
        first = first_overlaps(track, on_lanes)
        meetings = [meeting for meeting in meetings if not lets_in[meeting[0]] or first[meeting[0]] >= 0]
        for i in np.flatnonzero((first >= 0) & ~hits & ~on_route).tolist():
            known = self._paths[i] is not None or first[i] < 2 * soon
            if known and not becomes_leader(track, on_lanes, i, int(first[i])):
                meetings.append((i, track, on_lanes))
        return meetings

    def _is_past(self, ego: EgoState) -> NDArray[np.bool_]:
        """Which vehicles stand beside the ego, no farther than it has come: driving on takes it away from them."""
        vehicles = self._vehicles
        assert vehicles is not None
        if self._config.conflict is None:
            return np.zeros(len(vehicles), dtype=bool)
        return (vehicles.speed < MOVING_MPS) & ((vehicles.xy - ego.xyz[:2]) @ ego.forward < 0.0)

    def _lets_in(self, ego: EgoState) -> NDArray[np.bool_]:
        """Which vehicles are expected to stop for an ego that has waited too long: traffic that crosses or comes towards it."""
        vehicles = self._vehicles
        assert vehicles is not None
        if not self._is_insistent:
            return np.zeros(len(vehicles), dtype=bool)
        heeds = [actor.attributes.get("role_name") == TRAFFIC_ROLE for actor in vehicles.actors]
        on_lane = [found is not None for found in self._paths]
        return np.array(heeds) & np.array(on_lane) & (np.cos(vehicles.yaw - ego.yaw) < SAME_DIRECTION_COSINE)

    def _keeps_oncoming_lane(self, ego: EgoState) -> NDArray[np.bool_]:
        """Who comes towards the ego on a lane; away from junctions a trembling wheel does not take them off it."""
        assert self._vehicles is not None
        on_lane = np.array([found is not None for found in self._paths], dtype=bool)
        return on_lane & (np.cos(self._vehicles.yaw - ego.yaw) < -SAME_DIRECTION_COSINE)

    def _in_junction(self) -> bool:
        return bool(self._planner.route.in_junction[self._planner.index])

    def _follow_vehicle(self, cruise: float, ego: EgoState, vehicles: ActorBatch, i: int, distance) -> float:
        length, speed = 2 * vehicles.extent[i, 0], float(vehicles.speed[i])
        return self._follow(cruise, ego.speed, float(distance[i]), length, speed, self._config.vehicle)

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
        is_waiting = self._vehicles is not None and int(self._vehicles.ids[actor]) in self._yielded_to
        step = first_conflict(track, others.with_extents(others.extents[0] + [0.0, ROOM_BESIDE_M, 0.0]), actor)
        place = track.centers[min(step, len(track.centers) - 1), 0, :2]
        reached = float(np.linalg.norm(place - track.centers[0, 0, :2]))
        if self._lanes is not None:
            reached = self._before_junction(ego, reached)
        if is_waiting and ego.speed < STANDING_MPS and reached < CREEPING_M:
            return 0.0
        if ego.speed**2 > 2 * self._config.hard_deceleration * reached:
            return self._inside_speed(ego, track, others, actor, reached, is_waiting)
        return self._follow(cruise, ego.speed, reached, 0.0, 0.0, by)

    def _before_junction(self, ego: EgoState, reached: float) -> float:
        """Metres to the place to wait: before a junction without lights, not between two of its streams."""
        entry, light = self._planner.junction_entry(), self._planner.position().light_distance
        if entry is None or light < entry + LIGHT_BEHIND_ENTRY_M:
            return reached
        stop = max(0.0, entry - float(ego.extent[0]))
        return min(reached, stop) if reached > stop else reached

    def _inside_speed(
        self, ego: EgoState, track: BoxTracks, others: BoxTracks, actor: int, reached: float, is_waiting: bool
    ) -> float | None:
        """Speed where it is too late to stop short of another's way: whichever of going on and braking avoids it.

        If both do, an ego that waits already goes on waiting: to change one's mind costs the time that either needs.
        """
        braking = braking_track(track, ego.speed, self._config.hard_deceleration, self._config.bicycle.dt)
        stops = bool(first_overlaps(braking, others)[actor] < 0)
        if stops and is_waiting:
            return 0.0
        if first_overlaps(track, others)[actor] < 0:
            return None
        if stops:
            return 0.0
        crosses = float(np.dot(others.axes[0, actor, 0, :2], ego.forward)) < SAME_DIRECTION_COSINE
        comes_from_behind = float(np.dot(others.centers[0, actor, :2] - ego.xyz[:2], ego.forward)) < -ego.extent[0]
        if not crosses and comes_from_behind:
            return None
        # Only who turns across others clears their way by going on; who drives straight on stops for those that turn.
        is_turning = float(np.dot(track.axes[-1, 0, 0], track.axes[0, 0, 0])) < TURNING_COSINE
        clears = crosses and is_turning and reached < OUTSIDE_M
        return None if clears and ego.speed < self._config.clearing_speed else 0.0

    def _light_term(
        self, scene: Scene, position: RoutePosition, cruise: float, green_left: float, causes: list[Cause]
    ) -> None:
        if position.light_id is None or position.light_distance > self._config.relevant_distance:
            return
        light = scene.lights[position.light_id]
        is_green = light.state == carla.TrafficLightState.Green
        if is_green and not self._comes_too_late(scene.ego, position.light_distance, green_left):
            return
        if is_green or light.state == carla.TrafficLightState.Yellow:
            room = max(0.1, position.light_distance - float(scene.ego.extent[0]))
            if scene.ego.speed**2 / (2 * room) > self._config.dilemma_deceleration:
                return
        target = self._follow(cruise, scene.ego.speed, position.light_distance, 0.0, 0.0, self._config.light)
        causes.append(Cause(target, "light", light.type_id, light.id, position.light_distance))

    def _comes_too_late(self, ego: EgoState, light_distance: float, green_left: float) -> bool:
        """Whether the tail of the ego, at its present speed, is before the line when the green ends."""
        time = green_left - self._config.green_reserve
        return bool(np.isfinite(time)) and light_distance + float(ego.extent[0]) + TAIL_M > ego.speed * time

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


def becomes_leader(track: BoxTracks, others: BoxTracks, actor: int, meeting: int) -> bool:
    """Whether another vehicle will be ahead of the ego, in its lane and direction, well before they would meet.

    Args:
        track: Forecast of the ego (T, 1).
        others: Forecast of the vehicles (T, N).
        actor: Column of the vehicle.
        meeting: Step at which they would meet.
    """
    step = meeting - LEADER_STEPS
    if step < 0:
        return False
    forward = track.axes[step, 0, 0, :2]
    dx, dy = others.centers[step, actor, :2] - track.centers[step, 0, :2]
    ahead, aside = dx * forward[0] + dy * forward[1], dy * forward[0] - dx * forward[1]
    aligned = float(np.dot(others.axes[step, actor, 0, :2], forward))
    return bool(ahead > 0 and abs(aside) < LANE_HALF_WIDTH_M and aligned > SAME_DIRECTION_COSINE)


def _cause(target: float, rule: str, batch, i: int, distance) -> Cause:
    return Cause(target, rule, batch.actors[i].type_id, int(batch.ids[i]), float(distance[i]))
