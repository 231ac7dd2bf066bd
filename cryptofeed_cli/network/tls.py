"""TLS, always verified: what is trusted, and why a certificate is not; makes no connection."""

from __future__ import annotations

import os
import ssl

import certifi

from cryptofeed_cli.clock import format_nanoseconds
from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.network.reasons import explain

_INTERCEPTED = "a proxy or firewall that opens TLS? then set network.ca_file to its authority, or take another route"
# OpenSSL's X509_V_ERR_* numbers: the ssl module has no names for them.
_NOT_YET_VALID, _EXPIRED, _REVOKED = 9, 10, 23
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN = 18, 19
_UNKNOWN_AUTHORITY = (2, 20, 21)
_OTHER_NAME = (62, 64)


def make_context(ca_file: str | None) -> ssl.SSLContext:
    """Trust the system's certificate authorities, or only those in ``ca_file``.

    Raises `ConfigurationError` when that file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or _fallback_ca_file())
    except OSError as exc:
        allowed = f"must be a file of certificates ({explain(exc)})"
        raise ConfigurationError("TLS", "network.ca_file", ca_file, allowed) from exc


def distrust(exc: ssl.SSLCertVerificationError, now: int) -> str:
    """Return why a certificate is not trusted, and what to do; ``now`` is the wall clock."""
    code, clock = exc.verify_code, format_nanoseconds(now)[:16].replace("T", " ")
    if code == _EXPIRED:
        return f"its TLS certificate has expired; is this machine's clock right? It says {clock} UTC"
    if code == _NOT_YET_VALID:
        return f"its TLS certificate is not valid yet; is this machine's clock right? It says {clock} UTC"
    if code in _OTHER_NAME:
        return "its TLS certificate is for another name; check the URL (or something in between answers in its place)"
    if code in (_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN):
        return f"its TLS certificate is self-signed: {_INTERCEPTED}"
    if code in _UNKNOWN_AUTHORITY:
        return f"its TLS certificate is from an unknown authority: {_INTERCEPTED}"
    if code == _REVOKED:
        return "its TLS certificate was revoked; do not use it"
    return f"its TLS certificate is not trusted ({exc.verify_message}); set network.ca_file if it should be"


def _fallback_ca_file() -> str | None:
    """Return a file of authorities where the system has none of its own: python.org's macOS builds, bare containers."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(os.scandir(paths.capath))):
        return None
    return certifi.where()
