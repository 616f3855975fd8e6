"""The ways to dream: speed changes, crashes and lane changes. Each mode is one function of a scene and a random generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_generation.dreaming.corrections import DreamCorrection
from dataset_generation.dreaming.realism import Dream
from dataset_generation.dreaming.rollout import STEPS, SpeedCommand, reach
from dataset_generation.dreaming.scene import Scene
from dataset_generation.language_labels.projection import ImageRegion, is_in_image
from dataset_generation.language_labels.route_data import LabelFailure
from driving.records import CarBox, LandmarkBox, PlacedBox, StaticBox, WalkerBox
from driving.route import resample_path

Array = NDArray[np.float64]

FULL_TARGET_SHARE = 0.6
MAX_TARGET_SPEED = 35.0
STOP_THRESHOLD = 0.01

CRASH_REGION = ImageRegion(max_v=384.0)
CRASH_AHEAD_M = 3.0
CRASH_ROUTE_DISTANCE_M = 7.0
CRASH_WALKER_DISTANCE_M = 40.0
CRASH_SIGN_DISTANCE_M = 20.0
CRASH_APART_M = 1.0
CRASH_GAP_POINTS = 7
COPIED_FIELDS = ("class", "name", "color_rgb", "type_id", "distance", "id", "position")

LEFT_ALLOWED, RIGHT_ALLOWED = (2, 3), (1, 3)
LANE_CHANGE_COMMANDS = (5, 6)
JUNCTION_DISTANCE_M = 10.0
LANE_CHANGE_TRIES = 6
"""How often start and length of a lane change are drawn before no car can be said to drive it."""


@dataclass
class Option:
    """One alternative future before it is put into words.

    Attributes:
        mode: Name in the file.
        dream: The forecast.
        path: Ego-frame path that was followed, or None for the expert's.
        info: What was asked for and what came out, in the order of the file.
        allowed: Whether traffic rules permit it.
    """

    mode: str
    dream: Dream
    path: Array | None
    info: dict[str, Any] = field(default_factory=dict)
    allowed: bool = True


def target_speed(scene: Scene, draws: Random) -> Iterator[Option]:
    """Drive at a given speed, and from there stop."""
    if draws.uniform(0, 1) < FULL_TARGET_SHARE:
        target = round(draws.uniform(0, MAX_TARGET_SPEED), 1)
    else:
        target = round(draws.uniform(0.6 * scene.speed, 1.4 * scene.speed), 1)
    yield _with_target(scene, "target_speed", target)
    if target > STOP_THRESHOLD:
        yield _with_target(scene, "stop", 0)


def _with_target(scene: Scene, mode: str, target: float) -> Option:
    dream = scene.forecast(scene.route, SpeedCommand.SPEEDS, target)
    info = {"target_speed": target, "final_speed": dream.final_speed, "current_speed": scene.measurement.speed}
    return Option(mode, dream, None, info)


def _with_factor(scene: Scene, mode: str, factor: float) -> Option:
    dream = scene.forecast(scene.route, SpeedCommand.SPEEDS, factor * scene.expert.speed)
    info = {"final_speed": dream.final_speed, "factor": factor, "current_speed": scene.measurement.speed}
    return Option(mode, dream, None, info)


def faster_factor(scene: Scene, draws: Random) -> Iterator[Option]:
    """The expert's speeds times a factor above one."""
    yield _with_factor(scene, "faster_factor", draws.uniform(1.1, 1.5))


THROTTLE_RANGES = ((0.5, 0.7), (0.7, 0.85), (0.85, 1.0))


def faster(scene: Scene, draws: Random) -> Iterator[Option]:
    """A constant throttle of one of three rates."""
    rate = draws.randint(0, 2)
    throttle = draws.uniform(*THROTTLE_RANGES[rate])
    dream = scene.forecast(scene.route, SpeedCommand.THROTTLE, throttle)
    info = {"final_speed": dream.final_speed, "desired_throttle": throttle, "rate": rate}
    yield Option("faster", dream, None, {**info, "current_speed": scene.measurement.speed})


def slower_factor(scene: Scene, draws: Random) -> Iterator[Option]:
    """The expert's speeds times a factor below one."""
    yield _with_factor(scene, "slower_factor", draws.uniform(0.3, 0.9))


DECELERATIONS = (0.8, 3.0)
"""Range of the deceleration that `slower` asks for in the corrected profile, m/s²."""


