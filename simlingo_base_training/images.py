"""Camera image to two padded tiles, as LLaVA-NeXT does with a grid of one row and two columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from simlingo_training.data.bicubic import resize
from simlingo_training.data.images import ImageU8, TileSpec

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass
class PaddedTiles(TileSpec):
    """Resize into two tiles side by side keeping the aspect ratio, black above and below.

    Attributes:
        tile_px: Side of one tile, pixels.
        equalise: Equalise the brightness histogram first.
    """

    tile_px: int = 336
    equalise: bool = False

    def prepare(self, image: ImageU8) -> ImageU8:
        """Equalise the whole picture, bonnet included, when asked for."""
        return equalise_brightness(image) if self.equalise else image

    def cut(self, image: ImageU8) -> ImageU8:
        """Tiles (2, S, S, 3), left and right, of an image (H, W, 3) uint8 RGB."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected an RGB image (H, W, 3) uint8, got shape {image.shape} and type {image.dtype}")
        width, height = self.fitted(*image.shape[:2])
        canvas = np.zeros((self.tile_px, 2 * self.tile_px, 3), dtype=np.uint8)
        top, left = (self.tile_px - height) // 2, (2 * self.tile_px - width) // 2
        canvas[top : top + height, left : left + width] = resize(image, width, height)
        return np.ascontiguousarray(canvas.reshape(self.tile_px, 2, self.tile_px, 3).swapaxes(0, 1))

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """(width, height) of an image after resizing, pixels: the side that fits tighter is filled."""
        by_width, by_height = 2 * self.tile_px / width, self.tile_px / height
        if by_width < by_height:
            return 2 * self.tile_px, min(math.ceil(height * by_width), self.tile_px)
        return min(math.ceil(width * by_height), 2 * self.tile_px), self.tile_px


def equalise_brightness(image: ImageU8) -> ImageU8:
    """Equalise the luma histogram. The published code takes RGB for BGR here, which is kept: the weights saw it."""
    luma = cv2.cvtColor(image, cv2.COLOR_BGR2YUV)
    luma[..., 0] = cv2.equalizeHist(luma[..., 0])
    return cv2.cvtColor(luma, cv2.COLOR_YUV2BGR)  # type: ignore[return-value]
