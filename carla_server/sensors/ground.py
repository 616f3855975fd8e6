"""What the ground looks like from above: a palette image of the town with finer-to-coarser levels.

Every horizontal surface of a town (carriageway, kerb tops, verge, terrain) takes its colour from one image looked up by
world x and y, so overlapping lanes of a junction never quarrel and markings are painted with soft edges once. Texels are
palette indices; light and wetness act on the palette's 256 colours, not on the texels.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from carla_server.map import Lane, LaneMarking, RoadMap, nearest
from carla_server.sensors.views import Tag

Array = NDArray[np.float64]

BLOCK = 1024  # texels; levels are made block by block
LEVELS = 10
FINEST = 16.0  # texels per metre of level 0 in towns up to LARGE_TOWN
LARGE_TOWN = 700.0 * 700.0  # m2; larger towns get coarser texels so that memory stays below a hundred megabytes
MARGIN = 40.0  # metres of open ground around the roads
OVERLAP, CLEARANCE = 5.0, 3.0  # metres apart in plan and in height where one road passes above another
SHIFT = 4  # fractional bits for OpenCV's drawing

DASH, GAP = 3.0, 5.0  # metres of a broken line
DOUBLE_GAP = 0.12  # metres between the middles of a double line and the border


@dataclass(frozen=True)
class Surface:
    """A ramp of 16 palette entries: what a surface looks like from darkest to lightest grain.

    Attributes:
        name: For reading.
        first: First palette index.
        low: Gamma-2 colour of the darkest grain, 0 to 255.
        high: Gamma-2 colour of the lightest grain.
        tag: Semantic tag.
        gloss: How much a wet surface mirrors.
    """

    name: str
    first: int
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    tag: Tag
    gloss: float


SURFACES = {
    row.name: row
    for row in (
        Surface("grass", 0, (66, 84, 44), (116, 132, 78), Tag.TERRAIN, 0.1),
        Surface("asphalt", 16, (70, 70, 73), (112, 112, 114), Tag.ROADS, 1.0),
        Surface("sidewalk", 32, (128, 124, 118), (168, 164, 156), Tag.SIDEWALKS, 0.5),
        Surface("shoulder", 48, (84, 83, 83), (124, 122, 120), Tag.ROADS, 0.8),
        Surface("biking", 64, (98, 66, 60), (136, 92, 84), Tag.ROADS, 0.8),
        Surface("soil", 80, (96, 84, 66), (134, 120, 96), Tag.TERRAIN, 0.1),
        Surface("white", 96, (92, 92, 94), (232, 232, 228), Tag.ROAD_LINES, 0.8),
        Surface("yellow", 112, (92, 92, 92), (226, 180, 60), Tag.ROAD_LINES, 0.8),
        Surface("asphalt_grass", 128, (91, 91, 93), (91, 108, 61), Tag.ROADS, 0.4),
        Surface("asphalt_sidewalk", 144, (91, 91, 93), (148, 144, 137), Tag.ROADS, 0.6),
        Surface("sidewalk_grass", 160, (91, 108, 61), (148, 144, 137), Tag.SIDEWALKS, 0.3),
        Surface("kerb", 176, (140, 138, 132), (184, 180, 174), Tag.SIDEWALKS, 0.5),
        Surface("paving", 192, (118, 112, 106), (150, 142, 136), Tag.SIDEWALKS, 0.6),
        Surface("rail", 208, (90, 86, 82), (140, 136, 130), Tag.RAIL_TRACK, 0.6),
        Surface("red", 224, (92, 92, 92), (178, 52, 44), Tag.ROAD_LINES, 0.8),
        Surface("water", 240, (40, 58, 70), (62, 84, 96), Tag.WATER, 1.0),
    )
}

LANE_SURFACE = {
    "driving": "asphalt",
    "bidirectional": "asphalt",
    "entry": "asphalt",
    "exit": "asphalt",
    "onRamp": "asphalt",
    "offRamp": "asphalt",
    "parking": "shoulder",
    "shoulder": "shoulder",
    "stop": "shoulder",
    "biking": "biking",
    "sidewalk": "sidewalk",
    "walking": "sidewalk",
    "median": "soil",
    "restricted": "soil",
    "border": "soil",
    "curb": "kerb",
    "rail": "rail",
    "tram": "rail",
    "none": "grass",
}
# Later ones are painted over earlier ones.
_ORDER = ("grass", "soil", "sidewalk", "paving", "kerb", "shoulder", "biking", "rail", "asphalt")


@functools.lru_cache(maxsize=1)
def base_palette() -> NDArray[np.uint8]:
    """(256, 3) gamma-2 RGB of a dry town."""
    table = np.zeros((256, 3))
    for row in SURFACES.values():
        share = np.linspace(0, 1, 16)[:, None]
        table[row.first : row.first + 16] = (1 - share) * np.array(row.low) + share * np.array(row.high)
    return table.round().astype(np.uint8)


@functools.lru_cache(maxsize=1)
def texel_tags() -> NDArray[np.uint8]:
    """(256,) tag of each palette entry; a marking counts as a road line from half its cover on."""
    tags = np.zeros(256, np.uint8)
    for row in SURFACES.values():
        tags[row.first : row.first + 16] = row.tag
        if row.tag == Tag.ROAD_LINES:
            tags[row.first : row.first + 7] = Tag.ROADS
    return tags


@functools.lru_cache(maxsize=1)
def texel_gloss() -> NDArray[np.float32]:
    """(256,) mirror share of each palette entry when wet."""
    gloss = np.zeros(256, np.float32)
    for row in SURFACES.values():
        gloss[row.first : row.first + 16] = row.gloss
    return gloss


@functools.lru_cache(maxsize=1)
def _nearest_entry() -> NDArray[np.uint8]:
    """(32, 32, 32) palette entry nearest to each 5-bit RGB colour."""
    axis = np.arange(32) * 8 + 4
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    palette = base_palette()[: SURFACES["rail"].first].astype(np.float32)
    best = np.concatenate([((part[:, None] - palette) ** 2).sum(2).argmin(1) for part in np.array_split(grid, 32)])
    return best.astype(np.uint8).reshape(32, 32, 32)


@functools.lru_cache(maxsize=1)
def _grain() -> NDArray[np.uint8]:
    """(BLOCK, BLOCK) repeating grain, 0 to 15: coarse patches and fine stones."""
    rng = np.random.default_rng(7)
    total = np.zeros((BLOCK, BLOCK), np.float32)
    for cells, weight in ((8, 1.0), (32, 0.9), (128, 0.7), (512, 1.3), (1024, 1.5)):
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        wrapped = np.pad(noise, 2, mode="wrap")
        size = BLOCK * (cells + 4) // cells
        big = cv2.resize(wrapped, (size, size), interpolation=cv2.INTER_CUBIC)
        edge = 2 * BLOCK // cells
        total += weight * big[edge : edge + BLOCK, edge : edge + BLOCK]
    total = (total - total.mean()) / total.std()
    return np.clip(7.5 + 2.6 * total, 0, 15).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _Paint:
    """Polygons to fill with one surface. `quads` is (Q, K, 2) world metres; `low`, `high` (Q, 2) their bounds."""

    surface: str
    quads: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class GroundImage:
    """The finished image.

    Attributes:
        texels: (B,) uint8 palette indices, all levels one after another, rows along x, y growing.
        levels: (K, L, 6) float64: offset in `texels`, width, height, x and y of the corner (metres), texels per metre.
            Image 0 is the ground; image 1, if any, the roads that pass above others.
    """

    texels: NDArray[np.uint8]
    levels: Array


def _paint(surface: str, quads: Array) -> _Paint:
    return _Paint(surface, quads, quads.min(axis=1), quads.max(axis=1))


def strip(line: Array, half_width: float, offset: float = 0.0) -> Array:
    """(N - 1, 4, 2) quads along a polyline (N, >= 2), `offset` metres to its right (y south) of the middle."""
    points = line[:, :2]
    tangent = np.gradient(points, axis=0) if len(points) > 1 else np.zeros_like(points)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    right = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    low, high = points + (offset - half_width) * right, points + (offset + half_width) * right
    return np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1)


def cut(line: Array, start: float, end: float) -> Array:
    """The part of a polyline between two distances along it, metres, ends interpolated."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    at = np.concatenate([[start], length[(length > start) & (length < end)], [end]])
    return np.stack([np.interp(at, length, line[:, k]) for k in range(line.shape[1])], axis=1)


