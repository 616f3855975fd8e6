"""The families of vision-language models that SimLingo can stand on, by the ``model_type`` of their configuration.

Another family is a class with the six methods of `Backbone` and a row here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from transformers import PretrainedConfig

from simlingo_training.config import ModelSettings
from simlingo_training.models.backbone import (
    Backbone,
    InternVLBackbone,
    backbone_values,
    native_config,
    override,
    scatter_positions,
)
from simlingo_training.models.smolvlm import SmolVLMBackbone, smolvlm_config


def build_internvl(config: Any) -> Backbone:
    """InternVL with small random positions."""
    backbone = InternVLBackbone(config)
    scatter_positions(backbone)
    return backbone


FAMILIES: dict[str, tuple[Callable[[Mapping[str, Any]], PretrainedConfig], Callable[[Any], Backbone]]] = {
    "internvl_chat": (native_config, build_internvl),
    "internvl": (native_config, build_internvl),
    "smolvlm": (smolvlm_config, SmolVLMBackbone),
}
"""``model_type`` to how its configuration is read and the backbone built."""


def build_backbone(settings: ModelSettings) -> Backbone:
    """Build the backbone with random weights, in the default dtype.

    Raises:
        FileNotFoundError: If there is no such backbone.
        ValueError: If it is of a family that is not in `FAMILIES`.
    """
    values = override(backbone_values(settings.backbone), settings.overrides)
    kind = str(values.get("model_type"))
    if kind not in FAMILIES:
        close = difflib.get_close_matches(kind, FAMILIES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{settings.backbone}: model_type {kind!r} is none of {sorted(FAMILIES)}{hint}")
    read, build = FAMILIES[kind]
    config = read(values)
    config._attn_implementation = settings.attention
    return build(config)
