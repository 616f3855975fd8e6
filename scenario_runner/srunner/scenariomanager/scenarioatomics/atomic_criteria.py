"""What a drive is judged by. Each criterion watches the ego for the whole route and collects typed events.

Thresholds and order of tests follow CARLA's scenario_runner (scenariomanager/scenarioatomics/atomic_criteria.py); numbers in
which benchmarks differ are arguments.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import carla
import py_trees
from py_trees.common import Status

from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenarioatomics.criteria_geometry import (
    TrafficLightLines,
    angle_between_deg,
    box_contains,
    segments_cross,
)
from srunner.scenariomanager.timer import GameTime
from srunner.scenariomanager.traffic_events import Place, TrafficEvent, TrafficEventType
from srunner.tools.route_progress import RouteProgress

STANDING_MPS = 0.1
"""Below this speed the ego counts as standing."""


def place_of(location: carla.Location) -> Place:
    """The same location as a plain record."""
    return Place(location.x, location.y, location.z)


class Criterion(py_trees.behaviour.Behaviour):
    """Base of all criteria.

    Attributes:
        actor: The ego vehicle.
        test_status: ``INIT``, ``RUNNING``, ``SUCCESS`` or ``FAILURE``, for the console report.
        success_value: Value of a faultless drive.
        actual_value: Value reached.
        units: Unit of both, None for none.
        events: What happened, in order.
    """

    def __init__(self, name: str, actor: carla.Vehicle, units: str | None = "times"):
        super().__init__(name)
        self.actor = actor
        self.test_status = "INIT"
        self.success_value: float = 0
        self.actual_value: float = 0
        self.units = units
        self.events: list[TrafficEvent] = []

    def update(self) -> Status:
        """Judge one tick; does nothing on ticks where the ego's place is not known."""
        location = CarlaDataProvider.get_location(self.actor)
        if location is None:
            return Status.RUNNING
        if self.test_status == "INIT":
            self.test_status = "RUNNING"
        return self.judge(location)

    def judge(self, location: carla.Location) -> Status:
        """Look at the world of this tick; FAILURE or SUCCESS ends the route."""
        raise NotImplementedError

    def terminate(self, new_status: Status) -> None:
        """Close the books; called again harmlessly."""
        if self.test_status in ("INIT", "RUNNING"):
            self.test_status = "SUCCESS"

    def record(self, kind: TrafficEventType, location: carla.Location, **details: Any) -> TrafficEvent:
        """Add an event at the ego's place and mark the criterion as failed."""
        event = TrafficEvent(kind, GameTime.get_frame(), GameTime.get_time(), ego_place=place_of(location), **details)
        event.place = event.place or event.ego_place
        self.events.append(event)
        self.test_status = "FAILURE"
        return event


class RouteCompletionTest(Criterion):
    """How much of the route is done; ends the route one tick after its end was reached."""

    def __init__(self, actor: carla.Vehicle, route: Sequence[carla.Transform], percent: float, distance_m: float):
        """Args: percent: Share after which the route counts as done if the end is nearer than ``distance_m``."""
        super().__init__("RouteCompletionTest", actor, units="%")
        self.success_value = 100
        self._progress = RouteProgress(route, window=2)
        self._percent, self._distance_m = percent, distance_m
        self._target = route[-1].location
        self._event = TrafficEvent(TrafficEventType.ROUTE_COMPLETION, GameTime.get_frame(), percentage=0)
        self.events.append(self._event)

    def judge(self, location: carla.Location) -> Status:
        if self.test_status == "SUCCESS":
            return Status.SUCCESS
        if self._progress.advance(location) > 0:
            self.actual_value = round(self._progress.distance / self._progress.length * 100, 2)
        if self.actual_value > self._percent and location.distance(self._target) < self._distance_m:
            self.test_status, self.actual_value = "SUCCESS", 100
        self._event.percentage, self._event.frame = self.actual_value, GameTime.get_frame()
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        if self.test_status in ("INIT", "RUNNING"):
            self.test_status = "FAILURE"


