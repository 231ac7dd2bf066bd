"""OKX REST answers to records; knows no HTTP but its status.

Every answer is ``{"code": "0", "msg": "", "data": [...]}``; another code is an error even with HTTP 200. The rows of
trades, tickers and books are those of the WebSocket channels, so they are understood by the same code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

import msgspec

from cryptofeed_cli.clock import MAX_MILLISECONDS
from cryptofeed_cli.errors import AnswerRefused, ProtocolError
from cryptofeed_cli.exchanges.base import Books, Candle, Maintenance, Message, Tickers, Trades
from cryptofeed_cli.exchanges.okx import frames
from cryptofeed_cli.types import BookUpdate, Instrument, Source, Ticker, Trade


class _Envelope(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


_Word = Annotated[str, msgspec.Meta(max_length=200)]


class _Instrument(msgspec.Struct, rename="camel"):
    inst_id: _Word
    inst_type: _Word
    # Empty where it does not apply.
    base_ccy: _Word | None = None
    quote_ccy: _Word | None = None
    settle_ccy: _Word | None = None
    tick_sz: _Word | None = None
    lot_sz: _Word | None = None
    min_sz: _Word | None = None
    ct_val: _Word | None = None
    ct_mult: _Word | None = None
    ct_type: _Word | None = None
    list_time: _Word | None = None
    exp_time: _Word | None = None
    state: _Word | None = None


class _Named(msgspec.Struct, rename="camel"):
    inst_id: str


class _Clock(msgspec.Struct):
    ts: frames.Time


class _Maintenance(msgspec.Struct):
    title: str = ""
    begin: str | None = None
    end: str | None = None


_TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
_TOO_FAST = {"50011", "50040"}
_RAW_BYTES = 256 << 10
"""Hundreds of times what OKX says of an instrument; no store takes documents of any size."""
_ERROR_BYTES = 1000
"""No error is longer; what is need not be read to know that it is none."""
_FINAL = {"50005", "50014", "51000", "51001"}  # endpoint gone, wrong parameters, no such instrument
_NOT_HERE = {"50051", "50052"}  # compliance
_PLACE = re.compile(r"(?i)\b(restricted (area|location|region|countr)|your (region|country|jurisdiction|location))")
_named = msgspec.json.Decoder(_Named)
_candle = msgspec.json.Decoder(list[str])
_clock = msgspec.json.Decoder(_Clock, strict=False)
_maintenance = msgspec.json.Decoder(_Maintenance)
_envelope = msgspec.json.Decoder(_Envelope)
_instrument = msgspec.json.Decoder(_Instrument)


def rebukes(status: int, body: bytes) -> bool:
    """Tell whether an answer says that we ask too often; whatever else it is, it is no rebuke."""
    if status == _TOO_MANY:
        return True
    try:
        return len(body) <= _ERROR_BYTES and _envelope.decode(body).code in _TOO_FAST
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def instruments(exchange: str, body: bytes, received_at: int, source: Source) -> list[Instrument]:
    """Understand ``/public/instruments``; raise `ProtocolError`, and nothing else, where that is impossible."""
    try:
        return [_to_instrument(exchange, raw, received_at, source) for raw in _data(exchange, body)]
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ProtocolError(exchange, f"not a list of instruments: {exc}", body) from exc


def trades(
    exchange: str, symbol: str, status: int, body: bytes, received_at: int, source: Source
) -> list[Trade]:
    """Understand ``/market/trades`` and ``/market/history-trades``: single fills, newest first.

    Raises `AnswerRefused` where the exchange says no, `ProtocolError` where the answer cannot be understood.
    """
    message = _as_frame(exchange, "trades-all", symbol, b"", _rows(exchange, status, body), received_at, source)
    return message.records if isinstance(message, Trades) else []


def book(exchange: str, symbol: str, status: int, body: bytes, received_at: int, source: Source) -> BookUpdate | None:
    """Understand ``/market/books``: a snapshot; None where there is none. Raises as `trades`."""
    rows = _rows(exchange, status, body)
    if not rows:
        return None
    row = bytes(rows[0])[:-1] + b',"prevSeqId":-1}'
    head = b'"action":"snapshot",'
    message = _as_frame(exchange, "books", symbol, head, [row], received_at, source)
    return message.records[0] if isinstance(message, Books) else None


def tickers(exchange: str, status: int, body: bytes, received_at: int, source: Source) -> dict[str, Ticker]:
    """Understand ``/market/tickers``: tickers by symbol. Raises as `trades`."""
    found = {}
    for row in _rows(exchange, status, body):
        symbol = _symbol_of(exchange, row)
        message = _as_frame(exchange, "tickers", symbol, b"", [row], received_at, source)
        if isinstance(message, Tickers):
            found[symbol] = message.records[0]
    return found


def candles(exchange: str, status: int, body: bytes) -> list[Candle]:
    """Understand ``/market/history-candles``. Raises as `trades`.

    A row is ``[ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]``; ``vol`` has the unit of sizes for every type
    (docs: Get candlesticks history).
    """
    try:
        rows = [_candle.decode(row) for row in _rows(exchange, status, body)]
        return list(map(_to_candle, rows))
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise ProtocolError(exchange, f"not a list of candles: {exc}", body) from exc


def server_time(exchange: str, status: int, body: bytes) -> int:
    """Understand ``/public/time``: the exchange's clock in milliseconds. Raises as `trades`."""
    try:
        return _clock.decode(_rows(exchange, status, body)[0]).ts
    except (msgspec.MsgspecError, IndexError) as exc:
        raise ProtocolError(exchange, f"not a time: {exc}", body) from exc


