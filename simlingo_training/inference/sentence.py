"""A whole sentence in one kernel: greedy decoding that stays on the GPU until the end token.

`sentence.cu` beside this file says how; here it is compiled for the sizes of a decoder, which takes a second, and launched.
It needs a GPU of compute capability 9.0 (H100, H200) or later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simlingo_training.inference.decoder import CachedDecoder

SOURCE = Path(__file__).with_suffix(".cu")

WARPS = 15
"""Warps of a block that multiply; with the one that has weights copied, four for each quarter of a multiprocessor."""

SPLITS = 6
"""Blocks that share the places of a head: more are done sooner, and then there is more to merge."""

SLOTS, SLOT_BYTES = 10, 20480
"""Slots of a block's ring of weights and their size: together most of the shared memory that a block can have. A matrix with
longer rows gets fewer, larger ones."""

LEAST_SLOTS = 5

LEAST_CAPABILITY = (9, 0)
"""The first GPUs that copy memory without their threads."""

Launch = Callable[[Sequence[torch.Tensor | int]], None]
"""Runs the kernel with its arguments."""

Compile = Callable[[Mapping[str, int], int], Launch]
"""Makes a `Launch` of macros and bytes of shared memory."""


def compile_for_gpu(macros: Mapping[str, int], shared_bytes: int) -> Launch:
    """Compile the kernel by NVRTC, which CUDA builds of torch bring."""
    options = ["-std=c++17", *(f"-D{name}={value}" for name, value in macros.items())]
    kernel = torch.cuda._compile_kernel(SOURCE.read_text(), "sentence", nvcc_options=options)
    kernel.set_shared_memory_config(shared_bytes)
    threads = 32 * (macros["WARPS"] + 1)

    def launch(arguments: Sequence[torch.Tensor | int]) -> None:
        kernel(grid=(macros["GRID"], 1, 1), block=(threads, 1, 1), args=list(arguments), shared_mem=shared_bytes)

    return launch


def ring(row_bytes: int) -> tuple[int, int]:
    """Slots and bytes of each for matrices whose longest row has so many bytes."""
    slot = max(SLOT_BYTES, -(-row_bytes // 128) * 128)
    return SLOTS * SLOT_BYTES // slot, slot


def sizes(decoder: CachedDecoder, blocks: int) -> dict[str, int]:
    """Macros of the kernel for a decoder with its cache reserved."""
    inner = decoder.layers[0].down.shape[1]
    slots, slot = ring(inner * decoder.final_norm.dtype.itemsize)
    return {
        "NARROW": int(decoder.final_norm.dtype == torch.bfloat16),
        "HAS_BIAS": int(decoder.layers[0].qkv_bias is not None),
        "WIDTH": decoder.embedding.shape[1],
        "HEADS": decoder.heads,
        "GROUPS": decoder.kv_heads,
        "SIZE": decoder.head_size,
        "INNER": inner,
        "PLACES": decoder.places,
        "LAYERS": len(decoder.layers),
        "VOCABULARY": len(decoder.output_weight),
        "EPS_BITS": int(np.float32(decoder.eps).view(np.uint32)),
        "GRID": blocks,
        "WARPS": WARPS,
        "SPLITS": min(SPLITS, blocks // decoder.heads),
        "SLOTS": slots,
        "SLOT": slot,
    }


def shared_bytes(macros: Mapping[str, int]) -> int:
    """Shared memory of a block, as `Shared` in the source lays it out, and a little more."""
    warps, size, heads = macros["WARPS"], macros["SIZE"], macros["HEADS"]
    everything = macros["WIDTH"], macros["INNER"], (heads + 2 * macros["GROUPS"]) * size
    rows, inner, qkv = (-(-count // macros["GRID"]) for count in everything)
    words = heads * size + rows * (warps + 1) + inner + macros["LAYERS"] * qkv + warps * (size + 3)
    return macros["SLOTS"] * (macros["SLOT"] + 16) + 4 * words + 256


class SentenceKernel:
    """Greedy decoding of one row of a `CachedDecoder` on the GPU."""

    def __init__(
        self,
        decoder: CachedDecoder,
        longest: int,
        end_token: int,
        blocks: int | None = None,
        compile_kernel: Compile = compile_for_gpu,
    ) -> None:
        """Compile for a decoder.

        Args:
            decoder: With its cache reserved, in bfloat16 or float32.
            longest: Most tokens of a sentence.
            end_token: Where to stop.
            blocks: Blocks that run together; by default one for every multiprocessor, which all run at once. More would
                wait for each other for ever.
            compile_kernel: How to compile and launch.
        """
        self._decoder, self._stacks, self._end_token = decoder, decoder.stack(), end_token
        device = decoder.output_weight.device
        if blocks is None:
            blocks = torch.cuda.get_device_properties(device).multi_processor_count
        macros = sizes(decoder, blocks)
        self._launch = compile_kernel(macros, shared_bytes(macros))

        def room(size: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros(size, dtype=dtype, device=device)

        kind, parts = decoder.final_norm.dtype, decoder.heads * macros["SPLITS"]
        attended = (decoder.heads + 2 * decoder.kv_heads) * decoder.head_size
        self.start, self.said = room(3, torch.int32), room(1 + longest, torch.int32)
        self._counter = room(1, torch.int32)
        self._exchange = (
            room(macros["WIDTH"], kind),
            room(attended, kind),
            room(macros["INNER"], kind),
            room(parts * decoder.head_size, torch.float32),
            room(parts, torch.float32),
            room(parts, torch.float32),
            room(blocks, torch.float32),
            room(blocks, torch.int32),
        )

    @staticmethod
    def supports(decoder: CachedDecoder) -> bool:
        """Whether the GPU and the sizes of a decoder are such that the kernel runs."""
        device, kind = decoder.output_weight.device, decoder.final_norm.dtype
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
            return False
        piece = 16 // kind.itemsize
        width, inner = decoder.embedding.shape[1], decoder.layers[0].down.shape[1]
        fits = width % piece == 0 and inner % piece == 0 and ring(inner * kind.itemsize)[0] >= LEAST_SLOTS
        if not (fits and decoder.head_size % 64 == 0 and kind in (torch.bfloat16, torch.float32)):
            return False
        gpu: Any = torch.cuda.get_device_properties(device)
        blocks = gpu.multi_processor_count
        needed = shared_bytes(sizes(decoder, blocks))
        return bool(blocks >= decoder.heads and gpu.shared_memory_per_block_optin >= needed)

    def launch(self, row: int) -> None:
        """Continue one row of the cache: ``start`` (3,) is a token, the place where it belongs, and the most tokens to add;
        ``said`` (1 + longest,) becomes how many there are, and they."""
        decoder, stacks = self._decoder, self._stacks
        keys, values = decoder.cache(row)
        cos, sin = decoder.angles()
        self._counter.zero_()
        self._launch(
            (
                self.start, self.said, self._counter, *self._exchange, decoder.embedding, stacks.attention_norm, stacks.qkv,
                stacks.qkv if stacks.qkv_bias is None else stacks.qkv_bias, stacks.output, stacks.mlp_norm, stacks.gate_up,
                stacks.down, decoder.final_norm, decoder.output_weight, keys, values, cos, sin, self._end_token,
                keys.stride(0),
            )
        )  # fmt: skip
