"""How well CARLA's Traffic Manager drives on a town: collisions, vehicles that get stuck, departures from the lane.

Vehicles drive for some minutes through the real client while their poses are written down; afterwards the poses are
judged. What counts:

* **Departure**: how far a vehicle's side, at its middle, is beyond the border of its lane, metres. A vehicle that is
  wider than its lane departs as far as its middle is off the lane's middle. The lane is the driving lane that runs the
  vehicle's way (within 60 degrees) and fits best; inside junctions that is one of the connecting lanes.
* During a **lane change**, from 30 m before to 30 m after the vehicle's middle crosses into a neighbour lane of the same
  direction, the border between these two lanes does not count; their outer borders do. The same holds where the lane
  next to it is one that is just beginning or ending (narrower than a vehicle).
* Bends tighter than 7.5 m, which CARLA's towns have at the mouths of some junctions, are cut by every vehicle: Traffic
  Manager steers for a point some metres ahead. Departures within 8 m of one are reported by themselves.
* **Stuck**: moved less than 5 m in 180 s, which is more than two cycles of the longest light.
* A **junction is stuck** while somebody stands inside or before it and for 90 s nobody leaves it, though the lights let every
  approach go once in 60 s at most.
* **Removed**: Traffic Manager takes vehicles away that have stood 90 s without, or 180 s before a red light.
* **Collisions** are those that collision sensors on all vehicles report.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from carla_server.map import RoadMap, nearest
from carla_server.map.lookup import CELL

Floats = NDArray[np.float64]

STEP_S = 0.05
#: Poses are written down once in so many ticks.
SAMPLE_TICKS = 2
#: A vehicle that moves less than this in the time is stuck, metres and seconds.
STUCK_MOVE_M, STUCK_TIME_S = 5.0, 180.0
#: A junction that nobody leaves for so long while somebody waits is stuck, seconds. Those wait who stand inside or up to so
#: far before it, metres; slower than this is standing, m/s.
STUCK_JUNCTION_S, WAITING_M, STANDING = 90.0, 20.0, 0.2
#: Distance travelled before and after crossing into a neighbour lane that belongs to the lane change, metres.
LANE_CHANGE_REACH_M = 30.0
#: A lane narrower than this is one that begins or ends, metres.
TAPER_WIDTH_M = 2.5
#: Vehicles are judged by lanes that run their way within this angle, as its cosine.
SAME_WAY = 0.5
#: Radius below which bends are cut, and how far from such a bend departures belong to it, metres.
TIGHT_RADIUS_M, TIGHT_REACH_M = 7.5, 8.0
#: Vehicles that fell or were carried away are no traffic any more: this far from any driving lane, metres.
LOST_M = 6.0


@dataclass(frozen=True)
class Drive:
    """Poses of all vehicles over time.

    Attributes:
        poses: (T, V, 4) x, y, z in metres and yaw in radians, world frame; NaN once a vehicle is gone.
        half_width: (V,) metres.
        names: (V,) blueprint ids.
        collisions: Description of every pair that touched, with the place.
        seconds: Wall time of the drive.
    """

    poses: Floats
    half_width: Floats
    names: list[str]
    collisions: list[str]
    seconds: float


def drive(client: Any, world: Any, vehicles: Sequence[Any], manager_port: int, minutes: float, seed: int) -> Drive:
    """Let a Traffic Manager of its own drive `vehicles` and write down where they are.

    Args:
        client: Connected to a server whose `world` is in synchronous mode with steps of `STEP_S`.
        world: Its world.
        vehicles: What is driven.
        manager_port: Free port for the Traffic Manager.
        minutes: Simulated time.
        seed: Of the Traffic Manager.
    """
    import carla

    manager = client.get_trafficmanager(manager_port)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(seed)
    blueprint = world.get_blueprint_library().find("sensor.other.collision")
    met: Counter[tuple[int, str]] = Counter()
    collisions: list[str] = []

    def touched(event: Any) -> None:
        other = event.other_actor
        pair = (event.actor.id, f"{other.type_id}#{other.id}")
        met[pair] += 1
        if met[pair] == 1 and not (other.id and met[(other.id, f"{event.actor.type_id}#{event.actor.id}")]):
            x, y = event.transform.location.x, event.transform.location.y
            collisions.append(f"{event.actor.type_id}#{event.actor.id} - {pair[1]} at ({x:.1f}, {y:.1f})")

    sensors = []
    for vehicle in vehicles:
        vehicle.set_autopilot(True, manager_port)
        manager.update_vehicle_lights(vehicle, True)
        sensor = world.spawn_actor(blueprint, carla.Transform(), attach_to=vehicle)
        sensor.listen(touched)
        sensors.append(sensor)
    widths = np.array([vehicle.bounding_box.extent.y for vehicle in vehicles])
    poses = np.full((int(minutes * 60 / STEP_S) // SAMPLE_TICKS, len(vehicles), 4), np.nan)
    begin = time.perf_counter()
    for sample in poses:
        for _ in range(SAMPLE_TICKS):
            world.tick()
        snapshot = world.get_snapshot()
        for row, vehicle in zip(sample, vehicles):
            found = snapshot.find(vehicle.id)
            if found is not None:
                at = found.get_transform()
                row[:] = at.location.x, at.location.y, at.location.z, at.rotation.yaw
    seconds = time.perf_counter() - begin
    for sensor in sensors:
        sensor.stop()
    manager.set_synchronous_mode(False)
    poses[..., 3] = np.radians(poses[..., 3])
    return Drive(poses, widths, [vehicle.type_id for vehicle in vehicles], collisions, seconds)


@njit(cache=True)
def fit_lanes(origin, shape, starts, members, quads, lane, usable, backwards, points, half_width, best):
    """Driving lane that each vehicle keeps best.

    Args:
        origin, shape, starts, members, quads, lane: The town's `LaneGrid`.
        usable: (lanes,) whether vehicles drive there.
        backwards: (lanes,) whether traffic runs against the order of the quads.
        points: (N, 4) x, y, z and yaw.
        half_width: (N,) metres.
        best: (N, 4) out: lane or -1, overhang to the driver's left and right (metres, negative inside), lane width.
    """
    nx, ny = shape
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        best[n, 0] = -1.0
        least = LOST_M
        if np.isnan(x):
            continue
        cos, sin = np.cos(points[n, 3]), np.sin(points[n, 3])
        cx, cy = int((x - origin[0]) // CELL), int((y - origin[1]) // CELL)
        for ix in range(max(cx - 1, 0), min(cx + 2, nx)):
            for iy in range(max(cy - 1, 0), min(cy + 2, ny)):
                cell = ix * ny + iy
                for m in range(starts[cell], starts[cell + 1]):
                    q = members[m]
                    if not usable[lane[q]]:
                        continue
                    ax, ay = 0.5 * (quads[q, 0, 0] + quads[q, 1, 0]), 0.5 * (quads[q, 0, 1] + quads[q, 1, 1])
                    bx, by = 0.5 * (quads[q, 2, 0] + quads[q, 3, 0]), 0.5 * (quads[q, 2, 1] + quads[q, 3, 1])
                    length = np.hypot(bx - ax, by - ay)
                    if length < 1e-6 or abs(quads[q, 0, 2] - z) > 3.0:
                        continue
                    ux, uy = (bx - ax) / length, (by - ay) / length
                    along = (x - ax) * ux + (y - ay) * uy
                    # Beyond its ends by half a metre: on bends the quads' normals leave wedges.
                    if along < -0.5 or along > length + 0.5:
                        continue
                    share = min(max(along / length, 0.0), 1.0)
                    width0 = np.hypot(quads[q, 1, 0] - quads[q, 0, 0], quads[q, 1, 1] - quads[q, 0, 1])
                    width1 = np.hypot(quads[q, 2, 0] - quads[q, 3, 0], quads[q, 2, 1] - quads[q, 3, 1])
                    width = width0 * (1.0 - share) + width1 * share
                    sign = -1.0 if backwards[lane[q]] else 1.0
                    if sign * (ux * cos + uy * sin) < SAME_WAY:
                        continue
                    right = sign * (-(x - ax) * uy + (y - ay) * ux)
                    room = max(0.5 * width, half_width[n]) - half_width[n]
                    if abs(right) - room < least:
                        least = abs(right) - room
                        best[n, 0], best[n, 3] = lane[q], width
                        best[n, 1], best[n, 2] = -right - room, right - room


@dataclass(frozen=True)
class Departure:
    """The farthest that somebody was out of his lane.

    Attributes:
        metres: How far.
        vehicle: Column in `Drive.poses`.
        sample: Row in `Drive.poses`.
        lane: Index of the lane.
    """

    metres: float
    vehicle: int
    sample: int
    lane: int


def tight_bends(road_map: RoadMap) -> Floats:
    """(N, 2) places where a driving lane bends so tightly that Traffic Manager cuts it, metres."""
    places = [np.empty((0, 2))]
    for lane in road_map.lanes:
        steps = np.hypot(*np.diff(lane.center[:, :2], axis=0).T)
        turns = np.abs(np.diff(np.unwrap(lane.yaw)))
        if lane.type == "driving":
            places.append(lane.center[1:, :2][turns > np.maximum(steps, 0.2) / TIGHT_RADIUS_M])
    return np.concatenate(places)


def lanes_kept(road_map: RoadMap, drive: Drive) -> Floats:
    """(T, V, 4) lane that each vehicle keeps best or -1, overhang to the left and right and the lane's width, metres."""
    grid = road_map.lane_grid
    usable = np.array([lane.type == "driving" for lane in road_map.lanes])
    backwards = np.array([not lane.forward for lane in road_map.lanes])
    samples, count = drive.poses.shape[:2]
    found = np.empty((samples * count, 4))
    widths = np.ascontiguousarray(np.broadcast_to(drive.half_width, (samples, count))).reshape(-1)
    fit_lanes(
        *(grid.origin, grid.shape, grid.starts, grid.members, np.ascontiguousarray(grid.quads), grid.lane),
        *(usable, backwards, drive.poses.reshape(-1, 4), widths, found),
    )
    return found.reshape(samples, count, 4)


