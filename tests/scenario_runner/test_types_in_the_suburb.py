"""Scenario types on the server, in the suburb: who appears where, moves when, how it ends, and what bad driving costs."""

from __future__ import annotations

from srunner.scenarios.moving_hazards import BICYCLES
from tests.scenario_runner.facts import (
    appears,
    comes_into_the_lane,
    crosses,
    ego_is_disturbed,
    ends_after_junction,
    ends_behind,
    ends_when_driven,
    ends_when_it_drove,
    hides,
    lane_is_free,
    moves_at,
    removed,
    stands,
    starts_before_the_ego,
    stream,
    stream_beside,
    stream_comes_towards,
    stream_gaps,
    stream_leaves_on_the_route,
    stream_models,
    stream_starts,
    stream_turn,
    there_from_the_start,
)
from tests.scenario_runner.films import (
    BLOCKED,
    HIT_THING,
    HIT_VEHICLE,
    HIT_WALKER,
    LEFT_LANE,
    RAN_STOP,
    Ego,
    Scene,
    scenes_test,
    waits_for_ever,
)

TOWN = "Mini02"
LIMIT = 50.0 / 3.6
"""Speed limit of its streets, m/s."""

OPPOSITE = (150.0, 210.0)
"""Headings against the ego's, degrees."""

SITE = (
    there_from_the_start("sign"),
    stands("sign", (-2.0, 2.0), (2.5, 8.0)),
    stands("warning", (34.0, 38.0), (-0.8, 0.8)),
    *(hides(part, 0.8) for part in ("warning", "debris", "cone_0", "cone_3", "cone_6")),
    stands("cone_0", (39.0, 43.0), (-2.0, -1.0)),
    lane_is_free(90.0),
)

