"""One process holds the model and answers many agents in batches.

Start it and point agents at it (``start_eval.py policy_server=true`` does both)::

    python -m team_code.policy_server --checkpoint outputs/simlingo_tiny/checkpoints/last --port 27500
    python -m team_code.policy_server --checkpoint outputs/simlingo/checkpoints/last --kernels   # on a GPU
    python start_eval.py agent=simlingo +agent_options.policy_server=127.0.0.1:27500

On the wire a message is a four-byte big-endian length and a MessagePack map. A request holds the observation, the answer the
prediction or an ``error``. Each connection is one car and has its own memory of what was said before.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import msgpack
import numpy as np
import torch

from simlingo_base_training.policy import BasePolicy
from simlingo_base_training.training import KIND as BASE_KIND
from simlingo_training.inference import Observation, Policy, Prediction, Session
from simlingo_training.inference.policy import choose_device
from simlingo_training.models import checkpoint as checkpoints

LENGTH = struct.Struct(">I")
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
RECONNECT_PAUSE_S = 0.1
MAX_BATCH = {"cuda": 16, "cpu": 1}
"""Most cars answered together by default.

A batch of two takes a CPU 1.9 times as long as one, and cars that are answered together compute together afterwards while
the model idles; answered one after the other, one car's simulator computes during another's turn. Nor does an answer then
depend, in its last bits, on who else happens to ask.
"""
READY = "policy_server ready"
"""Start of the line that the server prints when it answers."""

T = TypeVar("T")


class BatchPolicy(Protocol):
    """What the server needs of a policy; `Policy` is one."""

    @property
    def sees_bonnet(self) -> bool:
        """See `Policy.sees_bonnet`."""

    def act_batch(self, observations: list[Observation], sessions: list[Session]) -> list[Prediction]:
        """Predict for several cars at once."""


class PolicyServerError(RuntimeError):
    """The policy server cannot be reached, went away, or could not answer."""


def pack_observation(observation: Observation) -> dict[str, Any]:
    """A request as a MessagePack map; undone by `unpack_observation`."""
    return {
        "image": observation.image.tobytes(),
        "shape": list(observation.image.shape),
        "speed": float(observation.speed),
        "target_points": np.asarray(observation.target_points, dtype=np.float64).tolist(),
        "prompt": observation.prompt,
        "is_cut": observation.is_cut,
    }


def unpack_observation(message: dict[str, Any]) -> Observation:
    """Read what `pack_observation` made.

    Raises:
        ValueError: If the picture's bytes do not fit its shape, or a field is missing.
    """
    try:
        image = np.frombuffer(message["image"], dtype=np.uint8).reshape(message["shape"])
        points = np.asarray(message["target_points"], dtype=np.float64).reshape(2, 2)
        is_cut = bool(message.get("is_cut", False))
        return Observation(image, float(message["speed"]), points, str(message["prompt"]), is_cut)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"expected image, shape, speed, target_points and prompt; {error!r} is missing or odd"
        ) from error


def pack_prediction(prediction: Prediction) -> dict[str, Any]:
    """An answer as a MessagePack map; undone by `unpack_prediction`."""
    return {
        "path": np.asarray(prediction.path, dtype=np.float32).tobytes(),
        "speed_waypoints": np.asarray(prediction.speed_waypoints, dtype=np.float32).tobytes(),
        "text": prediction.text,
        "tokens": list(prediction.tokens),
        "stage_ms": prediction.stage_ms,
    }


def unpack_prediction(message: dict[str, Any]) -> Prediction:
    """Read what `pack_prediction` made."""
    path, waypoints = (
        np.frombuffer(message[name], dtype=np.float32).reshape(-1, 2) for name in ("path", "speed_waypoints")
    )
    return Prediction(path, waypoints, message["text"], tuple(message["tokens"]), dict(message["stage_ms"]))


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

    async def serve(self, host: str, port: int) -> None:
        """Listen and answer until cancelled; prints `READY` and the address."""
        server = await asyncio.start_server(self._converse, host, port)
        address = server.sockets[0].getsockname()
        print(f"{READY} address={address[0]}:{address[1]}", flush=True)
        async with server:
            await self._answer_batches()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One car: requests in, answers out, in order."""
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session()
        self._connected += 1
        try:
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                if length > MAX_MESSAGE_BYTES:
                    return
                message = msgpack.unpackb(await reader.readexactly(length))
                if message.get("reset"):
                    session = Session()
                    continue
                if message.get("status"):
                    writer.write(_frame(self.status()))
                    continue
                writer.write(_frame(await self._answer(message, session)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._connected -= 1
            writer.close()

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
        except (ValueError, RuntimeError) as error:
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
        except (ValueError, RuntimeError) as error:
            if len(batch) > 1:
                for request in batch:
                    await self._answer_batch([request])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(type(error)(str(error)))
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


def _frame(message: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(message)
    return LENGTH.pack(len(packed)) + packed


class RemotePolicy:
    """A policy that asks a policy server; used like `Policy` with one session.

    A server that goes away in the middle of a drive may come back: the last request is sent again to the new one. Answers do
    not depend on what the lost session remembered (drafts only save time), unless text is generated on some ticks only.

    Args:
        address: ``host:port`` of the server.
        timeout_s: Longest wait for an answer, seconds of wall clock.
        reconnect_s: How long a server that went away is waited for, seconds of wall clock.

    Raises:
        PolicyServerError: If nobody answers there.
    """

    def __init__(self, address: str, timeout_s: float = 120.0, reconnect_s: float = 120.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._reconnect_s = reconnect_s
        try:
            self._socket = self._connect()
        except (OSError, ValueError) as error:
            raise PolicyServerError(
                f"no policy server at {address!r} ({error}); start one with `python -m team_code.policy_server --checkpoint …`"
            ) from error

    def _connect(self) -> socket.socket:
        host, _, port = self._address.rpartition(":")
        connection = socket.create_connection((host or "127.0.0.1", int(port)), timeout=self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def reset(self) -> None:
        """Forget the previous answer; call it when a new route starts.

        Raises:
            PolicyServerError: If the server went away and did not come back.
        """
        self._persist(lambda: self._socket.sendall(_frame({"reset": True})))

    @cached_property
    def sees_bonnet(self) -> bool:
        """Whether the server's model looks at the part of the image that shows the bonnet."""
        return bool(self.status()["sees_bonnet"])

    def status(self) -> dict[str, Any]:
        """The server's `BatchingServer.status`. Raises PolicyServerError as `act`."""
        return self._persist(lambda: self._exchange(_frame({"status": True})))

    def act(self, observation: Observation) -> Prediction:
        """Predict for one tick.

        Raises:
            PolicyServerError: If the server went away for good, did not answer in time, or could not predict.
        """
        started = time.perf_counter()
        request = _frame(pack_observation(observation))
        message = self._persist(lambda: self._exchange(request))
        if "error" in message:
            raise PolicyServerError(f"the policy server at {self._address} could not answer: {message['error']}")
        prediction = unpack_prediction(message)
        elsewhere = sum(prediction.stage_ms.values())
        prediction.stage_ms["transfer"] = max(0.0, (time.perf_counter() - started) * 1e3 - elsewhere)
        return prediction

    def _exchange(self, request: bytes) -> dict[str, Any]:
        self._socket.sendall(request)
        (length,) = LENGTH.unpack(self._receive(LENGTH.size))
        message: dict[str, Any] = msgpack.unpackb(self._receive(length))
        return message

    def _persist(self, attempt: Callable[[], T]) -> T:
        """Do something over the connection, again over a new one if the server went away."""
        deadline = time.monotonic() + self._reconnect_s
        while True:
            try:
                return attempt()
            except TimeoutError as error:
                raise PolicyServerError(
                    f"the policy server at {self._address} did not answer within {self._timeout_s:g} s"
                ) from error
            except OSError as error:
                self._socket.close()
                self._reconnect(deadline, error)

    def _reconnect(self, deadline: float, cause: OSError) -> None:
        while time.monotonic() < deadline:
            time.sleep(RECONNECT_PAUSE_S)
            try:
                self._socket = self._connect()
            except OSError:
                continue
            return
        raise PolicyServerError(
            f"the policy server at {self._address} is gone and did not come back within {self._reconnect_s:g} s: {cause}"
        ) from cause

    def _receive(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise ConnectionError("the connection was closed")
            parts += part
        return bytes(parts)


def load_batch_policy(
    checkpoint: str, device: str, dropout: bool = False, text_every: int = 1, kernels: bool = False, most_cars: int = 1
) -> BatchPolicy:
    """Load a checkpoint of either model; the options are those of `Policy`.

    Raises:
        simlingo_training.models.checkpoint.CheckpointError: If it is neither a SimLingo nor a SimLingo-Base checkpoint.
        ValueError: If kernels are asked for where none can run.
    """
    is_base = checkpoints.read_config(checkpoint)["kind"] == BASE_KIND
    if kernels and is_base:
        raise ValueError(f"--kernels runs kernels for SimLingo, and {checkpoint} is a SimLingo-Base; leave it away")
    if kernels and not (choose_device(device).type == "cuda" and torch.cuda.is_available()):
        found = "no GPU here" if device == "auto" or not torch.cuda.is_available() else f"--device is {device}"
        raise ValueError(f"--kernels runs GPU kernels, and there is {found}; leave it away, the answers stay the same")
    if is_base:
        return BasePolicy.load(checkpoint, device)
    return Policy.load(
        checkpoint, device=device, dropout=dropout, text_every=text_every, kernels=kernels, most_cars=most_cars
    )


def main() -> int:
    """Serve a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument(
        "--kernels", action="store_true", help="run the product's own GPU kernels instead of compiled ones"
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
            arguments.checkpoint, arguments.device, arguments.dropout, arguments.text_every, arguments.kernels, most
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
