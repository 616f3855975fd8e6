"""Cut long official routes into short ones with one or a few scenarios each.

Every pair of way points is joined along the lanes, each scenario goes to the nearest point of that trace, and a short route
runs from some way before its first trigger to where its last scenario is over. Distances per scenario type are those of the
published splitter (`RenzKa/simlingo`, `dataset_generation/split_route_files.py`); the end of the junction is really looked for
on the whole route, which the published one does on a part of it only.
"""

from __future__ import annotations

import argparse
import copy
import heapq
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import carla
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from driving.arguments import positive
from driving.files import write_text

Array = NDArray[np.float64]
Cell = tuple[int, int, int, int]

LEAD_IN_M = 20.0
LONG_LEAD_IN_M = 50.0
LONG_LEAD_IN_TYPES = ("HardBreakRoute", "HighwayExit")
JUNCTION_MARGIN = 20
AFTER_JUNCTION_M = 25.0
STEP_M = 1.0
LANE_CHANGE_COST_M = 15.0

WEATHER_CHOICES: dict[str, tuple[float, ...]] = {
    "cloudiness": (0, 2, 5, 10, 15, 20, 40, 50, 60, 80, 100),
    "precipitation": (0, 2, 4, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100),
    "precipitation_deposits": (0, 4, 8, 12, 16, 20, 30, 40, 50, 60, 80, 100),
    "wetness": (0, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100),
    "wind_intensity": (5, 10, 25, 30, 50, 60, 80, 100),
    "sun_azimuth_angle": tuple(range(0, 361, 45)),
    "sun_altitude_angle": (-90, -45, -30, -10, -15, 5, 0, 5, 10, 15, 20, 30, 45, 60, 70, 80, 90),
    "fog_density": (0, 0, 1, 1, 2, 3, 4, 6, 7, 8, 10, 15, 20, 40, 70, 100),
}
"""Grid of the published random weathers; begin and end are drawn independently."""


@dataclass(frozen=True)
class Extent:
    """How far a scenario reaches past its trigger.

    Attributes:
        scenario: Type.
        distance: Fixed part, metres.
        parameters: Scenario parameters in metres that are added, with their defaults.
        until: What else must lie before the end: `junction`, `junction_with_lights`, `actor_flow`, `merge`,
            `right_lane_change`, or nothing.
    """

    scenario: str
    distance: float
    parameters: tuple[tuple[str, float], ...] = ()
    until: str = ""


def _rows() -> tuple[Extent, ...]:
    def distance(default: float) -> tuple[tuple[str, float], ...]:
        return (("distance", default),)

    bicycles = (("distance", 100.0), ("bicycle_drive_distance", 50.0))
    return (
        *(Extent(name, 86, distance(120)) for name in ("Accident", "AccidentTwoWays")),
        *(Extent(name, 70, distance(120)) for name in ("ParkedObstacle", "ParkedObstacleTwoWays")),
        *(Extent(name, 150, bicycles) for name in ("HazardAtSideLane", "HazardAtSideLaneTwoWays")),
        *(Extent(name, 70, distance(100)) for name in ("ConstructionObstacle", "ConstructionObstacleTwoWays")),
        Extent("InvadingTurn", 50, distance(100)),
        Extent("StaticCutIn", 80, distance(100)),
        Extent("VehicleOpensDoorTwoWays", 40, distance(50)),
        Extent("YieldToEmergencyVehicle", 260, distance(140)),
        Extent("ParkingCrossingPedestrian", 60, distance(12)),
        Extent("DynamicObjectCrossing", 70, distance(12)),
        Extent("BlockedIntersection", 20, until="junction"),
        Extent("CrossingBicycleFlow", 25, until="junction"),
        *(
            Extent(name, 30, until="junction")
            for name in (
                "HighwayExit", "InterurbanActorFlow", "NonSignalizedJunctionLeftTurn", "NonSignalizedJunctionRightTurn",
                "OppositeVehicleTakingPriority", "PedestrianCrossing", "PriorityAtJunction", "SignalizedJunctionLeftTurn",
                "SignalizedJunctionRightTurn",
            )
        ),
        Extent("InterurbanAdvancedActorFlow", 50, until="junction"),
        *(Extent(name, 70, until="junction") for name in ("VehicleTurningRoute", "VehicleTurningRoutePedestrian")),
        Extent("OppositeVehicleRunningRedLight", 30, until="junction_with_lights"),
        *(Extent(name, 110, until="actor_flow") for name in ("EnterActorFlow", "EnterActorFlowV2")),
        *(Extent(name, 250, until="merge") for name in ("MergerIntoSlowTraffic", "MergerIntoSlowTrafficV2")),
        Extent("HighwayCutIn", 200, until="right_lane_change"),
        Extent("ControlLoss", 130),
        Extent("HardBreakRoute", 65),
        Extent("ParkingCutIn", 85),
        Extent("ParkingExit", 50),
    )  # fmt: skip


