"""Pictures that are recorded on request (``SAVE_TF_LABELS=1``): classes, depth, and the road from above.

Formats are those of the published recorder (`RenzKa/simlingo`, ``team_code/data_agent.py`` and
``team_code/birds_eye_view/``): one 8-bit PNG per frame in ``semantics``, ``depth`` and ``bev_semantics``, and in the folders
with ``_augmented`` for the shifted camera.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import carla
import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from driving.files import write_bytes
from driving.geometry import box_corners_2d, to_ego
from driving.records import Box, CarBox, EgoCarBox, PlacedBox, StaticCarBox, StopSignBox, TrafficLightBox, WalkerBox

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

DEPTH_LIMIT_M = 50.0
FAR_PLANE_M = 1000.0

BEV_SIZE_PX = 256
BEV_PX_PER_M = 2.0
BEV_CLASSES = {
    "unlabeled": 0, "road": 1, "sidewalk": 2, "line": 3, "broken": 4, "stop": 5, "Green": 6, "Yellow": 7, "Red": 8,
    "vehicle": 9, "walker": 10,
}  # fmt: skip
"""Value of each class in ``bev_semantics``; what is drawn later covers what was drawn before."""

BOX_CLASSES: tuple[tuple[type[PlacedBox], str], ...] = (
    (EgoCarBox, "vehicle"),
    (CarBox, "vehicle"),
    (StaticCarBox, "vehicle"),
    (WalkerBox, "walker"),
    (StopSignBox, "stop"),
)

STEP_M = 0.5
"""Distance between cross-sections of lanes."""

MARGIN_M = 100.0
BROKEN = (carla.LaneMarkingType.Broken, carla.LaneMarkingType.BrokenBroken)
ROAD_TYPES = (
    carla.LaneType.Driving, carla.LaneType.Parking, carla.LaneType.Shoulder, carla.LaneType.Biking,
    carla.LaneType.Bidirectional,
)  # fmt: skip


def semantics_of(bgra: Image) -> Image:
    """(H, W) class numbers of a semantic camera's (H, W, 4) picture: its red channel."""
    return np.ascontiguousarray(bgra[:, :, 2])


def depth_of(bgra: Image) -> Image:
    """(H, W) depth of a depth camera's (H, W, 4) picture, 255 at 50 m and beyond.

    The simulator writes depth as a 24-bit number, red the lowest byte, that is 1000 m at its largest.
    """
    blue, green, red = (bgra[:, :, channel].astype(np.uint32) for channel in range(3))
    metres = (red + 256 * green + 65536 * blue) * (FAR_PLANE_M / (2**24 - 1))
    return (np.minimum(metres / DEPTH_LIMIT_M, 1.0) * 255 + 0.5).astype(np.uint8)


def write_png(path: Path, picture: Image) -> None:
    """Write an (H, W) picture of 8 bits as PNG, atomically.

    Raises:
        OSError: If it cannot be encoded or written.
    """
    good, content = cv2.imencode(".png", picture)
    if not good:
        raise OSError(f"{path}: the picture of shape {picture.shape} could not be encoded as PNG")
    write_bytes(path, content.tobytes())


@dataclass(frozen=True)
class RoadPicture:
    """A town's roads, sidewalks and lane markings from above.

    Attributes:
        classes: (H, W) values of `BEV_CLASSES`; rows go along the world's y axis, columns along x.
        origin: World position of the first pixel's centre, metres.
    """

    classes: Image
    origin: tuple[float, float]


def draw_roads(road_map: carla.Map) -> RoadPicture:
    """Draw all lanes of a map."""
    sections: dict[tuple[int, int, int], dict[float, carla.Waypoint]] = defaultdict(dict)
    ends = (waypoint for pair in road_map.get_topology() for waypoint in pair)
    for waypoint in (*road_map.generate_waypoints(STEP_M), *ends):
        for lane in _across(waypoint):
            sections[lane.road_id, lane.section_id, lane.lane_id][lane.s] = lane
    lanes = [[found[s] for s in sorted(found)] for found in sections.values() if len(found) > 1]
    places = np.array([[w.transform.location.x, w.transform.location.y] for lane in lanes for w in lane])
    origin = places.min(axis=0) - MARGIN_M
    width, height = (np.ceil((places.max(axis=0) - origin + MARGIN_M) * BEV_PX_PER_M)).astype(int)
    picture = np.zeros((height, width), np.uint8)
    by_type = sorted(lanes, key=lambda lane: lane[0].lane_type != carla.LaneType.Sidewalk)
    for lane in by_type:
        kind = "sidewalk" if lane[0].lane_type == carla.LaneType.Sidewalk else "road"
        left, right = _borders(lane)
        outline = np.concatenate([left, right[::-1]])
        cv2.fillPoly(picture, [_pixels(outline, origin)], BEV_CLASSES[kind])
    for lane in by_type:
        for side, line in zip(("left", "right"), _borders(lane), strict=True):
            _draw_line(picture, lane, side, _pixels(line, origin))
    return RoadPicture(picture, (float(origin[0]), float(origin[1])))


