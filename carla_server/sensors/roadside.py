"""Houses, trees and lamps for towns whose map file lists none: rows along the roads, clear of every lane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from carla_server.map import Lane, RoadMap, nearest
from carla_server.sensors import fixtures

if TYPE_CHECKING:
    from carla_server.sensors.town import _Builder

Array = NDArray[np.float64]

SAMPLE = 1.0  # metres between points that stand for the lanes' surface
LAMP_SPACING, TREE_SPACING = 28.0, 13.0  # metres
SETBACK = 3.0  # metres between the outermost lane and a house front
STYLES = ("concrete", "brick", "sandstone", "glass", "plaster")
SPECIES = ("maple", "birch", "plane", "linden", "pine")


class Clearance:
    """Distance from any point to the nearest lane surface and to what was placed before."""

    def __init__(self, road_map: RoadMap) -> None:
        points = []
        for lane in road_map.lanes:
            if lane.type == "none":
                continue
            count = max(2, math.ceil(float(lane.width.max()) / SAMPLE) + 1)
            share = np.linspace(0, 1, count)[:, None, None]
            rows = np.clip(int(lane.length / SAMPLE) + 2, 2, 4000)
            s = np.linspace(lane.s[0], lane.s[-1], rows)
            inner, outer = (
                np.stack([np.interp(s, lane.s, line[:, k]) for k in range(2)], 1) for line in (lane.inner, lane.outer)
            )
            points.append(((1 - share) * inner + share * outer).reshape(-1, 2))
        self.lanes = nearest.tree(np.concatenate(points))
        self.taken: list[tuple[float, float, float]] = []

    def lane_distance(self, at: Array) -> float:
        """Metres to the nearest lane surface, within the sampling distance."""
        return float(self.lanes.query(at[:2])[0])

    def claim(self, at: Array, radius: float) -> bool:
        """Take a circle if nothing placed before reaches into it."""
        for x, y, r in self.taken:
            if math.hypot(at[0] - x, at[1] - y) < radius + r:
                return False
        self.taken.append((float(at[0]), float(at[1]), radius))
        return True


def _outermost(road_map: RoadMap) -> list[Lane]:
    """The lanes at the edges of the roads outside junctions."""
    edges: dict[tuple[int, int, bool], Lane] = {}
    for lane in road_map.lanes:
        if lane.junction >= 0 or lane.type == "none":
            continue
        key = (lane.key.road, lane.key.section, lane.key.lane > 0)
        if key not in edges or abs(lane.key.lane) > abs(edges[key].key.lane):
            edges[key] = lane
    return list(edges.values())


def _edge(lane: Lane, s: float) -> tuple[Array, float, float]:
    """Point of the outer border, heading along the road, and the direction (+1 right, -1 left) that leads outwards."""
    point = np.array([np.interp(s, lane.s, lane.outer[:, k]) for k in range(3)])
    ahead = np.array([np.interp(s + 0.5, lane.s, lane.outer[:, k]) for k in range(2)])
    back = np.array([np.interp(s - 0.5, lane.s, lane.outer[:, k]) for k in range(2)])
    inner = np.array([np.interp(s, lane.s, lane.inner[:, k]) for k in range(2)])
    yaw = math.atan2(*(ahead - back)[::-1])
    right = np.array([-math.sin(yaw), math.cos(yaw)])
    return point, yaw, 1.0 if (point[:2] - inner) @ right > 0 else -1.0


def furnish(builder: _Builder, road_map: RoadMap) -> None:
    """Line the roads with lamps, trees and houses."""
    clear = Clearance(road_map)
    rng = np.random.default_rng(fixtures.seed_of(road_map.name))
    edges = _outermost(road_map)
    for lane in edges:
        _lamps(builder, lane, clear)
    for lane in edges:
        _houses(builder, lane, clear, rng)
    for lane in edges:
        _trees(builder, lane, clear, rng)


def _out(point: Array, yaw: float, side: float, distance: float) -> Array:
    return point + distance * side * np.array([-math.sin(yaw), math.cos(yaw), 0.0])


def _lamps(builder: _Builder, lane: Lane, clear: Clearance) -> None:
    for s in np.arange(lane.s[0] + 6.0, lane.s[-1] - 2.0, LAMP_SPACING):
        point, yaw, side = _edge(lane, float(s))
        offset = -0.6 if lane.type == "sidewalk" else 0.8
        at = _out(point, yaw, side, offset)
        at[2] += lane.height if offset < 0 else 0.0
        if offset > 0 and clear.lane_distance(at) < 0.5:
            continue
        if clear.claim(at, 0.5):
            builder.lamp(7.0, at, yaw + (math.pi if side > 0 else 0.0))


def _houses(builder: _Builder, lane: Lane, clear: Clearance, rng: np.random.Generator) -> None:
    s = float(lane.s[0]) + 4.0
    while s < lane.s[-1] - 4.0:
        length = float(rng.uniform(12, 26))
        width = float(rng.uniform(10, 16))
        height = float(rng.choice([7.0, 10.2, 13.4, 16.6, 23.0, 29.4]) + rng.uniform(0, 1))
        style = STYLES[int(rng.integers(len(STYLES)))] if height > 8 else "house"
        point, yaw, side = _edge(lane, s + length / 2)
        at = _out(point, yaw, side, SETBACK + width / 2)
        reach = math.hypot(length, width) / 2
        corners = [
            _out(_out(at, yaw, 1.0, y), yaw + math.pi / 2, -1.0, x)
            for x in (-length / 2, 0, length / 2)
            for y in (-width / 2, 0, width / 2)
        ]
        level = abs(point[2] - _ground_level(builder)) < 1.0
        if level and min(clear.lane_distance(corner) for corner in corners) > 1.5 and clear.claim(at, 0.82 * reach):
            builder.building((length, width, height), at, yaw, style, int(rng.integers(1 << 30)))
            s += length + float(rng.uniform(1, 6))
        else:
            s += 6.0


def _ground_level(builder: _Builder) -> float:
    return float(np.median([lane.center[0, 2] for lane in builder.road_map.lanes]))


def _trees(builder: _Builder, lane: Lane, clear: Clearance, rng: np.random.Generator) -> None:
    for s in np.arange(lane.s[0] + 3.0, lane.s[-1], TREE_SPACING):
        height, spread = float(rng.uniform(5, 9)), float(rng.uniform(2.6, 4.2))
        distance = float(rng.uniform(1.4, 2.4)) if rng.random() < 0.6 else float(rng.uniform(6, 22))
        kind = SPECIES[int(rng.integers(len(SPECIES)))]
        seed = int(rng.integers(1 << 30))
        point, yaw, side = _edge(lane, float(s))
        at = _out(point, yaw, side, distance)
        if clear.lane_distance(at) > 1.1 and clear.claim(at, 1.2 if distance < 3 else spread / 2):
            builder.tree((spread, spread, height), at, float(rng.uniform(0, 6.28)), kind, seed)
