"""Which boxes touch, and what the touch does: separating axes in the ground plane, push-back, impulses."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from carla_server.map import lookup
from carla_server.world.state import (
    CENTER_X,
    CENTER_Y,
    CENTER_Z,
    HALF_X,
    HALF_Y,
    HALF_Z,
    MASS,
    YAW,
    Floats,
    Kind,
    X,
    Y,
    Z,
)

#: Columns of a static box: middle x, y, z, cos and sin of its heading, half sizes x, y, z (metres).
BOX_COLUMNS = 8
#: Columns of a contact: row, other row (or static box), normal x, y (from other to self), impulse (kg m/s).
CONTACT_COLUMNS = 5
MAX_CONTACTS = 1024
#: Things lower than this above the ground are driven over, metres.
STEP_OVER = 0.2
#: Mass from which a thing does not give way, kg.
IMMOVABLE = 1.0e8
#: How much of a vehicle's corners is cut off, metres and as a share of its half width: bodies are round there.
CORNER, CORNER_SHARE = 0.35, 0.35
#: How far around a box others count as touching it, metres.
SKIN = 0.01
#: Overlap below this is rounding, metres.
TOUCH = 1.0e-6
#: Share of the closing speed that is given back, and the speed below which nothing is: what pushes against a wall
#: stands still, m/s.
RESTITUTION, QUIET = 0.05, 1.0
DIAGONAL = math.sqrt(0.5)
WALKER = int(Kind.WALKER)
VEHICLE = int(Kind.VEHICLE)
PROP = int(Kind.PROP)


@njit(cache=True)
def overlap(a, b, cut_a, cut_b):
    """Overlap of two boxes in the ground plane: depth (0 if apart) and the axis of least depth, from b to a.

    Args:
        a, b: Boxes as `BOX_COLUMNS` describes.
        cut_a, cut_b: How much of each edge is cut off at the corners at 45 degrees, metres.
    """
    dx, dy = a[0] - b[0], a[1] - b[1]
    best, nx, ny = np.inf, 0.0, 0.0
    for k in range(8 if cut_a + cut_b > 0.0 else 4):
        cos, sin = (a[3], a[4]) if k % 4 < 2 else (b[3], b[4])
        ux, uy = (cos, sin) if k % 2 == 0 else (-sin, cos)
        if k >= 4:
            ux, uy = (ux - uy) * DIAGONAL, (ux + uy) * DIAGONAL
        distance = dx * ux + dy * uy
        depth = reach_of(a, cut_a, ux, uy) + reach_of(b, cut_b, ux, uy) - abs(distance)
        if depth <= 0.0:
            return 0.0, 0.0, 0.0
        if depth < best:
            sign = 1.0 if distance >= 0.0 else -1.0
            best, nx, ny = depth, ux * sign, uy * sign
    return best, nx, ny


@njit(cache=True)
def reach_of(box, cut, ux, uy):
    """How far a box with cut corners reaches from its middle along a unit vector, metres."""
    along, across = abs(box[3] * ux + box[4] * uy), abs(-box[4] * ux + box[3] * uy)
    return box[5] * along + box[6] * across - cut * min(along, across)


@njit(cache=True)
def box_of(motion, body, row, out):
    """Static-box form of an actor's bounding box into `out`."""
    yaw = math.radians(motion[row, YAW])
    cos, sin = math.cos(yaw), math.sin(yaw)
    out[0] = motion[row, X] + body[row, CENTER_X] * cos - body[row, CENTER_Y] * sin
    out[1] = motion[row, Y] + body[row, CENTER_X] * sin + body[row, CENTER_Y] * cos
    out[2] = motion[row, Z] + body[row, CENTER_Z]
    out[3], out[4] = cos, sin
    out[5], out[6], out[7] = body[row, HALF_X], body[row, HALF_Y], body[row, HALF_Z]


@njit(cache=True)
def touching(a, b):
    """Overlap of two boxes: depth (0 if apart) and normal from b to a."""
    reach = a[5] + a[6] + b[5] + b[6]
    if abs(a[0] - b[0]) > reach or abs(a[1] - b[1]) > reach or abs(a[2] - b[2]) > a[7] + b[7]:
        return 0.0, 0.0, 0.0
    return overlap(a, b, 0.0, 0.0)


@njit(cache=True)
def corner_of(kind, body, row):
    """How much of an actor's corners is cut off, metres."""
    return min(CORNER, CORNER_SHARE * body[row, HALF_Y]) if kind[row] == VEHICLE else 0.0


@njit(cache=True)
def skin_of(motion, body, row, out):
    """Bounding box enlarged by `SKIN`: what rests against something keeps touching it."""
    box_of(motion, body, row, out)
    out[5] += SKIN
    out[6] += SKIN


@njit(cache=True)
def note(contacts, count, row, other, nx, ny, impulse):
    """Write a contact and return the number of contacts."""
    contacts[count, 0], contacts[count, 1], contacts[count, 2] = row, other, nx
    contacts[count, 3], contacts[count, 4] = ny, impulse
    return count + 1


