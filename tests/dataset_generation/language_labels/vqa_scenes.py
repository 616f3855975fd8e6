"""Hand-built scenes, one row each, that together call forth every canonical answer to the 22 questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot
from typing import Any

from dataset_generation.language_labels.synthetic import moved
from driving.records import (
    Box,
    CarBox,
    StaticBox,
    StopSignBox,
    TrafficLightBox,
    TrafficLightVqaBox,
    TrafficWarningBox,
    WalkerBox,
)
from tests.dataset_generation.language_labels.conftest import RED_CAR, ROUTE

LINE = {"extent": [1.5, 1.5, 0.5]}
HIGHWAY = {"speed_limit": 25.0}
ON_HIGHWAY = {"num_lanes_same_direction": 3, "num_lanes_opposite_direction": 0}
IN_JUNCTION = {"is_in_junction": True, "junction_id": 5}
BESIDE_ROUTE = [[x, 3.5] for x, _ in ROUTE]
DEVIATING = {"changed_route": True, "route_original": BESIDE_ROUTE}


@dataclass(frozen=True)
class Scene:
    """A frame that differs from a calm road in few values, and the questions it is made for.

    Attributes:
        name: What the scene shows; the answers stand under it in ``vqa_answers.json``.
        nodes: Graph nodes of the questions; where a node has two questions, ``(c, l, 0)`` is the first of them.
        scenario: Scenario of the route.
        measurement, road: Changed values of the expert's record and of the ego lane.
        boxes: Things in the scene.
        speed: Of the ego vehicle, m/s.
    """

    name: str
    nodes: Sequence[tuple[int, ...]]
    scenario: str = "noScenario"
    measurement: Mapping[str, Any] = field(default_factory=dict)
    road: Mapping[str, Any] = field(default_factory=dict)
    boxes: Sequence[Box] = ()
    speed: float = 8.0


def car(x: float = 20.0, y: float = 0.0, **changes: Any) -> CarBox:
    """A red car at a place of the ego frame."""
    return moved(RED_CAR, position=[x, y, 0.0], **changes)


def elsewhere(x: float = 20.0, y: float = 0.0, **changes: Any) -> CarBox:
    """A red car on another road, in the same direction as nobody."""
    return car(x, y, **{"road_id": 77, "same_road_as_ego": False, "lane_relative_to_ego": None, **changes})


def bicycle(x: float = 20.0, y: float = 0.0, **changes: Any) -> CarBox:
    """A red bicycle."""
    return car(x, y, **{"base_type": "bicycle", "type_id": "vehicle.bh.crossbike", **changes})


def crossing(**changes: Any) -> CarBox:
    """A red car inside the junction ahead."""
    return elsewhere(**{**IN_JUNCTION, **changes})


def police(x: float = 20.0, **changes: Any) -> CarBox:
    """A police car of the scenario that stands."""
    known = {"type_id": "vehicle.dodge.charger_police_2020", "role_name": "scenario", "speed": 0.0}
    return car(x, **{**known, **changes})


def parked(x: float = 20.0, y: float = 0.0, **changes: Any) -> CarBox:
    """A red car of the scenario that stands."""
    return car(x, y, **{"role_name": "scenario", "speed": 0.0, **changes})


def walker(x: float, y: float = 0.0, **changes: Any) -> WalkerBox:
    """An adult who walks."""
    values = {"age": "adult", "num_points": 20, "speed": 1.0, "id": 200, "extent": [0.2, 0.2, 0.9]}
    return WalkerBox(position=[x, y, 0.9], distance=(x * x + y * y + 0.81) ** 0.5, **{**values, **changes})


def head(distance: float, state: str) -> TrafficLightVqaBox:
    """A traffic light over the ego lane."""
    return TrafficLightVqaBox(
        **LINE, position=[distance, 3.0, 4.0], distance=distance, state_str=state, state=0, affects_ego=True
    )


def line(distance: float, state: str) -> TrafficLightBox:
    """The stop line of a traffic light."""
    return TrafficLightBox(
        **LINE, position=[distance, 0.0, 0.0], distance=distance, state=state, id=5, affects_ego=True
    )


def sign(distance: float, affects: bool = True) -> StopSignBox:
    """A stop sign's line."""
    return StopSignBox(**LINE, position=[distance, 0.0, 0.0], distance=abs(distance), id=300, affects_ego=affects)


def warning(x: float = 20.0) -> TrafficWarningBox:
    """The warning sign of a construction site."""
    return TrafficWarningBox(extent=[0.5, 0.5, 1.0], position=[x, 0.5, 0.0], distance=hypot(x, 0.5))


