"""Scenario types on the server, in the city: who appears where, moves when, how it ends, and what bad driving costs."""

from __future__ import annotations

from leaderboard.rules import COLLECTION
from tests.scenario_runner.facts import (
    appears,
    crosses,
    ego_stood_aside,
    ends_after,
    ends_after_coming_near,
    ends_after_junction,
    ends_behind,
    ends_when_driven,
    hides,
    junction_is_empty,
    lane_is_free,
    moves_at,
    other_lights,
    own_light,
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
    traffic_ahead_stands,
    traffic_is_slower_than,
)
from tests.scenario_runner.films import (
    BLOCKED,
    HIT_VEHICLE,
    HIT_WALKER,
    RAN_LIGHT,
    RAN_STOP,
    Ego,
    Scene,
    scenes_test,
    waits_for_ever,
)

TOWN = "Mini01"
LIMIT = 50.0 / 3.6
"""Speed limit of its streets, m/s."""

OPPOSITE = (150.0, 210.0)
"""Headings against the ego's, degrees."""

ACCIDENT = (
    there_from_the_start("sign", "police", "crash_1", "crash_2"),
    stands("sign", (-2.0, 2.0), (2.5, 8.0)),
    stands("police", (40.0, 44.0), (0.6, 1.6)),
    stands("crash_1", (50.0, 54.5), (0.6, 1.6)),
    stands("crash_2", (56.0, 60.5), (0.6, 1.6)),
    lane_is_free(75.0),
)
BREAKDOWN = (
    there_from_the_start("sign", "car"),
    stands("sign", (-2.0, 2.0), (2.5, 8.0)),
    stands("car", (38.0, 42.0), (0.6, 1.6)),
    lane_is_free(58.0),
)

