"""Kerbs: what happens to a vehicle one of whose wheels runs up a step.

A wheel of radius `R` that rolls against a step of height `h` turns about the step's edge. What of its velocity points at
the edge is lost, so of its speed `v` across the kerb the share ``1 - h / R`` is left, directed up the edge. A wheel carries
a quarter of the vehicle: it takes ``h / R / 4`` of its speed across the kerb from the vehicle, and turns it about its middle
by the same impulse. Speed along the kerb is not touched, and going down costs nothing. That much is less than an inelastic
impact at the wheel would take, so no blow adds energy.

CARLA reports such a blow as a collision with ``static.sidewalk``; the leaderboard's criteria know and do not count it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.map import RoadMap, lookup, nearest
from carla_server.world.contacts import note
from carla_server.world.motion import set_velocity
from carla_server.world.state import (
    HALF_X,
    HALF_Y,
    MASS,
    SETTLED,
    SPIN,
    TRAIL_X,
    TRAIL_Y,
    TRAIL_YAW,
    WHEELBASE,
    YAW,
    Floats,
    X,
    Y,
    Z,
)

#: Radius of a wheel and share of the vehicle's mass that it carries, metres.
WHEEL_RADIUS, WHEEL_SHARE = 0.35, 0.25
#: Wheels stand so far from the middle, as a share of half the vehicle's width.
TRACK_SHARE = 0.8
#: Steps between these heights are kerbs; higher ones are walls or other levels, metres.
LEAST_STEP, HIGHEST_STEP = 0.06, 0.35
#: Heights on both sides of a border are compared this far from it; twins nearer than this are one kerb, metres.
BESIDE, TWIN = 0.15, 0.3
#: Kerbs are lowered this far around a crosswalk, metres.
LOWERED = 1.0
#: Edge of the cells that kerbs are sorted into, and how far around them they are noted, metres.
CELL, AROUND = 4.0, 1.0
#: Who moved farther than this in a tick was put somewhere, metres; a vehicle this far above or below a kerb misses it.
JUMP, LEVEL = 3.0, 1.0
#: Whoever meets a kerb faster than this across it feels a collision, m/s.
FELT = 1.0
#: Columns of a kerb: start x, y; unit vector along x, y; length; height of its foot; step. Its high side is on the right
#: of the direction along (CARLA's frame: x to y).
COLUMNS = 7


class Kerbs:
    """Kerbs of a town.

    Args:
        road_map: The town.

    Attributes:
        lines: (K, 7) rows as `COLUMNS` describes.
    """

    def __init__(self, road_map: RoadMap) -> None:
        self.lines = _lines(road_map)
        self.low: Floats = np.zeros(2)
        self.shape: tuple[int, int] = (0, 0)
        self.starts: NDArray[np.int64] = np.zeros(1, np.int64)
        self.members: NDArray[np.int64] = np.zeros(0, np.int64)
        if len(self.lines):
            self._sort()

    @property
    def table(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], Floats, tuple[int, int]]:
        """What `strike` takes."""
        return self.lines, self.starts, self.members, self.low, self.shape

    def _sort(self) -> None:
        ends = self.lines[:, :2] + self.lines[:, 2:4] * self.lines[:, 4:5]
        low = np.minimum(self.lines[:, :2], ends) - AROUND
        high = np.maximum(self.lines[:, :2], ends) + AROUND
        self.low = low.min(axis=0)
        shape = np.floor((high.max(axis=0) - self.low) / CELL).astype(int) + 1
        self.shape = (int(shape[0]), int(shape[1]))
        first, last = (((edge - self.low) // CELL).astype(np.int64) for edge in (low, high))
        self.starts, self.members = lookup.sort_into_cells(first, last, self.shape)


def _lines(road_map: RoadMap) -> Floats:
    """Kerbs of a town: pieces of lane borders on whose two sides the ground lies at different heights."""
    pieces = []
    for lane in road_map.lanes:
        if lane.height > 0.0 or lane.junction >= 0:
            for border in (lane.inner, lane.outer):
                pieces.append(np.concatenate((border[:-1], border[1:]), axis=1))
    if not pieces:
        return np.empty((0, COLUMNS))
    ends = np.concatenate(pieces)
    along = ends[:, 3:5] - ends[:, :2]
    length = np.hypot(*along.T)
    ends, along, length = (rows[length > 0.05] for rows in (ends, along, length))
    along = along / length[:, None]
    middle = (ends[:, :3] + ends[:, 3:]) / 2.0
    right = np.stack((-along[:, 1], along[:, 0], np.zeros(len(along))), axis=1)
    sides = [road_map.ground_heights(middle + sign * BESIDE * right) for sign in (-1.0, 1.0)]
    step = sides[1] - sides[0]
    found = (np.abs(step) > LEAST_STEP) & (np.abs(step) < HIGHEST_STEP) & ~_lowered(road_map, middle[:, :2])
    turned = np.where(step > 0.0, 1.0, -1.0)
    start = np.where(step[:, None] > 0.0, ends[:, :2], ends[:, 3:5])
    foot = np.fmin(*sides)
    lines = np.column_stack((start, along * turned[:, None], length, foot, np.abs(step)))[found]
    return _without_twins(lines)


def _lowered(road_map: RoadMap, places: Floats) -> NDArray[np.bool_]:
    """Which places (N, 2) lie where a crosswalk lowers the kerb."""
    near = np.zeros(len(places), np.bool_)
    for crosswalk in road_map.crosswalks:
        low, high = crosswalk.polygon[:, :2].min(axis=0) - LOWERED, crosswalk.polygon[:, :2].max(axis=0) + LOWERED
        near |= ((places > low) & (places < high)).all(axis=1)
    return near


def _without_twins(lines: Floats) -> Floats:
    """Kerbs without those that a longer one beside them stands for: lanes share borders, and those of roads overlap."""
    if len(lines) == 0:
        return lines
    lines = lines[np.argsort(-lines[:, 4], kind="stable")]
    counts = np.ceil(lines[:, 4] / TWIN).astype(int) + 1
    owner = np.repeat(np.arange(len(lines)), counts)
    share = np.concatenate([np.linspace(0.0, 1.0, count) for count in counts.tolist()])
    points = lines[owner, :2] + lines[owner, 2:4] * (share * lines[owner, 4])[:, None]
    middle = lines[:, :2] + lines[:, 2:4] * lines[:, 4:5] / 2.0
    kept = np.ones(len(lines), np.bool_)
    for kerb, near in enumerate(nearest.tree(points).query_ball_point(middle, TWIN)):
        longer = np.unique(owner[near])
        longer = longer[(longer < kerb) & kept[longer]]
        kept[kerb] = not (lines[longer, 2:4] @ lines[kerb, 2:4] > 0.9).any()
    return lines[kept]


@njit(cache=True)
def crossed(lines, starts, members, low, shape, z, x0, y0, x1, y1):
    """Kerb that a wheel ran up on its way from (x0, y0) to (x1, y1), -1 if none; `z` is the vehicle's height."""
    gx, gy = (0.5 * (x0 + x1) - low[0]) / CELL, (0.5 * (y0 + y1) - low[1]) / CELL
    if not (gx >= 0.0 and gy >= 0.0 and gx < shape[0] and gy < shape[1]):
        return -1
    cell = int(gx) * shape[1] + int(gy)
    for k in range(starts[cell], starts[cell + 1]):
        kerb = members[k]
        ux, uy = lines[kerb, 2], lines[kerb, 3]
        before = -(x0 - lines[kerb, 0]) * uy + (y0 - lines[kerb, 1]) * ux
        after = -(x1 - lines[kerb, 0]) * uy + (y1 - lines[kerb, 1]) * ux
        if before >= 0.0 or after < 0.0 or abs(z - lines[kerb, 5]) > LEVEL:
            continue
        share = before / (before - after)
        at = (x0 + share * (x1 - x0) - lines[kerb, 0]) * ux + (y0 + share * (y1 - y0) - lines[kerb, 1]) * uy
        if 0.0 <= at <= lines[kerb, 4]:
            return kerb
    return -1


