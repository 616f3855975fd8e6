"""Constants of the expert, and its two profiles.

The values are those of SimLingo's PDM-Lite (`RenzKa/simlingo`, `team_code/config.py`) unless a field says otherwise. The
profile `simlingo` repeats the published behaviour with its defects; `corrected`, the default, mends them.
Counts of points refer to the 0.1 m route.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

from driving.control.expert import LateralConfig, LongitudinalConfig
from driving.kinematics import BicycleModel
from team_code.expert.idm import IdmConfig


@dataclass(frozen=True)
class RouteConfig:
    """How the route is built and followed.

    Attributes:
        points_per_meter: Of the resampled route.
        extension: Waypoints, one per metre, put before the start and after the end.
        search_points: Points ahead among which the nearest is sought each tick.
        parking_exit_distance: A start farther than this from the route begins in a parking space, metres.
        min_lane_width: Lane changes wait until the new lane is this wide, metres.
        light_look_radius: Distance at which a point counts as affected by a light, metres (profile `simlingo`).
        speed_limit_stride: Points between two look-ups of the speed limit.
        leading_points, trailing_points: Points searched ahead and behind for vehicles on the route.
        joining_points: Points ahead on which others may join the route.
        leading_margin: Who leaves less room than this beside the way of the ego leads it, metres; infinite counts all whose
            centre is within 2.5 m, so that the published expert stays behind whom it could pass.
        trailing_reach, trailing_reach_lane_change: Distance from the route within which a vehicle behind follows, metres.
        true_start: Start at the ego instead of always 50 m after the first point.
        true_stop_lines: Measure distances to lights up to their stop line.
        lane_types_checked: Shift only towards lanes that may be driven on.
        side_stride: Points between two look-ups of a neighbouring lane; every point in the published expert.
    """

    points_per_meter: int = 10
    extension: int = 50
    search_points: int = 40
    parking_exit_distance: float = 2.0
    min_lane_width: float = 2.5
    light_look_radius: float = 5.0
    speed_limit_stride: int = 50
    leading_points: int = 800
    trailing_points: int = 800
    joining_points: int = 1000
    leading_margin: float = 0.35
    trailing_reach: float = 1.75
    trailing_reach_lane_change: float = 3.0
    true_start: bool = True
    true_stop_lines: bool = True
    lane_types_checked: bool = True
    side_stride: int = 10


@dataclass(frozen=True)
class ForecastConfig:
    """How far and how wide the near future is looked at.

    Attributes:
        horizon, horizon_lane_change: Seconds, on plain road and near a lane change.
        horizon_junction: Seconds near junctions: a gap must last until the ego has crossed.
        junction_points: Points ahead in which a junction counts as near.
        radius: Actors farther than this are ignored, metres.
        ego_brakes: The ego slows down before bends in its own forecast too, which the published one takes at any speed.
        ego_fast: Speed from which the ego box grows, m/s.
        ego_growth: Factors on the half length and half width of a fast ego.
        slow_speed: Below it other boxes keep their size, m/s.
        length_factor, length_factor_lane_change: Least factor on the half length of others.
        final_length_factor, final_width_factor: Factors reached at the end of the horizon.
        min_walker_extent: Least half length and half width of a walker, metres.
        min_walker_speed: Speed assumed of a standing walker, m/s.
        follow_lanes: Also forecast vehicles that keep their lane, over the whole horizon; held controls then count for
            ``horizon`` only. On a bend, or with a trembling wheel, a control held for seconds leads anywhere.
        lane_margin, committed_margin: Seconds before and after a vehicle in which its place counts as taken, for an ego that
            may still wait, or waits for it already, and for one that is on its way through a junction.
        start_margin: Seconds more that a gap must have which the ego waits for, so that it is not given up again on the way.
        far: Moving vehicles up to here are looked at, metres, if lanes are followed.
        partial_brake: See `BicycleModel.roll_out_others`.
        bicycle_margin: Seconds by which a bicycle is seen earlier and later than it comes: boxes that grow with their length
            leave those short ones no more than a hand's breadth. Half of it for an ego that has waited long.
        gained_speed: Let others go on gaining speed for a second; the published throttle acceleration is 0.56 m/s², with
            which a car that pulls out of a parking space seems to stay there.
        box_centers: Centre forecast boxes on the bounding box rather than on the actor's origin.
    """

    horizon: float = 2.0
    horizon_lane_change: float = 1.1
    horizon_junction: float = 6.0
    junction_points: int = 100
    radius: float = 50.0
    far: float = 130.0
    follow_lanes: bool = True
    lane_margin: float = 0.3
    start_margin: float = 0.2
    committed_margin: float = 0.05
    ego_brakes: bool = True
    ego_fast: float = 5.0
    ego_growth: tuple[float, float] = (1.3, 1.2)
    slow_speed: float = 1.0
    length_factor: float = 1.2
    length_factor_lane_change: float = 2.0
    final_length_factor: float = 1.2
    final_width_factor: float = 1.3
    min_walker_extent: float = 1.5
    min_walker_speed: float = 0.5
    partial_brake: bool = True
    bicycle_margin: float = 0.4
    gained_speed: bool = True
    box_centers: bool = True


@dataclass(frozen=True)
class FollowConfig:
    """Standstill gap, metres, and headway, seconds, kept from one kind of obstacle."""

    gap: float
    headway: float


@dataclass(frozen=True)
class LaneChangeConfig:
    """How planned lane changes are carried out.

    Attributes:
        window: Points before and after the planned place between which the change may be moved.
        shortest: Least number of points over which the route moves over.
        duration: Seconds a change takes.
        lead_time: Seconds before the planned place at which the ego looks for a gap in traffic.
        early_time: Seconds before the planned place from which the change may begin.
        sight: Others farther than this do not count, metres.
        foresight: For so many seconds nobody may come too near, seconds.
        room: Least distance between bumpers, metres.
        spare_time: Headway that who is behind keeps besides, if there is way left to find such a gap, seconds.
        reaction: Headway to whom the ego follows, seconds.
        acceleration, deceleration: Which the ego is trusted to reach, m/s².
        approach: Speed difference per metre to the gap, 1/s.
        slower, faster: Largest differences to the speed of the traffic, m/s.
        slowest: Not slower than this while there is way left, m/s.
        courtesy: With which those behind are trusted to brake for who has stood long, m/s².
        courtesy_ticks: Half of these ticks are waited before that is expected; after as many more it is in full.
    """

    window: int = 1500
    shortest: int = 120
    duration: float = 2.5
    lead_time: float = 5.0
    early_time: float = 1.0
    sight: float = 90.0
    foresight: float = 6.0
    room: float = 2.5
    spare_time: float = 0.6
    reaction: float = 0.8
    acceleration: float = 2.5
    deceleration: float = 3.5
    approach: float = 0.4
    slower: float = 4.0
    faster: float = 4.0
    slowest: float = 3.0
    courtesy: float = 2.5
    courtesy_ticks: int = 160


@dataclass(frozen=True)
class ExpertConfig:
    """Everything the expert's decisions depend on.

    Attributes:
        profile: Name of the profile.
        ratio_of_limit: Cruise speed as a share of the speed limit.
        max_speed: Cap of the cruise speed, m/s.
        junction_speed: Cap of the cruise speed near junctions, m/s.
        junction_points: Points ahead in which a junction counts as near.
        urban_junction_speed, urban_limit, urban_points: Cap, m/s, within this many points of a junction on roads whose
            limit (m/s) is no higher; the successor of the published expert has 25 km/h.
        lateral_acceleration: Bends are taken no faster than this allows, m/s²; infinite in the published expert.
        bend_deceleration: With which the car slows down before a bend, m/s².
        vehicle, walker, light, stop_sign, overtake: Gaps and headways.
        keep_up_time: Who comes from behind, or joins from aside, and would be there within this time, seconds, is not held
            up: the ego then drives as fast, up to the speed limit; 0 never does.
        conflict: Gap and headway to the place where another vehicle will cross; None stops at once wherever the car is.
        hard_deceleration: With which the ego can stop if it must, m/s².
        clearing_speed: Below it the ego rather clears a crossing than stops in it, when neither avoids a collision, m/s.
        lane_changes: How planned lane changes are carried out; None follows the plan to the letter.
        relevant_distance: Lights and stop signs farther than this do not count, metres.
        dilemma_deceleration: A yellow light that would need a harder stop than this is passed, m/s²; infinite stops always.
        green_reserve: A light that a scenario will turn red within this time after the ego has passed counts as yellow, seconds;
            minus infinity knows nothing of it.
        stop_ticks: Ticks of standstill after which a stop sign is obeyed.
        stop_reach: Distance to the trigger centre at which standing still counts, metres.
        stop_memory: Distance beyond which a stop sign is forgotten, metres.
        unblock_ticks: Ticks of standstill after which the expert pushes on.
        patience_ticks: Ticks of waiting for others after which smaller gaps in crossing traffic are taken; 0 never.
        insist_ticks: Ticks of waiting after which the traffic that is not a scenario's is expected to let the ego in; 0 never.
        nudge_ticks: Ticks of standstill after which the path gives way to a vehicle that reaches into it; 0 never.
        max_nudge: Farthest it gives way, metres.
        unblock_at_waits: Push on even when a light, a queue or an oncoming lane is what it waits for.
        steer_noise: Standard deviation of the noise on the applied steering.
        check_while_overtaking: Keep the hazard checks while driving on the oncoming lane.
        gap_check: Look for a gap before moving to a lane of the same direction, and return when an obstacle is gone.
        all_scenarios: Handle every active scenario in range rather than the nearest only.
    """

    profile: str = "corrected"
    route: RouteConfig = field(default_factory=RouteConfig)
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    bicycle: BicycleModel = field(default_factory=BicycleModel)
    idm: IdmConfig = field(default_factory=IdmConfig)
    lateral: LateralConfig = field(default_factory=LateralConfig)
    longitudinal: LongitudinalConfig = field(default_factory=LongitudinalConfig)
    ratio_of_limit: float = 0.72
    max_speed: float = 20.0
    junction_speed: float = 64 / 3.6
    junction_points: int = 300
    urban_junction_speed: float = 30 / 3.6
    urban_limit: float = 80 / 3.6
    urban_points: int = 120
    lateral_acceleration: float = 4.0
    bend_deceleration: float = 3.0
    vehicle: FollowConfig = FollowConfig(4.0, 0.25)
    walker: FollowConfig = FollowConfig(4.0, 0.1)
    light: FollowConfig = FollowConfig(8.0, 0.1)
    stop_sign: FollowConfig = FollowConfig(2.0, 0.1)
    overtake: FollowConfig = FollowConfig(2.0, 0.1)
    keep_up_time: float = 4.0
    conflict: FollowConfig | None = FollowConfig(2.0, 0.1)
    hard_deceleration: float = 7.0
    clearing_speed: float = 7.0
    lane_changes: LaneChangeConfig | None = field(default_factory=LaneChangeConfig)
    relevant_distance: float = 60.0
    dilemma_deceleration: float = 6.0
    green_reserve: float = 0.5
    stop_ticks: int = 25
    stop_reach: float = 3.0
    stop_memory: float = 10.0
    unblock_ticks: int = 1200
    patience_ticks: int = 160
    insist_ticks: int = 500
    nudge_ticks: int = 80
    max_nudge: float = 1.2
    unblock_at_waits: bool = False
    steer_noise: float = 1e-3
    check_while_overtaking: bool = True
    gap_check: bool = True
    all_scenarios: bool = True


_CORRECTED = ExpertConfig()
_SIMLINGO = replace(
    _CORRECTED,
    profile="simlingo",
    route=RouteConfig(
        leading_margin=float("inf"),
        trailing_reach=3.0,
        trailing_reach_lane_change=6.0,
        true_start=False,
        true_stop_lines=False,
        lane_types_checked=False,
        side_stride=1,
    ),
    forecast=ForecastConfig(
        ego_brakes=False,
        partial_brake=False,
        bicycle_margin=0.0,
        gained_speed=False,
        box_centers=False,
        horizon_junction=2.0,
        follow_lanes=False,
    ),
    relevant_distance=float("inf"),
    lateral_acceleration=float("inf"),
    dilemma_deceleration=float("inf"),
    green_reserve=float("-inf"),
    check_while_overtaking=False,
    urban_limit=0.0,
    keep_up_time=0.0,
    lane_changes=None,
    conflict=None,
    light=FollowConfig(6.0, 0.1),
    unblock_ticks=170,
    patience_ticks=0,
    insist_ticks=0,
    nudge_ticks=0,
    unblock_at_waits=True,
    gap_check=False,
    all_scenarios=False,
)
PROFILES = {config.profile: config for config in (_CORRECTED, _SIMLINGO)}


def expert_config(profile: str = "corrected") -> ExpertConfig:
    """Constants of a profile. Raises ValueError naming the closest known one."""
    if profile not in PROFILES:
        close = difflib.get_close_matches(profile, PROFILES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(PROFILES)}"
        raise ValueError(f"unknown expert profile {profile!r}{hint}")
    return PROFILES[profile]
