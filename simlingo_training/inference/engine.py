"""What runs the network's passes for a policy.

A policy decides which tokens go into a pass and what their results mean; an engine embeds them, runs them and keeps the
key-value cache. Inputs are integers: token ids, and below zero the places of a table of other embeddings, see `Codes`.
Dimension letters: B rows, N new inputs, Q action queries, P visual tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simlingo_training.data.images import TileSpec
from simlingo_training.inference.clock import StageClock
from simlingo_training.inference.decoder import CachedDecoder, DropoutDecoder
from simlingo_training.models.simlingo import SimLingo

NUM_POINTS = 2
"""Target points of a prompt."""

Encode = Callable[[torch.Tensor], torch.Tensor]
"""Tiles (B, T, S, S, 3) uint8 to visual tokens (B, P, D)."""


@dataclass(frozen=True)
class Codes:
    """Numbers of the inputs that are no tokens: -1 is the first action query, then come target points and visual tokens."""

    num_queries: int

    def queries(self) -> tuple[int, ...]:
        """Codes of all action queries."""
        return tuple(-1 - number for number in range(self.num_queries))

    def of_prompt(self, ids: Sequence[int], image_token: int, point_token: int) -> tuple[tuple[int, ...], bool]:
        """Codes of a prompt's ids, and whether it has target points."""
        point = -1 - self.num_queries
        visual = point - NUM_POINTS
        codes, has_points = [], False
        for token in ids:
            if token == image_token:
                codes.append(visual)
                visual -= 1
            elif token == point_token:
                codes.append(point)
                point -= 1
                has_points = True
            else:
                codes.append(token)
        return tuple(codes), has_points


@dataclass(frozen=True)
class Moment:
    """Numbers that come with the images: speeds (B,) m/s, target points (B, 2, 2) in the ego frame, metres, and which prompts
    (B,) mention them."""

    speeds: NDArray[np.float32]
    points: NDArray[np.float32]
    told: NDArray[np.float32]


@dataclass(frozen=True)
class Span:
    """New inputs of one row.

    Attributes:
        row: Row of the batch.
        inputs: Codes.
        start: Cache place of the first of them; places before must have been written.
        first_checked, num_checked: Inputs for which the most likely next token is wanted.
        with_queries: Whether the last inputs are the action queries.
    """

    row: int
    inputs: tuple[int, ...]
    start: int
    first_checked: int
    num_checked: int
    with_queries: bool

    def first_read(self, num_queries: int) -> int:
        """The first input whose hidden state matters."""
        if self.num_checked:
            return self.first_checked
        return len(self.inputs) - (num_queries if self.with_queries else 1)


@dataclass(frozen=True)
class Outcome:
    """What a pass says about one row: the most likely tokens behind the checked inputs, and what `Engine.act` needs."""

    chosen: list[int]
    states: Any


class Engine:
    """Runs passes one operation after the other; for CPUs, and for decoders that cannot be recorded.

    Attributes:
        waits: Whether passes return only when the GPU has done them.
    """

    waits = False

    def __init__(
        self,
        model: SimLingo,
        spec: TileSpec,
        encode: Encode,
        decoder: CachedDecoder | DropoutDecoder,
        device: torch.device,
    ) -> None:
        self.decoder = decoder
        self.device = device
        self._model, self._spec, self._encode = model, spec, encode
        self._output_weight = model.backbone.output_layer().weight.detach()
        self._features = self._numbers = torch.empty(0)
        self._num_queries = model.heads.num_queries
        self._moment = Moment(*(np.zeros(0, np.float32) for _ in range(3)))

    def says_rows(self, count: int, rows: int) -> bool:
        """Whether ``count`` of ``rows`` rows are better continued one after the other than together."""
        return rows == 1

    def look(self, images: Sequence[NDArray[np.uint8]], clock: StageClock) -> int:
        """Encode images (H, W, 3) that show what the model is to see; returns the visual tokens of each."""
        tiles = torch.from_numpy(np.stack([self._spec.cut(image) for image in images])).to(self.device)
        clock.mark("preprocess")
        self._features = self._encode(tiles).to(self._output_weight.dtype)
        clock.mark("vision")
        return self._features.shape[1]

    def begin(self, moment: Moment, places: int) -> None:
        """Start a tick with rows of at most ``places`` tokens."""
        self._moment = moment
        self.decoder.reserve(len(moment.speeds), places)
        parts = (moment.speeds, moment.points, moment.told)
        speeds, points, told = (torch.from_numpy(part).to(self.device) for part in parts)
        self._numbers = self._embed_numbers(speeds, points, told)

    def _embed_numbers(self, speeds: torch.Tensor, points: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, Q + 2, D) of action queries and target points, as `Codes` numbers them."""
        queries = self._model.heads.queries().expand(len(speeds), -1, -1)
        if self._model.query_numbers is not None:
            queries = queries + self._model.query_numbers(speeds, points, told)
        kind = self._output_weight.dtype
        encoded = self._model.point_encoder(points)
        return torch.cat([queries.to(kind), encoded.to(kind)], 1)

    def run(self, spans: Sequence[Span]) -> list[Outcome]:
        """One pass over new inputs of some rows."""
        rows, longest = len(self._moment.speeds), max(len(span.inputs) for span in spans)
        codes = np.zeros((rows, longest), np.int64)
        # Rows without new inputs are done: what is written into their cache does not matter.
        starts = [max(span.start for span in spans)] * rows
        for span in spans:
            codes[span.row, : len(span.inputs)] = span.inputs
            starts[span.row] = span.start
        first = min(span.first_read(self._num_queries) for span in spans)
        embedded = self.decoder.look_up(torch.from_numpy(codes).to(self.device), self._numbers, self._features)
        hidden = self.decoder.forward(embedded, starts, first)
        return [self._outcome(span, hidden[span.row, : len(span.inputs) - first], first) for span in spans]

    def _outcome(self, span: Span, hidden: torch.Tensor, first: int) -> Outcome:
        chosen: list[int] = []
        if span.num_checked:
            checked = hidden[span.first_checked - first :][: span.num_checked]
            chosen = torch.nn.functional.linear(checked, self._output_weight).argmax(-1).tolist()
        return Outcome(chosen, hidden[-self._num_queries :] if span.with_queries else None)

    def say(self, row: int, token: int, place: int, most: int, end_token: int) -> list[int]:
        """Continue a row greedily behind ``token``, which belongs into ``place``, up to the end token or ``most`` tokens."""
        said: list[int] = []
        while len(said) < most and (not said or said[-1] != end_token):
            token = self.decoder.next_token(row, token, place + len(said))
            said.append(token)
        return said

    def act(self, states: Sequence[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Paths (B, 20, 2) and waypoints (B, 10, 2), ego frame, metres."""
        speeds = torch.from_numpy(self._moment.speeds).to(self.device)
        path, waypoints = self._heads(torch.stack(list(states)), speeds)
        return path.cpu().numpy(), waypoints.cpu().numpy()

    def _heads(self, states: torch.Tensor, speeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        path, waypoints = self._model.heads(states, speeds)
        return path_from_waypoints(waypoints) if path is None else path, waypoints


def path_from_waypoints(waypoints: torch.Tensor) -> torch.Tensor:
    """A stand-in path (B, 20, 2) for models without path queries: the waypoints (B, 10, 2), origin in front, each gap
    halved, so that steering has the points it expects."""
    points = torch.cat([torch.zeros_like(waypoints[:, :1]), waypoints], dim=1)
    middle = (points[:, :-1] + points[:, 1:]) / 2
    return torch.stack([points[:, :-1], middle], dim=2).flatten(1, 2)
