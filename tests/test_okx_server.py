from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import requests
from websockets import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.captures import SYMBOLS as CAPTURED
from tests.captures import capture_market, capture_tape, received_frames
from tests.okx_market import Push, Row
from tests.okx_server import OkxServer

TRADE = {"instId": "BTC-USDT", "px": "100.5", "sz": "0.1", "side": "buy", "ts": "1795000000000"}


@pytest.fixture
def server() -> Iterator[OkxServer]:
    with OkxServer() as server:
        yield server


def dial(url: str) -> ClientConnection:
    return connect(url, compression=None, ping_interval=None, close_timeout=1)


def ask(client: ClientConnection, *topics: tuple[str, str], op: str = "subscribe", request_id: str = "r1") -> None:
    args = [{"channel": channel, "instId": symbol} for channel, symbol in topics]
    client.send(json.dumps({"id": request_id, "op": op, "args": args}))


def read(client: ClientConnection, count: int) -> list[Any]:
    return [json.loads(client.recv(timeout=30)) for _ in range(count)]


def nothing_comes(client: ClientConnection) -> bool:
    """A pong overtakes nothing: when it comes first, nothing else was sent."""
    client.send("ping")
    return client.recv(timeout=30) == "pong"


def trade(identity: int) -> Push:
    return Push(0.0, "trades", "BTC-USDT", {**TRADE, "tradeId": str(identity)})


def book(sequence: int, previous: int, bids: list[list[str]], asks: list[list[str]]) -> Push:
    row: Row = {"asks": asks, "bids": bids, "ts": "1795000000000", "prevSeqId": previous, "seqId": sequence}
    return Push(0.0, "books", "BTC-USDT", row, "snapshot" if previous == -1 else "update")


