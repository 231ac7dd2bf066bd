"""OKX frames and answers: real ones are understood; from any bytes comes something well-formed, or a protocol error."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptofeed_cli.clock import MAX_MILLISECONDS
from cryptofeed_cli.errors import ProtocolError
from cryptofeed_cli.exchanges.base import (
    Books,
    Fold,
    Folds,
    Ignored,
    Message,
    Notice,
    Pong,
    Refused,
    Subscribed,
    Tickers,
    Topic,
    Trades,
    Verdict,
)
from cryptofeed_cli.exchanges.okx import Okx
from cryptofeed_cli.types import BookUpdate, Instrument, Ticker, Trade
from tests.captures import captures, received_frames
from tests.okx_market import dump
from tests.tapes import SYMBOL, book_frame, fill_frame, fold_frame, ticker_frame

OKX = Okx()


def parse(data: bytes) -> Message:
    return OKX.parse(data, 7, "live")


def reason(data: bytes) -> str:
    """Return why a frame cannot be understood."""
    with pytest.raises(ProtocolError) as caught:
        parse(data)
    assert caught.value.payload == data
    return caught.value.reason


# Well-formed


def assert_well_formed(message: Message) -> None:
    """Check that whatever a message holds can be computed with, ordered and stored."""
    msgspec.json.encode(message).decode()
    match message:
        case Trades(symbol, records) | Tickers(symbol, records) | Books(symbol, records):
            for record in records:
                assert (record.symbol, record.exchange, record.source, record.received_at) == (symbol, "OKX", "live", 7)
                assert record.timestamp is None or 0 < record.timestamp <= MAX_MILLISECONDS
                assert_numbers(record)
        case Folds(_, folds):
            for fold in folds:
                assert 0 <= fold.first_id <= fold.last_id < 2**63


def assert_numbers(record: Trade | Ticker | BookUpdate) -> None:
    match record:
        case Trade():
            assert str(int(record.trade_id)) == record.trade_id
            assert 0 <= int(record.trade_id) < 2**63
            assert_decimals(record.price, record.size)
        case Ticker():
            figures = msgspec.structs.astuple(record)[5:-2]
            assert len(figures) == 13
            assert_decimals(*(figure for figure in figures if figure is not None))
        case BookUpdate():
            assert 0 <= record.sequence < 2**63
            assert record.prev_sequence is None or 0 <= record.prev_sequence < 2**63
            for price, size, orders in record.bids + record.asks:
                assert_decimals(price, size)
                assert 0 <= orders < 2**63


def assert_decimals(*texts: str) -> None:
    for text in texts:
        assert text.isascii()
        assert not set(text) - set("0123456789.")
        assert Decimal(text).is_finite()


def understand(data: bytes) -> None:
    """Understand bytes, or refuse them as promised."""
    try:
        message = parse(data)
    except ProtocolError as exc:
        exc.reason.encode()
    else:
        assert_well_formed(message)


SAMPLES = (
    book_frame(-1, 10, bids=[("100", "1"), ("99.5", "2")], asks=[("101", "3")]),
    book_frame(10, 20, bids=[("100", "0")]),
    fill_frame(5, 6),
    fold_frame(5, 8),
    ticker_frame(),
    b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
    b'{"event":"error","code":"60018","msg":"wrong URL or channel:books,instId:X-Y doesn\'t exist","id":"c0r1"}',
    b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}',
    b"pong",
)
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, 2**64, -(2**63) - 1, 10**400,
    "", "0", "00", "-1", "1e5", ".", "1.", "1.2.3", " 1", "1 2", "1\n2", "NaN", "Infinity", "9" * 41, "9" * 5000,
    "\u0661\u0662", "\xb2", "\0", "\ud800", "\udfff\ud800", "é", "books", "trades-all", "subscribe", "error",
    [], {}, [[]], [["1"]], ["1", "2"], {"channel": "books"},
)  # fmt: skip


def mutate(value: Any, rng: random.Random) -> Any:
    """Return JSON in which one thing is not as it should be."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(ODD)
    if isinstance(value, list):
        index = rng.randrange(len(value))
        changed = [*value[:index], mutate(value[index], rng), *value[index + 1 :]]
        return rng.choice((changed, changed, value[:index] + value[index + 1 :], value * 2))
    key = rng.choice(list(value))
    changed = {**value, key: mutate(value[key], rng)}
    return rng.choice((changed, changed, changed, {k: v for k, v in value.items() if k != key}))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff\xfe{}")
