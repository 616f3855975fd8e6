"""Cross-sections shared by the towns."""

from __future__ import annotations

from carla_server.map.generator.plan import Profile, Strip, both_sides

LANE = Strip("driving", 3.5, "broken", "both")
KERB_LANE = Strip("driving", 3.5, "curb")
LANE_BY_PARKING = Strip("driving", 3.5, "solid")
PARKING = Strip("parking", 2.5, "curb")
SIDEWALK = Strip("sidewalk", 3.0)

AVENUE = both_sides("avenue", (LANE, LANE_BY_PARKING, PARKING, SIDEWALK), "solid solid", 50)
FAST_AVENUE = both_sides("fast avenue", (LANE, KERB_LANE, SIDEWALK), "solid solid", 60)
STREET = both_sides("street", (LANE_BY_PARKING, PARKING, SIDEWALK), "broken", 30)
PLAIN_STREET = both_sides("plain street", (KERB_LANE, SIDEWALK), "broken", 50)
BICYCLES = Strip("biking", 1.8, "curb")
BIKE_STREET = both_sides("bike street", (LANE_BY_PARKING, BICYCLES, SIDEWALK), "broken", 50)
WINDING_ROAD = both_sides("winding road", (KERB_LANE, SIDEWALK), "broken", 40)

EDGE_LANE = Strip("driving", 3.5, "solid")
SHOULDER = Strip("shoulder", 1.5)
RURAL = both_sides("rural", (EDGE_LANE, SHOULDER), "broken", 60, "rural")
INTERURBAN = both_sides("interurban", (LANE, EDGE_LANE, SHOULDER), "solid solid", 70, "rural")

_FAST, _FAST_EDGE, _HARD_SHOULDER, _LEFT_SHOULDER = (
    Strip("driving", 3.6, "broken", "both"),
    Strip("driving", 3.6, "solid"),
    Strip("shoulder", 2.5),
    Strip("shoulder", 1.0),
)
HIGHWAY = Profile("highway", (_FAST, _FAST, _FAST_EDGE, _HARD_SHOULDER), (_LEFT_SHOULDER,), "solid", 90, "motorway")
WIDE_HIGHWAY = Profile(
    "wide highway", (_FAST, _FAST, _FAST, _FAST_EDGE, _HARD_SHOULDER), (_LEFT_SHOULDER,), "solid", 90, "motorway"
)
HIGHWAY_BEND = Profile(
    "highway bend", (_FAST, _FAST, _FAST_EDGE, _HARD_SHOULDER), (_LEFT_SHOULDER,), "solid", 60, "motorway"
)
RAMP = Profile("ramp", (Strip("driving", 4.0, "solid"), SHOULDER), (Strip("shoulder", 0.5),), "solid", 50, "motorway")
