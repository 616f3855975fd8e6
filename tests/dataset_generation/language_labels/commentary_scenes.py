"""Hand-built moments, one row each, that together take every branch of commentary."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dataset_generation.language_labels.commentary.window import Window
from dataset_generation.language_labels.profiles import Profile
from driving.records import Box, TrafficLightBox, WalkerBox
from tests.dataset_generation.language_labels.conftest import ROUTE, frame_of
from tests.dataset_generation.language_labels.vqa_scenes import (
    BESIDE_ROUTE,
    LINE,
    bicycle,
    car,
    elsewhere,
    near,
    parked,
    police,
    sign,
    steered,
    walker,
    warning,
)

TURNS_SOON = [[2.5 + i, 3.5 if i > 4 else 0.0] for i in range(40)]
TURNS_LATER = [[2.5 + i, 3.5 if i > 14 else 0.0] for i in range(40)]
RETURNS = [[x, 3.5 if x < 6 else 0.0] for x, _ in ROUTE]


class Draw(random.Random):
    """A generator whose every draw is the same: small ones say the optional distance."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


@dataclass(frozen=True)
class Moment:
    """A frame that differs from a calm road in few values, and what happens around it in time.

    Attributes:
        name: What the moment shows; its sentences stand under it in ``commentary_sentences.json``.
        scenario: Scenario of the route, None away from scenarios.
        measurement, road: Changed values of the expert's record and of the ego lane.
        boxes: Things in the scene.
        speed: Of the ego vehicle, m/s.
        target: Target speed of the next second, m/s; the speed where it is None.
        deviated: Whether the route was changed in the second before.
        distance: Whether the optional distance is said.
        moves: Metres from one frame to the next.
    """

    name: str
    scenario: str | None = None
    measurement: Mapping[str, Any] = field(default_factory=dict)
    road: Mapping[str, Any] = field(default_factory=dict)
    boxes: Sequence[Box] = ()
    speed: float = 8.0
    target: float | None = None
    deviated: bool = False
    distance: bool = False
    moves: float = 2.0

    def window(self, profile: Profile) -> Window:
        """The moment as the commentary generator sees it."""
        target = self.speed if self.target is None else self.target
        recorded = frame_of({"target_speed": target, **self.measurement}, self.road, self.boxes, self.speed)
        now = recorded.measurement
        future = [replace(now, pos_global=[self.moves * i, 0.0], target_speed=target) for i in range(11)]
        past = [replace(now, changed_route=self.deviated)] * 4
        return Window(recorded, self.scenario, profile, past=past, future=future)

    def draws(self) -> Draw:
        """Random generator of the moment."""
        return Draw(0.1 if self.distance else 0.9)


def caused_by(box: Any, **changes: Any) -> dict[str, Any]:
    """The speed is reduced by a box."""
    named = {"type": box.type_id, "id": box.id, "distance": box.distance}
    return {**{f"speed_reduced_by_obj_{name}": value for name, value in named.items()}, **changes}


def caused_by_type(
    kind: str | None, distance: float | None, number: int | None = 999, **changes: Any
) -> dict[str, Any]:
    """The speed is reduced by something that has no box."""
    named = {"type": kind, "id": number, "distance": distance}
    return {**{f"speed_reduced_by_obj_{name}": value for name, value in named.items()}, **changes}


def light(state: str, distance: float = 15.0) -> TrafficLightBox:
    """The stop line of a traffic light that holds the ego vehicle."""
    return TrafficLightBox(
        **LINE, position=[distance, 0.0, 0.0], distance=distance, state=state, id=9, affects_ego=True
    )


def child(x: float, y: float = 0.5, **changes: Any) -> WalkerBox:
    """A child near the road."""
    return walker(x, y, **{"age": "child", "extent": [0.2, 0.2, 0.6], **changes})


def approaching(**changes: Any) -> Any:
    """A car that comes from the left towards the junction."""
    return elsewhere(**{"x": 20.0, "y": -12.0, "yaw": 1.57, **changes})


def speeds() -> Iterator[Moment]:
    """Speed actions without an object."""
    for name, speed, target in (
        ("stands", 0.0, 0.0),
        ("stops", 0.4, 0.0),
        ("drives at the limit", 10.0, 10.0),
        ("drives below the limit", 8.0, 8.0),
        ("speeds up", 4.0, 9.0),
        ("slows down", 9.0, 4.0),
    ):
        yield Moment(name, speed=speed, target=target)
        yield Moment(f"{name} in a junction", speed=speed, target=target, road={"is_in_junction": True})


