"""Pillow's bicubic resizing as two matrix products, for images that go to a GPU anyway.

Pillow filters rows, rounds to 8 bits, then filters columns (``ImagingResampleHorizontal``, then ``Vertical``); with the same
weights and the same rounding the result is the same picture, give or take one grey level where its fixed-point weights round
another way.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from simlingo_training.data.bicubic import bicubic_taps
from simlingo_training.data.images import TileSpec


def bicubic_weights(source: int, target: int) -> NDArray[np.float64]:
    """(target, source) filter of Pillow's bicubic resampling as a matrix."""
    start, taps = bicubic_taps(source, target)
    weights = np.zeros((target, source))
    rows = np.arange(target)[:, None]
    weights[rows, start[:, None] + np.arange(taps.shape[1])] = taps
    return weights


@lru_cache(maxsize=32)
def _matrix(source: int, target: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(bicubic_weights(source, target)).to(device)


def resize_tiles(images: torch.Tensor, spec: TileSpec) -> torch.Tensor:
    """Resize and cut images on their device.

    Args:
        images: (B, H, W, 3) uint8 RGB, bonnet already cut off.
        spec: Tile size and count; thumbnails are not supported.

    Returns:
        (B, T, S, S, 3) uint8, as `simlingo_training.data.images.tile_image` within one grey level.

    Raises:
        ValueError: If the tiling has a thumbnail.
    """
    if spec.thumbnail:
        raise ValueError("tiles with a thumbnail are resized on the CPU only")
    batch, height, width, _ = images.shape
    columns, rows = spec.grid(height, width)
    size = spec.tile_px
    # Double precision keeps the products away from a GPU's shortened float formats; they are small.
    across = _matrix(width, columns * size, images.device)
    down = _matrix(height, rows * size, images.device)
    wide = (across @ images.double()).round_().clamp_(0, 255)
    whole = (down @ wide.flatten(2)).round_().clamp_(0, 255).to(torch.uint8)
    tiles = whole.view(batch, rows, size, columns, size, 3).transpose(2, 3)
    return tiles.reshape(batch, rows * columns, size, size, 3)