EXTENTS = {row.scenario: row for row in _rows()}
DEFAULT_EXTENT = Extent("", 100, until="junction")
FLOW_REACH_M = {"actor_flow": 2.0, "merge": 1.5}
FLOW_LEFT_M = 20.0


@dataclass(frozen=True)
class Trace:
    """A route joined along its lanes.

    Attributes:
        waypoints: About 1 m apart.
        points: (N, 3) their locations, metres.
        along: (N,) distance from the start, metres.
        in_junction: (N,) whether a point lies in a junction.
        keypoints: (K,) indices of the way points of the route file.
    """

    waypoints: list[carla.Waypoint]
    points: Array
    along: Array
    in_junction: NDArray[np.bool_]
    keypoints: NDArray[np.int64]

    @classmethod
    def of(cls, waypoints: list[carla.Waypoint], keypoints: Sequence[int]) -> Trace:
        """Make a trace from its waypoints and the indices of the key points."""
        points = np.array([[w.transform.location.x, w.transform.location.y, w.transform.location.z] for w in waypoints])
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        inside = np.array([w.is_junction for w in waypoints], dtype=bool)
        return cls(waypoints, points, along, inside, np.asarray(keypoints, dtype=np.int64))

    def nearest(self, place: Sequence[float]) -> int:
        """Index of the point nearest to a place (2,), metres."""
        return int(np.argmin(np.sum((self.points[:, :2] - np.asarray(place)[:2]) ** 2, axis=1)))


def _lane_cell(waypoint: carla.Waypoint) -> Cell:
    return waypoint.road_id, waypoint.section_id, waypoint.lane_id, round(waypoint.s / (STEP_M / 2))


def join(start: carla.Waypoint, goal: carla.Waypoint, max_expanded: int = 20_000) -> list[carla.Waypoint]:
    """Waypoints from one place to another along the lanes, start and goal included; the shortest way, lane changes cost.

    Raises:
        ValueError: If no way is found.
    """
    target = goal.transform.location
    counter = 0
    came_from: dict[Cell, tuple[Cell | None, carla.Waypoint]] = {_lane_cell(start): (None, start)}
    queue = [(start.transform.location.distance(target), 0.0, counter, start)]
    done: set[Cell] = set()
    while queue and len(done) < max_expanded:
        _, cost, _, here = heapq.heappop(queue)
        cell = _lane_cell(here)
        if cell in done:
            continue
        done.add(cell)
        same_lane = (here.road_id, here.lane_id) == (goal.road_id, goal.lane_id)
        if same_lane and here.transform.location.distance(target) < 2.1 * STEP_M:
            return [*_way_back(came_from, cell), goal]
        for following, price in _neighbours(here):
            key = _lane_cell(following)
            if key not in done and key not in came_from:
                counter += 1
                came_from[key] = (cell, following)
                estimate = cost + price + following.transform.location.distance(target)
                heapq.heappush(queue, (estimate, cost + price, counter, following))
    a, b = start.transform.location, target
    raise ValueError(
        f"no way along the lanes from ({a.x:.1f}, {a.y:.1f}) to ({b.x:.1f}, {b.y:.1f}); is it the right town?"
    )


def _neighbours(here: carla.Waypoint) -> list[tuple[carla.Waypoint, float]]:
    found = [(following, STEP_M) for following in here.next(STEP_M)]
    for allowed, side in (
        (carla.LaneChange.Left, here.get_left_lane()),
        (carla.LaneChange.Right, here.get_right_lane()),
    ):
        permitted = int(here.lane_change) & int(allowed)
        if (
            permitted
            and side is not None
            and side.lane_type == carla.LaneType.Driving
            and side.lane_id * here.lane_id > 0
        ):
            found += [(following, LANE_CHANGE_COST_M) for following in side.next(5 * STEP_M)]
    return found


def _way_back(came_from: dict[Cell, tuple[Cell | None, carla.Waypoint]], cell: Cell) -> list[carla.Waypoint]:
    way = []
    step: Cell | None = cell
    while step is not None:
        step, waypoint = came_from[step]
        way.append(waypoint)
    return way[::-1]


def trace_route(road_map: carla.Map, positions: Sequence[tuple[float, float, float]]) -> Trace:
    """Join the way points of a route.

    Raises:
        ValueError: If two of them are not joined by lanes.
    """
    stops = [road_map.get_waypoint(carla.Location(*place)) for place in positions]
    waypoints, keypoints = [stops[0]], [0]
    for start, goal in pairwise(stops):
        waypoints += join(start, goal)[1:]
        keypoints.append(len(waypoints) - 1)
    return Trace.of(waypoints, keypoints)


