"""Reads attributes of blueprints: text, which clients write in several ways."""

from __future__ import annotations

from collections.abc import Mapping

_ON = frozenset({"true", "yes", "on"})


def is_on(attributes: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Whether a switch is on: ``true``, ``yes`` or ``on`` in any case, or a number but 0, as Unreal reads them.

    Python's ``str(True)``, which CARLA's own examples set, begins with a capital; the client hands it on as it is.
    """
    text = attributes.get(name, str(default)).strip().lower()
    try:
        return text in _ON or float(text) != 0.0
    except ValueError:
        return False