def _dashes(line: Array) -> list[Array]:
    length = float(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1).sum())
    return [cut(line, s, min(s + DASH, length)) for s in np.arange(GAP / 2, length, DASH + GAP) if length - s > 0.3]


def _marking_paints(marking: LaneMarking) -> Iterator[_Paint]:
    """Painted quads of one lane marking; kerbs and unmarked borders have none."""
    words = [word for word in marking.type.split() if word in ("solid", "broken")]
    if not words or len(marking.line) < 2 or marking.junction >= 0:
        return
    surface = "yellow" if marking.color == "yellow" else "white"
    half = 0.5 * (marking.width if 0.05 < marking.width < 0.6 else 0.15)
    offsets = [0.0] if len(words) == 1 else [-DOUBLE_GAP, DOUBLE_GAP]
    for word, offset in zip(words, offsets):
        for piece in [marking.line] if word == "solid" else _dashes(marking.line):
            quads = strip(piece, half, offset)
            if len(quads):
                yield _paint(surface, quads)


def _crosswalk_paint(polygon: Array) -> _Paint | None:
    """Zebra stripes along the direction of traffic, filling a crossing."""
    points = polygon[:, :2]
    middle = points.mean(axis=0)
    (_, (a, b), angle) = cv2.minAreaRect((points - middle).astype(np.float32))
    center = middle + np.array(cv2.minAreaRect((points - middle).astype(np.float32))[0])
    turn = np.radians(angle)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    if b > a:
        a, b, along, across = b, a, across, along
    if b < 0.5:
        return None
    rows = []
    for s in np.arange(-a / 2 + 0.25, a / 2 - 0.4, 1.0):
        low, high = center + s * along, center + (s + 0.5) * along
        side = 0.5 * (b - 0.2) * across
        rows.append([low - side, high - side, high + side, low + side])
    return _paint("white", np.array(rows)) if rows else None


