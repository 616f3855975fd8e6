"""A whole sentence in one kernel: greedy decoding that stays on the GPU until the end token.

One program runs on every multiprocessor for as long as the sentence takes. Each layer has five phases, and all programs meet
between two of them::

    norm, query/key/value product | rotary positions, cache, attention | merge, output product | norm, gate and up | down

A phase shares the rows of its matrix evenly among the programs, so every weight is read once per token, which is what
bounds the time. While a program waits for the others, the first weights of its next phase are on their way, and those
behind them move from memory to the second-level cache. Roundings are those of `CachedDecoder`, so that only the order of
sums differs.

Importing this module needs Triton, which CUDA builds of torch bring.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from simlingo_training.inference.decoder import CachedDecoder

LANE = 128
"""Columns that lie side by side in a tile; a row's columns are spread over 16 threads, eight each."""

MOST_ROWS = 16
"""Rows of a tile: with 16 threads each they fill a program's 256."""

WARPS = 8
INTERPRETED = bool(triton.knobs.runtime.interpret)


@triton.jit
def _meet(counter, target, FAST: tl.constexpr):
    """Wait until ``counter`` has been raised to ``target``: every program has come here, and its stores are seen."""
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    if FAST:
        # One thread asks: thousands that ask for one number keep each other waiting.
        tl.inline_asm_elementwise(
            """{
            .reg .pred waits;
            .reg .s32 count;
            mov.u32 count, %tid.x;
            setp.ne.s32 waits, count, 0;
            @waits bra done;
            again:
            ld.acquire.gpu.global.s32 count, [$1];
            setp.lt.s32 waits, count, $2;
            @waits bra again;
            done:
            mov.s32 $0, count;
            }""",
            "=r,l,r",
            [counter, target],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
        tl.debug_barrier()
    else:
        while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < target:
            pass


@triton.jit
def _fetch(weights, first, count, WIDTH: tl.constexpr, ROWS: tl.constexpr, FAST: tl.constexpr):
    """Move ``count`` rows of a matrix from memory to the second-level cache."""
    if FAST:
        LINE: tl.constexpr = 64
        LINES: tl.constexpr = triton.next_power_of_2(WIDTH // LINE)
        rows = first + tl.minimum(tl.arange(0, ROWS), count - 1)
        lines = tl.minimum(tl.arange(0, LINES) * LINE, WIDTH - 1)
        places = weights + rows[:, None].to(tl.int64) * WIDTH + lines[None, :]
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
            "=r,l",
            [places],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def _columns(CHUNKS: tl.constexpr, LANE: tl.constexpr):
    """Column numbers (CHUNKS, LANE)."""
    return tl.arange(0, CHUNKS)[:, None] * LANE + tl.arange(0, LANE)[None, :]


@triton.jit
def _rows(
    weights, first, end, column, WIDTH: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr, LANE: tl.constexpr
):
    """Tile (CHUNKS, ROWS, LANE) of a matrix with WIDTH columns, from ``column`` on; rows from ``end`` on are zero."""
    rows = first + tl.arange(0, ROWS)
    columns = column + _columns(CHUNKS, LANE)
    places = weights + rows[None, :, None].to(tl.int64) * WIDTH + columns[:, None, :]
    return tl.load(places, mask=(rows[None, :, None] < end) & (columns[:, None, :] < WIDTH), other=0.0)


@triton.jit
def _product(tile, vector):
    """Tile (CHUNKS, ROWS, LANE) times vector (CHUNKS, LANE): (ROWS,) float32."""
    return tl.sum(tl.sum(tile.to(tl.float32) * vector.to(tl.float32)[:, None, :], 0), 1)


@triton.jit
def _normed(hidden, norm, eps, WIDTH: tl.constexpr, CHUNKS: tl.constexpr, LANE: tl.constexpr):
    """Vector divided by its root mean square and scaled, (CHUNKS, LANE) float32 with the model's roundings."""
    columns = _columns(CHUNKS, LANE)
    inside = columns < WIDTH
    values = tl.load(hidden + columns, mask=inside, other=0.0, cache_modifier=".cg")
    weight = tl.load(norm + columns, mask=inside, other=0.0)
    wide = values.to(tl.float32)
    scale = 1 / tl.sqrt(tl.sum(tl.sum(wide * wide, 0), 0) / WIDTH + eps)
    return (wide * scale).to(values.dtype) * weight


@triton.jit
def _turned(vector, cos, sin, offsets, SIZE: tl.constexpr):
    """Rotary positions of one head (SIZE,), halves paired, with the model's roundings."""
    HALF: tl.constexpr = SIZE // 2
    own = tl.load(vector + offsets, cache_modifier=".cg")
    other = tl.load(vector + (offsets + HALF) % SIZE, cache_modifier=".cg")
    other = tl.where(offsets < HALF, -other, other)
    return own * tl.load(cos + offsets) + other * tl.load(sin + offsets)


@triton.jit
def _span(pid, place, SPLITS: tl.constexpr):
    """First and last place (exclusive) that a part of the attention looks at."""
    each = (place + SPLITS) // SPLITS
    first = (pid % SPLITS) * each
    return first, tl.minimum(first + each, place + 1)


@triton.jit
def _remembered(
    cache, pid, place, HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PLACES: tl.constexpr,
    SPLITS: tl.constexpr, SPREAD: tl.constexpr,
):  # fmt: skip
    """Keys or values (SPREAD, SIZE) of earlier tokens that a part of the attention looks at."""
    first, last = _span(pid, place, SPLITS)
    seen = first + tl.arange(0, SPREAD)
    group = (pid // SPLITS) // (HEADS // GROUPS)
    places = cache + group * PLACES * SIZE + seen[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    known = (seen[:, None] < tl.minimum(last, place)) & (pid < HEADS * SPLITS)
    return tl.load(places, mask=known, other=0.0, cache_modifier=".cg")


@triton.jit
def _attend(
    pid, place, qkv, keys, values, cos, sin, mixed, tops, sums, old_keys, old_values,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PLACES: tl.constexpr, SPLITS: tl.constexpr,
    SPREAD: tl.constexpr,
):  # fmt: skip
    """Attention of one head over some places; writes the new key and value where they belong."""
    head = pid // SPLITS
    group = head // (HEADS // GROUPS)
    offsets = tl.arange(0, SIZE)
    query = _turned(qkv + head * SIZE, cos + place * SIZE, sin + place * SIZE, offsets, SIZE)
    new_key = _turned(qkv + (HEADS + group) * SIZE, cos + place * SIZE, sin + place * SIZE, offsets, SIZE)
    new_value = tl.load(qkv + (HEADS + GROUPS + group) * SIZE + offsets, cache_modifier=".cg")
    first, last = _span(pid, place, SPLITS)
    owns = (first <= place) & (place < last) & (head % (HEADS // GROUPS) == 0)
    base = (group * PLACES + place) * SIZE
    tl.store(keys + base + offsets, new_key, mask=owns & (offsets < SIZE))
    tl.store(values + base + offsets, new_value, mask=owns & (offsets < SIZE))
    seen = first + tl.arange(0, SPREAD)
    key = tl.where(seen[:, None] == place, new_key[None, :], old_keys).to(tl.float32)
    value = tl.where(seen[:, None] == place, new_value[None, :], old_values).to(tl.float32)
    scores = tl.sum(key * query.to(tl.float32)[None, :], 1) * (SIZE**-0.5)
    scores = tl.where(seen < last, scores, float("-inf"))
    top = tl.maximum(tl.max(scores), -1e30)
    shares = tl.exp(scores - top)
    tl.store(mixed + pid * SIZE + offsets, tl.sum(shares[:, None] * value, 0))
    tl.store(tops + pid, top)
    tl.store(sums + pid, tl.sum(shares))


@triton.jit
def _merged(
    mixed, tops, sums, kind: tl.constexpr, HEADS: tl.constexpr, HEADS_PADDED: tl.constexpr, SIZE: tl.constexpr,
    SPLITS: tl.constexpr, SPLITS_PADDED: tl.constexpr, LANE: tl.constexpr,
):  # fmt: skip
    """Attention (HEADS_PADDED * SIZE / LANE, LANE) of all heads from its parts, float32 with the model's rounding to ``kind``."""
    heads = tl.arange(0, HEADS_PADDED)
    splits = tl.arange(0, SPLITS_PADDED)
    number = heads[:, None] * SPLITS + splits[None, :]
    known = (heads[:, None] < HEADS) & (splits[None, :] < SPLITS)
    top = tl.load(tops + number, mask=known, other=-1e30, cache_modifier=".cg")
    part = tl.exp(top - tl.max(top, 1)[:, None])
    total = tl.load(sums + number, mask=known, other=0.0, cache_modifier=".cg") * part
    part = part / tl.maximum(tl.sum(total, 1), 1e-30)[:, None]
    offsets = tl.arange(0, SIZE)
    places = mixed + number[:, :, None] * SIZE + offsets[None, None, :]
    parts = tl.load(places, mask=known[:, :, None], other=0.0, cache_modifier=".cg")
    whole = tl.sum(parts * part[:, :, None], 1).to(kind)
    return tl.reshape(whole, (HEADS_PADDED * SIZE // LANE, LANE))


@triton.jit(do_not_specialize=["end_token", "layers", "vocabulary", "layer_step"])
def _sentence(
    start, said, counter, hidden, qkv, mixed, tops, sums, active, best_values, best_tokens,
    embedding, attention_norms, qkv_weights, qkv_biases, output_weights, mlp_norms, gate_weights, down_weights,
    final_norm, vocabulary_weights, keys, values, cos, sin, eps, end_token, layers, vocabulary, layer_step,
    HAS_BIAS: tl.constexpr, WIDTH: tl.constexpr, CHUNKS: tl.constexpr, HEADS: tl.constexpr, HEADS_PADDED: tl.constexpr,
    GROUPS: tl.constexpr, SIZE: tl.constexpr, INNER: tl.constexpr, PLACES: tl.constexpr, SPLITS: tl.constexpr,
    SPLITS_PADDED: tl.constexpr, SPREAD: tl.constexpr, GRID: tl.constexpr, GRID_PADDED: tl.constexpr,
    QKV_ROWS: tl.constexpr, OUT_ROWS: tl.constexpr, GATE_ROWS: tl.constexpr, WORD_ROWS: tl.constexpr,
    ROWS: tl.constexpr, LANE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    kind = hidden.dtype.element_ty
    ALL: tl.constexpr = (HEADS + 2 * GROUPS) * SIZE
    ATTENDED: tl.constexpr = HEADS * SIZE
    MERGED: tl.constexpr = HEADS_PADDED * SIZE // LANE
    QKV_EACH: tl.constexpr = triton.cdiv(ALL, GRID)
    OUT_EACH: tl.constexpr = triton.cdiv(WIDTH, GRID)
    GATE_EACH: tl.constexpr = triton.cdiv(INNER, GRID)
    BLOCK: tl.constexpr = CHUNKS * LANE
    qkv_first = pid * QKV_EACH
    qkv_end = tl.minimum(qkv_first + QKV_EACH, ALL)
    out_first = pid * OUT_EACH
    out_end = tl.minimum(out_first + OUT_EACH, WIDTH)
    gate_first = pid * GATE_EACH
    gate_end = tl.minimum(gate_first + GATE_EACH, INNER)
    word_each = (vocabulary + GRID - 1) // GRID
    word_first = pid * word_each
    word_end = tl.minimum(word_first + word_each, vocabulary)
    rows = tl.arange(0, ROWS)
    out_rows = out_first + tl.arange(0, OUT_ROWS)
    out_mine = out_rows < out_end

    token = tl.load(start)
    place = tl.load(start + 1)
    most = tl.load(start + 2)
    said_count = 0
    target = 0
    alive = most > 0
    while alive:
        source = embedding + token.to(tl.int64) * WIDTH
        tl.store(hidden + out_rows, tl.load(source + out_rows, mask=out_mine, other=0.0), mask=out_mine)
        for layer in range(layers):
            # Norm, query, key and value.
            depth = tl.cast(layer, tl.int64)
            matrix = qkv_weights + depth * ALL * WIDTH
            tile = _rows(matrix, qkv_first, qkv_end, 0, WIDTH, CHUNKS, ROWS, LANE)
            gates = gate_weights + depth * 2 * INNER * WIDTH
            _fetch(gates, gate_first, gate_end - gate_first, WIDTH, GATE_ROWS, FAST)
            if layer > 0:
                target += GRID
                _meet(counter, target, FAST)
                source = hidden
            vector = _normed(source, attention_norms + layer * WIDTH, eps, WIDTH, CHUNKS, LANE)
            for number in tl.static_range(triton.cdiv(QKV_EACH, ROWS)):
                if number > 0:
                    tile = _rows(matrix, qkv_first + number * ROWS, qkv_end, 0, WIDTH, CHUNKS, ROWS, LANE)
                mine = qkv_first + number * ROWS + rows
                product = _product(tile, vector).to(kind)
                if HAS_BIAS:
                    product += tl.load(qkv_biases + layer * ALL + mine, mask=mine < qkv_end, other=0.0)
                tl.store(qkv + mine, product, mask=mine < qkv_end)

            # Attention.
            layer_keys = keys + depth * layer_step
            layer_values = values + depth * layer_step
            old_keys = _remembered(layer_keys, pid, place, HEADS, GROUPS, SIZE, PLACES, SPLITS, SPREAD)
            old_values = _remembered(layer_values, pid, place, HEADS, GROUPS, SIZE, PLACES, SPLITS, SPREAD)
            _fetch(gates + INNER * WIDTH, gate_first, gate_end - gate_first, WIDTH, GATE_ROWS, FAST)
            target += GRID
            _meet(counter, target, FAST)
            for number in tl.static_range(triton.cdiv(HEADS * SPLITS, GRID)):
                part = pid + number * GRID
                if number > 0:
                    old_keys = _remembered(layer_keys, part, place, HEADS, GROUPS, SIZE, PLACES, SPLITS, SPREAD)
                    old_values = _remembered(layer_values, part, place, HEADS, GROUPS, SIZE, PLACES, SPLITS, SPREAD)
                if part < HEADS * SPLITS:
                    _attend(
                        part, place, qkv, layer_keys, layer_values, cos, sin, mixed, tops, sums, old_keys, old_values,
                        HEADS, GROUPS, SIZE, PLACES, SPLITS, SPREAD,
                    )  # fmt: skip

            # Output.
            matrix = output_weights + depth * WIDTH * ATTENDED
            tile = _rows(matrix, out_first, out_end, 0, ATTENDED, MERGED, OUT_ROWS, LANE)
            downs = down_weights + depth * WIDTH * INNER
            _fetch(downs, out_first, out_end - out_first, INNER, OUT_ROWS, FAST)
            target += GRID
            _meet(counter, target, FAST)
            attended = _merged(mixed, tops, sums, kind, HEADS, HEADS_PADDED, SIZE, SPLITS, SPLITS_PADDED, LANE)
            product = _product(tile, attended).to(kind)
            before = tl.load(hidden + out_rows, mask=out_mine, other=0.0, cache_modifier=".cg")
            tl.store(hidden + out_rows, before + product, mask=out_mine)

            # Norm, gate and up.
            ups = gates + INNER * WIDTH
            tile = _rows(gates, gate_first, gate_end, 0, WIDTH, CHUNKS, ROWS, LANE)
            other = _rows(ups, gate_first, gate_end, 0, WIDTH, CHUNKS, ROWS, LANE)
            target += GRID
            _meet(counter, target, FAST)
            vector = _normed(hidden, mlp_norms + layer * WIDTH, eps, WIDTH, CHUNKS, LANE)
            for number in tl.static_range(triton.cdiv(GATE_EACH, ROWS)):
                # What comes next is on its way while the other half is used.
                mine = gate_first + number * ROWS + rows
                gate = _product(tile, vector).to(kind).to(tl.float32)
                tile = _rows(gates, gate_first + (number + 1) * ROWS, gate_end, 0, WIDTH, CHUNKS, ROWS, LANE)
                up = _product(other, vector).to(kind)
                other = _rows(ups, gate_first + (number + 1) * ROWS, gate_end, 0, WIDTH, CHUNKS, ROWS, LANE)
                gated = (gate / (1 + tl.exp(-gate))).to(kind) * up
                tl.store(active + mine, gated, mask=mine < gate_end)

            # Down.
            down = _rows(downs, out_first, out_end, 0, INNER, CHUNKS, OUT_ROWS, LANE)
            if layer + 1 < layers:
                matrix = qkv_weights + (depth + 1) * ALL * WIDTH
                _fetch(matrix, qkv_first, qkv_end - qkv_first, WIDTH, QKV_ROWS, FAST)
                matrix = output_weights + (depth + 1) * WIDTH * ATTENDED
                _fetch(matrix, out_first, out_end - out_first, ATTENDED, OUT_ROWS, FAST)
            target += GRID
            _meet(counter, target, FAST)
            columns = _columns(CHUNKS, LANE)
            state = tl.load(active + columns, mask=columns < INNER, other=0.0, cache_modifier=".cg")
            total = tl.zeros((OUT_ROWS,), tl.float32)
            for number in tl.static_range(triton.cdiv(INNER, BLOCK)):
                # What is next is loaded before what is here is used.
                column = (number + 1) * BLOCK
                next_down = _rows(downs, out_first, out_end, column, INNER, CHUNKS, OUT_ROWS, LANE)
                inside = column + columns < INNER
                next_state = tl.load(active + column + columns, mask=inside, other=0.0, cache_modifier=".cg")
                total += _product(down, state)
                down = next_down
                state = next_state
            before = tl.load(hidden + out_rows, mask=out_mine, other=0.0, cache_modifier=".cg")
            tl.store(hidden + out_rows, before + total.to(kind), mask=out_mine)

        # The most likely word; of equally likely ones the first.
        _fetch(vocabulary_weights, word_first, WORD_ROWS, WIDTH, WORD_ROWS, FAST)
        target += GRID
        _meet(counter, target, FAST)
        vector = _normed(hidden, final_norm, eps, WIDTH, CHUNKS, LANE)
        tops_of_rows = tl.full((ROWS,), float("-inf"), tl.float32)
        words_of_rows = tl.zeros((ROWS,), tl.int32) + vocabulary
        for start_of_words in range(word_first, word_end, WORD_ROWS):
            following = tl.minimum(start_of_words + WORD_ROWS, vocabulary - WORD_ROWS)
            _fetch(vocabulary_weights, following, WORD_ROWS, WIDTH, WORD_ROWS, FAST)
            for number in tl.static_range(WORD_ROWS // ROWS):
                first = start_of_words + number * ROWS
                tile = _rows(vocabulary_weights, first, word_end, 0, WIDTH, CHUNKS, ROWS, LANE)
                scores = _product(tile, vector).to(kind).to(tl.float32)
                better = (scores > tops_of_rows) & (first + rows < word_end)
                tops_of_rows = tl.where(better, scores, tops_of_rows)
                words_of_rows = tl.where(better, first + rows, words_of_rows)
        best = tl.max(tops_of_rows)
        best_token = tl.min(tl.where(tops_of_rows == best, words_of_rows, vocabulary))
        tl.store(best_values + pid, best)
        tl.store(best_tokens + pid, best_token)
        target += GRID
        _meet(counter, target, FAST)
        programs = tl.arange(0, GRID_PADDED)
        tops_of_all = tl.load(best_values + programs, mask=programs < GRID, other=float("-inf"), cache_modifier=".cg")
        tokens_of_all = tl.load(best_tokens + programs, mask=programs < GRID, other=vocabulary, cache_modifier=".cg")
        token = tl.min(tl.where(tops_of_all == tl.max(tops_of_all), tokens_of_all, vocabulary))
        if pid == 0:
            tl.store(said + 1 + said_count, token)
            tl.store(said, said_count + 1)
        said_count += 1
        place += 1
        alive = (said_count < most) & (token != end_token)


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


class SentenceKernel:
    """Greedy decoding of one row of a `CachedDecoder` on the GPU."""

    def __init__(self, decoder: CachedDecoder, longest: int, end_token: int, programs: int | None = None) -> None:
        """Prepare the launch.

        Args:
            decoder: With its cache reserved.
            longest: Most tokens of a sentence.
            end_token: Where to stop.
            programs: Programs that run together; by default one for every multiprocessor, which all run at once.
        """
        self._decoder, self._stacks = decoder, decoder.stack()
        device = decoder.output_weight.device
        if programs is None:
            programs = torch.cuda.get_device_properties(device).multi_processor_count
        self._longest, self._end_token, self._programs = longest, end_token, programs
        self._splits = max(1, programs // decoder.heads)
        width, inner = decoder.embedding.shape[1], decoder.layers[0].down.shape[1]
        parts = decoder.heads * self._splits

        def room(size: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros(size, dtype=dtype, device=device)

        kind = decoder.final_norm.dtype
        self.start, self.said = room(3, torch.int32), room(1 + longest, torch.int32)
        self._counter = room(1, torch.int32)
        attended = (decoder.heads + 2 * decoder.kv_heads) * decoder.head_size
        self._hidden, self._qkv, self._active = room(width, kind), room(attended, kind), room(inner, kind)
        self._mixed = room(parts * decoder.head_size, torch.float32)
        self._tops, self._sums = room(parts, torch.float32), room(parts, torch.float32)
        self._best, self._tokens = room(programs, torch.float32), room(programs, torch.int32)

    def launch(self, row: int) -> None:
        """Continue one row of the cache: ``start`` (3,) is a token, the place where it belongs, and the most tokens to add;
        ``said`` (1 + longest,) becomes how many there are, and they."""
        decoder, programs = self._decoder, self._programs
        stacks = self._stacks
        keys, values = decoder.cache(row)
        cos, sin = decoder.angles()
        width, inner = decoder.embedding.shape[1], decoder.layers[0].down.shape[1]
        attended = (decoder.heads + 2 * decoder.kv_heads) * decoder.head_size
        self._counter.zero_()
        _sentence[(programs,)](
            self.start, self.said, self._counter, self._hidden, self._qkv, self._mixed, self._tops, self._sums,
            self._active, self._best, self._tokens, decoder.embedding, stacks.attention_norm, stacks.qkv,
            stacks.qkv if stacks.qkv_bias is None else stacks.qkv_bias, stacks.output, stacks.mlp_norm, stacks.gate_up,
            stacks.down, decoder.final_norm, decoder.output_weight, keys, values, cos, sin, decoder.eps,
            self._end_token, len(decoder.layers), len(decoder.output_weight), keys.stride(0),
            HAS_BIAS=stacks.qkv_bias is not None, WIDTH=width, CHUNKS=_power(-(-width // LANE)), HEADS=decoder.heads,
            HEADS_PADDED=max(_power(decoder.heads), LANE // decoder.head_size), GROUPS=decoder.kv_heads,
            SIZE=decoder.head_size, INNER=inner, PLACES=decoder.places, SPLITS=self._splits,
            SPLITS_PADDED=_power(self._splits), SPREAD=_power(-(-decoder.places // self._splits)), GRID=programs,
            GRID_PADDED=_power(programs), QKV_ROWS=_power(-(-attended // programs)),
            OUT_ROWS=_power(-(-width // programs)), GATE_ROWS=_power(-(-inner // programs)), WORD_ROWS=4 * MOST_ROWS,
            ROWS=MOST_ROWS, LANE=LANE, FAST=not INTERPRETED, num_warps=WARPS,
        )  # fmt: skip
