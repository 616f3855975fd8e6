"""The policy that agents call: image, speed, target points and prompt in; text, path and waypoints out.

One pass over prompt, drafted answer and action queries often does the whole tick: when the drafted tokens (the previous
answer, or the expected short answer) turn out to be what greedy decoding chooses, the queries behind them are valid too.
Otherwise the first wrong token is corrected and the rest is tried again. The answer is always the greedy one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from simlingo_training.data.images import TileSpec, prepare_image
from simlingo_training.data.prompts import WAYPOINTS_ANSWER
from simlingo_training.inference.clock import StageClock
from simlingo_training.inference.engine import Codes, Moment, Outcome, Span
from simlingo_training.inference.engine_choice import make_engine
from simlingo_training.inference.records import Observation, Prediction
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
        number: Which row it is.
        keep: Whether the drafted answer is taken as it is.
        written: Valid cache places.
        answer: Accepted tokens.
        inputs: Codes to run next, see `Codes`.
        tried: Draft tokens among them, right behind the first ``certain`` ones.
        certain: Inputs that are known to be right (prompt, or the last accepted token).
        with_queries: Whether the action queries close the inputs.
        states: What the engine knows of the queries once the answer is complete.
    """

    number: int
    keep: bool
    written: int = 0
    answer: list[int] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    tried: tuple[int, ...] = ()
    certain: int = 0
    with_queries: bool = False
    states: Any = None


