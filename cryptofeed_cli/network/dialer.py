"""Makes connected, and on request encrypted, sockets, all by one route; decides nothing about when to try again."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from cryptofeed_cli import __version__
from cryptofeed_cli.clock import SECOND, Clock, SystemClock
from cryptofeed_cli.errors import DialFailed
from cryptofeed_cli.network.deadline import Deadline
from cryptofeed_cli.network.handshake import connect_socks, open_http_tunnel
from cryptofeed_cli.network.names import is_address
from cryptofeed_cli.network.proxy import Proxy
from cryptofeed_cli.network.reasons import Obstacle, explain
from cryptofeed_cli.network.route import Route
from cryptofeed_cli.network.tls import distrust, make_context

USER_AGENT = f"cryptofeed-cli/{__version__}"
"""What we call ourselves; the exchange answers 403 to requests without a name."""


class Dialer:
    """May be used by several threads at once."""

    def __init__(
        self,
        route: Route = Route(),  # noqa: B008 - frozen
        *,
        ca_file: str | None = None,
        clock: Clock = SystemClock(),  # noqa: B008 - has no state
        respite: int = 30 * SECOND,
    ) -> None:
        """Trust the system's certificate authorities, or only those in ``ca_file``.

        Args: ``respite`` is how long, in nanoseconds, a proxy that refused our user and password is left alone: asking
        it again cannot help until somebody corrects them, and gets accounts locked.

        Raises `ConfigurationError` when that file cannot be used.
        """
        self.route = route
        self._names = route.names()
        self._clock = clock
        self._respite = respite
        self._tls = make_context(ca_file)
        self._lock = threading.Lock()
        self._unwanted: tuple[int, str] | None = None
        """Until when the proxy is left alone, and why."""

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """Return a connected TCP socket whose timeout is ``timeout`` seconds; raise `DialFailed` after that at most."""
        deadline = Deadline(timeout, self._clock)
        proxy = self.route.proxy_for(host)
        try:
            self._check_way(proxy)
            sock = self._through(proxy, host, port, deadline) if proxy else self._straight(host, port, deadline)
        except (Obstacle, OSError, UnicodeError) as exc:
            if isinstance(exc, Obstacle) and exc.unwanted:
                self._unwanted = (self._clock.monotonic() + self._respite, str(exc))
            elif proxy is not None and not isinstance(exc, _LeftAlone):
                self._unwanted = None
            raise DialFailed(f"{host}:{port}", self.blame(explain(exc))) from exc
        if proxy is not None:
            self._unwanted = None
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    def tls(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        """Return ``sock`` encrypted, its certificate verified for ``host``; close it and raise `DialFailed` if not."""
        try:
            return self._tls.wrap_socket(sock, server_hostname=host)
        except ssl.SSLCertVerificationError as exc:
            sock.close()
            raise DialFailed(host, distrust(exc, self._clock.now())) from exc
        except (OSError, ValueError) as exc:
            sock.close()
            reason = explain(exc)
            during = "" if isinstance(exc, ssl.SSLError) else " during the TLS handshake"
            raise DialFailed(host, self.blame(f"{reason}{during}")) from exc

    def resolve(self, host: str, *, timeout: float) -> list[str]:
        """Return the addresses that a host would be tried at; raise `DialFailed`."""
        try:
            return self._addresses(host, Deadline(timeout, self._clock))
        except (Obstacle, OSError, UnicodeError) as exc:
            raise DialFailed(host, self.blame(explain(exc))) from exc

    def blame(self, reason: str) -> str:
        """Return a reason, and what stands against the chosen interface if that is what happened."""
        obstacle = self.route.binding.obstacle() if self.route.binding is not None else None
        return reason if obstacle is None or obstacle in reason else f"{reason}; {obstacle}"

    def _check_way(self, proxy: Proxy | None) -> None:
        if self.route.binding is not None and (obstacle := self.route.binding.obstacle()) is not None:
            raise Obstacle(obstacle)
        with self._lock:
            if proxy is None or self._unwanted is None:
                return
            (until, reason), now = self._unwanted, self._clock.monotonic()
            if now < until:
                raise _LeftAlone(reason)
            # One may find out whether it was corrected; the others wait for that.
            self._unwanted = (now + self._respite, reason)

    def _straight(self, host: str, port: int, deadline: Deadline) -> socket.socket:
        def attempt(address: str, within: Deadline) -> socket.socket:
            return self._open(address, port, within)

        return _first(self._addresses(host, deadline), attempt, deadline)

    def _through(self, proxy: Proxy, host: str, port: int, deadline: Deadline) -> socket.socket:
        target = host if proxy.resolves_names else self._address_for(proxy, host, deadline)

        def attempt(address: str, within: Deadline) -> socket.socket:
            if proxy.scheme == "http":
                return self._open(address, proxy.port, within)
            return connect_socks(
                proxy, _family(address), address, (target, port), self._bind, within=within, deadline=deadline
            )

        sock = _first(self._addresses_of(proxy, deadline), attempt, deadline, f"the proxy {proxy} cannot be reached: ")
        if proxy.scheme == "http":
            try:
                open_http_tunnel(sock, proxy, (target, port), USER_AGENT, deadline)
            except BaseException:
                sock.close()
                raise
        return sock

    def _addresses_of(self, proxy: Proxy, deadline: Deadline) -> list[str]:
        try:
            return self._addresses(proxy.host, deadline)
        except (Obstacle, OSError, UnicodeError) as exc:
            raise Obstacle(f"the proxy {proxy} cannot be reached: {explain(exc)}") from exc

    def _address_for(self, proxy: Proxy, host: str, deadline: Deadline) -> str:
        """Return the address to name to a proxy that resolves none itself."""
        for address in self._addresses(host, deadline):
            if proxy.speaks_ipv6 or ":" not in address:
                return address
        raise Obstacle(f"{proxy.scheme} knows no IPv6, and {host} has no other address")

    def _addresses(self, host: str, deadline: Deadline) -> list[str]:
        if is_address(host):
            return [host]
        found = self._names.resolve(host, deadline)
        binding = self.route.binding
        usable = [address for address in found if binding is None or binding.takes(address)]
        if not usable:
            raise Obstacle(f"none of its addresses can be reached from the {binding} ({', '.join(found)})")
        return usable

    def _open(self, address: str, port: int, deadline: Deadline) -> socket.socket:
        sock = socket.socket(_family(address), socket.SOCK_STREAM)
        try:
            self._bind(sock)
            sock.settimeout(deadline.left())
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _bind(self, sock: socket.socket) -> None:
        if self.route.binding is not None:
            self.route.binding.bind(sock)


class _LeftAlone(Obstacle):
    """A proxy was not even asked."""


def _first(
    addresses: list[str], attempt: Callable[[str, Deadline], socket.socket], deadline: Deadline, blame: str = ""
) -> socket.socket:
    """Return the first socket that stands; every address gets its share of the time that is left."""
    failure: OSError = TimeoutError("timed out")
    for number, address in enumerate(addresses):
        try:
            return attempt(address, deadline.within(deadline.left() / (len(addresses) - number)))
        except OSError as exc:
            failure = exc
    raise Obstacle(f"{blame}{explain(failure)}") from failure


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
