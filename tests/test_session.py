"""The whole logic of a recording, driven by hand: what is asked for, labelled, recorded and told, and when."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from cryptofeed_cli.clock import MINUTE, SECOND
from cryptofeed_cli.exchanges.base import Topic
from cryptofeed_cli.feeds.base import Connect, Frame, Send
from cryptofeed_cli.resync import TIMEOUT, TIMEOUT_MAX
from cryptofeed_cli.streams import Sampling
from cryptofeed_cli.types import BookUpdate, OrderBook, Reject, Ticker, Trade
from tests.okx_market import dump
from tests.tapes import BUSINESS, PUBLIC, START_MS, SYMBOL, Tape, book_frame, fill_frame, fold_frame, ticker_frame

BOOKS = Topic("books", SYMBOL)
OTHER = "ETH-USDT"
EVERY_CHANGE = Sampling(depth=400, interval_ms=0)
RESUBSCRIBED = [("unsubscribe", [BOOKS]), ("subscribe", [BOOKS])]


def snapshot(sequence: int, ms: int = 0, symbol: str = SYMBOL) -> bytes:
    return book_frame(-1, sequence, ms, bids=[("100", "1")], asks=[("101", "1")], symbol=symbol)


@pytest.fixture
def tape() -> Tape:
    """A recording of one symbol that is up, with nothing received yet."""
    tape = Tape(sampling=EVERY_CHANGE)
    tape.open()
    return tape


def public_connections(tape: Tape) -> list[int]:
    return [member.number for member in tape.session.connections if member.endpoint == "public"]


# What is asked for


def test_each_socket_is_opened_and_asked_for_what_it_serves() -> None:
    tape = Tape()
    assert [action for action in tape.actions if isinstance(action, Connect)] == [
        Connect(BUSINESS, "business"), Connect(PUBLIC, "public"),
    ]  # fmt: skip
    assert tape.requests() == []
    tape.open()
    assert sorted(tape.requests()) == [
        ("subscribe", [Topic("tickers", SYMBOL), BOOKS]), ("subscribe", [Topic("trades-all", SYMBOL)]),
    ]  # fmt: skip


def test_both_channels_of_books_are_one_subscription() -> None:
    tape = Tape(channels=("orderbooks", "book_updates"))
    tape.open()
    assert tape.requests() == [("subscribe", [BOOKS])]


def test_the_witness_is_asked_for_only_on_request_and_with_trades() -> None:
    for channels, witness, expected in (
        (("trades",), True, {"trades-all", "trades"}),
        (("trades",), False, {"trades-all"}),
        (("tickers",), True, {"tickers"}),
    ):
        tape = Tape(channels=channels, witness=witness)
        tape.open()
        assert {topic.channel for _, topics in tape.requests() for topic in topics} == expected


# Records


def test_every_channel_yields_its_records(tape: Tape) -> None:
    tape.frames([ticker_frame(), snapshot(10), book_frame(10, 20, bids=[("100", "2")])])
    tape.frame(fill_frame(5, 6), BUSINESS)
    assert [type(record) for record in tape.records] == [
        Ticker, BookUpdate, OrderBook, BookUpdate, OrderBook, Trade, Trade,
    ]  # fmt: skip
    assert {(record.exchange, record.symbol, record.source) for record in tape.records} == {("OKX", SYMBOL, "live")}
    assert {record.received_at for record in tape.records} == {tape.now.at}


def test_data_before_its_acknowledgement_is_recorded() -> None:
    tape = Tape()
    tape.open(acknowledge=False)
    tape.frame(fill_frame(5), BUSINESS)
    tape.acknowledge(Topic("trades-all", SYMBOL), BUSINESS)
    assert [trade.trade_id for trade in tape.of(Trade)] == ["5"]


def test_what_was_not_asked_for_is_kept_as_a_reject(tape: Tape) -> None:
    strangers = [
        fill_frame(5, symbol=OTHER), fold_frame(5, 5, symbol=OTHER),
        ticker_frame(symbol=OTHER), snapshot(10, symbol=OTHER),
    ]  # fmt: skip
    tape.frames(strangers)
    assert [(reject.frame.encode(), reject.reason) for reject in tape.of(Reject)] == [
        (frame, "data that was not asked for") for frame in strangers
    ]
    assert len(tape.records) == len(strangers)


def test_a_channel_that_is_not_recorded_is_kept_as_a_reject() -> None:
    tape = Tape(channels=("trades",))
    tape.open()
    tape.frames([ticker_frame(), snapshot(10)])
    assert [type(record) for record in tape.records] == [Reject, Reject]


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xfe", b"{", b"null", book_frame(10, 20, bids=[("1 2", "1")]), b"[" * 100_000,
        book_frame(10, 20).replace(SYMBOL.encode(), b"\\ud800"), ticker_frame().replace(SYMBOL.encode(), b"\\u0000"),
    ],
    ids=["no text", "cut", "null", "a blank in a price", "deep nesting", "half a surrogate pair", "NUL"],
)  # fmt: skip
def test_a_bad_frame_is_kept_and_disturbs_nothing_else(bad: bytes) -> None:
    tape = Tape((SYMBOL, OTHER), sampling=EVERY_CHANGE)
    tape.open()
    tape.frames([snapshot(10), snapshot(10, symbol=OTHER), bad])
    tape.frames([book_frame(10, 20, bids=[("100", "2")]), book_frame(10, 20, bids=[("100", "2")], symbol=OTHER)])
    tape.frame(fill_frame(5, 6), BUSINESS)
    tape.wait(2 * SECOND)
    assert tape.session.rejects.count == len(tape.of(Reject)) == 1
    assert [(book.symbol, book.sequence) for book in tape.of(OrderBook)] == [
        (SYMBOL, 10), (OTHER, 10), (SYMBOL, 20), (OTHER, 20),
    ]  # fmt: skip
    assert len(tape.of(Trade)) == 2
    assert not tape.gaps()
    for record in tape.records:
        record.symbol is None or record.symbol.encode()


def test_a_frame_of_an_unknown_connection_is_ignored(tape: Tape) -> None:
    tape.session.handle([Frame(99, fill_frame(5), 1, 1)])
    assert not tape.records


# Simulated data


@pytest.mark.parametrize("announced", ["simulated", "replay"])
def test_everything_from_a_server_that_announces_itself_is_simulated(announced: str) -> None:
    tape = Tape(sampling=EVERY_CHANGE)
    tape.open(announced=announced)
    tape.frames([ticker_frame(), snapshot(10), book_frame(10, 20, bids=[("100", "2")])])
    tape.frame(fill_frame(5), BUSINESS)
    tape.close()
    tape.finish()
    assert len(tape.records) == 7
    assert {(record.source, record.run_id, record.episode) for record in tape.records} == {("simulated", "run", 1)}
    assert len(tape.notes("warning")) >= 1


def test_simulated_and_real_data_share_no_state(tape: Tape) -> None:
    tape.frame(fill_frame(5), BUSINESS)
    tape.close(BUSINESS)
    tape.open(BUSINESS, announced="simulated")
    tape.frame(fill_frame(1000), BUSINESS)
    tape.wait(2 * SECOND)
    tape.close(BUSINESS)
    tape.open(BUSINESS)
    tape.frame(fill_frame(8), BUSINESS)
    (gap,) = tape.gaps("trades")
    assert (gap.kind, gap.first_missing, gap.last_missing) == ("disconnect", "6", "7")


# Broken books


def broken(tape: Tape) -> int:
    """Break the book's chain; return how many requests had been sent before."""
    tape.frames([snapshot(10), book_frame(20, 30, 100)])
    sent = len(tape.requests())
    tape.wait(SECOND)
    return sent


