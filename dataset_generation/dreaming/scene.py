"""Everything about one frame that its dreams share: the ego's start, the expert's drive, the route, the other agents."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dataset_generation.dreaming.agents import FUTURE_FRAMES, Replay, replay_agents
from dataset_generation.dreaming.contact import replay_rectangles
from dataset_generation.dreaming.corrections import Corrections, DreamCorrection
from dataset_generation.dreaming.realism import LIMITS, Dream, violations
from dataset_generation.dreaming.rollout import STEPS, STEPS_PER_WAYPOINT, Rollout, SpeedCommand, Start, roll_out
from dataset_generation.language_labels.route_data import Frame, RouteData, Skipped
from driving.geometry import to_ego, to_world
from driving.route import resample_path

Array = NDArray[np.float64]

WALKER_CLOSE_M = 10.0
LIGHT_SPEED, LIGHT_DISTANCE_M = 4.0, 10.0


class Scene:
    """A frame, its nine successors and what follows from them.

    Args:
        route: The run.
        number: Frame number.
        corrections: See `DreamCorrection`.

    Raises:
        Skipped: If a successor is missing.
        LabelFailure: If a file is malformed.
    """

    def __init__(self, route: RouteData, number: int, corrections: Corrections) -> None:
        numbers = range(number, number + FUTURE_FRAMES + 1)
        if not all(route.has_frame(n) for n in numbers):
            raise Skipped(f"fewer than {FUTURE_FRAMES} frames follow")
        self.corrections = corrections
        self.frames: list[Frame] = [route.frame(n) for n in numbers]
        self.now = self.frames[0]
        self.measurement = self.now.measurement
        self.route: Array = np.array(self.measurement.route, dtype=np.float64).reshape(-1, 2)
        self.ego_xy = np.array(self.measurement.pos_global, dtype=np.float64)
        self.theta = self.measurement.theta
        self.redrawn: Counter[str] = Counter()
        """Mode to the number of its dreams that no car could drive and that were drawn again."""

    @cached_property
    def agents(self) -> list[Replay]:
        """Other agents over the horizon."""
        return replay_agents(self.frames, self.corrections)

    @cached_property
    def agent_rectangles(self) -> tuple[Array, NDArray[np.int64]]:
        """Their rectangles over time, see `replay_rectangles`."""
        return replay_rectangles(self.agents)

    @cached_property
    def future_changed(self) -> bool:
        """Whether the expert deviates from its route in one of the coming frames."""
        later = (frame.measurement for frame in self.frames[1:])
        return any(m.changed_route or list(m.route) != list(m.route_original) for m in later)

    @cached_property
    def walker_close(self) -> bool:
        """Whether a pedestrian is within 10 m in any direction."""
        return any(walker.distance < WALKER_CLOSE_M for walker in self.now.walkers)

    @cached_property
    def before_red_light(self) -> bool:
        """Whether the ego vehicle stands or rolls in front of a red light."""
        m = self.measurement
        braking_for_light = (
            "light" in (m.speed_reduced_by_obj_type or "")
            and m.speed < LIGHT_SPEED
            and m.speed_reduced_by_obj_distance is not None
            and m.speed_reduced_by_obj_distance < LIGHT_DISTANCE_M
        )
        if braking_for_light or DreamCorrection.RED_LIGHT not in self.corrections:
            return braking_for_light
        ego, distance = self.now.ego, self.now.ego.distance_to_junction
        red = ego.traffic_light_state == "Red" and not ego.is_in_junction
        return red and m.speed < LIGHT_SPEED and distance is not None and distance < LIGHT_DISTANCE_M

    @property
    def speed(self) -> float:
        """Speed of the ego box, m/s."""
        return self.now.ego_car.speed

    @cached_property
    def start(self) -> Start:
        """First state of every roll-out."""
        matrix, m = self.now.ego_car.matrix, self.measurement
        yaw = self.now.ego_car.yaw + self.theta
        return Start(matrix[0][3], matrix[1][3], yaw, self.speed, m.steer, m.throttle, float(m.brake))

    @cached_property
    def expert_controls(self) -> Array:
        """(50, 3) the expert's steer, throttle and brake, interpolated between frames and held after the last."""
        recorded = [(m.steer, m.throttle, float(m.brake)) for m in (frame.measurement for frame in self.frames)]
        return self._interpolate(np.array(recorded, dtype=np.float64))

    @cached_property
    def expert_positions(self) -> Array:
        """(50, 2) the expert's world positions, interpolated likewise."""
        return self._interpolate(np.array([frame.measurement.pos_global for frame in self.frames], dtype=np.float64))

    @staticmethod
    def _interpolate(values: Array) -> Array:
        at = np.arange(STEPS) / STEPS_PER_WAYPOINT
        return np.stack([np.interp(at, np.arange(len(values)), column) for column in values.T], axis=1)

    def forecast(self, path: Array, command: SpeedCommand, values: Array | float | None = None) -> Dream:
        """Roll the ego out.

        Args:
            path: (N, 2) ego-frame path to steer along, metres.
            command: What decides on the pedals.
            values: (50,) numbers of the command, or one for all steps.
        """
        numbers = None if values is None else np.broadcast_to(np.asarray(values, dtype=np.float64), (STEPS,))
        world = to_world(path, self.ego_xy, self.theta)
        limit = LIMITS.deceleration if DreamCorrection.REALISM in self.corrections else np.inf
        states = roll_out(self.start, self.expert_controls, self.expert_positions, world, command, numbers, limit)
        return self._dream(states)

    def _dream(self, states: Rollout) -> Dream:
        positions = to_ego(states.position, self.ego_xy, self.theta)
        first = STEPS_PER_WAYPOINT - 1 if DreamCorrection.FIRST_WAYPOINT in self.corrections else 0
        yaw = states.yaw[first::STEPS_PER_WAYPOINT] - self.theta
        # Single precision, as the simulator's classes that the published generator keeps them in.
        waypoints = positions[first::STEPS_PER_WAYPOINT].astype(np.float32).astype(np.float64)
        return Dream(waypoints, (yaw + np.pi) % (2 * np.pi) - np.pi, states.speed, positions)

    @cached_property
    def expert(self) -> Dream:
        """The expert's own drive, re-driven by the bicycle."""
        return self.forecast(self.route, SpeedCommand.EXPERT_WAYPOINTS)

    @cached_property
    def allowance(self) -> dict[str, float]:
        """What the expert itself needed; no dream is asked to be gentler."""
        return self.expert.largest

    def is_drivable(self, dream: Dream) -> bool:
        """Whether a car could drive a dream. Always true in the published profile."""
        return DreamCorrection.REALISM not in self.corrections or not violations(dream, self.allowance)

    @cached_property
    def expert_path(self) -> Array:
        """(20, 2) the expert's path, 1 m apart."""
        return resample_path(self.route)
