"""Weights of a pre-trained backbone from a local folder or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from driving.files import read_json
from simlingo_training.models.checkpoint import CheckpointError, read_tensors
from simlingo_training.models.released import compare_keys, from_original_backbone
from simlingo_training.models.simlingo import SimLingo

OWN_PARTS = ("heads.", "point_encoder.", "query_numbers.", "lora_")
"""Parts of a model that no backbone has; they keep their random values."""


def backbone_folder(source: str) -> Path:
    """A local folder, or the downloaded snapshot of a hub model (safetensors files only).

    Raises:
        CheckpointError: If there are no safetensors files.
    """
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source, allow_patterns=["*.safetensors", "*.json"]))
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder}: no safetensors files; a backbone with pickled weights is not loaded")
    return folder


def load_backbone(model: SimLingo, source: str) -> None:
    """Copy backbone weights into a model, whatever layout they have: InternVL's own or transformers'.

    A backbone that ties its output layer to the embedding table gets two equal copies.

    Raises:
        CheckpointError: If tensors are missing, left over or of another shape.
    """
    found: dict[str, torch.Tensor] = {}
    folder = backbone_folder(source)
    for path in sorted(folder.glob("*.safetensors")):
        found.update(read_tensors(path))
    if any(name.startswith("vision_model.") for name in found):
        renamed = from_original_backbone(found, decoder_values(folder))
    else:
        renamed = {f"backbone.vlm.{name}": tensor for name, tensor in found.items()}
    wanted = model.state_dict()
    fitted = {}
    for name, tensor in renamed.items():
        adapted = ".base_layer.".join(name.rsplit(".", 1))
        fitted[adapted if adapted in wanted else name] = tensor.to(torch.float32)
    head, table = "backbone.vlm.lm_head.weight", name_of(model, model.backbone.embedding().weight)
    if head not in fitted and table in fitted:
        fitted[head] = fitted[table]
    backbone_only = {name: t for name, t in wanted.items() if not any(part in name for part in OWN_PARTS)}
    report = compare_keys(fitted, backbone_only)
    if not report.fits:
        raise CheckpointError(report.explain(source))
    model.load_state_dict(fitted, strict=False)


def decoder_values(folder: Path) -> dict[str, Any]:
    """Configuration of the decoder in InternVL's original layout; empty where the folder has weights only."""
    return read_json(folder / "config.json").get("llm_config", {}) if (folder / "config.json").is_file() else {}


def name_of(model: SimLingo, wanted: torch.Tensor) -> str:
    """Name of a parameter in the state of a model."""
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)
