"""Sensors that look: one object per spawned camera, lidar or radar, giving the payload of a tick.

The server makes one with `make_sensor` when the actor is spawned and calls `measure` once per due tick.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from carla_server.sensors.scene import ActorView, CameraSpec, Pose, Scene, WeatherView


class VisualSensor(Protocol):
    """A sensor that needs the scene."""

    def measure(
        self,
        scene: Scene,
        pose: Pose,
        velocity: tuple[float, float, float],
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float,
        delta_s: float,
    ) -> bytes:
        """Payload of one tick.

        Args:
            scene: The town.
            pose: World pose of the sensor.
            velocity: World velocity of the sensor (that of its parent), m/s; radar needs it.
            actors: All actors with a shape, the sensor's own vehicle included.
            weather: Present weather.
            time_s: Simulated time.
            delta_s: Time since this sensor's last measurement, seconds; decides how far a lidar turned.
        """


class Camera:
    """sensor.camera.{rgb,depth,semantic_segmentation,instance_segmentation}: u32 w, u32 h, f32 fov, BGRA rows."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.width = int(float(attributes.get("image_size_x", "800")))
        self.height = int(float(attributes.get("image_size_y", "600")))
        self.fov_deg = float(attributes.get("fov", "90"))

    def measure(
        self,
        scene: Scene,
        pose: Pose,
        velocity: tuple[float, float, float],
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float,
        delta_s: float,
    ) -> bytes:
        """Payload of one tick."""
        camera = CameraSpec(self.width, self.height, self.fov_deg, pose, ("bgra",))
        frame = scene.render(camera, actors, weather, time_s)
        assert frame.bgra is not None
        head = struct.pack("<IIf", self.width, self.height, self.fov_deg)
        return head + np.ascontiguousarray(frame.bgra).tobytes()


def make_sensor(type_id: str, attributes: Mapping[str, str]) -> VisualSensor:
    """The sensor for a blueprint id. Raises ValueError for one that does not look at the scene."""
    if type_id == "sensor.camera.rgb":
        return Camera(attributes)
    raise ValueError(f"{type_id!r} is no camera, lidar or radar of this server")