def test_a_broken_book_is_resubscribed_once_however_much_arrives(tape: Tape) -> None:
    sent = broken(tape)
    for number in range(100):
        tape.frame(book_frame(30 + number, 31 + number, 200 + number))
        tape.wait()
        if number == 3:
            tape.acknowledge(BOOKS)
        if (number + 1) * SECOND // 10 < TIMEOUT:
            assert tape.requests()[sent:] == RESUBSCRIBED
    assert len(tape.gaps("book_updates")) == 1


def test_a_snapshot_that_does_not_come_is_asked_for_ever_more_patiently(tape: Tape) -> None:
    broken(tape)
    asked: list[tuple[int, str]] = []
    for second in range(60 * 60):
        before = len(tape.requests()), len(tape.fetches("books"))
        tape.acknowledge(BOOKS)
        tape.frame(book_frame(30 + second, 31 + second, 200 + second))  # of no use, but not silent
        tape.wait(SECOND)
        if len(tape.requests()) > before[0]:
            asked.append((second * SECOND, "subscription"))
        if len(tape.fetches("books")) > before[1]:
            asked.append((second * SECOND, "REST"))
    waits = [later - earlier for (earlier, _), (later, _) in pairwise(asked)]
    assert waits[:9] == [TIMEOUT * factor for factor in (1, 2, 2, 4, 4, 8, 8, 16, 16)]
    assert set(waits[9:]) == {TIMEOUT_MAX}
    assert [way for _, way in asked[:4]] == ["REST", "subscription", "REST", "subscription"]


