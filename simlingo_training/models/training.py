"""The Lightning shell around the network: steps, optimiser, logging. Losses, metrics and schedules live elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import distributed, nn

from simlingo_training.config import TrainSettings
from simlingo_training.data.collate import Batch
from simlingo_training.evaluation.openloop import OpenLoopReport, table
from simlingo_training.models.attention import attention_kernel
from simlingo_training.models.flops import training_flops
from simlingo_training.models.losses import ObjectHead, SampleLosses, sample_losses
from simlingo_training.models.master import MasterWeights
from simlingo_training.models.schedule import RunProgress, make_optimizer, make_scheduler
from simlingo_training.models.sharding import shard
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
        self.curves = TaskCurves()
        self.object_head = make_object_head(model, settings)
        self._logged = 0
        self._is_divided = False
        self._spent = 0.0

    def forward(self, batch: Batch) -> ModelOutput:
        """Teacher-forced pass."""
        with attention_kernel(self.settings.trainer.attention_kernel):
            output: ModelOutput = self.model(batch.inputs)
        return output

    def configure_model(self) -> None:
        """Divide the model among devices where the strategy asks for it."""
        if self.device_mesh is not None and not self._is_divided:
            narrow = self.settings.trainer.precision == "bf16-master" and self.device.type == "cuda"
            shard(self.model, self.device_mesh["data_parallel"], narrow)
            self._is_divided = True

    def losses(self, output: ModelOutput, batch: Batch) -> SampleLosses:
        """Losses of each sample before averaging and weighting."""
        losses = sample_losses(output, batch, self.settings.optim.turning_point_m)
        if self.object_head is not None and output.visual is not None and batch.objects is not None:
            losses.points["object_loss"] = self.object_head.losses(output.visual, batch.objects)
        return losses

    def flops(self, batch: Batch) -> float | None:
        """Operations of a step on a batch, None where they are not counted."""
        return training_flops(self.model, batch.inputs)  # type: ignore[arg-type]

    def weighted_loss(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the terms times their weights."""
        optim = self.settings.optim
        weights = {
            "route_loss": optim.path_weight,
            "speed_wps_loss": optim.speed_weight,
            "language_loss": optim.language_weight,
            "object_loss": optim.object_weight,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """One batch; logs total and terms."""
        self._take_time()
        losses = self.losses(self(batch), batch)
        terms = losses.terms()
        self.curves.add(losses, batch.tasks)
        loss = self.weighted_loss(terms)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        for name, term in {**terms, "loss": loss}.items():
            self.log(f"train_losses/{name}", term.detach(), batch_size=len(batch))
        return loss

    def _take_time(self) -> None:
        """Start the clock of a time budget, and let all processes go by that of the first."""
        if self.progress is None:
            return
        self.progress.start()
        if self.progress.seconds is not None and self.trainer.world_size > 1:
            self.progress.agree(float(self.trainer.strategy.broadcast(self.progress.spent)))

    def on_fit_start(self) -> None:
        """Train no step more when a resumed run had used up its time."""
        if self.progress is not None and self.progress.is_over:
            self.trainer.should_stop = True

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Bound the norm of the gradients; masters do so themselves, without rounding narrow gradients once more."""
        if isinstance(optimizer, MasterWeights) and gradient_clip_val:
            optimizer.clip(gradient_clip_val)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Log the losses of each task; end the run when its time is over."""
        step = self.trainer.global_step
        if step % self.trainer.log_every_n_steps == 0 and step != self._logged:  # type: ignore[attr-defined]
            self._logged = step
            means = self.curves.take()
            for logger in self.loggers:
                logger.log_metrics(means, step=step - 1)
        if self.progress is not None and self.progress.is_over:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Forget the errors of the last validation."""
        self.report = OpenLoopReport()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Losses and open-loop errors of one batch."""
        output = self(batch)
        terms = self.losses(output, batch).terms()
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
        summary = gathered(self.report).summary()
        if not summary or self.trainer.sanity_checking:
            return
        self.last_summary = summary
        for group, values in summary.items():
            for name, value in values.items():
                prefix = "val_openloop" if group == "model" else f"val_openloop_{group}"
                self.log(f"{prefix}/{name}", value)
        log.info("validation after step %d (%d samples)\n%s", self.global_step, len(self.report), table(summary))

    def configure_optimizers(self) -> Any:
        """AdamW with the one-cycle schedule, stepped every optimiser step."""
        optim, trainer = self.settings.optim, self.settings.trainer
        steps = self.trainer.estimated_stepping_batches
        self.progress = RunProgress(steps, trainer.max_minutes, before=self._spent)
        # Lightning clips no gradients for fused optimisers under autocast, because these could undo a loss scale themselves.
        is_mixed = isinstance(self.trainer.precision_plugin, MixedPrecision)
        optimizer = make_optimizer(self.named_parameters(), replace(optim, fused=optim.fused and not is_mixed))
        scheduler = make_scheduler(optimizer, optim, self.progress)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember how much of a time budget is used up."""
        checkpoint["seconds_spent"] = self.progress.spent if self.progress is not None else 0.0

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Undo `on_save_checkpoint`; the optimiser is made before or afterwards, as the strategy likes."""
        self._spent = float(checkpoint.get("seconds_spent", 0.0))
        if self.progress is not None:
            self.progress.before = self._spent

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_index: int) -> Batch:
        """Move a batch; Lightning does not know its type."""
        return batch.to(device)


