"""The life of a scenario: plan, spawn, tree, info, release.

A type is a function from a `Draft` to a `Plan`: pure placement, no spawning, so a route file can be checked offline. The rest
is the same for all types and lives here.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import carla
from py_trees.behaviour import Behaviour
from py_trees.common import Status

from driving.commands import RoadOption
from srunner.scenarioconfigs.scenario_configuration import ScenarioConfiguration
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.route_context import Fidelity, RouteContext
from srunner.scenariomanager.scenario_info import ScenarioInfo, ScenarioPhase
from srunner.scenariomanager.scenarioatomics import atomic_behaviors as steps
from srunner.scenariomanager.scenarioatomics.atomic_criteria import (
    Criterion,
    ScenarioTimeoutTest,
    YieldToEmergencyVehicleTest,
)
from srunner.scenariomanager.ticking import PlainDecorator
from srunner.scenariomanager.world_state import SPAWN_LIFT, SpawnError
from srunner.scenarios.parameters import Parameter, read_parameters
from srunner.tools.places import PlacementError, copy_transform, nearest_index, shifted
from srunner.tools.route_planner import GlobalRoutePlanner
from srunner.traffic.requests import Wishes

LOG = logging.getLogger(__name__)

SCENARIO_TIMEOUT_S = 240.0
"""Game time a scenario may take, in every type that has a timeout."""

ROOM_M = 8.0
"""Background cars nearer than this to the place of an actor make way for it, metres."""

REVEAL_ROOM_M = 5.5
"""The same for vehicles that come out of hiding: a car in the same place would be pushed out of it, metres."""

Settle = Callable[[Any, carla.Transform], carla.Transform]
PosesAfter = Callable[[Mapping[str, carla.Transform], Mapping[str, Any]], tuple[carla.Transform, ...]]


@dataclass(frozen=True)
class ActorPlan:
    """One actor of a scenario.

    Attributes:
        part: Its part in the scenario, unique within it.
        model: Blueprint id or pattern.
        poses: Where it is spawned, the first free one; poses are final, hiding comes after. A function gets the final poses
            and the actors of the parts before it, for places that depend on their sizes.
        role: Role name.
        attributes: Wanted blueprint attributes.
        hidden: Metres below its pose at which it waits without physics; 0 leaves it in place.
        physics: Whether it moves by physics while it is visible.
        lights: Vehicle lights to switch on.
        hand_brake: Whether the hand brake is on.
        settle: Moves the pose once the actor's size is known.
        is_walker: Whether it waits below the ego, for simulators in which far walkers break.
    """

    part: str
    model: str
    poses: tuple[carla.Transform, ...] | PosesAfter
    role: str = "scenario"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    hidden: float = 0.0
    physics: bool = True
    lights: int = 0
    hand_brake: bool = False
    settle: Settle | None = None
    is_walker: bool = False


@dataclass(frozen=True)
class Plan:
    """What a scenario will do, before anything exists.

    Attributes:
        behaviour: Makes the tree from the trigger to the end.
        actors: Actors in spawn order.
        prepare: Called once before actors are spawned; what it returns is called if that fails.
        first, last: Parts of the first and last actor along the route, for the expert.
        direction: Side at which actors stand or from which they come.
        two_way: Whether getting past needs an oncoming lane.
        places: Poses by meaning, for the expert.
        numbers: Figures by meaning.
        slots: Parking places that are taken.
    """

    behaviour: Callable[[Stage], Behaviour]
    actors: tuple[ActorPlan, ...] = ()
    prepare: Callable[[Stage], Callable[[], None]] | None = None
    first: str = ""
    last: str = ""
    direction: str = "right"
    two_way: bool | None = None
    places: Mapping[str, carla.Transform] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    slots: tuple[carla.Location, ...] = ()


@dataclass(frozen=True)
class Draft:
    """What a planning function may look at.

    Attributes:
        config: The element of the route file.
        values: Parameter values by name.
        constants: The constants of the type's table row.
        map: `carla.Map`.
        route: Interpolated route.
        planner: Route planner with 2 m between points.
        rng: Random choices of this scenario.
        world: `carla.World` for traffic lights; None in an offline check.
        fidelity: Which oddities of the original are kept.
    """

    config: ScenarioConfiguration
    values: Mapping[str, Any]
    constants: Mapping[str, Any]
    map: Any
    route: Sequence[tuple[carla.Transform, RoadOption]]
    planner: GlobalRoutePlanner
    rng: Any
    world: Any = None
    fidelity: Fidelity = field(default_factory=Fidelity)

    @property
    def trigger(self) -> carla.Transform:
        """Pose at which the scenario starts."""
        return self.config.trigger_points[0]

    @property
    def waypoint(self) -> Any:
        """The driving lane at the trigger."""
        return self.map.get_waypoint(self.trigger.location)

    def lights_in(self, junction: Any) -> list[Any]:
        """Traffic lights of a junction, in order of their ids; none in an offline check."""
        if self.world is None:
            return []
        return sorted(self.world.get_traffic_lights_in_junction(junction.id), key=lambda light: light.id)


@dataclass(frozen=True)
class ScenarioType:
    """A row of the table of types.

    Attributes:
        name: Name in route files.
        plan: Placement and behaviour.
        parameters: Elements the type reads.
        criteria: Names of what the ego is judged by: ``timeout``, ``yield``.
        constants: Figures by which types of a family differ.
    """

    name: str
    plan: Callable[[Draft], Plan]
    parameters: tuple[Parameter, ...] = ()
    criteria: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)


class Stage:
    """What the behaviour of one running scenario works with.

    Attributes:
        context: The route.
        scenario: The scenario.
        actors: Its actors by part.
        rng: Random choices of this scenario.
    """

    def __init__(self, scenario: BasicScenario) -> None:
        self.scenario = scenario
        self.context = scenario.context
        self.state = scenario.context.state
        self.ego = scenario.context.ego
        self.actors: dict[str, Any] = scenario.actors
        self.rng = scenario.context.generator(f"{stream_name(scenario.config)}:stage")

    @property
    def wishes(self) -> Wishes:
        """What this scenario asks of the background traffic."""
        return self.context.traffic.of(self.scenario.id)

    @property
    def ego_location(self) -> carla.Location:
        """Where the ego is."""
        return self.state.location(self.ego)

    def ask(self, **wishes: Any) -> Behaviour:
        """A step that sets wishes to the background traffic; they hold until changed or until the scenario ends."""

        def apply() -> None:
            for name, value in wishes.items():
                setattr(self.wishes, name, value)

        return steps.Call(f"ask traffic: {', '.join(wishes)}", apply)

    def remove_lane(self, waypoint: Any) -> Behaviour:
        """A step that takes background cars off the lane at ``waypoint``."""
        return steps.Call("remove road lane", lambda: self.wishes.removed_lanes.append(waypoint))

    def give_back_lanes(self) -> Behaviour:
        """A step that gives removed lanes back to the background traffic."""
        return steps.Call("give back lanes", lambda: self.context.traffic.give_back_lanes(self.scenario.id))

    def hold_off(self, switch: str) -> Behaviour:
        """A step that switches a criterion off until the scenario ends."""
        return steps.Call(f"{switch} off", lambda: self.context.switches.hold_off(switch, self.scenario.id))

    def let_go(self, switch: str) -> Behaviour:
        """A step that switches a criterion on again."""
        return steps.Call(f"{switch} on", lambda: self.context.switches.let_go(switch, self.scenario.id))

    def remove(self, *parts: str) -> Behaviour:
        """A step that removes actors, all without arguments."""

        def apply() -> None:
            self.state.remove_all([self.actors[part] for part in parts or tuple(self.actors)])

        return steps.Call("remove actors", apply)

    def reveal(self, *parts: str, physics: bool = True) -> Behaviour:
        """A step that puts hidden actors to their poses, all hidden ones without arguments; background cars make way."""
        poses = [(self.actors[p], self.scenario.hidden_poses[p]) for p in parts or tuple(self.scenario.hidden_poses)]

        def make_room() -> None:
            for actor, pose in poses:
                if actor.type_id.startswith("vehicle."):
                    self.scenario.make_room(pose.location, REVEAL_ROOM_M)

        return steps.sequence(
            steps.Call("make room", make_room), steps.Reveal(self.state, poses, physics), name="reveal"
        )

    def timeout(self) -> Behaviour:
        """The scenario timeout: while it runs the ego may stand still; running out is noted for the criterion."""
        key = blackboard.timeout_key(self.scenario.config.name)

        def begin() -> None:
            self.context.switches.hold_off(blackboard.BLOCKED_SWITCH, self.scenario.id)

        def end() -> None:
            self.context.switches.let_go(blackboard.BLOCKED_SWITCH, self.scenario.id)

        def note() -> None:
            self.scenario.timed_out = True
            blackboard.set(key, True)

        clock = steps.sequence(steps.Idle(SCENARIO_TIMEOUT_S), steps.Call("note timeout", note), name="timeout")
        return steps.race(clock, steps.Holding("blocked test off", begin, end), name="scenario timeout")


class Guard(PlainDecorator):
    """Ends a scenario that fails or raises without ending the route; the reason is kept in `BasicScenario.failure`."""

    def __init__(self, scenario: BasicScenario, child: Behaviour) -> None:
        super().__init__(f"guard {scenario.name}", child)
        self._scenario = scenario

    def update(self) -> Status:
        """The child's status; failure counts as the end."""
        if self.decorated.status is Status.FAILURE:
            tip = self.decorated.tip()
            self._scenario.failure = f"step {tip.name if tip else self.decorated.name} failed"
            LOG.warning("%s ended early: %s", self._scenario.name, self._scenario.failure)
            return Status.SUCCESS
        return self.decorated.status

    def tick(self) -> Iterator[Behaviour]:
        """Tick the child; an exception ends the scenario, is logged with its traceback and kept for the results."""
        try:
            yield from super().tick()
        except Exception as error:  # one broken scenario must not end a route of many
            self._give_up(error)
            yield self

    def tick_plainly(self) -> None:
        """`tick` without a generator."""
        try:
            super().tick_plainly()
        except Exception as error:  # as above
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        LOG.error("%s ended early", self._scenario.name, exc_info=error)
        self._scenario.failure = f"{type(error).__name__}: {error}"
        self.stop(Status.SUCCESS)


