"""All questions about one frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dataset_generation.language_labels.profiles import Profile
from dataset_generation.language_labels.projection import PUBLISHED_REGION, ImageRegion
from dataset_generation.language_labels.route_data import Frame
from dataset_generation.language_labels.vqa.actions import ask_about_ego_actions
from dataset_generation.language_labels.vqa.important import ask_about_important_objects
from dataset_generation.language_labels.vqa.nodes import NODES
from dataset_generation.language_labels.vqa.road_layout import ask_about_road
from dataset_generation.language_labels.vqa.scene import VqaScene
from dataset_generation.language_labels.vqa.signs import ask_about_light, ask_about_pedestrians, ask_about_stop_sign
from dataset_generation.language_labels.vqa.vehicles import ask_about_vehicles
from driving.label_records import QUESTION_TYPES, QaPair, VqaLabel


@dataclass(frozen=True)
class QuestionFamily:
    """Questions that belong together.

    Attributes:
        name: Category of the questions.
        ask: Asks them; may add key objects and important objects to the scene for the families after it.
        nodes: Graph nodes it covers.
        place_in_file: Position of its questions among the families in the file.
    """

    name: str
    ask: Callable[[VqaScene], list[QaPair]]
    nodes: tuple[tuple[int, int], ...]
    place_in_file: int


FAMILIES = (
    QuestionFamily("dynamic_vehicles", ask_about_vehicles, ((4, 0), (4, 1), (4, 2), (4, 3)), 1),
    QuestionFamily("roadlayout", ask_about_road, ((3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 6)), 2),
    QuestionFamily("stopsign", ask_about_stop_sign, ((1, 0),), 3),
    QuestionFamily("trafficlight", ask_about_light, ((2, 0), (2, 1)), 4),
    QuestionFamily("pedestrian", ask_about_pedestrians, ((5, 0),), 5),
    QuestionFamily("ego", ask_about_ego_actions, ((3, 8), (3, 9), (6, 0), (2, 2), (1, 1), (3, 7)), 6),
    QuestionFamily("important_objects", ask_about_important_objects, ((0, 0),), 0),
)
"""Every family in the order of work."""


def label_frame(
    frame: Frame, scenario: str, image_path: str, profile: Profile, region: ImageRegion = PUBLISHED_REGION
) -> VqaLabel:
    """Ask every question about one frame.

    Args:
        frame: The recorded frame.
        scenario: Scenario it belongs to.
        image_path: Front image, as it shall stand in the file.
        profile: Which corrections apply.
        region: Part of the image in which vehicles count as visible; the published one by default.

    Raises:
        LabelFailure: If the frame has values for which there is no sentence.
    """
    scene = VqaScene(frame, scenario, profile, region)
    asked = [(family.place_in_file, family.ask(scene)) for family in FAMILIES]
    questions: dict[str, list[QaPair]] = {kind: [] for kind in QUESTION_TYPES}
    for _, pairs in sorted(asked, key=lambda entry: entry[0]):
        for pair in pairs:
            questions[NODES[pair.cluster, pair.layer].kind].append(pair)
    return VqaLabel(scene.key_objects, questions, image_path)