def test_the_snapshot_heals_the_book_and_ends_the_asking(tape: Tape) -> None:
    sent = broken(tape)
    tape.acknowledge(BOOKS)
    tape.frames([snapshot(40, 5000), book_frame(40, 50, 5100, bids=[("100", "3")])])
    tape.wait(30 * SECOND)
    assert tape.requests()[sent:] == RESUBSCRIBED
    assert [book.sequence for book in tape.of(OrderBook)] == [10, 40, 50]
    assert [(gap.status, gap.end) for gap in tape.gaps()] == [("unrecoverable", START_MS + 5000)] * 2


def test_a_second_break_is_resubscribed_anew(tape: Tape) -> None:
    sent = broken(tape)
    tape.acknowledge(BOOKS)
    tape.frame(snapshot(40, 5000))
    tape.wait()
    tape.frame(book_frame(50, 60, 6000))
    tape.wait(2 * SECOND)
    assert tape.requests()[sent:] == RESUBSCRIBED * 2


def test_a_broken_book_leaves_other_symbols_alone() -> None:
    tape = Tape((SYMBOL, OTHER), sampling=EVERY_CHANGE)
    tape.open()
    tape.frame(snapshot(10, symbol=OTHER))
    sent = broken(tape)
    tape.frame(book_frame(10, 20, 5000, bids=[("100", "2")], symbol=OTHER))
    assert tape.requests()[sent:] == RESUBSCRIBED
    assert [book.sequence for book in tape.of(OrderBook) if book.symbol == OTHER] == [10, 20]
    assert {gap.symbol for gap in tape.gaps()} == {SYMBOL}


@pytest.mark.parametrize("reconnected", [False, True], ids=["first", "again"])
def test_after_a_connection_opens_the_snapshot_gets_its_time(reconnected: bool) -> None:
    tape = Tape()
    tape.open()
    if reconnected:
        tape.frame(snapshot(10))
        tape.wait()
        tape.close()
        tape.wait()
        tape.open()
    sent = len(tape.requests())
    tape.wait(TIMEOUT - SECOND)
    assert tape.fetches("books") == []
    tape.wait(SECOND)
    assert [fetch.path for fetch in tape.fetches("books")] == ["/api/v5/market/books?instId=BTC-USDT&sz=400"]
    assert tape.requests()[sent:] == []


def test_while_disconnected_nothing_is_asked_for(tape: Tape) -> None:
    tape.frame(snapshot(10))
    tape.close()
    sent = len(tape.sent())
    tape.wait(5 * MINUTE)
    assert len(tape.sent()) == sent


# Disconnects


def test_a_disconnect_is_one_gap_a_channel(tape: Tape) -> None:
    tape.frames([ticker_frame(1), snapshot(10, 2)])
    tape.frame(fill_frame(5, ms=3), BUSINESS)
    tape.close(reason="reset by peer")
    assert {(gap.channel, gap.kind, gap.status, gap.start, gap.end, gap.reason) for gap in tape.gaps()} == {
        ("tickers", "disconnect", "open", START_MS + 1, None, "reset by peer"),
        ("orderbooks", "disconnect", "open", START_MS + 2, None, "reset by peer"),
        ("book_updates", "disconnect", "open", START_MS + 2, None, "reset by peer"),
        ("trades", "disconnect", "open", START_MS + 3, None, "reset by peer"),
    }


