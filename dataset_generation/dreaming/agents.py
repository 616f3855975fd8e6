"""The recorded motion of other agents, seen from the ego pose of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataset_generation.dreaming.corrections import Corrections, DreamCorrection
from dataset_generation.language_labels.route_data import Frame, LabelFailure
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
    return _replays(agents, sightings, frames, corrections)


def _index_by_id(frame: Frame, corrections: Corrections) -> dict[int, Box]:
    """First box of each id. The published generator searches all classes, the correction vehicles and pedestrians only."""
    found: dict[int, Box] = {}
    agents_only = DreamCorrection.UNKNOWN_CLASS in corrections
    for box in [*frame.cars, *frame.walkers] if agents_only else frame.boxes:
        number = getattr(box, "id", None)
        if number is not None:
            found.setdefault(number, box)
    return found


def _replays(
    agents: Sequence[AgentBox],
    sightings: Sequence[Sequence[tuple[AgentBox, int, int]]],
    frames: Sequence[Frame],
    corrections: Corrections,
) -> list[Replay]:
    """All agents at once: their boxes are moved from the ego poses they were recorded at to the one of now."""
    if not agents:
        return []
    rows = [(box, pose, index) for seen in sightings for index, (box, pose, _) in enumerate(seen)]
    boxes = [box for box, _, _ in rows]
    pose = np.array([pose for _, pose, _ in rows])
    turned = pose if DreamCorrection.GAP_POSES in corrections else np.array([index for _, _, index in rows])
    origin = np.array([frame.measurement.pos_global for frame in frames], dtype=np.float64)
    theta = np.array([frame.measurement.theta for frame in frames], dtype=np.float64)
    place = np.array([box.position for box in boxes], dtype=np.float64)
    world = _turn(place[:, :2], theta[pose]) + origin[pose]
    place[:, :2] = _turn(world - origin[0], np.full(len(rows), -theta[0]))
    extent = np.array([box.extent for box in boxes], dtype=np.float64)
    extent[[isinstance(box, WalkerBox) for box in boxes], :2] += WALKER_MARGIN_M
    yaw = _wrap(np.array([box.yaw for box in boxes], dtype=np.float64) + theta[turned] - theta[0])
    ends = np.cumsum([len(seen) for seen in sightings])[:-1]
    # The published generator keeps these in the simulator's single-precision classes, degrees for the yaw.
    tables = [np.split(_single(values), ends) for values in (place, extent, np.degrees(yaw))]
    return [
        Replay(
            id=agent.id,
            box=agent,
            sightings=tuple((box, step) for box, _, step in seen),
            position=position,
            extent=size,
            yaw=np.radians(degrees),
            follower_id=seen[1][0].id if len(seen) > 1 else None,
        )
        for agent, seen, position, size, degrees in zip(agents, sightings, *tables, strict=True)
    ]


def _single(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _turn(points: Array, yaw: Array) -> Array:
    """(N, 2) points turned by (N,) angles, radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([points[:, 0] * cos - points[:, 1] * sin, points[:, 0] * sin + points[:, 1] * cos], axis=1)


def _wrap(angle: Array) -> Array:
    """Into (-pi, pi]."""
    wrapped = angle % (2 * np.pi)
    return np.where(wrapped > np.pi, wrapped - 2 * np.pi, wrapped)
