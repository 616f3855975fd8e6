"""The same passes on a CPU: fewer and larger steps for one car.

A small network spends its time on a CPU not in arithmetic but between operations, and PyTorch's default matrix product does
not use the widest instructions of every CPU. Here weights are packed once for oneDNN, which does and which adds biases,
activations and residuals on the way; norms' gains, layer scales and the pictures' normalisation are part of the weights; and
the last layer of the decoder only works where somebody reads its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from simlingo_training.data.images import IMAGENET_MEAN, IMAGENET_STD
from simlingo_training.inference.decoder import CachedDecoder, LayerWeights
from simlingo_training.inference.vision import PatchVision, VisionLayer
from simlingo_training.models.backbone import InternVLBackbone
from simlingo_training.models.rotary import turn

FEW_ROWS = 8
"""Below that many rows PyTorch's own product is faster than oneDNN's."""

ACTIVATIONS = {"none": lambda value: value, "gelu": functional.gelu}
"""Activation functions that a product can apply, by oneDNN's name."""


class PackedLinear:
    """``activation(x W^T + b)``, or with a residual ``x W^T + b + r``, for float32 on a CPU.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        activation: A name of `ACTIVATIONS`.
        rows: How many rows of input are usual; the packing fits any number.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, activation: str = "none", rows: int = 128
    ) -> None:
        self._weight = weight.detach().contiguous()
        self._bias = None if bias is None else bias.detach().contiguous()
        self._activation = activation
        self._packed = None
        if is_packable(self._weight):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, rows)

    def __call__(self, value: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """(n, in) to (n, out)."""
        if self._packed is None or len(value) < FEW_ROWS:
            result = ACTIVATIONS[self._activation](functional.linear(value, self._weight, self._bias))
            return result if residual is None else result + residual
        product = torch.ops.mkldnn._linear_pointwise
        if residual is not None:
            return product.binary(value, residual, self._packed, self._bias, "add")
        return product(value, self._packed, self._bias, self._activation, [], "none")


def is_packable(weight: torch.Tensor) -> bool:
    """Whether this build of PyTorch can pack a weight."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


@dataclass
class DecoderSteps:
    """The products of one decoder block."""

    qkv: PackedLinear
    output: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear

    @classmethod
    def of(cls, layer: LayerWeights) -> DecoderSteps:
        """Pack the weights of a block, its norms' gains included."""
        return cls(
            PackedLinear(layer.qkv * layer.attention_norm, layer.qkv_bias),
            PackedLinear(layer.output),
            PackedLinear(layer.gate_up * layer.mlp_norm),
            PackedLinear(layer.down),
        )


class ProcessorDecoder(CachedDecoder):
    """A `CachedDecoder` for float32 on a CPU; batches of several rows take the usual way."""

    def __init__(self, decoder: Any, output_weight: torch.Tensor) -> None:
        """See `CachedDecoder`."""
        super().__init__(decoder, output_weight)
        self._steps = [DecoderSteps.of(layer) for layer in self.layers]

    def forward(self, embeddings: torch.Tensor, starts: Sequence[int], first: int = 0) -> torch.Tensor:
        """See `CachedDecoder.forward`."""
        if len(embeddings) > 1:
            return super().forward(embeddings, starts, first)
        hidden, start = embeddings[0], starts[0]
        end = start + len(hidden)
        cos, sin = self._cos[start:end, None], self._sin[start:end, None]
        for number, steps in enumerate(self._steps):
            keep = first if number == len(self._steps) - 1 else 0
            mixed = self._mix(number, steps, hidden, cos, sin, start, keep)
            hidden = steps.output(mixed, hidden[keep:])
            gate, up = steps.gate_up(self._scaled(hidden)).chunk(2, dim=-1)
            hidden = steps.down(functional.silu(gate).mul_(up), hidden)
        return self._norm(hidden, self.final_norm)[None]

    def _scaled(self, hidden: torch.Tensor) -> torch.Tensor:
        """Root-mean-square norm without its gain."""
        return hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True).add_(self.eps))

    def _mix(
        self,
        number: int,
        steps: DecoderSteps,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        start: int,
        keep: int,
    ) -> torch.Tensor:
        """Attention of one block for the new tokens (N, D) from ``keep`` on: (N - keep, heads * size)."""
        new = len(hidden)
        end = start + new
        projected = steps.qkv(self._scaled(hidden)).view(new, self.heads + 2 * self.kv_heads, self.head_size)
        rotated = turn(projected[:, : self.heads + self.kv_heads], cos, sin)
        keys, values = self._keys[number, :1, :, :end], self._values[number, :1, :, :end]
        keys[0, :, start:] = rotated[:, self.heads :].transpose(0, 1)
        values[0, :, start:] = projected[:, self.heads + self.kv_heads :].transpose(0, 1)
        query = rotated[keep:, : self.heads].transpose(0, 1)[None]
        is_whole = start == 0 and keep == 0
        mask = None
        if not is_whole and new - keep > 1:
            mask = torch.ones(new - keep, end, dtype=torch.bool).tril_(start + keep)
        mixed = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=is_whole, enable_gqa=True
        )
        return mixed[0].transpose(0, 1).reshape(new - keep, -1)


