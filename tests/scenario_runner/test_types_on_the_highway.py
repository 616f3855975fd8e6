"""Scenario types on the server, on highways and rural roads: who appears where, moves when, how it ends, and what bad driving
costs."""

from __future__ import annotations

from leaderboard.rules import COLLECTION
from tests.scenario_runner.facts import (
    appears,
    comes_from_behind,
    comes_into_the_lane,
    ends_after,
    ends_after_junction,
    ends_after_overtaking,
    ends_behind,
    ends_when_driven,
    gains_on_the_ego,
    hides,
    lane_is_free,
    moves_at,
    moves_within,
    overtakes,
    removed,
    stands,
    starts_before_the_ego,
    stream,
    stream_beside,
    stream_comes_towards,
    stream_gaps,
    stream_leaves_on_the_route,
    stream_starts,
    stream_turn,
    there_from_the_start,
    traffic_is_slower_than,
)
from tests.scenario_runner.films import (
    DID_NOT_YIELD,
    HIT_THING,
    HIT_VEHICLE,
    LEFT_LANE,
    RAN_LIGHT,
    RAN_STOP,
    Ego,
    Scene,
    scenes_test,
    waits_for_ever,
)

TOWN = "Mini03"
SITE = (
    there_from_the_start("sign"),
    stands("sign", (-2.0, 2.0), (2.5, 12.0)),
    *(hides(part, 0.8) for part in ("warning", "debris", "cone_0", "cone_3", "cone_6")),
    stands("cone_0", (42.0, 50.5), (-2.0, -1.0)),
    lane_is_free(90.0),
)
BREAKDOWN = (
    there_from_the_start("sign", "car"),
    stands("sign", (-2.0, 2.0), (2.5, 12.0)),
    stands("car", (38.0, 42.0), (0.6, 1.8)),
    lane_is_free(58.0),
)
BICYCLES = (
    there_from_the_start("bicycle_0", "bicycle_1"),
    appears("bicycle_0", (39.0, 45.0), (0.4, 1.6)),
    appears("bicycle_1", (48.0, 55.0), (0.4, 1.6)),
    moves_within("bicycle_0", 0.6),
    moves_at("bicycle_0", 7.0 / 3.6, 0.3),
    moves_at("bicycle_1", 7.0 / 3.6, 0.3),
)

