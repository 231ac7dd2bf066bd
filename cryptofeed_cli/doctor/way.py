"""The way to the exchange's hosts, step by step: route, names, TCP, TLS; sends no request."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import msgspec

from cryptofeed_cli.clock import MILLISECOND, SECOND, Clock, format_nanoseconds
from cryptofeed_cli.doctor.checks import Finding, Verdict
from cryptofeed_cli.errors import DialFailed
from cryptofeed_cli.network import Dialer
from cryptofeed_cli.network.interface import SourceAddress
from cryptofeed_cli.network.names import is_address

_DAY = len("2026-11-22")
_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """A host to reach. ``spare``: only tried where another one does not answer."""

    host: str
    port: int
    secure: bool
    spare: bool


class Way:
    """Looks at one step after the other; what one step opened the next one uses. A context manager."""

    def __init__(self, url_lists: Iterable[Iterable[str]], timeout: int, clock: Clock) -> None:
        """``url_lists`` are lists of equal URLs, tried in turn; ``timeout`` in nanoseconds, for every connection."""
        self._targets = _targets(url_lists)
        self._timeout = timeout / SECOND
        self._clock = clock
        self._dialer = Dialer()
        self._open = ExitStack()
        self._sockets: dict[Target, object] = {}

    def close(self) -> None:
        """Close what was opened."""
        self._open.close()

    def route(self, make_dialer: Callable[[], Dialer]) -> Finding:
        """Tell which way is taken, and whether it can be."""
        self._dialer = make_dialer()
        route = self._dialer.route
        obstacle = route.binding.obstacle() if route.binding is not None else None
        if obstacle is not None:
            cure = "bring the interface up; no other one is used"
            return Finding(f"{obstacle}; {route.describe()}", Verdict.FAIL, cure)
        if isinstance(route.binding, SourceAddress):
            return Finding(route.describe(), Verdict.WARN, "give the interface's name to let nothing leave another way")
        return Finding(route.describe())

    def names(self) -> Finding:
        """Tell the addresses of every host, or who is left to resolve its name."""
        route = self._dialer.route

        def resolve(target: Target) -> str:
            proxy = route.proxy_for(target.host)
            if proxy is not None and proxy.resolves_names:
                if not is_address(proxy.host):
                    self._dialer.resolve(proxy.host, timeout=self._timeout)
                return f"{target.host}: left to the proxy"
            if is_address(target.host):
                return f"{target.host}: is an address"
            addresses = self._dialer.resolve(target.host, timeout=self._timeout)
            return f"{target.host}: {', '.join(addresses)}, by {route.names()}"

        return self._each({target.host: target for target in reversed(self._targets)}.values(), resolve)

    def tcp(self) -> Finding:
        """Connect to every host, through the proxy if there is one."""

        def connect(target: Target) -> str:
            begun = self._clock.monotonic()
            sock = self._dialer.connect(target.host, target.port, timeout=self._timeout)
            self._sockets[target] = self._open.enter_context(closing(sock))
            took = (self._clock.monotonic() - begun) // MILLISECOND
            return f"{target.host}:{target.port} in {took} ms"

        return self._each(self._targets, connect)

    def tls(self) -> Finding:
        """Have every certificate verified."""
        secure = [target for target in self._targets if target.secure and target in self._sockets]
        if not secure:
            plain = ", ".join(f"{target.host}:{target.port}" for target in self._targets)
            return Finding(f"none is asked for ({plain})", Verdict.WARN, "write wss:// and https:// in okx.*_url")

        def shake_hands(target: Target) -> str:
            sock = self._dialer.tls(self._sockets[target], target.host)  # type: ignore[arg-type]
            self._open.enter_context(closing(sock))
            certificate = sock.getpeercert() or {}
            end = format_nanoseconds(int(ssl.cert_time_to_seconds(str(certificate["notAfter"]))) * SECOND)[:_DAY]
            return f"{target.host}: {sock.version()}, certificate by {_issuer(certificate)}, good until {end}"

        return self._each(secure, shake_hands)

    def _each(self, targets: Iterable[Target], look: Callable[[Target], str]) -> Finding:
        told: list[str] = []
        failed: list[str] = []
        spare: list[str] = []
        for target in targets:
            try:
                told.append(look(target))
            except DialFailed as exc:
                (spare if target.spare else failed).append(str(exc))
        if failed:
            cure = "see the reason; `network.proxy`, `network.interface` and `network.dns` choose another way"
            return Finding("; ".join((*failed, *spare, *told)), Verdict.FAIL, cure)
        if spare:
            return Finding("; ".join((*spare, *told)), Verdict.WARN, "it is a spare: correct or remove its URL")
        return Finding("; ".join(told))


def _targets(url_lists: Iterable[Iterable[str]]) -> list[Target]:
    """Return every host once, those that are tried first before all spare ones."""
    found: dict[tuple[str, int, bool], bool] = {}
    for urls in url_lists:
        for place, url in enumerate(urls):
            parts = urlsplit(url)
            key = (parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.scheme in ("wss", "https"))
            found[key] = found.get(key, True) and place > 0
    return sorted((Target(*key, spare) for key, spare in found.items()), key=lambda target: target.spare)


def _issuer(certificate: object) -> str:
    names = dict(pair for part in certificate.get("issuer", ()) for pair in part)  # type: ignore[attr-defined]
    return str(names.get("organizationName") or names.get("commonName") or "an unnamed authority")