def _across(start: carla.Waypoint) -> Iterable[carla.Waypoint]:
    """A waypoint and those beside it on every lane of its road that one may drive, park or walk on."""
    yield start
    for turn in (carla.Waypoint.get_left_lane, carla.Waypoint.get_right_lane):
        beside, seen = turn(start), {start.lane_id}
        while beside is not None and beside.lane_id not in seen:
            seen.add(beside.lane_id)
            if beside.lane_type in (*ROAD_TYPES, carla.LaneType.Sidewalk):
                yield beside
            beside = turn(beside)


def _borders(lane: Sequence[carla.Waypoint]) -> tuple[Array, Array]:
    """(N, 2) left and right border of a lane, world, metres."""
    centre = np.array([[w.transform.location.x, w.transform.location.y] for w in lane])
    yaw = np.radians([w.transform.rotation.yaw for w in lane])
    aside = np.stack([-np.sin(yaw), np.cos(yaw)], axis=1) * np.array([w.lane_width / 2 for w in lane])[:, None]
    return centre - aside, centre + aside


def _pixels(points: Array, origin: Array) -> NDArray[np.int32]:
    return np.round((points - origin) * BEV_PX_PER_M).astype(np.int32)


def _draw_line(picture: Image, lane: Sequence[carla.Waypoint], side: str, pixels: NDArray[np.int32]) -> None:
    """Draw one border's lane marking where it has one."""
    for waypoint, start, end in zip(lane, pixels[:-1], pixels[1:]):
        marking = waypoint.left_lane_marking if side == "left" else waypoint.right_lane_marking
        if marking is not None and marking.type != carla.LaneMarkingType.NONE and not waypoint.is_junction:
            value = BEV_CLASSES["broken" if marking.type in BROKEN else "line"]
            cv2.line(picture, start.tolist(), end.tolist(), value)


@lru_cache(maxsize=2)
def _roads_of(name: str, open_drive: str) -> RoadPicture:
    return draw_roads(carla.Map(name, open_drive))


class BevPainter:
    """Draws ``bev_semantics`` pictures of one town.

    Args:
        road_map: The town's map; towns are drawn once per process.
    """

    def __init__(self, road_map: carla.Map) -> None:
        self._roads = _roads_of(road_map.name, road_map.to_opendrive())

    def paint(
        self,
        xy: ArrayLike,
        yaw: float,
        boxes: Iterable[Box],
        shift_m: float = 0.0,
        turn_deg: float = 0.0,
    ) -> Image:
        """One picture, (256, 256): the ego vehicle in the middle, its heading up, two pixels a metre.

        Args:
            xy: Position of the ego vehicle, world, metres.
            yaw: Its heading, world, radians.
            boxes: What is recorded of the frame, in the ego frame.
            shift_m, turn_deg: The ego displaced to the right and turned clockwise, for the augmented camera.
        """
        turn = math.radians(turn_deg)
        heading = yaw + turn
        centre = np.array(xy) + shift_m * np.array([-math.sin(yaw), math.cos(yaw)])
        picture = self._crop(centre, heading)
        for box in boxes:
            if not isinstance(box, PlacedBox) or (value := _class_of(box)) is None:
                continue
            corners = box_corners_2d(box.position[:2], box.half_size, box.yaw)
            seen = to_ego(corners, (0.0, shift_m), turn)
            pixels = np.stack([seen[:, 1], -seen[:, 0]], axis=1) * BEV_PX_PER_M + BEV_SIZE_PX / 2
            cv2.fillPoly(picture, [np.round(pixels).astype(np.int32)], value)
        return picture

    def _crop(self, centre: Array, heading: float) -> Image:
        """The roads around a place, with a heading up."""
        cos, sin = math.cos(heading), math.sin(heading)
        start = (centre - np.array(self._roads.origin)) * BEV_PX_PER_M
        # From a pixel of the crop (right, down) to one of the town: right is (-sin, cos), down is against the heading.
        turn = np.array([[-sin, -cos], [cos, -sin]])
        middle = np.full(2, BEV_SIZE_PX / 2)
        back = np.concatenate([turn, (start - turn @ middle)[:, None]], axis=1)
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(self._roads.classes, back, (BEV_SIZE_PX, BEV_SIZE_PX), flags=flags)
        return np.asarray(crop, dtype=np.uint8)


def _class_of(box: PlacedBox) -> int | None:
    """How a recorded box is drawn; None for what is not."""
    if isinstance(box, TrafficLightBox):
        return BEV_CLASSES.get(box.state)
    return next((BEV_CLASSES[name] for kind, name in BOX_CLASSES if isinstance(box, kind)), None)
