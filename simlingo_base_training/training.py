"""Training SimLingo-Base with the loop, data and checkpoints of SimLingo."""

from __future__ import annotations

from simlingo_base_training.checkpoint import BaseCheckpoint
from simlingo_base_training.checkpoint import load as load
from simlingo_base_training.model import SimLingoBase, base_losses
from simlingo_base_training.released import from_released
from simlingo_training.config import TrainSettings
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.data.collate import Batch
from simlingo_training.data.module import SimLingoData
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.losses import SampleLosses
from simlingo_training.models.simlingo import ModelOutput
from simlingo_training.models.training import SimLingoTraining


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
