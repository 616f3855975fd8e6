"""Reads route files of the CARLA Leaderboard and Bench2Drive (one XML format) and writes them back."""

from __future__ import annotations

import math
import os
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

import carla

from driving.files import write_bytes
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration, WeatherKeypoint
from srunner.scenarioconfigs.scenario_configuration import ActorConfigurationData, ScenarioConfiguration

DEFAULT_SUN_ALTITUDE_DEG = 70.0
DEFAULT_CLOUDINESS = 50.0

NO_ID = frozenset(",/\\")
"""What ids of routes cannot hold."""


class RouteFileError(ValueError):
    """A route file cannot be used. ``problems`` lists everything wrong with it, one line each."""

    def __init__(self, path: str | os.PathLike[str], problems: Sequence[str]):
        self.path = str(path)
        self.problems = list(problems)
        super().__init__(f"{path}: " + "; ".join(self.problems))


class _Element(ElementTree.Element):
    """An element that knows its line."""

    line: int = 0


def _line(element: ElementTree.Element) -> int:
    """Line of an element in its file, 0 if it was not read from one."""
    return element.line if isinstance(element, _Element) else 0


def _read_tree(path: Path) -> ElementTree.Element:
    """Parse a file into elements with line numbers."""
    parser = expat.ParserCreate()
    builder = ElementTree.TreeBuilder(element_factory=_Element)

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = builder.start(tag, attributes)
        assert isinstance(element, _Element)
        element.line = parser.CurrentLineNumber

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise RouteFileError(path, [f"not a complete XML file: {error}"]) from error
    return builder.close()


class _Reader:
    """Collects problems while it reads, so that one run reports them all."""

    def __init__(self, path: Path):
        self.path = path
        self.problems: list[str] = []

    def number(self, element: ElementTree.Element, attribute: str, default: float | None = None) -> float:
        text = element.get(attribute)
        if text is None and default is not None:
            return default
        try:
            value = float(text if text is not None else "")
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        got = "nothing" if text is None else repr(text)
        self.problems.append(f"line {_line(element)}: <{element.tag}> needs a number {attribute!r}, got {got}")
        return 0.0

    def location(self, element: ElementTree.Element) -> carla.Location:
        return carla.Location(*(self.number(element, axis) for axis in "xyz"))

    def child(self, route: ElementTree.Element, tag: str) -> ElementTree.Element | None:
        found = route.find(tag)
        if found is None:
            self.problems.append(f"line {_line(route)}: route {route.get('id')!r} has no <{tag}> element")
        return found

    def attribute(self, element: ElementTree.Element, name: str) -> str:
        value = element.get(name)
        if not value:
            self.problems.append(f"line {_line(element)}: <{element.tag}> needs the attribute {name!r}")
        return value or ""

    def scenario(self, element: ElementTree.Element) -> ScenarioConfiguration:
        config = ScenarioConfiguration(
            self.attribute(element, "name"), self.attribute(element, "type"), [], line=_line(element)
        )
        for part in element:
            if part.tag == "trigger_point":
                rotation = carla.Rotation(yaw=self.number(part, "yaw"))
                config.trigger_points.append(carla.Transform(self.location(part), rotation))
            elif part.tag == "other_actor":
                config.other_actors.append(self.actor(part))
            else:
                config.other_parameters[part.tag] = dict(part.attrib)
        if not config.trigger_points:
            self.problems.append(f"line {_line(element)}: scenario {config.name!r} has no <trigger_point>")
        return config

    def actor(self, element: ElementTree.Element) -> ActorConfigurationData:
        rotation = carla.Rotation(yaw=self.number(element, "yaw", 0.0))
        return ActorConfigurationData(
            model=element.get("model", "vehicle.*"),
            transform=carla.Transform(self.location(element), rotation),
            rolename=element.get("rolename", "scenario"),
            speed=self.number(element, "speed", 0.0),
            autopilot=element.get("autopilot", "").lower() in ("true", "1"),
            color=element.get("color"),
        )

    def weather(self, element: ElementTree.Element) -> WeatherKeypoint:
        weather = default_weather()
        for name in element.attrib:
            if name == "route_percentage":
                continue
            if not isinstance(getattr(weather, name, None), float):
                warnings.warn(
                    f"{self.path}, line {_line(element)}: CARLA has no weather {name!r}; ignored", stacklevel=2
                )
                continue
            setattr(weather, name, self.number(element, name))
        return WeatherKeypoint(self.number(element, "route_percentage"), weather)

    def route(self, element: ElementTree.Element) -> RouteScenarioConfiguration:
        route_id = self.attribute(element, "id")
        if set(route_id) & NO_ID or route_id != route_id.strip():
            self.problems.append(
                f"line {_line(element)}: route id {route_id!r} must hold no comma, no slash and no blank at its ends: "
                "subsets name it and files are named after it"
            )
        waypoints, scenarios = self.child(element, "waypoints"), self.child(element, "scenarios")
        keypoints = [] if waypoints is None else [self.location(point) for point in waypoints.iter("position")]
        if waypoints is not None and len(keypoints) < 2:
            self.problems.append(
                f"line {_line(element)}: route {route_id!r} needs at least two positions, got {len(keypoints)}"
            )
        weathers = element.find("weathers")
        weather = [] if weathers is None else [self.weather(entry) for entry in weathers.iter("weather")]
        return RouteScenarioConfiguration(
            name=f"RouteScenario_{route_id}",
            route_id=route_id,
            town=self.attribute(element, "town"),
            keypoints=keypoints,
            scenario_configs=[]
            if scenarios is None
            else [self.scenario(entry) for entry in scenarios.iter("scenario")],
            weather=sorted(weather, key=lambda keypoint: keypoint.percentage)
            or [WeatherKeypoint(0.0, default_weather())],
            has_weather=bool(weather),
            line=_line(element),
        )


