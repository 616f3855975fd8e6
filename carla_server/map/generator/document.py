"""Writes OpenDRIVE elements. Facts about the format live here; decisions about towns do not."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field

from carla_server.map.generator.curves import Curve


def number(value: float) -> str:
    """A number with nanometre resolution and no needless zeros."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


@dataclass(frozen=True)
class Mark:
    """A road mark from `start` (metres into the lane section) on."""

    type: str
    start: float = 0.0
    color: str = "white"
    lane_change: str = "none"
    width: float = 0.15


@dataclass
class LaneSpec:
    """A lane to write: width as (metres into the section, a, b, c, d) rows."""

    id: int
    type: str
    widths: list[tuple[float, float, float, float, float]]
    marks: list[Mark]
    predecessor: int | None = None
    successor: int | None = None
    height: float = 0.0


@dataclass
class SectionSpec:
    """A lane section to write; lane 0 only carries marks."""

    s: float
    lanes: list[LaneSpec]
    center_marks: list[Mark]


@dataclass
class RoadSpec:
    """A road to write."""

    id: int
    name: str
    curve: Curve
    sections: list[SectionSpec]
    junction: int = -1
    predecessor: tuple[str, int, str] | None = None
    successor: tuple[str, int, str] | None = None
    elevation: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    speed_kmh: float = 50.0
    road_type: str = "town"
    signals: list[ET.Element] = field(default_factory=list)
    objects: list[ET.Element] = field(default_factory=list)


@dataclass
class JunctionSpec:
    """A junction to write: connections as (incoming road, connecting road, [(from lane, to lane)])."""

    id: int
    name: str
    connections: list[tuple[int, int, list[tuple[int, int]]]] = field(default_factory=list)
    controllers: list[int] = field(default_factory=list)


@dataclass
class ControllerSpec:
    """A light controller to write."""

    id: int
    name: str
    sequence: int
    signals: list[int]


def element(tag: str, **attributes: object) -> ET.Element:
    """An element whose attributes are written as OpenDRIVE expects: floats by `number`, the rest as text."""
    return ET.Element(
        tag, {key: number(value) if isinstance(value, float) else str(value) for key, value in attributes.items()}
    )


def _poly(tag: str, start_name: str, row: tuple[float, float, float, float, float]) -> ET.Element:
    start, a, b, c, d = (float(value) for value in row)
    node = ET.Element(tag)
    node.set(start_name, number(start))
    for key, value in zip("abcd", (a, b, c, d)):
        node.set(key, f"{value:.12g}")
    return node


def road_element(road: RoadSpec) -> ET.Element:
    """<road> of a specification."""
    node = element("road", name=road.name, length=road.curve.length, id=road.id, junction=road.junction)
    link = ET.SubElement(node, "link")
    for tag, target in (("predecessor", road.predecessor), ("successor", road.successor)):
        if target is not None:
            kind, key, contact = target
            child = element(tag, elementType=kind, elementId=key)
            if kind == "road":
                child.set("contactPoint", contact)
            link.append(child)
    road_type = element("type", s=0.0, type=road.road_type)
    road_type.append(element("speed", max=road.speed_kmh, unit="km/h"))
    node.append(road_type)
    node.append(_plan_view(road.curve))
    profile = ET.SubElement(node, "elevationProfile")
    for row in road.elevation or [(0.0, 0.0, 0.0, 0.0, 0.0)]:
        profile.append(_poly("elevation", "s", row))
    ET.SubElement(node, "lateralProfile")
    lanes = ET.SubElement(node, "lanes")
    lanes.append(_poly("laneOffset", "s", (0.0, 0.0, 0.0, 0.0, 0.0)))
    lanes.extend(_section_element(section) for section in road.sections)
    ET.SubElement(node, "objects").extend(road.objects)
    ET.SubElement(node, "signals").extend(road.signals)
    return node


def _plan_view(curve: Curve) -> ET.Element:
    node = ET.Element("planView")
    pose, s = curve.start, 0.0
    for piece in curve.pieces:
        part = element("geometry", s=s, x=pose.x, y=pose.y, hdg=pose.heading, length=piece.length)
        if abs(piece.curvature) < 1e-9:
            part.append(ET.Element("line"))
        else:
            part.append(ET.Element("arc", curvature=f"{piece.curvature:.15g}"))
        node.append(part)
        pose, s = piece.end(pose), s + piece.length
    return node


def _section_element(section: SectionSpec) -> ET.Element:
    node = element("laneSection", s=float(section.s))
    center = LaneSpec(0, "none", [], section.center_marks)
    for side, lanes in (
        ("left", sorted((lane for lane in section.lanes if lane.id > 0), key=lambda lane: -lane.id)),
        ("center", [center]),
        ("right", sorted((lane for lane in section.lanes if lane.id < 0), key=lambda lane: -lane.id)),
    ):
        if lanes:
            ET.SubElement(node, side).extend(_lane_element(lane) for lane in lanes)
    return node


def _lane_element(lane: LaneSpec) -> ET.Element:
    node = element("lane", id=lane.id, type=lane.type, level="false")
    link = ET.SubElement(node, "link")
    for tag, target in (("predecessor", lane.predecessor), ("successor", lane.successor)):
        if target is not None:
            link.append(element(tag, id=target))
    node.extend(_poly("width", "sOffset", row) for row in lane.widths)
    for mark in lane.marks:
        node.append(
            element(
                "roadMark",
                sOffset=float(mark.start),
                type=mark.type,
                weight="standard",
                color=mark.color,
                material="standard",
                width=float(mark.width),
                laneChange=mark.lane_change,
            )
        )
    if lane.height:
        node.append(element("height", sOffset=0.0, inner=float(lane.height), outer=float(lane.height)))
    return node


def junction_element(junction: JunctionSpec) -> ET.Element:
    """<junction> of a specification; connecting roads always begin at the incoming road."""
    node = element("junction", id=junction.id, name=junction.name)
    for key, (incoming, connecting, links) in enumerate(junction.connections):
        child = element("connection", id=key, incomingRoad=incoming, connectingRoad=connecting, contactPoint="start")
        child.extend(element("laneLink", **{"from": first, "to": last}) for first, last in links)
        node.append(child)
    node.extend(element("controller", id=key, type=0, sequence=place) for place, key in enumerate(junction.controllers))
    return node


def controller_element(controller: ControllerSpec) -> ET.Element:
    """<controller> of a specification."""
    node = element("controller", name=controller.name, id=controller.id, sequence=controller.sequence)
    node.extend(element("control", signalId=key, type=0) for key in controller.signals)
    return node


def document(
    name: str,
    geo_reference: str,
    roads: Iterable[RoadSpec],
    controllers: Iterable[ControllerSpec],
    junctions: Iterable[JunctionSpec],
) -> str:
    """OpenDRIVE 1.4 text of a network."""
    root = ET.Element("OpenDRIVE")
    header = element("header", revMajor=1, revMinor=4, name=name, version=1)
    ET.SubElement(header, "geoReference").text = geo_reference
    root.append(header)
    root.extend(road_element(road) for road in roads)
    root.extend(controller_element(controller) for controller in controllers)
    root.extend(junction_element(junction) for junction in junctions)
    ET.indent(root, space=" ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
