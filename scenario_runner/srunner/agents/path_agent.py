"""A driver for scenario vehicles: follows a path at a wanted speed, brakes for what stands in its way.

Gains and thresholds are those of CARLA's basic agent (carla-simulator/carla, PythonAPI/carla/agents/navigation, 0.9.14 to
0.9.16); obstacles are found by one rule, a corridor along the path, instead of the original's lane and polygon tests. It
slows down for bends and steers at a nearer point than the original, whose cars leave their lane on the bends of small towns.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import carla
import numpy as np

from driving.geometry import Array
from srunner.scenariomanager.world_state import Motion, WorldState
from srunner.tools.places import ahead_of

TICK = 0.05
MAX_THROTTLE, MAX_BRAKE, MAX_STEER = 0.75, 0.3, 0.8
EMERGENCY_BRAKE = 0.5
STEER_CHANGE_PER_TICK = 0.1
LOOK_AHEAD_BASE, LOOK_AHEAD_PER_MPS = 3.0, 0.5
WINDOW = 12
"""Points of the path among which the vehicle's place is sought."""

STEER_AHEAD_BASE, STEER_AHEAD_PER_MPS = 4.0, 0.03
"""Distance to the point steered at, metres. A car with this controller drives L * (L / 2 - 1 / (p * c)) / R inside a bend of
radius R, where L is this distance, p the controller's proportional gain and c the curvature at full steer (about 0.28 per
metre in the kinematic model, 0.4 in CARLA): at L = 10 m a metre on a bend of 35 m, at 4 m a tenth."""
ARRIVED = 1.0
"""A path is driven when less than this is left of it, metres."""

ONCOMING_COS = -0.2
"""Vehicles turned against our path by more than this cosine come towards us."""

LONGEST_HALF = 15.0
"""Half the length of the longest vehicles, metres, with room to spare."""

CORRIDOR_MARGIN = 0.25
"""Free space wanted beside the vehicle, metres."""

BEND_ACCELERATION, BEND_DECELERATION, BEND_SPAN = 5.0, 3.0, 4.0
"""Sideways acceleration in bends and braking before them, m/s², and the length over which a path's turn is measured, metres.

Beyond that a car leaves its lane: tyres hold little more, and steering towards a point ahead cuts the bend.
"""
SHORTEST_STEP = 0.05
"""Points nearer to one another than this are the same place, metres."""

LONGEST_STEP = 2.0
"""Longer pieces of a path are divided, metres: steering looks for the car's place among the points."""

SLOWEST_BEND = 5.0
"""Bends are not taken slower than this, m/s: paths of lane changes have corners."""


class Pid:
    """A discrete PID controller over the last ten errors, one tick apart."""

    def __init__(self, proportional: float, integral: float, derivative: float) -> None:
        self._gains = proportional, integral, derivative
        self._errors: deque[float] = deque(maxlen=10)

    def step(self, error: float) -> float:
        """Response to an error; its unit is the caller's."""
        self._errors.append(error)
        proportional, integral, derivative = self._gains
        slope = (self._errors[-1] - self._errors[-2]) / TICK if len(self._errors) > 1 else 0.0
        return proportional * error + integral * sum(self._errors) * TICK + derivative * slope


@dataclass(frozen=True)
class AgentOptions:
    """How careful a driver is.

    Attributes:
        ignore_vehicles, ignore_lights: What it does not brake for.
        base_threshold: Distance, metres, within which it brakes for a vehicle at standstill.
        threshold_per_mps: How much farther it looks per m/s of its own speed.
        offset: Metres to the right of the path at which it drives, negative left.
        constant_velocity: Its speed is enforced in the simulator instead of being controlled by throttle and brake.
        heeds_bends: It slows down for bends.
    """

    ignore_vehicles: bool = False
    ignore_lights: bool = False
    base_threshold: float = 5.0
    threshold_per_mps: float = 1.0
    offset: float = 0.0
    constant_velocity: bool = False
    heeds_bends: bool = True


