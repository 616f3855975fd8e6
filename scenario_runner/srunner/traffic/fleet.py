"""The background cars themselves: spawning, handing to the Traffic Manager, wanted speeds, removal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import carla

from srunner.scenariomanager.route_context import RouteContext
from srunner.tools.lane_index import Lane
from srunner.tools.places import shifted
from srunner.traffic.route_frame import Place, RouteFrame

SPAWN_LIFT = 0.2
MIN_LANE_WIDTH = 2.25
"""Lanes narrower than this get no cars, metres."""

TOP_SPEED_KMH = 90.0
LEADING_DISTANCE = 10.0
LANE_OFFSET = 0.1
SPEED_STEP_KMH = 0.5
"""The Traffic Manager is told a new speed only if it differs by more than this."""

MOVED = 0.05
"""A car this near to where it was is still at the same place of its lane, metres."""

STANDING_KMH = 0.1
"""Told to cars that shall stand: at exactly 0 the Traffic Manager's controller divides by zero and only coasts."""

CAR_ATTRIBUTES = {"base_type": "car", "special_type": "", "has_lights": True}
ROLE = "background"


class Duty(Enum):
    """What a background car is there for."""

    ROAD = "road"
    OPPOSITE = "opposite"
    ENTRY = "entry"
    MIDDLE = "middle"
    EXIT = "exit"
    WAITING = "waiting"


@dataclass(eq=False)
class Car:
    """One background car.

    Attributes:
        actor: `carla.Vehicle`.
        duty: What it is there for.
        place: Where it is, seen from the route; refreshed every tick.
        location, speed: Its motion in this tick, world frame, m/s.
        source: The junction source it came from.
        told_kmh: Speed the Traffic Manager was last told.
        lane: Road and lane id, kept for cars at junctions.
        merged_at: Route points between which it was told to change lanes.
        exit: Lane and place at which it left its junction.
        seen: Position, metres, and route point of the ego for which its place was last looked up.
        looked_at: Place for which the lane under it was last looked up.
        known_lane, known_waypoint: What was found there, None if it was not asked for.
    """

    actor: Any
    duty: Duty
    place: Place
    location: carla.Location
    speed: float = 0.0
    source: Any = None
    told_kmh: float | None = None
    lane: tuple[int, int] = (0, 0)
    merged_at: range = range(0)
    exit: tuple[tuple[int, int], carla.Location] = field(default_factory=lambda: ((0, 0), carla.Location()))
    seen: tuple[float, float, int] | None = None
    looked_at: carla.Location | None = None
    known_lane: Lane | None = None
    known_waypoint: Any = None