def departures(road_map: RoadMap, drive: Drive, found: Floats, tight: bool = False) -> list[Departure]:
    """The worst departure of every vehicle from its lane, worst first; see the top of this module for what counts.

    Args:
        road_map: The town.
        drive: Poses.
        found: What `lanes_kept` says of them.
        tight: Whether to look near tight bends, or everywhere else.
    """
    bends = tight_bends(road_map)
    near = np.zeros(drive.poses.shape[:2], np.bool_)
    if len(bends):
        places = np.nan_to_num(drive.poses[..., :2], nan=1e9)
        near = nearest.tree(bends).query(places, distance_upper_bound=TIGHT_REACH_M)[0] < TIGHT_REACH_M
    worst = []
    for vehicle in range(drive.poses.shape[1]):
        lanes = found[:, vehicle, 0].astype(int)
        out = _excused(road_map, drive.poses[:, vehicle], lanes, found[:, vehicle, 1:3].copy())
        sides = out.max(axis=1)
        sides[lanes < 0] = np.where(np.isnan(drive.poses[lanes < 0, vehicle, 0]), 0.0, LOST_M)
        sides[near[:, vehicle] != tight] = 0.0
        sample = int(sides.argmax())
        worst.append(Departure(float(max(sides[sample], 0.0)), vehicle, sample, int(lanes[sample])))
    return sorted(worst, key=lambda row: -row.metres)


