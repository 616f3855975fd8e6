"""Background traffic at junctions: sources on the other entries, cars that wait behind the exit, and what becomes of them."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srunner.tools.places import same_direction_lanes, upstream
from srunner.traffic.fleet import Car, Duty
from srunner.traffic.requests import JunctionRequest
from srunner.traffic.route_frame import RouteJunction, lane_before_junction, lane_behind_junction, lane_of

if TYPE_CHECKING:
    from srunner.traffic.background import BackgroundTraffic

DETECT_BASE, DETECT_PER_MPS = 30.0, 1.5
SOURCE_DISTANCE, SOURCE_MINIMUM = 40.0, 15.0
SOURCE_SPACING = 15.0
CARS_PER_SOURCE = 6
ACTIVE_SHARE = 0.8
"""Probability that an entry sends cars."""

EXIT_CAPACITY = 2
EXIT_ROOM = 60.0
"""Cars keep going on so much road behind the exit, metres: those on it and those that turn into it must find room."""

REUSE_RADIUS = 10.0
"""A car that passes this near to a source on its lane is counted as the source's, metres."""

EXIT_FACTOR = 1.5
"""Cars that have left through the route's exit drive so much faster than other cars ahead."""


@dataclass(eq=False)
class Source:
    """Where cars of one entry lane appear."""

    waypoint: Any
    entry: tuple[int, int]
    active: bool


@dataclass(eq=False)
class ActiveJunction:
    """A junction the ego is near.

    Attributes:
        junction: Its crossing by the route.
        sources: Where its cars appear.
    """

    junction: RouteJunction
    sources: list[Source] = field(default_factory=list)


