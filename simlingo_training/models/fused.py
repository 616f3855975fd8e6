"""Layers of vision tower and decoder with fewer and larger matrix products, and less to remember for the backward pass.

The parameters stay where they are; only the order of the arithmetic changes:

* query, key and value (and gate and up) are one product with the joined weights;
* the adapters of a joined product read one input; with ``shared_dropout`` it is dropped out once for all of them and goes
  through their first matrices in one product;
* the per-channel scale of a vision branch multiplies the small weight matrix instead of the large activation, which then need
  not be kept for the scale's gradient;
* the patch embedding is a product instead of a convolution with three channels.

Dimension letters: B rows, N tokens, D width, R adapter rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from simlingo_training.models.backbone import Backbone, InternVLBackbone
from simlingo_training.models.rotary import turn

ADAPTER = "default"
"""Name under which PEFT keeps the only adapter."""


def fuse(backbone: Backbone, shared_dropout: bool) -> int:
    """Let the layers of a backbone compute in the fused way, in place.

    Args:
        backbone: Its layers keep their parameters and names.
        shared_dropout: Draw one dropout mask for adapters that read the same input.

    Returns:
        The number of layers changed: decoder layers of the Llama kind (Qwen2 is one), and those of an InternViT without query
        and key norms. Others stay as they are.
    """
    changed = 0
    for layer in getattr(backbone.decoder(), "layers", ()):
        if hasattr(layer, "post_attention_layernorm") and hasattr(getattr(layer, "mlp", None), "gate_proj"):
            layer.shares_dropout = shared_dropout
            layer.forward = MethodType(_decoder_layer, layer)
            changed += 1
    tower: Any = backbone.vision_modules()[0]
    if isinstance(backbone, InternVLBackbone) and not tower.config.use_qk_norm:
        patches = tower.embeddings.patch_embeddings
        patches.forward = MethodType(patch_embedding, patches)
        for layer in tower.encoder.layer:
            layer.forward = MethodType(vision_layer, layer)
            changed += 1
    return changed


def patch_embedding(patches: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (B, 3, H, W) to patch embeddings (B, N, D): the convolution, whose stride is its size, as one product."""
    weight = patches.projection.weight
    high, wide = weight.shape[2:]
    count, channels, height, width = pixels.shape
    blocks = pixels.to(weight.dtype).view(count, channels, height // high, high, width // wide, wide)
    rows = blocks.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * high * wide)
    return functional.linear(rows, weight.flatten(1), patches.projection.bias)


def vision_layer(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """One InternViT layer, (B, N, D) to (B, N, D)."""
    attention = layer.attention
    count, places, width = hidden.shape
    projected = joined((attention.q_proj, attention.k_proj, attention.v_proj), layer.layernorm_before(hidden))
    query, key, value = projected.view(count, places, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(count, places, width)
    hidden = hidden + scaled_linear(attention.projection_layer, layer.lambda_1, mixed)
    inner = layer.mlp.activation_fn(layer.mlp.fc1(layer.layernorm_after(hidden)))
    return hidden + scaled_linear(layer.mlp.fc2, layer.lambda_2, inner)


def scaled_linear(linear: nn.Linear, scale: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """``scale * linear(inputs)`` with the scale (D,) on the weights."""
    bias = None if linear.bias is None else scale * linear.bias
    return functional.linear(inputs, scale[:, None] * linear.weight, bias)


def joined(layers: Sequence[nn.Linear], inputs: torch.Tensor) -> torch.Tensor:
    """Outputs of several linear layers of one input, side by side."""
    biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    bias = torch.cat(biases) if len(biases) == len(layers) else None
    return functional.linear(inputs, torch.cat([layer.weight for layer in layers]), bias)


def _decoder_layer(
    layer: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    past_key_values: Any = None,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """One decoder layer; with a mask or a cache its own pass."""
    if attention_mask is None and past_key_values is None and position_embeddings is not None:
        return decoder_layer(layer, hidden_states, position_embeddings, layer.shares_dropout)
    kwargs |= {"past_key_values": past_key_values, "position_embeddings": position_embeddings}
    result: torch.Tensor = type(layer).forward(layer, hidden_states, attention_mask=attention_mask, **kwargs)
    return result


def decoder_layer(
    layer: Any, hidden: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], shared_dropout: bool
) -> torch.Tensor:
    """One causal decoder layer.

    Args:
        layer: Layer of transformers' Llama or Qwen2 decoder, with or without PEFT's adapters.
        hidden: (B, N, D).
        angles: Cosine and sine (B or 1, N, head size) of the rotary positions.
        shared_dropout: See `fuse`.

    Returns:
        (B, N, D).
    """
    attention, mlp = layer.self_attn, layer.mlp
    count, places, _ = hidden.shape
    normed = layer.input_layernorm(hidden)
    parts = adapted((attention.q_proj, attention.k_proj, attention.v_proj), normed, shared_dropout)
    query, key, value = (part.view(count, places, -1, attention.head_dim).transpose(1, 2) for part in parts)
    cos, sin = (angle[:, None] for angle in angles)
    mixed = functional.scaled_dot_product_attention(
        turn(query, cos, sin), turn(key, cos, sin), value, is_causal=True, enable_gqa=query.shape[1] != key.shape[1]
    )
    (output,) = adapted((attention.o_proj,), mixed.transpose(1, 2).reshape(count, places, -1), shared_dropout)
    hidden = hidden + output
    gate, up = adapted((mlp.gate_proj, mlp.up_proj), layer.post_attention_layernorm(hidden), shared_dropout)
    (output,) = adapted((mlp.down_proj,), mlp.act_fn(gate) * up, shared_dropout)
    return hidden + output


def adapted(layers: Sequence[nn.Module], inputs: torch.Tensor, shared_dropout: bool) -> tuple[torch.Tensor, ...]:
    """Outputs of linear layers that read one input, with the low-rank updates of those that carry an adapter."""
    bases: list[Any] = [getattr(layer, "base_layer", layer) for layer in layers]
    sizes = [base.weight.shape[0] for base in bases]
    if len(bases) == 1:
        outputs: tuple[torch.Tensor, ...] = (bases[0](inputs),)
    else:
        outputs = joined(bases, inputs).split(sizes, dim=-1)
    if not any(hasattr(layer, "lora_A") for layer in layers):
        return outputs
    return tuple(output + update for output, update in zip(outputs, _updates(layers, inputs, shared_dropout)))


def _updates(layers: Sequence[Any], inputs: torch.Tensor, shared_dropout: bool) -> list[torch.Tensor]:
    """Low-rank updates of each layer, in the type of ``inputs``; the scale goes on the small second matrix."""
    first = [layer.lora_A[ADAPTER].weight for layer in layers]
    wide = inputs.to(first[0].dtype)
    if shared_dropout:
        reduced = functional.linear(layers[0].lora_dropout[ADAPTER](wide), torch.cat(first))
        narrow = reduced.split([weight.shape[0] for weight in first], dim=-1)
    else:
        narrow = tuple(
            functional.linear(layer.lora_dropout[ADAPTER](wide), weight) for layer, weight in zip(layers, first)
        )
    return [
        functional.linear(part, layer.scaling[ADAPTER] * layer.lora_B[ADAPTER].weight).to(inputs.dtype)
        for part, layer in zip(narrow, layers)
    ]