@pytest.mark.parametrize(("code", "fault"), [(None, "network"), (4004, "venue"), (1006, "venue")])
def test_the_fault_is_the_exchanges_when_it_said_why_it_closed(tape: Tape, code: int | None, fault: str) -> None:
    tape.frame(ticker_frame())
    tape.close(code=code)
    assert [gap.fault for gap in tape.gaps("tickers")] == [fault]


def test_only_what_the_lost_socket_carried_is_missing(tape: Tape) -> None:
    tape.frames([ticker_frame(), snapshot(10)])
    tape.frame(fill_frame(5), BUSINESS)
    tape.close(BUSINESS)
    assert {gap.channel for gap in tape.gaps()} == {"trades"}


def test_after_a_reconnect_every_outage_ends_as_it_can(tape: Tape) -> None:
    tape.frames([ticker_frame(), snapshot(10)])
    tape.frame(fill_frame(5), BUSINESS)
    tape.close()
    tape.wait(3 * SECOND)
    tape.open()
    tape.frames([ticker_frame(3000), snapshot(90, 3001)])
    tape.frame(fill_frame(8, ms=3002), BUSINESS)
    assert {(gap.channel, gap.status, gap.end, gap.missing) for gap in tape.gaps()} == {
        ("tickers", "unrecoverable", START_MS + 3000, None),
        ("orderbooks", "unrecoverable", START_MS + 3001, None),
        ("book_updates", "unrecoverable", START_MS + 3001, None),
        ("trades", "open", START_MS + 3002, 2),
    }


def test_a_connection_that_never_came_up_misses_nothing(tape: Tape) -> None:
    fresh = Tape()
    fresh.close()
    fresh.close()
    assert not fresh.gaps()
    assert len(fresh.notes("warning")) == 1


def test_a_lost_pong_is_a_disconnect(tape: Tape) -> None:
    tape.frame(ticker_frame())
    tape.wait(15 * SECOND)
    assert [text for text in tape.sent(PUBLIC) if text == "ping"] == ["ping"]
    tape.wait(15 * SECOND)
    (reset,) = [reset for reset in tape.resets() if reset.connection == PUBLIC]
    tape.close(PUBLIC, reason=reset.reason)
    assert [(gap.kind, gap.fault, gap.reason) for gap in tape.gaps("tickers")] == [
        ("disconnect", "network", "no answer to a ping")
    ]


@pytest.mark.parametrize("sign", [b"pong", ticker_frame(), b"\xff", b'{"event":"later"}'], ids=ascii)
def test_any_frame_is_a_sign_of_life(tape: Tape, sign: bytes) -> None:
    for number in range(10):
        tape.wait(16 * SECOND)
        tape.frame(snapshot(number + 1))  # a book that is silent is another matter
        tape.frame(sign, PUBLIC)
        tape.frame(sign, BUSINESS)
    assert tape.resets() == []


# Refusals


def refuse(tape: Tape, topic: Topic, connection: int, code: str = "60018") -> None:
    text = f"Subscribe failed, wrong URL or channel:{topic.channel},instId:{topic.symbol} doesn't exist."
    tape.frame(dump({"event": "error", "code": code, "msg": text, "connId": "a"}), connection)


