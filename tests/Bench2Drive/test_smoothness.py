from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from Bench2Drive.smoothness import (
    CORRECTED,
    OFFICIAL,
    Motion,
    driving_smoothness,
    is_smooth,
    read_motion,
    route_smoothness,
)


def motion(frames: int, longitudinal: float = 0.0, lateral: float = 0.0, yaw_rate_deg: float = 0.0) -> Motion:
    """Constant acceleration and turning with the ego heading along x."""
    ones = np.ones(frames)
    return Motion(
        acceleration=np.stack([longitudinal * ones, lateral * ones], axis=1),
        forward=np.stack([ones, 0 * ones], axis=1),
        right=np.stack([0 * ones, ones], axis=1),
        yaw_rate=yaw_rate_deg * ones,
    )


@pytest.mark.parametrize("frames", [19, 20, 21, 39, 40])
def test_constant_speed_is_smooth_and_hard_throttle_is_not(frames: int) -> None:
    assert route_smoothness(motion(frames), OFFICIAL) == 1.0
    assert route_smoothness(motion(frames, longitudinal=3.0), OFFICIAL) == 0.0


@pytest.mark.parametrize(
    ("changes", "smooth"),
    [
        ({"longitudinal": 2.39}, True),
        ({"longitudinal": 2.41}, False),
        ({"longitudinal": -4.04}, True),
        ({"longitudinal": -4.06}, False),
        ({"lateral": 4.88}, True),
        ({"lateral": -4.9}, False),
    ],
)
def test_limits_from_both_sides(changes: dict[str, float], smooth: bool) -> None:
    assert is_smooth(motion(20, **changes), OFFICIAL) is smooth
    assert is_smooth(motion(20, **changes), CORRECTED) is smooth


def test_official_rule_takes_degrees_for_radians() -> None:
    """2 deg/s is a gentle curve; the official tool reads 2 rad/s. Corrected, 54 deg/s is just inside 0.95 rad/s."""
    assert not is_smooth(motion(20, yaw_rate_deg=2.0), OFFICIAL)
    assert is_smooth(motion(20, yaw_rate_deg=2.0), CORRECTED)
    assert is_smooth(motion(20, yaw_rate_deg=54.0), CORRECTED)
    assert not is_smooth(motion(20, yaw_rate_deg=55.0), CORRECTED)


def test_official_rule_halves_jerk() -> None:
    """Acceleration growing by 6 m/s³ at 20 Hz: beyond the limit of 4.13, but the official tool sees 3 m/s³."""
    base = motion(20)
    ramp = Motion(
        np.stack([-2.0 + 6.0 * 0.05 * np.arange(20) * 0.6, np.zeros(20)], axis=1),
        base.forward,
        base.right,
        base.yaw_rate,
    )
    jerk = 6.0 * 0.6
    assert jerk < 4.13
    assert is_smooth(ramp, OFFICIAL)
    steeper = Motion(ramp.acceleration * 1.3, base.forward, base.right, base.yaw_rate)
    assert is_smooth(steeper, OFFICIAL)
    assert not is_smooth(steeper, CORRECTED)


def test_short_tail_is_dropped() -> None:
    """Two good chunks and a bad tail of 19 frames: only whole chunks count."""
    good, bad = motion(40), motion(19, longitudinal=5.0)
    joined = Motion(*(np.concatenate([getattr(good, name), getattr(bad, name)]) for name in vars(good)))
    assert route_smoothness(joined, OFFICIAL) == 1.0
    assert route_smoothness(joined.part(1, 59), OFFICIAL) == 0.5


def test_missing_motion_is_counted_not_fatal(tmp_path: Path) -> None:
    frame = {
        "acceleration": [0.0, 0.0, 0.0],
        "angular_velocity": [0.0, 0.0, 0.0],
        "forward_vector": [1.0, 0.0, 0.0],
        "right_vector": [0.0, 1.0, 0.0],
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metric_info.json").write_text(json.dumps({str(i): frame for i in range(1, 30)}))
    records = [{"route_id": "one", "save_name": "a"}, {"route_id": "two", "save_name": "b"}]
    table = driving_smoothness(records, tmp_path)
    assert (table.official, table.corrected, table.missing) == (1.0, 1.0, ["two"])


def test_broken_motion_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metric_info.json"
    path.write_text('{"1": {"acceleration": [0, 0, 0]}}')
    with pytest.raises(ValueError, match="a frame has no 'angular_velocity'"):
        read_motion(path)
