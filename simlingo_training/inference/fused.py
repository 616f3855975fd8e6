"""Decoder and vision tower with the small steps between matrix products as single GPU kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from simlingo_training.inference.decoder import CachedDecoder
from simlingo_training.inference.kernels import (
    add_layer_norm,
    add_rms_norm,
    attend,
    attend_tiles,
    cut_patches,
    gate,
    place,
)
from simlingo_training.inference.vision import PatchVision
from simlingo_training.models.backbone import InternVLBackbone


class FusedDecoder(CachedDecoder):
    """A `CachedDecoder` for GPUs; its weights stay where they are, for passes that are recorded."""

    def __init__(self, decoder: Any, output_weight: torch.Tensor) -> None:
        """See `CachedDecoder`."""
        super().__init__(decoder, output_weight)
        self.stack()

    def run(self, embeddings: torch.Tensor, positions: torch.Tensor, visible: int) -> torch.Tensor:
        """See `CachedDecoder.run`; the positions alone say what is visible, and the last place is padding."""
        batch, new, width = embeddings.shape
        hidden, change = embeddings.reshape(-1, width).clone(), None
        for number, layer in enumerate(self.layers):
            normed = add_rms_norm(hidden, change, layer.attention_norm, self.eps)
            projected = functional.linear(normed, layer.qkv, layer.qkv_bias).view(batch, new, -1)
            keys, values = self._keys[number], self._values[number]
            place(projected, positions, self._cos, self._sin, keys, values)
            mixed = attend(projected, positions, keys, values).view(batch * new, -1)
            normed = add_rms_norm(hidden, functional.linear(mixed, layer.output), layer.mlp_norm, self.eps)
            change = functional.linear(gate(functional.linear(normed, layer.gate_up)), layer.down)
        return add_rms_norm(hidden, change, self.final_norm, self.eps).view(batch, new, width)


PIECE = 8
"""Columns of a matrix are a multiple of it, or the product is slow."""


class FusedVision(PatchVision):
    """A `PatchVision` for GPUs."""

    def __init__(self, backbone: InternVLBackbone) -> None:
        """See `PatchVision`."""
        super().__init__(backbone)
        # Patches come row by row with the colours inside, and padded.
        flat = self._projection.weight.detach().permute(0, 2, 3, 1).flatten(1)
        self._patches = functional.pad(flat, (0, -flat.shape[1] % PIECE)).contiguous()
        self._bias = self._projection.bias.detach()

    @staticmethod
    def supports(backbone: torch.nn.Module) -> bool:
        """Whether a backbone has such a tower."""
        if not isinstance(backbone, InternVLBackbone) or not PatchVision.supports(backbone):
            return False
        config: Any = backbone.vlm.model.vision_tower.config
        size = config.hidden_size // config.num_attention_heads
        return bool(size & (size - 1) == 0)

    def encode(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 to visual tokens (B, T * P, D)."""
        embedded = self.embed(tiles)
        count, places, width = embedded.shape
        hidden, scale = embedded.view(-1, width), self.layers[0].scales[1]
        change: Any = None
        for layer in self.layers:
            normed = add_layer_norm(hidden, change, scale, layer.norms[0])
            fused = functional.linear(normed, layer.qkv, layer.qkv_bias).view(count, places, -1)
            mixed = layer.output(attend_tiles(fused, self.heads).view(-1, width))
            change = layer.mlp(add_layer_norm(hidden, mixed, layer.scales[0], layer.norms[1]))
            scale = layer.scales[1]
        patches = self.tower.layernorm((hidden + scale * change).view(count, places, width))[:, 1:]
        return self.backbone.project(patches).reshape(len(tiles), -1, self.backbone.width)

    def embed(self, tiles: torch.Tensor) -> torch.Tensor:
        """See `FastVision.embed`."""
        cut = cut_patches(tiles.flatten(0, 1), self._patch, self._patches.shape[1], self._patches.dtype)
        count, width = tiles.shape[0] * tiles.shape[1], len(self._patches)
        return self._placed(functional.linear(cut, self._patches, self._bias).view(count, -1, width))
