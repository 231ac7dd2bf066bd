"""Why a connection could not be made or was lost, in a few words; knows no way to make one."""

from __future__ import annotations

import socket
import ssl

from cryptofeed_cli.errors import DialFailed


class Obstacle(Exception):
    """What one step on the way met, in words. ``unwanted``: we were told to stay away, so asking soon is no use."""

    def __init__(self, reason: str, *, unwanted: bool = False) -> None:
        super().__init__(reason)
        self.unwanted = unwanted


def explain(exc: BaseException) -> str:
    """Return in a few words why a connection could not be made or was lost."""
    match exc:
        case DialFailed() | Obstacle():
            return str(exc)
        case ssl.SSLError():
            return _tls(exc)
        case socket.gaierror() | UnicodeError():
            return "the name does not resolve"
        case TimeoutError():
            return "timed out"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case OSError() if exc.strerror:
            return exc.strerror.lower()
    return str(exc) or type(exc).__name__


def _tls(exc: ssl.SSLError) -> str:
    # Only those that OpenSSL raises have a reason.
    reason = getattr(exc, "reason", None) or str(exc)
    match reason:
        case "WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "RECORD_LAYER_FAILURE":
            return "TLS failed: it answers something that is no TLS (a login page or a proxy in between?)"
        case "UNEXPECTED_EOF_WHILE_READING":
            return "TLS failed: the connection was closed (a firewall that blocks the name?)"
    return f"TLS failed ({reason.lower().replace('_', ' ')})"