@example(b"\0")
@example(b"[" * 200_000)
@example(b'{"arg":' * 50_000)
@example(b'{"arg":{"channel":"books","later":' + b"[" * 200_000)
@example(b'{"event":"error","code":"60018","msg":"\\ud800"}')
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    understand(data)


@settings(max_examples=500)
@given(st.sampled_from(SAMPLES), st.integers(0, 10**6), st.integers(0, 7), st.integers(0, 10**6))
def test_a_flipped_bit_or_a_cut_is_understood_or_refused(frame: bytes, place: int, bit: int, cut: int) -> None:
    place %= len(frame)
    flipped = frame[:place] + bytes([frame[place] ^ (1 << bit)]) + frame[place + 1 :]
    understand(flipped)
    understand(flipped[: cut % (len(frame) + 1)])


@settings(max_examples=500)
@given(st.sampled_from(SAMPLES[:-1]), st.randoms(use_true_random=False), st.integers(1, 3))
def test_a_frame_with_something_odd_in_it_is_understood_or_refused(
    frame: bytes, rng: random.Random, times: int
) -> None:
    message = json.loads(frame)
    for _ in range(times):
        message = mutate(message, rng)
    understand(dump(message))


@given(st.sampled_from(SAMPLES[:-1]), st.integers(0, 10**6), st.binary(min_size=1, max_size=12))
def test_a_frame_with_bytes_put_in_is_understood_or_refused(frame: bytes, place: int, more: bytes) -> None:
    place %= len(frame)
    understand(frame[:place] + more + frame[place:])


@pytest.mark.parametrize("key", ["arg", "data", "channel", "instId", "tradeId", "px"])
def test_a_key_that_comes_twice_is_understood_or_refused(key: str) -> None:
    doubled = f'"{key}":"BTC-USDT","{key}":'.encode()
    understand(fill_frame(5).replace(f'"{key}":'.encode(), doubled))


@pytest.mark.parametrize("odd", [text for text in ODD if isinstance(text, str)], ids=ascii)
@pytest.mark.parametrize("frame", SAMPLES[:5], ids=["snapshot", "update", "fill", "fold", "ticker"])
def test_an_odd_text_anywhere_is_understood_or_refused(frame: bytes, odd: str) -> None:
    for text in ("BTC-USDT", "100", "1", "5", "1795000000000"):
        understand(frame.replace(dump(text), dump(odd)))


@given(st.binary(max_size=100) | st.sampled_from((b"[" * 100_000, b'{"code":"0","data":[{"a":' + b"[" * 100_000)))
def test_any_answer_is_a_list_of_instruments_or_refused(body: bytes) -> None:
    with suppress(ProtocolError):
        OKX.parse_instruments(body, 7, "backfill")


@given(st.randoms(use_true_random=False))
def test_an_answer_with_something_odd_in_it_holds_nothing_that_cannot_be_stored(rng: random.Random) -> None:
    row = {"instId": SYMBOL, "instType": "SPOT", "tickSz": "0.1", "listTime": "1548133413000", "later": [1]}
    body = dump(mutate({"code": "0", "msg": "", "data": [row]}, rng))
    with suppress(ProtocolError):
        for instrument in OKX.parse_instruments(body, 7, "backfill"):
            msgspec.json.encode(instrument).decode()
            for time in (instrument.listed_at, instrument.expires_at):
                assert time is None or 0 < time <= MAX_MILLISECONDS