def is_clear(trace: Trace, index: int) -> bool:
    """Whether a place is outside junctions and not within 20 points before one (a start or end must not be there)."""
    return not bool(trace.in_junction[index : index + JUNCTION_MARGIN + 1].any())


def find_start(trace: Trace, trigger: int, lead_in: float) -> int:
    """Index of the start: back from the trigger, farther than ``lead_in`` metres, at a clear place."""
    for index in range(trigger, -1, -1):
        if trace.along[trigger] - trace.along[index] > lead_in and is_clear(trace, index):
            return index
    return 0


def find_end(trace: Trace, trigger: int, reach: float) -> int:
    """Index of the end: on from the trigger, beyond ``reach`` metres, outside junctions."""
    for index in range(trigger, len(trace.points)):
        if trace.along[index] - trace.along[trigger] > reach and is_clear(trace, index):
            return index
    return len(trace.points) - 1


def _parameter(scenario: ElementTree.Element, name: str, default: float) -> float:
    element = scenario.find(name)
    return default if element is None else float(element.get("value", default))


def _past_junction(trace: Trace, trigger: int, has_lights: Callable[[int], bool]) -> float:
    """Metres from the trigger to 25 m behind the end of the next junction that qualifies."""
    inside = False
    for index in range(trigger, len(trace.points)):
        if trace.in_junction[index] and (inside or has_lights(index)):
            inside = True
        elif inside:
            return float(trace.along[index] - trace.along[trigger]) + AFTER_JUNCTION_M
    return 0.0


def _past_flow(trace: Trace, trigger: int, flow: Array, reach: float) -> float:
    """Metres from the trigger to where the route meets a flow (M, 3), or leaves its neighbourhood without meeting it."""
    gaps = np.sqrt(np.min(np.sum((trace.points[trigger:, None, :2] - flow[None, :, :2]) ** 2, axis=-1), axis=1))
    met = np.flatnonzero(gaps < reach)
    if len(met):
        return float(trace.along[trigger + met[0]] - trace.along[trigger])
    closest = int(np.argmin(gaps))
    left = np.flatnonzero(gaps[closest:] > gaps[closest] + FLOW_LEFT_M)
    index = trigger + closest + (int(left[0]) if len(left) else 0)
    return float(trace.along[index] - trace.along[trigger])


def _flow_of(road_map: carla.Map, scenario: ElementTree.Element) -> Array | None:
    """Path (M, 3) of the scenario's actor flow; None without its two places."""
    ends = [scenario.find(name) for name in ("start_actor_flow", "end_actor_flow")]
    places = [tuple(float(end.get(axis, 0)) for axis in "xyz") for end in ends if end is not None]
    return trace_route(road_map, places).points if len(places) == 2 else None  # type: ignore[arg-type]


def _until_lane_change(trace: Trace, trigger: int) -> float:
    for index in range(trigger, len(trace.points)):
        if int(trace.waypoints[index].lane_change) & int(carla.LaneChange.Right):
            return float(trace.along[index] - trace.along[trigger])
    return 0.0


def scenario_reach(road_map: carla.Map, trace: Trace, trigger: int, scenario: ElementTree.Element) -> float:
    """Metres from the trigger that a scenario needs."""
    row = EXTENTS.get(scenario.get("type", ""), DEFAULT_EXTENT)
    reach = row.distance + sum(_parameter(scenario, name, default) for name, default in row.parameters)
    if row.until == "junction":
        return reach + _past_junction(trace, trigger, lambda index: True)
    if row.until == "junction_with_lights":
        return reach + _past_junction(trace, trigger, lambda index: _has_lights(trace, index))
    if row.until in FLOW_REACH_M and (flow := _flow_of(road_map, scenario)) is not None:
        return reach + _past_flow(trace, trigger, flow, FLOW_REACH_M[row.until])
    if row.until == "right_lane_change":
        return reach + _until_lane_change(trace, trigger)
    return reach


def _has_lights(trace: Trace, index: int, look_back: int = 30) -> bool:
    """Whether a light stands before the junction that a point lies in."""
    before = trace.waypoints[max(0, index - look_back)]
    return bool(before.get_landmarks_of_type(look_back + 20.0, "1000001", False))


def random_weather(rng: np.random.Generator) -> list[ElementTree.Element]:
    """Begin and end weather, drawn from the published grid."""
    values = {name: rng.choice(np.asarray(choices, dtype=float), 2) for name, choices in WEATHER_CHOICES.items()}
    elements = []
    for number, percentage in enumerate(("0.0", "100.0")):
        attributes = {name: str(float(pair[number])) for name, pair in values.items()}
        elements.append(ElementTree.Element("weather", {"route_percentage": percentage, **attributes}))
    return elements


