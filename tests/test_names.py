"""Names: by the system within a bounded time, or by name servers of our own choice; a real one answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from cryptofeed_cli.errors import DialFailed
from cryptofeed_cli.network import Dialer, Route
from cryptofeed_cli.network.names import NameServer as Chosen
from tests.name_server import NameServer


@pytest.fixture
def server() -> Iterator[NameServer]:
    """A name server that knows two hosts."""
    with NameServer({"ws.okx.test": ["127.0.0.1", "::1"], "six.okx.test": ["::1"], "none.okx.test": []}) as server:
        yield server


def dialer(*servers: NameServer) -> Dialer:
    return Dialer(Route(servers=tuple(Chosen("127.0.0.1", one.port) for one in servers)))


def refusal(dialer: Dialer, host: str, timeout: float = 30) -> str:
    with pytest.raises(DialFailed) as failure:
        dialer.resolve(host, timeout=timeout)
    return str(failure.value)


def test_a_name_server_of_our_choice_tells_both_kinds_of_addresses(server: NameServer) -> None:
    assert dialer(server).resolve("ws.okx.test", timeout=30) == ["127.0.0.1", "::1"]
    assert server.asked == [("ws.okx.test", "A"), ("ws.okx.test", "AAAA")]
    assert dialer(server).resolve("six.okx.test", timeout=30) == ["::1"]


def test_the_second_address_is_tried_where_the_first_does_not_answer(server: NameServer) -> None:
    server.names = {"ws.okx.test": ["127.0.0.2", "127.0.0.1"]}
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        dialer(server).connect("ws.okx.test", listener.getsockname()[1], timeout=30) as sock,
    ):
        assert sock.getpeername()[0] == "127.0.0.1"


def test_an_address_is_asked_of_nobody(server: NameServer) -> None:
    assert dialer(server).resolve("127.0.0.1", timeout=30) == ["127.0.0.1"]
    assert dialer(server).resolve("::1", timeout=30) == ["::1"]
    assert server.asked == []


def test_a_truncated_answer_is_had_over_tcp(server: NameServer) -> None:
    server.truncating = True
    assert dialer(server).resolve("ws.okx.test", timeout=30) == ["127.0.0.1", "::1"]


def test_a_name_server_that_does_not_answer_is_followed_by_the_next(server: NameServer) -> None:
    with NameServer({}) as broken:
        broken.code = 2  # SERVFAIL
        assert dialer(broken, server).resolve("ws.okx.test", timeout=30) == ["127.0.0.1", "::1"]
        broken.code, broken.silent = None, True
        assert dialer(broken, server).resolve("ws.okx.test", timeout=60) == ["127.0.0.1", "::1"]


def test_a_name_that_does_not_exist_is_the_end_of_it(server: NameServer) -> None:
    with NameServer({"other.okx.test": ["127.0.0.1"]}) as second:
        shown = f"name server 127.0.0.1:{server.port}, 127.0.0.1:{second.port}"
        line = f"cannot connect to other.okx.test: the name does not exist, says {shown}"
        assert refusal(dialer(server, second), "other.okx.test") == line
        assert second.asked == []
    assert "the name has no address, says" in refusal(dialer(server), "none.okx.test")


def test_a_name_server_that_says_no_or_nothing_is_named_within_the_time_limit(server: NameServer) -> None:
    server.code = 5
    shown = f"name server 127.0.0.1:{server.port}"
    line = f"cannot connect to ws.okx.test: {shown} does not resolve the name (127.0.0.1:{server.port} answers refused)"
    assert refusal(dialer(server), "ws.okx.test") == line

    server.silent = True
    begun = time.monotonic()
    line = f"cannot connect to ws.okx.test: {shown} does not resolve the name (no answer)"
    assert refusal(dialer(server), "ws.okx.test", timeout=0.3) == line
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "\udc80.example"])
def test_what_cannot_be_a_name_is_a_failed_dial(server: NameServer, host: str) -> None:
    assert "the name does not resolve" in refusal(dialer(server), host)


def test_the_system_is_not_waited_for_beyond_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, asked = threading.Event(), []

    def slow(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        answered.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.9", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    dialer = Dialer()
    for _ in range(3):
        assert "the system does not resolve the name in time" in refusal(dialer, "ws.okx.test", timeout=0.1)
    assert asked == ["ws.okx.test"], "one question is under way at a time"
    answered.set()
    assert dialer.resolve("ws.okx.test", timeout=60) == ["127.0.0.9"]
