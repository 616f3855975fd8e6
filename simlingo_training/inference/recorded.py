"""Passes of fixed shape, recorded once and replayed.

A pass consists of hundreds of small kernels, and launching one costs a host more than running it costs the GPU. A recorded
graph launches them together, transfers included: inputs wait in page-locked memory, and tokens, path and waypoints come back
in one piece, the only thing that the host waits for. While the GPU looks at the images, the host prepares the prompt. Shapes
must be fixed, so the numbers of new inputs and of rows are rounded up to those of a few; the surplus is written into a spare
cache place that nothing looks at. Without a GPU the same passes run unrecorded, for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from simlingo_training.config import NUM_PATH_POINTS, NUM_SPEED_WAYPOINTS
from simlingo_training.data.images import TileSpec
from simlingo_training.inference.clock import StageClock
from simlingo_training.inference.decoder import CachedDecoder
from simlingo_training.inference.engine import NUM_POINTS, Encode, Engine, Moment, Outcome, Span, path_from_waypoints
from simlingo_training.models.simlingo import SimLingo

Replay = Callable[[], object]
Record = Callable[[Replay], Replay]
"""Makes a function that works on fixed tensors faster."""

BUCKETS = (1, 32, 64, 128, 256, 512, 544, 576, 592, 608, 624, 640, 672, 704, 768, 1024, 1536, 2048)
"""Numbers of new inputs that passes are recorded for."""

ROWS = (1, 2, 4, 8, 16)
"""Numbers of rows that passes are recorded for: cars that come and go leave these few shapes."""

PLACES_STEP = 256
"""Cache places are a multiple of it, so that prompts hardly ever outgrow a cache."""

FEW_SENTENCES = 2
"""Up to so many rows it is faster to end their sentences one after the other than to decode them together."""

NUMBERS = 1 + 4 + 1
"""Numbers of a row: speed, target points, whether the prompt mentions them."""

ANSWER = 2 * (NUM_PATH_POINTS + NUM_SPEED_WAYPOINTS)
"""Numbers of path and waypoints."""


def _rounded(number: int, sizes: Sequence[int]) -> int:
    """The smallest of some sizes that holds a number; beyond them all the number itself."""
    return next((size for size in sizes if size >= number), number)


def plain(function: Replay) -> Replay:
    """No recording; for tests without a GPU."""
    return function


@dataclass(frozen=True)
class RecordedGraph:
    """A recorded function. A graph knows addresses only; the function keeps alive what lies there."""

    graph: torch.cuda.CUDAGraph
    function: Replay

    def __call__(self) -> None:
        """Run it on the current stream."""
        self.graph.replay()


class GraphRecorder:
    """Records functions as CUDA graphs, which share their memory because they run one after the other.

    It records on a stream that it keeps. Matrix products work in memory that PyTorch holds for each stream, and a graph goes
    on using that of the stream it was recorded on, wherever it runs. Products that several blocks share count in it who is
    done: two at once in the same memory spoil each other's results or wait for ever. So what runs at the same time needs
    recorders of its own.

    Attributes:
        stream: Where it records.
    """

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Replay) -> Replay:
        """Run once, for libraries to choose their kernels, then record."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            function()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self.stream):
            function()
        return RecordedGraph(graph, function)


class AsideRecorder:
    """Records functions as CUDA graphs that run beside what the current stream has been given; what it is given next waits
    for them. They share memory with each other only."""

    def __init__(self) -> None:
        self._recorder = GraphRecorder()

    def __call__(self, function: Replay) -> Replay:
        """Run once, then record."""
        recorded, stream = self._recorder(function), self._recorder.stream

        def replay() -> None:
            with torch.cuda.stream(stream):
                recorded()
            torch.cuda.current_stream().wait_stream(stream)

        return replay


