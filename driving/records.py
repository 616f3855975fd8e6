"""The recorded dataset: typed measurements and boxes, and where each file of a run lies.

Layout below a dataset root such as ``database/simlingo`` (a *run folder* is one recorded route)::

    data/simlingo/<set>/<split>/<weather set>/<Town>_Rep<r>_<route file>_route<i>_<MM>_<DD>_<HH>_<MM>_<SS>/
        rgb/0000.jpg  rgb_augmented/0000.jpg  lidar/0000.laz
        measurements/0000.json.gz  boxes/0000.json.gz
        results.json.gz  records.json.gz
    drivelm/simlingo/...same folders.../vqa/0000.json.gz
    commentary/simlingo/...same folders.../commentary/0000.json.gz
    dreamer/simlingo/...same folders.../dreamer/0000.json.gz

File keys, their order and their JSON types are those of the published dataset (github.com/RenzKa/simlingo,
``team_code/autopilot.py`` and ``team_code/data_agent.py``), so files written here load there and the other way round.
Every key is spelt in this module only. Positions are in the ego frame (x forward, y right, z up, metres), yaw is relative to
the ego in radians, speeds are m/s, unless a field says otherwise.
"""

from __future__ import annotations

import difflib
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from driving.files import read_json, write_bytes
from driving.geometry import Corner, box_corners
from driving.json_text import indented_json

Point = Sequence[float]
Matrix = Sequence[Sequence[float]]

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's code for a stream with gzip's header, without a time stamp."""

SMALL_DATASET = 100
"""Routes below which a fixed number, not a threshold, decides how many are held out."""

FRAME_RATE_HZ = 4.0
"""Recorded frames per second: every fifth step of a 20 Hz simulation."""

FRAME_DT_S = 1.0 / FRAME_RATE_HZ
"""Time between recorded frames, seconds."""


class RecordError(ValueError):
    """A recorded file does not have the content its format asks for; the message names file, key and remedy."""


RecordType = TypeVar("RecordType", bound="_Record")


class _Record:
    """Conversion between a dataclass and one JSON object whose keys are the field names in field order."""

    _required: ClassVar[frozenset[str]]
    _optional: ClassVar[dict[str, Any]]
    _names: ClassVar[tuple[str, ...]]

    @classmethod
    def _prepare(cls) -> None:
        """Sort the fields into those a file must hold and those that have a default."""
        rows = [row for row in fields(cls) if row.name not in ("source", "extra")]  # type: ignore[arg-type]
        cls._required = frozenset(row.name for row in rows if row.default is MISSING and row.default_factory is MISSING)
        cls._optional = {row.name: row.default for row in rows if row.default is not MISSING}

    @classmethod
    def from_dict(cls: type[RecordType], values: Mapping[str, Any]) -> RecordType:
        """Make a record from a parsed JSON object. Keys this code does not know are kept in ``source`` only.

        Raises:
            RecordError: If keys are missing; the message lists them.
        """
        if "_required" not in cls.__dict__:
            cls._prepare()
        if not cls._required <= values.keys():
            missing = sorted(cls._required - values.keys())
            raise RecordError(f"{cls.__name__} needs the keys {missing}; the object has {sorted(values)}")
        # Filling the instance dictionary directly is five times faster than the constructor of a frozen dataclass, and
        # a label run makes about a million of these.
        record = object.__new__(cls)
        record.__dict__.update(cls._optional)
        record.__dict__.update(values)
        record.__dict__["source"] = values
        return record

    @classmethod
    def _field_names(cls) -> tuple[str, ...]:
        if "_names" not in cls.__dict__:
            cls._names = tuple(row.name for row in fields(cls) if row.name != "source")  # type: ignore[arg-type]
        return cls._names

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this record, keys in published order."""
        return {name: getattr(self, name) for name in self._field_names()}


