"""Mini02: a suburb of about 620 m by 400 m.

      W         A         M         B         E
4     .---------+---------#---------+---------.
      |         |         |         |         |       all-way stops S, lights #, T-junctions +
3     +---------+---------S---------S---------+       row 2 and column B: bicycle lanes; o roundabout
      |         |         |         |         |       the outer road winds
2     +=========#=========o=========+=========+
      |         |         |         |         |
1     `---------+---------+---------+---------'
"""

from __future__ import annotations

from carla_server.map.generator.plan import Control, Node, Street, TownPlan, Via
from carla_server.map.generator.towns.profiles import BIKE_STREET, PLAIN_STREET, RAMP, STREET, WINDING_ROAD

_CORNER = 70.0
_RING = 20.0
_X, _Y = 310.0, 130.0

_RING_NODES = [
    Node(name, _X + dx * _RING, _Y + dy * _RING, Control.YIELD, minor=(street,), corner_radius=6.0, crosswalks=False)
    for name, dx, dy, street in (("RE", 1, 0, "MB2"), ("RN", 0, 1, "M23"), ("RW", -1, 0, "AM2"), ("RS", 0, -1, "M12"))
]

_NODES = [
    Node("A1", 155, 0, Control.STOP, minor=("A12",)),
    Node("M1", _X, 12, Control.STOP, minor=("M12",)),
    Node("B1", 465, 0, Control.STOP, minor=("B12",)),
    Node("W2", 0, 130, Control.STOP, minor=("WA2",)),
    Node("A2", 155, 130, Control.SIGNALS),
    *_RING_NODES,
    Node("B2", 465, 130, Control.STOP, minor=("B12", "B23")),
    Node("E2", 620, 130, Control.YIELD, minor=("BE2",)),
    Node("W3", 0, 260, Control.YIELD, minor=("WA3",)),
    Node("A3", 155, 260, Control.STOP, minor=("A23", "A34")),
    Node("M3", _X, 260, Control.ALL_WAY_STOP),
    Node("B3", 465, 260, Control.ALL_WAY_STOP),
    Node("E3", 620, 260, Control.STOP, minor=("BE3",)),
    Node("A4", 155, 395, Control.STOP, minor=("A34",)),
    Node("M4", _X, 380, Control.SIGNALS),
    Node("B4", 465, 395, Control.YIELD, minor=("B34",)),
]


def _ring(name: str, start: str, end: str, x: float, y: float) -> Street:
    return Street(name, "roundabout", start, end, via=(Via(_X + x * _RING, _Y + y * _RING, _RING),), development="none")


_STREETS = [
    # The outer road.
    Street("south west", "winding road", "W2", "A1", via=(Via(0, 0, _CORNER),), development="suburb"),
    Street("south 1", "winding road", "A1", "M1", via=(Via(205, 0, 60), Via(260, 12, 60)), development="suburb"),
    Street("south 2", "winding road", "M1", "B1", via=(Via(360, 12, 60), Via(415, 0, 60)), development="suburb"),
    Street("south east", "winding road", "B1", "E2", via=(Via(620, 0, _CORNER),), development="suburb"),
    Street("east", "street", "E2", "E3", development="suburb", signs=True),
    Street("north east", "winding road", "E3", "B4", via=(Via(620, 395, _CORNER),), development="suburb"),
    Street("north 2", "winding road", "B4", "M4", via=(Via(415, 395, 60), Via(360, 380, 60)), development="park"),
    Street("north 1", "winding road", "M4", "A4", via=(Via(260, 380, 60), Via(205, 395, 60)), development="park"),
    Street("north west", "winding road", "A4", "W3", via=(Via(0, 395, _CORNER),), development="suburb"),
    Street("west", "street", "W3", "W2", development="suburb", signs=True),
    # Row 2: bicycle lanes; row 3: parking lanes.
    Street("WA2", "bike street", "W2", "A2", development="suburb", signs=True),
    Street("AM2", "bike street", "A2", "RW", development="suburb"),
    Street("MB2", "bike street", "RE", "B2", development="suburb"),
    Street("BE2", "bike street", "B2", "E2", development="suburb", signs=True),
    Street("WA3", "street", "W3", "A3", development="suburb"),
    Street("AM3", "street", "A3", "M3", development="city"),
    Street("MB3", "street", "M3", "B3", development="city"),
    Street("BE3", "street", "B3", "E3", development="suburb"),
    # Columns.
    Street("A12", "plain street", "A1", "A2", development="suburb", signs=True),
    Street("A23", "street", "A2", "A3", development="suburb"),
    Street("A34", "plain street", "A3", "A4", development="suburb"),
    Street("M12", "plain street", "M1", "RS", development="suburb"),
    Street("M23", "plain street", "RN", "M3", development="park"),
    Street("M34", "street", "M3", "M4", development="suburb"),
    Street("B12", "bike street", "B1", "B2", development="suburb", signs=True),
    Street("B23", "bike street", "B2", "B3", development="suburb"),
    Street("B34", "bike street", "B3", "B4", development="suburb"),
    # The roundabout runs counter-clockwise.
    _ring("ring 1", "RE", "RN", 1, 1),
    _ring("ring 2", "RN", "RW", -1, 1),
    _ring("ring 3", "RW", "RS", -1, -1),
    _ring("ring 4", "RS", "RE", 1, -1),
]

_ROUNDABOUT = RAMP.renamed("roundabout", speed_kmh=30, road_type="town")

MINI02 = TownPlan.of(
    "Mini02", [BIKE_STREET, PLAIN_STREET, STREET, WINDING_ROAD, _ROUNDABOUT], _NODES, _STREETS, seed=22
)
