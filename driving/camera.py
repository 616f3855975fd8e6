"""The driving camera: where it sits, what it sees, which rows the model is shown.

Camera frame: x forward (along the optical axis), y right, z up, as CARLA mounts it. Pixels: u right, v down, origin at
the top-left corner of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from driving.geometry import Array, invert_pose, pose_matrix, transform_points

BONNET_SHARE = 4.8 / 16
"""Share of the image height at the bottom that shows the bonnet and is cut off before the model sees the image."""


@dataclass(frozen=True)
class CameraRig:
    """A pinhole camera mounted on the ego vehicle.

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        fov_deg: Horizontal field of view, degrees.
        position: (x, y, z) in the ego frame, metres.
        pitch_deg, yaw_deg, roll_deg: Mounting angles, degrees.
    """

    width: int = 1024
    height: int = 512
    fov_deg: float = 110.0
    position: tuple[float, float, float] = field(default=(-1.5, 0.0, 2.0))
    pitch_deg: float = 0.0
    yaw_deg: float = 0.0
    roll_deg: float = 0.0

    @property
    def focal_px(self) -> float:
        """Focal length, pixels: width / (2 tan(fov / 2))."""
        return self.width / (2 * np.tan(np.radians(self.fov_deg) / 2))

    @property
    def pose(self) -> Array:
        """(4, 4) matrix from the camera frame to the ego frame."""
        return pose_matrix(
            self.position, np.radians(self.pitch_deg), np.radians(self.yaw_deg), np.radians(self.roll_deg)
        )

    def shifted(self, lateral_m: float, yaw_deg: float) -> CameraRig:
        """The same camera moved ``lateral_m`` to the right and turned by ``yaw_deg`` (augmented viewpoint)."""
        x, y, z = self.position
        return CameraRig(
            self.width,
            self.height,
            self.fov_deg,
            (x, y + lateral_m, z),
            self.pitch_deg,
            self.yaw_deg + yaw_deg,
            self.roll_deg,
        )

    def project(self, points: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
        """Project ego-frame points into the image.

        Args:
            points: (N, 3) in the ego frame, metres.

        Returns:
            (N, 2) pixels (u, v), not clipped to the image, and (N,) whether a point lies in front of the camera. Pixels of
            points behind it are NaN.
        """
        local = transform_points(invert_pose(self.pose), points)
        in_front = local[:, 0] > 0.05
        depth = np.where(in_front, local[:, 0], np.nan)
        u = self.focal_px * local[:, 1] / depth + self.width / 2
        v = -self.focal_px * local[:, 2] / depth + self.height / 2
        return np.stack([u, v], axis=1), in_front

    def project_ground(self, points: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
        """Project (N, 2) ego-frame points that lie on flat ground at the height of the ego origin."""
        flat = np.asarray(points, dtype=np.float64)
        return self.project(np.concatenate([flat, np.zeros((len(flat), 1))], axis=1))


DRIVING_CAMERA = CameraRig()
"""Camera ``rgb`` of the recorded data and ``rgb_0`` of the driving agent."""


def cut_bonnet(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop the rows that show the bonnet: 359 of 512 rows remain."""
    height = image.shape[0]
    return image[: height - int(height * BONNET_SHARE)]


JPEG_BLOCK_PX = 16
"""Rows of a JPEG that are compressed together, colours at half the resolution included."""


def above_bonnet(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The rows of a whole image that must be compressed for those above the bonnet to come out as from the whole image.

    One row more counts, because decoders blend colours with those of the next row.
    """
    rows = len(cut_bonnet(image)) + 1
    return image[: -(-rows // JPEG_BLOCK_PX) * JPEG_BLOCK_PX]


def encode_jpeg(image_bgr: NDArray[np.uint8]) -> bytes:
    """Encode a BGR image as the recorder does (JPEG quality 95).

    Raises:
        ValueError: If the image cannot be encoded.
    """
    done, encoded = cv2.imencode(".jpg", image_bgr)
    if not done:
        raise ValueError(f"expected an 8-bit BGR image, got shape {image_bgr.shape} and type {image_bgr.dtype}")
    return encoded.tobytes()


def decode_jpeg(content: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG into a (H, W, 3) BGR image.

    Raises:
        ValueError: If the content is not a complete image.
    """
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"expected a JPEG image, got {len(content)} bytes that do not decode")
    return np.asarray(image, dtype=np.uint8)


def rgb(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A BGR image (H, W, 3) as RGB, in memory of its own."""
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def without_alpha(image_bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A camera's BGRA image (H, W, 4) as BGR, in memory of its own."""
    return np.asarray(cv2.cvtColor(image_bgra, cv2.COLOR_BGRA2BGR), dtype=np.uint8)


def jpeg_round_trip(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode and decode a BGR image, so that driving sees what training saw. Raises ValueError as `encode_jpeg`."""
    return decode_jpeg(encode_jpeg(image_bgr))
