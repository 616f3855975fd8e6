"""Made-up frames in the recorded format, for benchmarks and tests that must not depend on a recorded dataset.

The values of a frame are drawn independently, so the frames are more varied, and less plausible, than a drive; sizes are
those of a recorded drive with traffic.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import cos, hypot, pi, sin
from pathlib import Path
from typing import TypeVar

from driving.commands import RoadOption
from driving.files import write_bytes, write_json, write_text
from driving.records import (
    Box,
    CarBox,
    EgoCarBox,
    EgoInfoBox,
    LandmarkBox,
    LaneWidth,
    Measurement,
    PlacedBox,
    RunFolder,
    StaticBox,
    StopSignBox,
    TrafficLightBox,
    TrafficLightVqaBox,
    TrafficWarningBox,
    WalkerBox,
    WeatherBox,
    write_boxes,
    write_measurement,
)

Item = TypeVar("Item")

IDENTITY = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

BLUEPRINTS = (
    ("car", "vehicle.lincoln.mkz_2020", (2.45, 1.06, 0.75)),
    ("car", "vehicle.dodge.charger_police_2020", (2.6, 1.05, 0.82)),
    ("car", "vehicle.micro.microlino", (1.1, 0.74, 0.69)),
    ("van", "vehicle.mercedes.sprinter", (2.96, 1.0, 1.28)),
    ("truck", "vehicle.carlamotors.european_hgv", (4.0, 1.45, 1.93)),
    ("motorcycle", "vehicle.yamaha.yzf", (1.1, 0.4, 0.77)),
    ("bicycle", "vehicle.bh.crossbike", (0.74, 0.4, 0.88)),
)
"""Base type, blueprint and half extents, metres."""

COLOURS = (
    ((64, 64, 64), "gray"),
    ((0, 28, 0), "black"),
    ((211, 142, 0), "olive"),
    ((180, 20, 20), "red"),
    (None, None),
)

SCENARIOS = (
    "Accident",
    "AccidentTwoWays",
    "BlockedIntersection",
    "ConstructionObstacle",
    "ConstructionObstacleTwoWays",
    "CrossingBicycleFlow",
    "EnterActorFlow",
    "HazardAtSideLane",
    "HazardAtSideLaneTwoWays",
    "HighwayCutIn",
    "HighwayExit",
    "InterurbanActorFlow",
    "InvadingTurn",
    "MergerIntoSlowTraffic",
    "MergerIntoSlowTrafficV2",
    "ParkedObstacle",
    "ParkedObstacleTwoWays",
    "ParkingExit",
    "SignalizedJunctionLeftTurn",
    "VehicleOpensDoorTwoWays",
    "VehicleTurningRoute",
    "YieldToEmergencyVehicle",
)
"""Scenarios with rules of their own."""

FRAME_GAP_S = 0.25


def _distance(position: Sequence[float]) -> float:
    return hypot(*position)


class FrameMaker:
    """Draws frames from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def _maybe(self, value: Item, chance: float = 0.5) -> Item | None:
        return value if self.rng.random() < chance else None

    def measurement(self, number: int, boxes: Sequence[Box]) -> Measurement:
        """A measurement that goes with ``boxes``."""
        rng = self.rng
        cars = [box for box in boxes if isinstance(box, CarBox)]
        walkers = [box for box in boxes if isinstance(box, WalkerBox)]
        cause = rng.choice([*cars, *walkers, None])
        kind = None if cause is None else cause.type_id if isinstance(cause, CarBox) else "walker.pedestrian.0001"
        speed = rng.choice([0.0, rng.uniform(0, 20)])
        x, heading = 8.0 * FRAME_GAP_S * number, rng.uniform(-0.02, 0.02)
        original = [[2.5 + i, 0.02 * i] for i in range(40)]
        changed = rng.random() < 0.3
        shift = rng.choice([1.0, 3.5]) if changed else 0.0
        return Measurement(
            pos_global=[x, 0.0],
            theta=heading,
            speed=speed,
            target_speed=rng.choice([0.0, speed, rng.uniform(0, 20)]),
            speed_limit=rng.choice([8.33, 13.89, 25.0]),
            target_point=[rng.uniform(3, 60), rng.uniform(-5, 5)],
            target_point_next=[rng.uniform(10, 90), rng.uniform(-20, 20)],
            command=rng.choice(list(RoadOption)[1:]).value,
            next_command=rng.choice(list(RoadOption)[1:]).value,
            aim_wp=[4.5, 0.0],
            route=[[a, b + shift * rng.choice([0.0, 1.0])] for a, b in original],
            route_original=original,
            changed_route=changed,
            speed_reduced_by_obj_type=kind,
            speed_reduced_by_obj_id=None if cause is None else cause.id,
            speed_reduced_by_obj_distance=None if cause is None else cause.distance,
            steer=rng.uniform(-1, 1),
            throttle=rng.random(),
            brake=rng.random() < 0.2,
            control_brake=rng.random() < 0.3,
            junction=False,
            vehicle_hazard=bool(cars) and rng.random() < 0.3,
            vehicle_affecting_id=rng.choice(cars).id if cars else None,
            light_hazard=rng.random() < 0.1,
            walker_hazard=bool(walkers) and rng.random() < 0.3,
            walker_affecting_id=None,
            stop_sign_hazard=rng.random() < 0.1,
            stop_sign_close=False,
            walker_close=False,
            walker_close_id=None,
            angle=0.0,
            augmentation_translation=rng.uniform(-1, 1),
            augmentation_rotation=rng.uniform(-10, 10),
            ego_matrix=[[cos(heading), -sin(heading), 0.0, x], [sin(heading), cos(heading), 0.0, 0.0], *IDENTITY[2:]],
        )

    def boxes(self, num_cars: int = 8) -> list[Box]:
        """The boxes of one frame."""
        rng = self.rng
        ego_road = rng.choice([10, 11])
        cars = [self._car(100 + i, ego_road) for i in range(num_cars)]
        walkers: list[Box] = [self._walker(200 + i) for i in range(rng.randrange(4))]
        return [
            EgoCarBox(
                extent=[2.45, 1.06, 0.76],
                position=[0.0, 0.0, 0.0],
                distance=-1,
                speed=rng.choice([0.0, rng.uniform(0, 20)]),
                brake=0.0,
                id=1,
                matrix=IDENTITY,
            ),
            *cars,
            *walkers,
            *self._signs(),
            *self._props(),
            LandmarkBox(name="StopLine_1", position=[9.0, 0.0, 0.0], distance=9.0, id=76),
            WeatherBox(
                cloudiness=20.0,
                fog_density=2.0,
                precipitation=0.0,
                precipitation_deposits=0.0,
                sun_altitude_angle=45.0,
                sun_azimuth_angle=90.0,
                wetness=0.0,
                wind_intensity=10.0,
            ),
            self._ego_info(ego_road, [car.id for car in cars]),
        ]

    def _car(self, number: int, ego_road: int) -> CarBox:
        rng = self.rng
        base_type, blueprint, extent = rng.choice(BLUEPRINTS)
        rgb, name = rng.choice(COLOURS)
        position = [rng.uniform(-30, 60), rng.choice([0.0, 3.5, -3.5, rng.uniform(-30, 30)]), rng.uniform(-0.2, 0.2)]
        road = rng.choice([10, 11, 12, 20])
        same_road = road == ego_road
        same_direction = same_road and rng.random() < 0.7
        in_junction = not same_road and rng.random() < 0.4
        return CarBox(
            color_rgb=rgb,
            color_name=name,
            next_action=self._maybe("LaneFollow"),
            vehicle_cuts_in=rng.random() < 0.05,
            road_id=road,
            lane_id=rng.choice([-3, -2, -1, 1, 2]),
            lane_type_str=rng.choice(["Driving", "Driving", "Driving", "Parking", "Biking"]),
            is_in_junction=in_junction,
            junction_id=500 if in_junction else -1,
            next_junction_id=rng.choice([500, 501, -1]),
            next_road_ids=[rng.choice([20, 21])],
            next_next_road_ids=[22],
            same_road_as_ego=same_road,
            same_direction_as_ego=same_direction,
            lane_relative_to_ego=rng.randint(-2, 2) if same_road else None,
            light_state=[1, 2],
            traffic_light_state=rng.choice(["None", "Red", "Green"]),
            base_type=base_type,
            extent=list(extent),
            position=position,
            yaw=rng.choice([0.0, rng.uniform(-pi, pi)]),
            num_points=rng.choice([0, 5, 40, 300]),
            distance=_distance(position),
            speed=rng.choice([0.0, rng.uniform(0, 20)]),
            brake=rng.choice([0.0, 1.0]),
            steer=rng.uniform(-0.3, 0.3),
            id=number,
            role_name=rng.choice(["background", "scenario"]),
            type_id=blueprint,
            matrix=IDENTITY,
        )

    def _walker(self, number: int) -> WalkerBox:
        rng = self.rng
        position = [rng.uniform(-20, 50), rng.uniform(-20, 20), 0.9]
        return WalkerBox(
            role_name="background",
            gender="female",
            age=rng.choice(["adult", "child"]),
            extent=[0.19, 0.19, 0.93],
            position=position,
            yaw=rng.uniform(-pi, pi),
            num_points=rng.choice([0, 4, 12]),
            distance=_distance(position),
            speed=rng.choice([0.0, 1.4]),
            id=number,
            matrix=IDENTITY,
        )

    def _signs(self) -> list[Box]:
        rng = self.rng
        state = rng.choice(["Red", "Yellow", "Green"])
        ahead = [rng.uniform(0, 60), 0.0, 0.0]
        line, distance = [1.5, 1.5, 0.5], _distance(ahead)
        affects = rng.random() < 0.7
        head = [ahead[0] + 10, 3.6, 4.5]
        candidates: list[Box | None] = [
            self._maybe(
                TrafficLightBox(
                    extent=line, position=ahead, distance=distance, state=state, id=300, affects_ego=affects
                ),
                0.4,
            ),
            self._maybe(
                StopSignBox(extent=line, position=ahead, distance=distance, id=301, affects_ego=not affects), 0.3
            ),
            self._maybe(
                TrafficLightVqaBox(
                    extent=[0.4, 0.4, 1.1],
                    position=head,
                    distance=_distance(head),
                    state_str=state,
                    state=["Red", "Yellow", "Green"].index(state),
                    affects_ego=True,
                ),
                0.4,
            ),
        ]
        return [box for box in candidates if box is not None]

    def _props(self) -> list[PlacedBox]:
        rng = self.rng
        position = [rng.uniform(-5, 50), rng.uniform(-4, 4), 0.0]
        extent, distance = [0.4, 0.4, 0.6], _distance(position)
        cone = StaticBox(
            type_id="static.prop.constructioncone",
            extent=extent,
            position=position,
            distance=distance,
            num_points=20,
        )
        warning = TrafficWarningBox(extent=extent, position=position, distance=distance, num_points=20)
        return [warning, cone] if rng.random() < 0.5 else [cone]

    def _ego_info(self, road: int, cars: Sequence[int]) -> EgoInfoBox:
        rng = self.rng
        in_junction = rng.random() < 0.2
        same = rng.randint(1, 3)
        ahead = self._maybe(rng.choice(cars)) if cars else None
        side = [LaneWidth("Driving", 3.5), LaneWidth("Shoulder", 1.4), LaneWidth("Sidewalk", 2.0)]
        return EgoInfoBox(
            scenario="synthetic",
            traffic_light_state=rng.choice(["None", "Red", "Green", "Yellow"]),
            distance_to_junction=0.0 if in_junction else self._maybe(rng.uniform(0, 80)),
            ego_lane_number=rng.randrange(same),
            road_id=road,
            lane_id=-1,
            is_in_junction=in_junction,
            is_intersection=in_junction,
            junction_id=500 if in_junction else -1,
            next_junction_id=rng.choice([500, -1]),
            next_road_ids=[20],
            next_next_road_ids_ego=[22],
            ego_lane=LaneWidth("Driving", 3.5),
            left_lanes=side,
            right_lanes=side,
            num_lanes_same_direction=same,
            num_lanes_opposite_direction=rng.randint(0, 2),
            lane_change=rng.randint(0, 3),
            lane_type_str=rng.choice(["Driving"] * 9 + ["Parking"]),
            left_lane_marking_color_str=rng.choice(["White", "Yellow", "Other"]),
            left_lane_marking_type=rng.randint(0, 10),
            right_lane_marking_color_str="White",
            right_lane_marking_type=rng.randint(0, 10),
            parking_left=rng.random() < 0.2,
            parking_right=rng.random() < 0.2,
            bike_lane_left=rng.random() < 0.1,
            bike_lane_right=rng.random() < 0.1,
            hazard_detected_10=False,
            affects_ego_10=None,
            affects_ego_15=None,
            hazard_detected_20=ahead is not None,
            affects_ego_20=ahead,
            hazard_detected_40=ahead is not None,
            affects_ego_40=ahead,
        )


