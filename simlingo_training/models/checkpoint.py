"""Self-contained checkpoint directories.

A directory holds ``model.safetensors`` (weights), ``config.yaml`` (kind, architecture, tiling), ``config.json`` (the
backbone's sizes) and ``tokenizer.json``. Nothing else is needed to drive with it, and nothing in it is executed.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from driving.files import write_json, write_text
from simlingo_training.config import ModelSettings
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.models.backbone import backbone_values, override
from simlingo_training.models.folder import WEIGHTS as WEIGHTS
from simlingo_training.models.folder import CheckpointError as CheckpointError
from simlingo_training.models.folder import read_config as read_config
from simlingo_training.models.released import Tensors, compare_keys, from_released
from simlingo_training.models.simlingo import SimLingo

S = TypeVar("S")

FORMAT = 1

DEEPSPEED_FILE = Path("checkpoint") / "mp_rank_00_model_states.pt"


@dataclass
class Checkpoint:
    """A model with all that is needed to use it.

    Attributes:
        model: Network, in eval mode.
        settings: Architecture.
        tokenizer: Text to ids.
        cut_bonnet: Whether the model was trained on images without the bonnet rows.
        meta: Free record of the run: step, metrics.
    """

    model: SimLingo
    settings: ModelSettings
    tokenizer: ChatTokenizer
    cut_bonnet: bool = True
    meta: dict[str, Any] | None = None

    def save(self, folder: str | os.PathLike[str], tensors: Tensors | None = None) -> Path:
        """Write a checkpoint directory; see `save`."""
        return save(self, folder, tensors)


def build(settings: ModelSettings) -> Checkpoint:
    """A fresh model with its tokenizer.

    Raises:
        CheckpointError: If the tokenizer has more ids than the backbone's embedding table has rows.
    """
    tokenizer = ChatTokenizer.load(settings.tokenizer)
    model = SimLingo(settings, tokenizer.image_token, tokenizer.point_token)
    if tokenizer.end_token >= model.backbone.vocabulary or tokenizer.image_token >= model.backbone.vocabulary:
        raise CheckpointError(
            f"tokenizer {settings.tokenizer!r} uses ids up to {tokenizer.image_token} but backbone "
            f"{settings.backbone!r} has {model.backbone.vocabulary} rows; choose the tokenizer of that backbone"
        )
    return Checkpoint(model.eval(), settings, tokenizer)


def save(checkpoint: Checkpoint, folder: str | os.PathLike[str], tensors: Tensors | None = None) -> Path:
    """Write a checkpoint directory; weights are renamed into place last, so a directory with weights is complete.

    ``tensors`` are the weights where the model itself holds a part of them only, as when they are divided among devices.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    checkpoint.tokenizer.save(target)
    source = checkpoint.settings
    write_json(target / "config.json", override(backbone_values(source.backbone), source.overrides))
    plain = replace(source, pretrained=False, overrides={})
    weights = tensors or checkpoint.model.state_dict()
    return write(target, "simlingo", weights, plain, checkpoint.cut_bonnet, checkpoint.meta)


def write(
    target: Path, kind: str, weights: Tensors, settings: Any, cut_bonnet: bool, meta: dict[str, Any] | None
) -> Path:
    """Write ``config.yaml`` and the weights of any kind of model into a directory."""
    record = {
        "format": FORMAT,
        "kind": kind,
        "cut_bonnet": cut_bonnet,
        "model": OmegaConf.to_container(OmegaConf.structured(settings)),
        "meta": meta or {},
    }
    write_text(target / "config.yaml", yaml.safe_dump(record, sort_keys=False))
    partial = target / f".{WEIGHTS}.tmp"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, str(partial), metadata={"format": "pt"})
    partial.replace(target / WEIGHTS)
    return target


def read_settings(folder: str | os.PathLike[str], kind: str, schema: type[S]) -> tuple[dict[str, Any], S]:
    """Read ``config.yaml`` and the architecture in it.

    Raises:
        CheckpointError: If the directory is none, or holds another kind of model.
    """
    record = read_config(folder)
    if record["kind"] != kind:
        raise CheckpointError(f"{folder}: expected a checkpoint of kind {kind!r}, got {record['kind']!r}")
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), record["model"]))
    assert isinstance(settings, schema)
    return record, settings


def load(folder: str | os.PathLike[str]) -> Checkpoint:
    """Load a SimLingo checkpoint directory.

    Raises:
        CheckpointError: If the directory is incomplete, damaged, of another kind, or its weights do not fit; the message
            names missing and unexpected tensors.
    """
    record, settings = read_settings(folder, "simlingo", ModelSettings)
    # A folder's bare name could be that of a packaged backbone.
    place = str(Path(folder).absolute())
    settings = replace(settings, backbone=place, tokenizer=place)
    checkpoint = build(settings)
    load_weights(checkpoint.model, read_tensors(Path(folder) / WEIGHTS), str(folder))
    checkpoint.cut_bonnet = bool(record.get("cut_bonnet", True))
    checkpoint.meta = record.get("meta")
    return checkpoint


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file. Raises CheckpointError if it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; the checkpoint is incomplete")
    try:
        return load_file(str(path))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: damaged or no safetensors file: {error}") from error


def read_released(source: Path) -> dict[str, torch.Tensor]:
    """Tensors of a released checkpoint, published names.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds more than tensors.
    """
    path = source / DEEPSPEED_FILE if source.is_dir() else source
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected pytorch_model.pt, a safetensors file or a DeepSpeed folder"
        )
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: damaged, or holds more than tensors, which is refused: {error}") from error
    tensors = content.get("module", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, got other values too")
    return dict(tensors)


def initialise(
    model: torch.nn.Module,
    source: str | os.PathLike[str],
    rename: Callable[[Tensors], dict[str, torch.Tensor]] = from_released,
) -> None:
    """Start from the weights of a checkpoint directory or of what `read_released` reads.

    Args:
        model: Takes the weights.
        source: Directory or file.
        rename: Turns released names into those of the model.

    Raises:
        CheckpointError: If there is none at ``source`` or it does not fit.
    """
    path = Path(source)
    if path.is_dir() and not (path / DEEPSPEED_FILE).is_file():
        load_weights(model, read_tensors(path / WEIGHTS), str(source))
        return
    renamed = {name: tensor.float() for name, tensor in rename(read_released(path)).items()}
    load_weights(model, renamed, str(source))


def load_weights(model: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copy weights into a model after checking every name and shape.

    Raises:
        CheckpointError: Naming what is missing, unexpected or of another shape, and what that usually means.
    """
    report = compare_keys(tensors, model.state_dict())
    if not report.fits:
        raise CheckpointError(report.explain(source))
    model.load_state_dict(tensors)
