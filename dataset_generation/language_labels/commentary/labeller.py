"""Commentary as a kind of label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataset_generation.language_labels.commentary.generator import label_frame
from dataset_generation.language_labels.commentary.window import open_window
from dataset_generation.language_labels.profiles import Profile
from dataset_generation.language_labels.projection import PUBLISHED_REGION, ImageRegion
from dataset_generation.language_labels.route_data import RouteData
from dataset_generation.language_labels.runner import frame_random
from driving.records import COMMENTARY, LabelKind


@dataclass(frozen=True)
class CommentaryLabeller:
    """Comments on every frame.

    Attributes:
        profile: Which corrections apply.
        region: Part of the image in which objects count as visible.
    """

    profile: Profile
    region: ImageRegion = PUBLISHED_REGION

    @property
    def kind(self) -> LabelKind:
        """The ``commentary`` tree."""
        return COMMENTARY

    def label(self, route: RouteData, frame: int) -> Mapping[str, Any]:
        """The published object of one frame."""
        window = open_window(route, frame, self.profile)
        image = str(route.run.rgb_path(frame))
        return label_frame(window, image, frame_random(route.run, frame), self.region).to_dict()