def _lane_quads(lane: Lane) -> Array:
    inner, outer = lane.inner[:, :2], lane.outer[:, :2]
    return np.stack([inner[:-1], inner[1:], outer[1:], outer[:-1]], axis=1)


def _stop_line_paints(road_map: RoadMap, roads: Collection[int]) -> Iterator[_Paint]:
    for signal in road_map.signals.values():
        if signal.stop_left is None or signal.stop_right is None or signal.kind.name not in ("TRAFFIC_LIGHT", "STOP"):
            continue
        line = np.stack([signal.stop_left, signal.stop_right])[:, :2]
        if signal.road in roads and np.linalg.norm(line[1] - line[0]) > 0.5:
            yield _paint("white", strip(line, 0.2))


def upper_roads(road_map: RoadMap) -> frozenset[int]:
    """Roads that pass above another one somewhere."""
    points = np.concatenate([lane.center for lane in road_map.lanes])
    if np.ptp(points[:, 2]) < CLEARANCE:
        return frozenset()
    roads = np.concatenate([np.full(len(lane.center), lane.key.road) for lane in road_map.lanes])
    tree = nearest.tree(points[:, :2])
    pairs = tree.query_pairs(OVERLAP, output_type="ndarray")
    rise = points[pairs[:, 0], 2] - points[pairs[:, 1], 2]
    above = np.concatenate([pairs[rise > CLEARANCE, 0], pairs[rise < -CLEARANCE, 1]])
    return frozenset(roads[above].tolist())


def paints_of(road_map: RoadMap, roads: Collection[int]) -> list[_Paint]:
    """Everything painted on some of a town's roads, in painting order."""
    surfaces: dict[str, list[Array]] = {name: [] for name in _ORDER}
    lanes = [lane for lane in road_map.lanes if lane.key.road in roads]
    for lane in lanes:
        surface = LANE_SURFACE.get(lane.type, "shoulder")
        surfaces[surface].append(_lane_quads(lane))
        if surface == "sidewalk" and len(lane.inner) > 1:
            surfaces["kerb"].append(strip(lane.inner, 0.15))
    paints = [
        _paint("asphalt", np.asarray(polygon)[None, :, :2])
        for junction in road_map.junctions.values()
        if set(junction.roads) <= set(roads)
        for polygon in junction.surface
    ]
    paints += [_paint(name, np.concatenate(rows)) for name, rows in surfaces.items() if rows]
    for marking in road_map.markings:
        if marking.key.road in roads:
            paints.extend(_marking_paints(marking))
    for crosswalk in road_map.crosswalks:
        stripes = _crosswalk_paint(crosswalk.polygon) if crosswalk.road in roads else None
        if stripes is not None:
            paints.append(stripes)
    paints.extend(_stop_line_paints(road_map, roads))
    return paints


