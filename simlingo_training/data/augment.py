"""Colour and sharpness changes of training images.

Seven operators in random order, each applied with the same probability; parameters are those of the published recipe
(Renz et al., SimLingo, 2025, and its repository). Images are (H, W, 3) uint8 RGB; all randomness comes from the generator
passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]

NOISE_SIDE = 1600
"""Side of the stored noise field; every image takes a random window, which is much cheaper than fresh normals."""


@lru_cache(maxsize=1)
def _noise_field() -> NDArray[np.float32]:
    return np.random.default_rng(20240614).standard_normal((NOISE_SIDE, NOISE_SIDE), dtype=np.float32)


@lru_cache(maxsize=1)
def _shift_field() -> NDArray[np.float32]:
    """Values in [-1, 1]: uniform noise smoothed with a quarter of a pixel is as good as unchanged."""
    return np.clip(_noise_field() / 1.73, -1, 1)


def _window(field: NDArray[np.float32], shape: tuple[int, ...], rng: Generator) -> NDArray[np.float32]:
    """A random window (H, W) of a stored field. Raises ValueError if the picture is larger than the field."""
    rows, columns = shape[:2]
    if max(rows, columns) > NOISE_SIDE:
        raise ValueError(f"pictures of at most {NOISE_SIDE} pixels a side are augmented; got {columns} x {rows}")
    top, left = (int(rng.integers(NOISE_SIDE - size + 1)) for size in (rows, columns))
    return field[top : top + rows, left : left + columns]


def _planes(
    shape: tuple[int, ...], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Noise (H, W) of the three channels: one for all, or half of the time one for each."""
    if rng.random() < 0.5:
        red, green, blue = (_window(_noise_field(), shape, rng) for _ in range(3))
        return red, green, blue
    grey_plane = _window(_noise_field(), shape, rng)
    return grey_plane, grey_plane, grey_plane


@njit(cache=True)
def _add_noise(image, scale, red, green, blue, out):  # pragma: no cover
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for channel, plane in enumerate((red, green, blue)):
                value = np.float32(image[row, column, channel]) + scale * plane[row, column]
                out[row, column, channel] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


@njit(cache=True)
def _drop_below(image, threshold, red, green, blue, out):  # pragma: no cover
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for channel, plane in enumerate((red, green, blue)):
                kept = plane[row, column] >= threshold
                out[row, column, channel] = image[row, column, channel] * np.uint8(kept)


@njit(cache=True)
def _shift_maps(strength, across, down, places, fractions):  # pragma: no cover
    """Where every pixel comes from, as OpenCV's fixed-point maps: whole pixels, and 32nds of both directions in one number."""
    for row in range(across.shape[0]):
        for column in range(across.shape[1]):
            x = np.int32(np.floor(np.float32(32) * (column + strength * across[row, column]) + np.float32(0.5)))
            y = np.int32(np.floor(np.float32(32) * (row + strength * down[row, column]) + np.float32(0.5)))
            places[row, column, 0] = x >> 5
            places[row, column, 1] = y >> 5
            fractions[row, column] = (y & 31) * 32 + (x & 31)


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
    scale = np.float32(rng.uniform(0, 0.05 * 255))
    out = np.empty_like(image)
    red, green, blue = _planes(image.shape, rng)
    _add_noise(image, scale, red, green, blue, out)
    return out


def dropout(image: ImageU8, rng: Generator) -> ImageU8:
    """Set 1 to 10 % of the pixels (half of the time: of the values) to black."""
    share = rng.uniform(0.01, 0.1)
    # The noise is normal, so the share of it below the normal quantile is the share wanted.
    threshold = np.float32(NormalDist().inv_cdf(share))
    out = np.empty_like(image)
    red, green, blue = _planes(image.shape, rng)
    _drop_below(image, threshold, red, green, blue, out)
    return out


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
    strength = np.float32(rng.uniform(0.5, 1.5))
    across, down = (_window(_shift_field(), image.shape, rng) for _ in range(2))
    places = np.empty((*image.shape[:2], 2), np.int16)
    fractions = np.empty(image.shape[:2], np.uint16)
    _shift_maps(strength, across, down, places, fractions)
    moved = cv2.remap(image, places, fractions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return moved  # type: ignore[return-value]


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


def reframe(image: ImageU8, rng: Generator) -> ImageU8:
    """Scale by 0.9 to 1.1 and move by up to 2 % of the width and 6 % of the height; the edge pixels fill what gets free."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.9, 1.1)
    across, down = rng.uniform(-0.02, 0.02) * width, rng.uniform(-0.06, 0.06) * height
    matrix = np.array(
        [[scale, 0, (1 - scale) * width / 2 + across], [0, scale, (1 - scale) * height / 2 + down]], dtype=np.float32
    )
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def hide(image: ImageU8, rng: Generator) -> ImageU8:
    """Paint one to four rectangles, 5 to 20 % of the sides long, in one colour each."""
    out = image.copy()
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        rows, columns = (max(1, int(rng.uniform(0.05, 0.2) * side)) for side in (height, width))
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        out[top : top + rows, left : left + columns] = rng.integers(0, 256, 3, dtype=np.uint8)
    return out


def relight(image: ImageU8, rng: Generator) -> ImageU8:
    """Another exposure and another colour of the light: gamma 0.7 to 1.5, channels times 0.8 to 1.25."""
    gamma = 2 ** rng.uniform(-0.6, 0.6)
    factors = np.exp(rng.uniform(-0.22, 0.22, 3)).astype(np.float32)
    return _lookup(image, 255 * np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** np.float32(gamma) * factors)


STRONG_OPERATORS = (Operator("reframe", reframe), Operator("hide", hide), Operator("relight", relight))
"""Changes beyond the published ones, for a model that sees few drives many times and would learn them by heart."""


def augment(image: ImageU8, probability: float, rng: Generator, operators: Sequence[Operator] = OPERATORS) -> ImageU8:
    """Apply each operator with ``probability``, in random order. Same generator state, same result."""
    for number in rng.permutation(len(operators)):
        if rng.random() < probability:
            image = operators[number].apply(image, rng)
    return image


def warm_up() -> None:
    """Make the noise fields and load the compiled operators, so that processes started later share them."""
    image = np.zeros((8, 8, 3), np.uint8)
    for operator in OPERATORS:
        operator.apply(image, np.random.default_rng(0))
    _shift_field()
