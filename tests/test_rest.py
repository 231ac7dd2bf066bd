from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from cryptofeed_cli import __version__
from cryptofeed_cli.clock import SECOND, SystemClock
from cryptofeed_cli.errors import DialFailed, RequestFailed, UsageError
from cryptofeed_cli.network import Dialer
from cryptofeed_cli.rest import Rest, get_from_any
from tests.certificates import make_certificate
from tests.okx_server import OkxServer

TIME = "/api/v5/public/time"


def rest_at(
    url: str, *, dialer: Dialer | None = None, timeout: int = 5 * SECOND, max_body_bytes: int = 1 << 20
) -> Rest:
    return Rest(url, dialer or Dialer(), clock=SystemClock(), timeout=timeout, max_body_bytes=max_body_bytes)


def test_an_answer_comes_with_status_body_and_headers() -> None:
    with OkxServer(announced="simulated") as server:
        rest = rest_at(server.rest_url)
        answer = rest.get("/api/v5/public/instruments?instType=SPOT")
        rest.close()
    assert answer.status == 200
    assert [row["instId"] for row in json.loads(answer.body)["data"]] == ["BTC-USDT", "ETH-USDT"]
    assert answer.headers.get("x-cryptofeed-source") == "simulated"


def test_an_error_status_is_an_answer_and_is_not_asked_again() -> None:
    with OkxServer() as server:
        server.answer_rest(TIME, 503, b"busy")
        rest = rest_at(server.rest_url)
        answer = rest.get(TIME)
        rest.close()
        assert (answer.status, answer.body) == (503, b"busy")
        assert len(server.wait_for("fetch")) == 1


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with OkxServer() as server:
        rest = rest_at(server.rest_url)
        assert rest.get(TIME).status == 200
        rest.close()


def test_we_say_who_we_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        requests: list[bytes] = []

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                requests.append(client.recv(4096))
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        rest = rest_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        rest.get("/")
        rest.close()
        thread.join(5)
    assert f"User-Agent: cryptofeed-cli/{__version__}\r\n".encode() in requests[0]


def test_a_redirect_is_not_followed() -> None:
    with OkxServer() as elsewhere, socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                location = f"Location: {elsewhere.rest_url}{TIME}\r\n".encode()
                client.sendall(b"HTTP/1.1 302 Found\r\n" + location + b"Content-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        rest = rest_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert rest.get(TIME).status == 302
        rest.close()
        thread.join(5)
        assert [seen.kind for seen in elsewhere.seen] == ["listening"]


def test_a_redirect_that_nobody_can_understand_is_a_failed_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        rest = rest_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(RequestFailed, match="brought no answer"):
            rest.get(TIME)
        rest.close()
        thread.join(60)


def test_https_is_verified(tmp_path: Path) -> None:
    certificate, context = make_certificate(tmp_path)
    with OkxServer(tls=context) as server:
        trusting, doubting = rest_at(server.rest_url, dialer=Dialer(ca_file=str(certificate))), rest_at(server.rest_url)
        assert trusting.get(TIME).status == 200
        with pytest.raises(DialFailed, match="self-signed"):
            doubting.get(TIME)
        trusting.close()
        doubting.close()


def test_a_refused_connection_is_a_failed_dial() -> None:
    with OkxServer() as server:
        server.refuse_connections()
        with pytest.raises(DialFailed, match="connection refused"):
            rest_at(server.rest_url).get(TIME)


def test_a_body_above_the_bound_is_refused() -> None:
    with OkxServer() as server:
        server.answer_rest(TIME, 200, b"x" * 2001)
        rest = rest_at(server.rest_url, max_body_bytes=2000)
        with pytest.raises(RequestFailed, match="its body is longer than 2000 bytes"):
            rest.get(TIME)
        rest.close()


def test_an_answer_that_does_not_come_in_time_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rest = rest_at(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=SECOND // 5)
        with pytest.raises(RequestFailed, match=r"http://127.0.0.1:\d+/x brought no answer: timed out"):
            rest.get("/x")
        rest.close()


def test_closing_ends_a_request_that_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rest = rest_at(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=60 * SECOND)
        failures = []

        def ask() -> None:
            with pytest.raises(RequestFailed) as failure:
                rest.get("/x")
            failures.append(failure.value)

        thread = threading.Thread(target=ask)
        thread.start()
        client, _ = silent.accept()
        with client:
            client.recv(4096)
            begun = time.monotonic()
            rest.close()
            thread.join(10)
            assert time.monotonic() - begun < 5
    assert len(failures) == 1


def test_closing_while_a_connection_is_made_ends_the_request_too() -> None:
    class Closing(Dialer):
        def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
            sock = super().connect(host, port, timeout=timeout)
            rest.close()
            return sock

    with socket.create_server(("127.0.0.1", 0)) as silent:
        rest = rest_at(f"http://127.0.0.1:{silent.getsockname()[1]}", dialer=Closing(), timeout=60 * SECOND)
        with pytest.raises(DialFailed, match="closed"):
            rest.get("/x")


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"'www\.okx\.com' is not a REST address"):
        rest_at("www.okx.com")


@pytest.mark.parametrize("trouble", ["refuses connections", "answers 503", "answers 403"])
def test_equal_interfaces_are_asked_in_turn_until_one_answers(trouble: str) -> None:
    with OkxServer() as bad, OkxServer() as good:
        if trouble == "refuses connections":
            bad.refuse_connections()
        else:
            bad.answer_rest(TIME, int(trouble.split()[1]), b"no")
        rests = [rest_at(bad.rest_url), rest_at(good.rest_url)]
        assert get_from_any(rests, TIME).status == 200
        good.answer_rest(TIME, 503, b"last")
        assert get_from_any(rests, TIME).body == b"last"
        for rest in rests:
            rest.close()


def test_an_answer_to_the_question_is_asked_of_nobody_else() -> None:
    with OkxServer() as first, OkxServer() as second:
        first.answer_rest(TIME, 429, b"slower")
        rests = [rest_at(first.rest_url), rest_at(second.rest_url)]
        assert get_from_any(rests, TIME).status == 429
        assert "fetch" not in [seen.kind for seen in second.seen]
        for rest in rests:
            rest.close()
