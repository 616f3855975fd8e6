from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from leaderboard.autoagents.autonomous_agent import Track
from leaderboard.autoagents.sensor_rules import blueprint_attributes, period_ticks, sensor_icons, validate_sensors
from leaderboard.envs.sensor_interface import SensorConfigurationInvalid, SensorInterface, SensorReceivedNoData
from leaderboard.rules import BENCH2DRIVE, COLLECTION, LEADERBOARD_2_0, Rules

MOUNT = {"x": 0.0, "y": 0.0, "z": 2.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}


def camera(name: str, **changes: Any) -> dict[str, Any]:
    return {"type": "sensor.camera.rgb", "id": name, "width": 100, "height": 50, "fov": 90, **MOUNT, **changes}


MAP = {"type": "sensor.opendrive_map", "id": "map"}


@pytest.mark.parametrize(
    ("specs", "track", "rules", "message"),
    [
        ([camera("a"), camera("a")], Track.SENSORS, LEADERBOARD_2_0, "'a' is used more than once"),
        ([MAP], Track.SENSORS, LEADERBOARD_2_0, "not allowed on track SENSORS"),
        ([MAP], Track.SENSORS_QUALIFIER, COLLECTION, "not allowed on track SENSORS_QUALIFIER"),
        ([camera("a", type="sensor.camera.xray")], Track.SENSORS, LEADERBOARD_2_0, "unknown type 'sensor.camera.xray'"),
        ([camera("a", z=3.01)], Track.SENSORS, LEADERBOARD_2_0, "3.01 m from the ego's origin"),
        ([camera("a", z=3.01)], Track.SENSORS, BENCH2DRIVE, "at most 3 m are allowed"),
        ([camera("a", z=3.01)], Track.SENSORS, COLLECTION, "at most 3 m are allowed"),
        ([camera(str(i)) for i in range(9)], Track.SENSORS, LEADERBOARD_2_0, "at most 8 sensor.camera.rgb"),
        ([camera(str(i)) for i in range(5)], Track.MAP_QUALIFIER, LEADERBOARD_2_0, "at most 4 sensor.camera.rgb"),
        ([camera("a", type="sensor.camera.depth")], Track.MAP, LEADERBOARD_2_0, "at most 0 sensor.camera.depth"),
        ([{k: v for k, v in camera("a").items() if k != "fov"}], Track.SENSORS, LEADERBOARD_2_0, "lacks fov"),
    ],
)
def test_forbidden_sensors_are_refused(specs: list[dict[str, Any]], track: Track, rules: Rules, message: str) -> None:
    with pytest.raises(SensorConfigurationInvalid, match=message):
        validate_sensors(specs, track, track, rules)


@pytest.mark.parametrize(
    ("specs", "track", "rules"),
    [
        ([camera(str(i)) for i in range(8)], Track.SENSORS, LEADERBOARD_2_0),
        ([camera("a", z=3.0)], Track.SENSORS, LEADERBOARD_2_0),
        ([MAP], Track.SENSORS_QUALIFIER, LEADERBOARD_2_0),
        ([camera(str(i), type="sensor.camera.depth") for i in range(4)], Track.MAP, COLLECTION),
    ],
)
def test_allowed_sensors_pass(specs: list[dict[str, Any]], track: Track, rules: Rules) -> None:
    validate_sensors(specs, track, track, rules)


def test_cameras_that_look_on_may_be_far_away_while_pictures_are_saved() -> None:
    validate_sensors([camera("a", z=99.0)], Track.SENSORS, Track.SENSORS, BENCH2DRIVE, is_saving=True)
    with pytest.raises(SensorConfigurationInvalid, match="at most 100 m are allowed"):
        validate_sensors([camera("a", z=101.0)], Track.SENSORS, Track.SENSORS, BENCH2DRIVE, is_saving=True)
    with pytest.raises(SensorConfigurationInvalid, match="at most 3 m are allowed"):
        validate_sensors([camera("a", z=99.0)], Track.SENSORS, Track.SENSORS, LEADERBOARD_2_0, is_saving=True)


