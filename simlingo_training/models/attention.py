"""The choice of torch's attention kernel."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch.nn.attention import SDPBackend, sdpa_kernel

KERNELS = {"default": None, "cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
"""Names of torch's attention kernels; ``default`` leaves the choice to torch."""


def attention_kernel(name: str) -> AbstractContextManager[None]:
    """Prefer one of torch's attention kernels inside the block; where it cannot run, the next best runs."""
    first = KERNELS[name]
    if first is None:
        return nullcontext()
    rest = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
    return sdpa_kernel([first, *(backend for backend in rest if backend != first)], set_priority=True)