def cone() -> StaticBox:
    """A cone on the middle of the road."""
    kind = "static.prop.constructioncone"
    return StaticBox(type_id=kind, extent=[0.2, 0.2, 0.3], position=[12.0, -2.0, 0.0], distance=hypot(12.0, 2.0))


def near(distance: float = 10.0, **changes: Any) -> dict[str, Any]:
    """A junction ahead."""
    return {"distance_to_junction": distance, "next_junction_id": 5, **changes}


def inside(**changes: Any) -> dict[str, Any]:
    """The ego vehicle in a junction."""
    return {"is_in_junction": True, "junction_id": 5, "distance_to_junction": 0.0, **changes}


def steered(command: int, x: float = 15.0, y: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A command whose target point is near."""
    return {"command": command, "target_point": [x, y], **changes}


def slowed_by(
    kind: str | None, distance: float | None = 18.0, number: int | None = 101, **changes: Any
) -> dict[str, Any]:
    """The expert brakes for something."""
    reduced = {"type": kind, "id": number, "distance": distance}
    named = {f"speed_reduced_by_obj_{name}": value for name, value in reduced.items()}
    return {"control_brake": True, **named, **changes}


CAR, POLICE, BIKE = "vehicle.lincoln.mkz_2020", "vehicle.dodge.charger_police_2020", "vehicle.bh.crossbike"


def signs_and_lights() -> Iterator[Scene]:
    """Scenes for the questions about signs and lights."""
    ST = [(1, 0), (1, 1)]
    yield Scene("stop sign ahead", ST, boxes=[sign(20.0)])
    yield Scene("stop sign reached", ST, boxes=[sign(5.0)], speed=0.0)
    yield Scene("queue at a stop sign", ST, boxes=[sign(18.0)], road={"affects_ego_20": 7})
    yield Scene("standing in a queue at a stop sign", ST, boxes=[sign(18.0)], road={"affects_ego_20": 7}, speed=0.0)
    yield Scene("stop sign cleared", ST, boxes=[sign(2.0, False)])
    yield Scene("no sign and no light", [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
    yield Scene("no sign near", ST, boxes=[sign(45.0)])
    TL = [(2, 0), (2, 1), (2, 2)]
    yield Scene(
        "light of another lane",
        TL,
        boxes=[replace(head(18.0, "Red"), affects_ego=False)],
        road={"traffic_light_state": "Red"},
    )
    for st in ("Red", "Yellow", "Green", "Off", "Unknown"):
        yield Scene(f"{st.lower()} light ahead", TL, boxes=[head(18.0, st)], road={"traffic_light_state": st})
    yield Scene(
        "standing at a red light", TL, boxes=[head(18.0, "Red")], road={"traffic_light_state": "Red"}, speed=0.0
    )
    yield Scene(
        "standing in a queue at a red light",
        TL,
        boxes=[head(18.0, "Red")],
        road={"traffic_light_state": "Red", "affects_ego_20": 7},
        speed=0.0,
    )
    yield Scene(
        "rolling into a queue at a red light",
        TL,
        boxes=[head(18.0, "Red")],
        road={"traffic_light_state": "Red", "affects_ego_20": 7},
    )
    yield Scene(
        "starting at a green light", TL, boxes=[head(18.0, "Green")], road={"traffic_light_state": "Green"}, speed=2.0
    )
    yield Scene(
        "starting behind others at a green light",
        TL,
        boxes=[head(18.0, "Green")],
        road={"traffic_light_state": "Green", "affects_ego_20": 7},
        speed=2.0,
    )
    yield Scene(
        "driving behind others at a green light",
        TL,
        boxes=[head(18.0, "Green")],
        road={"traffic_light_state": "Green", "affects_ego_20": 7},
    )
    yield Scene("red light far away", TL, boxes=[head(42.0, "Red")], road={"traffic_light_state": "Red"})
    yield Scene(
        "green light, ego in the junction", TL, boxes=[line(2.0, "Green")], road=inside(traffic_light_state="Green")
    )


def road() -> Iterator[Scene]:
    """Scenes for the questions about road."""
    yield Scene("no junction", [(3, 0)])
    yield Scene("in a junction", [(3, 0), (3, 1), (3, 2, 0), (3, 2), (3, 3), (3, 5), (3, 6)], road=inside())
    yield Scene("before a junction", [(3, 0)], road=near())
    yield Scene("turning lane emerges", [(3, 0), (3, 1)], "InterurbanActorFlow", steered(5, 15.0, -3.5))
    yield Scene(
        "turning lane near its junction",
        [(3, 0), (3, 1)],
        "InterurbanActorFlow",
        steered(5, 15.0, -3.5, next_command=1),
        near(30.0),
    )
    yield Scene(
        "turning lane towards its junction",
        [(3, 0)],
        "InterurbanActorFlow",
        steered(5, 15.0, -3.5, next_command=1),
        near(60.0),
    )
    yield Scene("turning right in an interurban scenario", [(3, 1)], "InterurbanActorFlow", steered(2), near())
    yield Scene("no command", [(3, 1)], measurement={"command": -1})
    yield Scene("turning left from the turning lane", [(3, 1)], "InterurbanActorFlow", steered(1), near())
    yield Scene("acceleration lane", [(3, 0), (3, 1), (0, 0)], "EnterActorFlow", HIGHWAY, near(**ON_HIGHWAY))
    yield Scene(
        "merging to the left from the acceleration lane",
        [(3, 1), (3, 5), (3, 6)],
        "EnterActorFlow",
        {**HIGHWAY, **steered(5, 15.0, -3.5)},
        near(**ON_HIGHWAY),
    )
    yield Scene(
        "merging to the right", [(3, 1)], "EnterActorFlow", {**HIGHWAY, **steered(6, 15.0, 3.5)}, near(**ON_HIGHWAY)
    )
    yield Scene("exit lane", [(3, 0), (3, 1)], "HighwayExit", HIGHWAY, near(**ON_HIGHWAY))
    yield Scene(
        "near the exit lane",
        [(3, 0), (3, 1)],
        "HighwayExit",
        {**HIGHWAY, **steered(6, 15.0, 3.5)},
        near(30.0, **{**ON_HIGHWAY, "ego_lane_number": 2}),
    )
    yield Scene(
        "far from the exit lane",
        [(3, 1)],
        "HighwayExit",
        {**HIGHWAY, **steered(6, 15.0, 3.5)},
        near(60.0, **{**ON_HIGHWAY, "ego_lane_number": 2}),
    )
    yield Scene("near the entry lane", [(3, 0)], "HighwayCutIn", HIGHWAY, near(**ON_HIGHWAY))
    yield Scene("highway inside a junction", [(3, 0)], "MergerIntoSlowTraffic", HIGHWAY, inside(**ON_HIGHWAY))
    for lc in (0, 1, 2, 3):
        yield Scene(
            f"straight on the highway, lane changes {lc}",
            [(3, 1)],
            "HighwayCutIn",
            {**HIGHWAY, "command": 3},
            {**ON_HIGHWAY, "lane_change": lc},
        )
        yield Scene(
            f"straight beside an entry, lane changes {lc}",
            [(3, 1)],
            "HighwayCutIn",
            {**HIGHWAY, "command": 3},
            near(**ON_HIGHWAY, lane_change=lc),
        )
    yield Scene("turning left", [(3, 1)], measurement=steered(1))
    yield Scene("turning right", [(3, 1)], measurement=steered(2))
    yield Scene("going straight", [(3, 1)], measurement=steered(3))
    yield Scene("one lane road", [(3, 1), (3, 2, 0), (3, 2)], road={"num_lanes_opposite_direction": 0})
    yield Scene("one lane road with parking", [(3, 1)], road={"num_lanes_opposite_direction": 0, "parking_right": True})
    yield Scene("two-way road", [(3, 1)])
    yield Scene("two-way road with parking", [(3, 1)], road={"parking_right": True})
    yield Scene(
        "lanes beside",
        [(3, 1), (3, 2, 0), (3, 3)],
        road={"num_lanes_same_direction": 3, "num_lanes_opposite_direction": 0, "ego_lane_number": 1},
    )
    yield Scene(
        "lanes beside and oncoming traffic",
        [(3, 1), (3, 2)],
        road={"num_lanes_same_direction": 2, "num_lanes_opposite_direction": 2},
    )
    for c, y, w in ((5, -3.5, "left"), (6, 3.5, "right")):
        yield Scene(f"lane change to the {w}", [(3, 1)], measurement=steered(c, 15.0, y))
        yield Scene(
            f"lane change to the {w} soon", [(3, 1)], measurement={"next_command": c, "target_point_next": [15.0, y]}
        )
    yield Scene("bike lane on the left", [(3, 1)], road={"num_lanes_opposite_direction": 0, "bike_lane_left": True})
    yield Scene("bike lane on the right", [(3, 1)], measurement=steered(3), road={"bike_lane_right": True})
    yield Scene(
        "parking lane",
        [(3, 1), (3, 2, 0), (3, 3), (3, 5), (3, 6)],
        "ParkingExit",
        {},
        {"lane_type_str": "Parking", "num_lanes_same_direction": 2, "ego_lane_number": 1},
        [parked(8.0, lane_type_str="Parking")],
    )
    yield Scene(
        "overtaking on the opposite lane",
        [(3, 1), (3, 3), (3, 4, 0), (3, 4), (3, 5), (3, 6)],
        "ParkedObstacleTwoWays",
        DEVIATING,
        {"left_lane_marking_type": 10, "right_lane_marking_type": 2},
        [parked()],
    )
    for n in range(1, 7):
        yield Scene(
            f"marking {n}",
            [(3, 4, 0), (3, 4)],
            road={"left_lane_marking_type": n, "right_lane_marking_type": n, "right_lane_marking_color_str": "Other"},
        )
    for n in (0, 7, 8):
        yield Scene(f"rare marking {n}", [(3, 4, 0)], road={"left_lane_marking_type": n})
    yield Scene(
        "curb and nothing",
        [(3, 4, 0), (3, 4)],
        road={"left_lane_marking_type": 10, "right_lane_marking_type": 9, "right_lane_marking_color_str": "White"},
    )
    LC = [(3, 5), (3, 6)]
    two = {"num_lanes_same_direction": 2}
    for lc in (0, 1, 2, 3):
        yield Scene(f"lane changes {lc}", LC, road={**two, "lane_change": lc})
    yield Scene("one lane", LC)
    yield Scene(
        "one lane between parked cars, oncoming traffic", LC, road={"parking_left": True, "parking_right": True}
    )
    yield Scene(
        "one lane between parked cars",
        LC,
        road={"parking_left": True, "parking_right": True, "num_lanes_opposite_direction": 0},
    )
    yield Scene("parked cars on the left", LC, road={"parking_left": True, "num_lanes_opposite_direction": 0})
    yield Scene("parked cars on the right", LC, road={"parking_right": True})
    yield Scene(
        "two lanes and parked cars on the left",
        LC,
        road={**two, "num_lanes_opposite_direction": 0, "parking_left": True, "lane_change": 1, "ego_lane_number": 0},
    )
    yield Scene(
        "two lanes and parked cars on the right",
        LC,
        road={**two, "parking_right": True, "lane_change": 2, "ego_lane_number": 1},
    )
    yield Scene("speed limit", [(3, 7)])


def obstructions() -> Iterator[Scene]:
    """Scenes for the questions about obstructions."""
    OB = [(3, 8), (3, 9)]
    yield Scene("free road", OB)
    for sc, boxes in (
        ("Accident", [police()]),
        ("ConstructionObstacle", [warning()]),
        ("HazardAtSideLane", [bicycle(18.0, id=1), bicycle(22.0, id=3)]),
        ("ParkedObstacle", [parked()]),
    ):
        for lc in (1, 2, 3):
            yield Scene(f"{sc}, lane changes {lc}", OB, sc, {}, {"lane_change": lc}, boxes)
        yield Scene(f"{sc}, no lane change", OB, sc, {}, {}, boxes)
    TW = (
        ("AccidentTwoWays", [police()]),
        ("ConstructionObstacleTwoWays", [warning()]),
        ("HazardAtSideLaneTwoWays", [bicycle(18.0)]),
        ("ParkedObstacleTwoWays", [parked()]),
        ("VehicleOpensDoorTwoWays", [parked(8.0)]),
    )
    for sc, boxes in TW:
        yield Scene(f"{sc} ahead", OB, sc, {}, {}, boxes)
        yield Scene(f"{sc}, moving over", OB, sc, {"changed_route": True}, {}, boxes)
        yield Scene(f"{sc}, moved over", OB, sc, DEVIATING, {}, boxes)
    yield Scene("obstacle passed", OB, "ParkedObstacleTwoWays", DEVIATING)
    yield Scene("invading turn ahead", OB, "InvadingTurn", {}, {}, [cone()])
    yield Scene("invading turn, shifted", OB, "InvadingTurn", DEVIATING, {}, [cone()])
    yield Scene("invading turn with a warning sign", OB, "InvadingTurn", boxes=[cone(), warning()])
    yield Scene(
        "leaving a parking space between two cars",
        OB,
        "ParkingExit",
        {},
        {"lane_type_str": "Parking"},
        [parked(x, lane_type_str="Parking") for x in (8.0, 14.0)],
    )
    yield Scene(
        "leaving a parking space",
        OB,
        "ParkingExit",
        {},
        {"lane_type_str": "Parking"},
        [parked(8.0, lane_type_str="Parking")],
    )


def places_of_vehicles() -> Iterator[Scene]:
    """Scenes for the questions about places of vehicles."""
    W = [(4, 0)]
    for sc, road, what in (
        ("EnterActorFlow", near(**ON_HIGHWAY), "merging"),
        ("HighwayExit", near(**ON_HIGHWAY), "exit"),
    ):
        yield Scene(
            f"in the {what} area ahead",
            W,
            sc,
            HIGHWAY,
            road,
            [crossing(same_road_as_ego=True, lane_relative_to_ego=0, lane_id=-5)],
        )
        yield Scene(f"beside the {what} area, leftmost lane", W, sc, HIGHWAY, road, [crossing(lane_id=-1)])
        yield Scene(f"beside the {what} area, second lane", W, sc, HIGHWAY, road, [crossing(lane_id=-2)])
        yield Scene(f"near the {what} area", W, sc, HIGHWAY, road, [crossing(lane_id=-3)])
    yield Scene(
        "on the way to the highway",
        W,
        "EnterActorFlow",
        HIGHWAY,
        near(60.0, num_lanes_opposite_direction=0),
        [crossing()],
    )
    yield Scene(
        "leader on the way to the highway",
        W,
        "EnterActorFlow",
        HIGHWAY,
        near(60.0, num_lanes_opposite_direction=0),
        [car()],
    )
    yield Scene(
        "on the exit lane",
        W,
        "HighwayExit",
        {**HIGHWAY, **steered(6, 15.0, 3.5)},
        near(30.0, **{**ON_HIGHWAY, "ego_lane_number": 2}),
        [crossing()],
    )
    yield Scene("on the highway, in a junction", W, "HighwayCutIn", HIGHWAY, near(60.0, **ON_HIGHWAY), [crossing()])
    yield Scene(
        "slow traffic, exit lane",
        W,
        "MergerIntoSlowTrafficV2",
        HIGHWAY,
        near(60.0, num_lanes_opposite_direction=0),
        [crossing(road_id=10)],
    )
    yield Scene(
        "slow traffic, near the exit",
        W,
        "MergerIntoSlowTrafficV2",
        HIGHWAY,
        near(60.0, num_lanes_opposite_direction=0),
        [crossing()],
    )
    yield Scene(
        "slow traffic, near the merging area",
        W,
        "MergerIntoSlowTrafficV2",
        HIGHWAY,
        near(60.0, **ON_HIGHWAY),
        [crossing()],
    )
    for k, yaw in (("same way", 0.0), ("leftwards", -1.57), ("rightwards", 1.57), ("towards", 3.1)):
        yield Scene(f"inside the junction, {k}", W, road=near(), boxes=[crossing(yaw=yaw)])
        yield Scene(f"after the junction, {k}", W, road=inside(), boxes=[elsewhere(road_id=20, yaw=yaw)])
    for side, y in (("left", -12.0), ("right", 12.0), ("opposite", 0.0)):
        for yaw in (0.0, 1.57, -1.57, 3.1):
            yield Scene(f"{side} side of the junction, heading {yaw}", W, boxes=[elsewhere(25.0, y, yaw=yaw)])
    for yaw in (0.0, 1.57, -1.57):
        beyond = elsewhere(25.0, -12.0, yaw=yaw, lane_type_str="Biking")
        yield Scene(f"bike lane beyond the junction, heading {yaw}", W, boxes=[beyond])
    for lane in (0, -1):
        oncoming = {"same_direction_as_ego": False, "yaw": 3.1, "lane_type_str": "Biking"}
        rider = bicycle(20.0, 3.5 * lane, lane_relative_to_ego=lane, **oncoming)
        yield Scene(f"oncoming bicycle on its lane, {lane} lanes beside", W, boxes=[rider])
    yield Scene(
        "heading for the same junction",
        W,
        road=near(junction_id=4),
        boxes=[elsewhere(25.0, 12.0, junction_id=3, next_junction_id=5)],
    )
    for lane in (-1, -2, -3, -4, -5):
        yield Scene(f"highway lane {lane}", W, "HighwayCutIn", HIGHWAY, ON_HIGHWAY, [elsewhere(lane_id=lane)])
    yield Scene(
        "next road of the highway",
        W,
        "HighwayCutIn",
        HIGHWAY,
        inside(**ON_HIGHWAY),
        [elsewhere(road_id=20, lane_relative_to_ego=0)],
    )
    yield Scene(
        "beside an entry",
        W,
        "HighwayCutIn",
        HIGHWAY,
        near(**ON_HIGHWAY),
        [car(20.0, 3.5, role_name="scenario", lane_relative_to_ego=1)],
    )
    yield Scene("leader drives", W, boxes=[car()])
    yield Scene("leader stands", W, boxes=[car(speed=0.0)])
    yield Scene("two lanes to the right", W, boxes=[car(20.0, 7.0, lane_relative_to_ego=2, speed=0.0)])
    yield Scene(
        "one lane to the left, oncoming",
        W,
        boxes=[car(20.0, -3.5, lane_relative_to_ego=-1, same_direction_as_ego=False, yaw=3.1)],
    )
    yield Scene(
        "oncoming, stands",
        W,
        boxes=[car(20.0, -3.5, lane_relative_to_ego=-1, same_direction_as_ego=False, yaw=3.1, speed=0.0)],
    )
    yield Scene("bicycle on its lane", W, boxes=[bicycle(20.0, 3.5, lane_relative_to_ego=1, lane_type_str="Biking")])
    yield Scene("oncoming on the ego lane", W, boxes=[car(same_direction_as_ego=False, yaw=3.1)])
    yield Scene("slow traffic on the way to the highway", W, "MergerIntoSlowTraffic", HIGHWAY, near(60.0), [crossing()])
    yield Scene("own road under another number", W, boxes=[car(road_id=77)])
    yield Scene("none of the cases", W, boxes=[elsewhere(road_id=20, yaw=0.0)])


def motion_of_vehicles() -> Iterator[Scene]:
    """Scenes for the questions about motion of vehicles."""
    GO = [(4, 1), (4, 2)]
    for st, sp in ((-0.2, 0.1), (-0.05, 3.0), (0.2, 9.0), (0.05, 9.0), (0.0, 9.0)):
        yield Scene(f"steer {st}", GO, boxes=[car(steer=st, speed=sp)])
    yield Scene("cuts in", [(4, 1), (4, 3)], boxes=[car(vehicle_cuts_in=True)])
    for sp in (0.1, 3.0, 9.0):
        yield Scene(f"bicycle at {sp} m/s", [(4, 2)], boxes=[bicycle(speed=sp)])


def crossing_paths() -> Iterator[Scene]:
    """Scenes for the questions about crossing paths."""
    X = [(4, 3)]
    yield Scene("right in front", X, road={"hazard_detected_20": True, "affects_ego_20": 101}, boxes=[car()])
    yield Scene("nobody crosses", X, boxes=[car()])
    yield Scene(
        "blocked intersection",
        X,
        "BlockedIntersection",
        {},
        near(),
        [elsewhere(30.0, same_direction_as_ego=False, role_name="scenario")],
    )
    yield Scene("behind the intersection", X, boxes=[elsewhere(road_id=20, same_direction_as_ego=False)])
    yield Scene(
        "inside the junction on the own road", X, road=near(), boxes=[crossing(road_id=20, same_direction_as_ego=False)]
    )
    yield Scene(
        "crossing in the junction",
        X,
        road=near(),
        boxes=[elsewhere(30.0, -10.0, **IN_JUNCTION, yaw=1.3, next_road_ids=[88])],
    )
    yield Scene(
        "oncoming in the junction while going straight",
        X,
        measurement=steered(3),
        road=near(),
        boxes=[elsewhere(30.0, -3.0, **IN_JUNCTION, yaw=3.1, next_road_ids=[88])],
    )
    yield Scene(
        "oncoming on the right in the junction while going straight",
        X,
        measurement=steered(3),
        road=near(),
        boxes=[elsewhere(30.0, 3.0, **IN_JUNCTION, yaw=3.1, next_road_ids=[88])],
    )
    yield Scene("towards the junction", X, road=near(), boxes=[elsewhere(28.0, -12.0, yaw=1.57, next_road_ids=[88])])
    yield Scene("hazard without an actor", X, road={"hazard_detected_20": True}, boxes=[car()])
    for c in (5, 6):
        yield Scene(f"lane change {c} without a shift", X, measurement=steered(c), boxes=[car()])
        yield Scene(
            f"lane change {c} without a shift before a junction", X, measurement=steered(c), road=near(), boxes=[car()]
        )
    yield Scene("vehicle while there is no command", X, measurement=steered(-1), boxes=[car()])
    yield Scene(
        "out of the parking space",
        X,
        road={"lane_type_str": "Parking", "num_lanes_same_direction": 2, "ego_lane_number": 1},
        boxes=[car(5.0, -2.0, lane_relative_to_ego=-1, num_points=400)],
    )
    yield Scene(
        "lane change left onto its lane",
        X,
        measurement=steered(5, 15.0, -3.5),
        boxes=[car(15.0, -3.5, lane_relative_to_ego=-1)],
    )
    yield Scene(
        "lane change right onto its lane",
        X,
        measurement=steered(6, 15.0, 3.5),
        boxes=[car(15.0, 3.5, lane_relative_to_ego=1)],
    )
    yield Scene(
        "on the highway while entering",
        X,
        "EnterActorFlow",
        HIGHWAY,
        near(**ON_HIGHWAY),
        [elsewhere(role_name="scenario")],
    )
    yield Scene(
        "entering while on the highway",
        X,
        "HighwayCutIn",
        HIGHWAY,
        near(**ON_HIGHWAY),
        [elsewhere(role_name="scenario")],
    )
    yield Scene(
        "cutting in from the entry",
        X,
        "HighwayCutIn",
        HIGHWAY,
        near(**ON_HIGHWAY),
        [car(20.0, 3.5, role_name="scenario", lane_relative_to_ego=1)],
    )
    for c in (1, 2, 3, 4):
        yield Scene(
            f"crossing bicycles, command {c}",
            X,
            "CrossingBicycleFlow",
            steered(c),
            near(),
            [bicycle(20.0, 6.0, role_name="scenario")],
        )
    yield Scene(
        "bicycle while turning",
        X,
        "VehicleTurningRoute",
        steered(2),
        near(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )
    yield Scene(
        "bicycle while turning in the junction",
        X,
        "VehicleTurningRoute",
        steered(1),
        inside(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )
    yield Scene(
        "bicycle while going on straight in the junction",
        X,
        "VehicleTurningRoute",
        steered(3),
        inside(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )
    yield Scene(
        "bicycle while turning right in the junction",
        X,
        "VehicleTurningRoute",
        steered(2),
        inside(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )
    yield Scene(
        "bicycle while changing lanes",
        X,
        "VehicleTurningRoute",
        steered(5, 15.0, -3.5),
        near(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )
    yield Scene(
        "bicycle while changing lanes to the right",
        X,
        "VehicleTurningRoute",
        steered(6, 15.0, 3.5),
        near(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )
    yield Scene(
        "bicycle while following the road",
        X,
        "VehicleTurningRoute",
        {},
        near(),
        [bicycle(20.0, 6.0, role_name="scenario")],
    )


def pedestrians() -> Iterator[Scene]:
    """Scenes for the questions about pedestrians."""
    P = [(5, 0)]
    yield Scene("nobody walks", P)
    yield Scene("one pedestrian", P, boxes=[walker(10.0)])
    yield Scene("pedestrian without LiDAR points", P, boxes=[walker(10.0, num_points=4)])
    yield Scene("two pedestrians", [*P, (0, 0)], boxes=[walker(10.0), walker(30.0, -3.0)])


def braking() -> Iterator[Scene]:
    """Scenes for the questions about braking."""
    B = [(6, 0)]
    yield Scene("no reason to brake", B)
    yield Scene("too fast", B, measurement={"control_brake": True}, speed=14.0)
    yield Scene("braking for a stop sign", B, measurement=slowed_by("traffic.stop"))
    yield Scene("braking for a red light", B, measurement=slowed_by("traffic.traffic_light"))
    WT = "walker.pedestrian.0001"
    yield Scene("pedestrian near", B, measurement=slowed_by(WT, walker_hazard=True), boxes=[walker(8.0)])
    yield Scene(
        "pedestrians farther",
        B,
        measurement=slowed_by(WT, walker_hazard=True),
        boxes=[walker(20.0), walker(25.0, id=201)],
    )
    yield Scene("accident, opposite lane occupied", B, "AccidentTwoWays", slowed_by(POLICE), {}, [police()])
    yield Scene(
        "construction, opposite lane occupied",
        B,
        "ConstructionObstacleTwoWays",
        slowed_by("static.prop.trafficwarning"),
        {},
        [warning()],
    )
    for sc, b in (
        ("ParkedObstacleTwoWays", parked()),
        ("VehicleOpensDoorTwoWays", parked(8.0)),
        ("HazardAtSideLaneTwoWays", bicycle(role_name="scenario")),
    ):
        yield Scene(f"{sc}, opposite lane occupied", B, sc, slowed_by(b.type_id), {}, [b])
    yield Scene("leader slows", B, measurement=slowed_by(CAR), boxes=[car()])
    yield Scene("leader stands, ego brakes", B, measurement=slowed_by(CAR), boxes=[car(speed=0.0)])
    hz = slowed_by(CAR, vehicle_hazard=True)
    yield Scene("vehicle in the way", B, measurement=hz, boxes=[car()])
    yield Scene("standing vehicle in the way", B, measurement=hz, boxes=[car(20.0, 3.0, speed=0.0)])
    yield Scene("vehicle in the way on the highway", B, "HighwayCutIn", {**hz, **HIGHWAY}, {}, [car(20.0, -3.0)])
    for side, y in (("left", -12.0), ("right", 12.0), ("opposite", 0.0)):
        yield Scene(f"hazard on the {side} side", B, measurement=hz, road=near(8.0), boxes=[elsewhere(20.0, y)])
    yield Scene("hazard cuts in", B, measurement=hz, boxes=[car(vehicle_cuts_in=True)])
    yield Scene(
        "intersection blocked, ego brakes", B, "BlockedIntersection", hz, near(8.0), [car(12.0, role_name="scenario")]
    )
    yield Scene(
        "bicycle crosses the intersection",
        B,
        "CrossingBicycleFlow",
        slowed_by(BIKE, vehicle_hazard=True),
        near(8.0),
        [bicycle(12.0, role_name="scenario")],
    )
    yield Scene("oncoming vehicle while turning", B, "InterurbanActorFlow", {**hz}, inside(), [elsewhere(15.0, -4.0)])
    yield Scene(
        "following without braking",
        B,
        measurement={"throttle": 0.5},
        road={"affects_ego_40": 101},
        boxes=[car()],
        speed=5.0,
    )
    yield Scene(
        "waiting for a blocked intersection",
        B,
        "BlockedIntersection",
        {"throttle": 0.5},
        {"affects_ego_40": 101},
        [car(12.0, role_name="scenario")],
        5.0,
    )
    for sc, boxes in (
        ("Accident", [police()]),
        ("ConstructionObstacle", [warning()]),
        ("HazardAtSideLane", [bicycle(18.0, id=1, role_name="scenario"), bicycle(22.0, id=3, role_name="scenario")]),
        ("ParkedObstacle", [parked()]),
    ):
        yield Scene(f"{sc}, ego brakes to change lanes", B, sc, {"control_brake": True}, {"lane_change": 2}, boxes)
    yield Scene(
        "accident, ego waits to change lanes",
        B,
        "Accident",
        {"control_brake": True},
        {"lane_change": 2},
        [police()],
        0.0,
    )
    yield Scene(
        "one bicycle, ego brakes to change lanes",
        B,
        "HazardAtSideLane",
        {"control_brake": True},
        {"lane_change": 2},
        [bicycle(18.0, role_name="scenario")],
    )
    yield Scene("stop sign ahead, not braking yet", B, boxes=[sign(20.0)])
    slow = slowed_by(CAR, control_brake=False, target_speed=5.0)
    yield Scene("faster than wanted behind a leader", B, measurement=slow, boxes=[car()])
    yield Scene("hazard by a pedestrian without a box", B, measurement=slowed_by(WT, walker_hazard=True))
    yield Scene("braking for a vehicle nobody sees", B, measurement=hz, boxes=[car(num_points=2)])
    yield Scene("leader without a box", B, road={"affects_ego_40": 99})
    unseen = {"measurement": {"throttle": 0.5}, "road": {"affects_ego_40": 101}}
    yield Scene("leader that nobody sees", B, boxes=[car(num_points=2)], **unseen)
    yield Scene(
        "blocked by a vehicle that nobody sees", B, "BlockedIntersection", boxes=[parked(12.0, num_points=2)], **unseen
    )
    yield Scene("braking with the obstacle far away", B, "Accident", {"control_brake": True}, boxes=[police(60.0)])
    yield Scene("braking in another scenario", B, "ControlLoss", {"control_brake": True})
    yield Scene(
        "braking with two warnings",
        B,
        "ConstructionObstacle",
        {"control_brake": True},
        boxes=[warning(), warning(25.0)],
    )
    yield Scene("two red cars nearby", [(0, 0)], boxes=[car(12.0), car(14.0, id=102)])
    outside = parked(5.0, -20.0, type_id=POLICE)
    yield Scene("accident outside the image", B, "AccidentTwoWays", slowed_by(POLICE), boxes=[outside])
    yield Scene("important objects", [(0, 0)], boxes=[car(), car(id=102), sign(20.0), walker(10.0)])


SCENES = tuple(
    scene
    for family in (
        signs_and_lights,
        road,
        obstructions,
        places_of_vehicles,
        motion_of_vehicles,
        crossing_paths,
        pedestrians,
        braking,
    )
    for scene in family()
)
"""Every scene."""
