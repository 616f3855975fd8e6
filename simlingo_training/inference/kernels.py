"""Small steps between matrix products as single GPU kernels: norms with their residuals, activations, rotary positions,
attention over the cache, resizing.

PyTorch would take several kernels for each, and a network of a millisecond consists of hundreds of them. Roundings to the
model's type are those of the plain modules. Importing this module needs Triton, which CUDA builds of torch bring.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl

from simlingo_training.data.bicubic import PRECISION_BITS, fixed_taps
from simlingo_training.data.images import IMAGENET_MEAN, IMAGENET_STD, TileSpec

RMS_NORM_WARPS, LAYER_NORM_WARPS = 4, 4


@triton.jit
def _add_rms_norm(hidden, delta, weight, out, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr, PARTS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * WIDTH
    columns = tl.arange(0, PADDED)
    inside = columns < WIDTH
    values = tl.load(hidden + row + columns, mask=inside, other=0.0)
    if PARTS > 0:
        step = tl.num_programs(0).to(tl.int64) * WIDTH
        change = tl.load(delta + row + columns, mask=inside, other=0.0).to(tl.float32)
        for part in tl.static_range(1, PARTS):
            change += tl.load(delta + part * step + row + columns, mask=inside, other=0.0).to(tl.float32)
        values += change.to(values.dtype)
        tl.store(hidden + row + columns, values, mask=inside)
    wide = values.to(tl.float32)
    scale = 1 / tl.sqrt(tl.sum(wide * wide, 0) / WIDTH + eps)
    gain = tl.load(weight + columns, mask=inside, other=0.0)
    tl.store(out + row + columns, (wide * scale).to(values.dtype) * gain, mask=inside)


def add_rms_norm(hidden: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Add ``delta``, (n, D) or summands (S, n, D) of it, to ``hidden`` (n, D) in place and return its root-mean-square norm
    (n, D)."""
    rows, width = hidden.shape
    out = torch.empty_like(hidden)
    _add_rms_norm[(rows,)](
        hidden, hidden if delta is None else delta, weight, out, eps, WIDTH=width, PADDED=triton.next_power_of_2(width),
        PARTS=0 if delta is None else delta.numel() // hidden.numel(), num_warps=RMS_NORM_WARPS,
    )  # fmt: skip
    return out


@triton.jit
def _layer_norm(values, weight, bias, eps, columns, inside, WIDTH: tl.constexpr):
    wide = values.to(tl.float32)
    centred = tl.where(inside, wide - tl.sum(wide, 0) / WIDTH, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 0) / WIDTH + eps)
    gain = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    return centred * scale * gain + shift


