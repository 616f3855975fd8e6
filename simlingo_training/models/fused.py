"""Layers of vision tower and decoder with fewer and larger matrix products, and less to remember for the backward pass.

The parameters stay where they are; only the order of the arithmetic changes:

* the gradient of an input that several layers read is added up inside their products;
* the second matrices of the adapters of query, key, value, gate and up are further columns of the frozen weights, so that the
  updates are added up inside the product;
* adapters that read one input: with ``shared_dropout`` it is dropped out once for all of them and goes through their first
  matrices in one product;
* compiled layers drop out by a hash of the place, several times as fast as by torch's random numbers, and take an approximation
  of the error function for GELU of narrow numbers that is far more exact than these;
* keys without a constant, and that of the values in the output's: attention is the same, with two gradients less to sum up;
* the last decoder layer ends at the places that somebody reads;
* the per-channel scale of a vision branch multiplies the small weight matrix instead of the large activation, which then need
  not be kept for the scale's gradient;
* what a vision branch adds is added where the next one reads it;
* the patch embedding is a product instead of a convolution with three channels.

Dimension letters: B rows, N tokens, D width, R adapter rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPast

from simlingo_training.models.attention import attend, is_flash4_preferred
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
    if changed and changed == len(backbone.decoder().layers):  # type: ignore[arg-type]
        decoder: Any = backbone.decoder()
        decoder.forward = MethodType(_decoder, decoder)
        decoder.reads_places = True
    tower: Any = backbone.vision_modules()[0]
    if isinstance(backbone, InternVLBackbone) and not tower.config.use_qk_norm:
        patches = tower.embeddings.patch_embeddings
        patches.forward = MethodType(patch_embedding, patches)
        tower.encoder.forward = MethodType(_encoder, tower.encoder)
        for layer in tower.encoder.layer:
            layer.forward = MethodType(vision_layer, layer)
            changed += 1
    return changed


def patch_embedding(patches: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (B, 3, H, W) to patch embeddings (B, N, D): the convolution, whose stride is its size, as one product of rows
    that end in zeros, because GPUs like sides that are multiples of 8."""
    weight = patches.projection.weight
    high, wide = weight.shape[2:]
    count, channels, height, width = pixels.shape
    blocks = pixels.to(weight.dtype).view(count, channels, height // high, high, width // wide, wide)
    rows = blocks.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * high * wide)
    zeros = (0, -rows.shape[-1] % 8)
    return functional.linear(
        functional.pad(rows, zeros), functional.pad(weight.flatten(1), zeros), patches.projection.bias
    )


def _encoder(encoder: Any, hidden_states: torch.Tensor, **_: Any) -> BaseModelOutput:
    """All layers of an InternViT."""
    hidden, update = encoder.layer[0](hidden_states)
    for layer in encoder.layer[1:]:
        hidden, update = layer(hidden, update)
    return BaseModelOutput(last_hidden_state=hidden + update)


def vision_layer(
    layer: Any, hidden: torch.Tensor, update: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One InternViT layer of the sum of hidden states and update (B, N, D) to the next two."""
    attention = layer.attention
    count, places, width = hidden.shape
    if update is not None:
        hidden = hidden + update
    parts, bias = _query_key_value(attention, layer.layernorm_before(hidden))
    query, key, value = (part.view(count, places, attention.num_heads, -1).transpose(1, 2) for part in parts)
    mixed = attend(query, key, value, is_flash4_preferred(attention)).transpose(1, 2).reshape(count, places, width)
    hidden = hidden + scaled_linear(attention.projection_layer.weight, bias, layer.lambda_1, mixed)
    inner = layer.mlp.fc1(layer.layernorm_after(hidden))
    is_gelu = layer.mlp.config.hidden_act == "gelu" and inner.dtype != torch.float32
    inner = gelu(inner) if is_gelu and torch.compiler.is_compiling() else layer.mlp.activation_fn(inner)
    return hidden, scaled_linear(layer.mlp.fc2.weight, layer.mlp.fc2.bias, layer.lambda_2, inner)


def _query_key_value(attention: Any, inputs: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Query, key and value of a vision layer, and the bias of the output behind them.

    The shares of an attention sum to one, so what is added to all values comes out as it is and passes the output matrix; what
    is added to all keys raises all scores of a query alike, which changes no share. Sums of gradients over all places, which
    the biases of both would need, become a product with one row, and zero.
    """
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    output, biases = attention.projection_layer, [layer.bias for layer in layers]
    if biases[0] is None or torch.is_autocast_enabled(inputs.device.type):
        return linears(layers, inputs), output.bias
    parts = _apply_linears(inputs, [layer.weight for layer in layers], [biases[0], None, None], 0)
    return parts, output.bias + functional.linear(biases[2], output.weight) + 0 * biases[1]


def gelu(inputs: torch.Tensor) -> torch.Tensor:
    """``x * normal distribution function of x`` of narrow numbers, computed in float32."""
    result: torch.Tensor = _Gelu.apply(inputs).to(inputs.dtype)
    return result


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inputs)
        wide = inputs.float()
        beyond, _ = _normal(wide)
        return wide.relu() - wide.abs() * beyond

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (inputs,) = ctx.saved_tensors
        wide = inputs.float()
        beyond, density = _normal(wide)
        return (gradient * (torch.where(wide > 0, 1 - beyond, beyond) + wide * density)).to(inputs.dtype)