class Fleet:
    """All background cars of a route.

    Args:
        context: The route; its Traffic Manager drives the cars.
        frame: The route as a coordinate frame.

    Raises:
        ValueError: If the context has no Traffic Manager.
    """

    def __init__(self, context: RouteContext, frame: RouteFrame) -> None:
        if context.traffic_manager is None:
            raise ValueError(
                "background traffic needs a Traffic Manager; pass one to RouteContext or drive without traffic"
            )
        self._context, self._frame = context, frame
        self._manager = context.traffic_manager
        self._rng = context.generator("traffic")
        self.cars: list[Car] = []

    def refresh(self) -> None:
        """Read all motions; forget cars that the Traffic Manager removed."""
        state = self._context.state
        self.cars = [car for car in self.cars if state.is_alive(car.actor)]
        elsewhere = []
        for car in self.cars:
            motion = state.motion(car.actor)
            car.location, car.speed = motion.location, motion.speed
            seen = car.location.x, car.location.y, self._frame.index
            if seen != car.seen:
                car.seen = seen
                elsewhere.append(car)
        for car, place in zip(elsewhere, self._frame.places([car.location for car in elsewhere])):
            car.place = place

    def waypoint(self, car: Car) -> Any:
        """Waypoint of the lane under a car, looked up anew once it has moved. Dear: `lane` mostly says as much."""
        place = self._look(car)
        if car.known_waypoint is None:
            car.known_waypoint = self._context.map.get_waypoint(place)
        return car.known_waypoint

    def lane(self, car: Car) -> Lane:
        """The lane under a car, looked up anew once it has moved."""
        place = self._look(car)
        if car.known_lane is None:
            car.known_lane = self._context.state.lanes.at(place) or Lane.of(self.waypoint(car))
        return car.known_lane

    def _look(self, car: Car) -> carla.Location:
        if car.looked_at is None or car.location.distance(car.looked_at) > MOVED:
            car.looked_at, car.known_lane, car.known_waypoint = car.location, None, None
        return car.looked_at

    def of(self, *duties: Duty) -> list[Car]:
        """Cars with one of these duties."""
        return [car for car in self.cars if car.duty in duties]

    def chance(self, probability: float) -> bool:
        """A draw of the traffic's generator."""
        return self._rng.random() < probability

    def spawn(self, waypoint: Any, duty: Duty, speed: float = 0.0, source: Any = None) -> Car | None:
        """Put a car on a lane; None if the lane is narrow or the place is taken.

        Args:
            waypoint: Where.
            duty: What for.
            speed: Initial speed, m/s.
            source: The junction source it comes from.
        """
        if waypoint is None or waypoint.lane_width < MIN_LANE_WIDTH:
            return None
        state = self._context.state
        blueprint = state.choose_blueprint("vehicle.*", self._rng, ROLE, CAR_ATTRIBUTES)
        actor = state.try_spawn(blueprint, waypoint.transform, SPAWN_LIFT)
        if actor is None:
            return None
        location = waypoint.transform.location
        car = Car(actor, duty, self._frame.place(location), location, speed, source)
        self._hand_over(car, speed, waypoint.transform.rotation.yaw)
        self.cars.append(car)
        return car

    def _hand_over(self, car: Car, speed: float, yaw_deg: float) -> None:
        manager, actor, yaw = self._manager, car.actor, math.radians(yaw_deg)
        actor.set_autopilot(True, manager.get_port())
        manager.auto_lane_change(actor, False)
        manager.distance_to_leading_vehicle(actor, LEADING_DISTANCE)
        manager.vehicle_lane_offset(actor, LANE_OFFSET)
        manager.update_vehicle_lights(actor, True)
        if speed > 0.0:
            actor.set_target_velocity(carla.Vector3D(speed * math.cos(yaw), speed * math.sin(yaw), 0.0))
        if car.duty is Duty.OPPOSITE:
            self.ignore_rules(car)

    def ignore_rules(self, car: Car) -> None:
        """Let a car pass lights and signs."""
        self._manager.ignore_lights_percentage(car.actor, 100)
        self._manager.ignore_signs_percentage(car.actor, 100)

    def want(self, car: Car, kmh: float) -> None:
        """Tell the Traffic Manager the speed a car shall drive, km/h."""
        kmh = min(max(kmh, STANDING_KMH), TOP_SPEED_KMH)
        told = car.told_kmh
        if told is None or abs(told - kmh) > SPEED_STEP_KMH or (kmh == STANDING_KMH) != (told == STANDING_KMH):
            self._manager.set_desired_speed(car.actor, kmh)
            car.told_kmh = kmh

    def change_lane(self, car: Car, to_right: bool) -> None:
        """Tell the Traffic Manager to change to the next lane."""
        self._manager.force_lane_change(car.actor, to_right)

    def brake_lights(self, car: Car, on: bool) -> None:
        """Hold the brake lights on, or give the lights back to the Traffic Manager."""
        self._manager.update_vehicle_lights(car.actor, not on)
        if on:
            car.actor.set_light_state(carla.VehicleLightState.Brake)

    def hazard_lights(self, car: Car) -> None:
        """Switch both blinkers on for good."""
        self._manager.update_vehicle_lights(car.actor, False)
        lights = carla.VehicleLightState
        car.actor.set_light_state(lights(int(lights.RightBlinker) | int(lights.LeftBlinker) | int(lights.Position)))

    def teleport(self, car: Car, waypoint: Any) -> None:
        """Move a car along its lane; its velocity stays as it is."""
        pose = shifted(waypoint.transform, up=SPAWN_LIFT)
        self._context.state.move(car.actor, pose)
        car.location, car.place, car.seen = pose.location, self._frame.place(pose.location), None

    def remove(self, car: Car) -> None:
        """Take a car out of the world; the Traffic Manager lets go of it first, or it may act on a car that is gone."""
        if car.actor.is_alive:
            car.actor.set_autopilot(False, self._manager.get_port())
        self._context.state.remove(car.actor)
        self.cars = [kept for kept in self.cars if kept is not car]

    def remove_where(self, cars: list[Car]) -> None:
        """Take several cars out of the world."""
        for car in cars:
            self.remove(car)
