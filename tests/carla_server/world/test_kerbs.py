"""Laws of kerbs: what a blow takes from a vehicle, and who gets none."""

from __future__ import annotations

import math
from copy import copy
from typing import NamedTuple

import numpy as np
import pytest

from carla_server.sensors.views import Tag
from carla_server.wire.values import Description, Pose
from carla_server.world.kerbs import FELT, Kerbs
from carla_server.world.limits import advised_limits
from carla_server.world.state import HALF_X, HALF_Y, SETTLED, SPIN, Turn
from carla_server.world.towns import TownLibrary
from carla_server.world.world import World
from tests.carla_server.conftest import Recorder

DT = 0.05


class Run(NamedTuple):
    """What became of a car: (T, 3) velocity in m/s, turning in rad/s and height in metres; its energy per kg; messages."""

    velocity: np.ndarray
    turning: np.ndarray
    height: np.ndarray
    energy: np.ndarray
    events: list[bytes]
    bytes: bytes


def meet(library: TownLibrary, speed: float, angle_deg: float, kerbs: bool = True, down: bool = False) -> Run:
    """Let a car roll without throttle and brake over (or `down` from) the longest kerb of Mini01.

    Args:
        library: Towns.
        speed: When it is 5 m from the kerb, m/s.
        angle_deg: Between its way and the kerb; 0 is beside it.
        kerbs: Whether the kerb is more than a ramp.
        down: Whether it comes from the sidewalk.
    """
    recorder = Recorder()
    world = World(library, "Mini01", recorder, seed=1)
    x, y, ux, uy, length, foot, _ = world.kerbs.lines[0]
    if not kerbs:
        world.kerbs = copy(world.kerbs)
        world.kerbs.lines = world.kerbs.lines[:0]
    angle = math.radians(angle_deg)
    heading = math.atan2(uy, ux) + (-angle if down else angle)
    # So far from the kerb's middle that the car's nearest wheel stands a metre before it, or beside it.
    away = (1.0 + 1.5 * math.sin(angle) + 0.8 * math.cos(angle)) * (1.0 if down else -1.0)
    back = 4.0 if angle_deg else 0.0
    px = x + 0.3 * length * ux - away * uy - back * math.cos(heading) * math.cos(angle)
    py = y + 0.3 * length * uy + away * ux - back * math.sin(heading) * math.cos(angle)
    pose = Pose(px, py, foot + (0.15 if down else 0.0), 0.0, math.degrees(heading), 0.0)
    car = world.spawn(Description(1, "vehicle.tesla.model3", []), pose, forced=True)
    world.spawn(Description(1, "sensor.other.collision", []), Pose(0, 0, 0, 0, 0, 0), car.id)
    sensor = next(actor for actor in world.actors.values() if actor.stream)
    row, body = world.rows.motion[car.row], world.rows.body[car.row]
    world.rows.dynamic[car.row, SETTLED] = 1.0
    world.set_velocity(car, (speed * math.cos(heading), speed * math.sin(heading), 0.0))
    velocity, turning, height, energy = [], [], [], []
    inertia = (body[HALF_X] ** 2 + body[HALF_Y] ** 2) / 3.0
    # Until its rear wheels are over, and before the next house.
    for _ in range(min(60, int(11.0 / DT / speed / max(math.sin(angle), 0.1)))):
        world.tick(DT)
        velocity.append(row[6:9].copy())
        turning.append(world.rows.dynamic[car.row, SPIN])
        height.append(row[2])
        energy.append(0.5 * float(row[6] ** 2 + row[7] ** 2) + 0.5 * inertia * turning[-1] ** 2)
    sent = b"".join(message for _, message in recorder.messages)
    return Run(*map(np.array, (velocity, turning, height, energy)), recorder.of(sensor.stream), sent)


def loss(library: TownLibrary, speed: float, angle: float) -> float:
    """Speed that the kerb takes beyond what the climb takes, m/s."""
    struck, rolled = (meet(library, speed, angle, kerbs) for kerbs in (True, False))
    up = np.flatnonzero((struck.height > 0.14) & (rolled.height > 0.14))
    assert len(up), "it did not get up the kerb"
    return float(np.linalg.norm(rolled.velocity[up[0], :2]) - np.linalg.norm(struck.velocity[up[0], :2]))