def block(status: int, body: bytes) -> str | None:
    """Return in words that an answer refuses us for where we are; None: it does not."""
    try:
        envelope = _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        envelope = _Envelope("")
    if envelope.code in _NOT_HERE or _PLACE.search(envelope.msg):
        return f"refused for where we are (error {envelope.code}: {envelope.msg})"
    if status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        return "refused for legal reasons where we are (HTTP 451)"
    if status == HTTPStatus.FORBIDDEN and not envelope.code:
        return "refused by what stands before the exchange, probably for where we are (HTTP 403)"
    return None


def maintenances(exchange: str, status: int, body: bytes) -> list[Maintenance]:
    """Understand ``/system/status``: what is announced or going on. Raises as `trades`."""
    try:
        found = [_maintenance.decode(row) for row in _rows(exchange, status, body)]
        return [Maintenance(each.title, _time(each.begin), _time(each.end)) for each in found]
    except (msgspec.MsgspecError, ValueError) as exc:
        raise ProtocolError(exchange, f"not a list of maintenances: {exc}", body) from exc


def _rows(exchange: str, status: int, body: bytes) -> list[msgspec.Raw]:
    try:
        envelope = _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        if status == HTTPStatus.OK:
            raise ProtocolError(exchange, f"not an answer: {exc}", body) from exc
        raise AnswerRefused(exchange, str(status), "not an answer") from exc
    if envelope.code != "0" or status != HTTPStatus.OK:
        raise AnswerRefused(exchange, envelope.code, envelope.msg, transient=envelope.code not in _FINAL)
    return envelope.data


def _as_frame(
    exchange: str,
    channel: str,
    symbol: str,
    head: bytes,
    rows: Sequence[bytes | msgspec.Raw],
    received_at: int,
    source: Source,
) -> Message:
    arg = msgspec.json.encode({"channel": channel, "instId": symbol})
    frame = b'{"arg":' + arg + b"," + head + b'"data":[' + b",".join(map(bytes, rows)) + b"]}"
    return frames.parse(exchange, frame, received_at, source)


def _symbol_of(exchange: str, row: msgspec.Raw) -> str:
    try:
        return _named.decode(row).inst_id
    except msgspec.MsgspecError as exc:
        raise ProtocolError(exchange, f"a row without a symbol: {exc}", bytes(row)) from exc


def _data(exchange: str, body: bytes) -> list[msgspec.Raw]:
    envelope = _envelope.decode(body)
    if envelope.code != "0":
        raise ProtocolError(exchange, f"error {envelope.code}: {envelope.msg}", body)
    return envelope.data


def _to_instrument(exchange: str, raw: msgspec.Raw, received_at: int, source: Source) -> Instrument:
    row = _instrument.decode(raw)
    return Instrument(
        None, received_at, exchange, row.inst_id, source,
        row.inst_type, row.base_ccy or None, row.quote_ccy or None, row.settle_ccy or None,
        row.tick_sz or None, row.lot_sz or None, row.min_sz or None,
        row.ct_val or None, row.ct_mult or None, row.ct_type or None,
        _time(row.list_time), _time(row.exp_time), row.state or None, _bounded(bytes(raw)),
    )  # fmt: skip


def _to_candle(row: list[str]) -> Candle:
    start = int(row[0])
    if not 0 <= start <= MAX_MILLISECONDS or not frames.is_number(row[5]):
        raise ValueError(f"a volume of {row[5]} at {row[0]}")
    return Candle(start, row[5], row[8] == "1")


def _bounded(raw: bytes) -> str:
    """Return a row as it came; of one that is too long its beginning, in JSON too."""
    if len(raw) <= _RAW_BYTES:
        return raw.decode()
    beginning = raw[:_RAW_BYTES].decode(errors="ignore")
    return msgspec.json.encode({"cut": f"{len(raw)} bytes long", "beginning": beginning}).decode()


def _time(text: str | None) -> int | None:
    milliseconds = int(text) if text else None
    return milliseconds if milliseconds is not None and 0 < milliseconds <= MAX_MILLISECONDS else None
