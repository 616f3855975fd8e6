"""What the server hands to the renderer: plain records of the world at one moment, and what comes back.

World frame: CARLA's (x east, y south, z up, left-handed, metres). Poses are ``(x, y, z, pitch, yaw, roll)`` with
angles in degrees as at CARLA's API: yaw turns from x towards y, pitch looks up, roll tilts clockwise seen from behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pose = tuple[float, float, float, float, float, float]
ORIGIN: Pose = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Tag(IntEnum):
    """CityScapes labels as CARLA 0.9.16 numbers them (`carla.CityObjectLabel`)."""

    NONE = 0
    ROADS = 1
    SIDEWALKS = 2
    BUILDINGS = 3
    WALLS = 4
    FENCES = 5
    POLES = 6
    TRAFFIC_LIGHT = 7
    TRAFFIC_SIGNS = 8
    VEGETATION = 9
    TERRAIN = 10
    SKY = 11
    PEDESTRIANS = 12
    RIDER = 13
    CAR = 14
    TRUCK = 15
    BUS = 16
    TRAIN = 17
    MOTORCYCLE = 18
    BICYCLE = 19
    STATIC = 20
    DYNAMIC = 21
    OTHER = 22
    WATER = 23
    ROAD_LINES = 24
    GROUND = 25
    BRIDGE = 26
    RAIL_TRACK = 27
    GUARD_RAIL = 28


class Light(IntEnum):
    """Bits of `carla.VehicleLightState`."""

    POSITION = 1
    LOW_BEAM = 2
    HIGH_BEAM = 4
    BRAKE = 8
    RIGHT_BLINKER = 16
    LEFT_BLINKER = 32
    REVERSE = 64
    FOG = 128
    INTERIOR = 256
    SPECIAL1 = 512
    SPECIAL2 = 1024


class LampState(IntEnum):
    """Values of `carla.TrafficLightState`."""

    RED = 0
    YELLOW = 1
    GREEN = 2
    OFF = 3
    UNKNOWN = 4


@dataclass(slots=True)
class ActorView:
    """One actor as the sensors see it.

    Attributes:
        id: Actor id; becomes the instance number of its pixels and points.
        type_id: Blueprint id such as ``vehicle.tesla.model3``; decides the shape.
        transform: World pose of the actor origin. Vehicles: on the ground below the centre of the body. Walkers: at
            the centre of the capsule, as in CARLA. Props: on the ground. Traffic lights and signs: as `signal_id`.
        extent: Half sizes (x, y, z) of the actor's bounding box, metres; the drawn shape fills exactly this box.
        center: Centre of the bounding box in the actor frame, metres.
        attributes: Blueprint attributes (``color``, ``base_type``, ``special_type``, ``age``, ...).
        velocity: World velocity, m/s. Drives gait and radar.
        lights: Bits of `Light`.
        steer_deg: Angle of the front wheels, degrees, positive to the right.
        wheel_angle_deg: Rolled angle of the wheels, degrees.
        open_doors: Bits 1 front left, 2 front right, 4 rear left, 8 rear right.
        lamp: State of a traffic light.
        signal_id: OpenDRIVE id of the signal a traffic light or sign actor stands for. The map's own signals are part
            of the scenery; such an actor gives them their lamp state and instance number and adds no shape.
    """

    id: int
    type_id: str
    transform: Pose
    extent: tuple[float, float, float]
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    attributes: Mapping[str, str] = field(default_factory=dict)
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lights: int = 0
    steer_deg: float = 0.0
    wheel_angle_deg: float = 0.0
    open_doors: int = 0
    lamp: int = LampState.UNKNOWN
    signal_id: str = ""


@dataclass(frozen=True, slots=True)
class WeatherView:
    """Field names, units and ranges of `carla.WeatherParameters`: percent, except angles in degrees.

    The defaults are a clear noon.
    """

    cloudiness: float = 5.0
    precipitation: float = 0.0
    precipitation_deposits: float = 0.0
    wind_intensity: float = 10.0
    sun_azimuth_angle: float = -1.0
    sun_altitude_angle: float = 45.0
    fog_density: float = 2.0
    fog_distance: float = 0.75
    fog_falloff: float = 0.1
    wetness: float = 0.0
    scattering_intensity: float = 1.0
    mie_scattering_scale: float = 0.03
    rayleigh_scattering_scale: float = 0.0331
    dust_storm: float = 0.0


OUTPUTS = ("bgra", "depth", "tag", "instance")


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """A pinhole camera with square pixels: f = width / (2 tan(fov/2)), principal point in the image centre.

    Attributes:
        width: Pixels.
        height: Pixels.
        fov_deg: Horizontal field of view, degrees.
        transform: World pose; x looks into the picture, y to the right, z up.
        outputs: Which arrays of `Frame` are wanted; each saved one saves time.
        far: Nothing beyond this distance along the optical axis is drawn, metres.
    """

    width: int
    height: int
    fov_deg: float
    transform: Pose
    outputs: tuple[str, ...] = OUTPUTS
    far: float = 1000.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a camera needs at least one pixel each way; got {self.width} x {self.height}")
        if not 0.0 < self.fov_deg < 180.0:
            raise ValueError(f"fov_deg must lie between 0 and 180 degrees; got {self.fov_deg}")
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown:
            raise ValueError(f"unknown camera outputs {unknown}; known ones are {list(OUTPUTS)}")


@dataclass(slots=True)
class Frame:
    """What one camera saw. Arrays that were not asked for are None.

    Attributes:
        bgra: (H, W, 4) uint8, alpha 255, rows from the top.
        depth: (H, W) float32, metres along the optical axis; `CameraSpec.far` where only sky is.
        tag: (H, W) uint8, `Tag` of the nearest surface; sky is `Tag.SKY`.
        instance: (H, W) int32, actor id or environment object id; 0 for ground and sky.
    """

    bgra: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    tag: NDArray[np.uint8] | None = None
    instance: NDArray[np.int32] | None = None


@dataclass(slots=True)
class RayHits:
    """Where rays ended; one row per ray.

    Attributes:
        distance: (N,) float32, metres along the ray; infinity where nothing was hit within range.
        tag: (N,) uint8 `Tag` of the surface hit, 0 without a hit.
        instance: (N,) int32 as in `Frame`.
        cos_incidence: (N,) float32, |cos| of the angle between ray and surface normal.
    """

    distance: NDArray[np.float32]
    tag: NDArray[np.uint8]
    instance: NDArray[np.int32]
    cos_incidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EnvironmentObject:
    """A thing of the town that never moves, for `get_environment_objects` and `get_all_level_BBs`.

    Attributes:
        id: Unique in the town, stable between runs; the instance number of its pixels. At least `FIRST_OBJECT_ID`, so it
            never equals an actor id.
        name: Readable and unique, such as ``building_12``.
        tag: What `get_environment_objects(label)` finds it under.
        transform: World pose of its origin.
        box_center: Centre of the bounding box in the world, metres.
        box_extent: Half sizes along the box axes, metres.
        box_rotation: (pitch, yaw, roll) of the box in the world, degrees.
    """

    id: int
    name: str
    tag: Tag
    transform: Pose
    box_center: tuple[float, float, float]
    box_extent: tuple[float, float, float]
    box_rotation: tuple[float, float, float]


FIRST_OBJECT_ID = 1 << 24


@dataclass(slots=True)
class SensorReading:
    """One payload for the wire.

    Attributes:
        payload: Bytes after the 48-byte stream header, in CARLA's layout for that sensor.
        details: Extra facts for logs and views, such as the frame the payload was made of.
    """

    payload: bytes
    details: dict[str, Any] = field(default_factory=dict)
