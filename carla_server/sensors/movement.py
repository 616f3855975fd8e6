"""Cameras that see movement: optical flow, and events of a dynamic vision sensor."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.attributes import camera_spec, is_on, number
from carla_server.sensors.poses import affines, world_to_camera
from carla_server.sensors.scene import ActorView, Frame, Pose, Scene, WeatherView

Array = NDArray[np.float64]

#: One event: pixel, time in nanoseconds, whether it became brighter; packed.
EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("polarity", "u1")])
#: Events of one pixel between two pictures; more are not told apart.
MOST_EVENTS = 16
#: Weights of blue, green and red in brightness (ITU-R BT.601).
LUMA = np.array([0.114, 0.587, 0.299])


class _Moving:
    """What both cameras share: size, field of view, and the head of their payloads."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.spec = camera_spec(attributes)

    def _frame(
        self, outputs: tuple[str, ...], scene: Scene, pose: Pose, actors: Sequence[ActorView], *rest: object
    ) -> Frame:
        weather, time_s = rest
        assert isinstance(weather, WeatherView)
        assert isinstance(time_s, float)
        return scene.render(replace(self.spec, transform=pose, outputs=outputs), actors, weather, time_s)

    def _head(self) -> bytes:
        return struct.pack("<IIf", self.spec.width, self.spec.height, self.spec.fov_deg)


class OpticalFlow(_Moving):
    """sensor.camera.optical_flow: per pixel how far what it shows moved since the last measurement.

    Two float32 per pixel: to the right and down, as shares of the image's width and height. Actors move as rigid
    bodies; what a walker's limbs do beyond that is not seen.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        super().__init__(attributes)
        self._camera: Array | None = None
        self._actors: dict[int, Array] = {}

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
        """Payload of one tick; the first one shows no movement."""
        frame = self._frame(("depth", "instance"), scene, pose, actors, weather, time_s)
        assert frame.depth is not None
        assert frame.instance is not None
        moves = affines(np.array([actor.transform for actor in actors], dtype=np.float64).reshape(-1, 6))
        now = {actor.id: moves[k] for k, actor in enumerate(actors)}
        before = world_to_camera(pose) if self._camera is None else self._camera
        flow = self._flow(frame.depth, frame.instance, pose, before, now)
        self._camera, self._actors = world_to_camera(pose), now
        return self._head() + flow.astype("<f4").tobytes()

    def _flow(
        self, depth: NDArray[np.float32], instance: NDArray[np.int32], pose: Pose, before: Array, now: dict[int, Array]
    ) -> Array:
        """(H, W, 2) movement of each pixel, as shares of the image."""
        width, height = self.spec.width, self.spec.height
        focal = width / (2.0 * math.tan(math.radians(self.spec.fov_deg) / 2.0))
        across = (np.arange(width) + 0.5 - width / 2.0) / focal
        down = (np.arange(height) + 0.5 - height / 2.0) / focal
        shape = (height, width)
        rays = np.stack(
            (np.ones(shape), np.broadcast_to(across, shape), np.broadcast_to(-down[:, None], shape)), axis=2
        )
        matrix = affines(np.array([pose], dtype=np.float64))[0]
        world = (rays * depth[..., None]) @ matrix[:, :3].T + matrix[:, 3]
        for actor_id in np.intersect1d(instance, [key for key in now if key in self._actors]).tolist():
            here = instance == actor_id
            present, past = now[actor_id], self._actors[actor_id]
            if not np.array_equal(present, past):
                local = (world[here] - present[:, 3]) @ present[:, :3]
                world[here] = local @ past[:, :3].T + past[:, 3]
        seen = world @ before[:, :3].T + before[:, 3]
        ahead = np.maximum(seen[..., 0], 1e-3)
        old = np.stack((seen[..., 1] / ahead, -seen[..., 2] / ahead), axis=2)
        new = np.stack((np.broadcast_to(across, shape), np.broadcast_to(down[:, None], shape)), axis=2)
        return np.clip((new - old) * focal / (width, height), -2.0, 2.0)


class EventCamera(_Moving):
    """sensor.camera.dvs: where and when brightness changed by more than a threshold.

    Between two pictures the (logarithmic) brightness of a pixel is taken as changing evenly, as in ESIM (Rebecq et al.
    2018); every time it moves by a threshold from where its last event was, there is an event.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        super().__init__(attributes)
        self._up = max(number(attributes, "positive_threshold", 0.3), 1e-3)
        self._down = max(number(attributes, "negative_threshold", 0.3), 1e-3)
        self._sigma_up = number(attributes, "sigma_positive_threshold")
        self._sigma_down = number(attributes, "sigma_negative_threshold")
        self._refractory_ns = number(attributes, "refractory_period_ns")
        self._log = is_on(attributes, "use_log", True)
        self._eps = max(number(attributes, "log_eps", 0.001), 1e-6)
        self._generator = np.random.default_rng(0)
        self._last: Array | None = None
        self._reference = self._quiet = np.empty(0)
        self._time_ns = 0.0

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
        """Payload of one tick; the first one has no events."""
        frame = self._frame(("bgra",), scene, pose, actors, weather, time_s)
        assert frame.bgra is not None
        light = frame.bgra[..., :3] @ LUMA / 255.0
        light = np.log(self._eps + light) if self._log else light
        if self._last is None:
            self._reference, self._quiet = light.copy(), np.full(light.shape, -np.inf)
            events = np.empty(0, EVENT)
        else:
            events = self._events(self._last, light, time_s * 1e9)
        self._last, self._time_ns = light, time_s * 1e9
        return self._head() + events.tobytes()

    def _threshold(self, usual: float, sigma: float, shape: tuple[int, ...]) -> Array:
        noise = self._generator.normal(0.0, sigma, shape) if sigma > 0.0 else np.zeros(shape)
        return np.maximum(usual + noise, 0.01)

    def _events(self, last: Array, light: Array, now_ns: float) -> NDArray[np.void]:
        """Events between two pictures, in the order of time."""
        rising = light > last
        size = np.where(
            rising,
            self._threshold(self._up, self._sigma_up, light.shape),
            -self._threshold(self._down, self._sigma_down, light.shape),
        )
        parts = []
        change = light - last
        for _ in range(MOST_EVENTS):
            level = self._reference + size
            crossed = np.where(rising, level <= light, level >= light) & (change != 0.0)
            if not crossed.any():
                break
            y, x = np.nonzero(crossed)
            share = np.clip((level[crossed] - last[crossed]) / change[crossed], 0.0, 1.0)
            moment = self._time_ns + share * (now_ns - self._time_ns)
            self._reference[crossed] = level[crossed]
            awake = moment - self._quiet[crossed] >= self._refractory_ns
            self._quiet[y[awake], x[awake]] = moment[awake]
            part = np.empty(int(awake.sum()), EVENT)
            part["x"], part["y"], part["t"] = x[awake], y[awake], moment[awake]
            part["polarity"] = rising[crossed][awake]
            parts.append(part)
        found = np.concatenate(parts) if parts else np.empty(0, EVENT)
        return found[np.argsort(found["t"], kind="stable")]
