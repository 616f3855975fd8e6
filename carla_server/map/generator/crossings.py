"""Junctions: which lane continues on which, and the connecting roads that carry them."""

from __future__ import annotations

import enum
import itertools
import math
from dataclasses import dataclass

from carla_server.map.generator.curves import Pose, connect
from carla_server.map.generator.document import JunctionSpec, LaneSpec, Mark, RoadSpec
from carla_server.map.generator.document import SectionSpec as Section
from carla_server.map.generator.plan import Control, Node
from carla_server.map.generator.streets import KERB, Arm, StripPlace

#: A movement whose heading changes by less than this goes straight on; beyond the second it is a U-turn, radians.
STRAIGHT, U_TURN = math.radians(40.0), math.radians(150.0)
#: A straight movement that bends by more than this between roads of different width is a ramp, radians.
RAMP = math.radians(4.0)
#: Strips that accompany a connecting lane round a corner, from the driving lane outwards.
CORNER_TYPES = ("biking", "shoulder", "sidewalk")


class Turn(enum.Enum):
    """Kind of movement."""

    LEFT = "left"
    STRAIGHT = "straight"
    RIGHT = "right"


@dataclass(frozen=True)
class Movement:
    """A lane of one arm that continues on a lane of another, and the strips that go along at its right."""

    source: Arm
    lane: StripPlace
    target: Arm
    onto: StripPlace
    turn: Turn
    is_corner: bool = False


def turn_of(source: Arm, target: Arm) -> Turn | None:
    """Kind of movement between two arms; None for a U-turn."""
    change = (target.mouth.heading + math.pi - source.mouth.heading + math.pi) % (2 * math.pi) - math.pi
    if abs(change) > U_TURN:
        return None
    if abs(change) < STRAIGHT:
        return Turn.STRAIGHT
    return Turn.LEFT if change > 0 else Turn.RIGHT


def lanes_in(arm: Arm, kind: str = "driving") -> list[StripPlace]:
    """Lanes of a type that enter the junction, leftmost first."""
    return [place for place in arm.incoming if place.type == kind]


def lanes_out(arm: Arm, kind: str = "driving") -> list[StripPlace]:
    """Lanes of a type that leave the junction, leftmost first."""
    return [place for place in arm.outgoing if place.type == kind]


def movements(node: Node, arms: list[Arm]) -> list[Movement]:
    """All movements of a node.

    Right turns join the rightmost lanes, left turns the leftmost; straight on, lanes continue where they shift least.
    A lane left over joins the nearest lane of a movement in reach, so that no lane ends in a junction.
    """
    found: list[Movement] = []
    for source in arms:
        own: list[Movement] = []
        for target in arms:
            turn = turn_of(source, target)
            forbidden = (source.street.name, target.street.name) in node.forbidden
            if target is not source and turn is not None and not forbidden:
                own.extend(_lane_pairs(source, target, turn))
        own.extend(_rescued(source, own))
        found.extend(own)
    found = _with_corners(found, arms)
    return found + [movement for source in arms for movement in _bike_movements(node, source, arms)]


def _lane_pairs(source: Arm, target: Arm, turn: Turn) -> list[Movement]:
    entering, leaving = lanes_in(source), lanes_out(target)
    if not entering or not leaving:
        return []
    if turn is Turn.RIGHT:
        pairs = [(entering[-1], leaving[-1])]
    elif turn is Turn.LEFT:
        pairs = [(entering[0], leaving[0])]
    else:
        pairs = _aligned(source, entering, target, leaving)
    return [Movement(source, a, target, b, turn) for a, b in pairs]


def _shift(source: Arm, a: StripPlace, target: Arm, b: StripPlace) -> float:
    """Sideways distance between two lanes as seen by the driver, metres."""
    start, end = source.entry(a.inner + a.width / 2), target.exit(b.inner + b.width / 2)
    middle = 0.5 * (start.heading + start.heading + _turn_angle(start, end))
    return abs(-(end.x - start.x) * math.sin(middle) + (end.y - start.y) * math.cos(middle))


def _turn_angle(start: Pose, end: Pose) -> float:
    return (end.heading - start.heading + math.pi) % (2 * math.pi) - math.pi


def _aligned(
    source: Arm, entering: list[StripPlace], target: Arm, leaving: list[StripPlace]
) -> list[tuple[StripPlace, StripPlace]]:
    count = min(len(entering), len(leaving))
    change = _turn_angle(source.mouth, target.mouth.turned(math.pi))
    if len(entering) != len(leaving) and abs(change) > RAMP:
        # A ramp on the right bends to the right where it leaves, and again where it falls in with the road it joins.
        if change < 0:
            return list(zip(entering[-count:], leaving[-count:]))
        return list(zip(entering[:count], leaving[:count]))
    choices = []
    for skip_in in range(len(entering) - count + 1):
        for skip_out in range(len(leaving) - count + 1):
            pairs = list(zip(entering[skip_in : skip_in + count], leaving[skip_out : skip_out + count]))
            choices.append((sum(_shift(source, a, target, b) for a, b in pairs), skip_in, skip_out, pairs))
    return min(choices, key=lambda choice: choice[:3])[3]


def _rescued(source: Arm, own: list[Movement]) -> list[Movement]:
    served = {movement.lane.lane for movement in own}
    extra = []
    for place in lanes_in(source):
        if place.lane not in served and own:
            nearest = min(own, key=lambda movement: abs(movement.lane.inner - place.inner))
            extra.append(Movement(source, place, nearest.target, nearest.onto, nearest.turn))
    return extra


