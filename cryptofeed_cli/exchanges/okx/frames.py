"""OKX WebSocket frames to messages; knows no socket and keeps no state.

Formats: OKX API v5 documentation, "Order Book Trading > Market Data" and "WebSocket". Numbers are sent as strings
except ``seqId`` and ``prevSeqId``; ``ts`` is Unix milliseconds. ``checksum`` is 0 since 2026-06-23 and never read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

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
    Unsubscribed,
    Verdict,
)
from cryptofeed_cli.types import BookUpdate, Source, Ticker, Trade

Time = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]
"""Unix milliseconds; 0 where OKX has none."""
Sequence64 = Annotated[int, Meta(ge=-1, le=(1 << 63) - 1)]
Count64 = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
WireLevel = tuple[str, str, str, Count64]
"""``[price, size, "0", orders]``; the third is a retired field."""


class _Arg(msgspec.Struct, gc=False):
    channel: str
    instId: str  # noqa: N815 - OKX's name


class _Event(msgspec.Struct, gc=False):
    event: str | None = None
    arg: dict[str, Any] | None = None
    id: str | None = None
    code: str | None = None
    msg: str = ""


class _Fill(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    trade_id: str
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: Time
    source: str = ""
    count: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)] = 1


class _Quote(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    ts: Time
    last: str = ""
    last_sz: str = ""
    bid_px: str = ""
    bid_sz: str = ""
    ask_px: str = ""
    ask_sz: str = ""
    open24h: str = ""
    high24h: str = ""
    low24h: str = ""
    vol24h: str = ""
    vol_ccy24h: str = msgspec.field(default="", name="volCcy24h")
    sod_utc0: str = ""
    sod_utc8: str = ""


class _Change(msgspec.Struct, gc=False, rename="camel"):
    asks: list[WireLevel]
    bids: list[WireLevel]
    ts: Time
    seq_id: Sequence64
    prev_seq_id: Sequence64


class _Fills(msgspec.Struct, gc=False):
    arg: _Arg
    data: list[_Fill]


class _Quotes(msgspec.Struct, gc=False):
    arg: _Arg
    data: list[_Quote]


class _Changes(msgspec.Struct, gc=False):
    arg: _Arg
    action: Literal["snapshot", "update"]
    data: list[_Change]


_decode_event = msgspec.json.Decoder(_Event).decode
# Not strict: OKX sends times and counts as strings, and they are kept as integers.
_decode_fills = msgspec.json.Decoder(_Fills, strict=False).decode
_decode_quotes = msgspec.json.Decoder(_Quotes, strict=False).decode
_decode_changes = msgspec.json.Decoder(_Changes, strict=False).decode

_PONG = Pong()
_IGNORED = Ignored()
_RPI = {"0": False, "1": True}
# Possessive throughout: three times as fast, since there is nothing to step back to.
_NUMBER = r"[0-9]{1,40}+(?:\.[0-9]{1,40}+)?+"
is_number = re.compile(_NUMBER).fullmatch
"""Match a plain decimal number, as every price and size is written."""
_are_numbers = re.compile(rf"(?:{_NUMBER}\n)*+{_NUMBER}").fullmatch
# Nothing is computed with a ticker's figures: it is enough that each is a decimal number, or empty.
_are_figures = re.compile(" ".join([r"[0-9]*+(?:\.[0-9]++)?+"] * 13)).fullmatch
_is_fill = re.compile(rf"(?:0|[1-9][0-9]{{0,17}}+) {_NUMBER} {_NUMBER}").fullmatch
_POSITION = re.compile(r" \((?:byte|char) \d+\)")
_REFUSED_TOPIC = re.compile(r"channel:\s*([\w-]+)\s*,\s*instId:\s*([^\s,]+)")
_UNKNOWN_CHANNEL = "a frame of no channel that is recorded"
_RETRY = {"60014", "63999", "64007"}  # too frequent, internal errors


class _Implausible(ValueError):
    pass


_REFUSALS = (msgspec.DecodeError, UnicodeError, RecursionError, _Implausible)


def parse(exchange: str, data: bytes, received_at: int, source: Source) -> Message:
    """Understand one frame; raise `ProtocolError`, and nothing else, where that is impossible."""
    guess = _BY_BYTE.get(data[25:26])
    if guess is not None:
        try:
            return guess(exchange, data, received_at, source)
        except _REFUSALS:
            pass  # another frame than was guessed, or a bad one
    try:
        return _any(exchange, data, received_at, source)
    except msgspec.ValidationError as exc:
        reason = f"unexpected shape: {exc}"
    except UnicodeError:
        reason = "not UTF-8"
    except (msgspec.DecodeError, RecursionError) as exc:
        reason = f"not JSON: {_POSITION.sub('', str(exc))}"
    except _Implausible as exc:
        reason = str(exc)
    raise ProtocolError(exchange, reason, data)


def _any(exchange: str, data: bytes, received_at: int, source: Source) -> Message:
    """Understand a frame of which nothing is known."""
    if data == b"pong":
        return _PONG
    control = _control(data)
    if control is not None:
        return control
    reader = _READERS.get(str((_decode_event(data).arg or {}).get("channel")))
    if reader is None:
        raise _Implausible(_UNKNOWN_CHANNEL)
    return reader(exchange, data, received_at, source)


def _trades(exchange: str, data: bytes, received_at: int, source: Source) -> Trades:
    frame = _decode_fills(data)
    symbol = frame.arg.instId
    if frame.arg.channel != "trades-all":
        raise _Implausible(_UNKNOWN_CHANNEL)
    trades = []
    for fill in frame.data:
        if fill.inst_id != symbol or not _is_fill(f"{fill.trade_id} {fill.px} {fill.sz}"):
            raise _Implausible("an implausible trade")
        trades.append(
            Trade(
                fill.ts or None, received_at, exchange, symbol, source,
                fill.trade_id, fill.px, fill.sz, fill.side, _RPI.get(fill.source),
            )
        )  # fmt: skip
    return Trades(symbol, trades)


def _folds(_exchange: str, data: bytes, _received_at: int, _source: Source) -> Folds:
    frame = _decode_fills(data)
    symbol = frame.arg.instId
    if frame.arg.channel != "trades":
        raise _Implausible(_UNKNOWN_CHANNEL)
    folds = []
    for fill in frame.data:
        if fill.inst_id != symbol or not _is_fill(f"{fill.trade_id} {fill.px} {fill.sz}"):
            raise _Implausible("an implausible fold of trades")
        # "count 3 with id N covers N, N-1 and N-2" (docs: Trades channel)
        last = int(fill.trade_id)
        if fill.count > last + 1:
            raise _Implausible("an implausible fold of trades")
        folds.append(Fold(last - fill.count + 1, last, fill.ts or None))
    return Folds(symbol, folds)


def _tickers(exchange: str, data: bytes, received_at: int, source: Source) -> Tickers:
    frame = _decode_quotes(data)
    symbol = frame.arg.instId
    if frame.arg.channel != "tickers":
        raise _Implausible(_UNKNOWN_CHANNEL)
    tickers = []
    for q in frame.data:
        figures = (
            f"{q.last} {q.last_sz} {q.bid_px} {q.bid_sz} {q.ask_px} {q.ask_sz} {q.open24h} {q.high24h} {q.low24h} "
            f"{q.vol24h} {q.vol_ccy24h} {q.sod_utc0} {q.sod_utc8}"
        )
        if not _are_figures(figures):
            raise _Implausible("an implausible ticker")
        if q.inst_id != symbol:
            raise _Implausible("a ticker of another symbol")
        tickers.append(
            Ticker(
                q.ts or None, received_at, exchange, symbol, source,
                q.last or None, q.last_sz or None,
                q.bid_px or None, q.bid_sz or None, q.ask_px or None, q.ask_sz or None,
                q.open24h or None, q.high24h or None, q.low24h or None, q.vol24h or None, q.vol_ccy24h or None,
                q.sod_utc0 or None, q.sod_utc8 or None,
            )
        )  # fmt: skip
    return Tickers(symbol, tickers)


def _books(exchange: str, data: bytes, received_at: int, source: Source) -> Books:
    frame = _decode_changes(data)
    symbol = frame.arg.instId
    if frame.arg.channel != "books":
        raise _Implausible(_UNKNOWN_CHANNEL)
    updates = []
    for change in frame.data:
        sequence, previous = change.seq_id, change.prev_seq_id
        levels = change.bids + change.asks
        text = "\n".join([f"{price}\n{size}" for price, size, _, _ in levels])
        # Only where something is escaped can a price hold a line feed of its own, and pass for two numbers.
        if sequence < 0 or (levels and not _are_numbers(text)) or (b"\\" in data and not _are_pairs(text, levels)):
            raise _Implausible("an implausible book")
        updates.append(
            BookUpdate(
                change.ts or None, received_at, exchange, symbol, source,
                frame.action, None if previous < 0 else previous, sequence,
                [(price, size, orders) for price, size, _, orders in change.bids],
                [(price, size, orders) for price, size, _, orders in change.asks],
            )
        )  # fmt: skip
    return Books(symbol, updates)


def _are_pairs(text: str, levels: list[WireLevel]) -> bool:
    return not levels or text.count("\n") == 2 * len(levels) - 1


_Reader = Callable[[str, bytes, int, Source], Message]
_READERS: dict[str, _Reader] = {"trades-all": _trades, "trades": _folds, "tickers": _tickers, "books": _books}
# By the 26th byte, since OKX writes `{"arg":{"channel":"books",...`. With a right guess one typed decode does it all; a
# wrong one cannot pass, as the decoded frame names its channel too.
_BY_BYTE: dict[bytes, _Reader] = {b"-": _trades, b'"': _folds, b"s": _tickers, b",": _books}


def _control(data: bytes) -> Message | None:
    """Understand an event; None: it is data."""
    event = _decode_event(data)
    if event.event is None:
        return None
    topic = _event_topic(event.arg)
    match event.event:
        case "subscribe" if topic is not None:
            return Subscribed(topic)
        case "unsubscribe" if topic is not None:
            return Unsubscribed(topic)
        case "error":
            code = event.code or ""
            return Refused(
                code, f"{event.msg} ({code})", Verdict.RETRY if code in _RETRY else Verdict.GIVE_UP_TOPIC,
                event.id, topic or _topic_in(event.msg),
            )  # fmt: skip
        case "notice":
            return Notice(event.code or "", event.msg)
        case "login" | "channel-conn-count" | "channel-conn-count-error":  # of private channels, which we never ask for
            return _IGNORED
    raise _Implausible("an unknown event")


def _event_topic(arg: dict[str, Any] | None) -> Topic | None:
    channel, symbol = (arg or {}).get("channel"), (arg or {}).get("instId")
    return Topic(channel, symbol) if isinstance(channel, str) and isinstance(symbol, str) else None


def _topic_in(text: str) -> Topic | None:
    """Find the topic in an error's prose: the documented error frame has no ``arg``."""
    match = _REFUSED_TOPIC.search(text)
    return None if match is None else Topic(match[1], match[2])