def test_a_kerb_takes_more_from_the_faster_and_the_steeper(library: TownLibrary) -> None:
    by_speed = [loss(library, speed, 60.0) for speed in (4.0, 8.0, 14.0)]
    by_angle = [loss(library, 9.0, angle) for angle in (20.0, 40.0, 65.0)]
    assert 0.1 < by_speed[0] < by_speed[1] < by_speed[2]
    assert 0.1 < by_angle[0] < by_angle[1] < by_angle[2]


def test_whoever_drives_beside_a_kerb_does_not_notice_it(library: TownLibrary) -> None:
    assert meet(library, 12.0, 0.0).bytes == meet(library, 12.0, 0.0, kerbs=False).bytes


def test_going_down_a_kerb_costs_nothing(library: TownLibrary) -> None:
    struck, rolled = (meet(library, 6.0, 70.0, kerbs, down=True) for kerbs in (True, False))
    below = int(rolled.height.argmin())
    assert rolled.height[below] < rolled.height[0] - 0.1
    np.testing.assert_array_equal(struck.velocity[:below], rolled.velocity[:below])


@pytest.mark.parametrize(("speed", "angle"), [(5.0, 90.0), (15.0, 30.0), (20.0, 40.0)])
def test_a_blow_adds_no_energy_and_turns_the_car_away_from_the_kerb(
    library: TownLibrary, speed: float, angle: float
) -> None:
    run = meet(library, speed, angle)
    assert (np.diff(run.energy) < 1e-6).all()
    first = run.turning[np.flatnonzero(run.turning)[0]] if run.turning.any() else 0.0
    # The right front wheel meets it first, and the kerb is on the right: the nose goes left, which is negative.
    assert first < 0.0 or angle == 90.0


def test_equal_blows_are_equal(library: TownLibrary) -> None:
    assert meet(library, 11.0, 40.0).bytes == meet(library, 11.0, 40.0).bytes


def test_a_collision_with_a_sidewalk_is_told_of_hard_blows_only(library: TownLibrary) -> None:
    hard = meet(library, 8.0, 60.0).events
    assert hard
    assert all(b"static.sidewalk" in message for message in hard)
    assert not meet(library, 0.8 * FELT / math.sin(math.radians(60.0)), 60.0).events


def test_crosswalks_lower_the_kerb(library: TownLibrary) -> None:
    road_map = library.load("Mini01")
    lines = Kerbs(road_map).lines
    middle = lines[:, :2] + lines[:, 2:4] * lines[:, 4:5] / 2.0
    assert len(lines) > 500
    for crosswalk in road_map.crosswalks:
        low, high = crosswalk.polygon[:, :2].min(axis=0), crosswalk.polygon[:, :2].max(axis=0)
        assert not ((middle > low) & (middle < high)).all(axis=1).any()


def test_kerbs_rise_from_the_road_to_the_sidewalk(library: TownLibrary) -> None:
    road_map = library.load("Mini01")
    lines = Kerbs(road_map).lines
    middle = np.column_stack((lines[:, :2] + lines[:, 2:4] * lines[:, 4:5] / 2.0, lines[:, 5]))
    right = np.column_stack((-lines[:, 3], lines[:, 2], np.zeros(len(lines))))
    high = road_map.locate_many(middle + 0.3 * right)[0]
    low = road_map.locate_many(middle - 0.3 * right)[0]
    assert np.mean([road_map.lanes[k].type == "sidewalk" for k in high]) > 0.99
    assert not any(road_map.lanes[k].type == "sidewalk" for k in low[low >= 0])


def test_whoever_shows_a_sharper_turn_is_advised_to_go_slower(library: TownLibrary) -> None:
    road_map = library.load("Mini01")
    ends = advised_limits(road_map, np.full(len(road_map.lanes), np.nan))[1]
    assert (ends <= ends[:, [Turn.UNSAID]]).all()
    corners = [k for k, lane in enumerate(road_map.lanes) if lane.junction < 0 and ends[k, Turn.RIGHT] < ends[k, 0]]
    assert corners
    assert all(ends[k, Turn.RIGHT] < ends[k, Turn.AHEAD] for k in corners)


def test_the_sidewalk_has_its_class_in_collision_events(library: TownLibrary) -> None:
    world = World(library, "Mini01", Recorder(), seed=1)
    assert world.static_tags[-1] == Tag.SIDEWALKS
    assert len(world.static_tags) == len(world.statics.boxes) + 1
