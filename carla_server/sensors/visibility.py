"""What is visible from a point: the town's triangles and the actors', culled, drawn, and named per pixel."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server import store
from carla_server.map import RoadMap
from carla_server.sensors import shading
from carla_server.sensors.actors import ActorDraws, Bodies, TriangleTables, actor_draws, signal_lamp
from carla_server.sensors.fixtures import light_head
from carla_server.sensors.ground import GroundImage, draw_ground
from carla_server.sensors.raster import JIT, LANES, NO_TRIANGLE, rasterize
from carla_server.sensors.scenery import Chunks, chunked, is_flat, lane_meshes, terrain_mesh
from carla_server.sensors.town import Placement, Town, build_town, placed_parts
from carla_server.sensors.views import ActorView

Array = NDArray[np.float64]

NEAR = 0.05  # metres; closer surfaces are cut away
ACTOR_REACH = 400.0  # metres
SIGNAL_REACH = 220.0  # metres
ROAD_REACH, WALL_REACH = 450.0, 130.0  # metres
LEVEL = np.eye(3, dtype=np.float32).reshape(9)
FIRST_TABLE = 1 << 15  # triangles; the tables double when a view has more


@dataclass(frozen=True, eq=False)
class View:
    """A pinhole looking at the world.

    Attributes:
        matrix: (3, 4) from the world to the camera frame.
        eye: (3,) where it stands in the world, metres.
        width, height: Pixels.
        focal: Pixels.
        far: Metres along the axis.
    """

    matrix: Array
    eye: Array
    width: int
    height: int
    focal: float
    far: float

    def holds(self, middles: Array, radii: Array) -> NDArray[np.bool_]:
        """Which balls (N, 3), (N,), metres, reach into the field of view."""
        at = middles @ self.matrix[:, :3].T + self.matrix[:, 3]
        inside = (at[:, 0] + radii > NEAR) & (at[:, 0] - radii < self.far)
        for axis, pixels in ((1, self.width), (2, self.height)):
            slope = pixels / (2 * self.focal)
            inside &= np.abs(at[:, axis]) - slope * at[:, 0] < radii * math.hypot(1.0, slope)
        return inside


@dataclass(eq=False)
class ViewDraws:
    """What is drawn in one view, one row per triangle range; see `rasterize` and `shade`."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    mats: NDArray[np.float32]
    rots: NDArray[np.float32]
    tints: NDArray[np.float32]
    emits: NDArray[np.uint32]
    tags: NDArray[np.uint8]
    instances: NDArray[np.int32]


class Buffers(threading.local):
    """Working memory of one thread, kept between views."""

    def __init__(self) -> None:
        self.size = 0
        self.zbuf = np.empty(0, np.float32)
        self.ibuf = np.empty(0, np.int32)
        self.grow(FIRST_TABLE)

    def grow(self, rows: int) -> None:
        """Make room for so many drawn triangles."""
        self.src = np.empty(rows, np.int32)
        self.drw = np.empty(rows, np.int32)
        self.plane = np.empty((rows, 3), np.float32)
        self.room = shading.scratch(rows)

    def clear(self, size: int, far: float) -> None:
        """Begin a view of so many pixels."""
        if self.size != size:
            self.size = size
            self.zbuf = np.empty(size + LANES, np.float32)
            self.ibuf = np.empty(size + LANES, np.int32)
        self.zbuf.fill(1.0 / far)
        self.ibuf.fill(NO_TRIANGLE)


@dataclass(eq=False)
class Seen:
    """A drawn view. Valid until the same thread draws another one.

    Attributes:
        view: What was asked.
        draws: What was drawn.
        zbuf, ibuf: Per pixel inverse depth and row in the tables below; `LANES` more behind the picture mean nothing.
        src, drw, plane: Per row: triangle, draw, inverse depth plane.
        room: Working memory of `shade`.
    """

    view: View
    draws: ViewDraws
    zbuf: NDArray[np.float32]
    ibuf: NDArray[np.int32]
    src: NDArray[np.int32]
    drw: NDArray[np.int32]
    plane: NDArray[np.float32]
    room: tuple[NDArray[Any], ...]


@dataclass(eq=False)
class BuiltTown:
    """What never changes in a town.

    Attributes:
        town: What stands in it; its meshes are in the chunks.
        ground: Image of the ground.
        chunks: All triangles.
    """

    town: Town
    ground: GroundImage
    chunks: Chunks


def build(road_map: RoadMap) -> BuiltTown:
    """Build and draw a town. Takes seconds."""
    town, ground = build_town(road_map), draw_ground(road_map)
    lanes, walls = lane_meshes(road_map)
    walls_reach = WALL_REACH if is_flat(road_map) else ROAD_REACH
    parts = [(lanes, Placement(reach=ROAD_REACH)), (walls, Placement(reach=walls_reach))]
    parts.append((terrain_mesh(road_map), Placement()))
    chunks = chunked([row for row in (*parts, *placed_parts(town)) if len(row[0])])
    town.placements.clear()
    return BuiltTown(town, ground, chunks)


