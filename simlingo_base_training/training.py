"""Training SimLingo-Base with the loop, data and checkpoints of SimLingo."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driving.files import write_json
from simlingo_base_training.images import PaddedTiles
from simlingo_base_training.model import SimLingoBase, base_losses, read_backbone
from simlingo_base_training.released import from_released
from simlingo_training.config import BaseModelSettings, TrainSettings
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.data.collate import Batch
from simlingo_training.data.module import SimLingoData
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.losses import SampleLosses
from simlingo_training.models.released import Tensors
from simlingo_training.models.simlingo import ModelOutput
from simlingo_training.models.training import SimLingoTraining

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
    settings = replace(settings, backbone=str(folder))
    model = SimLingoBase(settings)
    checkpoints.load_weights(model, checkpoints.read_tensors(Path(folder) / checkpoints.WEIGHTS), str(folder))
    return BaseCheckpoint(model.eval(), settings, bool(record.get("cut_bonnet", True)), record.get("meta"))


class BaseTraining(SimLingoTraining):
    """The training module with this network's inputs and losses."""

    def forward(self, batch: Batch) -> ModelOutput:
        """Predict path and waypoints of a batch."""
        output: ModelOutput = self.model(batch.inputs.tiles, batch.speed, batch.inputs.target_points)
        return output

    def losses(self, output: ModelOutput, batch: Batch) -> SampleLosses:
        """Squared distances of path and waypoints."""
        points = base_losses(output, batch.path, batch.waypoints)
        return SampleLosses(points, output.token_losses, batch.inputs.supervised[0, :0])

    def flops(self, batch: Batch) -> float | None:
        """Not counted for this network."""
        return None


def base_recipe(settings: TrainSettings) -> tuple[BaseCheckpoint, SimLingoData, BaseTraining]:
    """What a SimLingo-Base run trains, on what, and how.

    Raises:
        FileNotFoundError, ValueError: If backbone or initial weights are missing or do not fit.
    """
    model = SimLingoBase(settings.base)
    if settings.init_from:
        checkpoints.initialise(model, settings.init_from, from_released)
    checkpoint = BaseCheckpoint(model.train(), settings.base, settings.data.cut_bonnet)
    # Prompts are not read by this network; the small tokenizer keeps one data pipeline for both models.
    words = ChatTokenizer.load("packaged")
    data = SimLingoData(settings.data, checkpoint.tiles, words, tokens_per_tile=0, seed=settings.seed)
    return checkpoint, data, BaseTraining(model, settings)
