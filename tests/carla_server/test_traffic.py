"""What the check of traffic counts: junctions that nobody leaves, and departures of those who keep their lane."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carla_server.map import RoadMap
from carla_server.map.records import Lane
from carla_server.traffic import SAMPLE_TICKS, STEP_S, Drive, departures, junction_stands, lanes_kept, report
from carla_server.world.towns import TownLibrary

SECOND = round(1.0 / (SAMPLE_TICKS * STEP_S))


@pytest.fixture(scope="module")
def town() -> RoadMap:
    return TownLibrary().load("Mini01")


def middle(lane: Lane, from_end: float | None = None) -> tuple[float, float, float, float]:
    """Pose in the middle of a lane, or so many metres before its end: x, y, z and yaw in the direction of traffic."""
    line = lane.travel_center
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))))
    at = along[-1] / 2.0 if from_end is None else along[-1] - from_end
    point = [float(np.interp(at, along, line[:, axis])) for axis in range(3)]
    before, after = (np.array([np.interp(at + d, along, line[:, k]) for k in (0, 1)]) for d in (-0.5, 0.5))
    return point[0], point[1], point[2], math.atan2(*(after - before)[::-1])


def waiting(town: RoadMap, seconds: int, leaves_at: int | None) -> tuple[Drive, int]:
    """A car that waits before a junction, and one that leaves it at some time; and the junction."""
    mouth = next(
        lane
        for lane in town.lanes
        if lane.type == "driving" and lane.junction < 0 and len(lane.successors) > 1 and lane.length > 20.0
    )
    inside = town.lanes[mouth.successors[0]]
    out = town.lanes[inside.successors[0]]
    assert inside.junction >= 0 > out.junction
    poses = np.empty((seconds * SECOND, 2, 4))
    poses[:, 0] = middle(mouth, 4.0)
    poses[:, 1] = middle(inside)
    if leaves_at is not None:
        poses[leaves_at * SECOND :, 1] = middle(out)
    return Drive(poses, np.array([0.9, 0.9]), ["first", "second"], [], 1.0), inside.junction


def test_a_junction_is_stuck_for_as_long_as_nobody_leaves_it_though_somebody_waits(town: RoadMap) -> None:
    for leaves_at, longest in ((None, 120.0), (50, 70.0), (100, 100.0)):
        drive, junction = waiting(town, 120, leaves_at)
        stands = junction_stands(town, drive, lanes_kept(town, drive))
        found = {name: seconds for name, seconds, _ in stands}
        assert found[junction] == pytest.approx(longest, abs=1.5)
    told = report(town, waiting(town, 120, None)[0])
    assert told["stuck_junctions"] == 1
    assert report(town, waiting(town, 120, 50)[0])["stuck_junctions"] == 0


def test_whoever_keeps_the_middle_of_a_lane_does_not_depart_and_whoever_shifts_does(town: RoadMap) -> None:
    lane = next(row for row in town.lanes if row.type == "driving" and row.junction < 0 and row.length > 20.0)
    x, y, z, yaw = middle(lane)
    shifts = (0.0, 0.3, lane.width.min() / 2.0 - 0.9 + 0.4)
    poses = np.array([[(x + shift * math.sin(yaw), y - shift * math.cos(yaw), z, yaw) for shift in shifts]] * 20)
    drive = Drive(poses, np.full(3, 0.9), ["kept", "inside", "out"], [], 1.0)
    metres = {row.vehicle: row.metres for row in departures(town, drive, lanes_kept(town, drive))}
    assert metres[0] == metres[1] == 0.0
    assert metres[2] == pytest.approx(0.4, abs=0.05)
