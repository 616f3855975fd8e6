"""A world small enough for tests: a real `carla.Map`, no simulator, an ego moved by the kinematic bicycle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import carla
import numpy as np

from driving.kinematics import BicycleModel
from srunner.tools.route_planner import GlobalRoutePlanner
from team_code.expert.config import ExpertConfig, expert_config
from team_code.expert.driver import Decision, Expert
from team_code.expert.scene import ActorBatch, EgoState, LightView, Scene

MKZ_EXTENT = np.array([2.45, 1.06, 0.75])


class ActorList(list):
    """Answers `filter` like the client's list: here by the end of the pattern."""

    def filter(self, pattern):
        return ActorList(actor for actor in self if pattern.strip("*") in actor.type_id)


@dataclass
class FakeWorld:
    """What the expert asks of a `carla.World`."""

    road_map: carla.Map
    actors: ActorList = field(default_factory=ActorList)

    def get_map(self):
        return self.road_map

    def get_actors(self):
        return self.actors

    def get_traffic_lights_from_waypoint(self, waypoint, distance):
        return []


def no_actors() -> ActorBatch:
    zeros = np.zeros((0, 3))
    return ActorBatch([], np.zeros(0, dtype=np.int64), *[zeros] * 6, np.zeros(0, dtype=bool))


def batch(rows, type_id="vehicle.tesla.model3"):
    """Actors from (id, x, y, yaw, speed) rows; cars of 4.6 by 2 m that hold their speed."""
    rows = np.asarray(rows, dtype=float).reshape(-1, 5)
    n = len(rows)
    heading = np.stack([np.cos(rows[:, 3]), np.sin(rows[:, 3]), np.zeros(n)], axis=1)
    return ActorBatch(
        actors=[SimpleNamespace(id=int(i), type_id=type_id) for i in rows[:, 0]],
        ids=rows[:, 0].astype(np.int64),
        xyz=np.column_stack([rows[:, 1:3], np.zeros(n)]),
        angles=np.column_stack([np.zeros(n), rows[:, 3], np.zeros(n)]),
        velocity=heading * rows[:, 4:],
        extent=np.tile([2.3, 1.0, 0.75], (n, 1)),
        box_offset=np.tile([0.0, 0.0, 0.75], (n, 1)),
        control=np.zeros((n, 3)),
        is_bicycle=np.zeros(n, dtype=bool),
    )


def load_map(path: Path) -> carla.Map:
    return carla.Map(path.stem, path.read_text())


@dataclass
class Drive:
    """One expert on one route."""

    road_map: carla.Map
    plan: list
    config: ExpertConfig = field(default_factory=expert_config)
    world: FakeWorld | None = None

    def __post_init__(self):
        self.world = self.world or FakeWorld(self.road_map)
        place, turn = self.plan[0][0].location, self.plan[0][0].rotation
        self.pose = [place.x, place.y, np.radians(turn.yaw), 0.0]
        self.height = place.z
        self.expert = None
        self.bicycle = BicycleModel()

    def ego(self) -> EgoState:
        x, y, yaw, speed = self.pose
        return EgoState(1, np.array([x, y, self.height]), 0.0, yaw, 0.0, speed, MKZ_EXTENT, np.array([0, 0, 0.7]))

    def scene(self, vehicles=None, walkers=None, light_state=carla.TrafficLightState.Red) -> Scene:
        lights = {
            light.id: LightView(light.id, light.type_id, light_state)
            for light in self.world.get_actors().filter("traffic_light")
        }
        return Scene(
            self.ego(),
            no_actors() if vehicles is None else vehicles,
            no_actors() if walkers is None else walkers,
            lights,
        )

    def tick(self, vehicles=None, walkers=None, infos=(), light_state=carla.TrafficLightState.Red) -> Decision:
        scene = self.scene(vehicles, walkers, light_state)
        if self.expert is None:
            lights = list(self.world.get_actors().filter("traffic_light"))
            self.expert = Expert(self.world, self.plan, scene, lights, self.config, np.random.default_rng(0))
        decision = self.expert.step(scene, infos)
        control = decision.applied
        self.pose = list(self.bicycle.step_ego(*self.pose, control.steer, control.throttle, control.brake > 0))
        return decision


def plan_between(road_map: carla.Map, start: carla.Location, end: carla.Location):
    planner = GlobalRoutePlanner(road_map, 1.0)
    return [(waypoint.transform, command) for waypoint, command in planner.trace_route(start, end)]


@dataclass
class StopLight:
    """A traffic light whose trigger box lies across the lane at a pose."""

    id: int
    pose: carla.Transform
    type_id: str = "traffic.traffic_light"

    @property
    def trigger_volume(self):
        return carla.BoundingBox(carla.Location(0, 0, 0), carla.Vector3D(0.6, 0.6, 1.0))

    def get_transform(self):
        return self.pose
