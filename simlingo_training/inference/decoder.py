"""A decoder with a key-value cache that is written in place.

The layers are those of Qwen2 and Llama (RMS norm, rotary positions, grouped-query attention, gated MLP). Weights are taken
from transformers' module once, with adapters merged, the three attention projections joined to one matrix and the two
gate projections to another. Dimension letters: B rows, N new tokens, M cache places, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from simlingo_training.models.rotary import turn


@dataclass
class LayerWeights:
    """One decoder block, or all of them along a first dimension; matrices are (out, in)."""

    attention_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    output: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


def merged_weight(layer: Any) -> torch.Tensor:
    """Weight (out, in) of a linear layer with its adapter added: W + alpha / rank * B A (Hu et al., LoRA, 2021)."""
    base = getattr(layer, "base_layer", None)
    if base is None:
        return layer.weight.detach()
    merged: torch.Tensor = base.weight.detach()
    for name in layer.active_adapters:
        delta = layer.lora_B[name].weight.detach().float() @ layer.lora_A[name].weight.detach().float()
        merged = (merged.float() + layer.scaling[name] * delta).to(merged.dtype)
    return merged


def bias_of(layer: Any) -> torch.Tensor | None:
    """Bias of a linear layer, with or without an adapter around it."""
    bias = getattr(getattr(layer, "base_layer", layer), "bias", None)
    return None if bias is None else bias.detach()


def head_size(config: Any) -> int:
    """Channels of a head, by a transformers configuration."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def layer_weights(block: Any) -> LayerWeights:
    """Collect the weights of one transformers decoder block."""
    attention, mlp = block.self_attn, block.mlp
    projections = [attention.q_proj, attention.k_proj, attention.v_proj]
    biases = [bias_of(layer) for layer in projections]
    present = [bias for bias in biases if bias is not None]
    if present and len(present) != len(biases):
        raise ValueError("expected a bias on all or none of the query, key and value projections")
    return LayerWeights(
        attention_norm=block.input_layernorm.weight.detach(),
        qkv=torch.cat([merged_weight(layer) for layer in projections]),
        qkv_bias=torch.cat(present) if present else None,
        output=merged_weight(attention.o_proj),
        mlp_norm=block.post_attention_layernorm.weight.detach(),
        gate_up=torch.cat([merged_weight(mlp.gate_proj), merged_weight(mlp.up_proj)]),
        down=merged_weight(mlp.down_proj),
    )


def look_up(
    codes: torch.Tensor, embedding: torch.Tensor, numbers: torch.Tensor, features: torch.Tensor
) -> torch.Tensor:
    """Embeddings (B, N, D) of inputs (B, N): tokens of a table (V, D), and below zero, counted from -1 down, rows of
    ``numbers`` (B, K, D) and then of ``features`` (B, P, D). Tokens beyond the table take its last row."""
    others = torch.cat([numbers, features], 1)
    places = (-1 - codes).clamp(min=0, max=others.shape[1] - 1)
    rows = torch.arange(len(codes), device=codes.device)[:, None]
    tokens = embedding[codes.clamp(min=0, max=len(embedding) - 1)]
    return torch.where((codes < 0)[..., None], others[rows, places], tokens)


