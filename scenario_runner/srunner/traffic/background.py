"""Background traffic: what the ego meets besides scenarios.

Up to two cars ahead on every lane of its direction that wait when they get too far off, up to two behind that catch up, a
stream on the oncoming lanes, and cross traffic at junctions. Distances, speeds and probabilities are those of CARLA's
background activity (carla-simulator/scenario_runner, scenarios/background_activity.py); cars are kept by arc length along the
route and lane number instead of by road ids.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from py_trees.behaviour import Behaviour
from py_trees.common import Status

from srunner.scenariomanager.route_context import RouteContext
from srunner.traffic.fleet import MIN_LANE_WIDTH, Car, Duty, Fleet
from srunner.traffic.junctions import JunctionTraffic
from srunner.traffic.route_frame import RouteFrame

SURELY_WIDE = 3.0
"""A lane at least as wide wherever it was measured is nowhere too narrow for cars, metres."""

MERGE_AHEAD = 40.0
"""Cars leave a lane that ends within this distance, metres."""


@dataclass(frozen=True)
class TrafficRules:
    """Numbers of the background traffic.

    Attributes:
        front, back: Cars ahead and behind per lane.
        spawn_distance: Distance between cars on the road, metres.
        growth: How much farther cars may be per m/s of the ego's speed, metres.
        opposite_source: How far ahead oncoming cars appear, and behind the ego vanish, metres.
        opposite_distance: Distance between oncoming cars, metres.
        keep_clear: No source makes cars nearer to the ego than this, metres.
        forgotten: Between junctions, cars that left the last one another way are removed at this distance, metres.
        lost: No car is kept farther from the ego than this, metres.
    """

    front: int = 2
    back: int = 2
    spawn_distance: float = 15.0
    growth: float = 1.7
    opposite_source: float = 80.0
    opposite_distance: float = 40.0
    keep_clear: float = 15.0
    forgotten: float = 60.0
    lost: float = 250.0


class BackgroundTraffic:
    """Keeps the traffic around the ego for one route. `update` once per tick, after the scenarios.

    Args:
        context: The route, with a Traffic Manager.
        rules: See `TrafficRules`.
    """

    def __init__(self, context: RouteContext, rules: TrafficRules | None = None) -> None:
        self.context = context
        self.rules = rules or TrafficRules()
        self.frame = RouteFrame(context.map, context.route)
        self.fleet = Fleet(context, self.frame)
        self.junctions = JunctionTraffic(self)
        self.along = 0.0
        self.speed = 0.0
        self.limit_kmh = 30.0
        self._braked: set[int] = set()
        self._known_lanes: set[int] = set()
        self._released = False
        context.on_release(self)

    # ---- what the rules say now ---------------------------------------------------------------------------------

    @property
    def spacing(self) -> float:
        """Distance between cars on the road, metres."""
        return self.context.traffic.spawn_distance or self.rules.spawn_distance

    @property
    def min_radius(self) -> float:
        """Up to here cars ahead drive at the limit, metres."""
        return self.rules.front * self.spacing + self.rules.growth * self.speed + self.context.traffic.extra_space

    @property
    def max_radius(self) -> float:
        """Here cars ahead stand and wait, metres."""
        return self.min_radius + self.spacing

    def gap(self, car: Car) -> float:
        """Arc length from the ego to a car, metres, positive ahead."""
        return car.place.along - self.along

    def front_cars(self, lane: int) -> list[Car]:
        """Road cars ahead of the ego on a lane, the nearest first."""
        return sorted((car for car in self._road_cars(lane) if self.gap(car) > 0), key=self.gap)

    def back_cars(self, lane: int) -> list[Car]:
        """Road cars behind the ego on a lane, the nearest first."""
        return sorted((car for car in self._road_cars(lane) if self.gap(car) <= 0), key=self.gap, reverse=True)

    def _road_cars(self, lane: int) -> list[Car]:
        return [car for car in self.fleet.cars if car.duty is Duty.ROAD and car.place.lane == lane]

    # ---- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Put the first cars on the road."""
        self._observe()
        for lane in self.frame.lanes(self.frame.index):
            self._known_lanes.add(lane)
            self.populate(lane, self.spacing, 0.0)

    def update(self) -> None:
        """One tick: read, obey requests, add and remove cars, tell speeds."""
        if self._released:
            return
        self._observe()
        self._obey_requests()
        self.junctions.update()
        self._keep_road()
        self._keep_opposite()
        self._drop_lost()
        self._tell_speeds()

    def release(self) -> None:
        """Remove all cars; nothing happens the second time."""
        self._released = True
        self.fleet.remove_where(list(self.fleet.cars))

    def _observe(self) -> None:
        state, ego = self.context.state, self.context.ego
        motion = state.motion(ego)
        self.frame.advance(motion.location)
        self.along = self.frame.length_at(self.frame.index)
        self.speed = motion.speed
        self.limit_kmh = float(ego.get_speed_limit()) or self.limit_kmh
        self.fleet.refresh()

    # ---- the ego's own direction --------------------------------------------------------------------------------

    def populate(self, lane: int, step: float, speed: float) -> None:
        """Put cars ahead and behind on a lane, ``step`` metres apart, as far as no junction is in between."""
        for direction, count in ((1, self.rules.front), (-1, self.rules.back)):
            for i in range(count):
                along = self.along + direction * step * (i + 1)
                waypoint = self.frame.lane_at(lane, along)
                if waypoint is None or waypoint.is_junction or self._junction_between(along):
                    break
                self.fleet.spawn(waypoint, Duty.ROAD, speed)

    def _junction_between(self, along: float) -> bool:
        low, high = sorted((along, self.along))
        return any(junction.start < high and junction.end > low for junction in self.frame.junctions)

    def is_removed(self, lane: int) -> bool:
        """Whether some scenario wants no cars on a lane."""
        return any(self._lane_number(waypoint) == lane for waypoint in self.context.traffic.removed_lanes)

    def _lane_number(self, waypoint: Any) -> int:
        return self.frame.place(waypoint.transform.location).lane

    def _keep_road(self) -> None:
        self._let_strays_go()
        self._stop_on_narrow_lanes()
        lanes = self.frame.lanes(self.frame.index)
        for lane in lanes:
            if self.is_removed(lane):
                continue
            front = self.front_cars(lane)
            border = self.junctions.border
            for stretch in (
                [c for c in front if c.place.along <= border],
                [c for c in front if c.place.along > border],
            ):
                self.fleet.remove_where(stretch[self.rules.front :])
            self._follow_up(lane, front)
        self._merge_ending_lanes()
        self._open_new_lanes()

    def _let_strays_go(self) -> None:
        """Road cars that have turned off the route are no longer counted; they stop behind their junction."""
        for car in self.fleet.of(Duty.ROAD):
            if car.place.lane in self.frame.lanes(car.place.index):
                continue
            lane = self.fleet.lane(car)
            if not lane.is_junction and not self.frame.waypoint(car.place.index).is_junction:
                self.junctions.let_out(car, lane.key)

    def _stop_on_narrow_lanes(self) -> None:
        """Cars whose lane becomes too narrow pull up with their hazard lights on."""
        for car in self.fleet.of(Duty.ROAD):
            lane = self.fleet.lane(car)
            if lane.is_junction or lane.width >= SURELY_WIDE:
                continue
            if self.fleet.waypoint(car).lane_width < MIN_LANE_WIDTH:
                car.duty = Duty.WAITING
                self.fleet.hazard_lights(car)

    def _follow_up(self, lane: int, front: list[Car]) -> None:
        """The source behind the ego."""
        back = self.back_cars(lane)
        if not self.context.traffic.sources_active or self.junctions.entry_is_clear or self.junctions.is_active:
            return
        if len(front) + len(back) >= self.rules.front + self.rules.back:
            return
        source = self.along - self.rules.back * self.spacing
        last = back[-1] if back else None
        if last is not None:
            source = min(source, last.place.along - self.spacing)
            if -self.gap(last) > 2 * self.rules.back * self.spacing:
                return
        if self._junction_between(source) or self.along - source < self.rules.keep_clear:
            return
        speed = min(self.speed, last.speed) if last is not None else self.speed
        self.fleet.spawn(self.frame.lane_at(lane, source), Duty.ROAD, speed)

    def _merge_ending_lanes(self) -> None:
        """Cars on a lane that ends soon change to the lane beside it."""
        for car in self.fleet.of(Duty.ROAD):
            number = car.place.lane
            index = self.frame.index_at(car.place.along + MERGE_AHEAD)
            ahead = self.frame.lanes(index)
            if (
                number in ahead
                or number not in self.frame.lanes(car.place.index)
                or self.frame.waypoint(index).is_junction
            ):
                continue
            beside = [lane for lane in (number + 1, number - 1) if lane in ahead]
            if beside and car.place.index not in car.merged_at:
                car.merged_at = range(car.place.index, index)
                self.fleet.change_lane(car, to_right=beside[0] > number)

    def _open_new_lanes(self) -> None:
        """Lanes that begin ahead get their two cars before the ego sees them; lanes that ended are forgotten."""
        if self.junctions.is_active:
            return
        horizon = self.along + self.max_radius
        if self._junction_between(horizon):
            return
        ahead = self.frame.lanes(self.frame.index_at(horizon))
        for lane in sorted(set(ahead) - self._known_lanes):
            self._known_lanes.add(lane)
            if not self.is_removed(lane):
                for i in range(self.rules.front):
                    self.fleet.spawn(self.frame.lane_at(lane, horizon + i * self.spacing), Duty.ROAD, self.speed)
        self._known_lanes &= set(ahead) | set(self.frame.lanes(self.frame.index))

    # ---- oncoming cars ------------------------------------------------------------------------------------------

    def _keep_opposite(self) -> None:
        for car in self.fleet.of(Duty.OPPOSITE):
            if self.gap(car) < -self.rules.opposite_source:
                self.fleet.remove(car)
        if not self.context.traffic.opposite_active or self.junctions.is_active:
            return
        wished = self.context.traffic.opposite_spacing
        distance = wished or self.rules.opposite_distance
        source = self.along + (2 * wished if wished else self.rules.opposite_source)
        ahead = self.frame.junction_after(self.along)
        if ahead is not None:
            source = min(source, ahead.start - 2.0)
        if source - self.along < 20.0 or source > self.frame.length:
            return
        for lane in self.frame.opposite(self.frame.index_at(source)):
            location = lane.transform.location
            cars = self.fleet.of(Duty.OPPOSITE)
            if not any(car.location.distance(location) < distance for car in cars):
                self.fleet.spawn(lane, Duty.OPPOSITE, min(self.limit_kmh, self._cap_kmh) / 3.6)

    # ---- requests -----------------------------------------------------------------------------------------------

    def _obey_requests(self) -> None:
        traffic = self.context.traffic
        for lane in {self._lane_number(waypoint) for waypoint in traffic.removed_lanes}:
            self.fleet.remove_where(self.front_cars(lane) + self.back_cars(lane))
        while traffic.restored_lanes:
            lane = self._lane_number(traffic.restored_lanes.pop(0))
            if not self.is_removed(lane) and not self.junctions.is_active:
                self.populate(lane, self.rules.spawn_distance + 2.0 * self.speed, self.speed)
        space = traffic.take_front_space()
        if space > 0.0:
            self._make_space(space)
        for waypoint in traffic.take_crossings():
            self._clear_crossing(waypoint)

    def _make_space(self, space: float) -> None:
        """Move the cars ahead on the ego's lane so that the nearest is ``space`` metres away."""
        lane = int(self.frame.lane_numbers[self.frame.index])
        front = self.front_cars(lane)
        missing = space - self.gap(front[0]) if front else 0.0
        if missing <= 0.0:
            return
        for car in reversed(front):
            waypoint = self.frame.lane_at(lane, car.place.along + missing)
            if waypoint is None:
                self.fleet.remove(car)
            else:
                self.fleet.teleport(car, waypoint)

    def _clear_crossing(self, waypoint: object) -> None:
        """Oncoming cars near a crossing vanish, those a little farther off are stopped once."""
        location = waypoint.transform.location  # type: ignore[attr-defined]
        for car in self.fleet.of(Duty.OPPOSITE):
            distance = car.location.distance(location)
            if distance < 20.0:
                self.fleet.remove(car)
            elif distance < 30.0:
                car.actor.set_target_velocity(type(car.actor.get_velocity())(0.0, 0.0, 0.0))

    def _drop_lost(self) -> None:
        ego = self.context.state.location(self.context.ego)
        uncounted = () if self.junctions.is_active else (Duty.EXIT, Duty.WAITING, Duty.ENTRY, Duty.MIDDLE)
        for car in list(self.fleet.cars):
            distance = car.location.distance(ego)
            if distance > self.rules.lost or (car.duty in uncounted and distance > self.rules.forgotten):
                self.fleet.remove(car)

    # ---- speeds -------------------------------------------------------------------------------------------------

    def road_share(self, car: Car) -> float:
        """Share of the limit at which a road car drives: less the farther it is ahead, more the farther it is behind."""
        near = self.min_radius
        return _share_at(self.gap(car), near, near + self.spacing)

    @property
    def _cap_kmh(self) -> float:
        return self.context.traffic.speed_cap_kmh or math.inf

    def _tell_speeds(self) -> None:
        share, cap = self._road_shares(), self._cap_kmh
        for car in self.fleet.cars:
            part = share(car) if car.duty is Duty.ROAD else self.junctions.share(car)
            self.fleet.want(car, min(self.limit_kmh * part, cap))
        self._tell_brake_lights()

    def _road_shares(self) -> Callable[[Car], float]:
        """The share of the limit for a road car; what is the same for all of them in a tick is asked once."""
        traffic, keep_clear = self.context.traffic, self.rules.keep_clear
        near = self.min_radius
        far, cleared_to = near + self.spacing, self.junctions.cleared_to
        front_stopped, back_stopped = traffic.front_stopped, traffic.back_stopped
        entry_is_clear = self.junctions.entry_is_clear

        def share_of(car: Car) -> float:
            gap = self.gap(car)
            if front_stopped if gap > 0 else back_stopped:
                return 0.0
            if gap > 0 and car.place.along < cleared_to:
                return 1.0
            share = _share_at(gap, near, far)
            if gap <= 0 and entry_is_clear:  # followers stay behind, so that none spoils the junction
                share = min(share, max(0.0, (-gap - keep_clear) / keep_clear))
            return share

        return share_of

    def _tell_brake_lights(self) -> None:
        front_stopped = self.context.traffic.front_stopped
        if not front_stopped and not self._braked:
            return
        stopped = {
            car.actor.id: car for car in self.fleet.of(Duty.ROAD) if front_stopped and self.gap(car) > 0
        }  # fmt: skip
        for car in self.fleet.cars:
            if (car.actor.id in stopped) != (car.actor.id in self._braked):
                self.fleet.brake_lights(car, car.actor.id in stopped)
        self._braked = set(stopped)


def _share_at(gap: float, near: float, far: float) -> float:
    """Share of the limit at an arc length ahead of the ego, metres; see `BackgroundTraffic.road_share`."""
    band = far - near
    if gap > 0:
        return min(max((far - gap) / band, 0.0), 1.0)
    return min(1.0 - gap / band, 2.0)


class BackgroundBehavior(Behaviour):
    """`BackgroundTraffic` as a tree node that runs for ever. Tick it after the scenarios, whose requests then hold at once."""

    def __init__(self, context: RouteContext, rules: TrafficRules | None = None) -> None:
        super().__init__("background traffic")
        self.traffic = BackgroundTraffic(context, rules)

    def initialise(self) -> None:
        """Put the first cars on the road."""
        self.traffic.start()

    def update(self) -> Status:
        """One tick of traffic."""
        self.traffic.update()
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Remove all cars."""
        self.traffic.release()