class OutsideRouteLanesTest(Criterion):
    """Metres of the route driven off the lanes or in a lane of the other direction. One event for the whole route."""

    ALLOWED_OUTSIDE_M = 0.5
    WRONG_HEADING_DEG = 120.0
    LANE_TURN_DEG = 150.0

    def __init__(self, actor: carla.Vehicle, route: Sequence[carla.Transform]):
        super().__init__("OutsideRouteLanesTest", actor, units="%")
        self._state, self._map = CarlaDataProvider.state(), CarlaDataProvider.get_map()
        self._progress = RouteProgress(route, window=3)
        self._total_m = self._wrong_m = 0.0
        self._lane_before = self._map.get_waypoint(actor.get_location())
        self._wrong_lane = False
        self._direction_counts = True
        self._event: TrafficEvent | None = None

    def judge(self, location: carla.Location) -> Status:
        switch = blackboard.get("AC_SwitchWrongDirectionTest")
        if switch is not None:
            self._direction_counts = bool(switch)
            blackboard.set("AC_SwitchWrongDirectionTest", None)
        lane = self._state.waypoint(location)
        self._update_wrong_lane(lane)
        step = self._progress.advance(location)
        if step > 0:
            self._total_m += step
            if (self._direction_counts and self._wrong_lane) or self._is_outside(location, lane):
                self._wrong_m += step
                self._report(location)
        return Status.RUNNING

    def _is_outside(self, location: carla.Location, lane: carla.Waypoint) -> bool:
        distance, width = location.distance(lane.transform.location), lane.lane_width
        if distance <= self.ALLOWED_OUTSIDE_M:
            return False  # whatever lane counts: one that is nearer allows at least as much
        parking = self._map.get_waypoint(location, lane_type=carla.LaneType.Parking)
        if parking is not None and location.distance(parking.transform.location) <= distance:
            distance, width = location.distance(parking.transform.location), parking.lane_width
        return bool(distance > width / 2 + self.ALLOWED_OUTSIDE_M)

    def _update_wrong_lane(self, lane: carla.Waypoint) -> None:
        before = self._lane_before
        if lane.is_junction:
            self._wrong_lane = False
        elif (lane.road_id, lane.lane_id) != (before.road_id, before.lane_id):
            heading = lane.transform.get_forward_vector()
            if before.is_junction:
                ego = CarlaDataProvider.get_transform(self.actor).get_forward_vector()
                self._wrong_lane = angle_between_deg(heading, ego) >= self.WRONG_HEADING_DEG
            elif angle_between_deg(heading, before.transform.get_forward_vector()) > self.LANE_TURN_DEG:
                self._wrong_lane = not self._wrong_lane
        self._lane_before = lane

    def _report(self, location: carla.Location) -> None:
        if self._event is None:
            self._event = self.record(TrafficEventType.OUTSIDE_ROUTE_LANES_INFRACTION, location)
        self._event.distance_m = self._wrong_m
        self._complete_report()

    def _complete_report(self) -> None:
        if self._event is not None and self._total_m > 0:
            self._event.percentage = self._wrong_m / self._total_m * 100
            self.actual_value = round(self._event.percentage, 2)

    def terminate(self, new_status: Status) -> None:
        self._complete_report()
        super().terminate(new_status)


class CollisionTest(Criterion):
    """Collisions of the ego, told apart by what was hit. Repeated contact with one thing counts once."""

    SAME_ACTOR_S = 5.0
    SAME_PLACE_M = 5.0

    def __init__(self, actor: carla.Vehicle):
        super().__init__("CollisionTest", actor)
        self._hits: deque[tuple[int, str]] = deque()
        self._last_id: int | None = None
        self._last_time = 0.0
        self._last_place: carla.Location | None = None
        world = CarlaDataProvider.get_world()
        blueprint = world.get_blueprint_library().find("sensor.other.collision")
        self._sensor = world.spawn_actor(blueprint, carla.Transform(), attach_to=actor)
        self._sensor.listen(self._on_hit)

    def _on_hit(self, event: carla.CollisionEvent) -> None:
        """Runs in a client thread: only notes the hit, the tick judges it."""
        self._hits.append((event.other_actor.id, event.other_actor.type_id))

    def judge(self, location: carla.Location) -> Status:
        if self._last_place is not None and location.distance(self._last_place) > self.SAME_PLACE_M:
            self._last_place = None
        if self._last_id is not None and GameTime.get_time() - self._last_time > self.SAME_ACTOR_S:
            self._last_id = None
        while self._hits:
            self._count(*self._hits.popleft(), location)
        return Status.RUNNING

    def _count(self, other_id: int, other_type: str, location: carla.Location) -> None:
        is_repeated = other_id == self._last_id or self._last_place is not None
        if is_repeated or CarlaDataProvider.get_velocity(self.actor) < STANDING_MPS:
            return
        self.test_status = "FAILURE"
        self.actual_value += 1
        self._last_time, self._last_place = GameTime.get_time(), location
        if other_id != 0:
            self._last_id = other_id
        kind = collision_kind(other_type)
        if kind is not None:
            self.record(kind, location, actor_id=other_id, actor_type=other_type)

    def terminate(self, new_status: Status) -> None:
        location = CarlaDataProvider.get_location(self.actor)
        if self._sensor is not None and location is not None:
            self.judge(location)
        if self._sensor is not None:
            self._sensor.stop()
            self._sensor.destroy()
            self._sensor = None
        super().terminate(new_status)