# What is refused


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "not JSON: Input data was truncated"),
        (b"ping", "not JSON: JSON is malformed: invalid character"),
        (b"\xff", "not JSON: JSON is malformed: invalid character"),
        (b'{"event":"\xff"}', "not UTF-8"),
        (b"[]", "unexpected shape: Expected `object`, got `array`"),
        (b"{}", "a frame of no channel that is recorded"),
        (b'{"arg":{"channel":"candle1m","instId":"X"},"data":[]}', "a frame of no channel that is recorded"),
        (b'{"arg":{"channel":"books5","instId":"X"},"data":[]}', "a frame of no channel that is recorded"),
        (book_frame(10, 20, bids=[("1 2", "3")]), "an implausible book"),
        (book_frame(10, 20, bids=[("1\n2", "3"), ("4", "5")]), "an implausible book"),
        (book_frame(10, 20, bids=[("-1", "3")]), "an implausible book"),
        (book_frame(10, 20, bids=[("1e5", "3")]), "an implausible book"),
        (book_frame(10, 20, bids=[("", "3")]), "an implausible book"),
        (book_frame(10, -1), "an implausible book"),
        (fill_frame(5).replace(b'"5"', b'"05"'), "an implausible trade"),
        (fill_frame(5).replace(b'"5"', b'"9223372036854775808"'), "an implausible trade"),
        (fill_frame(5).replace(b'{"instId":"BTC', b'{"instId":"ETH'), "an implausible trade"),
        (fold_frame(0, 5).replace(b'"count":"6"', b'"count":"7"'), "an implausible fold of trades"),
        (ticker_frame(last="1.2.3"), "an implausible ticker"),
        (ticker_frame().replace(b'"data":[{"instId":"BTC', b'"data":[{"instId":"ETH'), "a ticker of another symbol"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_with_its_reason(frame: bytes, why: str) -> None:
    assert reason(frame) == why


@pytest.mark.parametrize("count", ["0", "-1", "9223372036854775808"])
def test_a_fold_of_an_impossible_count_is_refused(count: str) -> None:
    assert "unexpected shape" in reason(fold_frame(5, 5).replace(b'"count":"1"', f'"count":"{count}"'.encode()))


def test_the_reason_does_not_tell_places_apart() -> None:
    assert reason(b'{"arg":x}') == reason(b'{"argument":x}')
    assert reason(b'{"event":"\xff"}') == reason(b'{"event":"abc\xfe"}')


def test_a_time_beyond_what_can_be_written_is_refused() -> None:
    frame = fill_frame(5).replace(b"1795000000000", str(MAX_MILLISECONDS + 1).encode())
    assert "unexpected shape" in reason(frame)


# What is understood


def test_a_fill_is_a_trade_as_sent() -> None:
    frame = dump(
        {
            "arg": {"channel": "trades-all", "instId": "X-Y"},
            "data": [
                {"instId": "X-Y", "tradeId": "9", "px": "1.50", "sz": "0.10", "side": "sell", "source": "1", "ts": "5"}
            ],
        }
    )
    assert parse(frame) == Trades("X-Y", [Trade(5, 7, "OKX", "X-Y", "live", "9", "1.50", "0.10", "sell", True)])


@pytest.mark.parametrize(("source", "rpi"), [("0", False), ("1", True), ("2", None)])
def test_rpi_is_told_only_where_the_exchange_does(source: str, rpi: bool | None) -> None:
    message = parse(fill_frame(5).replace(b'"side"', f'"source":"{source}","side"'.encode()))
    assert isinstance(message, Trades)
    assert message.records[0].rpi is rpi


def test_a_fold_covers_the_ids_below_its_own() -> None:
    assert parse(fold_frame(5, 7, 3)) == Folds(SYMBOL, [Fold(5, 7, 1_795_000_000_003)])


def test_an_empty_figure_of_a_ticker_is_absent() -> None:
    message = parse(ticker_frame().replace(b'"last":"100"', b'"last":"100","bidPx":"","askPx":"0"'))
    assert isinstance(message, Tickers)
    ticker = message.records[0]
    assert (ticker.last, ticker.bid, ticker.ask, ticker.bid_size) == ("100", None, "0", None)


def test_a_snapshot_begins_a_chain_and_an_update_names_what_it_follows() -> None:
    first, second = parse(book_frame(-1, 10, bids=[("100", "1")])), parse(book_frame(10, 20, asks=[("101", "0")]))
    assert isinstance(first, Books)
    assert isinstance(second, Books)
    assert [(one.action, one.prev_sequence, one.sequence) for one in first.records + second.records] == [
        ("snapshot", None, 10), ("update", 10, 20),
    ]  # fmt: skip
    assert (first.records[0].bids, second.records[0].asks) == ([("100", "1", 1)], [("101", "0", 0)])


def test_a_time_of_zero_is_absent() -> None:
    message = parse(fill_frame(5).replace(b"1795000000000", b"0"))
    assert isinstance(message, Trades)
    assert message.records[0].timestamp is None


def test_new_fields_in_a_known_frame_are_ignored() -> None:
    for frame in SAMPLES[:5]:
        message = json.loads(frame)
        message["later"] = message["arg"]["later"] = message["data"][0]["later"] = {"text": 'a "quoted" \\ one'}
        assert parse(dump(message)) == parse(frame)


def test_a_frame_is_understood_however_its_keys_are_ordered_and_laid_out() -> None:
    for frame in SAMPLES[:7]:
        message = json.loads(frame)
        assert parse(json.dumps(dict(reversed(message.items())), indent=1).encode()) == parse(frame)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("60014", Verdict.RETRY),
        ("64007", Verdict.RETRY),
        ("60018", Verdict.GIVE_UP_TOPIC),
        ("64003", Verdict.GIVE_UP_TOPIC),
    ],
)
def test_a_refusal_says_whether_to_ask_again(code: str, verdict: Verdict) -> None:
    message = parse(dump({"event": "error", "code": code, "msg": "no", "id": "c0r1", "connId": "a"}))
    assert message == Refused(code, f"no ({code})", verdict, "c0r1", None)


