"""The handshake that leads through a proxy; resolves no name and chooses no route."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import socks

from cryptofeed_cli.network.deadline import Deadline
from cryptofeed_cli.network.proxy import Proxy
from cryptofeed_cli.network.reasons import Obstacle

_SOCKS = {"socks4": socks.SOCKS4, "socks4a": socks.SOCKS4, "socks5": socks.SOCKS5, "socks5h": socks.SOCKS5}
_LONGEST_HEAD = 16 << 10
"""Bytes of an HTTP proxy's answer."""


def connect_socks(
    proxy: Proxy,
    family: int,
    address: str,
    target: tuple[str, int],
    bind: Callable[[socket.socket], None],
    *,
    within: Deadline,
    deadline: Deadline,
) -> socket.socket:
    """Return a socket that leads through a SOCKS proxy to ``target``, a name only where the proxy resolves names.

    ``address`` is the proxy's own, to be connected to ``within`` a part of the whole time. Raises `OSError` where the
    proxy cannot be reached there, else `Obstacle`.
    """
    sock = _SocksSocket(family, deadline)
    try:
        bind(sock)
        sock.set_proxy(
            _SOCKS[proxy.scheme], address, proxy.port, proxy.resolves_names, proxy.user, proxy.password
        )
        sock.settimeout(within.left())
        sock.connect(target)
        return socket.socket(fileno=sock.detach())
    except socks.ProxyError as exc:
        sock.close()
        raise _translate(exc, proxy, target) from exc
    except BaseException:
        sock.close()
        raise


class _SocksSocket(socks.socksocket):  # type: ignore[misc]
    """PySocks gives every single byte the whole time-out; this one has one deadline for all of them."""

    def __init__(self, family: int, deadline: Deadline) -> None:
        super().__init__(family)
        self._deadline = deadline

    def recv_into(self, *args: Any) -> int:
        socket.socket.settimeout(self, self._deadline.left())
        return int(super().recv_into(*args))


def _translate(exc: socks.ProxyError, proxy: Proxy, target: tuple[str, int]) -> Exception:
    kind = proxy.scheme[:6].upper()
    # Its errors are OSErrors too, and so it wraps some of them in each other.
    while isinstance(exc.socket_err, socks.ProxyError):
        exc = exc.socket_err
    match exc:
        case socks.ProxyConnectionError():
            return exc.socket_err  # type: ignore[no-any-return]
        case socks.SOCKS5AuthError():
            return Obstacle(_unwelcome(proxy), unwanted=True)
        case socks.SOCKS5Error() | socks.SOCKS4Error():
            reason = str(exc.msg).partition(": ")[2].lower()
            return Obstacle(f"the proxy {proxy} could not connect to {_at(*target)} ({reason})")
        case _ if isinstance(exc.socket_err, TimeoutError):
            return Obstacle(f"the proxy {proxy} does not answer")
        case _ if isinstance(exc.socket_err, OSError):
            return Obstacle(f"the proxy {proxy} closed the connection")
        case _ if "invalid data" in str(exc.msg):
            return Obstacle(f"the proxy {proxy} answers something that is no {kind}")
    return Obstacle(f"the proxy {proxy} closed the connection without an answer")


def open_http_tunnel(sock: socket.socket, proxy: Proxy, target: tuple[str, int], agent: str, end: Deadline) -> None:
    """Have an HTTP proxy lead a connected socket on to ``target``; raise `Obstacle`."""
    try:
        sock.settimeout(end.left())
        sock.sendall(_request(proxy, target, agent))
        status, head = _read_head(sock, proxy, end)
    except TimeoutError as exc:
        raise Obstacle(f"the proxy {proxy} does not answer") from exc
    except OSError as exc:
        raise Obstacle(f"the proxy {proxy} closed the connection") from exc
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise Obstacle(_unwelcome(proxy), unwanted=True)
    if not 200 <= status < 300:
        phrase = ""
        with contextlib.suppress(ValueError):
            phrase = f" {HTTPStatus(status).phrase.lower()}"
        raise Obstacle(f"the proxy {proxy} does not connect to {_at(*target)} (HTTP {status}{phrase})")
    if re.search(rb"(?i)\ncontent-type: *text/", head):
        raise Obstacle(f"the proxy {proxy} answers with a web page instead of a connection (a login page?)")


def _request(proxy: Proxy, target: tuple[str, int], agent: str) -> bytes:
    place = _at(*target)
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", f"User-Agent: {agent}"]
    if proxy.user is not None or proxy.password is not None:
        credentials = f"{proxy.user or ''}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _read_head(sock: socket.socket, proxy: Proxy, deadline: Deadline) -> tuple[int, bytes]:
    """Read up to the empty line and not a byte more: what follows is no longer the proxy's."""
    head = b""
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        sock.settimeout(deadline.left())
        byte = sock.recv(1)
        head += byte
        if not byte and not head:
            raise Obstacle(f"the proxy {proxy} closed the connection without an answer")
        if not byte or len(head) > _LONGEST_HEAD or not b"HTTP/1."[: len(head)] == head[:7]:
            raise Obstacle(f"the proxy {proxy} answers something that is no HTTP")
    parts = head.split(maxsplit=2)
    if len(parts) < 2 or not re.fullmatch(rb"\d{3}", parts[1]):
        raise Obstacle(f"the proxy {proxy} answers something that is no HTTP")
    return int(parts[1]), head


def _unwelcome(proxy: Proxy) -> str:
    if proxy.user is None and proxy.password is None:
        return f"the proxy {proxy} wants a user and a password; write them into its URL"
    return f"the proxy {proxy} refuses this user and password; correct them in its URL"


def _at(host: str, port: int) -> str:
    """Write ASCII host and port."""
    if ":" in host:
        return f"[{host}]:{port}"
    return f"{host.encode('idna').decode('ascii')}:{port}"
