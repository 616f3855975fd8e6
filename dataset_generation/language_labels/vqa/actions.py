"""What the ego vehicle should do at a light (2,2) or stop sign (1,1), and the speed limit (3,7)."""

from __future__ import annotations

from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.vqa.braking import ask_about_braking
from dataset_generation.language_labels.vqa.obstruction import ask_about_obstruction
from dataset_generation.language_labels.vqa.scene import VqaScene
from dataset_generation.language_labels.vqa.signs import is_stop_sign_cleared
from driving.label_records import QaPair
from driving.records import TrafficLightVqaBox

STANDING_SPEED = 0.5
"""Below this speed a vehicle that must stay remains stopped, m/s."""

PUBLISHED_STANDING_SPEED = 5.0
"""The same in the published generator, which also uses it to tell accelerating from keeping the speed."""


def ask_about_ego_actions(scene: VqaScene) -> list[QaPair]:
    """Obstruction, braking, light, stop sign, speed limit: in this order."""
    limit = {"<SPEED_LIMIT>": str(scene.speed_limit_kmh)}
    return [
        *ask_about_obstruction(scene),
        ask_about_braking(scene),
        _ask_what_to_do_at_light(scene),
        _ask_what_to_do_at_stop_sign(scene),
        scene.ask(
            (3, 7),
            "What is the current speed limit?",
            "The current speed limit is <SPEED_LIMIT> km/h.",
            slots=limit,
        ),
    ]


def _follows_another(scene: VqaScene, distance: float) -> bool | None:
    """Whether a vehicle is between the ego vehicle and something at ``distance`` metres; None when it is too far away."""
    ego = scene.ego
    for bound, actor in (
        (10, ego.affects_ego_10),
        (15, ego.affects_ego_15),
        (20, ego.affects_ego_20),
        (40, ego.affects_ego_40),
    ):
        if distance < bound:
            return actor is not None
    return None


def _stop_text(scene: VqaScene, actor: str) -> str:
    corrected = scene.corrects(Correction.REMAIN_STOPPED)
    standing = STANDING_SPEED if corrected else PUBLISHED_STANDING_SPEED
    return f"slow down and stop at the {actor}" if scene.frame.ego_car.speed > standing else "remain stopped"


def _ask_what_to_do_at_light(scene: VqaScene) -> QaPair:
    question = "What should the ego vehicle do based on the traffic light?"
    if scene.light is None:
        return scene.ask((2, 2), question, "There is no traffic light affecting the ego vehicle.")
    return scene.ask((2, 2), question, _light_answer(scene), scene.tags_of(scene.light))


def _light_answer(scene: VqaScene) -> str:
    light = scene.light
    assert light is not None
    follows = _follows_another(scene, light.distance)
    if follows is None:
        return "The traffic light is too far away to affect the ego vehicle."
    state = ""
    if isinstance(light, TrafficLightVqaBox):
        state = light.state_str
    elif scene.corrects(Correction.LIGHT_STATE):
        state = light.state
    if state == "Green":
        speed = scene.frame.ego_car.speed
        go = "accelerate" if speed < PUBLISHED_STANDING_SPEED else "maintain its speed"
        if follows:
            return (
                f"Based on the green traffic light the ego vehicle can {go} and continue driving but should pay "
                "attention to the vehicle in front and adjust its speed accordingly."
            )
        return f"The ego vehicle can {go} and continue driving because the traffic light is green."
    if state == "Yellow":
        return "The ego vehicle should slow down and prepare to stop at the traffic light."
    if state == "Red":
        stop = _stop_text(scene, "traffic light")
        behind = " and stay behind other vehicles that are standing at the red light" if follows else ""
        return f"The ego vehicle should {stop}{behind}."
    return "The ego vehicle should follow the traffic light."


def _ask_what_to_do_at_stop_sign(scene: VqaScene) -> QaPair:
    question = "What should the ego vehicle do based on the stop sign?"
    sign = scene.stop_sign
    if sign is None:
        cleared = "The ego vehicle was affected by a stop sign, which has already been cleared."
        answer = cleared if is_stop_sign_cleared(scene) else "There is no stop sign affecting the ego vehicle."
        return scene.ask((1, 1), question, answer)
    follows = _follows_another(scene, sign.distance)
    if follows is None:
        answer = "The stop sign is too far away to affect the ego vehicle."
    else:
        behind = " and stay behind other vehicles that are standing at the stop sign" if follows else ""
        answer = f"The ego vehicle should {_stop_text(scene, 'stop sign')}{behind}."
    return scene.ask((1, 1), question, answer, scene.tags_of(sign))
