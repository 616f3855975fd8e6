"""Arithmetic of a training step, and what GPUs can do."""

from __future__ import annotations

from typing import Any

from torch import nn

from simlingo_training.models.simlingo import ModelInput, SimLingo

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40": 181.0, "4090": 165.0}
"""Dense bfloat16 peak of GPUs by a part of their name (vendor data sheets)."""


def peak_tflops(device_name: str) -> float | None:
    """Peak of a GPU, None where it is not known."""
    return next((value for part, value in PEAK_TFLOPS.items() if part in device_name), None)


def patch_count(vision: Any) -> int:
    """Patches of a tile, from the configuration of a vision tower."""
    size, patch = (value if isinstance(value, int) else value[0] for value in (vision.image_size, vision.patch_size))
    return int(size // patch) ** 2


def _weights(module: nn.Module, trained: bool) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad == trained and p.ndim > 1)


def training_flops(model: SimLingo, batch: ModelInput) -> float:
    """Floating-point operations of one training step, without recomputation.

    Two per weight and token forward, twice that backward; frozen weights need no weight gradient. Attention adds
    2 * 2 * length^2 * width per layer forward (half of it when causal), twice that backward.
    """
    tower, projector = model.backbone.vision_modules()
    rows, tiles = batch.tiles.shape[:2]
    config: Any = tower.config
    patches = patch_count(config)
    vision_tokens, visual_tokens = rows * tiles * (patches + 1), rows * tiles * model.backbone.tokens_per_tile
    text_tokens = rows * (batch.ids.shape[1] + model.heads.num_queries)
    decoder = model.backbone.decoder()
    layers: Any = decoder.config
    total = vision_tokens * (6 * _weights(tower, True) + 2 * _weights(tower, False))
    total += visual_tokens * 6 * _weights(projector, True)
    embedding = model.backbone.embedding().weight
    frozen = _weights(decoder, False) - (0 if embedding.requires_grad else embedding.numel())
    trained = _weights(decoder, True) - (embedding.numel() if embedding.requires_grad else 0)
    total += text_tokens * (4 * frozen + 6 * trained)
    head = model.backbone.output_layer().weight
    total += batch.targets.numel() * head.numel() * (6 if head.requires_grad else 4)
    total += 12 * vision_tokens * (patches + 1) * config.hidden_size * config.num_hidden_layers
    total += 6 * text_tokens * (text_tokens // rows) * layers.hidden_size * layers.num_hidden_layers
    return float(total)
