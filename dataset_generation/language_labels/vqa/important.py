"""The first question: what is important in the scene (0,0). Asked last, when all families have named their objects."""

from __future__ import annotations

from dataset_generation.language_labels.profiles import Correction
from dataset_generation.language_labels.vqa.scene import VqaScene
from driving.label_records import QaPair

PLACE = " to the "
DISTANCE_WORDS = (" nearby", " far")


def ask_about_important_objects(scene: VqaScene) -> list[QaPair]:
    """One pair that lists the important objects, grouped by place."""
    question = "What are the important objects in the scene?"
    tags = list(scene.key_objects)
    names = merged(scene.important, plural_before_distance=scene.corrects(Correction.PLURALS))
    slots = {"<OBJECTS>": listed(names)}
    if not scene.important:
        answer = "There are no important objects in the scene."
    elif len(scene.important) == 1:
        answer = "The important object in the scene is<OBJECTS>."
    else:
        answer = "The important objects in the scene are<OBJECTS>."
    return [scene.ask((0, 0), question, answer, tags, slots)]


def merged(names: list[str], plural_before_distance: bool) -> list[str]:
    """Join objects at the same place: names without a place first, then one entry per place.

    Args:
        names: E.g. ``the red car nearby to the front of the ego vehicle``.
        plural_before_distance: Whether two of these are ``2 red cars nearby`` rather than ``2 red car nearbys``.
    """
    kept = [name for name in names if PLACE not in name]
    groups: dict[str, dict[str, int]] = {}
    for name in names:
        thing, found, place = name.partition(PLACE)
        if found:
            counts = groups.setdefault(place, {})
            thing = thing.removeprefix("the ")
            counts[thing] = counts.get(thing, 0) + 1
    for place, counts in groups.items():
        items = [
            f"the {thing}" if count == 1 else f"the {count} {_plural(thing, plural_before_distance)}"
            for thing, count in counts.items()
        ]
        start = ", ".join(items[:-1])
        kept.append((f"{start} and " if start else "") + f"{items[-1]}{PLACE}{place}")
    return kept


def _plural(thing: str, before_distance: bool) -> str:
    if before_distance:
        for word in DISTANCE_WORDS:
            if thing.endswith(word):
                return f"{thing.removesuffix(word)}s{word}"
    return f"{thing}s"


def listed(names: list[str]) -> str:
    """Names as `` a, b and c``, with a leading space."""
    if len(names) < 2:
        return "".join(f" {name}" for name in names)
    return ",".join(f" {name}" for name in names[:-1]) + f" and {names[-1]}"
