"""From actor views to draws: which shape an actor has, how its limbs stand, which of its lamps shine."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.meshes import Mesh
from carla_server.sensors.people import walker_shape
from carla_server.sensors.poses import affines
from carla_server.sensors.props import prop_shape
from carla_server.sensors.shapes import Joint, Lamp, Shape, linear
from carla_server.sensors.vehicles import vehicle_shape
from carla_server.sensors.views import ActorView, LampState, Light

Array = NDArray[np.float64]
Sees = Callable[[Array, Array], NDArray[np.bool_]]

ROOM = 1 << 16  # triangles kept free for shapes to come
BOX_SLACK = 1.0  # metres that opened doors and limbs may reach beyond a box
NEAR_SHAPE = 40.0  # metres up to which an actor shows all its limbs
BLINK_HZ = 1.5
FLASH_HZ = 2.5
DOOR_ANGLE_DEG = 65.0
STRIDE = 0.75  # metres per step of an adult of 1.75 m
SHAPED = ("vehicle.", "walker.", "static.prop.")

_LAMPS = (
    (Light.BRAKE, Lamp.BRAKE),
    (Light.POSITION, Lamp.TAIL),
    (Light.LOW_BEAM, Lamp.HEAD),
    (Light.LOW_BEAM, Lamp.TAIL),
    (Light.HIGH_BEAM, Lamp.HEAD),
    (Light.REVERSE, Lamp.REVERSE),
)
_SIGNAL_LAMPS = {
    LampState.RED: 1 << Lamp.SIGNAL_RED,
    LampState.YELLOW: 1 << Lamp.SIGNAL_YELLOW,
    LampState.GREEN: 1 << Lamp.SIGNAL_GREEN,
}
_STILL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_DOOR_BITS = {Joint.DOOR_FL: 1, Joint.DOOR_FR: 2, Joint.DOOR_RL: 4, Joint.DOOR_RR: 8}


def lit_lamps(actor: ActorView, time_s: float) -> int:
    """Bits of the `Lamp`s that shine at a moment; indicators blink, special lights flash in turn."""
    bits = 0
    for light, lamp in _LAMPS:
        if actor.lights & light:
            bits |= 1 << lamp
    if (time_s * BLINK_HZ) % 1.0 < 0.5:
        bits |= (1 << Lamp.LEFT) if actor.lights & Light.LEFT_BLINKER else 0
        bits |= (1 << Lamp.RIGHT) if actor.lights & Light.RIGHT_BLINKER else 0
        if actor.type_id.startswith("static."):
            bits |= 1 << Lamp.LEFT
    if actor.lights & (Light.SPECIAL1 | Light.SPECIAL2):
        bits |= 1 << (Lamp.BLUE if (time_s * FLASH_HZ) % 1.0 < 0.5 else Lamp.RED)
    return bits


def signal_lamp(state: int) -> int:
    """Bits of the lamps of a traffic light in a state."""
    return _SIGNAL_LAMPS.get(LampState(state), 0)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A shape whose triangles are in the tables.

    Attributes:
        limbs: (joint, pivot, first, end) of each limb.
        far: (first, end) of the rigid mesh.
        tint: Paint without a colour attribute.
    """

    limbs: tuple[tuple[Joint, tuple[float, float, float], int, int], ...]
    far: tuple[int, int]
    tint: tuple[float, float, float]


