"""Draws a town from above: lanes, markings, signals, objects, and routes.

Example:
    python -m carla_server.map.plot Mini01 --routes data/routes/demo_eval.xml --out mini01.png
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carla_server.map.opendrive import Array, MapError
from carla_server.map.records import MapObject, SignalKind
from carla_server.map.road_map import RoadMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUND = "#cfe3c0"
LANE_COLORS = {
    "none": "#d8ead0",
    "median": "#7a7",
    "shoulder": "#9a9a9a",
    "sidewalk": "#cfcabb",
    "parking": "#8899bb",
    "driving": "#777777",
    "biking": "#b96666",
}
MARK_COLORS = {"yellow": "#ffcc00", "curb": "#444444"}
OBJECT_COLORS = {
    "building": "#bb9988",
    "tree": "#338833",
    "vegetation": "#4c9a4c",
    "pole": "#222222",
    "crosswalk": "#ffffff",
    "roadMark": "#ffffff",
    "barrier": "#555555",
    "obstacle": "#dd6600",
}
SIGNAL_COLORS = {
    SignalKind.TRAFFIC_LIGHT: "lime",
    SignalKind.STOP: "red",
    SignalKind.YIELD: "orange",
    SignalKind.SPEED_LIMIT: "blue",
    SignalKind.OTHER: "black",
}


def add_lanes(ax: Axes, road_map: RoadMap) -> None:
    """Lane surfaces and what lies between turning lanes."""
    from matplotlib.collections import PolyCollection

    paved = [ring[:, :2] for junction in road_map.junctions.values() for ring in junction.surface]
    ax.add_collection(PolyCollection(paved, facecolors=LANE_COLORS["driving"], edgecolors="none"))
    for kind, color in LANE_COLORS.items():
        strips = [np.concatenate((lane.inner, lane.outer[::-1]))[:, :2] for lane in road_map.lanes if lane.type == kind]
        ax.add_collection(PolyCollection(strips, facecolors=color, edgecolors="none"))


def add_markings(ax: Axes, road_map: RoadMap) -> None:
    """Painted lines and kerbs."""
    from matplotlib.collections import LineCollection

    rows = road_map.markings
    colors = [MARK_COLORS.get("curb" if row.type == "curb" else row.color, "white") for row in rows]
    styles = ["--" if "broken" in row.type else "-" for row in rows]
    ax.add_collection(
        LineCollection([row.line[:, :2] for row in rows], colors=colors, linestyles=styles, linewidths=0.7)
    )


def _footprint(row: MapObject) -> Array:
    if row.outline is not None:
        return row.outline[:, :2]
    cos, sin = np.cos(row.yaw), np.sin(row.yaw)
    half = 0.5 * np.array([max(row.length, 0.3), max(row.width, 0.3)])
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
    return corners @ np.array([[cos, sin], [-sin, cos]]) + row.position[:2]


def add_objects(ax: Axes, road_map: RoadMap) -> None:
    """Footprints of buildings, trees, furniture, crosswalks and stop lines."""
    from matplotlib.collections import PolyCollection

    for kind, color in OBJECT_COLORS.items():
        outlines = [_footprint(row) for row in road_map.objects if row.type == kind]
        ax.add_collection(PolyCollection(outlines, facecolors=color, edgecolors="none", alpha=0.85))


def add_signals(ax: Axes, road_map: RoadMap) -> None:
    """Lights and signs, and the lines where traffic stops for them."""
    for row in road_map.signals.values():
        color = SIGNAL_COLORS[row.kind]
        ax.plot(row.position[0], row.position[1], "o", color=color, ms=3)
        if row.stop_left is not None and row.stop_right is not None and row.kind is not SignalKind.SPEED_LIMIT:
            ends = np.stack((row.stop_left, row.stop_right))
            ax.plot(ends[:, 0], ends[:, 1], color=color, lw=1.2)


def read_routes(path: Path) -> list[ET.Element]:
    """The `<route>` elements of a route file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not XML.
    """
    try:
        return list(ET.parse(path).getroot().iter("route"))
    except ET.ParseError as error:
        raise ValueError(f"{path} is not a route file: {error}") from None


def add_routes(ax: Axes, routes: Iterable[ET.Element], town: str) -> int:
    """The routes that lie in `town`, with their triggers; returns how many."""
    inside = [route for route in routes if route.get("town") == town]
    for number, route in enumerate(inside):
        color = f"C{number % 10}"
        points = np.array([[float(p.attrib["x"]), float(p.attrib["y"])] for p in route.iter("position")])
        ax.plot(points[:, 0], points[:, 1], color=color, lw=1.5)
        ax.plot(*points[0], "o", color=color, ms=5)
        for scenario in route.iter("scenario"):
            trigger = scenario.find("trigger_point")
            if trigger is not None:
                x, y = float(trigger.attrib["x"]), float(trigger.attrib["y"])
                ax.plot(x, y, "*", color="black", ms=7)
                ax.annotate(f"{route.get('id')} {scenario.get('type')}", (x, y), fontsize=6)
    return len(inside)


def draw(road_map: RoadMap, routes: Sequence[ET.Element], target: Path) -> None:
    """Write a picture of the whole town, south down, one pixel about 0.7 m."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(14, 14))
    ax.set_facecolor(GROUND)
    add_lanes(ax, road_map)
    add_markings(ax, road_map)
    add_objects(ax, road_map)
    add_signals(ax, road_map)
    if routes:
        add_routes(ax, routes, road_map.name)
    ax.set(title=road_map.name, xlabel="x, metres", ylabel="y, metres", aspect="equal")
    ax.autoscale()
    ax.invert_yaxis()
    figure.savefig(target, dpi=100, bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m carla_server.map.plot",
        description="Draw a town from above.",
        epilog="example: python -m carla_server.map.plot Mini01 --routes data/routes/demo_eval.xml --out mini01.png",
    )
    parser.add_argument("town", help="town name or path of an OpenDRIVE file")
    parser.add_argument("--maps", type=Path, default=Path("data/towns"), help="folder of towns (default: %(default)s)")
    parser.add_argument("--routes", type=Path, help="route file to draw on top")
    parser.add_argument("--out", type=Path, help="picture (default: <town>.png)")
    options = parser.parse_args(arguments)
    path = Path(options.town) if options.town.endswith(".xodr") else options.maps / f"{options.town}.xodr"
    target = options.out or Path(f"{path.stem}.png")
    try:
        routes = read_routes(options.routes) if options.routes else []
        draw(RoadMap.load(path), routes, target)
    except (MapError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
