"""InternViT for inference: the three attention projections as one matrix, nothing else than what a forward pass needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from simlingo_training.models.backbone import InternVLBackbone
from simlingo_training.models.pixels import normalise_tiles


@dataclass
class VisionLayer:
    """Weights of one layer; matrices are (out, in)."""

    norms: tuple[nn.Module, nn.Module]
    scales: tuple[torch.Tensor, torch.Tensor]
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    output: nn.Linear
    mlp: nn.Module


class FastVision:
    """Tiles to visual tokens with the weights of an InternVL backbone whose attention has no query and key norms."""

    def __init__(self, backbone: InternVLBackbone) -> None:
        """Take the weights. Raises ValueError if the tower normalises queries and keys."""
        tower: Any = backbone.vision_modules()[0]
        if tower.config.use_qk_norm:
            raise ValueError("the vision tower normalises queries and keys; use the backbone's own pass")
        self.backbone = backbone
        self.tower = tower
        self.heads = int(tower.config.num_attention_heads)
        self.head_size = int(tower.config.hidden_size) // self.heads
        self.layers = [self._layer(layer) for layer in tower.encoder.layer]

    @staticmethod
    def supports(backbone: nn.Module) -> bool:
        """Whether a backbone has such a tower."""
        return isinstance(backbone, InternVLBackbone) and not backbone.vlm.model.vision_tower.config.use_qk_norm

    def _layer(self, layer: Any) -> VisionLayer:
        parts = [layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj]
        has_bias = parts[0].bias is not None
        return VisionLayer(
            (layer.layernorm_before, layer.layernorm_after),
            (layer.lambda_1.detach(), layer.lambda_2.detach()),
            torch.cat([part.weight.detach() for part in parts]),
            torch.cat([part.bias.detach() for part in parts]) if has_bias else None,
            layer.attention.projection_layer,
            layer.mlp,
        )

    def encode(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 to visual tokens (B, T * P, D)."""
        hidden = self.embed(tiles)
        for layer in self.layers:
            hidden = hidden + layer.scales[0] * self._attend(layer, layer.norms[0](hidden))
            hidden = hidden + layer.scales[1] * layer.mlp(layer.norms[1](hidden))
        return self.backbone.project(self.tower.layernorm(hidden)[:, 1:]).reshape(len(tiles), -1, self.backbone.width)

    def embed(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 to embedded patches (B * T, places, C), the class token first."""
        pixels = normalise_tiles(tiles.flatten(0, 1), self.backbone.visual_dtype())
        hidden: torch.Tensor = self.tower.embeddings(pixels)
        return hidden

    def _attend(self, layer: VisionLayer, hidden: torch.Tensor) -> torch.Tensor:
        count, places, width = hidden.shape
        fused = functional.linear(hidden, layer.qkv, layer.qkv_bias)
        query, key, value = fused.view(count, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: torch.Tensor = layer.output(mixed.transpose(1, 2).reshape(count, places, width))
        return result


class PatchVision(FastVision):
    """A `FastVision` that adds positions and the class token itself, for passes that have a patch product of their own."""

    def __init__(self, backbone: InternVLBackbone) -> None:
        """See `FastVision`."""
        super().__init__(backbone)
        embeddings = self.tower.embeddings
        self._projection = embeddings.patch_embeddings.projection
        self._patch = int(self._projection.kernel_size[0])
        places = embeddings.position_embeddings[0].detach()
        self._class_place = places[0] + embeddings.cls_token[0, 0].detach()
        self._places = places[1:]

    @staticmethod
    def supports(backbone: nn.Module) -> bool:
        """Whether a backbone has such a tower, with learnt positions."""
        if not isinstance(backbone, InternVLBackbone) or not FastVision.supports(backbone):
            return False
        return bool(backbone.vlm.model.vision_tower.config.use_absolute_position_embeddings)

    def _placed(self, patches: torch.Tensor) -> torch.Tensor:
        """Embedded patches (n, places - 1, C) with positions, the class token first: (n, places, C)."""
        count, places, width = patches.shape
        hidden = torch.empty(count, 1 + places, width, dtype=patches.dtype, device=patches.device)
        hidden[:, 0] = self._class_place
        torch.add(patches, self._places, out=hidden[:, 1:])
        return hidden
