"""One process holds the model and answers many agents in batches.

Start it and point agents at it (``start_eval.py policy_server=true`` does both)::

    python -m team_code.policy_server --checkpoint outputs/simlingo_tiny/checkpoints/last --port 27500
    python start_eval.py agent=simlingo +agent_options.policy_server=127.0.0.1:27500

What goes over the wire is in `team_code.policy_client`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgpack
import torch

from simlingo_base_training.checkpoint import KIND as BASE_KIND
from simlingo_base_training.policy import BasePolicy
from simlingo_training.inference import Observation, Policy, Prediction, Session
from simlingo_training.inference.policy import choose_device
from simlingo_training.models import checkpoint as checkpoints
from team_code.policy_client import LENGTH, READY, frame, pack_prediction, unpack_observation

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_BATCH = {"cuda": 16, "cpu": 1}
"""Most cars answered together by default.

A batch of two takes a CPU 1.9 times as long as one, and cars that are answered together compute together afterwards while
the model idles; answered one after the other, one car's simulator computes during another's turn. Nor does an answer then
depend, in its last bits, on who else happens to ask.
"""


class BatchPolicy(Protocol):
    """What the server needs of a policy; `Policy` is one."""

    @property
    def sees_bonnet(self) -> bool:
        """See `Policy.sees_bonnet`."""

    def act_batch(self, observations: list[Observation], sessions: list[Session]) -> list[Prediction]:
        """Predict for several cars at once."""


@dataclass
class _Request:
    observation: Observation
    session: Session
    answer: asyncio.Future[Prediction]
    arrived: float


@dataclass
class BatchingServer:
    """Collects requests for a moment and answers them together.

    Attributes:
        policy: The model.
        max_batch: Most requests answered together.
        patience_s: Longest wait for further requests after the first; the wait ends early when every connected car has asked.
        batches: Batch size to how often it occurred.
    """

    policy: BatchPolicy
    max_batch: int = 16
    patience_s: float = 0.004
    batches: Counter[int] = field(default_factory=Counter)
    _queue: asyncio.Queue[_Request] = field(default_factory=asyncio.Queue)
    _connected: int = 0
    _conversations: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, host: str, port: int) -> None:
        """Listen and answer until cancelled; prints `READY` and the address."""
        server = await asyncio.start_server(self._converse, host, port)
        address = server.sockets[0].getsockname()
        print(f"{READY} address={address[0]}:{address[1]}", flush=True)
        try:
            await self._answer_batches()
        finally:
            # Leaving ``async with server`` would wait until every car has hung up.
            server.close()
            for conversation in self._conversations:
                conversation.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one car's connection while the server runs."""
        conversation = asyncio.current_task()
        assert conversation is not None
        self._conversations.add(conversation)
        self._connected += 1
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._connected -= 1
            self._conversations.discard(conversation)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One car: requests in, answers out, in order."""
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session()
        while True:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if length > MAX_MESSAGE_BYTES:
                return
            message = msgpack.unpackb(await reader.readexactly(length))
            if message.get("reset"):
                session = Session()
                continue
            if message.get("status"):
                writer.write(frame(self.status()))
                continue
            writer.write(frame(await self._answer(message, session)))
            await writer.drain()

    def status(self) -> dict[str, Any]:
        """What a health check gets: connected cars, how often each batch size occurred, and what cars may leave out."""
        batches = {str(size): count for size, count in self.batches.items()}
        return {"connected": self._connected, "batches": batches, "sees_bonnet": self.policy.sees_bonnet}

    async def _answer(self, message: dict[str, Any], session: Session) -> dict[str, Any]:
        arrived = time.perf_counter()
        try:
            observation = unpack_observation(message)
            future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
            await self._queue.put(_Request(observation, session, future, arrived))
            prediction = await future
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return pack_prediction(prediction)

    async def _answer_batches(self) -> None:
        while True:
            batch = await self._collect()
            self.batches[len(batch)] += 1
            await self._answer_batch(batch)

    async def _answer_batch(self, batch: list[_Request]) -> None:
        """Answer requests together; when that fails, one by one, so that a bad request spoils no other's."""
        observations = [request.observation for request in batch]
        sessions = [request.session for request in batch]
        started = time.perf_counter()
        try:
            loop = asyncio.get_running_loop()
            predictions = await loop.run_in_executor(None, self.policy.act_batch, observations, sessions)
        except Exception as error:
            # Whatever it is, the cars that wait are told; a server that died of it would leave them waiting.
            log.warning("a batch of %d failed", len(batch), exc_info=error)
            if len(batch) > 1:
                for request in batch:
                    await self._answer_batch([request])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for request, prediction in zip(batch, predictions, strict=True):
            # The stages of a batch are shared by its cars, so each gets a record of its own.
            waited = (started - request.arrived) * 1e3
            if not request.answer.done():
                request.answer.set_result(replace(prediction, stage_ms={"queue": waited, **prediction.stage_ms}))

    async def _collect(self) -> list[_Request]:
        """The next batch: the first request, those that wait already, and what comes within the patience."""
        batch = [await self._queue.get()]
        deadline = time.perf_counter() + self.patience_s
        while len(batch) < min(self.max_batch, self._connected):
            left = deadline - time.perf_counter()
            try:
                # Waiting for no time at all would not even take what is there.
                batch.append(self._queue.get_nowait() if left <= 0 else await asyncio.wait_for(self._queue.get(), left))
            except (asyncio.TimeoutError, asyncio.QueueEmpty):
                break
        return batch


def load_batch_policy(
    checkpoint: str, device: str, dropout: bool = False, text_every: int = 1, most_cars: int = 1
) -> BatchPolicy:
    """Load a checkpoint of either model; the options are those of `Policy`.

    Raises:
        simlingo_training.models.checkpoint.CheckpointError: If it is neither a SimLingo nor a SimLingo-Base checkpoint.
    """
    if checkpoints.read_config(checkpoint)["kind"] == BASE_KIND:
        return BasePolicy.load(checkpoint, device)
    return Policy.load(checkpoint, device=device, dropout=dropout, text_every=text_every, most_cars=most_cars)


def main() -> int:
    """Serve a checkpoint."""
    parser = argparse.ArgumentParser(
        prog="python -m team_code.policy_server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=27500, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--text-every", type=int, default=1, help="generate text every n-th tick (default: %(default)s)"
    )
    parser.add_argument(
        "--dropout", action="store_true", help="leave the adapters' dropout on, as the published agent does"
    )
    parser.add_argument("--max-batch", type=int, help=f"most cars answered together (default: {MAX_BATCH})")
    parser.add_argument(
        "--patience-ms", type=float, default=4.0, help="longest wait for more cars (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model, 0 for torch's choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        most = arguments.max_batch or MAX_BATCH[choose_device(arguments.device).type]
        policy = load_batch_policy(
            arguments.checkpoint, arguments.device, arguments.dropout, arguments.text_every, most
        )
        server = BatchingServer(policy, most, arguments.patience_ms / 1e3)
        asyncio.run(server.serve(arguments.host, arguments.port))
    except (OSError, ValueError) as error:
        print(f"policy_server: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
