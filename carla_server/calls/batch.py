"""Batches: many commands in one call, each with its own result."""

from __future__ import annotations

import logging
from typing import Any

from carla_server.calls import actors, lights, vehicles, walkers
from carla_server.calls import session as episode
from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value
from carla_server.map import MapError
from carla_server.wire import rpc, values
from carla_server.world.world import WorldError

log = logging.getLogger(__name__)


def _spawn(simulator: Simulator, session: Session, *fields: Any) -> int:
    """SpawnActor: description, transform, optional parent, [attachment, socket,] commands for the new actor."""
    what, at = values.description(fields[0]), values.transform(fields[1])
    parent = values.optional(fields[2])
    actor = simulator.world.spawn(what, at, None if parent is None else values.unsigned(parent))
    for command in values.array(fields[-1]):
        index, arguments = _open(command)
        # What does not begin with an actor has no place for the new one.
        run(simulator, session, command if COMMANDS[index] in _ANSWERING else [[index, [actor.id, *arguments[1:]]]])
    return actor.id


def _console(simulator: Simulator, session: Session, command: Any) -> int:
    episode.console_command(simulator, session, command)
    return 0


#: Function of each command, by its position in CARLA 0.9.16's variant.
COMMANDS = (
    _spawn,
    actors.destroy_actor,
    vehicles.apply_control_to_vehicle,
    vehicles.apply_ackermann_control_to_vehicle,
    walkers.apply_control_to_walker,
    vehicles.apply_physics_control,
    actors.set_actor_transform,
    walkers.set_walker_state,
    actors.set_actor_target_velocity,
    actors.set_actor_target_angular_velocity,
    actors.add_actor_impulse,
    actors.add_actor_force,
    actors.twist_actor,
    actors.twist_actor,
    actors.set_actor_simulate_physics,
    actors.set_actor_enable_gravity,
    vehicles.set_autopilot,
    vehicles.other_physics,
    vehicles.set_vehicle_light_state,
    actors.set_actor_location,
    _console,
    lights.set_traffic_light_state,
)
#: Commands whose own result is the answer instead of the actor id they begin with.
_ANSWERING = (_spawn, _console)


def _open(command: Any) -> tuple[int, list[Any]]:
    """Index and fields of a command, which is a struct of one variant."""
    index, fields = values.array(values.array(command, 1)[0], 2)[:2]
    if type(index) is not int or not 0 <= index < len(COMMANDS):
        raise values.ArgumentError(f"unknown batch command {index!r}; expected 0 to {len(COMMANDS) - 1}")
    return index, values.array(fields, 1)


def run(simulator: Simulator, session: Session, command: Any) -> list[Any]:
    """Run one command; its result, wrapped."""
    try:
        index, fields = _open(command)
        function = COMMANDS[index]
        result = function(simulator, session, *fields)
        return rpc.value(result if function in _ANSWERING else values.unsigned(fields[0]))
    except (WorldError, MapError, ValueError, TypeError, IndexError) as error:
        return rpc.failure(f"{error}")
    except Exception as error:  # a defect of the server must not cost the other commands their results
        log.exception("the batch command %.200r failed", command)
        return rpc.failure(f"internal error: {type(error).__name__}: {error}")


@value()
def apply_batch(simulator: Simulator, session: Session, commands: Any, do_tick: Any = False) -> list[Any]:
    """Run commands in order; a failed one does not stop the rest. With `do_tick` the world then advances."""
    results = [run(simulator, session, command) for command in values.array(commands)]
    if values.boolean(do_tick):
        simulator.world.tick()
    return results
