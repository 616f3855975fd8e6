"""Vehicles: controls, physics, lights, doors, wheels, telemetry."""

from __future__ import annotations

import math
from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.wire import values
from carla_server.world import motion
from carla_server.world.actors import Actor
from carla_server.world.state import FRICTION, MASS, SPEED, STEER, Kind
from carla_server.world.world import TYRE_FRICTION, WorldError, tyre_friction

#: Wheel angle of full steering, degrees: the bicycle model's, for the wheelbase it was fitted to.
MAX_STEER_DEG = math.degrees(
    math.atan(motion.REFERENCE_WHEELBASE / motion.MODEL_WHEELBASE * math.tan(motion.STEER_GAIN))
)
#: Wheel radius in centimetres by kind of vehicle, for the physics description.
WHEEL_RADIUS_CM = 36.0
#: Gears: ratio, and engine speed to change down and up as shares of the highest.
GEARS = [[ratio, 0.5, 0.65] for ratio in (4.25, 2.54, 1.75, 1.3, 1.0)]
ACKERMANN_GAINS = [0.15, 0.0, 0.25, 0.01, 0.0, 0.01]
DOORS = {0: 1, 1: 2, 2: 4, 3: 8, 6: 15}


def _vehicle(simulator: Simulator, actor_id: Any) -> Actor:
    return simulator.world.of_kind(values.unsigned(actor_id), Kind.VEHICLE)


@void()
def apply_control_to_vehicle(simulator: Simulator, session: Session, actor_id: Any, control: Any) -> None:
    """Set pedals, steering and gear."""
    actor = _vehicle(simulator, actor_id)
    if actor.ackermann is not None:
        actor.ackermann = None
        simulator.world.changed()
    simulator.world.control(actor, values.vehicle_control(control))


@void()
def apply_ackermann_control_to_vehicle(simulator: Simulator, session: Session, actor_id: Any, control: Any) -> None:
    """Follow a steering angle and a speed."""
    actor = _vehicle(simulator, actor_id)
    actor.ackermann = values.ackermann_control(control)
    simulator.world.changed()


@value()
def get_ackermann_controller_settings(simulator: Simulator, session: Session, actor_id: Any) -> list[float]:
    """Gains of the Ackermann controller."""
    return _vehicle(simulator, actor_id).ackermann_gains or ACKERMANN_GAINS


@void("apply_ackermann_controller_settings")
def set_ackermann_controller_settings(simulator: Simulator, session: Session, actor_id: Any, gains: Any) -> None:
    """Keep gains."""
    actor = _vehicle(simulator, actor_id)
    actor.ackermann_gains = [values.number(part) for part in values.array(gains, 6)[:6]]


@void("set_actor_autopilot")
def set_autopilot(simulator: Simulator, session: Session, actor_id: Any, enabled: Any) -> None:
    """The autopilot is the Traffic Manager in the client; nothing to do here."""
    values.boolean(enabled)


