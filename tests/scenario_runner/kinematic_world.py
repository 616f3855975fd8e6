"""A small world with real maps and kinematic actors, for scenario tests that need no simulator.

The map is a genuine `carla.Map`; actors answer the calls scenarios make and move by simple laws. What a client sees changes
only in `KinematicWorld.tick`, as with a synchronous simulator.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from types import SimpleNamespace

import carla

from driving.geometry import box_corners_2d, boxes_overlap_2d
from srunner.tools.places import copy_transform, junction_ends, shifted

TICK = 0.05

MODELS = {
    "vehicle.lincoln.mkz_2020": ((2.44, 0.92, 0.74), {"base_type": "car", "generation": "2", "has_lights": "true"}),
    "vehicle.tesla.model3": ((2.39, 1.08, 0.74), {"base_type": "car", "generation": "2", "has_lights": "true"}),
    "vehicle.mini.cooper_s": ((1.9, 0.98, 0.74), {"base_type": "car", "generation": "1", "has_lights": "true"}),
    "vehicle.audi.tt": (
        (2.09, 0.99, 0.69),
        {"base_type": "car", "generation": "2", "has_lights": "true", "has_dynamic_doors": "true"},
    ),
    "vehicle.dodge.charger_police_2020": (
        (2.61, 1.03, 0.81),
        {"base_type": "car", "generation": "2", "has_lights": "true", "special_type": "emergency"},
    ),
    "vehicle.diamondback.century": ((0.82, 0.19, 0.8), {"base_type": "bicycle", "generation": "1"}),
    "vehicle.nissan.patrol_2021": ((2.79, 1.07, 1.0), {"base_type": "car", "generation": "2", "has_lights": "true"}),
    "vehicle.gazelle.omafiets": ((0.92, 0.18, 0.8), {"base_type": "bicycle", "generation": "1"}),
    "vehicle.bh.crossbike": ((0.74, 0.43, 0.8), {"base_type": "bicycle", "generation": "1"}),
    "walker.pedestrian.0001": ((0.19, 0.19, 0.93), {}),
    "walker.pedestrian.0002": ((0.19, 0.19, 0.93), {}),
    "static.prop.constructioncone": ((0.15, 0.15, 0.3), {}),
    "static.prop.trafficwarning": ((0.6, 1.2, 1.4), {}),
    "static.prop.warningconstruction": ((0.3, 0.5, 0.8), {}),
    "static.prop.warningaccident": ((0.3, 0.5, 0.8), {}),
    "static.prop.dirtdebris01": ((0.8, 0.8, 0.1), {}),
    "static.prop.dirtdebris02": ((0.8, 0.8, 0.1), {}),
    "static.prop.vendingmachine": ((0.5, 0.5, 1.0), {}),
    "static.prop.container": ((1.5, 1.0, 1.0), {}),
    "static.prop.advertisement": ((0.4, 0.8, 1.0), {}),
    "static.prop.foodcart": ((1.5, 0.9, 1.2), {}),
    "static.prop.busstoplb": ((1.7, 0.8, 1.2), {}),
    "static.prop.haybalelb": ((0.6, 0.6, 0.6), {}),
    "static.prop.streetbarrier": ((0.6, 0.2, 0.5), {}),
}


class Attribute(SimpleNamespace):
    """One blueprint attribute as text."""

    def as_str(self) -> str:
        return self.value


class Blueprint:
    """A model with attributes that can be set."""

    def __init__(self, model: str) -> None:
        self.id = model
        self.extent, fixed = MODELS[model]
        self.values = {"role_name": "autopilot", **fixed}
        if model.startswith("vehicle"):
            self.values.setdefault("special_type", "")
            self.values.setdefault("has_dynamic_doors", "false")

    def has_attribute(self, name: str) -> bool:
        return name in self.values

    def get_attribute(self, name: str) -> Attribute:
        return Attribute(value=self.values[name], recommended_values=[], type=carla.ActorAttributeType.String)

    def set_attribute(self, name: str, value: str) -> None:
        self.values[name] = value


class Library:
    """Blueprints by pattern."""

    def filter(self, pattern: str) -> list[Blueprint]:
        return [Blueprint(model) for model in MODELS if fnmatch.fnmatch(model, pattern)]

    def find(self, model: str) -> Blueprint:
        return Blueprint(model)


class Actor:
    """Anything that stands or moves in the world."""

    def __init__(self, world: KinematicWorld, actor_id: int, blueprint: Blueprint, pose: carla.Transform) -> None:
        self.world, self.id, self.type_id = world, actor_id, blueprint.id
        self.attributes = dict(blueprint.values)
        self.bounding_box = carla.BoundingBox(
            carla.Location(0, 0, blueprint.extent[2]), carla.Vector3D(*blueprint.extent)
        )
        self.is_alive = True
        self.physics = not blueprint.id.startswith("static")
        self.seen = copy_transform(pose)
        self.pose = copy_transform(pose)
        self.velocity = carla.Vector3D()
        self.control: carla.VehicleControl | carla.WalkerControl | None = None
        self.constant: float | None = None
        self.lights = 0
        self.doors: list[carla.VehicleDoor] = []
        self.autopilot = False
        self.speed_limit = 50.0

    def get_transform(self) -> carla.Transform:
        return copy_transform(self.seen)

    def get_location(self) -> carla.Location:
        if not self.is_alive:
            raise RuntimeError("trying to operate on a destroyed actor")
        return self.get_transform().location

    def get_velocity(self) -> carla.Vector3D:
        return carla.Vector3D(self.velocity.x, self.velocity.y, self.velocity.z)

    def set_transform(self, pose: carla.Transform) -> None:
        self.pose = copy_transform(pose)

    def set_location(self, location: carla.Location) -> None:
        self.pose.location = location

    def set_target_velocity(self, velocity: carla.Vector3D) -> None:
        self.velocity = carla.Vector3D(velocity.x, velocity.y, velocity.z)

    def set_target_angular_velocity(self, velocity: carla.Vector3D) -> None:
        pass

    def set_simulate_physics(self, on: bool) -> None:
        self.physics = on
        if not on:
            self.velocity = carla.Vector3D()

    def apply_control(self, control: carla.VehicleControl | carla.WalkerControl) -> None:
        self.control = control

    def enable_constant_velocity(self, velocity: carla.Vector3D) -> None:
        self.constant = velocity.x

    def disable_constant_velocity(self) -> None:
        self.constant = None

    def set_light_state(self, state: carla.VehicleLightState) -> None:
        self.lights = int(state)

    def get_light_state(self) -> carla.VehicleLightState:
        return carla.VehicleLightState(self.lights)

    def open_door(self, door: carla.VehicleDoor) -> None:
        self.doors.append(door)

    def set_autopilot(self, on: bool, port: int = 8000) -> None:
        self.autopilot = on

    def get_speed_limit(self) -> float:
        return self.speed_limit

    def is_at_traffic_light(self) -> bool:
        return False

    def get_traffic_light_state(self) -> carla.TrafficLightState:
        return carla.TrafficLightState.Green

    def destroy(self) -> bool:
        self.is_alive = False
        self.world.actors.pop(self.id, None)
        return True

    def speed(self) -> float:
        return math.hypot(self.velocity.x, self.velocity.y)

    def move(self) -> None:
        """One tick of motion."""
        if self.physics and isinstance(self.control, carla.WalkerControl):
            direction, speed = self.control.direction, self.control.speed
            self.velocity = carla.Vector3D(direction.x * speed, direction.y * speed, 0.0)
        elif self.physics and self.type_id.startswith("vehicle"):
            self._drive()
        if self.physics:
            self.pose.location.x += self.velocity.x * TICK
            self.pose.location.y += self.velocity.y * TICK

    def _drive(self) -> None:
        control = self.control or carla.VehicleControl()
        speed = self.speed()
        if self.constant is not None:
            speed = self.constant
        elif self.autopilot:
            speed, control = self.world.autopilot(self, speed)
        else:
            braking = 8.0 * control.brake + (8.0 if control.hand_brake else 0.0)
            speed = max(0.0, speed + (4.0 * control.throttle - braking - 0.05 * speed) * TICK)
        yaw = math.radians(self.pose.rotation.yaw)
        yaw += speed * math.tan(0.9 * control.steer) / 2.9 * TICK
        self.pose.rotation.yaw = math.degrees(yaw)
        self.velocity = carla.Vector3D(speed * math.cos(yaw), speed * math.sin(yaw), 0.0)


class Light:
    """A traffic light of one junction entry."""

    def __init__(self, light_id: int, entry: carla.Waypoint) -> None:
        self.id, self.entry = light_id, entry
        self.state = carla.TrafficLightState.Red
        self.times = {"green": 10.0, "yellow": 3.0, "red": 20.0}
        self.frozen_at: list[carla.TrafficLightState] = []

    def get_stop_waypoints(self) -> list[carla.Waypoint]:
        return [self.entry]

    def get_state(self) -> carla.TrafficLightState:
        return self.state

    def set_state(self, state: carla.TrafficLightState) -> None:
        self.state = state
        self.frozen_at.append(state)

    def __getattr__(self, name: str):
        for colour in ("green", "yellow", "red"):
            if name == f"get_{colour}_time":
                return lambda: self.times[colour]
            if name == f"set_{colour}_time":
                return lambda seconds: self.times.__setitem__(colour, seconds)
        raise AttributeError(name)


@dataclass
class Timestamp:
    """What a tick reports."""

    frame: int
    elapsed_seconds: float
    delta_seconds: float = TICK


class Snapshot(list[Actor]):
    """Actors of a tick."""

    def has_actor(self, actor_id: int) -> bool:
        return any(actor.id == actor_id for actor in self)


class KinematicWorld:
    """Real map, kinematic actors."""

    def __init__(self, road_map: carla.Map, signalised: bool = True) -> None:
        self.map, self.signalised = road_map, signalised
        self.actors: dict[int, Actor] = {}
        self.frame = 0
        self._ids = iter(range(100, 1_000_000))
        self.lights: dict[int, list[Light]] = {}
        self.desired: dict[int, float] = {}
        self.paths: dict[int, list[carla.Location]] = {}

    def get_map(self) -> carla.Map:
        return self.map

    def get_settings(self) -> SimpleNamespace:
        return SimpleNamespace(synchronous_mode=True)

    def get_blueprint_library(self) -> Library:
        return Library()

    def get_actors(self) -> list[Actor]:
        return list(self.actors.values())

    def get_snapshot(self) -> Snapshot:
        return Snapshot(self.get_actors())

    def try_spawn_actor(self, blueprint: Blueprint, pose: carla.Transform) -> Actor | None:
        actor = Actor(self, next(self._ids), blueprint, pose)
        if any(self.overlap(actor, other) for other in self.actors.values()):
            return None
        self.actors[actor.id] = actor
        return actor

    def overlap(self, a: Actor, b: Actor) -> bool:
        """Whether two actors' boxes overlap (bodies at about the same height)."""
        if abs(a.pose.location.z - b.pose.location.z) > 2.0 or a.pose.location.distance(b.pose.location) > 12.0:
            return False
        corners = [
            box_corners_2d(
                (x.pose.location.x, x.pose.location.y),
                (x.bounding_box.extent.x, x.bounding_box.extent.y),
                math.radians(x.pose.rotation.yaw),
            )
            for x in (a, b)
        ]
        return boxes_overlap_2d(*corners)

    def get_traffic_lights_in_junction(self, junction_id: int) -> list[Light]:
        if not self.signalised:
            return []
        if junction_id not in self.lights:
            inside = next(
                w for pair in self.map.get_topology() for w in pair if w.is_junction and w.junction_id == junction_id
            )
            entries, _ = junction_ends(inside.get_junction())
            self.lights[junction_id] = [Light(junction_id * 100 + i, entry) for i, entry in enumerate(entries)]
        return self.lights[junction_id]

    def tick(self) -> Timestamp:
        self.frame += 1
        for actor in list(self.actors.values()):
            actor.move()
        for actor in self.actors.values():
            actor.seen = copy_transform(actor.pose)
        return Timestamp(self.frame, self.frame * TICK)

    def autopilot(self, actor: Actor, speed: float) -> tuple[float, carla.VehicleControl]:
        """Follow the lane at the desired speed, stop behind others: a stand-in for the Traffic Manager."""
        wanted = self.desired.get(actor.id, 30.0) / 3.6
        if self._blocked(actor, 6.0 + speed):
            wanted = 0.0
        speed += max(-0.4, min(0.15, wanted - speed))
        waypoint = self.map.get_waypoint(actor.pose.location)
        ahead = waypoint.next(4.0)
        if not ahead:
            return 0.0, carla.VehicleControl()
        target = ahead[0].transform.location
        dx, dy = target.x - actor.pose.location.x, target.y - actor.pose.location.y
        error = math.atan2(dy, dx) - math.radians(actor.pose.rotation.yaw)
        error = (error + math.pi) % (2 * math.pi) - math.pi
        return speed, carla.VehicleControl(steer=max(-1.0, min(1.0, error)))

    def _blocked(self, actor: Actor, reach: float) -> bool:
        yaw = math.radians(actor.pose.rotation.yaw)
        for other in self.actors.values():
            if other is actor or not other.type_id.startswith("vehicle"):
                continue
            dx = other.pose.location.x - actor.pose.location.x
            dy = other.pose.location.y - actor.pose.location.y
            ahead, right = dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw)
            if 0 < ahead < reach + 4.0 and abs(right) < 1.5 and abs(dx) < 60:
                return True
        return False


