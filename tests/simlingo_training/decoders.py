"""Small language models with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2Model


def noisy_qwen2(**sizes: Any) -> Qwen2Model:
    """A model of given sizes whose norms and biases are not those of a new one."""
    model = Qwen2Model(Qwen2Config(**sizes)).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model