def commands() -> Iterator[Moment]:
    """Route actions that commands ask for."""
    for command in (1, 2, 3, 5, 6):
        yield Moment(f"command {command} near", measurement=steered(command))
        yield Moment(f"command {command} far", measurement=steered(command, 25.0))
    yield Moment("parking space", "ParkingExit", {"route": [[x, -2.0] for x, _ in ROUTE]}, speed=1.0)


def vehicles() -> Iterator[Moment]:
    """Reasons that are vehicles."""
    leader, queued = car(), car(8.0, speed=0.0, traffic_light_state="Red")
    for said in (False, True):
        words = "with" if said else "without"
        common = {"distance": said}
        yield Moment(f"leader drives off, {words} distance", None, caused_by(leader), {}, [leader], 8.0, 12.0, **common)
        yield Moment(f"leader slows, {words} distance", None, caused_by(leader), {}, [leader], 8.0, 3.0, **common)
        yield Moment(
            f"queue at a red light, {words} distance",
            None,
            caused_by(queued),
            {},
            [queued, light("Red")],
            0.0,
            **common,
        )
        yield Moment(
            f"rolling up to a queue, {words} distance",
            None,
            caused_by(queued),
            {},
            [queued, light("Red")],
            5.0,
            1.0,
            **common,
        )
        standing = car(9.0, speed=0.0)
        yield Moment(
            f"standing vehicle ahead, {words} distance", None, caused_by(standing), {}, [standing], 2.0, **common
        )
    crossing_bicycle = bicycle(15.0, 3.0, role_name="scenario")
    yield Moment(
        "bicycle crosses", "CrossingBicycleFlow", caused_by(crossing_bicycle), {}, [crossing_bicycle], 8.0, 2.0
    )
    nearer = car(8.0, 3.0, id=102, color_name="blue", color_rgb=None)
    hazard = caused_by(leader, vehicle_hazard=True, vehicle_affecting_id=102)
    yield Moment("hazard nearer than the leader", None, hazard, {}, [leader, nearer], 8.0, 1.0)
    left = car(15.0, -3.0, **{"type_id": "vehicle.dodge.charger_police_2020"})
    yield Moment("police car on the left", None, caused_by(left), {}, [left], 8.0, 3.0)
    yield Moment("vehicle without a box", None, caused_by_type("vehicle.lincoln.mkz_2020", 20.0), {}, [], 8.0, 3.0)
    yield Moment("something without a type", None, caused_by_type(None, 10.0, None), {}, [], 8.0, 3.0)
    farther = car(40.0, 3.0, id=102)
    yield Moment("hazard behind the leader", None, hazard, {}, [leader, farther], 8.0, 1.0)
    beside = car(1.0, 12.0, id=102)
    yield Moment("hazard outside the image", None, hazard, {}, [leader, beside], 8.0, 1.0)
    far = car(45.0)
    yield Moment("vehicle too far to matter", None, caused_by(far), {}, [far], 8.0, 12.0)


def pedestrians() -> Iterator[Moment]:
    """Reasons and remarks that are pedestrians."""
    person, leader = child(9.0), car()
    hazard = {"walker_hazard": True}
    yield Moment(
        "child in the path, behind a leader", None, caused_by(leader, **hazard), {}, [leader, person], 8.0, 1.0
    )
    slowed = caused_by_type("walker.pedestrian.0001", person.distance, person.id, **hazard)
    yield Moment("child in the path", None, slowed, {}, [person], 8.0, 1.0)
    yield Moment("starting again behind a child", None, slowed, {}, [child(9.0, speed=0.1)], 1.0, 5.0)
    far = walker(25.0)
    beyond = caused_by_type("walker.pedestrian.0001", far.distance, far.id, **hazard)
    yield Moment("pedestrian at the exit of a junction", None, beyond, near(10.0), [far], 1.0, 5.0)
    for name, speed in (("moving", 9.0), ("standing", 0.0)):
        cars = [far, approaching(speed=speed)]
        yield Moment(f"pedestrian at the exit, {name} traffic", None, beyond, near(10.0), cars, 1.0, 5.0)
    yield Moment("pedestrian beside the road", boxes=[walker(9.0, 6.0)])
    yield Moment("close pedestrian by its id", None, {"walker_close_id": 200}, {}, [walker(9.0, 6.0)])
    yield Moment("standing pedestrian beside the road", boxes=[walker(9.0, 6.0, speed=0.0)])


