"""What scenarios wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import carla

from srunner.scenariomanager.scenarioatomics.atomic_behaviors import Until
from srunner.scenariomanager.world_state import WorldState
from srunner.tools.places import ahead_of

STANDING_MPS = 0.001
"""Below this speed the time to a place counts as infinite."""


def near(state: WorldState, actor: Any, location: carla.Location, distance: float) -> Until:
    """Until an actor is nearer than ``distance`` metres to a place, heights included."""
    return Until(f"within {distance:g} m", lambda: state.location(actor).distance(location) < distance)


def near_actor(state: WorldState, actor: Any, other: Any, distance: float) -> Until:
    """Until two actors are nearer than ``distance`` metres; an actor that is gone is never near."""
    return Until(
        f"within {distance:g} m of an actor",
        lambda: state.is_alive(other) and state.location(actor).distance(state.location(other)) < distance,
    )


def far(state: WorldState, actor: Any, location: carla.Location, distance: float) -> Until:
    """Until an actor is farther than ``distance`` metres from a place."""
    return Until(f"beyond {distance:g} m", lambda: state.location(actor).distance(location) > distance)


def time_to(state: WorldState, actor: Any, location: carla.Location, seconds: float, distance: float) -> Until:
    """Until the straight way to a place takes less than ``seconds`` at the present speed, or is shorter than ``distance``."""

    def due() -> bool:
        way = state.location(actor).distance(location)
        speed = state.speed(actor)
        return way < distance or (speed > STANDING_MPS and way / speed < seconds)

    return Until(f"within {seconds:g} s or {distance:g} m", due)


def passed(state: WorldState, actor: Any, pose: carla.Transform, within: float | None = None) -> Until:
    """Until an actor has passed the plane across a pose, optionally only while it is nearer than ``within`` metres to it."""

    def done() -> bool:
        location = state.location(actor)
        near_enough = within is None or location.distance(pose.location) < within
        return near_enough and ahead_of(pose, location) > 0.0

    return Until("passed a place", done)


def overtook(state: WorldState, actor: Any, other: Any, within: float | None = None) -> Until:
    """Until an actor is ahead of another by more than half the lengths of both.

    Args:
        within: Metres; if given, only while it is also this near to the place where it would be just ahead.
    """

    def done() -> bool:
        if not state.is_alive(other):
            return False
        lengths = state.extent(actor).x + state.extent(other).x
        lead = ahead_of(state.transform(other), state.location(actor))
        close = state.location(actor).distance(state.location(other)) < lengths + (within or 0.0)
        return lead > lengths and (within is None or close)

    return Until("overtook an actor", done)


class Drove(Until):
    """Until an actor has driven ``distance`` metres since this step began; teleports count."""

    def __init__(self, state: WorldState, actor: Any, distance: float) -> None:
        super().__init__(f"drove {distance:g} m", self._measure)
        self._state, self._actor, self._distance = state, actor, distance
        self._travelled = 0.0
        self._last: carla.Location | None = None

    def initialise(self) -> None:
        """Start at zero."""
        self._travelled, self._last = 0.0, None

    def _measure(self) -> bool:
        location = self._state.location(self._actor)
        self._travelled += location.distance(self._last) if self._last else 0.0
        self._last = location
        return self._travelled > self._distance


class CrossedJunction(Until):
    """Until an actor was in a junction and is in none any more.

    Args:
        state: Motions of all actors.
        actor: Who crosses.
        road_map: `carla.Map`.
        junction_id: Only this junction counts; None for any.
        already: Tells whether the actor has crossed before this step began, asked once.
    """

    def __init__(
        self,
        state: WorldState,
        actor: Any,
        road_map: Any,
        junction_id: int | None = None,
        already: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__("crossed a junction", self._look)
        self._state, self._actor, self._map = state, actor, road_map
        self._junction_id, self._already = junction_id, already
        self._was_inside = False

    def initialise(self) -> None:
        """Forget earlier junctions."""
        self._was_inside = self._already() if self._already else False

    def _look(self) -> bool:
        waypoint = self._map.get_waypoint(self._state.location(self._actor))
        inside = waypoint is not None and waypoint.is_junction
        if inside and (self._junction_id is None or waypoint.junction_id == self._junction_id):
            self._was_inside = True
        return self._was_inside and not inside