class Speaker(Protocol):
    """Continues one row of a decoder on the device; `simlingo_training.inference.sentence.SentenceKernel` is one.

    Attributes:
        start: (3,) int32: a token, the place where it belongs, and the most tokens to add.
        said: (1 + longest,) int32: how many were added, and they.
    """

    start: torch.Tensor
    said: torch.Tensor

    def launch(self, row: int) -> None:
        """Turn ``start`` into ``said``."""


Resize = Callable[[torch.Tensor, TileSpec], torch.Tensor]
"""Images (B, H, W, 3) uint8 to tiles (B, T, S, S, 3) uint8."""

MakeSpeaker = Callable[..., Speaker]
"""Makes a `Speaker` of a decoder and ``end_token``."""


class Mirror:
    """A tensor on the device and its page-locked twin on the host."""

    def __init__(self, shape: Sequence[int], kind: torch.dtype, device: torch.device) -> None:
        self.there = torch.zeros(tuple(shape), dtype=kind, device=device)
        self._here = torch.zeros(tuple(shape), dtype=kind, pin_memory=device.type == "cuda")
        self.array = self._here.numpy()

    def fill(self, row: int, values: NDArray[np.uint8]) -> None:
        """Write one row on the host; with several threads where that is allowed."""
        if values.flags.writeable:
            self._here[row].copy_(torch.from_numpy(values))
        else:
            np.copyto(self.array[row], values)

    def upload(self) -> None:
        """Host to device."""
        self.there.copy_(self._here, non_blocking=True)

    def download(self) -> None:
        """Device to host; finished when the stream is."""
        self._here.copy_(self.there, non_blocking=True)


@dataclass
class _Sight:
    """Recorded encoding of images of one shape."""

    images: Mirror
    features: torch.Tensor
    encode: Replay


class _Inputs:
    """Integers of a pass: codes (B, N), their places (B, N), and which of them are read (B, W)."""

    def __init__(self, rows: int, new: int, wanted: int, spare: int, device: torch.device) -> None:
        self._mirror = Mirror((rows * (2 * new + wanted),), torch.int64, device)
        ends = rows * new, 2 * rows * new
        parts = np.split(self._mirror.array, ends)
        self.codes, self.places, self.wanted = (part.reshape(rows, -1) for part in parts)
        there = self._mirror.there.tensor_split(ends)
        self.codes_there, self.places_there, self.wanted_there = (part.view(rows, -1) for part in there)
        self.places[:] = spare
        self.upload = self._mirror.upload

    def put(self, span: Span, checks: int, num_queries: int) -> None:
        """Write a row."""
        row, count = span.row, len(span.inputs)
        self.codes[row, :count] = span.inputs
        self.places[row, :count] = np.arange(span.start, span.start + count)
        self.wanted[row, : span.num_checked] = np.arange(span.first_checked, span.first_checked + span.num_checked)
        if span.with_queries:
            self.wanted[row, checks:] = np.arange(count - num_queries, count)


@dataclass
class _Pass:
    """A recorded pass: what goes in, what comes out, and what can be done before the images are encoded."""

    inputs: _Inputs
    numbers: Mirror
    answers: Mirror
    prepare: Replay
    replay: Replay


