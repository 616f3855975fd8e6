"""Buildings, trees, lamps and street furniture along the streets, drawn at random from tables."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator

from carla_server.map.generator.document import RoadSpec, element
from carla_server.map.generator.plan import Profile, TownPlan
from carla_server.map.generator.regulation import Ids
from carla_server.map.generator.streets import kerb_width
from carla_server.map.road_map import RoadMap

Interval = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """Things of one kind that stand in a row along one side of a street.

    Attributes:
        type: OpenDRIVE object type.
        name: What it is.
        along: Extent along the street, metres (lowest, highest).
        across: Extent across the street, metres.
        height: Metres.
        gap: Free space to the next one, metres.
        setback: Distance of its near side from the outer edge of the street, metres; negative from the kerb outwards.
        share: Fraction of places that are filled.
        subtypes: Looks to choose from.
        on_sidewalk: Whether it may stand on a sidewalk.
        faces_road: Whether its heading points to the road (lamps) instead of along it.
        margin: Part of the street's ends kept free, metres.
        sink: How deep its foundation reaches into sloping ground, metres.
    """

    type: str
    name: str
    along: Interval
    across: Interval
    height: Interval
    gap: Interval
    setback: Interval
    share: float = 1.0
    subtypes: tuple[str, ...] = ("",)
    on_sidewalk: bool = False
    faces_road: bool = False
    margin: float = 6.0
    sink: float = 0.0


_FACADES = ("brick", "plaster", "concrete", "glass", "sandstone")
_COTTAGES = ("plaster", "brick", "wood")
_SPECIES = ("plane", "linden", "maple", "birch")
#: Stands 0.35 m beyond the kerb.
_AT_KERB = (-0.35, -0.35)
_LAMP = Row(
    "pole", "StreetLamp", (0.25, 0.25), (0.25, 0.25), (6.5, 6.5), (27, 29), _AT_KERB, 1.0, ("lamp",), True, True
)

#: What lines the streets, by kind of development; earlier rows take their place first.
DEVELOPMENTS: dict[str, tuple[Row, ...]] = {
    "city": (
        _LAMP,
        Row("obstacle", "BusStop", (4, 4), (1.5, 1.5), (2.6, 2.6), (140, 200), (0.3, 0.3), 0.6, ("shelter",)),
        Row("building", "Building", (13, 26), (12, 18), (9, 30), (0.5, 6), (3.2, 4.5), 0.95, _FACADES),
        Row("tree", "Tree", (2.6, 3.4), (2.6, 3.4), (5, 8), (6, 14), (0.1, 0.2), 0.7, _SPECIES),
        Row("obstacle", "Bench", (1.8, 1.8), (0.6, 0.6), (0.85, 0.85), (24, 45), (0.2, 0.4), 0.8, ("wood",)),
        Row("obstacle", "TrashBin", (0.5, 0.5), (0.5, 0.5), (1.0, 1.0), (30, 55), (0.15, 0.15), 0.8, ("metal",)),
        Row("obstacle", "Hydrant", (0.3, 0.3), (0.3, 0.3), (0.75, 0.75), (55, 90), _AT_KERB, 0.7, ("red",), True),
    ),
    "park": (
        _LAMP,
        Row("obstacle", "Bench", (1.8, 1.8), (0.6, 0.6), (0.85, 0.85), (14, 24), (0.3, 0.5), 0.9, ("wood",)),
        Row("tree", "Tree", (4, 6), (4, 6), (7, 12), (3, 7), (2, 5), 0.9, _SPECIES),
        Row("tree", "Tree", (4, 7), (4, 7), (7, 13), (4, 12), (11, 18), 0.9, _SPECIES),
        Row("vegetation", "Bush", (1.5, 3), (1.5, 2.5), (1, 1.6), (8, 20), (7, 10), 0.7, ("bush",)),
    ),
    "suburb": (
        _LAMP,
        Row("building", "House", (9, 14), (8, 11), (5, 8.5), (8, 16), (7, 10), 0.95, _COTTAGES),
        Row("vegetation", "Hedge", (5, 9), (0.8, 0.8), (1.1, 1.5), (4, 9), (1.2, 1.2), 0.7, ("hedge",)),
        Row("tree", "Tree", (3, 5), (3, 5), (5, 9), (7, 16), (2.5, 4.5), 0.8, _SPECIES),
        Row("obstacle", "TrashBin", (0.5, 0.5), (0.5, 0.5), (1.0, 1.0), (18, 40), (0.2, 0.2), 0.8, ("plastic",)),
        Row("barrier", "Fence", (6, 12), (0.12, 0.12), (1.0, 1.2), (10, 22), (0.6, 0.6), 0.6, ("wood",)),
    ),
    "rural": (
        Row("building", "Barn", (14, 24), (9, 13), (5, 8), (90, 190), (14, 22), 0.8, _COTTAGES, margin=30, sink=1.5),
        Row("tree", "Tree", (3, 6), (3, 6), (6, 12), (9, 30), (4, 9), 0.75, _SPECIES),
        Row("tree", "Tree", (4, 7), (4, 7), (7, 14), (6, 25), (12, 22), 0.8, _SPECIES),
        Row("vegetation", "Bush", (1.2, 2.6), (1.2, 2.6), (0.8, 1.6), (12, 32), (2.5, 4), 0.7, ("bush",)),
    ),
    "highway": (
        Row(
            "barrier",
            "GuardRail",
            (7.95, 7.95),
            (0.3, 0.3),
            (0.8, 0.8),
            (0.05, 0.05),
            (0.4, 0.4),
            1.0,
            ("steel",),
            margin=0.0,
        ),
        Row("pole", "StreetLamp", (0.3, 0.3), (0.3, 0.3), (10, 10), (44, 46), (1.2, 1.2), 1.0, ("mast",), False, True),
        Row("tree", "Tree", (4, 7), (4, 7), (7, 14), (8, 30), (9, 18), 0.7, _SPECIES),
        Row("vegetation", "Bush", (1.5, 3), (1.5, 3), (0.9, 1.8), (10, 26), (4, 7), 0.7, ("bush",)),
    ),
    "none": (),
}


class Ground:
    """What is already taken: lanes, and the outlines of things placed so far. In OpenDRIVE's frame."""

    def __init__(self, bare: RoadMap) -> None:
        every, without_sidewalks = [], []
        for lane in bare.lanes:
            ring = np.concatenate((lane.inner[:, :2], lane.outer[::-1, :2])) * (1.0, -1.0)
            strip = shapely.Polygon(ring).buffer(0.05)
            every.append(strip)
            if lane.type != "sidewalk":
                without_sidewalks.append(strip)
        paved = [shapely.Polygon(ring[:, :2] * (1.0, -1.0)) for row in bare.junctions.values() for ring in row.surface]
        self._every = shapely.union_all([*every, *paved])
        self._traffic = shapely.union_all([*without_sidewalks, *paved])
        shapely.prepare(self._every)
        shapely.prepare(self._traffic)
        self._placed: list[shapely.Polygon] = []

    def take(self, outline: shapely.Polygon, on_sidewalk: bool) -> bool:
        """Reserve an outline; False if it touches a lane or something placed before."""
        lanes = self._traffic if on_sidewalk else self._every
        if lanes.intersects(outline) or np.any(shapely.intersects(outline, self._placed)):
            return False
        self._placed.append(outline)
        return True