SCENES = (
    Scene("Accident", "1000", Ego(aside=(18.0, 70.0, -1.3)), (*ACCIDENT, ends_behind("end"), removed()), may=RAN_LIGHT),
    Scene("Accident", "1000", Ego(ram="police"), says=HIT_VEHICLE),
    waits_for_ever("Accident", "1000", 22.0, 14.0, *ACCIDENT, traffic_is_slower_than(53.0, 9.0, 13.0)),
    Scene(
        "AccidentTwoWays", "1005", Ego(10.0, halt_at=20.0, halt_s=7.0, gap=110.0, aside=(16.0, 72.0, -1.6)),
        (*ACCIDENT, stream(1, LIMIT, 1.5), stream_comes_towards(), stream_beside(-5.0, -2.5), ends_behind("end"), removed()),
        may=HIT_VEHICLE, most_s=70.0,
    ),
    Scene("AccidentTwoWays", "1005", Ego(ram="police"), says=HIT_VEHICLE),
    waits_for_ever("AccidentTwoWays", "1005", 20.0, 14.0, stream_starts(4.9, 6.5)),
    Scene(
        "ParkedObstacle", "1120", Ego(aside=(16.0, 58.0, -1.4)), (*BREAKDOWN, ends_behind("end"), removed()),
        may=HIT_VEHICLE | RAN_LIGHT,
    ),
    Scene("ParkedObstacle", "1120", Ego(ram="car"), says=HIT_VEHICLE),
    waits_for_ever("ParkedObstacle", "1120", 20.0, 14.0, traffic_is_slower_than(40.0, 9.0, 13.0)),
    Scene(
        "VehicleOpensDoorTwoWays", "1200", Ego(10.0),
        (there_from_the_start("car"), stands("car", (42.0, 48.0), (2.0, 4.0)), ends_behind("end"), removed()),
    ),
    Scene("VehicleOpensDoorTwoWays", "1200", Ego(ram="car"), says=HIT_VEHICLE),
    waits_for_ever("VehicleOpensDoorTwoWays", "1200", 37.0, 16.0, stream_starts(8.0, 13.0), stream_beside(-0.8, 0.8)),
    waits_for_ever(
        "VehicleOpensDoorTwoWays", "1200", 37.0, 16.0, stream_starts(8.0, 13.0), stream_beside(-5.0, -2.5), rules=COLLECTION
    ),
    Scene(
        "DynamicObjectCrossing", "1035", Ego(sees=True),
        (
            there_from_the_start("blocker"), stands("blocker", (45.0, 49.5), (2.5, 6.0)), hides("walker"),
            appears("walker", (46.0, 54.0), (2.5, 6.0)), lane_is_free(55.0), starts_before_the_ego("walker", 2.1, 6.0),
            moves_at("walker", 2.0), crosses("walker"), ends_when_driven(40.0, after="walker"), removed(),
        ),
    ),
    Scene("DynamicObjectCrossing", "1035", Ego(ram="walker"), says=HIT_WALKER),
    Scene(
        "PedestrianCrossing", "1145", Ego(sees=True),
        (
            *(hides(f"walker_{i}") for i in range(3)), *(moves_at(f"walker_{i}", 1.65) for i in range(3)),
            *(starts_before_the_ego(f"walker_{i}", 3.5, 12.0, late_s=2.0) for i in range(3)),
            crosses("walker_0", "walker_1", "walker_2"), removed(),
        ),
    ),
    Scene("PedestrianCrossing", "1145", Ego(), says=HIT_WALKER),
    Scene(
        "VehicleTurningRoute", "1205", Ego(halt_at=76.5, halt_s=11.0),
        (
            there_from_the_start("bicycle"), starts_before_the_ego("bicycle", 1.8, 6.0), moves_at("bicycle", 1.8),
            crosses("bicycle"), removed(),
        ),
    ),
    Scene("VehicleTurningRoute", "1205", Ego(halt_at=76.5, halt_s=1.5), says=HIT_VEHICLE),
    Scene(
        "BlockedIntersection", "1010", Ego(halt_at=53.0, halt_s=15.0),
        (
            hides("car"), stands("car", (61.0, 65.0), (-0.6, 0.6)), junction_is_empty(),
            ends_after_coming_near("car", 13.0, 10.0), removed(),
        ),
        may=HIT_VEHICLE | RAN_LIGHT,
    ),
    Scene("BlockedIntersection", "1010", Ego(ram="car"), says=HIT_VEHICLE, may=RAN_LIGHT),
    waits_for_ever("BlockedIntersection", "1010", 12.0, may=HIT_VEHICLE),
    waits_for_ever(
        "SignalizedJunctionLeftTurn", "1156", 15.0, 14.0, stream(3, 9.0), stream_gaps(22.0, 38.0), stream_turn(*OPPOSITE),
        own_light((0.2, 4.8, "Red"), (5.3, 13.5, "Green")), other_lights(0.5, 13.5, "Green", "Red"),
    ),
    Scene("SignalizedJunctionLeftTurn", "1156", Ego(), (ends_after_junction(10.0),), RAN_LIGHT, may=HIT_VEHICLE),
    waits_for_ever(
        "SignalizedJunctionLeftTurnEnterFlow", "1161", 15.0, 14.0, stream(3, 10.0), stream_gaps(22.0, 38.0),
        stream_turn(*OPPOSITE), stream_leaves_on_the_route(), own_light((0.2, 4.8, "Red"), (5.3, 13.5, "Green")),
    ),
    Scene("SignalizedJunctionLeftTurnEnterFlow", "1161", Ego(), (ends_after_junction(10.0),), RAN_LIGHT, may=HIT_VEHICLE),
    waits_for_ever(
        "SignalizedJunctionRightTurn", "1167", 15.0, 14.0, stream(4, 9.0), stream_gaps(22.0, 37.0), stream_starts(0.0, 0.2),
        stream_leaves_on_the_route(), own_light((0.2, 4.8, "Red"), (5.3, 13.5, "Green")),
    ),
    Scene("SignalizedJunctionRightTurn", "1167", Ego(), (ends_after_junction(10.0),), HIT_VEHICLE, may=RAN_LIGHT),
    waits_for_ever(
        "NonSignalizedJunctionLeftTurn", "1095", 15.0, 14.0, stream(3, 9.0), stream_gaps(23.0, 37.0), stream_turn(*OPPOSITE)
    ),
    Scene("NonSignalizedJunctionLeftTurn", "1095", Ego(), (ends_after_junction(10.0),), HIT_VEHICLE, may=RAN_STOP),
    Scene(
        "OppositeVehicleRunningRedLight", "1110", Ego(),
        (
            hides("adversary"), appears("adversary", (45.0, 60.0), (-60.0, -25.0)), other_lights(0.5, 8.0, "Red"),
            starts_before_the_ego("adversary", 2.2, 12.0), moves_at("adversary", 60.0 / 3.6), own_light((0.2, 8.0, "Green")),
            ends_after_junction(0.0), removed(),
        ),
    ),
    Scene("OppositeVehicleRunningRedLight", "1110", Ego(halt_at=10.0), says=BLOCKED, may=HIT_VEHICLE, most_s=80.0),
    Scene(
        "EnterActorFlow", "1040", Ego(),
        (stream(3, 9.0), stream_starts(0.0, 0.2), stream_gaps(28.0, 40.0), stream_leaves_on_the_route(), ends_behind("sink")),
        may=HIT_VEHICLE | RAN_STOP,
    ),
    Scene("EnterActorFlow", "1040", Ego(creep_from=44.0), says=HIT_VEHICLE, may=RAN_STOP),
    waits_for_ever("EnterActorFlow", "1040", 12.0),
    Scene(
        "HardBreakRoute", "1045", Ego(sees=True), (traffic_ahead_stands(4.5, 9.5), ends_when_driven(15.0, after_s=10.0)),
        may=RAN_LIGHT,
    ),
    Scene("HardBreakRoute", "1045", Ego(), says=HIT_VEHICLE, may=RAN_LIGHT),
    Scene(
        "PriorityAtJunction", "1156", Ego(sees=True),
        (own_light((0.2, 30.0, "Green")), other_lights(0.5, 30.0, "Red"), ends_after_junction(0.0)),
        may=HIT_VEHICLE,
    ),
    Scene("PriorityAtJunction", "1156", Ego(halt_at=10.0), (own_light((0.2, 55.0, "Green")),), BLOCKED, HIT_VEHICLE, most_s=80.0),
    Scene(
        "ParkingExit", "1140", Ego(5.0, halt_at=0.2, halt_s=9.0),
        (
            ego_stood_aside((2.0, 4.5)), stands("front", (7.5, 10.5), (2.5, 4.5)), stands("behind", (-10.5, -7.5), (2.5, 4.5)),
            appears("side", (-1.0, 1.0), (-0.5, 0.5)), ends_when_driven(24.0), removed(),
        ),
        may=HIT_VEHICLE,
    ),
    Scene("ParkingExit", "1140", Ego(5.0, ram="front"), says=HIT_VEHICLE),
    waits_for_ever("ParkingExit", "1140", 0.2),
    Scene(
        "VanillaSignalizedTurnEncounterGreenLight", "1191", Ego(),
        (own_light((0.2, 4.8, "Green"), (5.3, 8.5, "Red")), ends_after_junction(10.0)),
    ),
    Scene("VanillaSignalizedTurnEncounterGreenLight", "1191", Ego(4.0), (ends_after(10.0),), RAN_LIGHT, may=HIT_VEHICLE),
    Scene(
        "VanillaSignalizedTurnEncounterRedLight", "1195", Ego(sees=True, obeys=True),
        (own_light((0.2, 4.8, "Red"), (5.3, 9.0, "Green")), other_lights(0.5, 9.0, "Red"), ends_after_junction(10.0)),
        may=HIT_VEHICLE,
    ),
    Scene("VanillaSignalizedTurnEncounterRedLight", "1195", Ego(), says=RAN_LIGHT, has_traffic=False),
)  # fmt: skip


test_scenario_and_criteria = scenes_test(TOWN, SCENES)