def draw_ground(road_map: RoadMap) -> GroundImage:
    """Paint a town's ground image. Takes about a second for half a kilometre square."""
    low, high = (corner[:2] for corner in road_map.bounds)
    low, high = low - MARGIN, high + MARGIN
    per_m = FINEST
    while np.prod(high - low) * per_m**2 > LARGE_TOWN * FINEST**2:
        per_m /= 2
    upper = upper_roads(road_map)
    ground = {lane.key.road for lane in road_map.lanes} - upper
    parts = [_draw_image(paints_of(road_map, ground), low, high, per_m)]
    if upper:
        # Half as fine: such roads are few and mostly seen from themselves.
        parts.append(_draw_image(paints_of(road_map, upper), low, high, per_m / 2))
    offsets = np.cumsum([0] + [len(texels) for texels, _ in parts])
    tables = []
    for (_, levels), offset in zip(parts, offsets):
        levels[:, 0] += offset
        tables.append(levels)
    return GroundImage(np.concatenate([texels for texels, _ in parts]), np.stack(tables))


def _draw_image(paints: list[_Paint], low: Array, high: Array, per_m: float) -> tuple[NDArray[np.uint8], Array]:
    """All levels of one image, and their table."""
    side = BLOCK / per_m
    count = np.ceil((high - low) / side).astype(int)
    shapes = [(count[1] * BLOCK >> k, count[0] * BLOCK >> k) for k in range(LEVELS)]
    images = [np.empty(shape, np.uint8) for shape in shapes]
    empty = _levels(_grain() + np.uint8(SURFACES["grass"].first))
    for j in range(count[1]):
        for i in range(count[0]):
            corner = low + np.array([i, j]) * side
            block = _draw_block(paints, corner, per_m)
            for k, part in enumerate(empty if block is None else _levels(block)):
                size = BLOCK >> k
                images[k][j * size : (j + 1) * size, i * size : (i + 1) * size] = part
    offsets = np.concatenate([[0], np.cumsum([image.size for image in images])])
    levels = [(offsets[k], shapes[k][1], shapes[k][0], low[0], low[1], per_m / 2**k) for k in range(LEVELS)]
    return np.concatenate([image.ravel() for image in images]), np.array(levels, np.float64)


def _draw_block(paints: list[_Paint], corner: Array, per_m: float) -> NDArray[np.uint8] | None:
    """One (BLOCK, BLOCK) part of level 0, or None where nothing but grass lies."""
    end = corner + BLOCK / per_m
    surface = np.full((BLOCK, BLOCK), SURFACES["grass"].first, np.uint8)
    covers: dict[str, NDArray[np.uint8]] = {}
    touched = False
    for paint in paints:
        near = ((paint.high > corner) & (paint.low < end)).all(axis=1)
        if not near.any():
            continue
        touched = True
        points = np.round((paint.quads[near] - corner) * (per_m * (1 << SHIFT)) - (1 << SHIFT) / 2).astype(np.int32)
        row = SURFACES[paint.surface]
        if row.tag == Tag.ROAD_LINES:
            cover = covers.setdefault(paint.surface, np.zeros((BLOCK, BLOCK), np.uint8))
            for corners in points:
                cv2.fillConvexPoly(cover, corners, 255, cv2.LINE_AA, SHIFT)
        else:
            for corners in points:
                if len(corners) == 4:
                    cv2.fillConvexPoly(surface, corners, row.first, cv2.LINE_8, SHIFT)
                else:
                    cv2.fillPoly(surface, [corners], row.first, cv2.LINE_8, SHIFT)
    if not touched:
        return None
    grain = _grain()
    image = surface + grain
    for name, cover in covers.items():
        worn = (cover >> 4) - (cover >> 4) * (grain > 12) // 4
        image = np.where(cover >= 16, SURFACES[name].first + worn, image)
    return image.astype(np.uint8)


def _levels(block: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """A block and its halvings, each texel the palette entry nearest to the mean of four."""
    color = base_palette()[block]
    rows = [block]
    for k in range(1, LEVELS):
        color = np.asarray(cv2.resize(color, (BLOCK >> k, BLOCK >> k), interpolation=cv2.INTER_AREA), np.uint8)
        index = color >> 3
        rows.append(_nearest_entry()[index[..., 0], index[..., 1], index[..., 2]])
    return rows


def packed_palette(darken: NDArray[np.float32] | None = None) -> NDArray[np.uint32]:
    """(256,) texels in fields of 10 bits, gloss in quarters above; `darken` (256,) multiplies the gamma-2 channels."""
    table = base_palette().astype(np.float32)
    if darken is not None:
        table = table * darken[:, None]
    r, g, b = np.clip(table, 0, 255).astype(np.uint32).T
    gloss = np.round(texel_gloss() * 3).astype(np.uint32)
    return (gloss << 30) | (r << 20) | (g << 10) | b
