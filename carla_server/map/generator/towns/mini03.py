"""Mini03: a highway with interchanges and hilly roads on both sides, about 1250 m by 760 m.

    The highway is one long loop: the southern carriageway runs east, the northern one west, and bends join them.
    South of it (and, turned by 180 degrees, north of it) lies an interurban road with two half interchanges:

    --- bend --- X1 --------- N1 ==== X2 --------- N2 --- bend ---     = fourth lane from ramp to ramp
                   \\         /          \\         /
                    \\       /            \\       /
         J1 --------- Q1 ------- M ------- Q2 --------- J2             interurban, two lanes per direction
        /  |                     |                      |  \\
        `- L1 ------------------ K -------------------- L2 -'          rural, one lane per direction
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from carla_server.map.generator.plan import Control, Node, Street, TownPlan, Via
from carla_server.map.generator.towns.profiles import (
    HIGHWAY,
    HIGHWAY_BEND,
    INTERURBAN,
    RAMP,
    RURAL,
    WIDE_HIGHWAY,
)

#: Centre of the town, about which its southern half is turned to make the northern one, metres.
_CENTER = (560.0, 80.0)
#: Length over which ramps and carriageways part, metres, and the room a junction needs on its other side.
_GORE, _CLOSE = 85.0, 10.0


def _exit(name: str, x: float) -> Node:
    return Node(name, x, 0, Control.FREE, clearance=_CLOSE, crosswalks=False)


_SOUTH_NODES = [
    _exit("X1", 180),
    _exit("N1", 480),
    _exit("X2", 640),
    _exit("N2", 940),
    Node("bend", 1040, 0, Control.FREE, clearance=6.0, crosswalks=False),
    Node("Q1", 330, -130, Control.STOP, minor=("off 1",), z=2.0, corner_radius=12, crosswalks=False),
    Node("M", 560, -140, Control.STOP, minor=("MK",), z=6.0, corner_radius=12, crosswalks=False),
    Node("Q2", 790, -130, Control.YIELD, minor=("off 2",), z=2.0, corner_radius=12, crosswalks=False),
    Node("J1", 120, -130, Control.SIGNALS, z=0.0, corner_radius=10, crosswalks=False),
    Node("J2", 1000, -130, Control.SIGNALS, z=1.0, corner_radius=10, crosswalks=False),
    Node("L1", 120, -280, Control.STOP, minor=("JL1",), z=4.0, corner_radius=10, crosswalks=False),
    Node("K", 560, -290, Control.STOP, minor=("MK",), z=3.0, corner_radius=10, crosswalks=False),
    Node("L2", 1000, -280, Control.YIELD, minor=("JL2",), z=5.0, corner_radius=10, crosswalks=False),
]


def _off(name: str, start: str, end: str, x: float) -> Street:
    return Street(name, "ramp", start, end, via=(Via(x + 112, -19.8, 55),), trim=(_GORE, None), development="rural")


def _on(name: str, start: str, end: str, x: float) -> Street:
    return Street(name, "ramp", start, end, via=(Via(x - 112, -19.8, 55),), trim=(None, _GORE), development="rural")


_SOUTH_STREETS = [
    Street("east 1", "highway", "X1", "N1", trim=(_GORE, _GORE), development="highway", signs=True),
    Street("east 2", "wide highway", "N1", "X2", development="highway"),
    Street("east 3", "highway", "X2", "N2", trim=(_GORE, _GORE), development="highway"),
    Street("east 4", "highway", "N2", "bend", development="highway"),
    _off("off 1", "X1", "Q1", 180),
    _on("on 1", "Q1", "N1", 480),
    _off("off 2", "X2", "Q2", 640),
    _on("on 2", "Q2", "N2", 940),
    Street("JQ1", "interurban", "J1", "Q1", development="rural", signs=True),
    Street("QM1", "interurban", "Q1", "M", via=(Via(440, -130, 120), Via(500, -140, 120)), development="rural"),
    Street("MQ2", "interurban", "M", "Q2", via=(Via(620, -140, 120), Via(680, -130, 120)), development="rural"),
    Street("QJ2", "interurban", "Q2", "J2", development="rural", signs=True),
    Street("MK", "rural", "M", "K", heights=((0.5, 7.0),), development="rural"),
    Street("JL1", "rural", "J1", "L1", development="rural"),
    Street("JL2", "rural", "J2", "L2", heights=((0.5, 5.0),), development="suburb"),
    Street("west loop", "rural", "J1", "L1", via=(Via(0, -130, 60), Via(0, -280, 60)), development="rural"),
    Street("east loop", "rural", "J2", "L2", via=(Via(1120, -130, 60), Via(1120, -280, 60)), development="rural"),
    Street(
        "LK",
        "rural",
        "L1",
        "K",
        via=(Via(220, -280, 90), Via(320, -320, 90), Via(440, -290, 90)),
        heights=((0.3, 9.0), (0.65, 2.0)),
        development="rural",
    ),
    Street(
        "KL",
        "rural",
        "K",
        "L2",
        via=(Via(680, -290, 90), Via(790, -250, 90), Via(890, -280, 90)),
        heights=((0.35, 8.0), (0.7, 3.0)),
        development="rural",
    ),
]


def _turned(x: float, y: float) -> tuple[float, float]:
    return 2 * _CENTER[0] - x, 2 * _CENTER[1] - y


def _north_name(name: str) -> str:
    return f"{name} north"


def _north_nodes(nodes: Iterable[Node]) -> list[Node]:
    """The nodes turned by 180 degrees, which keeps traffic on the right."""
    result = []
    for node in nodes:
        x, y = _turned(node.x, node.y)
        minor = tuple(_north_name(name) for name in node.minor)
        result.append(dataclasses.replace(node, name=_north_name(node.name), x=x, y=y, minor=minor, z=0.8 * node.z))
    return result


def _north_streets(streets: Iterable[Street]) -> list[Street]:
    return [
        dataclasses.replace(
            street,
            name=_north_name(street.name),
            start=_north_name(street.start),
            end=_north_name(street.end),
            via=tuple(Via(*_turned(via.x, via.y), via.radius) for via in street.via),
        )
        for street in streets
    ]


def _bend(name: str, start: str, end: str, x: float, ys: tuple[float, float]) -> Street:
    via = tuple(Via(x, y, _CENTER[1]) for y in ys)
    return Street(name, "highway bend", start, end, via=via, development="highway", signs=True)


MINI03 = TownPlan.of(
    "Mini03",
    [HIGHWAY, WIDE_HIGHWAY, HIGHWAY_BEND, RAMP, INTERURBAN, RURAL],
    [*_SOUTH_NODES, *_north_nodes(_SOUTH_NODES)],
    [
        *_SOUTH_STREETS,
        *_north_streets(_SOUTH_STREETS),
        _bend("east bend", "bend", "X1 north", 1160.0, (0.0, 160.0)),
        _bend("west bend", "bend north", "X1", -40.0, (160.0, 0.0)),
    ],
    seed=33,
)
