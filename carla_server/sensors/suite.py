"""Sensors that look: one object per spawned camera, lidar or radar, giving the payload of a tick.

The server makes one with `make_sensor` when the actor is spawned and calls `measure` once per due tick.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.attributes import camera_spec
from carla_server.sensors.lidar import Lidar, Radar, SemanticLidar
from carla_server.sensors.movement import EventCamera, OpticalFlow
from carla_server.sensors.scene import ActorView, Frame, Pose, Scene, WeatherView
from carla_server.sensors.shading import LANES

HEAD = struct.Struct("<IIf")  # width, height, field of view
ALIGNMENT = 64  # bytes of a cache line
FULL_SCALE_DEPTH = 1000.0  # metres that a depth pixel of all ones stands for


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
    ) -> bytes | memoryview:
        """Payload of one tick: the bytes after the 48-byte header of the stream.

        Args:
            scene: The town.
            pose: World pose of the sensor.
            velocity: World velocity of the sensor (that of its parent), m/s; radar needs it.
            actors: All actors with a shape, the sensor's own vehicle included.
            weather: Present weather.
            time_s: Simulated time.
            delta_s: Length of the tick, seconds; decides how far a lidar turned and how many rays it sent. As in CARLA, ticks
                that a `sensor_tick` lets pass do not count.
        """


def encode_depth(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA in CARLA's encoding: metres = 1000 (R + 256 G + 65536 B) / (2^24 - 1)."""
    share = np.clip(depth.astype(np.float64) / FULL_SCALE_DEPTH, 0.0, 1.0)
    code = np.round(share * 0xFFFFFF).astype(np.uint32)
    out = np.empty((*depth.shape, 4), np.uint8)
    out[..., 2], out[..., 1], out[..., 0] = code & 255, (code >> 8) & 255, code >> 16
    out[..., 3] = 255
    return out


def encode_tags(tag: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA with the tag in the red channel."""
    out = np.zeros((*tag.shape, 4), np.uint8)
    out[..., 2] = tag
    out[..., 3] = 255
    return out


def encode_instances(tag: NDArray[np.uint8], instance: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA: tag in red, low byte of the instance number in green, next byte in blue."""
    out = encode_tags(tag)
    out[..., 1] = instance & 255
    out[..., 0] = (instance >> 8) & 255
    return out


def _color_image(frame: Frame) -> NDArray[np.uint8]:
    assert frame.bgra is not None
    return frame.bgra


def _depth_image(frame: Frame) -> NDArray[np.uint8]:
    assert frame.depth is not None
    return encode_depth(frame.depth)


def _tag_image(frame: Frame) -> NDArray[np.uint8]:
    assert frame.tag is not None
    return encode_tags(frame.tag)


def _instance_image(frame: Frame) -> NDArray[np.uint8]:
    assert frame.tag is not None
    assert frame.instance is not None
    return encode_instances(frame.tag, frame.instance)


# Blueprint id -> what the camera draws, and how a frame becomes its image.
CAMERAS: dict[str, tuple[tuple[str, ...], Callable[[Frame], NDArray[np.uint8]]]] = {
    "sensor.camera.rgb": (("bgra",), _color_image),
    "sensor.camera.depth": (("depth",), _depth_image),
    "sensor.camera.semantic_segmentation": (("tag",), _tag_image),
    "sensor.camera.instance_segmentation": (("tag", "instance"), _instance_image),
}
OTHERS: dict[str, Callable[[Mapping[str, str]], VisualSensor]] = {
    "sensor.lidar.ray_cast": Lidar,
    "sensor.lidar.ray_cast_semantic": SemanticLidar,
    "sensor.other.radar": Radar,
    "sensor.camera.optical_flow": OpticalFlow,
    "sensor.camera.dvs": EventCamera,
}


class Paper:
    """Memory of a picture behind the head of its message, used again in every tick: to be given fresh memory costs as much
    time as to fill it twice.

    Attributes:
        pixels: (N + LANES,) uint32 room for a picture of N pixels, as `shade` fills it.
    """

    def __init__(self, pixels: int, head: bytes) -> None:
        self._memory = np.empty(2 * ALIGNMENT + 4 * (pixels + LANES), np.uint8)
        first = ALIGNMENT - self._memory.ctypes.data % ALIGNMENT
        first += ALIGNMENT if first < len(head) else 0
        self._span = slice(first - len(head), first + 4 * pixels)
        self._memory[self._span.start : first] = np.frombuffer(head, np.uint8)
        self.pixels = self._memory[first : first + 4 * (pixels + LANES)].view(np.uint32)
        self._own = sys.getrefcount(self._memory)

    def message(self) -> memoryview:
        """Head and picture, valid until the next picture is drawn."""
        return self._memory.data[self._span]

    def is_held(self) -> bool:
        """Whether somebody still has a message."""
        return sys.getrefcount(self._memory) > self._own


class Camera:
    """sensor.camera.*: u32 width, u32 height, f32 fov (degrees), then BGRA rows from the top."""

    def __init__(self, type_id: str, attributes: Mapping[str, str]) -> None:
        self._outputs, self._encode = CAMERAS[type_id]
        # Refuses what cannot be drawn, before anybody waits for its picture.
        self._spec = replace(camera_spec(attributes), outputs=self._outputs)
        self._paper: Paper | None = None

    def measure(
        self,
        scene: Scene,
        pose: Pose,
        velocity: tuple[float, float, float],
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float,
        delta_s: float,
    ) -> bytes | memoryview:
        """Payload of one tick."""
        camera = replace(self._spec, transform=pose)
        head = HEAD.pack(camera.width, camera.height, camera.fov_deg)
        if self._outputs != ("bgra",):
            return b"".join((head, self._encode(scene.render(camera, actors, weather, time_s)).data))
        if self._paper is None or self._paper.is_held():
            self._paper = Paper(camera.width * camera.height, head)
        scene.render(camera, actors, weather, time_s, self._paper.pixels)
        return self._paper.message()


def make_sensor(type_id: str, attributes: Mapping[str, str]) -> VisualSensor:
    """The sensor for a blueprint id.

    Raises:
        ValueError: For a sensor that does not look at the scene, or an attribute that is no number.
    """
    if type_id in CAMERAS:
        return Camera(type_id, attributes)
    if type_id in OTHERS:
        return OTHERS[type_id](attributes)
    raise ValueError(f"{type_id!r} is no camera, lidar or radar of this server; those are {[*CAMERAS, *OTHERS]}")
