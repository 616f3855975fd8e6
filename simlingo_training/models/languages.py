"""Decoders of InternVL's sizes that are Llama in another packing: InternLM2, InternLM3 and Phi-3.

InternVL2-2B and 8B hold an InternLM2, InternVL2-4B a Phi-3, InternVL3-9B an InternLM3; all others a Qwen2 or Llama as they are.
The arithmetic of each is that of Llama; only names, joined matrices and configuration keys differ (``modeling_internlm2.py`` of
InternLM/InternLM, transformers' ``Phi3ForCausalLM``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

SHARED_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "initializer_range",
)  # fmt: skip

INTERNLM2_NAMES = (
    (r"model\.tok_embeddings\.", "model.embed_tokens."),
    (r"attention\.wo\.", "self_attn.o_proj."),
    (r"feed_forward\.w1\.", "mlp.gate_proj."),
    (r"feed_forward\.w2\.", "mlp.down_proj."),
    (r"feed_forward\.w3\.", "mlp.up_proj."),
    (r"attention_norm\.", "input_layernorm."),
    (r"ffn_norm\.", "post_attention_layernorm."),
    (r"^output\.", "lm_head."),
)
"""InternLM2's name to Llama's; the joined projections are split apart besides."""


def is_repacked(text: Mapping[str, Any]) -> bool:
    """Whether a decoder configuration is one that becomes a Llama."""
    return text.get("model_type") in ("internlm2", "internlm3", "phi3")


def llama_values(text: Mapping[str, Any]) -> dict[str, Any]:
    """Llama's configuration of such a decoder; stretching beyond the trained length (``dynamic``) is left out, because
    SimLingo's rows are far shorter."""
    values = {key: text[key] for key in SHARED_KEYS if text.get(key) is not None}
    values["attention_bias"] = bool(text.get("bias") or text.get("qkv_bias"))
    scaling = text.get("rope_scaling")
    if scaling and scaling.get("type", scaling.get("rope_type")) in ("su", "longrope"):
        trained = text.get("original_max_position_embeddings", 4096)
        values["rope_scaling"] = {
            "rope_type": "longrope",
            "rope_theta": text.get("rope_theta", 10000.0),
            "short_factor": list(scaling["short_factor"]),
            "long_factor": list(scaling["long_factor"]),
            "factor": text["max_position_embeddings"] / trained,
            "original_max_position_embeddings": trained,
        }
    return values


def to_llama(name: str, tensor: torch.Tensor, text: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Rename one tensor of such a decoder (``model.…``, ``lm_head.…``) to Llama's names, splitting joined matrices."""
    stem, _, rest = name.rpartition(".attention.wqkv.")
    if stem:
        return {f"{stem}.self_attn.{part}_proj.{rest}": value for part, value in _of_groups(tensor, text).items()}
    stem, _, rest = name.rpartition(".self_attn.qkv_proj.")
    if stem:
        size = tensor.shape[0] * text["num_attention_heads"] // _total_heads(text)
        other = (tensor.shape[0] - size) // 2
        return {f"{stem}.self_attn.{p}_proj.{rest}": v for p, v in zip("qkv", tensor.split([size, other, other]))}
    stem, _, rest = name.rpartition(".mlp.gate_up_proj.")
    if stem:
        return {f"{stem}.mlp.{part}_proj.{rest}": value for part, value in zip(("gate", "up"), tensor.chunk(2))}
    for pattern, replacement in INTERNLM2_NAMES:
        name = re.sub(pattern, replacement, name)
    return {name: tensor}


def _total_heads(text: Mapping[str, Any]) -> int:
    return int(text["num_attention_heads"] + 2 * text["num_key_value_heads"])


def _of_groups(tensor: torch.Tensor, text: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """InternLM2's joined projection: for every key-value head its queries, then its key, then its value."""
    heads, groups = text["num_attention_heads"], text["num_key_value_heads"]
    size = tensor.shape[0] // _total_heads(text)
    split = tensor.view(groups, heads // groups + 2, size, *tensor.shape[1:])
    parts = {"q": split[:, :-2], "k": split[:, -2:-1], "v": split[:, -1:]}
    return {part: value.reshape(-1, *tensor.shape[1:]).contiguous() for part, value in parts.items()}
