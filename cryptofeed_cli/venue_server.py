"""A made-up exchange on a real socket, WebSocket and REST on one port, for any client; knows no market and no channel.

Everything it says is announced as simulated (header ``X-Cryptofeed-Source``), so our own recorder labels it so. One
event loop does it all: the market moves on, frames go into each client's queue, and a client that does not read is let
go when its queue is full, as the exchange would.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from threading import Event as Flag

from websockets import ConnectionClosed, Headers, Request, Response
from websockets.asyncio.server import ServerConnection, serve

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Desk, Sockets
from cryptofeed_cli.simulation.stage import Stage

LOG = logging.getLogger(__name__)

ANNOUNCED = {"X-Cryptofeed-Source": "simulated"}
QUEUE_BYTES = 64 << 20
"""What waits for one client at most."""
_TURN = 0.01
_MOST_STEPS = 50
"""Steps in a row before clients get their turn."""
_LATE = 5 * SECOND


class VenueServer:
    """Serves one stage. ``sockets`` are the paths of the exchange's endpoints, and its limits."""

    def __init__(self, stage: Stage, sockets: Sockets, *, clock: Clock, speed: float = 1.0) -> None:
        self._stage, self._sockets, self._clock, self._speed = stage, sockets, clock, speed
        self._start_ms = stage.now_ms
        self._clients: set[_Client] = set()
        self._late = False

    def run(
        self, host: str, port: int, stop: Flag, duration: int | None, ready: Callable[[str], object]
    ) -> None:
        """Serve until ``stop`` is set or so much market time has passed; ``ready`` is told ``host:port`` in use.

        Raises `UsageError` where nobody can listen there.
        """
        asyncio.run(self._run(host, port, stop, duration, ready))

    async def _run(
        self, host: str, port: int, stop: Flag, duration: int | None, ready: Callable[[str], object]
    ) -> None:
        try:
            server = await serve(
                self._talk, host, port, process_request=self._greet, process_response=_announce, compression=None,
                ping_interval=None, close_timeout=1, max_size=self._sockets.request_bytes,
            )  # fmt: skip
        except OSError as exc:
            raise UsageError(f"cannot listen on {host}:{port}: {exc.strerror}; choose another --serve address") from exc
        async with server:
            bound = next(iter(server.sockets)).getsockname()
            ready(f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}")
            began = self._clock.monotonic()
            while not stop.is_set() and (duration is None or self._elapsed < duration):
                self._move(int((self._clock.monotonic() - began) * self._speed))
                await asyncio.sleep(_TURN)

    @property
    def _elapsed(self) -> int:
        return (self._stage.now_ms - self._start_ms) * MILLISECOND

    def _move(self, due: int) -> None:
        """Let the market go on to where it should be, or as far as one turn may go."""
        stage = self._stage
        steps = (due - self._elapsed) // (stage.step_ms * MILLISECOND)
        for _ in range(min(steps, _MOST_STEPS)):
            frames = stage.advance()
            for kind in stage.begun:
                LOG.info("fault: %s", kind)
            if stage.cut:
                for client in list(self._clients):
                    client.abort()
            for topic, frame in frames:
                for client in self._clients:
                    if topic in client.desk.topics:
                        client.send(frame)
        if steps * stage.step_ms * MILLISECOND > _LATE and not self._late:
            self._late = True
            LOG.warning("this machine is too slow for that market; its clock falls behind")

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        if self._stage.down:
            connection.transport.abort()
            return None
        path = request.path.partition("?")[0]
        if path in self._sockets.paths:
            return None
        if "User-Agent" not in request.headers:
            status, body = 403, b"Forbidden"
        else:
            status, body = self._stage.answer(request.path)
        reason = connection.respond(status, "").reason_phrase
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        return Response(status, reason, Headers(headers), body)

    async def _talk(self, connection: ServerConnection) -> None:
        path = connection.request.path.partition("?")[0] if connection.request is not None else ""
        client = _Client(connection, self._stage.desk(self._sockets.paths[path]), self._sockets.idle_seconds)
        self._clients.add(client)
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
            self._clients.discard(client)
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


def _announce(_connection: ServerConnection, _request: Request, response: Response) -> None:
    for name, value in ANNOUNCED.items():
        response.headers[name] = value


def _where(connection: ServerConnection) -> tuple[str]:
    host, port, *_ = connection.remote_address
    return (f"{host}:{port}",)