SCENES = (
    Scene(
        "ConstructionObstacle", "1015", Ego(aside=(20.0, 64.0, -3.2)), (*SITE, ends_behind("end"), removed()), most_s=60.0
    ),
    Scene("ConstructionObstacle", "1015", Ego(ram="warning"), says=HIT_THING),
    waits_for_ever("ConstructionObstacle", "1015", 24.0, 14.0, traffic_is_slower_than(52.0, 10.0, 13.0)),
    Scene(
        "ParkedObstacleTwoWays", "1125", Ego(halt_at=18.0, halt_s=7.0, aside=(14.0, 56.0, -1.3)),
        (*BREAKDOWN, stream(1, 14.0, 12.0), stream_comes_towards(), stream_beside(-5.0, -2.5), ends_behind("end"), removed()),
    ),
    Scene("ParkedObstacleTwoWays", "1125", Ego(ram="car"), says=HIT_VEHICLE),
    waits_for_ever("ParkedObstacleTwoWays", "1125", 18.0, 14.0, stream_starts(4.9, 6.5)),
    Scene(
        "HazardAtSideLane", "1050", Ego(aside=(22.0, 130.0, -3.5)),
        (*BICYCLES, ends_after_overtaking("bicycle_1", 50.0), removed()),
    ),
    Scene("HazardAtSideLane", "1050", Ego(ram="bicycle_0"), says=HIT_VEHICLE),
    waits_for_ever("HazardAtSideLane", "1050", 25.0, 12.0, traffic_is_slower_than(54.0, 9.0, 12.0)),
    Scene("HazardAtSideLaneTwoWays", "1055", Ego(aside=(18.0, 90.0, -1.1)), BICYCLES),
    Scene(
        "HazardAtSideLaneTwoWays", "1050", Ego(aside=(22.0, 130.0, -3.5)),
        (*BICYCLES, ends_after_overtaking("bicycle_1", 50.0), removed()),
    ),
    Scene("HazardAtSideLaneTwoWays", "1055", Ego(ram="bicycle_0"), says=HIT_VEHICLE),
    waits_for_ever("HazardAtSideLaneTwoWays", "1055", 25.0, 10.0),
    Scene(
        "InvadingTurn", "1080", Ego(aside=(-5.0, 95.0, 0.9)),
        (
            *(hides(f"cone_{i}", 0.4) for i in range(5)), stands("cone_0", (68.0, 74.0), (-5.5, -4.2)),
            stands("cone_5", (43.0, 50.0), (-5.5, -4.2)), stream(1, 10.0, 10.0), stream_comes_towards(),
            stream_beside(-2.4, -1.2), ends_behind("end"), removed(),
        ),
    ),
    Scene("InvadingTurn", "1080", Ego(ram="stream"), says=HIT_VEHICLE),
    waits_for_ever("InvadingTurn", "1080", 2.0),
    Scene(
        "YieldToEmergencyVehicle", "1215", Ego(6.0),
        (
            hides("emergency"), comes_from_behind("emergency", (20.0, 34.0)), gains_on_the_ego("emergency"), ends_after(10.0),
            removed(),
        ),
        DID_NOT_YIELD,
    ),
    Scene(
        "YieldToEmergencyVehicle", "1215", Ego(8.0, aside=(2.0, 300.0, -3.5)),
        (hides("emergency"), comes_from_behind("emergency", (20.0, 34.0)), overtakes("emergency"), removed()),
        may=HIT_VEHICLE | LEFT_LANE,
    ),
    Scene(
        "StaticCutIn", "1170", Ego(sees=True),
        (
            *(hides(part) for part in ("behind_1", "behind_0", "adversary", "ahead_0", "ahead_1", "ahead_2")),
            appears("adversary", (63.0, 70.0), (2.8, 4.2)), appears("behind_1", (42.0, 47.0), (2.8, 4.2)), lane_is_free(106.0),
            starts_before_the_ego("adversary", 2.7, 15.0, late_s=1.0), comes_into_the_lane("adversary"), removed(),
        ),
    ),
    Scene("StaticCutIn", "1170", Ego(18.0), (comes_into_the_lane("adversary"),), HIT_VEHICLE),
    Scene(
        "HighwayCutIn", "1060", Ego(12.0, sees=True),
        (
            hides("adversary"), appears("adversary", (10.0, 25.0), (25.0, 50.0)), moves_within("adversary", 0.6),
            comes_into_the_lane("adversary"), removed(),
        ),
    ),
    Scene("HighwayCutIn", "1060", Ego(12.0), (comes_into_the_lane("adversary"), removed()), HIT_VEHICLE),
    Scene(
        "HighwayExit", "1065", Ego(11.0, sees=True),
        (stream(4, 13.0), stream_starts(0.0, 0.2), stream_gaps(18.0, 54.0), ends_after_junction(0.0)),
        may=HIT_VEHICLE | RAN_LIGHT,
    ),
    Scene("HighwayExit", "1065", Ego(11.0, ram="stream"), says=HIT_VEHICLE),
    waits_for_ever("HighwayExit", "1065", 25.0, 6.0, stream_beside(2.5, 4.5)),
    Scene(
        "InterurbanActorFlow", "1070", Ego(obeys=True),
        (stream(1, 16.0), stream_starts(0.0, 0.2), stream_turn(60.0, 300.0), ends_after_junction(0.0)), may=HIT_VEHICLE,
    ),
    Scene("InterurbanActorFlow", "1070", Ego(creep_from=30.0), says=HIT_VEHICLE, may=RAN_STOP),
    waits_for_ever("InterurbanActorFlow", "1070", 12.0, 10.0, stream_gaps(40.0, 93.0)),
    Scene(
        "InterurbanAdvancedActorFlow", "1075", Ego(10.0),
        (stream(2, 16.0), stream_starts(0.0, 0.2), stream_leaves_on_the_route(), ends_behind("source", 12.0)),
        may=HIT_VEHICLE | RAN_STOP, most_s=60.0,
    ),
    Scene("InterurbanAdvancedActorFlow", "1075", Ego(10.0, creep_from=50.0), says=HIT_VEHICLE, may=RAN_STOP),
    waits_for_ever("InterurbanAdvancedActorFlow", "1075", 12.0),
    Scene(
        "MergerIntoSlowTraffic", "1085", Ego(9.0),
        (stream(3, 9.0), stream_starts(0.0, 0.2), stream_gaps(30.0, 32.0), stream_leaves_on_the_route(), ends_behind("sink")),
        may=HIT_VEHICLE,
    ),
    waits_for_ever("MergerIntoSlowTraffic", "1085", 12.0, rules=COLLECTION),
    Scene(
        "MergerIntoSlowTrafficV2", "1090", Ego(9.0),
        (stream(3, 9.0), stream_starts(0.0, 0.2), stream_gaps(11.0, 35.0), stream_leaves_on_the_route(), ends_behind("sink")),
        may=HIT_VEHICLE,
    ),
    waits_for_ever("MergerIntoSlowTrafficV2", "1090", 12.0),
    Scene(
        "EnterActorFlowV2", "1091", Ego(9.0),
        (stream(3, 9.0), stream_starts(0.0, 0.2), stream_leaves_on_the_route(), ends_behind("sink")), may=HIT_VEHICLE,
    ),
    waits_for_ever("EnterActorFlowV2", "1091", 12.0),
    Scene(
        "T_Junction", "1152", Ego(12.0, sees=True, obeys=True), (ends_when_driven(200.0),), may=HIT_VEHICLE | RAN_LIGHT,
        most_s=90.0,
    ),
    Scene(
        "SequentialLaneChange", "1152", Ego(12.0, sees=True, obeys=True), (ends_when_driven(200.0),), may=HIT_VEHICLE | RAN_LIGHT,
        most_s=60.0,
    ),
    waits_for_ever("SequentialLaneChange", "1153", 12.0),
    waits_for_ever("T_Junction", "1176", 12.0),
)  # fmt: skip


test_scenario_and_criteria = scenes_test(TOWN, SCENES)
