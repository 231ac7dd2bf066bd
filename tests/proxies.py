"""Proxies on loopback: real ones, in processes of their own, and one that misbehaves on request."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Self
from urllib.parse import quote

from tests.processes import wait_until

# The package starts its own event loop in a way that Python 3.14 took away; and only it knows our names.
_START = """
import asyncio, json, socket, sys
hosts, resolve = json.loads(sys.argv.pop(1)), socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **options: resolve(hosts.get(host, host), *rest, **options)
asyncio.set_event_loop(asyncio.new_event_loop())
sys.modules["uvloop"] = None  # where it happens to be installed, the two do not get on
from pproxy.server import main
main()
"""
_CHUNK_BYTES = 64 << 10


class RealProxy:
    """An HTTP, SOCKS4 and SOCKS5 proxy on one port; a context manager."""

    def __init__(
        self,
        credentials: tuple[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
        hosts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``hosts`` are names that it resolves and nobody else."""
        self.credentials = credentials
        with socket.create_server((host, 0)) as sock:
            self.port: int = sock.getsockname()[1]
        self._host = host
        self._hosts = dict(hosts)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()

    def url(self, scheme: str, password: str | None = None) -> str:
        """Return its URL, user and password percent-encoded; another password on request."""
        if self.credentials is None:
            return f"{scheme}://{self._host}:{self.port}"
        user, right = (quote(part, safe="") for part in self.credentials)
        return f"{scheme}://{user}:{quote(password, safe='') if password else right}@{self._host}:{self.port}"

    def start(self) -> None:
        """Run, and accept connections on return."""
        secret = "" if self.credentials is None else f"#{':'.join(self.credentials)}"
        listen = f"http+socks4+socks5://{self._host}:{self.port}{secret}"
        # It lets in whoever was let in once from the same address, unless that was no time ago.
        arguments = ["-l", listen, "-v", "--auth", "0"]
        command = [sys.executable, "-c", _START, json.dumps(self._hosts), *arguments]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        wait_until(self._accepts, "a proxy that accepts connections")

    def kill(self) -> None:
        """End it without a word to whoever is connected."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)

    @property
    def said(self) -> str:
        """What it wrote: a line for every connection it made."""
        self._log.flush()
        size = self._log.seek(0, 2)
        self._log.seek(0)
        return self._log.read(size).decode()

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the proxy ended by itself: {self.said}"
        try:
            socket.create_connection((self._host, self.port), 5).close()
        except OSError:
            return False
        return True


Answer = Callable[[socket.socket], None]
"""What is done with a client; afterwards the connection is closed."""


def say(answer: bytes, *, first: bytes = b"") -> Answer:
    """Read a request, say ``first`` if there is more to read, and answer."""

    def act(client: socket.socket) -> None:
        client.recv(_CHUNK_BYTES)
        if first:
            client.sendall(first)
            client.recv(_CHUNK_BYTES)
        client.sendall(answer)
        with contextlib.suppress(OSError):
            client.recv(_CHUNK_BYTES)  # the client closes first, so that no reset swallows the answer

    return act


def hang_up(_client: socket.socket) -> None:
    """Close at once."""


def stall(client: socket.socket) -> None:
    """Say nothing until the client goes."""
    while client.recv(_CHUNK_BYTES):
        pass


def drip(start: bytes) -> Answer:
    """Answer with one byte after the other, for ever."""

    def act(client: socket.socket) -> None:
        client.recv(_CHUNK_BYTES)
        for byte in start:
            client.sendall(bytes([byte]))
        gone = threading.Event()
        while not gone.wait(0.02):
            client.sendall(b"a")

    return act


class MoodyProxy:
    """Leads to a real proxy on the same terms, until it is told to do something else; a context manager."""

    def __init__(self, behind: int | None = None) -> None:
        """``behind`` is the real proxy's port."""
        self.answer: Answer | None = None
        """What is done with whoever connects; None: they are led on."""
        self.visits = 0
        self._behind = behind
        self._frozen: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, name="moody-proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(60)

    def hang_up(self) -> None:
        """End every connection."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Pass on nothing more over the connections that are open."""
        with self._lock:
            self._frozen |= self._open

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            thread = threading.Thread(target=self._talk, args=(client,), name="moody-proxy", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._keep(client)
            if self.answer is not None:
                self.answer(client)
            elif self._behind is not None:
                with socket.create_connection(("127.0.0.1", self._behind), 60) as server:
                    server.settimeout(None)
                    self._keep(server)
                    back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
                    back.start()
                    self._pass_on(client, server)
                    back.join(60)
        with self._lock:
            self._open.discard(client)

    def _keep(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if source not in self._frozen:
                    target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