def test_a_refused_symbol_is_named_once_and_the_others_go_on() -> None:
    tape = Tape((SYMBOL, "NO-SUCH"))
    tape.open(acknowledge=False)
    for member in tape.session.connections:
        for topic in list(member.topics):
            if topic.symbol == SYMBOL:
                tape.acknowledge(topic, member.number)
            else:
                refuse(tape, topic, member.number)
    warnings = [note for note in tape.notes("warning") if "refused" in note]
    assert len(warnings) == 1
    assert "NO-SUCH" in warnings[0]
    assert list(tape.session.refusals) == ["NO-SUCH"]
    assert not tape.session.all_refused
    sent = len(tape.requests())
    tape.wait(TIMEOUT // 2)
    assert len(tape.requests()) == sent
    tape.frame(fill_frame(5), BUSINESS)
    assert len(tape.of(Trade)) == 1


def test_when_everything_is_refused_the_session_says_so() -> None:
    tape = Tape(("NO-SUCH",))
    tape.open(acknowledge=False)
    assert not tape.session.all_refused
    for member in tape.session.connections:
        for topic in list(member.topics):
            refuse(tape, topic, member.number)
    assert tape.session.all_refused
    assert "60018" in tape.session.refusals["NO-SUCH"]


def test_a_refused_book_is_not_asked_for_again() -> None:
    tape = Tape(channels=("book_updates",))
    tape.open(acknowledge=False)
    refuse(tape, BOOKS, 0)
    tape.wait(10 * MINUTE)
    assert tape.requests() == [("subscribe", [BOOKS])]


def test_a_reconnected_socket_does_not_ask_for_what_was_refused() -> None:
    tape = Tape((SYMBOL, "NO-SUCH"), ("tickers",))
    tape.open(acknowledge=False)
    refuse(tape, Topic("tickers", "NO-SUCH"), 0)
    tape.close()
    sent = len(tape.requests())
    tape.open()
    assert tape.requests()[sent:] == [("subscribe", [Topic("tickers", SYMBOL)])]


def test_a_topic_that_is_never_acknowledged_is_named() -> None:
    tape = Tape(channels=("trades", "tickers"))
    tape.open(acknowledge=False)
    tape.acknowledge(Topic("tickers", SYMBOL), PUBLIC)
    for _ in range(20):
        tape.wait(10 * SECOND)
        tape.frame(b"pong", PUBLIC)
        tape.frame(b"pong", BUSINESS)
    assert [note for note in tape.notes("warning") if "acknowledge" in note] == [
        f"OKX does not acknowledge trades-all of {SYMBOL}"
    ]


def test_the_notice_of_a_closing_socket_is_told(tape: Tape) -> None:
    tape.frame(dump({"event": "notice", "code": "64008", "msg": "service upgrade", "connId": "a"}))
    assert any("service upgrade" in note for note in tape.notes("warning"))
    assert not tape.of(Reject)


# Many symbols, and the end


def test_more_than_twenty_nine_books_are_carried_by_several_sockets() -> None:
    symbols = [f"C{number}-USDT" for number in range(60)]
    tape = Tape(symbols, sampling=EVERY_CHANGE)
    tape.open()
    assert len(public_connections(tape)) == 3
    sends = [action for action in tape.actions if isinstance(action, Send)]
    deep = {
        send.connection: sum(arg["channel"] == "books" for arg in json.loads(send.text)["args"]) for send in sends
    }  # fmt: skip
    assert sum(deep.values()) == 60
    assert max(deep.values()) < 30


def test_a_lost_socket_of_several_touches_only_its_own_symbols() -> None:
    symbols = [f"C{number:02d}-USDT" for number in range(30)]
    tape = Tape(symbols, ("book_updates",))
    tape.open()
    for member in tape.session.connections:
        tape.frames((snapshot(10, symbol=topic.symbol) for topic in member.topics), member.number)
    first = tape.session.connections[0]
    tape.close(first.number)
    assert {gap.symbol for gap in tape.gaps()} == {topic.symbol for topic in first.topics}


def test_the_end_records_what_is_undecided_and_saves_the_books(tape: Tape) -> None:
    tape.frames([snapshot(10), book_frame(10, 20, bids=[("100", "2")])])
    tape.frame(fill_frame(5, 8), BUSINESS)
    tape.finish()
    assert [(gap.kind, gap.first_missing, gap.last_missing) for gap in tape.gaps()] == [("trade_ids", "6", "7")]
    last = tape.of(BookUpdate)[-1]
    assert (last.action, last.prev_sequence, last.sequence, last.bids) == ("checkpoint", None, 20, [("100", "2", 1)])


def test_the_end_of_a_book_that_waits_for_an_update_is_a_gap(tape: Tape) -> None:
    tape.frames([snapshot(10), book_frame(20, 30)])
    tape.finish()
    assert {(gap.channel, gap.kind, gap.status) for gap in tape.gaps()} == {
        ("orderbooks", "sequence", "open"), ("book_updates", "sequence", "open"),
    }  # fmt: skip
