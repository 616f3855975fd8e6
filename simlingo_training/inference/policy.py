"""The policy that agents call: image, speed, target points and prompt in; text, path and waypoints out.

One pass over prompt, drafted answer and action queries often does the whole tick: when the drafted tokens (the previous
answer, or the expected short answer) turn out to be what greedy decoding chooses, the queries behind them are valid too.
Otherwise the first wrong token is corrected and the rest is tried again. The answer is always the greedy one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
import torch

from driving.camera import cut_bonnet
from simlingo_training.data.images import TileSpec, camera_to_tiles
from simlingo_training.data.prompts import WAYPOINTS_ANSWER
from simlingo_training.inference.decoder import CachedDecoder, DropoutDecoder
from simlingo_training.inference.graphs import BucketedDecoder, GraphedFunction, compiled_graph
from simlingo_training.inference.processor import ProcessorDecoder, ProcessorVision
from simlingo_training.inference.records import Observation, Prediction
from simlingo_training.inference.resize import resize_tiles
from simlingo_training.inference.vision import FastVision
from simlingo_training.models import checkpoint as checkpoints

NUMBERS = re.compile(r"-?\d+(\.\d+)?")


@dataclass
class Session:
    """What a policy remembers of one car between ticks.

    Attributes:
        draft: Tokens of the previous answer.
        ticks_since_text: Ticks since the answer was last generated.
        asked: What it answered: the prompt without its numbers; None if that is not known.
    """

    draft: tuple[int, ...] = ()
    ticks_since_text: int = 0
    asked: str | None = None


@dataclass
class _Row:
    """Decoding state of one row of a batch.

    Attributes:
        written: Valid cache places.
        answer: Accepted tokens.
        inputs: Embeddings (n, D) to run next.
        queries: Action queries (Q, D).
        tried: Draft tokens among them, right behind the first ``certain`` ones.
        certain: Inputs that are known to be right (prompt, or the last accepted token).
        with_queries: Whether the action queries close the inputs.
        states: Hidden states (Q, D) of the queries once the answer is complete.
    """

    inputs: torch.Tensor
    queries: torch.Tensor
    written: int = 0
    answer: list[int] = field(default_factory=list)
    tried: tuple[int, ...] = ()
    certain: int = 0
    with_queries: bool = False
    states: torch.Tensor | None = None


def choose_device(name: str | torch.device) -> torch.device:
    """``auto`` is a GPU when there is one; other names mean themselves."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class Policy:
    """A loaded checkpoint that drives. Not thread-safe; make one `Session` per car."""

    def __init__(
        self,
        checkpoint: checkpoints.Checkpoint,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        text_every: int = 1,
        use_drafts: bool = True,
        dropout: bool = False,
        graphs: bool | None = None,
        autotune: bool = False,
    ) -> None:
        """Prepare a checkpoint for inference.

        Args:
            checkpoint: Model, settings and tokenizer.
            device: ``cpu``, ``cuda``, or ``auto``: a GPU when there is one.
            dtype: Type of the weights, by default bfloat16 on a GPU and float32 elsewhere; heads and outputs stay
                float32.
            text_every: Generate the answer every that many ticks and keep it in between, as long as the prompt stays the
                same but for its numbers.
            use_drafts: Try the previous answer first. The result is the same, the time is not.
            dropout: Leave adapter dropout on, as the published agent does; slow, and not repeatable without a seed.
            graphs: Compile and record the network as CUDA graphs at the first calls; by default on a GPU.
            autotune: Let the compiler try several kernels for each matrix product; starts minutes later.

        Raises:
            ValueError: If ``text_every`` is below 1.
        """
        if text_every < 1:
            raise ValueError(f"text_every counts ticks from 1; got {text_every}")
        self.tokenizer = checkpoint.tokenizer
        self.settings = checkpoint.settings
        self.cut_bonnet = checkpoint.cut_bonnet
        self.device = choose_device(device)
        dtype = dtype or (torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.text_every = text_every
        self.use_drafts = use_drafts and not dropout
        self.model = checkpoint.model.to(self.device).eval().requires_grad_(False)
        self.model.backbone.to(dtype)
        self.output_weight = self.model.backbone.output_layer().weight.detach()
        self._encode: Callable[[torch.Tensor], torch.Tensor] = self.model.backbone.encode_tiles
        for vision in (ProcessorVision, FastVision):
            if vision.supports(self.model.backbone):
                self._encode = vision(self.model.backbone).encode  # type: ignore[arg-type]
                break
        self.decoder = self._make_decoder(dropout, graphs, autotune)
        self.num_queries = self.model.heads.num_queries
        self._dtype = dtype
        self.short_answer = (*self.tokenizer.encode(WAYPOINTS_ANSWER), self.tokenizer.end_token)
        self._session = Session()
        # Prompts differ by a rounded speed, and answers come again.
        self._ids = lru_cache(maxsize=4096)(lambda prompt, tokens: self.tokenizer.row(prompt, tokens).ids)
        self._text = lru_cache(maxsize=1024)(self.tokenizer.decode)

    def _make_decoder(self, dropout: bool, graphs: bool | None, autotune: bool) -> CachedDecoder | DropoutDecoder:
        module = self.model.backbone.decoder()
        if dropout:
            return DropoutDecoder(module, self.output_weight)
        if self.device.type == "cuda" if graphs is None else graphs:
            record = partial(compiled_graph, autotune=autotune)
            self._encode = GraphedFunction(self._encode, record)
            return BucketedDecoder(module, self.output_weight, record)
        if self.device.type == "cpu" and self.output_weight.dtype == torch.float32:
            return ProcessorDecoder(module, self.output_weight)
        return CachedDecoder(module, self.output_weight)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto", **options: object) -> Policy:
        """Load a checkpoint directory; ``options`` are those of the constructor.

        Raises:
            simlingo_training.models.checkpoint.CheckpointError: If the directory is no SimLingo checkpoint.
        """
        return cls(checkpoints.load(folder), device, **options)  # type: ignore[arg-type]

    @property
    def sees_bonnet(self) -> bool:
        """Whether the model looks at the part of the image that shows the bonnet."""
        return not self.cut_bonnet or type(self.settings.tiles) is not TileSpec

    def reset(self) -> None:
        """Forget the previous answer; call it when a new route starts."""
        self._session = Session()

    def act(self, observation: Observation, session: Session | None = None) -> Prediction:
        """Predict for one car. ``session`` defaults to one that belongs to this policy."""
        return self.act_batch([observation], [session or self._session])[0]

    @torch.inference_mode()
    def act_batch(self, observations: Sequence[Observation], sessions: Sequence[Session]) -> list[Prediction]:
        """Predict for several cars in one batch.

        Args:
            observations: One per car.
            sessions: Memory of each car, updated.

        Returns:
            One prediction per car, in order; equal to what each would get alone.

        Raises:
            ValueError: If the numbers differ or an image cannot be tiled.
        """
        if len(observations) != len(sessions) or not observations:
            raise ValueError(f"expected one session per observation, got {len(sessions)} for {len(observations)}")
        clock = StageClock(self.device)
        with clock.stage("preprocess"):
            tiles, chat = self._prepare(observations)
        with clock.stage("vision"):
            prompts, queries = self._embed(observations, tiles, chat)
        keep = [self._keeps_text(*pair) for pair in zip(observations, sessions)]
        rows = [self._start(*parts) for parts in zip(prompts, queries, sessions, keep)]
        longest = max(len(prompt) for prompt in prompts)
        self.decoder.reserve(len(rows), longest + self.settings.max_new_tokens + 1 + self.num_queries)
        with clock.stage("prefill"):
            self._round(rows, keep)
        with clock.stage("text"):
            while any(row.states is None for row in rows):
                self._round(rows, keep)
        with clock.stage("action"):
            return self._finish(rows, self._speeds(observations), sessions, keep, clock)

    def _prepare(self, observations: Sequence[Observation]) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
        tiles = self._tiles(observations)
        tokens = tiles.shape[1] * self.model.backbone.tokens_per_tile
        return tiles, [self._ids(o.prompt, tokens) for o in observations]

    def _tiles(self, observations: Sequence[Observation]) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 on the device; a GPU resizes the images itself."""
        spec = self.settings.tiles
        if self.device.type == "cpu" or spec.thumbnail:
            return torch.from_numpy(np.stack([camera_to_tiles(o.image, spec, self._cuts(o)) for o in observations]))
        images = [cut_bonnet(o.image) if self._cuts(o) else o.image for o in observations]
        return resize_tiles(torch.from_numpy(np.stack(images)).to(self.device), spec)

    def _cuts(self, observation: Observation) -> bool:
        return self.cut_bonnet and not observation.is_cut

    def _embed(
        self, observations: Sequence[Observation], tiles: torch.Tensor, chat: list[tuple[int, ...]]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Prompt embeddings (n, D) of each row, and the action queries (B, Q, D)."""
        longest = max(map(len, chat))
        ids = torch.tensor([[*row, *[self.tokenizer.padding_token] * (longest - len(row))] for row in chat])
        ids = ids.to(self.device)
        points = torch.tensor(np.stack([o.target_points for o in observations]), dtype=torch.float32).to(self.device)
        embedded = self.model.place_inputs(ids, self._encode(tiles), points)
        queries = self.model.queries(ids, self._speeds(observations), points).to(self._dtype)
        return [embedded[number, : len(row)] for number, row in enumerate(chat)], queries

    def _speeds(self, observations: Sequence[Observation]) -> torch.Tensor:
        return torch.tensor([o.speed for o in observations], dtype=torch.float32, device=self.device)

    def _keeps_text(self, observation: Observation, session: Session) -> bool:
        """Whether this tick reuses the previous answer unchecked."""
        before, session.asked = session.asked, NUMBERS.sub("", observation.prompt)
        is_due = session.ticks_since_text + 1 >= self.text_every
        return bool(session.draft) and not is_due and before in (None, session.asked)

    def _start(self, prompt: torch.Tensor, queries: torch.Tensor, session: Session, keep: bool) -> _Row:
        draft = session.draft or self.short_answer
        if not self.use_drafts and not keep:
            draft = ()
        return self._extend(_Row(prompt[:0], queries), prompt, draft)

    def _extend(self, row: _Row, certain: torch.Tensor, draft: tuple[int, ...], ended: bool = False) -> _Row:
        """Set the next inputs of a row: certain embeddings, draft tokens, and the queries where they may be valid."""
        room = self.settings.max_new_tokens - len(row.answer)
        row.tried = draft[: room + 1]
        row.certain = len(certain)
        complete = bool(row.tried) and row.tried[-1] == self.tokenizer.end_token
        row.with_queries = ended or complete
        parts = [certain]
        if row.tried:
            parts.append(self._token_embeddings(row.tried))
        if row.with_queries:
            parts.append(row.queries)
        row.inputs = torch.cat(parts)
        return row

    def _token_embeddings(self, tokens: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor(tokens, device=self.device)
        return self.model.backbone.embed(ids).to(self._dtype)

    def _round(self, rows: list[_Row], keep: list[bool]) -> None:
        """Run the next inputs of all unfinished rows and accept what is right."""
        if len(rows) == 1 and len(rows[0].inputs) == 1:
            self._decode(rows[0])
            return
        longest = max(len(row.inputs) for row in rows if row.states is None)
        first = min(self._first_read(row, keep[number]) for number, row in enumerate(rows) if row.states is None)
        width = self.model.backbone.width
        inputs = torch.zeros(len(rows), longest, width, dtype=self._dtype, device=self.device)
        for number, row in enumerate(rows):
            if row.states is None:
                inputs[number, : len(row.inputs)] = row.inputs
        hidden = self.decoder.forward(inputs, [row.written for row in rows], first)
        for number, row in enumerate(rows):
            if row.states is None:
                self._accept(row, hidden[number, : len(row.inputs) - first], keep[number], first)

    def _first_read(self, row: _Row, keep: bool) -> int:
        """The first of a row's inputs whose hidden state `_accept` looks at."""
        if row.with_queries and (keep or not row.tried):
            return len(row.inputs) - self.num_queries
        return row.certain - 1

    def _decode(self, row: _Row) -> None:
        """Plain greedy decoding of one row, token by token, to its end."""
        while not self._is_complete(row) and len(row.answer) < self.settings.max_new_tokens:
            row.answer.append(self.decoder.next_token(0, row.answer[-1], row.written))
            row.written += 1
        unwritten = row.answer[-1:]
        if not self._is_complete(row):
            unwritten = [*unwritten, self.tokenizer.end_token]
            row.answer.append(self.tokenizer.end_token)
        self._extend(row, self._token_embeddings(unwritten), (), ended=True)

    def _accept(self, row: _Row, hidden: torch.Tensor, keep: bool, first: int) -> None:
        """Compare draft and greedy choice; finish the row or set its next inputs. ``hidden`` begins with input ``first``."""
        tried = len(row.tried)
        if row.with_queries and not row.tried and self._is_complete(row):
            row.states = hidden[-self.num_queries :]
            return
        chosen = [*row.tried, self.tokenizer.end_token]
        if not keep:
            chosen = self._greedy(hidden[row.certain - 1 - first :][: tried + 1])
        room = self.settings.max_new_tokens - len(row.answer)
        chosen[room:] = [self.tokenizer.end_token] * len(chosen[room:])
        right = next((n for n, (want, got) in enumerate(zip(row.tried, chosen)) if want != got), tried)
        row.answer.extend(row.tried[:right])
        row.written += row.certain + right
        if self._is_complete(row):
            row.states = hidden[-self.num_queries :]
            return
        token = chosen[right]
        row.answer.append(token)
        ended = token == self.tokenizer.end_token
        # After a wrong word the rest of the old sentence often still holds; where nothing held, stop guessing.
        rest = row.tried[right + 1 :] if right > 0 and not ended else ()
        self._extend(row, self._token_embeddings([token]), rest, ended)

    def _is_complete(self, row: _Row) -> bool:
        return bool(row.answer) and row.answer[-1] == self.tokenizer.end_token

    def _greedy(self, hidden: torch.Tensor) -> list[int]:
        """The most likely next token after each hidden state (n, D)."""
        return torch.nn.functional.linear(hidden, self.output_weight).argmax(-1).tolist()

    def _finish(
        self,
        rows: list[_Row],
        speeds: torch.Tensor,
        sessions: Sequence[Session],
        keep: list[bool],
        clock: StageClock,
    ) -> list[Prediction]:
        states = torch.stack([row.states for row in rows if row.states is not None])
        path, speed_waypoints = self.model.heads(states, speeds)
        if path is None:
            path = path_from_waypoints(speed_waypoints)
        paths, waypoints = path.cpu().numpy(), speed_waypoints.cpu().numpy()
        predictions = []
        for number, (row, session) in enumerate(zip(rows, sessions)):
            session.draft = tuple(row.answer)
            session.ticks_since_text = session.ticks_since_text + 1 if keep[number] else 0
            text = self._text(session.draft)
            predictions.append(
                Prediction(paths[number], waypoints[number], text, tuple(row.answer), clock.milliseconds)
            )
        return predictions


def path_from_waypoints(waypoints: torch.Tensor) -> torch.Tensor:
    """A stand-in path (B, 20, 2) for models without path queries: the waypoints (B, 10, 2), origin in front, each gap
    halved, so that steering has the points it expects."""
    points = torch.cat([torch.zeros_like(waypoints[:, :1]), waypoints], dim=1)
    middle = (points[:, :-1] + points[:, 1:]) / 2
    return torch.stack([points[:, :-1], middle], dim=2).flatten(1, 2)


class StageClock:
    """Measures the stages of one call, milliseconds."""

    def __init__(self, device: torch.device) -> None:
        self.milliseconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; on a GPU its work is waited for."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.milliseconds[name] = (time.perf_counter() - start) * 1000
