"""The words a town is described with: strips, profiles, nodes, streets."""

from __future__ import annotations

import dataclasses
import difflib
import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Strip:
    """A lane of a cross-section.

    Attributes:
        type: OpenDRIVE lane type.
        width: Metres.
        mark: Road mark type on its outer border.
        lane_change: Whether the mark may be crossed by lane changes (both or none).
    """

    type: str
    width: float
    mark: str = "none"
    lane_change: str = "none"


@dataclass(frozen=True)
class Profile:
    """A cross-section: strips from the centre outwards on both sides.

    Attributes:
        name: Used by streets to refer to it.
        right: Strips on the right of the street's direction.
        left: Strips on its left; traffic on driving strips there runs the other way.
        center_mark: Type of the mark on the reference line.
        center_color: Colour of that mark.
        speed_kmh: Speed limit.
        road_type: OpenDRIVE road type: town, rural, motorway.
    """

    name: str
    right: tuple[Strip, ...]
    left: tuple[Strip, ...]
    center_mark: str
    speed_kmh: int
    road_type: str = "town"
    center_color: str = "yellow"

    def renamed(self, name: str, speed_kmh: int, road_type: str) -> Profile:
        """The same cross-section under another name, limit and road type."""
        return dataclasses.replace(self, name=name, speed_kmh=speed_kmh, road_type=road_type)


def both_sides(
    name: str, strips: tuple[Strip, ...], center_mark: str, speed_kmh: int, road_type: str = "town"
) -> Profile:
    """A two-way street that looks alike on both sides."""
    return Profile(name, strips, strips, center_mark, speed_kmh, road_type)


class Control(enum.Enum):
    """Who goes first at a node."""

    SIGNALS = "signals"
    ALL_WAY_STOP = "all-way stop"
    STOP = "stop on minor streets"
    YIELD = "yield on minor streets"
    FREE = "nobody stops"


@dataclass(frozen=True)
class Node:
    """A place where streets meet.

    Attributes:
        name: Used by streets to refer to it.
        x: Metres east.
        y: Metres north.
        control: Right of way.
        minor: Names of the streets that stop or yield, for the two controls that need it.
        z: Metres above the datum.
        corner_radius: Radius of the kerb between neighbouring arms, metres.
        clearance: Distance at which arms end, metres; None computes it from widths and the corner radius.
        crosswalks: Whether arms with sidewalks get a crosswalk.
        forbidden: Movements (street, street) that do not exist although lanes would allow them.
    """

    name: str
    x: float
    y: float
    control: Control = Control.SIGNALS
    minor: tuple[str, ...] = ()
    z: float = 0.0
    corner_radius: float = 7.0
    clearance: float | None = None
    crosswalks: bool = True
    forbidden: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Via:
    """A bend of a street: the corner point, metres, and the radius that rounds it, metres."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Street:
    """A street between two nodes.

    Attributes:
        name: Unique.
        profile: Cross-section name.
        start: Node where it begins.
        end: Node where it ends.
        via: Bends on the way.
        heights: (fraction of length, metres) between the nodes' heights.
        trim: Distances from the two nodes at which it begins and ends, metres; None lets the node decide.
        development: What lines it, a key of `carla_server.map.generator.furnish.DEVELOPMENTS`.
        signs: Whether speed signs stand at its entrances.
    """

    name: str
    profile: str
    start: str
    end: str
    via: tuple[Via, ...] = ()
    heights: tuple[tuple[float, float], ...] = ()
    trim: tuple[float | None, float | None] = (None, None)
    development: str = "city"
    signs: bool = False


@dataclass(frozen=True)
class TownPlan:
    """A whole town.

    Attributes:
        name: Town name, also the file's.
        profiles: Cross-sections by name.
        nodes: Nodes by name.
        streets: Streets by name.
        latitude: Degrees of the origin.
        longitude: Degrees of the origin.
        seed: Seeds everything that is drawn at random (heights of buildings, species of trees).
    """

    name: str
    profiles: dict[str, Profile]
    nodes: dict[str, Node]
    streets: dict[str, Street]
    latitude: float = 48.52
    longitude: float = 9.05
    seed: int = 1

    @classmethod
    def of(
        cls, name: str, profiles: list[Profile], nodes: list[Node], streets: list[Street], seed: int = 1
    ) -> TownPlan:
        """Index the tables and check that every name is unique and every reference resolves.

        Raises:
            ValueError: A name occurs twice, or a street refers to an unknown node or profile.
        """
        plan = cls(
            name,
            _unique("profile", profiles),
            _unique("node", nodes),
            _unique("street", streets),
            seed=seed,
        )
        for street in streets:
            _known("profile", street.profile, plan.profiles, street.name)
            _known("node", street.start, plan.nodes, street.name)
            _known("node", street.end, plan.nodes, street.name)
        for node in nodes:
            for minor in node.minor:
                _known("street", minor, plan.streets, node.name)
        return plan


def _unique(kind: str, rows: list) -> dict:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        names = [row.name for row in rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{kind} names must be unique; these occur twice: {twice}")
    return table


def _known(kind: str, name: str, table: dict, user: str) -> None:
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{user} refers to unknown {kind} {name!r}{hint}")
