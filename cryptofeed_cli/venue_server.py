"""A pretended exchange on a real socket, WebSocket and REST on one port, for any client; knows no market, no channel.

Everything it says is announced (header ``X-Cryptofeed-Source``), so our own recorder labels it simulated. One event
loop does it all: the market moves on, frames go into each client's queue, and a client that does not read is let go
when its queue is full, as the exchange would.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Literal, Protocol

from websockets import ConnectionClosed, Headers, Request, Response
from websockets.asyncio.server import ServerConnection, serve

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Desk, Sockets, Topic

LOG = logging.getLogger(__name__)

ANNOUNCED = "X-Cryptofeed-Source"
"""The header by which everything from here says what it is."""
QUEUE_BYTES = 64 << 20
"""What waits for one client at most."""
_TURN = 0.01
_MOST_STEPS = 50
"""Steps in a row before clients get their turn."""
_LATE = 5 * SECOND
_OVER = 1000, "the recording is over"

Own = Literal["simulated", "replay"]


class Stage(Protocol):
    """What is served: time that passes in steps, and an exchange."""

    step_ms: int

    @property
    def now_ms(self) -> int:
        """The exchange's clock."""

    @property
    def over(self) -> bool:
        """Whether nothing follows."""

    @property
    def down(self) -> bool:
        """Whether nobody can connect."""

    @property
    def cut(self) -> bool:
        """Whether every connection was cut in the last step."""

    @property
    def begun(self) -> Sequence[str]:
        """The faults that began in the last step."""

    def advance(self) -> list[tuple[Topic, bytes]]:
        """Let one step pass; return the frames that clients receive, each with its topic."""

    def desk(self, endpoint: str) -> Desk:
        """Open a connection."""

    def answer(self, target: str) -> tuple[int, bytes]:
        """Answer a REST request."""


class Show:
    """One stage on its way through time, and the clients that see it."""

    def __init__(self, stage: Stage, clock: Clock, speed: float) -> None:
        self.stage = stage
        self.clients: set[_Client] = set()
        self._clock, self._speed = clock, speed
        self._start_ms = stage.now_ms
        self._began: int | None = None
        self._late = False

    @property
    def elapsed(self) -> int:
        """How much market time has passed, in nanoseconds."""
        return (self.stage.now_ms - self._start_ms) * MILLISECOND

    def begin(self) -> None:
        """Let time pass from now on, unless it does."""
        if self._began is None:
            self._began = self._clock.monotonic()

    def move(self) -> None:
        """Let the market go on to where it should be, or as far as one turn may go."""
        if self._began is None:
            return
        stage = self.stage
        due = int((self._clock.monotonic() - self._began) * self._speed)
        steps = (due - self.elapsed) // (stage.step_ms * MILLISECOND)
        for _ in range(min(steps, _MOST_STEPS)):
            frames = stage.advance()
            for kind in stage.begun:
                LOG.info("fault: %s", kind)
            if stage.cut:
                for client in list(self.clients):
                    client.abort()
            for topic, frame in frames:
                for client in self.clients:
                    if topic in client.desk.topics:
                        client.send(frame)
        if steps * stage.step_ms * MILLISECOND > _LATE and not self._late:
            self._late = True
            LOG.warning("this machine is too slow for that market; its clock falls behind")