@njit(cache=True)
def find_contacts(rows, motion, body, kind, simulate, statics, starts, members, origin, shape, cell, boxes, contacts):
    """Resolve all overlaps of solid actors with one another and with the town.

    Pairs of which neither moves by physics, and pairs of walkers, are left alone. Bodies are moved apart by mass and
    their velocities changed along the normal.

    Returns:
        Number of contacts written; static boxes are numbered -1 - index.
    """
    count = 0
    for n in range(len(rows)):
        skin_of(motion, body, rows[n], boxes[n])
    for n in range(len(rows)):
        row = rows[n]
        for m in range(n + 1, len(rows)):
            other = rows[m]
            if not (simulate[row] or simulate[other]) or (kind[row] == WALKER and kind[other] == WALKER):
                continue
            if abs(boxes[n, 0] - boxes[m, 0]) > 24.0 or abs(boxes[n, 1] - boxes[m, 1]) > 24.0:
                continue
            depth, nx, ny = touching(boxes[n], boxes[m])
            low = boxes[n, 7] * 2.0 < STEP_OVER or boxes[m, 7] * 2.0 < STEP_OVER
            if depth <= TOUCH or low or count >= MAX_CONTACTS:
                continue
            corners = corner_of(kind, body, row), corner_of(kind, body, other)
            depth, nx, ny = overlap(boxes[n], boxes[m], corners[0], corners[1])
            if depth <= TOUCH:
                continue
            weight = body[row, MASS] if simulate[row] or kind[row] == PROP else IMMOVABLE
            other_weight = body[other, MASS] if simulate[other] or kind[other] == PROP else IMMOVABLE
            impulse = part(motion, row, other, weight, other_weight, nx, ny, depth - 2.0 * SKIN)
            if impulse > 0.0 or depth > 2.0 * SKIN + TOUCH:
                count = note(contacts, count, row, other, nx, ny, impulse)
                skin_of(motion, body, row, boxes[n])
                skin_of(motion, body, other, boxes[m])
        if not (simulate[row] and kind[row] == VEHICLE):
            continue
        # Boxes of the town lie in every cell that they reach into, so the cells that this one reaches into will do.
        reach = math.hypot(boxes[n, 5], boxes[n, 6])
        left, top = boxes[n, 0] - reach - origin[0], boxes[n, 1] - reach - origin[1]
        for ix in range(max(int(left / cell), 0), min(int((left + 2.0 * reach) / cell) + 1, shape[0])):
            for iy in range(max(int(top / cell), 0), min(int((top + 2.0 * reach) / cell) + 1, shape[1])):
                at = ix * shape[1] + iy
                for k in range(starts[at], starts[at + 1]):
                    depth, nx, ny = touching(boxes[n], statics[members[k]])
                    if depth <= TOUCH or count >= MAX_CONTACTS:
                        continue
                    depth, nx, ny = overlap(boxes[n], statics[members[k]], corner_of(kind, body, row), 0.0)
                    if depth <= TOUCH:
                        continue
                    impulse = part(motion, row, -1, body[row, MASS], IMMOVABLE, nx, ny, depth - SKIN)
                    if impulse > 0.0 or depth > SKIN + TOUCH:
                        count = note(contacts, count, row, -1 - members[k], nx, ny, impulse)
                        skin_of(motion, body, row, boxes[n])
    return count


@njit(cache=True)
def part(motion, row, other, weight, other_weight, nx, ny, depth):
    """Move two bodies apart along the normal (from other to self) and return the impulse that stops their closing."""
    depth = max(depth, 0.0)
    share = other_weight / (weight + other_weight)
    motion[row, X] += nx * depth * share
    motion[row, Y] += ny * depth * share
    ovx, ovy = 0.0, 0.0
    if other >= 0:
        motion[other, X] -= nx * depth * (1.0 - share)
        motion[other, Y] -= ny * depth * (1.0 - share)
        ovx, ovy = motion[other, 6], motion[other, 7]
    closing = -((motion[row, 6] - ovx) * nx + (motion[row, 7] - ovy) * ny)
    if closing <= 0.0:
        return 0.0
    bounce = RESTITUTION if closing > QUIET else 0.0
    impulse = (1.0 + bounce) * closing * weight * other_weight / (weight + other_weight)
    if weight < IMMOVABLE:
        motion[row, 6] += impulse / weight * nx
        motion[row, 7] += impulse / weight * ny
    if other >= 0 and other_weight < IMMOVABLE:
        motion[other, 6] -= impulse / other_weight * nx
        motion[other, 7] -= impulse / other_weight * ny
    return impulse


class StaticBoxes:
    """Boxes of the town sorted into grid cells.

    Args:
        boxes: (B, 8) rows as `BOX_COLUMNS` describes.
    """

    CELL = 24.0

    def __init__(self, boxes: Floats) -> None:
        self.boxes = np.ascontiguousarray(boxes, dtype=np.float64).reshape(-1, BOX_COLUMNS)
        reach = np.hypot(self.boxes[:, 5], self.boxes[:, 6])
        empty = len(self.boxes) == 0
        low = np.zeros(2) if empty else (self.boxes[:, :2] - reach[:, None]).min(axis=0)
        high = np.zeros(2) if empty else (self.boxes[:, :2] + reach[:, None]).max(axis=0)
        self.origin = low
        self.shape: tuple[int, int] = tuple((np.floor((high - low) / self.CELL).astype(int) + 1).tolist())
        first = np.floor((self.boxes[:, :2] - reach[:, None] - low) / self.CELL).astype(np.int64)
        last = np.floor((self.boxes[:, :2] + reach[:, None] - low) / self.CELL).astype(np.int64)
        self.starts, self.members = lookup.sort_into_cells(first, last, self.shape)
