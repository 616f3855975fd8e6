"""Reads OpenDRIVE text into plain records, in OpenDRIVE's own frame (y north, headings counter-clockwise).

Only what CARLA's client reads is read here, so that server and client see the same roads. Format: ASAM OpenDRIVE 1.4
to 1.7 (https://www.asam.net/standards/detail/opendrive/).
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class MapError(ValueError):
    """A road network cannot be used; the message says where and why."""


class Cubics:
    """Piecewise cubic polynomials of a distance, as OpenDRIVE writes elevation, width and lane offset."""

    def __init__(self, rows: Iterable[tuple[float, float, float, float, float]]) -> None:
        """Takes rows of (start, a, b, c, d); without rows the value is 0 everywhere."""
        table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 5)
        self.rows = table if len(table) else np.zeros((1, 5))

    def __call__(self, s: Array) -> Array:
        """Values at distances `s` (any shape), same units as the polynomial."""
        piece = np.clip(np.searchsorted(self.rows[:, 0], s, side="right") - 1, 0, None)
        start, a, b, c, d = self.rows[piece].T
        ds = s - start
        return a + ds * (b + ds * (c + ds * d))

    @property
    def is_zero(self) -> bool:
        """Whether the value is 0 everywhere."""
        return not np.any(self.rows[:, 1:])


@dataclass(frozen=True)
class Geometry:
    """One piece of a reference line: where it starts, how long it is, and its shape with the shape's numbers."""

    s: float
    x: float
    y: float
    heading: float
    length: float
    shape: str
    numbers: tuple[float, ...] = ()

    def evaluate(self, ds: Array) -> tuple[Array, Array, Array]:
        """Positions x, y and heading at distances `ds` (N,) from the start of the piece."""
        u, v, turn = _SHAPES[self.shape](ds, self)
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return self.x + u * cos - v * sin, self.y + u * sin + v * cos, self.heading + turn


def _line(ds: Array, _: Geometry) -> tuple[Array, Array, Array]:
    return ds, np.zeros_like(ds), np.zeros_like(ds)


def _arc(ds: Array, piece: Geometry) -> tuple[Array, Array, Array]:
    (curvature,) = piece.numbers
    if abs(curvature) < 1e-12:
        return _line(ds, piece)
    turn = curvature * ds
    return np.sin(turn) / curvature, (1.0 - np.cos(turn)) / curvature, turn


def _spiral(ds: Array, piece: Geometry) -> tuple[Array, Array, Array]:
    """Clothoid by Gauss-Legendre quadrature, 16 nodes: exact to 1e-9 m for turns below pi."""
    first, last = piece.numbers
    rate = (last - first) / piece.length if piece.length > 0 else 0.0
    nodes, weights = np.polynomial.legendre.leggauss(16)
    at = 0.5 * ds[:, None] * (nodes + 1.0)
    turns = first * at + 0.5 * rate * at**2
    scale = 0.5 * ds
    return (
        scale * (np.cos(turns) @ weights),
        scale * (np.sin(turns) @ weights),
        first * ds + 0.5 * rate * ds**2,
    )


def _poly3(ds: Array, piece: Geometry) -> tuple[Array, Array, Array]:
    a, b, c, d = piece.numbers
    return ds, a + ds * (b + ds * (c + ds * d)), np.arctan(b + ds * (2 * c + 3 * ds * d))


def _param_poly3(ds: Array, piece: Geometry) -> tuple[Array, Array, Array]:
    au, bu, cu, du, av, bv, cv, dv, normalised = piece.numbers
    p = ds / piece.length if normalised and piece.length > 0 else ds
    du_dp, dv_dp = bu + p * (2 * cu + 3 * p * du), bv + p * (2 * cv + 3 * p * dv)
    return au + p * (bu + p * (cu + p * du)), av + p * (bv + p * (cv + p * dv)), np.arctan2(dv_dp, du_dp)


_SHAPES = {"line": _line, "arc": _arc, "spiral": _spiral, "poly3": _poly3, "paramPoly3": _param_poly3}


@dataclass(frozen=True)
class RoadMark:
    """A road mark from `s_offset` (metres from the start of the lane section) on."""

    s_offset: float
    type: str
    color: str
    width: float
    lane_change: str