@njit(**JIT)
def _chunks_in_view(center, radius, pivot, first, reach, night, matrix, eye, far, slopes, dark, found, away):
    """Chunks in the field of view, as `View.holds` tells, and within their reach: into `found`; their distances into `away`.

    Returns how many.
    """
    side, rise = slopes
    wide, tall = np.sqrt(1.0 + side * side), np.sqrt(1.0 + rise * rise)
    count = 0
    for k in range(radius.size):
        dx, dy = pivot[k, 0] - eye[0], pivot[k, 1] - eye[1]
        distance = np.sqrt(dx * dx + dy * dy)
        if distance < first[k] or distance >= reach[k] or (night[k] and not dark):
            continue
        x, y, z, r = center[k, 0], center[k, 1], center[k, 2], radius[k]
        ahead = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
        if ahead + r <= NEAR or ahead - r >= far:
            continue
        right = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
        up = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
        if abs(right) - side * ahead < r * wide and abs(up) - rise * ahead < r * tall:
            found[count], away[count] = k, distance
            count += 1
    return count


class Stage:
    """The town and its cast of shapes."""

    def __init__(self, road_map: RoadMap) -> None:
        built = store.kept(road_map.name, road_map.xodr, lambda: build(road_map)) if road_map.xodr else build(road_map)
        self.town, self.ground, self.chunks = built.town, built.ground, built.chunks
        self.tables = TriangleTables(self.chunks.shape)
        self._head = self.tables.add_mesh(light_head())
        self._head_points = np.array([head.matrix[:, 3] for head in self.town.heads]).reshape(-1, 3)
        self._buffers = Buffers()

    def gather(
        self,
        eye: Array,
        reach: float,
        actors: Sequence[ActorView],
        bodies: Bodies,
        time_s: float,
        view: View | None = None,
    ) -> ActorDraws:
        """Everything that moves or changes and may be seen from a point; with a view, by that view."""
        sees = None if view is None else view.holds
        rows = actor_draws(self.tables, bodies, eye, min(reach, ACTOR_REACH), time_s, sees)
        states = {actor.signal_id: actor for actor in actors if actor.signal_id}
        at = self._head_points
        shown = np.linalg.norm(at - eye, axis=1) < min(reach, SIGNAL_REACH)
        if view is not None:
            shown &= view.holds(at, np.ones(len(at)))
        mats = []
        for k in np.flatnonzero(shown).tolist():
            head = self.town.heads[k]
            actor = states.get(head.signal_id)
            rows.ranges.append(self._head)
            mats.append(head.matrix)
            rows.tints.append((1.0, 1.0, 1.0))
            rows.emits.append(0 if actor is None else signal_lamp(actor.lamp))
            rows.instances.append(head.object_id if actor is None else actor.id)
        rows.mats = np.concatenate([rows.mats, np.array(mats).reshape(-1, 3, 4)])
        return rows

    def see(self, view: View, rows: ActorDraws, dark: bool) -> Seen:
        """Draw a view."""
        draws = self._view_draws(view, rows, dark)
        buffers = self._buffers
        columns = self.tables.columns
        while True:
            buffers.clear(view.width * view.height, view.far)
            used = rasterize(
                self.tables.wide,
                columns[4],
                draws.starts,
                draws.ends,
                draws.mats,
                view.width,
                view.height,
                view.focal,
                NEAR,
                buffers.zbuf,
                buffers.ibuf,
                buffers.src,
                buffers.drw,
                buffers.plane,
            )
            if used >= 0:
                break
            buffers.grow(2 * len(buffers.src))
        return Seen(
            *(view, draws, buffers.zbuf, buffers.ibuf),
            *(buffers.src[:used], buffers.drw[:used], buffers.plane[:used], buffers.room),
        )

    def _view_draws(self, view: View, rows: ActorDraws, dark: bool) -> ViewDraws:
        seen = self._seen_chunks(view, dark)
        count = len(seen)
        turn, shift = view.matrix[:, :3], view.matrix[:, 3]
        world = rows.mats
        to_camera = turn @ world
        to_camera[:, :, 3] += shift
        ranges = np.array(rows.ranges, np.int64).reshape(-1, 2)
        moving = len(ranges)
        every = moving + count
        # Actors first: they are near, and what they hide is then rejected early.
        draws = ViewDraws(
            starts=np.empty(every, np.int64),
            ends=np.empty(every, np.int64),
            mats=np.empty((every, 12), np.float32),
            rots=np.empty((every, 9), np.float32),
            tints=np.empty((every, 3), np.float32),
            emits=np.zeros(every, np.uint32),
            tags=np.zeros(every, np.uint8),
            instances=np.zeros(every, np.int32),
        )
        draws.starts[:moving], draws.starts[moving:] = ranges[:, 0], self.chunks.starts[seen]
        draws.ends[:moving], draws.ends[moving:] = ranges[:, 1], self.chunks.ends[seen]
        draws.mats[:moving], draws.mats[moving:] = to_camera.reshape(-1, 12), view.matrix.reshape(12)
        draws.rots[:moving], draws.rots[moving:] = world[:, :, :3].reshape(-1, 9), LEVEL
        draws.tints[:moving], draws.tints[moving:] = np.array(rows.tints).reshape(-1, 3), 1.0
        draws.emits[:moving], draws.instances[:moving] = rows.emits, rows.instances
        return draws

    def _seen_chunks(self, view: View, dark: bool) -> NDArray[np.int64]:
        """Chunks in the field of view and within their reach, nearest first."""
        chunks = self.chunks
        found, away = np.empty(len(chunks.radius), np.int64), np.empty(len(chunks.radius))
        slopes = view.width / (2 * view.focal), view.height / (2 * view.focal)
        balls = (chunks.center, chunks.radius, chunks.pivot, chunks.first, chunks.reach, chunks.night)
        count = _chunks_in_view(*balls, view.matrix, view.eye, view.far, slopes, dark, found, away)
        return found[:count][np.argsort(away[:count], kind="stable")]
