"""Mini01: an urban grid of about 400 m by 370 m.

      A         B         C         D
4     .---------+---------+---------.      rounded corners, no junction
      |  north  |         |         |
3     +---------S---------#---------+      S all-way stop, # traffic lights
      |         |         |         |      + T-junctions, lights or stop signs
2     +=========#=========#=========+      = avenue, two lanes per direction
      |         |         |         |
1     '---------+---------+---------'
"""

from __future__ import annotations

from carla_server.map.generator.plan import Control, Node, Street, TownPlan, Via
from carla_server.map.generator.towns.profiles import AVENUE, FAST_AVENUE, PLAIN_STREET, STREET

_BEND = 28.0

_NODES = [
    Node("B1", 130, 0, Control.STOP, minor=("B12",)),
    Node("C1", 265, 0, Control.SIGNALS),
    Node("A2", 0, 120, Control.SIGNALS),
    Node("B2", 130, 120, Control.SIGNALS),
    Node("C2", 265, 120, Control.SIGNALS),
    Node("D2", 400, 120, Control.SIGNALS),
    Node("A3", 0, 245, Control.STOP, minor=("AB3",)),
    Node("B3", 130, 245, Control.ALL_WAY_STOP),
    Node("C3", 265, 245, Control.SIGNALS),
    Node("D3", 400, 245, Control.STOP, minor=("CD3",)),
    Node("B4", 112, 370, Control.STOP, minor=("B34",)),
    Node("C4", 265, 370, Control.SIGNALS),
]

_STREETS = [
    # Perimeter: one lane per direction, without parking in the south and east, with it in the north and west.
    Street("south west", "plain street", "A2", "B1", via=(Via(0, 0, _BEND),)),
    Street("south", "plain street", "B1", "C1", signs=True),
    Street("south east", "plain street", "C1", "D2", via=(Via(400, 0, _BEND),)),
    Street("east", "plain street", "D2", "D3"),
    Street("north east", "plain street", "D3", "C4", via=(Via(400, 370, _BEND),)),
    Street("north", "street", "C4", "B4"),
    Street("north west", "street", "B4", "A3", via=(Via(0, 370, _BEND),)),
    Street("west", "street", "A3", "A2"),
    # Row 2 and column C: avenues.
    Street("AB2", "avenue", "A2", "B2", signs=True),
    Street("BC2", "avenue", "B2", "C2"),
    Street("CD2", "avenue", "C2", "D2", signs=True),
    Street("C12", "fast avenue", "C1", "C2", signs=True),
    Street("C23", "fast avenue", "C2", "C3"),
    Street("C34", "avenue", "C3", "C4", signs=True),
    # Row 3 and column B: streets with parking; column B bends between rows 3 and 4.
    Street("AB3", "street", "A3", "B3"),
    Street("BC3", "street", "B3", "C3", development="park"),
    Street("CD3", "street", "C3", "D3"),
    Street("B12", "street", "B1", "B2"),
    Street("B23", "street", "B2", "B3", development="park"),
    Street("B34", "street", "B3", "B4", via=(Via(130, 285, 60), Via(112, 330, 60))),
]

MINI01 = TownPlan.of("Mini01", [AVENUE, FAST_AVENUE, STREET, PLAIN_STREET], _NODES, _STREETS, seed=11)
