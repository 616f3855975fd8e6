"""Sensors of an episode: which are due in a tick, and what they are shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from carla_server.sensors.attributes import number, whole
from carla_server.sensors.events import Collision, Obstacle, event
from carla_server.sensors.instruments import Gnss, Imu, MotionView
from carla_server.sensors.suite import make_sensor
from carla_server.sensors.views import ActorView, Tag
from carla_server.wire import streams
from carla_server.wire.streams import SensorType
from carla_server.world import contacts, motion
from carla_server.world.actors import NO_BOX, Actor
from carla_server.world.blueprints import blueprint
from carla_server.world.state import STEER, Kind

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from carla_server.world.world import World

#: Type on the wire of each sensor blueprint.
SENSOR_TYPES = {
    "sensor.other.collision": SensorType.COLLISION,
    "sensor.camera.depth": SensorType.DEPTH,
    "sensor.other.gnss": SensorType.GNSS,
    "sensor.other.imu": SensorType.IMU,
    "sensor.other.obstacle": SensorType.OBSTACLE,
    "sensor.other.radar": SensorType.RADAR,
    "sensor.lidar.ray_cast_semantic": SensorType.SEMANTIC_LIDAR,
    "sensor.lidar.ray_cast": SensorType.LIDAR,
    "sensor.camera.rgb": SensorType.RGB,
    "sensor.camera.semantic_segmentation": SensorType.SEMANTIC_SEGMENTATION,
    "sensor.camera.instance_segmentation": SensorType.INSTANCE_SEGMENTATION,
    "sensor.camera.optical_flow": SensorType.OPTICAL_FLOW,
    "sensor.camera.dvs": SensorType.DVS,
}
#: Attributes of cameras that have an effect here. Pictures are those of a pinhole camera: lens, film and exposure have none.
#: CARLA bends and darkens the rim of a picture from a `lens_circle_multiplier` above 0 on (its wrappers for the leaderboard
#: set 3); how, only its shader tells.
OF_PINHOLE_CAMERAS = frozenset({"fov", "image_size_x", "image_size_y", "sensor_tick", "role_name", "ros_name"})

#: Wheel angle of full steering, degrees.
FULL_STEER_DEG = 40.0
#: A tick this much short of a sensor's interval counts as due, seconds.
TICK_SLACK = 1e-4


class Sensing:
    """Sensors of one episode."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sensors: list[Actor] = []
        self._last: dict[int, float] = {}
        self._named: set[str] = set()

    def make(self, type_id: str, attributes: Mapping[str, str], actor_id: int) -> Any:
        """What measures for a sensor blueprint; None for other blueprints.

        Args:
            type_id: Blueprint id.
            attributes: Values by name.
            actor_id: Its own, so that no two sensors draw the same noise.

        Raises:
            ValueError: An attribute is not what the sensor needs.
        """
        if not type_id.startswith("sensor.") or type_id == "sensor.other.lane_invasion":
            return None
        number(attributes, "sensor_tick")
        self._name_unsupported(type_id, attributes)
        noise_seed = whole(attributes, "noise_seed")
        generator = np.random.default_rng([self._world.seed & 0xFFFFFFFF, noise_seed & 0xFFFFFFFF, actor_id])
        if type_id == "sensor.other.imu":
            return Imu(attributes, generator)
        if type_id == "sensor.other.gnss":
            return Gnss(attributes, generator, self._world.road_map.geo_reference)
        if type_id == "sensor.other.collision":
            return Collision(attributes)
        if type_id == "sensor.other.obstacle":
            return Obstacle(attributes)
        return make_sensor(type_id, attributes)

    def _name_unsupported(self, type_id: str, attributes: Mapping[str, str]) -> None:
        """Log in one line which attributes without effect a client set, each once per episode."""
        if not type_id.startswith("sensor.camera."):
            return
        defaults = blueprint(type_id).defaults
        mute = {name for name in defaults if type_id == "sensor.camera.rgb" or name.startswith("lens_")}
        differing = {name for name, row in defaults.items() if attributes.get(name, row.default) != row.default}
        found = sorted((mute - OF_PINHOLE_CAMERAS - self._named) & differing)
        if found:
            self._named.update(found)
            told = ", ".join(f"{name}={attributes[name]}" for name in found)
            log.warning("%s: this server draws as a pinhole camera; no effect: %s", type_id, told)

    def index(self, actors: Iterable[Actor]) -> None:
        """Take over the sensors among `actors`."""
        self._sensors = [actor for actor in actors if actor.stream]
        alive = {actor.id for actor in self._sensors}
        self._last = {key: moment for key, moment in self._last.items() if key in alive}

    def measure(self, dt: float) -> None:
        """Let every sensor that is due and has listeners measure, and send what it saw."""
        world = self._world
        shown: list[ActorView] | None = None
        for actor in self._sensors:
            if not world.publisher.wanted(actor.stream):
                continue
            if isinstance(actor.sensor, Collision):
                self._report_contacts(actor)
                continue
            if not self._due(actor):
                continue
            header = self._header(actor)
            if isinstance(actor.sensor, Imu | Gnss):
                world.publisher.send(actor.stream, header + actor.sensor.measure(self._motion(actor)))
            elif isinstance(actor.sensor, Obstacle):
                self._report_obstacle(actor, header)
            elif not world.settings.no_rendering:
                shown = self.views() if shown is None else shown
                world.publisher.send_later(actor.stream, header, self._look(actor, shown, dt))

    def _due(self, actor: Actor) -> bool:
        """Whether the sensor's interval has passed since its last measurement, which then is now."""
        elapsed, last = self._world.elapsed, self._last.get(actor.id)
        if last is not None and elapsed - last < number(actor.attributes, "sensor_tick") - TICK_SLACK:
            return False
        self._last[actor.id] = elapsed
        return True

    def _header(self, actor: Actor) -> bytes:
        world = self._world
        return streams.sensor_header(SENSOR_TYPES[actor.type_id], world.frame, world.elapsed, tuple(world.pose(actor)))

    def _motion(self, actor: Actor) -> MotionView:
        row = self._world.rows.motion[actor.row]
        turn = motion.rotation(row[3], row[4], row[5])
        pose, acceleration, turning = tuple(row[:6].tolist()), row[12:15].tolist(), row[9:12].tolist()
        return MotionView(pose, acceleration, turning, turn.T.tolist(), self._world.gravity)

    def _look(self, actor: Actor, shown: list[ActorView], dt: float) -> Callable[[], bytes]:
        world = self._world
        pose, velocity = world.pose(actor), tuple(world.rows.motion[actor.row, 6:9].tolist())
        scene, weather, elapsed, sensor = world.scene, world.weather, world.elapsed, actor.sensor
        return lambda: sensor.measure(scene, tuple(pose), velocity, shown, weather, elapsed, dt)

    def _report_contacts(self, sensor: Actor) -> None:
        world, carrier = self._world, sensor.parent
        if carrier is None:
            return
        for row, other, nx, ny, impulse in world.touched.tolist():
            sign = 1.0 if row == carrier.row else -1.0 if other == carrier.row else 0.0
            if sign == 0.0:
                continue
            index = int(other) if sign > 0.0 else int(row)
            met = world.actors[world.id_of_row[index]].wire() if index >= 0 else self._scenery_actor(-1 - index)
            push = [sign * nx * impulse, sign * ny * impulse, 0.0]
            world.publisher.send(sensor.stream, self._header(sensor) + event(carrier.wire(), met, push))

    def _scenery_actor(self, box: int) -> list[Any]:
        """Something of the town as the client reads an actor: id 0 and a type such as ``static.building``."""
        tag = self._world.static_tags[box]
        name = Tag(tag).name.lower().rstrip("s")
        return [0, 0, [0, f"static.{name}", []], NO_BOX, bytes([tag]), b""]

    def _report_obstacle(self, sensor: Actor, header: bytes) -> None:
        world, carrier, look = self._world, sensor.parent, sensor.sensor
        kinds = (Kind.VEHICLE, Kind.WALKER) if look.only_dynamics else (Kind.VEHICLE, Kind.WALKER, Kind.PROP)
        others = [actor for actor in world.actors.values() if actor.kind in kinds and actor is not carrier]
        boxes = np.empty((len(others), contacts.BOX_COLUMNS))
        for index, actor in enumerate(others):
            contacts.box_of(world.rows.motion, world.rows.body, actor.row, boxes[index])
        statics = np.empty((0, contacts.BOX_COLUMNS)) if look.only_dynamics else world.statics.boxes
        pose = world.pose(sensor)
        hit = look.nearest(pose[:3], pose.yaw, np.concatenate((boxes, statics)))
        if hit is None:
            return
        index, distance = hit
        met = others[index].wire() if index < len(others) else self._scenery_actor(index - len(others))
        seen_by = carrier if carrier is not None else sensor
        world.publisher.send(sensor.stream, header + event(seen_by.wire(), met, distance))

    def views(self) -> list[ActorView]:
        """Every actor with a shape, as the renderer wants it."""
        world, rows = self._world, self._world.rows
        shown = []
        for actor in world.actors.values():
            if actor.kind in (Kind.VEHICLE, Kind.WALKER, Kind.PROP):
                row = rows.motion[actor.row].tolist()
                view = ActorView(actor.id, actor.type_id, tuple(row[:6]), actor.extent, actor.center, actor.attributes)
                view.velocity = (row[6], row[7], row[8])
                if actor.kind is Kind.VEHICLE:
                    view.lights, view.open_doors = actor.lights, actor.doors
                    view.steer_deg = FULL_STEER_DEG * float(rows.control[actor.row, STEER])
                shown.append(view)
            elif actor.kind in (Kind.LIGHT, Kind.SIGN):
                pose = tuple(rows.motion[actor.row, :6].tolist())
                view = ActorView(actor.id, actor.type_id, pose, actor.extent, actor.center)
                view.signal_id = actor.signal_id
                if actor.kind is Kind.LIGHT:
                    view.lamp = int(rows.wire["lamp"][actor.row])
                shown.append(view)
        return shown
