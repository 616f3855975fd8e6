"""Asking a policy server: what goes over the wire, and a policy that sends it. No network is imported here.

On the wire a message is a four-byte big-endian length and a MessagePack map. A request holds the observation, the answer the
prediction or an ``error``. Each connection is one car and has its own memory of what was said before.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import msgpack
import numpy as np

from simlingo_training.inference.records import Observation, Prediction

LENGTH = struct.Struct(">I")
RECONNECT_PAUSE_S = 0.1
READY = "policy_server ready"
"""Start of the line that the server prints when it answers."""

T = TypeVar("T")


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
        "seed": observation.seed,
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
        seed = None if message.get("seed") is None else int(message["seed"])
        return Observation(image, float(message["speed"]), points, str(message["prompt"]), is_cut, seed)
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


def frame(message: dict[str, Any]) -> bytes:
    """A message as it goes over the wire."""
    packed: bytes = msgpack.packb(message)
    return LENGTH.pack(len(packed)) + packed


class RemotePolicy:
    """A policy that asks a policy server; used like `Policy` with one session. It holds a connection until `close`, which
    the end of a ``with`` block calls.

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

    def close(self) -> None:
        """Hang up. Safe to call twice."""
        self._socket.close()

    def __enter__(self) -> RemotePolicy:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

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
        self._persist(lambda: self._socket.sendall(frame({"reset": True})))

    @cached_property
    def sees_bonnet(self) -> bool:
        """Whether the server's model looks at the part of the image that shows the bonnet."""
        return bool(self.status()["sees_bonnet"])

    def status(self) -> dict[str, Any]:
        """The server's `BatchingServer.status`. Raises PolicyServerError as `act`."""
        return self._persist(lambda: self._exchange(frame({"status": True})))

    def act(self, observation: Observation) -> Prediction:
        """Predict for one tick.

        Raises:
            PolicyServerError: If the server went away for good, did not answer in time, or could not predict.
        """
        started = time.perf_counter()
        request = frame(pack_observation(observation))
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
