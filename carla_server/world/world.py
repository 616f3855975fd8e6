"""The simulated world of one server: an episode of actors on a town, advanced tick by tick.

One tick: pending controls are taken from one state, everything moves, contacts are resolved, lights change, then the
world state goes out and the sensors look. Nothing depends on wall time or on the order of unrelated calls, so equal
calls with an equal seed give equal bytes.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from carla_server import store
from carla_server.map import RoadMap, SignalKind
from carla_server.sensors.attributes import number as attribute_number
from carla_server.sensors.scene import Scene
from carla_server.sensors.views import LampState, Light, Tag, WeatherView
from carla_server.wire import streams
from carla_server.wire.values import Description, Pose, VehicleControl, clamp, number
from carla_server.world import contacts, kerbs, lights, motion
from carla_server.world.actors import Actor, Triple
from carla_server.world.blueprints import Blueprint, blueprint
from carla_server.world.ground import Ground
from carla_server.world.junctions import JunctionKeeper
from carla_server.world.kerbs import Kerbs
from carla_server.world.limits import SpeedLimits, places_at
from carla_server.world.recorder import Recorder, Replayer
from carla_server.world.sensing import Sensing
from carla_server.world.settings import Settings
from carla_server.world.state import (
    CENTER_X,
    FOOT,
    FRICTION,
    HALF_X,
    HALF_Z,
    LIMIT,
    MASS,
    POWER,
    REAR,
    SPEED,
    WHEELBASE,
    ActorRows,
    Kind,
    Turn,
)
from carla_server.world.stops import StopSigns
from carla_server.world.towns import TownLibrary

log = logging.getLogger(__name__)

SPAWN_COLLISION = "Spawn failed because of collision at spawn position"
#: More actors than any town holds; guards against runaway scripts.
MAX_ACTORS = 20_000
#: Rear axle to origin as share of the wheelbase: the published constants for the MKZ.
REAR_SHARE = motion.MODEL_REAR / motion.REFERENCE_WHEELBASE
#: Tyre friction of CARLA's vehicles; friction is counted relative to it.
TYRE_FRICTION = 3.5
#: Blueprint of the boxes in which tyres grip otherwise.
FRICTION_TRIGGER = "static.trigger.friction"
#: Speed limit where neither road nor sign gives one, km/h; CARLA's default.
DEFAULT_LIMIT_KMH = 30.0
#: Height of stop and yield signs' trigger boxes and their reach along the lane (half sizes), metres.
SIGN_REACH = 1.5
#: An actor that is led faster than this was put somewhere else, m/s.
GUIDED_TOP_SPEED = 60.0
#: Vegetation is hit at the trunk, not at the crown, metres.
TRUNK = 0.25

_CONTROL = struct.Struct("<fffBBBi")
_CONTROL_AT = streams.ACTOR_STATE.fields["controls"][1]  # type: ignore[index]
_SOLID_TAGS = frozenset(
    {
        *(Tag.BUILDINGS, Tag.WALLS, Tag.FENCES, Tag.POLES, Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGNS),
        *(Tag.VEGETATION, Tag.STATIC, Tag.DYNAMIC, Tag.OTHER, Tag.GUARD_RAIL, Tag.CAR, Tag.TRUCK, Tag.BUS),
    }
)
_FAMILY_KINDS = {"vehicle": Kind.VEHICLE, "walker": Kind.WALKER, "sensor": Kind.SENSOR}


class WorldError(RuntimeError):
    """Something a client asked for cannot be done; the message is for its user."""


class Publisher(Protocol):
    """Where data for clients go."""

    def wanted(self, stream: int) -> bool:
        """Whether anybody subscribed to a stream."""

    def send(self, stream: int, message: bytes) -> None:
        """Send a message to all subscribers of a stream."""

    def send_later(self, stream: int, header: bytes, measure: Any) -> None:
        """Send `header` + `measure()`, which may be computed on another thread."""


class World:
    """All state of a server.

    Args:
        library: Where towns come from.
        town: Name of the first town.
        publisher: Where data for clients go.
        seed: Of everything random.
        port: Streaming port, written into tokens.

    Raises:
        UnknownTownError: There is no such town.
        MapError: Its file is not usable.
    """

    def __init__(self, library: TownLibrary, town: str, publisher: Publisher, seed: int = 0, port: int = 2001) -> None:
        self.library = library
        self.publisher = publisher
        self.seed = seed
        self.port = port
        self.episode = 0
        self.frame = 0
        self.elapsed = 0.0
        self.settings = Settings()
        self.weather = WeatherView()
        self.recorder: Recorder | None = None
        self.replayer: Replayer | None = None
        self._next_stream = streams.WORLD_STREAM + 1
        self.load(town)

    # -- episodes -----------------------------------------------------------------------------------------------

    def load(self, town: str, reset_settings: bool = True) -> None:
        """Begin a new episode on a town.

        Raises:
            UnknownTownError: There is no such town; the present episode goes on.
            MapError: Its file is not usable; the present episode goes on.
        """
        self.begin(self.library.load(town), reset_settings)

    def begin(self, road_map: RoadMap, reset_settings: bool = True) -> None:
        """Begin a new episode on a road network."""
        # First of all: if this fails, the present episode goes on.
        built = scenery(road_map)
        self.record(None)
        self.replayer = None
        self.road_map = road_map
        self.scene, self.static_tags, self.statics, self.ground, self.kerbs, self.limits = built
        self.episode += 1
        self.elapsed = 0.0
        self._first_frame = self.frame
        self._next_actor = 1
        if reset_settings:
            self.settings = Settings()
        self.weather = WeatherView()
        self.gravity = motion.GRAVITY
        self.rows = ActorRows()
        self.actors: dict[int, Actor] = {}
        self.sensing = Sensing(self)
        self.contacts = np.empty((contacts.MAX_CONTACTS, contacts.CONTACT_COLUMNS))
        self.touched = self.contacts[:0]
        self.map_changed = True
        self._changed = True
        self._was_slippery = False
        self._guided: dict[int, tuple[float, ...]] = {}
        self.spectator = self._add("spectator", Kind.OTHER, Pose(0.0, 0.0, 10.0, 0.0, 0.0, 0.0))
        self._place_signals()
        self._index()

    def _place_signals(self) -> None:
        """Actors of the map: traffic lights, stop, yield and speed signs."""
        light_rows: dict[str, int] = {}
        self.signal_actors: dict[str, Actor] = {}
        for signal in self.road_map.signals.values():
            type_id = lights.signal_type_id(signal)
            if type_id is None:
                continue
            is_light = signal.kind is SignalKind.TRAFFIC_LIGHT
            x, y, z = signal.position.tolist()
            # Local x along the stop line, to the driver's left; local y in the direction of travel.
            yaw = math.degrees(signal.stop_yaw if signal.lanes else signal.yaw) - 90.0
            pose = Pose(x, y, z, 0.0, math.remainder(yaw, 360.0), 0.0)
            actor = self._add(type_id, Kind.LIGHT if is_light else Kind.SIGN, pose)
            actor.tag = Tag.TRAFFIC_LIGHT if is_light else Tag.TRAFFIC_SIGNS
            actor.signal_id = signal.id
            self.rows.wire["signal_id"][actor.row] = signal.id.encode()[:32]
            if signal.lanes:
                depth = lights.TRIGGER_DEPTH if is_light else 2 * SIGN_REACH
                box = lights.trigger_box(signal, actor.row, depth)
                self._set_trigger(actor, box)
            if is_light:
                light_rows[signal.id] = actor.row
            self.signal_actors[signal.id] = actor
        self.lights = lights.TrafficLights(self.road_map, light_rows, self.rows)
        self.stops = StopSigns(self.road_map)
        self.keeper = JunctionKeeper(self.road_map, light_rows)
        lanes = self.road_map.lanes
        self._lane_starts = np.array([lane.s[0] if lane.forward else lane.s[-1] for lane in lanes])

    def _set_trigger(self, actor: Actor, box: tuple[float, ...]) -> None:
        x, y, z, cos, sin, half_depth, half_width, _, half_height = box
        at = self.rows.motion[actor.row]
        dx, dy = x - at[0], y - at[1]
        # Local axes: x is the direction of travel turned by -90 degrees, y the direction of travel.
        actor.center = (float(dx * sin - dy * cos), float(dx * cos + dy * sin), float(z - at[2]) + 0.5)
        actor.extent = (half_width, half_depth, half_height / 2)

    # -- actors -------------------------------------------------------------------------------------------------

    def _add(self, type_id: str, kind: Kind, pose: Pose, description: list[Any] | None = None) -> Actor:
        actor_id = self._next_actor
        self._next_actor += 1
        row = self.rows.take(actor_id, kind)
        self.rows.put(row, pose)
        actor = Actor(actor_id, type_id, kind, row, description or [0, type_id, []], {})
        self.actors[actor_id] = actor
        self._changed = True
        return actor

    def actor(self, actor_id: int) -> Actor:
        """Look up an actor. Raises WorldError for an id that is not of this episode."""
        found = self.actors.get(actor_id)
        if found is None:
            raise WorldError(f"Actor could not be found in the registry. Actor Id: {actor_id}")
        return found

    def of_kind(self, actor_id: int, kind: Kind) -> Actor:
        """Look up an actor of a kind. Raises WorldError if there is none."""
        found = self.actor(actor_id)
        if found.kind is not kind:
            raise WorldError(f"actor {actor_id} ({found.type_id}) is no {kind.name.lower()}")
        return found

    def pose(self, actor: Actor) -> Pose:
        """Present world pose of an actor."""
        return Pose(*self.rows.motion[actor.row, :6].tolist())

    def spawn(self, what: Description, at: Pose, parent_id: int | None = None, forced: bool = False) -> Actor:
        """Spawn an actor.

        Args:
            what: Blueprint and attributes.
            at: World pose, or pose in the parent's frame.
            parent_id: Actor to fix it to.
            forced: Whether to spawn it even where another body is.

        Raises:
            WorldError: Unknown parent, occupied place, or too many actors.
            ValueError: Unknown blueprint, or an attribute that it cannot be spawned with.
        """
        kind_of = blueprint(what.type_id)
        if len(self.actors) >= MAX_ACTORS:
            raise WorldError(f"the world holds {MAX_ACTORS} actors already; destroy some before spawning more")
        parent = None if parent_id is None else self.actor(parent_id)
        pose = at if parent is None else Pose(*motion.compose(np.array(self.pose(parent)), np.array(at)).tolist())
        kind = _FAMILY_KINDS.get(kind_of.family, Kind.OTHER)
        if kind_of.id.startswith("static.prop."):
            kind = Kind.PROP
        attributes = {row.name: row.default for row in kind_of.attributes}
        attributes.update((name, content) for name, _, content in what.attributes)
        try:
            sensor = self.sensing.make(kind_of.id, attributes, self._next_actor)
            extent, center = _size(kind_of, attributes)
        except ValueError as error:
            raise ValueError(f"{kind_of.id}: {error}") from None
        if kind in (Kind.VEHICLE, Kind.WALKER) and parent is None and not forced:
            self._check_free(pose, extent, center)
        actor = self._add(kind_of.id, kind, pose, list(what))
        actor.attributes, actor.blueprint, actor.tag = attributes, kind_of, int(kind_of.tag)
        actor.extent, actor.center = extent, center
        actor.sensor = sensor
        if parent is not None:
            actor.parent, actor.relative = parent, at
            parent.children.append(actor.id)
        if kind is Kind.SENSOR and kind_of.id != "sensor.other.lane_invasion":
            actor.stream = self._next_stream
            self._next_stream += 1
            actor.token = streams.token(actor.stream, self.port)
        if kind in (Kind.VEHICLE, Kind.WALKER, Kind.PROP):
            self._embody(actor, kind_of, parent is not None)
        return actor

    def _embody(self, actor: Actor, kind_of: Blueprint, carried: bool) -> None:
        """Give an actor its body."""
        rows, row = self.rows, actor.row
        body = rows.body[row]
        body[HALF_X : HALF_Z + 1] = actor.extent
        body[CENTER_X : CENTER_X + 3] = actor.center
        body[MASS] = kind_of.mass if actor.kind is not Kind.PROP or kind_of.mass < 1.0 else _prop_mass(actor.extent)
        body[POWER], body[LIMIT], body[FRICTION] = kind_of.power, kind_of.top_speed, 1.0
        body[WHEELBASE] = kind_of.wheelbase
        body[REAR] = REAR_SHARE * kind_of.wheelbase
        body[FOOT] = actor.extent[2] if actor.kind is Kind.WALKER else 0.0
        rows.solid[row] = not carried
        rows.simulate[row] = not carried and actor.kind is not Kind.PROP
        if actor.kind is Kind.VEHICLE:
            rows.control[row] = (0.0, 0.0, 0.0, 0.0, 1.0, kind_of.top_speed)
            rows.wire["light_state"][row] = LampState.GREEN
            limit = self.limits.at(*rows.motion[row, :3].tolist())
            rows.wire["speed_limit"][row] = limit if limit is not None else DEFAULT_LIMIT_KMH

    def _check_free(self, pose: Pose, extent: tuple[float, ...], center: tuple[float, ...]) -> None:
        """Refuse a place where another body is."""
        rows = self.rows
        # Not the list of the last tick: to bring that up to date for each of many spawns takes too long.
        solids = np.flatnonzero(rows.solid[: rows.used])
        near = solids[(np.abs(rows.motion[solids, :3] - pose[:3]) < (20.0, 20.0, 8.0)).all(axis=1)]
        if len(near) == 0:
            return
        rotated = motion.compose(np.array(pose), np.array((*center, 0.0, 0.0, 0.0)))
        yaw = math.radians(pose.yaw)
        mine = np.array((*rotated[:3], math.cos(yaw), math.sin(yaw), *extent))
        other = np.empty(contacts.BOX_COLUMNS)
        for row in near:
            contacts.box_of(rows.motion, rows.body, row, other)
            if other[7] * 2.0 >= contacts.STEP_OVER and contacts.touching(mine, other)[0] > contacts.TOUCH:
                raise WorldError(SPAWN_COLLISION)

    def destroy(self, actor_id: int) -> bool:
        """Remove an actor and everything fixed to it; whether there was one.

        Raises:
            WorldError: It is a light or sign of the town: traffic goes on obeying it.
        """
        actor = self.actors.get(actor_id)
        if actor is None or actor is self.spectator:
            return False
        if actor.kind in (Kind.LIGHT, Kind.SIGN):
            raise WorldError(
                f"actor {actor_id} ({actor.type_id}) belongs to the town and cannot be destroyed; lights can be set and frozen"
            )
        if actor.parent is not None:
            actor.parent.children.remove(actor_id)
        doomed, waiting = [], [actor]
        while waiting:
            doomed.append(waiting.pop())
            waiting += [self.actors[child] for child in doomed[-1].children]
        for gone in reversed(doomed):
            del self.actors[gone.id]
            self._guided.pop(gone.row, None)
            self.rows.release(gone.row)
        self._changed = True
        return True

    def _index(self) -> None:
        """Refresh the lists of rows after actors came or went."""
        if not self._changed:
            return
        self._changed = False
        actors = [*self.actors.values()]

        def rows_of(chosen: Iterable[Actor]) -> np.ndarray:
            return np.array([actor.row for actor in chosen], np.int64)

        self._order = rows_of(actors)
        self.vehicles = [actor for actor in actors if actor.kind is Kind.VEHICLE]
        self._vehicles = rows_of(self.vehicles)
        self._walkers = rows_of(actor for actor in actors if actor.kind is Kind.WALKER)
        self._solids = rows_of(actor for actor in actors if self.rows.solid[actor.row])
        self._boxes = np.empty((len(self._solids), contacts.BOX_COLUMNS))
        self._heroes = np.array([actor.attributes.get("role_name") == "hero" for actor in self.vehicles], np.bool_)
        self._at_light = np.full(len(self._vehicles), -1, np.int64)
        self._places = np.empty((len(self._vehicles), 2))
        attached = [actor for actor in actors if actor.parent is not None]
        self._children = rows_of(attached)
        self._parents = rows_of(actor.parent for actor in attached if actor.parent is not None)
        self._relative = np.array([actor.relative for actor in attached], np.float64).reshape(-1, 6)
        self._ackermann = [actor for actor in self.vehicles if actor.ackermann is not None]
        self._slippery = [actor for actor in actors if actor.type_id == FRICTION_TRIGGER]
        self.id_of_row = {actor.row: actor.id for actor in actors}
        self.sensing.index(actors)

    def all_vehicles(self) -> list[Actor]:
        """Every vehicle."""
        self._index()
        return self.vehicles

    def changed(self) -> None:
        """Note that lists of actors must be refreshed."""
        self._changed = True

    # -- acting -------------------------------------------------------------------------------------------------

    def control(self, actor: Actor, control: VehicleControl) -> None:
        """Set a vehicle's control; it stays until the next one."""
        reverse = control.reverse or (control.manual_gear_shift and control.gear < 0)
        direction = -1.0 if reverse else 1.0
        if control.manual_gear_shift and control.gear == 0 and not control.reverse:
            direction = 0.0
        row = self.rows.control[actor.row]
        row[0], row[1], row[2] = control.throttle, control.steer, control.brake
        row[3], row[4] = control.hand_brake, direction
        gear = -1 if reverse else control.gear if control.manual_gear_shift else max(control.gear, 1)
        offset = actor.row * streams.ACTOR_STATE.itemsize + _CONTROL_AT
        _CONTROL.pack_into(self.rows.wire_bytes, offset, *control[:6], gear)

    def show_lights(self, actor: Actor, flags: int) -> None:
        """Set a vehicle's lights. Blinkers tell where it goes, also by being off once it has shown any or braked."""
        actor.lights = flags
        left, right = flags & Light.LEFT_BLINKER, flags & Light.RIGHT_BLINKER
        turn = self.rows.turn
        if left and right:
            turn[actor.row] = Turn.UNSAID
        elif left or right:
            turn[actor.row] = Turn.LEFT if left else Turn.RIGHT
        elif flags & Light.BRAKE or turn[actor.row] != Turn.UNSAID:
            turn[actor.row] = Turn.AHEAD

    def place(self, actor: Actor, pose: Pose) -> None:
        """Teleport an actor; it keeps its velocity along its new heading. Attached actors move in the parent's frame."""
        if actor.parent is not None:
            parent = np.array(self.pose(actor.parent))
            actor.relative = pose
            self._changed = True
            pose = Pose(*motion.compose(parent, np.array(pose)).tolist())
        self.rows.put(actor.row, pose)
        self.rows.dynamic[actor.row, 4] = 0.0

    def guide(self, walker: Actor, pose: Pose) -> None:
        """Put a walker where a client's navigation has it: on the ground at (x, y), moving as far as it is moved."""
        rows, row = self.rows, walker.row
        ground = self.ground.height(pose.x, pose.y, pose.z)
        height = (pose.z if math.isnan(ground) else ground) + float(rows.body[row, FOOT])
        self.lead(walker, Pose(pose.x, pose.y, height, 0.0, pose.yaw, 0.0))

    def lead(self, actor: Actor, pose: Pose) -> None:
        """Put an actor somewhere as a movement: until the next tick it has the velocity of that movement."""
        self._guided.setdefault(actor.row, tuple(self.rows.motion[actor.row, :3].tolist()))
        self.place(actor, pose)

    def _follow_guides(self, dt: float) -> None:
        """Give actors that were led somewhere the velocity of that movement; a jump is none."""
        for row, start in self._guided.items():
            velocity = (self.rows.motion[row, :3] - start) / dt
            if abs(velocity).max() < GUIDED_TOP_SPEED:
                self.rows.motion[row, 6:9] = velocity
        self._guided.clear()

    def set_velocity(self, actor: Actor, velocity: tuple[float, float, float]) -> None:
        """Give an actor a world velocity, m/s."""
        rows, row = self.rows, actor.row
        if actor.kind is Kind.VEHICLE:
            motion.set_velocity(rows.motion[row], rows.control[row], rows.body[row], rows.dynamic[row], *velocity)
        else:
            rows.motion[row, 6:9] = velocity

    def simulate(self, actor: Actor, enabled: bool) -> None:
        """Switch physics of an actor; off freezes it where it is put."""
        if actor.kind not in (Kind.VEHICLE, Kind.WALKER):
            return
        self.rows.simulate[actor.row] = enabled and actor.parent is None
        if not enabled:
            self.rows.dynamic[actor.row, SPEED:4] = 0.0
            self.rows.motion[actor.row, 6:] = 0.0

    # -- time ---------------------------------------------------------------------------------------------------

    def tick(self, dt: float | None = None) -> int:
        """Advance the world by one tick and send what the clients subscribed to.

        Args:
            dt: Seconds; the settings' step if None.

        Returns:
            Number of the new frame.
        """
        step = self.settings.step if dt is None else dt
        if self.replayer is not None:
            self.replayer.advance(step)
        self._index()
        self._move(step)
        self._touch(step)
        if len(self._children):
            motion.carry_attached(self.rows.motion, self._children, self._parents, self._relative)
        self.lights.advance(step)
        if self.replayer is not None:
            self.replayer.show_lights()
            if self.replayer.done:
                self.replay(None)
        self._obey(step)
        self.frame += 1
        self.elapsed += step
        if self.recorder is not None:
            self._write_down(self.recorder, step)
        rows = self.rows
        rows.wire["motion"][: rows.used] = rows.motion[: rows.used]
        # Before the sensors look: a client that has the answer of its tick asks without a pause whether the state is there.
        if self.publisher.wanted(streams.WORLD_STREAM):
            self.publisher.send(streams.WORLD_STREAM, self.state_message(step))
            self.map_changed = False
        self.sensing.measure(step)
        return self.frame

    def record(self, recorder: Recorder | None) -> None:
        """Write every tick down from now on, or no more."""
        before, self.recorder = self.recorder, recorder
        if before is None:
            return
        try:
            before.close()
        except OSError as error:
            log.error("the end of the recording %s is lost: %s", before.path, error)

    def _write_down(self, recorder: Recorder, step: float) -> None:
        """Write a tick down; a recording that cannot go on, as on a full disk, ends, and the world goes on.

        Nor is there room in CARLA's format for all that a client may have called its actors.
        """
        try:
            recorder.write(step)
        except (OSError, ValueError, OverflowError, struct.error) as error:
            log.error("the recording %s ends: %s", recorder.path, error)
            self.record(None)

    def replay(self, replayer: Replayer | None, keep: bool = True) -> None:
        """Play a recording from now on, or no more; actors of the one before stay if `keep`."""
        if self.replayer is not None:
            self.replayer.release(keep)
        self.replayer = replayer

    def _move(self, dt: float) -> None:
        rows = self.rows
        for actor in self._ackermann:
            self.follow_ackermann(actor, dt)
        if self._slippery or self._was_slippery:
            self._apply_friction()
        motion.move_all(
            *(self.ground.field, self._vehicles, self._walkers, rows.motion, rows.control, rows.body, rows.dynamic),
            *(rows.imposed, rows.simulate, rows.weightless, dt),
        )
        if self._guided:
            self._follow_guides(dt)

    def _touch(self, dt: float) -> None:
        """Resolve contacts and keep them for the collision sensors."""
        rows, statics = self.rows, self.statics
        count = contacts.find_contacts(
            *(self._solids, rows.motion, rows.body, rows.kind, rows.simulate, statics.boxes, statics.starts),
            *(statics.members, statics.origin, statics.shape, statics.CELL, self._boxes, self.contacts),
        )
        self.touched = self.contacts[:count]
        if count:
            motion.absorb(
                *(self.touched, rows.kind, rows.simulate, rows.motion, rows.control, rows.body, rows.dynamic),
                *(rows.trail, dt),
            )
        if len(self.kerbs.lines):
            count = kerbs.strike(
                *(self._vehicles, *self.kerbs.table, rows.motion, rows.control, rows.body, rows.dynamic, rows.simulate),
                *(rows.trail, dt, -len(self.static_tags), self.contacts, count),
            )
        self.touched = self.contacts[:count]
        motion.leave_trail(self._vehicles, rows.motion, rows.trail)

    def _obey(self, step: float) -> None:
        """Tell vehicles which light they stand at and which speed limit holds."""
        rows, vehicles = self.rows, self._vehicles
        if len(vehicles) == 0:
            return
        lights.lights_at(vehicles, rows.motion, rows.body, self.lights.boxes, self._at_light)
        wire = rows.wire
        lights.tell_lights(
            *(vehicles, self._at_light, wire["lamp"], wire["id"], wire["light_state"], wire["has_light"]),
            wire["light_id"],
        )
        places_at(self.ground.field, self._lane_starts, vehicles, rows.motion, self._places)
        tick = self.frame - self._first_frame
        self.stops.hold(rows, vehicles, self._places[:, 0])
        self.limits.update(rows, vehicles, self._places, tick)
        self.keeper.hold(rows, vehicles, self._places, self._heroes, tick, step)

    def _apply_friction(self) -> None:
        """Set the friction of vehicles inside friction triggers; elsewhere, or when these are gone, that of their tyres."""
        rows = self.rows
        turns = [motion.rotation(*rows.motion[trigger.row, 3:6].tolist()) for trigger in self._slippery]
        for actor in self.vehicles:
            friction = tyre_friction(actor)
            for trigger, turn in zip(self._slippery, turns):
                offset = np.abs((rows.motion[actor.row, :3] - rows.motion[trigger.row, :3]) @ turn)
                if (offset <= trigger.extent).all():
                    friction = attribute_number(trigger.attributes, "friction") / TYRE_FRICTION
            rows.body[actor.row, FRICTION] = friction
        self._was_slippery = bool(self._slippery)

    def follow_ackermann(self, actor: Actor, dt: float) -> None:
        """Turn an Ackermann control into pedals: speed by a proportional law, steering at the limited rate."""
        wanted = actor.ackermann
        row = self.rows.control[actor.row]
        base = motion.STEER_GAIN / motion.MODEL_WHEELBASE * motion.REFERENCE_WHEELBASE
        target = max(-1.0, min(1.0, wanted.steer / base))
        rate = wanted.steer_speed / base * dt
        row[1] = target if rate <= 0.0 else row[1] + max(-rate, min(rate, target - row[1]))
        speed = float(self.rows.dynamic[actor.row, SPEED])
        error = wanted.speed - speed
        limit = abs(wanted.acceleration) if wanted.acceleration else 3.0
        pull = max(-limit, min(limit, error / max(dt, 1e-3)))
        backwards = wanted.speed < 0.0
        size = pull * (-1.0 if backwards else 1.0)
        hold = float(motion.hold_throttle(abs(speed)))
        throttle = math.sqrt(max(0.0, hold * hold + size / motion.FULL_THROTTLE * math.exp(abs(speed) / 22.0)))
        braking = -size / motion.BRAKING if size < -0.5 else 0.0
        row[0], row[2] = (0.0, min(1.0, braking)) if braking else (min(1.0, throttle), 0.0)
        row[3], row[4] = 0.0, -1.0 if backwards else 1.0
        self.rows.wire["controls"][actor.row] = row[:3]

    # -- telling ------------------------------------------------------------------------------------------------

    def state_message(self, step: float | None = None) -> bytes:
        """World-state message of the present frame."""
        self._index()
        return streams.world_state(
            frame=self.frame,
            time_s=self.elapsed,
            episode=self.episode,
            delta_s=self.settings.step if step is None else step,
            flags=streams.MAP_CHANGED if self.map_changed else 0,
            actors=self.rows.packed(self._order),
        )

    def greeting(self) -> bytes:
        """World state for a client that just subscribed: the present moment, actors where they are."""
        self._index()
        self.rows.wire["motion"][: self.rows.used] = self.rows.motion[: self.rows.used]
        return self.state_message()


