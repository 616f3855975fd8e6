"""What happened on a route, as typed records. Texts are made from them once, at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class TrafficEventType(IntEnum):
    """Kinds of events; the numbers are those of CARLA's scenario_runner."""

    NORMAL_DRIVING = 0
    COLLISION_STATIC = 1
    COLLISION_VEHICLE = 2
    COLLISION_PEDESTRIAN = 3
    ROUTE_DEVIATION = 4
    ROUTE_COMPLETION = 5
    ROUTE_COMPLETED = 6
    TRAFFIC_LIGHT_INFRACTION = 7
    WRONG_WAY_INFRACTION = 8
    ON_SIDEWALK_INFRACTION = 9
    STOP_INFRACTION = 10
    OUTSIDE_LANE_INFRACTION = 11
    OUTSIDE_ROUTE_LANES_INFRACTION = 12
    VEHICLE_BLOCKED = 13
    MIN_SPEED_INFRACTION = 14
    YIELD_TO_EMERGENCY_VEHICLE = 15
    SCENARIO_TIMEOUT = 16
    ROUTE_TIMEOUT = 17
    """Not an event of the original, which keeps the route's timeout apart."""


class Place(NamedTuple):
    """A location in the world frame, metres."""

    x: float
    y: float
    z: float


@dataclass
class TrafficEvent:
    """One event.

    Attributes:
        type: Its kind.
        frame: Simulator frame at which it happened or was last updated.
        time_s: Game time of the route at which it first happened, seconds.
        place: Where. For lights and stop signs the place of the sign, otherwise of the ego.
        ego_place: Where the ego was; used for maps of a drive.
        actor_id: Id of the other actor, light or sign.
        actor_type: Type id of the other actor.
        distance_m: Metres driven outside the route's lanes.
        percentage: Completed share of the route, share driven outside the lanes, or share of the traffic's speed.
    """

    type: TrafficEventType
    frame: int
    time_s: float = 0.0
    place: Place | None = None
    ego_place: Place | None = None
    actor_id: int | None = None
    actor_type: str | None = None
    distance_m: float | None = None
    percentage: float | None = None


def place_text(place: Place | None) -> str:
    """``(x=1.0, y=2.0, z=3.0)`` with coordinates rounded to the millimetre."""
    if place is None:
        raise ValueError("this event has no place, but its message needs one")
    return f"(x={round(place.x, 3)}, y={round(place.y, 3)}, z={round(place.z, 3)})"


def _collision(event: TrafficEvent) -> str:
    return (
        f"Agent collided against object with type={event.actor_type} and id={event.actor_id} "
        f"at {place_text(event.place)}"
    )


def _outside_lanes(event: TrafficEvent) -> str:
    if event.distance_m is None or event.percentage is None:
        raise ValueError("an outside-lanes event needs its distance and percentage")
    return (
        f"Agent went outside its route lanes for about {round(event.distance_m, 3)} meters "
        f"({round(event.percentage, 2)}% of the completed route)"
    )


_MESSAGES: dict[TrafficEventType, Callable[[TrafficEvent], str]] = {
    TrafficEventType.COLLISION_STATIC: _collision,
    TrafficEventType.COLLISION_VEHICLE: _collision,
    TrafficEventType.COLLISION_PEDESTRIAN: _collision,
    TrafficEventType.ROUTE_DEVIATION: lambda e: f"Agent deviated from the route at {place_text(e.place)}",
    TrafficEventType.ROUTE_COMPLETION: lambda e: f"Agent has completed {e.percentage} of the route",
    TrafficEventType.TRAFFIC_LIGHT_INFRACTION: lambda e: f"Agent ran a red light {e.actor_id} at {place_text(e.place)}",
    TrafficEventType.STOP_INFRACTION: lambda e: f"Agent ran a stop with id={e.actor_id} at {place_text(e.place)}",
    TrafficEventType.OUTSIDE_ROUTE_LANES_INFRACTION: _outside_lanes,
    TrafficEventType.VEHICLE_BLOCKED: lambda e: f"Agent got blocked at {place_text(e.place)}",
    TrafficEventType.MIN_SPEED_INFRACTION: lambda e: (
        f"Average speed is {e.percentage}% of the surrounding traffic's one"
    ),
    TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE: lambda e: "Agent failed to yield to an emergency vehicle",
    TrafficEventType.SCENARIO_TIMEOUT: lambda e: "Agent timed out a scenario",
    TrafficEventType.ROUTE_TIMEOUT: lambda e: "Route timeout.",
}

LOCATABLE = (TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE, TrafficEventType.SCENARIO_TIMEOUT)
"""Events whose official text has no place; the data-collection evaluators append the ego's."""


def event_message(event: TrafficEvent, locate_all: bool = False) -> str:
    """The text of an event in the results file.

    The layout is an interface: merge tools split these texts (carla-simulator/leaderboard, utils/statistics_manager.py).

    Args:
        event: The event.
        locate_all: Append the ego's place to the kinds in `LOCATABLE`.

    Raises:
        ValueError: If the kind has no text or a value is missing.
    """
    if event.type not in _MESSAGES:
        raise ValueError(f"events of type {event.type.name} have no message")
    text = _MESSAGES[event.type](event)
    return f"{text} at {place_text(event.ego_place)}" if locate_all and event.type in LOCATABLE else text