def test_every_topic_has_its_own_acknowledgement_with_the_request_id(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        ask(client, ("books", "BTC-USDT"), ("tickers", "ETH-USDT"), request_id="a17")
        answers = read(client, 2)
    assert [answer["arg"] for answer in answers] == [
        {"channel": "books", "instId": "BTC-USDT"},
        {"channel": "tickers", "instId": "ETH-USDT"},
    ]
    assert {(answer["event"], answer["id"]) for answer in answers} == {("subscribe", "a17")}
    assert all(answer["connId"] for answer in answers)


@pytest.mark.parametrize("topic", [("trades-all", "BTC-USDT"), ("tickers", "NO-SUCH"), ("nonsense", "BTC-USDT")])
def test_what_a_socket_does_not_serve_is_refused_and_the_rest_goes_on(
    server: OkxServer, topic: tuple[str, str]
) -> None:
    with dial(server.public_url) as client:
        ask(client, topic, ("tickers", "BTC-USDT"))
        refusal, acknowledgement = read(client, 2)
    assert (refusal["event"], refusal["code"], refusal["id"]) == ("error", "60018", "r1")
    assert "arg" not in refusal
    assert f"channel:{topic[0]},instId:{topic[1]} doesn't exist" in refusal["msg"]
    assert acknowledgement["event"] == "subscribe"


@pytest.mark.parametrize("text", ["{", '{"op":"subscribe"}', '{"op":"subscribe","args":["x"]}', "[]"])
def test_a_request_that_is_none_is_error_60012(server: OkxServer, text: str) -> None:
    with dial(server.public_url) as client:
        client.send(text)
        assert read(client, 1)[0]["code"] == "60012"


def test_a_chosen_subscription_is_refused_until_it_is_accepted_again(server: OkxServer) -> None:
    server.refuse("tickers", "BTC-USDT", "64003", "fee tier")
    with dial(server.public_url) as client:
        ask(client, ("tickers", "BTC-USDT"))
        assert read(client, 1)[0]["code"] == "64003"
        server.accept("tickers", "BTC-USDT")
        ask(client, ("tickers", "BTC-USDT"))
        assert read(client, 1)[0]["event"] == "subscribe"


def test_a_request_above_64_kilobytes_closes_the_socket(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        client.send("x" * (64 << 10) + "x")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_text_ping_is_answered_unless_told_otherwise(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        client.send("ping")
        assert client.recv(timeout=30) == "pong"
        server.answer_pings = False
        client.send("ping")
        server.wait_for("ping", count=2)
        server.send(b"next")
        assert client.recv(timeout=30) == "next"


def test_data_goes_to_those_who_asked_for_it(server: OkxServer) -> None:
    with dial(server.business_url) as asking, dial(server.business_url) as other:
        ask(asking, ("trades-all", "BTC-USDT"))
        ask(other, ("trades-all", "ETH-USDT"))
        server.wait_for("subscribe", count=2)
        server.push(trade(7))
        assert read(asking, 2)[1] == {
            "arg": {"channel": "trades-all", "instId": "BTC-USDT"},
            "data": [{**TRADE, "tradeId": "7", "source": "0"}],
        }
        assert read(other, 1)[0]["event"] == "subscribe"
        assert nothing_comes(other)


def test_an_unsubscribed_topic_brings_nothing_more(server: OkxServer) -> None:
    with dial(server.business_url) as client:
        ask(client, ("trades-all", "BTC-USDT"))
        ask(client, ("trades-all", "BTC-USDT"), op="unsubscribe")
        server.wait_for("unsubscribe")
        server.push(trade(7))
        assert [answer["event"] for answer in read(client, 2)] == ["subscribe", "unsubscribe"]
        assert nothing_comes(client)


def test_a_book_begins_with_what_the_chain_has_come_to(server: OkxServer) -> None:
    server.push(book(10, -1, [["99", "1", "0", "1"], ["98", "2", "0", "1"]], [["101", "1", "0", "1"]]))
    server.push(book(17, 10, [["99", "0", "0", "0"], ["98.5", "3", "0", "2"]], []))
    with dial(server.public_url) as client:
        ask(client, ("books", "BTC-USDT"))
        snapshot = read(client, 2)[1]
    assert snapshot["action"] == "snapshot"
    row = snapshot["data"][0]
    assert (row["prevSeqId"], row["seqId"]) == (-1, 17)
    assert row["bids"] == [["98.5", "3", "0", "2"], ["98", "2", "0", "1"]]
    assert row["asks"] == [["101", "1", "0", "1"]]


def test_trades_begin_with_the_most_recent_one(server: OkxServer) -> None:
    server.push(trade(7), trade(8))
    with dial(server.business_url) as client:
        ask(client, ("trades-all", "BTC-USDT"))
        assert read(client, 2)[1]["data"][0]["tradeId"] == "8"


def test_what_silence_swallows_is_still_in_rest(server: OkxServer) -> None:
    with dial(server.business_url) as client:
        ask(client, ("trades-all", "BTC-USDT"))
        server.wait_for("subscribe")
        server.silence(channel="trades-all")
        server.push(trade(7))
        server.silence(False, channel="trades-all")
        server.push(trade(8))
        assert read(client, 2)[1]["data"][0]["tradeId"] == "8"
    rows = get(server, "/api/v5/market/trades?instId=BTC-USDT")["data"]
    assert [row["tradeId"] for row in rows] == ["8", "7"]


def test_in_full_silence_not_even_a_ping_is_answered(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        server.silence()
        client.send("ping")
        ask(client, ("tickers", "BTC-USDT"))
        server.wait_for("subscribe")
        server.silence(False)
        assert nothing_comes(client)


def test_a_closed_socket_has_its_code_and_reason(server: OkxServer) -> None:
    with dial(server.public_url) as client, dial(server.business_url) as other:
        server.wait_until(lambda: server.open_sockets() == 2)
        server.close("/ws/v5/public", code=4008, reason="too many channels")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
        assert nothing_comes(other)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4008, "too many channels")


def test_a_dropped_socket_ends_without_a_close_frame(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        server.wait_for("open")
        server.drop()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
    assert closed.value.rcvd is None
    server.wait_for("disconnect")


def test_refused_connections_are_refused_by_tcp_and_taken_again_on_the_same_port(server: OkxServer) -> None:
    with dial(server.public_url) as before:
        server.refuse_connections()
        with pytest.raises(ConnectionRefusedError):
            dial(server.public_url)
        assert nothing_comes(before)
        server.refuse_connections(False)
        with dial(server.public_url) as after:
            assert nothing_comes(after)


def test_an_outage_ends_by_itself(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        server.wait_for("open")
        server.outage(0.2)
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=30)
    server.wait_for("listening", count=2)
    with dial(server.public_url) as client:
        assert nothing_comes(client)


def test_delayed_frames_are_late_and_in_order(server: OkxServer) -> None:
    server.delay(0.2)
    with dial(server.business_url) as client:
        begun = time.monotonic()
        ask(client, ("trades-all", "BTC-USDT"))
        server.wait_for("subscribe")
        server.push(trade(7), trade(8))
        frames = read(client, 3)
    assert time.monotonic() - begun >= 0.2
    assert [frame["data"][0]["tradeId"] for frame in frames[1:]] == ["7", "8"]


def test_a_tape_is_played_at_its_pace(server: OkxServer) -> None:
    begun = time.monotonic()
    server.play([trade(7)._replace(after=30), trade(8)._replace(after=30)], speed=300.0).result(60)
    assert 0.2 <= time.monotonic() - begun < 60


def test_a_socket_on_which_nothing_was_sent_is_closed_with_4004() -> None:
    with OkxServer(idle_timeout=0.2) as server, dial(server.public_url) as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4004


def test_a_client_that_does_not_read_is_closed_with_4005() -> None:
    with OkxServer(write_buffer_bytes=1000) as server, dial(server.public_url) as client:
        server.wait_for("open")
        server.send(b"x" * 1001)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4005


def test_control_pings_are_sent_and_their_pongs_awaited(server: OkxServer) -> None:
    with dial(server.public_url):
        server.wait_for("open")
        server.control_ping()


def test_a_wait_in_vain_fails_and_says_what_was_done_instead(server: OkxServer) -> None:
    with dial(server.public_url) as client:
        client.send("ping")
        server.wait_for("ping")
        with pytest.raises(AssertionError, match="kind='ping'"):
            server.wait_for("subscribe", timeout=0.1)


def get(server: OkxServer, path: str) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(server.rest_url + path, timeout=30).json()


def test_history_is_paged_downwards_from_an_id(server: OkxServer) -> None:
    server.push(*map(trade, range(1, 301)))
    path = "/api/v5/market/history-trades?instId=BTC-USDT"
    pages = [get(server, path), get(server, path + "&after=201"), get(server, path + "&after=11&limit=5")]
    ids = [[int(row["tradeId"]) for row in page["data"]] for page in pages]
    assert ids == [list(range(300, 200, -1)), list(range(200, 100, -1)), [10, 9, 8, 7, 6]]


def test_instruments_are_told_by_type_and_by_name(server: OkxServer) -> None:
    path = "/api/v5/public/instruments?instType="
    assert [row["instId"] for row in get(server, path + "SPOT")["data"]] == ["BTC-USDT", "ETH-USDT"]
    assert [row["instId"] for row in get(server, path + "SWAP&instId=BTC-USDT-SWAP")["data"]] == ["BTC-USDT-SWAP"]
    assert get(server, path + "SPOT&instId=NO-SUCH")["code"] == "51001"


def test_rest_knows_the_time_the_book_the_tickers_and_no_maintenance(server: OkxServer) -> None:
    server.push(book(10, -1, [["99", "1", "0", "1"], ["98", "1", "0", "1"]], [["101", "1", "0", "1"]]))
    server.push(Push(0.0, "tickers", "BTC-USDT", {"instId": "BTC-USDT", "last": "100"}))
    assert abs(int(get(server, "/api/v5/public/time")["data"][0]["ts"]) - time.time() * 1000) < 10_000
    top = get(server, "/api/v5/market/books?instId=BTC-USDT&sz=1")["data"][0]
    assert (top["bids"], top["seqId"]) == ([["99", "1", "0", "1"]], 10)
    assert get(server, "/api/v5/market/tickers?instType=SPOT")["data"] == [{"instId": "BTC-USDT", "last": "100"}]
    assert get(server, "/api/v5/market/tickers?instType=SWAP")["data"] == []
    assert get(server, "/api/v5/system/status") == {"code": "0", "msg": "", "data": []}


def test_a_rest_request_without_a_user_agent_is_forbidden(server: OkxServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        sock.sendall(b"GET /api/v5/public/time HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_a_rest_path_fails_on_request_and_is_healed(server: OkxServer) -> None:
    server.answer_rest("/api/v5/public/time", 429, b'{"code":"50011"}')
    assert get(server, "/api/v5/public/time") == {"code": "50011"}
    server.heal_rest()
    assert get(server, "/api/v5/public/time")["code"] == "0"


def test_our_own_servers_can_be_pretended() -> None:
    with OkxServer(announced="simulated") as server, dial(server.public_url) as client:
        assert client.response is not None
        assert client.response.headers["X-Cryptofeed-Source"] == "simulated"


def test_the_capture_is_played_whole_after_its_topics_are_subscribed() -> None:
    market, tape = capture_market()
    with OkxServer(market) as server, dial(server.public_url) as public, dial(server.business_url) as business:
        ask(public, *((channel, symbol) for channel in ("books", "tickers") for symbol in CAPTURED))
        ask(business, *(("trades-all", symbol) for symbol in CAPTURED))
        server.wait_for("subscribe", count=9)
        server.play(tape).result(10)
        frames = read(public, 6 + 290 + 28) + read(business, 3 + 74)
        assert nothing_comes(public)
        assert nothing_comes(business)
    data = [frame for frame in frames if "data" in frame]
    assert Counter(frame["arg"]["channel"] for frame in data) == {"books": 290, "tickers": 28, "trades-all": 74}
    for symbol in CAPTURED:
        rows = [frame["data"][0] for frame in data if frame["arg"] == {"channel": "books", "instId": symbol}]
        assert rows[0]["prevSeqId"] == -1
        assert all(row["prevSeqId"] == before["seqId"] for before, row in pairwise(rows))


def test_the_tape_is_the_capture_but_for_the_chain_on_its_books() -> None:
    tape, frames = capture_tape(), [frame for _, frame in received_frames() if b'"data"' in frame]
    assert len(tape) == len(frames) == 392
    for push, frame in zip(tape, frames, strict=True):
        row = {key: value for key, value in push.row.items() if key not in ("seqId", "prevSeqId")}
        assert push._replace(row=row).frame() == frame
    assert capture_tape() == tape


def test_by_hand_it_stops_by_itself() -> None:
    command = [sys.executable, "-m", "tests.okx_play", "--seconds", "0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.split()] == ["ws", "ws", "http"]
