"""The three losses of SimLingo, as functions of predictions and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from simlingo_training.data.collate import Batch
    from simlingo_training.models.simlingo import ModelOutput


def point_loss(prediction: torch.Tensor, label: torch.Tensor, turning_point_m: float = 1.0) -> torch.Tensor:
    """Smooth L1, summed over x and y.

    Args:
        prediction, label: (B, F, 2), metres.
        turning_point_m: Where the loss turns from a parabola into a line, metres.

    Returns:
        (B, F) per point; its mean is the loss term.
    """
    loss = functional.smooth_l1_loss(prediction.float(), label.float(), reduction="none", beta=turning_point_m)
    return loss.sum(-1)


def token_losses(states: torch.Tensor, scores: nn.Linear, targets: torch.Tensor, chunk: int = 256) -> torch.Tensor:
    """Cross-entropy of the tokens behind supervised positions.

    The scores of all positions over the vocabulary would be the largest tensor of a step, several times over. They are made
    for a few positions at a time and again in the backward pass, which costs a thousandth of the step.

    Args:
        states: (n, D) hidden states that predict.
        scores: Layer that gives V scores.
        targets: (n,) token ids.
        chunk: Positions at a time.

    Returns:
        (n,) float32.
    """
    parts = [
        checkpoint(_cross_entropy, some, scores, wanted, use_reentrant=False, preserve_rng_state=False)
        for some, wanted in zip(states.split(chunk), targets.split(chunk))
    ]
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def _cross_entropy(states: torch.Tensor, scores: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(scores(states).float(), targets, reduction="none")


@dataclass(frozen=True)
class SampleLosses:
    """Losses of a batch before averaging.

    Attributes:
        points: ``route_loss`` and ``speed_wps_loss`` to (B,), mean over the points of each sample.
        tokens: (n,) of every supervised token; empty where there is no text.
        rows: (n,) the sample each of them belongs to.
    """

    points: dict[str, torch.Tensor]
    tokens: torch.Tensor
    rows: torch.Tensor

    def terms(self) -> dict[str, torch.Tensor]:
        """The loss terms of the batch: points averaged over samples, tokens over tokens; without tokens no such term."""
        terms = {name: values.mean() for name, values in self.points.items()}
        if len(self.tokens):
            terms["language_loss"] = self.tokens.mean()
        return terms


def sample_losses(output: ModelOutput, batch: Batch, turning_point_m: float = 1.0) -> SampleLosses:
    """The losses of a batch, unweighted; ``turning_point_m`` as in `point_loss`."""
    points = {"speed_wps_loss": point_loss(output.speed_waypoints, batch.waypoints, turning_point_m).mean(1)}
    if output.path is not None:
        points["route_loss"] = point_loss(output.path, batch.path, turning_point_m).mean(1)
    return SampleLosses(points, output.token_losses, batch.inputs.supervised[0])


def loss_terms(output: ModelOutput, batch: Batch) -> dict[str, torch.Tensor]:
    """The loss terms of a batch, unweighted: ``route_loss``, ``speed_wps_loss``, ``language_loss``."""
    return sample_losses(output, batch).terms()
