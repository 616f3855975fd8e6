"""Numbers into the language model and out of it: target points, queries, path and waypoint heads.

Dimension letters: B rows, D width, F future points.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from simlingo_training.config import NUM_PATH_POINTS, NUM_SPEED_WAYPOINTS

WAYPOINT_SECONDS = 0.25
"""Time between two waypoints, seconds; the points of the path are 1 m apart, the first at the ego."""


TYPICAL_SPEED_M_S, TYPICAL_DISTANCE_M = 10.0, 20.0
"""Units of the numbers in action queries."""


class NumberEncoder(nn.Module):
    """Numbers to embeddings. SimLingo feeds target points in metres, not normalised."""

    def __init__(self, width: int, inputs: int = 2, hidden: tuple[int, ...] = (256, 512)) -> None:
        super().__init__()
        self.mlp = perceptron((inputs, *hidden, width), nn.ReLU)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., D)."""
        return self.mlp(numbers.to(next(self.parameters()).dtype))


class QueryNumbers(nn.Module):
    """Speed and target points as one vector that is added to all action queries of a row; begins with none.

    They enter in units in which they are about one. Fed in metres, only the direction of a far target point would survive
    the decoder's first norm.
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.mlp = perceptron((5, hidden, width), nn.SiLU)
        for parameter in self.mlp[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, speed: torch.Tensor, points: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Speeds (B,) m/s and target points (B, 2, 2), ego frame, metres, to (B, 1, D); the points count only in the rows
        ``told`` (B,), whose text has them."""
        near = points.float().flatten(1) / TYPICAL_DISTANCE_M * told[:, None]
        numbers = torch.cat([speed.float()[:, None] / TYPICAL_SPEED_M_S, near], dim=1)
        return self.mlp(numbers.to(next(self.parameters()).dtype))[:, None]


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
    running sums, starting at the ego vehicle. With ``straight_prior`` they predict how the steps differ from holding wheel
    and speed, beginning with no difference: a small network then need not learn to read the speed from text first.
    """

    def __init__(
        self,
        width: int,
        with_path: bool = True,
        path_hidden: tuple[int, ...] = (512, 256),
        straight_prior: bool = False,
    ) -> None:
        super().__init__()
        self.straight_prior = straight_prior
        self.num_path = NUM_PATH_POINTS if with_path else 0
        self.num_speed = NUM_SPEED_WAYPOINTS
        self.speed_queries = nn.Parameter(0.02 * torch.randn(1, self.num_speed, width))
        self.speed_head = perceptron((width, 256, 2), nn.SiLU, last_bias=False)
        if with_path:
            self.path_queries = nn.Parameter(0.02 * torch.randn(1, self.num_path, width))
            self.path_head = perceptron((width, *path_hidden, 2), nn.SiLU, last_bias=False)
        if straight_prior:
            for head in (self.speed_head, *([self.path_head] if with_path else [])):
                nn.init.zeros_(head[-1].weight)  # type: ignore[arg-type]

    @property
    def num_queries(self) -> int:
        """Path and speed queries together."""
        return self.num_path + self.num_speed

    def queries(self) -> torch.Tensor:
        """(Q, D) in sequence order."""
        parts = [self.path_queries[0]] if self.num_path else []
        return torch.cat([*parts, self.speed_queries[0]])

    def forward(self, hidden: torch.Tensor, speed: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Read the queries.

        Args:
            hidden: (B, Q, D) hidden states of the queries.
            speed: (B,) speed now, m/s; used by the straight prior only.

        Returns:
            Path (B, 20, 2) or None and waypoints (B, 10, 2), ego frame, metres, float32.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            states = hidden.to(next(self.speed_head.parameters()).dtype)
            return self.path(states), self.waypoints(states, speed)

    def path(self, states: torch.Tensor) -> torch.Tensor | None:
        """The path of `forward`; ``states`` have the heads' type."""
        if not self.num_path:
            return None
        steps = self.path_head(states[:, : self.num_path]).float()
        if self.straight_prior:
            steps[:, 1:, 0] += 1.0
        return steps.cumsum(1)

    def waypoints(self, states: torch.Tensor, speed: torch.Tensor) -> torch.Tensor:
        """The waypoints of `forward`; ``states`` have the heads' type."""
        steps = self.speed_head(states[:, self.num_path :]).float()
        if self.straight_prior:
            steps[..., 0] += WAYPOINT_SECONDS * speed.float()[:, None]
        return steps.cumsum(1)