@dataclass(frozen=True)
class XLane:
    """A lane of a section: signed id, type, width polynomials, marks, links inside the road or to the next road."""

    id: int
    type: str
    width: Cubics
    marks: tuple[RoadMark, ...]
    predecessor: int | None
    successor: int | None
    height: float | None


@dataclass(frozen=True)
class XSection:
    """A lane section: its start and its lanes by id (0 included)."""

    s: float
    lanes: dict[int, XLane]


@dataclass(frozen=True)
class RoadLink:
    """What a road continues into: `element` is road or junction, `contact` is start, end or empty."""

    element: str
    id: int
    contact: str


@dataclass(frozen=True)
class XSignal:
    """A signal element with the numbers of its attributes.

    Attributes:
        attributes: All attributes as text.
        s: Distance along the road, metres.
        t: Distance to the left of the reference line, metres.
        lanes: (from, to) ranges of lane ids it is valid for.
        stop_line: Id of the stop line object it refers to, "" if none.
        arm_length: Length of the mast arm that carries it, metres; 0 without one.
    """

    attributes: dict[str, str]
    s: float
    t: float
    lanes: tuple[tuple[int, int], ...]
    stop_line: str = ""
    arm_length: float = 0.0

    @property
    def id(self) -> str:
        """Signal id; for a reference the id of the signal it refers to."""
        return self.attributes["id"]


@dataclass(frozen=True)
class XObject:
    """An object element; `corners` are its outline in local coordinates (u, v, z), empty without one."""

    attributes: dict[str, str]
    corners: tuple[tuple[float, float, float], ...]


@dataclass
class XRoad:
    """A road as written."""

    id: int
    name: str
    length: float
    junction: int
    predecessor: RoadLink | None
    successor: RoadLink | None
    geometries: list[Geometry]
    elevation: Cubics
    superelevation: Cubics
    lane_offset: Cubics
    sections: list[XSection]
    speeds_kmh: list[tuple[float, float]]
    signals: list[XSignal] = field(default_factory=list)
    references: list[XSignal] = field(default_factory=list)
    objects: list[XObject] = field(default_factory=list)

    def reference_line(self, s: Array) -> tuple[Array, Array, Array]:
        """x, y and heading of the reference line at distances `s` (N,), clipped to the road."""
        s = np.clip(s, 0.0, self.length)
        starts = np.array([piece.s for piece in self.geometries])
        at = np.clip(np.searchsorted(starts, s, side="right") - 1, 0, None)
        x, y, heading = np.empty_like(s), np.empty_like(s), np.empty_like(s)
        for number in np.unique(at):
            rows, piece = at == number, self.geometries[number]
            x[rows], y[rows], heading[rows] = piece.evaluate(s[rows] - piece.s)
        return x, y, heading


@dataclass(frozen=True)
class XConnection:
    """A junction connection: which lanes of `incoming` continue on which lanes of `connecting`."""

    incoming: int
    connecting: int
    contact: str
    lane_links: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class XJunction:
    """A junction as written."""

    id: int
    name: str
    connections: tuple[XConnection, ...]
    controllers: tuple[str, ...]


@dataclass(frozen=True)
class XController:
    """A controller as written; signal ids may repeat."""

    id: str
    name: str
    sequence: int
    signals: tuple[str, ...]


@dataclass(frozen=True)
class OpenDrive:
    """A whole file."""

    geo_reference: str
    roads: dict[int, XRoad]
    junctions: dict[int, XJunction]
    controllers: dict[str, XController]


_KMH_PER_UNIT = {"": 3.6, "m/s": 3.6, "km/h": 1.0, "mph": 1.609344}


