"""Repeating textures for walls, leaves and signs, painted by program and packed with all their coarser levels.

Colours are gamma 2, 0 to 255. A texture multiplies the colour of its triangle, so facades carry the wall colour
themselves and leaves are a grey pattern.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

BAY = 64  # texels of one window bay each way
BAYS = 2  # bays per texture each way


@dataclass(frozen=True)
class Facade:
    """A kind of house front.

    Attributes:
        wall: Wall colour.
        pane: Window colour.
        frame: Window frame colour.
        window: Left, right, top, bottom of the window in its bay, 0 to 1.
        joints: Colour of horizontal joints, None for none.
    """

    wall: tuple[int, int, int]
    pane: tuple[int, int, int]
    frame: tuple[int, int, int]
    window: tuple[float, float, float, float]
    joints: tuple[int, int, int] | None = None


FACADES = {
    "concrete": Facade((158, 156, 150), (62, 76, 88), (96, 98, 100), (0.10, 0.90, 0.22, 0.74)),
    "brick": Facade((142, 84, 66), (58, 68, 78), (214, 208, 196), (0.26, 0.74, 0.18, 0.80), (118, 70, 58)),
    "sandstone": Facade((196, 176, 140), (66, 74, 82), (226, 214, 188), (0.24, 0.76, 0.16, 0.80), (176, 156, 122)),
    "glass": Facade((86, 104, 118), (98, 136, 160), (52, 60, 68), (0.04, 0.96, 0.05, 0.93)),
    "plaster": Facade((206, 198, 182), (60, 70, 80), (120, 84, 60), (0.28, 0.72, 0.20, 0.78)),
    "shop": Facade((112, 104, 98), (72, 88, 96), (40, 40, 44), (0.06, 0.94, 0.26, 0.96)),
    "house": Facade((214, 204, 180), (62, 72, 84), (236, 236, 232), (0.30, 0.70, 0.24, 0.72)),
}


def _noise(size: int, seed: int, strength: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    fine = rng.standard_normal((size, size)).astype(np.float32)
    coarse = cv2.resize(rng.standard_normal((8, 8)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return strength * (0.7 * fine + coarse)


def _facade_image(row: Facade, seed: int) -> Image:
    size = BAY * BAYS
    image = np.empty((size, size, 3), np.float32)
    image[:] = row.wall
    image += _noise(size, seed, 4.0)[..., None]
    if row.joints is not None:
        for y in range(0, size, 5):
            image[y] = 0.5 * image[y] + 0.5 * np.array(row.joints)
    left, right, top, bottom = row.window
    rng = np.random.default_rng(seed + 1)
    for j in range(BAYS):
        for i in range(BAYS):
            x0, x1 = int((i + left) * BAY), int((i + right) * BAY)
            y0, y1 = int((j + top) * BAY), int((j + bottom) * BAY)
            image[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = row.frame
            shade = np.linspace(1.25, 0.8, y1 - y0)[:, None, None] * rng.uniform(0.8, 1.15)
            image[y0:y1, x0:x1] = np.array(row.pane) * shade
            if rng.random() < 0.4:
                image[y0 : y0 + (y1 - y0) // 3, x0:x1] = np.array((196, 190, 176)) * rng.uniform(0.7, 1.0)
            image[y0:y1, (x0 + x1) // 2 - 1 : (x0 + x1) // 2 + 1] = row.frame
            image[min(y1 + 2, size - 2) : min(y1 + 5, size - 1), x0 - 3 : x1 + 3] *= 0.78
    return np.clip(image, 0, 255).astype(np.uint8)


def _leaves(seed: int, low: float) -> Image:
    rng = np.random.default_rng(seed)
    noise = rng.random((64, 64)).astype(np.float32)
    soft = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 1.6)[64:128, 64:128]
    rank = soft.ravel().argsort().argsort().reshape(64, 64) / 4095.0
    value = 255 * (low + (1 - low) * rank**0.8)
    return np.repeat(value[..., None], 3, axis=2).astype(np.uint8)


def _stop_sign() -> Image:
    image = np.full((64, 64, 3), (188, 22, 28), np.uint8)
    ring = np.array([(32 + 30 * np.cos(a), 32 + 30 * np.sin(a)) for a in np.radians(np.arange(8) * 45 + 22.5)])
    cv2.polylines(image, [ring.astype(np.int32)], True, (245, 245, 245), 2, cv2.LINE_AA)
    cv2.putText(image, "STOP", (9, 38), cv2.FONT_HERSHEY_DUPLEX, 0.58, (245, 245, 245), 1, cv2.LINE_AA)
    return image


def _speed_sign(value: int) -> Image:
    image = np.full((64, 64, 3), 245, np.uint8)
    cv2.circle(image, (32, 32), 27, (196, 24, 26), 6, cv2.LINE_AA)
    text = str(value)
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 0.8 if value < 100 else 0.6, 2)
    at = ((64 - wide) // 2, (64 + tall) // 2)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_DUPLEX, 0.8 if value < 100 else 0.6, (20, 20, 22), 2, cv2.LINE_AA)
    return image


def _yield_sign() -> Image:
    image = np.full((64, 64, 3), (196, 24, 26), np.uint8)
    cv2.fillConvexPoly(image, np.array([(14, 12), (50, 12), (32, 46)]), (245, 245, 245), cv2.LINE_AA)
    return image


SPEEDS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130)

_PAINTERS: dict[str, Callable[[], Image]] = {
    **{name: functools.partial(_facade_image, row, 20 + k) for k, (name, row) in enumerate(FACADES.items())},
    "leaves": functools.partial(_leaves, 1, 0.45),
    "needles": functools.partial(_leaves, 2, 0.35),
    "stop": _stop_sign,
    "yield": _yield_sign,
    **{f"speed_{value}": functools.partial(_speed_sign, value) for value in SPEEDS},
}
TEXTURES = {name: number for number, name in enumerate(_PAINTERS)}


@functools.lru_cache(maxsize=1)
def atlas() -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All textures.

    Returns:
        Packed texels of every texture and level, and (K, 3) int64 rows: offset, log2 of width, log2 of height. v grows
        upwards.
    """
    parts, specs, at = [], [], 0
    for paint in _PAINTERS.values():
        image = np.ascontiguousarray(paint()[::-1])
        bits_v, bits_u = (int(size).bit_length() - 1 for size in image.shape[:2])
        specs.append((at, bits_u, bits_v))
        while True:
            r, g, b = np.moveaxis(image.astype(np.uint32), 2, 0)
            parts.append(((r << 20) | (g << 10) | b).ravel())
            at += image.shape[0] * image.shape[1]
            if image.shape[:2] == (1, 1):
                break
            size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.concatenate(parts), np.array(specs, np.int64)