class RecordedEngine(Engine):
    """Recorded passes for GPUs."""

    waits = True

    def __init__(
        self,
        model: SimLingo,
        spec: TileSpec,
        encode: Encode,
        decoder: CachedDecoder,
        device: torch.device,
        record: Record,
        longest: int,
        make_speaker: MakeSpeaker | None = None,
        resize: Resize | None = None,
        records_vision: bool = True,
        most_rows: int = 1,
        record_aside: Record | None = None,
    ) -> None:
        """Prepare; passes are recorded when a shape first comes up.

        Args:
            model, spec, encode, decoder, device: See `Engine`.
            record: What records.
            longest: Most tokens of an answer.
            make_speaker: Makes what ends sentences on the device.
            resize: Resizes on the device; by default the host does.
            records_vision: Whether ``encode`` can be recorded.
            most_rows: Rows to make room for at once; more make the cache move, and passes have to be recorded again.
            record_aside: What records things to be done while images are encoded; by default ``record``.
        """
        super().__init__(model, spec, encode, decoder, device)
        self.cached = decoder
        self._record, self._longest, self._make_speaker = record, longest, make_speaker
        self._record_aside = record_aside or record
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None
        can_resize = type(spec) is TileSpec and not spec.thumbnail
        self._resize = resize if can_resize else None
        self._record_vision: Record = record if records_vision else plain
        self._sights: dict[tuple[int, ...], _Sight] = {}
        self._passes: dict[tuple[object, ...], _Pass] = {}
        self._speeches: dict[int, tuple[Mirror, Mirror, Replay]] = {}
        self._speaker: Speaker | None = None
        self._seen: tuple[int, ...] = ()
        self._rows, self._most_rows = 0, most_rows

    def says_rows(self, count: int, rows: int) -> bool:
        """See `Engine.says_rows`."""
        return rows == 1 or (self._make_speaker is not None and count <= FEW_SENTENCES)

    def look(self, images: Sequence[NDArray[np.uint8]], clock: StageClock) -> int:
        """See `Engine.look`; returns before the GPU is done."""
        if self._resize is None:
            images = [self._spec.cut(image) for image in images]
        key = (_rounded(len(images), ROWS), *images[0].shape)
        if any(image.shape != images[0].shape for image in images):
            raise ValueError(f"expected images of one size in a batch, got {[image.shape for image in images]}")
        sight = self._sights.get(key) or self._see(key)
        for row, image in enumerate(images):
            sight.images.fill(row, image)
        sight.images.upload()
        clock.mark("preprocess")
        sight.encode()
        clock.mark("vision")
        self._seen = key
        return sight.features.shape[1]

    def _see(self, key: tuple[int, ...]) -> _Sight:
        images, resize = Mirror(key, torch.uint8, self.device), self._resize

        def tokens() -> torch.Tensor:
            return self._encode(images.there if resize is None else resize(images.there, self._spec))

        features = tokens().to(self._output_weight.dtype).clone()
        sight = _Sight(images, features, self._record_vision(lambda: features.copy_(tokens())))
        self._sights[key] = sight
        return sight

    def begin(self, moment: Moment, places: int) -> None:
        """See `Engine.begin`."""
        self._moment, self._rows = moment, _rounded(len(moment.speeds), ROWS)
        # One place more is spare.
        places = -(-(places + 1) // PLACES_STEP) * PLACES_STEP
        before = (self.cached.rows, self.cached.places)
        self.cached.reserve(max(self._rows, self._most_rows), places)
        if (self.cached.rows, self.cached.places) != before:
            self._passes.clear()
            self._speeches.clear()
            self._speaker = None

    def run(self, spans: Sequence[Span]) -> list[Outcome]:
        """See `Engine.run`."""
        rows, new = self._rows, _rounded(max(len(span.inputs) for span in spans), BUCKETS)
        # A whole draft, one token too many, and what follows it.
        checks = min(self._longest + 2, new) if any(span.num_checked for span in spans) else 0
        with_features = any(span.start == 0 for span in spans)
        key = (self._seen if with_features else (), rows, new, checks)
        recorded = self._passes.get(key)
        if recorded is None:
            features = self._sights[self._seen].features if with_features else None
            recorded = self._passes[key] = self._record_pass(rows, new, checks, features)
        self._fill(recorded, spans)
        recorded.prepare()
        recorded.replay()
        self._wait()
        found = recorded.answers.array
        return [
            Outcome(found[span.row, : span.num_checked].astype(np.int64).tolist(), found[span.row, checks:].copy())
            for span in spans
        ]

    def _fill(self, recorded: _Pass, spans: Sequence[Span]) -> None:
        """Write inputs and numbers where the pass looks for them."""
        inputs, moment = recorded.inputs, self._moment
        inputs.codes[:] = 0
        inputs.places[:] = self.cached.places - 1
        inputs.wanted[:] = 0
        for span in spans:
            inputs.put(span, recorded.answers.array.shape[1] - ANSWER, self._num_queries)
        numbers = recorded.numbers.array[: len(moment.speeds)]
        numbers[:, 0], numbers[:, 1:5], numbers[:, 5] = moment.speeds, moment.points.reshape(-1, 4), moment.told

    def _record_pass(self, rows: int, new: int, checks: int, features: torch.Tensor | None) -> _Pass:
        inputs = _Inputs(rows, new, checks + self._num_queries, self.cached.places - 1, self.device)
        numbers = Mirror((rows, NUMBERS), torch.float32, self.device)
        answers = Mirror((rows, checks + ANSWER), torch.float32, self.device)
        width, kind = self._model.backbone.width, self._output_weight.dtype
        table = torch.empty(rows, self._num_queries + NUM_POINTS, width, dtype=kind, device=self.device)
        seen = table[:, :0] if features is None else features
        speeds, points, told = numbers.there[:, 0], numbers.there[:, 1:5].view(rows, 2, 2), numbers.there[:, 5]

        def prepare() -> None:
            inputs.upload()
            numbers.upload()
            table.copy_(self._embed_numbers(speeds, points, told))

        def run() -> None:
            embedded = self.cached.look_up(inputs.codes_there, table, seen)
            hidden = self.cached.run(embedded, inputs.places_there, self.cached.places, inputs.wanted_there)
            if checks:
                # Token ids are below 2^24, so float32 holds them.
                answers.there[:, :checks] = functional.linear(hidden[:, :checks], self._output_weight).argmax(-1)
            # Without queries nobody looks at what is computed here.
            path, waypoints = self._heads(hidden[:, checks:], speeds)
            answers.there[:, checks:] = torch.cat([path.flatten(1), waypoints.flatten(1)], 1)
            answers.download()

        return _Pass(inputs, numbers, answers, self._record_aside(prepare), self._record(run))

    def _heads(self, states: torch.Tensor, speeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Engine._heads`; a GPU computes the waypoints beside the path: each takes a dozen kernels that fill a small part
        of it."""
        heads = self._model.heads
        if self._beside is None:
            return super()._heads(states, speeds)
        current, states = torch.cuda.current_stream(), states.to(next(heads.speed_head.parameters()).dtype)
        self._beside.wait_stream(current)
        with torch.cuda.stream(self._beside):
            waypoints = heads.waypoints(states, speeds)
        path = heads.path(states)
        current.wait_stream(self._beside)
        return path_from_waypoints(waypoints) if path is None else path, waypoints

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def say(self, row: int, token: int, place: int, most: int, end_token: int) -> list[int]:
        """See `Engine.say`; the whole sentence is made on the device."""
        if self._make_speaker is None:
            return super().say(row, token, place, most, end_token)
        if row not in self._speeches:
            self._speeches[row] = self._record_speech(row, self._make_speaker, end_token)
        start, said, replay = self._speeches[row]
        start.array[:] = token, place, most
        replay()
        self._wait()
        return [int(token) for token in said.array[1 : 1 + said.array[0]]]

    def _record_speech(self, row: int, make: MakeSpeaker, end_token: int) -> tuple[Mirror, Mirror, Replay]:
        speaker = self._speaker = self._speaker or make(self.cached, end_token=end_token)
        start = Mirror(speaker.start.shape, torch.int32, self.device)
        said = Mirror(speaker.said.shape, torch.int32, self.device)

        def speak() -> None:
            start.upload()
            speaker.start.copy_(start.there)
            speaker.launch(row)
            said.there.copy_(speaker.said)
            said.download()

        return start, said, self._record(speak)

    def act(self, states: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.act`."""
        found = np.stack(list(states))
        split = 2 * NUM_PATH_POINTS
        return found[:, :split].reshape(-1, NUM_PATH_POINTS, 2), found[:, split:].reshape(-1, NUM_SPEED_WAYPOINTS, 2)
