"""A socket that one thread reads and writes and any other can post to or interrupt; knows no protocol above TCP.

The owner waits in one place only, for the socket or for a bell, so it needs no polling, no lock around the socket (TLS
sockets do not bear reading and writing at once), and whoever posts or interrupts never waits for the network.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable

from cryptofeed_cli.clock import SECOND, Clock

_CHUNK_BYTES = 64 << 10
_MAX_POSTED = 1000


class ForwardClock:
    """A clock whose wall time never runs backwards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = 0
        self.monotonic = clock.monotonic

    def now(self) -> int:
        self._latest = max(self._latest, self._clock.now())
        return self._latest


class Stream:
    """Looks like a non-blocking socket to a WebSocket library, and waits by itself.

    `recv` and `send` raise `ConnectionAbortedError` with the reason when interrupted, `TimeoutError` past ``deadline``
    (receiving) or after ``patience`` ns (sending), and `OSError` as the socket does.
    """

    def __init__(self, sock: socket.socket, clock: Clock, *, patience: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._clock = clock
        self._patience = patience
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._buffer = b""
        self._position = 0
        self._allowance = 0
        self._rung = False
        self._posted: deque[str] = deque()
        self._interruption: str | None = None
        self.deliver: Callable[[str], object] | None = None
        """Takes each posted text, in the owner's thread; None: nothing can be posted yet."""
        self.deadline: int | None = None
        """On the monotonic clock: until when to receive; None: for ever."""
        self.at = clock.now()
        """When the bytes that were read last left the socket."""
        self.monotonic = clock.monotonic()

    def post(self, text: str) -> None:
        """Have a text delivered soon. From any thread."""
        if self.deliver is None:
            return
        if len(self._posted) >= _MAX_POSTED:
            self.interrupt(f"more than {_MAX_POSTED} requests wait to be sent")
            return
        self._posted.append(text)
        self._ring()

    def interrupt(self, reason: str) -> None:
        """Make the owner give up. From any thread."""
        self._interruption = reason
        self._ring()

    def allow(self, count: int) -> None:
        """Let the next message take at most ``count`` more bytes off the socket."""
        self._allowance = count

    def recv(self, count: int) -> bytes:
        """Return 1 to ``count`` bytes, waiting for the first; b"" at the end."""
        if self._position == len(self._buffer):
            self._buffer = self._read()
            self._position = 0
        start = self._position
        data = self._buffer[start : start + count]
        self._position = start + len(data)
        return data

    def send(self, data: bytes) -> int:
        """Send all of ``data``."""
        deadline = self._clock.monotonic() + self._patience
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(selectors.EVENT_WRITE, deadline)
            except ssl.SSLWantReadError:
                self._wait(selectors.EVENT_READ, deadline)
        return len(data)

    def gettimeout(self) -> float:
        """Return 0: the library is not to wait."""
        return 0.0

    def close(self) -> None:
        """Close the socket. By the owner; a second call does nothing."""
        self.deliver = None
        self._selector.close()
        for sock in (self._sock, self._bell, self._rope):
            sock.close()

    def _read(self) -> bytes:
        while True:
            self._answer_bell()
            try:
                data = self._sock.recv(_CHUNK_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(selectors.EVENT_READ, self.deadline)
                continue
            except ssl.SSLWantWriteError:
                self._wait(selectors.EVENT_WRITE, self.deadline)
                continue
            self.at = self._clock.now()
            self.monotonic = self._clock.monotonic()
            self._allowance -= len(data)
            if self._allowance < 0:
                raise ConnectionAbortedError("a message is longer than any the exchange sends")
            return data

    def _wait(self, events: int, deadline: int | None) -> None:
        timeout = None if deadline is None else (deadline - self._clock.monotonic()) / SECOND
        if timeout is not None and timeout <= 0:
            raise TimeoutError("timed out")
        self._selector.modify(self._sock, events)
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._bell:
                self._bell.recv(_CHUNK_BYTES)
        if self._interruption is not None:
            raise ConnectionAbortedError(self._interruption)

    def _ring(self) -> None:
        self._rung = True
        # Full: it rings already. Closed: nobody is there to hear it.
        with contextlib.suppress(OSError):
            self._rope.send(b"\0")

    def _answer_bell(self) -> None:
        if not self._rung:
            return
        self._rung = False
        if self._interruption is not None:
            raise ConnectionAbortedError(self._interruption)
        while self._posted and self.deliver is not None:
            self.deliver(self._posted.popleft())