def split_route(
    road_map: carla.Map, route: ElementTree.Element, max_scenarios: int, rng: np.random.Generator
) -> list[ElementTree.Element]:
    """Short routes of a long one.

    Args:
        road_map: Map of its town.
        route: ``<route>`` element.
        max_scenarios: Scenarios per short route; 0 keeps the route whole and without scenarios.
        rng: Draws the weather.

    Raises:
        ValueError: If the route does not fit the map.
    """
    places = [tuple(float(p.get(axis, 0)) for axis in "xyz") for p in route.iter("position")]
    trace = trace_route(road_map, places)  # type: ignore[arg-type]
    if max_scenarios == 0:
        return [_short_route(route, trace, 0, len(trace.points) - 1, [], rng)]
    placed = []
    for scenario in route.iter("scenario"):
        trigger = scenario.find("trigger_point")
        if trigger is not None:
            placed.append((trace.nearest([float(trigger.get("x", 0)), float(trigger.get("y", 0))]), scenario))
    placed.sort(key=lambda entry: entry[0])
    shorts = []
    for begin in range(0, len(placed), max_scenarios):
        group = placed[begin : begin + max_scenarios]
        is_long = group[0][1].get("type") in LONG_LEAD_IN_TYPES
        start = find_start(trace, group[0][0], LONG_LEAD_IN_M if is_long else LEAD_IN_M)
        ends = [find_end(trace, index, scenario_reach(road_map, trace, index, s)) for index, s in group]
        shorts.append(_short_route(route, trace, start, max(ends), [s for _, s in group], rng))
    return shorts


def _short_route(
    route: ElementTree.Element,
    trace: Trace,
    start: int,
    end: int,
    scenarios: Sequence[ElementTree.Element],
    rng: np.random.Generator,
) -> ElementTree.Element:
    short = ElementTree.Element("route", id="0", town=route.get("town", ""))
    ElementTree.SubElement(short, "weathers").extend(random_weather(rng))
    kept = [start, *(int(k) for k in trace.keypoints if start < k < end), end]
    waypoints = ElementTree.SubElement(short, "waypoints")
    for index in kept:
        x, y, z = trace.points[index]
        ElementTree.SubElement(waypoints, "position", x=f"{x:.1f}", y=f"{y:.1f}", z=f"{z:.1f}")
    ElementTree.SubElement(short, "scenarios").extend(copy.deepcopy(s) for s in scenarios)
    return short


def read_routes(path: Path) -> list[ElementTree.Element]:
    """The `<route>` elements of a file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not XML or holds no route; the message names the file.
    """
    try:
        routes = list(ElementTree.parse(path).getroot().iter("route"))
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not well-formed XML: {error}") from error
    if not routes:
        raise ValueError(f"{path}: expected <route> elements, found none")
    return routes


def write_route(route: ElementTree.Element, path: Path) -> None:
    """Write one route as a file of its own, atomically."""
    document = ElementTree.Element("routes")
    document.append(route)
    ElementTree.indent(document, "   ")
    write_text(path, ElementTree.tostring(document, encoding="unicode") + "\n")


def load_map(folder: Path, town: str) -> carla.Map:
    """Map of a town from ``<folder>/<town>.xodr``.

    Raises:
        ValueError: If there is no such file.
    """
    path = folder / f"{town}.xodr"
    if not path.is_file():
        raise ValueError(f"the map {path} is missing; pass --maps with the folder that holds {town}.xodr")
    return carla.Map(town, path.read_text())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("file", type=Path, help="long routes, for example routes_training.xml")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; files go to <out>/random_weather_seed_<seed>/<n>.xml"
    )
    parser.add_argument(
        "--maps", type=Path, default=Path("data/towns"), help="folder with <town>.xodr (default: %(default)s)"
    )
    parser.add_argument("--max-scenarios", type=positive, default=1, help="scenarios per route (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the weathers (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand. Raises ValueError for a file or map that does not fit."""
    routes = read_routes(options.file)
    rng, maps, number = np.random.default_rng(options.seed), {}, 0
    folder = options.out / f"random_weather_seed_{options.seed}"
    for route in tqdm(routes, desc="split", unit="route"):
        town = route.get("town", "")
        if town not in maps:
            maps[town] = load_map(options.maps, town)
        for short in split_route(maps[town], route, options.max_scenarios, rng):
            write_route(short, folder / f"{number}.xml")
            number += 1
    print(f"{folder}: {number} routes from {len(routes)}")
    return 0