def write_route(root: Path, index: int, num_frames: int, num_cars: int = 8, scenario: str | None = None) -> RunFolder:
    """Write one run of made-up frames below a dataset root.

    Args:
        root: Dataset root.
        index: Number in the run's name, and its seed.
        num_frames: How many.
        num_cars: Vehicles per frame.
        scenario: Scenario of the route; one of `SCENARIOS` by default.
    """
    maker = FrameMaker(index)
    group = Path("simlingo/training_1_scenario/routes_training/random_weather_seed_1_balanced_150")
    run = RunFolder(root, group / f"Town12_Rep0_{index}_route0_01_01_00_00_00")
    scenario = scenario or SCENARIOS[index % len(SCENARIOS)]
    for number in range(num_frames):
        boxes = maker.boxes(num_cars)
        write_boxes(run.boxes_path(number), boxes)
        write_measurement(run.measurement_path(number), maker.measurement(number, boxes))
        write_bytes(run.rgb_path(number), b"")
    write_text(
        run.route_path,
        f'<routes><route id="0" town="Town12"><scenarios><scenario name="a" type="{scenario}">'
        '<trigger_point x="5" y="0" z="0" yaw="0"/></scenario></scenarios></route></routes>',
    )
    scores = {"score_route": 100.0, "score_penalty": 1.0, "score_composed": 100.0}
    write_json(
        run.results_path,
        {"status": "Perfect", "num_infractions": 0, "infractions": {"red_light": []}, "scores": scores},
    )
    return run


def moved(box: CarBox, **changes: object) -> CarBox:
    """A copy of a vehicle with other values; its distance follows its position."""
    changed = replace(box, source=None, **changes)  # type: ignore[arg-type]
    return replace(changed, distance=_distance(changed.position))
