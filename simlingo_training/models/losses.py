"""The three losses of SimLingo, as functions of predictions and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from simlingo_training.data.objects import WEIGHTS

if TYPE_CHECKING:
    from simlingo_training.data.collate import Batch, ObjectBatch
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
    for a few positions at a time: once, where the layer is frozen, and their gradient with them; else again in the backward
    pass.

    Args:
        states: (n, D) hidden states that predict.
        scores: Layer that gives V scores.
        targets: (n,) token ids.
        chunk: Positions at a time.

    Returns:
        (n,) float32.
    """
    weight = scores.weight
    is_plain = states.dtype == weight.dtype and not torch.is_autocast_enabled(states.device.type)
    if is_plain and scores.bias is None and not weight.requires_grad and len(states):
        losses: torch.Tensor = _FrozenScores.apply(states, weight, targets, chunk)
        return losses
    parts = [
        checkpoint(_cross_entropy, some, scores, wanted, use_reentrant=False, preserve_rng_state=False)
        for some, wanted in zip(states.split(chunk), targets.split(chunk))
    ]
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def _cross_entropy(states: torch.Tensor, scores: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(scores(states).float(), targets, reduction="none")


class _FrozenScores(torch.autograd.Function):
    """Cross-entropy under frozen scores; the forward pass leaves the gradient of each loss in its state (n, D)."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        found = [_loss_and_slope(*part, weight) for part in zip(states.split(chunk), targets.split(chunk))]
        ctx.save_for_backward(torch.cat([slope for _, slope in found]))
        return torch.cat([loss for loss, _ in found])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (gradient[:, None] * slopes).to(slopes.dtype), None, None, None


WORD = 8
"""GPUs multiply matrices whose sides are multiples of that many narrow numbers several times as fast as others."""


def _loss_and_slope(
    states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy (n,) of states (n, D) and its gradients in them. InternVL2-1B has 151,655 words: the odd rest of the
    weights (V, D) is a product of its own, and rows of scores are padded."""
    size = len(weight)
    whole = size - size % WORD
    scores = states.new_full((len(states), -(-size // WORD) * WORD), -math.inf)
    torch.mm(states, weight[:whole].T, out=scores[:, :whole])
    scores[:, whole:size] = states @ weight[whole:].T
    logs = torch.log_softmax(scores, 1, dtype=torch.float32)
    losses = -logs.gather(1, targets[:, None])[:, 0]
    shares = logs.exp_().scatter_add_(1, targets[:, None], logs.new_full((len(targets), 1), -1.0)).to(states.dtype)
    slopes = torch.addmm(shares[:, whole:size] @ weight[whole:], shares[:, :whole], weight[:whole])
    return losses, slopes


@dataclass(frozen=True)
class SampleLosses:
    """Losses of a batch before averaging.

    Attributes:
        points: ``route_loss`` and ``speed_wps_loss`` to (B,), mean over the points of each sample; ``object_loss``, mean over
            the cells, where maps of what is to be seen are predicted.
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


class ObjectHead(nn.Module):
    """Reads maps of what is to be seen where from the visual tokens; trained beside the network and not a part of it."""

    weights: torch.Tensor

    def __init__(self, width: int, cells: int) -> None:
        """``width`` is the size D of a visual token, ``cells`` how many cells of the maps a token covers on each side."""
        super().__init__()
        self.cells = cells
        self.layer = nn.Linear(width, cells**2 * (len(WEIGHTS) + 1))
        self.register_buffer("weights", torch.tensor(WEIGHTS), persistent=False)

    def forward(self, visual: torch.Tensor, tiles: int) -> torch.Tensor:
        """Visual tokens (B, T * P, D) of ``tiles`` T square tiles each to (B, T, G, G, K + 1): scores of the K kinds, 0
        first, and the nearness."""
        rows, side = len(visual), math.isqrt(visual.shape[1] // tiles)
        read = self.layer(visual.to(self.layer.weight.dtype))
        cells = read.reshape(rows, tiles, side, side, self.cells, self.cells, -1)
        return cells.transpose(3, 4).reshape(rows, tiles, side * self.cells, side * self.cells, -1).float()

    def losses(self, visual: torch.Tensor, objects: ObjectBatch) -> torch.Tensor:
        """Cross-entropy of the kinds, weighted, and absolute error of the nearness, their means over the cells: (B,)."""
        read = self(visual, objects.kinds.shape[1])
        scores, kinds = read[..., :-1].movedim(-1, 1), objects.kinds.long()
        wrong = functional.cross_entropy(scores, kinds, weight=self.weights, reduction="none")
        return (wrong + (read[..., -1] - objects.nearness).abs()).flatten(1).mean(1)


def sample_losses(output: ModelOutput, batch: Batch, turning_point_m: float = 1.0) -> SampleLosses:
    """The losses of a batch, unweighted; ``turning_point_m`` as in `point_loss`."""
    points = {"speed_wps_loss": point_loss(output.speed_waypoints, batch.waypoints, turning_point_m).mean(1)}
    if output.path is not None:
        points["route_loss"] = point_loss(output.path, batch.path, turning_point_m).mean(1)
    return SampleLosses(points, output.token_losses, batch.inputs.supervised[0])


def loss_terms(output: ModelOutput, batch: Batch) -> dict[str, torch.Tensor]:
    """The loss terms of a batch, unweighted: ``route_loss``, ``speed_wps_loss``, ``language_loss``."""
    return sample_losses(output, batch).terms()