class CachedDecoder:
    """The language model of a SimLingo checkpoint, for inference.

    A place of the cache may be written again: tokens that were tried and rejected are simply overwritten, because a query
    only sees places up to its own position.
    """

    def __init__(self, decoder: Any, output_weight: torch.Tensor) -> None:
        """Take the weights of a transformers Qwen2 or Llama model, adapters merged.

        Args:
            decoder: The module.
            output_weight: (V, D) matrix that turns hidden states into scores.

        Raises:
            ValueError: If its layers are of another kind.
        """
        config = decoder.config
        if getattr(config, "hidden_act", "silu") != "silu":
            raise ValueError(f"expected a decoder with SiLU gates, got {config.hidden_act!r}")
        self.layers = [layer_weights(block) for block in decoder.layers]
        self.final_norm = decoder.norm.weight.detach()
        self.output_weight = output_weight
        self.embedding = decoder.embed_tokens.weight.detach()
        self.eps = float(config.rms_norm_eps)
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        self.head_size = head_size(config)
        self._rotary = decoder.rotary_emb
        self._stacks: LayerWeights | None = None
        self._keys = self._values = torch.empty(0)
        self._cos = self._sin = torch.empty(0)

    @property
    def places(self) -> int:
        """Cache places M of each row."""
        return self._keys.shape[3] if self._keys.ndim == 5 else 0

    @property
    def rows(self) -> int:
        """Rows B that the cache holds."""
        return self._keys.shape[1] if self._keys.ndim == 5 else 0

    def reserve(self, rows: int, places: int) -> None:
        """Make room for ``rows`` sequences of ``places`` tokens; what the cache held is lost when it grows."""
        if rows <= self.rows and places <= self.places:
            return
        rows, places = max(rows, self.rows), max(places, self.places)
        weight = self.final_norm
        shape = (len(self.layers), rows, self.kv_heads, places, self.head_size)
        self._keys, self._values = (torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2))
        positions = torch.arange(places, device=weight.device)[None]
        cos, sin = self._rotary(weight, positions)
        self._cos, self._sin = cos[0], sin[0]

    def forward(self, embeddings: torch.Tensor, starts: Sequence[int], first: int = 0) -> torch.Tensor:
        """Run new tokens and remember them.

        Args:
            embeddings: (B, N, D) of the new tokens.
            starts: Place of the first of them in each row; places before must have been written.
            first: The first of them whose hidden state is wanted.

        Returns:
            (B, N - first, D) hidden states after the final norm.
        """
        new = embeddings.shape[1]
        positions = torch.tensor(starts)[:, None] + torch.arange(new)
        # Only padding of rows that are nearly done can lie beyond the cache; it is never looked at.
        positions = positions.clamp(max=self.places - 1).to(embeddings.device)
        visible = 0 if not any(starts) else min(self.places, max(starts) + new)
        return self.run(embeddings, positions, visible)[:, first:]

    def stack(self) -> LayerWeights:
        """Put the weights of all blocks side by side in memory, (layers, out, in); each block keeps its view of them. The
        weights move the first time, so passes must not be recorded before."""
        if self._stacks is None:
            names = [field.name for field in fields(LayerWeights)]
            whole = self._stacks = LayerWeights(*(self._stacked(name) for name in names))  # type: ignore[arg-type]
            for number in range(len(self.layers)):
                parts = [getattr(whole, name) for name in names]
                self.layers[number] = LayerWeights(*(None if part is None else part[number] for part in parts))  # type: ignore[arg-type]
        return self._stacks

    def _stacked(self, name: str) -> torch.Tensor | None:
        parts = [getattr(layer, name) for layer in self.layers]
        return None if parts[0] is None else torch.stack(parts)

    def cache(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one row, (layers, groups, M, size) each; views."""
        return self._keys[:, row], self._values[:, row]

    def angles(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of the rotary positions, (M, size) each."""
        return self._cos, self._sin

    def next_token(self, row: int, token: int, place: int) -> int:
        """Write one token of one row into its place and return the most likely next one. Only row 0 is supported."""
        assert row == 0
        hidden = self.forward(self.embedding[token][None, None], [place])
        return int(functional.linear(hidden[0, -1], self.output_weight).argmax())

    def look_up(self, codes: torch.Tensor, numbers: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """See `look_up`."""
        return look_up(codes, self.embedding, numbers, features)

    def run(
        self, embeddings: torch.Tensor, positions: torch.Tensor, visible: int, wanted: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The pass itself, with tensors only.

        Args:
            embeddings: (B, N, D) of the new tokens.
            positions: (B, N) place of each of them.
            visible: Cache places looked at; 0 when the new tokens are the first of their rows and see only each other.
            wanted: (B, W) which of the new tokens are asked for; by default all, in order.

        Returns:
            (B, W, D) hidden states after the final norm.
        """
        hidden = embeddings
        rows = torch.arange(embeddings.shape[0], device=embeddings.device)[:, None]
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        mask = None
        if visible:
            places = torch.arange(visible, device=embeddings.device)
            mask = places[None, None, None, :] <= positions[:, None, :, None]
        for number, layer in enumerate(self.layers):
            hidden = hidden + self._attend(number, layer, hidden, rows, positions, cos, sin, mask, visible)
            normed = self._norm(hidden, layer.mlp_norm)
            gate, up = functional.linear(normed, layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + functional.linear(functional.silu(gate) * up, layer.down)
        if wanted is not None:
            hidden = hidden[rows, wanted]
        return self._norm(hidden, self.final_norm)

    def _norm(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = hidden.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return weight * scaled.to(hidden.dtype)

    def _attend(
        self,
        number: int,
        layer: LayerWeights,
        hidden: torch.Tensor,
        rows: torch.Tensor,
        positions: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        mask: torch.Tensor | None,
        visible: int,
    ) -> torch.Tensor:
        """Attention of one block over the cache; writes the new keys and values first."""
        batch, new, _ = hidden.shape
        projected = functional.linear(self._norm(hidden, layer.attention_norm), layer.qkv)
        if layer.qkv_bias is not None:
            projected = projected + layer.qkv_bias
        projected = projected.view(batch, new, self.heads + 2 * self.kv_heads, self.head_size).transpose(1, 2)
        query, key, value = projected.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        query, key = turn(query, cos, sin), turn(key, cos, sin)
        keys, values = self._keys[number, :batch], self._values[number, :batch]
        keys.transpose(1, 2)[rows, positions] = key.transpose(1, 2)
        values.transpose(1, 2)[rows, positions] = value.transpose(1, 2)
        if visible:
            key, value = keys[:, :, :visible], values[:, :, :visible]
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=not visible, enable_gqa=True
        )
        return functional.linear(mixed.transpose(1, 2).reshape(batch, new, -1), layer.output)


class DropoutDecoder:
    """The same interface with adapter dropout left on, every call from the first token again.

    The published agent drives like this: its model never leaves training mode and has no cache, so two equal calls differ.
    """

    def __init__(self, decoder: Any, output_weight: torch.Tensor) -> None:
        """Switch the adapters' dropout of a transformers decoder on.

        Raises:
            ValueError: If it has no adapter dropout.
        """
        dropouts = [m for name, m in decoder.named_modules() if "lora_dropout" in name and isinstance(m, nn.Dropout)]
        if not dropouts:
            raise ValueError("dropout=True needs a checkpoint with adapters and their dropout; this one has none")
        for module in dropouts:
            module.train()
        self._decoder = decoder
        self._output_weight = output_weight
        self._seen = torch.empty(0)

    @property
    def places(self) -> int:
        """Tokens that fit into a row."""
        return self._seen.shape[1] if self._seen.ndim == 3 else 0

    def reserve(self, rows: int, places: int) -> None:
        """Make room for ``rows`` sequences of ``places`` tokens."""
        weight = next(self._decoder.parameters())
        width = int(self._decoder.config.hidden_size)
        self._seen = torch.zeros(rows, places, width, dtype=weight.dtype, device=weight.device)

    def forward(self, embeddings: torch.Tensor, starts: Sequence[int], first: int = 0) -> torch.Tensor:
        """See `CachedDecoder.forward`."""
        new = embeddings.shape[1]
        rows = torch.arange(embeddings.shape[0])[:, None]
        positions = (torch.tensor(starts)[:, None] + torch.arange(new)).clamp(max=self.places - 1)
        self._seen[rows, positions] = embeddings
        visible = min(self.places, max(starts) + new)
        hidden = self._decoder(inputs_embeds=self._seen[:, :visible].clone(), use_cache=False).last_hidden_state
        return hidden[rows, positions][:, first:]

    def look_up(self, codes: torch.Tensor, numbers: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """See `look_up`."""
        return look_up(codes, self._decoder.embed_tokens.weight, numbers, features)

    def next_token(self, row: int, token: int, place: int) -> int:
        """See `CachedDecoder.next_token`."""
        embedded = self._decoder.embed_tokens.weight[token][None, None]
        hidden = self.forward(embedded, [place])
        return int(functional.linear(hidden[row, -1], self._output_weight).argmax())
