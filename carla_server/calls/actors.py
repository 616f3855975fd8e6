"""Actors of any kind: spawn, destroy, place, push, ask."""

from __future__ import annotations

import math
from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.wire import values
from carla_server.world import motion
from carla_server.world.actors import NO_BOX
from carla_server.world.state import HOLD, PUSH_X, PUSH_Z, SPIN, TWIST, Kind
from carla_server.world.world import WorldError


@value()
def get_actors_by_id(simulator: Simulator, session: Session, ids: Any) -> list[Any]:
    """Descriptions of actors; unknown ids are left out."""
    known = simulator.world.actors
    return [known[key].wire() for key in map(values.unsigned, values.array(ids)) if key in known]


@value()
def spawn_actor(simulator: Simulator, session: Session, description: Any, transform: Any) -> list[Any]:
    """Spawn an actor at a world pose."""
    return simulator.world.spawn(values.description(description), values.transform(transform)).wire()


@value()
def spawn_actor_with_parent(
    simulator: Simulator,
    session: Session,
    description: Any,
    transform: Any,
    parent: Any,
    attachment: Any = 0,
    socket: Any = "",
) -> list[Any]:
    """Spawn an actor fixed to another. Spring arms are rigid here."""
    what, at = values.description(description), values.transform(transform)
    return simulator.world.spawn(what, at, values.unsigned(parent)).wire()


@value()
def destroy_actor(simulator: Simulator, session: Session, actor_id: Any) -> bool:
    """Destroy an actor and what is fixed to it."""
    if not simulator.world.destroy(values.unsigned(actor_id)):
        raise WorldError("unable to destroy actor: not found")
    return True


@void()
def set_actor_location(simulator: Simulator, session: Session, actor_id: Any, location: Any) -> None:
    """Teleport, keeping the attitude."""
    world = simulator.world
    actor = world.actor(values.unsigned(actor_id))
    x, y, z = values.location(location)
    base = actor.relative if actor.relative is not None else world.pose(actor)
    world.place(actor, base._replace(x=x, y=y, z=z))


@void()
def set_actor_transform(simulator: Simulator, session: Session, actor_id: Any, transform: Any) -> None:
    """Teleport."""
    world = simulator.world
    world.place(world.actor(values.unsigned(actor_id)), values.transform(transform))


@void()
def set_actor_target_velocity(simulator: Simulator, session: Session, actor_id: Any, velocity: Any) -> None:
    """Give a world velocity, m/s."""
    world = simulator.world
    world.set_velocity(world.actor(values.unsigned(actor_id)), values.bounded(velocity, motion.MAX_SPEED))


@void()
def set_actor_target_angular_velocity(simulator: Simulator, session: Session, actor_id: Any, velocity: Any) -> None:
    """Give an angular velocity, deg/s; a vehicle only spins about the vertical."""
    world = simulator.world
    actor = world.actor(values.unsigned(actor_id))
    rate = values.bounded(velocity, math.degrees(motion.MAX_SPIN))
    world.rows.dynamic[actor.row, SPIN] = math.radians(rate[2])
    world.rows.motion[actor.row, 9:12] = rate


@void()
def enable_actor_constant_velocity(simulator: Simulator, session: Session, actor_id: Any, velocity: Any) -> None:
    """Hold a velocity in the actor's own frame, m/s, whatever the pedals say."""
    world, speeds = simulator.world, values.bounded(velocity, motion.MAX_SPEED)
    world.rows.imposed[world.actor(values.unsigned(actor_id)).row, HOLD : HOLD + 4] = (1.0, *speeds)


@void()
def disable_actor_constant_velocity(simulator: Simulator, session: Session, actor_id: Any) -> None:
    """Give the pedals back."""
    world = simulator.world
    world.rows.imposed[world.actor(values.unsigned(actor_id)).row, HOLD : HOLD + 4] = 0.0


@void()
def set_actor_simulate_physics(simulator: Simulator, session: Session, actor_id: Any, enabled: Any) -> None:
    """Switch physics. An unknown id is no error: the Traffic Manager asks for actors destroyed a moment ago."""
    actor = simulator.world.actors.get(values.unsigned(actor_id))
    if actor is not None:
        simulator.world.simulate(actor, values.boolean(enabled))


@void()
def set_actor_enable_gravity(simulator: Simulator, session: Session, actor_id: Any, enabled: Any) -> None:
    """Switch gravity."""
    world = simulator.world
    world.rows.weightless[world.actor(values.unsigned(actor_id)).row] = not values.boolean(enabled)


@void()
def set_actor_collisions(simulator: Simulator, session: Session, actor_id: Any, enabled: Any) -> None:
    """Switch collisions."""
    world = simulator.world
    actor = world.actor(values.unsigned(actor_id))
    bodily = actor.kind in (Kind.VEHICLE, Kind.WALKER, Kind.PROP)
    world.rows.solid[actor.row] = values.boolean(enabled) and bodily
    world.changed()