@njit(cache=True)
def strike(
    vehicles,
    lines,
    starts,
    members,
    low,
    shape,
    motion,
    control,
    body,
    dynamic,
    simulate,
    trail,
    dt,
    other,
    contacts,
    count,
):
    """Give every vehicle the blows of the kerbs that its wheels ran up since the last tick.

    Args:
        vehicles: Rows.
        lines, starts, members, low, shape: The town's `Kerbs`.
        motion, control, body, dynamic, simulate, trail: Tables of `ActorRows`.
        dt: Length of the tick, seconds.
        other: How sidewalks are called in `contacts`.
        contacts: Contacts of this tick, of which there are `count`.

    Returns:
        How many contacts there are then.
    """
    for row in vehicles:
        moved = abs(motion[row, X] - trail[row, TRAIL_X]) + abs(motion[row, Y] - trail[row, TRAIL_Y])
        if not simulate[row] or moved == 0.0 or moved > JUMP or dynamic[row, SETTLED] == 0.0:
            continue
        yaw, before = math.radians(motion[row, YAW]), math.radians(trail[row, TRAIL_YAW])
        cos, sin, cos0, sin0 = math.cos(yaw), math.sin(yaw), math.cos(before), math.sin(before)
        turning = math.radians(motion[row, 11])
        inertia = (body[row, HALF_X] ** 2 + body[row, HALF_Y] ** 2) / 3.0
        struck = False
        for wheel in range(4):
            ahead = (0.5 if wheel < 2 else -0.5) * body[row, WHEELBASE]
            right = (1.0 if wheel % 2 else -1.0) * TRACK_SHARE * body[row, HALF_Y]
            rx, ry = ahead * cos - right * sin, ahead * sin + right * cos
            x0 = trail[row, TRAIL_X] + ahead * cos0 - right * sin0
            y0 = trail[row, TRAIL_Y] + ahead * sin0 + right * cos0
            kerb = crossed(
                lines, starts, members, low, shape, motion[row, Z], x0, y0, motion[row, X] + rx, motion[row, Y] + ry
            )
            if kerb < 0:
                continue
            nx, ny = -lines[kerb, 3], lines[kerb, 2]
            across = (motion[row, 6] - turning * ry) * nx + (motion[row, 7] + turning * rx) * ny
            if across <= 0.0:
                continue
            left = 1.0 - min(lines[kerb, 6] / WHEEL_RADIUS, 1.0)
            loss = WHEEL_SHARE * (1.0 - left) * across
            spin = -loss * (rx * ny - ry * nx) / inertia
            motion[row, 6] -= loss * nx
            motion[row, 7] -= loss * ny
            # The chassis feels the blow, and the jolt upwards that the springs then take.
            motion[row, 12] -= loss * nx / dt
            motion[row, 13] -= loss * ny / dt
            motion[row, 14] += WHEEL_SHARE * left * math.sqrt(1.0 - left * left) * across / dt
            dynamic[row, SPIN] += spin
            turning += spin
            struck = True
            if across > FELT and count < len(contacts):
                count = note(contacts, count, row, other, -nx, -ny, loss * body[row, MASS])
        if struck:
            motion[row, 11] = math.degrees(turning)
            set_velocity(
                motion[row], control[row], body[row], dynamic[row], motion[row, 6], motion[row, 7], motion[row, 8]
            )
    return count
