"""Whether and why the ego vehicle brakes (6,0)."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataset_generation.language_labels.naming import (
    braking_location,
    colour,
    junction_side,
    question_colours,
    type_name,
)
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.route_data import LabelFailure
from dataset_generation.language_labels.scenarios import HIGHWAY_SCENARIOS
from dataset_generation.language_labels.vqa.obstruction import NEAR, nearest
from dataset_generation.language_labels.vqa.scene import HIGHWAY_LIMIT_KMH, VqaScene
from driving.label_records import QaPair
from driving.records import CarBox, PlacedBox, TrafficWarningBox, WalkerBox

TARGET_SHARE = 0.72
"""Share of the speed limit the expert drives at."""

JUNCTION_SPEED = 64 / 3.6
"""Speed limit inside a junction, m/s."""

TOO_FAST = 1.031266635497984
"""Speed over target above which the expert brakes (gain of its longitudinal controller)."""

NO_REASON = "There is no reason for the ego vehicle to brake."

INVADE = "The ego vehicle should stop because it must invade the opposite lane, which is occupied, in order to bypass"


@dataclass(frozen=True)
class Reason:
    """An answer with what it speaks of.

    Attributes:
        answer: The sentence.
        box: The object, if any.
        slots: Placeholder to text.
    """

    answer: str
    box: PlacedBox | None = None
    slots: dict[str, str] = field(default_factory=dict)


def ask_about_braking(scene: VqaScene) -> QaPair:
    """The pair of node (6,0)."""
    reason = _reason(scene)
    tags = scene.tags_of(reason.box)
    return scene.ask((6, 0), "Does the ego vehicle need to brake? Why?", reason.answer, tags, reason.slots)


def _reason(scene: VqaScene) -> Reason:
    reason = _reason_when_slowing(scene) if _is_slowing(scene) else _reason_behind_leader(scene)
    if reason is None and scene.measurement.control_brake:
        reason = _reason_to_wait_for_gap(scene)
    if reason is None and scene.stop_sign is not None:
        reason = Reason("The ego vehicle should slow down and stop at the stop sign.", scene.stop_sign)
    return reason or Reason(NO_REASON)


def _is_slowing(scene: VqaScene) -> bool:
    m = scene.measurement
    if m.control_brake:
        return True
    if m.speed_reduced_by_obj_id is None or m.speed_reduced_by_obj_distance is None:
        return False
    slow = m.speed < 0.9 * TARGET_SHARE * m.speed_limit
    return slow and m.speed_reduced_by_obj_distance < NEAR and m.target_speed < m.speed


def vehicle_slots(scene: VqaScene, vehicle: CarBox) -> dict[str, str]:
    """Name and place of a vehicle in braking answers."""
    kind = type_name(vehicle) if scene.corrects(Correction.TYPE_NAMES) else vehicle.base_type
    name = colour(vehicle, question_colours(scene.profile)) + kind
    return {"<OBJECT>": name, "<LOCATION>": braking_location(vehicle)}


# The expert slows down ------------------------------------------------------------------------------------------------


def _reason_when_slowing(scene: VqaScene) -> Reason | None:
    m = scene.measurement
    kind = m.speed_reduced_by_obj_type
    if kind is None:
        target = JUNCTION_SPEED if scene.in_junction else TARGET_SHARE * m.speed_limit
        too_fast = m.speed / target > TOO_FAST if target else m.speed > 0
        return Reason("The ego vehicle should brake because it is too fast.") if too_fast else None
    if kind == "traffic.stop":
        return Reason("The ego vehicle should stop because of the stop sign.", scene.stop_sign)
    if kind == "traffic.traffic_light":
        return Reason("The ego vehicle should stop because of the traffic light that is red.", scene.light)
    if m.walker_hazard:
        return _reason_of_walkers(scene)
    occupied = _reason_of_occupied_lane(scene, kind)
    if occupied is not None:
        return occupied
    vehicle = scene.frame.cars_by_id.get(m.speed_reduced_by_obj_id)  # type: ignore[arg-type]
    return None if vehicle is None else _reason_of_vehicle(scene, vehicle)


def _reason_of_walkers(scene: VqaScene) -> Reason:
    walkers: list[WalkerBox] = scene.frame.walkers
    if scene.corrects(Correction.NEAR_WALKERS):
        walkers = [walker for walker in walkers if 0 < walker.position[0] < NEAR] or walkers
    if not walkers:
        if scene.corrects(Correction.LOST_FRAMES):
            return Reason(NO_REASON)
        raise LabelFailure("a hazard by a pedestrian without pedestrians")
    closest = nearest(walkers)
    verb = "stop" if closest.distance < 10 else "slow down"
    who = "pedestrians that are" if len(walkers) > 1 else "pedestrian that is"
    return Reason(f"The ego vehicle should {verb} because of the {who} crossing the road.", closest)


def _reason_of_occupied_lane(scene: VqaScene, kind: str) -> Reason | None:
    """Waiting for oncoming traffic in front of an obstruction."""
    name = scene.scenario
    placed = scene.scenario_cars()
    if name == "AccidentTwoWays" and kind == "vehicle.dodge.charger_police_2020":
        police = next((car for car in placed if "police" in car.type_id), None)
        return Reason(f"{INVADE} the accident.", police)
    if name == "ConstructionObstacleTwoWays" and kind == "static.prop.trafficwarning":
        warning = next((box for box in scene.frame.props if isinstance(box, TrafficWarningBox)), None)
        return Reason(f"{INVADE} the construction warning.", warning)
    obstacle = {
        "ParkedObstacleTwoWays": "the parked vehicle",
        "VehicleOpensDoorTwoWays": "the vehicle with the opened doors",
        "HazardAtSideLaneTwoWays": "the bicycles",
    }.get(name)
    if obstacle:
        for car in placed:
            if car.id == scene.measurement.speed_reduced_by_obj_id:
                return Reason(f"{INVADE} {obstacle}.", car)
    return None


def _reason_of_vehicle(scene: VqaScene, vehicle: CarBox) -> Reason | None:
    special = _reason_in_scenario(scene, vehicle)
    if special:
        return Reason(special, vehicle, vehicle_slots(scene, vehicle))
    if vehicle.num_points < 3 or vehicle.id not in scene.considered_ids:
        return None
    return Reason(_answer_about_vehicle(scene, vehicle), vehicle, vehicle_slots(scene, vehicle))


def _answer_about_vehicle(scene: VqaScene, vehicle: CarBox) -> str:
    stop = "stop" if vehicle.speed < 0.5 else "brake"
    because = f"The ego vehicle should {stop} because of the <OBJECT> that is"
    if not scene.measurement.vehicle_hazard:
        if vehicle.speed < 0.5:
            return f"{because} <LOCATION>."
        return "The ego vehicle should adjust its speed to the speed of the <OBJECT> that is <LOCATION>."
    if scene.scenario in HIGHWAY_SCENARIOS and scene.speed_limit_kmh > HIGHWAY_LIMIT_KMH:
        return f"{because} <LOCATION>."
    if scene.is_at_junction(10.0) and vehicle.road_id != scene.ego.road_id:
        return f"{because} on the {junction_side(vehicle)} side of the junction."
    if vehicle.vehicle_cuts_in:
        return f"{because} cutting into the ego vehicle's lane."
    return f"{because} <LOCATION>."


def _reason_in_scenario(scene: VqaScene, vehicle: CarBox) -> str | None:
    """Answers that the scenario decides, whatever the vehicle does."""
    start = "because of the <OBJECT> that is"
    by_scenario = [car for car in scene.considered if "scenario" in car.role_name]
    hazard = scene.measurement.vehicle_hazard
    if hazard and scene.scenario == "InterurbanActorFlow" and scene.in_junction:
        return f"The ego vehicle should stop {start} on the oncoming lane and is crossing paths with the ego vehicle."
    bicycle_crosses = any(car.base_type == "bicycle" for car in by_scenario) and scene.is_at_junction(10.0)
    if hazard and scene.scenario == "CrossingBicycleFlow" and bicycle_crosses:
        return f"The ego vehicle should slow down {start} <LOCATION> and is crossing the intersection."
    if scene.scenario == "BlockedIntersection" and any(car.distance < 15 for car in by_scenario):
        return f"The ego vehicle should slow down {start} <LOCATION> and is blocking the intersection."
    return None


# The expert follows someone, or waits ---------------------------------------------------------------------------------


def _reason_behind_leader(scene: VqaScene) -> Reason | None:
    actor, m = scene.ego.affects_ego_40, scene.measurement
    if actor is None:
        return None
    lead = scene.frame.cars_by_id.get(actor)
    if lead is None:
        if scene.corrects(Correction.LOST_FRAMES):
            return None
        raise LabelFailure("the vehicle ahead has no box")
    considered = lead.id in scene.considered_ids
    blocks = "scenario" in lead.role_name and lead.distance < 15 and scene.scenario == "BlockedIntersection"
    if blocks and (considered or not scene.corrects(Correction.LOST_FRAMES)):
        if not considered:
            raise LabelFailure("the vehicle that blocks the intersection is not visible")
        answer = (
            "The ego vehicle should stop because of the <OBJECT> that is <LOCATION> and is blocking the intersection."
        )
        return Reason(answer, lead, vehicle_slots(scene, lead))
    if considered and m.speed < 0.9 * TARGET_SHARE * m.speed_limit and m.throttle < 0.9:
        answer = "The ego vehicle should adjust its speed to the speed of the <OBJECT> that is <LOCATION>."
        return Reason(answer, lead, vehicle_slots(scene, lead))
    return None


def _reason_to_wait_for_gap(scene: VqaScene) -> Reason | None:
    """Standing behind an obstruction on a road with more lanes in the own direction."""
    name, placed = scene.scenario, scene.scenario_cars()
    slots: dict[str, str] = {}
    if name == "Accident":
        found: list[PlacedBox] = [car for car in placed if "police" in car.type_id]
        obstacle = "bypass the accident"
    elif name == "ConstructionObstacle":
        found = [box for box in scene.frame.props if isinstance(box, TrafficWarningBox)]
        obstacle = "bypass the construction warning"
        _require_one(scene, found, "construction warnings")
    elif name == "HazardAtSideLane":
        found = [car for car in placed if car.base_type == "bicycle"]
        obstacle = "bypass the <COUNT> bicycles"
        if len(found) == 1 and scene.corrects(Correction.COUNTED_BICYCLES):
            obstacle = "bypass the bicycle"
        slots = {"<COUNT>": str(len(found))}
    elif name == "ParkedObstacle":
        found = list(placed)
        obstacle = "bypass the parked vehicle"
        _require_one(scene, found, "parked vehicles")
    else:
        return None
    if not found or nearest(found).distance >= NEAR:
        return None
    verb = "stop" if scene.measurement.speed < 1 else "brake"
    answer = f"The ego vehicle should {verb} because it must change the lane to {obstacle}."
    return Reason(answer, nearest(found), slots)


def _require_one(scene: VqaScene, found: list[PlacedBox], what: str) -> None:
    if len(found) != 1 and not scene.corrects(Correction.LOST_FRAMES):
        raise LabelFailure(f"{len(found)} {what}, expected one")
