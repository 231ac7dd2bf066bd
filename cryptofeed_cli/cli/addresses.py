"""Addresses to listen at, as the command line has them."""

from __future__ import annotations

import logging

from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.exchanges.base import Exchange

LOG = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


def parse_address(option: str, text: str) -> tuple[str, int]:
    """Understand ``PORT``, ``:PORT`` (both on loopback) or ``HOST:PORT``; raise `UsageError` otherwise."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{option} {text!r} is no address; write a port (8765), or host and port (0.0.0.0:8765)")
    return host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)


def tell_address(exchange: Exchange, what: str, bound: str) -> None:
    """Log where an exchange of ours is served, and how to record it."""
    paths = {endpoint: f"ws://{bound}{path}" for path, endpoint in exchange.listening.paths.items()}
    LOG.info("serving a %s %s at %s; to record it:", what, exchange.name, bound)
    for endpoint, url in {**paths, "rest": f"http://{bound}"}.items():
        LOG.info("export CRYPTOFEED_OKX_%s_URL=%s", endpoint.upper(), url)
