"""The table of methods and how a call finds its function.

A function takes the simulator, the session of the client, and the call's arguments. What it raises becomes an
application error, which Python's client raises as RuntimeError with the message.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.map import MapError
from carla_server.wire import rpc
from carla_server.world.world import WorldError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """One method of the server.

    Attributes:
        name: As the client calls it.
        function: Takes simulator, session and the arguments.
        returns: Whether it returns a value; the client reads void results differently.
        least: Arguments it needs at least.
        most: Arguments it takes at most.
    """

    name: str
    function: Callable[..., Any]
    returns: bool
    least: int
    most: float


METHODS: dict[str, Method] = {}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _register(names: tuple[str, ...], returns: bool) -> Decorator:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = [*inspect.signature(function).parameters.values()][2:]
        named = [row for row in parameters if row.kind is not row.VAR_POSITIONAL]
        least = sum(row.default is row.empty for row in named)
        most = float("inf") if len(named) < len(parameters) else len(named)
        for name in names or (function.__name__,):
            if name in METHODS:
                raise ValueError(f"the method {name!r} is in the table already")
            METHODS[name] = Method(name, function, returns, least, most)
        return function

    return add


def value(*names: str) -> Decorator:
    """Enter a function that returns a value, under its own name or the given ones."""
    return _register(names, True)


def void(*names: str) -> Decorator:
    """Enter a function that returns nothing, under its own name or the given ones."""
    return _register(names, False)


def perform(simulator: Simulator, session: Session, method: Method, arguments: tuple[Any, ...]) -> Any:
    """Call a method and wrap what it returns or raises as the client expects it."""
    if not method.least <= len(arguments) <= method.most:
        message = f"{method.name}: expected {method.least} arguments, got {len(arguments)}"
        return rpc.failure(message) if method.returns else rpc.void_failure(message)
    try:
        result = method.function(simulator, session, *arguments)
    except (WorldError, MapError, ValueError, OSError) as error:
        return rpc.failure(str(error)) if method.returns else rpc.void_failure(str(error))
    except Exception as error:  # a defect of the server must not take other clients down; it is logged and told
        log.exception("%s%r failed", method.name, arguments)
        message = f"{method.name}: internal error: {type(error).__name__}: {error}"
        return rpc.failure(message) if method.returns else rpc.void_failure(message)
    return rpc.value(result) if method.returns else rpc.DONE


def dispatch(simulator: Simulator, session: Session, call: rpc.Call) -> bytes:
    """Answer one call, in bytes; empty for a notification."""
    method = METHODS.get(call.name)
    if method is None:
        if call.name not in session.unknown:
            session.unknown.add(call.name)
            log.warning("a client called the unknown method %r with %d arguments", call.name, len(call.arguments))
        return b"" if call.id is None else rpc.unknown_method(call.id, call.name, len(call.arguments))
    if call.name == "apply_batch":
        # The only method whose results are not wrapped: each command carries its own.
        result = _batch(simulator, session, method, call.arguments)
    else:
        result = perform(simulator, session, method, call.arguments)
    if call.id is None:
        return b""
    return rpc.answer(call.id, None if call.asynchronous else result)


def _batch(simulator: Simulator, session: Session, method: Method, arguments: tuple[Any, ...]) -> Any:
    result = perform(simulator, session, method, arguments)
    return result[0][1] if result[0][0] == 1 else []