def choose_device(name: str | torch.device) -> torch.device:
    """``auto`` is a GPU when there is one; other names mean themselves. Raises ValueError for a GPU that is not there."""
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu") if name == "auto" else torch.device(name)
    if device.type == "cuda" and not has_gpu:
        raise ValueError(f"device {str(name)!r} was asked for, and PyTorch sees no GPU here; take auto or cpu")
    return device


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
        recorded: bool | None = None,
        most_cars: int = 1,
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
            dropout: Leave adapter dropout on, as the published agent does; slow. Cars are answered one by one then, each with
                what the seed of its observation draws.
            recorded: Run passes of few shapes, whole sentences in one, by kernels written for this network and recorded as
                CUDA graphs at the first calls; by default on every GPU that can. ``False`` runs operation by operation;
                ``True`` on a CPU runs the same passes unrecorded.
            most_cars: Cars that recorded passes make room for at once; more are answered too, after recording again.

        Raises:
            ValueError: If ``text_every`` is below 1, ``device`` is not there, or ``recorded`` asks for what cannot be.
        """
        if text_every < 1:
            raise ValueError(f"text_every counts ticks from 1; got {text_every}")
        self.tokenizer = checkpoint.tokenizer
        self.settings = checkpoint.settings
        self.cut_bonnet = checkpoint.cut_bonnet
        self.device = choose_device(device)
        dtype = dtype or (torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.text_every = text_every
        self.dropout = dropout
        self.use_drafts = use_drafts and not dropout
        self.model = checkpoint.model.to(self.device).eval().requires_grad_(False)
        self.model.backbone.to(dtype)
        self.engine = make_engine(self.model, self.settings, self.device, recorded, dropout, most_cars)
        self.codes = Codes(self.model.heads.num_queries)
        self.short_answer = (*self.tokenizer.encode(WAYPOINTS_ANSWER), self.tokenizer.end_token)
        self._session = Session()
        # Prompts differ by a rounded speed, and answers come again.
        self._ask = lru_cache(maxsize=4096)(self._prompt_codes)
        self._text = lru_cache(maxsize=1024)(self.tokenizer.decode)

    def _prompt_codes(self, prompt: str, visual_tokens: int) -> tuple[tuple[int, ...], bool]:
        ids = self.tokenizer.row(prompt, visual_tokens).ids
        return self.codes.of_prompt(ids, self.tokenizer.image_token, self.tokenizer.point_token)

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
        if self.dropout and len(observations) > 1:
            return [self.act(*car) for car in zip(observations, sessions)]
        if self.dropout and observations[0].seed is not None:
            torch.manual_seed(observations[0].seed)
        clock, engine = StageClock(self.device), self.engine
        spec = self.settings.tiles
        visual = engine.look([prepare_image(o.image, spec, self._cuts(o)) for o in observations], clock)
        prompts = [self._ask(o.prompt, visual) for o in observations]
        longest = max(len(codes) for codes, _ in prompts)
        moment = Moment(
            np.array([o.speed for o in observations], np.float32),
            np.stack([o.target_points for o in observations]).astype(np.float32),
            np.array([told for _, told in prompts], np.float32),
        )
        engine.begin(moment, longest + self.settings.max_new_tokens + 1 + self.codes.num_queries)
        rows = [self._start(number, *parts) for number, parts in enumerate(zip(observations, prompts, sessions))]
        self._round(rows)
        clock.mark("prefill", engine.waits)
        while any(row.states is None for row in rows):
            self._round(rows)
        clock.mark("text", engine.waits)
        return self._finish(rows, sessions, clock)

    def _cuts(self, observation: Observation) -> bool:
        return self.cut_bonnet and not observation.is_cut

    def _keeps_text(self, observation: Observation, session: Session) -> bool:
        """Whether this tick reuses the previous answer unchecked."""
        before, session.asked = session.asked, NUMBERS.sub("", observation.prompt)
        is_due = session.ticks_since_text + 1 >= self.text_every
        return bool(session.draft) and not is_due and before in (None, session.asked)

    def _start(
        self, number: int, observation: Observation, prompt: tuple[tuple[int, ...], bool], session: Session
    ) -> _Row:
        keep = self._keeps_text(observation, session)
        draft = session.draft or self.short_answer
        if not self.use_drafts and not keep:
            draft = ()
        return self._extend(_Row(number, keep), prompt[0], draft)

    def _extend(self, row: _Row, certain: tuple[int, ...], draft: tuple[int, ...], ended: bool = False) -> _Row:
        """Set the next inputs of a row: certain ones, draft tokens, and the queries where they may be valid."""
        room = self.settings.max_new_tokens - len(row.answer)
        row.tried = draft[: room + 1]
        row.certain = len(certain)
        complete = bool(row.tried) and row.tried[-1] == self.tokenizer.end_token
        row.with_queries = ended or complete
        row.inputs = (*certain, *row.tried, *(self.codes.queries() if row.with_queries else ()))
        return row

    def _round(self, rows: list[_Row]) -> None:
        """Run the next inputs of all unfinished rows and accept what is right."""
        unguessed = [row for row in rows if row.states is None and len(row.inputs) == 1]
        if unguessed and self.engine.says_rows(len(unguessed), len(rows)):
            for row in unguessed:
                self._decode(row)
        waiting = [row for row in rows if row.states is None]
        outcomes = self.engine.run([self._span(row) for row in waiting])
        for row, outcome in zip(waiting, outcomes):
            self._accept(row, outcome)

    def _span(self, row: _Row) -> Span:
        ends = row.with_queries and not row.tried
        checked = 0 if row.keep or ends else len(row.tried) + 1
        return Span(row.number, row.inputs, row.written, row.certain - 1, checked, row.with_queries)

    def _decode(self, row: _Row) -> None:
        """Plain greedy decoding of one row to its end."""
        end_token = self.tokenizer.end_token
        room = self.settings.max_new_tokens - len(row.answer)
        if room > 0 and not self._is_complete(row):
            said = self.engine.say(row.number, row.answer[-1], row.written, room, end_token)
            row.answer.extend(said)
            row.written += len(said)
        unwritten = tuple(row.answer[-1:])
        if not self._is_complete(row):
            unwritten = (*unwritten, end_token)
            row.answer.append(end_token)
        self._extend(row, unwritten, (), ended=True)

    def _accept(self, row: _Row, outcome: Outcome) -> None:
        """Compare draft and greedy choice; finish the row or set its next inputs."""
        tried, end_token = len(row.tried), self.tokenizer.end_token
        if row.with_queries and not row.tried and self._is_complete(row):
            row.states = outcome.states
            return
        chosen = [*row.tried, end_token] if row.keep else list(outcome.chosen)
        room = self.settings.max_new_tokens - len(row.answer)
        chosen[room:] = [end_token] * len(chosen[room:])
        right = next((n for n, (want, got) in enumerate(zip(row.tried, chosen)) if want != got), tried)
        row.answer.extend(row.tried[:right])
        row.written += row.certain + right
        if self._is_complete(row):
            row.states = outcome.states
            return
        token = chosen[right]
        row.answer.append(token)
        ended = token == end_token
        # After a wrong word the rest of the old sentence often still holds; where nothing held, stop guessing.
        rest = row.tried[right + 1 :] if right > 0 and not ended else ()
        self._extend(row, (token,), rest, ended)

    def _is_complete(self, row: _Row) -> bool:
        return bool(row.answer) and row.answer[-1] == self.tokenizer.end_token

    def _finish(self, rows: list[_Row], sessions: Sequence[Session], clock: StageClock) -> list[Prediction]:
        paths, waypoints = self.engine.act([row.states for row in rows])
        clock.mark("action", is_done=True)
        stages = clock.read()
        predictions = []
        for row, session in zip(rows, sessions):
            session.draft = tuple(row.answer)
            session.ticks_since_text = session.ticks_since_text + 1 if row.keep else 0
            text = self._text(session.draft)
            predictions.append(Prediction(paths[row.number], waypoints[row.number], text, session.draft, stages))
        return predictions
