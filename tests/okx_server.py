"""An OKX-speaking server on loopback, WebSocket and REST on one port, with faults on request; tests script it.

It runs an event loop in a thread of its own; every public method may be called from any thread. What clients did is in
`OkxServer.seen`, and `OkxServer.wait_for` waits for more of it. By hand: ``python -m tests.okx_play --help``.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from websockets import ConnectionClosed, Headers, Request, Response
from websockets.asyncio.server import Server, ServerConnection, serve

from tests.okx_log import Log, Seen
from tests.okx_loop import LoopThread
from tests.okx_market import BUSINESS, PUBLIC, Market, Push, answer_rest, dump, instrument
from tests.okx_peer import Peer, Topic, wrong_url

MAX_REQUEST_BYTES = 64 << 10
SYMBOLS = ("BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP")
"""What there is to subscribe to where no market is given."""


class OkxServer:
    """The server; a context manager. Faults stay until they are taken back."""

    def __init__(
        self,
        market: Market | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        announced: str | None = None,
        idle_timeout: float = 30.0,
        write_buffer_bytes: int = 64 << 20,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Serve on ``host``; ``announced`` becomes the X-Cryptofeed-Source of every answer."""
        self.market = market or Market(map(instrument, SYMBOLS))
        self.log = Log()
        self.wait_for = self.log.wait_for
        self.wait_until = self.log.wait_until
        self.idle_timeout = idle_timeout
        self.write_buffer_bytes = write_buffer_bytes
        self.latency = 0.0
        """Seconds by which everything sent is late."""
        self.answer_pings = True
        """Whether a text ``ping`` is answered."""
        self.late_acknowledgements = False
        """Whether a subscription brings its first data before it is acknowledged."""
        self._announced = announced
        self._tls = tls
        self._peers: dict[int, Peer] = {}
        self._count = 0
        self._silent: set[tuple[str | None, str | None]] = set()
        self._refusals: dict[Topic, tuple[str, str]] = {}
        self._rest_faults: dict[str, tuple[int, bytes]] = {}
        self._listening: Server | None = None
        self._door = asyncio.Lock()
        """Outages may overlap; the door is opened or closed by one of them at a time."""
        # Bound and never listening: it keeps the port ours while connections are refused.
        self._host = host
        self._reservation = _bind(host, port)
        self.port: int = self._reservation.getsockname()[1]
        self._loop = LoopThread("okx-server")
        self.refuse_connections(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def public_url(self) -> str:
        return f"{'ws' if self._tls is None else 'wss'}://{self._host}:{self.port}{PUBLIC}"

    @property
    def business_url(self) -> str:
        return f"{'ws' if self._tls is None else 'wss'}://{self._host}:{self.port}{BUSINESS}"

    @property
    def rest_url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{self._host}:{self.port}"

    # What clients did

    @property
    def seen(self) -> list[Seen]:
        """Everything clients did so far, in order."""
        return self.log.seen

    def open_sockets(self, path: str | None = None) -> int:
        """Return how many WebSockets are open."""
        with self.log.changed:
            return len(self._on(path))

    # What happens in the market

    def play(self, tape: Iterable[Push], *, speed: float = 0.0) -> Future[None]:
        """Let a tape happen, ``speed`` times as fast as it is timed, 0: all at once. The future is done at its end."""
        return self._loop.submit(self._play(list(tape), speed))

    def push(self, *pushes: Push) -> None:
        """Let things happen now; what silence or a dropped socket keeps from clients is still in REST."""
        self.play(pushes).result(10)

    def send(self, frame: bytes, path: str | None = None) -> None:
        """Send any bytes as a text frame to every socket: a notice, or nonsense."""
        self._each(path, lambda peer: peer.push(frame))

    def notice(self, path: str | None = None) -> None:
        """Announce that the sockets will be closed for an upgrade."""
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        self.send(dump({"event": "notice", "code": "64008", "msg": text, "connId": "a4d3ae55"}), path)

    def control_ping(self, path: str | None = None, timeout: float = 5.0) -> None:
        """Send a WebSocket ping to every socket, and wait for every pong."""

        async def ping() -> None:
            for peer in self._on(path):
                await asyncio.wait_for(await peer.connection.ping(), timeout)

        self._loop.run(ping())

    # Faults

    def close(self, path: str | None = None, *, code: int = 1000, reason: str = "") -> None:
        """Close sockets with a close frame."""
        self._each(path, lambda peer: peer.close(code, reason))

    def drop(self, path: str | None = None) -> None:
        """Reset sockets without a close frame."""
        self._each(path, lambda peer: peer.reset())

    def silence(self, on: bool = True, *, channel: str | None = None, symbol: str | None = None) -> None:
        """Leave sockets open and send nothing on them; with a channel or symbol, only none of its data. It is lost."""
        change = self._silent.add if on else self._silent.discard
        self._loop.call(lambda: change((channel, symbol)))

    def delay(self, seconds: float) -> None:
        """Send everything that late, in order."""
        self.latency = seconds

    def refuse_connections(self, on: bool = True) -> None:
        """Refuse new TCP connections; those that are open stay."""
        self._loop.run(self._unlisten() if on else self._listen())

    def refuse(self, channel: str, symbol: str, code: str = "60018", msg: str | None = None) -> None:
        """Refuse a subscription from now on."""
        topic = Topic(channel, symbol)
        self._loop.call(lambda: self._refusals.update({topic: (code, msg or wrong_url(topic))}))

    def accept(self, channel: str, symbol: str) -> None:
        """Take `refuse` back."""
        self._loop.call(lambda: self._refusals.pop(Topic(channel, symbol), None))

    def answer_rest(self, path: str, status: int, body: bytes = b"") -> None:
        """Answer a REST path (without its query) with this instead of the truth."""
        self._loop.call(lambda: self._rest_faults.update({path: (status, body)}))

    def heal_rest(self) -> None:
        """Take every `answer_rest` back."""
        self._loop.call(self._rest_faults.clear)

    def outage(self, seconds: float) -> None:
        """Drop every socket and refuse new ones for that long."""
        self.refuse_connections()
        self.drop()
        self.after(seconds, self.refuse_connections, False)

    def after(self, seconds: float, do: Callable[..., object], *args: Any, **options: Any) -> None:
        """Do something later, such as ``after(2, server.silence, False)``."""
        self._loop.after(seconds, do, *args, **options)

    def stop(self) -> None:
        """End everything; a second call does nothing."""
        self._loop.cancel_timers()
        if self._reservation.fileno() != -1:
            self.refuse_connections()
            self.drop()
        self._loop.close()
        self._reservation.close()

    # What peers ask

    def is_silent(self, topic: Topic | None = None) -> bool:
        """Say whether nothing may be sent on a topic, or (None) nothing at all."""
        channel, symbol = topic or (None, None)
        return not self._silent.isdisjoint({(None, None), (channel, None), (None, symbol), (channel, symbol)})

    def refusal(self, topic: Topic) -> tuple[str, str] | None:
        """Return code and message with which a topic is refused."""
        return self._refusals.get(topic)

    # In the loop's thread

    async def _listen(self) -> None:
        async with self._door:
            if self._listening is not None:
                return
            self._listening = await serve(
                self._talk,
                sock=_bind(self._host, self.port),
                ssl=self._tls,
                process_request=self._greet,
                process_response=self._announce,
                compression=None,
                ping_interval=None,
                close_timeout=1,
                max_size=MAX_REQUEST_BYTES,
            )
            self.log.note("listening", 0, "")

    async def _unlisten(self) -> None:
        async with self._door:
            if self._listening is not None:
                self._listening.close(close_connections=False)
                self._listening = None
                self.log.note("refusing", 0, "")

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path in (PUBLIC, BUSINESS):
            self.log.note("connect", 0, request.path)
            return None
        self.log.note("fetch", 0, request.path)
        await asyncio.sleep(self.latency)
        status, body = self._answer(request)
        response = connection.respond(status, "")
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
        return Response(response.status_code, response.reason_phrase, headers, body)

    def _announce(self, _connection: ServerConnection, _request: Request, response: Response) -> None:
        if self._announced is not None:
            response.headers["X-Cryptofeed-Source"] = self._announced

    def _answer(self, request: Request) -> tuple[int, bytes]:
        parts = urlsplit(request.path)
        if "User-Agent" not in request.headers:
            return 403, b"Forbidden"
        if parts.path in self._rest_faults:
            return self._rest_faults[parts.path]
        answer = answer_rest(self.market, parts.path, dict(parse_qsl(parts.query)), time.time_ns() // 10**6)
        return (404, b"Not Found") if answer is None else (200, dump(answer))

    async def _talk(self, connection: ServerConnection) -> None:
        self._count += 1
        peer = Peer(self, connection, self._count)
        with self.log.changed:
            self._peers[peer.number] = peer
        self.log.note("open", peer.number, peer.path)
        pump = asyncio.create_task(peer.pump())
        try:
            async for message in connection:
                peer.receive(message if isinstance(message, str) else message.decode())
        except ConnectionClosed:
            pass
        finally:
            pump.cancel()
            with self.log.changed:
                del self._peers[peer.number]
            self.log.note("disconnect", peer.number, peer.path)

    async def _play(self, tape: list[Push], speed: float) -> None:
        due = time.monotonic()
        for push in tape:
            due += push.after / speed if speed else 0.0
            if speed and (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            for channel, frame in self.market.publish(push):
                topic = Topic(channel, push.symbol)
                if not self.is_silent(topic):
                    for peer in self._on(None):
                        if topic in peer.topics:
                            peer.push(frame)

    def _on(self, path: str | None) -> list[Peer]:
        return [peer for peer in self._peers.values() if path in (None, peer.path)]

    def _each(self, path: str | None, act: Callable[[Peer], object]) -> None:
        self._loop.call(lambda: [act(peer) for peer in self._on(path)])


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock
