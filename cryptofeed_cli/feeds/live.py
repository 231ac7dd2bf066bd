"""The live feed: WebSocket connections that come back by themselves, and REST; knows no exchange, only its URLs.

One thread per connection owns its socket: it stamps what arrives, puts it into the one bounded queue, and does nothing
else with it. When that queue is full the thread waits (see `feeds.buffer`).
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Mapping, Sequence
from http.cookies import CookieError
from types import MappingProxyType
from urllib.parse import urlsplit

import websocket

from cryptofeed_cli.clock import SECOND, Clock
from cryptofeed_cli.errors import DialFailed, UsageError
from cryptofeed_cli.feeds.base import Action, Closed, Connect, Died, Drop, Event, Fetch, Frame, Opened, Reset, Send
from cryptofeed_cli.feeds.buffer import Depth, EventBuffer
from cryptofeed_cli.feeds.fetcher import Fetcher
from cryptofeed_cli.feeds.pacing import Backoff, Limiter, Returns
from cryptofeed_cli.feeds.stream import ForwardClock, Stream
from cryptofeed_cli.network import USER_AGENT, Dialer, explain
from cryptofeed_cli.rest import Rest

ANNOUNCED_HEADER = "x-cryptofeed-source"
"""How our own servers say that their data is not the exchange's."""
MAX_MESSAGE_BYTES = 4 << 20
"""A hundred times the largest book; more than this is not a message but an attack on our memory."""

_PORTS = {"ws": 80, "wss": 443}
_CONNECT_PERIOD = SECOND + SECOND // 100
"""A second of the exchange's clock, whose seconds may be a little longer than ours."""
_JOIN_TIME = SECOND
_MAX_REASON = 240
# What websocket-client raises on hostile bytes: its own errors, and what slips through its parsers.
_BROKEN = (OSError, websocket.WebSocketException, ValueError, LookupError, CookieError)


class LiveFeed:
    """Live frames from the exchange's sockets. Durations are in nanoseconds.

    ``endpoints`` maps each endpoint to its equal URLs, tried in turn; ``rest_urls`` likewise. Connects of all
    connections together keep within ``connects_per_second``.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Sequence[str]],
        rest_urls: Sequence[str],
        dialer: Dialer,
        *,
        clock: Clock,
        rng: random.Random,
        retry_initial: int,
        retry_max: int,
        connect_timeout: int,
        connects_per_second: int,
        rest_headers: Mapping[str, str] = MappingProxyType({}),
        queue_bytes: int = 64 << 20,
        queue_events: int = 200_000,
    ) -> None:
        self._targets = {name: [_Target(url) for url in urls] for name, urls in endpoints.items()}
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._retry_initial, self._retry_max = retry_initial, retry_max
        self._connect_timeout = connect_timeout
        self._limiter = Limiter(connects_per_second, _CONNECT_PERIOD, clock)
        self._returns = Returns()
        self._events = EventBuffer(queue_bytes, queue_events)
        self._connections: dict[int, _Connection] = {}
        self._leaving: list[_Connection] = []

        def make_rests() -> list[Rest]:
            return [Rest(url, dialer, clock=clock, timeout=connect_timeout, headers=rest_headers) for url in rest_urls]

        self._fetcher = Fetcher(make_rests, self._events, clock, ANNOUNCED_HEADER)

    def take(self, timeout: float) -> list[Event]:
        """Return all waiting events in order; wait at most ``timeout`` seconds for the first."""
        return self._events.take(timeout)

    def depth(self) -> Depth:
        """Return how full the queue is and was."""
        return self._events.depth()

    def perform(self, action: Action) -> None:
        """Start an action; never blocks on the network. Used by one thread."""
        match action:
            case Connect(connection, endpoint):
                self._connect(connection, endpoint)
            case Send(connection, text):
                self._connections[connection].send(text)
            case Reset(connection, reason):
                self._connections[connection].reset(reason)
            case Drop(connection):
                self._drop(connection)
            case Fetch():
                self._fetcher.fetch(action)

    def close(self) -> None:
        """Close every connection and stop every thread; one that still resolves a name or connects ends with that."""
        for connection in self._connections.values():
            connection.drop()
        self._events.close()
        self._fetcher.close()
        threads = [connection.thread for connection in (*self._connections.values(), *self._leaving)]
        threads += self._fetcher.threads
        deadline = self._clock.monotonic() + _JOIN_TIME
        for thread in threads:
            thread.join(max(0, deadline - self._clock.monotonic()) / SECOND)

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number)
        connection.drop()
        self._events.recheck()
        self._leaving = [one for one in (*self._leaving, connection) if one.thread.is_alive()]

    def _connect(self, number: int, endpoint: str) -> None:
        if number in self._connections:
            raise ValueError(f"connection {number} exists already; drop it first")
        self._connections[number] = _Connection(
            number,
            f"feed-{endpoint}-{number}",
            self._targets[endpoint],
            self._dialer,
            self._events,
            clock=self._clock,
            limiter=self._limiter,
            returns=self._returns,
            backoff=Backoff(self._retry_initial, self._retry_max, self._rng),
            timeout=self._connect_timeout,
        )


class _Target:
    """One URL of an endpoint, taken apart."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in _PORTS:
            raise UsageError(f"{url!r} is not a WebSocket address; write ws://host/path or wss://host/path")
        self.url = url
        self.host = host
        self.port = port or _PORTS[parts.scheme]
        self.secure = parts.scheme == "wss"


class _Socket(websocket.WebSocket):
    """A WebSocket whose farewell may fail: the other side's close code matters more than our answer to it."""

    def send_close(self, status: int = websocket.STATUS_NORMAL, reason: str | bytes = b"") -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            super().send_close(status, reason)


class _Connection:
    """One connection, made again and again in a thread of its own until it is dropped."""

    def __init__(
        self,
        number: int,
        name: str,
        targets: Sequence[_Target],
        dialer: Dialer,
        events: EventBuffer,
        *,
        clock: Clock,
        limiter: Limiter,
        returns: Returns,
        backoff: Backoff,
        timeout: int,
    ) -> None:
        self._number = number
        self._targets = targets
        self._dialer = dialer
        self._events = events
        self._wall = clock
        self._clock = ForwardClock(clock)
        """Made anew with every socket: a clock that was set back goes on from there."""
        self._limiter = limiter
        self._returns = returns
        self._backoff = backoff
        self._timeout = timeout
        self._turn = 0
        self._open = False
        """Whether the last attempt got through."""
        self._fruitful = False
        self._stream: Stream | None = None
        self._dropped = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def send(self, text: str) -> None:
        stream = self._stream
        if stream is not None:
            stream.post(text)

    def reset(self, reason: str) -> None:
        stream = self._stream
        if stream is not None:
            stream.interrupt(reason)

    def drop(self) -> None:
        self._dropped.set()
        self._returns.stir()
        self.reset("dropped")

    def _run(self) -> None:
        try:
            while self._enter():
                self._open = self._fruitful = False
                returns = self._returns.count
                code, reason = self._live_once(self._targets[self._turn % len(self._targets)])
                if self._fruitful:
                    self._backoff.reset()
                else:
                    self._turn += 1
                retry_in = self._backoff.next()
                now, monotonic = self._clock.now(), self._clock.monotonic()
                self._put(Closed(self._number, now, monotonic, code, reason, retry_in))
                self._pause(retry_in, returns)
        except BaseException as exc:  # the session must hear of it, whatever it is
            now, monotonic = self._clock.now(), self._clock.monotonic()
            self._events.put_now(Died(self.thread.name, now, monotonic, exc))

    def _pause(self, nanoseconds: int, returns: int) -> None:
        """Wait before the next attempt. Who found nobody waits no longer once another connection gets through.

        Who got through and was cut off keeps to the back-off: two of them would else wake each other without end.
        """
        if self._open:
            self._dropped.wait(nanoseconds / SECOND)
        else:
            self._returns.wait(returns, nanoseconds, self._dropped.is_set)

    def _enter(self) -> bool:
        """Wait until the limit on connects lets this one through; False: dropped meanwhile."""
        while not self._dropped.is_set():
            wait = self._limiter.enter()
            if not wait:
                return True
            self._dropped.wait(wait / SECOND)
        return False

    def _live_once(self, target: _Target) -> tuple[int | None, str]:
        """Connect, receive until the end, and return its close code and reason."""
        self._clock = ForwardClock(self._wall)
        try:
            with contextlib.ExitStack() as opened:
                with self._limiter.visit():
                    stream = opened.enter_context(contextlib.closing(self._dial(target)))
                    socket = self._upgrade(target, stream)
                return self._receive(socket, stream)
        except DialFailed as exc:
            return None, str(exc)
        except _BROKEN as exc:
            return None, self._dialer.blame(_reason(exc))
        finally:
            self._stream = None

    def _dial(self, target: _Target) -> Stream:
        sock = self._dialer.connect(target.host, target.port, timeout=self._timeout / SECOND)
        if target.secure:
            sock = self._dialer.tls(sock, target.host)
        self._stream = stream = Stream(sock, self._clock, patience=self._timeout)
        # A drop before this line found no stream to interrupt.
        if self._dropped.is_set():
            stream.interrupt("dropped")
        return stream

    def _upgrade(self, target: _Target, stream: Stream) -> _Socket:
        socket = _Socket(skip_utf8_validation=True, enable_multithread=False)
        stream.allow(MAX_MESSAGE_BYTES)
        stream.deadline = self._clock.monotonic() + self._timeout
        # A followed redirect would make the library open a socket of its own, past the dialer.
        options = {"suppress_origin": True, "redirect_limit": 0, "header": [f"User-Agent: {USER_AGENT}"]}
        socket.connect(target.url, socket=stream, **options)  # type: ignore[no-untyped-call]
        stream.deadline = None
        announced = (socket.getheaders() or {}).get(ANNOUNCED_HEADER)
        stream.deliver = socket.send_text
        self._put(Opened(self._number, self._clock.now(), self._clock.monotonic(), announced))
        self._open = True
        self._returns.tell()
        return socket

    def _receive(self, socket: _Socket, stream: Stream) -> tuple[int | None, str]:
        while True:
            stream.allow(MAX_MESSAGE_BYTES)
            try:
                opcode, frame = socket.recv_data_frame(control_frame=True)
            except ConnectionAbortedError:
                socket.send_close()
                raise
            if opcode in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
                self._fruitful = True
                self._put(Frame(self._number, frame.data, stream.at, stream.monotonic), len(frame.data))
            elif opcode == websocket.ABNF.OPCODE_CLOSE:
                return _farewell(frame.data)

    def _put(self, event: Event, size: int = 0) -> None:
        self._events.put(event, size, self._dropped.is_set)


def _farewell(data: bytes) -> tuple[int | None, str]:
    if len(data) < 2:
        return None, "closed without a code"
    return int.from_bytes(data[:2], "big"), data[2:].decode("utf-8", "backslashreplace") or "closed without a reason"


def _reason(exc: Exception) -> str:
    match exc:
        case websocket.WebSocketBadStatusException():
            return f"HTTP {exc.status_code} instead of an upgrade"
        case websocket.WebSocketConnectionClosedException():
            return "closed without a close frame"
        case websocket.WebSocketException():
            return f"WebSocket: {exc}"[:_MAX_REASON]
        case OSError():
            return explain(exc)
    return f"unintelligible: {exc}"[:_MAX_REASON]
