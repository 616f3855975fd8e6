"""The three losses of SimLingo, as functions of predictions and labels."""

from __future__ import annotations

import torch
from torch.nn import functional

from simlingo_training.data.collate import Batch
from simlingo_training.models.simlingo import ModelOutput


def point_loss(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Smooth L1 (turning point 1 m), summed over x and y.

    Args:
        prediction, label: (B, F, 2), metres.

    Returns:
        (B, F) per point; its mean is the loss term.
    """
    return functional.smooth_l1_loss(prediction.float(), label.float(), reduction="none").sum(-1)


def token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (n,) of n supervised positions; logits (n, V), targets (n,)."""
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def loss_terms(output: ModelOutput, batch: Batch) -> dict[str, torch.Tensor]:
    """The loss terms of a batch, unweighted: ``route_loss``, ``speed_wps_loss``, ``language_loss``."""
    terms = {"speed_wps_loss": point_loss(output.speed_waypoints, batch.waypoints).mean()}
    if output.path is not None:
        terms["route_loss"] = point_loss(output.path, batch.path).mean()
    terms["language_loss"] = token_loss(output.logits, batch.inputs.targets).mean()
    return terms
