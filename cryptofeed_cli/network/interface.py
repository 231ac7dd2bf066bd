"""Which network interface, or which address of ours, a socket leaves by; opens none itself.

A socket that is bound to an interface sends nothing any other way, whatever the routing table says: while the interface
is down or missing it sends nothing at all.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import struct
import sys

import msgspec

from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.network.reasons import Obstacle

_NAME = re.compile(r"[^\s/:]{1,15}")
# Linux; the socket module has the first one since Python 3.11 on some builds only.
_SO_BINDTODEVICE = 25
# macOS.
_IP_BOUND_IF, _IPV6_BOUND_IF = 25, 125
_SIOCGIFFLAGS = 0xC0206911 if sys.platform == "darwin" else 0x8913
_UP, _RUNNING = 0x1, 0x40


class Interface(msgspec.Struct, frozen=True):
    """A network interface by name."""

    name: str

    def __str__(self) -> str:
        return f"interface {self.name}"

    @property
    def is_loopback(self) -> bool:
        """Whether it leads nowhere but to this machine."""
        return self.name in ("lo", "lo0")

    def bind(self, sock: socket.socket) -> None:
        """Let a socket leave by this interface and no other; raise `Obstacle` while it is missing."""
        try:
            if sys.platform == "darwin":
                level, option = socket.IPPROTO_IP, _IP_BOUND_IF
                if sock.family == socket.AF_INET6:
                    level, option = socket.IPPROTO_IPV6, _IPV6_BOUND_IF
                sock.setsockopt(level, option, socket.if_nametoindex(self.name))
            else:
                sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, self.name.encode() + b"\0")
        except OSError as exc:
            if exc.errno in (errno.ENODEV, errno.ENXIO):
                raise Obstacle(f"{self} is missing") from exc
            raise

    def obstacle(self) -> str | None:
        """Return why nothing can leave by it now; None: nothing is known against it."""
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s16x", self.name.encode()))
            except OSError as exc:
                return f"{self} is missing" if exc.errno in (errno.ENODEV, errno.ENXIO) else None
        (flags,) = struct.unpack_from("H", answer, 16)
        if not flags & _UP:
            return f"{self} is down"
        return None if flags & _RUNNING else f"{self} has no link"

    def takes(self, _address: str) -> bool:
        """Tell whether an address may be reached from here."""
        return True


class SourceAddress(msgspec.Struct, frozen=True):
    """One of our own addresses. The routing table still chooses the interface."""

    address: str

    def __str__(self) -> str:
        return f"source address {self.address}"

    def bind(self, sock: socket.socket) -> None:
        """Let a socket use this address; raise `Obstacle` while no interface has it."""
        try:
            sock.bind((self.address, 0))
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:
                raise Obstacle(f"no interface has the {self}") from exc
            raise

    def obstacle(self) -> str | None:
        """Return None: nothing is known against it."""
        return None

    def takes(self, address: str) -> bool:
        """Tell whether an address may be reached from here: one of the same version of IP."""
        return (":" in address) == (":" in self.address)


Binding = Interface | SourceAddress


def parse_interface(text: str, origin: str) -> Binding:
    """Return what ``network.interface`` names; raise `ConfigurationError` where this system cannot bind to it."""
    try:
        return SourceAddress(str(ipaddress.ip_address(text)))
    except ValueError:
        pass
    if not _NAME.fullmatch(text) or text in (".", ".."):
        allowed = "must be the name of a network interface such as wg0, or an address of this machine"
        raise ConfigurationError(origin, "network.interface", text, allowed)
    if sys.platform not in ("linux", "darwin"):
        allowed = "this system cannot bind a socket to an interface (Linux and macOS can); give an address"
        raise ConfigurationError(origin, "network.interface", text, allowed)
    interface = Interface(text)
    with socket.socket() as sock:
        try:
            interface.bind(sock)
        except Obstacle:
            pass  # it may come
        except OSError as exc:
            allowed = f"a socket cannot be bound to it ({exc.strerror}): needs Linux 5.7, or the capability CAP_NET_RAW"
            raise ConfigurationError(origin, "network.interface", text, allowed) from exc
    return interface
