from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cryptofeed_cli.clock import MILLISECOND, SECOND, SystemClock
from cryptofeed_cli.errors import UsageError
from cryptofeed_cli.feeds.base import Answer, Closed, Connect, Died, Drop, Event, Fetch, Frame, Opened, Reset, Send
from cryptofeed_cli.feeds.fetcher import MAX_WORKERS
from cryptofeed_cli.feeds.live import LiveFeed
from cryptofeed_cli.network import Dialer
from tests.certificates import make_certificate
from tests.okx_market import Push, generate
from tests.okx_server import OkxServer
from tests.raw_server import RawServer, accepted, frame

T = TypeVar("T")
TIME = "/api/v5/public/time"
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


class Watched:
    """A live feed, and everything taken from it so far."""

    def __init__(self, feed: LiveFeed) -> None:
        self.feed = feed
        self.events: list[Event] = []

    def wait(self, kind: type[T], count: int = 1, timeout: float = 60.0) -> list[T]:
        """Take until there were ``count`` events of a kind, and return them all; fail the test if they never come."""
        deadline = time.monotonic() + timeout
        while len(found := self.all(kind)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {kind.__name__}; last: {self.events[-5:]}"
            self.events += self.feed.take(0.1)
        return found

    def all(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait_open(self, server: OkxServer, count: int = 1) -> None:
        """Wait until connections were opened ``count`` times, on both sides: the server can act on them."""
        self.wait(Opened, count)
        server.wait_for("open", count=count)

    def subscribe(self, server: OkxServer, connection: int, *topics: tuple[str, str]) -> None:
        """Subscribe, and wait until it is in force."""
        args = [{"channel": channel, "instId": symbol} for channel, symbol in topics]
        since = len(server.seen)
        self.feed.perform(Send(connection, json.dumps({"op": "subscribe", "args": args})))
        server.wait_for("subscribe", since=since, count=len(topics))

    def do(self, *actions: Any) -> None:
        for action in actions:
            self.feed.perform(action)


@contextmanager
def watching(
    public: str | list[str],
    business: str = "ws://127.0.0.1:1",
    *,
    rest: str | list[str] = "",
    may_die: bool = False,
    **options: Any,
) -> Iterator[Watched]:
    """Run a live feed whose waits are short; in the end none of its threads is left, and none died on the way."""
    settings: dict[str, Any] = {
        "dialer": Dialer(),
        "clock": SystemClock(),
        "rng": random.Random(1),
        "retry_initial": 10 * MILLISECOND,
        "retry_max": 40 * MILLISECOND,
        "connect_timeout": 5 * SECOND,
        "connects_per_second": 1000,
    }
    urls = [public] if isinstance(public, str) else public
    rests = [url for url in ([rest] if isinstance(rest, str) else rest) if url]
    feed = LiveFeed({"public": urls, "business": [business]}, rests, **settings | options)
    watched = Watched(feed)
    try:
        yield watched
    finally:
        feed.close()
    assert feed_threads() == []
    assert may_die or watched.all(Died) == []


def wait_until(predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed-")]


@pytest.fixture
def server() -> Iterator[OkxServer]:
    with OkxServer() as server:
        yield server


def trades(count: int) -> list[Push]:
    tape = generate(["BTC-USDT"], count * 6, random.Random(1), 1_795_000_000_000)
    return [push for push in tape if push.channel == "trades"][:count]


def test_frames_arrive_in_order_and_byte_for_byte(server: OkxServer) -> None:
    tape = generate(["BTC-USDT"], 2000, random.Random(1), 1_795_000_000_000)
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
        live.subscribe(server, 1, ("books", "BTC-USDT"), ("tickers", "BTC-USDT"))
        server.play(tape)
        expected = [push.frame() for push in tape if push.channel != "trades"]
        frames = live.wait(Frame, 2 + len(expected))
    assert [frame.data for frame in frames[2:]] == expected
    assert {frame.connection for frame in frames} == {1}


def test_both_clocks_are_stamped_and_neither_runs_backwards(server: OkxServer) -> None:
    class Falling(SystemClock):
        steps = itertools.count()

        def now(self) -> int:  # type: ignore[override]
            return 2_000_000_000 * SECOND - next(self.steps)

    with watching(server.business_url, clock=Falling()) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
        live.subscribe(server, 1, ("trades-all", "BTC-USDT"))
        for push in trades(20):
            server.push(push)
            live.wait(Frame, len(live.all(Frame)) + 1)
        server.drop()
        live.wait(Opened, 2)
        live.subscribe(server, 1, ("trades-all", "BTC-USDT"))
    stamps = [(event.at, event.monotonic) for event in live.events]
    again = live.events.index(live.all(Opened)[1])
    for life in (stamps[:again], stamps[again:]):
        assert life == sorted(life)
    assert len({monotonic for _, monotonic in stamps}) > 20
    assert len({at for at, _ in stamps[:again]}) == 1
    assert stamps[again][0] < stamps[again - 1][0], "a socket that is made anew goes by the clock as it is"


def test_text_that_is_no_utf8_arrives_as_it_is(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        server.wait_for("open")
        server.send(b"\xff\xfe\x00")
        assert live.wait(Frame)[0].data == b"\xff\xfe\x00"


def test_binary_empty_and_fragmented_messages_arrive_whole() -> None:
    pieces = frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b", fin=False) + frame(0, b"c")
    messages = frame(BINARY, b"\x00\x01") + frame(TEXT, b"") + pieces + frame(TEXT, b"x" * 1000)
    with RawServer(lambda request: accepted(request) + messages) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        frames = live.wait(Frame, 4)
    assert [frame.data for frame in frames[:4]] == [b"\x00\x01", b"", b"abc", b"x" * 1000]


def test_control_pings_are_answered_and_are_no_frames(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait_open(server)
        server.control_ping()
        server.send(b"next")
        assert [frame.data for frame in live.wait(Frame)] == [b"next"]


def test_what_is_sent_arrives_in_order(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
        live.do(*(Send(1, f"text {number}") for number in range(100)))
        seen = server.wait_for("text", count=100)
    assert [one.request for one in seen] == [f"text {number}" for number in range(100)]


def test_sending_where_nothing_is_connected_does_nothing(server: OkxServer) -> None:
    server.refuse_connections()
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed)
        live.do(Send(1, "nobody hears this"))
        server.refuse_connections(False)
        live.wait(Opened)
        live.do(Send(1, "ping"))
        server.wait_for("ping")
        assert not [seen for seen in server.seen if seen.kind == "text"]


def test_a_close_frame_is_told_with_code_and_reason_and_the_connection_comes_back(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait_open(server)
        server.close(code=4004, reason="No data received in 30s.")
        live.wait(Opened, 2)
    assert [type(event) for event in live.events] == [Opened, Closed, Opened]
    closed = live.all(Closed)[0]
    assert (closed.connection, closed.code, closed.reason) == (1, 4004, "No data received in 30s.")


def test_a_dropped_connection_has_no_code_and_comes_back(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait_open(server)
        server.drop()
        live.wait(Opened, 2)
    closed = live.all(Closed)[0]
    assert (closed.code, closed.reason) == (None, "connection reset")


def test_a_connection_that_ends_without_a_word_is_told() -> None:
    with RawServer(accepted) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        assert live.wait(Closed)[0].reason == "closed without a close frame"


def test_while_connections_are_refused_the_waits_stay_inside_their_bounds(server: OkxServer) -> None:
    server.refuse_connections()
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        closed = live.wait(Closed, 6)[:6]
        server.refuse_connections(False)
        live.wait(Opened)
    assert {(event.code, event.reason) for event in closed} == {
        (None, f"cannot connect to 127.0.0.1:{server.port}: connection refused")
    }
    for event, ceiling in zip(closed, (10, 20, 40, 40, 40, 40), strict=True):
        assert ceiling * MILLISECOND / 2 <= event.retry_in <= ceiling * MILLISECOND
    for event, following in itertools.pairwise(closed):
        assert following.monotonic - event.monotonic >= event.retry_in


def test_the_waits_begin_again_only_after_a_frame(server: OkxServer) -> None:
    with watching(server.public_url, retry_max=SECOND) as live:
        live.do(Connect(1, "public"))
        for number in range(1, 4):
            live.wait_open(server, number)
            server.drop()
            live.wait(Closed, number)
        live.wait_open(server, 4)
        server.send(b"at last")
        live.wait(Frame)
        server.drop()
        waits = [event.retry_in / MILLISECOND for event in live.wait(Closed, 4)]
    assert waits[2] >= 20
    assert waits[3] <= 10


def test_never_more_than_three_connects_in_any_second(server: OkxServer) -> None:
    with watching(server.public_url, server.business_url, connects_per_second=3) as live:
        live.do(*(Connect(number, "business" if number % 2 else "public") for number in range(5)))
        server.after(0.5, server.drop)
        live.wait(Opened, 8)
    times = [seen.at for seen in server.seen if seen.kind == "connect"]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))


def test_the_urls_of_an_endpoint_are_tried_in_turn(server: OkxServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = f"ws://127.0.0.1:{gone.getsockname()[1]}/ws"
    with watching([dead, server.public_url]) as live:
        live.do(Connect(1, "public"))
        server.wait_for("open")
        server.send(b"x")
        live.wait(Frame)
        server.drop()
        live.wait(Opened, 2)
    assert [type(event) for event in live.events] == [Closed, Opened, Frame, Closed, Opened]


def test_an_upgrade_that_is_refused_is_told_by_its_status() -> None:
    page = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno\x1b[m"
    with RawServer(lambda _: page) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        assert live.wait(Closed)[0].reason == "HTTP 403 instead of an upgrade"


def test_a_redirect_is_not_followed(server: OkxServer) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {server.public_url}\r\nContent-Length: 0\r\n\r\n".encode()
    with RawServer(lambda _: answer) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed, 2)
    assert [seen.kind for seen in server.seen] == ["listening"]


def test_an_upgrade_that_never_ends_times_out() -> None:
    with (
        RawServer(lambda _: b"HTTP/1.1 101 ", hang_up=False) as raw,
        watching(raw.url, connect_timeout=SECOND // 5) as live,
    ):
        live.do(Connect(1, "public"))
        assert "timed out" in live.wait(Closed)[0].reason


def garbage() -> list[bytes]:
    rng = random.Random(7)
    return [
        frame(TEXT, b"x", fin=False) * 2,
        frame(0, b"continues nothing"),
        frame(0xB, b"unknown opcode"),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, b"\x00\x01code below 1000"),
        b"\xf1\x01x",
        b"\x81\x7f" + b"\xff" * 8,
        b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + b"x" * 1000,
        b"HTTP/1.1 200 OK\r\n\r\n",
        *(rng.randbytes(rng.randrange(1, 400)) for _ in range(60)),
    ]


def test_hostile_bytes_after_the_upgrade_only_end_the_connection() -> None:
    said = iter(garbage())
    with RawServer(lambda request: accepted(request) + next(said, b"")) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed, len(garbage()))
    assert len(live.all(Opened)) >= len(garbage())


def test_hostile_bytes_instead_of_the_upgrade_only_end_the_connection() -> None:
    rng = random.Random(8)
    answers = [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc def\r\n\r\n",
        b"HTTP/1.1 101 ok\r\nno colon\r\n\r\n",
        b"HTTP/1.1 101 ok\r\nUpgrade: \xff\r\n\r\n",
        b"HTTP/1.1 101 ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 500 no\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 500 no\r\nContent-Length: nine\r\n\r\n",
        *(rng.randbytes(rng.randrange(1, 400)) + b"\r\n\r\n" for _ in range(40)),
    ]
    said = iter(answers)
    with RawServer(lambda _: next(said, b"")) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed, len(answers))
    assert live.all(Opened) == []


@pytest.mark.parametrize(
    "header",
    [b"Set-Cookie: a(b=c", b'Set-Cookie: a="\\x; =;;;=\x00', b"Sec-WebSocket-Accept: wrong"],
)
def test_a_hostile_header_of_the_upgrade_is_survived(header: bytes) -> None:
    with RawServer(lambda request: accepted(request, header)) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed, 2)


def test_a_message_without_end_is_cut_off_before_it_fills_the_memory() -> None:
    endless = b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + b"x" * (20 << 20)
    with RawServer(lambda request: accepted(request) + endless) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        assert live.wait(Closed)[0].reason == "a message is longer than any the exchange sends"


def test_a_full_queue_pushes_back_and_loses_nothing(server: OkxServer) -> None:
    tape = trades(5000)
    with watching(server.business_url, queue_events=50) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
        live.subscribe(server, 1, ("trades-all", "BTC-USDT"))
        live.wait(Frame)
        server.play(tape)
        frames = live.wait(Frame, 1 + len(tape), timeout=60)
        depth = live.feed.depth()
    ids = [json.loads(frame.data)["data"][0]["tradeId"] for frame in frames[1:]]
    assert ids == [push.row["tradeId"] for push in tape]
    assert depth.most_events == 50
    assert depth.waits > 0


def test_a_client_too_slow_for_the_exchange_is_cut_off_and_told_so_after_the_last_frame() -> None:
    with OkxServer(write_buffer_bytes=1 << 20) as server, watching(server.public_url, queue_events=10) as live:
        live.do(Connect(1, "public"))
        server.wait_for("open")
        for number in range(600):
            server.send(b"%06d" % number + b"x" * 50_000)
        server.wait_for("disconnect")
        live.wait(Closed)
    numbers = [int(frame.data[:6]) for frame in live.all(Frame)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < 600
    assert isinstance(live.events[live.events.index(live.all(Closed)[0]) - 1], Frame)


def test_a_reset_connection_is_closed_with_its_reason_at_once_though_nothing_arrives(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
        live.do(Reset(1, "no pong within 15s"))
        closed = live.wait(Closed)[0]
        live.wait(Opened, 2)
    # Else the server would have closed it, as nothing is sent on it.
    assert (closed.code, closed.reason) == (None, "no pong within 15s")


def test_a_dropped_connection_ends_for_good_and_without_an_event(server: OkxServer) -> None:
    with watching(server.public_url, server.business_url) as live:
        live.do(Connect(1, "public"), Connect(2, "business"))
        live.wait(Opened, 2)
        live.do(Drop(1))
        server.wait_for("disconnect", path="/ws/v5/public")
        server.drop()
        live.wait(Closed)
        assert [event.connection for event in live.all(Closed)] == [2]
        wait_until(lambda: "feed-public-1" not in feed_threads())


def assert_closes_at_once(live: Watched) -> None:
    """Close, and see every thread end long before what it waits for would."""
    begun = time.monotonic()
    live.feed.close()
    wait_until(lambda: feed_threads() == [])
    assert time.monotonic() - begun < RawServer.PATIENCE / 2


def test_closing_ends_a_silent_connection_at_once(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
        assert_closes_at_once(live)
        server.wait_for("disconnect")


def test_who_found_nobody_tries_again_as_soon_as_another_connection_gets_through(server: OkxServer) -> None:
    server.refuse_connections()
    with watching(server.public_url, server.business_url, retry_initial=60 * SECOND, retry_max=60 * SECOND) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed)
        server.refuse_connections(False)
        live.do(Connect(2, "business"))
        assert {event.connection for event in live.wait(Opened, 2, timeout=RawServer.PATIENCE)} == {1, 2}


def test_two_that_get_through_and_are_cut_off_do_not_wake_each_other(server: OkxServer) -> None:
    with watching(server.public_url, server.business_url, retry_initial=60 * SECOND, retry_max=60 * SECOND) as live:
        live.do(Connect(1, "public"), Connect(2, "business"))
        live.wait_open(server, 2)
        server.drop()
        live.wait(Closed, 2)
        for number in (3, 4, 5):
            live.do(Connect(number, "public"))
            live.wait(Opened, number)
        assert [event.connection for event in live.all(Opened)[2:]] == [3, 4, 5]


def test_closing_ends_a_long_wait_at_once(server: OkxServer) -> None:
    server.refuse_connections()
    with watching(server.public_url, retry_initial=60 * SECOND, retry_max=60 * SECOND) as live:
        live.do(Connect(1, "public"))
        live.wait(Closed)
        assert_closes_at_once(live)


def test_closing_ends_an_upgrade_and_a_request_that_hang_at_once() -> None:
    with RawServer(lambda _: b"", hang_up=False) as raw:
        rest = raw.url.replace("ws:", "http:").removesuffix("/ws")
        patient = {"rest": rest, "connect_timeout": 60 * SECOND}
        with RawServer(lambda _: b"", hang_up=False) as upgrade, watching(upgrade.url, **patient) as live:
            live.do(Connect(1, "public"), Fetch(1, TIME))
            wait_until(lambda: bool(raw.requests and upgrade.requests))
            assert_closes_at_once(live)


def test_closing_ends_a_thread_that_waits_for_room_at_once(server: OkxServer) -> None:
    with watching(server.public_url, queue_events=1) as live:
        live.do(Connect(1, "public"))
        server.wait_for("open")
        server.send(b"1")
        server.send(b"2")
        wait_until(lambda: live.feed.depth().waits > 0)
        assert_closes_at_once(live)


def test_an_answer_comes_with_its_number(server: OkxServer) -> None:
    with watching(server.public_url, rest=server.rest_url) as live:
        live.do(Fetch(7, TIME), Fetch(8, "/api/v5/system/status"))
        answers = {answer.request_id: answer for answer in live.wait(Answer, 2)}  # they come in any order
    assert sorted(answers) == [7, 8]
    assert {(answer.status, answer.error) for answer in answers.values()} == {(200, None)}
    assert "ts" in json.loads(answers[7].body)["data"][0]


def test_an_error_status_is_an_answer_with_its_body(server: OkxServer) -> None:
    server.answer_rest(TIME, 429, b'{"code":"50011"}')
    with watching(server.public_url, rest=server.rest_url) as live:
        live.do(Fetch(7, TIME))
        answer = live.wait(Answer)[0]
    assert (answer.status, answer.body, answer.error) == (429, b'{"code":"50011"}', None)


def test_a_request_that_fails_ends_in_an_answer_that_says_why(server: OkxServer) -> None:
    server.refuse_connections()
    with watching(server.public_url, rest=server.rest_url) as live:
        live.do(Fetch(7, TIME))
        answer = live.wait(Answer)[0]
    assert (answer.request_id, answer.status, answer.body) == (7, None, b"")
    assert answer.error == f"cannot connect to 127.0.0.1:{server.port}: connection refused"


def test_without_any_rest_url_a_request_ends_in_an_answer_too(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Fetch(7, TIME))
        assert live.wait(Answer)[0].error == "no REST address is configured"


def test_too_many_requests_end_in_answers_too() -> None:
    with RawServer(lambda _: b"", hang_up=False) as raw:
        rest = raw.url.replace("ws:", "http:")
        with watching(raw.url, rest=rest) as live:
            live.do(*(Fetch(number, TIME) for number in range(1100)))
            answers = live.wait(Answer, 1100 - 1000 - MAX_WORKERS)
    assert {answer.error for answer in answers} == {"1000 requests are waiting already"}
    assert answers[-1].request_id == 1099


def test_a_simulated_source_announces_itself_on_sockets_and_rest() -> None:
    with OkxServer(announced="simulated") as server, watching(server.public_url, rest=server.rest_url) as live:
        live.do(Connect(1, "public"), Fetch(1, TIME))
        assert live.wait(Opened)[0].announced == "simulated"
        assert live.wait(Answer)[0].announced == "simulated"


def test_a_real_source_announces_nothing(server: OkxServer) -> None:
    with watching(server.public_url, rest=server.rest_url) as live:
        live.do(Connect(1, "public"), Fetch(1, TIME))
        assert live.wait(Opened)[0].announced is None
        assert live.wait(Answer)[0].announced is None


def test_frames_come_over_tls_and_requests_go(tmp_path: Path) -> None:
    certificate, context = make_certificate(tmp_path)
    tape = trades(1000)
    dialer = Dialer(ca_file=str(certificate))
    with (
        OkxServer(tls=context) as server,
        watching(server.business_url, rest=server.rest_url, dialer=dialer) as live,
    ):
        live.do(Connect(1, "public"), Fetch(1, TIME))
        live.wait(Opened)
        live.subscribe(server, 1, ("trades-all", "BTC-USDT"))
        server.play(tape)
        frames = live.wait(Frame, 1 + len(tape))
        assert live.wait(Answer)[0].status == 200
        live.do(Reset(1, "enough"))
        assert live.wait(Closed)[0].reason == "enough"
    assert [json.loads(frame.data)["data"][0]["tradeId"] for frame in frames[1:]] == [
        push.row["tradeId"] for push in tape
    ]


def test_an_untrusted_certificate_is_told_and_nothing_is_sent(tmp_path: Path) -> None:
    _, context = make_certificate(tmp_path)
    with OkxServer(tls=context) as server, watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        assert "its TLS certificate is self-signed" in live.wait(Closed)[0].reason
        assert [seen.kind for seen in server.seen] == ["listening"]


def test_proxies_of_the_environment_are_ignored(server: OkxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
    assert live.all(Closed) == []


def test_the_upgrade_says_who_we_are_and_asks_for_no_compression() -> None:
    with RawServer(accepted) as raw, watching(raw.url) as live:
        live.do(Connect(1, "public"))
        live.wait(Opened)
    headers = raw.requests[0].lower()
    assert b"\r\nuser-agent: cryptofeed-cli/" in headers
    assert f"\r\nhost: {raw.url.split('/')[2]}\r\n".encode() in headers
    assert b"sec-websocket-extensions" not in headers
    assert b"origin" not in headers


def test_the_unexpected_death_of_a_thread_is_told(server: OkxServer) -> None:
    class Broken(Dialer):
        def connect(self, *_: object, **__: object) -> socket.socket:
            raise RuntimeError("bug")

    with watching(server.public_url, rest=server.rest_url, dialer=Broken(), may_die=True) as live:
        live.do(Connect(1, "public"), Fetch(1, TIME))
        deaths = {death.thread: str(death.error) for death in live.wait(Died, 2)}
        assert deaths == {"feed-public-1": "bug", "feed-rest": "bug"}


@pytest.mark.parametrize("url", ["http://127.0.0.1/ws", "ws.okx.com", "ws://", "ws://host:99999/", "ws://[::1/"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="is not a WebSocket address; write ws://host/path or wss://host/path"):
        watching(url).__enter__()


def test_a_connection_cannot_be_made_twice(server: OkxServer) -> None:
    with watching(server.public_url) as live:
        live.do(Connect(1, "public"))
        with pytest.raises(ValueError, match="connection 1 exists already"):
            live.do(Connect(1, "public"))


@pytest.mark.parametrize("status", [403, 451, 503])
def test_the_next_rest_host_is_asked_after_one_that_answers_for_itself_only(server: OkxServer, status: int) -> None:
    with OkxServer() as blocked:
        blocked.answer_rest(TIME, status, b"no")
        with watching(server.public_url, rest=[blocked.rest_url, server.rest_url]) as live:
            live.do(Fetch(1, TIME))
            assert live.wait(Answer)[0].status == status
            live.do(Fetch(2, TIME))
            assert live.wait(Answer, 2)[1].status == 200
