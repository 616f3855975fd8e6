"""Small language models with random weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import Qwen2Config, Qwen2Model


@dataclass(frozen=True)
class Sizes:
    """Sizes of a decoder: rows and columns of the embedding table, channels of the gates, blocks, heads, groups of keys and
    values, and channels of a head, by default so many that the heads fill the width."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    groups: int
    head_size: int | None = None


def language_model(sizes: Sizes, matrix_gain: float, word_gain: float) -> Qwen2Model:
    """A decoder whose answers vary and to which every part matters: norms and biases are not those of a new one, and
    matrices, which in a new one hardly change anything, are multiplied by a gain, the embeddings by another one too."""
    config = Qwen2Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        intermediate_size=sizes.inner,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.groups,
        head_dim=sizes.head_size or sizes.width // sizes.heads,
        max_position_embeddings=512,
    )
    model = Qwen2Model(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.2)
        else:
            parameter.mul_(matrix_gain)
    model.embed_tokens.weight.mul_(word_gain)
    return model
