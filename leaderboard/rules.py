"""Benchmark rules as frozen records: every number in which the leaderboards differ.

Sources: carla-simulator/leaderboard (branches master and leaderboard-2.1), Thinklab-SJTU/Bench2Drive 0.0.3,
RenzKa/simlingo (Bench2Drive and leaderboard_autopilot folders).
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from enum import Enum
from typing import Any


class PenaltyFormula(Enum):
    """How infractions combine into ``score_penalty``."""

    PRODUCT = "product"
    """Every event multiplies the penalty by its coefficient (Leaderboard 2.0)."""
    RECIPROCAL = "reciprocal"
    """1 / (1 + sum of coefficients) (Leaderboard 2.1)."""


@dataclass(frozen=True)
class Penalties:
    """Coefficients of the score formula, see `PenaltyFormula`.

    Attributes:
        formula: How the coefficients combine.
        collision_pedestrian, collision_vehicle, collision_static, red_light, stop, scenario_timeout,
            yield_emergency_vehicle: Coefficient of one event.
        min_speed: Weight of the missing share of the traffic's speed, 0 to leave it out of the score.
    """

    formula: PenaltyFormula
    collision_pedestrian: float
    collision_vehicle: float
    collision_static: float
    red_light: float
    stop: float
    scenario_timeout: float
    yield_emergency_vehicle: float
    min_speed: float


PENALTIES_2_0 = Penalties(
    formula=PenaltyFormula.PRODUCT,
    collision_pedestrian=0.5,
    collision_vehicle=0.6,
    collision_static=0.65,
    red_light=0.7,
    stop=0.8,
    scenario_timeout=0.7,
    yield_emergency_vehicle=0.7,
    min_speed=0.3,
)

PENALTIES_2_1 = Penalties(
    formula=PenaltyFormula.RECIPROCAL,
    collision_pedestrian=1.0,
    collision_vehicle=0.7,
    collision_static=0.6,
    red_light=0.4,
    stop=0.25,
    scenario_timeout=0.4,
    yield_emergency_vehicle=0.4,
    min_speed=0.4,
)


@dataclass(frozen=True)
class SensorLimits:
    """How many sensors of each type an agent may carry."""

    camera_rgb: int = 8
    camera_depth: int = 0
    camera_semantic: int = 0
    lidar: int = 2
    radar: int = 4
    gnss: int = 1
    imu: int = 1
    opendrive_map: int = 1
    speedometer: int = 1


FULL_SENSORS = SensorLimits()
QUALIFIER_SENSORS = SensorLimits(camera_rgb=4, lidar=1, radar=2)
PRIVILEGED_SENSORS = SensorLimits(camera_depth=4, camera_semantic=4)


@dataclass(frozen=True)
class Rules:
    """One benchmark. The defaults are those of the official Leaderboard 2.0.

    Attributes:
        name: Name on the command line and in every manifest.
        penalties: Score formula.
        timeout_s: Default of client timeout and watchdogs, seconds of wall clock.
        traffic_manager_seed: Default seed.
        min_speed_checkpoints: Into how many parts the route is cut for the minimum-speed criterion.
        min_speed_always_reported: Report the ego's share of the traffic speed even when it is 100 % or more.
        min_speed_last_twice: Keep the original's doubled event at the end of a completed route; it counts twice in
            ``num_infractions`` and, where it is scored, in the penalty.
        blocked_after_s: Game time without motion after which the route ends.
        tick_limit: Most ticks of a route; None for no limit.
        completion_percent: Share of the route after which it counts as completed if the end is near.
        completion_distance_m: How near.
        plan_sampling_m: Spacing of the plan that agents are given.
        stop_on_setup_failure: End the whole run when an agent cannot be set up.
        stop_on_simulation_crash: End the whole run at the first simulation crash.
        sensor_radius_m: Largest distance of a sensor from the ego's origin.
        sensor_radius_saving_m: The same for runs that save pictures (``SAVE_PATH`` is set), for cameras that only look on;
            None if they get no more.
        sensor_limits, qualifier_limits: Sensor counts of the normal and the qualifier tracks.
        sensor_wait_s: Longest wait for the data of one tick, seconds of wall clock.
        sensor_rates_from_agent: Take the lidar's rate and density, and any sensor's ``sensor_tick``, from the agent's
            specification.
        gnss_noise: Whether the GNSS sensor is noisy.
        benchmark_record_fields: Add ``scenario_name``, ``weather_id``, ``save_name`` and ``town_name`` to records.
        timestamp_record_field: Add ``timestamp`` to records.
        locate_all_events: Add the place to the messages of yield and scenario-timeout events.
        weather_changes: Interpolate the weather along the route.
        stop_box_min_extent_m: Smallest half size that a stop sign's trigger box is given.
        raise_route_start: Keep the original's side effect: the first route point is lifted with the ego, by 0.5 m.
        signed_trigger_height: Accept triggers any distance below the route, as the original does.
        map_allowed_for_qualifier: Accept the map sensor under SENSORS_QUALIFIER, as the original does.
        door_flow_oncoming: Cars of the opening-door scenario come in the oncoming lane; in the original they come from
            behind on the ego's own lane.
        emergency_increment_kmh: How much faster than the ego the emergency vehicle wants to drive; the original meant 25.
        green_light_until_crossed: The green-light turn ends when the ego has crossed; in the original after ten seconds.
        flows_brake: Cars of scenario streams brake for what is ahead of them on their way; in the original they ram it.
        flows_heed_bends: Cars of scenario streams slow down in bends on every town. In the original they keep their speed.
            On our own towns, whose bends of 9 to 16 m radius ask for up to 13 m/s² at the streams' speeds, they slow down
            under all rules: otherwise they leave their lanes, and nobody can merge into them.
    """

    name: str
    penalties: Penalties = PENALTIES_2_0
    timeout_s: float = 300.0
    traffic_manager_seed: int = 0
    min_speed_checkpoints: int = 4
    min_speed_always_reported: bool = False
    min_speed_last_twice: bool = True
    blocked_after_s: float = 180.0
    tick_limit: int | None = None
    completion_percent: float = 99.0
    completion_distance_m: float = 10.0
    plan_sampling_m: float = 200.0
    stop_on_setup_failure: bool = False
    stop_on_simulation_crash: bool = True
    sensor_radius_m: float = 3.0
    sensor_radius_saving_m: float | None = None
    sensor_limits: SensorLimits = FULL_SENSORS
    qualifier_limits: SensorLimits = QUALIFIER_SENSORS
    sensor_wait_s: float = 10.0
    sensor_rates_from_agent: bool = False
    gnss_noise: bool = True
    benchmark_record_fields: bool = False
    timestamp_record_field: bool = False
    locate_all_events: bool = False
    weather_changes: bool = True
    stop_box_min_extent_m: float = 0.0
    raise_route_start: bool = True
    signed_trigger_height: bool = True
    map_allowed_for_qualifier: bool = True
    door_flow_oncoming: bool = False
    emergency_increment_kmh: float = 90.0
    green_light_until_crossed: bool = False
    flows_brake: bool = False
    flows_heed_bends: bool = False

    def describe(self) -> dict[str, Any]:
        """All effective values as JSON-ready data, for manifests and side files."""
        return dataclasses.asdict(self, dict_factory=_json_ready)


def _json_ready(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value.value if isinstance(value, Enum) else value for key, value in items}


LEADERBOARD_2_0 = Rules(name="leaderboard_2_0")

LEADERBOARD_2_1 = dataclasses.replace(LEADERBOARD_2_0, name="leaderboard_2_1", penalties=PENALTIES_2_1)

BENCH2DRIVE = dataclasses.replace(
    LEADERBOARD_2_0,
    name="bench2drive",
    penalties=dataclasses.replace(PENALTIES_2_0, min_speed=0.0),
    timeout_s=600.0,
    min_speed_checkpoints=20,
    min_speed_always_reported=True,
    blocked_after_s=60.0,
    tick_limit=4000,
    plan_sampling_m=50.0,
    stop_on_setup_failure=True,
    sensor_radius_saving_m=100.0,
    sensor_wait_s=300.0,
    benchmark_record_fields=True,
)

BENCH2DRIVE_SIMLINGO = dataclasses.replace(
    BENCH2DRIVE, name="bench2drive_simlingo", completion_percent=90.0, tick_limit=None
)

COLLECTION = dataclasses.replace(
    LEADERBOARD_2_0,
    name="collection",
    traffic_manager_seed=100,
    completion_percent=85.0,
    stop_on_simulation_crash=False,
    sensor_limits=PRIVILEGED_SENSORS,
    qualifier_limits=PRIVILEGED_SENSORS,
    sensor_rates_from_agent=True,
    timestamp_record_field=True,
    locate_all_events=True,
    weather_changes=False,
    stop_box_min_extent_m=0.5,
    min_speed_last_twice=False,
    raise_route_start=False,
    signed_trigger_height=False,
    map_allowed_for_qualifier=False,
    door_flow_oncoming=True,
    emergency_increment_kmh=25.0,
    green_light_until_crossed=True,
    flows_brake=True,
    flows_heed_bends=True,
)

ALL_RULES = (LEADERBOARD_2_0, LEADERBOARD_2_1, BENCH2DRIVE, BENCH2DRIVE_SIMLINGO, COLLECTION)
RULES_BY_NAME = {rules.name: rules for rules in ALL_RULES}


def rules_by_name(name: str) -> Rules:
    """Look up a rules profile.

    Raises:
        ValueError: If there is none of that name; the message names the nearest one.
    """
    if name not in RULES_BY_NAME:
        close = difflib.get_close_matches(name, RULES_BY_NAME, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown rules profile {name!r}{hint} (known: {', '.join(RULES_BY_NAME)})")
    return RULES_BY_NAME[name]
