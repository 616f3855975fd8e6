"""How objects, places and directions are called in sentences."""

from __future__ import annotations

from math import degrees

from dataset_generation.language_labels.profiles import Correction, Profile
from driving.records import CarBox, EgoInfoBox, PlacedBox

FRONT_HALF_WIDTH = 2.0
"""Objects at most this far to the side are to the front, metres."""

ColourTable = dict[tuple[int, ...], str]

_DARK_GREEN: ColourTable = {(0, 28, 0): "dark green", (12, 42, 12): "dark green"}
_BRIGHT: ColourTable = {(211, 142, 0): "yellow", (145, 255, 181): "blue", (215, 88, 0): "orange"}
QUESTION_COLOURS: ColourTable = {**_DARK_GREEN, **_BRIGHT}
"""Blueprint colours (RGB) whose nearest CSS2 name misleads, as the published questions name them."""

COMMENTARY_COLOURS: ColourTable = {**QUESTION_COLOURS, (0, 21, 0): "dark green", (0, 12, 58): "dark blue"}
"""The same for commentary; the corrected profile uses this table everywhere."""

TYPE_NAMES = (
    ("firetruck", "firetruck"),
    ("police", "police car"),
    ("ambulance", "ambulance"),
    ("jeep", "jeep"),
    ("micro", "small car"),
    ("nissan.patrol", "SUV"),
    ("european_hgv", "HGV"),
    ("sprinter", "sprinter"),
)
"""Part of a blueprint name to what people call the vehicle; the first match wins."""

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number_word(number: int, profile: Profile) -> str:
    """A count in words, up to ten.

    Raises:
        ValueError: For larger numbers, unless the profile corrects lost frames; then digits.
    """
    if 0 <= number < len(NUMBER_WORDS):
        return NUMBER_WORDS[number]
    if Correction.LOST_FRAMES in profile:
        return str(number)
    raise ValueError(f"no word for the number {number}; zero to ten are known")


def colour(vehicle: CarBox, table: ColourTable) -> str:
    """Colour name with a trailing space, empty when the vehicle has none."""
    name = vehicle.color_name
    if vehicle.color_rgb is not None:
        name = table.get(tuple(vehicle.color_rgb), name)
    return "" if name is None or name == "None" else f"{name} "


def type_name(vehicle: CarBox) -> str:
    """What people call the vehicle."""
    for part, name in TYPE_NAMES:
        if part in vehicle.type_id:
            return name
    return vehicle.base_type


def describe(vehicle: CarBox, profile: Profile) -> str:
    """Colour and kind of a vehicle in questions, e.g. ``red police car``."""
    return colour(vehicle, question_colours(profile)) + type_name(vehicle)


def question_colours(profile: Profile) -> ColourTable:
    """The colour table questions use."""
    return COMMENTARY_COLOURS if Correction.COLOURS in profile else QUESTION_COLOURS


def side_of(box: PlacedBox) -> str:
    """`` right``, `` left`` or nothing, for the word after "to the front"."""
    if box.position[1] > FRONT_HALF_WIDTH:
        return " right"
    if box.position[1] < -FRONT_HALF_WIDTH:
        return " left"
    return ""


def front_location(box: PlacedBox) -> str:
    """``to the front[ right| left] of the ego vehicle``."""
    return f"to the front{side_of(box)} of the ego vehicle"


def vehicle_location(vehicle: CarBox) -> str:
    """As `front_location`, with ``far `` beyond 25 m and ``nearby `` within 15 m."""
    near_or_far = "far " if vehicle.distance > 25 else "nearby " if vehicle.distance < 15 else ""
    return near_or_far + front_location(vehicle)


def braking_location(box: PlacedBox) -> str:
    """``to the front of it``, ``to the front right`` or ``to the front left``."""
    side = side_of(box)
    return f"to the front{side}" if side else "to the front of it"


def heading_phrase(vehicle: CarBox) -> str:
    """Where a vehicle points relative to the ego vehicle."""
    heading = degrees(vehicle.yaw)
    if -135 < heading < -45:
        return "is pointing leftwards"
    if 45 < heading < 135:
        return "is pointing rightwards"
    if abs(heading) > 135:
        return "is pointing towards the ego vehicle"
    return "is pointing in the same direction as the ego vehicle"


JUNCTION_HALF_WIDTH = 8.0
"""Vehicles farther to the side than this are on the left or right arm of a junction, metres."""


def junction_side(vehicle: CarBox) -> str:
    """Arm of the junction a vehicle is on: left, right or opposite."""
    if vehicle.position[1] < -JUNCTION_HALF_WIDTH:
        return "left"
    if vehicle.position[1] > JUNCTION_HALF_WIDTH:
        return "right"
    return "opposite"


class Pointing:
    """Answers of `points_to_junction`."""

    TOWARDS = "is pointing towards the junction"
    AWAY = "is pointing away from the junction"
    UNKNOWN = "is pointing in an unknown direction"


def points_to_junction(vehicle: CarBox, profile: Profile) -> str:
    """Whether a vehicle points towards the junction, judged by its side and heading alone (see `Pointing`)."""
    heading, y = degrees(vehicle.yaw), vehicle.position[1]
    if y < -JUNCTION_HALF_WIDTH and 45 < abs(heading) < 135:
        return Pointing.TOWARDS if heading > 0 else Pointing.AWAY
    if y > JUNCTION_HALF_WIDTH and 45 < abs(heading) < 135:
        return Pointing.TOWARDS if heading < 0 else Pointing.AWAY
    is_ahead = -JUNCTION_HALF_WIDTH < y < JUNCTION_HALF_WIDTH
    backwards_anywhere = heading < -135 and Correction.POINTING not in profile
    if (is_ahead and abs(heading) > 135) or backwards_anywhere:
        return Pointing.TOWARDS
    if is_ahead and -45 < heading < 45:
        return Pointing.AWAY
    return Pointing.UNKNOWN


def shares_junction(vehicle: CarBox, ego: EgoInfoBox) -> bool:
    """Whether the vehicle's next junction is the one the ego vehicle is in or reaches next."""
    return vehicle.next_junction_id in (ego.next_junction_id, ego.junction_id)
