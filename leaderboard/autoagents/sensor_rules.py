"""Which sensors an agent may carry, and how they are configured in the simulator.

Source: carla-simulator/leaderboard, autoagents/agent_wrapper.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leaderboard.autoagents.autonomous_agent import Track
from leaderboard.envs.sensor_interface import SensorConfigurationInvalid
from leaderboard.rules import Rules

SensorSpec = Mapping[str, Any]

MAP_SENSOR = "sensor.opendrive_map"
SPEEDOMETER = "sensor.speedometer"
PSEUDO_SENSORS = (MAP_SENSOR, SPEEDOMETER)
"""Computed by the evaluator, not by the simulator."""

TICK_S = 0.05
"""Length of a tick, seconds."""

QUALIFIER_TRACKS = (Track.SENSORS_QUALIFIER, Track.MAP_QUALIFIER)


@dataclass(frozen=True)
class SensorType:
    """One sensor an agent may ask for.

    Attributes:
        type: Name in the agent's specification and of the blueprint.
        limit: Field of `SensorLimits` with its largest number.
        icon: Name in ``sensors`` of the results file.
        fixed: Blueprint attributes set by the benchmark.
        from_spec: Blueprint attribute to key of the specification.
        rates: Like ``from_spec``, only where the rules let agents choose rates.
    """

    type: str
    limit: str
    icon: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    from_spec: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, str] = field(default_factory=dict)


_CAMERA = {"image_size_x": "width", "image_size_y": "height", "fov": "fov"}

_LIDAR = {
    "range": "85",
    "rotation_frequency": "10",
    "channels": "64",
    "upper_fov": "10",
    "lower_fov": "-30",
    "points_per_second": "600000",
    "atmosphere_attenuation_rate": "0.004",
    "dropoff_general_rate": "0.45",
    "dropoff_intensity_limit": "0.8",
    "dropoff_zero_intensity": "0.4",
}

GNSS_NOISE_DEG = "0.000005"

_GNSS = {f"noise_{axis}_stddev": GNSS_NOISE_DEG for axis in ("alt", "lat", "lon")} | {
    f"noise_{axis}_bias": "0.0" for axis in ("alt", "lat", "lon")
}

_IMU = {
    "noise_accel_stddev_x": "0.001",
    "noise_accel_stddev_y": "0.001",
    "noise_accel_stddev_z": "0.015",
    "noise_gyro_stddev_x": "0.001",
    "noise_gyro_stddev_y": "0.001",
    "noise_gyro_stddev_z": "0.001",
}

SENSOR_TYPES = {
    row.type: row
    for row in (
        SensorType("sensor.camera.rgb", "camera_rgb", "carla_camera", from_spec=_CAMERA),
        SensorType("sensor.camera.depth", "camera_depth", "carla_camera", from_spec=_CAMERA),
        SensorType("sensor.camera.semantic_segmentation", "camera_semantic", "carla_camera", from_spec=_CAMERA),
        SensorType(
            "sensor.lidar.ray_cast",
            "lidar",
            "carla_lidar",
            fixed=_LIDAR,
            rates={"rotation_frequency": "rotation_frequency", "points_per_second": "points_per_second"},
        ),
        SensorType(
            "sensor.other.radar",
            "radar",
            "carla_radar",
            fixed={"points_per_second": "1500", "range": "100"},
            from_spec={"horizontal_fov": "horizontal_fov", "vertical_fov": "vertical_fov"},
        ),
        SensorType("sensor.other.gnss", "gnss", "carla_gnss", fixed=_GNSS),
        SensorType("sensor.other.imu", "imu", "carla_imu", fixed=_IMU),
        SensorType(MAP_SENSOR, "opendrive_map", "carla_opendrive_map"),
        SensorType(SPEEDOMETER, "speedometer", "carla_speedometer"),
    )
}


def validate_sensors(
    specs: Sequence[SensorSpec], agent_track: Track, track: Track, rules: Rules, is_saving: bool = False
) -> None:
    """Check an agent's sensors against the rules.

    Args:
        specs: What the agent's ``sensors()`` returned.
        agent_track: Track the agent chose in ``setup``.
        track: Track of the run.
        rules: The benchmark.
        is_saving: Whether the run saves pictures.

    Raises:
        SensorConfigurationInvalid: At the first rule that is broken: another track, an id used twice, the map on a track
            without it, an unknown type, a mount too far from the ego, too many of a type, a missing key.
    """
    if agent_track.value != track.value:
        raise SensorConfigurationInvalid(
            f"the run is on track {track.value}, but the agent chose {agent_track.value} in setup()"
        )
    doubles = [name for name, count in Counter(spec.get("id") for spec in specs).items() if count > 1]
    if doubles:
        raise SensorConfigurationInvalid(f"sensor ids must differ; {doubles[0]!r} is used more than once")
    for spec in specs:
        _validate_one(spec, track, rules, is_saving)
    limits = rules.qualifier_limits if track in QUALIFIER_TRACKS else rules.sensor_limits
    for sensor_type, count in Counter(spec["type"] for spec in specs).items():
        most = getattr(limits, SENSOR_TYPES[sensor_type].limit)
        if count > most:
            raise SensorConfigurationInvalid(f"at most {most} {sensor_type} are allowed, the agent has {count}")


def _validate_one(spec: SensorSpec, track: Track, rules: Rules, is_saving: bool) -> None:
    sensor_type, name = spec.get("type", ""), spec.get("id", "")
    without_map = track is Track.SENSORS or (track is Track.SENSORS_QUALIFIER and not rules.map_allowed_for_qualifier)
    if sensor_type == MAP_SENSOR and without_map:
        raise SensorConfigurationInvalid(f"{MAP_SENSOR} is not allowed on track {track.value}")
    if sensor_type not in SENSOR_TYPES:
        raise SensorConfigurationInvalid(
            f"sensor {name!r} has the unknown type {sensor_type!r}; known: {', '.join(SENSOR_TYPES)}"
        )
    if all(axis in spec for axis in "xyz"):
        distance = math.hypot(spec["x"], spec["y"], spec["z"])
        most = rules.sensor_radius_saving_m if is_saving and rules.sensor_radius_saving_m else rules.sensor_radius_m
        if distance > most:
            raise SensorConfigurationInvalid(
                f"sensor {name!r} is mounted {distance:.2f} m from the ego's origin, at most {most:g} m are allowed"
            )
    if sensor_type in PSEUDO_SENSORS:
        return
    wanted = [*"xyz", *SENSOR_TYPES[sensor_type].from_spec.values()]
    missing = [key for key in wanted if key not in spec]
    if missing:
        raise SensorConfigurationInvalid(f"sensor {name!r} ({sensor_type}) lacks {', '.join(missing)}")


def blueprint_attributes(spec: SensorSpec, rules: Rules) -> dict[str, str]:
    """Attributes of the simulator's sensor for a validated specification."""
    row = SENSOR_TYPES[spec["type"]]
    attributes = dict(row.fixed)
    if spec["type"] == "sensor.other.gnss" and not rules.gnss_noise:
        attributes = dict.fromkeys(attributes, "0.0")
    attributes |= {name: str(spec[key]) for name, key in row.from_spec.items()}
    if rules.sensor_rates_from_agent:
        attributes |= {name: str(spec[key]) for name, key in row.rates.items() if key in spec}
        if "sensor_tick" in spec:
            attributes["sensor_tick"] = str(spec["sensor_tick"])
    return attributes


def period_ticks(spec: SensorSpec, rules: Rules, tick_s: float = TICK_S) -> int:
    """Every how many ticks a sensor measures: 1, or as its ``sensor_tick`` (seconds) says where agents may choose rates."""
    interval = float(spec.get("sensor_tick", 0.0)) if rules.sensor_rates_from_agent else 0.0
    return max(1, round(interval / tick_s))


def sensor_icons(specs: Sequence[SensorSpec]) -> list[str]:
    """Icons of the results file, in the order of the specifications."""
    return [SENSOR_TYPES[spec["type"]].icon for spec in specs]
