"""Where on a highway a frame takes place: entry, exit, acceleration lane."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_generation.language_labels.vqa.scene import VqaScene
from driving.commands import RoadOption

MERGE_DISTANCE = 25.0
"""Within this distance of the junction the ego vehicle is at the merging area, metres."""

EXIT_DISTANCE = 40.0
"""Within this distance a lane change to the right on the rightmost lane means leaving the highway, metres."""

EXIT_SCENARIOS = ("HighwayExit", "MergerIntoSlowTrafficV2")


@dataclass(frozen=True)
class VehicleFlags:
    """What questions about other vehicles need to know.

    Attributes:
        highway: The frame is on a highway.
        other_accelerates: Another vehicle is on the acceleration lane.
        exit_lane: The ego vehicle is at the exit.
        about_to_exit: The ego vehicle is about to change to the exit lane.
        entry_lane: The ego vehicle is on a one-lane road that leads to the highway.
        ego_accelerates: The ego vehicle is on the acceleration lane.
    """

    highway: bool = False
    other_accelerates: bool = False
    exit_lane: bool = False
    about_to_exit: bool = False
    entry_lane: bool = False
    ego_accelerates: bool = False


def vehicle_flags(scene: VqaScene) -> VehicleFlags:
    """Flags for the questions about other vehicles."""
    merging = scene.is_at_junction(MERGE_DISTANCE)
    if scene.scenario == "HighwayCutIn":
        return VehicleFlags(highway=True, other_accelerates=merging)
    if scene.scenario in EXIT_SCENARIOS:
        leaving = wants_right_exit(scene) and scene.junction_distance < EXIT_DISTANCE
        return VehicleFlags(highway=True, exit_lane=merging, about_to_exit=leaving)
    if not scene.is_fast_highway:
        return VehicleFlags()
    same, opposite = scene.ego.num_lanes_same_direction, scene.ego.num_lanes_opposite_direction
    if scene.scenario == "MergerIntoSlowTraffic":
        if (same, opposite) == (1, 1):
            return VehicleFlags(highway=True, entry_lane=True)
        if same > 1:
            return VehicleFlags(highway=True)
    if merging:
        return VehicleFlags(highway=True, ego_accelerates=True)
    return VehicleFlags(highway=True, entry_lane=(same, opposite) == (1, 0))


@dataclass(frozen=True)
class LayoutFlags:
    """What questions about the road need to know.

    Attributes:
        highway: The frame is on a highway.
        near_entry: The ego vehicle passes an entry.
        exit: The ego vehicle is at the exit.
        about_to_exit: It is about to change to the exit lane.
        about_to_exit_far: It is on the rightmost lane and will leave the highway.
        acceleration_lane: It is on the acceleration lane.
    """

    highway: bool = False
    near_entry: bool = False
    exit: bool = False
    about_to_exit: bool = False
    about_to_exit_far: bool = False
    acceleration_lane: bool = False


def layout_flags(scene: VqaScene) -> LayoutFlags:
    """Flags for the questions about the road."""
    merging = scene.is_at_junction(MERGE_DISTANCE)
    if scene.scenario == "HighwayCutIn":
        return LayoutFlags(highway=True, near_entry=merging)
    if scene.scenario in EXIT_SCENARIOS:
        right = wants_right_exit(scene)
        about = (right and scene.junction_distance < EXIT_DISTANCE) or scene.is_at_junction(10.0)
        return LayoutFlags(highway=True, exit=merging, about_to_exit=about, about_to_exit_far=right)
    if not scene.is_fast_highway:
        return LayoutFlags()
    same, opposite = scene.ego.num_lanes_same_direction, scene.ego.num_lanes_opposite_direction
    on_own_road = scene.scenario == "MergerIntoSlowTraffic" and ((same, opposite) == (1, 1) or same > 1)
    return LayoutFlags(highway=True, acceleration_lane=merging and not on_own_road)


def wants_right_exit(scene: VqaScene) -> bool:
    """Whether the ego vehicle is on the rightmost lane and told to change to the right."""
    return scene.is_rightmost and scene.measurement.command == RoadOption.CHANGELANERIGHT
