"""OKX's other side: what is written is what our own reading of the exchange understands, and requests are answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Books, Fold, Folds, Refused, Subscribed, Tickers, Topic, Trades, Verdict
from cryptofeed_cli.exchanges.okx import Okx, writing
from cryptofeed_cli.exchanges.okx.venue import Venue
from cryptofeed_cli.types import BookUpdate, Instrument, Ticker, Trade

NOW = 1_795_000_000_000
SYMBOL, OTHER = "BTC-USDT-SWAP", "ETH-USDT"
OKX = Okx()


def trade(number: int, ms: int = 0, *, price: str = "60000.1", size: str = "0.5", symbol: str = SYMBOL) -> Trade:
    return Trade(NOW + ms, 7, "OKX", symbol, "simulated", str(number), price, size, "buy", False)


def ticker(ms: int = 0, **given: Any) -> Ticker:
    figures = {
        "last": "60000.1", "last_size": "0.5", "bid": "60000", "bid_size": "3", "ask": "60000.1", "ask_size": "2",
        "open_24h": "1", "high_24h": "2", "low_24h": "3", "volume_24h": "4", "volume_currency_24h": "5",
        "open_utc0": "6", "open_utc8": "7",
    }  # fmt: skip
    return Ticker(NOW + ms, 7, "OKX", SYMBOL, "simulated", **{**figures, **given})


def update(previous: int | None, sequence: int, *, bids: Any = (), asks: Any = (), ms: int = 0) -> BookUpdate:
    action = "snapshot" if previous is None else "update"
    return BookUpdate(NOW + ms, 7, "OKX", SYMBOL, "simulated", action, previous, sequence, list(bids), list(asks))


def instrument(symbol: str, kind: str, *, raw: str = "", contract: str | None = None) -> Instrument:
    base, quote = symbol.split("-")[:2]
    spot = kind == "SPOT"
    return Instrument(
        None, 7, "OKX", symbol, "simulated", kind, base if spot else None, quote if spot else None,
        None if spot else quote, "0.1", "0.01", "0.01", contract, None if spot else "1",
        None if spot else "linear", NOW, None, "live", raw,
    )  # fmt: skip


@pytest.fixture
def venue() -> Venue:
    return Venue([instrument(SYMBOL, "SWAP", contract="0.01"), instrument(OTHER, "SPOT")], history=1000)


BOOK = update(None, 10, bids=[("60000", "3", 2), ("59999.9", "1", 1)], asks=[("60000.1", "2", 1), ("60000.3", "4", 2)])


# Written and understood


@pytest.mark.parametrize(
    ("channel", "row", "action", "record"),
    [
        ("trades-all", writing.fill(trade(9)), None, trade(9)),
        ("tickers", writing.quote(ticker(), "SWAP"), None, ticker()),
        ("books", writing.change(BOOK), "snapshot", BOOK),
        ("books", writing.change(update(10, 12, bids=[("60000", "0", 0)])), "update",
         update(10, 12, bids=[("60000", "0", 0)])),
        ("books", writing.change(update(12, 12, ms=60_000)), "update", update(12, 12, ms=60_000)),
    ],
)  # fmt: skip
def test_what_is_written_is_understood_as_the_same_record(
    channel: str, row: str, action: str | None, record: Any
) -> None:
    message = OKX.parse(writing.frame(channel, SYMBOL, row, action), 7, "simulated")

    assert isinstance(message, Trades | Tickers | Books)
    assert message.records == [record]


def test_a_ticker_before_the_first_trade_is_understood() -> None:
    message = OKX.parse(writing.frame("tickers", SYMBOL, writing.quote(ticker(last=None), "SWAP")), 7, "simulated")

    assert isinstance(message, Tickers)
    assert message.records[0].last is None


def test_a_symbol_that_needs_escaping_is_escaped() -> None:
    odd = 'X"-Y\n'
    message = OKX.parse(writing.frame("trades-all", odd, writing.fill(trade(1, symbol=odd))), 7, "simulated")

    assert isinstance(message, Trades)
    assert message.symbol == odd


def test_instruments_are_written_in_the_exchanges_words_or_verbatim() -> None:
    raw = '{"instType":"SWAP","instId":"ETH-USDT-SWAP","tickSz":"0.01","extra":[1]}'
    rows = [instrument(SYMBOL, "SWAP", contract="0.01"), instrument(OTHER, "SPOT"), instrument("E-F", "SWAP", raw=raw)]
    known = OKX.parse_instruments(writing.answer(map(writing.instrument, rows)), 7, "simulated")

    assert [(one.symbol, one.type, one.base, one.settle, one.contract_value) for one in known] == [
        (SYMBOL, "SWAP", None, "USDT", "0.01"), (OTHER, "SPOT", "ETH", None, None),
        ("ETH-USDT-SWAP", "SWAP", None, None, None),
    ]  # fmt: skip
    assert known[2].raw == raw


# On a socket


def test_a_subscription_is_acknowledged_and_begins_with_what_is_known(venue: Venue) -> None:
    venue.publish([BOOK, ticker()])
    replies = venue.desk("public").receive(OKX.subscribe([Topic("books", SYMBOL), Topic("tickers", SYMBOL)], "a1"))
    messages = [OKX.parse(reply, 7, "simulated") for reply in replies]

    assert messages == [
        Subscribed(Topic("books", SYMBOL)), Books(SYMBOL, [BOOK]),
        Subscribed(Topic("tickers", SYMBOL)), Tickers(SYMBOL, [ticker()]),
    ]  # fmt: skip
    assert json.loads(replies[0])["id"] == "a1"


def test_a_second_subscription_brings_a_book_again_and_nothing_twice(venue: Venue) -> None:
    venue.publish([BOOK, ticker()])
    desk = venue.desk("public")
    both = OKX.subscribe([Topic("books", SYMBOL), Topic("tickers", SYMBOL)], "1")
    desk.receive(both)

    assert [type(OKX.parse(reply, 7, "simulated")) for reply in desk.receive(both)] == [Subscribed, Books, Subscribed]
    assert len(venue.publish([ticker(100)])) == 1


def test_only_what_somebody_wants_is_written(venue: Venue) -> None:
    desk, other = venue.desk("public"), venue.desk("public")
    for one in (desk, other):
        one.receive(OKX.subscribe([Topic("tickers", SYMBOL)], "1"))
    assert [topic for topic, _ in venue.publish([trade(1), ticker(), BOOK])] == [Topic("tickers", SYMBOL)]
    desk.receive(OKX.unsubscribe([Topic("tickers", SYMBOL)], "2"))
    assert len(venue.publish([ticker()])) == 1
    other.close()
    assert venue.publish([ticker()]) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (OKX.subscribe([Topic("trades-all", SYMBOL)], "1"), "60018"),
        (OKX.subscribe([Topic("books", "NO-SUCH")], "1"), "60018"),
        (OKX.subscribe([Topic("books50", SYMBOL)], "1"), "60018"),
        ('{"op":"login","args":[{"channel":"books","instId":"BTC-USDT-SWAP"}]}', "60019"),
        ("hello", "60012"),
        ('{"op":"subscribe","args":[{"channel":"books"}]}', "60012"),
        ('{"op":"subscribe"}', "60012"),
        ("[" * 100_000, "60012"),
    ],
)
def test_what_cannot_be_had_is_refused_as_okx_does(venue: Venue, text: str, code: str) -> None:
    (reply,) = venue.desk("public").receive(text)
    refusal = OKX.parse(reply, 7, "simulated")

    assert isinstance(refusal, Refused)
    assert (refusal.code, refusal.verdict) == (code, Verdict.GIVE_UP_TOPIC)


def test_a_ping_is_answered(venue: Venue) -> None:
    assert venue.desk("business").receive("ping") == [b"pong"]


def test_the_fills_of_one_taker_at_one_price_are_folded(venue: Venue) -> None:
    venue.desk("public").receive(OKX.subscribe([Topic("trades", SYMBOL)], "1"))
    fills = [trade(1, size="0.5"), trade(2, size="0.25"), trade(3, price="60000.2"), trade(4, ms=1, price="60000.2")]
    frames = [frame for _, frame in venue.publish([BOOK, *fills])]
    folds = [OKX.parse(frame, 7, "simulated") for frame in frames]

    assert folds == [
        Folds(SYMBOL, [Fold(1, 2, NOW)]), Folds(SYMBOL, [Fold(3, 3, NOW)]), Folds(SYMBOL, [Fold(4, 4, NOW + 1)])
    ]  # fmt: skip
    assert [json.loads(frame)["data"][0]["sz"] for frame in frames] == ["0.75", "0.5", "0.5"]


# Over REST


def test_past_fills_are_paged_by_id(venue: Venue) -> None:
    venue.publish([trade(number, number) for number in range(1, 251)])

    def ids(path: str) -> list[int]:
        return [int(one.trade_id) for one in OKX.parse_history(SYMBOL, *venue.answer(path, NOW), 7, "simulated")]

    assert ids(OKX.newest_path(SYMBOL)) == list(range(250, 0, -1))
    assert ids(OKX.history_path(SYMBOL, 201)) == list(range(200, 100, -1))
    assert ids(OKX.history_path(SYMBOL, 51)) == list(range(50, 0, -1))
    assert ids(f"/api/v5/market/history-trades?instId={SYMBOL}&type=2&after={NOW + 4}&limit=2") == [3, 2]


def test_books_tickers_time_and_facts_are_told(venue: Venue) -> None:
    venue.publish([BOOK, update(10, 11, asks=[("60000.1", "0", 0)], ms=100), ticker()])

    book = OKX.parse_book(SYMBOL, *venue.answer(OKX.book_path(SYMBOL), NOW), 7, "simulated")
    assert book is not None
    assert (book.sequence, book.bids, book.asks) == (11, BOOK.bids, [("60000.3", "4", 2)])
    swaps, spot = (
        OKX.parse_tickers(*venue.answer(path, NOW), 7, "simulated")
        for path in OKX.tickers_paths() if "SWAP" in path or "SPOT" in path
    )  # fmt: skip
    assert (list(swaps), list(spot)) in (([SYMBOL], []), ([], [SYMBOL]))
    assert OKX.parse_time(*venue.answer(OKX.time_path(), NOW + 5)) == NOW + 5
    assert OKX.parse_maintenances(*venue.answer(OKX.maintenance_path(), NOW)) == []


def test_minutes_sum_up_all_their_fills(venue: Venue) -> None:
    minute = NOW // 60_000 * 60_000 - NOW
    venue.publish([
        trade(1, minute), trade(2, minute + 59_999, size="0.25", price="60001"), trade(3, minute + 120_000, price="5")
    ])  # fmt: skip
    now = NOW + minute + 120_001
    candles = OKX.parse_candles(*venue.answer(OKX.candles_path(SYMBOL, now), now))

    assert [(one.start - NOW - minute, one.volume, one.closed) for one in candles] == [
        (120_000, "0.5", False), (60_000, "0", True), (0, "0.75", True)
    ]  # fmt: skip


def test_a_minute_that_lost_some_of_its_fills_is_not_told(venue: Venue) -> None:
    venue.publish([trade(number, number * 60) for number in range(3000)])
    candles = OKX.parse_candles(*venue.answer(OKX.candles_path(SYMBOL, NOW + 180_000), NOW + 180_000))

    assert all(float(one.volume) == 500 for one in candles if one.closed)
    assert min(one.start for one in candles) >= NOW + 120_000


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v5/market/history-trades?instId=NO-SUCH", "51001"),
        ("/api/v5/market/books", "51001"),
        ("/api/v5/public/instruments?instType=SPOT&instId=NO-SUCH", "51001"),
        (f"/api/v5/market/history-trades?instId={SYMBOL}&after=soon", "51000"),
        (f"/api/v5/market/trades?instId={SYMBOL}&limit=many", "51000"),
    ],
)
def test_a_wrong_request_is_refused_as_okx_does(venue: Venue, path: str, code: str) -> None:
    with pytest.raises(AnswerRefused) as caught:
        OKX.parse_history(SYMBOL, *venue.answer(path, NOW), 7, "simulated")
    assert caught.value.code == code


def test_another_path_is_not_found(venue: Venue) -> None:
    status, body = venue.answer("/api/v5/account/balance", NOW)

    assert status == 404
    with pytest.raises(ProtocolError):
        OKX.parse_instruments(body, 7, "simulated")
