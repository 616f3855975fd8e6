"""Checkpoint directories of SimLingo-Base: written like those of SimLingo, without tokenizer."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driving.files import write_json
from simlingo_base_training.images import PaddedTiles
from simlingo_base_training.model import SimLingoBase, read_backbone
from simlingo_training.config import BaseModelSettings
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.released import Tensors

KIND = "simlingo_base"


@dataclass
class BaseCheckpoint:
    """A SimLingo-Base model with its settings; written like a SimLingo checkpoint, without tokenizer."""

    model: SimLingoBase
    settings: BaseModelSettings
    cut_bonnet: bool = True
    meta: dict[str, Any] | None = None

    @property
    def tiles(self) -> PaddedTiles:
        """How its images are tiled."""
        return PaddedTiles(tile_px=self.model.tile_px, equalise=self.settings.equalise)

    def save(self, folder: str | os.PathLike[str], tensors: Tensors | None = None) -> Path:
        """Write a checkpoint directory; ``tensors`` are the weights where the model holds a part of them only."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        write_json(target / "config.json", read_backbone(self.settings.backbone))
        return checkpoints.write(
            target, KIND, tensors or self.model.state_dict(), self.settings, self.cut_bonnet, self.meta
        )


def load(folder: str | os.PathLike[str]) -> BaseCheckpoint:
    """Load a SimLingo-Base checkpoint directory, in eval mode.

    Raises:
        simlingo_training.models.checkpoint.CheckpointError: If it is incomplete, of another kind, or does not fit.
    """
    record, settings = checkpoints.read_settings(folder, KIND, BaseModelSettings)
    # A folder's bare name could be that of a packaged backbone.
    settings = replace(settings, backbone=str(Path(folder).absolute()))
    model = SimLingoBase(settings)
    checkpoints.load_weights(model, checkpoints.read_tensors(Path(folder) / checkpoints.WEIGHTS), str(folder))
    return BaseCheckpoint(model.eval(), settings, bool(record.get("cut_bonnet", True)), record.get("meta"))
