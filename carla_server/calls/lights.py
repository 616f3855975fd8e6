"""Traffic lights and street lights."""

from __future__ import annotations

from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.sensors.views import LampState
from carla_server.wire import values
from carla_server.world.actors import Actor
from carla_server.world.lights import Group, Phase
from carla_server.world.state import Kind
from carla_server.world.world import WorldError

#: Housing of a light as its box: half sizes, metres.
HOUSING = [0.2, 0.2, 0.5]


def _light(simulator: Simulator, actor_id: Any) -> Actor:
    return simulator.world.of_kind(values.unsigned(actor_id), Kind.LIGHT)


def _group(simulator: Simulator, actor_id: Any) -> Group:
    return simulator.world.lights.group_of[_light(simulator, actor_id).row]


@void()
def set_traffic_light_state(simulator: Simulator, session: Session, actor_id: Any, state: Any) -> None:
    """Show a colour until the next phase of the junction."""
    lamp = values.integer(state)
    if lamp not in LampState.__members__.values():
        raise WorldError(f"unknown traffic light state {lamp}; expected 0 to {max(LampState)}")
    simulator.world.rows.wire["lamp"][_light(simulator, actor_id).row] = lamp


def _set_time(simulator: Simulator, actor_id: Any, phase: Phase, seconds: Any) -> None:
    actor = _light(simulator, actor_id)
    lights = simulator.world.lights
    lights.stage_of[actor.row].times[phase] = values.clamp(values.number(seconds), 0.0, 1.0e9)
    lights.write_times(lights.group_of[actor.row])


@void()
def set_traffic_light_green_time(simulator: Simulator, session: Session, actor_id: Any, seconds: Any) -> None:
    """Set the green time of the light's controller, seconds."""
    _set_time(simulator, actor_id, Phase.GREEN, seconds)


@void()
def set_traffic_light_yellow_time(simulator: Simulator, session: Session, actor_id: Any, seconds: Any) -> None:
    """Set the yellow time of the light's controller, seconds."""
    _set_time(simulator, actor_id, Phase.YELLOW, seconds)


@void()
def set_traffic_light_red_time(simulator: Simulator, session: Session, actor_id: Any, seconds: Any) -> None:
    """Set the red time after yellow of the light's controller, seconds."""
    _set_time(simulator, actor_id, Phase.ALL_RED, seconds)


@void()
def freeze_traffic_light(simulator: Simulator, session: Session, actor_id: Any, frozen: Any) -> None:
    """Stop or restart the cycle of the light's junction."""
    simulator.world.lights.freeze(values.boolean(frozen), [_group(simulator, actor_id)])


@void()
def freeze_all_traffic_lights(simulator: Simulator, session: Session, frozen: Any) -> None:
    """Stop or restart all cycles; the client's `light.freeze()` calls this."""
    simulator.world.lights.freeze(values.boolean(frozen))


@void()
def reset_traffic_light_group(simulator: Simulator, session: Session, actor_id: Any) -> None:
    """Begin the cycle of the light's junction anew."""
    _group(simulator, actor_id).reset(simulator.world.rows)


@void()
def reset_all_traffic_lights(simulator: Simulator, session: Session) -> None:
    """Begin every cycle anew."""
    simulator.world.lights.reset()


@value()
def get_group_traffic_lights(simulator: Simulator, session: Session, actor_id: Any) -> list[int]:
    """Ids of all lights of the junction."""
    world = simulator.world
    return [int(world.rows.wire["id"][row]) for row in _group(simulator, actor_id).lights]


@value()
def get_light_boxes(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """Boxes of the housings of a light, world frame."""
    world = simulator.world
    actor = _light(simulator, actor_id)
    pose = world.pose(actor)
    signal = world.road_map.signals[actor.signal_id]
    return [[[pose.x, pose.y, pose.z + signal.z_offset], HOUSING, [0.0, pose.yaw, 0.0], actor.id]]


@value()
def query_lights_state(simulator: Simulator, session: Session, endpoint: Any) -> list[Any]:
    """Street lights that clients may switch; ours follow the sun by themselves."""
    return []


@void("update_lights_state", "update_day_night_cycle")
def switch_street_lights(simulator: Simulator, session: Session, endpoint: Any, *change: Any) -> None:
    """Street lights follow the sun by themselves; accepted without effect."""