def _normal(wide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of the normal distribution beyond each distance from its mean, and its density there. The error function is
    Abramowitz and Stegun's 7.1.26, at most 1.5e-7 off; it shares its exponential with the density. The exact one takes longer
    than reading its input, and so would a division or another base."""
    falls = torch.exp2(-0.5 * math.log2(math.e) * wide * wide)
    root = torch.rsqrt(1 + 0.3275911 / math.sqrt(2) * wide.abs())
    near = root * root
    series = near * (
        0.254829592 + near * (-0.284496736 + near * (1.421413741 + near * (-1.453152027 + near * 1.061405429)))
    )
    return 0.5 * series * falls, falls / math.sqrt(2 * math.pi)


def scaled_linear(weight: torch.Tensor, bias: torch.Tensor, scale: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """``scale * linear(inputs)`` with the scale (D,) on the weights."""
    return functional.linear(inputs, scale[:, None] * weight, scale * bias)


def _decoder(
    decoder: Any,
    *args: Any,
    inputs_embeds: torch.Tensor | None = None,
    places: torch.Tensor | None = None,
    **kwargs: Any,
) -> Any:
    """Layers and norm of a decoder, of all places or of some, see `Backbone.decode_at`; with a mask, a cache or anything else
    its own pass, which looks at the values of the positions and so has the processor wait for the GPU."""
    if inputs_embeds is None or args or any(value is not None and value is not False for value in kwargs.values()):
        return type(decoder).forward(decoder, *args, inputs_embeds=inputs_embeds, **kwargs)
    angles = decoder.rotary_emb(inputs_embeds, torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)[None])
    hidden = inputs_embeds
    for layer in decoder.layers[:-1]:
        hidden = layer(hidden, position_embeddings=angles)
    hidden = decoder.layers[-1](hidden, position_embeddings=angles, places=places)
    return BaseModelOutputWithPast(last_hidden_state=decoder.norm(hidden))


def _decoder_layer(
    layer: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    past_key_values: Any = None,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    places: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """One decoder layer; with a mask or a cache its own pass."""
    if attention_mask is None and past_key_values is None and position_embeddings is not None:
        return decoder_layer(layer, hidden_states, position_embeddings, layer.shares_dropout, places)
    kwargs |= {"past_key_values": past_key_values, "position_embeddings": position_embeddings}
    result: torch.Tensor = type(layer).forward(layer, hidden_states, attention_mask=attention_mask, **kwargs)
    return result


def decoder_layer(
    layer: Any,
    hidden: torch.Tensor,
    angles: tuple[torch.Tensor, torch.Tensor],
    shared_dropout: bool,
    read: torch.Tensor | None = None,
) -> torch.Tensor:
    """One causal decoder layer.

    Args:
        layer: Layer of transformers' Llama or Qwen2 decoder, with or without PEFT's adapters.
        hidden: (B, N, D).
        angles: Cosine and sine (B or 1, N, head size) of the rotary positions.
        shared_dropout: See `fuse`.
        read: (m,) places of the flattened rows whose result is wanted; None for all.

    Returns:
        (B, N, D), or (m, D).
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
    mixed = mixed.transpose(1, 2).reshape(count, places, -1)
    if read is not None:
        mixed, hidden = (part.flatten(0, 1).index_select(0, read) for part in (mixed, hidden))
    (output,) = adapted((attention.o_proj,), mixed, shared_dropout)
    hidden = hidden + output
    gate, up = adapted((mlp.gate_proj, mlp.up_proj), layer.post_attention_layernorm(hidden), shared_dropout)
    (output,) = adapted((mlp.down_proj,), mlp.act_fn(gate) * up, shared_dropout)
    return hidden + output


def adapted(layers: Sequence[nn.Module], inputs: torch.Tensor, shared_dropout: bool) -> tuple[torch.Tensor, ...]:
    """Outputs of linear layers that read one input, with the low-rank updates of those that carry an adapter."""
    bases: list[Any] = [getattr(layer, "base_layer", layer) for layer in layers]
    has_adapters = any(hasattr(layer, "lora_A") for layer in layers)
    if len(bases) > 1 and has_adapters and _can_widen(layers, bases, inputs):
        return _widened(layers, bases, inputs, shared_dropout)
    outputs = linears(bases, inputs)
    if not has_adapters:
        return outputs
    updates = zip(_reduced(layers, inputs, shared_dropout), _second(layers))
    return tuple(out + functional.linear(low, weight).to(inputs.dtype) for out, (low, weight) in zip(outputs, updates))


def _reduced(layers: Sequence[Any], inputs: torch.Tensor, shared_dropout: bool) -> tuple[torch.Tensor, ...]:
    """The input behind dropout and first matrix of each layer's adapter: (..., R)."""
    first = [layer.lora_A[ADAPTER].weight for layer in layers]
    wide = inputs.to(first[0].dtype)
    if shared_dropout:
        reduced = functional.linear(dropped_out(layers[0].lora_dropout[ADAPTER], wide), torch.cat(first))
        return reduced.split([weight.shape[0] for weight in first], dim=-1)
    dropouts = [layer.lora_dropout[ADAPTER] for layer in layers]
    return tuple(functional.linear(dropped_out(dropout, wide), weight) for dropout, weight in zip(dropouts, first))


def dropped_out(dropout: Any, inputs: torch.Tensor) -> torch.Tensor:
    """What a dropout layer makes of its inputs."""
    share = getattr(dropout, "p", 0.0)
    if torch.compiler.is_compiling() and dropout.training and 0 < share < 1:
        return hashed_dropout(inputs, share)
    result: torch.Tensor = dropout(inputs)
    return result


def hashed_dropout(inputs: torch.Tensor, share: float) -> torch.Tensor:
    """Dropout of fewer than 2**31 numbers, for compiled layers. Which of them fall out follows from a hash of their places (the
    mixing steps of Wellons, Prospecting for Hash Functions, 2018) and two random numbers; random numbers for all places
    would take longer than everything else that is done with the inputs."""
    seeds = torch.randint(2**31 - 1, (2,), dtype=torch.int32, device=inputs.device)
    bits = torch.arange(inputs.numel(), dtype=torch.int32, device=inputs.device).view(inputs.shape) + seeds[0]
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        bits = (bits ^ (bits >> shift & (1 << 32 - shift) - 1)) * factor + seeds[1]
    bits = (bits ^ bits >> 16) & 2**31 - 1
    return torch.where(bits >= round(share * 2**31), inputs / (1 - share), 0.0).to(inputs.dtype)


def _second(layers: Sequence[Any]) -> list[torch.Tensor]:
    """The second matrices of the adapters, which are small, with the scale on them."""
    return [layer.scaling[ADAPTER] * layer.lora_B[ADAPTER].weight for layer in layers]


def _can_widen(layers: Sequence[Any], bases: Sequence[Any], inputs: torch.Tensor) -> bool:
    """Whether adapters can go into the product of their frozen layers: all of one type, and nobody who converts them."""
    weights = [base.weight for base in bases] + [layer.lora_B[ADAPTER].weight for layer in layers]
    is_frozen = not any(parameter.requires_grad for base in bases for parameter in base.parameters())
    is_plain = not torch.is_autocast_enabled(inputs.device.type)
    return is_frozen and is_plain and all(weight.dtype == inputs.dtype for weight in weights)


def _widened(
    layers: Sequence[Any], bases: Sequence[Any], inputs: torch.Tensor, shared_dropout: bool
) -> tuple[torch.Tensor, ...]:
    """Outputs of adapted layers: [inputs, reduced inputs] times [weights, second matrices along a diagonal]."""
    reduced = torch.cat(_reduced(layers, inputs, shared_dropout), dim=-1)
    seconds, before = [], 0
    for second in _second(layers):
        seconds.append(functional.pad(second, (before, reduced.shape[-1] - before - second.shape[1])))
        before += second.shape[1]
    wide = torch.cat([inputs, reduced], dim=-1)
    matrices = [torch.cat([base.weight, second], dim=1) for base, second in zip(bases, seconds)]
    return _apply_linears(wide, matrices, [base.bias for base in bases], inputs.shape[-1])


def linears(layers: Sequence[Any], inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Outputs of linear layers that read one input; the gradient of the input is added up inside the products."""
    if torch.is_autocast_enabled(inputs.device.type):
        return tuple(layer(inputs) for layer in layers)
    return _apply_linears(inputs, [layer.weight for layer in layers], [layer.bias for layer in layers], 0)


def _apply_linears(
    inputs: torch.Tensor, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor | None], frozen: int
) -> tuple[torch.Tensor, ...]:
    outputs: tuple[torch.Tensor, ...] = _Linears.apply(inputs, frozen, *weights, *biases)
    return outputs


class _Linears(torch.autograd.Function):
    """Linear layers of one input, whose first ``frozen`` columns of weights, and then all biases, get no gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, frozen: int, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        count = len(parameters) // 2
        weights, biases = parameters[:count], parameters[count:]
        ctx.frozen, ctx.has_bias = frozen, [bias is not None for bias in biases]
        ctx.save_for_backward(inputs, *weights)
        return tuple(functional.linear(inputs, weight, bias) for weight, bias in zip(weights, biases))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, *weights = ctx.saved_tensors
        rows = inputs.flatten(0, -2)
        flat = [gradient.flatten(0, -2) for gradient in gradients]
        total = flat[0] @ weights[0]
        for gradient, weight in zip(flat[1:], weights[1:]):
            total = torch.addmm(total, gradient, weight)
        frozen = ctx.frozen
        to_weights = [functional.pad(gradient.T @ rows[:, frozen:], (frozen, 0)) for gradient in flat]
        to_biases = [gradient.sum(0) if has and not frozen else None for gradient, has in zip(flat, ctx.has_bias)]
        return total.view_as(inputs), None, *to_weights, *to_biases
