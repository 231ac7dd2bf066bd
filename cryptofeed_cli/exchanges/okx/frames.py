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
from msgspec.structs import astuple

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
from cryptofeed_cli.types import BookUpdate, CountedLevel, Source, Ticker, Trade

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
    ts: str
    source: str | None = None
    count: str = "1"


class _Quote(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    ts: str
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
    ts: str
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
_decode_fills = msgspec.json.Decoder(_Fills).decode
_decode_quotes = msgspec.json.Decoder(_Quotes).decode
# Not strict: the count of orders is sent as a string and kept as an integer.
_decode_changes = msgspec.json.Decoder(_Changes, strict=False).decode

_PONG = Pong()
_IGNORED = Ignored()
_CHANNEL = b'"channel":"'
_RPI = {"0": False, "1": True}
_NUMBER = r"-?(?:0|[1-9]\d{0,39})(?:\.\d{1,40})?"
_are_numbers = re.compile(rf"{_NUMBER}(?: {_NUMBER})*", re.ASCII).fullmatch
_POSITION = re.compile(r" \((?:byte|char) \d+\)| at byte \d+")
_REFUSED_TOPIC = re.compile(r"channel:\s*([\w-]+)\s*,\s*instId:\s*([^\s,]+)")
_RETRY = {"60014", "63999", "64007"}  # too frequent, internal errors
_UPGRADE_NOTICE = "64008"


def parse(exchange: str, data: bytes, received_at: int, source: Source) -> Message:
    """Understand one frame; raise `ProtocolError`, and nothing else, where that is impossible."""
    try:
        if b'"event"' not in data:
            # The channel is looked up before decoding, so that one typed decode does it all. A wrong guess cannot
            # pass: the decoded frame names its channel too.
            start = data.find(_CHANNEL) + len(_CHANNEL)
            reader = _READERS.get(data[start : data.find(b'"', start)])
            if reader is not None:
                return reader(exchange, data, received_at, source)
        if data == b"pong":
            return _PONG
        event = _decode_event(data)
        if event.event is not None:
            return _control(event)
        channel = str((event.arg or {}).get("channel"))
        reader = _READERS.get(channel.encode())
        if reader is None:
            raise ProtocolError(exchange, "a frame of no channel that is recorded", data)
        return reader(exchange, data, received_at, source)
    except msgspec.ValidationError as exc:
        raise ProtocolError(exchange, f"unexpected shape: {exc}", data) from exc
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise ProtocolError(exchange, f"not JSON: {_POSITION.sub('', str(exc))}", data) from exc
    except _Implausible as exc:
        raise ProtocolError(exchange, str(exc), data) from exc


class _Implausible(ValueError):
    pass


def _trades(exchange: str, data: bytes, received_at: int, source: Source) -> Trades:
    frame = _decode_fills(data)
    symbol = frame.arg.instId
    trades = []
    for fill in frame.data:
        trade_id = fill.trade_id
        number = _integer(trade_id)
        if number >= 1 << 63 or fill.inst_id != symbol or not _are_numbers(f"{fill.px} {fill.sz}"):
            raise _Implausible("an implausible trade")
        trades.append(
            Trade(
                _time(fill.ts), received_at, exchange, symbol, source,
                trade_id, fill.px, fill.sz, fill.side, _RPI.get(fill.source or ""),
            )
        )  # fmt: skip
    return Trades(_symbol(frame.arg, "trades-all"), trades)


def _folds(_exchange: str, data: bytes, _received_at: int, _source: Source) -> Folds:
    frame = _decode_fills(data)
    folds = []
    for fill in frame.data:
        last, count = _integer(fill.trade_id), _integer(fill.count)
        if not 1 <= count <= last + 1 or last >= 1 << 63 or fill.inst_id != frame.arg.instId:
            raise _Implausible("an implausible fold of trades")
        # "count 3 with id N covers N, N-1 and N-2" (docs: Trades channel)
        folds.append(Fold(last - count + 1, last, _time(fill.ts)))
    return Folds(_symbol(frame.arg, "trades"), folds)


def _tickers(exchange: str, data: bytes, received_at: int, source: Source) -> Tickers:
    frame = _decode_quotes(data)
    symbol = frame.arg.instId
    tickers = []
    for quote in frame.data:
        ticker = Ticker(
            _time(quote.ts), received_at, exchange, symbol, source,
            quote.last or None, quote.last_sz or None,
            quote.bid_px or None, quote.bid_sz or None, quote.ask_px or None, quote.ask_sz or None,
            quote.open24h or None, quote.high24h or None, quote.low24h or None,
            quote.vol24h or None, quote.vol_ccy24h or None, quote.sod_utc0 or None, quote.sod_utc8 or None,
        )  # fmt: skip
        given = " ".join(filter(None, astuple(ticker)[5:-2]))
        if quote.inst_id != symbol or (given and not _are_numbers(given)):
            raise _Implausible("an implausible ticker")
        tickers.append(ticker)
    return Tickers(_symbol(frame.arg, "tickers"), tickers)


def _books(exchange: str, data: bytes, received_at: int, source: Source) -> Books:
    frame = _decode_changes(data)
    symbol = frame.arg.instId
    updates = []
    for change in frame.data:
        sequence, previous = change.seq_id, change.prev_seq_id
        if sequence < 0:
            raise _Implausible("a book without a sequence")
        updates.append(
            BookUpdate(
                _time(change.ts), received_at, exchange, symbol, source, frame.action,
                None if previous < 0 else previous, sequence, _levels(change.bids), _levels(change.asks),
            )
        )  # fmt: skip
    return Books(_symbol(frame.arg, "books"), updates)


_Reader = Callable[[str, bytes, int, Source], Message]
_READERS: dict[bytes, _Reader] = {
    b"trades-all": _trades,
    b"trades": _folds,
    b"tickers": _tickers,
    b"books": _books,
}


def _levels(levels: list[WireLevel]) -> list[CountedLevel]:
    if levels and not _are_numbers(" ".join([f"{price} {size}" for price, size, _, _ in levels])):
        raise _Implausible("a book level that is not a number")
    return [(price, size, orders) for price, size, _, orders in levels]


def _integer(text: str) -> int:
    """Read canonical decimal digits: what `str` writes again the same."""
    try:
        number = int(text)
    except ValueError:
        raise _Implausible("a number that is not one") from None
    if number < 0 or str(number) != text:
        raise _Implausible("a number that is not canonical")
    return number


def _time(text: str) -> int | None:
    """Read Unix milliseconds; OKX writes ``"0"`` or nothing where it has none."""
    if not text:
        return None
    milliseconds = _integer(text)
    if milliseconds > MAX_MILLISECONDS:
        raise _Implausible("a time beyond the year 9999")
    return milliseconds or None


def _symbol(arg: _Arg, channel: str) -> str:
    if arg.channel != channel:
        raise _Implausible("a frame that names two channels")
    return arg.instId


def _control(event: _Event) -> Message:
    topic = _event_topic(event.arg)
    match event.event:
        case "subscribe" if topic is not None:
            return Subscribed(topic)
        case "error":
            code = event.code or ""
            return Refused(
                code, f"{event.msg} ({code})", Verdict.RETRY if code in _RETRY else Verdict.GIVE_UP_TOPIC,
                event.id, topic or _topic_in(event.msg),
            )  # fmt: skip
        case "notice":
            return Notice(event.code or "", event.msg)
    return _IGNORED


def _event_topic(arg: dict[str, Any] | None) -> Topic | None:
    channel, symbol = (arg or {}).get("channel"), (arg or {}).get("instId")
    return Topic(channel, symbol) if isinstance(channel, str) and isinstance(symbol, str) else None


def _topic_in(text: str) -> Topic | None:
    """Find the topic in an error's prose: the documented error frame has no ``arg``."""
    match = _REFUSED_TOPIC.search(text)
    return None if match is None else Topic(match[1], match[2])
