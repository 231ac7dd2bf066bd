"""The exchange's REST interface, one GET at a time, over the dialer's sockets; knows no path of any exchange.

It tries once: who asks decides whether and when to ask again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from cryptofeed_cli.clock import SECOND, Clock
from cryptofeed_cli.errors import DialFailed, RequestFailed, UsageError
from cryptofeed_cli.network import USER_AGENT, Dialer, explain

MAX_BODY_BYTES = 32 << 20
MAX_ANSWER_TIME = 60 * SECOND
"""Until the last byte: a body that drips in for ever would hold up every request after it."""
_CHUNK_BYTES = 64 << 10
# What requests and urllib3 raise on hostile bytes: their own errors, and what slips through their parsers.
_BROKEN = (requests.RequestException, HTTPError, OSError, ValueError, LookupError)


class Response(msgspec.Struct, frozen=True):
    """An answer, whatever its status."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    """Names in any case."""


class Rest:
    """A REST interface at one base URL. Used by one thread; only `close` may come from another."""

    def __init__(
        self,
        url: str,
        dialer: Dialer,
        *,
        clock: Clock,
        timeout: int,
        headers: Mapping[str, str] = MappingProxyType({}),
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """Ask nothing yet.

        Args: ``timeout`` is the longest wait for a connection or for more of an answer, in nanoseconds; ``headers`` go
        with every request.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"{url!r} is not a REST address; write http://host or https://host")
        self._url = url.rstrip("/")
        self._dialer = dialer
        self._clock = clock
        self._timeout = timeout / SECOND
        self._max_body_bytes = max_body_bytes
        self._socket: socket.socket | None = None
        self._closed = False
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"User-Agent": USER_AGENT, **headers})
        self._session.mount(self._url, _Adapter(self))

    def get(self, path: str) -> Response:
        """Return the answer to a path with its query; raise `DialFailed` or `RequestFailed`. Redirects are answers."""
        url = self._url + path
        deadline = self._clock.monotonic() + MAX_ANSWER_TIME
        try:
            with self._session.get(url, stream=True, timeout=self._timeout, allow_redirects=False) as answer:
                body = bytearray()
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > self._max_body_bytes:
                        raise RequestFailed(url, f"its body is longer than {self._max_body_bytes} bytes")
                    if self._clock.monotonic() > deadline:
                        raise RequestFailed(url, f"its body took longer than {MAX_ANSWER_TIME // SECOND} s")
                return Response(answer.status_code, bytes(body), answer.headers)
        except _BROKEN as exc:
            raise RequestFailed(url, explain(_origin(exc))) from exc

    def close(self) -> None:
        """Let go of the connection for good; a `get` that waits in another thread fails at once."""
        self._closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._session.close()

    def dial(self, host: str, port: int, *, secure: bool) -> socket.socket:
        """Return the socket of a new connection."""
        sock = self._dialer.connect(host, port, timeout=self._timeout)
        self._socket = sock = self._dialer.tls(sock, host) if secure else sock
        # A close before this line found no socket to shut down.
        if self._closed:
            sock.close()
            raise DialFailed(f"{host}:{port}", "closed")
        return sock


def get_from_any(rests: Sequence[Rest], path: str) -> Response:
    """Return the answer of the first of several equal interfaces that gives one; raise what the last one raised."""
    for rest in rests[:-1]:
        try:
            answer = rest.get(path)
        except (DialFailed, RequestFailed):
            continue
        if not is_elsewhere(answer.status):
            return answer
    return rests[-1].get(path)


def is_elsewhere(status: int) -> bool:
    """Tell whether an answer says nothing of the question, so that an equal interface may answer it."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
        HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS,
    )  # fmt: skip


class _Adapter(HTTPAdapter):
    """Makes requests take its sockets from a `Rest`, and so from the dialer."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        rest = self._rest

        class Plain(HTTPConnection):
            def connect(self) -> None:
                self.sock = rest.dial(self.host, self.port, secure=False)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                self.sock = rest.dial(self.host, self.port, secure=True)
                self.is_verified = True

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _origin(exc: BaseException) -> BaseException:
    """Return the error at the bottom: requests and urllib3 each wrap what they catch."""
    while exc.__context__ is not None:
        exc = exc.__context__
    return exc