def collision_kind(type_id: str) -> TrafficEventType | None:
    """Which infraction hitting an actor of this type is; None for things that do not count (e.g. sidewalks)."""
    if ("static" in type_id or "traffic" in type_id) and "sidewalk" not in type_id:
        return TrafficEventType.COLLISION_STATIC
    if "vehicle" in type_id:
        return TrafficEventType.COLLISION_VEHICLE
    if "walker" in type_id:
        return TrafficEventType.COLLISION_PEDESTRIAN
    return None


class RunningRedLightTest(Criterion):
    """Red lights whose stop line the ego's tail has crossed."""

    NEAR_LIGHT_M = 15.0
    LOOK_ROUND_M = 20.0
    """After so much way the lights that may be near are chosen anew."""

    def __init__(self, actor: carla.Vehicle):
        super().__init__("RunningRedLightTest", actor)
        self._map = CarlaDataProvider.get_map()
        lights = CarlaDataProvider.get_world().get_actors().filter("traffic.traffic_light*")
        self._lights = [TrafficLightLines(light, self._map) for light in sorted(lights, key=lambda light: light.id)]
        self._around: list[tuple[TrafficLightLines, float, float, float]] = []
        self._looked_from: carla.Location | None = None
        self._half_length = actor.bounding_box.extent.x
        self._last_id: int | None = None

    def _near(self, location: carla.Location) -> list[TrafficLightLines]:
        """Lights whose boxes' centres are at most `NEAR_LIGHT_M` away, in the order of their ids."""
        if self._looked_from is None or location.distance(self._looked_from) > self.LOOK_ROUND_M:
            self._looked_from = carla.Location(location.x, location.y, location.z)
            reach = self.NEAR_LIGHT_M + self.LOOK_ROUND_M + 1.0
            around = [row for row in self._lights if row.center.distance(location) <= reach]
            self._around = [(row, row.center.x, row.center.y, row.center.z) for row in around]
        ego_x, ego_y, ego_z = location.x, location.y, location.z
        squared = self.NEAR_LIGHT_M**2
        return [
            row
            for row, x, y, z in self._around
            if (x - ego_x) * (x - ego_x) + (y - ego_y) * (y - ego_y) + (z - ego_z) * (z - ego_z) <= squared
        ]

    def judge(self, location: carla.Location) -> Status:
        for row in self._near(location):
            if row.light.id == self._last_id or row.light.state != carla.TrafficLightState.Red:
                continue
            if self._crossed(row):
                self.actual_value += 1
                self._last_id = row.light.id
                place = place_of(row.light.get_location())
                kind = TrafficEventType.TRAFFIC_LIGHT_INFRACTION
                self.record(kind, location, actor_id=row.light.id, place=place)
        return Status.RUNNING

    def _crossed(self, row: TrafficLightLines) -> bool:
        transform = CarlaDataProvider.get_transform(self.actor)
        forward, location = transform.get_forward_vector(), transform.location
        near = location - 0.8 * self._half_length * forward
        far = location - (self._half_length + 1.0) * forward
        for line in row.lines:
            along = forward.x * line.forward.x + forward.y * line.forward.y + forward.z * line.forward.z
            if along > 0 and segments_cross((near, far), line.ends):
                tail = self._map.get_waypoint(far)
                if (tail.road_id, tail.lane_id) == (line.road_id, line.lane_id):
                    return True
        return False


