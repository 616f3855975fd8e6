"""What commentary looks at: one frame, the second before it and the two seconds after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, hypot, sin

from dataset_generation.language_labels.profiles import Correction, Profile
from dataset_generation.language_labels.route_data import Frame, LabelFailure, RouteData, Skipped
from dataset_generation.language_labels.scenarios import NO_SCENARIO
from driving.records import Measurement, Point

FIRST_FRAME = 10
"""Earlier frames get no commentary: the vehicle is still settling."""

PAST_FRAMES = 4
FUTURE_FRAMES = 9

SPEED_ENTRIES = 5
"""Entries of the future list whose target speeds are averaged."""

DEVIATION = 0.6
"""Farther apart than this two route points count as different, metres."""

ADJUSTED_OFFSET = 2.5
"""Farther beside its original route than this the ego vehicle drives on another lane, metres."""

SCENARIOS_OF_NO_SCENARIO = (NO_SCENARIO, "noScenarios")


@dataclass(frozen=True)
class Window:
    """One frame in its time.

    Attributes:
        frame: The recorded frame.
        scenario: Scenario it belongs to, or None.
        profile: Which corrections apply.
        past: Measurements of the frames before, oldest first.
        future: Measurements from the current frame on. In the published profile the current one comes twice.
    """

    frame: Frame
    scenario: str | None
    profile: Profile
    past: Sequence[Measurement]
    future: Sequence[Measurement]

    @property
    def measurement(self) -> Measurement:
        """Measurement of the frame itself."""
        return self.frame.measurement

    @cached_property
    def mean_target_speed(self) -> float:
        """Mean target speed of the next second, m/s."""
        speeds = [entry.target_speed for entry in self.future[:SPEED_ENTRIES]]
        return sum(speeds) / len(speeds)

    @cached_property
    def mean_forward(self) -> float:
        """Mean distance ahead of the next waypoints, metres; the origin is the first."""
        (x0, y0), theta = self.measurement.pos_global, self.measurement.theta
        c, s = cos(theta), sin(theta)
        first = 0 if Correction.REPEATED_FRAME in self.profile else 1
        entries = self.future[first : first + FUTURE_FRAMES]
        return sum((m.pos_global[0] - x0) * c + (m.pos_global[1] - y0) * s for m in entries) / len(entries)

    @cached_property
    def deviations(self) -> list[float]:
        """Distance between route and original route at the same index, for the first 20 points, metres.

        Raises:
            LabelFailure: If a route is shorter, in the published profile.
        """
        route: Sequence[Point] = self.measurement.route
        original: Sequence[Point] = self.measurement.route_original
        if min(len(route), len(original)) < 20 and Correction.LOST_FRAMES not in self.profile:
            raise LabelFailure("fewer than 20 route points")
        return [hypot(a[0] - b[0], a[1] - b[1]) for a, b in zip(route[:20], original[:20])]

    @property
    def deviates_soon(self) -> bool:
        """Whether the route leaves the original one within its first ten points."""
        return any(gap > DEVIATION for gap in self.deviations[:10])

    @property
    def deviates_later(self) -> bool:
        """Whether it does within its first twenty points."""
        return any(gap > DEVIATION for gap in self.deviations)

    @property
    def returns_soon(self) -> bool:
        """Whether the ego vehicle is on a changed route that joins the original one within ten points."""
        return self.measurement.changed_route and any(gap < DEVIATION for gap in self.deviations[:10])

    @property
    def is_on_adjusted_route(self) -> bool:
        """Whether the ego vehicle drives beside its original route."""
        return abs(self.measurement.route_original[0][1]) > ADJUSTED_OFFSET

    @property
    def has_deviated(self) -> bool:
        """Whether the route was changed in the second before."""
        return any(entry.changed_route for entry in self.past)


def open_window(route: RouteData, number: int, profile: Profile) -> Window:
    """Collect what commentary on one frame needs.

    Raises:
        Skipped: If the frame is too early or, in the published profile, too late in its route.
        LabelFailure: If a file cannot be read.
    """
    if number < FIRST_FRAME:
        raise Skipped(f"one of the first {FIRST_FRAME} frames of a route")
    past = range(number - PAST_FRAMES, number)
    future = [n for n in range(number, number + FUTURE_FRAMES + 1) if route.has_frame(n)]
    if not all(map(route.has_measurement, past)):
        raise Skipped("a frame of the second before is missing")
    if len(future) <= FUTURE_FRAMES and Correction.LAST_FRAMES not in profile:
        raise Skipped(f"one of the next {FUTURE_FRAMES} frames is missing")
    frame = route.frame(number)
    measurements = [route.measurement(n) for n in future]
    if Correction.REPEATED_FRAME not in profile:
        measurements.insert(0, frame.measurement)
    scenario: str | None = route.scenarios.name_at(frame.measurement, profile)
    if scenario in SCENARIOS_OF_NO_SCENARIO:
        scenario = None
    return Window(frame, scenario, profile, [route.measurement(n) for n in past], measurements)