def test_agent_of_another_track_is_refused() -> None:
    with pytest.raises(SensorConfigurationInvalid, match="track SENSORS, but the agent chose MAP"):
        validate_sensors([], Track.MAP, Track.SENSORS, LEADERBOARD_2_0)


def test_attributes_follow_the_rules() -> None:
    lidar = {
        "type": "sensor.lidar.ray_cast",
        "id": "l",
        **MOUNT,
        "rotation_frequency": 20,
        "points_per_second": 1200000,
    }
    assert blueprint_attributes(lidar, LEADERBOARD_2_0)["rotation_frequency"] == "10"
    assert blueprint_attributes(lidar, COLLECTION)["rotation_frequency"] == "20"
    assert blueprint_attributes(camera("a"), LEADERBOARD_2_0) == {
        "image_size_x": "100",
        "image_size_y": "50",
        "fov": "90",
    }
    gnss = {"type": "sensor.other.gnss", "id": "g", **MOUNT}
    assert blueprint_attributes(gnss, LEADERBOARD_2_0)["noise_lat_stddev"] == "0.000005"
    quiet = dataclasses.replace(LEADERBOARD_2_0, gnss_noise=False)
    assert set(blueprint_attributes(gnss, quiet).values()) == {"0.0"}
    assert sensor_icons([camera("a"), MAP]) == ["carla_camera", "carla_opendrive_map"]


def test_data_of_other_frames_are_dropped() -> None:
    interface = SensorInterface(wait_s=0.05)
    for name in ("a", "b"):
        interface.register_sensor(name, "sensor.other.imu", None)
    interface.update_sensor("a", "old", 4)
    interface.update_sensor("b", "b5", 5)
    interface.update_sensor("a", "a5", 5)
    assert interface.get_data(5) == {"a": (5, "a5"), "b": (5, "b5")}


def test_slow_sensors_are_waited_for_only_when_they_measure() -> None:
    interface = SensorInterface(wait_s=0.05)
    interface.register_sensor("fast", "sensor.other.imu", None)
    interface.register_sensor("slow", "sensor.camera.rgb", None, period_ticks=5)
    interface.update_sensor("slow", "s1", 1)
    seen = []
    for frame in range(2, 12):
        interface.update_sensor("fast", "f", frame)
        if frame % 5 == 1:
            interface.update_sensor("slow", f"s{frame}", frame)
        seen.append(sorted(interface.get_data(frame)))
    assert [frame for frame, names in enumerate(seen, start=2) if "slow" in names] == [6, 11]
    interface.update_sensor("fast", "f", 16)
    with pytest.raises(SensorReceivedNoData, match="from slow"):
        interface.get_data(16)


def test_only_collection_lets_agents_choose_rates() -> None:
    slow = camera("a", sensor_tick=0.25)
    assert [period_ticks(slow, rules) for rules in (LEADERBOARD_2_0, BENCH2DRIVE, COLLECTION)] == [1, 1, 5]
    assert blueprint_attributes(slow, COLLECTION)["sensor_tick"] == "0.25"
    assert "sensor_tick" not in blueprint_attributes(slow, BENCH2DRIVE)


def test_silent_sensors_are_named() -> None:
    interface = SensorInterface(wait_s=0.05)
    for name in ("a", "b"):
        interface.register_sensor(name, "sensor.other.imu", None)
    interface.update_sensor("a", "data", 7)
    with pytest.raises(SensorReceivedNoData, match="no data of frame 7 from b"):
        interface.get_data(7)


def test_sensor_ids_are_unique_and_known() -> None:
    interface = SensorInterface()
    interface.register_sensor("a", "sensor.other.imu", None)
    with pytest.raises(SensorConfigurationInvalid, match="two sensors"):
        interface.register_sensor("a", "sensor.other.imu", None)
    with pytest.raises(SensorConfigurationInvalid, match="not registered"):
        interface.update_sensor("b", 0, 1)