def furnish(plan: TownPlan, streets: dict[str, RoadSpec], bare: RoadMap, ids: Ids) -> None:
    """Add objects to the roads of `streets`, clear of every lane and of each other.

    Args:
        plan: The town.
        streets: Roads by street name; objects are appended to them.
        bare: The same network, parsed, without objects.
        ids: Source of object ids.
    """
    rng = np.random.default_rng(plan.seed)
    ground = Ground(bare)
    rows = max(len(development) for development in DEVELOPMENTS.values())
    # Row by row over all streets, so that a street's trees never take the place of another street's buildings.
    for rank in range(rows):
        for name, road in streets.items():
            street = plan.streets[name]
            development = DEVELOPMENTS[street.development]
            if rank < len(development):
                profile = plan.profiles[street.profile]
                for sign in (-1, 1):
                    _place_row(development[rank], road, profile, sign, rng, ground, ids.objects)


def _place_row(
    row: Row, road: RoadSpec, profile: Profile, sign: int, rng: Generator, ground: Ground, ids: Iterator[int]
) -> None:
    strips = profile.right if sign < 0 else profile.left
    edge, kerb = sum(strip.width for strip in strips), kerb_width(strips)
    s = row.margin + rng.uniform(0.0, 0.5 * row.gap[1])
    while s < road.curve.length - row.margin:
        along, across, height = (rng.uniform(*extent) for extent in (row.along, row.across, row.height))
        setback, gap, subtype = rng.uniform(*row.setback), rng.uniform(*row.gap), rng.choice(row.subtypes)
        inner = edge + setback if setback >= 0 else kerb - setback
        middle, t = s + 0.5 * along, sign * (inner + 0.5 * across)
        pose = road.curve.at(middle).moved(0.0, t)
        outline = _box(pose.x, pose.y, pose.heading, along, across)
        fits = middle + 0.5 * along <= road.curve.length and rng.random() < row.share
        if fits and ground.take(outline, row.on_sidewalk):
            hdg = -sign * math.pi / 2 if row.faces_road else 0.0
            road.objects.append(_object(row, next(ids), str(subtype), (middle, t, hdg), (along, across, height)))
        s += along + gap


def _object(
    row: Row, key: int, subtype: str, place: tuple[float, float, float], size: tuple[float, float, float]
) -> ET.Element:
    """An object at (s, t, heading) with extents along, across and up."""
    s, t, heading = place
    along, across, height = (round(extent, 2) for extent in size)
    return element(
        "object",
        id=key,
        name=row.name,
        type=row.type,
        subtype=subtype,
        s=s,
        t=t,
        zOffset=-row.sink,
        hdg=heading,
        pitch=0.0,
        roll=0.0,
        orientation="none",
        length=along,
        width=across,
        height=round(height + row.sink, 2),
    )


def _box(x: float, y: float, heading: float, length: float, width: float) -> shapely.Polygon:
    cos, sin = math.cos(heading), math.sin(heading)
    corners = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
    return shapely.Polygon(
        [(x + u * length * cos - v * width * sin, y + u * length * sin + v * width * cos) for u, v in corners]
    )
