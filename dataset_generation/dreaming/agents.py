"""The recorded motion of other agents, seen from the ego pose of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataset_generation.dreaming.corrections import Corrections, DreamCorrection
from dataset_generation.language_labels.route_data import Frame, LabelFailure
from driving.geometry import to_ego, to_world
from driving.records import Box, CarBox, WalkerBox

Array = NDArray[np.float64]
AgentBox = CarBox | WalkerBox

FUTURE_FRAMES = 9
"""Recorded frames after the current one that a dream needs: 2.25 s."""

WALKER_MARGIN_M = 0.5
"""Added to a pedestrian's half length and half width."""


@dataclass(frozen=True)
class Replay:
    """One agent's boxes over time.

    Attributes:
        id: Actor id in the current frame.
        box: Box in the current frame.
        sightings: (box, frame number) of the current frame and of every later entry. Later entries need not match their
            time in the published profile.
        position: (T, 3) in the ego frame of the current frame, metres.
        extent: (T, 3) half sizes, metres.
        yaw: (T,) relative to the ego now, radians.
        follower_id: Id of the first later entry, None when there is none.
    """

    id: int
    box: AgentBox
    sightings: tuple[tuple[AgentBox, int], ...]
    position: Array
    extent: Array
    yaw: Array
    follower_id: int | None


def replay_agents(frames: Sequence[Frame], corrections: Corrections) -> list[Replay]:
    """Boxes of all vehicles, then all pedestrians, of the first frame over all frames.

    Args:
        frames: The current frame and its `FUTURE_FRAMES` successors.
        corrections: See `DreamCorrection`.

    Raises:
        LabelFailure: If an actor id belongs to something else later, in the published profile.
    """
    by_id = [_index_by_id(frame, corrections) for frame in frames]
    agents: list[AgentBox] = [*frames[0].cars, *frames[0].walkers]
    sightings: list[list[tuple[AgentBox, int, int]]] = [[(agent, 0, 0)] for agent in agents]
    for step in range(1, len(frames)):
        last_walker: AgentBox | None = None
        for agent, seen in zip(agents, sightings, strict=True):
            found = by_id[step].get(agent.id)
            if found is not None and not isinstance(found, (CarBox, WalkerBox)):
                raise LabelFailure("actor id of another class in a later frame")
            if found is not None:
                seen.append((found, step, step))
                last_walker = found if isinstance(agent, WalkerBox) else last_walker
            elif isinstance(agent, CarBox) or DreamCorrection.WALKER_IDENTITY in corrections:
                box, pose, _ = seen[-1]
                first_gap = len(seen) == 1 and DreamCorrection.GAP_POSES not in corrections
                seen.append((box, step if first_gap else pose, step))
            elif last_walker is not None:
                seen.append((last_walker, step, step))
    return [_replay(agent, seen, frames, corrections) for agent, seen in zip(agents, sightings, strict=True)]


def _index_by_id(frame: Frame, corrections: Corrections) -> dict[int, Box]:
    """First box of each id. The published generator searches all classes, the correction vehicles and pedestrians only."""
    found: dict[int, Box] = {}
    agents_only = DreamCorrection.UNKNOWN_CLASS in corrections
    for box in [*frame.cars, *frame.walkers] if agents_only else frame.boxes:
        number = getattr(box, "id", None)
        if number is not None:
            found.setdefault(number, box)
    return found


def _replay(
    agent: AgentBox, seen: list[tuple[AgentBox, int, int]], frames: Sequence[Frame], corrections: Corrections
) -> Replay:
    now = frames[0].measurement
    position, extent, yaw = [], [], []
    for index, (box, pose_index, _) in enumerate(seen):
        pose = frames[pose_index].measurement
        xy = to_ego(to_world(np.asarray(box.position[:2]), pose.pos_global, pose.theta), now.pos_global, now.theta)
        turned = pose if DreamCorrection.GAP_POSES in corrections else frames[index].measurement
        margin = WALKER_MARGIN_M if isinstance(box, WalkerBox) else 0.0
        position.append((*xy, box.position[2]))
        extent.append((box.extent[0] + margin, box.extent[1] + margin, box.extent[2]))
        yaw.append(_wrap(box.yaw + turned.theta - now.theta))
    # The published generator keeps these in the simulator's single-precision classes, degrees for the yaw.
    single_yaw = np.radians(np.degrees(yaw).astype(np.float32).astype(np.float64))
    return Replay(
        id=agent.id,
        box=agent,
        sightings=tuple((box, step) for box, _, step in seen),
        position=np.array(position).astype(np.float32).astype(np.float64),
        extent=np.array(extent).astype(np.float32).astype(np.float64),
        yaw=single_yaw,
        follower_id=seen[1][0].id if len(seen) > 1 else None,
    )


def _wrap(angle: float) -> float:
    """Into (-pi, pi]."""
    wrapped = angle % (2 * np.pi)
    return wrapped - 2 * np.pi if wrapped > np.pi else wrapped
