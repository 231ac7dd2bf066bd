from __future__ import annotations

import contextlib
import socket
import ssl
import time
from pathlib import Path

import pytest

from cryptofeed_cli.errors import ConfigurationError, DialFailed, ExchangeError
from cryptofeed_cli.network import Dialer, Route, explain
from cryptofeed_cli.network.names import NameServer as Chosen
from tests.certificates import make_certificate
from tests.name_server import NameServer
from tests.okx_server import OkxServer


def test_a_dialed_socket_sends_at_once_and_is_kept_alive() -> None:
    with OkxServer() as server, Dialer().connect("127.0.0.1", server.port, timeout=30) as sock:
        assert sock.getpeername() == ("127.0.0.1", server.port)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.gettimeout() == 30


def test_a_refused_connection_says_where_and_why_and_may_be_tried_again() -> None:
    with OkxServer() as server:
        server.refuse_connections()
        with pytest.raises(DialFailed) as failure:
            Dialer().connect("127.0.0.1", server.port, timeout=30)
    assert str(failure.value) == f"cannot connect to 127.0.0.1:{server.port}: connection refused"
    assert failure.value.transient
    assert isinstance(failure.value, ExchangeError)


def test_a_host_name_that_cannot_be_one_is_a_failed_dial() -> None:
    with pytest.raises(DialFailed, match="the name does not resolve"):
        Dialer().connect("a" * 64 + ".example", 443, timeout=30)


def test_a_handshake_that_never_comes_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dialer = Dialer()
        sock = dialer.connect(*silent.getsockname(), timeout=0.2)
        with pytest.raises(DialFailed, match=r"127\.0\.0\.1: timed out"):
            dialer.tls(sock, "127.0.0.1")
    assert sock.fileno() == -1


def test_a_certificate_of_the_ca_file_is_trusted_for_its_own_name(tmp_path: Path) -> None:
    certificate, context = make_certificate(tmp_path)
    dialer = Dialer(ca_file=str(certificate))
    with OkxServer(tls=context) as server:
        with dialer.tls(dialer.connect("127.0.0.1", server.port, timeout=30), "127.0.0.1") as sock:
            assert sock.version() is not None
        with pytest.raises(DialFailed, match="its TLS certificate is for another name; check the URL"):
            dialer.tls(dialer.connect("127.0.0.1", server.port, timeout=30), "other.example")


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    _, context = make_certificate(tmp_path)
    dialer = Dialer()
    with OkxServer(tls=context) as server, pytest.raises(DialFailed, match=r"self-signed: a proxy .* network\.ca_file"):
        dialer.tls(dialer.connect("127.0.0.1", server.port, timeout=30), "127.0.0.1")


@pytest.mark.parametrize("content", [None, b"no certificate\n"])
def test_a_ca_file_that_cannot_be_used_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"network.ca_file = {path}: must be a file of certificates \(.+\)"):
        Dialer(ca_file=str(path))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the name does not resolve"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset"),
        (BrokenPipeError(32, "Broken pipe"), "connection reset"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (OSError(113, "No route to host"), "no route to host"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS failed"),
        (ConnectionAbortedError("no pong within 15s"), "no pong within 15s"),
        (DialFailed("ws.example:443", "timed out"), "cannot connect to ws.example:443: timed out"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_every_failure_has_a_few_words(error: BaseException, words: str) -> None:
    assert explain(error).startswith(words)
    assert "\n" not in explain(error)


def test_ipv6_is_reached_by_address_and_by_name() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as exc:
        pytest.skip(f"this machine has no IPv6: {exc}")
    with listener, NameServer({"six.okx.test": ["127.0.0.2", "::1"]}) as server:
        port = listener.getsockname()[1]
        by_name = Dialer(Route(servers=(Chosen("127.0.0.1", server.port),)))
        for dialer, host in ((Dialer(), "::1"), (by_name, "six.okx.test")):
            with dialer.connect(host, port, timeout=30) as sock:
                assert sock.getpeername()[:2] == ("::1", port)


def test_all_addresses_share_one_time_limit() -> None:
    """None of them answers: a full backlog drops what comes."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(8):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        names = waiting.enter_context(NameServer({"slow.okx.test": ["127.0.0.1", "127.0.0.1", "127.0.0.1"]}))
        dialer = Dialer(Route(servers=(Chosen("127.0.0.1", names.port),)))
        begun = time.monotonic()
        with pytest.raises(DialFailed, match="timed out"):
            dialer.connect("slow.okx.test", port, timeout=0.6)
    assert time.monotonic() - begun < 20
