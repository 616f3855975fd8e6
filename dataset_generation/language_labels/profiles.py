"""Profiles: labels as the published generators write them, or with their defects corrected.

Every correction is one row of `Correction`, with what is wrong in the published labels as its text. Code that differs
between the profiles asks ``Correction.NAME in profile``; nothing else may depend on the profile's name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum


class Correction(str, Enum):
    """What the ``corrected`` profile does better. The value says what the published labels do instead."""

    SCENARIO_LOOKUP = "the first scenario of the route names every frame until another trigger is passed by 10 m"
    POINTING = "any heading below -135 degrees counts as towards the junction, however far to the side the vehicle is"
    COLOURS = "questions and commentary have different tables of colour names"
    TYPE_NAMES = "braking answers use the base type where questions say police car, jeep, HGV"
    LOST_FRAMES = "frames with unusual values end in an exception and get no file"
    SLOTS = "placeholders are found by substring search afterwards; now template and slots are stored with the sentence"
    # Questions and answers
    DOUBLED_TO = "highway answers contain 'to to'"
    INVADING_TURN_TEXT = "an answer about invading traffic contains quotes and 49 spaces"
    OBSTACLE_WHILE_PASSING = "while the ego vehicle deviates, the obstacle still beside or ahead of it is denied"
    COUNTED_BICYCLES = "answers say 'there is a two bicycles'"
    PLURALS = "the important objects are 'the 2 red car nearbys'"
    EMPTY_LOCATION = "vehicles that fit no case have an empty answer to where they are"
    OPPOSITE_SAME_LANE = "oncoming vehicles on the ego lane are '0 the ego vehicle'"
    FACING = "only headings up to 90 degrees to one side count as facing the ego vehicle"
    CURB = "a curb is called a lane: 'a white curb lane'"
    MARKING_SIDES = "while overtaking the right marking is described with the colour of the left one"
    REMAIN_STOPPED = "a vehicle at up to 5 m/s is told to remain stopped"
    LIGHT_BY_LINE = "a light whose head stands over another lane is ignored though its stop line holds the ego vehicle"
    LIGHT_STATE = "inside a junction the state of the light is unknown, so the answer is to follow it"
    UNSEEN_OBJECTS = "pedestrians and obstacles outside the image are counted, and boxes reach beyond the image"
    WALKER_BOX = "boxes of pedestrians float half a body above the ground"
    NEAR_WALKERS = "pedestrians behind the ego vehicle make it stop for 'pedestrians' in the plural"
    # Commentary
    LAST_FRAMES = "the last nine frames of a route get no commentary"
    REPEATED_FRAME = "the current frame counts twice among the future frames"
    JUNCTION_NOTE = "the last vehicle alone decides whether traffic at the junction stands or moves"
    GREEN_LIGHT = "a green light always comes with a vehicle that approaches, even on an empty junction"
    JOINED_SENTENCES = "sentences contain 'as .' or 'None', start with a space, or run into the next one"
    PLACEHOLDERS = "placeholders keep the preposition, and replace equal words anywhere in the sentence"
    WALKER_OBJECT = "a hazard by a pedestrian names whatever object slowed the vehicle before"
    CROSSED_PATH = "the ego vehicle accelerates 'due to' a pedestrian in its path"
    GREEN_BRAKING = "a green light is given as the reason to decelerate or to stay stopped"
    STOP_DISTANCE = "a stop line is taken to lie 5 m before the junction, so it is negative metres away once passed"
    HAZARD_OBJECT = "the vehicle of a hazard is judged visible with the LiDAR points of another object"

    def __new__(cls, published: str) -> Correction:
        member = str.__new__(cls, published)
        member._value_ = published
        return member


@dataclass(frozen=True)
class Profile:
    """A named choice of corrections.

    Attributes:
        name: As on command lines.
        corrections: What is done better than in the published generators.
    """

    name: str
    corrections: frozenset[Correction]

    def __contains__(self, correction: Correction) -> bool:
        return correction in self.corrections


PARITY = Profile("parity", frozenset())
CORRECTED = Profile("corrected", frozenset(Correction))
PROFILES = {profile.name: profile for profile in (PARITY, CORRECTED)}


def profile_named(name: str) -> Profile:
    """Look up a profile.

    Raises:
        ValueError: If there is none; the message names the closest.
    """
    if name not in PROFILES:
        close = difflib.get_close_matches(name, PROFILES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown profile {name!r}{hint}; known: {', '.join(PROFILES)}")
    return PROFILES[name]
