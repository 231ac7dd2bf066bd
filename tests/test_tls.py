"""TLS is always verified, and what is wrong with a certificate is said with its cure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cryptofeed_cli.clock import SECOND, SystemClock
from cryptofeed_cli.errors import DialFailed
from cryptofeed_cli.network import Dialer, Route
from cryptofeed_cli.network.proxy import parse_proxy
from cryptofeed_cli.rest import Rest
from tests.certificates import Authority, make_certificate
from tests.okx_server import OkxServer
from tests.proxies import MoodyProxy, RealProxy, hang_up, say

TIME = "/api/v5/public/time"
DAY = timedelta(days=1)
INTERCEPTED = "a proxy or firewall that opens TLS? then set network.ca_file to its authority, or take another route"


def dial(server: OkxServer, dialer: Dialer) -> None:
    dialer.tls(dialer.connect("127.0.0.1", server.port, timeout=30), "127.0.0.1").close()


def refusal(server: OkxServer, dialer: Dialer) -> str:
    with pytest.raises(DialFailed) as failure:
        dial(server, dialer)
    return str(failure.value)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A private authority, trusted by `trusting`."""
    return Authority(tmp_path)


@pytest.fixture
def trusting(authority: Authority) -> Dialer:
    """A dialer that trusts the private authority and no other."""
    return Dialer(ca_file=str(authority.certificate))


def test_a_certificate_of_the_private_authority_is_trusted(authority: Authority, trusting: Dialer) -> None:
    with OkxServer(tls=authority.issue()) as server:
        dial(server, trusting)


@pytest.mark.parametrize(
    ("issue", "words"),
    [
        (
            lambda authority: authority.issue(valid_from=-2 * DAY, valid_for=DAY),
            "its TLS certificate has expired; is this machine's clock right? It says 20",
        ),
        (
            lambda authority: authority.issue(valid_from=DAY),
            "its TLS certificate is not valid yet; is this machine's clock right? It says 20",
        ),
        (
            lambda authority: authority.issue("DNS:ws.example"),
            "its TLS certificate is for another name; check the URL (or something in between answers in its place)",
        ),
    ],
    ids=["expired", "not yet valid", "another name"],
)
def test_what_is_wrong_with_a_certificate_is_said_with_its_cure(
    authority: Authority, trusting: Dialer, issue: Callable[[Authority], object], words: str
) -> None:
    with OkxServer(tls=issue(authority)) as server:  # type: ignore[arg-type]
        assert refusal(server, trusting).startswith(f"cannot connect to 127.0.0.1: {words}")


def test_an_unknown_authority_may_be_an_interceptor(authority: Authority) -> None:
    with OkxServer(tls=authority.issue()) as server:
        line = f"cannot connect to 127.0.0.1: its TLS certificate is from an unknown authority: {INTERCEPTED}"
        assert refusal(server, Dialer()) == line


def test_a_self_signed_certificate_may_be_an_interceptors(tmp_path: Path) -> None:
    with OkxServer(tls=make_certificate(tmp_path)[1]) as server:
        line = f"cannot connect to 127.0.0.1: its TLS certificate is self-signed: {INTERCEPTED}"
        assert refusal(server, Dialer()) == line


def test_a_server_that_speaks_no_tls_is_told_so() -> None:
    with MoodyProxy() as page:
        page.answer = say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        dialer = Dialer()
        with pytest.raises(DialFailed, match="it answers something that is no TLS"):
            dialer.tls(dialer.connect("127.0.0.1", page.port, timeout=30), "127.0.0.1")


def test_a_connection_that_ends_in_the_handshake_is_told_so() -> None:
    with MoodyProxy() as wall:
        wall.answer = hang_up
        dialer = Dialer()
        with pytest.raises(DialFailed, match=r"the connection was closed|during the TLS handshake"):
            dialer.tls(dialer.connect("127.0.0.1", wall.port, timeout=30), "127.0.0.1")


@pytest.mark.parametrize("scheme", ["http", "socks4", "socks5", "socks5h"])
def test_tls_goes_through_a_proxy_unopened(authority: Authority, scheme: str) -> None:
    with RealProxy() as proxy, OkxServer(tls=authority.issue()) as server:
        route = Route(proxy=parse_proxy(proxy.url(scheme), "test"))
        dialer = Dialer(route, ca_file=str(authority.certificate))
        rest = Rest(server.rest_url, dialer, clock=SystemClock(), timeout=30 * SECOND)
        assert rest.get(TIME).status == 200
        rest.close()
