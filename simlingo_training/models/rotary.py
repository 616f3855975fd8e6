"""Rotary positions."""

from __future__ import annotations

import torch


def turn(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al., RoFormer, 2021), halves paired: (B, heads, N, size) turned by the angles."""
    # Exchanged halves are another order of reading; halves put together would be read twice, and again in the backward pass.
    exchanged = vectors.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    first, second = sin.chunk(2, dim=-1)
    return vectors * cos + exchanged * torch.cat([-first, second], dim=-1)