@dataclass
class VisionSteps:
    """The products of one layer of the vision tower."""

    qkv: PackedLinear
    output: PackedLinear
    widen: PackedLinear
    narrow: PackedLinear

    @classmethod
    def of(cls, layer: VisionLayer) -> VisionSteps:
        """Pack the weights of a layer, its scales included."""
        attention_scale, mlp_scale = layer.scales
        output: Any = layer.output
        mlp: Any = layer.mlp
        return cls(
            PackedLinear(layer.qkv, layer.qkv_bias),
            PackedLinear(attention_scale[:, None] * output.weight, attention_scale * output.bias),
            PackedLinear(mlp.fc1.weight, mlp.fc1.bias, "gelu"),
            PackedLinear(mlp_scale[:, None] * mlp.fc2.weight, mlp_scale * mlp.fc2.bias),
        )


class ProcessorVision(PatchVision):
    """A `PatchVision` for float32 on a CPU."""

    def __init__(self, backbone: InternVLBackbone) -> None:
        """See `PatchVision`."""
        super().__init__(backbone)
        self._steps = [VisionSteps.of(layer) for layer in self.layers]
        self._patches = normalising_patches(self._projection.weight, self._projection.bias)

    @staticmethod
    def supports(backbone: torch.nn.Module) -> bool:
        """Whether a backbone has such a tower, in float32 on a CPU."""
        if not isinstance(backbone, InternVLBackbone) or not PatchVision.supports(backbone):
            return False
        weight = next(backbone.vision_modules()[0].parameters())
        plain = backbone.vlm.model.vision_tower.config.hidden_act == "gelu"
        return plain and weight.device.type == "cpu" and weight.dtype == torch.float32

    def encode(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 to visual tokens (B, T * P, D)."""
        embedded = self.embed(tiles)
        count, _, width = embedded.shape
        flat = embedded.view(-1, width)
        for layer, steps in zip(self.layers, self._steps):
            flat = steps.output(self._mix(steps, layer.norms[0](flat), count), flat)
            flat = steps.narrow(steps.widen(layer.norms[1](flat)), flat)
        patches = self.tower.layernorm(flat).view(count, -1, width)[:, 1:]
        return self.backbone.project(patches).reshape(len(tiles), -1, self.backbone.width)

    def embed(self, tiles: torch.Tensor) -> torch.Tensor:
        """See `FastVision.embed`."""
        count, side, patch = tiles.shape[0] * tiles.shape[1], tiles.shape[2], self._patch
        grid = side // patch
        cut = tiles.reshape(count, grid, patch, grid, patch, 3).transpose(2, 3)
        pixels = cut.to(torch.float32, memory_format=torch.contiguous_format).reshape(count * grid * grid, -1)
        return self._placed(self._patches(pixels).view(count, grid * grid, -1))

    def _mix(self, steps: VisionSteps, normed: torch.Tensor, count: int) -> torch.Tensor:
        """Attention within each tile, before the output product: (count * places, width)."""
        fused = steps.qkv(normed).view(count, -1, 3, self.heads, normed.shape[1] // self.heads)
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(normed.shape)


def normalising_patches(weight: torch.Tensor, bias: torch.Tensor) -> PackedLinear:
    """A patch convolution (D, 3, p, p) as a product over bytes of pixels in the order (p, p, 3), normalisation included."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    scaled = (weight / deviation).detach()
    offset = (scaled * mean).sum((1, 2, 3))
    return PackedLinear((scaled / 255).permute(0, 2, 3, 1).flatten(1), bias.detach() - offset)
