"""Addresses to listen at, as the command line has them."""

from __future__ import annotations

from cryptofeed_cli.errors import UsageError

LOOPBACK = "127.0.0.1"


def parse_address(option: str, text: str) -> tuple[str, int]:
    """Understand ``PORT``, ``:PORT`` (both on loopback) or ``HOST:PORT``; raise `UsageError` otherwise."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{option} {text!r} is no address; write a port (8765), or host and port (0.0.0.0:8765)")
    return host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)
