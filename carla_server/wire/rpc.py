"""MessagePack-RPC as the carla client speaks it: bytes in, calls out; results in, bytes out. Owns no socket.

A request is ``[0, id, name, [metadata, *arguments]]`` where the metadata are ``[asynchronous]``; the answer is
``[1, id, error, result]``. The results are wrapped so that the client can tell a value from an application error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2

#: Largest message taken from a client; an OpenDRIVE text of a large town has some tens of megabytes.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class ProtocolError(ValueError):
    """The peer sent something that is not MessagePack-RPC; its connection cannot be used any more.

    Attributes:
        before: Calls that were completed by the same bytes before it; they are as good as any.
    """

    def __init__(self, message: str, before: Sequence[Call] = ()) -> None:
        super().__init__(message)
        self.before = before


class Call(NamedTuple):
    """One call of a client.

    Attributes:
        id: Number the answer must carry; None for a notification, which gets no answer.
        name: Method.
        arguments: Without the metadata.
        asynchronous: Whether the client discards the result.
    """

    id: int | None
    name: str
    arguments: tuple[Any, ...]
    asynchronous: bool = False


def parse_call(message: Any) -> Call:
    """Read one decoded message.

    Raises:
        ProtocolError: It is not a request or notification.
    """
    if not isinstance(message, list) or not message:
        raise ProtocolError(f"expected a MessagePack-RPC array, got {type(message).__name__}")
    if message[0] == REQUEST and len(message) == 4:
        call_id, name, parameters = message[1:]
    elif message[0] == NOTIFICATION and len(message) == 3:
        call_id, (name, parameters) = None, message[1:]
    else:
        raise ProtocolError(f"expected [0, id, name, parameters], got an array of {len(message)} led by {message[0]!r}")
    if not isinstance(name, str) or not isinstance(parameters, list):
        raise ProtocolError("a method name must be text and its parameters an array")
    if call_id is not None and (type(call_id) is not int or not 0 <= call_id < 2**32):
        raise ProtocolError(f"a call id must be an unsigned 32-bit number, got {call_id!r}")
    # The Traffic Manager's own port is called without metadata; accept both forms.
    if parameters and isinstance(parameters[0], list) and parameters[0] in ([True], [False]):
        return Call(call_id, name, tuple(parameters[1:]), parameters[0][0])
    return Call(call_id, name, tuple(parameters))


class RpcConnection:
    """Turns received bytes into calls. Owns no socket."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, unicode_errors="surrogateescape", max_buffer_size=MAX_MESSAGE_BYTES
        )

    def receive(self, data: bytes) -> list[Call]:
        """Return the calls completed by `data`; the rest waits for more bytes.

        Raises:
            ProtocolError: The bytes are no MessagePack, or a complete message is not a call; answer the calls before it
                and close the connection.
        """
        calls: list[Call] = []
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                calls.append(parse_call(message))
        except ProtocolError as error:
            raise ProtocolError(str(error), calls) from None
        except (ValueError, msgpack.UnpackException, TypeError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"not MessagePack: {error}", calls) from error
        return calls


def _plain(value: Any) -> Any:
    """Turn NumPy values into Python's: the client refuses a bool that is not one."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot send a {type(value).__name__} to a client")


_packer = msgpack.Packer(use_bin_type=True, default=_plain, unicode_errors="surrogateescape")
pack: Callable[[Any], bytes] = _packer.pack


def answer(call_id: int, result: Any) -> bytes:
    """Answer of a call that the server knows; `result` is wrapped already (`value`, `failure`, `DONE`, …)."""
    return pack([RESPONSE, call_id, None, result])


def unknown_method(call_id: int, name: str, count: int) -> bytes:
    """Answer of a call that the server does not know. The client raises ``rpc::rpc_error during call in function``."""
    return pack([RESPONSE, call_id, f"server could not find function '{name}' with argument count {count}.", None])


def value(result: Any) -> list[Any]:
    """A successful result."""
    return [[1, result]]


def failure(message: str) -> list[Any]:
    """An application error of a call that returns a value; Python raises RuntimeError(message)."""
    return [[0, [message or "unnamed error"]]]


#: A successful call that returns nothing.
DONE: list[Any] = [[False]]


def void_failure(message: str) -> list[Any]:
    """An application error of a call that returns nothing."""
    return [[True, [message or "unnamed error"]]]