class TriangleTables:
    """All triangles of a scene as the kernels read them; shapes are added when an actor first needs them.

    Rows are only ever appended, into room left at the end, so a view that is being drawn keeps valid tables while
    another thread adds a shape.

    Attributes:
        mesh: All triangles; rows from `used` on are room.
        normals: (T, 3) unit outside normals.
        wide: (9, T) corners, one row per coordinate.
        columns: What `shade` takes: (pos, nrm, rgb, kind, flags, part, tex, uv).
    """

    normals: NDArray[np.float32]
    wide: NDArray[np.float32]

    def __init__(self, scenery: Mesh) -> None:
        self._lock = threading.Lock()
        self._shapes: dict[tuple[str, tuple[float, float, float]], _Placed] = {}
        self._used = 0
        self._reserve(scenery, len(scenery) + ROOM)
        self.add_mesh(scenery)

    def _reserve(self, rows: Mesh, count: int) -> None:
        """New tables of `count` rows that begin with the used rows of the present ones."""
        room: dict[str, np.ndarray] = {}
        for name, column in vars(rows).items():
            room[name] = np.zeros((count, *column.shape[1:]), column.dtype)
            room[name][: self._used] = column[: self._used]
        normals, wide = np.zeros((count, 3), np.float32), np.zeros((9, count), np.float32)
        if self._used:
            normals[: self._used] = self.normals[: self._used]
            wide[:, : self._used] = self.wide[:, : self._used]
        self.mesh, self.normals = Mesh(**room), normals
        pos, uv = self.mesh.pos.reshape(-1, 9), self.mesh.uv.reshape(-1, 6)
        more = (self.mesh.rgb, self.mesh.kind, self.mesh.flags, self.mesh.part, self.mesh.tex)
        self.wide = wide
        self.columns = (pos, normals, *more, uv)

    def add_mesh(self, shape: Mesh) -> tuple[int, int]:
        """Append a mesh; returns its (first, end) rows."""
        first, end = self._used, self._used + len(shape)
        if end > len(self.mesh):
            self._reserve(self.mesh, 2 * end)
        for name, column in vars(shape).items():
            getattr(self.mesh, name)[first:end] = column
        self.normals[first:end] = shape.normals
        self.wide[:, first:end] = shape.pos.reshape(-1, 9).T
        self._used = end
        return first, end

    def placed(self, actor: ActorView) -> _Placed:
        """The actor's shape, built on first use."""
        key = (actor.type_id, actor.extent)
        found = self._shapes.get(key)
        if found is None:
            with self._lock:
                found = self._shapes.get(key)
                if found is None:
                    found = self._add(_shape_of(actor))
                    self._shapes[key] = found
        return found

    def _add(self, shape: Shape) -> _Placed:
        limbs = tuple((limb.joint, limb.pivot, *self.add_mesh(limb.shape)) for limb in shape.near)
        return _Placed(limbs, self.add_mesh(shape.far), shape.tint)


def _shape_of(actor: ActorView) -> Shape:
    x, y, z = (max(size, 0.02) for size in actor.extent)
    extent = (x, y, z)
    if actor.type_id.startswith("vehicle."):
        return vehicle_shape(actor.type_id, actor.attributes.get("base_type", ""), extent)
    if actor.type_id.startswith("walker."):
        return walker_shape(actor.type_id, extent, actor.attributes.get("age") == "child")
    return prop_shape(actor.type_id, extent)


class Bodies:
    """Actors that have a shape, and where they are as arrays.

    Attributes:
        actors: These actors, in order.
        poses: (N, 6) world poses, metres and degrees.
        extents, centers: (N, 3) half sizes and middles of their boxes, metres.
    """

    def __init__(self, actors: Sequence[ActorView]) -> None:
        self.actors = [actor for actor in actors if actor.type_id.startswith(SHAPED)]
        rows = np.array([(*actor.transform, *actor.extent, *actor.center) for actor in self.actors]).reshape(-1, 12)
        self.poses, self.extents, self.centers = rows[:, :6], rows[:, 6:9], rows[:, 9:]


@dataclass(eq=False)
class ActorDraws:
    """Rows of what is drawn in one view, still in world coordinates.

    Attributes:
        ranges: (first, end) triangle rows.
        mats: (3, 4) local to world.
        tints: Paint, linear.
        emits: Bits of lit lamps.
        instances: Actor ids.
    """

    ranges: list[tuple[int, int]]
    mats: Array
    tints: list[tuple[float, float, float]]
    emits: list[int]
    instances: list[int]


def actor_draws(
    tables: TriangleTables, bodies: Bodies, eye: Array, reach: float, time_s: float, sees: Sees | None
) -> ActorDraws:
    """Draws of all actors that have a shape and may be seen.

    Args:
        tables: Where shapes are kept.
        bodies: Everyone with a shape.
        eye: (3,) where they are seen from, metres.
        reach: Metres.
        time_s: Simulated time, for gait and blinking.
        sees: Tells which of (N, 3) middles with (N,) radii are in view; all if None.
    """
    shown, poses = bodies.actors, bodies.poses
    if not shown:
        return ActorDraws([], np.zeros((0, 3, 4)), [], [], [])
    radius = np.linalg.norm(bodies.extents, axis=1) + BOX_SLACK
    distance = np.linalg.norm(poses[:, :3] - eye, axis=1)
    near = distance - radius < reach
    if sees is not None:
        near &= sees(poses[:, :3] + bodies.centers, radius)
    rows = np.flatnonzero(near).tolist()
    world = affines(poses[rows])
    draws = ActorDraws([], np.zeros((0, 3, 4)), [], [], [])
    owner: list[int] = []
    local: list[tuple[float, ...]] = []
    for k, row in enumerate(rows):
        _limb_draws(
            tables.placed(shown[row]), shown[row], bool(distance[row] < NEAR_SHAPE), k, time_s, draws, owner, local
        )
    outer, inner = world[owner], np.array(local).reshape(-1, 3, 4)
    draws.mats = outer[:, :, :3] @ inner
    draws.mats[:, :, 3] += outer[:, :, 3]
    return draws


