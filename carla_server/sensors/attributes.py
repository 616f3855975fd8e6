"""Reads attributes of blueprints: text, which clients write in several ways."""

from __future__ import annotations

import math
from collections.abc import Mapping

from carla_server.sensors.views import ORIGIN, CameraSpec

_ON = frozenset({"true", "yes", "on"})
#: Unreal draws no picture with more pixels in a row or a column.
MOST_PIXELS = 16384


def is_on(attributes: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Whether a switch is on: ``true``, ``yes`` or ``on`` in any case, or a number but 0, as Unreal reads them.

    Python's ``str(True)``, which CARLA's own examples set, begins with a capital; the client hands it on as it is.
    """
    text = attributes.get(name, str(default)).strip().lower()
    try:
        return text in _ON or float(text) != 0.0
    except ValueError:
        return False


def number(
    attributes: Mapping[str, str],
    name: str,
    default: float = 0.0,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> float:
    """A finite number.

    Args:
        attributes: Texts by name.
        name: Which of them.
        default: Value where it is not given.
        least: Smallest value that is allowed.
        above: Largest value that is too small.
        most: Largest value that is allowed.

    Raises:
        ValueError: The text is no number, or one out of bounds.
    """
    if name not in attributes:
        return default
    try:
        value = float(attributes[name])
    except ValueError:
        value = math.nan
    if math.isfinite(value) and least <= value <= most and value > above:
        return value
    bounds = (("at least", least), ("above", above), ("at most", most))
    wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds if math.isfinite(bound))
    raise ValueError(
        f"{name} must be a number{wanted and ' '}{wanted}, got {attributes[name]!r}; set another before spawning"
    )


def whole(attributes: Mapping[str, str], name: str, default: int = 0, **bounds: float) -> int:
    """A whole number: what stands before the point. Takes bounds and raises ValueError as `number` does."""
    return int(number(attributes, name, default, **bounds))


def camera_spec(attributes: Mapping[str, str]) -> CameraSpec:
    """Size and field of view of a camera, put at the origin.

    Raises:
        ValueError: Such a camera can take no picture.
    """
    width = whole(attributes, "image_size_x", 800, least=1, most=MOST_PIXELS)
    height = whole(attributes, "image_size_y", 600, least=1, most=MOST_PIXELS)
    return CameraSpec(width, height, number(attributes, "fov", 90.0), ORIGIN)
