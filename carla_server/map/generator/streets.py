"""Streets become roads: a reference line between two junction mouths, lane sections, markings, elevation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from carla_server.map.generator.curves import Curve, Pose, polyline
from carla_server.map.generator.document import LaneSpec, Mark, RoadSpec, SectionSpec
from carla_server.map.generator.plan import Node, Profile, Street, Strip, TownPlan

#: Length before a junction where nobody parks and lanes are parted by solid lines, metres.
CLEAR_OF_PARKING, SOLID_APPROACH = 14.0, 18.0
#: Kerb height of sidewalks, metres.
KERB = 0.15
#: An arm that leaves a node at more than this angle from its neighbour needs no rounded corner between them, radians.
OPPOSITE = math.radians(165.0)
#: Shortest distance between a node and the mouth of an arm, metres.
LEAST_CLEARANCE = 6.0


@dataclass(frozen=True)
class StripPlace:
    """A strip at a junction mouth: its lane id, its type there, and where it lies beside the reference line."""

    lane: int
    type: str
    inner: float
    width: float


@dataclass(frozen=True)
class Arm:
    """One end of a street at a node.

    Attributes:
        street: The street.
        profile: Its cross-section.
        road: Its road id.
        at_end: Whether the road ends here (else it begins here).
        mouth: End of the reference line, heading into the junction.
        incoming: Strips on the side where traffic enters the junction, from the centre outwards.
        outgoing: Strips on the other side, from the centre outwards.
    """

    street: Street
    profile: Profile
    road: int
    at_end: bool
    mouth: Pose
    incoming: tuple[StripPlace, ...]
    outgoing: tuple[StripPlace, ...]

    def entry(self, inner: float) -> Pose:
        """Pose at the mouth on the incoming side, `inner` metres from the reference line, heading in."""
        return self.mouth.moved(0.0, -inner)

    def exit(self, inner: float) -> Pose:
        """Pose at the mouth on the outgoing side, `inner` metres from the reference line, heading out."""
        return self.mouth.moved(0.0, inner).turned(math.pi)


def strip_places(strips: tuple[Strip, ...], sign: int, at_mouth: bool = True) -> tuple[StripPlace, ...]:
    """Where the strips of one side lie; parking becomes a shoulder at junction mouths."""
    places, inner = [], 0.0
    for rank, strip in enumerate(strips, start=1):
        kind = "shoulder" if at_mouth and strip.type == "parking" else strip.type
        places.append(StripPlace(sign * rank, kind, inner, strip.width))
        inner += strip.width
    return tuple(places)


def kerb_width(strips: tuple[Strip, ...]) -> float:
    """Width of one side from the reference line to the kerb, metres."""
    return sum(strip.width for strip in strips if strip.type != "sidewalk")


def path(plan: TownPlan, street: Street) -> Curve:
    """Reference line of a street from node to node."""
    start, end = plan.nodes[street.start], plan.nodes[street.end]
    points = [(start.x, start.y, 0.0), *((via.x, via.y, via.radius) for via in street.via), (end.x, end.y, 0.0)]
    try:
        return polyline(points)
    except ValueError as error:
        raise ValueError(f"street {street.name}: {error}") from None


def clearances(plan: TownPlan) -> dict[tuple[str, bool], float]:
    """Distance from node to mouth for every street end, keyed by (street name, whether it is the street's end)."""
    result: dict[tuple[str, bool], float] = {}
    for node in plan.nodes.values():
        ends = _street_ends(plan, node)
        for (name, at_end, angle, _, right), following in zip(ends, [*ends[1:], *ends[:1]]):
            # `right` kerb of this arm (seen walking in) faces the next arm counter-clockwise, and its left kerb us.
            gap = (following[2] - angle) % (2 * math.pi)
            for key, own, other in (((name, at_end), right, following[3]), (following[:2], following[3], right)):
                needed = _corner(gap, own, other, node.corner_radius) if len(ends) > 1 else 0.0
                result[key] = max(result.get(key, LEAST_CLEARANCE), needed)
        if node.clearance is not None:
            result.update({(name, at_end): node.clearance for name, at_end, *_ in ends})
    for street in plan.streets.values():
        for at_end, trim in zip((False, True), street.trim):
            if trim is not None:
                result[street.name, at_end] = trim
    return result


def _street_ends(plan: TownPlan, node: Node) -> list[tuple[str, bool, float, float, float]]:
    """(street, at end, direction away from the node, kerb width left and right of traffic entering), by direction."""
    ends = []
    for street in plan.streets.values():
        profile = plan.profiles[street.profile]
        right, left = kerb_width(profile.right), kerb_width(profile.left)
        curve = path(plan, street)
        if street.start == node.name:
            ends.append((street.name, False, curve.start.heading % (2 * math.pi), right, left))
        if street.end == node.name:
            ends.append((street.name, True, (curve.end.heading + math.pi) % (2 * math.pi), left, right))
    return sorted(ends, key=lambda row: row[2])


def _corner(gap: float, own: float, other: float, radius: float) -> float:
    """Distance from the node at which an arm's kerb begins to round into its neighbour's, metres."""
    if gap <= 0.05 or gap >= OPPOSITE:
        return 0.0
    return (other + own * math.cos(gap)) / math.sin(gap) + radius / math.tan(gap / 2)


def elevation_rows(length: float, heights: list[tuple[float, float]]) -> list[tuple[float, float, float, float, float]]:
    """Cubic pieces through (s, z) points, level at both ends and without overshoot (Fritsch and Carlson, 1980)."""
    slopes = [0.0]
    for (s0, z0), (s1, z1), (s2, z2) in zip(heights, heights[1:], heights[2:]):
        first, second = (z1 - z0) / (s1 - s0), (z2 - z1) / (s2 - s1)
        slopes.append(0.0 if first * second <= 0 else 2 * first * second / (first + second))
    slopes.append(0.0)
    rows = []
    for ((s0, z0), (s1, z1)), (m0, m1) in zip(itertools.pairwise(heights), itertools.pairwise(slopes)):
        h = s1 - s0
        secant = (z1 - z0) / h
        rows.append((s0, z0, m0, (3 * secant - 2 * m0 - m1) / h, (m0 + m1 - 2 * secant) / h**2))
    return rows


def build_road(plan: TownPlan, street: Street, road_id: int, trims: tuple[float, float]) -> RoadSpec:
    """The road of a street, without signals and objects.

    Raises:
        ValueError: The junctions at both ends leave no room for the street.
    """
    whole = path(plan, street)
    profile = plan.profiles[street.profile]
    try:
        curve = whole.trimmed(trims[0], whole.length - trims[1])
    except ValueError as error:
        raise ValueError(f"street {street.name}: {error}") from None
    z0, z1 = plan.nodes[street.start].z, plan.nodes[street.end].z
    heights = [(0.0, z0), *((at * curve.length, z) for at, z in street.heights), (curve.length, z1)]
    return RoadSpec(
        id=road_id,
        name=street.name,
        curve=curve,
        sections=_sections(profile, curve.length),
        elevation=elevation_rows(curve.length, heights),
        speed_kmh=float(profile.speed_kmh),
        road_type=profile.road_type,
    )


def _sections(profile: Profile, length: float) -> list[SectionSpec]:
    has_parking = any(strip.type == "parking" for strip in (*profile.right, *profile.left))
    clear = min(CLEAR_OF_PARKING, length / 3)
    cuts = [0.0, clear, length - clear] if has_parking else [0.0]
    sections = []
    for number, (start, end) in enumerate(zip(cuts, [*cuts[1:], length])):
        parking = has_parking and number == 1
        lanes = [
            _lane(strip, sign * rank, parking, number, len(cuts), _marks(strip, sign, length, start, end))
            for sign, strips in ((1, profile.left), (-1, profile.right))
            for rank, strip in enumerate(strips, start=1)
        ]
        center = [] if profile.center_mark == "none" else [Mark(profile.center_mark, 0.0, profile.center_color)]
        sections.append(SectionSpec(start, lanes, center))
    return sections


def _lane(strip: Strip, lane_id: int, parking: bool, number: int, count: int, marks: list[Mark]) -> LaneSpec:
    return LaneSpec(
        id=lane_id,
        type="shoulder" if strip.type == "parking" and not parking else strip.type,
        widths=[(0.0, strip.width, 0.0, 0.0, 0.0)],
        marks=marks,
        predecessor=lane_id if number > 0 else None,
        successor=lane_id if number + 1 < count else None,
        height=KERB if strip.type == "sidewalk" else 0.0,
    )


def _marks(strip: Strip, sign: int, length: float, start: float, end: float) -> list[Mark]:
    """Marks of one lane in the section from `start` to `end`: broken lines turn solid before junctions."""
    if strip.mark == "none":
        return []
    normal, strict = (strip.mark, strip.lane_change), ("solid", "none")
    if strip.mark != "broken":
        rows = [(0.0, normal)]
    elif sign < 0:
        rows = [(0.0, normal), (max(length - SOLID_APPROACH, length / 2), strict)]
    else:
        rows = [(0.0, strict), (min(SOLID_APPROACH, length / 2), normal)]
    current = [row for row in rows if row[0] <= start][-1]
    later = [row for row in rows if start < row[0] < end]
    return [Mark(kind, max(at - start, 0.0), "white", change) for at, (kind, change) in (current, *later)]


def arms_of(plan: TownPlan, roads: dict[str, RoadSpec], node: Node) -> list[Arm]:
    """Arms of a node, counter-clockwise by the direction in which they leave it."""
    arms = []
    for name, road in roads.items():
        street = plan.streets[name]
        profile = plan.profiles[street.profile]
        right, left = strip_places(profile.right, -1), strip_places(profile.left, 1)
        if street.start == node.name:
            arms.append(Arm(street, profile, road.id, False, road.curve.start.turned(math.pi), left, right))
        if street.end == node.name:
            arms.append(Arm(street, profile, road.id, True, road.curve.end, right, left))
    return sorted(arms, key=lambda arm: (arm.mouth.heading + math.pi) % (2 * math.pi))