def slower(scene: Scene, draws: Random) -> Iterator[Option]:
    """Lose speed: random braking in the published profile, an even deceleration in the corrected one."""
    rate = draws.randint(2, 2)
    info: dict[str, Any]
    if DreamCorrection.SMOOTH_SLOWING in scene.corrections:
        deceleration = draws.uniform(*DECELERATIONS)
        speeds = np.maximum(scene.speed - deceleration * 0.05 * np.arange(1, STEPS + 1), 0.0)
        dream = scene.forecast(scene.route, SpeedCommand.SPEEDS, speeds)
        info = {"final_speed": dream.final_speed, "deceleration": deceleration, "rate": rate}
    else:
        probability = draws.uniform(0.3, 0.35 if scene.speed < 12 else 0.6)
        pulses = np.array([float(draws.random() < probability) for _ in range(STEPS)])
        dream = scene.forecast(scene.route, SpeedCommand.PULSES, pulses)
        info = {"final_speed": dream.final_speed, "brake_probability": probability, "rate": rate}
    yield Option("slower", dream, None, {**info, "current_speed": scene.measurement.speed})


@dataclass(frozen=True)
class Hit:
    """A place and time at which an object can be hit.

    Attributes:
        frames: Recorded frames from now.
        position: (x, y, z) there, ego frame of now, metres.
        distance: In the plane, metres.
        box: The object as recorded at that time.
    """

    frames: int
    position: tuple[float, float, float]
    distance: float
    box: PlacedBox

    @property
    def extent(self) -> Sequence[float] | None:
        """Half sizes, metres; None for landmarks, whose record has none."""
        return None if isinstance(self.box, LandmarkBox) else self.box.extent


def crash(scene: Scene, draws: Random) -> Iterator[Option]:
    """Drive into each object that can be reached."""
    route = scene.route.copy()
    if not len(route):
        return
    dynamic, static = crash_objects(scene)
    for agent in dynamic:
        hits = _moving_hits(scene, agent)
        if hits is not None:
            yield from _crash_into(scene, hits, route, draws)
    for box in static:
        distance = math.hypot(*box.position[:2])
        place = (box.position[0], box.position[1], box.position[2])
        yield from _crash_into(scene, [Hit(k, place, distance, box) for k in range(2, 10)], route, draws)


def crash_objects(scene: Scene) -> tuple[list[CarBox | WalkerBox], list[PlacedBox]]:
    """Objects ahead, seen and near the route: agents, and things that stand. None within a metre of one before it."""
    moving: list[CarBox | WalkerBox] = []
    standing: list[PlacedBox] = []
    for box in scene.now.boxes:
        if not isinstance(box, PlacedBox) or box.position[0] < CRASH_AHEAD_M or not is_in_image(box, CRASH_REGION):
            continue
        is_agent = isinstance(box, CarBox) or (isinstance(box, WalkerBox) and box.distance < CRASH_WALKER_DISTANCE_M)
        if not (is_agent or _is_thing(box)):
            continue
        place = box.position[:2]
        if np.min(np.hypot(*(scene.route - place).T)) >= CRASH_ROUTE_DISTANCE_M:
            continue
        if any(math.dist(place, other.position[:2]) < CRASH_APART_M for other in [*moving, *standing]):
            continue
        if isinstance(box, (CarBox, WalkerBox)):
            moving.append(box)
        else:
            standing.append(box)
    return moving, standing


def _is_thing(box: PlacedBox) -> bool:
    """Whether something that stands may be driven into."""
    if isinstance(box, StaticBox):
        return "dirtdebris" not in box.type_id
    if isinstance(box, LandmarkBox):
        return True
    return "_vqa" in box.box_class and box.distance < CRASH_SIGN_DISTANCE_M


def _moving_hits(scene: Scene, box: CarBox | WalkerBox) -> list[Hit] | None:
    """Where an agent can be met; None when it has no record after this frame.

    Raises:
        LabelFailure: In the published profile, when the record that is looked up is too short.
    """
    agent = next(agent for agent in scene.agents if agent.box is box)
    if agent.follower_id is None:
        return None
    aligned = DreamCorrection.CRASH_TIME in scene.corrections
    replay = agent
    if DreamCorrection.WALKER_IDENTITY not in scene.corrections:
        replay = next((other for other in scene.agents if other.id == agent.follower_id), agent)
    hits = []
    for index in range(2, len(agent.sightings) - 1):
        at = index + 1 if aligned else index
        lost = at >= len(replay.position)
        if lost and DreamCorrection.FRAME_ABORT not in scene.corrections:
            raise LabelFailure("the record of an agent is too short")
        if lost or replay.position[at, 0] <= CRASH_AHEAD_M:
            continue
        x, y, z = (float(value) for value in replay.position[at])
        hits.append(Hit(index + 1, (x, y, z), math.hypot(x, y), replay.sightings[index + 1][0]))
    return hits


