"""The text that agents get as their configuration: under Bench2Drive's rules ``<configuration>+<save name>``."""

from __future__ import annotations

import os


def split_save_name(text: str) -> tuple[str, str]:
    """Take the name of the route's output folder off an agent's configuration text.

    Args:
        text: What `AutonomousAgent.setup` gets. The configuration is often a path, and paths may hold a ``+`` too.

    Returns:
        The configuration and the save name, which may be empty: the longest part before a ``+`` (or the whole text) that
        exists as a path, else what stands before the last ``+``.
    """
    if os.path.exists(text):
        return text, ""
    places = [index for index, letter in enumerate(text) if letter == "+"]
    if not places:
        return text, ""
    end = next((place for place in reversed(places) if os.path.exists(text[:place])), places[-1])
    return text[:end], text[end + 1 :]
