"""One client's socket on a pretended OKX: what it is subscribed to, what it asks, what is still to be sent to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections import deque
from typing import NamedTuple, Protocol

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection

from tests.okx_log import Log
from tests.okx_market import PATHS, Market, dump


class Topic(NamedTuple):
    """A channel of a symbol."""

    channel: str
    symbol: str


class Rules(Protocol):
    """What a peer asks its server: the truth and the faults in force."""

    market: Market
    log: Log
    latency: float
    idle_timeout: float
    write_buffer_bytes: int
    answer_pings: bool
    late_acknowledgements: bool

    def is_silent(self, topic: Topic | None = None) -> bool:
        """Say whether nothing may be sent on a topic, or (None) nothing at all."""

    def refusal(self, topic: Topic) -> tuple[str, str] | None:
        """Return code and message with which a topic is refused."""


class Peer:
    """One socket. Lives in the server's event loop."""

    def __init__(self, rules: Rules, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.path = connection.request.path if connection.request else ""
        self.topics: set[Topic] = set()
        self._rules = rules
        self._outbox: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def push(self, frame: bytes) -> None:
        """Send a text frame soon, after all before it. Too many unread ones close the socket, as OKX does."""
        self._outbox.append((time.monotonic() + self._rules.latency, frame))
        self._bytes += len(frame)
        self._filled.set()
        if self._bytes > self._rules.write_buffer_bytes:
            self._outbox.clear()
            self.close(4005, "The server's write buffer is full.")

    def close(self, code: int, reason: str) -> None:
        """Close with a close frame."""
        closing = asyncio.get_running_loop().create_task(self.connection.close(code, reason))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def reset(self) -> None:
        """Reset the TCP connection, without a word."""
        transport = self.connection.transport
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()

    async def pump(self) -> None:
        """Send what there is to send, each frame when it is due, until the socket is closed."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                if not self._outbox:
                    await self._refill()
                    continue
                due, frame = self._outbox.popleft()
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                await self.connection.send(frame, text=True)
                self._bytes -= len(frame)

    async def _refill(self) -> None:
        self._filled.clear()
        try:
            await asyncio.wait_for(self._filled.wait(), self._rules.idle_timeout)
        except TimeoutError:
            await self.connection.close(4004, f"No data received in {self._rules.idle_timeout:g}s.")

    def receive(self, text: str) -> None:
        """Do what the client asks."""
        if text == "ping":
            self._note("ping")
            if self._rules.answer_pings:
                self._reply(b"pong")
            return
        try:
            request = json.loads(text)
            kind = request["op"]
            topics = [Topic(arg["channel"], arg["instId"]) for arg in request["args"]]
            identity = {"id": request["id"]} if "id" in request else {}
        except (ValueError, LookupError, TypeError):
            self._note("text", request=text)
            self._fail({}, "60012", f"Invalid request: {text}")
            return
        for topic in topics:
            refusal = self._refusal(kind, topic)
            if refusal is not None:
                self._fail(identity, *refusal)
            else:
                self._obey(kind, topic, identity)
            self._note("refused" if refusal else kind, topic, text)

    def _refusal(self, kind: str, topic: Topic) -> tuple[str, str] | None:
        if kind not in ("subscribe", "unsubscribe"):
            return "60019", f"Invalid op: {kind}"
        if PATHS.get(topic.channel) != self.path or topic.symbol not in self._rules.market.instruments:
            return "60018", wrong_url(topic)
        return self._rules.refusal(topic)

    def _obey(self, kind: str, topic: Topic, identity: dict[str, str]) -> None:
        arg = {"channel": topic.channel, "instId": topic.symbol}
        acknowledgement = dump({**identity, "event": kind, "arg": arg, "connId": f"{self.number:08x}"})
        if kind == "unsubscribe":
            self._reply(acknowledgement)
            self.topics.discard(topic)
            return
        again = topic in self.topics
        self.topics.add(topic)
        if not self._rules.late_acknowledgements:
            self._reply(acknowledgement)
        first = self._rules.market.current(*topic)
        # Seen on OKX: a repeated subscription brings a second snapshot of a book, and of all else only the ack.
        if first is not None and (topic.channel == "books" or not again) and not self._rules.is_silent(topic):
            self.push(first)
        if self._rules.late_acknowledgements:
            self._reply(acknowledgement)

    def _fail(self, identity: dict[str, str], code: str, msg: str) -> None:
        self._reply(dump({**identity, "event": "error", "code": code, "msg": msg, "connId": f"{self.number:08x}"}))

    def _reply(self, frame: bytes) -> None:
        if not self._rules.is_silent():
            self.push(frame)

    def _note(self, kind: str, topic: Topic | None = None, request: str | None = None) -> None:
        channel, symbol = topic or (None, None)
        self._rules.log.note(kind, self.number, self.path, channel=channel, symbol=symbol, request=request)


def wrong_url(topic: Topic) -> str:
    """Return OKX's words for a channel or symbol that cannot be had on a socket."""
    return (
        f"Subscribe failed, wrong URL or channel:{topic.channel},instId:{topic.symbol} doesn't exist. "
        "Please use the correct URL, channel and parameters referring to API document."
    )