def stream_name(config: ScenarioConfiguration) -> str:
    """Name of a scenario's stream of random numbers; equal names at other places draw other numbers."""
    place = config.trigger_points[0].location
    return f"scenario:{config.name}:{place.x:.1f},{place.y:.1f}"


_IDS = itertools.count(1)


class BasicScenario:
    """One scenario of a route.

    Use `registry.build`. Spawning happens in the constructor and never ticks the world.

    Attributes:
        id: Number, unique within the process.
        name, config: From the route file.
        type: Name of its type.
        phase: Built, active or ended.
        timed_out: Whether the scenario timeout ran out.
        failure: Why it ended early; empty if it did not.
        warnings: Elements of the route file that nobody reads.
        actors: Its actors by part.
        poses: Their final poses.
        hidden_poses: Those of actors that wait hidden.
        criteria: What the ego is judged by while it is active.
        parking_slots: Parking places it occupies.

    Raises:
        ParameterError: If parameters are missing or wrong.
        PlacementError: If the scenario has no place here.
        SpawnError: If an actor cannot be created; nothing of the scenario is left then.
    """

    def __init__(self, row: ScenarioType, config: ScenarioConfiguration, context: RouteContext) -> None:
        self.id = next(_IDS)
        self.row, self.config, self.context = row, config, context
        self.name, self.type = config.name, row.name
        self.phase = ScenarioPhase.BUILT
        self.timed_out = False
        self.failure = ""
        self.actors: dict[str, Any] = {}
        self.poses: dict[str, carla.Transform] = {}
        self.hidden_poses: dict[str, carla.Transform] = {}
        values, self.warnings = read_parameters(row.parameters, config.other_parameters)
        for warning in self.warnings:
            LOG.warning("%s: %s", self.name, warning)
        self._rng = context.generator(stream_name(config))
        self.plan = row.plan(
            Draft(
                config, values, row.constants, context.map, context.route or config.route, context.state.planner(2.0),
                self._rng, context.world, context.fidelity,
            )
        )  # fmt: skip
        self._spawn()
        context.parking_slots.extend(self.plan.slots)
        context.on_release(self)
        self.behavior_tree = self._tree()
        self.criteria: list[Criterion] = [self._criterion(name) for name in row.criteria]
        self._publish()

    @property
    def parking_slots(self) -> list[carla.Location]:
        """Parking places that parked cars must keep free."""
        return list(self.plan.slots)

    def info(self) -> ScenarioInfo:
        """The record for the expert, as of now."""
        plan, trigger = self.plan, self.config.trigger_points[0]
        return ScenarioInfo(
            self.id, self.name, self.type, self.phase, copy_transform(trigger),
            nearest_index(self.context.route, trigger.location) if self.context.route else 0,
            self.actors.get(plan.first), self.actors.get(plan.last), dict(self.actors), plan.direction, plan.two_way,
            plan.places, plan.numbers,
        )  # fmt: skip

    def release(self) -> None:
        """Take back what it asked for and remove its actors; nothing happens the second time."""
        if self.behavior_tree.status is Status.RUNNING:
            self.behavior_tree.stop(Status.INVALID)
        self._end()

    def _spawn(self) -> None:
        undo = self.plan.prepare(Stage(self)) if self.plan.prepare is not None else None
        try:
            for plan in self.plan.actors:
                self.actors[plan.part] = self._spawn_one(plan)
        except Exception:
            self.context.state.remove_all(self.actors.values())
            self.actors.clear()
            if undo is not None:
                undo()
            raise

    def _spawn_one(self, plan: ActorPlan) -> Any:
        state = self.context.state
        blueprint = state.choose_blueprint(plan.model, self._rng, plan.role, plan.attributes)
        poses = plan.poses(self.poses, self.actors) if callable(plan.poses) else plan.poses
        lift = 0.0 if plan.hidden or plan.settle or plan.is_walker else SPAWN_LIFT
        actor, pose = self._try_poses(blueprint, poses, lift)
        if actor is None and self.make_room(poses[0].location, ROOM_M):
            actor, pose = self._try_poses(blueprint, poses, lift)
        if actor is None:
            place = poses[0].location
            raise SpawnError(
                f"{self.name}: no room for {plan.part} ({blueprint.id}) at ({place.x:.1f}, {place.y:.1f}, {place.z:.1f})"
            )
        try:
            self._dress(actor, plan, pose)
        except Exception:
            state.remove(actor)
            raise
        return actor

    def _try_poses(
        self, blueprint: Any, poses: Sequence[carla.Transform], lift: float
    ) -> tuple[Any | None, carla.Transform]:
        for pose in poses:
            actor = self.context.state.try_spawn(blueprint, pose, lift)
            if actor is not None:
                return actor, pose
        return None, poses[-1]

    def make_room(self, location: carla.Location, radius: float) -> bool:
        """Remove background cars within ``radius`` metres of where an actor is needed; whether there were any."""
        state = self.context.state
        in_the_way = [
            vehicle
            for vehicle in state.vehicles()
            if vehicle.attributes.get("role_name") == "background"
            and state.location(vehicle).distance(location) < radius
        ]
        for vehicle in in_the_way:
            if self.context.traffic_manager is not None:
                vehicle.set_autopilot(False, self.context.traffic_manager.get_port())
            state.remove(vehicle)
        return bool(in_the_way)

    def _dress(self, actor: Any, plan: ActorPlan, pose: carla.Transform) -> None:
        state = self.context.state
        if plan.settle is not None:
            pose = plan.settle(actor, pose)
            state.move(actor, pose)
        self.poses[plan.part] = pose
        if plan.lights:
            actor.set_light_state(carla.VehicleLightState(plan.lights))
        if plan.hand_brake:
            actor.apply_control(carla.VehicleControl(hand_brake=True, brake=1.0))
        if plan.hidden or plan.is_walker:
            self.hidden_poses[plan.part] = pose
            actor.set_simulate_physics(False)
            depth = plan.hidden or 50.0
            below = shifted(state.transform(self.context.ego) if plan.is_walker else pose, up=-depth)
            state.move(actor, below)
        elif not plan.physics:
            actor.set_simulate_physics(False)

    def _tree(self) -> Behaviour:
        stage = Stage(self)
        variable = self.config.route_var_name
        waiting: list[Behaviour] = [
            steps.Until("wait for the trigger", lambda: bool(blackboard.get(variable, False))),
        ]
        walkers = [self.actors[plan.part] for plan in self.plan.actors if plan.is_walker]
        if walkers:
            waiting.append(steps.KeepBelow(self.context.state, self.context.ego, walkers))
        return steps.sequence(
            steps.race(*waiting, name="wait"),
            steps.Call("activate", self._activate),
            Guard(self, self.plan.behaviour(stage)),
            steps.Call("end", self._end),
            steps.Forever(),
            name=self.name,
        )

    def _activate(self) -> None:
        self.phase = ScenarioPhase.ACTIVE
        self._publish()

    def _publish(self) -> None:
        self.context.infos.publish(self.info())

    def _end(self) -> None:
        self.phase = ScenarioPhase.ENDED
        self.context.state.remove_all(self.actors.values())
        self.context.traffic.release(self.id)
        self.context.switches.release(self.id)
        self.context.infos.withdraw(self.id)
        if self.config.route_var_name and blackboard.get(self.config.route_var_name):
            blackboard.set(self.config.route_var_name, False)

    def _criterion(self, name: str) -> Criterion:
        if name == "timeout":
            return ScenarioTimeoutTest(self.context.ego, self.config.name)
        if name == "yield":
            return YieldToEmergencyVehicleTest(self.context.ego, self.actors["emergency"])
        raise PlacementError(f"{self.name}: {name} is not a scenario criterion; expected timeout or yield")
