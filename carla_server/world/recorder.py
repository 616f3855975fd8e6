"""Writes down what happens in a world, and plays it back."""

from __future__ import annotations

import bisect
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carla_server.wire import recording
from carla_server.wire.recording import CM, NO_ACTOR, ActorType, Added, Frame, Packet
from carla_server.wire.values import Description, Pose
from carla_server.world import motion
from carla_server.world.actors import Actor
from carla_server.world.state import Floats, Kind

if TYPE_CHECKING:
    from carla_server.world.world import World

log = logging.getLogger(__name__)

_TYPES = {Kind.VEHICLE: ActorType.VEHICLE, Kind.WALKER: ActorType.WALKER, Kind.LIGHT: ActorType.TRAFFIC_LIGHT}
#: Lights of the town are found again by their place, metres.
SAME_PLACE = 0.1
#: Where the spectator looks from at a replayed actor unless the client says otherwise: x, y, z in metres, pitch.
FOLLOW_FROM = Pose(-10.0, 0.0, 6.0, -20.0, 0.0, 0.0)


def _place(pose: Pose) -> tuple[float, ...]:
    return (pose.x * CM, pose.y * CM, pose.z * CM, pose.roll, pose.pitch, pose.yaw)


class Recorder:
    """Writes one file, a frame per tick.

    Args:
        world: What is recorded; its present actors open the file.
        path: The file; its folder is made if need be.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, world: World, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._world = world
        self._file = path.open("wb")
        self._file.write(recording.pack_head(recording.Head(f"Carla/Maps/{world.road_map.name}", int(time.time()))))
        self._known: dict[int, Actor] = {}
        self._began, self._number, self._contacts = world.elapsed, 0, 0

    def write(self, step: float) -> None:
        """Append the present state, which lasts for `step` seconds."""
        self._number += 1
        frame = Frame(self._number, step, self._world.elapsed - self._began)
        self._note_actors(frame)
        self._note_contacts(frame)
        self._note_states(frame)
        self._file.write(recording.pack_frame(frame))

    def flush(self) -> None:
        """Bring what was written to the file."""
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _note_actors(self, frame: Frame) -> None:
        actors = self._world.actors
        fresh = [actor for number, actor in actors.items() if number not in self._known]
        gone = [number for number in self._known if number not in actors]
        for actor in fresh:
            pairs = tuple((kind, name, content) for name, kind, content in actor.description[2])
            kind = _TYPES.get(actor.kind, ActorType.OTHER)
            place = _place(self._world.pose(actor))
            frame.added.append(Added(actor.id, kind, place, actor.description[0], actor.type_id, pairs))
        if gone:
            frame.rows[Packet.DELETE] = np.array([(number,) for number in gone], recording.ROWS[Packet.DELETE])
        carried = [(actor.id, actor.parent.id) for actor in fresh if actor.parent is not None]
        if carried:
            frame.rows[Packet.PARENT] = np.array(carried, recording.ROWS[Packet.PARENT])
        if fresh or gone:
            self._known = dict(actors)

    def _note_contacts(self, frame: Frame) -> None:
        world = self._world
        rows = []
        for row, other, *_ in world.touched.tolist():
            pair = [world.id_of_row[int(index)] if index >= 0 else NO_ACTOR for index in (row, other)]
            heroes = [
                number in world.actors and world.actors[number].attributes.get("role_name") == "hero" for number in pair
            ]
            rows.append((self._contacts, *pair, *heroes))
            self._contacts += 1
        if rows:
            frame.rows[Packet.COLLISION] = np.array(rows, recording.ROWS[Packet.COLLISION])

    def _note_states(self, frame: Frame) -> None:
        world = self._world
        rows, wire = world.rows, world.rows.wire
        moving = (Kind.VEHICLE, Kind.WALKER, Kind.PROP)
        placed = [actor for actor in world.actors.values() if actor.kind in moving or actor is world.spectator]
        positions = np.empty(len(placed), recording.ROWS[Packet.POSITION])
        poses = rows.motion[[actor.row for actor in placed], :6]
        positions["id"] = [actor.id for actor in placed]
        positions["location"], positions["rotation"] = poses[:, :3] * CM, poses[:, [5, 3, 4]]
        lights = [actor for actor in world.actors.values() if actor.kind is Kind.LIGHT]
        vehicles = [actor for actor in placed if actor.kind is Kind.VEHICLE]
        walkers = [actor for actor in placed if actor.kind is Kind.WALKER]
        at = [actor.row for actor in vehicles]
        controls = wire["controls"][at].tolist()
        pedals = zip(vehicles, controls, wire["hand_brake"][at].tolist(), wire["gear"][at].tolist())
        speeds = np.hypot(*rows.motion[[actor.row for actor in walkers], 6:8].T).tolist()
        found: dict[Packet, Any] = {
            Packet.POSITION: positions,
            Packet.LIGHT_STATE: [
                (actor.id, bool(wire["frozen"][actor.row]), wire["elapsed"][actor.row], wire["lamp"][actor.row])
                for actor in lights
            ],
            Packet.VEHICLE: [
                (actor.id, steer, throttle, brake, hand_brake, gear)
                for actor, (throttle, steer, brake), hand_brake, gear in pedals
            ],
            Packet.WALKER: [(actor.id, speed) for actor, speed in zip(walkers, speeds)],
            Packet.VEHICLE_LIGHTS: [(actor.id, actor.lights) for actor in vehicles],
        }
        frame.rows.update({kind: np.array(part, recording.ROWS[kind]) for kind, part in found.items() if len(part)})


class Replayer:
    """Plays frames of a recording in a world.

    Args:
        world: Where they are played; on the recording's town.
        frames: What is played.
        start: Where to begin, seconds; negative counts from the end.
        duration: How long to play, seconds; 0 plays to the end.
        follow: Recorded number of the actor that the spectator follows, 0 for none.
        sensors: Whether recorded sensors are spawned again.
        view: Where the spectator stands in the frame of the followed actor.
        options: What `set_replayer_…` has set.
    """

    def __init__(
        self,
        world: World,
        frames: list[Frame],
        start: float = 0.0,
        duration: float = 0.0,
        follow: int = 0,
        sensors: bool = False,
        view: Pose = FOLLOW_FROM,
        options: ReplayOptions | None = None,
    ) -> None:
        self._world = world
        self._frames = frames
        self._times = [frame.elapsed for frame in frames]
        self.total = frames[-1].elapsed
        self.start = max(0.0, self.total + start) if start < 0.0 else min(start, self.total)
        self.stop = min(self.total, self.start + duration) if duration > 0.0 else self.total
        self._follow, self._sensors, self._view = follow, sensors, view
        self.options = options or ReplayOptions()
        self._now = self.start
        self._next = 0
        self._mapped: dict[int, Actor] = {}

    @property
    def done(self) -> bool:
        """Whether the end was reached."""
        return self._now >= self.stop

    def advance(self, step: float) -> None:
        """Bring actors to where they were `step` later (times the time factor)."""
        self._now = min(self.stop, self._now + step * self.options.factor)
        last = max(bisect.bisect_right(self._times, self._now + 1e-6) - 1, 0)
        while self._next <= last:
            self._events(self._frames[self._next])
            self._next += 1
        frame, after = self._frames[last], self._frames[min(last + 1, len(self._frames) - 1)]
        share = (self._now - frame.elapsed) / frame.duration if frame.duration > 0.0 else 0.0
        self._move(frame, after, min(max(share, 0.0), 1.0))
        self._control(frame)
        followed = self._playing(self._follow)
        if followed is not None and not self.options.ignore_spectator:
            seen_from = motion.compose(np.array(self._world.pose(followed)), np.array(self._view))
            self._world.place(self._world.spectator, Pose(*seen_from.tolist()))

    def _playing(self, number: int) -> Actor | None:
        """The actor that plays a recorded one; None if nobody does, or it was destroyed meanwhile."""
        actor = self._mapped.get(number)
        return actor if actor is not None and self._world.actors.get(actor.id) is actor else None

    def show_lights(self) -> None:
        """Set the traffic lights as they were."""
        frame = self._frames[max(self._next - 1, 0)]
        for number, frozen, elapsed, state in frame.rows.get(Packet.LIGHT_STATE, np.empty(0)).tolist():
            actor = self._mapped.get(number)
            if actor is not None and actor.kind is Kind.LIGHT:
                wire = self._world.rows.wire
                wire["lamp"][actor.row], wire["elapsed"][actor.row], wire["frozen"][actor.row] = state, elapsed, frozen

    def release(self, keep: bool) -> None:
        """End: the actors stay and move by themselves again, or go."""
        for actor in self._mapped.values():
            if self._world.actors.get(actor.id) is not actor or actor.kind not in (Kind.VEHICLE, Kind.WALKER):
                continue
            if keep:
                self._world.simulate(actor, True)
            else:
                self._world.destroy(actor.id)

    def _events(self, frame: Frame) -> None:
        for row in frame.added:
            actor = self._actor_for(row)
            if actor is not None:
                self._mapped[row.id] = actor
        for (number,) in frame.rows.get(Packet.DELETE, np.empty(0)).tolist():
            actor = self._mapped.pop(number, None)
            if actor is not None and actor.kind not in (Kind.LIGHT, Kind.SIGN):
                self._world.destroy(actor.id)

    def _actor_for(self, row: Added) -> Actor | None:
        """The actor that plays a recorded one: one that is there already, or a new one; None if it is not played."""
        world = self._world
        x, y, z, roll, pitch, yaw = row.place
        pose = Pose(x / CM, y / CM, z / CM, pitch, yaw, roll)
        if row.type_id == "spectator":
            return None if self.options.ignore_spectator else world.spectator
        if row.type_id.startswith("traffic."):
            return next(
                (
                    actor
                    for actor in world.signal_actors.values()
                    if max(abs(a - b) for a, b in zip(world.pose(actor)[:3], pose[:3])) < SAME_PLACE
                ),
                None,
            )
        hero = any(name == "role_name" and content == "hero" for _, name, content in row.attributes)
        sensor = row.type_id.startswith(("sensor.", "controller."))
        if (hero and self.options.ignore_hero) or (sensor and not self._sensors):
            return None
        there = world.actors.get(row.id)
        if there is None or there.type_id != row.type_id:
            attributes = [[name, kind, content] for kind, name, content in row.attributes]
            try:
                there = world.spawn(Description(row.uid, row.type_id, attributes), pose, forced=True)
            except (RuntimeError, ValueError) as error:  # of another server, or one actor too many
                log.warning("the recorded actor %d (%s) is not played: %s", row.id, row.type_id, error)
                return None
        world.simulate(there, False)
        return there

    def _move(self, frame: Frame, after: Frame, share: float) -> None:
        world = self._world
        positions: Any = frame.rows.get(Packet.POSITION, ())
        coming: Any = after.rows.get(Packet.POSITION, ())
        later = {row["id"]: row for row in coming}
        for row in positions:
            actor = self._playing(int(row["id"]))
            if actor is None:
                continue
            place, turn = _between(row, later.get(row["id"], row), share)
            pose = Pose(*place.tolist(), *turn[[1, 2, 0]].tolist())
            if actor is world.spectator:
                world.place(actor, pose)
            else:
                world.lead(actor, pose)

    def _control(self, frame: Frame) -> None:
        wire = self._world.rows.wire
        for number, steer, throttle, brake, hand_brake, gear in frame.rows.get(Packet.VEHICLE, np.empty(0)).tolist():
            actor = self._playing(number)
            if actor is not None and actor.kind is Kind.VEHICLE:
                wire["controls"][actor.row] = throttle, steer, brake
                wire["hand_brake"][actor.row], wire["gear"][actor.row] = hand_brake, gear
                wire["reverse"][actor.row] = gear < 0
        for number, flags in frame.rows.get(Packet.VEHICLE_LIGHTS, np.empty(0)).tolist():
            if number in self._mapped:
                self._mapped[number].lights = flags


class ReplayOptions:
    """What a client sets before or during a replay.

    Attributes:
        factor: Replayed seconds per simulated second.
        ignore_hero: Whether the recorded ego vehicle is left out.
        ignore_spectator: Whether the spectator stays where the client puts it.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self.ignore_hero = False
        self.ignore_spectator = True


def _between(row: Any, later: Any, share: float) -> tuple[Floats, Floats]:
    """Location in metres and (roll, pitch, yaw) in degrees at a share of the way between two positions."""
    place = row["location"] + share * (later["location"] - row["location"]).astype(np.float64)
    turn = np.mod(later["rotation"] - row["rotation"] + 180.0, 360.0) - 180.0
    return place / CM, row["rotation"] + share * turn.astype(np.float64)
