"""Cross-sections shared by the towns."""

from __future__ import annotations

from carla_server.map.generator.plan import Strip, both_sides

LANE = Strip("driving", 3.5, "broken", "both")
KERB_LANE = Strip("driving", 3.5, "curb")
LANE_BY_PARKING = Strip("driving", 3.5, "solid")
PARKING = Strip("parking", 2.5, "curb")
SIDEWALK = Strip("sidewalk", 3.0)

AVENUE = both_sides("avenue", (LANE, LANE_BY_PARKING, PARKING, SIDEWALK), "solid solid", 50)
FAST_AVENUE = both_sides("fast avenue", (LANE, KERB_LANE, SIDEWALK), "solid solid", 60)
STREET = both_sides("street", (LANE_BY_PARKING, PARKING, SIDEWALK), "broken", 30)
PLAIN_STREET = both_sides("plain street", (KERB_LANE, SIDEWALK), "broken", 50)