def test_a_notice_is_told() -> None:
    assert parse(SAMPLES[7]) == Notice("64008", "The connection will soon be closed for a service upgrade.")


# Real frames


@cache
def edge(kind: str) -> list[bytes]:
    """Return the odd real frames of one kind."""
    lines = (captures() / "frames/edge.jsonl").read_text().splitlines()
    return [line["raw"].encode() for line in map(json.loads, lines) if line["kind"].partition(":")[0] == kind]


EDGE_KINDS = (
    "error-60018", "error-60011", "pong", "data-before-ack", "one-sided-snapshot", "re-snapshot", "empty-update",
    "one-sided-bbo", "books-seq-and-checksum", "trade-seqId-between-books", "idle-heartbeat-seq-equal", "seq-reset",
    "channel-conn-count-error",
)  # fmt: skip


def as_books(frame: bytes, previous: int, sequence: int) -> Message:
    """Understand a frame of 2022 as today's channel: without a sequence then, and of another tier."""
    message = json.loads(frame)
    message["arg"]["channel"] = "books"
    message["data"][0] |= {"prevSeqId": previous, "seqId": sequence}
    return parse(dump(message))


def test_every_kind_of_odd_frame_is_tested_here() -> None:
    lines = (captures() / "frames/edge.jsonl").read_text().splitlines()
    assert {json.loads(line)["kind"].partition(":")[0] for line in lines} == set(EDGE_KINDS)


def test_the_topic_of_a_refusal_is_found_in_its_prose() -> None:
    (frame,) = edge("error-60018")
    message = parse(frame)
    assert isinstance(message, Refused)
    assert (message.code, message.verdict, message.request_id) == ("60018", Verdict.GIVE_UP_TOPIC, None)
    assert message.topic == Topic("candle1m", "BTC-USDT-SWAP")


def test_a_refusal_that_names_no_topic_has_none() -> None:
    (frame,) = edge("error-60011")
    assert parse(frame) == Refused("60011", "Please log in (60011)", Verdict.GIVE_UP_TOPIC, None, None)


def test_pong_is_bare_text() -> None:
    assert [parse(frame) for frame in edge("pong")] == [Pong()]


def test_data_may_come_before_its_acknowledgement() -> None:
    data, acknowledgement = edge("data-before-ack")
    assert reason(data) == "a frame of no channel that is recorded"
    assert parse(acknowledgement) == Subscribed(Topic("candle1m", "BTC-USDT-SWAP"))


def test_a_book_may_have_one_side() -> None:
    (frame,) = edge("one-sided-snapshot")
    message = as_books(frame, -1, 5)
    assert isinstance(message, Books)
    assert message.records[0].bids == []
    assert message.records[0].asks == [("0.0025", "20", 1), ("0.003", "1506", 3)]


def test_the_same_snapshot_may_come_twice() -> None:
    first, second = (as_books(frame, -1, 5) for frame in edge("re-snapshot"))
    assert first == second
    assert isinstance(first, Books)
    assert first.records[0].action == "snapshot"


def test_an_update_may_be_empty() -> None:
    for frame in edge("empty-update"):
        message = as_books(frame, 5, 6)
        assert isinstance(message, Books)
        assert (message.records[0].bids, message.records[0].asks) == ([], [])


def test_other_book_channels_are_not_taken_for_books() -> None:
    for frame in edge("one-sided-bbo") + edge("one-sided-snapshot"):
        assert reason(frame) == "a frame of no channel that is recorded"


@pytest.mark.parametrize("kind", ["books-seq-and-checksum", "trade-seqId-between-books", "seq-reset"])
def test_real_updates_name_the_one_before(kind: str) -> None:
    messages = [message for message in map(parse, edge(kind)) if isinstance(message, Books)]
    pairs = [(record.prev_sequence, record.sequence) for message in messages for record in message.records]
    assert len(pairs) >= 2
    assert [sequence for _, sequence in pairs[:-1]] == [previous for previous, _ in pairs[1:]]


