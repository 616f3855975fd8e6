"""Route files: routes with one scenario each, as the leaderboard reads them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field

from dataset_generation.routes.network import Path, yaw_of
from dataset_generation.routes.weather import WEATHERS

#: Distance between the key points of a route outside junctions, metres. The planner fills what lies between.
KEYPOINT_SPACING = 8
#: Distance between key points and junctions, metres.
MOUTH_MARGIN = 2


@dataclass(frozen=True, eq=False)
class Route:
    """A route with at most one scenario.

    Attributes:
        id: Unique within its file.
        town: Town name.
        path: Where it goes.
        weather: Number of a Bench2Drive weather.
        type: Scenario type, "" for plain driving.
        trigger: Index on the path where the scenario begins.
        parameters: Scenario parameters: tag to attributes.
    """

    id: int
    town: str
    path: Path
    weather: int
    type: str = ""
    trigger: int = 0
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)


def keypoints(path: Path) -> list[int]:
    """Indices of a path that are written down: regular ones outside junctions, and both sides of every junction.

    They keep `MOUTH_MARGIN` from junctions, where a rounded position could fall onto a lane that turns elsewhere.
    """
    inside = {
        index for passed in path.passes for index in range(passed.enter - MOUTH_MARGIN + 1, passed.exit + MOUTH_MARGIN)
    }
    mouths = {index for row in path.passes for index in (row.enter - MOUTH_MARGIN, row.exit + MOUTH_MARGIN)}
    chosen = {0, len(path) - 1} | (mouths - inside)
    last = 0
    for index in range(len(path)):
        if index in chosen:
            last = index
        elif index not in inside and index - last >= KEYPOINT_SPACING:
            chosen.add(index)
            last = index
    return sorted(index for index in chosen if 0 <= index < len(path))


def route_element(route: Route) -> ET.Element:
    """<route> of a route."""
    node = ET.Element("route", id=str(route.id), town=route.town)
    weathers = ET.SubElement(node, "weathers")
    attributes = WEATHERS[route.weather].attributes()
    for percentage in ("0", "100"):
        ET.SubElement(weathers, "weather", {"route_percentage": percentage, **attributes})
    waypoints = ET.SubElement(node, "waypoints")
    for index in keypoints(route.path):
        x, y, z = route.path.points[index]
        ET.SubElement(waypoints, "position", x=f"{x:.2f}", y=f"{y:.2f}", z=f"{z:.2f}")
    scenarios = ET.SubElement(node, "scenarios")
    if route.type:
        scenario = ET.SubElement(scenarios, "scenario", name=f"{route.type}_1", type=route.type)
        x, y, z = route.path.points[route.trigger]
        yaw = yaw_of(route.path.waypoints[route.trigger])
        ET.SubElement(scenario, "trigger_point", x=f"{x:.2f}", y=f"{y:.2f}", z=f"{z:.2f}", yaw=f"{yaw:.2f}")
        for tag, values in route.parameters.items():
            ET.SubElement(scenario, tag, values)
    return node


def routes_text(routes: Iterable[Route]) -> str:
    """Text of a route file."""
    root = ET.Element("routes")
    root.extend(route_element(route) for route in routes)
    ET.indent(root, space="  ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
