"""What is said: route action, speed action, its reason, and a closing remark."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import hypot

from dataset_generation.language_labels.commentary import fragments
from dataset_generation.language_labels.commentary.cause import (
    CAMERA_X,
    MIN_POINTS,
    STOP_TYPE,
    Cause,
    appearance,
    boxes_by_id,
    find_cause,
    is_visible,
)
from dataset_generation.language_labels.commentary.junction import JunctionNote, junction_note
from dataset_generation.language_labels.commentary.window import Window
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.projection import ImageRegion, is_in_image
from dataset_generation.language_labels.route_data import LabelFailure
from driving.commands import RoadOption
from driving.records import CarBox, PlacedBox, WalkerBox

SAME_SPEED = 0.5
"""Speeds nearer to each other than this are equal, m/s."""

STANDSTILL = 0.2
"""Below this speed the ego vehicle stands, m/s."""

FULL_SPEED_SHARE = 0.71
"""Share of the speed limit above which the ego vehicle drives at full speed: the expert aims at 0.72."""

COMMAND_DISTANCE = 20.0
"""Commands are spoken of when their target point is nearer than this, metres."""

NO_JUNCTION = 9999.0
"""Stands for the distance to the junction when there is none, metres."""


@dataclass(frozen=True)
class Decision:
    """A commentary in pieces, with ``<OBJECT>`` and ``<DISTANCE>`` where object and distance stand.

    Attributes:
        route_action: Full sentence.
        speed_action: Its start, without a full stop.
        reason: Continues the speed action; starts with a space.
        remark: Starts with a space; may be empty.
        cause: The object spoken of.
    """

    route_action: str
    speed_action: str
    reason: str
    remark: str
    cause: Cause


def decide(window: Window, region: ImageRegion, rng: random.Random) -> Decision:
    """Find what to say about a frame.

    Raises:
        LabelFailure: If the frame has values for which there is no sentence.
    """
    return _Speaker(window, region, rng).decide()


class _Speaker:
    """The quantities several rules share, and the rules."""

    def __init__(self, window: Window, region: ImageRegion, rng: random.Random) -> None:
        self.window, self.region, self.rng = window, region, rng
        self.frame, self.m, self.profile = window.frame, window.measurement, window.profile
        self.deviates_soon = window.deviates_soon
        distance = window.frame.ego.distance_to_junction
        self.junction_distance = NO_JUNCTION if distance is None else distance
        self.cause = find_cause(window.frame, window.profile, region)
        self.note = junction_note(window.frame, window.profile, region)
        self.speed_action = self._speed_action()

    @property
    def accelerates(self) -> bool:
        return self.speed_action == fragments.ACCELERATE

    @property
    def decelerates(self) -> bool:
        return self.speed_action == fragments.DECELERATE

    @property
    def two_ways(self) -> bool:
        return "TwoWays" in (self.window.scenario or "")

    def decide(self) -> Decision:
        reason = self._reason()
        route_action = self._route_action()
        speed_action = self.speed_action
        if self.m.changed_route or self.deviates_soon:
            route_action, speed_action, reason = self._while_deviating(route_action, speed_action, reason)
        remark = ""
        if self._needs_walker_attention() and "walker" not in (self.cause.type or ""):
            remark = " Pay attention to the walker and brake if necessary."
        return Decision(route_action, speed_action, reason, remark, self.cause)

    # Speed ------------------------------------------------------------------------------------------------------------

    def _speed_action(self) -> str:
        speed, target = self.m.speed, self.window.mean_target_speed
        if abs(speed - target) < SAME_SPEED:
            if speed < STANDSTILL:
                return fragments.REMAIN_STOPPED
            if target < STANDSTILL:
                return fragments.STOP_NOW
            at_limit = self.m.speed_limit > 0 and target / self.m.speed_limit > FULL_SPEED_SHARE
            return fragments.MAINTAIN_SPEED if at_limit else fragments.MAINTAIN_REDUCED_SPEED
        return fragments.ACCELERATE if speed < target else fragments.DECELERATE

    def _reason(self) -> str:
        cause, m = self.cause, self.m
        starts = m.speed < m.target_speed and m.target_speed > 0.4 and abs(m.speed - m.target_speed) > SAME_SPEED
        if cause.type == STOP_TYPE and starts and (cause.distance or 0) < 5:
            return f" since you cleared the <OBJECT>{self._note_after_stop_sign()}"
        if self._take_hazard_vehicle():
            return " to avoid a collision with the <OBJECT>."
        if m.walker_hazard and any(walker.num_points > MIN_POINTS for walker in self.frame.walkers):
            return self._reason_of_walker()
        if cause.type is not None:
            return self._reason_of_vehicle() if "vehicle" in cause.type else self._reason_of_object()
        return self._reason_without_object()

    def _note_after_stop_sign(self) -> str:
        text = self.note.text
        if text is None and Correction.JOINED_SENTENCES not in self.profile:
            text = "None"
        if not text:
            return "."
        return f" and {text}." if self.note.stopped else f" but {text}."

    def _take_hazard_vehicle(self) -> bool:
        """Make the vehicle of a hazard the cause, when it is clearly nearer than the present cause."""
        old = self.cause.box
        if not self.m.vehicle_hazard or self.m.vehicle_affecting_id is None or old is None:
            return False
        hazard = boxes_by_id(self.frame, self.profile).get(self.m.vehicle_affecting_id)
        if hazard is None or hazard.distance > old.distance - 5:
            return False
        self.cause = replace(
            self.cause,
            box=hazard,
            text=appearance(hazard, self.profile),
            is_visible=self._is_hazard_visible(hazard, old),
        )
        return True

    def _is_hazard_visible(self, hazard: PlacedBox, old: PlacedBox) -> bool:
        if Correction.HAZARD_OBJECT in self.profile:
            return is_visible(hazard, self.region)
        if not is_in_image(hazard, self.region):
            return False
        points = getattr(old, "num_points", None)
        if points is None:
            raise LabelFailure(f"a cause of class {old.box_class} has no LiDAR points")
        return points > MIN_POINTS and old.position[0] > CAMERA_X

    def _reason_of_walker(self) -> str:
        if Correction.WALKER_OBJECT in self.profile:
            self._take_hazard_walker()
        elif self.cause.distance is None:
            raise LabelFailure("a hazard by a pedestrian without a distance")
        if self.accelerates and (self.cause.distance or 0) > self.junction_distance + 5:
            note = self.note.text
            is_sentence = note or Correction.JOINED_SENTENCES not in self.profile
            clause = f" as {note}" if is_sentence else ""
            start = f" to drive through the junction{clause}."
            return f"{start} Pay attention to the <OBJECT> on the exit of the junction."
        if self.accelerates and Correction.CROSSED_PATH in self.profile:
            return " once the <OBJECT> has left your path."
        return " due to the <OBJECT> intersecting your path."

    def _take_hazard_walker(self) -> None:
        """Make the nearest pedestrian ahead the cause."""
        walkers = [walker for walker in self.frame.walkers if walker.num_points > MIN_POINTS]
        walker = min(walkers, key=lambda box: (box.position[0] < 0, box.distance))
        self.cause = Cause(
            "walker",
            round(walker.distance, 1),
            walker,
            appearance(walker, self.profile),
            is_visible(walker, self.region),
        )

    def _optional(self, preposition: str) -> str:
        """The distance, in every second sentence."""
        return f" {preposition} <DISTANCE>" if self.rng.random() < 0.5 else ""

    def _reason_of_vehicle(self) -> str:
        cause, scenario = self.cause, self.window.scenario
        vehicle = cause.box if isinstance(cause.box, CarBox) else None
        is_placed_bicycle = vehicle is not None and vehicle.base_type == "bicycle" and vehicle.role_name == "scenario"
        if is_placed_bicycle and scenario is not None and "HazardAtSideLane" not in scenario:
            return " to avoid the <OBJECT> that is crossing the road."
        if cause.at_red_light and not self.accelerates:
            state = "stopped" if self.m.speed < STANDSTILL else "slowing down"
            return f" to stay behind the <OBJECT>{self._optional('at')} that is {state} because of a red traffic light."
        stands = vehicle is not None and vehicle.distance < 12 and vehicle.speed < 0.5
        if stands and not self.decelerates and self.m.target_speed > 0.5:
            return f" to drive closer to the stationary <OBJECT>{self._optional('at')}."
        verb = "follow" if self.accelerates else "stay behind"
        return f" to {verb} the <OBJECT>{self._optional('in')}."

    def _reason_of_object(self) -> str:
        # Whatever has a type has a distance, see `find_cause`.
        distance = self.cause.distance or 0.0
        if self.accelerates:
            near = 5 < distance < 15
            return f" to drive closer to the <OBJECT>{self._optional('in')}." if near else " to reach the speed limit."
        return (
            f" due to the <OBJECT>{self._optional('in')}."
            if distance < 20
            else " to drive according to the speed limit."
        )

    def _reason_without_object(self) -> str:
        note = self.note
        stopping = self.speed_action in (fragments.DECELERATE, fragments.REMAIN_STOPPED, fragments.STOP_NOW)
        if self._light_is_green() and not (stopping and Correction.GREEN_BRAKING in self.profile):
            return f" because the traffic light is green{self._note_at_green_light(note)}"
        stands = self.speed_action == fragments.REMAIN_STOPPED
        maintains = self.speed_action in (fragments.MAINTAIN_SPEED, fragments.MAINTAIN_REDUCED_SPEED)
        if self.frame.ego.is_in_junction:
            base = "" if self.decelerates or stands else " to drive through the junction"
        else:
            base = "" if maintains else " to drive with the target speed"
        return f"{base} because {note.text}." if note.stopped else f"{base}."

    def _light_is_green(self) -> bool:
        lights = [light for light in self.frame.light_lines if light.affects_ego]
        return bool(lights) and lights[-1].state == "Green"

    def _note_at_green_light(self, note: JunctionNote) -> str:
        if note.text is None:
            return "."
        if note.stopped:
            return f" and {note.text}."
        if Correction.GREEN_LIGHT in self.profile:
            return f" but {note.text}." if note.text else "."
        return " but pay attention to the vehicle coming towards the junction."

    # Route ------------------------------------------------------------------------------------------------------------

    def _route_action(self) -> str:
        action = self._commanded_action()
        later = self.window.deviates_later
        if not (self.m.changed_route or self.deviates_soon or later):
            return action
        scenario = self.window.scenario
        if scenario is None:
            if Correction.LOST_FRAMES not in self.profile:
                raise LabelFailure("the route changes outside a scenario")
            return action
        avoidance = fragments.AVOIDANCE.get(scenario.replace("TwoWays", ""))
        if avoidance is None:
            keeps = scenario == "ParkingExit" or Correction.JOINED_SENTENCES in self.profile
            return action if keeps else ""
        if self.deviates_soon:
            return avoidance
        if later and not self._cause_is_leader():
            return f"Prepare to {fragments.lower_first(avoidance)}"
        return action

    def _commanded_action(self) -> str:
        m = self.m
        if self.window.scenario == "ParkingExit" and abs(m.route[0][1]) > 1.5:
            self.deviates_soon = True
            return fragments.EXIT_PARKING
        if hypot(*m.target_point) < COMMAND_DISTANCE:
            if m.command in (RoadOption.CHANGELANELEFT, RoadOption.CHANGELANERIGHT):
                return fragments.PREPARE_LANE_CHANGE
            if m.command == RoadOption.LEFT:
                return fragments.TURN_LEFT
            if m.command == RoadOption.RIGHT:
                return fragments.TURN_RIGHT
        return fragments.FOLLOW_ROUTE

    def _cause_is_leader(self) -> bool:
        box = self.cause.box
        return isinstance(box, CarBox) and box.same_road_as_ego and box.lane_relative_to_ego == 0

    def _while_deviating(self, route_action: str, speed_action: str, reason: str) -> tuple[str, str, str]:
        window = self.window
        if "InvadingTurn" in (window.scenario or ""):
            return fragments.SHIFT_RIGHT, speed_action, reason
        waits = window.mean_forward < 0.5 or self.m.target_speed < STANDSTILL
        is_new = not window.is_on_adjusted_route or not window.has_deviated
        if waits and is_new and self.deviates_soon:
            lane = " to the lane with oncoming traffic" if self.two_ways else ""
            stop = "." if Correction.JOINED_SENTENCES in self.profile else ""
            return route_action, f"{fragments.WAIT_FOR_GAP}{lane}", stop
        if not window.is_on_adjusted_route and not window.returns_soon:
            lane = "oncoming lane" if self.two_ways else "neighbouring lane"
            return route_action, speed_action, f" to change to the {lane}, as the gap is big enough."
        if window.returns_soon:
            return fragments.GO_BACK, speed_action, reason
        lane = "your current (oncoming) lane" if self.two_ways else "your current lane"
        return f"Stay on {lane} to {fragments.lower_first(route_action)}", speed_action, reason

    def _needs_walker_attention(self) -> bool:
        close = self.m.walker_close_id
        if close is not None:
            box = boxes_by_id(self.frame, self.profile).get(close)
            if box is not None:
                return isinstance(box, (WalkerBox, CarBox)) and _calls_for_attention(box)
        return any(_calls_for_attention(walker) for walker in self.frame.walkers)


def _calls_for_attention(box: WalkerBox | CarBox) -> bool:
    return box.distance < 15 and box.speed > 0.5 and box.num_points > MIN_POINTS
