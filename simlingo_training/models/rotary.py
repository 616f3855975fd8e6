"""Rotary positions."""

from __future__ import annotations

import torch


def turn(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al., RoFormer, 2021), halves paired: (B, heads, N, size) turned by the angles."""
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cos + torch.cat([-second, first], dim=-1) * sin
