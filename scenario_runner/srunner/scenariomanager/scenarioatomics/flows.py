"""Streams of vehicles from a source to a sink, as many scenarios need them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import carla
import numpy as np
from py_trees.behaviour import Behaviour
from py_trees.common import Status

from driving.geometry import Array, box_corners_2d, boxes_overlap_2d
from srunner.agents.path_agent import AgentOptions, PathAgent, path_of
from srunner.scenariomanager.world_state import WorldState
from srunner.tools.places import shifted

SINK_RADIUS = 2.0
"""A vehicle nearer than this to the sink is removed, metres."""

CONTACT_MARGIN = 0.1
"""Boxes that come nearer than this count as a collision, metres."""

CONTACT_REACH = 30.0
"""Vehicles whose origins are farther apart cannot touch, whatever their models, metres."""


@dataclass(frozen=True)
class FlowRule:
    """What a stream looks like.

    Attributes:
        speed: m/s.
        gap: (least, most) distance between vehicles, metres; drawn anew after each.
        base_type: Blueprint attribute of the vehicles.
        role: Their role name.
        prefill: Whether the stream already runs when it starts.
        prefill_junctions: Whether prefilled vehicles may stand in junctions.
        options: How they drive.
        gear: Manual gear to hold, None for automatic; bicycles need one to pedal at once.
    """

    speed: float
    gap: tuple[float, float]
    base_type: str = "car"
    role: str = "scenario"
    prefill: bool = False
    prefill_junctions: bool = False
    options: AgentOptions = field(default_factory=lambda: AgentOptions(ignore_vehicles=True, ignore_lights=True))


class Flow(Behaviour):
    """A stream along one path. All its vehicles are removed when it ends.

    With enforced velocity, the first collision of any of its vehicles makes all of them drive normally from then on, as in
    CARLA's scenario runner.

    Args:
        state: Owner of the vehicles.
        route: Waypoints from source to sink, about 2 m apart.
        rule: See `FlowRule`.
        rng: Source of gaps and models.
    """

    def __init__(self, state: WorldState, route: Sequence[Any], rule: FlowRule, rng: random.Random) -> None:
        super().__init__("flow")
        self._state, self._route, self._rule, self._rng = state, list(route), rule, rng
        self._path: Array = path_of(self._route, rule.options.offset)
        self._agents: list[PathAgent] = []
        self._gap = 0.0
        self._collided = False

    @property
    def vehicles(self) -> list[Any]:
        """Its living vehicles, the oldest first."""
        return [agent.vehicle for agent in self._agents]

    def initialise(self) -> None:
        """Start empty, or with the vehicles that would already be under way."""
        self._gap = self._draw_gap()
        self._collided = False
        if self._rule.prefill:
            self._prefill()

    def update(self) -> Status:
        """Remove arrived vehicles, drive the others, add the next one."""
        self._drop_finished()
        self._watch_collisions()
        if self._may_spawn():
            self._spawn(0)
        for agent in self._agents:
            agent.step()
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Remove all vehicles."""
        for agent in self._agents:
            self._state.remove(agent.vehicle)
        self._agents = []

    def _draw_gap(self) -> float:
        return self._rng.uniform(*self._rule.gap)

    def _prefill(self) -> None:
        """Place vehicles along the path from the sink back to the source with drawn gaps."""
        steps = np.hypot(*np.diff(self._path, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        position = float(along[-1]) - self._draw_gap()
        while position > self._gap:
            index = int(np.searchsorted(along, position))
            if self._rule.prefill_junctions or not self._route[index].is_junction:
                self._spawn(index)
            position -= self._draw_gap()

    def _may_spawn(self) -> bool:
        if not self._agents:
            return True
        source = self._route[0].transform.location
        return self._state.location(self._agents[-1].vehicle).distance(source) > self._gap

    def _spawn(self, index: int) -> None:
        attributes = {"base_type": self._rule.base_type}
        if self._rule.base_type == "car":
            attributes |= {"has_lights": True, "special_type": ""}  # type: ignore[dict-item]
        blueprint = self._state.choose_blueprint("vehicle.*", self._rng, self._rule.role, attributes)
        pose = shifted(self._route[index].transform, right=self._rule.options.offset)
        vehicle = self._state.try_spawn(blueprint, pose)
        if vehicle is None:
            return
        ahead = pose.get_forward_vector()
        speed = self._rule.speed
        vehicle.set_target_velocity(carla.Vector3D(ahead.x * speed, ahead.y * speed, 0.0))
        path = self._path[index:] if len(self._path) - index > 1 else self._path[-2:]
        self._agents.append(PathAgent(self._state, vehicle, path, speed, self._rule.options))
        self._gap = self._draw_gap()

    def _drop_finished(self) -> None:
        kept: list[PathAgent] = []
        for agent in self._agents:
            if not self._state.is_alive(agent.vehicle):
                continue
            location = self._state.location(agent.vehicle)
            if agent.done or math.dist(self._path[-1], (location.x, location.y)) < SINK_RADIUS:
                self._state.remove(agent.vehicle)
            else:
                kept.append(agent)
        self._agents = kept

    def _watch_collisions(self) -> None:
        if self._collided or not self._rule.options.constant_velocity:
            return
        own = {agent.vehicle.id for agent in self._agents}
        if any(self._touches_any(agent.vehicle, own) for agent in self._agents):
            self._collided = True
            for agent in self._agents:
                agent.drive_normally()

    def _touches_any(self, vehicle: Any, own: set[int]) -> bool:
        """Whether a vehicle touches one that is not of this flow."""
        near = self._state.vehicles_near(self._state.location(vehicle), CONTACT_REACH)
        return any(touches(self._state, vehicle, other) for other in near if other.id not in own)


def touches(state: WorldState, a: Any, b: Any) -> bool:
    """Whether the boxes of two actors overlap in the plane, with a small margin."""
    here, there = state.transform(a), state.transform(b)
    size_a, size_b = state.extent(a), state.extent(b)
    if here.location.distance(there.location) > math.hypot(size_a.x, size_a.y) + math.hypot(size_b.x, size_b.y) + 1.0:
        return False
    corners = [
        box_corners_2d(
            (pose.location.x, pose.location.y),
            (size.x + CONTACT_MARGIN, size.y + CONTACT_MARGIN),
            math.radians(pose.rotation.yaw),
        )
        for pose, size in ((here, size_a), (there, size_b))
    ]
    return boxes_overlap_2d(*corners)


class LateFlow(Behaviour):
    """A flow whose path and rule are known only when it starts, for instance because they depend on the speed limit.

    Args:
        state: Owner of the vehicles.
        plan: Gives route and rule at the start; an empty route means no vehicles.
        rng: Source of gaps and models.
    """

    def __init__(
        self, state: WorldState, plan: Callable[[], tuple[Sequence[Any], FlowRule]], rng: random.Random
    ) -> None:
        super().__init__("late flow")
        self._state, self._plan, self._rng = state, plan, rng
        self._flow: Flow | None = None

    def initialise(self) -> None:
        """Plan."""
        route, rule = self._plan()
        self._flow = Flow(self._state, route, rule, self._rng) if len(route) > 1 else None
        if self._flow is not None:
            self._flow.initialise()

    def update(self) -> Status:
        """Run the flow."""
        return self._flow.update() if self._flow is not None else Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Remove its vehicles."""
        if self._flow is not None:
            self._flow.terminate(new_status)
            self._flow = None