def _crash_into(scene: Scene, hits: list[Hit], route: Array, draws: Random) -> Iterator[Option]:
    remaining = list(range(len(hits)))
    ego_extent = scene.now.ego_car.extent
    while remaining:
        choice = draws.choice(remaining)
        remaining.remove(choice)
        hit = hits[choice]
        distance = hit.distance
        if hit.extent is not None:
            side = 0 if abs(hit.box.position[1]) < 1 else 1
            distance = max(0.0, distance - hit.extent[side] - ego_extent[side])
        nearest, farthest = reach(scene.measurement.speed, 5 * hit.frames)
        if nearest <= distance <= farthest:
            option = _crash_option(scene, hit, distance, route)
            if scene.is_drivable(option.dream):
                yield option
                return
            scene.redrawn["crash"] += 1


def _crash_option(scene: Scene, hit: Hit, distance: float, route: Array) -> Option:
    if DreamCorrection.CRASH_TIME in scene.corrections:
        target = distance / (0.25 * hit.frames)
    else:
        target = distance / (0.2 * hit.frames) + 0.5
    edited = route.copy() if DreamCorrection.ROUTE_EDIT in scene.corrections else route
    path = resample_path(crash_path(edited, np.array(hit.position[:2])))
    dream = scene.forecast(path, SpeedCommand.SPEEDS, target)
    raw = hit.box.source if hit.box.source is not None else hit.box.to_dict()
    info: dict[str, Any] = {
        "target_speed": round(target, 3),
        "crash_position": [round(value, 3) for value in hit.position],
        "type": object_type(hit.box),
    }
    info.update({name: raw[name] for name in COPIED_FIELDS if name in raw})
    return Option("crash", dream, path, info)


def object_type(box: PlacedBox) -> str:
    """What an object is called in the files: blueprint, mesh, name of the landmark, or class."""
    type_id = getattr(box, "type_id", None)
    if type_id is not None:
        return f"mesh:{box.mesh_path}" if isinstance(box, StaticBox) and type_id == "static.prop.mesh" else str(type_id)
    return str(getattr(box, "name", box.box_class))


def crash_path(route: Array, place: Array) -> Array:
    """Leave the route seven points before the place nearest to an object, go straight there, and come back as late.

    Args:
        route: (N, 2) ego frame, metres. When the object is nearer than seven points the first point, if it lies more than
            2 m to a side, is moved in front of the ego, in ``route`` itself.
        place: (2,) where the object is hit.
    """
    nearest = int(np.argmin(np.linalg.norm(route - place, axis=1)))
    cut = nearest - CRASH_GAP_POINTS
    if cut >= 1:
        before = route[:cut]
    else:
        if abs(route[0, 1]) > 2:
            route[0, 1] = 0.0
        before = route[:1]
    after = route[nearest + CRASH_GAP_POINTS :] if nearest + CRASH_GAP_POINTS < len(route) else route[-1:]
    return np.concatenate([before, _line(before[-1], place), place[None], _line(place, after[0]), after])


def _line(start: Array, end: Array) -> Array:
    """Points from ``start`` towards ``end`` about a metre apart, without the end."""
    count = max(int(np.linalg.norm(end - start)), 1)
    return start + np.linspace(0, 1, count, endpoint=False)[:, None] * (end - start)


@dataclass(frozen=True)
class LaneOption:
    """A lane to change to: lanes to the right (negative: left) and what lies there."""

    offset: int
    kind: str

    @property
    def side(self) -> str:
        """`left` or `right`."""
        return "left" if self.offset < 0 else "right"


