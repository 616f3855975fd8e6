"""How vehicles and walkers move during one tick: compiled loops over rows of `ActorRows`.

Vehicles follow a kinematic bicycle whose steering and body constants reproduce the model published with "World on
Rails" (Chen et al. 2021) for the Lincoln MKZ, whose origin lies `REAR` metres ahead of the rear axle:

    tan(beta) = REAR / wheelbase * tan(wheel),   heading rate = v / REAR * sin(beta),   velocity along heading + beta.

Drive: full throttle gives ``7.6 exp(-v / 22)`` m/s² (the published throttle polynomial within 0.2 m/s² up to 100 km/h);
the throttle that holds a speed is the constant part of PDM-Lite's published regression controller, and between the two
acceleration grows with the square of the throttle.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from carla_server.world.contacts import IMMOVABLE
from carla_server.world.ground import AMBIGUOUS, height_at, plain_height
from carla_server.world.state import (
    BRAKE,
    DIRECTION,
    FOOT,
    FRICTION,
    HALF_X,
    HALF_Y,
    HAND_BRAKE,
    HOLD,
    HOLD_X,
    HOLD_Y,
    HOLD_Z,
    LIMIT,
    MASS,
    PITCH,
    POWER,
    PUSH_X,
    PUSH_Y,
    PUSH_Z,
    REAR,
    ROLL,
    SETTLED,
    SLIP,
    SPEED,
    SPIN,
    STEER,
    THROTTLE,
    TOP_SPEED,
    TRAIL_X,
    TRAIL_Y,
    TRAIL_YAW,
    TWIST,
    VERTICAL,
    WHEELBASE,
    YAW,
    Kind,
    X,
    Y,
    Z,
)

VEHICLE, PROP = int(Kind.VEHICLE), int(Kind.PROP)
GRAVITY = 9.81
#: Published bicycle: wheel angle per unit of steering, its wheelbase, and rear axle to origin, radians and metres.
STEER_GAIN, MODEL_WHEELBASE, MODEL_REAR = 0.36848336, 1.327058485, 1.4178275
#: Wheelbase of the vehicle that the published constants describe, metres.
REFERENCE_WHEELBASE = 2.87
#: Acceleration from rest at full throttle, m/s², and the speed over which it falls to 1/e, m/s.
FULL_THROTTLE, THROTTLE_FADE = 7.6, 22.0
#: Share of full throttle that reverse gear gives, and its top speed, m/s.
REVERSE_SHARE, REVERSE_TOP = 0.6, 9.0
#: Full braking at speed and the bite added at low speed, m/s²; the bite fades over so many m/s.
BRAKING, BRAKE_BITE, BITE_FADE = 7.5, 8.0, 4.0
#: Rolling resistance, m/s². Small: the holding throttle covers resistance while driving.
ROLLING = 0.1
#: Acceleration the tyres hold on a dry road, m/s²: the friction of CARLA's vehicles is 3.5, and its Traffic Manager
#: takes bends as fast as that allows.
GRIP = 3.5 * GRAVITY
#: How fast spin from a collision dies out, rad/s².
SPIN_DECAY = 6.0
#: A vehicle higher above the ground than this falls, metres; deeper below than this, it is under the world and falls.
CONTACT, BURIED = 0.03, 1.5
#: Wheels that are on the ground follow it down slopes up to this, metres per metre.
CLING = 0.2
#: How fast walkers turn towards where they walk, degrees per second.
WALKER_TURN = 540.0
#: No push, hit or client makes anything faster than this, m/s and rad/s: far beyond it numbers overflow.
MAX_SPEED, MAX_SPIN = 1000.0, 100.0


@njit(cache=True)
def hold_throttle(v):
    """Throttle that keeps speed `v` (m/s) on a flat road, with resistance growing beyond the published range."""
    share = min(v, 20.7) * 0.036
    base = 1.1990342347353184 * share - 0.8057602384167799 * share * share
    if v > 20.7:
        base += 0.55 * ((v - 20.7) / 39.3) ** 2
    return base


@njit(cache=True)
def drive_acceleration(v, throttle, power):
    """Acceleration by engine and resistance at speed `v` >= 0, m/s²."""
    hold = hold_throttle(v)
    effort = (throttle * throttle - hold * hold) / max(1.0 - hold * hold, 0.05)
    scale = power if effort > 0.0 else 1.0
    return FULL_THROTTLE * math.exp(-v / THROTTLE_FADE) * scale * effort


@njit(cache=True)
def braking(v, brake, friction):
    """Deceleration by the brakes at speed `v` >= 0, m/s²."""
    if brake == 0.0:
        return 0.0
    return brake * friction * (BRAKING + BRAKE_BITE * math.exp(-v / BITE_FADE))


@njit(cache=True)
def next_speed(v, control, body, pitch, dt):
    """Speed along the vehicle after `dt`, signed, m/s."""
    direction = control[DIRECTION]
    size = abs(v)
    friction = body[FRICTION]
    acceleration = -GRAVITY * math.sin(pitch)
    opposed = v * direction < -0.05
    if direction != 0.0 and not opposed:
        share = 1.0 if direction > 0.0 else REVERSE_SHARE
        top = min(body[LIMIT], control[TOP_SPEED]) if direction > 0.0 else REVERSE_TOP
        if size < top:
            push = share * drive_acceleration(size, control[THROTTLE], body[POWER])
            acceleration += direction * min(push, GRIP * friction)
    brake = max(control[BRAKE], control[HAND_BRAKE])
    if opposed:
        # Throttle against the motion brakes, as the gearbox first has to come to rest.
        brake = max(brake, control[THROTTLE])
    stop = braking(size, brake, friction) + ROLLING
    moving = v + acceleration * dt
    # Brakes and rolling resistance stop a vehicle but never turn it round.
    if abs(moving) <= stop * dt:
        return 0.0
    return moving - math.copysign(stop * dt, moving)


@njit(cache=True)
def slip_angle(steer, v, body):
    """Angle between heading and velocity at the origin, radians, limited by what the tyres hold."""
    tangent = math.tan(STEER_GAIN * steer) / MODEL_WHEELBASE * (REFERENCE_WHEELBASE / body[WHEELBASE])
    beta = math.atan(body[REAR] * tangent)
    limit = GRIP * body[FRICTION] / max(v * v, 0.01) * body[REAR]
    if limit < 1.0 and abs(beta) > math.asin(limit):
        beta = math.copysign(math.asin(limit), beta)
    return beta


@njit(cache=True)
def wrap_degrees(angle):
    """Angle in (-180, 180]."""
    return angle - 360.0 * math.ceil((angle - 180.0) / 360.0)


@njit(cache=True)
def bounded(rate, most):
    """`rate` limited to [-most, most]; what is no number is 0."""
    if abs(rate) <= most:
        return rate
    return math.copysign(most, rate) if rate == rate else 0.0


@njit(cache=True)
def take_pushes(motion, body, dynamic, imposed, yaw):
    """Turn pending impulses and torque into speed."""
    mass = max(body[MASS], 1.0)
    cos, sin = math.cos(yaw), math.sin(yaw)
    along, across = imposed[PUSH_X] * cos + imposed[PUSH_Y] * sin, -imposed[PUSH_X] * sin + imposed[PUSH_Y] * cos
    turn = imposed[TWIST] / (mass * (body[HALF_X] ** 2 + body[HALF_Y] ** 2) / 3.0 + 1.0)
    dynamic[SPEED] = bounded(dynamic[SPEED] + along / mass, MAX_SPEED)
    dynamic[SLIP] = bounded(dynamic[SLIP] + across / mass, MAX_SPEED)
    dynamic[VERTICAL] = bounded(dynamic[VERTICAL] + imposed[PUSH_Z] / mass, MAX_SPEED)
    dynamic[SPIN] = bounded(dynamic[SPIN] + turn, MAX_SPIN)
    if imposed[PUSH_Z] > 0.0:
        dynamic[SETTLED] = 0.0
    imposed[PUSH_X:] = 0.0


@njit(cache=True)
def feel_ground(corners, low, motion, body, ground):
    """Heights under the ends of a vehicle's wheelbase, its sides and its middle into `ground`: front, rear, left, right,
    middle; nan off the network. Whether they are all plain; if not, roads lie over one another there."""
    yaw = math.radians(motion[YAW])
    cos, sin = math.cos(yaw), math.sin(yaw)
    reach, side = 0.5 * body[WHEELBASE], 0.8 * body[HALF_Y]
    x, y = motion[X], motion[Y]
    ground[0] = plain_height(corners, low, x + reach * cos, y + reach * sin)
    ground[1] = plain_height(corners, low, x - reach * cos, y - reach * sin)
    ground[2] = plain_height(corners, low, x + side * sin, y - side * cos)
    ground[3] = plain_height(corners, low, x - side * sin, y + side * cos)
    ground[4] = plain_height(corners, low, x, y)
    return (ground != AMBIGUOUS).all()


@njit(cache=True)
def find_ground(field, motion, body, ground):
    """As `feel_ground` where roads lie over one another: of the heights there, those nearest to the vehicle."""
    yaw = math.radians(motion[YAW])
    cos, sin = math.cos(yaw), math.sin(yaw)
    reach, side = 0.5 * body[WHEELBASE], 0.8 * body[HALF_Y]
    x, y, z = motion[X], motion[Y], motion[Z]
    ground[0] = height_at(field, x + reach * cos, y + reach * sin, z)
    ground[1] = height_at(field, x - reach * cos, y - reach * sin, z)
    ground[2] = height_at(field, x + side * sin, y - side * cos, z)
    ground[3] = height_at(field, x - side * sin, y + side * cos, z)
    ground[4] = height_at(field, x, y, z)


@njit(cache=True)
def stand(ground, motion, body, dynamic, weightless, dt):
    """Let a vehicle rest on, or fall to, the ground that it feels; sets height, pitch and roll."""
    front, rear, left, right = ground[0], ground[1], ground[2], ground[3]
    z = motion[Z]
    known = not (math.isnan(front) or math.isnan(rear))
    level = 0.5 * (front + rear) if known else ground[4]
    if math.isnan(level):
        # Off the network the land goes on at the height the vehicle had.
        level = z if dynamic[SETTLED] > 0.0 else 0.0
    gap = z - level
    reach_down = CONTACT + (CLING * abs(dynamic[SPEED]) * dt if dynamic[SETTLED] > 0.0 else 0.0)
    if weightless or gap < -BURIED or gap > reach_down:
        dynamic[SETTLED] = 0.0
        if not weightless:
            dynamic[VERTICAL] -= GRAVITY * dt
        drop = dynamic[VERTICAL] * dt
        if gap > 0.0 and gap + drop <= 0.0:
            motion[Z], dynamic[VERTICAL], dynamic[SETTLED] = level, 0.0, 1.0
        else:
            motion[Z] = z + drop
        return
    motion[Z], dynamic[VERTICAL], dynamic[SETTLED] = level, 0.0, 1.0
    if known:
        motion[PITCH] = math.degrees(math.atan2(front - rear, body[WHEELBASE])) if front != rear else 0.0
    if not (math.isnan(left) or math.isnan(right)):
        motion[ROLL] = math.degrees(math.atan2(left - right, 1.6 * body[HALF_Y])) if left != right else 0.0


@njit(cache=True)
def roll(motion, control, body, dynamic, imposed, before, dt):
    """Move one vehicle along the ground by `dt` and change its speed; all arguments are rows.

    Args:
        before: (8,) out: velocity, height, pitch and roll as they were, and the rate of turning (rad/s).

    Returns:
        Whether it did anything; a vehicle at rest does not.
    """
    before[0], before[1], before[2] = motion[6], motion[7], motion[8]
    before[3], before[4], before[5] = motion[Z], motion[PITCH], motion[ROLL]
    yaw = math.radians(motion[YAW])
    if imposed[PUSH_X] != 0.0 or imposed[PUSH_Y] != 0.0 or imposed[PUSH_Z] != 0.0 or imposed[TWIST] != 0.0:
        take_pushes(motion, body, dynamic, imposed, yaw)
    v = dynamic[SPEED]
    idle = control[THROTTLE] == 0.0 and dynamic[SLIP] == 0.0 and dynamic[SPIN] == 0.0 and imposed[HOLD] == 0.0
    if v == 0.0 and idle and dynamic[SETTLED] > 0.0 and abs(motion[PITCH]) < 0.5:
        motion[6:15] = 0.0
        return False
    if imposed[HOLD] > 0.0:
        v, dynamic[SLIP] = imposed[HOLD_X], imposed[HOLD_Y]
    beta = slip_angle(control[STEER], v, body)
    cos, sin = math.cos(yaw), math.sin(yaw)
    pitch = math.radians(motion[PITCH])
    flat = v * math.cos(pitch) * dt
    motion[X] += flat * math.cos(yaw + beta) - dynamic[SLIP] * sin * dt
    motion[Y] += flat * math.sin(yaw + beta) + dynamic[SLIP] * cos * dt
    before[6] = v / body[REAR] * math.sin(beta) + dynamic[SPIN]
    motion[YAW] = wrap_degrees(math.degrees(yaw + before[6] * dt))
    if imposed[HOLD] == 0.0:
        grip = GRIP * body[FRICTION] * dt
        if dynamic[SETTLED] > 0.0:
            v = next_speed(v, control, body, pitch, dt)
            slip = dynamic[SLIP]
            dynamic[SLIP] = 0.0 if abs(slip) <= grip else slip - math.copysign(grip, slip)
            spin = dynamic[SPIN]
            dynamic[SPIN] = 0.0 if abs(spin) <= SPIN_DECAY * dt else spin - math.copysign(SPIN_DECAY * dt, spin)
    else:
        v = imposed[HOLD_X]
        if imposed[HOLD_Z] != 0.0:
            dynamic[VERTICAL] = imposed[HOLD_Z]
    dynamic[SPEED] = v
    return True


@njit(cache=True)
def tell_velocity(motion, control, body, dynamic, before, dt):
    """Velocity, turning and acceleration after a step of `dt` that `roll` began; all arguments are rows."""
    v, yaw = dynamic[SPEED], math.radians(motion[YAW])
    cos, sin = math.cos(yaw), math.sin(yaw)
    beta = slip_angle(control[STEER], v, body)
    pitch = math.radians(motion[PITCH])
    flat = v * math.cos(pitch)
    motion[6] = flat * math.cos(yaw + beta) - dynamic[SLIP] * sin
    motion[7] = flat * math.sin(yaw + beta) + dynamic[SLIP] * cos
    motion[8] = v * math.sin(pitch) if dynamic[SETTLED] > 0.0 else (motion[Z] - before[3]) / dt
    # As a vector of a left-handed frame: roll and pitch turn the negative way about their axes.
    pitch_rate, roll_rate = (motion[PITCH] - before[4]) / dt, (motion[ROLL] - before[5]) / dt
    motion[9] = -roll_rate * cos + pitch_rate * sin
    motion[10] = -roll_rate * sin - pitch_rate * cos
    motion[11] = math.degrees(before[6])
    for k in range(3):
        motion[12 + k] = (motion[6 + k] - before[k]) / dt


@njit(cache=True)
def move_walker(field, motion, control, body, dynamic, imposed, weightless, dt):
    """Advance one walker by `dt`; all arguments are rows."""
    old_vx, old_vy, old_vz = motion[6], motion[7], motion[8]
    dx, dy = control[0], control[1]
    size = math.hypot(dx, dy)
    speed = control[3]
    if imposed[HOLD] > 0.0:
        yaw = math.radians(motion[YAW])
        vx = imposed[HOLD_X] * math.cos(yaw) - imposed[HOLD_Y] * math.sin(yaw)
        vy = imposed[HOLD_X] * math.sin(yaw) + imposed[HOLD_Y] * math.cos(yaw)
    elif size > 1.0e-6 and speed > 0.0:
        share = speed / max(size, 1.0)
        vx, vy = dx * share, dy * share
    else:
        vx, vy = 0.0, 0.0
    old_yaw = motion[YAW]
    if speed > 0.05 and size > 1.0e-6 and imposed[HOLD] == 0.0:
        turn = wrap_degrees(math.degrees(math.atan2(dy, dx)) - motion[YAW])
        step = WALKER_TURN * dt
        motion[YAW] = wrap_degrees(motion[YAW] + min(max(turn, -step), step))
    motion[X] += vx * dt
    motion[Y] += vy * dt
    ground = height_at(field, motion[X], motion[Y], motion[Z] - body[FOOT])
    old_z = motion[Z]
    if not weightless:
        if np.isnan(ground):
            ground = motion[Z] - body[FOOT] if dynamic[SETTLED] > 0.0 else 0.0
        gap = motion[Z] - body[FOOT] - ground
        if gap < -BURIED or gap > 0.3 or (gap > CONTACT and dynamic[SETTLED] == 0.0):
            dynamic[SETTLED] = 0.0
            dynamic[VERTICAL] -= GRAVITY * dt
            drop = dynamic[VERTICAL] * dt
            if gap > 0.0 and gap + drop <= 0.0:
                motion[Z], dynamic[VERTICAL], dynamic[SETTLED] = ground + body[FOOT], 0.0, 1.0
            else:
                motion[Z] += drop
        else:
            motion[Z], dynamic[VERTICAL], dynamic[SETTLED] = ground + body[FOOT], 0.0, 1.0
    motion[6], motion[7] = vx, vy
    motion[8] = (motion[Z] - old_z) / dt if dynamic[SETTLED] == 0.0 else 0.0
    motion[9], motion[10], motion[11] = 0.0, 0.0, wrap_degrees(motion[YAW] - old_yaw) / dt
    motion[12], motion[13], motion[14] = (vx - old_vx) / dt, (vy - old_vy) / dt, (motion[8] - old_vz) / dt


@njit(cache=True)
def move_all(field, vehicles, walkers, motion, control, body, dynamic, imposed, simulate, weightless, dt):
    """Advance all vehicles and walkers whose physics is on; the others stay and read as standing."""
    corners, low = field[9], field[10]
    ground, before = np.empty(5), np.empty(8)
    for row in vehicles:
        if simulate[row]:
            if not roll(motion[row], control[row], body[row], dynamic[row], imposed[row], before, dt):
                continue
            # The field is a large tuple: handing it on costs more than all the rest, so only where it is needed.
            if not feel_ground(corners, low, motion[row], body[row], ground):
                find_ground(field, motion[row], body[row], ground)
            stand(ground, motion[row], body[row], dynamic[row], weightless[row], dt)
            tell_velocity(motion[row], control[row], body[row], dynamic[row], before, dt)
        else:
            motion[row, 6:15] = 0.0
    for row in walkers:
        if simulate[row]:
            move_walker(field, motion[row], control[row], body[row], dynamic[row], imposed[row], weightless[row], dt)
        else:
            motion[row, 6:15] = 0.0


@njit(cache=True)
def set_velocity(motion, control, body, dynamic, vx, vy, vz):
    """Give a vehicle a world velocity: what its steering explains becomes speed, the rest slip."""
    vx, vy, vz = bounded(vx, MAX_SPEED), bounded(vy, MAX_SPEED), bounded(vz, MAX_SPEED)
    yaw = math.radians(motion[YAW])
    along = vx * math.cos(yaw) + vy * math.sin(yaw)
    across = -vx * math.sin(yaw) + vy * math.cos(yaw)
    beta = slip_angle(control[STEER], along, body)
    dynamic[SPEED] = along / math.cos(beta)
    dynamic[SLIP] = across - dynamic[SPEED] * math.sin(beta)
    dynamic[VERTICAL] = vz
    motion[6], motion[7], motion[8] = vx, vy, vz


@njit(cache=True)
def absorb(touched, kind, simulate, motion, control, body, dynamic, trail, dt):
    """Take the velocities that contacts left in `motion` over into the vehicles that touched; rows of contacts.

    What is held by something immovable is no faster than it got on: between two walls each contact leaves the speed
    that the other one stops.
    """
    for n in range(len(touched)):
        for side in range(2):
            row, other = int(touched[n, side]), int(touched[n, 1 - side])
            if row < 0 or kind[row] != VEHICLE:
                continue
            vx, vy, vz = motion[row, 6], motion[row, 7], motion[row, 8]
            light = other >= 0 and kind[other] == PROP and body[other, MASS] < IMMOVABLE
            if other < 0 or not (simulate[other] or light):
                made = math.hypot(motion[row, X] - trail[row, TRAIL_X], motion[row, Y] - trail[row, TRAIL_Y]) / dt
                share = min(made / max(math.hypot(vx, vy), 1.0e-9), 1.0)
                vx, vy = share * vx, share * vy
            set_velocity(motion[row], control[row], body[row], dynamic[row], vx, vy, vz)


@njit(cache=True)
def leave_trail(vehicles, motion, trail):
    """Note where vehicles are at the end of a tick."""
    for row in vehicles:
        trail[row, TRAIL_X], trail[row, TRAIL_Y], trail[row, TRAIL_YAW] = (
            motion[row, X],
            motion[row, Y],
            motion[row, YAW],
        )


@njit(cache=True)
def rotation(pitch, yaw, roll):
    """(3, 3) matrix taking actor coordinates to world axes for angles in degrees, as CARLA's transforms do."""
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cr, sr = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return np.array(
        (
            (cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr),
            (cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr),
            (sp, -cp * sr, cp * cr),
        )
    )


