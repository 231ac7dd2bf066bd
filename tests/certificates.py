"""Certificates for servers on loopback, made on the spot by the openssl program; without it the test is skipped."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
_AUTHORITY = """
[ca]
default_ca = authority
[authority]
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def make_certificate(directory: Path, name: str = "IP:127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """Return a self-signed certificate for ``name``, and what a server needs to show it."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subject = ["-subj", "/CN=cryptofeed tests", "-addext", f"subjectAltName={name}"]
    _openssl("req", "-x509", *_KEY, "-days", "2", *files, *subject)
    return certificate, _server_context(certificate, key)


class Authority:
    """A private certificate authority."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate, self._key = directory / "authority.pem", directory / "authority.key"
        (directory / "index.txt").touch()
        (directory / "authority.conf").write_text(_AUTHORITY.format(directory=directory))
        files = ["-keyout", str(self._key), "-out", str(self.certificate)]
        _openssl("req", "-x509", *_KEY, "-days", "2", *files, "-subj", "/CN=cryptofeed tests authority")

    def issue(
        self,
        name: str = "IP:127.0.0.1",
        *,
        valid_from: timedelta = timedelta(),
        valid_for: timedelta = timedelta(days=2),
    ) -> ssl.SSLContext:
        """Return what a server needs to show a certificate for ``name``, valid from so long after now."""
        key, request, certificate = (self._directory / f"server.{suffix}" for suffix in ("key", "csr", "pem"))
        files = ["-keyout", str(key), "-out", str(request)]
        _openssl("req", *_KEY, *files, "-subj", "/CN=server", "-addext", f"subjectAltName={name}")
        start = datetime.now(UTC) + valid_from
        times = [f"{moment:%Y%m%d%H%M%SZ}" for moment in (start, start + valid_for)]
        _openssl(
            "ca", "-batch", "-notext", "-config", str(self._directory / "authority.conf"),
            "-cert", str(self.certificate), "-keyfile", str(self._key), "-in", str(request), "-out", str(certificate),
            "-startdate", times[0], "-enddate", times[1],
        )  # fmt: skip
        return _server_context(certificate, key)


def _openssl(*arguments: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate to test with")
    subprocess.run([openssl, *arguments], check=True, capture_output=True, timeout=60)


def _server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