class RunningStopTest(Criterion):
    """Stop signs the ego passed without standing still."""

    NEAR_STOP_M = 4.0
    BOX_SCALE = 1.2
    AGAINST = -0.17
    LOOK_AHEAD_STEPS = 8
    LOOK_AHEAD_STEP_M = 0.5

    def __init__(self, actor: carla.Vehicle, box_min_extent_m: float = 0.0):
        """Args: box_min_extent_m: Smallest half size that trigger boxes are given."""
        super().__init__("RunningStopTest", actor)
        self._state = CarlaDataProvider.state()
        self._min_extent = box_min_extent_m
        signs = CarlaDataProvider.get_world().get_actors().filter("traffic.stop")
        self._stops = [
            (stop, stop.get_transform().transform(stop.trigger_volume.location))
            for stop in sorted(signs, key=lambda stop: stop.id)
        ]
        self._target: tuple[carla.Actor, carla.Location] | None = None
        self._stopped = False
        self._last_failed: int | None = None

    def judge(self, location: carla.Location) -> Status:
        if not self._stops:
            return Status.RUNNING
        if self._target is None:
            self._target = self._find_target(location)
            self._stopped = False
        if self._target is not None:
            self._follow_target(self._target[0], location)
        return Status.RUNNING

    def _follow_target(self, stop: carla.Actor, location: carla.Location) -> None:
        if not self._stopped and CarlaDataProvider.get_velocity(self.actor) < STANDING_MPS:
            self._stopped = True
        if self._target is not None and self._is_affected(self._target, self._points_ahead(location)):
            return
        if not self._stopped and stop.id != self._last_failed:
            self.actual_value += 1
            self._last_failed = stop.id
            place = place_of(stop.get_location())
            self.record(TrafficEventType.STOP_INFRACTION, location, actor_id=stop.id, place=place)
        self._target = None

    def _points_ahead(self, location: carla.Location) -> list[carla.Location]:
        waypoint = self._state.waypoint(location)
        points = [waypoint.transform.location]
        for _ in range(self.LOOK_AHEAD_STEPS):
            following = waypoint.next(self.LOOK_AHEAD_STEP_M)
            if not following:
                break
            waypoint = following[0]
            points.append(waypoint.transform.location)
        return points

    def _find_target(self, location: carla.Location) -> tuple[carla.Actor, carla.Location] | None:
        lane = self._state.waypoint(location)
        here = lane.transform.location
        near = [row for row in self._stops if row[1].distance(here) <= self.NEAR_STOP_M]
        if not near or self._moves_against(lane):
            return None
        points = self._points_ahead(location)
        return next((row for row in near if self._is_affected(row, points)), None)

    def _moves_against(self, lane: carla.Waypoint) -> bool:
        heading = CarlaDataProvider.get_transform(self.actor).get_forward_vector()
        velocity, along = self.actor.get_velocity(), lane.transform.get_forward_vector()
        backwards = velocity.x * heading.x + velocity.y * heading.y + velocity.z * heading.z < self.AGAINST
        return backwards or heading.x * along.x + heading.y * along.y + heading.z * along.z < self.AGAINST

    def _is_affected(self, row: tuple[carla.Actor, carla.Location], points: Sequence[carla.Location]) -> bool:
        stop, center = row
        if points[0].distance(center) > self.NEAR_STOP_M:
            return False
        extent = stop.trigger_volume.extent
        sizes = (max(extent.x, self._min_extent), max(extent.y, self._min_extent))
        return any(box_contains(center, sizes, self.BOX_SCALE, point) for point in points)


class InRouteTest(Criterion):
    """Ends the route when the ego is far from it."""

    MAX_DISTANCE_M = 30.0
    FAR_DISTANCE_M = 15.0
    MAX_FAR_SHARE = 0.3
    WINDOW = 5

    def __init__(self, actor: carla.Vehicle, route: Sequence[carla.Transform]):
        super().__init__("InRouteTest", actor, units=None)
        self._progress = RouteProgress(route, window=0)
        self._index = 0
        self._far_m = 0.0

    def judge(self, location: carla.Location) -> Status:
        nearest, distance = self._nearest(location.x, location.y)
        is_lost = distance >= self.MAX_DISTANCE_M
        if nearest > self._index:
            run = self._progress.distances
            if distance >= self.FAR_DISTANCE_M:
                self._far_m += float(run[nearest] - run[self._index])
            self._index = nearest
        if is_lost or self._far_m > self.MAX_FAR_SHARE * self._progress.length:
            self.actual_value += 1
            self.record(TrafficEventType.ROUTE_DEVIATION, location)
            return Status.FAILURE
        return Status.RUNNING

    def _nearest(self, ego_x: float, ego_y: float) -> tuple[int, float]:
        """The first of the nearest points in the window and its distance in the plane, metres."""
        points = self._progress.points
        nearest, squared = self._index, math.inf
        for i in range(self._index, min(self._index + self.WINDOW + 1, len(points))):
            x, y, _ = points[i]
            x, y = x - ego_x, y - ego_y
            if x * x + y * y < squared:
                nearest, squared = i, x * x + y * y
        return nearest, math.sqrt(squared)


class ActorBlockedTest(Criterion):
    """Ends the route when the ego has stood still for too long."""

    def __init__(self, actor: carla.Vehicle, max_time_s: float):
        super().__init__("AgentBlockedTest", actor, units=None)
        self._max_time_s = max_time_s
        self._moved_at: float | None = None
        self._active = True

    def judge(self, location: carla.Location) -> Status:
        now = GameTime.get_time()
        switch = blackboard.get("AC_SwitchActorBlockedTest")
        if switch is not None:
            self._active, self._moved_at = bool(switch), now
            blackboard.set("AC_SwitchActorBlockedTest", None)
        if self._moved_at is None or CarlaDataProvider.get_velocity(self.actor) >= STANDING_MPS:
            self._moved_at = now
        if self._active and now - self._moved_at > self._max_time_s:
            self.actual_value += 1
            self.record(TrafficEventType.VEHICLE_BLOCKED, location)
            return Status.FAILURE
        return Status.RUNNING