def _with_corners(found: list[Movement], arms: list[Arm]) -> list[Movement]:
    """Mark the movement that runs along the kerb between each pair of neighbouring arms."""
    following = {id(arm): after for arm, after in zip(arms, [*arms[1:], *arms[:1]])}
    result = []
    for movement in found:
        is_kerbside = (
            following[id(movement.source)] is movement.target
            and movement.lane == lanes_in(movement.source)[-1]
            and movement.onto == lanes_out(movement.target)[-1]
        )
        result.append(
            Movement(movement.source, movement.lane, movement.target, movement.onto, movement.turn, is_kerbside)
        )
    return result


def _bike_movements(node: Node, source: Arm, arms: list[Arm]) -> list[Movement]:
    found: list[Movement] = []
    for target in arms:
        turn = turn_of(source, target)
        if target is source or turn is not Turn.STRAIGHT:
            continue
        found.extend(
            Movement(source, a, target, b, turn)
            for a, b in zip(lanes_in(source, "biking"), lanes_out(target, "biking"))
        )
    return found


def build_connections(
    node: Node, found: list[Movement], first_id: int, junction_id: int
) -> tuple[JunctionSpec, list[RoadSpec]]:
    """Connecting roads of a node and the junction that lists them; road ids count up from `first_id`."""
    junction = JunctionSpec(junction_id, node.name)
    roads = []
    for road_id, movement in enumerate(found, start=first_id):
        road, links = _connecting_road(node, movement, road_id, junction_id)
        roads.append(road)
        junction.connections.append((movement.source.road, road_id, links))
    return junction, roads


def _connecting_road(
    node: Node, movement: Movement, road_id: int, junction_id: int
) -> tuple[RoadSpec, list[tuple[int, int]]]:
    source, target, lane, onto = movement.source, movement.target, movement.lane, movement.onto
    curve = connect(source.entry(lane.inner), target.exit(onto.inner))
    length = curve.length
    lanes = [_connecting_lane(-1, lane.type, lane, onto, length), *_median_lanes(movement, length)]
    if movement.is_corner:
        lanes.extend(_corner_lanes(movement, length))
    road = RoadSpec(
        id=road_id,
        name=f"{node.name}: {source.street.name} to {target.street.name}",
        curve=curve,
        sections=[Section(0.0, lanes, _paint(node, movement, lanes[0]))],
        junction=junction_id,
        predecessor=("road", source.road, "end" if source.at_end else "start"),
        successor=("road", target.road, "end" if target.at_end else "start"),
        elevation=[(0.0, node.z, 0.0, 0.0, 0.0)],
        speed_kmh=float(min(source.profile.speed_kmh, target.profile.speed_kmh)),
        road_type=source.profile.road_type,
    )
    return road, [(spec.predecessor, spec.id) for spec in lanes if spec.predecessor is not None]


def _connecting_lane(
    lane_id: int, kind: str, first: StripPlace | None, last: StripPlace | None, length: float
) -> LaneSpec:
    start, end = (first.width if first else 0.0), (last.width if last else 0.0)
    return LaneSpec(
        id=lane_id,
        type=kind,
        # Eased so that borders leave both ends in the lane's direction.
        widths=[(0.0, start, 0.0, 3 * (end - start) / length**2, -2 * (end - start) / length**3)],
        marks=[],
        predecessor=first.lane if first else None,
        successor=last.lane if last else None,
        height=KERB if kind == "sidewalk" else 0.0,
    )


def _median_lanes(movement: Movement, length: float) -> list[LaneSpec]:
    """The left shoulder of a one-way road, beside its leftmost lane."""
    source, target = movement.source, movement.target
    first = next((place for place in source.outgoing if place.type == "shoulder"), None)
    last = next((place for place in target.incoming if place.type == "shoulder"), None)
    is_leftmost = movement.lane == lanes_in(source)[0] and movement.onto == lanes_out(target)[0]
    if not is_leftmost or lanes_out(source) or lanes_in(target) or not first or not last:
        return []
    # Traffic never runs on it, so it is linked against the direction of the connecting lane, as ids demand.
    return [_connecting_lane(1, "shoulder", first, last, length)]


def _paint(node: Node, movement: Movement, lane: LaneSpec) -> list[Mark]:
    """Carries lane lines through merges and exits: marks `lane` and returns those of the reference line."""
    if node.control is not Control.FREE or movement.turn is not Turn.STRAIGHT:
        return []
    entering, leaving = lanes_in(movement.source), lanes_out(movement.target)
    if len(entering) < 2 or len(leaving) < 2:
        lane.marks.append(Mark("solid"))
        return []
    lane.marks.append(Mark("solid" if movement.is_corner else "broken"))
    is_leftmost = movement.lane == entering[0] and movement.onto == leaving[0]
    return [Mark("solid", 0.0, "yellow")] if is_leftmost else []


def _corner_lanes(movement: Movement, length: float) -> list[LaneSpec]:
    """Bicycle lane, shoulder and sidewalk that go round the corner beside the rightmost lane."""
    before = [place for place in movement.source.incoming if place.inner > movement.lane.inner]
    after = [place for place in movement.target.outgoing if place.inner > movement.onto.inner]
    lanes: list[LaneSpec] = []
    for kind in CORNER_TYPES:
        first = next((place for place in before if place.type == kind), None)
        last = next((place for place in after if place.type == kind), None)
        if kind == "biking" and (first or last) and (movement.turn is Turn.STRAIGHT or not (first and last)):
            # Bicycles go straight on a road of their own, or end here: the strip only keeps the kerb in place.
            lanes.append(_connecting_lane(-len(lanes) - 2, "shoulder", first, last, length))
            lanes[-1].predecessor = lanes[-1].successor = None
        elif first or last:
            lanes.append(_connecting_lane(-len(lanes) - 2, kind, first, last, length))
    for inside, outside in itertools.pairwise(lanes):
        if outside.type == "sidewalk":
            inside.marks.append(Mark("curb"))
    return lanes