def tyre_friction(actor: Actor) -> float:
    """Friction of a vehicle's tyres as a client set it, relative to that of CARLA's vehicles."""
    return 1.0 if actor.physics is None else clamp(number(actor.physics[15][0][0]), 0.0, 10.0) / TYRE_FRICTION


def _prop_mass(extent: tuple[float, float, float]) -> float:
    """Small things give way, big ones do not; kg."""
    volume = 8.0 * extent[0] * extent[1] * extent[2]
    return 5.0 + 20.0 * volume if volume < 0.5 else contacts.IMMOVABLE


def _size(kind_of: Blueprint, attributes: dict[str, str]) -> tuple[Triple, Triple]:
    """Half sizes and centre of the bounding box, metres."""
    if kind_of.id == FRICTION_TRIGGER:
        attribute_number(attributes, "friction", least=0.0)
        x, y, z = (attribute_number(attributes, f"extent_{axis}", least=0.0) / 100.0 for axis in "xyz")
        return (x, y, z), (0.0, 0.0, 0.0)
    scale = 1.0
    if kind_of.id == "static.prop.mesh":
        scale = min(max(attribute_number(attributes, "scale"), 0.01), 100.0)
    x, y, z = (size * scale for size in kind_of.extent)
    cx, cy, cz = (part * scale for part in kind_of.center)
    return (x, y, z), (cx, cy, cz)


