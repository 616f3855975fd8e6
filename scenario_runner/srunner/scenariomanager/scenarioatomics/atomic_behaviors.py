"""Steps of scenarios as py_trees behaviours, and the composites that join them.

Durations are game time. A step that ends for whatever reason puts back what it changed; `terminate` may be called more
than once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import carla
import numpy as np
import py_trees
from py_trees.behaviour import Behaviour
from py_trees.common import ParallelPolicy, Status

from driving.geometry import Array
from srunner.agents.path_agent import AgentOptions, PathAgent
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.timer import GameTime
from srunner.scenariomanager.world_state import WorldState
from srunner.tools.places import shifted

REVEALED_WITHIN = 1.0
"""An actor counts as moved when it is this near to its pose, metres."""

FREEZE_MARGIN_S = 1000.0
"""Frozen lights get phases longer than the freeze by this much."""


# ---- composites -----------------------------------------------------------------------------------------------------


def sequence(*children: Behaviour, name: str = "sequence") -> Behaviour:
    """One after the other."""
    return py_trees.composites.Sequence(name, memory=True, children=list(children))


def race(*children: Behaviour, name: str = "race") -> Behaviour:
    """All at once, until the first one succeeds; the others are ended."""
    return py_trees.composites.Parallel(name, ParallelPolicy.SuccessOnOne(), list(children))


def together(*children: Behaviour, name: str = "together") -> Behaviour:
    """All at once, until all have succeeded; finished ones are not repeated."""
    return py_trees.composites.Parallel(name, ParallelPolicy.SuccessOnAll(synchronise=True), list(children))


# ---- simple steps ---------------------------------------------------------------------------------------------------


class Call(Behaviour):
    """Make one call, then succeed."""

    def __init__(self, name: str, call: Callable[[], Any]) -> None:
        super().__init__(name)
        self._call = call

    def update(self) -> Status:
        """Call."""
        self._call()
        return Status.SUCCESS


class Until(Behaviour):
    """Run until a predicate holds.

    Args:
        name: What is waited for.
        predicate: Asked once per tick.
    """

    def __init__(self, name: str, predicate: Callable[[], bool]) -> None:
        super().__init__(name)
        self._predicate = predicate

    def update(self) -> Status:
        """Ask."""
        return Status.SUCCESS if self._predicate() else Status.RUNNING


class Forever(Behaviour):
    """Run until somebody else ends it."""

    def __init__(self, name: str = "forever") -> None:
        super().__init__(name)

    def update(self) -> Status:
        """Go on."""
        return Status.RUNNING


class Idle(Behaviour):
    """Run for ``duration`` seconds of game time."""

    def __init__(self, duration: float, name: str = "idle") -> None:
        super().__init__(name)
        self._duration = duration
        self._start = 0.0

    def initialise(self) -> None:
        """Start the clock."""
        self._start = GameTime.get_time()

    def update(self) -> Status:
        """Look at the clock."""
        return Status.SUCCESS if GameTime.get_time() - self._start > self._duration else Status.RUNNING


class Holding(Behaviour):
    """Run for ever; call ``begin`` at the start and ``end`` once at the end, however it comes."""

    def __init__(self, name: str, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        super().__init__(name)
        self._begin, self._end = begin, end
        self._held = False

    def initialise(self) -> None:
        """Begin."""
        self._begin()
        self._held = True

    def update(self) -> Status:
        """Hold."""
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """End, once."""
        if self._held:
            self._held = False
            self._end()


# ---- actors ---------------------------------------------------------------------------------------------------------


class Reveal(Behaviour):
    """Put hidden actors to their poses, wait until they are there, switch their physics on.

    Args:
        state: Motions of all actors.
        poses: (actor, pose) pairs.
        physics: Whether they move by physics afterwards.
    """

    def __init__(self, state: WorldState, poses: Sequence[tuple[Any, carla.Transform]], physics: bool = True) -> None:
        super().__init__("reveal")
        self._state, self._poses, self._physics = state, poses, physics

    def initialise(self) -> None:
        """Move them."""
        for actor, pose in self._poses:
            if self._state.is_alive(actor):
                actor.set_target_velocity(carla.Vector3D())
                actor.set_target_angular_velocity(carla.Vector3D())
                actor.set_transform(pose)

    def update(self) -> Status:
        """Wait for the simulator to report the new poses; actors that are gone do not count."""
        living = [(actor, pose) for actor, pose in self._poses if self._state.is_alive(actor)]
        if any(self._state.location(actor).distance(pose.location) > REVEALED_WITHIN for actor, pose in living):
            return Status.RUNNING
        for actor, _ in living:
            actor.set_simulate_physics(self._physics)
        return Status.SUCCESS


class WalkAhead(Behaviour):
    """A walker walks straight on, along the heading it has at the start.

    Args:
        state: Motions of all actors.
        walker: The `carla.Walker`.
        speed: m/s.
        distance: Metres of path after which it ends.
        duration: Seconds after which it ends.
    """

    def __init__(self, state: WorldState, walker: Any, speed: float, distance: float, duration: float) -> None:
        super().__init__("walk ahead")
        self._state, self._walker = state, walker
        self._speed, self._distance, self._duration = speed, distance, duration
        self._travelled = 0.0
        self._start = 0.0
        self._last: carla.Location | None = None
        self._direction = carla.Vector3D(1.0, 0.0, 0.0)

    def initialise(self) -> None:
        """Remember time, place and heading."""
        self._travelled, self._start, self._last = 0.0, GameTime.get_time(), None
        self._direction = self._state.transform(self._walker).get_forward_vector()

    def update(self) -> Status:
        """Walk on."""
        if not self._state.is_alive(self._walker):
            return Status.SUCCESS
        location = self._state.location(self._walker)
        self._travelled += location.distance(self._last) if self._last else 0.0
        self._last = location
        self._walker.apply_control(carla.WalkerControl(self._direction, self._speed, False))
        late = GameTime.get_time() - self._start > self._duration
        return Status.SUCCESS if late or self._travelled > self._distance else Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Stand still."""
        if self._last is not None and self._state.is_alive(self._walker):
            self._walker.apply_control(carla.WalkerControl(self._direction, 0.0, False))
            self._last = None


