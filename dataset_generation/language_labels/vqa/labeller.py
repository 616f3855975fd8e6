"""Questions and answers as a kind of label."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_generation.language_labels.profiles import Profile
from dataset_generation.language_labels.projection import PUBLISHED_REGION, ImageRegion
from dataset_generation.language_labels.route_data import RouteData
from dataset_generation.language_labels.vqa.generator import label_frame
from driving.records import VQA, LabelKind


@dataclass(frozen=True)
class VqaLabeller:
    """Asks all questions about every frame.

    Attributes:
        profile: Which corrections apply.
        region: Part of the image in which objects count as visible.
    """

    profile: Profile
    region: ImageRegion = PUBLISHED_REGION

    @property
    def kind(self) -> LabelKind:
        """The ``drivelm`` tree."""
        return VQA

    def label(self, route: RouteData, frame: int) -> str:
        """JSON text of one frame's questions."""
        recorded = route.frame(frame)
        scenario = route.scenarios.name_at(recorded.measurement, self.profile)
        image = str(route.run.rgb_path(frame))
        return label_frame(recorded, scenario, image, self.profile, self.region).to_json()