class KinematicTrafficManager:
    """The calls of `carla.TrafficManager` that background traffic makes."""

    def __init__(self, world: KinematicWorld) -> None:
        self.world = world

    def get_port(self) -> int:
        return 8000

    def set_desired_speed(self, actor: Actor, kmh: float) -> None:
        self.world.desired[actor.id] = kmh

    def __getattr__(self, name: str):
        allowed = (
            "auto_lane_change", "distance_to_leading_vehicle", "vehicle_lane_offset", "update_vehicle_lights",
            "ignore_lights_percentage", "ignore_signs_percentage", "ignore_vehicles_percentage", "force_lane_change",
            "vehicle_percentage_speed_difference",
        )  # fmt: skip
        if name in allowed:
            return lambda *_: None
        raise AttributeError(name)


class ScriptedEgo:
    """Moves the ego along a route at a chosen speed, ignoring everything."""

    def __init__(self, world: KinematicWorld, route: list[tuple[carla.Transform, object]]) -> None:
        self.world = world
        self.points = [transform for transform, _ in route]
        self.index = 0.0
        blueprint = Blueprint("vehicle.lincoln.mkz_2020")
        blueprint.set_attribute("role_name", "hero")
        actor = world.try_spawn_actor(blueprint, shifted(self.points[0], up=0.2))
        assert actor is not None
        actor.physics = False
        self.actor = actor

    @property
    def finished(self) -> bool:
        return self.index >= len(self.points) - 1

    def drive(self, speed: float) -> None:
        """Advance by one tick along the route points (about 1 m apart)."""
        self.index = min(self.index + speed * TICK, len(self.points) - 1)
        here = self.points[int(self.index)]
        ahead = self.points[min(int(self.index) + 1, len(self.points) - 1)].location
        share = self.index - int(self.index)
        pose = copy_transform(here)
        pose.location = carla.Location(
            here.location.x + share * (ahead.x - here.location.x),
            here.location.y + share * (ahead.y - here.location.y),
            here.location.z + 0.2,
        )
        self.actor.pose = pose
        forward = pose.get_forward_vector()
        self.actor.velocity = carla.Vector3D(forward.x * speed, forward.y * speed, 0.0)
