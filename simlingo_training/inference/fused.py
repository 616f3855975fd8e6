"""Decoder and vision tower with the small steps between matrix products as single GPU kernels."""

from __future__ import annotations

from collections.abc import Sequence
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
    join_patches,
    look_up,
    place,
    place_patches,
    take,
)
from simlingo_training.inference.vision import PatchVision, VisionLayer
from simlingo_training.models.backbone import InternVLBackbone

PIECE = 8
"""Columns of a matrix are a multiple of it, or the product is slow."""

DOWN_SPLITS, MOST_SPLIT_ROWS = 2, 1024
"""A product with few rows and columns has fewer tiles than a GPU has multiprocessors: up to so many rows the MLP's second
product is cut into sums over parts of its columns, which the norm behind it adds up."""


def product_parts(inputs: torch.Tensor, weight: torch.Tensor, parts: int) -> torch.Tensor:
    """Summands (S, n, out) in float32 of the product of (n, in) with a matrix (out, in), each over a part of the columns; the
    product itself, (n, out), when ``parts`` does not divide them."""
    rows, inner = inputs.shape
    if parts < 2 or inner % (parts * PIECE):
        return functional.linear(inputs, weight)
    left = inputs.view(rows, parts, -1).transpose(0, 1)
    right = weight.view(len(weight), parts, -1).permute(1, 2, 0)
    if inputs.dtype == torch.float32:
        return torch.bmm(left, right)
    summands: torch.Tensor = torch.bmm(left, right, out_dtype=torch.float32)
    return summands


class FusedDecoder(CachedDecoder):
    """A `CachedDecoder` for GPUs; its weights stay where they are, for passes that are recorded."""

    def __init__(self, decoder: Any, output_weight: torch.Tensor) -> None:
        """See `CachedDecoder`."""
        super().__init__(decoder, output_weight)
        self.stack()

    def forward(self, embeddings: torch.Tensor, starts: Sequence[int], first: int = 0) -> torch.Tensor:
        """See `CachedDecoder.forward`."""
        return super().forward(embeddings.clone(), starts, first)

    def look_up(self, codes: torch.Tensor, numbers: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """See `CachedDecoder.look_up`."""
        return look_up(codes, self.embedding, numbers, features)

    def run(
        self, embeddings: torch.Tensor, positions: torch.Tensor, visible: int, wanted: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See `CachedDecoder.run`; the positions alone say what is visible, and the last place is padding. The embeddings
        are overwritten."""
        batch, new, width = embeddings.shape
        hidden, change = embeddings.view(-1, width), None
        for number, layer in enumerate(self.layers):
            normed = add_rms_norm(hidden, change, layer.attention_norm, self.eps)
            projected = functional.linear(normed, layer.qkv, layer.qkv_bias).view(batch, new, -1)
            keys, values = self._keys[number], self._values[number]
            place(projected, positions, self._cos, self._sin, keys, values)
            if wanted is not None and layer is self.layers[-1]:
                # Behind the last keys and values nobody looks at the other tokens.
                hidden, projected, positions = take(wanted, hidden, projected, positions)
            mixed = attend(projected, positions, keys, values).view(len(hidden), -1)
            normed = add_rms_norm(hidden, functional.linear(mixed, layer.output), layer.mlp_norm, self.eps)
            gated = gate(functional.linear(normed, layer.gate_up))
            change = product_parts(gated, layer.down, DOWN_SPLITS if len(hidden) <= MOST_SPLIT_ROWS else 1)
        return add_rms_norm(hidden, change, self.final_norm, self.eps).view(batch, -1, width)


class FusedVision(PatchVision):
    """A `PatchVision` for GPUs.

    In bfloat16 the activations are computed within the products before them, by the form with the hyperbolic tangent; it
    differs from the one with the error function by less than rounding to bfloat16 does.
    """

    def __init__(self, backbone: InternVLBackbone) -> None:
        """See `PatchVision`."""
        super().__init__(backbone)
        # Patches come row by row with the colours inside, and padded.
        flat = self._projection.weight.detach().permute(0, 2, 3, 1).flatten(1)
        self._patches = functional.pad(flat, (0, -flat.shape[1] % PIECE)).contiguous()
        self._bias = self._projection.bias.detach()
        self._factor = round(1 / backbone.config.downsample_ratio)

    @staticmethod
    def supports(backbone: torch.nn.Module) -> bool:
        """Whether a backbone has such a tower: GELU, and no norm behind its layers."""
        if not isinstance(backbone, InternVLBackbone) or not PatchVision.supports(backbone):
            return False
        tower: Any = backbone.vlm.model.vision_tower
        config, has_norm = tower.config, not isinstance(tower.layernorm, torch.nn.Identity)
        has_gelu = config.hidden_act == backbone.config.projector_hidden_act == "gelu"
        return bool(has_gelu and not has_norm)

    def encode(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 to visual tokens (B, T * P, D)."""
        first, *others = self.layers
        patches = self._cut(tiles)
        count, side = len(patches), int(patches.shape[1] ** 0.5)
        hidden, normed = place_patches(patches, self._places, self._class_place, first.norms[0])
        change, scale = self._layer_step(first, hidden, normed, count), first.scales[1]
        for layer in others:
            normed = add_layer_norm(hidden, change, scale, layer.norms[0])
            change, scale = self._layer_step(layer, hidden, normed, count), layer.scales[1]
        projector: Any = self.backbone.vision_modules()[1]
        joined = join_patches(hidden, change, scale, projector.layer_norm, side, self._factor)
        tokens = projector.linear_2(_activated(projector.linear_1, projector.act, joined))
        return tokens.view(len(tiles), -1, self.backbone.width)

    def _layer_step(self, layer: VisionLayer, hidden: torch.Tensor, normed: torch.Tensor, count: int) -> torch.Tensor:
        """What a layer adds last, unscaled, (n * places, D); what its attention adds is added to ``hidden``."""
        fused = functional.linear(normed, layer.qkv, layer.qkv_bias).view(count, len(normed) // count, -1)
        mixed = layer.output(attend_tiles(fused, self.heads).view(normed.shape))
        mlp: Any = layer.mlp
        inner = _activated(mlp.fc1, mlp.activation_fn, add_layer_norm(hidden, mixed, layer.scales[0], layer.norms[1]))
        change: torch.Tensor = mlp.fc2(inner)
        return change

    def _cut(self, tiles: torch.Tensor) -> torch.Tensor:
        """Embedded patches (B * T, P, C) of tiles (B, T, S, S, 3) uint8, without their positions."""
        cut = cut_patches(tiles.flatten(0, 1), self._patch, self._patches.shape[1], self._patches.dtype)
        return functional.linear(cut, self._patches, self._bias).view(
            tiles.shape[0] * tiles.shape[1], -1, len(self._patches)
        )

    def embed(self, tiles: torch.Tensor) -> torch.Tensor:
        """See `FastVision.embed`."""
        return self._placed(self._cut(tiles))


def _activated(layer: Any, activation: Any, inputs: torch.Tensor) -> torch.Tensor:
    """A linear layer and its GELU."""
    if inputs.dtype != torch.bfloat16:
        found: torch.Tensor = activation(layer(inputs))
        return found
    return torch._addmm_activation(layer.bias, inputs, layer.weight.t(), use_gelu=True)