SCENES = (
    Scene(
        "ConstructionObstacleTwoWays", "1021", Ego(12.0, halt_at=18.0, halt_s=7.0, gap=112.0, aside=(16.0, 56.0, -3.2)),
        (*SITE, stream(1, LIMIT, 1.5), stream_comes_towards(), ends_behind("end"), removed()), may=HIT_VEHICLE, most_s=70.0,
    ),
    Scene("ConstructionObstacleTwoWays", "1021", Ego(ram="warning"), says=HIT_THING),
    waits_for_ever("ConstructionObstacleTwoWays", "1021", 18.0, 14.0, stream_starts(5.5, 8.5), stream_beside(-5.0, 8.0)),
    Scene(
        "ControlLoss", "1027", Ego(),
        (
            stands("debris_0", (13.0, 16.0), (-0.5, 0.5)), stands("debris_1", (47.0, 50.0), (-0.5, 0.5)),
            stands("debris_2", (73.0, 76.0), (-0.5, 0.5)), ego_is_disturbed(3), ends_when_driven(110.0), removed(),
        ),
    ),
    Scene("ControlLoss", "1027", Ego(aside=(5.0, 60.0, 3.0)), says=LEFT_LANE, may=HIT_THING | HIT_VEHICLE),
    Scene(
        "CrossingBicycleFlow", "1030", Ego(obeys=True),
        (stream(4, 8.0), stream_models(*BICYCLES), stream_starts(0.0, 0.2), stream_gaps(7.0, 29.0), ends_after_junction(0.0)),
        may=HIT_VEHICLE,
    ),
    Scene("CrossingBicycleFlow", "1030", Ego(creep_from=24.0), says=HIT_VEHICLE, may=RAN_STOP),
    waits_for_ever("CrossingBicycleFlow", "1030", 12.0),
    waits_for_ever(
        "NonSignalizedJunctionLeftTurnEnterFlow", "1100", 12.0, 14.0, stream(3, 10.0), stream_gaps(24.0, 37.0),
        stream_turn(*OPPOSITE), stream_leaves_on_the_route(),
    ),
    Scene("NonSignalizedJunctionLeftTurnEnterFlow", "1100", Ego(), (ends_after_junction(10.0),), may=HIT_VEHICLE | RAN_STOP),
    Scene("NonSignalizedJunctionLeftTurnEnterFlow", "1100", Ego(creep_from=30.0), says=HIT_VEHICLE, may=RAN_STOP),
    waits_for_ever(
        "NonSignalizedJunctionRightTurn", "1105", 15.0, 14.0, stream(4, 10.0), stream_gaps(23.0, 37.0),
        stream_starts(0.0, 0.2), stream_leaves_on_the_route(),
    ),
    Scene("NonSignalizedJunctionRightTurn", "1105", Ego(), (ends_after_junction(10.0),), HIT_VEHICLE, may=RAN_STOP),
    Scene(
        "OppositeVehicleTakingPriority", "1115", Ego(halt_at=19.0, halt_s=5.0),
        (
            hides("adversary"), appears("adversary", (22.0, 36.0), (25.0, 60.0)), starts_before_the_ego("adversary", 2.2, 12.0),
            moves_at("adversary", 60.0 / 3.6), ends_after_junction(0.0), removed(),
        ),
        may=RAN_STOP,
    ),
    Scene("OppositeVehicleTakingPriority", "1115", Ego(ram="adversary"), says=HIT_VEHICLE, may=RAN_STOP),
    Scene(
        "ParkingCrossingPedestrian", "1130", Ego(sees=True),
        (
            there_from_the_start("blocker"), stands("blocker", (37.0, 41.0), (2.5, 4.5)), hides("walker"),
            appears("walker", (40.0, 45.0), (2.5, 4.5)), lane_is_free(52.0), starts_before_the_ego("walker", 2.35, 6.0),
            moves_at("walker", 2.0), crosses("walker"), ends_when_driven(40.0, after="walker"), removed(),
        ),
    ),
    Scene("ParkingCrossingPedestrian", "1130", Ego(), says=HIT_WALKER),
    Scene(
        "VehicleTurningRoutePedestrian", "1210", Ego(halt_at=33.5, halt_s=9.0),
        (
            hides("walker"), starts_before_the_ego("walker", 2.2, 6.0), moves_at("walker", 1.8), crosses("walker"),
            ends_when_driven(40.0, after="walker"), removed(),
        ),
        may=HIT_VEHICLE,
    ),
    Scene("VehicleTurningRoutePedestrian", "1210", Ego(halt_at=10.0), says=BLOCKED, most_s=80.0),
    Scene(
        "ParkingCutIn", "1135", Ego(sees=True),
        (
            there_from_the_start("blocker", "adversary"), appears("blocker", (26.0, 30.0), (2.0, 4.5)),
            appears("adversary", (33.0, 37.0), (2.0, 4.5)), lane_is_free(43.0),
            starts_before_the_ego("adversary", 2.35, 10.0, late_s=0.8), comes_into_the_lane("adversary"),
            moves_at("adversary", 20.0 / 3.6, 1.0, after_s=2.0), ends_when_it_drove("adversary", 30.0), removed(),
        ),
    ),
    Scene("ParkingCutIn", "1135", Ego(ram="adversary"), says=HIT_VEHICLE),
    Scene("VanillaNonSignalizedTurn", "1183", Ego(sees=True, obeys=True), (ends_after_junction(10.0),)),
    Scene("VanillaNonSignalizedTurn", "1183", Ego(halt_at=12.0), says=BLOCKED, most_s=80.0),
    Scene("VanillaNonSignalizedTurnEncounterStopsign", "1186", Ego(sees=True, obeys=True), (ends_after_junction(10.0),)),
    Scene("VanillaNonSignalizedTurnEncounterStopsign", "1186", Ego(sees=True), (ends_after_junction(10.0),), RAN_STOP),
)  # fmt: skip


test_scenario_and_criteria = scenes_test(TOWN, SCENES)