@value()
def get_physics_control(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """Physics of a vehicle: what a client set, else a description of the model's own."""
    actor = _vehicle(simulator, actor_id)
    return actor.physics if actor.physics is not None else _physics(simulator, actor)


def _physics(simulator: Simulator, actor: Actor) -> list[Any]:
    kind_of = actor.blueprint
    assert kind_of is not None
    pose = simulator.world.pose(actor)
    cos, sin = math.cos(math.radians(pose.yaw)), math.sin(math.radians(pose.yaw))
    wheels = []
    for front in (0.5, -0.5):
        for side in (-0.8, 0.8):
            x, y = front * kind_of.wheelbase, side * actor.extent[1]
            place = [100.0 * (pose.x + cos * x - sin * y), 100.0 * (pose.y + sin * x + cos * y), 100.0 * pose.z + 36.0]
            steer = MAX_STEER_DEG if front > 0 else 0.0
            wheels.append([TYRE_FRICTION, 0.25, steer, WHEEL_RADIUS_CM, 1500.0, 3000.0, 2.0, 17.0, 1000.0, place])
    torque = [[0.0, 400.0], [1890.0, 500.0], [5729.6, 400.0]]
    curve = [[0.0, 1.0], [20.0, 1.0], [60.0, 1.0], [120.0, 1.0]]
    return [
        *(torque, 6000.0, 1.0, 0.15, 2.0, 0.35, True, 0.0, 10.0, 4.0, GEARS, kind_of.mass, 0.3),
        *([0.0, 0.0, 0.5 * actor.extent[2]], curve, wheels, True),
    ]


@void()
def apply_physics_control(simulator: Simulator, session: Session, actor_id: Any, physics: Any) -> None:
    """Keep physics. Mass and the tyres' friction take effect; engine and gears stay the model's."""
    actor = _vehicle(simulator, actor_id)
    row = values.array(physics, 17)
    mass = values.number(row[11])
    if mass <= 0.0:
        raise values.ArgumentError(f"mass must be positive, got {mass} kg")
    for wheel in values.array(row[15], 1):
        values.number(values.array(wheel, 1)[0])
    actor.physics = row
    body = simulator.world.rows.body[actor.row]
    body[MASS], body[FRICTION] = mass, tyre_friction(actor)


@value()
def get_vehicle_light_state(simulator: Simulator, session: Session, actor_id: Any) -> list[int]:
    """Lights of a vehicle."""
    return [_vehicle(simulator, actor_id).lights]


@void()
def set_vehicle_light_state(simulator: Simulator, session: Session, actor_id: Any, lights: Any) -> None:
    """Set lights; the flags come bare in a batch and as a struct in a call."""
    flags = values.array(lights, 1)[0] if isinstance(lights, list) else lights
    simulator.world.show_lights(_vehicle(simulator, actor_id), values.unsigned(flags))


@value()
def get_vehicle_light_states(simulator: Simulator, session: Session) -> list[list[int]]:
    """Lights of all vehicles."""
    return [[actor.id, actor.lights] for actor in simulator.world.all_vehicles()]


def _door_bits(door: Any) -> int:
    if door not in DOORS:
        raise WorldError(f"unknown door {door!r}; expected one of {sorted(DOORS)}")
    return DOORS[door]


@void()
def open_vehicle_door(simulator: Simulator, session: Session, actor_id: Any, door: Any) -> None:
    """Open a door, or all of them."""
    actor = _vehicle(simulator, actor_id)
    actor.doors |= _door_bits(values.integer(door))


@void()
def close_vehicle_door(simulator: Simulator, session: Session, actor_id: Any, door: Any) -> None:
    """Close a door, or all of them."""
    actor = _vehicle(simulator, actor_id)
    actor.doors &= ~_door_bits(values.integer(door))


@void()
def set_wheel_steer_direction(simulator: Simulator, session: Session, actor_id: Any, wheel: Any, angle: Any) -> None:
    """Show a wheel turned, degrees; physics is not affected."""
    _vehicle(simulator, actor_id).wheel_turn[values.integer(wheel)] = values.number(angle)


@value()
def get_wheel_steer_angle(simulator: Simulator, session: Session, actor_id: Any, wheel: Any) -> float:
    """Angle of a wheel, degrees, positive to the right."""
    actor = _vehicle(simulator, actor_id)
    index = values.integer(wheel)
    if index in actor.wheel_turn:
        return actor.wheel_turn[index]
    return float(simulator.world.rows.control[actor.row, STEER]) * MAX_STEER_DEG if index < 2 else 0.0


@value()
def get_wheel_pitch_angle(simulator: Simulator, session: Session, actor_id: Any, wheel: Any) -> float:
    """Rolled angle of a wheel, degrees; wheels are not simulated one by one."""
    _vehicle(simulator, actor_id)
    return 0.0


@void()
def set_wheel_pitch_angle(simulator: Simulator, session: Session, actor_id: Any, wheel: Any, angle: Any) -> None:
    """Accepted without effect: wheels are not simulated one by one."""
    _vehicle(simulator, actor_id)


@value()
def get_telemetry_data(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """Speed, pedals and wheels of a vehicle."""
    actor = _vehicle(simulator, actor_id)
    rows = simulator.world.rows
    throttle, steer, brake = rows.control[actor.row, :3].tolist()
    speed = float(rows.dynamic[actor.row, SPEED])
    omega = speed / (WHEEL_RADIUS_CM / 100.0)
    load = float(rows.body[actor.row, MASS]) * motion.GRAVITY / 4.0
    wheel = [float(rows.body[actor.row, FRICTION]) * TYRE_FRICTION, 0.0, 0.0, omega, load, 1.0, *[0.0] * 5]
    gear = int(rows.wire["gear"][actor.row])
    engine = min(6000.0, 800.0 + abs(omega) * 60.0 / (2.0 * math.pi) * 4.0)
    return [speed, steer, throttle, brake, engine, gear, 0.3 * speed * speed, [wheel] * 4]


@void(
    *("show_vehicle_debug_telemetry", "enable_carsim", "use_carsim_road", "enable_chrono_physics"),
    "restore_physx_physics",
)
def other_physics(simulator: Simulator, session: Session, actor_id: Any, *settings: Any) -> None:
    """Other physics engines and their displays do not exist here; accepted without effect."""
    _vehicle(simulator, actor_id)
