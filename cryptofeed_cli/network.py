"""The one dialer, for WebSocket and REST: every socket to the exchange is made here; knows no protocol but TLS.

It heeds no proxy variable of the environment, so no connection takes another way than the configured one.
"""

from __future__ import annotations

import os
import socket
import ssl

import certifi

from cryptofeed_cli import __version__
from cryptofeed_cli.errors import ConfigurationError, DialFailed

USER_AGENT = f"cryptofeed-cli/{__version__}"
"""What we call ourselves; the exchange answers 403 to requests without a name."""


class Dialer:
    """Makes connected, and on request encrypted, sockets. May be used by several threads at once."""

    def __init__(self, *, ca_file: str | None = None) -> None:
        """Trust the system's certificate authorities, or only those in ``ca_file``.

        Raises `ConfigurationError` when that file cannot be used.
        """
        try:
            self._tls = ssl.create_default_context(cafile=ca_file or _fallback_ca_file())
        except OSError as exc:
            allowed = f"must be a file of certificates ({explain(exc)})"
            raise ConfigurationError("TLS", "network.ca_file", ca_file, allowed) from exc

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """Return a connected TCP socket whose timeout is ``timeout`` seconds; raise `DialFailed`."""
        try:
            sock = socket.create_connection((host, port), timeout)
        except (OSError, UnicodeError) as exc:
            raise DialFailed(f"{host}:{port}", explain(exc)) from exc
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    def tls(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        """Return ``sock`` encrypted, its certificate verified for ``host``; close it and raise `DialFailed` if not."""
        try:
            return self._tls.wrap_socket(sock, server_hostname=host)
        except (OSError, ValueError) as exc:
            sock.close()
            raise DialFailed(host, explain(exc)) from exc


def explain(exc: BaseException) -> str:
    """Return in a few words why a connection could not be made or was lost."""
    match exc:
        case DialFailed():
            return str(exc)
        case ssl.SSLCertVerificationError():
            return f"its TLS certificate is not trusted ({exc.verify_message}); set network.ca_file if it should be"
        case ssl.SSLError():
            # Only those that OpenSSL raises have a reason.
            return f"TLS failed ({(getattr(exc, 'reason', None) or str(exc)).lower().replace('_', ' ')})"
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


def _fallback_ca_file() -> str | None:
    """Return a file of authorities where the system has none of its own: python.org's macOS builds, bare containers."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(os.scandir(paths.capath))):
        return None
    return certifi.where()