def signs_and_objects() -> Iterator[Moment]:
    """Reasons that are signs, lights and things on the road."""
    cleared = {"speed_reduced_by_obj_type": "traffic.stop", "speed_reduced_by_obj_id": 300}
    passed = {**cleared, "speed_reduced_by_obj_distance": 1.0}
    at_sign = [sign(1.0, False)]
    yield Moment("stop sign cleared", None, passed, {}, at_sign, 0.5, 5.0)
    others = {
        "coming": [approaching(speed=9.0)],
        "standing": [approaching(speed=0.0)],
        "in the junction": [approaching(speed=9.0), elsewhere(15.0, 0.0, id=7, is_in_junction=True)],
        "standing and one in the junction": [approaching(speed=0.0), elsewhere(15.0, 0.0, id=7, is_in_junction=True)],
    }
    for name, cars in others.items():
        yield Moment(f"stop sign cleared, traffic {name}", None, passed, near(), [*at_sign, *cars], 0.5, 5.0)
        yield Moment(f"green light, traffic {name}", None, {}, near(), [light("Green"), *cars])
        yield Moment(f"no light, traffic {name}", None, {}, near(), cars)
        yield Moment(f"through the junction, traffic {name}", None, {}, {"is_in_junction": True}, cars, 4.0, 8.0)
        yield Moment(f"speeding up, traffic {name}", None, {}, near(), cars, 4.0, 8.0)
    yield Moment("stop sign cleared, empty junction", None, passed, near(), at_sign, 0.5, 5.0)
    yield Moment("green light, empty junction", None, {}, near(), [light("Green")])
    yield Moment("green light without a junction", boxes=[light("Green")])
    yield Moment("slowing at a green light", boxes=[light("Green")], speed=9.0, target=4.0)
    yield Moment("stop sign ahead", None, {"stop_sign_hazard": True}, near(12.0), [sign(9.0)], 8.0, 1.0)
    yield Moment("red light by hazard", None, {"light_hazard": True}, near(18.0), [light("Red")], 8.0, 1.0)
    for said in (False, True):
        words = "with" if said else "without"
        red = [light("Red")]
        yield Moment(f"red light, {words} distance", boxes=red, target=2.0, distance=said)
        yield Moment(
            f"closing up to a red light, {words} distance",
            boxes=[light("Red", 10.0)],
            speed=2.0,
            target=6.0,
            distance=said,
        )
    yield Moment("red light far away", boxes=[light("Red", 30.0)], target=2.0)
    yield Moment("speeding up far from a red light", boxes=[light("Red", 30.0)], speed=2.0, target=6.0)
    lamp = caused_by_type("traffic.traffic_light", 15.0, 9)
    yield Moment("light with a box", None, lamp, {}, [light("Yellow")], 8.0, 2.0)
    same = {"junction_id": 5, "next_junction_id": 5}
    yield Moment(
        "traffic of the same junction", None, {}, near(**same), [light("Green"), approaching(**same, speed=9.0)]
    )
    unplaced = {"stop_sign_hazard": True}
    yield Moment("stop sign without a place", None, unplaced, {}, [], 8.0, 2.0)
    sign_type = "static.prop.trafficwarning"
    site = caused_by_type(sign_type, 18.0)
    yield Moment("construction site", "ConstructionObstacle", site, {}, [warning()], 8.0, 1.0)


def obstacles() -> Iterator[Moment]:
    """Route actions around obstacles, in every stage of passing them."""
    names = (
        "Accident", "AccidentTwoWays", "ConstructionObstacle", "ConstructionObstacleTwoWays", "HazardAtSideLane",
        "HazardAtSideLaneTwoWays", "InvadingTurn", "ParkedObstacle", "ParkedObstacleTwoWays", "VehicleOpensDoorTwoWays",
        "YieldToEmergencyVehicle",
    )  # fmt: skip
    passing = {"route": ROUTE, "route_original": BESIDE_ROUTE, "changed_route": True}
    for name in names:
        yield Moment(f"{name} later", name, {"route": TURNS_LATER})
        yield Moment(f"{name}, gap", name, {"route": TURNS_SOON})
        yield Moment(f"{name}, no gap", name, {"route": TURNS_SOON, "target_speed": 0.0})
        yield Moment(f"{name}, beside", name, passing, deviated=True)
        yield Moment(f"{name}, back", name, {"route_original": RETURNS, "changed_route": True}, deviated=True)
    leader = car()
    later = caused_by(leader, route=TURNS_LATER)
    yield Moment("obstacle behind a leader", "ParkedObstacle", later, {}, [leader])
    yield Moment("obstacle, the ego waits", "ParkedObstacle", {"route": TURNS_SOON}, moves=0.01)
    yield Moment("deviation in another scenario", "ControlLoss", {"route": TURNS_SOON})
    yield Moment("deviation outside scenarios", None, {"route": TURNS_SOON})
    yield Moment("accident with a police car", "Accident", {"route": TURNS_SOON}, {}, [police(12.0), parked(16.0)])


MOMENTS = tuple(
    moment for family in (speeds, commands, vehicles, pedestrians, signs_and_objects, obstacles) for moment in family()
)
"""Every moment."""
