"""An exponential moving average of the trained weights, validated and stored in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn


class WeightAverage(pl.Callback):
    """Averages the trained weights after every optimiser step and puts the average in their place while validating.

    The average starts as the weights themselves; the decay grows to its value as (1 + step) / (10 + step), so that the random
    start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._model = model
        self._average: list[torch.Tensor] = []
        self._stored: list[torch.Tensor] | None = None
        self._steps = 0

    @property
    def _trained(self) -> list[torch.Tensor]:
        return [parameter.data for parameter in self._model.parameters() if parameter.requires_grad]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are now, or with what a resumed run had."""
        self._average = [weight.float().clone() for weight in self._trained]
        if self._stored is not None:
            for mine, stored in zip(self._average, self._stored, strict=True):
                mine.copy_(stored)
            self._stored = None

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move the average towards the weights, once for each optimiser step."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._average, [weight.float() for weight in self._trained], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model inside the block."""
        kept = [weight.clone() for weight in self._trained]
        torch._foreach_copy_(self._trained, self._average)
        try:
            yield
        finally:
            torch._foreach_copy_(self._trained, kept)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        if self._average:
            self._applied = self.applied()
            self._applied.__enter__()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train on with the weights themselves."""
        if self._average:
            self._applied.__exit__(None, None, None)

    def state_dict(self) -> dict[str, Any]:
        """The average, for resuming."""
        return {"average": self._average, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`; the weights' places are known when fitting starts."""
        self._stored, self._steps = state_dict["average"], state_dict["steps"]