class JunctionTraffic:
    """Traffic of the junctions near the ego."""

    def __init__(self, traffic: BackgroundTraffic) -> None:
        self._traffic = traffic
        self._active: list[ActiveJunction] = []
        self._assigned: dict[int, RouteJunction] = {}
        self._prepared: dict[int, JunctionRequest] = {}
        self._lanes: dict[int, tuple[set[tuple[int, int]], set[tuple[int, int]]]] = {}

    @property
    def is_active(self) -> bool:
        """Whether the ego is near a junction."""
        return bool(self._active)

    @property
    def entry_is_clear(self) -> bool:
        """Whether a scenario keeps the way to the next junction free."""
        return any(request.clear_entry for request in self._prepared.values())

    @property
    def border(self) -> float:
        """Arc length at which the first active junction ends, metres; infinite without one."""
        return min((active.junction.end for active in self._active), default=float("inf"))

    @property
    def cleared_to(self) -> float:
        """Arc length up to which road cars ahead are before, in or just behind an active junction, where they must not wait
        for the ego, metres; minus infinite without one."""
        return self.border + EXIT_ROOM if self._active else float("-inf")

    def update(self) -> None:
        """Activate and leave junctions, obey requests, follow the cars, add new ones."""
        self._note_requests()
        self._activate()
        self._follow_cars()
        self._obey()
        for active in self._active:
            for source in active.sources:
                self._run_source(active, source)
        self._leave()

    # ---- which junctions ----------------------------------------------------------------------------------------

    def _activate(self) -> None:
        traffic = self._traffic
        reach = DETECT_BASE + DETECT_PER_MPS * traffic.speed
        known = {id(active.junction) for active in self._active}
        for junction in traffic.frame.junctions:
            near = junction.start - traffic.along < reach and traffic.along < junction.end
            if near and id(junction) not in known:
                self._active.append(self._open(junction))

    def _open(self, junction: RouteJunction) -> ActiveJunction:
        own = {lane_of(lane) for lane in same_direction_lanes(junction.entry)}
        active = ActiveJunction(junction)
        for entry in junction.entries:
            if lane_of(entry) in own:
                continue
            waypoint = upstream(entry, SOURCE_DISTANCE)
            wanted = self._traffic.fleet.chance(ACTIVE_SHARE)
            if waypoint.transform.location.distance(entry.transform.location) >= SOURCE_MINIMUM:
                active.sources.append(Source(waypoint, lane_of(entry), wanted))
        self._fill_exit(junction)
        return active

    def _fill_exit(self, junction: RouteJunction) -> None:
        """Cars that wait behind the junction, so that the road beyond is not empty."""
        traffic = self._traffic
        extend = max((request.extend_exit for _, request in self._requests_for(junction)), default=0.0)
        removed = self._removed(junction)[1]
        for lane in same_direction_lanes(junction.exit):
            for i in range(traffic.rules.front if lane_of(lane) not in removed else 0):
                branches = lane.next((i + 2) * SOURCE_SPACING + extend)
                if branches and not branches[0].is_junction:
                    traffic.fleet.spawn(branches[0], Duty.ROAD)

    def _leave(self) -> None:
        traffic = self._traffic
        for active in [a for a in self._active if traffic.along >= a.junction.end]:
            self._active.remove(active)
            for car in traffic.fleet.of(Duty.ENTRY, Duty.MIDDLE, Duty.EXIT, Duty.WAITING):
                self._dismiss(car, active.junction.onward)
            for car in traffic.fleet.of(Duty.ROAD):
                if traffic.gap(car) < -traffic.rules.opposite_source:
                    traffic.fleet.remove(car)

    def _dismiss(self, car: Car, onward: Set[tuple[int, int]]) -> None:
        """Cars on the ego's new road stay as road or oncoming cars, all others go."""
        traffic = self._traffic
        if car.lane in onward and traffic.gap(car) > 0:
            car.duty = Duty.ROAD
        elif traffic.gap(car) > 0 and car.lane in {
            lane_of(lane) for lane in traffic.frame.opposite(traffic.frame.index_at(car.place.along))
        }:
            car.duty = Duty.OPPOSITE
            traffic.fleet.ignore_rules(car)
        elif not self._active:
            traffic.fleet.remove(car)

    # ---- requests -----------------------------------------------------------------------------------------------

    def _note_requests(self) -> None:
        """A request holds for the first active junction, else for the next one, until its owner takes it back."""
        current = dict(self._traffic.context.traffic.junctions)
        for owner in set(self._prepared) - set(current):
            self._assigned.pop(owner, None)
            self._lanes.pop(owner, None)
        for owner, request in current.items():
            changed = self._prepared.get(owner) is not request
            assigned = self._assigned.get(owner)
            if assigned is None or (changed and self._traffic.along >= assigned.end):
                junction = (
                    self._active[0].junction
                    if self._active
                    else self._traffic.frame.junction_after(self._traffic.along)
                )
                if junction is not None:
                    self._assigned[owner] = junction
            if changed:
                self._lanes[owner] = (
                    {lane_before_junction(waypoint) for waypoint in request.remove_entries},
                    {lane_behind_junction(waypoint) for waypoint in request.remove_exits},
                )
                self._extend(owner, request)
        self._prepared = current

    def _extend(self, owner: int, request: JunctionRequest) -> None:
        """Move cars already prepared behind the exit farther off."""
        before = self._prepared.get(owner)
        more = request.extend_exit - (before.extend_exit if before else 0.0)
        junction = self._assigned.get(owner)
        if more <= 0 or junction is None or all(active.junction is not junction for active in self._active):
            return
        traffic = self._traffic
        for car in traffic.fleet.of(Duty.ROAD):
            waypoint = traffic.fleet.waypoint(car)
            if lane_of(waypoint) in junction.onward and car.place.along > junction.end:
                branches = waypoint.next(more)
                if branches:
                    traffic.fleet.teleport(car, branches[0])
                else:
                    traffic.fleet.remove(car)

    def _requests_for(self, junction: RouteJunction) -> list[tuple[int, JunctionRequest]]:
        requests = self._traffic.context.traffic.junctions
        return [(owner, request) for owner, request in requests if self._assigned.get(owner) is junction]

    def _removed(self, junction: RouteJunction) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """Entry and exit lanes that scenarios want empty."""
        entries: set[tuple[int, int]] = set()
        exits: set[tuple[int, int]] = set()
        for owner, _ in self._requests_for(junction):
            lanes = self._lanes.get(owner)
            if lanes is not None:
                entries |= lanes[0]
                exits |= lanes[1]
        return entries, exits

    def _obey(self) -> None:
        for owner, request in self._prepared.items():
            junction = self._assigned.get(owner)
            if junction is not None and self._traffic.along < junction.end:
                self._clear(junction, request)

    def _clear(self, junction: RouteJunction, request: JunctionRequest) -> None:
        traffic = self._traffic
        entries, exits = self._removed(junction)
        for car in list(traffic.fleet.cars):
            ahead = car.duty is Duty.ROAD and traffic.gap(car) > 0 and car.place.along < junction.end
            inside = car.duty is Duty.MIDDLE and car.source is not None
            gone = (request.clear_entry and ahead) or (
                request.clear_junction and (inside or self._is_inside(car, junction))
            )
            gone = (
                gone
                or (car.duty is Duty.ENTRY and car.lane in entries)
                or (car.duty is Duty.EXIT and car.lane in exits)
            )
            if gone:
                traffic.fleet.remove(car)

    def _is_inside(self, car: Car, junction: RouteJunction) -> bool:
        return car.duty is Duty.ROAD and junction.start < car.place.along < junction.end and abs(car.place.right) < 10.0

    # ---- cars ---------------------------------------------------------------------------------------------------

    def _follow_cars(self) -> None:
        """Entry, inside, behind: the states of a car that came from a source."""
        traffic = self._traffic
        for car in traffic.fleet.of(Duty.ENTRY, Duty.MIDDLE, Duty.EXIT):
            lane = traffic.fleet.lane(car)
            car.lane = lane.key
            if car.duty is Duty.ENTRY and lane.is_junction:
                car.duty = Duty.MIDDLE
            elif car.duty is Duty.MIDDLE and not lane.is_junction:
                self.let_out(car, lane.key)
            elif car.duty is Duty.EXIT:
                self._settle(car)

    def let_out(self, newcomer: Car, lane: tuple[int, int]) -> None:
        """A car leaves a junction by a lane. An exit lane holds two cars; the one farthest off makes room."""
        traffic = self._traffic
        newcomer.duty, newcomer.exit = Duty.EXIT, (lane, newcomer.location)
        on_lane = [car for car in traffic.fleet.of(Duty.EXIT, Duty.WAITING) if car.exit[0] == newcomer.exit[0]]
        if len(on_lane) > EXIT_CAPACITY:
            origin = newcomer.location
            traffic.fleet.remove(max(on_lane, key=lambda car: car.location.distance(origin)))

    def _settle(self, car: Car) -> None:
        """Behind the route's exit a car drives on ahead of the ego; behind other exits it stops for good."""
        distance = car.location.distance(car.exit[1])
        for active in self._active:
            if car.lane in active.junction.onward and self._traffic.gap(car) > 0:
                if distance > SOURCE_SPACING:
                    car.duty = Duty.ROAD
                return
        if distance > 2 * SOURCE_SPACING:
            car.duty = Duty.WAITING

    def _run_source(self, active: ActiveJunction, source: Source) -> None:
        traffic = self._traffic
        if not source.active or source.entry in self._removed(active.junction)[0]:
            return
        place = source.waypoint.transform.location
        for car in traffic.fleet.of(Duty.ENTRY, Duty.ROAD, Duty.OPPOSITE):
            near = car.source is None and car.location.distance(place) < REUSE_RADIUS
            if near and car.lane == lane_of(source.waypoint):
                car.source, car.duty = source, Duty.ENTRY
        own = [car for car in traffic.fleet.cars if car.source is source]
        ego = traffic.context.state.location(traffic.context.ego)
        if len(own) >= CARS_PER_SOURCE or ego.distance(place) < SOURCE_SPACING:
            return
        if own and own[-1].location.distance(place) < SOURCE_SPACING:
            return
        newcomer = traffic.fleet.spawn(source.waypoint, Duty.ENTRY, traffic.limit_kmh / 3.6 / 2, source)
        if newcomer is not None:
            newcomer.lane = lane_of(source.waypoint)

    def share(self, car: Car) -> float:
        """Share of the limit at which a car that is not a road car drives."""
        if car.duty is Duty.WAITING:
            return 0.0
        if car.duty is Duty.ENTRY and self._prepared:
            for active in self._active:
                stopped = any(request.stop_entries for _, request in self._requests_for(active.junction))
                if stopped and car.source in active.sources:
                    return 0.0
        if car.duty is Duty.EXIT and self._traffic.gap(car) > 0:
            return min(1.0, EXIT_FACTOR * max(0.3, self._traffic.road_share(car)))
        return 1.0
