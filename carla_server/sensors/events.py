"""Sensors that report when something happens: collision and obstacle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from carla_server.sensors.attributes import is_on, number


def event(self_actor: list[Any], other_actor: list[Any], detail: Any) -> bytes:
    """Payload of a collision (detail: normal impulse, kg m/s) or of an obstacle (detail: distance, metres)."""
    return msgpack.packb([self_actor, other_actor, detail], use_bin_type=True)


class Collision:
    """sensor.other.collision: one message per contact of the actor that carries it."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.attributes = attributes


class Obstacle:
    """sensor.other.obstacle: the nearest thing that a sphere moved forward from the sensor would hit.

    Attributes:
        distance: How far it looks, metres.
        radius: Of the sphere, metres.
        only_dynamics: Whether it sees only vehicles and walkers.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.distance = number(attributes, "distance", 5.0, least=0.0)
        self.radius = number(attributes, "hit_radius", 0.5, least=0.0)
        self.only_dynamics = is_on(attributes, "only_dynamics")

    def nearest(
        self, origin: tuple[float, ...], yaw_deg: float, boxes: NDArray[np.float64]
    ) -> tuple[int, float] | None:
        """First box hit.

        Args:
            origin: World position of the sensor, metres.
            yaw_deg: Where it looks, degrees.
            boxes: (B, 8) boxes: middle, cos and sin of the heading, half sizes; metres.

        Returns:
            Index of the box and distance along the path, metres; None if the path is free.
        """
        best: tuple[int, float] | None = None
        cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
        for index, (x, y, z, box_cos, box_sin, hx, hy, hz) in enumerate(boxes.tolist()):
            dx, dy = origin[0] - x, origin[1] - y
            if abs(origin[2] - z) > hz + self.radius or math.hypot(dx, dy) > self.distance + hx + hy + self.radius:
                continue
            local = (dx * box_cos + dy * box_sin, -dx * box_sin + dy * box_cos)
            ray = (cos * box_cos + sin * box_sin, -cos * box_sin + sin * box_cos)
            hit = _enter(local, ray, (hx + self.radius, hy + self.radius))
            if hit is not None and hit <= self.distance and (best is None or hit < best[1]):
                best = index, hit
        return best


def _enter(point: tuple[float, float], ray: tuple[float, float], half: tuple[float, float]) -> float | None:
    """Distance along `ray` at which `point` enters a centred rectangle; 0 inside it, None if it never does."""
    first, last = 0.0, math.inf
    for at, step, size in zip(point, ray, half):
        if abs(step) < 1e-12:
            if abs(at) > size:
                return None
            continue
        near, far = sorted(((-size - at) / step, (size - at) / step))
        first, last = max(first, near), min(last, far)
    return first if first <= last else None
