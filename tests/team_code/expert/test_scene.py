"""What the reader of scenes remembers, and what it asks anew in every tick."""

from __future__ import annotations

from types import SimpleNamespace

import carla
import numpy as np

from team_code.expert.scene import SceneReader


class Actor:
    """What the reader asks of a `carla.Actor`."""

    def __init__(self, number, type_id, x):
        self.id, self.type_id, self.x = number, type_id, x
        self.bounding_box = carla.BoundingBox(carla.Location(z=0.7), carla.Vector3D(2.0 + number, 1.0, 0.7))
        self.attributes = {"base_type": "bicycle" if number % 2 else "car"}
        self.state = carla.TrafficLightState.Red

    def get_transform(self):
        return carla.Transform(carla.Location(x=self.x), carla.Rotation(yaw=90.0))

    def get_velocity(self):
        return carla.Vector3D(x=3.0, y=4.0)

    def get_control(self):
        return SimpleNamespace(steer=0.25, throttle=0.5, brake=0.0, direction=carla.Vector3D(y=1.0))


class World(list):
    """A list of actors that can be filtered."""

    def get_actors(self):
        return self

    def filter(self, pattern):
        return [actor for actor in self if pattern.strip("*") in actor.type_id]


def test_moving_actors_are_read_every_tick_and_newcomers_are_seen():
    ego, car, walker = Actor(1, "vehicle.ego", 0), Actor(2, "vehicle.car", 10), Actor(3, "walker.person", 20)
    world = World([ego, car, walker, Actor(4, "traffic.traffic_light", 30)])
    reader = SceneReader(world, ego)
    everyone = list(world)
    first = reader.read(0.0, everyone)
    assert first.vehicles.ids.tolist() == [2]
    assert first.walkers.ids.tolist() == [3]
    car.x = 11.5
    second = reader.read(0.0, everyone)
    assert (first.vehicles.xyz[0, 0], second.vehicles.xyz[0, 0]) == (10.0, 11.5)
    np.testing.assert_allclose(second.vehicles.extent, [[4.0, 1.0, 0.7]], atol=1e-6)
    np.testing.assert_allclose(second.vehicles.speed, [5.0])
    np.testing.assert_allclose(second.walkers.control, [[0.0, 1.0, 0.0]])
    third = reader.read(0.0, [*everyone, Actor(5, "vehicle.bike", 40)])
    assert third.vehicles.ids.tolist() == [2, 5]
    assert third.vehicles.is_bicycle.tolist() == [False, True]
    assert reader.read(0.0, [ego]).vehicles.xyz.shape == (0, 3)


def test_a_light_shows_its_state_of_the_tick_in_which_it_is_looked_at():
    ego, light = Actor(1, "vehicle.ego", 0), Actor(4, "traffic.traffic_light", 30)
    reader = SceneReader(World([ego, light]), ego)
    assert reader.read(0.0).lights[4].state == carla.TrafficLightState.Red
    light.state = carla.TrafficLightState.Green
    lights = reader.read(0.0).lights
    assert lights[4].state == carla.TrafficLightState.Green
    assert list(lights) == [4]
