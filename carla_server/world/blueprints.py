"""What can be spawned: one row per blueprint, with the attributes a client may set and the sizes physics uses.

Vehicle sizes are those of the real cars (manufacturers' data), rounded; ids and attribute names are CARLA 0.9.16's.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

from carla_server.sensors.views import Tag


class AttributeType(IntEnum):
    """`carla.ActorAttributeType`; 0 is invalid."""

    BOOL = 1
    INT = 2
    FLOAT = 3
    STRING = 4
    COLOR = 5


@dataclass(frozen=True)
class Attribute:
    """One attribute of a blueprint.

    Attributes:
        name: As clients set it.
        type: How the client reads its text.
        default: Value if the client sets none.
        recommended: Values offered to the client; the default alone if empty.
        modifiable: Whether the client may set it.
    """

    name: str
    type: AttributeType
    default: str
    recommended: tuple[str, ...] = ()
    modifiable: bool = True

    def wire(self) -> list[Any]:
        """ActorAttribute as the client reads it."""
        offered = list(self.recommended or (self.default,)) if self.modifiable else []
        return [self.name, int(self.type), self.default, offered, self.modifiable, False]


@dataclass(frozen=True)
class Blueprint:
    """One kind of actor.

    Attributes:
        id: As clients name it.
        attributes: What can be set or read.
        extent: Half sizes of the bounding box along x, y, z, metres.
        center: Middle of the bounding box in the actor frame, metres.
        tag: Semantic class.
        wheelbase: Metres; vehicles only.
        mass: Kilograms.
        power: Acceleration relative to a passenger car.
        top_speed: Speed that full throttle does not exceed, m/s.
    """

    id: str
    attributes: tuple[Attribute, ...]
    extent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tag: Tag = Tag.NONE
    wheelbase: float = 0.0
    mass: float = 0.0
    power: float = 1.0
    top_speed: float = 60.0

    @cached_property
    def defaults(self) -> dict[str, Attribute]:
        """Attributes by name."""
        return {row.name: row for row in self.attributes}

    @property
    def family(self) -> str:
        """First part of the id: vehicle, walker, sensor, static, controller, traffic."""
        return self.id.partition(".")[0]


_BOOL, _INT, _FLOAT, _STRING, _COLOR = AttributeType
_SWITCH = ("true", "false")


def _switch(name: str, default: bool = False, modifiable: bool = True) -> Attribute:
    return Attribute(name, _BOOL, str(default).lower(), _SWITCH, modifiable)


def _floats(**defaults: float) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, _FLOAT, str(float(content))) for name, content in defaults.items())


def _ints(**defaults: int) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, _INT, str(content)) for name, content in defaults.items())


def _fixed(**content: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, _STRING, text, modifiable=False) for name, text in content.items())


# ---------------------------------------------------------------------------------------------------------- vehicles

#: Kind of vehicle: semantic class, wheels, power against a passenger car, top speed in m/s.
_VEHICLE_KINDS = {
    "car": (Tag.CAR, 4, 1.0, 60.0),
    "van": (Tag.CAR, 4, 0.8, 45.0),
    "truck": (Tag.TRUCK, 4, 0.6, 35.0),
    "bus": (Tag.BUS, 4, 0.55, 32.0),
    "motorcycle": (Tag.MOTORCYCLE, 2, 1.1, 60.0),
    "bicycle": (Tag.BICYCLE, 2, 0.45, 13.0),
}

#: id, kind, length, width, height, wheelbase (m), mass (kg), generation, special type, colours.
_GREYS = ("17,37,103", "134,134,134", "210,212,215", "28,28,30", "158,26,26", "60,82,60")
_VEHICLES: tuple[tuple[str, str, float, float, float, float, float, int, str, tuple[str, ...]], ...] = (
    ("vehicle.audi.a2", "car", 3.71, 1.79, 1.55, 2.41, 1050, 1, "", _GREYS),
    ("vehicle.audi.etron", "car", 4.86, 2.03, 1.65, 2.93, 2490, 1, "electric", _GREYS),
    ("vehicle.audi.tt", "car", 4.18, 1.99, 1.39, 2.51, 1360, 1, "", _GREYS),
    ("vehicle.bmw.grandtourer", "car", 4.61, 2.24, 1.67, 2.78, 1500, 1, "", _GREYS),
    ("vehicle.chevrolet.impala", "car", 5.36, 2.03, 1.41, 2.84, 1720, 1, "", _GREYS),
    ("vehicle.citroen.c3", "car", 3.99, 1.85, 1.61, 2.54, 1100, 1, "", _GREYS),
    ("vehicle.dodge.charger_2020", "car", 5.01, 2.08, 1.54, 3.05, 1900, 2, "", _GREYS),
    ("vehicle.dodge.charger_police", "car", 4.97, 2.04, 1.56, 3.05, 1950, 1, "emergency", ()),
    ("vehicle.dodge.charger_police_2020", "car", 5.24, 2.08, 1.64, 3.05, 1950, 2, "emergency", ()),
    ("vehicle.ford.crown", "car", 5.37, 1.80, 1.57, 2.91, 1800, 2, "taxi", ("245,200,40",)),
    ("vehicle.ford.mustang", "car", 4.72, 1.89, 1.30, 2.74, 1650, 1, "", _GREYS),
    ("vehicle.jeep.wrangler_rubicon", "car", 3.87, 1.91, 1.88, 2.42, 1800, 1, "", _GREYS),
    ("vehicle.lincoln.mkz_2017", "car", 4.90, 2.13, 1.51, 2.87, 1700, 1, "", _GREYS),
    ("vehicle.lincoln.mkz_2020", "car", 4.9016833, 2.1283243, 1.5107465, 2.87, 1700, 2, "", _GREYS),
    ("vehicle.mercedes.coupe", "car", 5.03, 2.15, 1.64, 2.94, 1800, 1, "", _GREYS),
    ("vehicle.mercedes.coupe_2020", "car", 4.67, 1.82, 1.44, 2.84, 1700, 2, "", _GREYS),
    ("vehicle.micro.microlino", "car", 2.21, 1.48, 1.38, 1.57, 513, 1, "electric", _GREYS),
    ("vehicle.mini.cooper_s", "car", 3.81, 1.97, 1.48, 2.49, 1200, 1, "", _GREYS),
    ("vehicle.mini.cooper_s_2021", "car", 4.55, 2.10, 1.77, 2.67, 1400, 2, "", _GREYS),
    ("vehicle.nissan.micra", "car", 3.63, 1.85, 1.50, 2.43, 980, 1, "", _GREYS),
    ("vehicle.nissan.patrol", "car", 4.60, 1.93, 1.85, 2.97, 2300, 1, "", _GREYS),
    ("vehicle.nissan.patrol_2021", "car", 5.57, 2.15, 2.05, 3.08, 2700, 2, "", _GREYS),
    ("vehicle.seat.leon", "car", 4.19, 1.82, 1.47, 2.58, 1280, 1, "", _GREYS),
    ("vehicle.tesla.cybertruck", "truck", 6.27, 2.39, 2.10, 3.81, 3000, 1, "electric", ()),
    ("vehicle.tesla.model3", "car", 4.79, 2.16, 1.49, 2.88, 1850, 1, "electric", _GREYS),
    ("vehicle.toyota.prius", "car", 4.51, 2.01, 1.52, 2.70, 1400, 1, "", _GREYS),
    ("vehicle.carlamotors.carlacola", "truck", 5.20, 2.61, 2.47, 3.10, 4500, 1, "", _GREYS),
    ("vehicle.carlamotors.european_hgv", "truck", 7.93, 2.89, 3.46, 4.60, 12000, 2, "", _GREYS),
    ("vehicle.carlamotors.firetruck", "truck", 8.47, 2.89, 3.83, 4.90, 14000, 2, "emergency", ()),
    ("vehicle.ford.ambulance", "van", 6.36, 2.35, 2.43, 4.00, 4500, 2, "emergency", ()),
    ("vehicle.mercedes.sprinter", "van", 5.92, 1.99, 2.73, 3.66, 2500, 2, "", _GREYS),
    ("vehicle.mitsubishi.fusorosa", "bus", 10.27, 3.94, 4.25, 5.20, 8000, 2, "", _GREYS),
    ("vehicle.volkswagen.t2", "van", 4.48, 2.07, 2.04, 2.40, 1300, 1, "", _GREYS),
    ("vehicle.volkswagen.t2_2021", "van", 4.44, 1.77, 1.99, 2.40, 1300, 2, "", _GREYS),
    ("vehicle.harley-davidson.low_rider", "motorcycle", 2.35, 0.76, 1.64, 1.63, 300, 1, "", _GREYS),
    ("vehicle.kawasaki.ninja", "motorcycle", 2.03, 0.80, 1.45, 1.40, 200, 1, "", _GREYS),
    ("vehicle.vespa.zx125", "motorcycle", 1.80, 0.86, 1.50, 1.28, 120, 1, "", _GREYS),
    ("vehicle.yamaha.yzf", "motorcycle", 2.21, 0.87, 1.53, 1.40, 200, 1, "", _GREYS),
    ("vehicle.bh.crossbike", "bicycle", 1.49, 0.86, 1.83, 1.05, 90, 1, "", _GREYS),
    ("vehicle.diamondback.century", "bicycle", 1.64, 0.55, 1.80, 1.05, 90, 1, "", _GREYS),
    ("vehicle.gazelle.omafiets", "bicycle", 1.84, 0.59, 1.83, 1.12, 95, 1, "", _GREYS),
)

_WITH_DOORS = frozenset(
    {
        *("vehicle.dodge.charger_2020", "vehicle.dodge.charger_police_2020", "vehicle.ford.crown"),
        *("vehicle.lincoln.mkz_2020", "vehicle.mercedes.coupe_2020", "vehicle.mini.cooper_s_2021"),
        *("vehicle.nissan.patrol_2021", "vehicle.carlamotors.firetruck", "vehicle.ford.ambulance"),
        *("vehicle.mercedes.sprinter", "vehicle.volkswagen.t2_2021", "vehicle.tesla.model3"),
    }
)
_WITHOUT_LIGHTS = frozenset(
    {"vehicle.audi.a2", "vehicle.nissan.micra", "vehicle.micro.microlino", "vehicle.mini.cooper_s"}
)


def _vehicle(row: tuple[str, str, float, float, float, float, float, int, str, tuple[str, ...]]) -> Blueprint:
    name, kind, length, width, height, wheelbase, mass, generation, special, colors = row
    tag, wheels, power, top_speed = _VEHICLE_KINDS[kind]
    lit = name not in _WITHOUT_LIGHTS and kind != "bicycle"
    attributes = (
        Attribute("role_name", _STRING, "autopilot", ("autopilot", "scenario", "ego_vehicle")),
        *((Attribute("color", _COLOR, colors[0], colors),) if colors else ()),
        Attribute("driver_id", _INT, "0"),
        _switch("sticky_control", True),
        _switch("terramechanics"),
        Attribute("ros_name", _STRING, name),
        *_fixed(object_type="", base_type=kind, special_type=special),
        _switch("has_lights", lit, modifiable=False),
        _switch("has_dynamic_doors", name in _WITH_DOORS, modifiable=False),
        Attribute("generation", _INT, str(generation), modifiable=False),
        Attribute("number_of_wheels", _INT, str(wheels), modifiable=False),
    )
    extent = (length / 2, width / 2, height / 2)
    return Blueprint(name, attributes, extent, (0.0, 0.0, height / 2), tag, wheelbase, mass, power, top_speed)


# ----------------------------------------------------------------------------------------------------------- walkers

#: Gender and age by the last two digits of the pedestrian's number; the other ones are adult men and women in turn.
_CHILDREN = frozenset({9, 10, 11, 12, 13, 14, 48, 49})
_WALKER_COUNT = 52


def _walker(index: int) -> Blueprint:
    child = index in _CHILDREN
    height = 1.3 if child else 1.86
    gender = "female" if index % 2 == 0 else "male"
    speeds = ("0.0", "1.1", "1.9") if child else ("0.0", "1.4", "2.8")
    attributes = (
        Attribute("role_name", _STRING, "pedestrian"),
        _switch("is_invincible", True),
        Attribute("speed", _FLOAT, speeds[1], speeds),
        Attribute("ros_name", _STRING, "pedestrian"),
        *_fixed(gender=gender, age="child" if child else "adult"),
        Attribute("generation", _INT, "1" if index < 16 else "2", modifiable=False),
        _switch("can_use_wheelchair", False, modifiable=False),
    )
    extent = (0.1875, 0.1875, height / 2)
    # A walker's origin is the middle of its body, as in CARLA.
    return Blueprint(f"walker.pedestrian.{index:04d}", attributes, extent, tag=Tag.PEDESTRIANS, mass=75.0)


# ------------------------------------------------------------------------------------------------------------- props

#: id after "static.prop.", half sizes in metres, size class.
_PROPS: tuple[tuple[str, tuple[float, float, float], str], ...] = (
    ("advertisement", (0.75, 0.2, 1.2), "medium"),
    ("atm", (0.45, 0.4, 1.0), "medium"),
    ("barbeque", (0.5, 0.4, 0.6), "small"),
    ("barrel", (0.3, 0.3, 0.5), "small"),
    ("bench01", (0.45, 0.9, 0.45), "medium"),
    ("bench02", (0.45, 0.9, 0.45), "medium"),
    ("bikeparking", (0.4, 1.0, 0.5), "medium"),
    ("bin", (0.3, 0.3, 0.5), "small"),
    ("box01", (0.3, 0.3, 0.3), "small"),
    ("box02", (0.3, 0.3, 0.3), "small"),
    ("box03", (0.3, 0.3, 0.3), "small"),
    ("briefcase", (0.25, 0.1, 0.2), "tiny"),
    ("brokentile01", (0.3, 0.3, 0.03), "tiny"),
    ("busstop", (2.0, 1.0, 1.4), "big"),
    ("chainbarrier", (0.15, 1.0, 0.5), "medium"),
    ("chainbarrierend", (0.15, 0.2, 0.5), "small"),
    ("clothcontainer", (0.9, 0.9, 0.95), "medium"),
    ("constructioncone", (0.17, 0.17, 0.29), "small"),
    ("container", (1.1, 0.9, 0.85), "big"),
    ("creasedbox01", (0.3, 0.3, 0.2), "small"),
    ("dirtdebris01", (1.0, 1.0, 0.08), "medium"),
    ("dirtdebris02", (1.0, 1.0, 0.08), "medium"),
    ("dirtdebris03", (0.6, 0.6, 0.06), "medium"),
    ("foodcart", (1.5, 1.0, 1.3), "big"),
    ("fountain", (2.5, 2.5, 1.5), "big"),
    ("garbage01", (0.3, 0.3, 0.1), "tiny"),
    ("garbage02", (0.3, 0.3, 0.1), "tiny"),
    ("gardenlamp", (0.15, 0.15, 0.5), "small"),
    ("glasscontainer", (0.9, 0.8, 0.9), "medium"),
    ("gnome", (0.15, 0.15, 0.3), "tiny"),
    ("guitarcase", (0.5, 0.2, 0.1), "small"),
    ("ironplank", (0.9, 0.6, 0.03), "medium"),
    ("kiosk_01", (1.5, 1.5, 1.5), "big"),
    ("mailbox", (0.3, 0.3, 0.7), "small"),
    ("maptable", (0.6, 0.6, 0.5), "medium"),
    ("mobile", (0.05, 0.03, 0.01), "tiny"),
    ("motorhelmet", (0.15, 0.15, 0.15), "tiny"),
    ("pergola", (1.6, 1.6, 1.4), "big"),
    ("plantpot01", (0.4, 0.4, 0.4), "small"),
    ("plasticbag", (0.2, 0.2, 0.15), "tiny"),
    ("plastictable", (0.5, 0.5, 0.4), "medium"),
    ("platformgarbage01", (0.9, 0.6, 0.4), "medium"),
    ("purse", (0.15, 0.1, 0.15), "tiny"),
    ("shoppingbag", (0.2, 0.15, 0.2), "tiny"),
    ("shoppingcart", (0.5, 0.3, 0.5), "small"),
    ("shoppingtrolley", (0.25, 0.2, 0.5), "small"),
    ("slide", (1.8, 0.6, 1.2), "big"),
    ("streetbarrier", (0.19, 0.61, 0.54), "medium"),
    ("streetfountain", (0.4, 0.4, 0.6), "medium"),
    ("streetsign", (0.05, 0.4, 1.3), "medium"),
    ("streetsign01", (0.05, 0.4, 1.3), "medium"),
    ("streetsign04", (0.05, 0.4, 1.3), "medium"),
    ("swing", (1.5, 1.0, 1.2), "big"),
    ("table", (0.8, 0.5, 0.4), "medium"),
    ("trafficcone01", (0.21, 0.21, 0.36), "small"),
    ("trafficcone02", (0.21, 0.21, 0.36), "small"),
    ("trafficwarning", (0.7, 1.45, 1.45), "big"),
    ("trampoline", (1.5, 1.5, 0.6), "big"),
    ("trashbag", (0.3, 0.3, 0.3), "small"),
    ("trashcan01", (0.3, 0.3, 0.5), "small"),
    ("travelcase", (0.3, 0.2, 0.4), "small"),
    ("vendingmachine", (0.5, 0.45, 0.95), "medium"),
    ("warningaccident", (0.3, 0.6, 0.65), "medium"),
    ("warningconstruction", (0.3, 0.6, 0.65), "medium"),
    ("wateringcan", (0.2, 0.1, 0.15), "tiny"),
)


def _prop(name: str, half: tuple[float, float, float], size: str) -> Blueprint:
    attributes = (
        Attribute("role_name", _STRING, "prop"),
        Attribute("ros_name", _STRING, name),
        *_fixed(size=size),
    )
    return Blueprint(f"static.prop.{name}", attributes, half, (0.0, 0.0, half[2]), Tag.STATIC, mass=50.0)


def _mesh() -> Blueprint:
    attributes = (
        Attribute("role_name", _STRING, "prop"),
        Attribute("mesh_path", _STRING, ""),
        *_floats(scale=1.0, mass=50.0),
    )
    return Blueprint("static.prop.mesh", attributes, (1.0, 1.0, 0.5), (0.0, 0.0, 0.5), Tag.STATIC, mass=50.0)


# ----------------------------------------------------------------------------------------------------------- sensors

_COMMON = (Attribute("role_name", _STRING, "front"), *_floats(sensor_tick=0.0), Attribute("ros_name", _STRING, ""))
_CAMERA = (
    *_COMMON,
    *_ints(image_size_x=800, image_size_y=600),
    *_floats(fov=90.0, lens_circle_falloff=5.0, lens_circle_multiplier=0.0, lens_k=-1.0, lens_kcube=0.0),
    *_floats(lens_x_size=0.08, lens_y_size=0.08),
)
_RGB = (
    *_CAMERA,
    *_floats(chromatic_aberration_intensity=0.0, chromatic_aberration_offset=0.0, gamma=2.2),
    Attribute("exposure_mode", _STRING, "histogram", ("histogram", "manual")),
    _switch("enable_postprocess_effects", True),
    *_floats(exposure_compensation=0.0, shutter_speed=200.0, iso=100.0, fstop=1.4, bloom_intensity=0.675),
    *_floats(motion_blur_intensity=0.45, motion_blur_max_distortion=0.35, motion_blur_min_object_screen_size=0.1),
    *_floats(lens_flare_intensity=0.1, exposure_min_bright=10.0, exposure_max_bright=12.0, exposure_speed_up=3.0),
    *_floats(exposure_speed_down=1.0, calibration_constant=16.0, blur_amount=1.0, blur_radius=0.0),
    *_floats(focal_distance=1000.0, min_fstop=1.2, slope=0.88, toe=0.55, shoulder=0.26, black_clip=0.0),
    *_floats(white_clip=0.04, temp=6500.0, tint=0.0),
    Attribute("blade_count", _INT, "5"),
)
_SCAN = (
    *_COMMON,
    *_ints(channels=32, points_per_second=56000),
    *_floats(range=10.0, rotation_frequency=10.0, upper_fov=10.0, lower_fov=-30.0, horizontal_fov=360.0),
)
_LIDAR = (
    *_SCAN,
    *_floats(atmosphere_attenuation_rate=0.004, dropoff_general_rate=0.45, dropoff_intensity_limit=0.8),
    *_floats(dropoff_zero_intensity=0.4, noise_stddev=0.0),
    *_ints(noise_seed=0),
)
_GNSS = (
    *_COMMON,
    *_floats(noise_alt_bias=0.0, noise_alt_stddev=0.0, noise_lat_bias=0.0, noise_lat_stddev=0.0),
    *_floats(noise_lon_bias=0.0, noise_lon_stddev=0.0),
    *_ints(noise_seed=0),
)
_IMU = (
    *_COMMON,
    *_floats(noise_accel_stddev_x=0.0, noise_accel_stddev_y=0.0, noise_accel_stddev_z=0.0),
    *_floats(noise_gyro_bias_x=0.0, noise_gyro_bias_y=0.0, noise_gyro_bias_z=0.0),
    *_floats(noise_gyro_stddev_x=0.0, noise_gyro_stddev_y=0.0, noise_gyro_stddev_z=0.0),
    *_ints(noise_seed=0),
)
_SENSORS: dict[str, tuple[Attribute, ...]] = {
    "sensor.camera.rgb": _RGB,
    "sensor.camera.depth": _CAMERA,
    "sensor.camera.semantic_segmentation": _CAMERA,
    "sensor.camera.instance_segmentation": _CAMERA,
    "sensor.camera.optical_flow": _CAMERA,
    "sensor.camera.dvs": (
        *_CAMERA,
        *_floats(positive_threshold=0.3, negative_threshold=0.3),
        *_floats(sigma_positive_threshold=0.0, sigma_negative_threshold=0.0, log_eps=0.001),
        *_ints(refractory_period_ns=0),
        _switch("use_log", True),
    ),
    "sensor.lidar.ray_cast": _LIDAR,
    "sensor.lidar.ray_cast_semantic": _SCAN,
    "sensor.other.radar": (
        *_COMMON,
        *_floats(horizontal_fov=30.0, vertical_fov=30.0, range=100.0),
        *_ints(points_per_second=1500),
    ),
    "sensor.other.gnss": _GNSS,
    "sensor.other.imu": _IMU,
    "sensor.other.collision": _COMMON,
    "sensor.other.lane_invasion": _COMMON,
    "sensor.other.obstacle": (
        *_COMMON,
        *_floats(distance=5.0, hit_radius=0.5),
        _switch("only_dynamics"),
        _switch("debug_linetrace"),
    ),
}

_FRICTION = Blueprint(
    "static.trigger.friction",
    (Attribute("role_name", _STRING, "trigger"), *_floats(friction=3.5, extent_x=5.0, extent_y=5.0, extent_z=5.0)),
)
_WALKER_CONTROLLER = Blueprint("controller.ai.walker", (Attribute("role_name", _STRING, "default"),))

#: All blueprints in the order in which the client receives them; a uid is the position here plus one.
BLUEPRINTS: tuple[Blueprint, ...] = (
    *map(_vehicle, _VEHICLES),
    *map(_walker, range(1, _WALKER_COUNT)),
    *(_prop(*row) for row in _PROPS),
    _mesh(),
    _FRICTION,
    _WALKER_CONTROLLER,
    *(Blueprint(name, attributes) for name, attributes in _SENSORS.items()),
)
_BY_ID = {row.id: row for row in BLUEPRINTS}


def blueprint(type_id: str) -> Blueprint:
    """Look up a blueprint. Raises ValueError naming the closest known one."""
    if type_id in _BY_ID:
        return _BY_ID[type_id]
    close = difflib.get_close_matches(type_id, _BY_ID, n=1)
    raise ValueError(f"unknown blueprint {type_id!r}{f'; did you mean {close[0]!r}?' if close else ''}")


def definitions() -> list[list[Any]]:
    """ActorDefinition of every blueprint, as the client reads them."""
    return [
        [uid, row.id, row.id.replace(".", ","), [item.wire() for item in row.attributes]]
        for uid, row in enumerate(BLUEPRINTS, start=1)
    ]
