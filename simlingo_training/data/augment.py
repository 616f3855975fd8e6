"""Colour and sharpness changes of training images.

Eight operators in random order, each applied with the same probability; parameters are those of the published recipe
(Renz et al., SimLingo, 2025, and its repository). Images are (H, W, 3) uint8 RGB; all randomness comes from the generator
passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]

NOISE_SIDE = 1600
"""Side of the stored noise field; every image takes a random window, which is much cheaper than fresh normals."""


@lru_cache(maxsize=1)
def _noise_field() -> NDArray[np.float32]:
    return np.random.default_rng(20240614).standard_normal((NOISE_SIDE, NOISE_SIDE), dtype=np.float32)


def _noise(shape: tuple[int, int], rng: Generator) -> NDArray[np.float32]:
    """Standard normal noise of a shape, as a random window of the stored field."""
    if max(shape) > NOISE_SIDE:
        return rng.standard_normal(shape, dtype=np.float32)
    top, left = (int(rng.integers(NOISE_SIDE - size + 1)) for size in shape)
    return _noise_field()[top : top + shape[0], left : left + shape[1]]


def _per_channel(rng: Generator, low: float, high: float) -> NDArray[np.float32]:
    """One factor for all channels, or half of the time one for each."""
    if rng.random() < 0.5:
        return rng.uniform(low, high, 3).astype(np.float32)
    return np.full(3, rng.uniform(low, high), dtype=np.float32)


def _lookup(image: ImageU8, table: NDArray[np.float32]) -> ImageU8:
    """Replace every value by its entry in a table (256, 3)."""
    return cv2.LUT(image, np.clip(table, 0, 255).round().astype(np.uint8)[:, None])  # type: ignore[return-value]


def blur(image: ImageU8, rng: Generator) -> ImageU8:
    """Gaussian blur, sigma 0 to 1 pixel."""
    sigma = rng.uniform(0, 1)
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.1 else image  # type: ignore[return-value]


def noise(image: ImageU8, rng: Generator) -> ImageU8:
    """Additive Gaussian noise, deviation 0 to 5 % of the range, half of the time different in each channel."""
    scale = rng.uniform(0, 0.05 * 255)
    planes = 3 if rng.random() < 0.5 else 1
    field = np.stack([_noise(image.shape[:2], rng) for _ in range(planes)], axis=2)
    return np.clip(image + scale * field, 0, 255).astype(np.uint8)


def dropout(image: ImageU8, rng: Generator) -> ImageU8:
    """Set 1 to 10 % of the pixels (half of the time: of the values) to black."""
    share = rng.uniform(0.01, 0.1)
    planes = 3 if rng.random() < 0.5 else 1
    # The noise is normal, so the share of it below the normal quantile is the share wanted.
    threshold = NormalDist().inv_cdf(share)
    keep = np.stack([_noise(image.shape[:2], rng) >= threshold for _ in range(planes)], axis=2)
    return image * keep


def brightness(image: ImageU8, rng: Generator) -> ImageU8:
    """Multiply by 1/1.2 to 1.2."""
    factors = _per_channel(rng, 1 / 1.2, 1.2)
    return _lookup(image, np.arange(256, dtype=np.float32)[:, None] * factors)


def contrast(image: ImageU8, rng: Generator) -> ImageU8:
    """Stretch around the middle grey by 1/1.2 to 1.2."""
    factors = _per_channel(rng, 1 / 1.2, 1.2)
    return _lookup(image, 128 + (np.arange(256, dtype=np.float32)[:, None] - 128) * factors)


def grey(image: ImageU8, rng: Generator) -> ImageU8:
    """Blend with the grey image, share 0 to 0.5."""
    share = rng.uniform(0, 0.5)
    plain = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 1 - share, plain, share, 0)  # type: ignore[return-value]


def elastic(image: ImageU8, rng: Generator) -> ImageU8:
    """Move every pixel by smoothed noise: strength 0.5 to 1.5 pixel, smoothing 0.25 pixel."""
    strength = rng.uniform(0.5, 1.5)
    rows, columns = image.shape[:2]
    # Smoothing with a quarter of a pixel leaves noise as good as unchanged; it is uniform in [-1, 1] before scaling.
    fields = [np.clip(_noise((rows, columns), rng) / 1.73, -1, 1) * strength for _ in range(2)]
    x = np.arange(columns, dtype=np.float32)[None] + fields[0]
    y = np.arange(rows, dtype=np.float32)[:, None] + fields[1]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


@dataclass(frozen=True)
class Operator:
    """One row of the table of operators."""

    name: str
    apply: Callable[[ImageU8, Generator], ImageU8]


OPERATORS = (
    Operator("blur", blur),
    Operator("noise", noise),
    Operator("dropout", dropout),
    Operator("brightness", brightness),
    Operator("contrast", contrast),
    Operator("grey", grey),
    Operator("elastic", elastic),
)


def augment(image: ImageU8, probability: float, rng: Generator) -> ImageU8:
    """Apply each operator with ``probability``, in random order. Same generator state, same result."""
    for number in rng.permutation(len(OPERATORS)):
        if rng.random() < probability:
            image = OPERATORS[number].apply(image, rng)
    return image