class VenueServer:
    """Serves stages. ``sockets`` are the paths of the exchange's endpoints, and its limits."""

    def __init__(
        self,
        stages: Callable[[], Stage],
        sockets: Sockets,
        *,
        clock: Clock,
        speed: float = 1.0,
        announced: Own = "simulated",
        own: bool = False,
        patient: bool = False,
        loop: bool = False,
    ) -> None:
        """``stages`` makes one for all clients, and another one when it is over and they ``loop``.

        With ``own`` each connection has one of its own, from its beginning; REST then tells of the latest one. With
        ``patient`` time passes from the first connection on, not before.
        """
        self._stages, self._sockets, self._clock, self._speed = stages, sockets, clock, speed
        self._announced: Own = announced
        self._own, self._patient, self._loop = own, patient, loop
        self._shows: set[Show] = set()
        self._latest = Show(stages(), clock, speed)

    def run(
        self, host: str, port: int, stop: Flag, duration: int | None, ready: Callable[[str], object]
    ) -> None:
        """Serve until ``stop`` is set, what all see is over, or so much market time has passed.

        ``ready`` is told ``host:port`` in use. Raises `UsageError` where nobody can listen there.
        """
        asyncio.run(self._run(host, port, stop, duration, ready))

    async def _run(
        self, host: str, port: int, stop: Flag, duration: int | None, ready: Callable[[str], object]
    ) -> None:
        try:
            server = await serve(
                self._talk, host, port, process_request=self._greet, process_response=self._announce, compression=None,
                ping_interval=None, close_timeout=1, max_size=self._sockets.request_bytes,
            )  # fmt: skip
        except OSError as exc:
            raise UsageError(f"cannot listen on {host}:{port}: {exc.strerror}; choose another --serve address") from exc
        async with server:
            bound = next(iter(server.sockets)).getsockname()
            ready(f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}")
            self._shows.add(self._latest)
            if not self._patient:
                self._latest.begin()
            while not stop.is_set() and (duration is None or self._latest.elapsed < duration):
                for show in list(self._shows):
                    show.move()
                    if show.stage.over and not await self._ended(show):
                        return
                await asyncio.sleep(_TURN)

    async def _ended(self, show: Show) -> bool:
        """End a show: its clients go. Return whether there is another one to come."""
        self._shows.discard(show)
        for client in list(show.clients):
            await client.finish(*_OVER)
        if self._own:
            return True
        if self._loop:
            self._latest = Show(self._stages(), self._clock, self._speed)
            self._shows.add(self._latest)
        return self._loop

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        stage = self._latest.stage
        if stage.down:
            connection.transport.abort()
            return None
        path = request.path.partition("?")[0]
        if path in self._sockets.paths:
            return None
        if "User-Agent" not in request.headers:
            status, body = 403, b"Forbidden"
        else:
            status, body = stage.answer(request.path)
        reason = connection.respond(status, "").reason_phrase
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        return Response(status, reason, Headers(headers), body)

    def _announce(self, _connection: ServerConnection, _request: Request, response: Response) -> None:
        response.headers[ANNOUNCED] = self._announced

    def _admit(self) -> Show:
        """Return what a new connection sees, and let its time pass."""
        if self._own:
            self._latest = Show(self._stages(), self._clock, self._speed)
            self._shows.add(self._latest)
        self._latest.begin()
        return self._latest

    async def _talk(self, connection: ServerConnection) -> None:
        path = connection.request.path.partition("?")[0] if connection.request is not None else ""
        show = self._admit()
        client = _Client(connection, show.stage.desk(self._sockets.paths[path]), self._sockets.idle_seconds)
        show.clients.add(client)
        LOG.info("client %s connected to %s", *_where(connection), path)
        pump = asyncio.create_task(client.pump())
        try:
            async for message in connection:
                for reply in client.desk.receive(message if isinstance(message, str) else message.decode()):
                    client.send(reply)
        except (ConnectionClosed, UnicodeDecodeError):
            pass
        finally:
            pump.cancel()
            show.clients.discard(client)
            if self._own:
                self._shows.discard(show)
            client.desk.close()
            LOG.info("client %s left %s", *_where(connection), path)


class _Client:
    """One client's socket, and what waits to be sent on it."""

    def __init__(self, connection: ServerConnection, desk: Desk, idle_seconds: float) -> None:
        self.desk = desk
        self._connection, self._idle = connection, idle_seconds
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def send(self, frame: bytes) -> None:
        """Send soon, after everything before it."""
        self._waiting.append(frame)
        self._bytes += len(frame)
        self._filled.set()
        if self._bytes > QUEUE_BYTES:
            self.abort()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._waiting.clear()
        self._connection.transport.abort()

    async def finish(self, code: int, reason: str) -> None:
        """Send what waits, then close the connection."""
        with contextlib.suppress(ConnectionClosed):
            while self._waiting:
                await self._connection.send(self._waiting.popleft(), text=True)
        await self._connection.close(code, reason)

    async def pump(self) -> None:
        """Send what waits until the socket is closed; close it where nothing is sent for too long."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self._waiting:
                    frame = self._waiting.popleft()
                    self._bytes -= len(frame)
                    await self._connection.send(frame, text=True)
                self._filled.clear()
                try:
                    await asyncio.wait_for(self._filled.wait(), self._idle)
                except TimeoutError:
                    await self._connection.close(4004, f"No data received in {self._idle:g}s.")


def _where(connection: ServerConnection) -> tuple[str]:
    host, port, *_ = connection.remote_address
    return (f"{host}:{port}",)