def lane_options(scene: Scene) -> list[LaneOption]:
    """Lanes that exist beside the ego's, from its own carriageway outwards to both sides."""
    ego = scene.now.ego
    number = ego.ego_lane_number
    options = [LaneOption(lane - number, "driving") for lane in range(ego.num_lanes_same_direction) if lane != number]
    outermost = max([option.offset for option in options] + [0])
    if ego.parking_right:
        outermost += 1
        options.append(LaneOption(outermost, "parking"))
    if ego.sidewalk_right:
        options.append(LaneOption(outermost + 1, "sidewalk"))
    if ego.num_lanes_opposite_direction > 0:
        options += [
            LaneOption(-(lane + 1 + number), "driving opposite") for lane in range(ego.num_lanes_opposite_direction)
        ]
        outermost = min(option.offset for option in options)
        if ego.parking_left:
            outermost -= 1
            options.append(LaneOption(outermost, "parking"))
        if ego.sidewalk_left:
            options.append(LaneOption(outermost - 1, "sidewalk"))
    return options


def lateral_shift(scene: Scene, option: LaneOption) -> float | None:
    """Sideways distance to a lane, metres, positive to the right; None when the record does not reach that far.

    A shoulder on the way counts to the lane behind it.
    """
    lanes = scene.now.ego.left_lanes if option.offset < 0 else scene.now.ego.right_lanes
    widths, shoulder = [], 0.0
    for lane in lanes:
        if lane.type == "Shoulder":
            shoulder += lane.width
        else:
            widths.append(lane.width + shoulder)
            shoulder = 0.0
    if len(widths) < abs(option.offset):
        return None
    return math.copysign(sum(widths[: abs(option.offset)]), option.offset)


def lane_change(scene: Scene, draws: Random) -> Iterator[Option]:
    """Change to each lane beside, where the road allows to speak of lanes."""
    ego, m = scene.now.ego, scene.measurement
    near = ego.distance_to_junction is not None and ego.distance_to_junction < JUNCTION_DISTANCE_M
    parked = ego.lane_type_str == "Parking"
    ends = len(scene.route) < 2
    if ends or scene.future_changed or parked or m.command in LANE_CHANGE_COMMANDS or ego.is_in_junction or near:
        return
    for option in lane_options(scene):
        shift = lateral_shift(scene, option)
        if shift is None:
            continue
        for _ in range(LANE_CHANGE_TRIES):
            change = _change_to(scene, option, shift, draws)
            if scene.is_drivable(change.dream):
                yield change
                break
            scene.redrawn["lane_change"] += 1


def _change_to(scene: Scene, option: LaneOption, shift: float, draws: Random) -> Option:
    horizon = 2 * scene.measurement.speed - 1
    start = draws.randint(0, max(int(horizon / 2), 5))
    transition = draws.randint(int(scene.measurement.speed / 2), max(int(horizon - start), 5))
    transition = min(transition, len(scene.route) - start - 2)
    path = resample_path(shifted_path(scene.route, start, transition, shift))
    dream = scene.forecast(path, SpeedCommand.EXPERT)
    permitted = scene.now.ego.lane_change in (LEFT_ALLOWED if option.offset < 0 else RIGHT_ALLOWED)
    # A parking lane on the left lies behind the oncoming lanes.
    oncoming = option.offset < 0 and option.kind != "driving"
    allowed = permitted and not oncoming and option.kind != "sidewalk"
    info = {
        "lane_change_direction": f"{abs(option.offset)} {option.side}",
        "lane_change_type": option.kind,
        "lane_change_in_transition_amount_meters": [start, transition, shift],
    }
    return Option("lane_change", dream, path, info, allowed)


def shifted_path(route: Array, start: int, transition: int, shift: float) -> Array:
    """A route that moves sideways.

    Args:
        route: (N, 2) ego frame, 1 m apart.
        start: Points before the move begins.
        transition: Points over which it happens; they are left out and bridged by a straight line.
        shift: Metres to the right.
    """
    end = start + transition
    steps = route[end + 1 :] - route[end:-1]
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    moved = route[end:-1] + shift * unit
    last = route[-1] + shift * normals[-1]
    if np.linalg.norm(last - moved[-1]) >= 1:
        moved = np.concatenate([moved, last[None]])
    return np.concatenate([route[:start], moved])


MODES: tuple[Callable[[Scene, Random], Iterator[Option]], ...] = (
    target_speed, faster_factor, faster, slower_factor, slower, crash, lane_change,
)  # fmt: skip
"""All ways to dream in the order in which they draw random numbers."""


def dream_options(scene: Scene, draws: Random) -> Iterator[Option]:
    """All alternative futures of a frame."""
    for mode in MODES:
        yield from mode(scene, draws)
