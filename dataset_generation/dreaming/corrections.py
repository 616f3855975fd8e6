"""What the ``corrected`` profile of the dreams does better than the published generator.

Code that differs between the profiles asks ``DreamCorrection.NAME in corrections``; nothing depends on the profile's name.
"""

from __future__ import annotations

import difflib
from enum import Enum


class DreamCorrection(str, Enum):
    """One correction. The value says what the published generator does instead."""

    FIRST_WAYPOINT = (
        "waypoints lie at 0.05, 0.30 ... 2.30 s; the recorded ones, which the same head learns, at 0.25 ... 2.50 s"
    )
    CRASH_TIME = "the speed towards an object assumes 0.2 s per recorded frame, and its position is one frame too early"
    WALKER_IDENTITY = "a pedestrian that vanishes continues as another pedestrian"
    GAP_POSES = "an agent that vanishes is placed with the ego pose of another frame"
    FRAME_ABORT = "one agent with too short a record ends the whole frame"
    ROUTE_EDIT = "a crash path that starts beside the ego changes the route that later crash paths start from"
    UNKNOWN_CLASS = "a sign with the number of an agent ends the program"
    SMOOTH_SLOWING = "slowing down is a random series of full braking and coasting without drag"
    FORBIDDEN_LANES = "a forbidden lane change counts as safe, so its refusal is never learnt"
    LANE_WORDING = "parking lanes and sidewalks are numbered, down to '0th' and '-1th lane'"
    RED_LIGHT = "the state of the light is compared in the wrong case, so only the expert's own braking counts"
    RED_LIGHT_REFUSAL = "an instruction to drive through a red light is safe to follow"
    OBJECT_NAMES = "objects are called 'the the streetsign01', 'Sign Yield' or by the path of their mesh"
    ROUTE_INSTRUCTION = (
        "the instruction of mode 'route' is a text where a list is read, so that training sees single letters"
    )
    CANONICAL_TEXT = "one random paraphrase is frozen into the file; now it is drawn when the sample is loaded"
    FRAME_NAMES = "frames whose number also occurs in the folder name are lost"
    REALISM = "trajectories that no car can drive are kept"

    def __new__(cls, published: str) -> DreamCorrection:
        member = str.__new__(cls, published)
        member._value_ = published
        return member


Corrections = frozenset[DreamCorrection]

DREAM_PROFILES: dict[str, Corrections] = {"corrected": frozenset(DreamCorrection), "parity": frozenset()}


def corrections_of(profile: str) -> Corrections:
    """The corrections of a profile.

    Raises:
        ValueError: If there is no such profile; the message names the closest.
    """
    if profile not in DREAM_PROFILES:
        close = difflib.get_close_matches(profile, DREAM_PROFILES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown profile {profile!r}{hint}; known: {', '.join(DREAM_PROFILES)}")
    return DREAM_PROFILES[profile]
