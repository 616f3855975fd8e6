"""What the traffic at a junction does."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_generation.language_labels.commentary.cause import is_visible
from dataset_generation.language_labels.naming import Pointing, points_to_junction, shares_junction
from dataset_generation.language_labels.profiles import Correction, Profile
from dataset_generation.language_labels.projection import ImageRegion
from dataset_generation.language_labels.route_data import Frame
from driving.records import CarBox

NEAR_JUNCTION = 15.0
"""Junctions farther away are not spoken of, metres."""


@dataclass(frozen=True)
class JunctionNote:
    """Traffic at the junction.

    Attributes:
        text: A clause without a full stop; empty when no vehicle approaches; None away from junctions.
        stopped: Whether the approaching vehicles stand.
    """

    text: str | None
    stopped: bool = False


def junction_note(frame: Frame, profile: Profile, region: ImageRegion) -> JunctionNote:
    """Describe the vehicles that approach the junction ahead and those inside it."""
    ego = frame.ego
    is_near = ego.distance_to_junction is not None and ego.distance_to_junction < NEAR_JUNCTION
    if not (ego.is_in_junction or ego.is_intersection or is_near):
        return JunctionNote(None)
    visible = [car for car in frame.cars if is_visible(car, region)]
    occupied = any(car.is_in_junction for car in visible)
    standing = [_is_standing(car) for car in visible if _approaches(car, frame, profile)]
    if not standing:
        return JunctionNote("")
    if all(standing) if Correction.JUNCTION_NOTE in profile else standing[-1]:
        inside = "the vehicle in the junction is moving away" if occupied else "the junction is clear"
        return JunctionNote(f"the other vehicles are stopped at the junction and {inside}", stopped=True)
    if occupied:
        return JunctionNote("pay attention to the vehicle in the junction")
    return JunctionNote("pay attention to the vehicles coming towards the junction")


def _is_standing(car: CarBox) -> bool:
    return car.brake > 0.8 or car.speed < 1


def _approaches(car: CarBox, frame: Frame, profile: Profile) -> bool:
    """Whether a vehicle points towards the junction and either stands or reaches the ego vehicle within 7 s."""
    if frame.ego.junction_id == -1 or car.junction_id == -1:
        towards = points_to_junction(car, profile) == Pointing.TOWARDS
    else:
        towards = shares_junction(car, frame.ego)
    return towards and (car.distance <= 7 * car.speed or _is_standing(car))