def _excused(road_map: RoadMap, poses: Floats, lanes: NDArray[np.int64], out: Floats) -> Floats:
    """Overhangs (T, 2) left and right of one vehicle without those that belong to a lane change."""
    moved = np.hypot(*np.diff(poses[:, :2], axis=0).T)
    travelled = np.concatenate(([0.0], np.cumsum(np.nan_to_num(moved))))
    for at in np.flatnonzero(lanes[1:] != lanes[:-1]) + 1:
        before, after = int(lanes[at - 1]), int(lanes[at])
        side = _side_taken(road_map, before, after)
        if side is None:
            continue
        near = np.abs(travelled - travelled[at]) < LANE_CHANGE_REACH_M
        earlier = np.arange(len(lanes)) < at
        out[near & earlier, side] = -1.0
        out[near & ~earlier, 1 - side] = -1.0
    for index in set(lanes[lanes >= 0].tolist()):
        for side, beside in enumerate((road_map.lanes[index].left, road_map.lanes[index].right)):
            if beside >= 0 and _tapers(road_map, index, beside):
                out[lanes == index, side] = -1.0
    return out


def _tapers(road_map: RoadMap, index: int, beside: int) -> bool:
    """Whether a neighbour is a driving lane of the same direction that begins or ends, or the lane itself does."""
    lane, other = road_map.lanes[index], road_map.lanes[beside]
    same = other.type == "driving" and lane.forward == other.forward
    return same and min(lane.width.min(), other.width.min()) < TAPER_WIDTH_M


