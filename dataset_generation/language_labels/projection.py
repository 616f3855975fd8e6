"""Where boxes appear in the front image, and whether a box counts as seen.

Scalar arithmetic on purpose: a frame has about ten boxes, and one call of an array library costs more than ten boxes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

from driving.camera import DRIVING_CAMERA
from driving.geometry import Corner, box_corners
from driving.records import CarBox, PlacedBox

Pixel = tuple[float, float]

FOCAL_PX = float(DRIVING_CAMERA.focal_px)
CENTRE_U, CENTRE_V = DRIVING_CAMERA.width / 2, DRIVING_CAMERA.height / 2
CAMERA_X, _, CAMERA_Z = DRIVING_CAMERA.position

SIGHT_HEIGHT = 0.75
"""Height above the box position of the two points whose visibility decides for the box, metres."""


@dataclass(frozen=True)
class ImageRegion:
    """The part of the image, in pixels, in which an object counts as visible. Bounds are exclusive."""

    min_u: float = 0.0
    max_u: float = float(DRIVING_CAMERA.width)
    min_v: float = 0.0
    max_v: float = 358.0

    def contains(self, pixel: Pixel) -> bool:
        """Whether a pixel lies strictly inside."""
        return self.min_u < pixel[0] < self.max_u and self.min_v < pixel[1] < self.max_v


PUBLISHED_REGION = ImageRegion()
"""The region of the published generators: the whole width, without the bonnet."""


def to_pixel(point: Corner) -> Pixel:
    """Project one ego-frame point into the image.

    Points behind the camera come out mirrored, and a point in the camera plane is divided by one, as OpenCV's
    ``projectPoints`` does; callers that must not see those check the depth.
    """
    depth = point[0] - CAMERA_X
    inverse = 1.0 / depth if depth else 1.0
    return CENTRE_U + FOCAL_PX * (point[1] * inverse), CENTRE_V + FOCAL_PX * ((CAMERA_Z - point[2]) * inverse)


def sight_points(box: PlacedBox) -> tuple[Corner, Corner]:
    """Front and rear centre of a box at `SIGHT_HEIGHT`, ego frame, metres."""
    length = box.extent[0]
    x, y, z = box.position
    dx, dy = length * cos(box.yaw), length * sin(box.yaw)
    height = z + SIGHT_HEIGHT
    return (x + dx, y + dy, height), (x - dx, y - dy, height)


def is_in_image(box: PlacedBox, region: ImageRegion) -> bool:
    """Whether the front or rear centre of the box projects into ``region``."""
    front, rear = sight_points(box)
    return region.contains(to_pixel(front)) or region.contains(to_pixel(rear))


def corners(box: PlacedBox, walkers_float: bool = False) -> list[Corner]:
    """Eight corners in the ego frame, metres, with extents as they are stored, as in the published labels; see
    `PlacedBox.corners` for those of props as they stand.

    Args:
        box: What they belong to.
        walkers_float: Let pedestrians stand on the middle of their bodies, as in the published labels.
    """
    x, y, z = box.position
    return box_corners((x, y, z) if walkers_float else box.floor, box.extent, box.yaw)


def round1(value: float) -> float:
    """Round to one decimal as NumPy does (scale, round half to even, scale back)."""
    return round(value * 10.0) / 10.0


def pixel_bounds(points: list[Corner]) -> list[list[float]]:
    """[[min u, min v], [max u, max v]] of projected points, pixels, one decimal, not clipped to the image."""
    pixels = [to_pixel(point) for point in points]
    us, vs = [u for u, _ in pixels], [v for _, v in pixels]
    return [[round1(min(us)), round1(min(vs))], [round1(max(us)), round1(max(vs))]]


def clipped_bounds(points: list[Corner], near: float = 0.1) -> list[list[float]] | None:
    """As `pixel_bounds`, clipped to the image; corners nearer than ``near`` metres are pushed to that depth.

    Returns None when nothing of the box is in the image.
    """
    if max(x for x, _, _ in points) - CAMERA_X <= near:
        return None
    (left, top), (right, bottom) = pixel_bounds([(max(x, CAMERA_X + near), y, z) for x, y, z in points])
    width, height = float(DRIVING_CAMERA.width), float(DRIVING_CAMERA.height)
    if left >= width or right <= 0 or top >= height or bottom <= 0:
        return None
    return [[max(left, 0.0), max(top, 0.0)], [min(right, width), min(bottom, height)]]


def is_considered(vehicle: CarBox, region: ImageRegion) -> bool:
    """Whether questions are asked about a vehicle: not parked, not behind the camera, hit by enough LiDAR points, visible."""
    if vehicle.lane_type_str == "Parking" and not vehicle.vehicle_cuts_in:
        return False
    if vehicle.position[0] < CAMERA_X:
        return False
    by_scenario = "scenario" in vehicle.role_name
    if by_scenario and vehicle.num_points < 10:
        return False
    if not by_scenario and vehicle.base_type != "bicycle" and vehicle.num_points < 15:
        return False
    return is_in_image(vehicle, region)