def path_of(places: Sequence[Any], offset: float = 0.0) -> Array:
    """(N, 2) path of waypoints or transforms, each moved ``offset`` metres to its right, in the plane of the world."""
    points = []
    for place in places:
        pose = place if isinstance(place, carla.Transform) else place.transform
        yaw = math.radians(pose.rotation.yaw)
        points.append((pose.location.x - offset * math.sin(yaw), pose.location.y + offset * math.cos(yaw)))
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def divided(path: Array) -> Array:
    """The same path (N, 2), metres, with more points where two follow each other at more than ``LONGEST_STEP``.

    The way across in a lane change is one long piece: nearest to a car on it would be its beginning, far behind.
    """
    steps = np.hypot(*np.diff(path, axis=0).T)
    pieces = np.maximum(np.ceil(steps / LONGEST_STEP - 0.05), 1).astype(int)
    places = [i + np.arange(count) / count for i, count in enumerate(pieces)]
    at = np.concatenate([*places, [len(path) - 1.0]])
    corners = np.arange(len(path))
    return np.stack([np.interp(at, corners, path[:, 0]), np.interp(at, corners, path[:, 1])], axis=1)


def bend_speeds(path: Array) -> Array:
    """(N,) speeds, m/s, at which a car can be at the points of a path (N, 2), metres, and take the bends that follow.

    Planned routes name the place where two roads meet twice: a step of no length has no heading.
    """
    steps = np.diff(path, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    has_heading = lengths > SHORTEST_STEP
    if not has_heading.any():
        return np.full(len(path), np.inf)
    headings = np.unwrap(np.arctan2(steps[has_heading, 1], steps[has_heading, 0]))
    middles = ((along[1:] + along[:-1]) / 2)[has_heading]
    first, last = np.maximum(along - BEND_SPAN, middles[0]), np.minimum(along + BEND_SPAN, middles[-1])
    turned = np.interp(last, middles, headings) - np.interp(first, middles, headings)
    curvature = np.maximum(np.abs(turned) / np.maximum(last - first, 1.0), 1e-6)
    speeds = np.maximum(np.sqrt(BEND_ACCELERATION / curvature), SLOWEST_BEND)
    for i in range(len(speeds) - 2, -1, -1):
        speeds[i] = min(speeds[i], math.sqrt(speeds[i + 1] ** 2 + 2 * BEND_DECELERATION * lengths[i]))
    return speeds


class PathAgent:
    """Drives one vehicle along a path.

    Args:
        state: Motions of all actors.
        vehicle: The driven `carla.Vehicle`.
        path: (N, 2) world points, metres, in driving order.
        speed: Wanted speed, m/s; may be changed while driving.
        options: See `AgentOptions`.

    Raises:
        ValueError: If the path has fewer than two points.
    """

    def __init__(
        self, state: WorldState, vehicle: Any, path: Array, speed: float, options: AgentOptions | None = None
    ) -> None:
        if len(path) < 2:
            raise ValueError(f"a path to drive needs at least two points, got {len(path)}")
        self.state = state
        self.vehicle = vehicle
        self.path = divided(path)
        self.speed = speed
        self.options = options or AgentOptions()
        self._bend_speeds = bend_speeds(self.path)
        self._index = 0
        self._steer = 0.0
        self._lateral = Pid(1.95, 0.05, 0.2)
        self._longitudinal = Pid(1.0, 0.05, 0.0)
        self._enforced: float | None = None
        self._arrived = False

    @property
    def done(self) -> bool:
        """Whether the vehicle itself has come to the end of the path, at the last step."""
        return self._arrived

    def step(self) -> None:
        """Drive for one tick: sends one control, and the enforced velocity where that is in use."""
        motion = self.state.motion(self.vehicle)
        self._advance(motion.location, motion.speed)
        wanted = self._wanted_speed(motion)
        steer = self._steering(motion.transform, motion.speed)
        if self.options.constant_velocity:
            self._enforce(wanted)
            self.vehicle.apply_control(carla.VehicleControl(throttle=0.3 if wanted else 0.0, steer=steer))
            return
        self.vehicle.apply_control(self._control(wanted, motion.speed, steer))

    def stop(self) -> None:
        """Let go of the vehicle: no enforced velocity, brakes on."""
        if not self.vehicle.is_alive:
            return
        self.release_velocity()
        self.vehicle.apply_control(carla.VehicleControl(brake=1.0))

    def release_velocity(self) -> None:
        """From now on drive by throttle and brake."""
        if self._enforced is not None:
            self.vehicle.disable_constant_velocity()
            self._enforced = None

    def drive_normally(self) -> None:
        """Give up enforced velocity and begin to brake for vehicles (after a collision)."""
        self.release_velocity()
        self.options = AgentOptions(ignore_lights=self.options.ignore_lights, offset=self.options.offset)

    def _enforce(self, speed: float) -> None:
        if self._enforced is None or abs(self._enforced - speed) > 0.1:
            self.vehicle.enable_constant_velocity(carla.Vector3D(speed, 0.0, 0.0))
            self._enforced = speed

    def _advance(self, location: carla.Location, speed: float) -> None:
        end = min(self._index + WINDOW, len(self.path))
        window = self.path[self._index : end]
        distances = np.hypot(window[:, 0] - location.x, window[:, 1] - location.y)
        nearest = self._index + int(np.argmin(distances))
        look_ahead = LOOK_AHEAD_BASE + LOOK_AHEAD_PER_MPS * speed
        while nearest < len(self.path) - 1 and math.dist(self.path[nearest], (location.x, location.y)) < look_ahead:
            nearest += 1
        self._index = max(self._index, nearest)
        if self._index == len(self.path) - 1 and math.dist(self.path[-1], (location.x, location.y)) > look_ahead:
            self._index = max(0, len(self.path) - 2)
        onward = self.path[-1] - self.path[-2]
        left = float(np.dot(self.path[-1] - (location.x, location.y), onward)) / max(math.hypot(*onward), 1e-3)
        self._arrived = self._index >= len(self.path) - 2 and left < ARRIVED

    def _aim(self, location: carla.Location, speed: float) -> Array:
        """The point of the path to steer at: nearer than the next waypoint, from which cars would be drawn across bends."""
        first = max(0, self._index - WINDOW)
        points = self.path[first : self._index + 1]
        distances = np.hypot(points[:, 0] - location.x, points[:, 1] - location.y)
        reach = STEER_AHEAD_BASE + STEER_AHEAD_PER_MPS * speed
        closest = int(np.argmin(distances))
        beyond = np.flatnonzero(distances[closest:] >= reach)
        if len(beyond) == 0 or beyond[0] == 0:
            return points[-1] if len(beyond) == 0 else points[closest + int(beyond[0])]
        after = closest + int(beyond[0])
        share = (reach - distances[after - 1]) / max(distances[after] - distances[after - 1], 1e-6)
        return points[after - 1] + share * (points[after] - points[after - 1])

    def _steering(self, pose: carla.Transform, speed: float) -> float:
        target = self._aim(pose.location, speed)
        heading = math.atan2(target[1] - pose.location.y, target[0] - pose.location.x)
        error = (heading - math.radians(pose.rotation.yaw) + math.pi) % (2 * math.pi) - math.pi
        wanted = float(np.clip(self._lateral.step(error), -MAX_STEER, MAX_STEER))
        change = float(np.clip(wanted - self._steer, -STEER_CHANGE_PER_TICK, STEER_CHANGE_PER_TICK))
        self._steer += change
        return self._steer

    def _control(self, wanted: float, speed: float, steer: float) -> carla.VehicleControl:
        if wanted <= 0.0:
            return carla.VehicleControl(steer=steer, brake=EMERGENCY_BRAKE)
        acceleration = self._longitudinal.step(3.6 * (wanted - speed))
        if acceleration >= 0:
            return carla.VehicleControl(throttle=min(acceleration, MAX_THROTTLE), steer=steer)
        return carla.VehicleControl(steer=steer, brake=min(-acceleration, MAX_BRAKE))

    def _wanted_speed(self, here: Motion) -> float:
        """The wanted speed, or less: zero at a red light; behind a vehicle zero, or its speed if ours is enforced."""
        at_light = not self.options.ignore_lights and self.vehicle.is_at_traffic_light()
        if at_light and self.vehicle.get_traffic_light_state() == carla.TrafficLightState.Red:
            return 0.0
        leader = None if self.options.ignore_vehicles else self._find_leader(here)
        if leader is None:
            return min(self.speed, self._bend_speeds[self._index]) if self.options.heeds_bends else self.speed
        if not self.options.constant_velocity:
            return 0.0
        turned = math.radians(leader.transform.rotation.yaw - here.transform.rotation.yaw)
        return min(self.speed, max(0.0, leader.speed * math.cos(turned)))

    def _find_leader(self, here: Motion) -> Motion | None:
        """A vehicle in the corridor ahead that does not come towards us."""
        reach = self.options.base_threshold + self.options.threshold_per_mps * here.speed
        extent = self.state.extent(self.vehicle)
        near = self.state.vehicles_near(here.location, reach + extent.x + LONGEST_HALF + 2.0)
        near = [other for other in near if other.id != self.vehicle.id]
        if not near:
            return None
        corridor = self._corridor(here.location, reach + extent.x)
        steps = np.diff(corridor, axis=0)
        headings = np.arctan2(steps[:, 1], steps[:, 0])
        headings = np.append(headings, headings[-1])
        for other in near:
            there = self.state.motion(other)
            size = self.state.extent(other)
            way = here.location.distance(there.location)
            if way > reach + extent.x + size.x + 2.0:
                continue
            if ahead_of(here.transform, there.location) <= 0.0:
                continue
            gaps = np.hypot(corridor[:, 0] - there.location.x, corridor[:, 1] - there.location.y)
            nearest = int(np.argmin(gaps))
            # Headings are compared where the other vehicle is: on a bend, oncoming traffic may head almost as we do here.
            turned = math.radians(there.transform.rotation.yaw) - headings[nearest]
            width = abs(size.x * math.sin(turned)) + abs(size.y * math.cos(turned))
            if math.cos(turned) > ONCOMING_COS and gaps[nearest] < extent.y + width + CORRIDOR_MARGIN:
                return there
        return None

    def _corridor(self, location: carla.Location, reach: float) -> Array:
        """(N, 2) points at most 1 m apart from the vehicle along its path for ``reach`` metres."""
        corners = np.concatenate([[(location.x, location.y)], self.path[self._index :]])
        steps = np.hypot(*np.diff(corners, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        at = np.arange(0.0, max(min(reach, float(along[-1])), 1.0) + 0.5, 1.0)
        return np.stack([np.interp(at, along, corners[:, 0]), np.interp(at, along, corners[:, 1])], axis=1)


def lane_change_path(waypoint: Any, side: str, speed: float, times: tuple[float, float, float]) -> Array:
    """A path that stays in the lane, moves to a neighbour and stays there.

    Args:
        waypoint: Where the vehicle is.
        side: ``left`` or ``right``.
        speed: The vehicle's own speed, m/s, which turns times into lengths; at standstill every part is as short as it can be.
        times: Seconds in the old lane, for the change, and in the new lane.

    Returns:
        (N, 2) points 2 m apart; empty if there is no lane at that side.
    """
    same, change, other = (max(time * speed, 0.1) for time in times)
    points = [waypoint]
    points += _ahead(points[-1], same)
    crossing = _ahead(points[-1], max(change, 2.0))
    target = (
        (crossing[-1] if crossing else points[-1]).get_left_lane()
        if side == "left"
        else (crossing[-1] if crossing else points[-1]).get_right_lane()
    )
    if target is None:
        return np.empty((0, 2))
    points.append(target)
    points += _ahead(target, other)
    return path_of(points)


def _ahead(waypoint: Any, distance: float) -> list[Any]:
    found: list[Any] = []
    current = waypoint
    for _ in range(math.ceil(distance / 2.0)):
        branches = current.next(2.0)
        if not branches:
            break
        current = branches[0]
        found.append(current)
    return found