def parse_opendrive(text: str, name: str = "map") -> OpenDrive:
    """Read OpenDRIVE text.

    Args:
        text: The file's content.
        name: Name for error messages.

    Raises:
        MapError: The text is not XML, not OpenDRIVE, has no roads, or a road lacks what a road must have.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise MapError(f"{name} is not well-formed XML ({error}); expected an OpenDRIVE file") from None
    if root.tag != "OpenDRIVE":
        raise MapError(f"{name} has root element <{root.tag}>; expected <OpenDRIVE>")
    try:
        roads = [_road(element) for element in root.findall("road")]
        junctions = [_junction(element) for element in root.findall("junction")]
        controllers = [_controller(element) for element in root.findall("controller")]
    except (KeyError, ValueError) as error:
        raise MapError(f"{name}: {error}") from None
    if not roads:
        raise MapError(f"{name} contains no <road>; an OpenDRIVE network needs at least one")
    return OpenDrive(
        geo_reference=(root.findtext("header/geoReference") or "").strip(),
        roads={road.id: road for road in roads},
        junctions={junction.id: junction for junction in junctions},
        controllers={controller.id: controller for controller in controllers},
    )


def _number(element: ET.Element, key: str, default: float | None = None) -> float:
    text = element.get(key)
    if text is None:
        if default is None:
            raise ValueError(f"<{element.tag}> lacks attribute {key!r}; it has {sorted(element.attrib)}")
        return default
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"<{element.tag}> has {key}={text!r}; expected a finite number")
    return value


def _cubics(elements: Iterable[ET.Element], start: str) -> Cubics:
    return Cubics([tuple(_number(e, key, 0.0) for key in (start, "a", "b", "c", "d")) for e in elements])  # type: ignore[misc]


#: RoadRunner writes speed signs as objects with these names; CARLA's client reads them as signals of type 274.
_SPEED_OBJECT = re.compile(r"Speed_(\d+)$")


def _speed_sign(entry: XObject) -> XSignal | None:
    """The speed sign that an object stands for, None for every other object."""
    match = _SPEED_OBJECT.match(entry.attributes.get("name", ""))
    if match is None:
        return None
    text = entry.attributes
    # RoadRunner's orientation names the side of the road: "+" are the lanes with positive ids.
    lanes = (1, 3) if text.get("orientation") == "+" else (-3, -1)
    sign = {"type": "274", "subtype": match[1], "value": match[1], "unit": "km/h", "hOffset": text.get("hdg", "0")}
    return XSignal({**text, **sign}, float(text["s"]), float(text["t"]), (lanes,))


def _road(element: ET.Element) -> XRoad:
    road_id = int(element.attrib["id"])
    try:
        return _road_content(element, road_id)
    except (KeyError, ValueError) as error:
        raise ValueError(f"road {road_id}: {error}") from None


def _road_content(element: ET.Element, road_id: int) -> XRoad:
    geometries = sorted((_geometry(e) for e in element.findall("planView/geometry")), key=lambda piece: piece.s)
    sections = sorted((_section(e) for e in element.findall("lanes/laneSection")), key=lambda section: section.s)
    if not geometries or not sections:
        raise ValueError(
            f"{len(geometries)} geometries and {len(sections)} lane sections; at least one of each is needed"
        )
    objects = [_object(e) for e in element.findall("objects/object")]
    speed_signs = [sign for sign in map(_speed_sign, objects) if sign is not None]
    return XRoad(
        id=road_id,
        name=element.get("name", ""),
        length=_number(element, "length"),
        junction=int(element.get("junction", "-1")),
        predecessor=_road_link(element.find("link/predecessor")),
        successor=_road_link(element.find("link/successor")),
        geometries=geometries,
        elevation=_cubics(element.findall("elevationProfile/elevation"), "s"),
        superelevation=_cubics(element.findall("lateralProfile/superelevation"), "s"),
        lane_offset=_cubics(element.findall("lanes/laneOffset"), "s"),
        sections=sections,
        speeds_kmh=_speeds(element),
        signals=[_signal(e) for e in element.findall("signals/signal")] + speed_signs,
        references=[_signal(e) for e in element.findall("signals/signalReference")],
        objects=[entry for entry in objects if _speed_sign(entry) is None],
    )


def _speeds(element: ET.Element) -> list[tuple[float, float]]:
    rows = []
    for kind in element.findall("type"):
        speed = kind.find("speed")
        if speed is not None and speed.get("max") not in (None, "no limit", "undefined"):
            unit = speed.get("unit", "")
            if unit not in _KMH_PER_UNIT:
                raise ValueError(f"<speed> has unit={unit!r}; expected one of {sorted(filter(None, _KMH_PER_UNIT))}")
            rows.append((_number(kind, "s", 0.0), _number(speed, "max") * _KMH_PER_UNIT[unit]))
    return sorted(rows)


def _geometry(element: ET.Element) -> Geometry:
    for shape, keys in (
        ("line", ()),
        ("arc", ("curvature",)),
        ("spiral", ("curvStart", "curvEnd")),
        ("poly3", ("a", "b", "c", "d")),
        ("paramPoly3", ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV")),
    ):
        child = element.find(shape)
        if child is None:
            continue
        numbers = tuple(_number(child, key) for key in keys)
        if shape == "paramPoly3":
            numbers += (float(child.get("pRange", "normalized") == "normalized"),)
        s, x, y, heading, length = (_number(element, key) for key in ("s", "x", "y", "hdg", "length"))
        return Geometry(s, x, y, heading, length, shape, numbers)
    raise ValueError(f"<geometry s={element.get('s')!r}> has none of the shapes {sorted(_SHAPES)}")


def _section(element: ET.Element) -> XSection:
    lanes = {}
    for side in ("left", "center", "right"):
        for child in element.findall(f"{side}/lane"):
            lane = _lane(child)
            lanes[lane.id] = lane
    return XSection(_number(element, "s", 0.0), lanes)


def _lane(element: ET.Element) -> XLane:
    height = element.find("height")
    return XLane(
        id=int(element.attrib["id"]),
        type=element.get("type", "none"),
        width=_cubics(element.findall("width"), "sOffset"),
        marks=tuple(
            RoadMark(
                _number(e, "sOffset", 0.0),
                e.get("type", "none"),
                e.get("color", "standard"),
                _number(e, "width", 0.12),
                e.get("laneChange", "both"),
            )
            for e in element.findall("roadMark")
        ),
        predecessor=_lane_link(element.find("link/predecessor")),
        successor=_lane_link(element.find("link/successor")),
        height=None if height is None else _number(height, "outer", 0.0),
    )


def _lane_link(element: ET.Element | None) -> int | None:
    return None if element is None else int(element.attrib["id"])


def _road_link(element: ET.Element | None) -> RoadLink | None:
    if element is None:
        return None
    return RoadLink(element.attrib["elementType"], int(element.attrib["elementId"]), element.get("contactPoint", ""))


def _signal(element: ET.Element) -> XSignal:
    lanes = tuple((int(e.attrib["fromLane"]), int(e.attrib["toLane"])) for e in element.findall("validity"))
    lines = [e.attrib["elementId"] for e in element.findall("reference") if e.get("type") == "stopLine"]
    arms = [_number(e, "value") for e in element.findall("userData") if e.get("code") == "armLength"]
    s, t = _number(element, "s"), _number(element, "t")
    return XSignal(dict(element.attrib), s, t, lanes, lines[0] if lines else "", arms[0] if arms else 0.0)


def _object(element: ET.Element) -> XObject:
    corners = tuple(
        (_number(e, "u"), _number(e, "v"), _number(e, "z", 0.0)) for e in element.findall("outline/cornerLocal")
    ) or tuple(
        (_number(e, "u"), _number(e, "v"), _number(e, "z", 0.0))
        for e in element.findall("outlines/outline/cornerLocal")
    )
    return XObject(dict(element.attrib), corners)


def _junction(element: ET.Element) -> XJunction:
    connections = tuple(
        XConnection(
            int(e.attrib["incomingRoad"]),
            int(e.attrib["connectingRoad"]),
            e.get("contactPoint", "start"),
            tuple((int(link.attrib["from"]), int(link.attrib["to"])) for link in e.findall("laneLink")),
        )
        for e in element.findall("connection")
        if "connectingRoad" in e.attrib
    )
    controllers = tuple(e.attrib["id"] for e in element.findall("controller"))
    return XJunction(int(element.attrib["id"]), element.get("name", ""), connections, controllers)


def _controller(element: ET.Element) -> XController:
    signals = tuple(e.attrib["signalId"] for e in element.findall("control"))
    return XController(element.attrib["id"], element.get("name", ""), int(element.get("sequence", "0") or 0), signals)