@lru_cache(maxsize=2)
def scenery(road_map: RoadMap) -> tuple[Scene, list[int], contacts.StaticBoxes, Ground, Kerbs, SpeedLimits]:
    """What never changes in a town: scene, solid boxes with their semantic classes, ground, kerbs, speed limits.

    Kept, so that a reload costs neither time nor memory.
    """

    def build() -> tuple[Ground, Kerbs]:
        return Ground(road_map), Kerbs(road_map)

    parts = ("map", "world")
    ground, kerbs = store.kept(road_map.name, road_map.xodr, build, "ground", parts) if road_map.xodr else build()
    scene = Scene(road_map)
    return scene, *_solid_boxes(scene), ground, kerbs, SpeedLimits(road_map, ground)


def _solid_boxes(scene: Scene) -> tuple[list[int], contacts.StaticBoxes]:
    """What of the town stops a vehicle: boxes and their semantic classes, after which comes that of kerbs."""
    boxes, tags = [], []
    for item in scene.environment_objects:
        half_x, half_y, half_z = item.box_extent
        if item.tag not in _SOLID_TAGS or 2 * half_z < contacts.STEP_OVER:
            continue
        if item.tag is Tag.VEGETATION:
            half_x, half_y = min(half_x, TRUNK), min(half_y, TRUNK)
        yaw = math.radians(item.box_rotation[1])
        boxes.append((*item.box_center, math.cos(yaw), math.sin(yaw), half_x, half_y, half_z))
        tags.append(int(item.tag))
    return [*tags, int(Tag.SIDEWALKS)], contacts.StaticBoxes(np.array(boxes, dtype=np.float64))
