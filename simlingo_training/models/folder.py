"""What can be told of a checkpoint directory without its network: reading it takes milliseconds, importing networks seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

WEIGHTS = "model.safetensors"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or made for another model."""


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``config.yaml`` of a checkpoint directory.

    Raises:
        CheckpointError: If the directory is none, or its configuration does not parse.
    """
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: expected a checkpoint directory with config.yaml, {WEIGHTS} and tokenizer.json; a released "
            "pytorch_model.pt is turned into one by: python -m simlingo_training.convert"
        )
    try:
        record = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(record, dict) or "model" not in record or "kind" not in record:
        raise CheckpointError(f"{path}: expected the keys format, kind and model")
    return record
