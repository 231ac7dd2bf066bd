"""Proxies: what a URL names, and what each kind can do; connects to none."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import msgspec

from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.printable import hide_secrets

_RESOLVING = ("http", "socks4a", "socks5h")
SCHEMES = ("http", "socks4", "socks4a", "socks5", "socks5h")
_PORTS = {"http": 80}
_SOCKS_PORT = 1080
_LONGEST_CREDENTIAL = 127
"""Bytes; PySocks writes longer ones wrongly."""


class Proxy(msgspec.Struct, frozen=True):
    """A proxy. Written as text it shows neither user nor password."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    __repr__ = __str__

    @property
    def resolves_names(self) -> bool:
        """Whether it takes the names of hosts and resolves them itself."""
        return self.scheme in _RESOLVING

    @property
    def speaks_ipv6(self) -> bool:
        """Whether it can be told an IPv6 address."""
        return not self.scheme.startswith("socks4")


def parse_proxy(text: str, origin: str, key: str = "network.proxy") -> Proxy:
    """Return the proxy that a URL names, user and password percent-decoded; raise `ConfigurationError`."""
    shown = hide_secrets(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        user, password = (part if part is None else unquote(part, errors="strict")
                          for part in (parts.username, parts.password))  # fmt: skip
    except (ValueError, UnicodeError) as exc:
        raise ConfigurationError(origin, key, shown, f"is not a URL such as {_example()}") from exc
    if parts.scheme == "https":
        allowed = "TLS to the proxy itself is not supported; write http:// (what goes through it is TLS all the same)"
        raise ConfigurationError(origin, key, shown, allowed)
    if parts.scheme not in SCHEMES or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        allowed = f"must be a URL such as {_example()} ({', '.join(SCHEMES)})"
        raise ConfigurationError(origin, key, shown, allowed)
    proxy = Proxy(parts.scheme, host, port or _PORTS.get(parts.scheme, _SOCKS_PORT), user or None, password or None)
    if (problem := _doubt(proxy)) is not None:
        raise ConfigurationError(origin, key, shown, problem)
    return proxy


def _example() -> str:
    return "socks5h://127.0.0.1:1080"


def _doubt(proxy: Proxy) -> str | None:
    """Return why user and password cannot be sent."""
    if proxy.scheme.startswith("socks4") and proxy.password is not None:
        return f"{proxy.scheme} knows no passwords; use socks5h"
    if proxy.scheme.startswith("socks5") and (proxy.user is None) != (proxy.password is None):
        return f"{proxy.scheme} takes a user and a password, or neither"
    if proxy.scheme == "http":
        return "a user has no colon" if ":" in (proxy.user or "") else None
    longest = max(len((part or "").encode()) for part in (proxy.user, proxy.password))
    return f"user and password take {_LONGEST_CREDENTIAL} bytes at most" if longest > _LONGEST_CREDENTIAL else None
