"""The last step from a camera image to the network's input, on the device of the network."""

from __future__ import annotations

import torch

from simlingo_training.data.images import IMAGENET_MEAN, IMAGENET_STD


def normalise_tiles(
    tiles: torch.Tensor,
    dtype: torch.dtype = torch.float32,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> torch.Tensor:
    """Tiles (..., S, S, 3) uint8 to (..., 3, S, S) with the mean removed and the deviation divided out, on the device of
    ``tiles``. The arithmetic is float32 whatever ``dtype`` is returned."""
    scaled = tiles.to(torch.float32) / 255
    centred = scaled - torch.tensor(mean, device=tiles.device)
    return (centred / torch.tensor(std, device=tiles.device)).movedim(-1, -3).to(dtype)