def test_a_heartbeat_is_an_update_that_follows_itself() -> None:
    (frame,) = edge("idle-heartbeat-seq-equal")
    message = parse(frame)
    assert isinstance(message, Books)
    (record,) = message.records
    assert (record.prev_sequence, record.sequence, record.bids, record.asks) == (15, 15, [], [])


def test_news_of_private_channels_are_ignored() -> None:
    assert [parse(frame) for frame in edge("channel-conn-count-error")] == [Ignored()]


def test_every_real_frame_of_2026_is_understood() -> None:
    frames = (captures() / "ccxt-2026-08/okx_ws_messages.jsonl").read_bytes().splitlines()
    assert len(frames) == 27
    for frame in frames:
        message = json.loads(frame)
        channel, symbol = message["arg"]["channel"], message["arg"]["instId"]
        if "event" in message:
            assert parse(frame) == Subscribed(Topic(channel, symbol))
        elif channel in ("tickers", "trades"):
            understood = parse(frame)
            assert isinstance(understood, Tickers if channel == "tickers" else Folds)
            assert understood.symbol == symbol
            assert_well_formed(understood)
        else:
            assert reason(frame) == "a frame of no channel that is recorded"


def test_a_real_ticker_keeps_every_figure() -> None:
    frames = (captures() / "ccxt-2026-08/okx_ws_messages.jsonl").read_bytes().splitlines()
    frame = next(frame for frame in frames if b'"data":[{"instType":"SPOT","instId"' in frame)
    row = json.loads(frame)["data"][0]
    message = parse(frame)
    assert isinstance(message, Tickers)
    assert msgspec.structs.astuple(message.records[0])[5:-2] == tuple(
        row[key]
        for key in (
            "last", "lastSz", "bidPx", "bidSz", "askPx", "askSz", "open24h", "high24h", "low24h",
            "vol24h", "volCcy24h", "sodUtc0", "sodUtc8",
        )
    )  # fmt: skip


def test_every_frame_of_a_real_connection_is_understood() -> None:
    for _, frame in received_frames():
        message = json.loads(frame)
        channel = message["arg"]["channel"]
        if "event" in message:
            assert isinstance(parse(frame), Subscribed)
        elif channel == "books":
            assert_well_formed(as_books(frame, 5, 6))
        else:
            assert_well_formed(parse(frame))


@pytest.mark.parametrize("name", ["crypto-msg-parser-2022.jsonl", "tardis-node-2021.jsonl"])
def test_every_real_frame_of_other_channels_is_understood_or_refused(name: str) -> None:
    lines = (captures() / "frames" / name).read_bytes().splitlines()
    assert len(lines) > 30
    for line in lines:
        understand(line)


# Instruments


def answers() -> Iterator[bytes]:
    directory = captures() / "okx-api-rest-2026-04"
    yield gzip.decompress((directory / "get-instruments-spot.json.gz").read_bytes())
    for kind in ("swap", "futures"):
        yield (directory / f"get-instruments-{kind}.json").read_bytes()


@pytest.mark.parametrize("index", range(3), ids=["spot", "swap", "futures"])
def test_a_real_list_of_instruments_is_kept_verbatim(index: int) -> None:
    body = list(answers())[index]
    rows = json.loads(body)["data"]
    instruments = OKX.parse_instruments(body, 7, "backfill")
    assert len(instruments) == len(rows) > 10
    for instrument, row in zip(instruments, rows, strict=True):
        assert json.loads(instrument.raw) == row
        assert instrument.raw.encode() in body
        assert_told(instrument, row)


def assert_told(instrument: Instrument, row: dict[str, Any]) -> None:
    keys = ("instType", "baseCcy", "quoteCcy", "settleCcy", "tickSz", "lotSz", "minSz", "ctVal", "ctMult", "ctType")
    assert msgspec.structs.astuple(instrument)[5:15] == tuple(row[key] or None for key in keys)
    assert instrument.listed_at == (int(row["listTime"]) if row["listTime"] else None)
    assert instrument.expires_at == (int(row["expTime"]) if row["expTime"] else None)
    assert (instrument.symbol, instrument.state) == (row["instId"], row["state"] or None)
    assert (instrument.timestamp, instrument.received_at, instrument.source) == (None, 7, "backfill")


