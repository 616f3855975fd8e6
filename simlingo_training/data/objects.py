"""What is to be seen where in a picture: maps drawn from a frame's boxes, which training may predict beside the drive.

A small network that learns from a few hundred drives alone tells drives apart by their scenery rather than see cars and
lights in them; maps of what matters give it a few hundred labels per picture instead of a few. Driving needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driving.camera import CameraRig
from driving.records import (
    Box,
    CarBox,
    PlacedBox,
    StaticBox,
    StaticCarBox,
    StopSignBox,
    TrafficLightBox,
    TrafficWarningBox,
    WalkerBox,
)

Array = NDArray[np.float64]

NEARNESS_M = 15.0
"""Nearness is exp(-distance / NEARNESS_M): one at the car, 0.37 there, 0.07 at 40 m."""

MIN_POINTS = 4
"""Things that fewer LiDAR points hit are hidden."""

NEAR_PLANE_M = 0.5
"""Corners of boxes that reach behind the camera are pushed to that depth."""

HOLDING_STATES = ("Red", "Yellow")


def _is_hit(box: CarBox | WalkerBox | StaticBox | StaticCarBox | TrafficWarningBox) -> bool:
    return box.num_points >= MIN_POINTS


def _is_ahead(box: Box) -> bool:
    """Whether a box is a vehicle in the ego's lane, whether it drives or not."""
    return isinstance(box, CarBox) and _is_hit(box) and box.lane_relative_to_ego == 0 and box.same_direction_as_ego


def _holds(box: Box) -> bool:
    """Whether a box is a stop line at which the ego has to stop now."""
    if isinstance(box, TrafficLightBox):
        return box.affects_ego and box.state in HOLDING_STATES
    return isinstance(box, StopSignBox) and box.affects_ego


@dataclass(frozen=True)
class Kind:
    """One class of the maps.

    Attributes:
        name: What it is called.
        holds: Whether a box belongs to it; the first kind that says so counts.
        weight: Its weight in the loss: rare kinds count more.
    """

    name: str
    holds: Callable[[Box], bool]
    weight: float


KINDS = (
    Kind("vehicle in the ego's lane", _is_ahead, 1.5),
    Kind("vehicle", lambda box: isinstance(box, CarBox | StaticCarBox) and _is_hit(box), 1.0),
    Kind("pedestrian", lambda box: isinstance(box, WalkerBox) and _is_hit(box), 2.0),
    Kind("obstacle", lambda box: isinstance(box, StaticBox | TrafficWarningBox) and _is_hit(box), 1.0),
    Kind("stop line that holds", _holds, 2.0),
)
"""Kinds in the order of their numbers, counted from 1; 0 is nothing of all that."""

NOTHING_WEIGHT = 0.3
WEIGHTS = (NOTHING_WEIGHT, *(kind.weight for kind in KINDS))


@dataclass(frozen=True)
class ObjectMaps:
    """What is to be seen in each cell of each tile.

    Attributes:
        kinds: (T, G, G) uint8, number of the nearest thing's kind, 0 for nothing.
        nearness: (T, G, G) float32, of the nearest thing, 0 for nothing.
    """

    kinds: NDArray[np.uint8]
    nearness: NDArray[np.float32]

    def mirrored(self, columns: int) -> ObjectMaps:
        """The same with left and right exchanged, of tiles that lie ``columns`` side by side."""
        order = np.arange(len(self.kinds)).reshape(-1, columns)[:, ::-1].ravel()
        return ObjectMaps(self.kinds[order, :, ::-1].copy(), self.nearness[order, :, ::-1].copy())


def draw_objects(boxes: Sequence[Box], camera: CameraRig, grid: tuple[int, int], side: int, height: int) -> ObjectMaps:
    """Maps of a frame.

    Args:
        boxes: Of the frame, ego frame.
        camera: Which camera took the picture, the plain or the shifted one.
        grid: (columns, rows) of tiles.
        side: G, cells per side of a tile.
        height: Rows of the picture that are tiled: those above the bonnet where it is cut off.
    """
    columns, rows = grid
    kinds = np.zeros((rows * side, columns * side), np.uint8)
    distance = np.full(kinds.shape, np.inf)
    scale = np.array([kinds.shape[1] / camera.width, kinds.shape[0] / height])
    seen = list(_seen(boxes))
    for (number, box), bounds in zip(seen, _bounds([box for _, box in seen], camera) * scale):
        low, high = np.maximum(bounds[0], 0), np.minimum(bounds[1], kinds.shape[::-1])
        if not (low < high).all():
            continue  # behind the camera (then the bounds are no numbers) or beside the picture
        (left, top), (right, bottom) = np.floor(low).astype(int), np.ceil(high).astype(int)
        place = np.s_[top:bottom, left:right]
        nearest = distance[place] > box.distance
        kinds[place][nearest], distance[place][nearest] = number, box.distance
    nearness = np.exp(-distance / NEARNESS_M).astype(np.float32)
    return ObjectMaps(_tiled(kinds, side), _tiled(nearness, side))


def _seen(boxes: Sequence[Box]) -> Iterator[tuple[int, PlacedBox]]:
    """The boxes that are drawn, with the number of their kind."""
    for box in boxes:
        number = next((n for n, kind in enumerate(KINDS, 1) if kind.holds(box)), 0)
        if number and isinstance(box, PlacedBox):
            yield number, box


def _bounds(boxes: Sequence[PlacedBox], camera: CameraRig) -> Array:
    """Pixels (n, 2, 2) from the upper left to the lower right of n boxes; not numbers behind the camera."""
    if not boxes:
        return np.zeros((0, 2, 2))
    corners = np.array([box.corners() for box in boxes]).reshape(-1, 8, 3)
    forward, origin = camera.pose[:3, 0], camera.pose[:3, 3]
    depth = (corners - origin) @ forward
    is_in_front = depth.max(1) > NEAR_PLANE_M
    pushed = corners + np.maximum(NEAR_PLANE_M - depth, 0)[..., None] * forward
    pixels = camera.project(pushed.reshape(-1, 3))[0].reshape(-1, 8, 2)
    bounds = np.stack([pixels.min(1), pixels.max(1)], axis=1)
    return np.where(is_in_front[:, None, None], bounds, np.nan)


def _tiled(whole: NDArray[np.generic], side: int) -> NDArray:
    """A map (R * side, C * side) as tiles (R * C, side, side), row by row."""
    rows, columns = (size // side for size in whole.shape)
    return np.ascontiguousarray(whole.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side))
