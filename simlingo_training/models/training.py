"""The Lightning shell around the network: steps, optimiser, logging. Losses, metrics and schedules live elsewhere."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn

from simlingo_training.config import TrainSettings
from simlingo_training.data.collate import Batch
from simlingo_training.evaluation.openloop import OpenLoopReport, table
from simlingo_training.models.losses import loss_terms
from simlingo_training.models.schedule import RunProgress, make_optimizer, make_scheduler
from simlingo_training.models.simlingo import ModelOutput

log = logging.getLogger(__name__)


class SimLingoTraining(pl.LightningModule):
    """Trains and validates a `SimLingo` network."""

    def __init__(self, model: nn.Module, settings: TrainSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.report = OpenLoopReport()
        self.last_summary: dict[str, dict[str, float]] = {}
        self.progress: RunProgress | None = None

    def forward(self, batch: Batch) -> ModelOutput:
        """Teacher-forced pass."""
        output: ModelOutput = self.model(batch.inputs)
        return output

    def terms(self, output: ModelOutput, batch: Batch) -> dict[str, torch.Tensor]:
        """Loss terms before weighting."""
        return loss_terms(output, batch)

    def weighted_loss(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the terms times their weights."""
        optim = self.settings.optim
        weights = {
            "route_loss": optim.path_weight,
            "speed_wps_loss": optim.speed_weight,
            "language_loss": optim.language_weight,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """One batch; logs total and terms."""
        if self.progress is not None:
            self.progress.start()
        terms = self.terms(self(batch), batch)
        loss = self.weighted_loss(terms)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        for name, term in {**terms, "loss": loss}.items():
            self.log(f"train_losses/{name}", term.detach(), batch_size=len(batch))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """End the run when its time is over."""
        if self.progress is not None and self.progress.is_over:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Forget the errors of the last validation."""
        self.report = OpenLoopReport()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Losses and open-loop errors of one batch."""
        output = self(batch)
        terms = self.terms(output, batch)
        loss = self.weighted_loss(terms)
        self.log("val/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch))
        for name, term in {**terms, "loss": loss}.items():
            self.log(f"val_losses/{name}", term, sync_dist=True, batch_size=len(batch))
        self.report.add(
            None if output.path is None else numpy(output.path),
            numpy(output.speed_waypoints),
            numpy(batch.path),
            numpy(batch.waypoints),
            numpy(batch.speed),
            batch.tasks,
            batch.buckets,
        )

    def on_validation_epoch_end(self) -> None:
        """Log and print the errors beside those of the constant-speed straight predictor."""
        summary = self.report.summary()
        if not summary or self.trainer.sanity_checking:
            return
        self.last_summary = summary
        for group, values in summary.items():
            for name, value in values.items():
                prefix = "val_openloop" if group == "model" else f"val_openloop_{group}"
                self.log(f"{prefix}/{name}", value, sync_dist=True)
        log.info("validation after step %d (%d samples)\n%s", self.global_step, len(self.report), table(summary))

    def configure_optimizers(self) -> Any:
        """AdamW with the one-cycle schedule, stepped every optimiser step."""
        optim, trainer = self.settings.optim, self.settings.trainer
        self.progress = RunProgress(int(self.trainer.estimated_stepping_batches), trainer.max_minutes)
        optimizer = make_optimizer(self.model.named_parameters(), optim)
        scheduler = make_scheduler(optimizer, optim, self.progress)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_index: int) -> Batch:
        """Move a batch; Lightning does not know its type."""
        return batch.to(device)


def numpy(tensor: torch.Tensor) -> NDArray[np.float64]:
    """To a float64 array on the host."""
    return tensor.detach().float().cpu().numpy().astype(np.float64)
