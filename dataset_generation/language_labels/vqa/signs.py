"""Questions about stop signs (1,0), traffic lights (2,0), (2,1) and pedestrians (5,0)."""

from __future__ import annotations

from dataset_generation.language_labels.naming import front_location
from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.projection import is_in_image
from dataset_generation.language_labels.vqa.scene import VqaScene
from driving.label_records import QaPair
from driving.records import TrafficLightBox, TrafficLightVqaBox, WalkerBox

STOP_SIGN_DISTANCE = 40.0
"""Stop signs matter within this distance, metres."""

LIGHT_DISTANCE = 45.0
"""Traffic lights matter within this distance, metres."""


def light_state(light: TrafficLightVqaBox | TrafficLightBox) -> str:
    """State with a lower-case first letter."""
    state = light.state_str if isinstance(light, TrafficLightVqaBox) else light.state
    return state[:1].lower() + state[1:]


def is_stop_sign_cleared(scene: VqaScene) -> bool:
    """Whether the ego vehicle has just stopped at a stop sign."""
    return any(
        sign.distance < 4 and not sign.affects_ego and sign.position[0] > -2.6 for sign in scene.frame.stop_signs
    )


def ask_about_stop_sign(scene: VqaScene) -> list[QaPair]:
    """Whether a stop sign matters. Leaves the sign in ``scene.stop_sign``."""
    tags: list[str] = []
    answer = "No, the ego vehicle is not affected by a stop sign."
    for sign in scene.frame.stop_signs:
        if sign.affects_ego and sign.distance < STOP_SIGN_DISTANCE:
            scene.stop_sign = sign
            scene.important.append("the stop sign")
            tags = [scene.add_key_object("Traffic element", "Stop sign", sign)]
            answer = "Yes, the ego vehicle is affected by a stop sign, which has not been cleared yet."
            break
    if scene.stop_sign is None and is_stop_sign_cleared(scene):
        answer = "Yes, the ego vehicle was affected by a stop sign, which has already been cleared."
    return [scene.ask((1, 0), "Is the ego vehicle affected by a stop sign?", answer, tags)]


def find_light(scene: VqaScene) -> TrafficLightVqaBox | TrafficLightBox | None:
    """The traffic light that matters: the head ahead, or the stop line when the ego vehicle is in the junction."""
    if scene.ego.traffic_light_state == "None":
        return None
    lines: list[TrafficLightVqaBox | TrafficLightBox] = list(scene.frame.light_lines)
    candidates = lines if scene.in_junction else [*scene.frame.light_heads]
    if not scene.in_junction and scene.corrects(Correction.LIGHT_BY_LINE):
        candidates += [line for line in lines if line.position[0] > 0]
    for light in candidates:
        if light.affects_ego and light.distance < LIGHT_DISTANCE:
            return light
    return None


def ask_about_light(scene: VqaScene) -> list[QaPair]:
    """Whether a traffic light matters and what it shows. Leaves the light in ``scene.light``."""
    light = scene.light = find_light(scene)
    affected, state = (
        "No, the ego vehicle is not affected by a traffic light.",
        "There is no traffic light affecting the ego vehicle.",
    )
    tags: list[str] = []
    if light is not None:
        scene.important.append(f"the {light_state(light)} traffic light")
        tags = [scene.add_key_object("Traffic element", f"{scene.ego.traffic_light_state} traffic light", light)]
        affected = "Yes, the ego vehicle is affected by a traffic light."
        state = f"The traffic light is {light_state(light)}."
    return [
        scene.ask((2, 0), "Is the ego vehicle affected by a traffic light?", affected, tags),
        scene.ask((2, 1), "What is the state of the traffic light?", state, tags),
    ]


def is_counted(scene: VqaScene, walker: WalkerBox) -> bool:
    """Whether a pedestrian counts: within 40 m ahead and hit by LiDAR points; corrected: visible in the image too."""
    if walker.num_points < 5 or not 1 <= walker.position[0] <= 40:
        return False
    return not scene.corrects(Correction.UNSEEN_OBJECTS) or is_in_image(walker, scene.region)


def ask_about_pedestrians(scene: VqaScene) -> list[QaPair]:
    """How many pedestrians there are."""
    tags = []
    for walker in scene.frame.walkers:
        if is_counted(scene, walker):
            scene.important.append(f"the pedestrian {front_location(walker)}")
            tags.append(scene.add_key_object("Pedestrian", "Pedestrian", walker))
    answer, slots = "There are no pedestrians.", {}
    if len(tags) == 1:
        answer = "There is 1 pedestrian."
    elif tags:
        answer, slots = "There are <COUNT> pedestrians.", {"<COUNT>": str(len(tags))}
    return [scene.ask((5, 0), "How many pedestrians are there?", answer, tags, slots)]
