"""Numbers into the language model and out of it: target points, queries, path and waypoint heads.

Dimension letters: B rows, D width, F future points.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from simlingo_training.config import NUM_PATH_POINTS, NUM_SPEED_WAYPOINTS


class NumberEncoder(nn.Module):
    """Numbers to embeddings. SimLingo feeds target points in metres, not normalised."""

    def __init__(self, width: int, inputs: int = 2, hidden: tuple[int, ...] = (256, 512)) -> None:
        super().__init__()
        self.mlp = perceptron((inputs, *hidden, width), nn.ReLU)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., D)."""
        return self.mlp(numbers.to(next(self.parameters()).dtype))


def perceptron(sizes: tuple[int, ...], activation: type[nn.Module], last_bias: bool = True) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        is_last = number == len(sizes) - 2
        layers.append(nn.Linear(inputs, outputs, bias=last_bias or not is_last))
        if not is_last:
            layers.append(activation())
    return nn.Sequential(*layers)


class DrivingHeads(nn.Module):
    """Learned queries that follow the text, and what is read from their hidden states.

    The order is path queries, then speed queries. Heads predict the step from one point to the next; the outputs are the
    running sums, starting at the ego vehicle.
    """

    def __init__(self, width: int, with_path: bool = True, path_hidden: tuple[int, ...] = (512, 256)) -> None:
        super().__init__()
        self.num_path = NUM_PATH_POINTS if with_path else 0
        self.num_speed = NUM_SPEED_WAYPOINTS
        self.speed_queries = nn.Parameter(0.02 * torch.randn(1, self.num_speed, width))
        self.speed_head = perceptron((width, 256, 2), nn.SiLU, last_bias=False)
        if with_path:
            self.path_queries = nn.Parameter(0.02 * torch.randn(1, self.num_path, width))
            self.path_head = perceptron((width, *path_hidden, 2), nn.SiLU, last_bias=False)

    @property
    def num_queries(self) -> int:
        """Path and speed queries together."""
        return self.num_path + self.num_speed

    def queries(self) -> torch.Tensor:
        """(Q, D) in sequence order."""
        parts = [self.path_queries[0]] if self.num_path else []
        return torch.cat([*parts, self.speed_queries[0]])

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Hidden states (B, Q, D) of the queries to path (B, 20, 2) or None and waypoints (B, 10, 2), ego frame, metres,
        float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            states = hidden.to(next(self.speed_head.parameters()).dtype)
            waypoints = self.speed_head(states[:, self.num_path :]).float().cumsum(1)
            if not self.num_path:
                return None, waypoints
            return self.path_head(states[:, : self.num_path]).float().cumsum(1), waypoints
