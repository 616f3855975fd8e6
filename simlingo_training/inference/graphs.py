"""Fixed-shape passes recorded as CUDA graphs.

Launching some 250 small kernels for one token costs more than running them; a recorded graph launches them at once. Shapes
must be fixed, so the number of new tokens is rounded up to a bucket and the surplus is written into a spare cache place that
nothing looks at. Without a GPU the same code runs with functions that are not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from simlingo_training.inference.decoder import CachedDecoder

Function = Callable[..., torch.Tensor]
Recorder = Callable[[Function, Sequence[torch.Tensor]], Function]
"""Makes a function of equally shaped tensors faster; gets examples of its inputs."""

BUCKETS = (32, 64, 128, 256, 512, 576, 608, 640, 672, 704, 768, 1024, 1536, 2048)
"""Numbers of new tokens that passes are recorded for."""

WARM_UPS = 3

Options = dict[str, str | int | bool | Callable[..., Any]]

ONE_ROW: Options = {"coordinate_descent_tuning": True}
"""Compiler settings of one-token passes: products with one row become fused kernels that read the weights once."""


def plain(function: Function, examples: Sequence[torch.Tensor], autotune: bool = False) -> Function:
    """No recording; for machines without a GPU and for tests."""
    return function


def compiled_graph(function: Function, examples: Sequence[torch.Tensor], autotune: bool = False) -> Function:
    """Compile a function and record it as a CUDA graph.

    A function without inputs is taken for the one-token pass and compiled for it; ``autotune`` lets the compiler try several
    kernels for every product of the others.

    The returned function copies its inputs into the recorded ones and returns the recorded output, which the next call
    overwrites.
    """
    options: Options = {"max_autotune_gemm": True} if autotune else {}
    compiled = torch.compile(function, dynamic=False, options=options if examples else ONE_ROW)
    inputs = [example.clone() for example in examples]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            compiled(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = compiled(*inputs)

    def replay(*values: torch.Tensor) -> torch.Tensor:
        for place, value in zip(inputs, values):
            place.copy_(value)
        graph.replay()
        return output

    return replay


class GraphedFunction:
    """Records a function of one tensor for every shape it is called with."""

    def __init__(self, function: Function, record: Recorder) -> None:
        self._function = function
        self._record = record
        self._recorded: dict[tuple[int, ...], Function] = {}

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        """Call with a tensor of any shape; the first call of a shape takes seconds."""
        shape = tuple(value.shape)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(self._function, [value])
        return self._recorded[shape](value)


class BucketedDecoder(CachedDecoder):
    """A `CachedDecoder` whose passes have few shapes and are recorded."""

    def __init__(self, decoder: Any, output_weight: torch.Tensor, record: Recorder) -> None:
        super().__init__(decoder, output_weight)
        self._record = record
        self._recorded: dict[tuple[int, int, bool], Function] = {}
        self._step: Function | None = None
        device = output_weight.device
        self._token = torch.zeros(1, 1, dtype=torch.long, device=device)
        self._place = torch.zeros(1, 1, dtype=torch.long, device=device)
        self._expected = (-1, -1)

    def reserve(self, rows: int, places: int) -> None:
        """Make room, with one spare place; recorded passes are dropped when the cache moves."""
        before = (self.rows, self.places)
        super().reserve(rows, -(-(places + 1) // 64) * 64)
        if (self.rows, self.places) != before:
            self._recorded.clear()
            self._step = None

    def forward(self, embeddings: torch.Tensor, starts: Sequence[int], first: int = 0) -> torch.Tensor:
        """See `CachedDecoder.forward`."""
        rows, new, _ = embeddings.shape
        size = next((bucket for bucket in BUCKETS if bucket >= new), new)
        spare = self.places - 1
        positions = torch.tensor(starts)[:, None] + torch.arange(size)
        positions[:, new:] = spare
        positions = positions.clamp(max=spare).to(embeddings.device, non_blocking=True)
        padded = functional.pad(embeddings, (0, 0, 0, size - new))
        is_prefill = not any(starts)
        key = (rows, size, is_prefill)
        if key not in self._recorded:
            visible = 0 if is_prefill else self.places
            self._recorded[key] = self._record(lambda e, p: self.run(e, p, visible), [padded, positions])
        return self._recorded[key](padded, positions)[:, first:new]

    def next_token(self, row: int, token: int, place: int) -> int:
        """See `CachedDecoder.next_token`. Token and place stay on the device from one call to the next."""
        assert row == 0
        if self._step is None:
            self._token.fill_(token)
            self._place.fill_(place)
            self._step = self._record(self._advance, [])
            self._expected = (-1, -1)
        if self._expected != (token, place):
            self._token.fill_(token)
            self._place.fill_(place)
        chosen = int(self._step())
        self._expected = (chosen, place + 1)
        return chosen

    def _advance(self) -> torch.Tensor:
        """One token; leaves the chosen one and its place where the next call finds them."""
        hidden = self.run(self.embedding[self._token], self._place, self.places)
        chosen = functional.linear(hidden[:, -1], self.output_weight).argmax(-1, keepdim=True)
        self._token.copy_(chosen)
        self._place.add_(1)
        return self._token