def test_a_field_of_an_instrument_may_be_null_or_missing() -> None:
    (instrument,) = OKX.parse_instruments(
        b'{"code":"0","data":[{"instId":"X-Y","instType":"SPOT","ctVal":null,"listTime":"","expTime":"0"}]}', 7, "live"
    )
    assert (instrument.contract_value, instrument.listed_at, instrument.expires_at) == (None, None, None)
    assert instrument.state is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"code":"50011","msg":"Too Many Requests"}', "error 50011: Too Many Requests"),
        (b"<html>", "not a list of instruments: JSON is malformed: invalid character (byte 0)"),
        (b'{"code":"0","data":[{"instId":"X","instType":"SPOT","later":"\xff"}]}', None),
        (b'{"code":"0","data":[{"instId":"X","instType":"SPOT","state":"\\ud800"}]}', None),
        (b'{"code":"0","data":[{"instId":"X","instType":"SPOT","later":' + b"[" * 100_000, None),
    ],
    ids=["an error", "no JSON", "no UTF-8", "half a surrogate pair", "deep nesting"],
)
def test_an_answer_that_is_no_list_of_instruments_is_refused(body: bytes, why: str | None) -> None:
    with pytest.raises(ProtocolError) as caught:
        OKX.parse_instruments(body, 7, "live")
    assert why in (None, caught.value.reason)
    assert caught.value.payload == body


# Requests and regions


def answer(*rows: object) -> bytes:
    return dump({"code": "0", "msg": "", "data": list(rows)})


@pytest.mark.parametrize("ts", ["9" * 30, "-1", str(MAX_MILLISECONDS + 1), "", "noon", "9" * 10_000])
def test_a_time_that_no_clock_can_show_is_refused(ts: str) -> None:
    with pytest.raises(ProtocolError):
        OKX.parse_time(200, answer({"ts": ts}))
    assert OKX.parse_time(200, answer({"ts": str(MAX_MILLISECONDS)})) == MAX_MILLISECONDS


@pytest.mark.parametrize("volume", ["sNaN", "NaN", "Infinity", "-1", "1e400000", "", " 1", "1_0", "\u0663"])
def test_a_candle_whose_volume_is_no_plain_number_is_refused(volume: str) -> None:
    def candle(volume: str) -> bytes:
        return answer(["1795000000000", "1", "1", "1", "1", volume, "0", "0", "1"])

    with pytest.raises(ProtocolError):
        OKX.parse_candles(200, candle(volume))
    assert [one.volume for one in OKX.parse_candles(200, candle("12.50"))] == ["12.50"]


def test_of_an_instrument_that_is_too_long_the_beginning_is_kept_as_json() -> None:
    row = {"instId": SYMBOL, "instType": "SPOT", "news": "\u00e9" * (17 << 20)}
    body = json.dumps({"code": "0", "data": [row]}, ensure_ascii=False).encode()
    (instrument,) = OKX.parse_instruments(body, 7, "live")

    kept = json.loads(instrument.raw)
    assert len(instrument.raw) < 1 << 20
    assert kept["cut"] == f"{len(json.dumps(row, ensure_ascii=False).encode())} bytes long"
    assert json.dumps(row, ensure_ascii=False).startswith(kept["beginning"])


def test_a_request_is_written_as_documented() -> None:
    topics = [Topic("books", "BTC-USDT"), Topic("trades", "X-Y")]
    assert OKX.subscribe(topics, "c0r1") == (
        '{"id":"c0r1","op":"subscribe","args":'
        '[{"channel":"books","instId":"BTC-USDT"},{"channel":"trades","instId":"X-Y"}]}'
    )
    assert json.loads(OKX.unsubscribe(topics[:1], "c0r2"))["op"] == "unsubscribe"


@pytest.mark.parametrize("region", ["global", "eea", "us", "demo"])
def test_no_region_uses_the_port_that_was_switched_off(region: str) -> None:
    exchange = Okx(region)
    assert set(exchange.sockets) == {wire.endpoint for wire in exchange.capabilities.wires.values()}
    for urls in exchange.sockets.values():
        assert all(url.startswith("wss://") and ":8443" not in url for url in urls)
    assert all(url.startswith("https://") for url in exchange.rest)


def test_demo_trading_is_another_exchange() -> None:
    demo = Okx("demo")
    assert demo.name == "OKX-DEMO"
    assert demo.rest_headers == {"x-simulated-trading": "1"}
    message = demo.parse(fill_frame(5), 7, "live")
    assert isinstance(message, Trades)
    assert message.records[0].exchange == "OKX-DEMO"
