"""A server of single bytes: it completes the WebSocket handshake, or not, and then says exactly what it is told."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(request: bytes, *headers: bytes) -> bytes:
    """Return a right answer to an upgrade request, with more headers."""
    lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
    accept = base64.b64encode(hashlib.sha1(lines[b"Sec-WebSocket-Key"] + _GUID).digest())  # noqa: S324 - RFC 6455
    fixed = (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade")
    return b"\r\n".join((*fixed, b"Sec-WebSocket-Accept: " + accept, *headers, b"", b""))


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """Return one unmasked WebSocket frame."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(data) < 126:
        return head + bytes([len(data)]) + data
    return head + b"\x7e" + len(data).to_bytes(2, "big") + data


class RawServer:
    """Answers every connection's request with ``answer(request)``, and keeps what the client sends afterwards.

    ``hang_up``: close after the answer, else when the client does.
    """

    PATIENCE = 30.0
    """Seconds after which a client that says nothing is left."""

    def __init__(self, answer: Callable[[bytes], bytes], *, hang_up: bool = True) -> None:
        self.requests: list[bytes] = []
        self.received = b""
        self._answer = answer
        self._hang_up = hang_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/ws"
        self._thread = threading.Thread(target=self._serve, name="raw-server", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # A blocked accept does not notice that its socket was closed, only that it was shut down.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(self.PATIENCE)
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            more = client.recv(4096)
            if not more:
                return
            request += more
        self.requests.append(request)
        client.sendall(self._answer(request))
        while not self._hang_up and (more := client.recv(4096)):
            self.received += more