class ForceAhead(Behaviour):
    """A vehicle moves straight on at an enforced velocity; throttle makes the riders of bicycles pedal."""

    def __init__(self, state: WorldState, vehicle: Any, speed: float, distance: float, duration: float) -> None:
        super().__init__("force ahead")
        self._state, self._vehicle = state, vehicle
        self._speed, self._distance, self._duration = speed, distance, duration
        self._travelled = 0.0
        self._start = 0.0
        self._last: carla.Location | None = None

    def initialise(self) -> None:
        """Release the hand brake and remember time and place."""
        self._travelled, self._start, self._last = 0.0, GameTime.get_time(), None

    def update(self) -> Status:
        """Move on."""
        if not self._state.is_alive(self._vehicle):
            return Status.SUCCESS
        transform = self._state.transform(self._vehicle)
        self._travelled += transform.location.distance(self._last) if self._last else 0.0
        self._last = transform.location
        ahead = transform.get_forward_vector()
        self._vehicle.set_target_velocity(carla.Vector3D(ahead.x * self._speed, ahead.y * self._speed, 0.0))
        self._vehicle.apply_control(carla.VehicleControl(throttle=1.0))
        late = GameTime.get_time() - self._start > self._duration
        return Status.SUCCESS if late or self._travelled > self._distance else Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Stand still."""
        if self._last is not None and self._state.is_alive(self._vehicle):
            self._vehicle.apply_control(carla.VehicleControl(brake=1.0))
            self._last = None


class DrivePath(Behaviour):
    """A vehicle drives a path and succeeds at its end.

    Args:
        state: Motions of all actors.
        vehicle: The `carla.Vehicle`.
        path: Makes the (N, 2) path when the step begins.
        speed: m/s, or a function asked every tick.
        options: See `AgentOptions`.
    """

    def __init__(
        self,
        state: WorldState,
        vehicle: Any,
        path: Callable[[], Array],
        speed: float | Callable[[], float],
        options: AgentOptions | None = None,
    ) -> None:
        super().__init__("drive path")
        self._state, self._vehicle, self._path = state, vehicle, path
        self._speed = speed if callable(speed) else lambda: speed
        self._options = options
        self._agent: PathAgent | None = None

    def initialise(self) -> None:
        """Plan."""
        path = self._path()
        self._agent = (
            PathAgent(self._state, self._vehicle, path, self._speed(), self._options) if len(path) > 1 else None
        )

    def update(self) -> Status:
        """Drive on."""
        if self._agent is None or not self._state.is_alive(self._vehicle):
            return Status.SUCCESS
        self._agent.speed = self._speed()
        self._agent.step()
        return Status.SUCCESS if self._agent.done else Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Let go of the vehicle."""
        if self._agent is not None:
            self._agent.stop()
            self._agent = None


