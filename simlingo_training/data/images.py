"""Camera image to network input. Training and driving call the same functions.

The steps are those of InternVL2's dynamic preprocessing with at most `TileSpec.max_tiles` tiles: cut the bonnet, choose
the grid whose aspect ratio is closest to the image's, resize to that grid with a bicubic filter (the aspect ratio is
not kept), cut into square tiles. The last step, normalising, is `simlingo_training.models.pixels`'.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driving.camera import cut_bonnet
from simlingo_training.data.bicubic import resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ImageU8 = NDArray[np.uint8]


@dataclass
class TileSpec:
    """How a camera image becomes tiles.

    Attributes:
        tile_px: Side of one square tile, pixels. 448 for InternViT-300M.
        max_tiles: Most tiles an image is cut into. The published model has 2: left and right half.
        thumbnail: Whether a whole-image tile follows the others when there is more than one.
    """

    tile_px: int = 448
    max_tiles: int = 2
    thumbnail: bool = False

    def __post_init__(self) -> None:
        if self.tile_px < 1 or self.max_tiles < 1:
            raise ValueError(f"tile_px and max_tiles count from 1; got {self.tile_px} and {self.max_tiles}")

    def prepare(self, image: ImageU8) -> ImageU8:
        """Change a whole camera image (H, W, 3) before the bonnet is cut off and it is augmented; here nothing."""
        return image

    def cut(self, image: ImageU8) -> ImageU8:
        """Tiles (T, S, S, 3) of an image (H, W, 3) whose bonnet is already cut off; see `tile_image`."""
        return tile_image(image, self)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(columns, rows) for an image of that size, pixels."""
        return closest_grid(width / height, self.max_tiles)

    def num_tiles(self, height: int = 359, width: int = 1024) -> int:
        """Tiles of an image of that size (default: the driving camera without bonnet)."""
        columns, rows = self.grid(height, width)
        tiles = columns * rows
        return tiles + 1 if self.thumbnail and tiles > 1 else tiles


@lru_cache(maxsize=256)
def closest_grid(aspect: float, max_tiles: int) -> tuple[int, int]:
    """(columns, rows) with at most ``max_tiles`` cells whose ratio is closest to ``aspect`` (width / height); among
    equally close ones the smallest grid."""
    grids = [(c, r) for c in range(1, max_tiles + 1) for r in range(1, max_tiles + 1) if c * r <= max_tiles]
    grids.sort(key=lambda grid: (grid[0] * grid[1], grid))
    return min(grids, key=lambda grid: abs(aspect - grid[0] / grid[1]))


def tile_image(image: ImageU8, spec: TileSpec) -> ImageU8:
    """Resize an image to its grid and cut it.

    Args:
        image: (H, W, 3) uint8 RGB, bonnet already cut off.
        spec: Tile size and count.

    Returns:
        (T, S, S, 3) uint8, row by row, left to right; the thumbnail last when asked for.

    Raises:
        ValueError: If the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an RGB image (H, W, 3) uint8, got shape {image.shape} and type {image.dtype}")
    columns, rows = spec.grid(*image.shape[:2])
    size = spec.tile_px
    resized = resize(image, columns * size, rows * size)
    tiles = resized.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(rows * columns, size, size, 3)
    if spec.thumbnail and len(tiles) > 1:
        tiles = np.concatenate([tiles, resize(image, size, size)[None]])
    return np.ascontiguousarray(tiles)


def camera_to_tiles(image: ImageU8, spec: TileSpec, cut: bool = True) -> ImageU8:
    """Full camera image (H, W, 3) uint8 RGB to tiles (T, S, S, 3) uint8; ``cut`` drops the bonnet rows first."""
    return spec.cut(prepare_image(image, spec, cut))


def prepare_image(image: ImageU8, spec: TileSpec, cut: bool = True) -> ImageU8:
    """Full camera image (H, W, 3) to the one that is tiled: prepared, and with ``cut`` without the bonnet rows."""
    prepared = spec.prepare(image)
    return cut_bonnet(prepared) if cut else prepared
