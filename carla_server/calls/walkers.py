"""Walkers: control and poses."""

from __future__ import annotations

from typing import Any

import numpy as np

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.wire import values
from carla_server.world import motion
from carla_server.world.actors import Actor
from carla_server.world.state import Kind

#: Bones reported for a walker: name, and place in the walker's frame in metres (origin at the middle of the body).
BONES = (
    ("crl_root", (0.0, 0.0, -0.93)),
    ("crl_hips__C", (0.0, 0.0, 0.0)),
    ("crl_spine__C", (0.0, 0.0, 0.2)),
    ("crl_shoulder__L", (0.0, -0.18, 0.5)),
    ("crl_shoulder__R", (0.0, 0.18, 0.5)),
    ("crl_Head__C", (0.0, 0.0, 0.7)),
    ("crl_foot__L", (0.05, -0.1, -0.88)),
    ("crl_foot__R", (0.05, 0.1, -0.88)),
)


def _walker(simulator: Simulator, actor_id: Any) -> Actor:
    return simulator.world.of_kind(values.unsigned(actor_id), Kind.WALKER)


@void()
def apply_control_to_walker(simulator: Simulator, session: Session, actor_id: Any, control: Any) -> None:
    """Walk along a world direction at a speed, m/s."""
    actor = _walker(simulator, actor_id)
    direction, speed, jump = values.walker_control(control)
    rows = simulator.world.rows
    rows.control[actor.row, :4] = (*direction, speed)
    rows.wire["direction"][actor.row] = direction
    rows.wire["speed"][actor.row] = speed
    rows.wire["jump"][actor.row] = jump


@void()
def set_walker_state(simulator: Simulator, session: Session, actor_id: Any, transform: Any, speed: Any) -> None:
    """Place a walker that is driven by the client's navigation, and note its speed, m/s."""
    world = simulator.world
    actor = _walker(simulator, actor_id)
    world.guide(actor, values.transform(transform))
    world.rows.wire["speed"][actor.row] = values.number(speed)


@value()
def get_bones_transform(simulator: Simulator, session: Session, actor_id: Any) -> list[Any]:
    """Bones of a walker: world, component and relative transforms."""
    actor = _walker(simulator, actor_id)
    pose = simulator.world.pose(actor)
    rows = []
    for name, bone in BONES:
        place = motion.compose(np.array(pose), np.array((*bone, 0.0, 0.0, 0.0))).tolist()
        here = [[*bone], [0.0, 0.0, 0.0]]
        rows.append([name, [place[:3], place[3:]], here, here])
    return [rows]


@void("set_bones_transform", "blend_pose", "get_pose_from_animation")
def pose_walker(simulator: Simulator, session: Session, actor_id: Any, *pose: Any) -> None:
    """Walkers are drawn with the gait of their speed; poses are accepted without effect."""
    _walker(simulator, actor_id)
