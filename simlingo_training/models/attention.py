"""The choice of the attention kernel: one of torch's, or FlashAttention 4 for the vision tower."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import register_flop_formula
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from simlingo_training.models.capability import too_old

FLASH4 = "flash4"
"""FlashAttention 4 (package flash-attn-4) in the vision tower and cuDNN elsewhere."""

KERNELS = {
    "default": None,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    FLASH4: SDPBackend.CUDNN_ATTENTION,
}
"""Names of attention kernels and which of torch's they try first; ``default`` leaves the choice to torch."""

TOWER_ATTENTION = "fa4_or_sdpa"
"""Name of `tower_attention` among transformers' attention functions; it takes names with ``flash`` in them for its own."""

DEVICES = ("cuda",)
"""Types of devices that FlashAttention 4 has kernels for."""

CAPABILITY = (9, 0)
"""Oldest GPUs with a backward pass of FlashAttention 4: Hopper."""


def attention_kernel(name: str) -> AbstractContextManager[None]:
    """Prefer one of torch's attention kernels inside the block; where it cannot run, the next best runs."""
    first = KERNELS[name]
    if first is None:
        return nullcontext()
    rest = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
    return sdpa_kernel([first, *(backend for backend in rest if backend != first)], set_priority=True)


def prefer_flash4(tower: nn.Module) -> None:
    """Let a vision tower of transformers attend by FlashAttention 4 where `flash4_takes` its numbers.

    Raises:
        ModuleNotFoundError: Without the package.
        ValueError: On a GPU that is too old for it.
    """
    _interface()
    if torch.cuda.is_available():
        old = too_old(torch.cuda.get_device_capability(), CAPABILITY, "it needs")
        if old:
            raise ValueError(f"attention kernel {FLASH4!r} cannot run: {old} or later (H100, H200, B200). Take 'flash'")
    tower.config._attn_implementation = TOWER_ATTENTION  # type: ignore[union-attr]


def is_flash4_preferred(module: Any) -> bool:
    """Whether `prefer_flash4` was called for the tower of an attention module."""
    return module.config._attn_implementation == TOWER_ATTENTION


def flash4_takes(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether FlashAttention 4 may compute the attention of all places to all places of query, key, value (..., S)."""
    size = query.shape[-1]
    return (
        query.device.type in DEVICES
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.dtype == key.dtype == value.dtype
        and query.shape == key.shape == value.shape
        and size % 8 == 0
        and size <= 128
    )


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, prefers_flash4: bool) -> torch.Tensor:
    """Attention of all places to all places: query, key, value (B, H, N, S) to (B, H, N, S)."""
    if prefers_flash4 and flash4_takes(query, key, value):
        mixed: torch.Tensor = flash4(*(part.transpose(1, 2) for part in (query, key, value)))[0]
        return mixed.transpose(1, 2)
    return functional.scaled_dot_product_attention(query, key, value)


def tower_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """`attend` as transformers' modules call it: query, key, value (B, H, N, S) to (B, N, H, S). What is not plain, such as a
    mask, goes to torch's kernels."""
    is_plain = attention_mask is None and not dropout and is_causal is False
    if is_plain and scaling in (None, query.shape[-1] ** -0.5):
        return attend(query, key, value, True).transpose(1, 2), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
    )


AttentionInterface.register(TOWER_ATTENTION, tower_attention)
AttentionMaskInterface.register(TOWER_ATTENTION, sdpa_mask)


def _interface() -> Any:
    """The functions of the package flash-attn-4."""
    try:
        from flash_attn.cute import interface
    except ImportError as error:
        raise ModuleNotFoundError(
            f"attention kernel {FLASH4!r} needs the package flash-attn-4, which cannot be imported ({error}): "
            "pip install flash-attn-4, or take 'cudnn'"
        ) from error
    return interface


# What the compiler sees of FlashAttention 4 are two operators. It does not know how to compute them again, so it keeps their
# results for the backward pass, and hands over inputs with the strides of the traced ones, so that nothing is copied.


def _forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    result, sums, *_ = _interface()._flash_attn_fwd(query, key, value, return_lse=True)
    return result, sums


def _backward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    result: torch.Tensor,
    gradient: torch.Tensor,
    sums: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    to_query, to_key, to_value = (part.new_empty(part.shape) for part in (query, key, value))
    _interface()._flash_attn_bwd(
        query,
        key,
        value,
        result,
        gradient,
        sums,
        dq=to_query,
        dk=to_key,
        dv=to_value,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return to_query, to_key, to_value


flash4 = torch.library.custom_op(
    "simlingo::flash4", _forward, mutates_args=(), schema="(Tensor query, Tensor key, Tensor value) -> (Tensor, Tensor)"
)
"""Query, key, value (B, N, H, S) to their attention (B, N, H, S) and the logarithms of the sums of its exponentials
(B, H, N), float32."""

flash4_backward = torch.library.custom_op(
    "simlingo::flash4_backward",
    _backward,
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor result, Tensor gradient, Tensor sums)"
    " -> (Tensor, Tensor, Tensor)",
)
"""Gradients (B, N, H, S) of query, key and value by that of the attention."""


@flash4.register_fake
def _forward_shapes(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows, places, heads, _ = query.shape
    return query.new_empty(query.shape), query.new_empty((rows, heads, places), dtype=torch.float32)


@flash4_backward.register_fake
def _backward_shapes(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
    return tuple(part.new_empty(part.shape) for part in (query, key, value))


def _keep(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _gradients(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, ...]:
    query, key, value, result, sums = ctx.saved_tensors
    return flash4_backward(query, key, value, result, gradient, sums)


flash4.register_autograd(_gradients, setup_context=_keep)


@register_flop_formula(torch.ops.simlingo.flash4)
def _forward_flops(query: torch.Size, *_: Any, **__: Any) -> int:
    """Two products of all pairs of places."""
    rows, places, heads, size = query
    return 4 * rows * heads * places * places * size


@register_flop_formula(torch.ops.simlingo.flash4_backward)
def _backward_flops(query: torch.Size, *_: Any, **__: Any) -> int:
    """Five products: the scores again, and four gradients."""
    return _forward_flops(query) * 5 // 2