@njit(cache=True)
def compose(parent, relative):
    """World pose (x, y, z, pitch, yaw, roll; metres, degrees) of something fixed to `parent` at `relative`."""
    turn = rotation(parent[3], parent[4], parent[5])
    out = np.empty(6)
    for axis in range(3):
        out[axis] = parent[axis] + (
            turn[axis, 0] * relative[0] + turn[axis, 1] * relative[1] + turn[axis, 2] * relative[2]
        )
    if relative[3] == 0.0 and relative[4] == 0.0 and relative[5] == 0.0:
        out[3:] = parent[3:6]
        return out
    full = turn @ rotation(relative[3], relative[4], relative[5])
    out[3] = math.degrees(math.asin(min(max(full[2, 0], -1.0), 1.0)))
    out[4] = math.degrees(math.atan2(full[1, 0], full[0, 0]))
    out[5] = math.degrees(math.atan2(-full[2, 1], full[2, 2]))
    return out


@njit(cache=True)
def carry_attached(motion, children, parents, relative):
    """Move attached actors with their parents; parents of parents come first in the lists."""
    for n in range(len(children)):
        child, parent = children[n], parents[n]
        motion[child, :6] = compose(motion[parent, :6], relative[n])
        motion[child, 6:15] = motion[parent, 6:15]
