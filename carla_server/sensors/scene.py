"""The visible world: a town's scenery plus the actors of the moment, seen by cameras and rays."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap
from carla_server.sensors import shading
from carla_server.sensors.actors import Bodies
from carla_server.sensors.atlas import atlas
from carla_server.sensors.ground import texel_tags
from carla_server.sensors.lights import SCALE, LightMaps, actor_casters, light_maps, town_casters
from carla_server.sensors.poses import rotation, world_to_camera
from carla_server.sensors.rays import Face, faces_for, reach_face, sample_face
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
from carla_server.sensors.visibility import Seen, Stage, View
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

MAP_REACH = 130.0  # metres around the camera within which actors throw shadows and light
SLOW_COMPILE = 5.0  # seconds from which compiling is worth a message
LAMP_COLOR = (1.0, 0.86, 0.62)


class Scene:
    """Scenery of one town, ready to be seen. Holds nothing that changes with time, so threads may share it.

    Attributes:
        road_map: The town's road network.
        environment_objects: What stands in the town and never moves, with the boxes of what is drawn.
    """

    def __init__(self, road_map: RoadMap) -> None:
        self.road_map = road_map
        self._stage = Stage(road_map)
        self._atlas, self._specs = atlas()
        self._casters = town_casters(self._stage.town)
        self.environment_objects: tuple[EnvironmentObject, ...] = tuple(self._stage.town.objects)
        self._compile()

    def _compile(self) -> None:
        """Run every kernel once, so that none is compiled in the middle of a drive."""
        begun = time.perf_counter()
        self.render(CameraSpec(8, 8, 90.0, (0.0, 0.0, 2.0, 0.0, 0.0, 0.0)), (), WeatherView())
        pose, ray = (0.0, 0.0, 2.0, 0.0, 0.0, 0.0), np.array([[1.0, 0.0, 0.0]], np.float32)
        self.cast(pose, ray, (), 10.0)
        self.reach(pose, 1, faces_for(ray), (), 10.0)
        seconds = time.perf_counter() - begun
        if seconds > SLOW_COMPILE:
            print(
                f"compiled the sensors' kernels in {seconds:.0f} s; the next start finds them on disk", file=sys.stderr
            )

    def render(
        self,
        camera: CameraSpec,
        actors: Sequence[ActorView],
        weather: WeatherView,
        time_s: float = 0.0,
        room: NDArray[np.uint32] | None = None,
        done: Callable[[str], None] = lambda part: None,
    ) -> Frame:
        """Draw what the camera sees. Same arguments, same pixels.

        Args:
            camera: From where, and what.
            actors: Everything that moves.
            weather: Present weather.
            time_s: Simulated time.
            room: (width * height + LANES,) memory of the picture, for callers that keep it; `Frame.bgra` then is a view of it.
            done: Told the name of each part of the work when it is done, for those who measure.
        """
        light = lighting(weather)
        eye = np.array(camera.transform[:3])
        focal = camera.width / (2.0 * math.tan(math.radians(camera.fov_deg) / 2))
        view = View(world_to_camera(camera.transform), eye, camera.width, camera.height, focal, camera.far)
        bodies = Bodies(actors)
        rows = self._stage.gather(eye, camera.far, actors, bodies, time_s, view)
        done("placing actors")
        seen = self._stage.see(view, rows, light.night > 0.3)
        done("finding what is visible")
        casters = actor_casters(bodies, eye, MAP_REACH, light.night > 0.05)
        maps = light_maps(eye, view.matrix[0, :3], light, self._casters, casters)
        table = _light_table(view, light, maps, time_s)
        done("light and shadows")
        frame = Frame()
        if "bgra" in camera.outputs:
            size = camera.width * camera.height
            pixels = np.empty(size + shading.LANES, np.uint32) if room is None else room
            self._shade(seen, light, table, maps.fields, pixels)
            frame.bgra = pixels[:size].view(np.uint8).reshape(camera.height, camera.width, 4)
            done("colouring pixels")
        self._resolve(camera, seen, table, frame)
        return frame

    def _shade(
        self,
        seen: Seen,
        light: Lighting,
        table: NDArray[np.float32],
        sunlit: NDArray[np.float32],
        pixels: NDArray[np.uint32],
    ) -> None:
        view, draws, ground = seen.view, seen.draws, self._stage.ground
        shading.shade(
            (seen.ibuf, seen.src, seen.drw, seen.plane),
            view.width,
            view.height,
            view.focal,
            self._stage.tables.columns,
            (draws.mats, draws.rots, draws.tints, draws.emits),
            table,
            light.dome,
            (ground.texels, ground.levels, light.palette),
            (self._atlas, self._specs),
            sunlit,
            seen.room,
            pixels,
        )

    def _resolve(self, camera: CameraSpec, seen: Seen, table: NDArray[np.float32], frame: Frame) -> None:
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
        mesh = self._stage.tables.mesh
        shading.resolve(
            seen.zbuf[: camera.width * camera.height],
            seen.ibuf[: camera.width * camera.height],
            camera.width,
            seen.view.focal,
            table,
            seen.src,
            seen.drw,
            mesh.kind,
            mesh.tex,
            mesh.tag,
            mesh.instance,
            seen.draws.tags,
            seen.draws.instances,
            (self._stage.ground.texels, self._stage.ground.levels),
            texel_tags(),
            (
                np.empty(0, np.float32) if frame.depth is None else frame.depth.reshape(-1),
                np.empty(0, np.uint8) if frame.tag is None else frame.tag.reshape(-1),
                np.empty(0, np.int32) if frame.instance is None else frame.instance.reshape(-1),
            ),
        )

    def cast(
        self,
        pose: Pose,
        directions: NDArray[np.float32],
        actors: Sequence[ActorView],
        max_range: float,
        time_s: float = 0.0,
        faces: Sequence[Face] | None = None,
    ) -> RayHits:
        """Cast rays from one point.

        What a ray can see is decided on images of a quarter degree per pixel; the distance is then exact for that ray
        on the surface it meets.

        Args:
            pose: World pose of the caster.
            directions: (N, 3) unit vectors in the caster's frame.
            actors: As for `render`.
            max_range: Metres along a ray beyond which nothing is hit.
            time_s: Simulated time; walkers' limbs move with it.
            faces: Views that hold the rays, `faces_for(directions)`, for callers that keep them.
        """
        count = len(directions)
        hits = RayHits(
            np.full(count, np.inf, np.float32),
            np.zeros(count, np.uint8),
            np.zeros(count, np.int32),
            np.zeros(count, np.float32),
        )
        stage = self._stage
        faces = faces_for(directions) if faces is None else faces
        for face, seen in self._looks(pose, faces, actors, max_range, time_s):
            sample_face(seen, face, stage.tables.mesh, stage.ground, max_range, hits)
        return hits

    def reach(
        self,
        pose: Pose,
        count: int,
        faces: Sequence[Face],
        actors: Sequence[ActorView],
        max_range: float,
        time_s: float = 0.0,
    ) -> NDArray[np.float32]:
        """(N,) distances of `cast` alone for N = `count` rays, in a fraction of the time."""
        distance = np.full(count, np.inf, np.float32)
        for face, seen in self._looks(pose, faces, actors, max_range, time_s):
            reach_face(seen, face, max_range, distance)
        return distance

    def _looks(
        self, pose: Pose, faces: Sequence[Face], actors: Sequence[ActorView], max_range: float, time_s: float
    ) -> Iterator[tuple[Face, Seen]]:
        """Draw what each face sees from a pose; a drawn view is valid until the next one."""
        eye, turn = np.array(pose[:3]), rotation(*pose[3:])
        rows = self._stage.gather(eye, max_range, actors, Bodies(actors), time_s)
        for face in faces:
            to_world = turn @ face.to_body
            matrix = np.concatenate([to_world.T, -(to_world.T @ eye)[:, None]], axis=1)
            view = View(matrix, eye, face.width, face.height, face.focal, max_range)
            yield face, self._stage.see(view, rows, False)


def _light_table(view: View, light: Lighting, maps: LightMaps, time_s: float) -> NDArray[np.float32]:
    """The kernels' light vector."""
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
        (shading.TO_WORLD, view.matrix[:, :3].T.reshape(9)),
    ):
        table[at : at + len(value)] = value
    table[shading.FOG] = light.extinction
    table[[shading.CAM_X, shading.CAM_Y, shading.CAM_Z]] = view.eye
    table[[shading.MAP_X, shading.MAP_Y]] = maps.corner
    table[shading.MAP_SCALE] = SCALE
    table[shading.MAPPED] = maps.used
    table[shading.LAMPED] = light.night > 0.05
    table[shading.WET] = light.wet
    table[shading.GLOW_GAIN] = light.night
    table[shading.RAIN] = light.rain
    table[shading.WIND] = 0.35 * light.wind
    table[shading.MOMENT] = round(time_s * 100) % (1 << 20)
    return table
