"""What a road network consists of, in CARLA's world frame.

World frame: x east, y south, z up, metres, left-handed; yaw in radians, clockwise seen from above (x towards y).
OpenDRIVE's y and headings are negated once, in `carla_server.map.road_map`; nothing outside that module sees them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Height of a kerb where the file does not say how high a sidewalk lies, metres.
DEFAULT_KERB_HEIGHT = 0.15


class LaneKey(NamedTuple):
    """Name of a lane as the carla client knows it: road id, index of the lane section, signed lane id."""

    road: int
    section: int
    lane: int


@dataclass(frozen=True, eq=False)
class Lane:
    """One lane of one lane section.

    The polylines run in the direction of the road (increasing `s`), whatever the direction of travel, and lie on the
    road surface; a raised lane (sidewalk) lies `height` above them.

    Attributes:
        key: Road, section and lane id.
        index: Row of this lane in `RoadMap.lanes`.
        type: OpenDRIVE lane type: driving, parking, biking, shoulder, sidewalk, median, none, ...
        forward: Whether traffic runs along increasing `s` (negative lane ids).
        junction: Id of the junction the road belongs to, -1 outside junctions.
        s: (N,) distance along the road, metres.
        center: (N, 3) middle of the lane.
        inner: (N, 3) border nearer to the road's reference line.
        outer: (N, 3) border away from the reference line.
        width: (N,) metres.
        height: Elevation above the road surface, metres.
        yaw: (N,) direction of travel, radians.
        speed_kmh: Speed limit of the road type where it begins, km/h; nan where the file gives none.
        left: Index of the neighbour on the driver's left, -1 if none. Across the reference line it is an oncoming lane.
        right: Index of the neighbour on the driver's right, -1 if none.
        successors: Indices of the lanes that traffic can continue on.
        predecessors: Indices of the lanes that traffic comes from.
    """

    key: LaneKey
    index: int
    type: str
    forward: bool
    junction: int
    s: Array
    center: Array
    inner: Array
    outer: Array
    width: Array
    height: float
    yaw: Array
    speed_kmh: float
    left: int = -1
    right: int = -1
    successors: tuple[int, ...] = ()
    predecessors: tuple[int, ...] = ()

    @property
    def length(self) -> float:
        """Extent along the road's reference line, metres."""
        return float(self.s[-1] - self.s[0])

    @property
    def travel_center(self) -> Array:
        """(N, 3) middle of the lane in the order in which traffic passes it."""
        return self.center if self.forward else self.center[::-1]


@dataclass(frozen=True, eq=False)
class LaneMarking:
    """A painted line or kerb along the outer border of a lane (lane 0: the reference line).

    Attributes:
        key: Lane whose outer border carries it.
        type: OpenDRIVE road mark type: solid, broken, "solid solid", "broken solid", curb, none, ...
        color: standard, white, yellow, ...
        width: Metres.
        lane_change: Who may cross: both, increase, decrease or none.
        line: (N, 3) polyline along increasing `s`.
        junction: Id of the junction the road belongs to, -1 outside junctions.
    """

    key: LaneKey
    type: str
    color: str
    width: float
    lane_change: str
    line: Array
    junction: int


class SignalKind(enum.Enum):
    """What a signal means to traffic. Values are OpenDRIVE types as CARLA uses them; see `carla.LandmarkType`."""

    TRAFFIC_LIGHT = "1000001"
    STOP = "206"
    YIELD = "205"
    SPEED_LIMIT = "274"
    OTHER = ""