class MinimumSpeedRouteTest(Criterion):
    """The ego's mean speed against that of the background traffic, for equal parts of the route."""

    LAST_PART_FROM = 0.95

    def __init__(
        self,
        actor: carla.Vehicle,
        route: Sequence[carla.Transform],
        checkpoints: int,
        always_reported: bool,
        last_twice: bool,
    ):
        """Args: checkpoints: Number of parts. always_reported: Also where the ego was faster than the traffic.
        last_twice: Report the last part of a completed route twice, as the original does."""
        super().__init__("MinSpeedTest", actor, units="%")
        self.success_value = self.actual_value = 100
        self._progress = RouteProgress(route, window=2)
        self._part_m = self._progress.length / checkpoints
        self._always_reported, self._last_twice = always_reported, last_twice
        self._part_start_m = 0.0
        self._ego_sum = self._traffic_sum = 0.0
        self._samples = 0
        self._has_terminated = False

    def judge(self, location: carla.Location) -> Status:
        state = CarlaDataProvider.state()
        speeds = [state.speed(actor) for actor in state.vehicles_of("background") if state.is_alive(actor)]
        if speeds:
            self._ego_sum += CarlaDataProvider.get_velocity(self.actor)
            self._traffic_sum += sum(speeds) / len(speeds)
            self._samples += 1
        self._progress.advance(location)
        if self._progress.distance - self._part_start_m > self._part_m:
            self._close_part(location)
            self._part_start_m = self._progress.distance
            self._ego_sum = self._traffic_sum = 0.0
            self._samples = 0
        return Status.RUNNING

    def _close_part(self, location: carla.Location) -> None:
        # an integer: records without traffic read "100%"
        share: float = 100
        if self._samples and self._traffic_sum > 0:
            share = round(self._ego_sum / self._traffic_sum * 100, 2)
        if share < 100 or self._always_reported:
            status = self.test_status
            self.record(TrafficEventType.MIN_SPEED_INFRACTION, location, percentage=share)
            self.actual_value = min(self.actual_value, share)
            self.test_status = "FAILURE" if share < 100 else status

    def terminate(self, new_status: Status) -> None:
        location = CarlaDataProvider.get_location(self.actor)
        is_last_part = self._progress.distance > self.LAST_PART_FROM * self._progress.length
        if not self._has_terminated and is_last_part and location is not None:
            for _ in range(2 if self._last_twice else 1):
                self._close_part(location)
        self._has_terminated = True
        super().terminate(new_status)


class YieldToEmergencyVehicleTest(Criterion):
    """Whether the ego let an emergency vehicle pass. Judged when its scenario ends."""

    def __init__(self, actor: carla.Vehicle, emergency_vehicle: carla.Vehicle):
        super().__init__("YieldToEmergencyVehicleTest", actor, units=None)
        self._emergency_vehicle = emergency_vehicle
        self._is_ahead: bool | None = None
        self._has_terminated = False

    def judge(self, location: carla.Location) -> Status:
        other = CarlaDataProvider.get_location(self._emergency_vehicle)
        if other is not None:
            forward = CarlaDataProvider.get_transform(self.actor).get_forward_vector()
            self._is_ahead = forward.x * (location.x - other.x) + forward.y * (location.y - other.y) > 0
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        location = CarlaDataProvider.get_location(self.actor)
        if self._is_ahead and not self._has_terminated and location is not None:
            self.actual_value += 1
            self.record(TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE, location)
        self._has_terminated = True
        super().terminate(new_status)


class ScenarioTimeoutTest(Criterion):
    """Whether a scenario ran out of time. Judged when the scenario ends."""

    def __init__(self, actor: carla.Vehicle, scenario_name: str):
        super().__init__("ScenarioTimeoutTest", actor)
        self._key = f"ScenarioTimeout_{scenario_name}"

    def judge(self, location: carla.Location) -> Status:
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        location = CarlaDataProvider.get_location(self.actor)
        if blackboard.get(self._key) and location is not None:
            self.actual_value += 1
            self.record(TrafficEventType.SCENARIO_TIMEOUT, location)
            blackboard.set(self._key, None)
        super().terminate(new_status)