def make_object_head(model: nn.Module, settings: TrainSettings) -> ObjectHead | None:
    """What predicts the maps of what is to be seen, None where the settings ask for none.

    Raises:
        ValueError: For a network without visual tokens on a grid, tiles with a thumbnail, which has no map, and a strategy that
            divides the network among devices.
    """
    cells = settings.data.object_cells
    if not cells:
        return None
    if settings.kind != "simlingo" or settings.trainer.strategy == "fsdp2":
        raise ValueError(
            "data.object_cells is for kind=simlingo and not for trainer.strategy=fsdp2; set data.object_cells=0"
        )
    if settings.model.tiles.thumbnail:
        raise ValueError("data.object_cells needs tiles without thumbnail; set model.tiles.thumbnail=false")
    return ObjectHead(model.backbone.width, cells)  # type: ignore[union-attr,arg-type]


class TaskCurves:
    """Losses of each task since they were last taken."""

    def __init__(self) -> None:
        self._losses: list[SampleLosses] = []
        self._tasks: list[Sequence[str]] = []

    def add(self, losses: SampleLosses, tasks: Sequence[str]) -> None:
        """Remember the losses of a batch; nothing is copied from the device yet."""
        points = {name: values.detach() for name, values in losses.points.items()}
        self._losses.append(SampleLosses(points, losses.tokens.detach(), losses.rows))
        self._tasks.append(tasks)

    def take(self) -> dict[str, float]:
        """``train_tasks/<task>/<loss>`` to its mean, and forget. Points count by sample, words by token."""
        found: dict[str, list[NDArray[np.float64]]] = {}
        for losses, tasks in zip(self._losses, self._tasks):
            names = np.array(tasks)
            columns = {name: (numpy(values), names) for name, values in losses.points.items()}
            if len(losses.tokens):
                columns["language_loss"] = numpy(losses.tokens), names[losses.rows.cpu().numpy()]
            for loss, (values, owners) in columns.items():
                for task in set(tasks):
                    found.setdefault(f"train_tasks/{task}/{loss}", []).append(values[owners == task])
        self._losses, self._tasks = [], []
        joined = {name: np.concatenate(parts) for name, parts in sorted(found.items())}
        return {name: float(values.mean()) for name, values in joined.items() if len(values)}


def gathered(report: OpenLoopReport) -> OpenLoopReport:
    """The errors of all processes together, on each of them."""
    if not distributed.is_available() or not distributed.is_initialized():
        return report
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, report)
    result = OpenLoopReport()
    for part in parts:
        result.extend(part)
    return result


def numpy(tensor: torch.Tensor) -> NDArray[np.float64]:
    """To a float64 array on the host."""
    return tensor.detach().float().cpu().numpy().astype(np.float64)