@triton.jit
def _add_layer_norm(
    hidden, delta, layer_scale, weight, bias, out, eps,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, ADDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * WIDTH
    columns = tl.arange(0, PADDED)
    inside = columns < WIDTH
    values = tl.load(hidden + row + columns, mask=inside, other=0.0)
    if ADDS:
        change = tl.load(delta + row + columns, mask=inside, other=0.0)
        values += change * tl.load(layer_scale + columns, mask=inside, other=0.0)
        tl.store(hidden + row + columns, values, mask=inside)
    tl.store(out + row + columns, _layer_norm(values, weight, bias, eps, columns, inside, WIDTH), mask=inside)


def add_layer_norm(
    hidden: torch.Tensor, delta: torch.Tensor | None, layer_scale: torch.Tensor, norm: Any
) -> torch.Tensor:
    """Add ``layer_scale * delta`` to ``hidden`` (n, D) in place and return its layer norm (n, D) by a `torch.nn.LayerNorm`."""
    rows, width = hidden.shape
    out = torch.empty_like(hidden)
    _add_layer_norm[(rows,)](
        hidden, hidden if delta is None else delta, layer_scale, norm.weight, norm.bias, out, norm.eps,
        WIDTH=width, PADDED=triton.next_power_of_2(width), ADDS=delta is not None,
        num_warps=LAYER_NORM_WARPS,
    )  # fmt: skip
    return out


@triton.jit
def _place_patches(
    patches, positions, first, weight, bias, hidden, out, eps, PLACES: tl.constexpr, WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    tile, patch = row // PLACES, row % PLACES - 1
    columns = tl.arange(0, PADDED)
    inside = columns < WIDTH
    is_patch = inside & (patch >= 0)
    at = (tile * (PLACES - 1) + patch).to(tl.int64) * WIDTH
    seen = tl.load(patches + at + columns, mask=is_patch, other=0.0)
    seen += tl.load(positions + patch * WIDTH + columns, mask=is_patch, other=0.0)
    values = tl.where(patch >= 0, seen, tl.load(first + columns, mask=inside, other=0.0))
    at = row.to(tl.int64) * WIDTH
    tl.store(hidden + at + columns, values, mask=inside)
    tl.store(out + at + columns, _layer_norm(values, weight, bias, eps, columns, inside, WIDTH), mask=inside)


def place_patches(
    patches: torch.Tensor, positions: torch.Tensor, first: torch.Tensor, norm: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give patches their positions and a class token in front.

    Args:
        patches: (n, P, D).
        positions: (P, D).
        first: (D,) class token with its position.
        norm: The first `torch.nn.LayerNorm`.

    Returns:
        Hidden states (n * (1 + P), D) and their norm.
    """
    count, places, width = patches.shape
    hidden, out = (
        torch.empty(count * (1 + places), width, dtype=patches.dtype, device=patches.device) for _ in range(2)
    )
    _place_patches[(len(hidden),)](
        patches, positions, first, norm.weight, norm.bias, hidden, out, norm.eps, PLACES=1 + places, WIDTH=width,
        PADDED=triton.next_power_of_2(width), num_warps=LAYER_NORM_WARPS,
    )  # fmt: skip
    return hidden, out


@triton.jit
def _join_patches(
    hidden, delta, layer_scale, weight, bias, out, eps, SIDE: tl.constexpr, FACTOR: tl.constexpr, WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0)
    GRID: tl.constexpr = SIDE // FACTOR
    JOINED: tl.constexpr = FACTOR * FACTOR * WIDTH
    tile, row, column = token // (GRID * GRID), token // GRID % GRID, token % GRID
    columns = tl.arange(0, PADDED)
    inside = columns < JOINED
    patch, within = columns // WIDTH, columns % WIDTH
    place = 1 + (row * FACTOR + patch // FACTOR) * SIDE + column * FACTOR + patch % FACTOR
    at = (tile * (1 + SIDE * SIDE) + place).to(tl.int64) * WIDTH + within
    values = tl.load(hidden + at, mask=inside, other=0.0)
    change = tl.load(delta + at, mask=inside, other=0.0)
    values += change * tl.load(layer_scale + within, mask=inside, other=0.0)
    normed = _layer_norm(values, weight, bias, eps, columns, inside, JOINED)
    tl.store(out + token.to(tl.int64) * JOINED + columns, normed, mask=inside)


def join_patches(
    hidden: torch.Tensor, delta: torch.Tensor, layer_scale: torch.Tensor, norm: Any, side: int, factor: int
) -> torch.Tensor:
    """Last residual, class tokens taken away, squares of neighbouring patches side by side, and the layer norm of each.

    Args:
        hidden, delta: (n * (1 + side * side), D).
        layer_scale: (D,).
        norm: A `torch.nn.LayerNorm` of factor * factor * D.
        side: Patches along a side of a tile.
        factor: Patches along a side of a square.

    Returns:
        (n * (side / factor) ** 2, factor * factor * D).
    """
    width, joined = hidden.shape[1], factor * factor * hidden.shape[1]
    tokens = len(hidden) // (1 + side * side) * (side // factor) ** 2
    out = torch.empty(tokens, joined, dtype=hidden.dtype, device=hidden.device)
    _join_patches[(tokens,)](
        hidden, delta, layer_scale, norm.weight, norm.bias, out, norm.eps, SIDE=side, FACTOR=factor, WIDTH=width,
        PADDED=triton.next_power_of_2(joined), num_warps=8,
    )  # fmt: skip
    return out


@triton.jit
def _gate(gate_up, out, count, INNER: tl.constexpr, BLOCK: tl.constexpr):
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    row = places // INNER
    first = row * 2 * INNER + places % INNER
    gate = tl.load(gate_up + first, mask=inside, other=0.0)
    up = tl.load(gate_up + first + INNER, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    tl.store(out + places, (wide / (1 + tl.exp(-wide))).to(gate.dtype) * up, mask=inside)


def gate(gate_up: torch.Tensor) -> torch.Tensor:
    """``silu(gate) * up`` of (n, 2 I), gates first: (n, I)."""
    rows, inner = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty(rows, inner, dtype=gate_up.dtype, device=gate_up.device)
    block = 2048
    _gate[(triton.cdiv(out.numel(), block),)](gate_up, out, out.numel(), INNER=inner, BLOCK=block, num_warps=8)
    return out


@triton.jit
def _place(
    qkv, positions, cos, sin, keys, values, tokens,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PLACES: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0)
    row = token // tokens
    place = tl.load(positions + token)
    heads = tl.arange(0, PADDED)
    offsets = tl.arange(0, SIZE)
    HALF: tl.constexpr = SIZE // 2
    ALL: tl.constexpr = HEADS + 2 * GROUPS
    start = qkv + token.to(tl.int64) * ALL * SIZE + heads[:, None] * SIZE
    known = heads[:, None] < ALL
    own = tl.load(start + offsets[None, :], mask=known, other=0.0)
    other = tl.load(start + ((offsets + HALF) % SIZE)[None, :], mask=known, other=0.0)
    other = tl.where(offsets[None, :] < HALF, -other, other)
    cosine = tl.load(cos + place * SIZE + offsets)[None, :]
    sine = tl.load(sin + place * SIZE + offsets)[None, :]
    kind = own.dtype
    turned = (own * cosine).to(kind) + (other * sine).to(kind)
    tl.debug_barrier()
    tl.store(start + offsets[None, :], turned, mask=heads[:, None] < HEADS)
    group = heads - HEADS
    base = ((row.to(tl.int64) * GROUPS + group) * PLACES + place) * SIZE
    tl.store(keys + base[:, None] + offsets[None, :], turned, mask=(group[:, None] >= 0) & (group[:, None] < GROUPS))
    base -= GROUPS * PLACES * SIZE
    tl.store(values + base[:, None] + offsets[None, :], own, mask=(group[:, None] >= GROUPS) & known)


def place(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    """Turn queries in place, and put turned keys and values into the cache.

    Args:
        qkv: (B, N, (heads + 2 groups) * size).
        positions: (B, N) place of each token.
        cos, sin: (M, size).
        keys, values: (B', groups, M, size), B' at least B.
    """
    batch, new, width = qkv.shape
    _, groups, places, size = keys.shape
    heads = width // size - 2 * groups
    _place[(batch * new,)](
        qkv, positions, cos, sin, keys, values, new, HEADS=heads, GROUPS=groups, SIZE=size, PLACES=places,
        PADDED=triton.next_power_of_2(heads + 2 * groups), num_warps=4,
    )  # fmt: skip


@triton.jit
def _take(
    places, hidden, qkv, positions, hidden_out, qkv_out, positions_out, tokens, wanted,
    WIDTH: tl.constexpr, JOINED: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0).to(tl.int64)
    source = number // wanted * tokens + tl.load(places + number)
    columns = tl.arange(0, PADDED)
    tl.store(positions_out + number, tl.load(positions + source))
    row = tl.load(hidden + source * WIDTH + columns, mask=columns < WIDTH)
    tl.store(hidden_out + number * WIDTH + columns, row, mask=columns < WIDTH)
    row = tl.load(qkv + source * JOINED + columns, mask=columns < JOINED)
    tl.store(qkv_out + number * JOINED + columns, row, mask=columns < JOINED)


def take(
    places: torch.Tensor, hidden: torch.Tensor, qkv: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some of the new tokens.

    Args:
        places: (B, W) which.
        hidden: (B * N, D).
        qkv: (B, N, J).
        positions: (B, N).

    Returns:
        The same of these tokens: (B * W, D), (B, W, J) and (B, W).
    """
    batch, wanted = places.shape
    width, joined = hidden.shape[1], qkv.shape[2]
    found = hidden.new_empty(batch * wanted, width), qkv.new_empty(batch, wanted, joined), torch.empty_like(places)
    _take[(batch * wanted,)](
        places, hidden, qkv, positions, *found, qkv.shape[1], wanted, WIDTH=width, JOINED=joined,
        PADDED=triton.next_power_of_2(max(width, joined)), num_warps=4,
    )  # fmt: skip
    return found


@triton.jit
def _look_up(
    codes, embedding, numbers, features, out, tokens,
    TABLE: tl.constexpr, NUMBERS: tl.constexpr, VISUALS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    row, code = token // tokens, tl.load(codes + token)
    other = -1 - code
    visual = other - NUMBERS
    columns = tl.arange(0, PADDED)
    inside = columns < WIDTH
    known = tl.minimum(code, TABLE - 1)
    word = tl.load(embedding + known * WIDTH + columns, mask=inside & (code >= 0), other=0.0)
    number = tl.load(
        numbers + (row * NUMBERS + other) * WIDTH + columns, mask=inside & (other >= 0) & (visual < 0), other=0.0
    )
    seen = tl.load(
        features + (row * VISUALS + visual) * WIDTH + columns,
        mask=inside & (visual >= 0) & (visual < VISUALS),
        other=0.0,
    )
    tl.store(out + token * WIDTH + columns, tl.where(code >= 0, word, tl.where(visual < 0, number, seen)), mask=inside)


def look_up(
    codes: torch.Tensor, embedding: torch.Tensor, numbers: torch.Tensor, features: torch.Tensor
) -> torch.Tensor:
    """Embeddings (B, N, D) of inputs (B, N): tokens of a table (V, D), and below zero, counted from -1 down, rows of
    ``numbers`` (B, K, D) and then of ``features`` (B, P, D). Tokens beyond the table take its last row."""
    batch, new = codes.shape
    width = embedding.shape[1]
    out = torch.empty(batch, new, width, dtype=embedding.dtype, device=codes.device)
    _look_up[(batch * new,)](
        codes, embedding, numbers, features, out, new, TABLE=len(embedding), NUMBERS=numbers.shape[1],
        VISUALS=features.shape[1], WIDTH=width, PADDED=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _attend(
    qkv, positions, keys, values, out, tokens,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PLACES: tl.constexpr, ROWS: tl.constexpr,
    SPAN: tl.constexpr,
):  # fmt: skip
    # Later tokens see more: they start first.
    tile = tl.num_programs(1) - 1 - tl.program_id(1)
    row, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    numbers = tile * ROWS + tl.arange(0, ROWS)
    known = numbers < tokens
    offsets = tl.arange(0, SIZE)
    at = row.to(tl.int64) * tokens + numbers
    query = tl.load(
        qkv + at[:, None] * (HEADS + 2 * GROUPS) * SIZE + head * SIZE + offsets[None, :], mask=known[:, None], other=0.0
    )
    place = tl.load(positions + at, mask=known, other=0)
    # Padding lies in the last place, and what it sees does not matter.
    last = tl.max(tl.where(place < PLACES - 1, place, 0)) + 1
    start = (row.to(tl.int64) * GROUPS + head // (HEADS // GROUPS)) * PLACES * SIZE
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    mixed = tl.zeros((ROWS, SIZE), tl.float32)
    scale: tl.constexpr = 1.4426950408889634 * SIZE**-0.5
    for first in range(0, last, SPAN):
        seen = first + tl.arange(0, SPAN)
        inside = seen[:, None] < PLACES
        key = tl.load(keys + start + seen[:, None] * SIZE + offsets[None, :], mask=inside, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee")
        scores = tl.where(seen[None, :] <= place[:, None], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1) * scale)
        shares = tl.exp2(scores * scale - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(shares, 1)
        value = tl.load(values + start + seen[:, None] * SIZE + offsets[None, :], mask=inside, other=0.0)
        mixed = mixed * shrink[:, None] + tl.dot(shares.to(value.dtype), value, input_precision="ieee")
        top = higher
    places = out + at[:, None] * HEADS * SIZE + head * SIZE + offsets[None, :]
    tl.store(places, mixed / total[:, None], mask=known[:, None])


ATTEND_ROWS, ATTEND_SPAN, ATTEND_WARPS, ATTEND_STAGES = 64, 64, 4, 3


def attend(qkv: torch.Tensor, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention of new tokens over the cache, each seeing the places up to its own.

    Args:
        qkv: (B, N, (heads + 2 groups) * size) with turned queries.
        positions: (B, N) place of each token; what lies in the last place is padding.
        keys, values: (B', groups, M, size).

    Returns:
        (B, N, heads * size).
    """
    batch, new, width = qkv.shape
    _, groups, places, size = keys.shape
    heads = width // size - 2 * groups
    out = torch.empty(batch, new, heads * size, dtype=qkv.dtype, device=qkv.device)
    rows = ATTEND_ROWS if new > 32 else 32
    _attend[(batch * heads, triton.cdiv(new, rows))](
        qkv, positions, keys, values, out, new, HEADS=heads, GROUPS=groups, SIZE=size, PLACES=places,
        ROWS=rows, SPAN=ATTEND_SPAN, num_warps=ATTEND_WARPS, num_stages=ATTEND_STAGES,
    )  # fmt: skip
    return out


@triton.jit
def _attend_rows(
    qkv, out, rows, known, places,
    HEADS: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr, SPAN: tl.constexpr, IS_EVEN: tl.constexpr,
):  # fmt: skip
    STEP: tl.constexpr = 3 * HEADS * SIZE
    scale: tl.constexpr = 1.4426950408889634 * SIZE**-0.5
    offsets = tl.arange(0, SIZE)
    query = tl.load(qkv + rows[:, None] * STEP + offsets[None, :], mask=known[:, None], other=0.0)
    first_key = tl.load(qkv + HEADS * SIZE + offsets).to(tl.float32)
    top = tl.sum(query.to(tl.float32) * first_key[None, :], 1) * scale
    total = tl.full((ROWS,), 1.0, tl.float32)
    first_value = tl.load(qkv + 2 * HEADS * SIZE + offsets).to(tl.float32)
    mixed = tl.zeros((ROWS, SIZE), tl.float32) + first_value[None, :]
    for first in range(1, places, SPAN):
        seen = first + tl.arange(0, SPAN)
        start = qkv + seen[:, None] * STEP + offsets[None, :]
        if IS_EVEN:
            key = tl.load(start + HEADS * SIZE)
            value = tl.load(start + 2 * HEADS * SIZE)
            scores = tl.dot(query, tl.trans(key), input_precision="ieee")
        else:
            key = tl.load(start + HEADS * SIZE, mask=seen[:, None] < places, other=0.0)
            value = tl.load(start + 2 * HEADS * SIZE, mask=seen[:, None] < places, other=0.0)
            scores = tl.dot(query, tl.trans(key), input_precision="ieee")
            scores = tl.where(seen[None, :] < places, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1) * scale)
        shares = tl.exp2(scores * scale - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(shares, 1)
        mixed = mixed * shrink[:, None] + tl.dot(shares.to(value.dtype), value, input_precision="ieee")
        top = higher
    tl.store(out + rows[:, None] * HEADS * SIZE + offsets[None, :], mixed / total[:, None], mask=known[:, None])


@triton.jit
def _attend_tiles(
    qkv, out, places,
    HEADS: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr, SPAN: tl.constexpr, IS_EVEN: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0)
    tile, head = tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    qkv += tile.to(tl.int64) * places * 3 * HEADS * SIZE + head * SIZE
    out += tile.to(tl.int64) * places * HEADS * SIZE + head * SIZE
    if part == 0:
        numbers = tl.arange(0, 16)
        _attend_rows(qkv, out, numbers, numbers < 1, places, HEADS, SIZE, 16, SPAN, IS_EVEN)
    else:
        rows = 1 + (part - 1) * ROWS + tl.arange(0, ROWS)
        _attend_rows(qkv, out, rows, rows < places, places, HEADS, SIZE, ROWS, SPAN, IS_EVEN)


TILE_ROWS, TILE_SPAN, TILE_WARPS, TILE_STAGES = 64, 64, 4, 3
TILE_REGISTERS: int | None = None
"""Most registers of a thread; fewer let more blocks run at once."""


def attend_tiles(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of all places of a tile to all of them.

    The first place, the class token, is taken apart: 1024 patches are a whole number of blocks, 1025 places are not.

    Args:
        qkv: (n, places, 3 * heads * size) queries, keys and values.
        heads: How many heads.

    Returns:
        (n, places, heads * size).
    """
    count, places, width = qkv.shape
    size = width // 3 // heads
    out = torch.empty(count, places, heads * size, dtype=qkv.dtype, device=qkv.device)
    _attend_tiles[(1 + triton.cdiv(places - 1, TILE_ROWS), count * heads)](
        qkv, out, places, HEADS=heads, SIZE=size, ROWS=TILE_ROWS, SPAN=TILE_SPAN,
        IS_EVEN=(places - 1) % TILE_SPAN == 0, num_warps=TILE_WARPS, num_stages=TILE_STAGES, maxnreg=TILE_REGISTERS,
    )  # fmt: skip
    return out


@triton.jit
def _filter(source, out, starts, weights, count, INNER: tl.constexpr, OLD: tl.constexpr, NEW: tl.constexpr,
            TAPS: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    numbers = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = numbers < count
    within = numbers % INNER
    place = numbers // INNER % NEW
    start = tl.load(starts + place, mask=inside, other=0)
    first = (numbers // (INNER * NEW) * OLD + start) * INNER + within
    total = tl.full((BLOCK,), 1 << (BITS - 1), tl.int32)
    for tap in tl.static_range(TAPS):
        weight = tl.load(weights + place * TAPS + tap, mask=inside, other=0)
        total += tl.load(source + first + tap * INNER, mask=inside, other=0).to(tl.int32) * weight
    value = tl.minimum(tl.maximum(total >> BITS, 0), 255)
    tl.store(out + numbers, value.to(tl.uint8), mask=inside)


@lru_cache(maxsize=64)
def _taps(source: int, target: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    start, weights = fixed_taps(source, target)
    return torch.from_numpy(start).to(device), torch.from_numpy(weights).to(device)


def _filtered(images: torch.Tensor, axis: int, target: int) -> torch.Tensor:
    """Pillow's bicubic filter along one axis of uint8 pictures."""
    shape = list(images.shape)
    old, shape[axis] = shape[axis], target
    out = torch.empty(shape, dtype=torch.uint8, device=images.device)
    starts, weights = _taps(old, target, images.device)
    inner, block = out[0].numel() // target if axis == 1 else shape[-1], 1024
    _filter[(triton.cdiv(out.numel(), block),)](
        images, out, starts, weights, out.numel(), INNER=inner, OLD=old, NEW=target, TAPS=weights.shape[1],
        BITS=PRECISION_BITS, BLOCK=block, num_warps=4,
    )  # fmt: skip
    return out


def resize_tiles(images: torch.Tensor, spec: TileSpec) -> torch.Tensor:
    """Resize and cut images on their device, bit for bit as `simlingo_training.data.images.tile_image` does.

    Args:
        images: (B, H, W, 3) uint8 RGB, bonnet already cut off.
        spec: Tile size and count, without a thumbnail.

    Returns:
        (B, T, S, S, 3) uint8.
    """
    batch, height, width, _ = images.shape
    columns, rows = spec.grid(height, width)
    size = spec.tile_px
    wide = images if columns * size == width else _filtered(images, 2, columns * size)
    whole = wide if rows * size == height else _filtered(wide, 1, rows * size)
    tiles = whole.view(batch, rows, size, columns, size, 3).transpose(2, 3)
    return tiles.reshape(batch, rows * columns, size, size, 3).contiguous()


@triton.jit
def _cut_patches(tiles, gains, shifts, out, SIDE: tl.constexpr, PATCH: tl.constexpr, PADDED: tl.constexpr):
    patch = tl.program_id(0)
    GRID: tl.constexpr = SIDE // PATCH
    tile, row, column = patch // (GRID * GRID), patch // GRID % GRID, patch % GRID
    ROW: tl.constexpr = PATCH * 3
    numbers = tl.arange(0, triton.next_power_of_2(PADDED))
    inside = numbers < PATCH * ROW
    line, within = row * PATCH + numbers // ROW, column * ROW + numbers % ROW
    pixels = tl.load(tiles + (tile.to(tl.int64) * SIDE + line) * SIDE * 3 + within, mask=inside, other=0).to(tl.float32)
    channel = numbers % 3
    value = pixels * tl.load(gains + channel) + tl.load(shifts + channel)
    tl.store(out + patch.to(tl.int64) * PADDED + numbers, tl.where(inside, value, 0.0), mask=numbers < PADDED)


def cut_patches(tiles: torch.Tensor, patch: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Normalised patches of tiles (n, S, S, 3) uint8: (n * patches, width), each row by row, padded with zeros."""
    count, side = tiles.shape[:2]
    gains, shifts = _normalisation(tiles.device)
    patches = count * (side // patch) ** 2
    out = torch.empty(patches, width, dtype=dtype, device=tiles.device)
    _cut_patches[(patches,)](tiles, gains, shifts, out, SIDE=side, PATCH=patch, PADDED=width, num_warps=4)
    return out


@lru_cache(maxsize=8)
def _normalisation(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and summand (3,) of a colour's values 0 to 255."""
    deviation = torch.tensor(IMAGENET_STD, device=device)
    return 1 / (255 * deviation), -torch.tensor(IMAGENET_MEAN, device=device) / deviation