def _side_taken(road_map: RoadMap, before: int, after: int) -> int | None:
    """0 if going from one lane to another is a change to the left, 1 to the right, None if it is none."""
    if before < 0 or after < 0:
        return None
    lanes = road_map.lanes
    if after in lanes[before].successors:
        return None
    starts = (before, *lanes[before].successors)
    for side in (0, 1):
        beside = [lanes[index].left if side == 0 else lanes[index].right for index in starts]
        reached = [index for index in beside if index >= 0 and lanes[index].type == "driving"]
        reached += [successor for index in reached for successor in lanes[index].successors]
        parallel = lanes[after].junction < 0 or lanes[after].key.road == lanes[before].key.road
        if after in reached and parallel:
            return side
    return None


def stuck(drive: Drive) -> list[tuple[int, float]]:
    """Vehicles that stood still too long, with the seconds of their longest stand, longest first."""
    seconds = SAMPLE_TICKS * STEP_S
    found = []
    for vehicle in range(drive.poses.shape[1]):
        here = drive.poses[~np.isnan(drive.poses[:, vehicle, 0]), vehicle, :2]
        longest, anchor, since = 0.0, here[0], 0
        for sample, place in enumerate(here[::5]):
            if np.hypot(*(place - anchor)) > STUCK_MOVE_M:
                anchor, since = place, sample
            longest = max(longest, (sample - since) * 5 * seconds)
        found.append((vehicle, longest))
    return sorted(found, key=lambda row: -row[1])