@dataclass(frozen=True, kw_only=True)
class Measurement(_Record):
    """What the expert knew and decided in one frame (``measurements/NNNN.json.gz``).

    Attributes:
        pos_global: (x, y) of the ego vehicle in the world, metres.
        theta: Compass heading of the ego vehicle, radians.
        speed: Length of the 3-D velocity.
        target_speed: What the expert wanted after all hazards.
        speed_limit: Of the current road.
        target_point, target_point_next: (x, y) of the next two points of the sparse route.
        command, next_command: `driving.commands.RoadOption` values 1 to 6.
        aim_wp: (x, y) the steering controller looked at.
        route, route_original: At most 40 points (x, y), the first 2.5 m ahead, then every metre; with and without the
            deviations around obstacles. Fewer near the end of the route.
        changed_route: Whether the two differ at the current position.
        speed_reduced_by_obj_type: Blueprint of the object that lowered the target speed, if any.
        speed_reduced_by_obj_id, speed_reduced_by_obj_distance: Its actor id and distance, metres.
        steer, throttle: Control about to be applied, in [-1, 1] and [0, 1].
        brake: Whether a hazard asks for the brake.
        control_brake: Whether the speed controller brakes.
        junction: Whether the ego vehicle is in a junction.
        vehicle_hazard, light_hazard, walker_hazard, stop_sign_hazard: Reasons to stop.
        vehicle_affecting_id, walker_affecting_id: Actor behind the hazard.
        stop_sign_close, walker_close: Copies of the hazards, kept for the published format.
        walker_close_id: Always null in the published data.
        angle: Heading error divided by 90 degrees.
        augmentation_translation: Lateral shift of the augmented camera, metres.
        augmentation_rotation: Its yaw, degrees.
        ego_matrix: (4, 4) from the ego frame to the world.
        extra: Further keys of our own recorder, written after the published ones; readers of the published format ignore
            them.
        source: The JSON object this was read from, or None.
    """

    pos_global: Point
    theta: float
    speed: float
    target_speed: float
    speed_limit: float
    target_point: Point
    target_point_next: Point
    command: int
    next_command: int
    aim_wp: Point
    route: Sequence[Point]
    route_original: Sequence[Point]
    changed_route: bool
    speed_reduced_by_obj_type: str | None
    speed_reduced_by_obj_id: int | None
    speed_reduced_by_obj_distance: float | None
    steer: float
    throttle: float
    brake: bool
    control_brake: bool
    junction: bool
    vehicle_hazard: bool
    vehicle_affecting_id: int | None
    light_hazard: bool
    walker_hazard: bool
    walker_affecting_id: int | None
    stop_sign_hazard: bool
    stop_sign_close: bool
    walker_close: bool
    walker_close_id: int | None
    angle: float
    augmentation_translation: float
    augmentation_rotation: float
    ego_matrix: Matrix
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    source: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """As in the base class; keys the published format lacks go to ``extra``."""
        record = super().from_dict(values)
        # In the order of the file: a set's order differs from process to process.
        record.__dict__["extra"] = {key: item for key, item in values.items() if key not in cls._required}
        return record

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: published keys in published order, then ``extra``."""
        values = super().to_dict()
        extra = values.pop("extra")
        return {**values, **extra}


def _keys(names: str) -> tuple[str, ...]:
    return tuple(names.split())


@dataclass(frozen=True, kw_only=True)
class Box(_Record):
    """Anything listed in ``boxes/NNNN.json.gz``. Subclasses say which keys their class of object has.

    Attributes:
        box_class: Value of the key ``class``.
        key_order: Keys after ``class`` in published order, where that differs from the order of the fields.
        source: The JSON object this was read from, or None.
    """

    box_class: ClassVar[str] = ""
    key_order: ClassVar[tuple[str, ...]] = ()
    source: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this box, ``class`` first, keys in published order."""
        names = self.key_order or self._field_names()
        return {"class": self.box_class, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class PlacedBox(Box):
    """A box with a place.

    Attributes:
        position: (x, y, z) of the actor origin. For vehicles that is the ground below the centre, for walkers the centre.
        extent: Half length, half width, half height, metres. Props are stored with the first two exchanged.
        yaw: Heading relative to the ego, radians, in (-pi, pi].
        distance: Length of ``position``, metres; -1 for the ego vehicle.
        is_stored_sideways: Whether the first two of ``extent`` are exchanged.
    """

    is_stored_sideways: ClassVar[bool] = False
    extent: Point = (0.15, 0.15, 0.15)
    position: Point
    yaw: float = 0.0
    distance: float

    @property
    def half_size(self) -> tuple[float, float, float]:
        """Half length, half width, half height, metres, of props too."""
        length, width, height = self.extent
        return (width, length, height) if self.is_stored_sideways else (length, width, height)

    @property
    def floor(self) -> Corner:
        """Middle of the underside, ego frame, metres."""
        x, y, z = self.position
        return x, y, z

    def corners(self) -> list[Corner]:
        """The eight corners, ego frame, metres, in the order of `driving.geometry.box_corners`."""
        return box_corners(self.floor, self.half_size, self.yaw)


@dataclass(frozen=True, kw_only=True)
class EgoCarBox(PlacedBox):
    """The ego vehicle itself; ``speed`` is signed along its heading, ``matrix`` maps its frame to the world."""

    box_class: ClassVar[str] = "ego_car"
    key_order: ClassVar[tuple[str, ...]] = _keys("extent position yaw num_points distance speed brake id matrix")
    num_points: int = -1
    speed: float
    brake: float
    id: int
    matrix: Matrix


@dataclass(frozen=True, kw_only=True)
class CarBox(PlacedBox):
    """Another vehicle, bicycles included.

    Attributes:
        color_rgb, color_name: Blueprint colour and the nearest of the 16 CSS2 names; null without a colour.
        next_action: What the traffic manager will do next; null when it does not drive this vehicle.
        vehicle_cuts_in: Whether it is entering the ego lane.
        road_id, lane_id, lane_type, lane_type_str: Where its centre lies.
        is_in_junction, junction_id, distance_to_junction, next_junction_id: Junction it is in (id -1: none) or reaches next.
        next_road_ids, next_next_road_ids: Roads its lane leads to.
        same_road_as_ego, same_direction_as_ego: Relation to the ego lane.
        lane_relative_to_ego: Lanes to the right of the ego lane (negative: left); null on another road.
        light_state: Lights switched on, each a power of two of `carla.VehicleLightState`.
        traffic_light_state, is_at_traffic_light: Light within 30 m, ``None`` as a string without one.
        base_type: car, truck, van, motorcycle or bicycle.
        number_of_wheels: As text.
        num_points: LiDAR points inside the box.
        speed: Signed, along the heading.
        brake, steer, throttle: Control applied in the step before.
        id, role_name, type_id: Actor id, role (``scenario`` for actors a scenario placed) and blueprint.
        matrix: (4, 4) from its frame to the world.
    """

    box_class: ClassVar[str] = "car"
    key_order: ClassVar[tuple[str, ...]] = _keys(
        """color_rgb color_name next_action vehicle_cuts_in road_id lane_id lane_type lane_type_str is_in_junction
        junction_id distance_to_junction next_junction_id next_road_ids next_next_road_ids
        same_road_as_ego same_direction_as_ego lane_relative_to_ego light_state traffic_light_state
        is_at_traffic_light base_type number_of_wheels extent position yaw num_points distance speed
        brake steer throttle id role_name type_id matrix"""
    )
    color_rgb: Sequence[int] | None = None
    color_name: str | None = None
    next_action: str | None = None
    vehicle_cuts_in: bool = False
    road_id: int
    lane_id: int
    lane_type: int = 2
    lane_type_str: str
    is_in_junction: bool
    junction_id: int
    distance_to_junction: float | None = None
    next_junction_id: int
    next_road_ids: Sequence[int]
    next_next_road_ids: Sequence[int] = ()
    same_road_as_ego: bool
    same_direction_as_ego: bool
    lane_relative_to_ego: int | None
    light_state: Sequence[int] = ()
    traffic_light_state: str = "None"
    is_at_traffic_light: bool = False
    base_type: str
    number_of_wheels: str = "4"
    num_points: int
    speed: float
    brake: float
    steer: float
    throttle: float = 0.0
    id: int
    role_name: str
    type_id: str
    matrix: Matrix = ()


@dataclass(frozen=True, kw_only=True)
class WalkerBox(PlacedBox):
    """A pedestrian; ``age`` is ``adult`` or ``child``, ``lane_type`` the integer of `carla.LaneType`."""

    box_class: ClassVar[str] = "walker"
    key_order: ClassVar[tuple[str, ...]] = _keys(
        """role_name gender age extent position yaw num_points distance speed id lane_type same_road_as_ego
        same_direction_as_ego lane_relative_to_ego matrix"""
    )
    role_name: str = ""
    gender: str = ""
    age: str
    num_points: int
    speed: float
    id: int
    lane_type: int = 0
    same_road_as_ego: bool = False
    same_direction_as_ego: bool = False
    lane_relative_to_ego: int | None = None
    matrix: Matrix = ()

    @property
    def floor(self) -> Corner:
        """See `PlacedBox.floor`."""
        x, y, z = self.position
        return x, y, z - self.extent[2]


@dataclass(frozen=True, kw_only=True)
class TrafficLightBox(PlacedBox):
    """The stop line of a traffic light; one per lane it governs. ``state`` is Red, Yellow, Green, Off or Unknown."""

    box_class: ClassVar[str] = "traffic_light"
    state: str
    id: int
    affects_ego: bool
    matrix: Matrix = ()


@dataclass(frozen=True, kw_only=True)
class StopSignBox(PlacedBox):
    """The stop line of a stop sign; ``affects_ego`` while it is the next one and not cleared."""

    box_class: ClassVar[str] = "stop_sign"
    id: int
    affects_ego: bool
    matrix: Matrix = ()


@dataclass(frozen=True, kw_only=True)
class StopSignVqaBox(PlacedBox):
    """The pole of a stop sign, with the lane it stands for."""

    box_class: ClassVar[str] = "stop_sign_vqa"
    key_order: ClassVar[tuple[str, ...]] = _keys(
        """extent position road_id lane_id junction_id yaw num_points distance same_road_as_ego
        same_direction_as_ego affects_ego lane_relative_to_ego"""
    )
    road_id: int | None = None
    lane_id: int | None = None
    junction_id: int | None = None
    num_points: int = -1
    same_road_as_ego: bool = False
    same_direction_as_ego: bool = False
    affects_ego: bool = False
    lane_relative_to_ego: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrafficLightVqaBox(PlacedBox):
    """The head of a traffic light in front of the ego vehicle; ``state`` is the integer of ``state_str``."""

    box_class: ClassVar[str] = "traffic_light_vqa"
    key_order: ClassVar[tuple[str, ...]] = _keys(
        """extent position road_id lane_id junction_id yaw num_points distance state_str state same_road_as_ego
        same_direction_as_ego affects_ego lane_relative_to_ego"""
    )
    road_id: int | None = None
    lane_id: int | None = None
    junction_id: int | None = None
    num_points: int = -1
    state_str: str
    state: int
    same_road_as_ego: bool = False
    same_direction_as_ego: bool = False
    affects_ego: bool
    lane_relative_to_ego: int | None = None


@dataclass(frozen=True, kw_only=True)
class StaticCarBox(PlacedBox):
    """A parked car that is a mesh of the map, not an actor with a blueprint of its own."""

    box_class: ClassVar[str] = "static_car"
    is_stored_sideways: ClassVar[bool] = True
    key_order: ClassVar[tuple[str, ...]] = _keys(
        """extent position yaw distance speed num_points road_id junction_id lane_id on_lane_type same_road_as_ego
        same_direction_as_ego lane_relative_to_ego matrix mesh_path"""
    )
    speed: float = 0.0
    num_points: int = -1
    road_id: int | None = None
    junction_id: int | None = None
    lane_id: int | None = None
    on_lane_type: str = ""
    same_road_as_ego: bool = False
    same_direction_as_ego: bool = False
    lane_relative_to_ego: int | None = None
    matrix: Matrix = ()
    mesh_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrafficWarningBox(PlacedBox):
    """The warning sign in front of a construction site."""

    box_class: ClassVar[str] = "static_trafficwarning"
    is_stored_sideways: ClassVar[bool] = True
    key_order: ClassVar[tuple[str, ...]] = _keys("extent position yaw num_points distance mesh_path")
    num_points: int = -1
    mesh_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class StaticBox(PlacedBox):
    """Any other prop."""

    box_class: ClassVar[str] = "static"
    is_stored_sideways: ClassVar[bool] = True
    key_order: ClassVar[tuple[str, ...]] = _keys("type_id extent position yaw num_points distance mesh_path")
    type_id: str
    num_points: int = -1
    mesh_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class LandmarkBox(PlacedBox):
    """An OpenDRIVE landmark along the ego lane. It has no extent in the files."""

    box_class: ClassVar[str] = "landmark"
    key_order: ClassVar[tuple[str, ...]] = _keys("name position yaw distance id text value")
    name: str
    id: int
    text: str = ""
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WeatherBox(Box):
    """The weather, in the units of `carla.WeatherParameters`."""

    box_class: ClassVar[str] = "weather"
    cloudiness: float
    dust_storm: float = 0.0
    fog_density: float
    fog_distance: float = 0.0
    fog_falloff: float = 0.0
    mie_scattering_scale: float = 0.0
    precipitation: float
    precipitation_deposits: float
    rayleigh_scattering_scale: float = 0.0
    scattering_intensity: float = 0.0
    sun_altitude_angle: float
    sun_azimuth_angle: float
    wetness: float
    wind_intensity: float


@dataclass(frozen=True)
class LaneWidth:
    """A lane beside the ego lane: its type (a `carla.LaneType` name) and width, metres."""

    type: str
    width: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LaneWidth:
        """Read the published object, whose first key really is ``type:`` with a colon."""
        return cls(values["type:"], values["width"])

    def to_dict(self) -> dict[str, Any]:
        """The published object."""
        return {"type:": self.type, "width": self.width}


@dataclass(frozen=True, kw_only=True)
class EgoInfoBox(Box):
    """The road around the ego vehicle.

    Attributes:
        scenario: Name of the folder of the route file.
        traffic_light_state: Light within 50 m, the string ``None`` without one.
        distance_to_junction: 0 inside, metres before the next lane if that is a junction, else null.
        ego_lane_number: 0 is the leftmost lane of the own direction.
        road_id, lane_id, junction_id: Where the ego vehicle is; junction -1 outside.
        is_in_junction, is_intersection: Whether its waypoint lies in a junction.
        next_road_junction, next_junction_id, next_road_ids, next_next_road_ids_ego: What follows the ego lane.
        ego_lane, left_lanes, right_lanes: Lanes of the road, outwards from the ego lane.
        num_lanes_same_direction, num_lanes_opposite_direction: Driving lanes.
        lane_change, lane_change_str: 0 none, 1 right, 2 left, 3 both.
        lane_type, lane_type_str: `carla.LaneType`.
        left_lane_marking_*, right_lane_marking_*: `carla.LaneMarkingColor` and `carla.LaneMarkingType`.
        shoulder_*, parking_*, sidewalk_*, bike_lane_*: Whether such a lane exists on that side.
        hazard_detected_N: Whether a vehicle stands or drives within N metres ahead on the ego lane.
        affects_ego_N: Its actor id.
    """

    box_class: ClassVar[str] = "ego_info"
    scenario: str
    traffic_light_state: str
    distance_to_junction: float | None
    ego_lane_number: int
    road_id: int
    lane_id: int
    is_in_junction: bool
    is_intersection: bool
    junction_id: int
    next_road_junction: bool = False
    next_junction_id: int
    next_road_ids: Sequence[int]
    next_next_road_ids_ego: Sequence[int]
    ego_lane: LaneWidth | None = None
    left_lanes: Sequence[LaneWidth] = ()
    right_lanes: Sequence[LaneWidth] = ()
    num_lanes_same_direction: int
    num_lanes_opposite_direction: int
    lane_change: int
    lane_change_str: str = ""
    lane_type: int = 2
    lane_type_str: str
    left_lane_marking_color: int = 0
    left_lane_marking_color_str: str
    left_lane_marking_type: int
    left_lane_marking_type_str: str = ""
    right_lane_marking_color: int = 0
    right_lane_marking_color_str: str
    right_lane_marking_type: int
    right_lane_marking_type_str: str = ""
    shoulder_left: bool = False
    shoulder_right: bool = False
    parking_left: bool
    parking_right: bool
    sidewalk_left: bool = False
    sidewalk_right: bool = False
    bike_lane_left: bool
    bike_lane_right: bool
    hazard_detected_10: bool = False
    affects_ego_10: int | None
    hazard_detected_15: bool = False
    affects_ego_15: int | None
    hazard_detected_20: bool
    affects_ego_20: int | None
    hazard_detected_40: bool = False
    affects_ego_40: int | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EgoInfoBox:
        """As in the base class, with the lanes as `LaneWidth`."""
        record = super().from_dict(values)
        if record.ego_lane is not None:
            record.__dict__["ego_lane"] = LaneWidth.from_dict(values["ego_lane"])
        for side in ("left_lanes", "right_lanes"):
            record.__dict__[side] = tuple(LaneWidth.from_dict(lane) for lane in values.get(side, ()))
        return record

    def to_dict(self) -> dict[str, Any]:
        """The published object."""
        values = super().to_dict()
        values["ego_lane"] = None if self.ego_lane is None else self.ego_lane.to_dict()
        for side in ("left_lanes", "right_lanes"):
            values[side] = [lane.to_dict() for lane in values[side]]
        return values


BOX_TYPES: dict[str, type[Box]] = {
    kind.box_class: kind
    for kind in (
        EgoCarBox,
        CarBox,
        WalkerBox,
        TrafficLightBox,
        StopSignBox,
        TrafficLightVqaBox,
        StopSignVqaBox,
        StaticCarBox,
        TrafficWarningBox,
        StaticBox,
        LandmarkBox,
        WeatherBox,
        EgoInfoBox,
    )
}
"""Every class of box by the name in its file, in the order the recorder writes them."""


def box_from_dict(values: Mapping[str, Any]) -> Box:
    """Make the typed box of a parsed JSON object.

    Raises:
        RecordError: If the class is unknown or keys are missing.
    """
    name = values.get("class")
    kind = BOX_TYPES.get(name)  # type: ignore[arg-type]
    if kind is None:
        close = difflib.get_close_matches(str(name), BOX_TYPES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise RecordError(f"unknown box class {name!r}{hint}; known: {', '.join(BOX_TYPES)}")
    return kind.from_dict(values)


def read_measurement(path: str | os.PathLike[str]) -> Measurement:
    """Read one measurement file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, not JSON, lacks keys, or its places are no places; the message names the file.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise RecordError(f"{path}: expected one JSON object, got {type(values).__name__}")
    try:
        measurement = Measurement.from_dict(values)
        _check_geometry(measurement)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error
    return measurement


def _check_geometry(measurement: Measurement) -> None:
    """Look at what everybody computes with: one odd place among millions of frames must not end a program half-way.

    Raises:
        RecordError: If a place, a path or the ego's pose is not made of as many numbers as it should be.
    """
    m = measurement
    for name, what, points, rows, columns in (
        ("theta and speed", "two numbers", [(m.theta, m.speed)], 1, 2),
        ("pos_global", "(x, y)", [m.pos_global], 1, 2),
        ("target_point", "(x, y)", [m.target_point], 1, 2),
        ("target_point_next", "(x, y)", [m.target_point_next], 1, 2),
        ("route", "a list of (x, y)", m.route, None, 2),
        ("route_original", "a list of (x, y)", m.route_original, None, 2),
        ("ego_matrix", "(4, 4) numbers", m.ego_matrix, 4, 4),
    ):
        try:
            fits = rows in (None, len(points)) and {len(point) for point in points} <= {columns}
            sum(map(sum, points))  # raises for what is no number
        except TypeError:
            fits = False
        if not fits:
            raise RecordError(f"expected {what} for {name}, got {str(points)[:80]}")


def read_boxes(path: str | os.PathLike[str]) -> list[Box]:
    """Read one box file, in file order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, not JSON, or a box is malformed; the message names the file and the entry.
    """
    return boxes_from_json(read_json(path), path)


def boxes_from_json(entries: Any, path: str | os.PathLike[str]) -> list[Box]:
    """The boxes of a file's content; ``path`` is for messages.

    Raises:
        ValueError: If it is no list, or a box is malformed; the message names the file and the entry.
    """
    if not isinstance(entries, list):
        raise RecordError(f"{path}: expected a JSON list of boxes, got {type(entries).__name__}")
    boxes = []
    for index, values in enumerate(entries):
        try:
            boxes.append(box_from_dict(values))
        except (RecordError, KeyError, AttributeError) as error:
            raise RecordError(f"{path}: entry {index}: {error}") from error
    return boxes


def write_measurement(path: str | os.PathLike[str], measurement: Measurement) -> None:
    """Write one measurement file atomically, as the published recorder does.

    Raises:
        RecordError: If a number is not finite, which JSON cannot hold.
    """
    _write_published(path, measurement.to_dict(), escape_slashes=True)


def write_boxes(path: str | os.PathLike[str], boxes: Iterable[Box | Mapping[str, Any]]) -> None:
    """Write one box file atomically, as the published recorder does.

    Plain mappings are checked to be readable boxes and written as they are.

    Raises:
        RecordError: If a mapping is no box or a number is not finite.
    """
    entries = []
    for box in boxes:
        typed = box if isinstance(box, Box) else box_from_dict(box)
        entries.append(typed.to_dict() if box is typed else box)
    _write_published(path, entries)


def _write_published(path: str | os.PathLike[str], value: Any, escape_slashes: bool = False) -> None:
    """Write ``value`` as the published recorder does: gzip, indent 4; measurements come from a library that escapes ``/``."""
    try:
        text = indented_json(value)
    except ValueError as error:
        raise RecordError(f"{path}: JSON holds finite numbers only; look for NaN or infinity in the record") from error
    if escape_slashes:
        text = text.replace(b"/", b"\\/")
    # Mostly digits: with short matches left out, level 5 packs them as tightly as level 6 without, in less time.
    packer = zlib.compressobj(5, zlib.DEFLATED, _GZIP, strategy=zlib.Z_FILTERED)
    write_bytes(path, packer.compress(text) + packer.flush())


MIN_SPEED_INFRACTIONS = "min_speed_infractions"


@dataclass(frozen=True)
class RouteResult:
    """How the recorded route ended (``results.json.gz``).

    Attributes:
        status: ``Perfect``, ``Completed``, ``Failed`` or ``Failed - <reason>``.
        score_route, score_penalty, score_composed: Route completion, percent; penalty factor; their product.
        num_infractions: Number of messages in all lists.
        infractions: Kind of infraction to its messages.
    """

    status: str
    score_route: float
    score_penalty: float
    score_composed: float
    num_infractions: int
    infractions: Mapping[str, Sequence[str]]

    @property
    def has_infraction(self) -> bool:
        """Whether any infraction other than a low speed happened."""
        return any(messages for kind, messages in self.infractions.items() if kind != MIN_SPEED_INFRACTIONS)


def read_result(path: str | os.PathLike[str]) -> RouteResult:
    """Read ``results.json.gz`` of a run.

    Raises:
        FileNotFoundError: If there is none (the recording process died).
        ValueError: If it is truncated or lacks keys.
    """
    values = read_json(path)
    try:
        scores = values["scores"]
        return RouteResult(
            status=values["status"],
            score_route=scores["score_route"],
            score_penalty=scores["score_penalty"],
            score_composed=scores["score_composed"],
            num_infractions=values["num_infractions"],
            infractions=values["infractions"],
        )
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a route result, {error!r} is missing; record the route again") from error


def training_rejection(result: RouteResult) -> str | None:
    """Why a run is not used for training, or None if it is.

    The published loader (``simlingo_training/dataloader/dataset_base.py``) keeps a perfect score, or more than 94 % of the
    route with nothing but low-speed and outside-lane entries.
    """
    if result.score_composed >= 100:
        return None
    if result.score_route <= 94:
        return f"route completion {result.score_route:g} % is not above 94 %"
    mild = sum(len(result.infractions.get(kind, ())) for kind in (MIN_SPEED_INFRACTIONS, "outside_route_lanes"))
    if result.num_infractions != mild:
        return "it has infractions other than low speed and leaving the lane"
    return None


def label_rejection(result: RouteResult) -> str | None:
    """Why a run gets no labels, or None if it does: the rule of the published label generators, which accept an
    infraction only when both the route and the composed score reach 98."""
    if result.score_route < 98:
        return f"route completion {result.score_route:g} % is below 98 %"
    if result.has_infraction and result.score_composed < 98:
        return f"it has infractions and a score of {result.score_composed:g}, below 98"
    return None


@dataclass(frozen=True)
class LabelKind:
    """A tree of label files beside ``data/``.

    Attributes:
        name: What it is called on command lines.
        tree: Folder below the dataset root.
        leaf: Folder below the run folder's twin in that tree.
    """

    name: str
    tree: str
    leaf: str


VQA = LabelKind("vqa", "drivelm", "vqa")
COMMENTARY = LabelKind("commentary", "commentary", "commentary")
DREAMER = LabelKind("dreamer", "dreamer", "dreamer")
LABEL_KINDS = {kind.name: kind for kind in (VQA, COMMENTARY, DREAMER)}

_RUN_NAME = re.compile(r"^(?P<town>.+?)_Rep(?P<repetition>\d+)_(?P<file>.+)_route(?P<route>\d+)(?:_.*)?$")
"""Names of route files may hold ``_route1`` too: the last one is the route."""
_WEATHER_SEED = re.compile(r"(?<=random_weather_seed_)\d+")
_FRAME_NAME = re.compile(r"^(\d{4,})\.json\.gz$")


def frame_name(frame: int) -> str:
    """File stem of a frame number: at least four digits."""
    return f"{frame:04d}"


def frame_numbers(folder: Path) -> list[int]:
    """Frame numbers for which a folder holds a ``.json.gz`` file, sorted; empty without the folder. Other files, such as those
    half written, do not count."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for match in map(_FRAME_NAME.match, names) if match)


@dataclass(frozen=True)
class RunFolder:
    """One recorded route.

    Attributes:
        root: Dataset root, e.g. ``database/simlingo``.
        relative: Path below ``root/data``, e.g. ``simlingo/training_1_scenario/routes_training/.../Town12_Rep0_…``.
    """

    root: Path
    relative: Path

    @property
    def path(self) -> Path:
        """Where the recorded files lie."""
        return self.root / "data" / self.relative

    @property
    def name(self) -> str:
        """Folder name."""
        return self.relative.name

    @property
    def key(self) -> str:
        """Unique name within the dataset, independent of where the dataset lies."""
        return self.relative.as_posix()

    @cached_property
    def hash_share(self) -> float:
        """A number in [0, 1) that depends on the recorded route alone, not on when, how often and in which weather it was
        recorded; runs below a fraction make up that share of any dataset.

        Folders such as ``random_weather_seed_1`` and ``random_weather_seed_2`` hold the same routes in other weather, and all
        count as in the first.
        """
        group = _WEATHER_SEED.sub("1", self.relative.parent.as_posix())
        route = f"{group}/{self.town}/{self.route_file}/{self.route_index}"
        return int.from_bytes(sha256(route.encode()).digest()[:8], "big") / 2**64

    @cached_property
    def _parts(self) -> re.Match[str]:
        match = _RUN_NAME.match(self.name)
        if match is None:
            raise RecordError(f"{self.path}: expected a folder named <Town>_Rep<r>_<route file>_route<i>_<date>")
        return match

    @property
    def town(self) -> str:
        """Town name. Folders start with ``Town``: the recorder puts it before names that do not, as before ``Mini01``."""
        town = self._parts["town"]
        return town if re.match(r"Town\d", town) else town.removeprefix("Town")

    @property
    def repetition(self) -> int:
        """Repetition number."""
        return int(self._parts["repetition"])

    @property
    def route_file(self) -> str:
        """Stem of the route file the run was recorded from."""
        return self._parts["file"]

    @property
    def route_index(self) -> int:
        """Which route of that file."""
        return int(self._parts["route"])

    def measurement_path(self, frame: int) -> Path:
        """``measurements/NNNN.json.gz``."""
        return self.path / "measurements" / f"{frame_name(frame)}.json.gz"

    def boxes_path(self, frame: int) -> Path:
        """``boxes/NNNN.json.gz``."""
        return self.path / "boxes" / f"{frame_name(frame)}.json.gz"

    def rgb_path(self, frame: int) -> Path:
        """``rgb/NNNN.jpg``."""
        return self.path / "rgb" / f"{frame_name(frame)}.jpg"

    def rgb_augmented_path(self, frame: int) -> Path:
        """``rgb_augmented/NNNN.jpg``."""
        return self.path / "rgb_augmented" / f"{frame_name(frame)}.jpg"

    def lidar_path(self, frame: int) -> Path:
        """``lidar/NNNN.laz``."""
        return self.path / "lidar" / f"{frame_name(frame)}.laz"

    @property
    def results_path(self) -> Path:
        """``results.json.gz``."""
        return self.path / "results.json.gz"

    @property
    def records_path(self) -> Path:
        """``records.json.gz``."""
        return self.path / "records.json.gz"

    @property
    def route_path(self) -> Path:
        """``route.xml``: our recorder's copy of the driven route; absent in the published data."""
        return self.path / "route.xml"

    @property
    def settings_path(self) -> Path:
        """``run.json``: how our recorder was set; absent in the published data."""
        return self.path / "run.json"

    def label_folder(self, kind: LabelKind) -> Path:
        """Folder of the run's labels of one kind."""
        return self.root / kind.tree / self.relative / kind.leaf

    def label_path(self, kind: LabelKind, frame: int) -> Path:
        """File of one frame's label of one kind."""
        return self.label_folder(kind) / f"{frame_name(frame)}.json.gz"

    def frames(self, folder: str = "measurements") -> list[int]:
        """Frame numbers for which ``folder`` of the run holds a ``.json.gz`` file, sorted; empty without the folder."""
        return frame_numbers(self.path / folder)

    def labelled_frames(self, kind: LabelKind) -> list[int]:
        """Frame numbers that have a label of one kind, sorted."""
        return frame_numbers(self.label_folder(kind))


def find_runs(root: str | os.PathLike[str]) -> list[RunFolder]:
    """All run folders of a dataset, sorted by path: folders below ``root/data`` that hold ``measurements``.

    Raises:
        FileNotFoundError: If ``root`` has no ``data`` folder.
    """
    base = Path(root)
    data = base / "data"
    if not data.is_dir():
        raise FileNotFoundError(f"{data} does not exist; expected a dataset root such as database/simlingo")
    return [RunFolder(base, path.relative_to(data)) for path in sorted(_walk_runs(data))]


def require_runs(root: str | os.PathLike[str]) -> list[RunFolder]:
    """As `find_runs`, for commands that have nothing to do without a run.

    Raises:
        FileNotFoundError: If ``root`` has no ``data`` folder, or no run in it.
    """
    runs = find_runs(root)
    if not runs:
        raise FileNotFoundError(
            f"{Path(root) / 'data'} holds no runs (folders with measurements); record some with: "
            f"python -m dataset_generation.collect --out {root}"
        )
    return runs


def hash_held_out(runs: Sequence[RunFolder], fraction: float) -> list[RunFolder]:
    """Runs held out by `RunFolder.hash_share`; needs no list and no seed.

    Of many routes those below ``fraction``, so that adding runs moves none of the others. Below `SMALL_DATASET` routes the
    share would vary too much: there the nearest whole number of the lowest ones, of two or more at least one and not all.
    """
    shares = sorted({run.hash_share for run in runs})
    if fraction <= 0 or len(shares) < 2:
        return []
    if len(shares) >= SMALL_DATASET:
        return [run for run in runs if run.hash_share < fraction]
    count = min(max(1, round(fraction * len(shares))), len(shares) - 1)
    return [run for run in runs if run.hash_share <= shares[count - 1]]


def _walk_runs(folder: Path) -> Iterator[Path]:
    """Folders with ``measurements`` below ``folder``; does not descend into them."""
    with os.scandir(folder) as entries:
        children = [entry.name for entry in entries if entry.is_dir()]
    if "measurements" in children:
        yield folder
        return
    for name in children:
        yield from _walk_runs(folder / name)