def _limb_draws(
    placed: _Placed,
    actor: ActorView,
    near: bool,
    number: int,
    time_s: float,
    draws: ActorDraws,
    owner: list[int],
    local: list[tuple[float, ...]],
) -> None:
    """Append an actor's limbs, or its far mesh; `owner` and `local` say whose they are and how they stand."""
    # Shapes stand on z = 0 (vehicles, props) or around the origin (walkers); the box's centre says where that is.
    lift = 0.0 if actor.type_id.startswith("walker.") else actor.center[2] - actor.extent[2]
    ahead, right = actor.center[:2]
    tint = _paint(actor.attributes.get("color", "")) or placed.tint
    emits = lit_lamps(actor, time_s)
    limbs = placed.limbs if near else ((Joint.FIXED, (0.0, 0.0, 0.0), *placed.far),)
    for joint, pivot, first, end in limbs:
        stand = _stand(actor, joint, pivot, time_s)
        if stand is None:
            continue
        a, b, c, x, d, e, f, y, g, h, i, z = stand
        owner.append(number)
        local.append((a, b, c, x + ahead, d, e, f, y + right, g, h, i, z + lift))
        draws.ranges.append((first, end))
        draws.tints.append(tint)
        draws.emits.append(emits)
        draws.instances.append(actor.id)


@functools.lru_cache(maxsize=512)
def _paint(text: str) -> tuple[float, float, float] | None:
    """Linear light of a colour attribute; None if there is none to read."""
    try:
        r, g, b = (int(min(max(float(part), 0.0), 255.0)) for part in text.split(","))
    except ValueError:
        return None
    return linear((r, g, b))


def _stand(
    actor: ActorView, joint: Joint, pivot: tuple[float, float, float], time_s: float
) -> tuple[float, ...] | None:
    """(3, 4) from a limb's frame to the actor's, row by row; None for a limb that is not shown.

    A limb turns about the y axis, then about the z axis. The numbers are few: plain floats take a tenth of the time of arrays.
    """
    if joint == Joint.FIXED:
        return _STILL
    about_y = about_z = 0.0
    if joint in (Joint.ROLL, Joint.STEER):
        about_y = math.radians(actor.wheel_angle_deg)
        if joint == Joint.STEER:
            about_z = math.radians(actor.steer_deg)
    elif joint in _DOOR_BITS:
        if not actor.open_doors & _DOOR_BITS[joint]:
            return None
        # A leaf hangs behind its hinge and swings away from the car.
        side = 1.0 if joint in (Joint.DOOR_FR, Joint.DOOR_RR) else -1.0
        about_z = -side * math.radians(DOOR_ANGLE_DEG)
    else:
        about_y = _gait(actor, joint, time_s)
    (cy, sy), (cz, sz) = (math.cos(about_y), math.sin(about_y)), (math.cos(about_z), math.sin(about_z))
    x, y, z = pivot
    return (cz * cy, -sz, cz * sy, x, sz * cy, cz, sz * sy, y, -sy, 0.0, cy, z)


def _gait(actor: ActorView, joint: Joint, time_s: float) -> float:
    """Swing of an arm or leg, radians: step length grows with the speed, opposite limbs swing together."""
    speed = math.hypot(actor.velocity[0], actor.velocity[1])
    if speed < 0.05:
        return 0.0
    swing = min(0.25 + 0.22 * speed, 0.95)
    phase = time_s * speed / STRIDE * math.pi + actor.id
    sign = 1.0 if joint in (Joint.LEFT_LEG, Joint.RIGHT_ARM) else -1.0
    strength = 1.0 if joint in (Joint.LEFT_LEG, Joint.RIGHT_LEG) else 0.75
    return sign * strength * swing * math.sin(phase)