@void()
def set_actor_dead(simulator: Simulator, session: Session, actor_id: Any) -> None:
    """An actor that is dead takes no further part: its physics stops."""
    world = simulator.world
    world.simulate(world.actor(values.unsigned(actor_id)), False)


def _push(simulator: Simulator, actor_id: Any, impulse: values.Vector) -> None:
    world = simulator.world
    world.rows.imposed[world.actor(values.unsigned(actor_id)).row, PUSH_X : PUSH_Z + 1] += impulse


@void()
def add_actor_impulse(simulator: Simulator, session: Session, actor_id: Any, impulse: Any) -> None:
    """Add an impulse, kg m/s, world axes."""
    _push(simulator, actor_id, values.vector(impulse))


@void()
def add_actor_force(simulator: Simulator, session: Session, actor_id: Any, force: Any) -> None:
    """Add a force for one tick, N, world axes."""
    step = simulator.world.settings.step
    x, y, z = values.vector(force)
    _push(simulator, actor_id, (x * step, y * step, z * step))


@void()
def add_actor_impulse_at_location(
    simulator: Simulator, session: Session, actor_id: Any, impulse: Any, location: Any
) -> None:
    """Add an impulse that also turns the actor, kg m/s, applied at a world point."""
    world = simulator.world
    push, place = values.vector(impulse), values.location(location)
    actor = world.actor(values.unsigned(actor_id))
    x, y = world.rows.motion[actor.row, :2].tolist()
    _push(simulator, actor_id, push)
    world.rows.imposed[actor.row, TWIST] += (place[0] - x) * push[1] - (place[1] - y) * push[0]


@void()
def add_actor_force_at_location(
    simulator: Simulator, session: Session, actor_id: Any, force: Any, location: Any
) -> None:
    """Add a force for one tick at a world point, N."""
    step = simulator.world.settings.step
    impulse = [part * step for part in values.vector(force)]
    add_actor_impulse_at_location(simulator, session, actor_id, impulse, location)


@void("add_actor_angular_impulse", "add_actor_torque")
def twist_actor(simulator: Simulator, session: Session, actor_id: Any, impulse: Any) -> None:
    """Turn an actor about the vertical, kg m²/s. The Python client sends torques by the name of the impulse."""
    world = simulator.world
    world.rows.imposed[world.actor(values.unsigned(actor_id)).row, TWIST] += values.vector(impulse)[2]


@value()
def get_actor_bounding_box(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """Box in the actor frame; an empty one for an unknown id, because an error would end the client's process."""
    actor = simulator.world.actors.get(actor_id) if type(actor_id) is int else None
    return NO_BOX if actor is None else actor.wire_box()


#: Named parts of an actor; every actor here is one rigid piece.
COMPONENTS = ["Root"]


@value("get_actor_component_names", "get_actor_bone_names", "get_actor_socket_names")
def get_part_names(simulator: Simulator, session: Session, actor_id: Any) -> list[str]:
    """Names of components, bones or sockets."""
    simulator.world.actor(values.unsigned(actor_id))
    return COMPONENTS


def _transform(pose: tuple[float, ...]) -> list[Any]:
    return [list(pose[:3]), list(pose[3:])]


_AT_ORIGIN = _transform((0.0,) * 6)


@value()
def get_actor_component_world_transform(simulator: Simulator, session: Session, actor_id: Any, name: Any) -> list[Any]:
    """World pose of a component."""
    return _transform(simulator.world.pose(simulator.world.actor(values.unsigned(actor_id))))


@value()
def get_actor_component_relative_transform(
    simulator: Simulator, session: Session, actor_id: Any, name: Any
) -> list[Any]:
    """Pose of a component in the actor frame."""
    simulator.world.actor(values.unsigned(actor_id))
    return _AT_ORIGIN


@value("get_actor_bone_world_transforms", "get_actor_socket_world_transforms", "get_vehicle_bone_world_transforms")
def get_part_world_transforms(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """World poses of all parts."""
    return [_transform(simulator.world.pose(simulator.world.actor(values.unsigned(actor_id))))]


@value("get_actor_bone_relative_transforms", "get_actor_socket_relative_transforms")
def get_part_relative_transforms(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """Poses of all parts in the actor frame."""
    simulator.world.actor(values.unsigned(actor_id))
    return [_AT_ORIGIN]


@void()
def set_ignored_vehicles(simulator: Simulator, session: Session, actor_id: Any, ids: Any) -> None:
    """Accepted: no sensor here hides vehicles."""
    simulator.world.actor(values.unsigned(actor_id))
    for item in values.array(ids):
        values.unsigned(item)


@void()
def send(simulator: Simulator, session: Session, actor_id: Any, message: Any) -> None:
    """Message of a custom V2X sensor; there are none to hear it."""
    simulator.world.actor(values.unsigned(actor_id))