def default_weather() -> carla.WeatherParameters:
    """The weather of a route that names none, and the base for attributes a route leaves out."""
    return carla.WeatherParameters(cloudiness=DEFAULT_CLOUDINESS, sun_altitude_angle=DEFAULT_SUN_ALTITUDE_DEG)


def select_routes(route_ids: Sequence[str], subset: str) -> list[str]:
    """Apply the subset syntax: comma-separated ids and ``a-b`` ranges, blanks around them ignored.

    Args:
        route_ids: All ids in file order.
        subset: E.g. ``"1711, 2050-2091"``; empty selects everything. A range takes every route from a to b in file order. An
            id that looks like a range is an id.

    Returns:
        The selected ids in file order, whatever the order of the text.

    Raises:
        ValueError: If an id is not in the file, a range ends before it starts, or a route is selected twice.
    """
    if not subset.strip():
        return list(route_ids)
    chosen: Counter[str] = Counter()
    for part in map(str.strip, subset.split(",")):
        if part in route_ids:
            chosen[part] += 1
            continue
        first, last = (end.strip() for end in part.partition("-")[::2])
        for name in (first, last or first):
            if name not in route_ids:
                raise ValueError(
                    f"route {name!r} of the subset {subset!r} is not in the file (ids: {_shorten(route_ids)})"
                )
        start, end = route_ids.index(first), route_ids.index(last or first)
        if end < start:
            raise ValueError(f"range {part!r} of the subset ends before it starts: the file holds {last!r} first")
        chosen.update(route_ids[start : end + 1])
    twice = [name for name, count in chosen.items() if count > 1]
    if twice:
        raise ValueError(f"the subset {subset!r} selects {', '.join(twice)} more than once")
    return [name for name in route_ids if name in chosen]


def _shorten(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … {len(names)} in all" if len(names) > most else "")


class RouteParser:
    """Façade with the official class and method names."""

    @staticmethod
    def parse_routes_file(
        route_filename: str | os.PathLike[str], routes_subset: str = ""
    ) -> list[RouteScenarioConfiguration]:
        """Read the routes of a file, in file order.

        Args:
            route_filename: Route XML.
            routes_subset: See `select_routes`.

        Raises:
            FileNotFoundError: If there is no such file.
            RouteFileError: If it is not XML, holds no route, holds an id twice or a route is incomplete; all problems are
                listed with their lines.
            ValueError: If the subset does not fit the file.
        """
        path = Path(route_filename)
        reader = _Reader(path)
        routes = [reader.route(element) for element in _read_tree(path).iter("route")]
        ids = [route.route_id for route in routes]
        if not routes:
            reader.problems.append("expected <route> elements, found none")
        reader.problems += [f"route id {name!r} occurs {n} times" for name, n in Counter(ids).items() if n > 1]
        if reader.problems:
            raise RouteFileError(path, reader.problems)
        selected = set(select_routes(ids, routes_subset))
        return [route for route in routes if route.route_id in selected]


WEATHER_ATTRIBUTES = tuple(
    name
    for name in dir(carla.WeatherParameters)
    if not name.startswith("_") and isinstance(getattr(carla.WeatherParameters(), name), float)
)


def write_routes_file(path: str | os.PathLike[str], routes: Sequence[RouteScenarioConfiguration]) -> None:
    """Write routes in the official format, atomically. Read back, they equal ``routes``."""
    root = ElementTree.Element("routes")
    for route in routes:
        root.append(_route_element(route))
    ElementTree.indent(root, space="    ")
    write_bytes(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _route_element(route: RouteScenarioConfiguration) -> ElementTree.Element:
    element = ElementTree.Element("route", id=route.route_id, town=route.town)
    if route.has_weather:
        weathers = ElementTree.SubElement(element, "weathers")
        base = default_weather()
        for keypoint in route.weather:
            attributes = {"route_percentage": _text(keypoint.percentage)} | {
                name: _text(getattr(keypoint.weather, name))
                for name in WEATHER_ATTRIBUTES
                if getattr(keypoint.weather, name) != getattr(base, name)
            }
            ElementTree.SubElement(weathers, "weather", attributes)
    waypoints = ElementTree.SubElement(element, "waypoints")
    for location in route.keypoints:
        ElementTree.SubElement(waypoints, "position", _place(location))
    scenarios = ElementTree.SubElement(element, "scenarios")
    for config in route.scenario_configs:
        scenario = ElementTree.SubElement(scenarios, "scenario", name=config.name, type=config.type)
        for trigger in config.trigger_points:
            yaw = _text(trigger.rotation.yaw)
            ElementTree.SubElement(scenario, "trigger_point", _place(trigger.location) | {"yaw": yaw})
        for tag, attributes in config.other_parameters.items():
            ElementTree.SubElement(scenario, tag, attributes)
    return element


def _place(location: carla.Location) -> dict[str, str]:
    return {"x": _text(location.x), "y": _text(location.y), "z": _text(location.z)}


def _text(value: float) -> str:
    """A short text that reads back as the same 32-bit number (the client stores single precision)."""
    return f"{value:.8g}"