def junction_stands(road_map: RoadMap, drive: Drive, found: Floats) -> list[tuple[int, float, float]]:
    """Longest time in which nobody left each junction though somebody waited, and when that was over; longest first.

    Args:
        road_map: The town.
        drive: Poses.
        found: What `lanes_kept` says of them.

    Returns:
        Junction, seconds, seconds since the beginning.
    """
    step = SAMPLE_TICKS * STEP_S
    second = round(1.0 / step)
    lane = found[..., 0].astype(int)
    inside = np.where(lane >= 0, np.array([row.junction for row in road_map.lanes])[lane], -1)
    moved = np.full(lane.shape, np.inf)
    moved[second:] = np.hypot(*np.moveaxis(drive.poses[second:, :, :2] - drive.poses[:-second, :, :2], 2, 0))
    ahead = np.array([next((road_map.lanes[k].junction for k in row.successors), -1) for row in road_map.lanes])
    ends = np.array([row.travel_center[-1, :2] for row in road_map.lanes])
    near = np.hypot(*np.moveaxis(drive.poses[..., :2] - ends[lane], 2, 0)) < WAITING_M
    before = np.where((lane >= 0) & near, ahead[lane], -1)
    still = moved < STANDING
    stands = []
    for junction in sorted(set(inside[inside >= 0].tolist())):
        waiting = (still & ((inside == junction) | (before == junction))).any(axis=1)
        left = np.zeros(len(waiting), np.bool_)
        left[1:] = ((inside[:-1] == junction) & (inside[1:] != junction) & (lane[1:] >= 0)).any(axis=1)
        run, longest, end = 0, 0, 0
        for sample, stuck_now in enumerate(waiting & ~left):
            run = run + 1 if stuck_now else 0
            if run > longest:
                longest, end = run, sample
        stands.append((junction, longest * step, end * step))
    return sorted(stands, key=lambda row: -row[1])


def report(road_map: RoadMap, drive: Drive) -> dict[str, Any]:
    """What happened during a drive, as JSON holds it."""
    found = lanes_kept(road_map, drive)
    worst, cut = departures(road_map, drive, found), departures(road_map, drive, found, tight=True)
    stands, junctions = stuck(drive), junction_stands(road_map, drive, found)
    gone = int(np.isnan(drive.poses[-1, :, 0]).sum())
    moved = np.nansum(np.hypot(*np.moveaxis(np.diff(drive.poses[..., :2], axis=0), 2, 0)), axis=0)

    def place(vehicle: int, sample: int) -> str:
        x, y, z, _ = drive.poses[sample, vehicle].tolist()
        under = road_map.locate(x, y, z)
        lane = "off the network" if under is None else f"road {under.lane.key.road} lane {under.lane.key.lane}"
        if under is not None and under.lane.junction >= 0:
            lane += f" junction {under.lane.junction}"
        return f"{drive.names[vehicle]} at ({x:.1f}, {y:.1f}) {lane}"

    def last(vehicle: int) -> int:
        return int(np.flatnonzero(~np.isnan(drive.poses[:, vehicle, 0]))[-1])

    return {
        "vehicles": len(drive.names),
        "minutes": round(drive.poses.shape[0] * SAMPLE_TICKS * STEP_S / 60.0, 2),
        "mean_km": round(float(moved.mean()) / 1000.0, 3),
        "removed": gone,
        "collisions": len(drive.collisions),
        "collision_places": drive.collisions[:10],
        "stuck": sum(seconds >= STUCK_TIME_S for _, seconds in stands),
        "longest_stand_s": round(stands[0][1], 1),
        "stuck_places": [place(vehicle, last(vehicle)) for vehicle, seconds in stands if seconds >= STUCK_TIME_S][:10],
        "stuck_junctions": sum(seconds >= STUCK_JUNCTION_S for _, seconds, _ in junctions),
        "longest_junction_stand_s": round(max((seconds for _, seconds, _ in junctions), default=0.0), 1),
        "stuck_junction_places": [
            f"junction {junction} for {seconds:.0f} s until {end:.0f} s"
            for junction, seconds, end in junctions
            if seconds >= STUCK_JUNCTION_S
        ][:10],
        "worst_departure_m": round(worst[0].metres, 2),
        "departures_over_half_metre": sum(row.metres > 0.5 for row in worst),
        "departure_places": [
            f"{row.metres:.2f} m: {place(row.vehicle, row.sample)} after {row.sample * SAMPLE_TICKS * STEP_S:.0f} s"
            for row in worst[:8]
        ],
        "worst_departure_at_tight_bends_m": round(cut[0].metres, 2),
        "ticks_per_s": round(drive.poses.shape[0] * SAMPLE_TICKS / drive.seconds),
    }
