"""From names to addresses: by the system, or by name servers that are asked over bound sockets; connects nowhere."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.network.deadline import Deadline
from cryptofeed_cli.network.interface import Binding
from cryptofeed_cli.network.reasons import Obstacle, explain

DNS_PORT = 53
_PATIENCE = 2.0
"""Seconds that a name server has for an answer before the next one, or the same one again, is asked."""


class Names(Protocol):
    """Somebody who resolves names. Written as text it says who."""

    def resolve(self, host: str, deadline: Deadline) -> list[str]:
        """Return the addresses of a host, in the order to try them, at least one; raise `Obstacle`."""


class NameServer(NamedTuple):
    """Where to ask."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return self.address if self.port == DNS_PORT else f"{host}:{self.port}"


def is_address(host: str) -> bool:
    """Tell whether a host is given by its address already."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def parse_name_server(text: str, origin: str) -> NameServer:
    """Return the name server of ``10.0.0.1``, ``10.0.0.1:53``, ``fd00::1`` or ``[fd00::1]:53``."""
    address, port = text, DNS_PORT
    if text.startswith("[") or text.count(":") == 1:
        address, _, behind = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
        port = int(behind) if behind.isascii() and behind.isdigit() and len(behind) < 6 else 0
    if not is_address(address) or not 0 < port < 1 << 16:
        allowed = "must be the address of a name server such as 10.8.0.1 or 10.8.0.1:53, or a list of such"
        raise ConfigurationError(origin, "network.dns", text, allowed)
    return NameServer(address, port)


class SystemNames:
    """What the operating system is configured to do. It cannot be interrupted, so a thread waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, _Lookup] = {}

    def __str__(self) -> str:
        return "the system"

    def resolve(self, host: str, deadline: Deadline) -> list[str]:
        """Return the addresses of a host; raise `Obstacle`."""
        with self._lock:
            lookup = self._under_way.get(host)
            if lookup is None or not lookup.thread.is_alive():
                self._under_way[host] = lookup = _Lookup(host)
        lookup.thread.join(deadline.left())
        if lookup.thread.is_alive():
            raise Obstacle("the system does not resolve the name in time")
        if not lookup.addresses:
            raise Obstacle("the name does not resolve" if lookup.error is None else explain(lookup.error))
        return lookup.addresses


class _Lookup:
    """One question to the system; those who ask the same meanwhile wait for the same answer."""

    def __init__(self, host: str) -> None:
        self.addresses: list[str] = []
        self.error: Exception | None = None
        self._host = host
        self.thread = threading.Thread(target=self._run, name="names", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            self.error = exc
        else:
            self.addresses = list(dict.fromkeys(str(one[4][0]) for one in found))


class ServerNames:
    """Name servers of our own choice, asked in turn over sockets that are bound like all others."""

    def __init__(self, servers: Sequence[NameServer], binding: Binding | None) -> None:
        self._servers = servers
        self._binding = binding

    def __str__(self) -> str:
        over = "" if self._binding is None else f" over {self._binding}"
        return f"name server {', '.join(map(str, self._servers))}{over}"

    def resolve(self, host: str, deadline: Deadline) -> list[str]:
        """Return the addresses of a host, IPv4 first; raise `Obstacle`."""
        addresses = self._ask_all(host, "A", deadline)
        try:
            addresses += self._ask_all(host, "AAAA", deadline)
        except (Obstacle, TimeoutError):
            if not addresses:
                raise
        if not addresses:
            raise Obstacle(f"the name has no address, says {self}")
        return addresses

    def _ask_all(self, host: str, kind: str, deadline: Deadline) -> list[str]:
        """Ask one server after the other, over and over, until one knows or the time is over."""
        reason = "no answer"
        for attempt in range(3 * len(self._servers)):
            server = self._servers[attempt % len(self._servers)]
            try:
                return self._ask(server, host, kind, deadline.within(_PATIENCE))
            except TimeoutError:
                with contextlib.suppress(TimeoutError):
                    deadline.left()
                    continue
                break
            except OSError as exc:
                reason = explain(exc)
        raise Obstacle(f"{self} does not resolve the name ({reason})")

    def _ask(self, server: NameServer, host: str, kind: str, deadline: Deadline) -> list[str]:
        import dns.exception
        import dns.message
        import dns.query
        import dns.rcode

        try:
            question = dns.message.make_query(host, kind)
            try:
                with self._socket(server, socket.SOCK_DGRAM) as sock:
                    sock.setblocking(False)  # else the library waits for ever
                    answer = dns.query.udp(
                        question, server.address, deadline.left(), server.port, sock=sock,
                        ignore_unexpected=True, ignore_errors=True, raise_on_truncation=True,
                    )  # fmt: skip
            except dns.message.Truncated:
                with self._socket(server, socket.SOCK_STREAM) as sock:
                    sock.settimeout(deadline.left())
                    sock.connect((server.address, server.port))
                    sock.setblocking(False)
                    answer = dns.query.tcp(question, server.address, deadline.left(), sock=sock)
            code = answer.rcode()
            if code == dns.rcode.NXDOMAIN:
                raise Obstacle(f"the name does not exist, says {self}")
            if code != dns.rcode.NOERROR:
                raise OSError(None, f"{server} answers {dns.rcode.to_text(code)}")
            found = answer.resolve_chaining().answer  # type: ignore[attr-defined]
        except dns.exception.Timeout as exc:
            raise TimeoutError from exc
        except dns.exception.DNSException as exc:
            raise Obstacle(f"the name does not resolve ({type(exc).__name__})") from exc
        return [] if found is None else [str(one.address) for one in found]

    def _socket(self, server: NameServer, kind: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in server.address else socket.AF_INET, kind)
        if self._binding is not None:
            try:
                self._binding.bind(sock)
            except BaseException:
                sock.close()
                raise
        return sock


class NoNames:
    """Nobody: where asking anybody would take another way than the one that was chosen."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    def __str__(self) -> str:
        return "nobody"

    def resolve(self, _host: str, _deadline: Deadline) -> list[str]:
        """Raise `Obstacle`."""
        raise Obstacle(f"no name can be resolved over {self._binding}; set network.dns")


