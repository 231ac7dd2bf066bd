"""Proxies: real ones lead to the exchange, bad ones are named in one line, and nothing else has a say."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptofeed_cli.clock import SECOND, SystemClock
from cryptofeed_cli.errors import ConfigurationError, DialFailed
from cryptofeed_cli.network import Dialer, Route
from cryptofeed_cli.network.proxy import parse_proxy
from cryptofeed_cli.rest import Rest
from tests.fills import fills, gaps, stored
from tests.okx_server import OkxServer
from tests.processes import Recording, environment, wait_until
from tests.proxies import Answer, MoodyProxy, RealProxy, drip, hang_up, say, stall

TIME = "/api/v5/public/time"
USER, PASSWORD = "jane", "p@ss:w/ord %41"
HOSTILE = {
    name: value
    for variable, value in (
        ("HTTP_PROXY", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("ALL_PROXY", "socks5://127.0.0.1:1"), ("NO_PROXY", "*"),
    )
    for name in (variable, variable.lower())
}  # fmt: skip


def dialer_through(url: str) -> Dialer:
    return Dialer(Route(proxy=parse_proxy(url, "test")))


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that name a dead proxy, and let everything go around it."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def moody() -> Iterator[MoodyProxy]:
    """A proxy that leads nowhere."""
    with MoodyProxy() as proxy:
        yield proxy


@pytest.mark.usefixtures("hostile_environment")
@pytest.mark.parametrize("scheme", ["http", "socks4", "socks5", "socks5h"])
def test_every_kind_of_proxy_leads_to_the_exchange(scheme: str) -> None:
    with RealProxy() as proxy, OkxServer() as server:
        rest = Rest(server.rest_url, dialer_through(proxy.url(scheme)), clock=SystemClock(), timeout=30 * SECOND)
        assert rest.get(TIME).status == 200
        rest.close()
        wait_until(lambda: f"-> 127.0.0.1:{server.port}" in proxy.said, "the connection in the proxy's log")


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_user_and_password_are_percent_decoded(scheme: str) -> None:
    with RealProxy((USER, PASSWORD)) as proxy, OkxServer() as server:
        rest = Rest(server.rest_url, dialer_through(proxy.url(scheme)), clock=SystemClock(), timeout=30 * SECOND)
        assert rest.get(TIME).status == 200
        rest.close()


def test_a_name_goes_unresolved_to_a_proxy_that_resolves_names(moody: MoodyProxy) -> None:
    asked: list[bytes] = []

    def note(client: socket.socket) -> None:
        asked.append(client.recv(4096))
        if asked[-1][:1] == b"\x05" and len(asked) == 1:
            client.sendall(b"\x05\x00")
            asked[-1] = client.recv(4096)

    moody.answer = note
    for scheme in ("socks5h", "socks4a", "http"):
        asked.clear()
        with pytest.raises(DialFailed, match="closed the connection"):
            dialer_through(f"{scheme}://127.0.0.1:{moody.port}").connect("no-such-host.invalid", 443, timeout=30)
        assert b"no-such-host.invalid" in asked[0]


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_a_proxy_that_resolves_no_names_is_told_addresses(moody: MoodyProxy, scheme: str) -> None:
    moody.answer = say(b"")
    with pytest.raises(DialFailed, match=r"cannot connect to no-such-host\.invalid:443: the name does not resolve"):
        dialer_through(f"{scheme}://127.0.0.1:{moody.port}").connect("no-such-host.invalid", 443, timeout=30)
    assert moody.visits == 0


HTML = b"<html><body>Please log in, jane</body></html>"
AUTHENTICATED = say(b"\x01\x01", first=b"\x05\x02")


@pytest.mark.parametrize(
    ("scheme", "answer", "line"),
    [
        ("http", say(b"HTTP/1.1 407 No\r\n\r\n"), "{} refuses this user and password; correct them in its URL"),
        ("http", say(b"HTTP/1.1 403 jane\r\n\r\n"), "{} does not connect to ws.example:443 (HTTP 403 forbidden)"),
        ("http", say(b"HTTP/1.1 502 \r\n\r\n"), "{} does not connect to ws.example:443 (HTTP 502 bad gateway)"),
        ("http", say(b"HTTP/1.1 799 \x1b[2J\r\n\r\n"), "{} does not connect to ws.example:443 (HTTP 799)"),
        (
            "http",
            say(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML),
            "{} answers with a web page instead of a connection (a login page?)",
        ),
        ("http", say(HTML), "{} answers something that is no HTTP"),
        ("http", say(b"HTTP/1.1 twohundred\r\n\r\n"), "{} answers something that is no HTTP"),
        ("http", say(b"HTTP/1.1 200" + b" " * 20_000), "{} answers something that is no HTTP"),
        ("http", say(b"HTTP/1.1 200 OK\r\n"), "{} does not answer"),
        ("http", say(b""), "{} does not answer"),
        ("http", stall, "{} does not answer"),
        ("http", drip(b"HTTP/1.1 200 "), "{} does not answer"),
        ("http", hang_up, "{} closed the connection"),
        ("socks5h", say(b"\x05\xff"), "{} refuses this user and password; correct them in its URL"),
        ("socks5h", AUTHENTICATED, "{} refuses this user and password; correct them in its URL"),
        (
            "socks5h",
            say(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00", first=b"\x05\x00"),
            "{} could not connect to ws.example:443 (connection refused)",
        ),
        ("socks5h", say(HTML), "{} answers something that is no SOCKS5"),
        ("socks5h", stall, "{} does not answer"),
        ("socks5h", drip(b"\x05\x00\x05\x00\x00\x03\xff"), "{} does not answer"),
        ("socks5h", hang_up, "{} closed the connection"),
    ],
)  # fmt: skip
def test_a_proxy_that_misbehaves_is_named_in_one_line(
    moody: MoodyProxy, scheme: str, answer: Answer, line: str
) -> None:
    moody.answer = answer
    begun = time.monotonic()
    with pytest.raises(DialFailed) as failure:
        dialer_through(f"{scheme}://jane:hunter2@127.0.0.1:{moody.port}").connect("ws.example", 443, timeout=1.5)

    shown = line.format(f"the proxy {scheme}://127.0.0.1:{moody.port}")
    assert str(failure.value).startswith(f"cannot connect to ws.example:443: {shown}")
    assert failure.value.transient
    assert "hunter2" not in repr(failure.value)
    assert time.monotonic() - begun < 20


def test_a_header_that_comes_late_is_no_part_of_the_connection(moody: MoodyProxy) -> None:
    def answer(client: socket.socket) -> None:
        client.recv(4096)
        for part in (b"HTTP/1.1 200 OK\r\n", b"Via: somebody\r\n\r\n", b"tunnelled"):
            client.sendall(part)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.recv(1)

    moody.answer = answer
    with dialer_through(f"http://127.0.0.1:{moody.port}").connect("ws.example", 443, timeout=30) as sock:
        assert sock.recv(9, socket.MSG_WAITALL) == b"tunnelled"


def test_a_proxy_that_is_not_there_is_tried_and_never_passed_by() -> None:
    with OkxServer() as server, OkxServer() as absent:
        absent.refuse_connections()
        for scheme in ("http", "socks4", "socks5", "socks5h"):
            with pytest.raises(DialFailed, match=rf"the proxy {scheme}://127.0.0.1:\d+ cannot be reached: .*refused"):
                dialer_through(f"{scheme}://127.0.0.1:{absent.port}").connect("127.0.0.1", server.port, timeout=30)
        assert [seen.kind for seen in server.seen] == ["listening"]


def test_a_proxy_that_refused_our_password_is_left_alone_for_a_while(moody: MoodyProxy) -> None:
    class Clock(SystemClock):
        ahead = 0

        def monotonic(self) -> int:  # type: ignore[override]
            return time.monotonic_ns() + self.ahead

    clock = Clock()
    moody.answer = say(b"HTTP/1.1 407 No\r\n\r\n")
    dialer = Dialer(Route(proxy=parse_proxy(f"http://a:b@127.0.0.1:{moody.port}", "test")), clock=clock, respite=SECOND)
    reasons = set()
    for _ in range(5):
        with pytest.raises(DialFailed) as failure:
            dialer.connect("ws.example", 443, timeout=30)
        reasons.add(str(failure.value))
    assert moody.visits == 1
    assert len(reasons) == 1

    clock.ahead = SECOND
    with pytest.raises(DialFailed):
        dialer.connect("ws.example", 443, timeout=30)
    assert moody.visits == 2


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("https://h:1", "test: network.proxy = https://h:1: TLS to the proxy itself is not supported; write http://"),
        ("ftp://h:1", "test: network.proxy = ftp://h:1: must be a URL such as socks5h://127.0.0.1:1080 (http, "),
        ("socks5://u@h", "test: network.proxy = socks5://u@h: socks5 takes a user and a password, or neither"),
        ("socks4://u:pw@h", "test: network.proxy = socks4://u:***@h: socks4 knows no passwords; use socks5h"),
        (f"socks5h://u:{'x' * 128}@h", "test: network.proxy = socks5h://u:***@h: user and password take 127 bytes"),
        ("http://u:%ff@h", "test: network.proxy = http://u:***@h: is not a URL such as"),
        ("http://h:99999", "test: network.proxy = http://h:99999: is not a URL such as"),
        ("http://h/path", "test: network.proxy = http://h/path: must be a URL such as"),
    ],
)
def test_a_url_that_names_no_proxy_is_refused(url: str, line: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        parse_proxy(url, "test")
    assert str(failure.value).startswith(line)
    assert failure.value.exit_code == 2


def test_a_proxy_shows_no_password() -> None:
    proxy = parse_proxy("socks5h://jane:hunter2@[::1]:1080", "test")
    assert (str(proxy), repr(proxy)) == ("socks5h://[::1]:1080", "socks5h://[::1]:1080")
    assert (proxy.user, proxy.password) == ("jane", "hunter2")


# A recording through a proxy


def test_a_recording_takes_the_proxy_for_everything_whatever_the_environment_says(tmp_path: Path) -> None:
    with RealProxy((USER, PASSWORD)) as proxy, OkxServer() as server:
        env = environment(tmp_path, server, **HOSTILE)
        with Recording(["BTC-USDT", "--proxy", proxy.url("socks5h")], env, tmp_path) as recording:
            server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT")
            server.push(*fills(1, 3))
            wait_until(lambda: stored(tmp_path) == 3, "three trades in the store")
            server.wait_for("fetch")
            assert recording.stop() == 0
        made = [seen.kind for seen in server.seen if seen.kind in ("connect", "fetch")]
        assert {"connect", "fetch"} == set(made)
        assert proxy.said.count(f"-> 127.0.0.1:{server.port}") >= len(made)
    way = f"OKX is reached through the proxy socks5h://127.0.0.1:{proxy.port} (--proxy)"
    assert recording.said.count(f"{way}; names are resolved by the proxy\n") == 1


@pytest.mark.parametrize("trouble", ["dies", "stalls", "refuses", "answers HTML"])
def test_trades_are_complete_after_a_proxy_in_trouble(tmp_path: Path, trouble: str) -> None:
    answers: dict[str, tuple[Answer, str]] = {
        "dies": (hang_up, "closed the connection"),
        "stalls": (stall, "does not answer"),
        "refuses": (say(b"HTTP/1.1 407 No\r\n\r\n"), "refuses this user and password"),
        "answers HTML": (say(HTML), "answers something that is no HTTP"),
    }
    with RealProxy() as real, MoodyProxy(real.port) as moody, OkxServer() as server:
        env = environment(
            tmp_path, server, **HOSTILE, CRYPTOFEED_NETWORK_PROXY=f"http://jane:hunter2@127.0.0.1:{moody.port}",
            CRYPTOFEED_NETWORK_CONNECT_TIMEOUT="2s", CRYPTOFEED_OKX_PING_INTERVAL="1s",
            CRYPTOFEED_NETWORK_RETRY_MAX="1s",
        )  # fmt: skip
        with Recording(["BTC-USDT", "--channels", "trades"], env, tmp_path) as recording:
            server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT")
            server.push(*fills(1, 3))
            wait_until(lambda: stored(tmp_path) == 3, "three trades in the store")
            seen = len(server.seen)
            moody.answer, words = answers[trouble]
            before = moody.visits
            (moody.freeze if trouble == "stalls" else moody.hang_up)()
            recording.wait_for_line("lost OKX business")
            server.push(*fills(4, 5))
            recording.wait_for_line(words)
            wait_until(lambda: moody.visits > before + 1, "another try")
            moody.answer = None
            server.wait_for("subscribe", channel="trades-all", symbol="BTC-USDT", since=seen)
            server.push(*fills(9, 2))
            wait_until(lambda: stored(tmp_path) == 10, "every trade in the store")
            assert recording.stop() == 0
    # The last trade that was missed is told again at the subscription.
    (gap,) = gaps(tmp_path)
    assert (gap["kind"], gap["fault"], gap["status"], gap["missing"]) == ("disconnect", "network", "filled", 4)
    told = [line for line in recording.said.splitlines() if "OKX business: " in line]
    assert len(told) == 2, told
    assert words in told[1]
