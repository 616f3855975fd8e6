"""Dreams as a kind of label: every alternative future of a frame in the published file format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_generation.dreaming.contact import cross_track, touching
from dataset_generation.dreaming.corrections import Corrections, DreamCorrection, corrections_of
from dataset_generation.dreaming.instructions import CANONICAL_TEMPLATES, CONTINUE, Templates, Wording, instructions
from dataset_generation.dreaming.modes import Option, dream_options
from dataset_generation.dreaming.scene import Scene
from dataset_generation.dreaming.verdicts import REFUSE_OBSTACLE, judge
from dataset_generation.language_labels.profiles import Profile
from dataset_generation.language_labels.route_data import RouteData, Skipped
from dataset_generation.language_labels.runner import frame_random
from driving.records import DREAMER, LabelKind, RunFolder, frame_name
from driving.route import resample_path

Array = NDArray[np.float64]

EXPERT = "org"
"""What a file says instead of the expert's own path or waypoints."""

MAX_CROSS_TRACK_M = 5.0
"""Dreams that leave the expert's path further are dropped."""


@dataclass(frozen=True)
class DreamLabeller:
    """Dreams every alternative future of a frame.

    Attributes:
        profile: `corrected` or `parity`.
        templates: Wordings of the instructions, canonical ones first.
    """

    profile: Profile
    templates: Templates = field(default_factory=lambda: CANONICAL_TEMPLATES)

    @property
    def kind(self) -> LabelKind:
        """The ``dreamer`` tree."""
        return DREAMER

    def label(self, route: RouteData, frame: int) -> Mapping[str, Any]:
        """The published object of one frame: mode to samples."""
        corrections = corrections_of(self.profile.name)
        if _lost_by_name(route.run, frame) and DreamCorrection.FRAME_NAMES not in corrections:
            raise Skipped("frame number occurs in the folder name")
        scene = Scene(route, frame, corrections)
        draws = frame_random(route.run, frame)
        options = [(option, crash_steps(scene, option)) for option in dream_options(scene, draws)]
        wording = Wording(_wordings(self.templates, corrections), draws)
        samples: dict[str, list[dict[str, Any]]] = defaultdict(list)
        image = str(route.run.rgb_path(frame))
        for option, crashes in options:
            sample = make_sample(scene, option, crashes, wording, image)
            if sample is not None:
                samples[option.mode].append(sample)
        stay = stay_in_lane(scene, image)
        if stay is not None:
            samples["route"].append(stay)
        return dict(samples)


def _wordings(templates: Templates, corrections: Corrections) -> Templates:
    """All wordings, or the canonical ones alone where paraphrases are drawn when samples are loaded."""
    if DreamCorrection.CANONICAL_TEXT not in corrections:
        return templates
    return {key: sentences[:1] for key, sentences in templates.items()}


def _lost_by_name(run: RunFolder, frame: int) -> bool:
    """Whether the four digits of a frame also occur in the folders above it."""
    return frame_name(frame) in run.relative.as_posix()


def crash_steps(scene: Scene, option: Option) -> list[int]:
    """Waypoints at which the ego touches another agent, once per agent.

    A waypoint is compared with the recorded frame of the same time, in the published profile with that of the same index.
    """
    shift = 1 if DreamCorrection.FIRST_WAYPOINT in scene.corrections else 0
    extent = np.array(scene.now.ego_car.extent, dtype=np.float64)
    found = touching(option.dream.waypoints, option.dream.yaw, extent, *scene.agent_rectangles, shift)
    return [int(index) for index in found]


def make_sample(
    scene: Scene, option: Option, crashes: list[int], wording: Wording, image: str
) -> dict[str, Any] | None:
    """One sample of the file; None when the dream leaves the expert's path too far or no car could drive it."""
    verdict = judge(scene, option, crashes)
    reasoning = "The predicted route follows the expert route."
    stored: Any = scene.expert_path.tolist() if verdict.safe else EXPERT
    if option.path is not None:
        path = resample_path(np.round(option.path, 2))
        largest, distance = cross_track(path, scene.expert_path)
        if largest > MAX_CROSS_TRACK_M:
            return None
        reasoning = f"The route deviates from the expert route with at most {largest:.2f}m off at a distance of {distance:.2f}m."
        stored = path.tolist()
    if not scene.is_drivable(option.dream):
        return None
    said = instructions(scene, option, bool(crashes), wording)
    head = {"allowed": option.allowed, "mode": option.mode}
    return {
        "waypoints": option.dream.waypoints.tolist(),
        "route": stored,
        "rgb_path": image,
        **head,
        "info": {**head, **option.info, "dynamic_crash": bool(crashes), "dynamic_crash_timesteps": crashes},
        "route_reasoning": reasoning,
        "dreamer_instruction": [instruction.text for instruction in said],
        "instructions_templates": [instruction.template for instruction in said],
        "templates_placeholders": [dict(instruction.slots) for instruction in said],
        "dreamer_answer_safety": verdict.answer,
        "safe_to_execute": verdict.safe,
    }


def stay_in_lane(scene: Scene, image: str) -> dict[str, Any] | None:
    """The sample of mode `route`: do not go round the obstacle. None while the expert does not deviate to the left."""
    m = scene.measurement
    original = np.array(m.route_original, dtype=np.float64).reshape(-1, 2)
    if not m.changed_route or list(m.route) == list(m.route_original) or not len(original) or original[0, 1] >= 0.5:
        return None
    path = resample_path(original)
    largest, distance = cross_track(path, scene.expert_path)
    as_list = DreamCorrection.ROUTE_INSTRUCTION in scene.corrections
    head = {"allowed": False, "mode": "route"}
    return {
        "waypoints": EXPERT,
        "route": path.tolist(),
        "rgb_path": image,
        **head,
        "info": dict(head),
        "route_reasoning": (
            f"The route does not go around the obstruction and is at most {largest:.2f}m off the ground truth route "
            f"at a distance of {distance:.2f}m."
        ),
        "dreamer_instruction": [CONTINUE] if as_list else CONTINUE,
        "instructions_templates": [CONTINUE],
        "templates_placeholders": [{}],
        "dreamer_answer_safety": REFUSE_OBSTACLE,
        "safe_to_execute": False,
    }
