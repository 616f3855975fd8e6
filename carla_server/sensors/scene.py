"""The visible world: a town's scenery plus the actors of the moment, seen by cameras and rays."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap
from carla_server.sensors import shading
from carla_server.sensors.actors import Draws, TriangleTables, actor_draws, signal_lamp
from carla_server.sensors.atlas import atlas
from carla_server.sensors.fixtures import light_head
from carla_server.sensors.ground import draw_ground, texel_tags
from carla_server.sensors.poses import rotation, world_to_camera
from carla_server.sensors.raster import NO_TRIANGLE, rasterize
from carla_server.sensors.scenery import chunked, lane_meshes, terrain_mesh
from carla_server.sensors.town import Placement, build_town, placed_parts
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
from carla_server.sensors.weather import Lighting, lighting

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

Array = NDArray[np.float64]

NEAR = 0.05  # metres; closer surfaces are cut away
ACTOR_REACH = 400.0  # metres
SIGNAL_REACH = 220.0  # metres
FIRST_TABLE = 1 << 15  # triangles; the tables double when a view has more
MAP_CELLS = 512
MAP_SCALE = 4.0  # light map cells per metre
MAP_AHEAD = 40.0  # metres the light maps' middle lies before the camera
LAMP_COLOR = (1.0, 0.86, 0.62)


@dataclass(eq=False)
class _Draws:
    """What is drawn in one view: triangle ranges and, for each, where it stands and what it carries."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    mats: NDArray[np.float32]
    rots: NDArray[np.float32]
    tints: NDArray[np.float32]
    emits: NDArray[np.uint32]
    tags: NDArray[np.uint8]
    instances: NDArray[np.int32]


class _Buffers(threading.local):
    """Working memory of one thread, kept between views."""

    def __init__(self) -> None:
        self.size = 0
        self.zbuf = np.empty(0, np.float32)
        self.ibuf = np.empty(0, np.int32)
        self.grow(FIRST_TABLE)

    def grow(self, rows: int) -> None:
        self.src = np.empty(rows, np.int32)
        self.drw = np.empty(rows, np.int32)
        self.plane = np.empty((rows, 3), np.float32)

    def clear(self, size: int, far: float) -> None:
        if self.size != size:
            self.size = size
            self.zbuf = np.empty(size, np.float32)
            self.ibuf = np.empty(size, np.int32)
        self.zbuf.fill(1.0 / far)
        self.ibuf.fill(NO_TRIANGLE)