@dataclass(frozen=True, eq=False)
class Signal:
    """A traffic light or sign.

    Attributes:
        id: As in the file; signal ids are text.
        name: As in the file.
        kind: What it means.
        type: OpenDRIVE type text.
        subtype: OpenDRIVE subtype text.
        value: Number attached to the sign, km/h or mph as `unit` says; nan if none.
        unit: Unit of `value`, "" if none.
        road: Road it is written on.
        s: Distance along that road, metres.
        position: (3,) foot of the post, metres.
        yaw: Heading of the traffic that reads it, radians; its face looks the opposite way.
        z_offset: Height of the sign above the road, metres.
        height: Metres.
        width: Metres.
        arm_length: Length of the mast arm that carries it from the post over the lanes, metres; 0 without one.
        lanes: Indices of the lanes it governs, at the place where traffic must obey it.
        stop_left: (3,) left end of the line where traffic stops, seen by the driver; None if it governs no lane.
        stop_right: (3,) right end of that line; None if it governs no lane.
        stop_yaw: Direction of travel at the line, radians.
        junction: Junction it guards, -1 if none.
    """

    id: str
    name: str
    kind: SignalKind
    type: str
    subtype: str
    value: float
    unit: str
    road: int
    s: float
    position: Array
    yaw: float
    z_offset: float
    height: float
    width: float
    arm_length: float = 0.0
    lanes: tuple[int, ...] = ()
    stop_left: Array | None = None
    stop_right: Array | None = None
    stop_yaw: float = 0.0
    junction: int = -1


@dataclass(frozen=True)
class Controller:
    """Traffic lights that switch together.

    Attributes:
        id: As in the file.
        name: As in the file.
        sequence: Place in the cycle of its junction.
        signals: Ids of its lights, without repetition.
        junction: Junction that names it, -1 if none does.
    """

    id: str
    name: str
    sequence: int
    signals: tuple[str, ...]
    junction: int


@dataclass(frozen=True, eq=False)
class Junction:
    """A junction and what belongs to it.

    Attributes:
        id: As in the file.
        name: As in the file.
        roads: Ids of its connecting roads.
        lanes: Indices of all lanes of those roads.
        controllers: Ids of its controllers.
        connections: (incoming road, connecting road) pairs.
        surface: Paved polygons, (K, 3) each and not closed, that also cover what no lane covers between turning lanes.
    """

    id: int
    name: str
    roads: tuple[int, ...]
    lanes: tuple[int, ...]
    controllers: tuple[str, ...]
    connections: tuple[tuple[int, int], ...]
    surface: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class MapObject:
    """Something that stands on or beside a road: building, tree, lamp, bench, crosswalk, stop line.

    Attributes:
        id: As in the file.
        name: As in the file.
        type: OpenDRIVE object type: building, tree, vegetation, pole, streetLamp, obstacle, crosswalk, roadMark, ...
        subtype: Free text of the generator: facade or species.
        road: Road it is written on.
        position: (3,) middle of its foot, metres.
        yaw: Heading of its length axis, radians.
        length: Along its heading, metres; 0 if unknown.
        width: Across its heading, metres; 0 if unknown.
        height: Metres; 0 for what lies flat.
        outline: (K, 3) world corners of its foot; None for a plain box or point.
    """

    id: str
    name: str
    type: str
    subtype: str
    road: int
    position: Array
    yaw: float
    length: float
    width: float
    height: float
    outline: Array | None = None


@dataclass(frozen=True, eq=False)
class Crosswalk:
    """A pedestrian crossing. `polygon` is (K, 3), not closed, metres."""

    id: str
    road: int
    polygon: Array


@dataclass(frozen=True, eq=False)
class LanePosition:
    """Where a point lies in the network.

    Attributes:
        lane: The lane.
        s: Distance along its road, metres.
        offset: Distance from the middle of the lane, metres, positive to the driver's right.
        z: Height of the ground there, kerb included, metres.
        yaw: Direction of travel there, radians.
        width: Width of the lane there, metres.
    """

    lane: Lane
    s: float
    offset: float
    z: float
    yaw: float
    width: float

    @property
    def key(self) -> LaneKey:
        """Road, section and lane id."""
        return self.lane.key

    @property
    def junction(self) -> int:
        """Junction id, -1 outside junctions."""
        return self.lane.junction


@dataclass(frozen=True)
class SpawnPoint:
    """A pose where a vehicle fits. Metres and degrees, as `carla.Transform`."""

    x: float
    y: float
    z: float
    pitch: float
    yaw: float
    roll: float


@dataclass(frozen=True)
class GeoReference:
    """Origin of the map on the globe: degrees, and the projection text of the file."""

    latitude: float = 42.0
    longitude: float = 2.0
    text: str = field(default="", compare=False)
