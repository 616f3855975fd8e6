"""Sockets of the server, and nothing else: what arrives is handed on, what comes back is sent.

One thread runs calls and the world. Cameras, lidars and radars measure on a few worker threads while the next calls
are served; the next tick waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from carla_server.calls import Session, Simulator, dispatch
from carla_server.calls.pulse import Missed, tells_it_stands
from carla_server.view.http import LiveView
from carla_server.wire import rpc, streams
from carla_server.world.towns import TownLibrary
from carla_server.world.world import World

log = logging.getLogger(__name__)

#: A subscriber that leaves this much unread is disconnected, bytes.
MAX_BACKLOG_BYTES = 512 * 1024 * 1024
#: Most bytes of calls taken at once; asyncio's own 256 KB are asked of the C library anew for every packet.
RECEIVED_BYTES = 64 * 1024
#: Calls that may have to wait: they advance the world or replace it.
DEFERRED = frozenset({"tick_cue", "load_new_episode", "apply_batch"})
#: Calls by which a client finds the new episode after a load, until it has subscribed to it.
RECONNECTING = frozenset({"version", "get_episode_info", "get_sensor_token"})
#: How long a load waits for the client's Traffic Manager to be busy with a call, seconds.
LOAD_PATIENCE_S = 0.15
#: How long a Traffic Manager that answered has to go on by itself, and how long a connection that woke it stays, seconds.
AWAKE_S, KEEP_OPEN_S = 1.0, 5.0
#: Delay of a call that waits for the sensors of the tick before: it is tried again when the last of them has measured.
WHEN_MEASURED = float("inf")
#: How long a client may take to subscribe to a new episode, seconds.
RECONNECT_PATIENCE_S = 2.0


def may_wait(call: rpc.Call) -> bool:
    """Whether a call advances the world or replaces it; a batch does only if told to tick."""
    ticks = call.name != "apply_batch" or (len(call.arguments) > 1 and call.arguments[1] is True)
    return call.name in DEFERRED and ticks


class SocketPublisher:
    """Sends stream messages to the sockets that subscribed."""

    def __init__(self, workers: int) -> None:
        self._subscribers: dict[int, list[asyncio.Transport]] = defaultdict(list)
        # One thread each, so that a lone camera always meets its own warm memory.
        self._workers = [ThreadPoolExecutor(1, thread_name_prefix=f"sensor-{number}") for number in range(workers)]
        self._loads = [0] * workers
        self.unfinished = 0
        self.on_idle: Callable[[], None] = lambda: None

    def wanted(self, stream: int) -> bool:
        """Whether anybody subscribed to a stream."""
        return stream in self._subscribers

    def send(self, stream: int, message: bytes, payload: bytes | memoryview = b"") -> None:
        """Send a message to all subscribers of a stream; a large rest of it apart, so that it is not copied."""
        head = streams.frame_size(len(message) + len(payload)) + message
        for transport in [*self._subscribers.get(stream, ())]:
            if transport.get_write_buffer_size() > MAX_BACKLOG_BYTES:
                log.warning("stream %d: a subscriber does not read; disconnecting it", stream)
                transport.abort()
                continue
            _write(transport, (head, payload))

    def send_later(self, stream: int, header: bytes, measure: Callable[[], bytes | memoryview]) -> None:
        """Measure on a worker thread, then send. It begins after the tick was answered: the client has work to do meanwhile."""
        self.unfinished += 1
        asyncio.get_running_loop().call_soon(self._begin, stream, header, measure)

    def _begin(self, stream: int, header: bytes, measure: Callable[[], bytes | memoryview]) -> None:
        number, loop = self._loads.index(min(self._loads)), asyncio.get_running_loop()
        self._loads[number] += 1

        def tell(done: Future[bytes | memoryview]) -> None:
            if not (done.cancelled() or loop.is_closed()):
                loop.call_soon_threadsafe(self._measured, stream, header, number, done)

        # Not `run_in_executor`: its chain of two futures wakes the loop twice for one measurement.
        self._workers[number].submit(measure).add_done_callback(tell)

    def _measured(self, stream: int, header: bytes, number: int, done: Future[bytes | memoryview]) -> None:
        self._loads[number] -= 1
        self.unfinished -= 1
        error = done.exception()
        if error is not None:
            log.error("the sensor of stream %d failed", stream, exc_info=error)
        else:
            self.send(stream, header, done.result())
        if self.unfinished == 0:
            self.on_idle()

    def subscribe(self, stream: int, transport: asyncio.Transport) -> None:
        """Add a subscriber."""
        self._subscribers[stream].append(transport)

    def unsubscribe(self, stream: int, transport: asyncio.Transport) -> None:
        """Remove a subscriber."""
        rest = [other for other in self._subscribers.get(stream, ()) if other is not transport]
        if rest:
            self._subscribers[stream] = rest
        else:
            self._subscribers.pop(stream, None)

    def forget(self, stream: int, but: Collection[asyncio.Transport]) -> None:
        """Send nothing more to the present subscribers of a stream, `but` to these; their sockets stay open."""
        rest = [transport for transport in self._subscribers.pop(stream, ()) if transport in but]
        if rest:
            self._subscribers[stream] = rest

    def close(self) -> None:
        """Stop the worker threads."""
        for worker in self._workers:
            worker.shutdown(wait=False, cancel_futures=True)


def _write(transport: asyncio.Transport, parts: Sequence[bytes | memoryview]) -> None:
    """Write to a transport, at once and in one packet as far as its socket takes it: small writes wake the reader twice."""
    written = 0
    if transport.get_write_buffer_size() == 0 and not transport.is_closing():
        # What the socket refuses, for whatever reason, the transport tries again.
        with contextlib.suppress(OSError):
            written = os.writev(transport.get_extra_info("socket").fileno(), parts)
    for part in parts:
        if written < len(part):
            transport.write(memoryview(part)[written:])
        written = max(0, written - len(part))


def _prepare(transport: asyncio.BaseTransport) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class RpcProtocol(asyncio.BufferedProtocol):
    """One client: its calls run in the order of arrival."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = rpc.RpcConnection()
        self._received = memoryview(bytearray(RECEIVED_BYTES))
        self._waiting: deque[rpc.Call] = deque()
        # Whether something came that is no call: what came before it is answered, then the connection closed.
        self._broken = False
        self._timer: asyncio.TimerHandle | None = None
        self._load_seen: float | None = None
        self._reconnect_by: float | None = None
        self.session = Session()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note a new client."""
        _prepare(transport)
        self._transport: Any = transport
        self.session.address = str(transport.get_extra_info("peername"))
        self._server.clients.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget a client that is gone."""
        self._server.clients.discard(self)
        self._server.simulator.close(self.session)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the socket's bytes go."""
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """Take over what the socket left in the buffer."""
        self.data_received(bytes(self._received[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take over calls and run those that may run."""
        if self._broken:
            return
        calls: Sequence[rpc.Call]
        try:
            calls = self._connection.receive(data)
        except rpc.ProtocolError as error:
            log.warning("closing the connection of %s: %s", self.session.address, error)
            calls, self._broken = error.before, True
        if not calls or not all(map(tells_it_stands, calls)):
            self.session.pulse.heard = time.monotonic()
        self._waiting.extend(calls)
        self.pump()

    def pump(self) -> None:
        """Run waiting calls until one has to wait for something.

        While a tick waits, calls that came after it are run: they are from other threads of the client, and the tick may
        wait for just them.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        answers: list[bytes] = []
        if self._reconnect_by is not None:
            self._reconnect(answers)
        while self._waiting and self._reconnect_by is None:
            call = self._waiting[0]
            delay = self._delay(call) if may_wait(call) else None
            if delay is None:
                self._waiting.popleft()
            else:
                behind = self._overtaking(call)
                if behind is None:
                    self._later(delay)
                    break
                self._waiting.remove(behind)
                call = behind
            answers.append(self._server.answer(call, self.session))
            if tells_it_stands(call) and not self._waiting:
                self.session.pulse.stood()
            if call.name == "load_new_episode":
                self._load_seen = None
                self._reconnect_by = time.monotonic() + RECONNECT_PATIENCE_S if self.session.managers else None
                if self._reconnect_by is not None:
                    self._later(RECONNECT_PATIENCE_S)
        if answers and not self._transport.is_closing():
            self._transport.write(b"".join(answers))
        if self._broken and not self._waiting:
            self._transport.close()

    def _overtaking(self, held: rpc.Call) -> rpc.Call | None:
        """The first call behind a held tick that need not wait; None if there is none, or what is held is no tick."""
        if held.name != "tick_cue":
            return None
        return next((call for call in self._waiting if not may_wait(call)), None)

    def _later(self, delay: float) -> None:
        if delay != WHEN_MEASURED:
            self._timer = asyncio.get_running_loop().call_later(delay, self.pump)

    def _delay(self, call: rpc.Call) -> float | None:
        """Seconds after which a call should be tried again, or `WHEN_MEASURED`; None if it may run now.

        Between a load and its new subscription the client has no episode, and its Traffic Manager's thread ends the
        process if it looks for one. So a load waits until that thread waits for an answer (or sleeps), and gets none
        before the client has subscribed again.
        """
        if call.name != "load_new_episode" or not self.session.managers:
            return self._server.delay(call, self.session)
        now = time.monotonic()
        self._load_seen = self._load_seen or now
        if len(self._waiting) > 1 or now - self._load_seen >= LOAD_PATIENCE_S:
            return self._server.delay(call, self.session)
        return LOAD_PATIENCE_S - (now - self._load_seen)

    def _reconnect(self, answers: list[bytes]) -> None:
        """Answer only what a client asks that looks for its new episode, until it has subscribed to it."""
        assert self._reconnect_by is not None
        left = self._reconnect_by - time.monotonic()
        for call in [call for call in self._waiting if call.name in RECONNECTING]:
            self._waiting.remove(call)
            answers.append(self._server.answer(call, self.session))
        if left <= 0.0:
            self._reconnect_by = None
        else:
            self._later(left)

    def reconnected(self) -> None:
        """Somebody subscribed to the world state: this client too, if it was about to."""
        if self._reconnect_by is not None:
            self._reconnect_by = None
            self.pump()


class StreamProtocol(asyncio.Protocol):
    """One subscription: the client names a stream, then only reads."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._head = b""
        self._stream: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note a new connection."""
        _prepare(transport)
        self._transport: Any = transport
        assert isinstance(transport, asyncio.WriteTransport)
        transport.set_write_buffer_limits(high=MAX_BACKLOG_BYTES)

    def data_received(self, data: bytes) -> None:
        """Read which stream is wanted; later bytes mean nothing."""
        if self._stream is not None:
            return
        self._head += data
        if len(self._head) >= streams.SUBSCRIPTION_BYTES:
            self._stream = streams.subscription(self._head)
            self._server.subscribed(self._stream, self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End the subscription."""
        if self._stream is not None:
            self._server.publisher.unsubscribe(self._stream, self._transport)
            self._server.observers.pop(self._transport, None)


class Server:
    """The listening sockets and the clock of asynchronous mode.

    Args:
        library: Where towns come from.
        town: First town.
        port: RPC port; 0 picks a free pair.
        streaming_port: Port of the streams; the one after `port` if None.
        seed: Of everything random.
        view_port: Port of the live view; 0 picks a free one, None serves none.
        recordings: Folder in which recordings with relative names lie.
    """

    def __init__(
        self,
        library: TownLibrary,
        town: str,
        port: int,
        streaming_port: int | None = None,
        seed: int = 0,
        view_port: int | None = None,
        recordings: Path = Path("recordings"),
    ) -> None:
        self._sockets = bind_pair(port, streaming_port)
        self.port, self.streaming_port = (raw.getsockname()[1] for raw in self._sockets)
        self.publisher = SocketPublisher(workers=os.cpu_count() or 1)
        self.simulator = Simulator(World(library, town, self.publisher, seed, self.streaming_port), recordings)
        self.clients: set[RpcProtocol] = set()
        #: Whose each subscription to the world state is, where that is known.
        self.observers: dict[asyncio.Transport, Session] = {}
        self.publisher.on_idle = self._measured_all
        self.view_port = view_port
        self._helpers: set[asyncio.Task[None]] = set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled; `ready` is called once the ports answer."""
        loop = asyncio.get_running_loop()
        rpc_socket, stream_socket = self._sockets
        servers = [
            await loop.create_server(lambda: StreamProtocol(self), sock=stream_socket, backlog=512),
            await loop.create_server(lambda: RpcProtocol(self), sock=rpc_socket, backlog=512),
        ]
        if self.view_port is not None:
            view = LiveView(self.simulator.world, lambda: len(self.clients))
            self.view_port = await view.serve(self.view_port)
        ready()
        try:
            await self._clock()
        finally:
            for server in servers:
                server.close()
            self.publisher.close()

    async def _clock(self) -> None:
        """Advance the world by itself in asynchronous mode, at the pace of wall time, and look after clients."""
        world = self.simulator.world
        due, told = time.monotonic(), ""
        while True:
            due = max(due + world.settings.step, time.monotonic() - world.settings.step)
            await asyncio.sleep(max(0.001, due - time.monotonic()))
            if not world.settings.synchronous and self.publisher.unfinished == 0:
                try:
                    world.tick()
                except Exception as error:  # a defect of the server must not take its clients down; it is told once
                    if repr(error) != told:
                        log.exception("a tick failed")
                    told = repr(error)
            for client in self.clients:
                hung = self.simulator.hung_manager(client.session)
                if hung is not None:
                    self._helpers.add(helper := asyncio.create_task(self._wake(client.session, *hung)))
                    helper.add_done_callback(self._helpers.discard)

    async def _wake(self, session: Session, address: str, port: int, lost: Missed) -> None:
        """Set a Traffic Manager going again whose thread and client wait for each other.

        First it is called, and once it has answered there is another second for it: a process that was only stopped or
        starved goes on by itself. If the signal to begin was lost, switching its synchronous mode off and on gives it
        again. A `synchronous_tick` would not do: its caller takes the signal of the end away from the client that waits
        for it. If the signal of the end was lost, it does: it returns at once, and the step that it begins ends with
        another signal. Should the client only have been thinking, it waits for the end of that step, so that nothing of
        it is left behind.
        """
        calls: list[list[Any]] = [["set_synchronous_mode", [False]], ["set_synchronous_mode", [True]]]
        if lost is Missed.END:
            calls = [["synchronous_tick", []]]
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 1.0)
            with contextlib.closing(writer):
                writer.write(rpc.pack([rpc.REQUEST, 0, "health_check_remote_TM", []]))
                if not await reader.read(1):
                    return
                await asyncio.sleep(AWAKE_S)
                if not session.pulse.still_missed(lost, time.monotonic()):
                    return
                log.warning("the Traffic Manager at %s:%d missed a tick's %s; waking it", address, port, lost.value)
                for number, call in enumerate(calls, start=1):
                    writer.write(rpc.pack([rpc.REQUEST, number, *call]))
                await asyncio.sleep(KEEP_OPEN_S)
        except (OSError, asyncio.TimeoutError) as error:  # Two classes before Python 3.11.
            log.warning("the Traffic Manager at %s:%d does not answer: %s", address, port, error)

    def delay(self, call: rpc.Call, session: Session) -> float | None:
        """Seconds after which a call should be tried again, or `WHEN_MEASURED`; None if it may run now."""
        if self.publisher.unfinished:
            return WHEN_MEASURED
        return self.simulator.hold_tick(session) or None

    def _measured_all(self) -> None:
        """Run the ticks that waited for the sensors of the one before."""
        for client in [*self.clients]:
            client.pump()

    def answer(self, call: rpc.Call, session: Session) -> bytes:
        """Run a call; its answer in bytes."""
        reply = dispatch(self.simulator, session, call)
        if self.simulator.forget_world_stream:
            self.simulator.forget_world_stream = False
            # Only who loads connects anew; the others go on with the subscription that they have.
            others = {transport for transport, owner in self.observers.items() if owner is not session}
            self.publisher.forget(streams.WORLD_STREAM, but=others)
        if session.managers and not tells_it_stands(call):
            session.pulse.called(call.name, time.monotonic())
        return reply

    def subscribed(self, stream: int, transport: asyncio.Transport) -> None:
        """Serve a new subscription; a new observer of a world that stands still is told how it stands."""
        self.simulator.arrived(stream)
        self.publisher.subscribe(stream, transport)
        if stream != streams.WORLD_STREAM:
            return
        owner = self.simulator.observer()
        if owner is not None:
            self.observers[transport] = owner
        for client in [*self.clients]:
            client.reconnected()
        if self.simulator.world.settings.synchronous:
            message = self.simulator.world.greeting()
            transport.write(streams.frame_size(len(message)) + message)


def bind_pair(port: int, streaming_port: int | None) -> tuple[socket.socket, socket.socket]:
    """Bound sockets for RPC and streams.

    Raises:
        OSError: A port is taken; the message says which.
    """
    if port == 0:
        for _ in range(64):
            probe = socket.socket()
            probe.bind(("0.0.0.0", 0))
            candidate = probe.getsockname()[1]
            probe.close()
            try:
                return bind_pair(candidate, streaming_port or candidate + 1)
            except OSError:
                continue
        raise OSError("found no free pair of ports in 64 tries")
    pair: list[socket.socket] = []
    for number in (port, port + 1 if streaming_port is None else streaming_port):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Bound but not listening: clients are refused until the world stands, so an open port means a ready server.
            raw.bind(("0.0.0.0", number))
        except OSError as error:
            raw.close()
            for other in pair:
                other.close()
            raise OSError(f"port {number} is taken ({error.strerror}); choose another with --port") from error
        pair.append(raw)
    return pair[0], pair[1]
