"""The object behind what the ego vehicle does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dataset_generation.language_labels.naming import COMMENTARY_COLOURS, FRONT_HALF_WIDTH, colour, side_of, type_name
from dataset_generation.language_labels.profiles import Correction, Profile
from dataset_generation.language_labels.projection import CAMERA_X, ImageRegion, is_in_image
from dataset_generation.language_labels.route_data import Frame, LabelFailure
from driving.records import (
    Box,
    CarBox,
    PlacedBox,
    StopSignBox,
    TrafficLightBox,
    WalkerBox,
)

FAR = 40.0
"""Objects farther away are no cause, metres."""

MIN_POINTS = 3
"""Objects with at most this many LiDAR points do not count as visible."""

STOP_TYPE = "traffic.stop"
LIGHT_TYPE = "traffic_light"

APPEARANCE_BY_TYPE = (
    (STOP_TYPE, "stop sign"),
    ("vehicle", "vehicle"),
    ("walker", "walker"),
    (LIGHT_TYPE, "red traffic light"),
    ("trafficwarning", "construction site"),
)
"""Part of a type to how an object without a box is called; the first match wins."""


@dataclass(frozen=True)
class Cause:
    """The object behind the action; all None and empty without one.

    Attributes:
        type: Blueprint or kind.
        distance: Metres, one decimal.
        box: Its box, where there is one.
        text: How it is called.
        is_visible: Whether it is visible in the image; True without a vehicle or pedestrian.
        at_red_light: Whether it is a vehicle at a red light that also stops the ego vehicle.
    """

    type: str | None = None
    distance: float | None = None
    box: PlacedBox | None = None
    text: str = ""
    is_visible: bool = True
    at_red_light: bool = False


def appearance(box: Box, profile: Profile) -> str:
    """How an object is called.

    Raises:
        LabelFailure: If there is no name for it.
    """
    if isinstance(box, TrafficLightBox):
        return f"{box.state.lower()} traffic light"
    if isinstance(box, StopSignBox):
        return "stop sign"
    if isinstance(box, WalkerBox):
        return "child" if box.age == "child" else "pedestrian"
    if isinstance(box, CarBox):
        if abs(box.position[1]) == FRONT_HALF_WIDTH and Correction.LOST_FRAMES not in profile:
            raise LabelFailure("a vehicle exactly between front and side")
        return f"{colour(box, COMMENTARY_COLOURS)}{type_name(box)} that is to the front{side_of(box)}"
    raise LabelFailure(f"no name for a cause of class {box.box_class}")


def is_visible(box: PlacedBox, region: ImageRegion) -> bool:
    """Whether a vehicle or pedestrian is seen by camera and LiDAR; other objects always count as visible."""
    if not isinstance(box, (CarBox, WalkerBox)):
        return True
    return box.position[0] > CAMERA_X and box.num_points > MIN_POINTS and is_in_image(box, region)


def boxes_by_id(frame: Frame, profile: Profile) -> dict[int, PlacedBox]:
    """All boxes with an id, the last one where classes share an id.

    Raises:
        LabelFailure: If an id is null, in the published profile.
    """
    found: dict[int, PlacedBox] = {}
    for box in frame.boxes:
        number = getattr(box, "id", -1)
        if number is None and Correction.LOST_FRAMES not in profile:
            raise LabelFailure("a box with a null id")
        if hasattr(box, "id") and isinstance(box, PlacedBox) and number is not None:
            found[number] = box
    return found


def find_cause(frame: Frame, profile: Profile, region: ImageRegion) -> Cause:
    """The object that lowered the speed, or the stop sign or red light the ego vehicle stands at."""
    cause = _expert_cause(frame, profile, region)
    for light in frame.light_lines:
        if light.affects_ego and light.distance < FAR and light.state == "Red":
            if cause.box is None:
                cause = replace(cause, type=LIGHT_TYPE, distance=light.distance, box=light, text="red traffic light")
            at_red = isinstance(cause.box, CarBox) and cause.box.traffic_light_state == "Red"
            cause = replace(cause, at_red_light=at_red)
            break
    return replace(cause, distance=None if cause.distance is None else round(cause.distance, 1))


def _expert_cause(frame: Frame, profile: Profile, region: ImageRegion) -> Cause:
    m, to_junction = frame.measurement, frame.ego.distance_to_junction
    boxes = boxes_by_id(frame, profile)
    box: PlacedBox | None = None
    if m.stop_sign_hazard:
        kind, distance = STOP_TYPE, _to_stop_line(frame.stop_signs, to_junction, profile)
    elif m.light_hazard and to_junction is not None and to_junction < FAR:
        kind, distance = LIGHT_TYPE, _to_stop_line(frame.light_lines, to_junction, profile)
    else:
        kind, distance = m.speed_reduced_by_obj_type, m.speed_reduced_by_obj_distance  # type: ignore[assignment]
        if m.speed_reduced_by_obj_id is not None:
            box = boxes.get(m.speed_reduced_by_obj_id)
    if distance is None:
        return Cause()
    if box is not None:
        text, seen = appearance(box, profile), is_visible(box, region)
    else:
        text, seen = _appearance_of_type(kind), True
    if round(distance, 1) > FAR:
        return Cause(is_visible=seen)
    return Cause(kind, round(distance, 1), box, text, seen)


def _to_stop_line(
    lines: Sequence[StopSignBox | TrafficLightBox], to_junction: float | None, profile: Profile
) -> float | None:
    """Distance to the stop line of a sign or light, metres: as recorded, else five metres before the junction."""
    guess = None if to_junction is None else to_junction - 5
    if Correction.STOP_DISTANCE not in profile:
        return guess
    recorded = [line.distance for line in lines if line.affects_ego]
    return min(recorded) if recorded else None if guess is None else max(guess, 0.0)


def _appearance_of_type(kind: str | None) -> str:
    if not kind:
        return ""
    for part, text in APPEARANCE_BY_TYPE:
        if part in kind:
            return text
    raise LabelFailure(f"no name for a cause of type {kind}")
