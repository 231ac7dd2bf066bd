"""Silence: a quiet market is told from a dead channel, by one question for all symbols."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cryptofeed_cli.clock import MINUTE, SECOND
from cryptofeed_cli.exchanges.base import Topic
from tests.okx_market import dump
from tests.tapes import BUSINESS, PUBLIC, START_MS, SYMBOL, Tape, book_frame, fill_frame, ticker_frame

SILENCE = 30 * SECOND
TRADES, TICKERS, BOOKS = Topic("trades-all", SYMBOL), Topic("tickers", SYMBOL), Topic("books", SYMBOL)
MANY = tuple(f"C{number:03}-USDT" for number in range(300))


def bulk(*rows: dict[str, str]) -> bytes:
    """Write the answer to the question for all tickers."""
    return dump({"code": "0", "msg": "", "data": list(rows)})


def row(ms: int, *, last: str = "100", volume: str = "500", symbol: str = SYMBOL) -> dict[str, str]:
    return {"instId": symbol, "last": last, "vol24h": volume, "ts": str(START_MS + ms)}


def live(tape: Tape, seconds: int, *rows: dict[str, str], spoken: Sequence[tuple[bytes, int]] = ()) -> None:
    """Let time pass; both sockets answer pings, and REST tells these tickers. ``spoken`` is said in every second."""
    for _ in range(seconds):
        answered = len(tape.fetches("tickers"))
        tape.wait(SECOND)
        for data, connection in ((b"pong", BUSINESS), (b"pong", PUBLIC), *spoken):
            tape.frame(data, connection)
        for fetch in tape.fetches("tickers")[answered:]:
            tape.answer(fetch, bulk(*rows) if "SPOT" in fetch.path else bulk())


def subscriptions(tape: Tape, topic: Topic) -> int:
    return sum(topic in topics for operation, topics in tape.requests() if operation == "subscribe")


@pytest.fixture
def tape() -> Tape:
    """A symbol whose trades and tickers came just now."""
    tape = Tape(channels=("trades", "tickers"))
    tape.open()
    tape.frame(fill_frame(1), BUSINESS)
    tape.frame(ticker_frame(), PUBLIC)
    return tape


def test_a_market_that_is_quiet_everywhere_is_left_alone(tape: Tape) -> None:
    live(tape, 300, row(0))

    assert tape.gaps() == []
    assert subscriptions(tape, TRADES) == subscriptions(tape, TICKERS) == 1


def test_nobody_is_asked_while_everything_speaks(tape: Tape) -> None:
    for number in range(2, 100):
        live(tape, 1, spoken=[(fill_frame(number), BUSINESS), (ticker_frame(number * 1000), PUBLIC)])

    assert tape.fetches("tickers") == []


def test_tickers_that_moved_on_rest_only_are_dead(tape: Tape) -> None:
    live(tape, 35, row(20_000, last="101"), spoken=[(fill_frame(1), BUSINESS)])

    assert [(gap.kind, gap.fault, gap.start, gap.status) for gap in tape.gaps("tickers")] == [
        ("silence", "venue", START_MS, "open")
    ]
    assert tape.gaps("trades") == []
    assert subscriptions(tape, TICKERS) == 2


@pytest.mark.parametrize("moved", [{"last": "101"}, {"volume": "501"}], ids=["price", "volume"])
def test_trades_that_happened_on_rest_only_are_dead(tape: Tape, moved: dict[str, str]) -> None:
    last = moved.get("last", "100")
    live(tape, 32, row(10_000), spoken=[(ticker_frame(10_000, last=last), PUBLIC)])
    assert tape.gaps() == []
    live(tape, 15, row(40_000, **moved), spoken=[(ticker_frame(40_000, last=last), PUBLIC)])

    assert [(gap.kind, gap.fault, gap.start) for gap in tape.gaps("trades")] == [("silence", "venue", START_MS)]
    assert tape.gaps("tickers") == []
    assert subscriptions(tape, TRADES) == 2


def test_what_arrives_just_after_rest_told_of_it_was_not_dead(tape: Tape) -> None:
    live(tape, 31, row(30_000, last="101"))
    assert tape.fetches("tickers") != []
    live(tape, 1, spoken=[(fill_frame(2, ms=30_000), BUSINESS), (ticker_frame(30_000, last="101"), PUBLIC)])
    live(tape, 10)

    assert tape.gaps() == []


def test_an_answer_out_of_an_old_cache_proves_nothing(tape: Tape) -> None:
    tape.frame(ticker_frame(1000, last="101"), PUBLIC)
    tape.frame(fill_frame(2, ms=1000), BUSINESS)
    live(tape, 60, row(500, last="99"))

    assert tape.gaps() == []


def test_a_channel_that_stays_dead_takes_its_socket_with_it(tape: Tape) -> None:
    live(tape, 35, row(20_000, last="101"), spoken=[(fill_frame(1), BUSINESS)])
    tape.acknowledge(TICKERS, PUBLIC)
    live(tape, 35, row(50_000, last="102"), spoken=[(fill_frame(1), BUSINESS)])

    assert [(reset.connection, reset.reason) for reset in tape.resets()] == [
        (PUBLIC, "the channel fell silent on an open connection")
    ]
    assert len(tape.gaps("tickers")) == 1


def test_hundreds_of_quiet_symbols_cost_one_question_for_all() -> None:
    tape = Tape(MANY, ("trades", "tickers"))
    tape.open()
    for symbol in MANY:
        tape.frame(fill_frame(1, symbol=symbol), BUSINESS)
        tape.frame(ticker_frame(symbol=symbol), PUBLIC)
    before = len(tape.fetches())
    live(tape, 35, *(row(0, symbol=symbol) for symbol in MANY))
    asked = [fetch.path.partition("?")[0] for fetch in tape.fetches()[before:]]

    assert asked.count("/api/v5/market/tickers") == 4
    assert not any("trades" in path or path.endswith("/ticker") for path in asked)


def test_a_book_without_heartbeats_is_dead_after_75_seconds() -> None:
    tape = Tape(channels=("book_updates",))
    tape.open()
    tape.frame(book_frame(-1, 10))
    for _ in range(7):
        tape.wait(10 * SECOND)
        tape.frame(b"pong")
    assert tape.gaps() == []
    tape.wait(6 * SECOND)

    assert [(gap.kind, gap.fault, gap.start) for gap in tape.gaps()] == [("silence", "venue", START_MS)]
    assert subscriptions(tape, BOOKS) == 2


def test_a_heartbeat_keeps_a_book_alive() -> None:
    tape = Tape(channels=("book_updates",))
    tape.open()
    tape.frame(book_frame(-1, 10))
    for number in range(10):
        tape.wait(MINUTE)
        tape.frame(book_frame(10, 10, 60_000 * (number + 1)))

    assert tape.gaps() == []
    assert subscriptions(tape, BOOKS) == 1