class Scene:
    """Scenery of one town, ready to be seen. Holds nothing that changes with time, so threads may share it."""

    def __init__(self, road_map: RoadMap) -> None:
        self.road_map = road_map
        town = build_town(road_map)
        self.environment_objects: tuple[EnvironmentObject, ...] = tuple(town.objects)
        self._town = town
        self._ground = draw_ground(road_map)
        ground = [(lane_meshes(road_map), Placement(reach=450.0)), (terrain_mesh(road_map), Placement())]
        self._chunks = chunked([*ground, *placed_parts(town)])
        self._tables = TriangleTables(self._chunks.shape)
        self._head = self._tables.add_mesh(light_head())
        self._atlas, self._specs = atlas()
        self._buffers = _Buffers()

    def render(
        self, camera: CameraSpec, actors: Sequence[ActorView], weather: WeatherView, time_s: float = 0.0
    ) -> Frame:
        """Draw what the camera sees. Same arguments, same pixels."""
        focal = camera.width / (2.0 * math.tan(math.radians(camera.fov_deg) / 2))
        light = lighting(weather)
        draws = self._draws(camera, actors, focal, time_s, light.night > 0.3)
        buffers, used = self._visible(draws, camera.width, camera.height, focal, camera.far)
        table, sunlit = self._light_table(camera, actors, light)
        tables = (buffers.src[:used], buffers.drw[:used])
        frame = Frame()
        ground = self._ground
        if "bgra" in camera.outputs:
            frame.bgra = np.empty((camera.height, camera.width, 4), np.uint8)
            shading.shade(
                buffers.ibuf,
                camera.width,
                camera.height,
                focal,
                *tables,
                buffers.plane[:used],
                self._tables.columns,
                (draws.mats, draws.rots, draws.tints, draws.emits),
                table,
                light.dome,
                (ground.texels, ground.levels, light.palette),
                self._atlas,
                self._specs,
                sunlit,
                frame.bgra.reshape(-1).view(np.uint32),
            )
        self._resolve(camera, focal, buffers, used, draws, table, frame)
        return frame

    def _resolve(
        self,
        camera: CameraSpec,
        focal: float,
        buffers: _Buffers,
        used: int,
        draws: _Draws,
        table: NDArray[np.float32],
        frame: Frame,
    ) -> None:
        """Fill the depth, tag and instance images that the camera asks for."""
        shape = (camera.height, camera.width)
        if "depth" in camera.outputs:
            frame.depth = np.empty(shape, np.float32)
        if "tag" in camera.outputs:
            frame.tag = np.empty(shape, np.uint8)
        if "instance" in camera.outputs:
            frame.instance = np.empty(shape, np.int32)
        if frame.depth is None and frame.tag is None and frame.instance is None:
            return
        shading.resolve(
            buffers.zbuf,
            buffers.ibuf,
            camera.width,
            focal,
            table,
            buffers.src[:used],
            buffers.drw[:used],
            self._tables.mesh.kind,
            self._tables.mesh.tag,
            self._tables.mesh.instance,
            draws.tags,
            draws.instances,
            (self._ground.texels, self._ground.levels),
            texel_tags(),
            (
                np.empty(0, np.float32) if frame.depth is None else frame.depth.reshape(-1),
                np.empty(0, np.uint8) if frame.tag is None else frame.tag.reshape(-1),
                np.empty(0, np.int32) if frame.instance is None else frame.instance.reshape(-1),
            ),
        )

    def _visible(self, draws: _Draws, width: int, height: int, focal: float, far: float) -> tuple[_Buffers, int]:
        """Rasterise; returns this thread's buffers and how many of their table rows are in use."""
        buffers = self._buffers
        columns = self._tables.columns
        while True:
            buffers.clear(width * height, far)
            used = rasterize(
                columns[0],
                columns[4],
                draws.starts,
                draws.ends,
                draws.mats,
                width,
                height,
                focal,
                NEAR,
                buffers.zbuf,
                buffers.ibuf,
                buffers.src,
                buffers.drw,
                buffers.plane,
            )
            if used >= 0:
                return buffers, used
            buffers.grow(2 * len(buffers.src))

    def _draws(
        self, camera: CameraSpec, actors: Sequence[ActorView], focal: float, time_s: float, dark: bool
    ) -> _Draws:
        view = world_to_camera(camera.transform)
        seen = self._seen_chunks(view, camera, focal, dark)
        count = len(seen)
        rows = actor_draws(self._tables, actors, np.array(camera.transform[:3]), min(camera.far, ACTOR_REACH), time_s)
        self._signal_draws(rows, actors, camera)
        world = np.array(rows.mats).reshape(-1, 3, 4)
        to_camera = view[:, :3] @ world
        to_camera[:, :, 3] += view[:, 3]
        still = np.broadcast_to(view.reshape(12), (count, 12))
        level = np.broadcast_to(np.eye(3).reshape(9), (count, 9))
        ranges = np.array(rows.ranges, np.int64).reshape(-1, 2)
        # Actors first: they are near, and what they hide is then rejected early.
        return _Draws(
            np.concatenate([ranges[:, 0], self._chunks.starts[seen]]),
            np.concatenate([ranges[:, 1], self._chunks.ends[seen]]),
            np.concatenate([to_camera.reshape(-1, 12), still]).astype(np.float32),
            np.concatenate([world[:, :, :3].reshape(-1, 9), level]).astype(np.float32),
            np.concatenate([np.array(rows.tints).reshape(-1, 3), np.ones((count, 3))]).astype(np.float32),
            np.concatenate([np.array(rows.emits, np.uint32), np.zeros(count, np.uint32)]).astype(np.uint32),
            np.zeros(len(ranges) + count, np.uint8),
            np.concatenate([np.array(rows.instances, np.int32), np.zeros(count, np.int32)]).astype(np.int32),
        )

    def _signal_draws(self, rows: Draws, actors: Sequence[ActorView], camera: CameraSpec) -> None:
        """Add the housings of traffic lights, their lamps as the actors that stand for them say."""
        states = {actor.signal_id: actor for actor in actors if actor.signal_id}
        for head in self._town.heads:
            if math.dist(head.matrix[:, 3], camera.transform[:3]) > SIGNAL_REACH:
                continue
            actor = states.get(head.signal_id)
            rows.ranges.append(self._head)
            rows.mats.append(head.matrix)
            rows.tints.append((1.0, 1.0, 1.0))
            rows.emits.append(0 if actor is None else signal_lamp(actor.lamp))
            rows.instances.append(head.object_id if actor is None else actor.id)

    def _seen_chunks(self, view: Array, camera: CameraSpec, focal: float, dark: bool) -> NDArray[np.int64]:
        """Chunks in the field of view and within their reach, nearest first."""
        chunks = self._chunks
        center, half = (chunks.low + chunks.high) / 2, (chunks.high - chunks.low) / 2
        at = center @ view[:, :3].T + view[:, 3]
        size = half @ np.abs(view[:, :3]).T
        radius = np.linalg.norm(half, axis=1)
        side, rise = camera.width / (2 * focal), camera.height / (2 * focal)
        ahead = at[:, 0] + size[:, 0]
        inside = (ahead > NEAR) & (at[:, 0] - size[:, 0] < camera.far)
        for axis, slope in ((1, side), (2, rise)):
            inside &= np.abs(at[:, axis]) - slope * at[:, 0] < radius * math.hypot(1.0, slope)
        eye = np.array(camera.transform[:2])
        distance = np.linalg.norm(chunks.pivot - eye, axis=1)
        inside &= (distance >= chunks.first) & (distance < chunks.reach) & (~chunks.night | dark)
        index = np.flatnonzero(inside)
        return index[np.argsort(distance[index], kind="stable")]

    def _light_table(
        self, camera: CameraSpec, actors: Sequence[ActorView], light: Lighting
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The kernels' light vector, and the share of sun and lamp light on the ground around the camera."""
        turn = rotation(*camera.transform[3:])
        table = np.zeros(shading.LIGHT_SIZE, np.float32)
        table[:3] = light.to_sun
        table[shading.SUN_Z] = max(light.to_sun[2], 0.0)
        for at, value in (
            (shading.SUN_RGB, light.sun),
            (shading.SKY_RGB, light.sky),
            (shading.BOUNCE_RGB, light.bounce),
            (shading.LAMP_RGB, LAMP_COLOR),
            (shading.FOG_RGB, light.fog),
            (shading.MIRROR_RGB, light.fog),
            (shading.TO_WORLD, turn.reshape(9)),
        ):
            table[at : at + len(value)] = value
        middle = np.array(camera.transform[:2]) + MAP_AHEAD * turn[:2, 0]
        corner = np.floor(middle * MAP_SCALE - MAP_CELLS / 2) / MAP_SCALE
        table[shading.FOG] = light.extinction
        table[[shading.CAM_X, shading.CAM_Y, shading.CAM_Z]] = camera.transform[:3]
        table[[shading.MAP_X, shading.MAP_Y]] = corner
        table[shading.MAP_SCALE] = MAP_SCALE
        table[shading.WET] = light.wet
        table[shading.GLOW_GAIN] = light.night
        sunlit = np.zeros((2, MAP_CELLS, MAP_CELLS), np.float32)
        sunlit[0] = 1.0
        return table, sunlit

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