class KeepBelow(Behaviour):
    """Keep walkers below the ego until they are needed: on large maps they break when they are far from it.

    Args:
        state: Motions of all actors.
        ego: The ego vehicle.
        walkers: Walkers without physics.
        depth: Metres.
    """

    REFRESH_S = 5.0

    def __init__(self, state: WorldState, ego: Any, walkers: Sequence[Any], depth: float = 100.0) -> None:
        super().__init__("keep walkers below the ego")
        self._state, self._ego, self._walkers, self._depth = state, ego, walkers, depth
        self._next = 0.0

    def initialise(self) -> None:
        """Move them now."""
        self._next = GameTime.get_time()

    def update(self) -> Status:
        """Move them every few seconds."""
        if GameTime.get_time() >= self._next:
            self._next = GameTime.get_time() + self.REFRESH_S
            pose = shifted(self._state.transform(self._ego), up=-self._depth)
            for walker in self._walkers:
                if self._state.is_alive(walker):
                    walker.set_transform(pose)
        return Status.RUNNING


# ---- lights ---------------------------------------------------------------------------------------------------------

LIGHT_TIMES = ("green", "yellow", "red")


class FreezeLights(Behaviour):
    """Hold traffic lights in given states and put their states and times back at the end.

    Single lights are held by making their phases longer than the freeze, because CARLA's freeze stops every light of a town.

    Args:
        states: State by light.
        duration: Seconds after which it succeeds.
    """

    def __init__(self, states: Mapping[Any, Any] | Sequence[tuple[Any, Any]], duration: float = 10_000.0) -> None:
        super().__init__("freeze lights")
        self._states = list(states.items() if isinstance(states, Mapping) else states)
        self._duration = duration
        self._start = 0.0
        self._before: list[tuple[Any, Any, tuple[float, ...]]] = []

    def initialise(self) -> None:
        """Remember and set."""
        self._start = GameTime.get_time()
        self._before = [
            (light, light.get_state(), tuple(getattr(light, f"get_{name}_time")() for name in LIGHT_TIMES))
            for light, _ in self._states
        ]
        for light, state in self._states:
            light.set_state(state)
            for name in LIGHT_TIMES:
                getattr(light, f"set_{name}_time")(self._duration + FREEZE_MARGIN_S)

    def update(self) -> Status:
        """Look at the clock."""
        return Status.SUCCESS if GameTime.get_time() - self._start > self._duration else Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Put everything back, once."""
        for light, state, times in self._before:
            light.set_state(state)
            for name, seconds in zip(LIGHT_TIMES, times):
                getattr(light, f"set_{name}_time")(seconds)
        self._before = []


# ---- ego ------------------------------------------------------------------------------------------------------------


class ControlNoise(Behaviour):
    """Disturb the ego's control: every tick the last control plus noise is applied again. Runs until it is ended.

    Args:
        ego: The ego vehicle.
        rng: Source of the noise.
        throttle, steer: (mean, standard deviation) of normal noise.
    """

    def __init__(
        self, ego: Any, rng: np.random.Generator, throttle: tuple[float, float], steer: tuple[float, float]
    ) -> None:
        super().__init__("control noise")
        self._ego, self._rng = ego, rng
        self._throttle, self._steer = throttle, steer

    def update(self) -> Status:
        """Disturb; without a known control there is nothing to disturb yet."""
        control = blackboard.get(blackboard.CONTROL)
        if control is not None:
            disturbed = carla.VehicleControl(
                throttle=float(np.clip(control.throttle + self._rng.normal(*self._throttle), 0.0, 1.0)),
                steer=float(np.clip(control.steer + self._rng.normal(*self._steer), -1.0, 1.0)),
                brake=control.brake,
                hand_brake=control.hand_brake,
                reverse=control.reverse,
            )
            self._ego.apply_control(disturbed)
        return Status.RUNNING
