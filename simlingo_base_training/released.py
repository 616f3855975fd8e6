"""Names of the published SimLingo-Base modules and of this package's, both ways."""

from __future__ import annotations

from collections.abc import Mapping

import torch

RENAMES = (
    ("vision_model.temporal_encoding", "temporal_encoding"),
    ("vision_model.camera_encoding", "camera_encoding"),
    ("vision_model.image_encoder.image_newline", "image_newline"),
    ("vision_model.image_encoder.vision_tower.vision_model.", "vision_tower."),
    ("vision_model.image_encoder.multi_modal_projector.linear_1.", "projector.0."),
    ("vision_model.image_encoder.multi_modal_projector.linear_2.", "projector.2."),
    ("vision_model.projection.", "feature_projection."),
    ("language_model.model.", "decoder."),
    ("adaptors.driving.query_embeds_wps", "heads.path_queries"),
    ("adaptors.driving.query_embeds_speed", "heads.speed_queries"),
    ("adaptors.driving.route_head.", "heads.path_head."),
    ("adaptors.driving.speed_wps_head.", "heads.speed_head."),
)
"""Published prefix to ours; other names are equal."""


def from_released(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename published tensors to this package's names."""
    return {_rename(name, RENAMES): tensor for name, tensor in tensors.items()}


def to_released(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `from_released`."""
    back = tuple((new, old) for old, new in RENAMES)
    return {_rename(name, back): tensor for name, tensor in tensors.items()}


def _rename(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for old, new in table:
        if name == old or (old.endswith(".") and name.startswith(old)):
            return new + name.removeprefix(old)
    return name
